/* SPDX-License-Identifier: MIT */
/*
 * What the daemon wants of the GNU C library that others, such as musl, do not have, or have in
 * another shape. All of it is here, so that a port has one place to look at. Any thread; no state.
 *
 * On musl this is missing: mutexes do not spin before they sleep; /stats and /debug/ know the memory of
 * messages, but not the rest.
 */
#ifndef COMMON_LIBC_H
#define COMMON_LIBC_H

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>

#include "common/check.h"

/* Older headers lack it; a kernel that does so as well refuses the call. */
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

/* The kind of a mutex that is held for a few instructions: a thread spins before it sleeps. */
#ifdef __GLIBC__
#define LIBC_MUTEX_KIND PTHREAD_MUTEX_ADAPTIVE_NP
#else
#define LIBC_MUTEX_KIND PTHREAD_MUTEX_DEFAULT
#endif

/*
 * A rwlock as Go's: a writer that waits keeps new readers out. glibc has that as a kind, which is not
 * its default. Elsewhere there is a turnstile, through which all go, and in which a writer waits.
 */
struct libc_rwlock {
	pthread_rwlock_t rw;
#ifndef __GLIBC__
	pthread_mutex_t turnstile;
#endif
};

static inline void libc_rwlock_init(struct libc_rwlock *l)
{
	pthread_rwlockattr_t attr;
	PT_OK(pthread_rwlockattr_init(&attr));
#ifdef __GLIBC__
	PT_OK(pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP));
#else
	PT_OK(pthread_mutex_init(&l->turnstile, NULL));
#endif
	PT_OK(pthread_rwlock_init(&l->rw, &attr));
	PT_OK(pthread_rwlockattr_destroy(&attr));
}

static inline void libc_rwlock_destroy(struct libc_rwlock *l)
{
	PT_OK(pthread_rwlock_destroy(&l->rw));
#ifndef __GLIBC__
	PT_OK(pthread_mutex_destroy(&l->turnstile));
#endif
}

static inline void libc_enter_turnstile(struct libc_rwlock *l)
{
#ifdef __GLIBC__
	(void)l;
#else
	PT_OK(pthread_mutex_lock(&l->turnstile));
#endif
}

static inline void libc_leave_turnstile(struct libc_rwlock *l)
{
#ifdef __GLIBC__
	(void)l;
#else
	PT_OK(pthread_mutex_unlock(&l->turnstile));
#endif
}

static inline void libc_rwlock_rdlock(struct libc_rwlock *l)
{
	libc_enter_turnstile(l);
	PT_OK(pthread_rwlock_rdlock(&l->rw));
	libc_leave_turnstile(l);
}

static inline void libc_rwlock_wrlock(struct libc_rwlock *l)
{
	libc_enter_turnstile(l);
	PT_OK(pthread_rwlock_wrlock(&l->rw));
	libc_leave_turnstile(l);
}

/* False: a writer has it, or waits for it. (With the turnstile: or somebody is passing through.) */
static inline bool libc_rwlock_tryrdlock(struct libc_rwlock *l)
{
#ifndef __GLIBC__
	if (pthread_mutex_trylock(&l->turnstile) != 0)
		return false;
#endif
	int rc = pthread_rwlock_tryrdlock(&l->rw);
	libc_leave_turnstile(l);
	CHECK(rc == 0 || rc == EBUSY);
	return rc == 0;
}

static inline void libc_rwlock_unlock(struct libc_rwlock *l)
{
	PT_OK(pthread_rwlock_unlock(&l->rw));
}

/*
 * A thread that is created with attr between these two calls begins with this mask. The calling
 * thread may have the same mask meanwhile; before keeps its own.
 */
static inline void libc_begin_sigmask(pthread_attr_t *attr, const sigset_t *mask, sigset_t *before)
{
#ifdef __GLIBC__
	(void)before;
	PT_OK(pthread_attr_setsigmask_np(attr, mask));
#else
	(void)attr;
	PT_OK(pthread_sigmask(SIG_SETMASK, mask, before));
#endif
}

static inline void libc_end_sigmask(const sigset_t *before)
{
#ifdef __GLIBC__
	(void)before;
#else
	PT_OK(pthread_sigmask(SIG_SETMASK, before, NULL));
#endif
}

/* The text of an errno value, which may be in buf. */
static inline const char *libc_strerror(int code, char *buf, size_t size)
{
#ifdef __GLIBC__
	return strerror_r(code, buf, size);
#else
	return strerror_r(code, buf, size) == 0 ? buf : "Unknown error";
#endif
}

#ifdef __GLIBC__
#define libc_mallinfo mallinfo2
static inline struct mallinfo2 libc_get_mallinfo(void)
{
	return mallinfo2();
}
#else
struct libc_mallinfo {
	size_t arena, ordblks, hblks, hblkhd, uordblks, fordblks, keepcost; /* as in glibc's */
};
static inline struct libc_mallinfo libc_get_mallinfo(void)
{
	return (struct libc_mallinfo){0};
}
#endif

/* Gives memory that is free back to the system, where malloc keeps any. */
static inline void libc_trim(void)
{
#ifdef __GLIBC__
	malloc_trim(0);
#endif
}

/* See xalloc_init. */
static inline void libc_set_thresholds(int mmap_bytes, int trim_bytes)
{
#ifdef __GLIBC__
	mallopt(M_MMAP_THRESHOLD, mmap_bytes);
	mallopt(M_TRIM_THRESHOLD, trim_bytes);
#else
	(void)mmap_bytes, (void)trim_bytes;
#endif
}

#endif
