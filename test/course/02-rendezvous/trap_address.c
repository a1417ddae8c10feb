/* SPDX-License-Identifier: MIT */
/* BROKEN: `b` where `&b` is meant. What is sent is the beginning of the ball, and no pointer. */
#include <stdio.h>
#include <stdlib.h>

#include "common/chan.h"
#include "common/xalloc.h"

struct ball {
	size_t hits;
};

int main(void)
{
	struct chan *c = chan_new(sizeof(struct ball *), 1);
	struct ball *b = xcalloc(1, sizeof *b), *got;

	b->hits = 3;
	chan_send(c, b);
	chan_recv(c, &got);
	printf("%zu\n", got->hits); /* @reads */
	free(b);
	chan_free(c);
	return 0;
}
