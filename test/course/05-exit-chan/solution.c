/* SPDX-License-Identifier: MIT */
/* A worker that can be told to end at any time, also while nobody takes what it has made. */
#include <stdio.h>

#include "common/chan.h"

#include "test/course/go.h"

struct worker {
	struct chan *results, *exit_chan;
};

static void worker_loop(void *arg)
{
	struct worker *w = arg;
	int made = 0;

	for (;;) {
		made++;

		struct chan_case cases[] = {
			chan_case_send(w->results, &made),
			chan_case_recv(w->exit_chan, NULL),
		};

		if (chan_select(cases, 2) == 1)
			return;
	}
}

int main(void)
{
	struct worker w = {chan_new(sizeof(int), 0), chan_new(0, 0)};
	struct wait_group wg;
	int v = 0;

	wait_group_init(&wg);
	go(&wg, "worker", worker_loop, &w);
	for (int i = 0; i < 3; i++)
		chan_recv(w.results, &v);
	chan_close(w.exit_chan);
	wait_group_wait(&wg);
	printf("%d\n", v);
	wait_group_destroy(&wg);
	gothread_drain();
	chan_free(w.results);
	chan_free(w.exit_chan);
	return 0;
}
