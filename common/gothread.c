/* SPDX-License-Identifier: MIT */
/*
 * Goroutines as pthreads. Mirrors the go statement, sync.WaitGroup, nsqd's
 * internal/util/wait_group_wrapper.go, and gfget, gfput, stopm and startm of runtime/proc.go. Any
 * thread; each new one runs gothread_main.
 *
 * Different from Go: a thread can fail to start, and the caller handles that. Threads have names.
 *
 * Go reuses what a goroutine leaves behind, and the thread under it. So does this: a thread whose
 * function has returned is *kept* for the next one. To start a function there costs a wake-up, not
 * a clone, a stack and a join. A few are kept, for a moment each, and the youngest is used first: its
 * stack is warm, and the others come to the end of their time.
 *
 * A thread is always in one of three places, and list_lock guards the moves:
 *
 *   list  --- its function returns (keep) --------------------->  kept, or ended if there are many
 *   kept  --- wait_group_wrap has a function for it ----------->  list
 *   kept  --- its time is over (leave), or gothread_drain ----->  ended
 *   ended --- the next thread to end, or gothread_drain, joins it
 *
 * Lessons in docs/course/: 01-goroutine.
 */
#include "common/gothread.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>
#include <utlist.h>

#include "common/check.h"
#include "common/clock.h"
#include "common/futex.h"
#include "common/gothread_internal.h"
#include "common/libc.h"
#include "common/lock.h"
#include "common/park.h"
#include "common/sanitize.h"
#include "common/stacks_signal.h"
#include "common/thread_name.h"
#include "common/xalloc.h"

/*
 * A stack is address space, and the kernel backs only the pages that were touched. Still the 5000
 * threads of a busy broker should fit anywhere. The deepest calls (printf, getaddrinfo with its
 * plug-ins, the TLS handshake) were measured, see docs/channels.md. A stack is less than the 2 MiB
 * of a huge page, so that the kernel never backs it by one.
 */
#if SANITIZE_THREAD || SANITIZE_ADDRESS || defined(DEBUG_LOCKS)
#define STACK_SIZE ((size_t)1024 * 1024)
#else
#define STACK_SIZE ((size_t)128 * 1024)
#endif

/* What a kept thread is called, to the kernel as well. */
#define KEPT_NAME "kept"

/* Bytes of a name that the kernel keeps, without the terminator. */
#define KERNEL_NAME 15

/* Of linux/prctl.h since 6.17. */
#ifndef PR_FUTEX_HASH
#define PR_FUTEX_HASH 78
#define PR_FUTEX_HASH_SET_SLOTS 1
#endif

/* The last threads are for work that all clients depend on: so many, for CEILING_NS. */
#define SPARE_THREADS 8

/* gothread.word, of a kept thread: only the step ASLEEP -> CALLED costs the caller a system call. */
enum { RESTING, ASLEEP, CALLED };

/* What a thread is to do: fn(arg), and then wait_group_done(wg). fn is NULL: it is to end. */
struct call {
	struct wait_group *wg;
	void (*fn)(void *);
	void *arg;
};

/* A thread that has ended, or is about to, and is to be joined; none: there is no such thread. */
struct ended {
	pthread_t id;
	bool none;
};

/* One per thread that was started or adopted here. */
struct gothread {
	struct gothread *prev, *next;  /* guarded by list_lock; of list or kept */
	char name[GOTHREAD_NAME_SIZE]; /* guarded by list_lock for writing; owner reads freely */
	int tid;                       /* guarded by list_lock; 0: has not run yet */
	pthread_t id;                  /* guarded by list_lock; valid once tid is */
	bool is_kept;                  /* guarded by list_lock: it is in kept */
	_Atomic uint32_t word;         /* atomic; RESTING, ASLEEP, CALLED */
	struct call call;      /* starter's until the thread is created or CALLED, then owner's */
	struct ended previous; /* guarded by list_lock until it ends, then owner's: to be joined */
};

int (*gothread_create)(
	pthread_t *, const pthread_attr_t *, void *(*)(void *), void *) = pthread_create;

bool gothread_learns_limit = true;
_Atomic size_t gothread_kept_max = GOTHREAD_KEPT_MAX;
_Atomic int64_t gothread_kept_ns = GOTHREAD_KEPT_NS;

/*
 * A leaf: nothing is taken under it. Not one of lock.h: a failure there asks this module for a
 * name.
 */
static pthread_mutex_t list_lock = PTHREAD_MUTEX_INITIALIZER;
static struct gothread *list; /* guarded by list_lock; those that run, the oldest first */
static size_t list_count;     /* guarded by list_lock */
static struct gothread *kept; /* guarded by list_lock; the youngest first */
static size_t kept_count;     /* guarded by list_lock */
/* The last one. It has joined the one before it, or will: so each waits for all that ended before. */
static struct ended last_ended = {.none = true}; /* guarded by list_lock */
/* How many threads there were when one could not be created, the last time; atomic. */
static _Atomic size_t ceiling;
static _Atomic int64_t ceiling_until_ns; /* until when that holds; atomic */

