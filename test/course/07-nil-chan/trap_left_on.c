/* SPDX-License-Identifier: MIT */
/* BROKEN: the case of a closed chan stays on. It is ready each time, and the loop goes round. */
#include <stdio.h>

#include "common/chan.h"

#include "test/course/gate.h"
#include "test/course/go.h"

enum { ENOUGH = 1000 };

static struct gate enough;

/* Has something to say when the other thread has gone round for nothing, often enough. */
static void speak_late(void *arg)
{
	int v = 7;

	gate_wait(&enough);
	chan_send(arg, &v);
}

int main(void)
{
	struct chan *closed = chan_new(sizeof(int), 0), *late = chan_new(sizeof(int), 0);
	struct wait_group wg;
	int v = 0, rounds = 0;

	chan_close(closed);
	wait_group_init(&wg);
	go(&wg, "speak_late", speak_late, late);
	while (v == 0) {
		struct chan_case cases[] = {chan_case_recv(closed, &v), chan_case_recv(late, &v)};

		if (chan_select(cases, 2) == 0 && ++rounds == ENOUGH)
			gate_open(&enough);
	}
	printf("got %d; at least %d rounds for nothing\n", v, ENOUGH);
	wait_group_wait(&wg);
	wait_group_destroy(&wg);
	gothread_drain();
	chan_free(closed);
	chan_free(late);
	return rounds < ENOUGH;
}
