/* SPDX-License-Identifier: MIT */
/* BROKEN: the word to end is sent. One of the two workers hears it. */
#include <stdio.h>

#include "common/chan.h"

#include "test/course/go.h"

static void worker_loop(void *arg)
{
	struct chan *exit_chan = arg;

	chan_recv(exit_chan, NULL); /* @waits-for-exit */
	printf("a worker ends\n");
}

int main(void)
{
	struct chan *exit_chan = chan_new(0, 0);
	struct wait_group wg;

	wait_group_init(&wg);
	go(&wg, "worker", worker_loop, exit_chan);
	go(&wg, "worker", worker_loop, exit_chan);
	chan_send(exit_chan, NULL);
	wait_group_wait(&wg); /* @waits */
	wait_group_destroy(&wg);
	gothread_drain();
	chan_free(exit_chan);
	return 0;
}
