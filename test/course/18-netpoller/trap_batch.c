/* SPDX-License-Identifier: MIT */
/* BROKEN: a connection is freed while its event is in the batch that epoll_wait has returned. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "common/xalloc.h"

#include "test/course/18-netpoller/peers.h"

/* One of the two connections of a proxy: what comes from one of them goes to the other. */
struct half {
	int fd;
	struct half *other;
};

static struct half *new_half(int epoll_fd, int *peer)
{
	struct half *h = xcalloc(1, sizeof *h); /* @makes */
	struct epoll_event e = {.events = EPOLLIN, .data.ptr = h};

	h->fd = connect_to(peer);
	if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, h->fd, &e) < 0)
		exit(1);
	return h;
}

static void end(struct half *h)
{
	close(h->fd); /* epoll forgets it, and the events that we hold do not */
	free(h);      /* @frees */
}

static void step(struct half *h)
{
	struct half *other = h->other; /* @reads */
	char text[64];
	ssize_t n = read(h->fd, text, sizeof text);

	if (n > 0) {
		dprintf(other->fd, "%.*s", (int)n, text);
	} else {
		end(other);
		end(h);
	}
}

int main(void)
{
	int epoll_fd = epoll_create1(EPOLL_CLOEXEC), peers[2];
	struct half *a = new_half(epoll_fd, &peers[0]), *b = new_half(epoll_fd, &peers[1]);
	struct epoll_event events[8];

	a->other = b;
	b->other = a;
	close(peers[0]);
	close(peers[1]);
	int n = epoll_wait(epoll_fd, events, 8, -1); /* both: each has come to its end */
	for (int i = 0; i < n; i++)
		step(events[i].data.ptr); /* @steps */
	close(epoll_fd);
	return 0;
}
