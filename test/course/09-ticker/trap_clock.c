/* SPDX-License-Identifier: MIT */
/* BROKEN: it counts ticks to know how much time has passed. Ticks that are missed are one tick. */
#include <stdio.h>

#include "common/chan.h"
#include "common/clock.h"

enum { ROUNDS = 10, WORK_MS = 10 };

/* time.Sleep: what there is to do after a tick. */
static void work(void)
{
	struct ticker t;

	ticker_after(&t, WORK_MS * NSEC_PER_MSEC);
	chan_select((struct chan_case[]){chan_case_tick(&t)}, 1);
}

int main(void)
{
	struct ticker every_ms;
	int64_t began = clock_mono_ns();
	int ticks = 0;

	ticker_start(&every_ms, NSEC_PER_MSEC);
	for (int i = 0; i < ROUNDS; i++) {
		chan_select((struct chan_case[]){chan_case_tick(&every_ms)}, 1);
		ticks++;
		work();
	}
	bool late = clock_mono_ns() - began >= ROUNDS * WORK_MS * NSEC_PER_MSEC;

	printf("%d ticks, so %d ms have passed\n", ticks, ticks);
	printf("100 ms or more: %s\n", late ? "true" : "false");
	return 0;
}