static _Thread_local struct gothread *self;

/* --- the records ------------------------------------------------------------------------------ */

static void list_add_locked(struct gothread *g, const char *name)
{
	plain_mutex_assert_locked(&list_lock);
	snprintf(g->name, sizeof(g->name), "%s", name);
	DL_APPEND(list, g);
	list_count++;
}

static void list_remove_locked(struct gothread *g)
{
	plain_mutex_assert_locked(&list_lock);
	DL_DELETE(list, g);
	list_count--;
}

static struct gothread *record_new(const char *name)
{
	struct gothread *g = xcalloc(1, sizeof(*g));
	g->previous.none = true;
	PT_OK(pthread_mutex_lock(&list_lock));
	list_add_locked(g, name);
	PT_OK(pthread_mutex_unlock(&list_lock));
	return g;
}

static void record_free(struct gothread *g)
{
	PT_OK(pthread_mutex_lock(&list_lock));
	list_remove_locked(g);
	PT_OK(pthread_mutex_unlock(&list_lock));
	free(g);
}

/* Makes g the calling thread's record. */
static void record_take(struct gothread *g)
{
	self = g;
	PT_OK(pthread_mutex_lock(&list_lock));
	g->tid = gettid();
	g->id = pthread_self();
	PT_OK(pthread_mutex_unlock(&list_lock));
}

/* The calling thread is called so: by itself, and by the kernel. Borrows the name. */
static void take_name(const char *name)
{
	char kernel_name[KERNEL_NAME + 1];
	thread_name_set(name);
	if (self->tid == getpid())
		return; /* its name is the process's: pgrep and killall look for that */
	strncpy(kernel_name, name, KERNEL_NAME);
	kernel_name[KERNEL_NAME] = '\0';
	/* Only for people who look; may fail if /proc is not mounted. */
	(void)pthread_setname_np(pthread_self(), kernel_name);
}

static void each_locked(void (*fn)(void *arg, const char *name, int tid), void *arg)
{
	struct gothread *g;
	plain_mutex_assert_locked(&list_lock);
	DL_FOREACH (list, g)
		fn(arg, g->name, g->tid);
}

void gothread_each(void (*fn)(void *arg, const char *name, int tid), void *arg)
{
	PT_OK(pthread_mutex_lock(&list_lock));
	each_locked(fn, arg);
	PT_OK(pthread_mutex_unlock(&list_lock));
}

bool gothread_try_each(
	void (*fn)(void *arg, const char *name, int tid), void *arg, int64_t deadline_ns)
{
	while (pthread_mutex_trylock(&list_lock) != 0) {
		const struct timespec pause = {.tv_nsec = NSEC_PER_MSEC};
		if (clock_mono_ns() >= deadline_ns)
			return false;
		nanosleep(&pause, NULL);
	}
	each_locked(fn, arg);
	PT_OK(pthread_mutex_unlock(&list_lock));
	return true;
}

size_t gothread_count(void)
{
	PT_OK(pthread_mutex_lock(&list_lock));
	size_t n = list_count;
	PT_OK(pthread_mutex_unlock(&list_lock));
	return n;
}

size_t gothread_kept(void)
{
	PT_OK(pthread_mutex_lock(&list_lock));
	size_t n = kept_count;
	PT_OK(pthread_mutex_unlock(&list_lock));
	return n;
}

/* --- adopted threads: the record goes with the thread, by way of a key's destructor ----------- */

static pthread_once_t adopt_once = PTHREAD_ONCE_INIT;
static pthread_key_t adopt_key; /* immutable after adopt_once */

static void adopted_exit(void *arg)
{
	self = NULL;
	thread_name_set(NULL);
	record_free(arg);
}

static void adopt_init(void)
{
	PT_OK(pthread_key_create(&adopt_key, adopted_exit));
}

void gothread_adopt(const char *name)
{
	if (!self) {
		struct gothread *g = record_new(name);
		PT_OK(pthread_once(&adopt_once, adopt_init));
		PT_OK(pthread_setspecific(adopt_key, g));
		record_take(g);
	} else {
		PT_OK(pthread_mutex_lock(&list_lock));
		snprintf(self->name, sizeof(self->name), "%s", name);
		PT_OK(pthread_mutex_unlock(&list_lock));
	}
	take_name(self->name);
}

/*
 * Since 6.17 each process has a table of its own for threads that wait at a futex. Its size is made
 * for as many threads as there are processors: 16 lists on a small machine. With 10,000 sleeping
 * threads each list is 600 long, and each wake-up walks along one. The table of the whole machine
 * is still there, and this call chooses it.
 */
