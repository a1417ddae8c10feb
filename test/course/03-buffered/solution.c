/* SPDX-License-Identifier: MIT */
/* Two threads take what is there, and stop when nothing is: without asking for the length. */
#include <stdio.h>

#include "common/chan.h"

#include "test/course/go.h"

enum { TAKERS = 2, VALUES = 100 };

struct taker {
	struct chan *c;
	int sum; /* written by its thread; main reads it after wait_group_wait */
};

static void take(void *arg)
{
	struct taker *t = arg;
	int v;

	while (chan_try_recv_n(t->c, &v, 1, NULL) > 0)
		t->sum += v;
}

int main(void)
{
	struct chan *c = chan_new(sizeof(int), VALUES);
	struct taker takers[TAKERS] = {{.c = c}, {.c = c}};
	struct wait_group wg;

	for (int i = 1; i <= VALUES; i++)
		chan_send(c, &i);
	wait_group_init(&wg);
	for (int i = 0; i < TAKERS; i++) {
		go(&wg, "take", take, &takers[i]);
	}
	wait_group_wait(&wg);
	printf("%d\n", takers[0].sum + takers[1].sum);
	wait_group_destroy(&wg);
	gothread_drain();
	chan_free(c);
	return 0;
}
