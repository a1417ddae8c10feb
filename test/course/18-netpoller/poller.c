/* SPDX-License-Identifier: MIT */
/* The same hundred connections with epoll itself, and one thread for all of them. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "test/course/18-netpoller/peers.h"
#include "test/course/go.h"

enum { EVENTS = 8 };

struct conn {
	int fd;
	struct sums sums;
};

struct poller {
	int epoll_fd;
	int open; /* connections; of the poller alone, once it runs */
};

/* What has come, once. False: nothing more will come. */
static bool step(struct conn *c)
{
	struct sums *s = &c->sums;
	ssize_t n = read(c->fd, s->line + s->have, sizeof s->line - s->have);

	if (n <= 0)
		return false;
	s->have += (size_t)n;
	answer_lines(s, c->fd);
	return true;
}

static void poller_loop(void *arg)
{
	struct poller *p = arg;

	while (p->open > 0) {
		struct epoll_event events[EVENTS];
		int n = epoll_wait(p->epoll_fd, events, EVENTS, -1);

		for (int i = 0; i < n; i++) {
			struct conn *c = events[i].data.ptr;

			if (step(c))
				continue;
			close(c->fd); /* and epoll forgets it */
			p->open--;
		}
	}
}

static void watch(struct poller *p, struct conn *c)
{
	struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};

	if (epoll_ctl(p->epoll_fd, EPOLL_CTL_ADD, c->fd, &e) < 0) {
		perror("epoll_ctl");
		exit(1);
	}
	p->open++;
}

int main(void)
{
	struct poller p = {.epoll_fd = epoll_create1(EPOLL_CLOEXEC)};
	struct conn conns[PEERS] = {0};
	int peers[PEERS];
	struct wait_group wg;

	for (int i = 0; i < PEERS; i++) {
		conns[i].fd = connect_to(&peers[i]);
		watch(&p, &conns[i]);
	}
	wait_group_init(&wg);
	go(&wg, "poller", poller_loop, &p);
	talk(peers);
	for (int i = 0; i < PEERS; i++)
		close(peers[i]);
	wait_group_wait(&wg);
	wait_group_destroy(&wg);
	gothread_drain();
	close(p.epoll_fd);
	return 0;
}
