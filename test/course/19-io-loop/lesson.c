/* SPDX-License-Identifier: MIT */
/* A queue that one thread owns. All others ask for what they want, over chans. */
#include <stdio.h>

#include "common/chan.h"

#include "test/course/go.h"

enum { ROOM = 8, PUTTERS = 4, EACH = 25 };

/* It is the asker's, who lends it to the owner until the answer. */
struct request {
	int value;
	int place;                  /* out: the place that the value has got */
	struct chan *response_chan; /* carries nothing, and has room for one */
};

struct queue {
	struct chan *read_chan;  /* of int */
	struct chan *write_chan; /* of struct request * */
	struct chan *depth_chan; /* of int */
	struct chan *exit_chan;  /* is closed */

	/* From here on of io_loop alone. */
	int items[ROOM], head, depth, places;
};

static void store(struct queue *q, struct request *req)
{
	q->items[(q->head + q->depth) % ROOM] = req->value;
	q->depth++;
	req->place = ++q->places;
	chan_send(req->response_chan, NULL); /* there is room for it: the owner does not wait */
}

static void io_loop(void *arg)
{
	enum { READ, WRITE, DEPTH, EXIT, CASES };
	struct queue *q = arg;
	struct request *req;

	for (;;) {
		struct chan *r = q->depth > 0 ? q->read_chan : NULL;
		struct chan *w = q->depth < ROOM ? q->write_chan : NULL;
		struct chan_case cases[CASES] = {
			[READ] = chan_case_send(r, &q->items[q->head]),
			[WRITE] = chan_case_recv(w, &req),
			[DEPTH] = chan_case_send(q->depth_chan, &q->depth),
			[EXIT] = chan_case_recv(q->exit_chan, NULL),
		};

		switch (chan_select(cases, CASES)) {
		case READ:
			q->head = (q->head + 1) % ROOM;
			q->depth--;
			break;
		case WRITE:
			store(q, req);
			break;
		case EXIT:
			return;
		}
	}
}

static int put(struct queue *q, int value)
{
	struct request req = {.value = value, .response_chan = chan_new(0, 1)}, *preq = &req;

	chan_send(q->write_chan, &preq);
	chan_recv(req.response_chan, NULL);
	chan_free(req.response_chan);
	return req.place;
}

static int get(struct chan *c)
{
	int v;

	chan_recv(c, &v);
	return v;
}

struct putter {
	struct queue *q;
	int places; /* their sum */
};

static void put_all(void *arg)
{
	struct putter *p = arg;

	for (int v = 1; v <= EACH; v++)
		p->places += put(p->q, v);
}

int main(void)
{
	struct queue q = {
		.read_chan = chan_new(sizeof(int), 0),
		.write_chan = chan_new(sizeof(struct request *), 0),
		.depth_chan = chan_new(sizeof(int), 0),
		.exit_chan = chan_new(0, 0),
	};
	struct putter putters[PUTTERS];
	struct wait_group loop, wg;
	int sum = 0, places = 0;

	wait_group_init(&loop);
	wait_group_init(&wg);
	go(&loop, "io_loop", io_loop, &q);
	for (int i = 1; i <= 3; i++)
		printf("put %d in place %d\n", i, put(&q, i));
	printf("depth %d\n", get(q.depth_chan));
	for (int i = 0; i < PUTTERS; i++) {
		putters[i] = (struct putter){&q, 0};
		go(&wg, "putter", put_all, &putters[i]);
	}
	for (int i = 0; i < 3 + PUTTERS * EACH; i++)
		sum += get(q.read_chan);
	wait_group_wait(&wg);
	for (int i = 0; i < PUTTERS; i++)
		places += putters[i].places;
	printf("values %d places %d\n", sum, places);
	printf("depth %d\n", get(q.depth_chan));
	chan_close(q.exit_chan);
	wait_group_wait(&loop);
	wait_group_destroy(&loop);
	wait_group_destroy(&wg);
	gothread_drain();
	chan_free(q.read_chan);
	chan_free(q.write_chan);
	chan_free(q.depth_chan);
	chan_free(q.exit_chan);
	return 0;
}
