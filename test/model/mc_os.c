/* SPDX-License-Identifier: MIT */
/*
 * The system, as the code under test sees it: futexes, mutexes, the clock, memory. Its calls of the
 * functions of libc end up here under the name mc_..., see symbols.txt.
 */
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>

#include "test/model/mc_internal.h"
#include "test/model/mc_os.h"
#include "test/model/mc_weak.h"

#define HERE __builtin_return_address(0)
#define NSEC_PER_SEC 1000000000

static struct mc_thread *self(void)
{
	return &W.threads[C.current];
}

/* --- futexes ---------------------------------------------------------------------------------- */

/* pc: where the code under test calls. */
static long futex_wait(
	const uint32_t *word, uint32_t value, const struct timespec *ts, const void *pc)
{
	mc_point("futex_wait", word, pc);
	if (*(const volatile uint32_t *)word != value) {
		errno = EAGAIN;
		return -1;
	}
	struct mc_thread *t = self();
	t->place = (struct mc_place){"sleeps", word, pc};
	t->state = MC_ASLEEP;
	t->futex = word;
	t->deadline_ns = ts ? ts->tv_sec * NSEC_PER_SEC + ts->tv_nsec : 0;
	mc_leave();
	bool timed_out = t->timed_out;
	t->state = MC_READY;
	t->futex = NULL;
	t->deadline_ns = 0;
	t->woken = t->timed_out = false;
	if (timed_out) {
		errno = ETIMEDOUT;
		return -1;
	}
	return 0;
}

/* Only the address counts: the word may be another's by now, or gone. */
static long futex_wake(const uint32_t *word, const void *pc)
{
	struct mc_thread *asleep[MC_THREADS];
	unsigned n = 0;
	mc_point("futex_wake", NULL, pc);
	for (int i = 0; i < MC_THREADS; i++) {
		struct mc_thread *t = &W.threads[i];
		if (t->state == MC_ASLEEP && t->futex == word && !t->woken)
			asleep[n++] = t;
	}
	if (n > 0)
		asleep[mc_choose(n)]->woken = true;
	return n > 0;
}

long mc_syscall(long number, ...)
{
	va_list ap;
	va_start(ap, number);
	const uint32_t *word = va_arg(ap, const uint32_t *);
	int op = va_arg(ap, int);
	uint32_t value = va_arg(ap, uint32_t);
	const struct timespec *ts = va_arg(ap, const struct timespec *);
	va_end(ap);
	if (number != SYS_futex)
		mc_give_up("system call %ld", number);
	if ((op & FUTEX_CMD_MASK) == FUTEX_WAKE)
		return futex_wake(word, HERE);
	return futex_wait(word, value, ts, HERE);
}

/*
 * In a coarse program an unlock can as well be the end of the step before it. But where a section
 * has no point, no thread then finds its lock taken. So locks that threads only try are left out.
 */
static void unlock_point(const char *what, const void *lock, const void *pc)
{
	if (!mc_is_coarse() || mc_is_tried(lock))
		mc_point(what, lock, pc);
	mc_touch(lock, 1);
}

/* --- mutexes: the first word says whether one is held ----------------------------------------- */

static bool is_zero(void *word)
{
	return *(const volatile int *)word == 0;
}

static int lock(pthread_mutex_t *m, const void *pc)
{
	mc_point("mutex_lock", m, pc);
	while (*(int *)m != 0)
		mc_wait(is_zero, m);
	*(int *)m = 1 + C.current;
	mc_weak_acquire(m);
	return 0;
}

int mc_pthread_mutex_lock(pthread_mutex_t *m)
{
	return lock(m, HERE);
}

int mc_pthread_mutex_trylock(pthread_mutex_t *m)
{
	mc_point("mutex_trylock", m, HERE);
	if (*(int *)m != 0)
		return EBUSY;
	*(int *)m = 1 + C.current;
	mc_weak_acquire(m);
	return 0;
}

int mc_pthread_mutex_unlock(pthread_mutex_t *m)
{
	unlock_point("mutex_unlock", m, HERE);
	if (*(int *)m != 1 + C.current)
		mc_fail("unlock of a mutex that another thread holds");
	mc_weak_release(m);
	*(int *)m = 0;
	return 0;
}

