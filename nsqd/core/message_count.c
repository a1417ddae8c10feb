/* SPDX-License-Identifier: MIT */
/*
 * Counting records of messages, thread by thread. No Go file. Any thread counts; a thread's counts
 * are added to those of past threads when it ends.
 */
#include "nsqd/core/message_count.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "common/check.h"
#include "common/lock.h"
#include "common/xalloc.h"

static struct {
	pthread_mutex_t lock;
	struct message_counts *threads; /* guarded by lock, as all here; owned */
	uint64_t past_made, past_freed; /* by threads that have ended */
	uint64_t past_body_made, past_body_freed;
} all = {.lock = PTHREAD_MUTEX_INITIALIZER};

static _Atomic int64_t stored; /* atomic */

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t key; /* immutable after once; only for its destructor */
_Thread_local struct message_counts *message_counts_mine;

/* The thread ends. */
static void fold(void *arg)
{
	struct message_counts *c = arg;
	message_counts_mine = NULL;
	PT_OK(pthread_mutex_lock(&all.lock));
	all.past_made += atomic_load_explicit(&c->made, memory_order_relaxed);
	all.past_freed += atomic_load_explicit(&c->freed, memory_order_relaxed);
	all.past_body_made += atomic_load_explicit(&c->body_made, memory_order_relaxed);
	all.past_body_freed += atomic_load_explicit(&c->body_freed, memory_order_relaxed);
	if (c->next)
		c->next->prev = c->prev;
	if (c->prev)
		c->prev->next = c->next;
	else
		all.threads = c->next;
	PT_OK(pthread_mutex_unlock(&all.lock));
	free(c);
}

static void make_key(void)
{
	PT_OK(pthread_key_create(&key, fold));
}

struct message_counts *message_counts_begin(void)
{
	PT_OK(pthread_once(&once, make_key));
	struct message_counts *c = xcalloc(1, sizeof(*c));
	PT_OK(pthread_setspecific(key, c));
	PT_OK(pthread_mutex_lock(&all.lock));
	c->next = all.threads;
	if (c->next)
		c->next->prev = c;
	all.threads = c;
	PT_OK(pthread_mutex_unlock(&all.lock));
	message_counts_mine = c;
	return c;
}

uint64_t message_count_made(void)
{
	PT_OK(pthread_mutex_lock(&all.lock));
	uint64_t sum = all.past_made;
	for (struct message_counts *c = all.threads; c; c = c->next)
		sum += atomic_load_explicit(&c->made, memory_order_acquire);
	PT_OK(pthread_mutex_unlock(&all.lock));
	return sum;
}

uint64_t message_count_freed(void)
{
	PT_OK(pthread_mutex_lock(&all.lock));
	uint64_t sum = all.past_freed;
	for (struct message_counts *c = all.threads; c; c = c->next)
		sum += atomic_load_explicit(&c->freed, memory_order_acquire);
	PT_OK(pthread_mutex_unlock(&all.lock));
	return sum;
}

uint64_t message_count_body_bytes(void)
{
	PT_OK(pthread_mutex_lock(&all.lock));
	uint64_t made = all.past_body_made, freed = all.past_body_freed;
	for (struct message_counts *c = all.threads; c; c = c->next) {
		made += atomic_load_explicit(&c->body_made, memory_order_relaxed);
		freed += atomic_load_explicit(&c->body_freed, memory_order_relaxed);
	}
	PT_OK(pthread_mutex_unlock(&all.lock));
	/* A body that was made after its thread was looked at may be freed by a later one. */
	return made > freed ? made - freed : 0;
}

void message_count_stored(int64_t bytes)
{
	atomic_fetch_add_explicit(&stored, bytes, memory_order_relaxed);
}

int64_t message_count_stored_bytes(void)
{
	int64_t bytes = atomic_load_explicit(&stored, memory_order_relaxed);
	return bytes > 0 ? bytes : 0;
}
