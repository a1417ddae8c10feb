/* SPDX-License-Identifier: MIT */
/*
 * The inside of a select, for select.c and runnext.c. A thread's select is on its stack; that of a
 * task is part of the task.
 *
 * A function whose name ends in _locked is called with all chans of the select locked.
 */
#ifndef COMMON_SELECT_INTERNAL_H
#define COMMON_SELECT_INTERNAL_H

#include <stdint.h>

#include "common/chan_internal.h"

/* One select, from sel_init to its result. Its thread's; of a task: of the thread with the claim. */
struct sel {
	struct chan_case *cases;
	unsigned nlive;
	unsigned nlocks;
	int64_t now_ns;  /* the clock in this pass; 0: not read yet */
	uint64_t random; /* the rest of a drawn number */
	struct wake_list wakes;
	uint8_t order[CHAN_SELECT_MAX]; /* indices of live cases; see sel_pick */
	uint8_t locks[CHAN_SELECT_MAX]; /* indices of cases: each chan once, by address */
};

/* Begins a select over these cases, which it keeps. */
void sel_init(struct sel *s, struct chan_case *cases, int ncases);
/*
 * Runs a case that is ready, and returns its index; all chans are unlocked then, and what that woke
 * is awake. -1: none is ready, and all chans are locked.
 */
int sel_try(struct sel *s);
/* The i-th of the nlocks chans that sel_try has locked. */
struct chan *sel_lock_at(const struct sel *s, unsigned i);
/*
 * Queues a waiter for each live case, all with this parker. The waiters, one per live case, belong
 * to the chans until sel_resolve. Returns the earliest deadline of the tickers, 0 for none.
 */
int64_t sel_enqueue_locked(struct sel *s, struct parker *p, struct waiter *waiters);
/*
 * Now that its receivers are queued, and may be served: tells the selects that wait for demand. The
 * caller wakes them when it has unlocked the chans.
 */
void sel_announce_locked(struct sel *s, struct wake_list *wakes);
/*
 * After the claim: takes the waiters out of the queues. Returns the index of the case whose waiter
 * has won; -1: none, since the claim was made for no case.
 */
int sel_resolve(struct sel *s, struct waiter *waiters, const struct waiter *won);

#endif
