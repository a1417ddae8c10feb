/* SPDX-License-Identifier: MIT */
/* BROKEN: epoll tells of a change once, and a step leaves input behind. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "test/course/18-netpoller/peers.h"
#include "test/course/go.h"

enum { LINE = 5, LINES = 4 };

struct conn {
	int fd, epoll_fd;
	int lines; /* how many have come */
};

/* A line for each event: it is enough where epoll tells of what is there, and not here. */
static void step(struct conn *c)
{
	char line[LINE];

	if (read(c->fd, line, LINE) == LINE)
		c->lines++;
}

static void poller_loop(void *arg)
{
	struct conn *c = arg;

	while (c->lines < LINES) {
		struct epoll_event e;

		if (epoll_wait(c->epoll_fd, &e, 1, -1) == 1) /* @waits-for-events */
			step(c);
	}
}

int main(void)
{
	int peer;
	struct conn c = {.fd = connect_to(&peer), .epoll_fd = epoll_create1(EPOLL_CLOEXEC)};
	struct epoll_event e = {.events = EPOLLIN | EPOLLET};
	struct wait_group wg;

	if (epoll_ctl(c.epoll_fd, EPOLL_CTL_ADD, c.fd, &e) < 0)
		return 1;
	wait_group_init(&wg);
	go(&wg, "poller", poller_loop, &c);
	dprintf(peer, "1000\n2000\n3000\n4000\n"); /* four lines at once */
	wait_group_wait(&wg);                      /* @waits */
	printf("%d lines\n", c.lines);
	wait_group_destroy(&wg);
	gothread_drain();
	close(c.fd);
	close(peer);
	close(c.epoll_fd);
	return 0;
}
