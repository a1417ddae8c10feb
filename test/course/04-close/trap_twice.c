/* SPDX-License-Identifier: MIT */
/* BROKEN: each of two senders closes the chan when it is done. */
#include <stdio.h>

#include "common/chan.h"

#include "test/course/gate.h"
#include "test/course/go.h"

struct sender {
	struct chan *out;
	struct gate sent;
	struct gate *other;
};

static void send_and_close(void *arg)
{
	struct sender *s = arg;
	int v = 1;

	chan_send(s->out, &v);
	gate_open(&s->sent);
	gate_wait(s->other);
	chan_close(s->out);
}

int main(void)
{
	struct chan *c = chan_new(sizeof(int), 2);
	struct sender senders[2] = {{.out = c}, {.out = c}};
	struct wait_group wg;
	int v, sum = 0;

	wait_group_init(&wg);
	for (int i = 0; i < 2; i++) {
		senders[i].other = &senders[1 - i].sent;
		go(&wg, "sender", send_and_close, &senders[i]);
	}
	while (chan_recv(c, &v))
		sum += v;
	printf("%d\n", sum);
	wait_group_wait(&wg);
	wait_group_destroy(&wg);
	gothread_drain();
	chan_free(c);
	return 0;
}
