/* SPDX-License-Identifier: MIT */
/* BROKEN: the worker listens to its exit chan, but not while it delivers what it has made. */
#include <stdio.h>

#include "common/chan.h"

#include "test/course/gate.h"
#include "test/course/go.h"

struct worker {
	struct chan *results, *exit_chan;
	struct gate has_made;
};

static void worker_loop(void *arg)
{
	struct worker *w = arg;
	int made = 0;

	for (;;) {
		struct chan_case cases[] = {chan_case_recv(w->exit_chan, NULL)};

		if (chan_try_select(cases, 1) == 0)
			return;
		made++;
		gate_open(&w->has_made);
		chan_send(w->results, &made); /* @delivers */
	}
}

int main(void)
{
	struct worker w = {.results = chan_new(sizeof(int), 0), .exit_chan = chan_new(0, 0)};
	struct wait_group wg;

	wait_group_init(&wg);
	go(&wg, "worker", worker_loop, &w);
	gate_wait(&w.has_made);
	chan_close(w.exit_chan);
	wait_group_wait(&wg); /* @waits */
	wait_group_destroy(&wg);
	gothread_drain();
	chan_free(w.results);
	chan_free(w.exit_chan);
	return 0;
}
