/* SPDX-License-Identifier: MIT */
/*
 * Goroutines as pthreads. Mirrors the go statement, sync.WaitGroup, and nsqd's
 * internal/util/wait_group_wrapper.go. Any thread; each new one runs gothread_main.
 *
 * Different from Go: a thread can fail to start, and the caller handles that. The group joins its
 * threads: when wait_group_wait returns, their stacks are gone as well. Threads have names.
 */
#include "common/gothread.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>
#include <utlist.h>

#include "common/check.h"
#include "common/clock.h"
#include "common/gothread_internal.h"
#include "common/lock.h"
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

/* Bytes of a name that the kernel keeps, without the terminator. */
#define KERNEL_NAME 15

/* Of linux/prctl.h since 6.17. */
#ifndef PR_FUTEX_HASH
#define PR_FUTEX_HASH 78
#define PR_FUTEX_HASH_SET_SLOTS 1
#endif

/*
 * The last threads are for work that all clients depend on: how many, and how long after a failure.
 */
#define SPARE_THREADS 8
#define CEILING_NS (5 * NSEC_PER_SEC)

/* One per thread that was started or adopted here. */
struct gothread {
	struct gothread *prev, *next; /* guarded by list_lock */
	char *name;                   /* guarded by list_lock for writing; owner reads freely */
	int tid;                      /* guarded by list_lock; 0: has not run yet */
	struct wait_group *wg;        /* immutable; NULL: adopted */
	void (*fn)(void *);           /* immutable */
	void *arg;                    /* immutable */
};

int (*gothread_create)(
	pthread_t *, const pthread_attr_t *, void *(*)(void *), void *) = pthread_create;

bool gothread_learns_limit = true;

/*
 * A leaf: nothing is taken under it. Not one of lock.h: a failure there asks this module for a
 * name.
 */
static pthread_mutex_t list_lock = PTHREAD_MUTEX_INITIALIZER;
static struct gothread *list; /* guarded by list_lock */
static size_t list_count;     /* guarded by list_lock */
/* How many threads there were when one could not be created, the last time; atomic. */
static _Atomic size_t ceiling;
static _Atomic int64_t ceiling_until_ns; /* until when that holds; atomic */

static _Thread_local struct gothread *self;

/* --- the records ------------------------------------------------------------------------------ */

static struct gothread *record_new(const char *name)
{
	struct gothread *g = xcalloc(1, sizeof(*g));
	g->name = xstrdup(name);
	PT_OK(pthread_mutex_lock(&list_lock));
	DL_APPEND(list, g);
	list_count++;
	PT_OK(pthread_mutex_unlock(&list_lock));
	return g;
}

static void record_free(struct gothread *g)
{
	PT_OK(pthread_mutex_lock(&list_lock));
	DL_DELETE(list, g);
	list_count--;
	PT_OK(pthread_mutex_unlock(&list_lock));
	free(g->name);
	free(g);
}

/* Makes g the calling thread's record, and tells the kernel its name. */
static void record_take(struct gothread *g)
{
	char kernel_name[KERNEL_NAME + 1];
	self = g;
	thread_name_set(g->name);
	PT_OK(pthread_mutex_lock(&list_lock));
	g->tid = gettid();
	PT_OK(pthread_mutex_unlock(&list_lock));
	if (gettid() == getpid())
		return; /* its name is the process's: pgrep and killall look for that */
	strncpy(kernel_name, g->name, KERNEL_NAME);
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
		char *old = self->name, *copy = xstrdup(name);
		PT_OK(pthread_mutex_lock(&list_lock));
		self->name = copy;
		thread_name_set(copy);
		PT_OK(pthread_mutex_unlock(&list_lock));
		free(old);
		record_take(self);
	}
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
	CHECK(wg->running == 0 && !wg->have_ended);
	PT_OK(pthread_cond_destroy(&wg->done));
	PT_OK(pthread_mutex_destroy(&wg->lock));
}

void wait_group_add(struct wait_group *wg)
{
	PT_OK(pthread_mutex_lock(&wg->lock));
	wg->running++;
	PT_OK(pthread_mutex_unlock(&wg->lock));
}

void wait_group_done(struct wait_group *wg)
{
	PT_OK(pthread_mutex_lock(&wg->lock));
	CHECK(wg->running > 0);
	if (--wg->running == 0)
		PT_OK(pthread_cond_broadcast(&wg->done));
	PT_OK(pthread_mutex_unlock(&wg->lock));
}

/*
 * The last step of a thread: it leaves itself to be joined, and joins the thread that ended before
 * it. Once its lock is released and no thread runs, wg may be gone. But that is not before this
 * thread is joined, so no thread is missed.
 */
static void thread_done(struct wait_group *wg)
{
	PT_OK(pthread_mutex_lock(&wg->lock));
	pthread_t previous = wg->ended;
	int have_previous = wg->have_ended;
	wg->ended = pthread_self();
	wg->have_ended = 1;
	if (--wg->running == 0)
		PT_OK(pthread_cond_broadcast(&wg->done));
	PT_OK(pthread_mutex_unlock(&wg->lock));
	if (have_previous)
		PT_OK(pthread_join(previous, NULL));
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
	bool ended = wg->running == 0;
	PT_OK(pthread_mutex_unlock(&wg->lock));
	if (ended)
		wait_group_wait(wg);
	return ended;
}

void wait_group_wait(struct wait_group *wg)
{
	PT_OK(pthread_mutex_lock(&wg->lock));
	while (wg->running > 0)
		PT_OK(pthread_cond_wait(&wg->done, &wg->lock));
	pthread_t last = wg->ended;
	int have_last = wg->have_ended;
	wg->have_ended = 0;
	PT_OK(pthread_mutex_unlock(&wg->lock));
	/* That thread has joined the one before it, and so on: this is the last of all. */
	if (have_last)
		PT_OK(pthread_join(last, NULL));
}

static void *gothread_main(void *arg)
{
	struct gothread *g = arg;
	struct wait_group *wg = g->wg;
	record_take(g);
	g->fn(g->arg);
	self = NULL;
	thread_name_set(NULL);
	record_free(g);
	thread_done(wg);
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
	sigset_t all;
	PT_OK(pthread_attr_init(&attr));
	PT_OK(pthread_attr_setstacksize(&attr, gothread_stack_size()));
	sigfillset(&all);
	sigdelset(&all, STACKS_SIGNAL);
	PT_OK(pthread_attr_setsigmask_np(&attr, &all));
	int rc = gothread_create(id, &attr, gothread_main, g);
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

int wait_group_wrap(
	struct wait_group *wg, const char *name, void (*fn)(void *), void *arg, struct err *err)
{
	struct gothread *g = record_new(name);
	pthread_t id;
	g->wg = wg;
	g->fn = fn;
	g->arg = arg;
	/* It is counted before it can end. */
	wait_group_add(wg);
	int rc = create(&id, g);
	if (rc == 0)
		return 0;
	wait_group_done(wg);
	record_free(g);
	if (gothread_learns_limit) {
		atomic_store(&ceiling, gothread_count());
		atomic_store(&ceiling_until_ns, clock_mono_ns() + CEILING_NS);
	}
	return err_errno(err, rc, "could not start thread %s", name);
}
