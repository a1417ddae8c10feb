/* SPDX-License-Identifier: MIT */
/*
 * Sleeping and waking of single threads. Mirrors runtime/proc.go (gopark, goready) and
 * runtime/lock_futex.go (notesleep, notewakeup). Threads: any that blocks on a chan, and any that
 * wakes it.
 *
 * Different from Go: a thread of the kernel sleeps, and waking it costs microseconds, not 100 ns.
 * So a parker spins for a moment before it sleeps, as long as that pays: see note_spinning.
 *
 * Lessons in docs/course/: 17-cost, 21-testing.
 */
#include "common/park.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

#include "common/check.h"
#include "common/clock.h"
#include "common/futex.h"

/*
 * The state word is AWAKE while the owner does not wait or still spins, and BUSY while it does
 * something else first (park_busy). It is ASLEEP while the owner is in the kernel or on its way
 * there, and WOKEN from park_wake until the owner has seen it. It is ABSENT while there is no owner.
 * Only the step ASLEEP -> WOKEN costs the waker a system call, and ABSENT -> WOKEN the start of an
 * owner.
 */
enum { AWAKE, BUSY, ASLEEP, WOKEN, ABSENT };

/*
 * note_spinning. A hand-off to a thread that spins takes some 100 ns. To a thread that sleeps it
 * takes 2 to 7 us on either side, and the answer of a woken thread may take 10 us. So it pays to
 * spin for a while before sleeping, but only if answers come that fast:
 *  - With one processor no thread spins. With n, threads give up after a moment while more than n -
 *    1 spin (not at once: one of them may just be leaving).
 *  - Each parker knows how long spinning is worth while (spin_limit): some four times what the last
 *    answers took. Each spin in vain halves it, soon to nothing.
 *  - With no limit left it sleeps at once. Every probe_interval-th time it spins for PROBE_NS, to
 *    see whether things have changed. Each probe in vain doubles the interval. At its maximum that
 *    costs a quarter of a microsecond per sleep, and a sleep costs several. (Not more seldom: two
 *    threads may share a processor while another has become free. The scheduler parts them only
 *    when both want to run.)
 */
#define PROBE_NS 16000
#define SPIN_LEAST_NS 1000
#define SPIN_PATIENCE 16
#define PROBE_INTERVAL_MIN 8
#define PROBE_INTERVAL_MAX 64

static pthread_once_t park_once = PTHREAD_ONCE_INIT;
static pthread_key_t park_key;    /* immutable after park_once; for its destructor */
static unsigned probe_turns;      /* immutable after park_once; 0: one processor */
static unsigned least_turns;      /* immutable after park_once */
static unsigned spinners_max;     /* immutable after park_once */
static _Atomic unsigned spinners; /* atomic */

static pthread_mutex_t free_lock = PTHREAD_MUTEX_INITIALIZER;
static struct parker *free_list; /* guarded by free_lock */

/* Takes the steps of tasks without an owner for threads that keep none; NULL: they get owners. */
static void (*steps_taker)(struct wake_list *l); /* set while no task is there */

static _Thread_local struct parker *self;
/* Where this thread keeps the tasks whose next step it runs itself; NULL: it wakes their owners. */
static _Thread_local struct wake_list *kept_list;

/* At the end of a thread its parker goes to the free list: the next thread gets it. */
static void park_retire(void *arg)
{
	struct parker *p = arg;
	self = NULL;
	PT_OK(pthread_mutex_lock(&free_lock));
	p->next = free_list;
	free_list = p;
	PT_OK(pthread_mutex_unlock(&free_lock));
}

/* What the machine is like. */
static void park_learn(void)
{
	cpu_set_t cpus;
	unsigned ncpu = 1;

	PT_OK(pthread_key_create(&park_key, park_retire));
	if (sched_getaffinity(0, sizeof(cpus), &cpus) == 0)
		ncpu = (unsigned)CPU_COUNT(&cpus);
	if (ncpu < 2)
		return;
	/* A pause takes 5 to 150 cycles, depending on the processor. */
	int64_t start = clock_mono_ns();
	for (int i = 0; i < 256; i++)
		cpu_relax();
	int64_t cost = clock_mono_ns() - start + 1;
	probe_turns = (unsigned)(256 * PROBE_NS / cost) + 1;
	least_turns = (unsigned)(256 * SPIN_LEAST_NS / cost) + 1;
	spinners_max = ncpu - 1;
}

