/* SPDX-License-Identifier: MIT */
/*
 * select over chans and tickers. Mirrors runtime/select.go. Any thread.
 *
 * 1. An optimistic pass tries the cases in random order, each under its own lock only. It skips a
 *    case without locking if the hint says no. It can only succeed: it cannot tell that nothing was
 *    ready at one moment.
 * 2. A pass with all chans locked, in the order of their addresses, decides. It runs the first case
 *    (in the same random order) that is ready; else default; else it queues a waiter per case,
 *    releases the locks, and parks.
 * 3. After the wake-up, it removes the waiters that did not win from their queues, one lock at a
 *    time: the claim has settled that they are dead.
 *
 * Different from Go: CHAN_DEMAND, vectors, CHAN_SELECT_MAX, and a ticker is a case. A ticker is a
 * deadline that is compared with the clock, in the same random order as the chans: if it came last,
 * a busy client would never be flushed.
 *
 * Lessons in docs/course/: 06-select, 08-default.
 */
#include <string.h>

#include "common/chan.h"
#include "common/chan_internal.h"
#include "common/check.h"
#include "common/clock.h"
#include "common/compiler.h"
#include "common/rand.h"
#include "common/select_internal.h"

/* A case that is switched off is never ready. */
static bool case_is_live(const struct chan_case *cc)
{
	switch (cc->op) {
	case CHAN_SEND:
	case CHAN_RECV:
		if (!cc->c || cc->max == 0)
			return false;
		break;
	case CHAN_DEMAND:
		if (!cc->c)
			return false;
		break;
	case CHAN_TICK:
		return cc->ticker && cc->ticker->next_ns != 0;
	default:
		check_failed(__FILE__, __LINE__, "select: no such operation: %d", (int)cc->op);
	}
	chan_assert_valid(cc->c, "select");
	return true;
}

void sel_init(struct sel *s, struct chan_case *cases, int ncases)
{
	CHECK(ncases >= 0 && ncases <= CHAN_SELECT_MAX);
	s->cases = cases;
	s->nlive = 0;
	s->nlocks = 0;
	s->now_ns = 0;
	s->wakes = (struct wake_list){NULL, NULL, 0};
	for (int i = 0; i < ncases; i++) {
		cases[i].n = 0;
		cases[i].ok = false;
		if (case_is_live(&cases[i]))
			s->order[s->nlive++] = (uint8_t)i;
	}
}

/*
 * The i-th case of the random order (Fisher-Yates, done step by step, since most passes end early).
 * One drawn number serves RANDOM_STEPS steps: each takes its highest digit to base k and leaves the
 * rest. Four digits to base 64 are 2^24 of 2^64, so the bias is below 2^-40.
 */
#define RANDOM_STEPS 4

static unsigned sel_pick(struct sel *s, unsigned i)
{
	unsigned k = s->nlive - i, j;
	unsigned __int128 product;
	uint8_t picked;
	if (k > 1) {
		if (i % RANDOM_STEPS == 0)
			s->random = rand_u64();
		product = (unsigned __int128)s->random * k;
		s->random = (uint64_t)product;
		j = i + (unsigned)(product >> 64);
		picked = s->order[j];
		s->order[j] = s->order[i];
		s->order[i] = picked;
	}
	return s->order[i];
}

static bool tick_is_taken(struct sel *s, struct ticker *t)
{
	if (s->now_ns == 0)
		s->now_ns = clock_mono_ns();
	return ticker_take(t, s->now_ns);
}

/* Runs the case if it is ready. */
static bool case_run_locked(struct chan_case *cc, struct wake_list *wakes)
{
	struct chan *c = cc->c;
	chan_assert_locked(c);
	switch (cc->op) {
	case CHAN_SEND:
		if (c->closed)
			chan_misuse(c, "send on closed chan");
		cc->n = chan_send_locked(c, cc->v, cc->max, wakes);
		return cc->n > 0;
	case CHAN_RECV:
		cc->n = chan_recv_locked(c, cc->v, cc->max, wakes);
		cc->ok = cc->n > 0;
		if (!cc->ok && c->closed)
			chan_zero(c, cc->v);
		return cc->ok || c->closed;
	default:
		cc->n = chan_demand_locked(c, cc->max != 0 ? cc->max : SIZE_MAX, NULL);
		return cc->n > 0;
	}
}

