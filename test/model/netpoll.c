/* SPDX-License-Identifier: MIT */
/*
 * The model of connections without threads: scenarios of netpoll.c, with two pollers. One thread at
 * a time runs a connection. Nothing that has come is left unread, no deadline is forgotten, and
 * what is closed is not touched.
 */
#include "common/netpoll.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/err.h"
#include "common/gothread.h"
#include "test/model/mc.h"
#include "test/model/mc_net.h"
#include "test/model/mc_stubs.h"
#include "test/model/mc_weak.h"

struct conn {
	struct poll_desc *pd;
	int fd;
	int got, steps;
	bool wants_thread;
	bool is_to_run;      /* its next turn is to be run, in the poller */
	int64_t deadline_ns; /* ends it */
	_Atomic bool in_step;
};

static MC_GHOST struct netpoll *np;
static MC_GHOST struct conn *conn;
static _Atomic int kicks; /* what a kick is for: written before it */
static MC_GHOST int sent;
static MC_GHOST int n_over, n_conns;

void mc_always(void)
{
}

/* Atomics of a scenario are relaxed: they must not be what orders the threads. */
static void enter(struct conn *c)
{
	MC_CHECK(!atomic_exchange_explicit(&c->in_step, true, memory_order_relaxed));
}

static void leave(struct conn *c)
{
	MC_CHECK(atomic_exchange_explicit(&c->in_step, false, memory_order_relaxed));
}

static enum netpoll_next close_it(struct conn *c)
{
	netpoll_close(c->pd);
	close(c->fd);
	free(c);
	n_over++;
	return NETPOLL_OVER;
}

/* Reads all. Its end comes after its last byte. hup: it knows of that only by what netpoll says. */
static enum netpoll_next read_on(struct conn *c)
{
	bool ended = netpoll_hung_up(c->pd);
	int n;
	MC_CHECK(!ended || mc_has_ended(c->fd));
	while ((n = mc_receive(c->fd)) > 0)
		c->got += n;
	/* told: it is over when it has seen what each kick is for. */
	if (mc_param("told", 0))
		return atomic_load_explicit(&kicks, memory_order_relaxed) == mc_param("kicks", 0)
			       ? NETPOLL_OVER
			       : NETPOLL_WAIT;
	ended = ended || (!mc_param("hup", 0) && mc_has_ended(c->fd));
	return ended ? NETPOLL_OVER : NETPOLL_WAIT;
}

static enum netpoll_next step(void *arg)
{
	struct conn *c = arg;
	MC_CHECK(!c->is_to_run);
	enter(c);
	if (c->wants_thread && c->steps++ > 0) {
		c->wants_thread = false;
		leave(c);
		return NETPOLL_THREAD;
	}
	enum netpoll_next next = read_on(c);
	if (c->deadline_ns != 0 && mc_now() >= c->deadline_ns)
		next = NETPOLL_OVER;
	leave(c);
	return next == NETPOLL_OVER ? close_it(c) : next;
}

/* lazy: it leaves what has come for the pollers. */
static enum netpoll_next run(void *arg)
{
	struct conn *c = arg;
	c->is_to_run = false;
	if (mc_param("lazy", 0))
		return NETPOLL_WAIT;
	enter(c);
	enum netpoll_next next = read_on(c);
	leave(c);
	return next == NETPOLL_OVER ? close_it(c) : next;
}

/* without: 0: another try follows; 1: the poller does it; 2: a step does; 3: it is given up. */
static enum netpoll_next no_thread(void *arg, const struct err *why)
{
	struct conn *c = arg;
	(void)why;
	switch (mc_param("without", 0)) {
	case 0:
		return NETPOLL_WAIT;
	case 1:
		c->is_to_run = true;
		return NETPOLL_THREAD;
	case 2:
		return NETPOLL_YIELD;
	default:
		return close_it(c);
	}
}

static void thread_name(void *arg, char *out, size_t size)
{
	(void)arg, (void)size;
	out[0] = 'c';
	out[1] = '\0';
}

static const struct netpoll_ops ops = {
	.step = step, .run = run, .no_thread = no_thread, .thread_name = thread_name};

