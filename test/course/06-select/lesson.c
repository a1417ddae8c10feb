/* SPDX-License-Identifier: MIT */
/* Two producers, and one receiver that takes from whichever has something. */
#include <stdio.h>

#include "common/chan.h"

#include "test/course/go.h"

struct producer {
	struct chan *out; /* of int */
	int first;
};

static void producer(void *arg)
{
	struct producer *p = arg;

	for (int i = 0; i < 10; i++) {
		int v = p->first + i;

		chan_send(p->out, &v);
	}
}

enum { UNITS, HUNDREDS, EXIT, CASES };

int main(void)
{
	struct producer units = {chan_new(sizeof(int), 0), 1};
	struct producer hundreds = {chan_new(sizeof(int), 0), 100};
	struct chan *exit_chan = chan_new(0, 0);
	struct wait_group wg;
	int sums[2] = {0}, v;

	wait_group_init(&wg);
	go(&wg, "units", producer, &units);
	go(&wg, "hundreds", producer, &hundreds);
	for (int i = 0; i < 20; i++) {
		struct chan_case cases[CASES] = {
			[UNITS] = chan_case_recv(units.out, &v),
			[HUNDREDS] = chan_case_recv(hundreds.out, &v),
			[EXIT] = chan_case_recv(exit_chan, NULL),
		};

		switch (chan_select(cases, CASES)) {
		case UNITS:
			sums[0] += v;
			break;
		case HUNDREDS:
			sums[1] += v;
			break;
		case EXIT:
			printf("told to end\n");
			return 1;
		}
	}
	printf("%d %d\n", sums[0], sums[1]);
	wait_group_wait(&wg);
	wait_group_destroy(&wg);
	gothread_drain();
	chan_free(units.out);
	chan_free(hundreds.out);
	chan_free(exit_chan);
	return 0;
}
