/* SPDX-License-Identifier: MIT */
/* BROKEN: the owner asks as the others do, and nobody is there to answer. */
#include <stdio.h>

#include "common/chan.h"

#include "test/course/go.h"

struct queue {
	struct chan *read_chan;  /* of int */
	struct chan *write_chan; /* of int */
	int item;                /* of io_loop alone, as the next one */
	bool full;
};

/* Any thread. */
static int take(struct queue *q)
{
	int v;

	chan_recv(q->read_chan, &v); /* @takes */
	return v;
}

/* A queue for the newest value: the one before makes room. */
static void io_loop(void *arg)
{
	struct queue *q = arg;
	int v;

	for (;;) {
		struct chan_case cases[] = {
			chan_case_send(q->full ? q->read_chan : NULL, &q->item),
			chan_case_recv(q->write_chan, &v),
		};

		if (chan_select(cases, 2) == 0) {
			q->full = false;
			continue;
		}
		if (q->full)
			printf("%d makes room\n", take(q)); /* @asks-itself */
		q->item = v;
		q->full = true;
	}
}

int main(void)
{
	struct queue q = {chan_new(sizeof(int), 0), chan_new(sizeof(int), 0), 0, false};
	struct wait_group wg;

	wait_group_init(&wg);
	go(&wg, "io_loop", io_loop, &q);
	for (int v = 1; v <= 3; v++)
		chan_send(q.write_chan, &v); /* @asks */
	printf("the newest is %d\n", take(&q));
	return 0;
}
