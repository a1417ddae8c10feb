/* SPDX-License-Identifier: MIT */
/*
 * The inside of a chan, for chan.c, select.c and their tests.
 *
 * A function whose name ends in _locked is called with c->lock held. It wakes no thread: it
 * collects parkers in a wake_list, and the caller wakes them after it has released all locks.
 *
 * Lessons in docs/course/: 11-memory.
 */
#ifndef COMMON_CHAN_INTERNAL_H
#define COMMON_CHAN_INTERNAL_H

#include <stdatomic.h>
#include <stdint.h>

#include "common/chan.h"
#include "common/futex.h"
#include "common/park.h"

/*
 * A thread that waits at one chan, for one thing. It is on that thread's own stack, or part of a
 * task (runnext.h). While it is queued, and until its thread is woken, the chan's lock guards all
 * fields; after that they are the thread's again.
 */
struct waiter {
	struct waiter *next, *prev; /* in its queue; next also in the list of a deal */
	struct parker *parker;      /* immutable */
	char *v;     /* immutable; the thread's array of values; NULL: see copy_values */
	size_t max;  /* immutable while it is in a queue; how many */
	size_t n;    /* how many have been moved */
	int index;   /* immutable; its case of the select */
	bool shared; /* immutable; one of several of its thread: must be claimed first */
	bool queued;
	bool ok; /* served; false: the chan was closed */
};

struct waitq {
	struct waiter *first, *last;
};

/*
 * Hints, readable without the lock. A set bit may be out of date, or may stand for a waiter that
 * has been served elsewhere: the reader must take the lock and look. A clear bit is an answer: see
 * note_hints in chan.c.
 */
enum {
	HINT_RECV = 1, /* values, blocked senders, or closed */
	HINT_SEND = 2, /* free slots, blocked receivers, or closed (a sender must hear of that) */
	HINT_RECEIVERS = 4, /* blocked receivers */
};

#define CHAN_MAGIC 0x6e616863u

struct chan {
	_Alignas(64) _Atomic uint32_t lock; /* atomic; 0 free, 1 held, 2 held and wanted */
	_Atomic uint8_t hints;              /* atomic; written with lock held */
	bool closed;                        /* guarded by lock */
	uint32_t magic;                     /* immutable until chan_free */
	size_t elem_size;                   /* immutable */
	size_t cap;                         /* immutable */
	size_t count;                       /* guarded by lock; values in the ring */
	size_t head;                        /* guarded by lock; index of the oldest */
	struct waitq recvq;                 /* guarded by lock; oldest first */
	struct waitq sendq;                 /* guarded by lock; oldest first */
	struct waitq demandq;               /* guarded by lock */
	char *ring;        /* guarded by lock; cap elements; NULL: large, and was never used */
	char small_ring[]; /* guarded by lock; the ring, unless that is large */
};

_Noreturn void chan_misuse(const struct chan *c, const char *what);
void chan_lock_slow(struct chan *c);
void chan_check_invariants_locked(struct chan *c);

static inline void chan_assert_valid(const struct chan *c, const char *what)
{
	if (__builtin_expect(!c || c->magic != CHAN_MAGIC, 0))
		chan_misuse(c, what);
}

/* In a debug build, aborts unless some thread holds c->lock: first line of *_locked functions. */
static inline void chan_assert_locked(const struct chan *c)
{
#if defined(DEBUG_LOCKS) || defined(CHAN_PERTURB)
	if (atomic_load_explicit(&c->lock, memory_order_relaxed) == 0)
		chan_misuse(c, "assertion: it is not locked");
#else
	(void)c;
#endif
}

static inline void chan_lock(struct chan *c)
{
	uint32_t free = 0;
	if (__builtin_expect(!atomic_compare_exchange_weak_explicit(&c->lock, &free, 1,
				     memory_order_acquire, memory_order_relaxed),
		    0))
		chan_lock_slow(c);
}

static inline void chan_unlock(struct chan *c)
{
	uint8_t hints = 0;
	if (c->count > 0 || c->sendq.first || c->closed)
		hints |= HINT_RECV;
	if (c->count < c->cap || c->recvq.first || c->closed)
		hints |= HINT_SEND;
	if (c->recvq.first)
		hints |= HINT_RECEIVERS;
	if (hints != atomic_load_explicit(&c->hints, memory_order_relaxed))
		atomic_store_explicit(&c->hints, hints, memory_order_relaxed);
#if defined(DEBUG_LOCKS) || defined(CHAN_PERTURB)
	chan_check_invariants_locked(c);
#endif
	/*
	 * Once the lock is released, another thread may take it and free c. From here only the
	 * address is used.
	 */
	if (__builtin_expect(atomic_exchange_explicit(&c->lock, 0, memory_order_release) == 2, 0))
		futex_wake_one(&c->lock);
}

/* False: nothing of what bits ask for was ready at the moment of the call. */
static inline bool chan_hint(struct chan *c, unsigned bits)
{
	return atomic_load_explicit(&c->hints, memory_order_relaxed) & bits;
}

void waitq_add(struct waitq *q, struct waiter *w);
void waitq_remove(struct waitq *q, struct waiter *w);

/* Sends up to n values without blocking; returns how many. c is not closed. */
size_t chan_send_locked(struct chan *c, const char *v, size_t n, struct wake_list *wakes);
/* Receives up to max values without blocking; returns how many. v may be NULL. */
size_t chan_recv_locked(struct chan *c, char *v, size_t max, struct wake_list *wakes);
/* As many values of senders that wait go into the ring as have room there. */
void chan_refill_locked(struct chan *c, struct wake_list *wakes);
/* Writes a zero value to v, as a receive from a closed chan does. */
void chan_zero(const struct chan *c, char *v);
/* The room of the parked receivers except that of one thread (NULL: of all); counts up to limit. */
size_t chan_demand_locked(struct chan *c, size_t limit, const struct parker *except);
/* Wakes the selects that wait for demand; to be called once a new receiver is in recvq. */
void chan_announce_demand_locked(struct chan *c, struct wake_list *wakes);

#endif
