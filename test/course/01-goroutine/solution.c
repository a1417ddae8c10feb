/* SPDX-License-Identifier: MIT */
/* The sum of the numbers from 1 to 1,000,000, by four threads. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/gothread.h"

enum { THREADS = 4, NUMBERS = 1000000 };

struct range {
	int first, last;
	int64_t sum; /* written by its thread; main reads it after wait_group_wait */
};

static void add(void *arg)
{
	struct range *r = arg;

	for (int i = r->first; i <= r->last; i++)
		r->sum += i;
}

int main(void)
{
	struct range ranges[THREADS];
	struct wait_group wg;
	struct err err;
	int64_t sum = 0;

	wait_group_init(&wg);
	for (int i = 0; i < THREADS; i++) {
		ranges[i].first = i * (NUMBERS / THREADS) + 1;
		ranges[i].last = (i + 1) * (NUMBERS / THREADS);
		ranges[i].sum = 0;
		if (wait_group_wrap(&wg, "add", add, &ranges[i], &err) < 0) {
			fprintf(stderr, "add: %s\n", err.msg);
			exit(1);
		}
	}
	wait_group_wait(&wg);
	for (int i = 0; i < THREADS; i++)
		sum += ranges[i].sum;
	printf("%lld\n", (long long)sum);
	wait_group_destroy(&wg);
	gothread_drain();
	return 0;
}
