/* SPDX-License-Identifier: MIT */
/* A test of pause that no luck can pass or fail: it counts the worker's rounds, not the time. */
#include <stdio.h>

#include "common/chan.h"

#include "test/course/go.h"

struct worker {
	bool obeys; /* false: it is broken, as in trap_sleep.c */
	struct chan *jobs, *pause, *look, *exit;
};

static void work(void *arg)
{
	enum { JOB, PAUSE, LOOK, EXIT, CASES };
	struct worker *w = arg;
	struct chan *jobs = w->jobs;
	bool paused;
	int done = 0;

	for (;;) {
		struct chan_case cases[] = {
			[JOB] = chan_case_recv(jobs, NULL),
			[PAUSE] = chan_case_recv(w->pause, &paused),
			/* A round: so the worker runs, and has not chosen a job. */
			[LOOK] = chan_case_send(w->look, &done),
			[EXIT] = chan_case_recv(w->exit, NULL),
		};

		switch (chan_select(cases, CASES)) {
		case JOB:
			done++;
			break;
		case PAUSE:
			jobs = paused && w->obeys ? NULL : w->jobs;
			break;
		case EXIT:
			return;
		}
	}
}

/* A worker that could take a job chooses otherwise 64 times in a row: never. */
enum { ROUNDS = 64 };

/* How many jobs the worker has done, after so many rounds. */
static int done(struct worker *w)
{
	int n = 0;

	for (int i = 0; i < ROUNDS; i++)
		chan_recv(w->look, &n);
	return n;
}

static const char *try_pause(struct worker *w)
{
	chan_send(w->pause, &(bool){true});
	chan_send(w->jobs, NULL);
	if (done(w) != 0)
		return "FAILED: a paused worker has done a job";
	chan_send(w->pause, &(bool){false});
	if (done(w) != 1)
		return "FAILED: a worker does not go on";
	return "ok";
}

static void test_pause(bool obeys)
{
	struct worker w = {obeys, chan_new(0, 1), chan_new(sizeof(bool), 0),
		chan_new(sizeof(int), 0), chan_new(0, 0)};
	struct wait_group wg;

	wait_group_init(&wg);
	go(&wg, "worker", work, &w);
	printf("%s\n", try_pause(&w));
	chan_close(w.exit);
	wait_group_wait(&wg);
	wait_group_destroy(&wg);
	chan_free(w.jobs);
	chan_free(w.pause);
	chan_free(w.look);
	chan_free(w.exit);
}

int main(void)
{
	test_pause(true);
	test_pause(false);
	gothread_drain();
	return 0;
}
