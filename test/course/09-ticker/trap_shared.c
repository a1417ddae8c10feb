/* SPDX-License-Identifier: MIT */
/* BROKEN: two threads select on one ticker, as two goroutines may. */
#include <stdio.h>

#include "common/chan.h"
#include "common/clock.h"

#include "test/course/gate.h"
#include "test/course/go.h"

static struct gate both_run, one_has_ticked;

static void tick_first(void *arg)
{
	struct chan_case cases[] = {chan_case_tick(arg)};

	gate_wait(&both_run);
	chan_select(cases, 1); /* @first */
	gate_open(&one_has_ticked);
}

static void tick_second(void *arg)
{
	struct chan_case cases[] = {chan_case_tick(arg)};

	gate_open(&both_run);
	gate_wait(&one_has_ticked);
	chan_select(cases, 1); /* @second */
}

int main(void)
{
	struct ticker shared;
	struct wait_group wg;

	ticker_start(&shared, 10 * NSEC_PER_MSEC);
	wait_group_init(&wg);
	go(&wg, "first", tick_first, &shared);
	go(&wg, "second", tick_second, &shared);
	wait_group_wait(&wg);
	printf("both have ticked\n");
	wait_group_destroy(&wg);
	gothread_drain();
	return 0;
}
