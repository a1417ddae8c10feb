/* SPDX-License-Identifier: MIT */
/* The system of a model: see mc_os.c. Each function is that of libc without "mc_". */
#ifndef TEST_MODEL_MC_OS_H
#define TEST_MODEL_MC_OS_H

#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <time.h>

long mc_syscall(long number, ...);
int mc_pthread_mutex_lock(pthread_mutex_t *m);
int mc_pthread_mutex_trylock(pthread_mutex_t *m);
int mc_pthread_mutex_unlock(pthread_mutex_t *m);
int mc_pthread_mutex_init(pthread_mutex_t *m, const pthread_mutexattr_t *attr);
int mc_pthread_mutex_destroy(pthread_mutex_t *m);
int mc_pthread_rwlock_rdlock(pthread_rwlock_t *p);
int mc_pthread_rwlock_tryrdlock(pthread_rwlock_t *p);
int mc_pthread_rwlock_wrlock(pthread_rwlock_t *p);
int mc_pthread_rwlock_unlock(pthread_rwlock_t *p);
int mc_pthread_rwlock_init(pthread_rwlock_t *p, const pthread_rwlockattr_t *attr);
int mc_pthread_rwlock_destroy(pthread_rwlock_t *p);
int mc_pthread_once(pthread_once_t *once, void (*fn)(void));
int mc_pthread_key_create(pthread_key_t *key, void (*at_end)(void *));
int mc_pthread_setspecific(pthread_key_t key, const void *value);
int mc_sched_getaffinity(pid_t pid, size_t size, cpu_set_t *set);
int mc_clock_gettime(clockid_t clock, struct timespec *ts);
void *mc_aligned_alloc(size_t alignment, size_t size);
void *mc_malloc(size_t size);
void *mc_calloc(size_t n, size_t size);
void *mc_realloc(void *p, size_t size);
void mc_free(void *p);
int mc_vasprintf(char **out, const char *fmt, va_list ap);

/* Does the calling thread hold it? No libc has that: for stubs. */
bool mc_holds(const pthread_mutex_t *m);

#endif
