/* SPDX-License-Identifier: MIT */
/* The inside of gothread, for its tests. */
#ifndef COMMON_GOTHREAD_INTERNAL_H
#define COMMON_GOTHREAD_INTERNAL_H

#include <pthread.h>
#include <stdbool.h>

/* Creates every thread; a test puts its own function here to make it fail. */
extern int (*gothread_create)(
	pthread_t *id, const pthread_attr_t *attr, void *(*start)(void *), void *arg);

/* Bytes of stack per thread, without the guard page. */
size_t gothread_stack_size(void);

/* False, for tests that make single threads fail: no failure is taken for a limit. */
extern bool gothread_learns_limit;

#endif
