/* SPDX-License-Identifier: MIT */
/* Messages, heartbeats and a deadline in one loop. Then a silence, which a time-out ends. */
#include <stdio.h>

#include "common/chan.h"
#include "common/clock.h"

#include "test/course/go.h"

static void talk(void *arg)
{
	struct chan *out = arg;

	for (int i = 1; i <= 5; i++)
		chan_send(out, &i);
}

enum { MESSAGE, HEARTBEAT, DEADLINE, CASES };

/* Until it has five messages and three heartbeats. */
static void pump(struct chan *in)
{
	struct ticker heartbeat, deadline;
	int messages = 0, beats = 0;

	ticker_start(&heartbeat, 10 * NSEC_PER_MSEC);
	ticker_after(&deadline, 60 * NSEC_PER_SEC); /* for the whole loop, so it is made before */
	while (messages < 5 || beats < 3) {
		struct chan_case cases[CASES] = {
			[MESSAGE] = chan_case_recv(in, NULL),
			[HEARTBEAT] = chan_case_tick(beats == 3 ? NULL : &heartbeat),
			[DEADLINE] = chan_case_tick(&deadline),
		};

		switch (chan_select(cases, CASES)) {
		case MESSAGE:
			messages++;
			break;
		case HEARTBEAT:
			beats++;
			break;
		case DEADLINE:
			printf("not in a minute\n");
			return;
		}
	}
	printf("%d messages, %d heartbeats\n", messages, beats);
}

/* One message, or none within 20 ms. */
static void wait_for_one(struct chan *in)
{
	struct ticker patience;
	int v;
	struct chan_case cases[] = {chan_case_recv(in, &v), chan_case_tick(&patience)};

	ticker_after(&patience, 20 * NSEC_PER_MSEC);
	if (chan_select(cases, 2) == 0)
		printf("one more: %d\n", v);
	else
		printf("silence\n");
}

int main(void)
{
	struct chan *in = chan_new(sizeof(int), 0);
	struct wait_group wg;

	wait_group_init(&wg);
	go(&wg, "talk", talk, in);
	int64_t began = clock_mono_ns();

	pump(in);
	bool early = clock_mono_ns() - began < 30 * NSEC_PER_MSEC;

	printf("less than 30 ms: %s\n", early ? "true" : "false");
	wait_for_one(in);
	wait_group_wait(&wg);
	wait_group_destroy(&wg);
	gothread_drain();
	chan_free(in);
	return 0;
}
