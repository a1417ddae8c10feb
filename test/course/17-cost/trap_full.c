/* SPDX-License-Identifier: MIT */
/* BROKEN: a server waits until its batch is full. The client waits for answers before it sends more. */
#include <stdio.h>

#include "common/chan.h"

#include "test/course/go.h"

enum { BATCH = 64, COMMANDS = 100 };

struct conn {
	struct chan *commands, *answers; /* of int */
};

static void serve(void *arg)
{
	struct conn *c = arg;
	int v[BATCH];
	size_t n;

	do {
		for (n = 0; n < BATCH;) {
			size_t got = chan_recv_n(c->commands, v + n, BATCH - n); /* @gathers */

			if (got == 0)
				break;
			n += got;
		}
		chan_send_n(c->answers, v, n);
	} while (n == BATCH);
	chan_close(c->answers);
}

int main(void)
{
	struct conn c = {chan_new(sizeof(int), COMMANDS), chan_new(sizeof(int), COMMANDS)};
	struct wait_group wg;
	int v;

	wait_group_init(&wg);
	go(&wg, "serve", serve, &c);
	for (int i = 0; i < COMMANDS; i++)
		chan_send(c.commands, &i);
	for (int i = 0; i < COMMANDS; i++)
		chan_recv(c.answers, &v); /* @waits */
	chan_close(c.commands);
	wait_group_wait(&wg);
	printf("%d answers\n", COMMANDS);
	wait_group_destroy(&wg);
	gothread_drain();
	chan_free(c.commands);
	chan_free(c.answers);
	return 0;
}
