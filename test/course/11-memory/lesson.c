/* SPDX-License-Identifier: MIT */
/* Three atomics: one publishes plain memory, one is a counter, one is a word to stop. */
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>

#include "test/course/go.h"

static int limit;         /* plain memory, read after ready is seen */
static atomic_bool ready; /* publishes limit: release, acquire */
static atomic_long hits;  /* a counter: relaxed */
static atomic_bool stop;  /* nothing is read because of it: relaxed */

static void worker(void *arg)
{
	(void)arg;
	while (!atomic_load_explicit(&ready, memory_order_acquire))
		sched_yield();
	for (int i = 0; i < limit; i++)
		atomic_fetch_add_explicit(&hits, 1, memory_order_relaxed);
}

static void watcher(void *arg)
{
	(void)arg;
	while (!atomic_load_explicit(&stop, memory_order_relaxed))
		sched_yield();
}

int main(void)
{
	struct wait_group workers, watchers;

	wait_group_init(&workers);
	wait_group_init(&watchers);
	go(&watchers, "watcher", watcher, NULL);
	for (int i = 0; i < 3; i++)
		go(&workers, "worker", worker, NULL);
	limit = 1000;
	atomic_store_explicit(&ready, true, memory_order_release);
	wait_group_wait(&workers);
	atomic_store_explicit(&stop, true, memory_order_relaxed);
	wait_group_wait(&watchers);
	printf("%ld hits\n", atomic_load_explicit(&hits, memory_order_relaxed));
	wait_group_destroy(&workers);
	wait_group_destroy(&watchers);
	gothread_drain();
	return 0;
}
