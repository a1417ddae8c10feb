/* SPDX-License-Identifier: MIT */
/* BROKEN: the word to stop is plain memory. */
#include <stdbool.h>
#include <stdio.h>

#include "test/course/gate.h"
#include "test/course/go.h"

static bool stop;
static long rounds;
static struct gate told;

static void watcher(void *arg)
{
	(void)arg;
	gate_wait(&told);
	while (!stop) /* @reads */
		rounds++;
}

int main(void)
{
	struct wait_group wg;

	wait_group_init(&wg);
	go(&wg, "watcher", watcher, NULL);
	stop = true; /* @writes */
	gate_open(&told);
	wait_group_wait(&wg);
	printf("stopped\n");
	wait_group_destroy(&wg);
	gothread_drain();
	return 0;
}
