/* SPDX-License-Identifier: MIT */
/* BROKEN: there are three cases, and the select is told of two. */
#include <stdio.h>

#include "common/chan.h"

#include "test/course/go.h"

struct chans {
	struct chan *a, *b, *exit_chan;
};

static void receiver(void *arg)
{
	struct chans *c = arg;

	for (;;) {
		struct chan_case cases[] = {
			chan_case_recv(c->a, NULL),
			chan_case_recv(c->b, NULL),
			chan_case_recv(c->exit_chan, NULL),
		};

		if (chan_select(cases, 2) == 2) /* @selects */
			return;
	}
}

int main(void)
{
	struct chans c = {chan_new(sizeof(int), 0), chan_new(sizeof(int), 0), chan_new(0, 0)};
	struct wait_group wg;

	wait_group_init(&wg);
	go(&wg, "receiver", receiver, &c);
	chan_close(c.exit_chan);
	wait_group_wait(&wg); /* @waits */
	wait_group_destroy(&wg);
	gothread_drain();
	chan_free(c.a);
	chan_free(c.b);
	chan_free(c.exit_chan);
	return 0;
}
