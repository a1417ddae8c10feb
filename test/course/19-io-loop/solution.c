/* SPDX-License-Identifier: MIT */
/* A log whose owner stores all requests that wait with one write, and answers each by itself. */
#include <stdio.h>

#include "common/chan.h"

#include "test/course/go.h"

enum { AT_ONCE = 4, PUTTERS = 4, EACH = 25 };

struct request {
	int value;
	int place;                  /* out */
	struct chan *response_chan; /* carries nothing, and has room for one */
};

struct store {
	struct chan *write_chan; /* of struct request * */
	struct chan *exit_chan;

	/* From here on of io_loop alone; main reads it when that has ended. */
	int items[PUTTERS * EACH], n;
};

static void serve_writes(struct store *s, struct request **reqs, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		reqs[i]->place = s->n;
		s->items[s->n++] = reqs[i]->value;
	}
	/* Here would be the write to the disk, one for all of them. */
	for (size_t i = 0; i < n; i++)
		chan_send(reqs[i]->response_chan, NULL);
}

static void io_loop(void *arg)
{
	struct store *s = arg;
	struct request *reqs[AT_ONCE];

	for (;;) {
		struct chan_case cases[] = {
			chan_case_recv_n(s->write_chan, reqs, AT_ONCE),
			chan_case_recv(s->exit_chan, NULL),
		};

		if (chan_select(cases, 2) == 1)
			return;
		serve_writes(s, reqs, cases[0].n);
	}
}

struct putter {
	struct store *s;
	int first;
	int places[EACH];
};

static void put_all(void *arg)
{
	struct putter *p = arg;
	struct request req = {.response_chan = chan_new(0, 1)}, *preq = &req;

	for (int i = 0; i < EACH; i++) {
		req.value = p->first + i;
		chan_send(p->s->write_chan, &preq);
		chan_recv(req.response_chan, NULL);
		p->places[i] = req.place;
	}
	chan_free(req.response_chan);
}

int main(void)
{
	struct store s = {chan_new(sizeof(struct request *), 0), chan_new(0, 0), {0}, 0};
	struct putter putters[PUTTERS];
	struct wait_group loop, wg;
	int found = 0;

	wait_group_init(&loop);
	wait_group_init(&wg);
	go(&loop, "io_loop", io_loop, &s);
	for (int i = 0; i < PUTTERS; i++) {
		putters[i] = (struct putter){.s = &s, .first = i * 1000};
		go(&wg, "putter", put_all, &putters[i]);
	}
	wait_group_wait(&wg);
	chan_close(s.exit_chan);
	wait_group_wait(&loop);
	for (int i = 0; i < PUTTERS; i++) {
		for (int k = 0; k < EACH; k++)
			found += s.items[putters[i].places[k]] == putters[i].first + k;
	}
	printf("%d of %d are where their askers were told\n", found, s.n);
	wait_group_destroy(&loop);
	wait_group_destroy(&wg);
	gothread_drain();
	chan_free(s.write_chan);
	chan_free(s.exit_chan);
	return 0;
}
