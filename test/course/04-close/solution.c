/* SPDX-License-Identifier: MIT */
/* Several senders, and the chan is closed once: by the thread that knows when all are done. */
#include <stdio.h>

#include "common/chan.h"

#include "test/course/go.h"

enum { SENDERS = 4, EACH = 5 };

static void send_some(void *arg)
{
	struct chan *out = arg;

	for (int i = 0; i < EACH; i++) {
		int v = 1;

		chan_send(out, &v);
	}
}

struct closer {
	struct wait_group *senders;
	struct chan *out;
};

static void close_last(void *arg)
{
	struct closer *c = arg;

	wait_group_wait(c->senders);
	chan_close(c->out);
}

int main(void)
{
	struct chan *out = chan_new(sizeof(int), 0);
	struct wait_group senders, others;
	struct closer closer = {&senders, out};
	int v, sum = 0;

	wait_group_init(&senders);
	wait_group_init(&others);
	for (int i = 0; i < SENDERS; i++)
		go(&senders, "send_some", send_some, out);
	go(&others, "close_last", close_last, &closer);
	while (chan_recv(out, &v))
		sum += v;
	printf("%d\n", sum);
	wait_group_wait(&others);
	wait_group_destroy(&senders);
	wait_group_destroy(&others);
	gothread_drain();
	chan_free(out);
	return 0;
}