/* The hints of which one must be set. */
static unsigned case_hint(const struct chan_case *cc)
{
	return cc->op == CHAN_SEND ? HINT_SEND : cc->op == CHAN_RECV ? HINT_RECV : HINT_RECEIVERS;
}

/* Step 1. The index of the case that was run, or -1. */
static int sel_try_each(struct sel *s)
{
	s->now_ns = 0;
	for (unsigned i = 0; i < s->nlive; i++) {
		unsigned index = sel_pick(s, i);
		struct chan_case *cc = &s->cases[index];
		if (cc->op == CHAN_TICK) {
			if (tick_is_taken(s, cc->ticker))
				return (int)index;
			continue;
		}
		if (!chan_hint(cc->c, case_hint(cc)))
			continue;
		chan_lock(cc->c);
		bool ran = case_run_locked(cc, &s->wakes);
		chan_unlock(cc->c);
		if (ran) {
			wake_list_wake(&s->wakes);
			return (int)index;
		}
	}
	return -1;
}

/* The chan that is the i-th to be locked. */
struct chan *sel_lock_at(const struct sel *s, unsigned i)
{
	return s->cases[s->locks[i]].c;
}

/* Each chan once, by address: so no two selects each hold a lock that the other waits for. */
static void sel_sort_locks(struct sel *s)
{
	s->nlocks = 0;
	for (unsigned i = 0; i < s->nlive; i++) {
		const struct chan_case *cc = &s->cases[s->order[i]];
		unsigned at = s->nlocks;

		if (cc->op == CHAN_TICK)
			continue;
		while (at > 0 && (uintptr_t)sel_lock_at(s, at - 1) > (uintptr_t)cc->c)
			at--;
		if (at > 0 && sel_lock_at(s, at - 1) == cc->c)
			continue;
		memmove(&s->locks[at + 1], &s->locks[at], s->nlocks - at);
		s->locks[at] = s->order[i];
		s->nlocks++;
	}
}

static void sel_lock_all(struct sel *s)
{
	park_perturb(PERTURB_LOCK_ALL);
	for (unsigned i = 0; i < s->nlocks; i++)
		chan_lock(sel_lock_at(s, i));
}

static void sel_assert_all_locked(const struct sel *s)
{
	for (unsigned i = 0; i < s->nlocks; i++)
		chan_assert_locked(sel_lock_at(s, i));
}

/* Unlocks, and only then wakes. */
static void sel_unlock_all(struct sel *s)
{
	for (unsigned i = s->nlocks; i > 0; i--)
		chan_unlock(sel_lock_at(s, i - 1));
	wake_list_wake(&s->wakes);
}

/* Step 2, first half: as sel_try_each, but for all cases at one moment. */
static int sel_try_all_locked(struct sel *s)
{
	sel_assert_all_locked(s);
	for (unsigned i = 0; i < s->nlive; i++) {
		struct chan_case *cc = &s->cases[s->order[i]];
		if (cc->op == CHAN_TICK ? tick_is_taken(s, cc->ticker)
					: case_run_locked(cc, &s->wakes))
			return s->order[i];
	}
	return -1;
}

static struct waitq *case_queue(const struct chan_case *cc)
{
	return cc->op == CHAN_SEND   ? &cc->c->sendq
	       : cc->op == CHAN_RECV ? &cc->c->recvq
				     : &cc->c->demandq;
}

int64_t sel_enqueue_locked(struct sel *s, struct parker *p, struct waiter *waiters)
{
	int64_t deadline_ns = 0;
	sel_assert_all_locked(s);
	for (unsigned i = 0; i < s->nlive; i++) {
		struct chan_case *cc = &s->cases[s->order[i]];
		struct waiter *w = &waiters[i];
		if (cc->op == CHAN_TICK) {
			if (deadline_ns == 0 || cc->ticker->next_ns < deadline_ns)
				deadline_ns = cc->ticker->next_ns;
			continue;
		}
		*w = (struct waiter){.parker = p,
			.v = cc->v,
			.max = cc->op == CHAN_DEMAND && cc->max == 0 ? SIZE_MAX : cc->max,
			.index = s->order[i],
			.shared = true};
		waitq_add(case_queue(cc), w);
	}
	return deadline_ns;
}

