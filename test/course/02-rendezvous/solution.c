/* SPDX-License-Identifier: MIT */
/* Three threads in a ring add to a number that goes round, until it is large enough. */
#include <stdio.h>

#include "common/chan.h"

#include "test/course/go.h"

enum { THREADS = 3, ROUNDS = 1000 };

struct place {
	struct chan *in, *out; /* of int */
};

static void add_one(void *arg)
{
	struct place *p = arg;
	int n;

	for (int i = 0; i < ROUNDS; i++) {
		chan_recv(p->in, &n);
		n++;
		chan_send(p->out, &n);
	}
}

int main(void)
{
	struct chan *chans[THREADS + 1];
	struct place places[THREADS];
	struct wait_group wg;
	int n = 0;

	for (int i = 0; i <= THREADS; i++)
		chans[i] = chan_new(sizeof(int), 0);
	wait_group_init(&wg);
	for (int i = 0; i < THREADS; i++) {
		places[i] = (struct place){chans[i], chans[i + 1]};
		go(&wg, "add_one", add_one, &places[i]);
	}
	for (int i = 0; i < ROUNDS; i++) {
		chan_send(chans[0], &n);
		chan_recv(chans[THREADS], &n);
	}
	printf("%d\n", n);
	wait_group_wait(&wg);
	wait_group_destroy(&wg);
	gothread_drain();
	for (int i = 0; i <= THREADS; i++)
		chan_free(chans[i]);
	return 0;
}
