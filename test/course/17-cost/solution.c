/* SPDX-License-Identifier: MIT */
/* A pump passes on what is there, up to a bound. */
#include <stdio.h>

#include "common/chan.h"

#include "test/course/17-cost/sleeps.h"
#include "test/course/go.h"

enum { VALUES = 20000, BATCH = 64 };

struct pump {
	struct chan *queue, *client; /* of int */
};

static void pump_loop(void *arg)
{
	struct pump *p = arg;
	int v[BATCH];
	size_t n;

	while ((n = chan_recv_n(p->queue, v, BATCH)) > 0)
		chan_send_n(p->client, v, n);
	chan_close(p->client);
}

static void produce(void *queue)
{
	static const int values[VALUES];

	chan_send_n(queue, values, VALUES);
	chan_close(queue);
}

int main(void)
{
	struct pump p = {chan_new(sizeof(int), 0), chan_new(sizeof(int), 0)};
	struct wait_group wg;
	int count = 0, v;

	use_one_processor();
	wait_group_init(&wg);
	go(&wg, "pump", pump_loop, &p);
	go(&wg, "produce", produce, p.queue);
	while (chan_recv(p.client, &v))
		count++;
	wait_group_wait(&wg);
	printf("%d values\n", count);
	if (sleeps() < count / 8)
		printf("less than one sleep for eight values\n");
	wait_group_destroy(&wg);
	gothread_drain();
	chan_free(p.queue);
	chan_free(p.client);
	return 0;
}
