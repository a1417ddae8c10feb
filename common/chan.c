/* SPDX-License-Identifier: MIT */
/*
 * Operations on one chan. Mirrors runtime/chan.go. Any thread.
 *
 * Invariants, whenever the lock is free. A waiter is live until a thread has claimed its parker. A
 * select that was served elsewhere leaves dead waiters behind until it removes them.
 *   - count > 0    =>  no live receiver is queued;
 *   - count < cap  =>  no live sender is queued;
 *   - live receivers and live senders are queued together only if they belong to one select, which
 *     must not meet itself;
 *   - closed       =>  no live waiter is queued to send or receive;
 *   - a live waiter in demandq  =>  each live receiver belongs to its thread.
 * Debug builds check them at every unlock; docs/channels.md has the proofs.
 *
 * Exactly one wake-up (note_wakeups). A thread that takes a waiter out of a queue to serve it holds
 * the chan's lock. If the waiting thread stands in several queues (waiter.shared), the serving
 * thread must also win the claim on its parker. It writes the result while it holds the lock. It
 * calls park_wake after it has released all its locks, once for each claimed thread. After that
 * call it touches neither waiter nor parker: the woken thread goes on, and the waiter is on its
 * stack. (Or it goes on in the place of the claimed thread, which sleeps on: runnext.h.)
 *
 * Different from Go:
 *   - vectors: up to n values go under one lock, in equal shares to the receivers that wait. A
 *     blocked sender of n stays at the head of its queue until all its values are gone, so it is
 *     woken once;
 *   - demand: a sender can ask, and wait, for receivers (see chan.h);
 *   - a NULL chan outside of select aborts, where Go blocks for ever;
 *   - no allocation: a waiter is on the stack of its thread.
 *
 * Lessons in docs/course/: 02-rendezvous, 03-buffered, 04-close, 07-nil-chan.
 */
#include "common/chan.h"

#include <stdlib.h>
#include <string.h>

#include "common/chan_internal.h"
#include "common/check.h"

/*
 * note_hints: why a clear bit is an answer. A thread writes the hints before it releases the lock.
 * So an operation that made c ready has set the bit before it returns, and every thread for which
 * it happened before sees the bit. If a thread sees the bit clear, its call counts as made at the
 * moment of the load. An operation that is about to set the bit comes after that. This holds for
 * one chan only: a select over several may give up only with all of them locked (Go's
 * TestNonblockSelectRace2). And it is an answer about c alone. The thread that cleared the bit need
 * not have seen yet what the caller has written elsewhere (hence chan_signal). So the hints need no
 * order but that of the stores to one variable, and all their accesses are relaxed.
 */

/* --- making, closing, freeing ----------------------------------------------------------------- */

_Noreturn void chan_misuse(const struct chan *c, const char *what)
{
	if (!c)
		check_failed(__FILE__, __LINE__, "%s: the chan is NULL", what);
	if (c->magic != CHAN_MAGIC)
		check_failed(__FILE__, __LINE__, "%s: %p is not a chan", what, (const void *)c);
	check_failed(__FILE__, __LINE__, "%s: chan %p (capacity %zu, values of %zu bytes)", what,
		(const void *)c, c->cap, c->elem_size);
}

/*
 * A larger ring is allocated with its first value. The pages of a ring cost nothing before they are
 * touched, but each unused ring between other objects spoils the page that it begins in. The large
 * chans are the memory queues, and most of them are never used.
 */
#define SMALL_RING 1024

/* At least what chan_new allocates; the small ring begins within the struct's last bytes. */
static size_t size_with_ring(size_t ring)
{
	size_t size = offsetof(struct chan, small_ring) + ring;
	return size > sizeof(struct chan) ? size : sizeof(struct chan);
}

