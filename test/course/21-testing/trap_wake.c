/* SPDX-License-Identifier: MIT */
/* BROKEN: a worker is woken only if it waits already. A test gives it a thousand jobs. */
#include <stdatomic.h>

#include "common/chan.h"
#include "common/clock.h"

#include "test/course/go.h"

static atomic_bool job;
static struct chan *wake; /* carries nothing, and has no room */
static struct chan *done, *exit_chan;

static void worker(void *arg)
{
	(void)arg;
	for (;;) {
		struct chan_case cases[] = {
			chan_case_recv(wake, NULL),
			chan_case_recv(exit_chan, NULL),
		};

		if (atomic_exchange(&job, false))
			chan_send(done, NULL);
		else if (chan_select(cases, 2) == 1)
			return;
	}
}

static void give_job(void)
{
	atomic_store(&job, true);
	chan_try_send_n(wake, NULL, 1);
}

/* The job is done, before the test is out of patience. */
static bool wait_done(void)
{
	struct ticker patience;
	struct chan_case cases[] = {
		chan_case_recv(done, NULL),
		chan_case_tick(&patience),
	};

	ticker_after(&patience, NSEC_PER_SEC);
	return chan_select(cases, 2) == 0;
}

/* Nobody gives a job in the very moment in which the last one is done. */
static void think(void)
{
	int64_t end = clock_mono_ns() + 20 * NSEC_PER_USEC;

	while (clock_mono_ns() < end)
		continue;
}

int main(void)
{
	struct wait_group wg;

	wake = chan_new(0, 0);
	done = chan_new(0, 0);
	exit_chan = chan_new(0, 0);
	wait_group_init(&wg);
	go(&wg, "worker", worker, NULL);
	for (int i = 0; i < 1000; i++) {
		think();
		give_job();
		if (!wait_done()) {
			fprintf(stderr, "in vain: a job is done, after %d\n", i);
			abort();
		}
	}
	printf("1000 jobs are done\n");
	chan_close(exit_chan);
	wait_group_wait(&wg);
	wait_group_destroy(&wg);
	gothread_drain();
	chan_free(wake);
	chan_free(done);
	chan_free(exit_chan);
	return 0;
}
