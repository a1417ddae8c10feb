/* SPDX-License-Identifier: MIT */
/* BROKEN: each asks first whether there is room, and then sends as if the answer still held. */
#include <stdio.h>

#include "common/chan.h"

#include "test/course/gate.h"
#include "test/course/go.h"

struct publisher {
	struct chan *memory; /* of int, with room for one */
	struct gate seen;    /* it has asked */
	struct gate *other;
	int on_disk;
};

static void put(struct publisher *p, int v)
{
	if (chan_len(p->memory) < chan_cap(p->memory)) {
		gate_open(&p->seen);
		gate_wait(p->other);
		chan_send(p->memory, &v); /* @sends */
	} else {
		p->on_disk++;
	}
}

static void publish(void *arg)
{
	put(arg, 7); /* @puts */
}

int main(void)
{
	struct chan *memory = chan_new(sizeof(int), 1);
	struct publisher publishers[2] = {{.memory = memory}, {.memory = memory}};
	struct wait_group wg;

	wait_group_init(&wg);
	for (int i = 0; i < 2; i++) {
		publishers[i].other = &publishers[1 - i].seen;
		go(&wg, "publish", publish, &publishers[i]);
	}
	wait_group_wait(&wg); /* @waits */
	printf("on disk: %d\n", publishers[0].on_disk + publishers[1].on_disk);
	wait_group_destroy(&wg);
	gothread_drain();
	chan_free(memory);
	return 0;
}