struct chan *chan_new(size_t elem_size, size_t cap)
{
	size_t ring;
	CHECK(!__builtin_mul_overflow(elem_size, cap, &ring) && ring <= PTRDIFF_MAX);
	/* aligned_alloc wants a multiple of the alignment. */
	struct chan *c = aligned_alloc(_Alignof(struct chan),
		(size_with_ring(ring > SMALL_RING ? 0 : ring) + 63) & ~(size_t)63);
	if (!c)
		check_failed(__FILE__, __LINE__, "out of memory for a chan");
	memset(c, 0, sizeof(*c));
	c->elem_size = elem_size;
	c->cap = cap;
	c->ring = ring > SMALL_RING ? NULL : c->small_ring;
	c->magic = CHAN_MAGIC;
	atomic_init(&c->hints, cap > 0 ? HINT_SEND : 0);
	return c;
}

void chan_free(struct chan *c)
{
	if (!c)
		return;
	chan_assert_valid(c, "chan_free");
	/*
	 * The thread by which the caller knows of the end has released the lock before it told. So
	 * this is for the check alone: a caller that is wrong about the end sees whole queues.
	 */
	chan_lock(c);
	if (c->recvq.first || c->sendq.first || c->demandq.first)
		chan_misuse(c, "free of a chan on which threads wait");
	c->magic = 0;
	chan_unlock(c);
	if (c->ring != c->small_ring)
		free(c->ring);
	free(c);
}

size_t chan_len(struct chan *c)
{
	chan_assert_valid(c, "chan_len");
	chan_lock(c);
	size_t n = c->count;
	chan_unlock(c);
	return n;
}

size_t chan_cap(const struct chan *c)
{
	chan_assert_valid(c, "chan_cap");
	return c->cap;
}

/* --- queues of waiters ------------------------------------------------------------------------ */

void waitq_add(struct waitq *q, struct waiter *w)
{
	w->next = NULL;
	w->prev = q->last;
	if (q->last)
		q->last->next = w;
	else
		q->first = w;
	q->last = w;
	w->queued = true;
}

void waitq_remove(struct waitq *q, struct waiter *w)
{
	if (w->prev)
		w->prev->next = w->next;
	else
		q->first = w->next;
	if (w->next)
		w->next->prev = w->prev;
	else
		q->last = w->prev;
	w->queued = false;
}

static bool waiter_claim(struct waiter *w)
{
	if (!w->shared)
		return true;
	if (!park_claim(w->parker))
		return false;
	park_perturb(PERTURB_CLAIM);
	return true;
}

/* Claims the oldest live waiter and leaves it queued: the caller must serve it. Drops dead ones. */
static struct waiter *waitq_claim(struct waitq *q)
{
	while (q->first && !waiter_claim(q->first))
		waitq_remove(q, q->first);
	return q->first;
}

/* Ends the wait of w, which the caller has claimed. */
static void waiter_done(struct waitq *q, struct waiter *w, bool ok, struct wake_list *wakes)
{
	waitq_remove(q, w);
	w->ok = ok;
	w->parker->won = w;
	wake_list_add(wakes, w->parker);
}

static bool waiter_is_live(const struct waiter *w)
{
	return !w->shared || !park_is_claimed(w->parker);
}

static const struct waiter *waitq_first_live(const struct waitq *q)
{
	const struct waiter *w = q->first;
	while (w && !waiter_is_live(w))
		w = w->next;
	return w;
}

/* For debug builds: the invariants at the top of this file. */
void chan_check_invariants_locked(struct chan *c)
{
	chan_assert_locked(c);
	const struct waiter *r = waitq_first_live(&c->recvq), *s = waitq_first_live(&c->sendq);
	const struct waiter *d = waitq_first_live(&c->demandq);
	CHECK(c->count <= c->cap);
	CHECK(c->count == 0 || !r);
	CHECK(c->count == c->cap || !s);
	CHECK(!c->closed || (!r && !s));
	/* A live waiter may die during these checks, but none comes to life. */
	CHECK(!r || !s || r->parker == s->parker || !waiter_is_live(r) || !waiter_is_live(s));
	for (; d && r; r = r->next)
		CHECK(r->parker == d->parker || !waiter_is_live(r) || !waiter_is_live(d));
}

