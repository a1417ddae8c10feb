/* SPDX-License-Identifier: MIT */
/* A chan that keeps the three newest values: a sender that finds it full drops the oldest. */
#include <stdio.h>
#include <stdlib.h>

#include "common/chan.h"
#include "common/xalloc.h"

struct reading {
	int value;
};

/* Never waits, and takes over r. Returns how many older readings it has dropped. */
static int put_newest(struct chan *c, struct reading *r)
{
	struct reading *oldest;
	int dropped = 0;

	while (chan_try_send_n(c, &r, 1) == 0) {
		/* 0: a receiver was faster, and there is room now. */
		if (chan_try_recv_n(c, &oldest, 1, NULL) == 1) {
			free(oldest);
			dropped++;
		}
	}
	return dropped;
}

int main(void)
{
	struct chan *c = chan_new(sizeof(struct reading *), 3);
	struct reading *r;
	int dropped = 0;

	for (int i = 1; i <= 10; i++) {
		r = xcalloc(1, sizeof *r);
		r->value = i;
		dropped += put_newest(c, r);
	}
	printf("dropped %d\n", dropped);
	while (chan_try_recv_n(c, &r, 1, NULL) == 1) {
		printf("%d\n", r->value);
		free(r);
	}
	chan_free(c);
	return 0;
}
