/* SPDX-License-Identifier: MIT */
/* Three connections. One ends by itself, and its number is used again; then all are ended. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/chan.h"
#include "common/lock.h"

#include "test/course/go.h"

enum { CONNS = 3 };

struct server {
	struct mutex lock;
	struct conn *conns[CONNS]; /* guarded by lock; NULL: its reader has left */
	struct chan *left;         /* carries nothing: a reader has closed its connection */
};

struct conn {
	struct server *server;
	int i;  /* its place in server->conns */
	int fd; /* its reader closes it */
	int peer;
};

static void connect_pair(int *server, int *client)
{
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0) {
		perror("socketpair");
		exit(1);
	}
	*server = ends[0];
	*client = ends[1];
}

static void read_loop(void *arg)
{
	struct conn *c = arg;
	struct server *s = c->server;
	char buf[16];

	while (recv(c->fd, buf, sizeof buf, 0) > 0)
		;
	mutex_lock(&s->lock);
	s->conns[c->i] = NULL;
	mutex_unlock(&s->lock);
	close(c->fd);
	chan_send(s->left, NULL);
}

static void end_all(struct server *s)
{
	mutex_lock(&s->lock);
	for (int i = 0; i < CONNS; i++) {
		if (s->conns[i])
			shutdown(s->conns[i]->fd, SHUT_RDWR);
	}
	mutex_unlock(&s->lock);
}

int main(void)
{
	struct server s = {.left = chan_new(0, CONNS)};
	struct conn conns[CONNS];
	struct wait_group wg;
	int other, other_peer;
	char buf[8];

	mutex_init(&s.lock, RANK_LEAF);
	wait_group_init(&wg);
	for (int i = 0; i < CONNS; i++) {
		conns[i] = (struct conn){.server = &s, .i = i};
		connect_pair(&conns[i].fd, &conns[i].peer);
		s.conns[i] = &conns[i];
	}
	for (int i = 0; i < CONNS; i++)
		go(&wg, "read", read_loop, &conns[i]);

	shutdown(conns[1].peer, SHUT_RDWR); /* this client leaves */
	chan_recv(s.left, NULL);
	connect_pair(&other, &other_peer);
	printf("the number is used again: %s\n", other == conns[1].fd ? "yes" : "no");
	end_all(&s);
	wait_group_wait(&wg);
	printf("readers that have left: %zu\n", 1 + chan_len(s.left));

	send(other_peer, "hello", 5, MSG_NOSIGNAL);
	ssize_t n = recv(other, buf, sizeof buf, MSG_DONTWAIT);

	printf("the other connection reads: %.*s\n", n > 0 ? (int)n : 0, buf);
	close(other);
	close(other_peer);
	for (int i = 0; i < CONNS; i++)
		close(conns[i].peer);
	wait_group_destroy(&wg);
	gothread_drain();
	mutex_destroy(&s.lock);
	chan_free(s.left);
	return 0;
}
