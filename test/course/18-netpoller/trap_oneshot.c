/* SPDX-License-Identifier: MIT */
/* BROKEN: EPOLLONESHOT switches the descriptor off with its event, and nobody switches it on. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "test/course/18-netpoller/peers.h"
#include "test/course/gate.h"
#include "test/course/go.h"

struct conn {
	int fd, epoll_fd;
	struct sums sums;
};

static struct gate nothing_more; /* the first time */

/* Reads until there is nothing more. Zero: nothing more will come. */
static ssize_t step(struct conn *c)
{
	struct sums *s = &c->sums;
	ssize_t n;

	while ((n = read(c->fd, s->line + s->have, sizeof s->line - s->have)) > 0) {
		s->have += (size_t)n;
		answer_lines(s, c->fd);
	}
	return n;
}

static void poller_loop(void *arg)
{
	struct conn *c = arg;
	for (;;) {
		struct epoll_event e;

		if (epoll_wait(c->epoll_fd, &e, 1, -1) != 1) /* @waits-for-events */
			continue;
		if (step(c) == 0)
			return;
		gate_open(&nothing_more);
	}
}

int main(void)
{
	int peer;
	struct conn c = {.fd = connect_to(&peer), .epoll_fd = epoll_create1(EPOLL_CLOEXEC)};
	struct epoll_event e = {.events = EPOLLIN | EPOLLONESHOT};
	struct wait_group wg;

	if (epoll_ctl(c.epoll_fd, EPOLL_CTL_ADD, c.fd, &e) < 0)
		return 1;
	wait_group_init(&wg);
	go(&wg, "poller", poller_loop, &c);
	dprintf(peer, "7\n");
	printf("%ld\n", answer(peer));
	gate_wait(&nothing_more);
	dprintf(peer, "8\n");
	printf("%ld\n", answer(peer)); /* @waits-for-answer */
	close(peer);
	wait_group_wait(&wg);
	wait_group_destroy(&wg);
	gothread_drain();
	close(c.fd);
	close(c.epoll_fd);
	return 0;
}