void gothread_expect_thousands(void)
{
	/* Older kernels have no other table. */
	(void)prctl(PR_FUTEX_HASH, PR_FUTEX_HASH_SET_SLOTS, 0UL, 0UL, 0UL);
}

/* --- wait groups ------------------------------------------------------------------------------ */

void wait_group_init(struct wait_group *wg)
{
	memset(wg, 0, sizeof(*wg));
	PT_OK(pthread_mutex_init(&wg->lock, NULL));
	pthread_condattr_t attr;
	PT_OK(pthread_condattr_init(&attr));
	PT_OK(pthread_condattr_setclock(&attr, CLOCK_MONOTONIC));
	PT_OK(pthread_cond_init(&wg->done, &attr));
	PT_OK(pthread_condattr_destroy(&attr));
}

void wait_group_destroy(struct wait_group *wg)
{
	CHECK(wg->running == 0);
	PT_OK(pthread_cond_destroy(&wg->done));
	PT_OK(pthread_mutex_destroy(&wg->lock));
}

void wait_group_add(struct wait_group *wg)
{
	PT_OK(pthread_mutex_lock(&wg->lock));
	wg->running++;
	PT_OK(pthread_mutex_unlock(&wg->lock));
}

/* Once the lock is released wg may be gone: the thread that waits has only to get the lock. */
void wait_group_done(struct wait_group *wg)
{
	PT_OK(pthread_mutex_lock(&wg->lock));
	CHECK(wg->running > 0);
	if (--wg->running == 0)
		PT_OK(pthread_cond_broadcast(&wg->done));
	PT_OK(pthread_mutex_unlock(&wg->lock));
}

bool wait_group_wait_until(struct wait_group *wg, int64_t deadline_ns)
{
	struct timespec ts = {
		.tv_sec = deadline_ns / NSEC_PER_SEC, .tv_nsec = deadline_ns % NSEC_PER_SEC};
	int rc = 0;
	PT_OK(pthread_mutex_lock(&wg->lock));
	while (wg->running > 0 && rc == 0)
		rc = pthread_cond_timedwait(&wg->done, &wg->lock, &ts);
	CHECK(rc == 0 || rc == ETIMEDOUT);
	bool all_done = wg->running == 0;
	PT_OK(pthread_mutex_unlock(&wg->lock));
	return all_done;
}

void wait_group_wait(struct wait_group *wg)
{
	PT_OK(pthread_mutex_lock(&wg->lock));
	while (wg->running > 0)
		PT_OK(pthread_cond_wait(&wg->done, &wg->lock));
	PT_OK(pthread_mutex_unlock(&wg->lock));
}

/* --- kept threads ----------------------------------------------------------------------------- */

/* g is in no list any more, and does nothing but to end: the next one to end will join it. */
static void end_locked(struct gothread *g)
{
	plain_mutex_assert_locked(&list_lock);
	g->previous = last_ended;
	last_ended = (struct ended){.id = g->id};
}

static void take_kept_locked(struct gothread *g)
{
	plain_mutex_assert_locked(&list_lock);
	DL_DELETE(kept, g);
	g->is_kept = false;
	kept_count--;
}

/* The calling thread's function has returned. False: there are enough that are kept, it ends. */
static bool keep(struct gothread *g)
{
	PT_OK(pthread_mutex_lock(&list_lock));
	list_remove_locked(g);
	bool keeps = kept_count < atomic_load(&gothread_kept_max);
	if (keeps) {
		atomic_store_explicit(&g->word, RESTING, memory_order_relaxed);
		DL_PREPEND(kept, g);
		g->is_kept = true;
		kept_count++;
	} else {
		end_locked(g);
	}
	PT_OK(pthread_mutex_unlock(&list_lock));
	return keeps;
}

/* The calling thread has been kept for long enough. False: it has just been called. */
static bool leave(struct gothread *g)
{
	PT_OK(pthread_mutex_lock(&list_lock));
	bool leaves = g->is_kept;
	if (leaves) {
		take_kept_locked(g);
		end_locked(g);
	}
	PT_OK(pthread_mutex_unlock(&list_lock));
	return leaves;
}

/* The calling thread is kept. True: it has its next call. False: it is to end. */
static bool rest(struct gothread *g)
{
	int64_t deadline_ns = clock_mono_ns() + atomic_load(&gothread_kept_ns);
	uint32_t seen = RESTING;
	atomic_compare_exchange_strong_explicit(
		&g->word, &seen, ASLEEP, memory_order_relaxed, memory_order_relaxed);
	while (atomic_load_explicit(&g->word, memory_order_acquire) != CALLED) {
		if (futex_wait_until(&g->word, ASLEEP, deadline_ns) != ETIMEDOUT)
			continue;
		if (leave(g))
			return false;
		deadline_ns = 0;
	}
	return g->call.fn != NULL;
}

