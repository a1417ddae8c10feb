/* SPDX-License-Identifier: MIT */
/*
 * Putting a thread to sleep and waking exactly that thread (gopark and goready of the Go runtime),
 * for chan.c, select.c and runnext.c only.
 *
 * A thread has one parker, and each task that it owns has another (runnext.h). An episode of sleep
 * goes like this:
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
 * it before it opens the next episode. (The parker of a task may be opened anew by the thread that
 * has claimed it, and its owner sleeps through several episodes.) A waker may still hold the
 * address of a parker when the thread that it woke has ended. By then it uses nothing but the
 * address, for the kernel.
 */
#ifndef COMMON_PARK_H
#define COMMON_PARK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Parkers that a waker has claimed under a lock and will wake after it, oldest first. */
struct wake_list {
	struct parker *first, *last;
	unsigned n;
};

struct parker {
	/* A line of its own: one thread spins on it, another writes it once. */
	_Alignas(64) _Atomic uint32_t state; /* atomic; see park.c */
	_Atomic bool claimed;                /* atomic; the thread that sets it owns won and next */
	uint32_t spin_limit;     /* owner only; this and the next two: note_spinning in park.c */
	uint32_t probe_interval; /* owner only */
	uint32_t parks;          /* owner only; since the last probe */
	void *won;               /* claimer's until park_wake, then owner's; NULL: try again */
	struct parker *next;     /* claimer: its wake list; unused: the free list */
	struct wake_list rest;   /* claimer's until park_wake, then owner's: see park_hand_off */
	/*
	 * Immutable. NULL: only the owner goes on from here. Else the parker is a task's: may the
	 * thread that has claimed it take the next step in the owner's place?
	 */
	bool (*may_run)(struct parker *p);
	void (*absent)(struct parker *p); /* immutable; a task's: park_wake found no owner */
};

/* The calling thread's parker. Only the first call in a thread may allocate. */
struct parker *park_self(void);
/*
 * The calling thread's function has returned, and the next one is another goroutine's. Its parker
 * forgets what it has learned, as if it were a new thread's. Aborts if the thread keeps tasks.
 */
void park_forget(void);
/*
 * Makes p the parker of a task; no episode is open. It has an owner until park_leave. absent is for
 * tasks that may be without one, and NULL for others.
 */
void park_init(
	struct parker *p, bool (*may_run)(struct parker *p), void (*absent)(struct parker *p));

/* Starts an episode. No other thread may know p yet. */
static inline void park_open(struct parker *p)
{
	atomic_store_explicit(&p->claimed, false, memory_order_relaxed);
}

/*
 * The same for a parker that other threads know already: from now on they may claim it. What was
 * written before is theirs to read.
 */
static inline void park_reopen(struct parker *p)
{
	atomic_store(&p->claimed, false);
}

/*
 * True for one caller per episode: that thread alone decides how the episode ends. It sees what was
 * written before park_reopen.
 */
static inline bool park_claim(struct parker *p)
{
	return !atomic_load_explicit(&p->claimed, memory_order_relaxed) &&
	       !atomic_exchange_explicit(&p->claimed, true, memory_order_acquire);
}

/* The same, in one order with all that is sequentially consistent: for timerproc.c. */
static inline bool park_claim_in_order(struct parker *p)
{
	return !atomic_exchange(&p->claimed, true);
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
/*
 * Ends the episode that the caller has claimed; p may be another thread's when this returns. Without
 * an owner p->absent(p) is called in place of a wake-up, once. It is to see that a thread calls
 * park_wait(p), now or later, which returns at once.
 */
void park_wake(struct parker *p);
/* The task whose parker this is has no owner from now on, until park_wake. By the one with the claim. */
void park_leave(struct parker *p);
/* Has p no owner, since park_leave? By the one with the claim: it does not change meanwhile. */
bool park_is_absent(struct parker *p);
/*
 * The owner does something else now, and may be at it for a while; then it calls park_wait. (A
 * wake-up meanwhile costs no system call.)
 */
void park_busy(struct parker *p);
/* Has p been woken, so that park_wait would return at once? The owner. */
bool park_is_woken(struct parker *p);
/* Is the owner asleep, busy or absent, so that it would not answer at once? A guess. */
bool park_is_away(struct parker *p);

static inline void wake_list_add(struct wake_list *l, struct parker *p)
{
	p->next = NULL;
	if (l->first)
		l->last->next = p;
	else
		l->first = p;
	l->last = p;
	l->n++;
}

/* Takes the oldest out of the list; NULL: it is empty. */
static inline struct parker *wake_list_take(struct wake_list *l)
{
	struct parker *p = l->first;
	if (p) {
		l->first = p->next;
		l->n--;
	}
	return p;
}

/* The most tasks that a thread keeps: before it is one more, the list goes to the first's owner. */
#define PARK_KEPT_MAX 16

/*
 * Wakes all of them. The caller holds no chan's lock. The parkers of tasks whose next step it may
 * run go to the list of park_keep instead, if it has one.
 */
void wake_list_wake_all(struct wake_list *l);
/*
 * A task that has no owner would get one, if a thread wakes it that keeps none: a thread for each of
 * the thousands that one call may wake. take is given their list instead, with all of them claimed:
 * it may not block, and chans are unlocked. NULL: no longer. runnext.c only, while there is no task.
 */
void park_set_steps_taker(void (*take)(struct wake_list *l));
/* From now on the calling thread keeps such tasks there; NULL: no longer. runnext.c only. */
void park_keep(struct wake_list *kept);
/*
 * The calling thread is about to block: wakes the owner of a task that it keeps, which finds the
 * others in parker.rest, and goes on with them. It is the first that has an owner; if none has, the
 * first of all gets one. park_wait calls it.
 */
void park_hand_off(void);

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
enum perturb_point {
	PERTURB_LOCK_ALL,
	PERTURB_PARK,
	PERTURB_CLAIM,
	PERTURB_WAKE,
	PERTURB_ARM,
	PERTURB_STEP,
	PERTURB_LEAVE,
	PERTURB_POLL
};

#ifdef CHAN_PERTURB
void park_perturb(enum perturb_point point);
#else
static inline void park_perturb(enum perturb_point point)
{
	(void)point;
}
#endif

#endif
