/* SPDX-License-Identifier: MIT */
/* BROKEN: main closes the socket from which another thread reads, as one does in Go. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "test/course/gate.h"
#include "test/course/go.h"

static struct gate reader;

static void read_loop(void *arg)
{
	int fd = *(int *)arg;
	char buf[16];

	gate_about_to_block(&reader);
	ssize_t n = recv(fd, buf, sizeof buf, 0); /* @reads */

	printf("the reader leaves: %zd\n", n);
}

int main(void)
{
	struct wait_group wg;
	int ends[2]; /* the server's and the client's */

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0) { /* @opens */
		perror("socketpair");
		exit(1);
	}
	wait_group_init(&wg);
	go(&wg, "read", read_loop, &ends[0]);
	gate_wait_blocked(&reader);
	close(ends[0]);       /* @closes */
	wait_group_wait(&wg); /* @waits */
	close(ends[1]);
	wait_group_destroy(&wg);
	gothread_drain();
	return 0;
}
