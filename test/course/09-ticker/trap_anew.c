/* SPDX-License-Identifier: MIT */
/* BROKEN: the deadline of the loop is made anew in each round. While messages come, it never does. */
#include <stdio.h>

#include "common/chan.h"
#include "common/clock.h"

enum { MESSAGES = 20, WORK_MS = 10, DEADLINE_MS = 100 };

/* time.Sleep: what a message needs. */
static void work(void)
{
	struct ticker t;

	ticker_after(&t, WORK_MS * NSEC_PER_MSEC);
	chan_select((struct chan_case[]){chan_case_tick(&t)}, 1);
}

/* Handles what is in the chan, until the deadline. Returns how many messages that were. */
static int handle(struct chan *in)
{
	int handled = 0, v;

	while (handled < MESSAGES) {
		struct ticker deadline;
		struct chan_case cases[] = {chan_case_recv(in, &v), chan_case_tick(&deadline)};

		ticker_after(&deadline, DEADLINE_MS * NSEC_PER_MSEC);
		if (chan_select(cases, 2) == 1)
			break;
		work();
		handled++;
	}
	return handled;
}

int main(void)
{
	int handled = 0;
	bool late = false;

	while (handled <
		MESSAGES) { /* again, if the machine has stopped it for 100 ms just there */
		struct chan *in = chan_new(sizeof(int), MESSAGES);
		int64_t began = clock_mono_ns();

		for (int i = 0; i < MESSAGES; i++)
			chan_send(in, &i);
		handled = handle(in);
		late = clock_mono_ns() - began >= MESSAGES * WORK_MS * NSEC_PER_MSEC;
		chan_free(in);
	}
	printf("%d messages, no end after %d ms\n", handled, DEADLINE_MS);
	printf("200 ms or more: %s\n", late ? "true" : "false");
	return 0;
}
