/* SPDX-License-Identifier: MIT */
/* BROKEN: a CHECK looks at what a client has sent. One client ends the daemon for all of them. */
#include <stdio.h>
#include <string.h>

#include "common/chan.h"
#include "common/check.h"

#include "test/course/go.h"

enum { MAX_NAME = 32 };

static void serve(void *arg)
{
	struct chan *commands = arg;
	const char *name;

	while (chan_recv(commands, &name)) {
		char topic[MAX_NAME + 1];

		CHECK(strlen(name) <= MAX_NAME); /* @checks */
		memcpy(topic, name, strlen(name) + 1);
		printf("OK %s\n", topic);
	}
}

int main(void)
{
	static const char long_name[] =
		"orders.orders.orders.orders.orders.orders.orders.orders.orders.";
	const char *names[] = {"orders", long_name, "payments"};
	struct chan *commands = chan_new(sizeof(char *), 0);
	struct wait_group wg;

	wait_group_init(&wg);
	go(&wg, "io:10.0.0.7", serve, commands);
	for (int i = 0; i < 3; i++)
		chan_send(commands, &names[i]);
	chan_close(commands);
	wait_group_wait(&wg);
	wait_group_destroy(&wg);
	gothread_drain();
	chan_free(commands);
	return 0;
}
