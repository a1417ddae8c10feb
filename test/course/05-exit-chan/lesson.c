/* SPDX-License-Identifier: MIT */
/* Three workers work until they are told to end: all of them, by one close. */
#include <stdio.h>

#include "common/chan.h"

#include "test/course/go.h"

enum { WORKERS = 3 };

struct worker {
	struct chan *work;      /* of int */
	struct chan *exit_chan; /* nothing is sent, it is closed */
	int done;               /* written by its thread; main reads it after wait_group_wait */
};

static void worker_loop(void *arg)
{
	struct worker *w = arg;
	int n;

	for (;;) {
		struct chan_case cases[] = {
			chan_case_recv(w->work, &n),
			chan_case_recv(w->exit_chan, NULL),
		};

		switch (chan_select(cases, 2)) {
		case 0:
			w->done += n;
			break;
		case 1:
			return;
		}
	}
}

int main(void)
{
	struct chan *work = chan_new(sizeof(int), 0), *exit_chan = chan_new(0, 0);
	struct worker workers[WORKERS];
	struct wait_group wg;
	int sum = 0;

	wait_group_init(&wg);
	for (int i = 0; i < WORKERS; i++) {
		workers[i] = (struct worker){work, exit_chan, 0};
		go(&wg, "worker", worker_loop, &workers[i]);
	}
	for (int i = 1; i <= 10; i++)
		chan_send(work, &i);
	chan_close(exit_chan);
	wait_group_wait(&wg);
	for (int i = 0; i < WORKERS; i++)
		sum += workers[i].done;
	printf("%d\n", sum);
	wait_group_destroy(&wg);
	gothread_drain();
	chan_free(work);
	chan_free(exit_chan);
	return 0;
}