void park_init(
	struct parker *p, bool (*may_run)(struct parker *p), void (*absent)(struct parker *p))
{
	PT_OK(pthread_once(&park_once, park_learn));
	*p = (struct parker){
		.probe_interval = PROBE_INTERVAL_MIN, .may_run = may_run, .absent = absent};
	atomic_init(&p->state, AWAKE);
	atomic_init(&p->claimed, true);
}

static void unlearn(struct parker *p)
{
	p->spin_limit = 0;
	p->probe_interval = PROBE_INTERVAL_MIN;
	p->parks = 0;
}

static struct parker *park_new(void)
{
	PT_OK(pthread_once(&park_once, park_learn));
	PT_OK(pthread_mutex_lock(&free_lock));
	struct parker *p = free_list;
	if (p)
		free_list = p->next;
	PT_OK(pthread_mutex_unlock(&free_lock));
	if (!p) {
		p = aligned_alloc(_Alignof(struct parker), sizeof(*p));
		if (!p)
			check_failed(__FILE__, __LINE__, "out of memory for a parker");
		atomic_init(&p->state, AWAKE);
		atomic_init(&p->claimed, false);
		p->may_run = NULL;
		p->absent = NULL;
	}
	unlearn(p);
	PT_OK(pthread_setspecific(park_key, p));
	return p;
}

struct parker *park_self(void)
{
	if (__builtin_expect(!self, 0))
		self = park_new();
	return self;
}

void park_forget(void)
{
	CHECK(!kept_list);
	if (!self)
		return;
	CHECK(atomic_load_explicit(&self->state, memory_order_relaxed) == AWAKE);
	unlearn(self);
}

/* How many turns p may spin this time. */
static unsigned spin_budget(struct parker *p)
{
	if (p->spin_limit > 0 || probe_turns == 0)
		return p->spin_limit;
	if (++p->parks < p->probe_interval)
		return 0;
	p->parks = 0;
	return probe_turns;
}

/* Adjusts p's limit: the answer took so many turns; 0: it did not come. */
static void spin_learn(struct parker *p, unsigned turns)
{
	if (turns > 0) {
		p->spin_limit = (3 * p->spin_limit + 4 * turns + least_turns) / 4;
		if (p->spin_limit > probe_turns)
			p->spin_limit = probe_turns;
		p->probe_interval = PROBE_INTERVAL_MIN;
	} else if (p->spin_limit > 0) {
		p->spin_limit = p->spin_limit / 2 < least_turns / 2 ? 0 : p->spin_limit / 2;
	} else if (p->probe_interval < PROBE_INTERVAL_MAX) {
		p->probe_interval *= 2;
	}
}

/* Spins. True: the wake-up came meanwhile. */
static bool park_spin(struct parker *p)
{
	unsigned budget = spin_budget(p), turns = 0;
	bool woken = false;
	if (budget == 0)
		return false;
	atomic_fetch_add_explicit(&spinners, 1, memory_order_relaxed);
	while (turns < budget && !woken) {
		turns++;
		cpu_relax();
		woken = atomic_load_explicit(&p->state, memory_order_relaxed) == WOKEN;
		if (turns % SPIN_PATIENCE == 0 &&
			atomic_load_explicit(&spinners, memory_order_relaxed) > spinners_max)
			break;
	}
	atomic_fetch_sub_explicit(&spinners, 1, memory_order_relaxed);
	spin_learn(p, woken ? turns : 0);
	return woken;
}

bool park_wait(struct parker *p, int64_t deadline_ns)
{
	uint32_t seen = BUSY;
	park_hand_off();
	park_perturb(PERTURB_PARK);
	if (atomic_load_explicit(&p->state, memory_order_relaxed) == BUSY)
		atomic_compare_exchange_strong_explicit(
			&p->state, &seen, AWAKE, memory_order_relaxed, memory_order_relaxed);
	seen = AWAKE;
	if (atomic_load_explicit(&p->state, memory_order_relaxed) != WOKEN && !park_spin(p))
		atomic_compare_exchange_strong_explicit(
			&p->state, &seen, ASLEEP, memory_order_relaxed, memory_order_relaxed);
	while (atomic_load_explicit(&p->state, memory_order_acquire) != WOKEN) {
		if (futex_wait_until(&p->state, ASLEEP, deadline_ns) != ETIMEDOUT)
			continue;
		seen = ASLEEP;
		if (atomic_compare_exchange_strong_explicit(
			    &p->state, &seen, AWAKE, memory_order_relaxed, memory_order_relaxed))
			return false;
	}
	atomic_store_explicit(&p->state, AWAKE, memory_order_relaxed);
	return true;
}

