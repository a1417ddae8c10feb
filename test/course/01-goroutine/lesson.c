/* SPDX-License-Identifier: MIT */
/* Five greetings, each by a thread of its own. main waits for all of them. */
#include <stdio.h>
#include <stdlib.h>

#include "common/gothread.h"

enum { GREETERS = 5 };

/* What a goroutine's closure holds by itself: an argument for each thread, in memory that stays. */
struct greeter {
	int i;
	char said[32]; /* written by its thread; main reads it after wait_group_wait */
};

static void greet(void *arg)
{
	struct greeter *g = arg;

	snprintf(g->said, sizeof g->said, "hello from %d", g->i);
}

int main(void)
{
	struct greeter greeters[GREETERS];
	struct wait_group wg;
	struct err err;

	wait_group_init(&wg);
	for (int i = 0; i < GREETERS; i++) {
		greeters[i].i = i;
		if (wait_group_wrap(&wg, "greet", greet, &greeters[i], &err) < 0) {
			fprintf(stderr, "greet: %s\n", err.msg);
			exit(1);
		}
	}
	wait_group_wait(&wg);
	for (int i = 0; i < GREETERS; i++)
		printf("%s\n", greeters[i].said);
	wait_group_destroy(&wg);
	gothread_drain();
	return 0;
}
