/* SPDX-License-Identifier: MIT */
/* BROKEN: a thread keeps the number of a socket that has been closed, and writes to that number. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/chan.h"

#include "test/course/go.h"

struct writer {
	int fd;
	struct chan *messages; /* of const char * */
};

static void write_loop(void *arg)
{
	struct writer *w = arg;
	const char *m;

	while (chan_recv(w->messages, &m))
		send(w->fd, m, strlen(m), MSG_NOSIGNAL);
}

/* A new client: ends[0] is the server's end. */
static void accept_client(int ends[2])
{
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0) {
		perror("socketpair");
		exit(1);
	}
}

int main(void)
{
	int first[2], second[2];
	struct writer w = {.messages = chan_new(sizeof(const char *), 0)};
	const char *m = "a message for the first client";
	struct wait_group wg;
	char buf[64];

	accept_client(first);
	w.fd = first[0];
	wait_group_init(&wg);
	go(&wg, "write", write_loop, &w);
	close(first[0]); /* the first client is over */
	accept_client(second);
	chan_send(w.messages, &m);
	chan_close(w.messages);
	wait_group_wait(&wg);
	ssize_t n = recv(second[1], buf, sizeof buf, MSG_DONTWAIT);

	printf("the second client reads: %.*s\n", n > 0 ? (int)n : 0, buf);
	close(first[1]);
	close(second[0]);
	close(second[1]);
	wait_group_destroy(&wg);
	gothread_drain();
	chan_free(w.messages);
	return 0;
}
