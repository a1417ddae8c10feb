/* SPDX-License-Identifier: MIT */
/*
 * Worker threads: each waits for input on its connections and calls back. One connection needs no
 * epoll_wait() beside its recv(), which matters: the generator shares the machine with the server
 * that it measures.
 */
#include "test/bench/bench.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { STALL_MS = 30000, EVENTS = 64 };

static void serve_one(struct conn *c)
{
	while (!c->done) {
		conn_recv(c);
		c->input(c);
	}
}

static void serve_many(struct conn **conns, int n)
{
	struct epoll_event ev[EVENTS];
	int live = 0;
	int ep = epoll_create1(EPOLL_CLOEXEC);

	if (ep < 0)
		die("epoll_create1: %s", strerror(errno));
	for (int i = 0; i < n; i++) {
		struct epoll_event e = {.events = EPOLLIN, .data.ptr = conns[i]};
		if (conns[i]->done)
			continue;
		if (epoll_ctl(ep, EPOLL_CTL_ADD, conns[i]->fd, &e) != 0)
			die("epoll_ctl: %s", strerror(errno));
		live++;
	}
	while (live > 0) {
		int k = epoll_wait(ep, ev, EVENTS, STALL_MS);
		if (k == 0)
			die("the server was silent for %d s", STALL_MS / 1000);
		for (int i = 0; i < k; i++) {
			struct conn *c = ev[i].data.ptr;
			conn_recv(c);
			c->input(c);
			if (c->done) {
				epoll_ctl(ep, EPOLL_CTL_DEL, c->fd, NULL);
				live--;
			}
		}
	}
	close(ep);
}

static void *worker_main(void *arg)
{
	struct worker *w = arg;

	pthread_barrier_wait(w->start);
	for (int i = 0; i < w->n; i++)
		w->conns[i]->start(w->conns[i]);
	if (w->n == 1)
		serve_one(w->conns[0]);
	else
		serve_many(w->conns, w->n);
	return NULL;
}

void worker_spawn(struct worker *w, pthread_barrier_t *start)
{
	int err;

	w->start = start;
	err = pthread_create(&w->thread, NULL, worker_main, w);
	if (err != 0)
		die("pthread_create: %s", strerror(err));
}

void worker_join(struct worker *w)
{
	pthread_join(w->thread, NULL);
}