void park_wake(struct parker *p)
{
	park_perturb(PERTURB_WAKE);
	/*
	 * After the exchange p is no longer ours: the wake-up may reach its next user, which looks
	 * at the word again. But if it was ABSENT, there is no other thread yet.
	 */
	uint32_t was = atomic_exchange_explicit(&p->state, WOKEN, memory_order_release);
	if (was == ASLEEP)
		futex_wake_one(&p->state);
	else if (was == ABSENT)
		p->absent(p);
}

void park_leave(struct parker *p)
{
	atomic_store_explicit(&p->state, ABSENT, memory_order_relaxed);
}

bool park_is_absent(struct parker *p)
{
	return atomic_load_explicit(&p->state, memory_order_relaxed) == ABSENT;
}

void park_busy(struct parker *p)
{
	uint32_t seen = AWAKE;
	atomic_compare_exchange_strong_explicit(
		&p->state, &seen, BUSY, memory_order_relaxed, memory_order_relaxed);
}

bool park_is_woken(struct parker *p)
{
	return atomic_load_explicit(&p->state, memory_order_relaxed) == WOKEN;
}

bool park_is_away(struct parker *p)
{
	uint32_t state = atomic_load_explicit(&p->state, memory_order_relaxed);
	return state == ASLEEP || state == BUSY || state == ABSENT;
}

void wake_list_wake_all(struct wake_list *l)
{
	struct wake_list ownerless = {NULL, NULL, 0};
	void (*take)(struct wake_list *) = kept_list ? NULL : steps_taker;
	struct parker *next;
	for (struct parker *p = l->first; p; p = next) {
		next = p->next; /* first: once woken, p's owner may use it again */
		bool is_given = take && park_is_absent(p);
		if ((!kept_list && !is_given) || !p->may_run || !p->may_run(p)) {
			park_wake(p);
			continue;
		}
		if (is_given) {
			wake_list_add(&ownerless, p);
			continue;
		}
		if (kept_list->n == PARK_KEPT_MAX)
			park_hand_off();
		wake_list_add(kept_list, p);
	}
	*l = (struct wake_list){NULL, NULL, 0};
	if (take && ownerless.first)
		take(&ownerless);
}

void park_set_steps_taker(void (*take)(struct wake_list *l))
{
	steps_taker = take;
}

void park_keep(struct wake_list *kept)
{
	kept_list = kept;
}

/* Those in front that have no owner go to the end, if there is one that has. */
static void put_owned_first(struct wake_list *l)
{
	for (unsigned i = l->n; i > 0 && park_is_absent(l->first); i--)
		wake_list_add(l, wake_list_take(l));
}

void park_hand_off(void)
{
	if (!kept_list || !kept_list->first)
		return;
	put_owned_first(kept_list);
	struct parker *first = wake_list_take(kept_list);
	first->rest = *kept_list;
	*kept_list = (struct wake_list){NULL, NULL, 0};
	park_wake(first);
}

#ifdef CHAN_PERTURB
#include <stdio.h>

#include "common/rand.h"

static pthread_once_t perturb_once = PTHREAD_ONCE_INIT;
static uint64_t perturb_seed;
static _Atomic uint64_t perturb_threads;

static void perturb_init(void)
{
	const char *s = getenv("CHAN_SEED");
	perturb_seed = s ? strtoull(s, NULL, 10) : rand_u64() >> 32;
	fprintf(stderr, "CHAN_SEED=%llu\n", (unsigned long long)perturb_seed);
}

/* A linear congruential generator of its own: the choices depend on nothing but seed and thread. */
void park_perturb(enum perturb_point point)
{
	static _Thread_local uint64_t state;
	if (!state) {
		PT_OK(pthread_once(&perturb_once, perturb_init));
		state = (perturb_seed + atomic_fetch_add_explicit(
						&perturb_threads, 1, memory_order_relaxed)) *
				0x9e3779b97f4a7c15u |
			1;
	}
	state = state * 6364136223846793005u + 1442695040888963407u;
	switch ((state >> 40) % (16u << (point == PERTURB_CLAIM))) {
	case 0:
	case 1:
	case 2:
		sched_yield();
		break;
	case 3:
		nanosleep(&(struct timespec){0, (long)((state >> 33) % 50000)}, NULL);
		break;
	default:
		break;
	}
}
#endif