/* --- moving values ---------------------------------------------------------------------------- */

/* Where value i is. NULL stays NULL. */
static char *value_at(const struct chan *c, const char *v, size_t i)
{
	return v ? (char *)v + i * c->elem_size : NULL;
}

/* No destination: they are discarded. No source: they are zero. */
static void copy_values(const struct chan *c, char *dst, const char *src, size_t n)
{
	if (!dst || c->elem_size == 0)
		return;
	if (!src)
		memset(dst, 0, n * c->elem_size);
	else if (n == 1 && c->elem_size == sizeof(void *))
		memcpy(dst, src, sizeof(void *)); /* the usual case, without a call */
	else
		memcpy(dst, src, n * c->elem_size);
}

void chan_zero(const struct chan *c, char *v)
{
	copy_values(c, v, NULL, 1);
}

/* The first value of a large ring. */
static __attribute__((noinline)) void ring_new(struct chan *c)
{
	c->ring = malloc(c->cap * c->elem_size);
	if (!c->ring)
		check_failed(__FILE__, __LINE__, "out of memory for %zu values of a chan", c->cap);
}

/* n values fit. */
static void ring_put(struct chan *c, const char *v, size_t n)
{
	size_t tail = c->head + c->count;
	if (__builtin_expect(!c->ring, 0))
		ring_new(c);
	if (tail >= c->cap)
		tail -= c->cap;
	size_t first = n < c->cap - tail ? n : c->cap - tail;
	copy_values(c, value_at(c, c->ring, tail), v, first);
	if (first < n)
		copy_values(c, c->ring, value_at(c, v, first), n - first);
	c->count += n;
}

/* n values are there. */
static void ring_get(struct chan *c, char *v, size_t n)
{
	size_t first = n < c->cap - c->head ? n : c->cap - c->head;
	copy_values(c, v, value_at(c, c->ring, c->head), first);
	if (first < n)
		copy_values(c, value_at(c, v, first), c->ring, n - first);
	c->count -= n;
	c->head += n;
	/*
	 * Empty, it starts again where its memory was used already, instead of touching all of it.
	 */
	if (c->count == 0)
		c->head = 0;
	else if (c->head >= c->cap)
		c->head -= c->cap;
}

/*
 * Gives up to n values to the receivers that wait, the oldest first, in equal shares. Each of k
 * receivers gets n/k, rounded up while that lasts, but no more than its room. The others get what
 * it has no room for.
 */
static size_t deal_locked(struct chan *c, const char *v, size_t n, struct wake_list *wakes)
{
	chan_assert_locked(c);
	struct waiter *w, *first = NULL, **tail = &first;
	size_t done = 0, hungry = 0;
	while (hungry < n && (w = waitq_claim(&c->recvq))) {
		waiter_done(&c->recvq, w, true, wakes);
		*tail = w;
		tail = &w->next;
		w->next = NULL;
		hungry++;
	}
	while (done < n && hungry > 0) {
		size_t left = hungry;
		hungry = 0;
		for (w = first; w; w = w->next) {
			size_t room = w->max - w->n;
			if (room == 0)
				continue;
			size_t share = left > 1 ? (n - done + left - 1) / left : n - done;
			left--;
			if (share > room)
				share = room;
			copy_values(c, value_at(c, w->v, w->n), value_at(c, v, done), share);
			done += share;
			w->n += share;
			if (w->n < w->max)
				hungry++;
		}
	}
	return done;
}

size_t chan_send_locked(struct chan *c, const char *v, size_t n, struct wake_list *wakes)
{
	chan_assert_locked(c);
	size_t done = c->recvq.first ? deal_locked(c, v, n, wakes) : 0;
	if (done < n && c->count < c->cap) {
		size_t free = c->cap - c->count;
		size_t put = n - done < free ? n - done : free;
		ring_put(c, value_at(c, v, done), put);
		done += put;
	}
	return done;
}

/*
 * Takes up to max values from the senders that wait, the oldest first: into the ring (where they
 * fit), or to dst. A sender that waits for this chan only stays queued until it has no more values.
 * A select leaves as soon as one of its values is taken.
 */
