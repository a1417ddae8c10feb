/* SPDX-License-Identifier: MIT */
/* Broken: the writer counts the bytes of a request that it has answered. */
#include <stdio.h>
#include <string.h>

#include "common/chan.h"

#include "test/course/gate.h"
#include "test/course/go.h"

static struct gate gone;

struct request {
	const char *text;
	struct chan *done_chan; /* carries nothing, and has room for one */
};

static void writer(void *arg)
{
	struct chan *append_chan = arg;
	struct request *reqs[8];
	size_t n, bytes = 0;

	while ((n = chan_recv_n(append_chan, reqs, 8)) > 0) {
		/* Here would be the write, and the sync. */
		for (size_t i = 0; i < n; i++)
			chan_send(reqs[i]->done_chan, NULL);
		gate_wait(&gone);
		for (size_t i = 0; i < n; i++)
			bytes += strlen(reqs[i]->text); /* @counts */
	}
	printf("%zu bytes\n", bytes);
}

__attribute__((noinline)) static void publish(struct chan *append_chan, struct chan *done_chan)
{
	struct request r = {"pay 1000", done_chan}, *pr = &r;

	chan_send(append_chan, &pr);
	chan_recv(done_chan, NULL);
}

int main(void)
{
	struct chan *append_chan = chan_new(sizeof(struct request *), 8);
	struct chan *done_chan = chan_new(0, 1);
	struct wait_group wg;

	wait_group_init(&wg);
	go(&wg, "writer", writer, append_chan);
	publish(append_chan, done_chan);
	gate_open(&gone);
	chan_close(append_chan);
	wait_group_wait(&wg);
	wait_group_destroy(&wg);
	gothread_drain();
	chan_free(append_chan);
	chan_free(done_chan);
	return 0;
}
