/* SPDX-License-Identifier: MIT */
/* BROKEN: the flag that publishes the number is stored, and loaded, without an order. */
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>

#include "test/course/go.h"

static int limit;
static atomic_bool ready;

static void worker(void *arg)
{
	(void)arg;
	while (!atomic_load_explicit(&ready, memory_order_relaxed))
		sched_yield();
	printf("limit %d\n", limit); /* @reads */
}

int main(void)
{
	struct wait_group wg;

	wait_group_init(&wg);
	go(&wg, "worker", worker, NULL);
	limit = 1000; /* @writes */
	atomic_store_explicit(&ready, true, memory_order_relaxed);
	wait_group_wait(&wg);
	wait_group_destroy(&wg);
	gothread_drain();
	return 0;
}
