/* SPDX-License-Identifier: MIT */
/* A queue without a lock, for one thread that puts and one that takes: two atomics and an array. */
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>

#include "test/course/go.h"

enum { ROOM = 4, NUMBERS = 10000 };

struct queue {
	int slots[ROOM];     /* plain: the two counts say whose a slot is */
	atomic_uint n_put;   /* written by the thread that puts */
	atomic_uint n_taken; /* written by the thread that takes */
};

/* False: it is full. */
static bool try_put(struct queue *q, int v)
{
	unsigned put = atomic_load_explicit(&q->n_put, memory_order_relaxed); /* its own */

	/* Acquire: the other thread is done with the slot. */
	if (put - atomic_load_explicit(&q->n_taken, memory_order_acquire) == ROOM)
		return false;
	q->slots[put % ROOM] = v;
	/* Release: publishes the slot. */
	atomic_store_explicit(&q->n_put, put + 1, memory_order_release);
	return true;
}

/* False: it is empty. */
static bool try_take(struct queue *q, int *v)
{
	unsigned taken = atomic_load_explicit(&q->n_taken, memory_order_relaxed); /* its own */

	/* Acquire: the value is in the slot. */
	if (taken == atomic_load_explicit(&q->n_put, memory_order_acquire))
		return false;
	*v = q->slots[taken % ROOM];
	/* Release: the slot has been read, and may be written again. */
	atomic_store_explicit(&q->n_taken, taken + 1, memory_order_release);
	return true;
}

static void producer(void *arg)
{
	for (int i = 1; i <= NUMBERS; i++) {
		while (!try_put(arg, i))
			sched_yield();
	}
}

int main(void)
{
	struct queue q = {.n_put = 0};
	struct wait_group wg;
	long sum = 0;

	wait_group_init(&wg);
	go(&wg, "producer", producer, &q);
	for (int i = 0, v; i < NUMBERS; i++) {
		while (!try_take(&q, &v))
			sched_yield();
		sum += v;
	}
	wait_group_wait(&wg);
	printf("%ld\n", sum);
	wait_group_destroy(&wg);
	gothread_drain();
	return 0;
}
