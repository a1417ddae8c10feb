/* SPDX-License-Identifier: MIT */
/* BROKEN: the chan carries 8 bytes, and the variable that takes them has 4. */
#include <stdint.h>
#include <stdio.h>

#include "common/chan.h"

int main(void)
{
	struct chan *c = chan_new(sizeof(int64_t), 1);
	int64_t sent = 7;
	int got; /* @too-small */

	chan_send(c, &sent);
	chan_recv(c, &got); /* @receives */
	printf("%d\n", got);
	chan_free(c);
	return 0;
}
