/* SPDX-License-Identifier: MIT */
/*
 * Locks with a rank. Mirrors sync.Mutex and sync.RWMutex. Any thread.
 *
 * Different from Go: with DEBUG_LOCKS (sanitized builds) each thread keeps a list of the locks that
 * it holds. A thread that breaks the order of lock_rank.h aborts at once, not only when two threads
 * meet in a deadlock. Without DEBUG_LOCKS this is pthreads: mutexes that spin for a moment, and
 * read locks that let a waiting writer pass.
 *
 * Lessons in docs/course/: 10-locks.
 */
#include "common/lock.h"

#include <errno.h>
#include <stddef.h>

#include "common/check.h"

const char *lock_rank_name(enum lock_rank rank)
{
	static const char *const names[RANK_COUNT] = {[RANK_NONE] = "no lock",
#define LOCK_RANK_NAME(rank, name) [rank] = name,
		LOCK_RANKS(LOCK_RANK_NAME)
#undef LOCK_RANK_NAME
	};

	return (unsigned)rank < RANK_COUNT && names[rank] ? names[rank] : "unknown lock";
}

#ifdef DEBUG_LOCKS

#define HELD_MAX 32

static _Thread_local struct {
	const void *lock;
	enum lock_rank rank;
} held[HELD_MAX];
static _Thread_local size_t nheld;

static void held_add(const void *lock, enum lock_rank rank)
{
	CHECK(nheld < HELD_MAX);
	held[nheld].lock = lock;
	held[nheld].rank = rank;
	nheld++;
}

/* To be called before the lock is taken, so that a violation is reported and does not hang. */
static void held_push(const void *lock, enum lock_rank rank)
{
	for (size_t i = 0; i < nheld; i++)
		if (held[i].rank >= rank)
			check_failed(__FILE__, __LINE__,
				"lock order: takes %s (rank %d) while it holds %s (rank %d)",
				lock_rank_name(rank), (int)rank, lock_rank_name(held[i].rank),
				(int)held[i].rank);
	held_add(lock, rank);
}

static size_t held_find(const void *lock)
{
	size_t i = nheld;
	while (i > 0 && held[i - 1].lock != lock)
		i--;
	return i; /* 1 + its index; 0: not held */
}

static void held_assert(const void *lock, enum lock_rank rank, const char *what)
{
	if (held_find(lock) == 0)
		check_failed(__FILE__, __LINE__, "%s: %s is not held by this thread", what,
			lock_rank_name(rank));
}

/* Locks may be released in any order. */
static void held_pop(const void *lock, enum lock_rank rank)
{
	held_assert(lock, rank, "unlock");
	nheld--;
	for (size_t i = held_find(lock) - 1; i < nheld; i++)
		held[i] = held[i + 1];
}

void locks_assert_none_held(void)
{
	if (nheld > 0)
		check_failed(__FILE__, __LINE__, "the thread's function has left %s locked",
			lock_rank_name(held[nheld - 1].rank));
}

#define MUTEX_KIND PTHREAD_MUTEX_ERRORCHECK_NP

#else

static inline void held_add(const void *lock, enum lock_rank rank)
{
	(void)lock, (void)rank;
}

static inline void held_push(const void *lock, enum lock_rank rank)
{
	(void)lock, (void)rank;
}

static inline void held_assert(const void *lock, enum lock_rank rank, const char *what)
{
	(void)lock, (void)rank, (void)what;
}

static inline void held_pop(const void *lock, enum lock_rank rank)
{
	(void)lock, (void)rank;
}

void locks_assert_none_held(void)
{
}

#define MUTEX_KIND LIBC_MUTEX_KIND

#endif

void mutex_init(struct mutex *m, enum lock_rank rank)
{
	pthread_mutexattr_t attr;
	CHECK(rank > RANK_NONE && rank < RANK_COUNT);
	PT_OK(pthread_mutexattr_init(&attr));
	PT_OK(pthread_mutexattr_settype(&attr, MUTEX_KIND));
	PT_OK(pthread_mutex_init(&m->m, &attr));
	PT_OK(pthread_mutexattr_destroy(&attr));
	m->rank = rank;
}

void mutex_destroy(struct mutex *m)
{
	PT_OK(pthread_mutex_destroy(&m->m));
}

void mutex_lock(struct mutex *m)
{
	held_push(m, m->rank);
	PT_OK(pthread_mutex_lock(&m->m));
}

bool mutex_trylock(struct mutex *m)
{
	int rc = pthread_mutex_trylock(&m->m);
	if (rc == EBUSY)
		return false;
	PT_OK(rc);
	held_push(m, m->rank);
	return true;
}

void mutex_unlock(struct mutex *m)
{
	held_pop(m, m->rank);
	PT_OK(pthread_mutex_unlock(&m->m));
}

void mutex_assert_held(const struct mutex *m)
{
	held_assert(m, m->rank, "assertion");
}

void plain_mutex_assert_locked(pthread_mutex_t *m)
{
#ifdef DEBUG_LOCKS
	if (pthread_mutex_trylock(m) != EBUSY)
		check_failed(__FILE__, __LINE__, "assertion: a mutex is not held by any thread");
#else
	(void)m;
#endif
}

void rwlock_init(struct rwlock *rw, enum lock_rank rank)
{
	CHECK(rank > RANK_NONE && rank < RANK_COUNT);
	libc_rwlock_init(&rw->rw);
	rw->rank = rank;
}

void rwlock_destroy(struct rwlock *rw)
{
	libc_rwlock_destroy(&rw->rw);
}

void rwlock_rdlock(struct rwlock *rw)
{
	held_push(rw, rw->rank);
	libc_rwlock_rdlock(&rw->rw);
}

bool rwlock_tryrdlock(struct rwlock *rw)
{
	if (!libc_rwlock_tryrdlock(&rw->rw))
		return false;
	held_add(rw, rw->rank);
	return true;
}

void rwlock_wrlock(struct rwlock *rw)
{
	held_push(rw, rw->rank);
	libc_rwlock_wrlock(&rw->rw);
}

void rwlock_unlock(struct rwlock *rw)
{
	held_pop(rw, rw->rank);
	libc_rwlock_unlock(&rw->rw);
}

void rwlock_assert_held(const struct rwlock *rw)
{
	held_assert(rw, rw->rank, "assertion");
}
