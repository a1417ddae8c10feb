/* SPDX-License-Identifier: MIT */
/* BROKEN: all threads are given the same variable, which main changes meanwhile. */
#include <stdio.h>
#include <stdlib.h>

#include "common/gothread.h"

#include "test/course/gate.h"

enum { GREETERS = 5 };

static char said[GREETERS][32];
static struct gate started;

static void greet(void *arg)
{
	gate_wait(&started);
	int i = *(int *)arg; /* @reads */

	if (i < GREETERS)
		snprintf(said[i], sizeof said[i], "hello from %d", i);
}

int main(void)
{
	struct wait_group wg;
	struct err err;
	int i;

	wait_group_init(&wg);
	for (i = 0; i < GREETERS; i++) { /* @writes */
		if (wait_group_wrap(&wg, "greet", greet, &i, &err) < 0) {
			fprintf(stderr, "greet: %s\n", err.msg);
			exit(1);
		}
	}
	gate_open(&started);
	wait_group_wait(&wg);
	for (i = 0; i < GREETERS; i++)
		printf("%s\n", said[i]);
	wait_group_destroy(&wg);
	gothread_drain();
	return 0;
}
