/* SPDX-License-Identifier: MIT */
/* BROKEN: main looks at a ball that it has given away, and its new owner has freed it. */
#include <stdio.h>
#include <stdlib.h>

#include "common/chan.h"
#include "common/xalloc.h"

#include "test/course/gate.h"
#include "test/course/go.h"

struct ball {
	int hits;
};

static struct gate freed;

static void keeper(void *arg)
{
	struct chan *in = arg;
	struct ball *b;

	chan_recv(in, &b);
	free(b); /* @frees */
	gate_open(&freed);
}

int main(void)
{
	struct chan *there = chan_new(sizeof(struct ball *), 0);
	struct ball *b = xcalloc(1, sizeof *b); /* @makes */
	struct wait_group wg;

	wait_group_init(&wg);
	go(&wg, "keeper", keeper, there);
	chan_send(there, &b);
	gate_wait(&freed);
	printf("sent after %d hits\n", b->hits); /* @reads */
	wait_group_wait(&wg);
	wait_group_destroy(&wg);
	gothread_drain();
	chan_free(there);
	return 0;
}
