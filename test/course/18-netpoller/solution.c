/* SPDX-License-Identifier: MIT */
/* A proxy whose halves end together, and are freed when no event in hand can mean them any more. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "common/xalloc.h"

#include "test/course/18-netpoller/peers.h"

struct half {
	int fd;
	struct half *other;
	bool over;
	struct half *next; /* in poller.dead */
};

struct poller {
	int epoll_fd;
	int open;
	struct half *dead; /* over, and not freed before this batch is done */
	int late;          /* events for these */
};

static struct half *new_half(struct poller *p, int *peer)
{
	struct half *h = xcalloc(1, sizeof *h);
	struct epoll_event e = {.events = EPOLLIN, .data.ptr = h};

	h->fd = connect_to(peer);
	if (epoll_ctl(p->epoll_fd, EPOLL_CTL_ADD, h->fd, &e) < 0)
		exit(1);
	p->open++;
	return h;
}

static void end(struct poller *p, struct half *h)
{
	close(h->fd);
	h->over = true;
	h->next = p->dead;
	p->dead = h;
	p->open--;
}

static void step(struct poller *p, struct half *h)
{
	char text[64];

	if (h->over) {
		p->late++;
		return;
	}
	ssize_t n = read(h->fd, text, sizeof text);
	if (n > 0) {
		dprintf(h->other->fd, "%.*s", (int)n, text);
	} else {
		end(p, h->other);
		end(p, h);
	}
}

static void bury(struct poller *p)
{
	struct half *h;

	while ((h = p->dead) != NULL) {
		p->dead = h->next;
		free(h);
	}
}

static void poller_loop(struct poller *p)
{
	while (p->open > 0) {
		struct epoll_event events[8];
		int n = epoll_wait(p->epoll_fd, events, 8, -1);

		for (int i = 0; i < n; i++)
			step(p, events[i].data.ptr);
		bury(p);
	}
}

int main(void)
{
	struct poller p = {.epoll_fd = epoll_create1(EPOLL_CLOEXEC)};
	int peers[2];
	struct half *a = new_half(&p, &peers[0]), *b = new_half(&p, &peers[1]);

	a->other = b;
	b->other = a;
	close(peers[0]);
	close(peers[1]);
	poller_loop(&p);
	printf("%d event came too late\n", p.late);
	close(p.epoll_fd);
	return 0;
}
