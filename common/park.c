/* SPDX-License-Identifier: MIT */
/*
 * Sleeping and waking of single threads (runtime/proc.go: gopark, goready;
 * runtime/lock_futex.go: notesleep, notewakeup). Runs in every thread that
 * blocks on a chan, and in those that wake them.
 *
 * Different from Go: what sleeps is a thread of the kernel, and waking one
 * costs microseconds, not 100 ns. So a parker spins for a moment before it
 * sleeps, as long as that pays: see note_spinning.
 */
#include "common/park.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

#include "common/check.h"
#include "common/clock.h"
#include "common/futex.h"

/*
 * The state word: AWAKE when nobody waits or the owner still spins, ASLEEP when
 * the owner is in the kernel or on its way there, WOKEN from park_wake until the owner has seen
 * it. Only the step ASLEEP -> WOKEN costs the waker a system call.
 */
enum { AWAKE, ASLEEP, WOKEN };

/*
 * note_spinning. A hand-off to a thread that spins takes some 100 ns, to one
 * that sleeps 2 to 7 us on either side. Spinning for at most about what a sleep
 * costs (SPIN_NS) never loses more than a factor of two, and is kept from losing
 * even that:
 *  - With one processor nobody spins, with n at most n - 1 threads do at a time.
 *  - Each parker keeps a credit: a spin that was answered in time earns, one
 *    that was in vain costs. Without credit it goes to sleep at once, and tries
 *    again once in SPIN_PROBE times. A client that wakes up to write a heartbeat
 *    pays for nothing.
 */
#define SPIN_NS 4000
#define SPIN_CREDIT_MAX 8
#define SPIN_PROBE 32

static pthread_once_t park_once = PTHREAD_ONCE_INIT;
static pthread_key_t park_key; /* immutable after park_once; only for its destructor */
static unsigned spin_turns;    /* immutable after park_once; 0: one processor */
static unsigned spinners_max;  /* immutable after park_once */
static _Atomic unsigned spinners;

static pthread_mutex_t free_lock = PTHREAD_MUTEX_INITIALIZER;
static struct parker *free_list; /* guarded by free_lock */

static _Thread_local struct parker *self;

/* At the end of a thread its parker goes back: the next thread gets it. */
static void park_retire(void *arg)
{
	struct parker *p = arg;

	self = NULL;
	PT_OK(pthread_mutex_lock(&free_lock));
	p->next = free_list;
	free_list = p;
	PT_OK(pthread_mutex_unlock(&free_lock));
}

static void park_init(void)
{
	cpu_set_t cpus;
	int64_t start, cost;
	unsigned ncpu = 1;

	PT_OK(pthread_key_create(&park_key, park_retire));
	if (sched_getaffinity(0, sizeof(cpus), &cpus) == 0)
		ncpu = (unsigned)CPU_COUNT(&cpus);
	if (ncpu < 2)
		return;
	/* A pause takes 5 to 150 cycles, depending on the processor. */
	start = clock_mono_ns();
	for (int i = 0; i < 256; i++)
		cpu_relax();
	cost = clock_mono_ns() - start + 1;
	spin_turns = (unsigned)(256 * SPIN_NS / cost) + 1;
	spinners_max = ncpu - 1;
}

static struct parker *park_new(void)
{
	struct parker *p;

	PT_OK(pthread_once(&park_once, park_init));
	PT_OK(pthread_mutex_lock(&free_lock));
	p = free_list;
	if (p)
		free_list = p->next;
	PT_OK(pthread_mutex_unlock(&free_lock));
	if (!p) {
		p = aligned_alloc(_Alignof(struct parker), sizeof(*p));
		if (!p)
			check_failed(__FILE__, __LINE__, "out of memory for a parker");
		atomic_init(&p->state, AWAKE);
		atomic_init(&p->claimed, false);
	}
	p->spin_credit = SPIN_CREDIT_MAX / 2;
	p->spin_probe = 0;
	PT_OK(pthread_setspecific(park_key, p));
	return p;
}

struct parker *park_self(void)
{
	if (__builtin_expect(!self, 0))
		self = park_new();
	return self;
}

/* True if the wake-up came while we looked. */
static bool park_spin(struct parker *p)
{
	bool woken = false;

	if (!spin_turns || (p->spin_credit == 0 && ++p->spin_probe % SPIN_PROBE != 0))
		return false;
	if (atomic_fetch_add_explicit(&spinners, 1, memory_order_relaxed) < spinners_max) {
		for (unsigned i = 0; i < spin_turns && !woken; i++) {
			cpu_relax();
			woken = atomic_load_explicit(&p->state, memory_order_relaxed) == WOKEN;
		}
		if (woken && p->spin_credit < SPIN_CREDIT_MAX)
			p->spin_credit++;
		else if (!woken && p->spin_credit > 0)
			p->spin_credit--;
	}
	atomic_fetch_sub_explicit(&spinners, 1, memory_order_relaxed);
	return woken;
}

bool park_wait(struct parker *p, int64_t deadline_ns)
{
	uint32_t seen = AWAKE;

	park_perturb(PERTURB_PARK);
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
	/* After the exchange p is no longer ours: the wake-up may reach its next user, who looks again. */
	if (atomic_exchange_explicit(&p->state, WOKEN, memory_order_release) == ASLEEP)
		futex_wake_one(&p->state);
}

void wake_list_wake_all(struct wake_list *l)
{
	struct parker *next;

	for (struct parker *p = l->first; p; p = next) {
		next = p->next; /* first: once woken, p's owner may use it for something else */
		park_wake(p);
	}
	l->first = NULL;
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
		state = (perturb_seed + atomic_fetch_add(&perturb_threads, 1)) *
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
