/* SPDX-License-Identifier: MIT */
/* BROKEN: the loop does not look at what chan_recv returns, so the end is taken for values. */
#include <stdio.h>

#include "common/chan.h"

int main(void)
{
	struct chan *c = chan_new(sizeof(int), 3);
	int v, sum = 0, count = 0;

	for (v = 1; v <= 3; v++)
		chan_send(c, &v);
	chan_close(c);
	for (int i = 0; i < 5; i++) {
		chan_recv(c, &v);
		sum += v;
		count++;
	}
	printf("average %d\n", sum / count);
	chan_free(c);
	return 0;
}