static struct conn *open_conn(void)
{
	struct conn *c = calloc(1, sizeof(*c));
	c->fd = mc_socket();
	c->pd = netpoll_open(np, c->fd, &ops, c);
	return c;
}

static void make(void)
{
	struct err err;
	np = netpoll_new(&err);
	MC_CHECK(np && netpoll_start(np, &err) == 0);
	mc_settle();
	mc_thread_failures = mc_param("failures", 0);
	mc_epoll_refusals = mc_param("refusals", 0);
	if (mc_thread_failures > 0 || mc_epoll_refusals > 0)
		mc_go_timers();
	conn = open_conn();
	conn->wants_thread = mc_param("thread", 0);
}

/* --- what the others do ----------------------------------------------------------------------- */

static void begin(void *arg)
{
	netpoll_begin(((struct conn *)arg)->pd);
}

static MC_GHOST int fd;

static void send_and_end(void *arg)
{
	(void)arg;
	for (sent = 0; sent < mc_param("sends", 1); sent++)
		mc_peer_sends(fd, 1);
	mc_peer_ends(fd);
}

static MC_GHOST struct poll_desc *kicked;
static MC_GHOST int kickers;

/* It may come when the connection is over, but not when netpoll is. */
static void kick(void *arg)
{
	(void)arg;
	atomic_fetch_add_explicit(&kicks, 1, memory_order_relaxed);
	netpoll_kick(kicked);
	mc_weak_release(&kickers);
	kickers--;
}

static bool all_over(void *arg)
{
	(void)arg;
	return n_over == n_conns && kickers == 0;
}

static void stop(void *arg)
{
	(void)arg;
	mc_wait(all_over, NULL);
	mc_weak_acquire(&kickers);
	netpoll_stop(np);
	netpoll_free(np);
	np = NULL;
}

/* A connection ends; the next one has its place, but not its events. */
static MC_GHOST struct conn *next_conn;

static bool is_over(void *arg)
{
	(void)arg;
	return n_over == 1;
}

static void open_next(void *arg)
{
	(void)arg;
	mc_wait(is_over, NULL);
	next_conn = open_conn();
	int its_fd = next_conn->fd;
	netpoll_begin(next_conn->pd);
	mc_weak_release(&kickers);
	mc_peer_ends(its_fd);
}

static void setup_again(void)
{
	make();
	fd = conn->fd;
	kicked = conn->pd;
	kickers = 1;
	n_conns = 2;
	mc_go("begin", begin, conn);
	mc_settle();
	mc_go("peer", send_and_end, NULL);
	mc_go("kick", kick, NULL);
	mc_go("next", open_next, NULL);
	mc_go("stop", stop, NULL);
}

static void end_again(void)
{
	MC_CHECK(!np && n_over == 2 && mc_n_files() == 0);
}

/* It ends when its deadline passes, or when its peer does. */
static void setup_deadline(void)
{
	make();
	fd = conn->fd;
	n_conns = 1;
	conn->deadline_ns = mc_now() + 100;
	netpoll_set_deadline(conn->pd, conn->deadline_ns);
	mc_go("begin", begin, conn);
	if (mc_param("begun", 1))
		mc_settle();
	mc_go_timers();
	if (mc_param("ends", 1))
		mc_go("peer", send_and_end, NULL);
	mc_go("stop", stop, NULL);
}

static void setup_stream(void)
{
	make();
	n_conns = 1;
	fd = conn->fd;
	kicked = conn->pd;
	mc_go("begin", begin, conn);
	if (mc_param("begun", 1))
		mc_settle();
	if (!mc_param("told", 0))
		mc_go("peer", send_and_end, NULL);
	for (kickers = 0; kickers < mc_param("kicks", 0); kickers++)
		mc_go("kick", kick, NULL);
	mc_go("stop", stop, NULL);
}

static void end_stream(void)
{
	MC_CHECK(!np && n_over == 1 && mc_n_files() == 0);
}

const struct mc_scenario mc_scenarios[] = {
	{"again", setup_again, end_again},
	{"deadline", setup_deadline, end_stream},
	{"stream", setup_stream, end_stream},
	{NULL, NULL, NULL},
};
