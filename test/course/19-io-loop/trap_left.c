/* SPDX-License-Identifier: MIT */
/* BROKEN: the asker leaves before the answer, and the owner writes to where it was. */
#include <stdio.h>

#include "common/chan.h"

#include "test/course/gate.h"
#include "test/course/go.h"

struct request {
	int value;
	int place;                  /* out */
	struct chan *response_chan; /* carries nothing, and has room for one */
};

static struct gate left;

/* The owner. Its disk is slow today. */
static void io_loop(void *arg)
{
	struct chan *write_chan = arg;
	struct request *req;

	chan_recv(write_chan, &req);
	gate_wait(&left);
	req->place = 1; /* @answers */
	chan_send(req->response_chan, NULL);
}

/* With a stack of its own, although it is called once. */
static bool put(struct chan *write_chan, struct chan *response_chan) __attribute__((noinline));

/* Waits for a millisecond at most. False: it has not been stored in time. */
static bool put(struct chan *write_chan, struct chan *response_chan)
{
	struct request req = {.value = 7, .response_chan = response_chan},
		       *preq = &req; /* @lends */
	struct ticker patience;

	chan_send(write_chan, &preq);
	ticker_after(&patience, 1000000);

	struct chan_case cases[] = {
		chan_case_recv(response_chan, NULL),
		chan_case_tick(&patience),
	};
	return chan_select(cases, 2) == 0;
}

int main(void)
{
	struct chan *write_chan = chan_new(sizeof(struct request *), 0);
	struct chan *response_chan = chan_new(0, 1);
	struct wait_group wg;

	wait_group_init(&wg);
	go(&wg, "io_loop", io_loop, write_chan);
	if (!put(write_chan, response_chan))
		printf("not stored in time\n");
	gate_open(&left);
	wait_group_wait(&wg);
	wait_group_destroy(&wg);
	gothread_drain();
	chan_free(write_chan);
	chan_free(response_chan);
	return 0;
}
