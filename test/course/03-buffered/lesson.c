/* SPDX-License-Identifier: MIT */
/* A queue with room for three. What goes in first comes out first. */
#include <stdio.h>

#include "common/chan.h"

#include "test/course/go.h"

static void producer(void *arg)
{
	struct chan *c = arg;

	for (int i = 1; i <= 10; i++)
		chan_send(c, &i);
}

int main(void)
{
	struct chan *c = chan_new(sizeof(int), 3);
	struct wait_group wg;
	int v;

	for (int i = 1; i <= 3; i++) {
		v = i * 100;
		chan_send(c, &v); /* there is room: nobody has to receive yet */
		printf("len %zu cap %zu\n", chan_len(c), chan_cap(c));
	}
	wait_group_init(&wg);
	go(&wg, "producer", producer, c);
	for (int i = 0; i < 13; i++) {
		chan_recv(c, &v);
		printf("%d\n", v);
	}
	wait_group_wait(&wg);
	printf("len %zu cap %zu\n", chan_len(c), chan_cap(c));
	wait_group_destroy(&wg);
	gothread_drain();
	chan_free(c);
	return 0;
}
