/* SPDX-License-Identifier: MIT */
/*
 * Goroutines as pthreads (the go statement, sync.WaitGroup and nsqd's own
 * internal/util/wait_group_wrapper.go). Every thread of the daemon but main starts here, with a
 * name, an explicit stack size and a wait group that joins it.
 */
#ifndef COMMON_GOTHREAD_H
#define COMMON_GOTHREAD_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

/*
 * sync.WaitGroup for threads: counts those that run, and joins them. The next thread to end, or
 * wait_group_wait, joins a thread that has ended. So a long-lived group (one thread per connection)
 * keeps at most one ended thread unjoined.
 */
struct wait_group {
	pthread_mutex_t lock; /* a leaf; guards all below */
	pthread_cond_t done;  /* running has become 0 */
	size_t running;       /* threads that have not ended */
	pthread_t ended;      /* valid if have_ended: to be joined */
	int have_ended;
};

void wait_group_init(struct wait_group *wg);
/* After wait_group_wait has returned; no thread may start in it any more. */
void wait_group_destroy(struct wait_group *wg);
/* wg.Add(1) and wg.Done(), for work that is no thread of its own. Any thread. */
void wait_group_add(struct wait_group *wg);
void wait_group_done(struct wait_group *wg);
/*
 * wg.Wrap(fn): starts a thread that runs fn(arg) and is counted in wg. Copies name; the kernel
 * shows its first 15 bytes, thread_name() all of it. Returns 0, or -1 with err set (EAGAIN: no more
 * threads). On failure fn never runs, and arg is still the caller's. In the new thread all signals
 * but STACKS_SIGNAL are blocked.
 */
int wait_group_wrap(
	struct wait_group *wg, const char *name, void (*fn)(void *), void *arg, struct err *err);
/* wg.Wait(): blocks until no thread of wg runs, and has joined them all. Not from inside wg. */
void wait_group_wait(struct wait_group *wg);
/* The same, but not beyond deadline_ns (monotonic). False: some still run. */
bool wait_group_wait_until(struct wait_group *wg, int64_t deadline_ns);

/*
 * For a process that will have thousands of threads: makes the kernel find sleeping ones fast. To
 * be called before the first of them starts.
 */
void gothread_expect_thousands(void);
/*
 * Have threads run out in the last five seconds, and would so many more leave hardly any? The rest
 * is for threads that all clients depend on, such as a topic's pump. A caller that can wait, or
 * refuse one client, does not try then; err is set as if it had tried and failed. Each failure
 * teaches how many threads there may be: nothing else tells the limits of user, container and
 * system together. Any thread.
 */
bool gothread_is_scarce(size_t wanted, struct err *err);
/* Gives the calling thread (main, or a test's) a record with this name. */
void gothread_adopt(const char *name);
/* Calls fn for each live thread with a record, for /debug. fn must not start or end threads. */
void gothread_each(void (*fn)(void *arg, const char *name, int tid), void *arg);
/*
 * The same for a process that is about to end, perhaps because a thread is stuck. False, and
 * nothing done: the list of threads could not be locked before deadline_ns (monotonic).
 */
bool gothread_try_each(
	void (*fn)(void *arg, const char *name, int tid), void *arg, int64_t deadline_ns);
/* The number of live threads with a record. */
size_t gothread_count(void);

#endif
