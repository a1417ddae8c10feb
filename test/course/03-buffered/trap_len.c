/* SPDX-License-Identifier: MIT */
/* BROKEN: two threads see that one value is there, and both receive. */
#include <stdio.h>

#include "common/chan.h"

#include "test/course/gate.h"
#include "test/course/go.h"

struct taker {
	struct chan *c;
	struct gate seen; /* it has asked for the length */
	struct gate *other;
};

static void take(void *arg)
{
	struct taker *t = arg;
	int v;

	if (chan_len(t->c) > 0) {
		gate_open(&t->seen);
		gate_wait(t->other);
		chan_recv(t->c, &v); /* @receives */
		printf("got %d\n", v);
	}
}

int main(void)
{
	struct chan *c = chan_new(sizeof(int), 3);
	struct taker takers[2] = {{.c = c}, {.c = c}};
	struct wait_group wg;
	int v = 7;

	chan_send(c, &v);
	wait_group_init(&wg);
	for (int i = 0; i < 2; i++) {
		takers[i].other = &takers[1 - i].seen;
		go(&wg, "take", take, &takers[i]);
	}
	wait_group_wait(&wg); /* @waits */
	wait_group_destroy(&wg);
	gothread_drain();
	chan_free(c);
	return 0;
}
