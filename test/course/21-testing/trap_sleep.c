/* SPDX-License-Identifier: MIT */
/* BROKEN: pause does nothing, and its test passes. The test sleeps, and so does the worker. */
#include <stdatomic.h>
#include <time.h>

#include "common/chan.h"
#include "common/clock.h"

#include "test/course/gate.h"
#include "test/course/go.h"

static struct chan *jobs; /* carries nothing, with room for one */
static atomic_bool paused;
static atomic_int done;
static struct gate first_turn; /* of the worker on a processor */

static void worker(void *arg)
{
	(void)arg;
	gate_wait(&first_turn);
	while (chan_recv(jobs, NULL)) /* it should look at paused */
		atomic_fetch_add(&done, 1);
}

static bool test_pause(void)
{
	atomic_store(&paused, true);
	chan_send(jobs, NULL);
	nanosleep(&(struct timespec){0, 10 * NSEC_PER_MSEC}, NULL);
	return atomic_load(&done) == 0;
}

int main(void)
{
	struct wait_group wg;

	jobs = chan_new(0, 1);
	wait_group_init(&wg);
	go(&wg, "worker", worker, NULL);
	printf("%s: a paused worker does nothing\n", test_pause() ? "ok" : "FAILED");
	gate_open(&first_turn);
	chan_close(jobs);
	wait_group_wait(&wg);
	printf("done while paused: %d\n", atomic_load(&done));
	wait_group_destroy(&wg);
	gothread_drain();
	chan_free(jobs);
	return 0;
}
