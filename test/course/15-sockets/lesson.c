/* SPDX-License-Identifier: MIT */
/* A reader waits at a connection. main shuts it down meanwhile; the reader wakes and closes it. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/chan.h"
#include "common/lock.h"

#include "test/course/go.h"

struct server {
	struct mutex lock;
	struct conn *conn; /* guarded by lock; NULL: there is none, its reader has left */
};

struct conn {
	struct server *server;
	int fd; /* its reader closes it, and nobody else */
	struct chan *read;
};

/* The owner: first nobody finds the connection any more, then its number is free. */
static void leave(struct conn *c)
{
	mutex_lock(&c->server->lock);
	c->server->conn = NULL;
	mutex_unlock(&c->server->lock);
	close(c->fd);
}

/* Any thread, at any time: the reader wakes, now or as soon as it reads. */
static void end_conn(struct server *s)
{
	mutex_lock(&s->lock);
	if (s->conn)
		shutdown(s->conn->fd, SHUT_RDWR);
	mutex_unlock(&s->lock);
}

static void read_loop(void *arg)
{
	struct conn *c = arg;
	char buf[16];
	ssize_t n;

	while ((n = recv(c->fd, buf, sizeof buf, 0)) > 0) {
		printf("the reader reads: %.*s\n", (int)n, buf);
		chan_send(c->read, NULL);
	}
	printf("the reader leaves\n");
	leave(c);
}

int main(void)
{
	struct server s;
	struct conn c = {.server = &s, .read = chan_new(0, 0)};
	struct wait_group wg;
	char buf[16];
	int ends[2]; /* the server's and the client's */

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0) {
		perror("socketpair");
		exit(1);
	}
	c.fd = ends[0];
	mutex_init(&s.lock, RANK_LEAF);
	s.conn = &c;
	wait_group_init(&wg);
	go(&wg, "read", read_loop, &c);
	send(ends[1], "hello", 5, 0);
	chan_recv(c.read, NULL);
	end_conn(&s);
	wait_group_wait(&wg);
	if (recv(ends[1], buf, sizeof buf, 0) == 0)
		printf("the client reads: EOF\n");
	end_conn(&s); /* too late, and harmless */
	close(ends[1]);
	wait_group_destroy(&wg);
	gothread_drain();
	mutex_destroy(&s.lock);
	chan_free(c.read);
	return 0;
}