bool mc_holds(const pthread_mutex_t *m)
{
	return *(const int *)m == 1 + C.current;
}

int mc_pthread_mutex_init(pthread_mutex_t *m, const pthread_mutexattr_t *attr)
{
	(void)attr;
	memset(m, 0, sizeof(*m));
	return 0;
}

int mc_pthread_mutex_destroy(pthread_mutex_t *m)
{
	if (*(int *)m != 0)
		mc_fail("destroys a mutex that is held");
	return 0;
}

/*
 * A writer, readers, and writers that wait: those keep new readers out. What a reader has done
 * comes before the next writer, but not before other readers. So that is passed on by a place of
 * its own.
 */
struct rw {
	int writer, readers, waiting;
};

static const void *for_writers(const struct rw *rw)
{
	return &rw->readers;
}

static bool may_read(void *p)
{
	const struct rw *rw = p;
	return !rw->writer && !rw->waiting;
}

static bool may_write(void *p)
{
	const struct rw *rw = p;
	return !rw->writer && !rw->readers;
}

int mc_pthread_rwlock_rdlock(pthread_rwlock_t *p)
{
	struct rw *rw = (struct rw *)p;
	mc_point("rdlock", p, HERE);
	while (!may_read(rw))
		mc_wait(may_read, rw);
	rw->readers++;
	mc_weak_acquire(p);
	return 0;
}

int mc_pthread_rwlock_tryrdlock(pthread_rwlock_t *p)
{
	struct rw *rw = (struct rw *)p;
	mc_point("tryrdlock", p, HERE);
	if (!may_read(rw))
		return EBUSY;
	rw->readers++;
	mc_weak_acquire(p);
	return 0;
}

int mc_pthread_rwlock_wrlock(pthread_rwlock_t *p)
{
	struct rw *rw = (struct rw *)p;
	mc_point("wrlock", p, HERE);
	rw->waiting++;
	while (!may_write(rw))
		mc_wait(may_write, rw);
	rw->waiting--;
	rw->writer = 1 + C.current;
	mc_weak_acquire(p);
	mc_weak_acquire(for_writers(rw));
	return 0;
}

int mc_pthread_rwlock_unlock(pthread_rwlock_t *p)
{
	struct rw *rw = (struct rw *)p;
	unlock_point("rwlock_unlock", p, HERE);
	if (rw->readers > 0) {
		mc_weak_release(for_writers(rw));
		rw->readers--;
	} else if (rw->writer == 1 + C.current) {
		mc_weak_release(p);
		rw->writer = 0;
	} else {
		mc_fail("unlock of a rwlock that the thread does not hold");
	}
	return 0;
}

int mc_pthread_rwlock_init(pthread_rwlock_t *p, const pthread_rwlockattr_t *attr)
{
	(void)attr;
	memset(p, 0, sizeof(*p));
	return 0;
}

int mc_pthread_rwlock_destroy(pthread_rwlock_t *p)
{
	(void)p;
	return 0;
}

/* --- threads' own ----------------------------------------------------------------------------- */

int mc_pthread_once(pthread_once_t *once, void (*fn)(void))
{
	if (*once == 0)
		fn();
	*once = 1;
	mc_weak_acquire(once);
	mc_weak_release(once);
	return 0;
}

/* There is one key, park.c's. */
int mc_pthread_key_create(pthread_key_t *key, void (*at_end)(void *))
{
	W.at_end = at_end;
	*key = 0;
	return 0;
}

int mc_pthread_setspecific(pthread_key_t key, const void *value)
{
	(void)key;
	if (C.current >= 0)
		self()->specific = (void *)value;
	return 0;
}

/* With one processor no thread spins. */
int mc_sched_getaffinity(pid_t pid, size_t size, cpu_set_t *set)
{
	(void)pid;
	memset(set, 0, size);
	CPU_SET_S(0, size, set);
	return 0;
}

/* --- the clock -------------------------------------------------------------------------------- */

int mc_clock_gettime(clockid_t clock, struct timespec *ts)
{
	(void)clock;
	*ts = (struct timespec){W.now_ns / NSEC_PER_SEC, W.now_ns % NSEC_PER_SEC};
	return 0;
}

/* --- memory: never used twice, so that the use of what is free is seen ------------------------ */

struct head {
	size_t size; /* without the head */
	char fill[MC_GRAIN - sizeof(size_t)];
};

