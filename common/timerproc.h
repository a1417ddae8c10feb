/* SPDX-License-Identifier: MIT */
/*
 * The thread "timerproc", for the tickers of tasks (timerproc of runtime/time.go, until Go 1.13).
 *
 * A thread in a select wakes by itself when a ticker is due. The owner of a task cannot: the select
 * that it sleeps in may be another's, made in its place, with a nearer deadline. So owners sleep
 * without one, and timerproc claims a task whose ticker may be due. Then it takes the next step, or
 * has the owner do that, as any other waker (runnext.h).
 *
 * A timer is a time at which timerproc will look at a task. It may come too early, never too late: a
 * task whose deadline has moved to a later time is looked at in vain, and expected anew. So a task
 * only tells of a deadline that is nearer than the look that is planned.
 */
#ifndef COMMON_TIMERPROC_H
#define COMMON_TIMERPROC_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "common/heap.h"
#include "common/park.h"

struct timer {
	_Atomic int64_t when_ns; /* the planned look; INT64_MAX: none. Written with the lock held */
	struct heap_node node;   /* guarded by the lock */
	struct parker *parker;   /* immutable: the task's */
};

/*
 * Starts the thread. take_steps is what it does with the tasks that it has claimed, which it hands
 * over. 0, or -1 with err set. runnext_start only.
 */
int timerproc_start(void (*take_steps)(struct wake_list *due), struct err *err);
/* Ends and joins it; no task runs any more. */
void timerproc_stop(void);

/* The task whose parker this is begins, and ends. The owner. Take the lock. */
void timer_init(struct timer *t, struct parker *p);
void timer_destroy(struct timer *t);
/*
 * The task is parked, and its next ticker is due at when_ns. To be called after park_reopen: see
 * docs/channels.md. Takes the lock (a leaf: chans may be locked). True: the caller calls
 * timerproc_wake, when it has unlocked the chans.
 */
bool timer_expect(struct timer *t, int64_t when_ns);
void timerproc_wake(void);
/*
 * Takes the steps of these claimed tasks, soon, and empties l: for threads that keep no tasks
 * (park_set_steps_taker). Does not block.
 */
void timerproc_give(struct wake_list *l);

#endif
