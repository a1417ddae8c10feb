/* SPDX-License-Identifier: MIT */
/*
 * Which of many things is due next, for the one thread that waits for all of them. Go's runtime
 * does this for its timers: a heap of them (runtime/time.go), and wakeNetPoller (runtime/proc.go),
 * which wakes the thread that waits, if that would sleep for too long.
 *
 * Here most deadlines never come: a message has a minute, and is finished after a millisecond. So
 * the queue holds only what is due before the *horizon*, and a thread whose thing is due later pays
 * for one load:
 *
 *      now        the waiter wakes up          horizon
 *     --+----------------+------------------------+----------------------------------> time
 *       |  in the queue: deadlines_add            |  left alone: deadlines_concern is false
 *
 * When the horizon has come, the waiter moves it on. Then it looks at all things, and adds those
 * that are due before the new one.
 *
 * The **contract**. Each thing has its deadline published in an atomic. Both sides are sequentially
 * consistent, so one of the two sees the other (docs/channels.md, "Signals"):
 *
 *     a thread that makes the deadline earlier     the waiter
 *     1. stores the deadline                       1. deadlines_set_horizon
 *     2. deadlines_concern; if so, deadlines_add   2. loads all deadlines, adds those before it
 *
 * A deadline that becomes later needs no step at all. The waiter then looks too early, once.
 */
#ifndef COMMON_DEADLINES_H
#define COMMON_DEADLINES_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/chan.h"
#include "common/clock.h"
#include "common/heap.h"
#include "common/lock.h"

/*
 * The waiter looks at most once in this time (ns), however many things are due, and however close
 * together. So a thing is taken up to so much late, and never early.
 */
#define DEADLINES_GRAIN (2 * NSEC_PER_MSEC)

/* What a thing with a deadline contains. All zeros is one that is in no queue. */
struct deadline {
	struct heap_node node; /* guarded by deadlines.lock, as is all of it */
	int64_t due_ns; /* while it is queued; once taken: the earliest that was added since */
	enum { DEADLINE_IDLE, DEADLINE_QUEUED, DEADLINE_TAKEN } state;
};

struct deadlines {
	struct mutex lock;
	struct heap queue;          /* guarded by lock; of struct deadline, by due_ns; borrowed */
	_Atomic int64_t horizon_ns; /* written under lock; at first and at the end INT64_MIN */
	int64_t rest_until_ns;      /* the waiter's own: it takes nothing before */
	int64_t earlier_than_ns;    /* guarded by lock: of what is due before, tell the waiter */
	struct chan *earlier_chan;  /* immutable; capacity 1: the waiter is to look again */
};

void deadlines_init(struct deadlines *q);
/* Nothing is queued any more. */
void deadlines_destroy(struct deadlines *q);

/* --- any thread ----------------------------------------------------------------------------- */

/* Whether what is due then is the queue's: it is due before the horizon. Takes no lock. */
static inline bool deadlines_concern(struct deadlines *q, int64_t at_ns)
{
	return at_ns < atomic_load(&q->horizon_ns);
}
/*
 * d is due at at_ns, if not earlier. Wakes the waiter, if that would sleep for too long. True: d
 * has come into the queue; it belongs to the queue until the waiter has taken it and put it back.
 * False: it is there already, or the waiter has it, or it is due after the horizon. Takes q's lock,
 * a leaf.
 */
bool deadlines_add(struct deadlines *q, struct deadline *d, int64_t at_ns);
/*
 * After a take: d is due next at at_ns, or INT64_MAX for never, or at what was added meanwhile.
 * True: it is in the queue again. False: it is due after the horizon, and the caller's.
 */
bool deadlines_put_back(struct deadlines *q, struct deadline *d, int64_t at_ns);

/* --- the waiter ----------------------------------------------------------------------------- */

/*
 * Moves the horizon on, and ends the rest. The waiter must then look at all things, and add those
 * that are due before it. INT64_MIN: from now on nothing is added; what is queued can be taken.
 */
void deadlines_set_horizon(struct deadlines *q, int64_t ns);
/*
 * Takes up to max of those that are due at now_ns, the earliest first; returns how many. None while
 * the waiter rests: it does so for DEADLINES_GRAIN after it has taken all that was due.
 */
size_t deadlines_take(struct deadlines *q, int64_t now_ns, struct deadline **v, size_t max);
/*
 * When the waiter is to look again (ns): when the next one is due, or the horizon comes, but not
 * before it has rested. From now until it takes the next time, it is told by earlier_chan of what
 * is due earlier.
 */
int64_t deadlines_await(struct deadlines *q);

#endif