void *mc_aligned_alloc(size_t alignment, size_t size)
{
	size_t *used = &W.arena_used[1 + C.current];
	size_t at = *used + sizeof(struct head);
	at = (at + alignment - 1) / alignment * alignment;
	size_t grains = (size + MC_GRAIN - 1) / MC_GRAIN;
	if (at + grains * MC_GRAIN > MC_PART_SIZE)
		mc_give_up("the model has no memory left");
	*used = at + grains * MC_GRAIN;
	at += (size_t)(1 + C.current) * MC_PART_SIZE;
	char *p = (char *)MC_ARENA_AT + at;
	((struct head *)p)[-1].size = size;
	memset(W.map + at / MC_GRAIN, 1, grains);
	return p;
}

void *mc_malloc(size_t size)
{
	return mc_aligned_alloc(MC_GRAIN, size);
}

void *mc_calloc(size_t n, size_t size)
{
	return mc_malloc(n * size); /* which is zero */
}

void mc_free(void *p)
{
	if (!p)
		return;
	size_t at = (size_t)((char *)p - (char *)MC_ARENA_AT) / MC_GRAIN;
	size_t size = ((struct head *)p)[-1].size;
	if (!W.map[at])
		mc_fail("free of memory that is free");
	mc_weak_plain_write(p, size); /* nobody may use it any more */
	mc_weak_forget(p, size);
	memset(W.map + at, 0, (size + MC_GRAIN - 1) / MC_GRAIN);
	memset(p, 0, size);
}

void *mc_realloc(void *p, size_t size)
{
	void *q = mc_malloc(size);
	if (p) {
		size_t old = ((struct head *)p)[-1].size;
		mc_read_memory(p, old);
		memcpy(q, p, old < size ? old : size);
		mc_free(p);
	}
	return q;
}

int mc_vasprintf(char **out, const char *fmt, va_list ap)
{
	char text[256];
	int n = vsnprintf(text, sizeof(text), fmt, ap);
	if (n < 0 || (size_t)n >= sizeof(text))
		mc_give_up("a text of %d bytes", n);
	*out = memcpy(mc_malloc((size_t)n + 1), text, (size_t)n + 1);
	return n;
}

/* --- memory that nothing points to ------------------------------------------------------------ */

static size_t grain_of(uintptr_t at)
{
	return (at - MC_ARENA_AT) / MC_GRAIN;
}

/*
 * Marks the object that this points into, if it does. True: it was not marked. A head is before
 * each.
 */
static bool mark(uintptr_t at)
{
	if (at < MC_ARENA_AT || at >= MC_ARENA_AT + MC_ARENA_SIZE || W.map[grain_of(at)] != 1)
		return false;
	size_t i = grain_of(at);
	while (i > 0 && W.map[i - 1] == 1)
		i--;
	for (; W.map[i] == 1; i++)
		W.map[i] = 2;
	return true;
}

static bool mark_all(const void *from, size_t size)
{
	const uintptr_t *p = from;
	bool any = false;
	for (size_t i = 0; i < size / sizeof(*p); i++)
		any |= mark(p[i]);
	return any;
}

/* Of what the marked objects point to. */
static bool mark_more(void)
{
	bool any = false;
	for (size_t i = 0; i < sizeof(W.map); i++) {
		if (W.map[i] == 2)
			any |= mark_all((char *)MC_ARENA_AT + i * MC_GRAIN, MC_GRAIN);
	}
	return any;
}

extern char __data_start[], _end[];

size_t mc_leaked(void)
{
	size_t leaked = 0;
	mark_all(__data_start, (size_t)(_end - __data_start));
	while (mark_more())
		;
	for (size_t i = 0; i < sizeof(W.map); i++) {
		if (W.map[i] == 1 && leaked == 0)
			leaked = ((struct head *)((char *)MC_ARENA_AT + i * MC_GRAIN))[-1].size;
		else if (W.map[i] == 2)
			W.map[i] = 1;
	}
	return leaked;
}

/* --- failures of the code under test ---------------------------------------------------------- */

_Noreturn void check_failed(const char *file, int line, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
_Noreturn void check_failed(const char *file, int line, const char *fmt, ...)
{
	char text[512];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	mc_fail("%s:%d: %s", file, line, text);
}
