/* SPDX-License-Identifier: MIT */
/*
 * Goroutines as pthreads (the go statement, sync.WaitGroup and nsqd's own
 * internal/util/wait_group_wrapper.go). Every thread of the daemon but main starts here, with a
 * name, an explicit stack size and a wait group that counts it. A thread whose function has returned
 * may be kept for the next one.
 */
#ifndef COMMON_GOTHREAD_H
#define COMMON_GOTHREAD_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

/* The longest name is that of a channel's disk queue, 132 bytes; of a longer one the rest is lost. */
#define GOTHREAD_NAME_SIZE 160

/*
 * sync.WaitGroup: counts functions that run, or whatever else is to be waited for. It joins nothing:
 * the thread of a function that has returned is kept, or joined by another one that ends.
 */
struct wait_group {
	pthread_mutex_t lock; /* a leaf; guards running */
	pthread_cond_t done;  /* running has become 0 */
	size_t running;       /* what was added and is not yet done */
};

void wait_group_init(struct wait_group *wg);
/* After wait_group_wait has returned; nothing may be added any more. */
void wait_group_destroy(struct wait_group *wg);
/* wg.Add(1): one more is to be waited for. From 0 on only while no thread waits. Any thread. */
void wait_group_add(struct wait_group *wg);
/* wg.Done(): one less. After the last wg may be gone when this returns: the caller leaves it alone. */
void wait_group_done(struct wait_group *wg);
/*
 * wg.Wrap(fn): runs fn(arg) in another thread, one that is kept or a new one, and counts it in wg
 * until it returns. Copies name; the kernel shows its first 15 bytes, thread_name() all of it.
 * Returns 0, or -1 with err set (EAGAIN: no more threads). On failure fn never runs, and arg is
 * still the caller's. In that thread all signals but STACKS_SIGNAL are blocked. fn must not change
 * that, and must leave no lock held: the next function would find it so.
 */
int wait_group_wrap(
	struct wait_group *wg, const char *name, void (*fn)(void *), void *arg, struct err *err);
/*
 * wg.Wait(): blocks until all that was added is done. What the functions of wg did is there to be
 * seen then. Not from inside wg.
 */
void wait_group_wait(struct wait_group *wg);
/* The same, but not beyond deadline_ns (monotonic). False: some still run. */
bool wait_group_wait_until(struct wait_group *wg, int64_t deadline_ns);
/*
 * Ends and joins the threads that are kept, and joins those that have ended: afterwards there are
 * only those whose function still runs. At the end of main, and before a fork. May block for as long
 * as they take to end. Any thread that holds no lock.
 */
void gothread_drain(void);

/*
 * For a process that will have thousands of threads: makes the kernel find sleeping ones fast. To
 * be called before the first of them starts.
 */
void gothread_expect_thousands(void);
/*
 * Have threads run out in the last five seconds, and would so many more leave hardly any? The rest
 * is for threads that all clients depend on, such as a topic's pump. (Kept ones are to be had.) A caller that can wait, or
 * refuse one client, does not try then; err is set as if it had tried and failed. Each failure
 * teaches how many threads there may be: nothing else tells the limits of user, container and
 * system together. Any thread.
 */
bool gothread_is_scarce(size_t wanted, struct err *err);
/* Gives the calling thread (main, or a test's) a record with this name. */
void gothread_adopt(const char *name);
/*
 * Calls fn for each thread that runs a function or was adopted, for /debug: those that are kept have
 * nothing to do with their last name. fn must not start or end threads.
 */
void gothread_each(void (*fn)(void *arg, const char *name, int tid), void *arg);
/*
 * The same for a process that is about to end, perhaps because a thread is stuck. False, and
 * nothing done: the list of threads could not be locked before deadline_ns (monotonic).
 */
bool gothread_try_each(
	void (*fn)(void *arg, const char *name, int tid), void *arg, int64_t deadline_ns);
/* The number of threads that run a function or were adopted. */
size_t gothread_count(void);
/* The number of those that are kept for the next function. */
size_t gothread_kept(void);

#endif
