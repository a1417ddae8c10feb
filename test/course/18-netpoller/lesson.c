/* SPDX-License-Identifier: MIT */
/* A hundred connections, each a struct with a step that reads numbers and answers with their sum. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/gothread.h"
#include "common/netpoll.h"

#include "test/course/18-netpoller/peers.h"

struct conn {
	struct poll_desc *pd;
	int fd;
	struct sums sums;
	struct wait_group *open;
};

/* All that can be done now. A poller runs it, each time another one perhaps. */
static enum netpoll_next serve(void *arg)
{
	struct conn *c = arg;
	struct sums *s = &c->sums;
	ssize_t n;

	while ((n = read(c->fd, s->line + s->have, sizeof s->line - s->have)) > 0) {
		s->have += (size_t)n;
		answer_lines(s, c->fd);
	}
	if (n < 0 && errno == EAGAIN)
		return NETPOLL_WAIT; /* it has read until there was nothing more */
	netpoll_close(c->pd);
	close(c->fd);
	wait_group_done(c->open);
	return NETPOLL_OVER;
}

static const struct netpoll_ops ops = {.step = serve};

int main(void)
{
	struct conn conns[PEERS] = {0};
	int peers[PEERS];
	struct wait_group open;
	struct err err;
	struct netpoll *np = netpoll_new(&err);

	if (!np || netpoll_start(np, &err) < 0) {
		fprintf(stderr, "netpoll: %s\n", err.msg);
		exit(1);
	}
	wait_group_init(&open);
	for (int i = 0; i < PEERS; i++) {
		conns[i].fd = connect_to(&peers[i]);
		conns[i].open = &open;
		conns[i].pd = netpoll_open(np, conns[i].fd, &ops, &conns[i]);
		wait_group_add(&open);
		netpoll_begin(conns[i].pd);
	}
	talk(peers);
	for (int i = 0; i < PEERS; i++)
		close(peers[i]);
	wait_group_wait(&open);
	netpoll_stop(np);
	netpoll_free(np);
	wait_group_destroy(&open);
	gothread_drain();
	return 0;
}
