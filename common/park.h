/* SPDX-License-Identifier: MIT */
/*
 * Putting a thread to sleep and waking exactly that thread (gopark and goready of the Go runtime),
 * for chan.c and select.c only.
 *
 * A thread has one parker. An episode of sleep goes like this:
 *
 *   the sleeper                          a waker
 *   park_open(p)
 *   publishes p under some lock(s)
 *                                        finds p under one of those locks
 *                                        park_claim(p): one claimer wins
 *                                        writes the result and p->won
 *   park_wait(p, deadline)               unlocks, park_wake(p)
 *   retracts p from all other places
 *   reads p->won
 *
 * Exactly one park_wake follows each successful claim by another thread, and the sleeper waits for
 * it before it opens the next episode. A parker is never given back to the allocator: a waker may
 * still hold its address when the thread that it woke has ended.
 */
#ifndef COMMON_PARK_H
#define COMMON_PARK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct parker {
	/* A line of its own: one thread spins on it, another writes it once. */
	_Alignas(64) _Atomic uint32_t state; /* atomic; see park.c */
	_Atomic bool claimed;                /* atomic; the thread that sets it owns won and next */
	uint32_t spin_limit;     /* owner only; this and the next two: note_spinning in park.c */
	uint32_t probe_interval; /* owner only */
	uint32_t parks;          /* owner only; since the last probe */
	void *won;               /* claimer's until park_wake, then owner's; NULL: try again */
	struct parker *next;     /* claimer: its wake list; unused: the free list */
};

/* The calling thread's parker. Only the first call in a thread may allocate. */
struct parker *park_self(void);

/* Starts an episode. No other thread may know p yet. */
static inline void park_open(struct parker *p)
{
	atomic_store_explicit(&p->claimed, false, memory_order_relaxed);
}

/* True for one caller per episode: that thread alone decides how the episode ends. */
static inline bool park_claim(struct parker *p)
{
	return !atomic_load_explicit(&p->claimed, memory_order_relaxed) &&
	       !atomic_exchange_explicit(&p->claimed, true, memory_order_acq_rel);
}

static inline bool park_is_claimed(struct parker *p)
{
	return atomic_load_explicit(&p->claimed, memory_order_relaxed);
}

/*
 * Sleeps until park_wake(p), or until deadline_ns on the monotonic clock (0: for ever). False: the
 * deadline passed first. Then the caller must claim its own parker. If that fails, a wake-up is on
 * its way, and the caller must wait for it.
 */
bool park_wait(struct parker *p, int64_t deadline_ns);
/* Ends the episode that the caller has claimed; p may be another thread's when this returns. */
void park_wake(struct parker *p);

/* Parkers that a waker has claimed under a lock and will wake after it, oldest first. */
struct wake_list {
	struct parker *first, *last;
};

static inline void wake_list_add(struct wake_list *l, struct parker *p)
{
	p->next = NULL;
	if (l->first)
		l->last->next = p;
	else
		l->first = p;
	l->last = p;
}

/* Wakes all of them. The caller holds no chan's lock. */
void wake_list_wake_all(struct wake_list *l);

static inline void wake_list_wake(struct wake_list *l)
{
	if (__builtin_expect(l->first != NULL, 0))
		wake_list_wake_all(l);
}

/*
 * The perturbation build (make PERTURB=1) gives up the processor now and then, at points where a
 * wrong algorithm would lose a race. The seed comes from CHAN_SEED, or is drawn and printed. In
 * other builds this does nothing.
 */
enum perturb_point { PERTURB_LOCK_ALL, PERTURB_PARK, PERTURB_CLAIM, PERTURB_WAKE };

#ifdef CHAN_PERTURB
void park_perturb(enum perturb_point point);
#else
static inline void park_perturb(enum perturb_point point)
{
	(void)point;
}
#endif

#endif
