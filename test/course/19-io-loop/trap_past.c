/* SPDX-License-Identifier: MIT */
/* BROKEN: main reads what io_loop owns, without asking. */
#include <stdio.h>

#include "common/chan.h"

#include "test/course/gate.h"
#include "test/course/go.h"

struct queue {
	struct chan *write_chan; /* of int */
	struct chan *exit_chan;
	int items[8], depth; /* of io_loop alone */
};

static struct gate stored;

static void io_loop(void *arg)
{
	struct queue *q = arg;
	int v;

	for (;;) {
		struct chan_case cases[] = {
			chan_case_recv(q->write_chan, &v),
			chan_case_recv(q->exit_chan, NULL),
		};

		if (chan_select(cases, 2) == 1)
			return;
		q->items[q->depth] = v;
		q->depth++; /* @writes */
		gate_open(&stored);
	}
}

int main(void)
{
	struct queue q = {chan_new(sizeof(int), 0), chan_new(0, 0), {0}, 0};
	struct wait_group wg;
	int v = 7;

	wait_group_init(&wg);
	go(&wg, "io_loop", io_loop, &q);
	chan_send(q.write_chan, &v);
	gate_wait(&stored);
	printf("depth %d\n", q.depth); /* @reads */
	chan_close(q.exit_chan);
	wait_group_wait(&wg);
	wait_group_destroy(&wg);
	gothread_drain();
	chan_free(q.write_chan);
	chan_free(q.exit_chan);
	return 0;
}