static size_t draw_locked(
	struct chan *c, char *dst, size_t max, bool to_ring, struct wake_list *wakes)
{
	chan_assert_locked(c);
	struct waiter *w;
	size_t n = 0;
	while (n < max && (w = waitq_claim(&c->sendq))) {
		size_t left = w->max - w->n;
		size_t k = max - n < left ? max - n : left;
		const char *src = value_at(c, w->v, w->n);
		if (to_ring)
			ring_put(c, src, k);
		else
			copy_values(c, value_at(c, dst, n), src, k);
		n += k;
		w->n += k;
		if (w->shared || w->n == w->max)
			waiter_done(&c->sendq, w, true, wakes);
	}
	return n;
}

void chan_refill_locked(struct chan *c, struct wake_list *wakes)
{
	chan_assert_locked(c);
	if (c->count < c->cap)
		draw_locked(c, NULL, c->cap - c->count, true, wakes);
}

size_t chan_recv_locked(struct chan *c, char *v, size_t max, struct wake_list *wakes)
{
	chan_assert_locked(c);
	size_t n = c->count < max ? c->count : max;
	if (n > 0)
		ring_get(c, v, n);
	if (c->sendq.first) {
		/* The ring's values are older than those of blocked senders. */
		if (n < max)
			n += draw_locked(c, value_at(c, v, n), max - n, false, wakes);
		chan_refill_locked(c, wakes);
	}
	return n;
}

void chan_close(struct chan *c)
{
	struct wake_list wakes = {NULL, NULL, 0};
	struct waiter *w;
	chan_assert_valid(c, "close");
	chan_lock(c);
	if (c->closed)
		chan_misuse(c, "close of closed chan");
	c->closed = true;
	while ((w = waitq_claim(&c->recvq))) {
		chan_zero(c, w->v);
		waiter_done(&c->recvq, w, false, &wakes);
	}
	/* Each of these senders will abort in its own thread. */
	while ((w = waitq_claim(&c->sendq)))
		waiter_done(&c->sendq, w, false, &wakes);
	chan_unlock(c);
	wake_list_wake(&wakes);
}

/* --- demand ----------------------------------------------------------------------------------- */

size_t chan_demand_locked(struct chan *c, size_t limit, const struct parker *except)
{
	chan_assert_locked(c);
	size_t room = 0;
	for (const struct waiter *w = c->recvq.first; w && room < limit; w = w->next)
		if (w->parker != except && waiter_is_live(w) &&
			__builtin_add_overflow(room, w->max - w->n, &room))
			room = SIZE_MAX;
	return room < limit ? room : limit;
}

void chan_announce_demand_locked(struct chan *c, struct wake_list *wakes)
{
	chan_assert_locked(c);
	struct waiter *next;
	for (struct waiter *w = c->demandq.first; w; w = next) {
		next = w->next;
		/*
		 * 0 has two reasons. A select that receives here as well must not answer itself.
		 * And a receiver may have been claimed elsewhere just now, as a task's can be.
		 */
		w->n = chan_demand_locked(c, w->max, w->parker);
		if (w->n == 0 || !waiter_claim(w))
			continue;
		waiter_done(&c->demandq, w, true, wakes);
	}
}

size_t chan_demand(struct chan *c, size_t most)
{
	chan_assert_valid(c, "chan_demand");
	if (!chan_hint(c, HINT_RECEIVERS))
		return 0;
	chan_lock(c);
	size_t room = chan_demand_locked(c, most, NULL);
	chan_unlock(c);
	return room;
}

/* --- operations on one chan ------------------------------------------------------------------- */

