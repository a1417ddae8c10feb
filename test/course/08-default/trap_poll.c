/* SPDX-License-Identifier: MIT */
/* BROKEN: a select by looking, sleeping for a millisecond, and looking again. */
#include <stdio.h>
#include <sys/resource.h>
#include <time.h>

#include "common/chan.h"

#include "test/course/gate.h"
#include "test/course/go.h"

enum { ENOUGH = 50 };

static struct gate enough;

/* Has something to say when the other thread has looked in vain, often enough. */
static void speak_late(void *arg)
{
	int v = 7;

	gate_wait(&enough);
	chan_send(arg, &v);
}

int main(void)
{
	struct chan *a = chan_new(sizeof(int), 0), *b = chan_new(sizeof(int), 0);
	struct timespec pause = {.tv_nsec = 1000000};
	struct rusage usage;
	struct wait_group wg;
	int v = 0;

	wait_group_init(&wg);
	go(&wg, "speak_late", speak_late, b);
	for (int looks = 0; v == 0;) {
		struct chan_case cases[] = {chan_case_recv(a, &v), chan_case_recv(b, &v)};

		if (chan_try_select(cases, 2) < 0) {
			if (++looks == ENOUGH)
				gate_open(&enough);
			nanosleep(&pause, NULL);
		}
	}
	getrusage(RUSAGE_THREAD, &usage);
	printf("got %d; at least %d looks in vain\n", v, ENOUGH);
	printf("the thread has gone to sleep %ld times\n", usage.ru_nvcsw);
	wait_group_wait(&wg);
	wait_group_destroy(&wg);
	gothread_drain();
	chan_free(a);
	chan_free(b);
	return 0;
}
