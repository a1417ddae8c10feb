/* SPDX-License-Identifier: MIT */
/* BROKEN: on one of two ways out of the function the buffer is not put back. */
#include <stdio.h>
#include <string.h>

#include "common/bufpool.h"

#include "test/course/go.h"

static void handle(void *arg)
{
	const char *input = arg;
	char *buf = bufpool_get(BUFPOOL_SIZE); /* @gets */

	if (strlen(input) < 4) {
		printf("bad input\n");
		return;
	}
	snprintf(buf, BUFPOOL_SIZE, "got %s", input);
	printf("%s\n", buf);
	bufpool_put(buf, BUFPOOL_SIZE);
}

int main(void)
{
	char good[] = "FIN 7", bad[] = "NOP";
	struct wait_group wg;

	wait_group_init(&wg);
	go(&wg, "handle", handle, good);
	go(&wg, "handle", handle, bad);
	wait_group_wait(&wg);
	wait_group_destroy(&wg);
	gothread_drain();
	return 0;
}