void chan_send_n(struct chan *c, const void *v, size_t n)
{
	struct wake_list wakes = {NULL, NULL, 0};
	chan_assert_valid(c, "send");
	if (n == 0)
		return;
	chan_lock(c);
	if (c->closed)
		chan_misuse(c, "send on closed chan");
	size_t done = chan_send_locked(c, v, n, &wakes);
	if (done == n) {
		chan_unlock(c);
		wake_list_wake(&wakes);
		return;
	}
	struct waiter w = {.parker = park_self(), .v = value_at(c, v, done), .max = n - done};
	waitq_add(&c->sendq, &w);
	chan_unlock(c);
	wake_list_wake(&wakes);
	park_wait(w.parker, 0);
	if (!w.ok)
		chan_misuse(c, "send on closed chan");
}

void chan_send(struct chan *c, const void *v)
{
	chan_send_n(c, v, 1);
}

size_t chan_recv_n(struct chan *c, void *v, size_t max)
{
	struct wake_list wakes = {NULL, NULL, 0};
	chan_assert_valid(c, "receive");
	CHECK(max > 0);
	chan_lock(c);
	size_t n = chan_recv_locked(c, v, max, &wakes);
	if (n > 0 || c->closed) {
		if (n == 0)
			chan_zero(c, v);
		chan_unlock(c);
		wake_list_wake(&wakes);
		return n;
	}
	struct waiter w = {.parker = park_self(), .v = v, .max = max};
	waitq_add(&c->recvq, &w);
	if (c->demandq.first)
		chan_announce_demand_locked(c, &wakes);
	chan_unlock(c);
	wake_list_wake(&wakes);
	park_wait(w.parker, 0);
	return w.n;
}

bool chan_recv(struct chan *c, void *v)
{
	return chan_recv_n(c, v, 1) == 1;
}

size_t chan_try_send_n(struct chan *c, const void *v, size_t n)
{
	struct wake_list wakes = {NULL, NULL, 0};
	chan_assert_valid(c, "send");
	if (n == 0 || !chan_hint(c, HINT_SEND))
		return 0;
	chan_lock(c);
	if (c->closed)
		chan_misuse(c, "send on closed chan");
	size_t done = chan_send_locked(c, v, n, &wakes);
	chan_unlock(c);
	wake_list_wake(&wakes);
	return done;
}

void chan_signal(struct chan *c)
{
	struct wake_list wakes = {NULL, NULL, 0};
	chan_assert_valid(c, "signal");
	CHECK(c->cap == 1);
	chan_lock(c);
	if (c->closed)
		chan_misuse(c, "signal on closed chan");
	chan_send_locked(c, NULL, 1, &wakes);
	chan_unlock(c);
	wake_list_wake(&wakes);
}

size_t chan_try_recv_n(struct chan *c, void *v, size_t max, bool *closed)
{
	struct wake_list wakes = {NULL, NULL, 0};
	bool over = false;
	size_t n = 0;
	chan_assert_valid(c, "receive");
	if (chan_hint(c, HINT_RECV)) {
		chan_lock(c);
		n = chan_recv_locked(c, v, max, &wakes);
		over = n == 0 && c->closed && c->count == 0;
		if (over && max > 0)
			chan_zero(c, v);
		chan_unlock(c);
		wake_list_wake(&wakes);
	}
	if (closed)
		*closed = over;
	return n;
}

/*
 * The lock of a chan is four bytes beside what it guards: an operation touches one cache line, and
 * makes no call while no other thread wants the lock. It is held for some ten nanoseconds, over
 * nothing that can block, so a thread that spins for a moment nearly always wins. (The three states
 * are those of Drepper, "Futexes are tricky".)
 */
#ifndef LOCK_SPINS
#define LOCK_SPINS 100
#endif

void chan_lock_slow(struct chan *c)
{
	for (int i = 0; i < LOCK_SPINS; i++) {
		uint32_t free = 0;
		if (atomic_load_explicit(&c->lock, memory_order_relaxed) == 0 &&
			atomic_compare_exchange_weak_explicit(
				&c->lock, &free, 1, memory_order_acquire, memory_order_relaxed))
			return;
		cpu_relax();
	}
	while (atomic_exchange_explicit(&c->lock, 2, memory_order_acquire) != 0)
		futex_wait_until(&c->lock, 2, 0);
}
