/* SPDX-License-Identifier: MIT */
/* A ball goes to and fro between two threads. The one that has it may touch it. */
#include <stdio.h>
#include <stdlib.h>

#include "common/chan.h"
#include "common/xalloc.h"

#include "test/course/go.h"

struct ball {
	int hits; /* of the thread that has the ball */
};

struct player {
	struct chan *in, *out; /* of struct ball *; a ball goes with its ownership */
};

static void player(void *arg)
{
	struct player *p = arg;
	struct ball *b;

	for (int i = 0; i < 3; i++) {
		chan_recv(p->in, &b);
		b->hits++;
		chan_send(p->out, &b);
	}
}

int main(void)
{
	struct player p = {chan_new(sizeof(struct ball *), 0), chan_new(sizeof(struct ball *), 0)};
	struct ball *b = xcalloc(1, sizeof *b);
	struct wait_group wg;

	wait_group_init(&wg);
	go(&wg, "player", player, &p);
	for (int i = 0; i < 3; i++) {
		b->hits++;
		printf("main: %d\n", b->hits);
		chan_send(p.in, &b);
		chan_recv(p.out, &b);
		printf("player: %d\n", b->hits);
	}
	wait_group_wait(&wg);
	wait_group_destroy(&wg);
	gothread_drain();
	free(b);
	chan_free(p.in);
	chan_free(p.out);
	return 0;
}
