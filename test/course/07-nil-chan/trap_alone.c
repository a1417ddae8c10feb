/* SPDX-License-Identifier: MIT */
/* BROKEN: a receive from a chan that was never made. */
#include <stdio.h>

#include "common/chan.h"

struct client {
	struct chan *messages;
};

int main(void)
{
	struct client client = {0};
	int v;

	chan_recv(client.messages, &v);
	printf("%d\n", v);
	return 0;
}
