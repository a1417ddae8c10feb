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
 * sync.WaitGroup for threads: counts those that run, and joins them. Threads that have ended are
 * joined by the next one to end, or by wait_group_wait, so that a long-lived group (one thread per
 * connection) keeps at most one ended thread unjoined.
 */
struct wait_group {
	pthread_mutex_t lock;
	pthread_cond_t done;
	size_t running;  /* guarded by lock */
	pthread_t ended; /* guarded by lock; valid if have_ended: to be joined */
	int have_ended;  /* guarded by lock */
};

void wait_group_init(struct wait_group *wg);
/* Nobody may be in it. */
void wait_group_destroy(struct wait_group *wg);
/*
 * wg.Wrap(fn): starts a thread that runs fn(arg) and is counted in wg. name is copied; the kernel
 * shows its first 15 bytes, gothread_name() all of it. Returns 0, or -1 with err set (EAGAIN: no
 * more threads); then fn never runs and arg is still the caller's. In the new thread all signals
 * are blocked but STACKS_SIGNAL.
 */
int wait_group_wrap(
	struct wait_group *wg, const char *name, void (*fn)(void *), void *arg, struct err *err);
/* wg.Wait(): blocks until no thread of wg runs, and has joined them all. Not from inside wg. */
void wait_group_wait(struct wait_group *wg);
/* The same, but not beyond deadline_ns (monotonic). False: some still run. */
bool wait_group_wait_until(struct wait_group *wg, int64_t deadline_ns);

/*
 * The process is going to have thousands of threads: has the kernel find fast those that wait.
 * Before the first of them is started.
 */
void gothread_expect_thousands(void);
/*
 * Have threads run out lately (five seconds), and would so many more leave hardly any? Then the
 * rest is for what all depend on, such as a topic's pump: what can wait, or can be refused alone,
 * does not try; err is set as if it had. How many there may be is learned from each failure, since
 * the limits of users, containers and the system are not to be known. Any thread.
 */
bool gothread_is_scarce(size_t wanted, struct err *err);
/* The full name of the calling thread ("main" for the first, "?" for foreign ones). Borrowed. */
const char *gothread_name(void);
/* Gives the calling thread (main, or a test's) a record with this name. */
void gothread_adopt(const char *name);
/* Calls fn for each live thread with a record, for /debug. fn must not start or end threads. */
void gothread_each(void (*fn)(void *arg, const char *name, int tid), void *arg);
/*
 * The same for a process that is about to end, perhaps because a thread is stuck: does nothing, and
 * returns false, where the list of threads cannot be locked before deadline_ns (monotonic).
 */
bool gothread_try_each(
	void (*fn)(void *arg, const char *name, int tid), void *arg, int64_t deadline_ns);
/* How many threads with a record live. */
size_t gothread_count(void);

#endif
