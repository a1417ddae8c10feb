/* SPDX-License-Identifier: MIT */
/* BROKEN: a client is ready for one message. Two steps under a lock are not one step. */
#ifndef TEST_COURSE_READY_H
#define TEST_COURSE_READY_H

#include <pthread.h>
#include <stdbool.h>

enum { READY = 1 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int in_flight; /* guarded by lock */

/* (Not inlined, here and below: so the model checker can name them.) */
static __attribute__((noinline)) bool is_ready(void)
{
	pthread_mutex_lock(&lock);
	bool ready = in_flight < READY;
	pthread_mutex_unlock(&lock);
	return ready;
}

static __attribute__((noinline)) void count_sent(void)
{
	pthread_mutex_lock(&lock);
	in_flight++;
	pthread_mutex_unlock(&lock);
}

#endif
