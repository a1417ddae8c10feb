/* SPDX-License-Identifier: MIT */
/* The inside of gothread, for its tests. */
#ifndef COMMON_GOTHREAD_INTERNAL_H
#define COMMON_GOTHREAD_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/clock.h"

/* Creates every new thread; a test puts its own function here to make it fail. */
extern int (*gothread_create)(
	pthread_t *id, const pthread_attr_t *attr, void *(*start)(void *), void *arg);

/* Bytes of stack per thread, without the guard page. */
size_t gothread_stack_size(void);

/* What a failure has taught of the limits holds for so long. */
#define CEILING_NS (5 * NSEC_PER_SEC)

/* False, for tests that make single threads fail: no failure is taken for a limit. */
extern bool gothread_learns_limit;

/*
 * How many threads are kept at most, and how long each. A few, since each holds a thread's memory,
 * and a place in the limits of user and container. For a moment: connections that come and go do so
 * many times a second. A test puts its own values there; with 0 each function gets a new thread.
 */
#define GOTHREAD_KEPT_MAX 64
#define GOTHREAD_KEPT_NS NSEC_PER_SEC
extern _Atomic size_t gothread_kept_max;
extern _Atomic int64_t gothread_kept_ns;

#endif
