/* SPDX-License-Identifier: MIT */
/*
 * Locks with a rank (sync.Mutex, sync.RWMutex). In a debug build (DEBUG_LOCKS) a thread may take a
 * lock only if its rank is above all ranks that the thread holds. Else it aborts and prints both
 * names. It also aborts if it unlocks a lock that it does not hold. So every test checks the lock
 * order (lock_rank.h, docs/architecture.md).
 */
#ifndef COMMON_LOCK_H
#define COMMON_LOCK_H

#include <pthread.h>
#include <stdbool.h>

#include "common/libc.h"
#include "common/lock_rank.h"

struct mutex {
	pthread_mutex_t m;
	enum lock_rank rank; /* immutable */
};

/* Like Go's: a waiting writer keeps new readers out. So a read lock must never be taken twice. */
struct rwlock {
	struct libc_rwlock rw;
	enum lock_rank rank; /* immutable */
};

void mutex_init(struct mutex *m, enum lock_rank rank);
void mutex_destroy(struct mutex *m);
void mutex_lock(struct mutex *m);
/* TryLock: false at once if a thread holds it. The lock order is as for mutex_lock. */
bool mutex_trylock(struct mutex *m);
void mutex_unlock(struct mutex *m);
/* In a debug build, aborts unless the calling thread holds m: first line of *_locked functions. */
void mutex_assert_held(const struct mutex *m);
/* In a debug build, aborts if the calling thread holds any: its function has returned. */
void locks_assert_none_held(void);

/*
 * The same for a pthread mutex, but it aborts only if no thread holds it. For modules that this one
 * is built on, or whose mutex is initialised at compile time.
 */
void plain_mutex_assert_locked(pthread_mutex_t *m);

void rwlock_init(struct rwlock *rw, enum lock_rank rank);
void rwlock_destroy(struct rwlock *rw);
void rwlock_rdlock(struct rwlock *rw);
/*
 * TryRLock: false at once if it would have to wait. Allowed in any order: a thread that does not
 * wait for a lock is no part of a deadlock.
 */
bool rwlock_tryrdlock(struct rwlock *rw);
void rwlock_wrlock(struct rwlock *rw);
/* Releases either kind. */
void rwlock_unlock(struct rwlock *rw);
/* As mutex_assert_held; for reading or for writing. */
void rwlock_assert_held(const struct rwlock *rw);

#endif
