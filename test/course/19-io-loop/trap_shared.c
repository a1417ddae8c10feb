/* SPDX-License-Identifier: MIT */
/* BROKEN: the askers share one chan for their answers, and the owner takes two requests at a time. */
#include <stdio.h>

#include "common/chan.h"

#include "test/course/gate.h"
#include "test/course/go.h"

struct queue {
	struct chan *write_chan;    /* of int */
	struct chan *response_chan; /* of int: the place of the value */
	int items[2];               /* of io_loop alone */
};

/* Stores both with one write, as for a disk, and answers them in their order. */
static void io_loop(void *arg)
{
	struct queue *q = arg;

	for (int n = 0; n < 2; n++)
		chan_recv(q->write_chan, &q->items[n]);
	for (int place = 0; place < 2; place++)
		chan_send(q->response_chan, &place);
}

static struct gate first_has_asked, second_has_answer;
static int told[2]; /* each of its asker, and then of main */

static void first(void *arg)
{
	struct queue *q = arg;
	int value = 111;

	chan_send(q->write_chan, &value);
	gate_open(&first_has_asked);
	gate_wait(&second_has_answer);
	chan_recv(q->response_chan, &told[0]);
}

static void second(void *arg)
{
	struct queue *q = arg;
	int value = 222;

	gate_wait(&first_has_asked);
	chan_send(q->write_chan, &value);
	chan_recv(q->response_chan, &told[1]);
	gate_open(&second_has_answer);
}

int main(void)
{
	struct queue q = {chan_new(sizeof(int), 0), chan_new(sizeof(int), 0), {0}};
	struct wait_group wg;

	wait_group_init(&wg);
	go(&wg, "io_loop", io_loop, &q);
	go(&wg, "first", first, &q);
	go(&wg, "second", second, &q);
	wait_group_wait(&wg);
	printf("111 was put into place %d, where %d is\n", told[0], q.items[told[0]]);
	printf("222 was put into place %d, where %d is\n", told[1], q.items[told[1]]);
	wait_group_destroy(&wg);
	gothread_drain();
	chan_free(q.write_chan);
	chan_free(q.response_chan);
	return 0;
}
