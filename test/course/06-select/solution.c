/* SPDX-License-Identifier: MIT */
/* A barrier: three threads come in any order, and none goes on before all have come. */
#include <stdio.h>

#include "common/chan.h"

#include "test/course/go.h"

enum { THREADS = 3 };

struct barrier {
	struct chan *arrived[THREADS]; /* one for each thread; carries nothing */
	struct chan *open;             /* is closed when all have come */
};

struct runner {
	struct barrier *barrier;
	int n;
};

static void run(void *arg)
{
	struct runner *r = arg;

	chan_send(r->barrier->arrived[r->n], NULL);
	chan_recv(r->barrier->open, NULL);
}

/* Waits for all of them, in whatever order they come. */
static int wait_for_all(struct barrier *b)
{
	struct chan_case cases[THREADS];
	int come = 0;

	for (int i = 0; i < THREADS; i++)
		cases[i] = chan_case_recv(b->arrived[i], NULL);
	while (come < THREADS) {
		int i = chan_select(cases, THREADS);

		cases[i].c = NULL; /* it has come: this case is never ready again */
		come++;
	}
	return come;
}

int main(void)
{
	struct barrier b = {.open = chan_new(0, 0)};
	struct runner runners[THREADS];
	struct wait_group wg;

	wait_group_init(&wg);
	for (int i = 0; i < THREADS; i++) {
		b.arrived[i] = chan_new(0, 0);
		runners[i] = (struct runner){&b, i};
		go(&wg, "run", run, &runners[i]);
	}
	printf("%d have come\n", wait_for_all(&b));
	chan_close(b.open);
	wait_group_wait(&wg);
	wait_group_destroy(&wg);
	gothread_drain();
	for (int i = 0; i < THREADS; i++)
		chan_free(b.arrived[i]);
	chan_free(b.open);
	return 0;
}