/* g, no longer kept, has its call. After the exchange it is its own thread's, and soon gone. */
static void call(struct gothread *g)
{
	if (atomic_exchange_explicit(&g->word, CALLED, memory_order_release) == ASLEEP)
		futex_wake_one(&g->word);
}

/* False: no thread is kept. */
static bool start_kept(const char *name, const struct call *c)
{
	PT_OK(pthread_mutex_lock(&list_lock));
	struct gothread *g = kept;
	if (g) {
		take_kept_locked(g);
		list_add_locked(g, name);
		g->call = *c;
	}
	PT_OK(pthread_mutex_unlock(&list_lock));
	if (g)
		call(g);
	return g != NULL;
}

static void join(struct ended ended)
{
	if (!ended.none)
		PT_OK(pthread_join(ended.id, NULL));
}

void gothread_drain(void)
{
	PT_OK(pthread_mutex_lock(&list_lock));
	while (kept) {
		struct gothread *g = kept;
		take_kept_locked(g);
		end_locked(g);
		g->call.fn = NULL;
		call(g);
	}
	struct ended last = last_ended;
	last_ended = (struct ended){.none = true};
	PT_OK(pthread_mutex_unlock(&list_lock));
	join(last);
}

/* --- starting --------------------------------------------------------------------------------- */

/* What the next function in this thread must not find. */
static void leave_nothing_behind(void)
{
	locks_assert_none_held();
	park_forget();
	take_name(KEPT_NAME);
}

static void *gothread_main(void *arg)
{
	struct gothread *g = arg;
	bool keeps;
	record_take(g);
	do {
		struct wait_group *wg = g->call.wg;
		take_name(g->name);
		g->call.fn(g->call.arg);
		leave_nothing_behind();
		/* In this order: a thread that has waited finds this one kept. */
		keeps = keep(g);
		wait_group_done(wg);
	} while (keeps && rest(g));
	self = NULL;
	thread_name_set(NULL);
	struct ended previous = g->previous;
	free(g);
	join(previous);
	return NULL;
}

size_t gothread_stack_size(void)
{
	size_t least = (size_t)sysconf(_SC_THREAD_STACK_MIN);
	return least > STACK_SIZE ? least : STACK_SIZE;
}

/*
 * pthread_create with our stack size and all signals blocked: one thread waits for those.
 * STACKS_SIGNAL stays open: by it a thread is asked for its stack, and stopped, when the process
 * ends.
 */
static int create(pthread_t *id, struct gothread *g)
{
	pthread_attr_t attr;
	sigset_t all, before;
	PT_OK(pthread_attr_init(&attr));
	PT_OK(pthread_attr_setstacksize(&attr, gothread_stack_size()));
	sigfillset(&all);
	sigdelset(&all, STACKS_SIGNAL);
	libc_begin_sigmask(&attr, &all, &before);
	int rc = gothread_create(id, &attr, gothread_main, g);
	libc_end_sigmask(&before);
	PT_OK(pthread_attr_destroy(&attr));
	return rc;
}

bool gothread_is_scarce(size_t wanted, struct err *err)
{
	size_t most = atomic_load(&ceiling), spare = most / 8;
	if (spare > SPARE_THREADS)
		spare = SPARE_THREADS;
	if (clock_mono_ns() >= atomic_load(&ceiling_until_ns) ||
		gothread_count() + wanted + spare <= most)
		return false;
	err_set(err, EAGAIN, "the last %zu threads are for topics and channels", spare);
	return true;
}

/* Returns 0, or an errno value. */
static int start_new(const char *name, const struct call *c)
{
	struct gothread *g = record_new(name);
	pthread_t id;
	g->call = *c;
	int rc = create(&id, g);
	if (rc != 0)
		record_free(g);
	return rc;
}

static void learn_limit(void)
{
	if (!gothread_learns_limit)
		return;
	atomic_store(&ceiling, gothread_count() + gothread_kept());
	atomic_store(&ceiling_until_ns, clock_mono_ns() + CEILING_NS);
}

int wait_group_wrap(
	struct wait_group *wg, const char *name, void (*fn)(void *), void *arg, struct err *err)
{
	const struct call c = {.wg = wg, .fn = fn, .arg = arg};
	int rc;
	wait_group_add(wg); /* it is counted before it can end */
	/* Where no thread can be created, one may have been kept meanwhile. */
	if (start_kept(name, &c) || (rc = start_new(name, &c)) == 0 || start_kept(name, &c))
		return 0;
	wait_group_done(wg);
	learn_limit();
	return err_errno(err, rc, "could not start thread %s", name);
}