void sel_announce_locked(struct sel *s, struct wake_list *wakes)
{
	for (unsigned i = 0; i < s->nlive; i++) {
		struct chan_case *cc = &s->cases[s->order[i]];
		if (cc->op == CHAN_RECV && cc->c->demandq.first)
			chan_announce_demand_locked(cc->c, wakes);
	}
}

/* Step 3. The winner has left its queue already. */
static void sel_dequeue(struct sel *s, struct waiter *waiters, const struct waiter *won)
{
	for (unsigned i = 0; i < s->nlive; i++) {
		struct chan_case *cc = &s->cases[s->order[i]];
		struct waiter *w = &waiters[i];
		if (cc->op == CHAN_TICK || w == won)
			continue;
		chan_lock(cc->c);
		if (w->queued)
			waitq_remove(case_queue(cc), w);
		chan_unlock(cc->c);
	}
}

/* Takes over the result that the waker has written. Returns the index of the case. */
static int sel_take_result(struct sel *s, const struct waiter *won)
{
	struct chan_case *cc = &s->cases[won->index];
	if (cc->op == CHAN_SEND && !won->ok)
		chan_misuse(cc->c, "send on closed chan");
	cc->n = won->n;
	cc->ok = cc->op == CHAN_RECV && won->ok;
	return won->index;
}

int sel_resolve(struct sel *s, struct waiter *waiters, const struct waiter *won)
{
	sel_dequeue(s, waiters, won);
	return won ? sel_take_result(s, won) : -1;
}

/*
 * Step 2, second half, and step 3: parks, with all chans locked and none of them ready. waiters has
 * an element per live case. -1 if a ticker came due during the sleep.
 */
static inline int sel_park(struct sel *s, struct waiter *waiters)
{
	const struct waiter *won = NULL;
	struct parker *p = park_self();
	park_open(p);
	int64_t deadline_ns = sel_enqueue_locked(s, p, waiters);
	sel_announce_locked(s, &s->wakes);
	sel_unlock_all(s);
	if (park_wait(p, deadline_ns)) {
		won = p->won;
	} else if (!park_claim(p)) {
		/* Another thread has served us at the last moment; its wake-up is on its way. */
		park_wait(p, 0);
		won = p->won;
	}
	return sel_resolve(s, waiters, won);
}

/*
 * Most threads spend most of their life in one of these, and each stack is backed by memory down to
 * here. CHAN_SELECT_MAX waiters would be a page more, which few selects need.
 */
#define FEW_WAITERS 10

static __attribute__((noinline)) int sel_park_few(struct sel *s)
{
	struct waiter waiters[FEW_WAITERS] UNINITIALIZED;
	return sel_park(s, waiters);
}

static __attribute__((noinline)) int sel_park_many(struct sel *s)
{
	struct waiter waiters[CHAN_SELECT_MAX] UNINITIALIZED;
	return sel_park(s, waiters);
}

int sel_try(struct sel *s)
{
	int index = sel_try_each(s);
	if (index >= 0)
		return index;
	sel_sort_locks(s);
	sel_lock_all(s);
	index = sel_try_all_locked(s);
	if (index >= 0)
		sel_unlock_all(s);
	return index;
}

/*
 * Steps 2 and 3. The index of the case that was run. -1: a ticker came due during the sleep, and
 * the caller starts again: the ticker competes in random order with all that is ready by now.
 */
static int sel_wait(struct sel *s)
{
	return s->nlive <= FEW_WAITERS ? sel_park_few(s) : sel_park_many(s);
}

int chan_select(struct chan_case *cases, int ncases)
{
	struct sel s UNINITIALIZED;
	int index;
	sel_init(&s, cases, ncases);
	do {
		index = sel_try(&s);
		if (index < 0)
			index = sel_wait(&s);
	} while (index < 0);
	return index;
}

int chan_try_select(struct chan_case *cases, int ncases)
{
	struct sel s UNINITIALIZED;
	sel_init(&s, cases, ncases);
	/* For a single chan the first pass is an answer already. */
	if (s.nlive <= 1)
		return sel_try_each(&s);
	int index = sel_try(&s);
	if (index < 0)
		sel_unlock_all(&s);
	return index;
}
