/* SPDX-License-Identifier: MIT */
/* Connections at the pollers (common/netpoll.h) that do what a test says, and pollers that are held. */
#ifndef TEST_UNIT_POLLER_TEST_H
#define TEST_UNIT_POLLER_TEST_H

#include "test/unit/helper.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

#include "common/check.h"
#include "common/gothread_internal.h"
#include "common/netpoll.h"
#include "common/thread_name.h"

/* --- a connection that does what its test says ------------------------------------------------ */

/*
 * A connection and its peer. A step counts, reads all that is there, and asks the test's function,
 * if it has one. At the end of what comes it is over.
 */
struct conn {
	struct poll_desc *pd;
	struct netpoll *np;
	int fd, peer;
	int64_t first_deadline_ns;
	bool reads_short;                                     /* it reads no more than it must */
	bool reads_nothing;                                   /* its input stays where it is */
	enum netpoll_next (*_Atomic on_step)(struct conn *c); /* NULL: waits */
	enum netpoll_next (*_Atomic on_run)(struct conn *c);
	enum netpoll_next (*on_no_thread)(struct conn *c, const struct err *why);
	int holds;                /* the test's: how often it has waited for a hold */
	_Atomic int held, let_go; /* how often it was held, and may go on */
	_Atomic(void *) more;     /* a test's own */

	_Atomic int steps, runs, no_threads, got, hung_up;
	_Atomic bool over;
	_Atomic bool busy; /* a thread is in step or run */
	int plain;         /* the same without a lock, for ThreadSanitizer */
	_Atomic int64_t last_step_ns;
	char ran_in[64]; /* name of the thread of run */
};

/* plain comes first and last, so that nothing but netpoll itself orders the threads that change it. */
static inline void enter(struct conn *c)
{
	c->plain++;
	CHECK(!atomic_exchange(&c->busy, true));
}

static inline void leave(struct conn *c)
{
	atomic_store(&c->busy, false);
	c->plain++;
}

static inline enum netpoll_next close_conn(struct conn *c)
{
	leave(c);
	netpoll_close(c->pd);
	close(c->fd);
	c->over = true;
	return NETPOLL_OVER;
}

/* Reads all. False: the end. (Of what is no socket nothing can be read.) */
static inline bool read_all(struct conn *c)
{
	char buf[64];
	ssize_t n;
	while ((n = recv(c->fd, buf, sizeof(buf), MSG_DONTWAIT)) > 0) {
		c->got += (int)n;
		if (c->reads_short && n < (ssize_t)sizeof(buf) && !netpoll_hung_up(c->pd))
			return true;
	}
	return n != 0;
}

static inline enum netpoll_next conn_step(void *arg)
{
	struct conn *c = arg;
	enter(c);
	c->last_step_ns = clock_mono_ns();
	c->hung_up += netpoll_hung_up(c->pd);
	bool open = c->reads_nothing || read_all(c);
	c->steps++;
	if (!open)
		return close_conn(c);
	enum netpoll_next (*on_step)(struct conn *) = c->on_step;
	enum netpoll_next next = on_step ? on_step(c) : NETPOLL_WAIT;
	if (next != NETPOLL_OVER)
		leave(c);
	return next;
}

static inline enum netpoll_next conn_run(void *arg)
{
	struct conn *c = arg;
	enter(c);
	snprintf(c->ran_in, sizeof(c->ran_in), "%s", thread_name());
	c->runs++;
	enum netpoll_next (*on_run)(struct conn *) = c->on_run;
	enum netpoll_next next = on_run ? on_run(c) : NETPOLL_WAIT;
	if (next != NETPOLL_OVER)
		leave(c);
	return next;
}

static inline enum netpoll_next conn_no_thread(void *arg, const struct err *why)
{
	struct conn *c = arg;
	enter(c);
	CHECK(why->code == EAGAIN && why->msg[0]);
	c->no_threads++;
	enum netpoll_next next = c->on_no_thread ? c->on_no_thread(c, why) : NETPOLL_WAIT;
	if (next != NETPOLL_OVER)
		leave(c);
	return next;
}

static inline void conn_name(void *arg, char *out, size_t size)
{
	struct conn *c = arg;
	snprintf(out, size, "conn:%d", c->fd);
}

static const struct netpoll_ops conn_ops = {conn_step, conn_run, conn_no_thread, conn_name};

/* The fields that a test has set stay. */
static inline void open_conn(struct netpoll *np, struct conn *c)
{
	int fds[2];
	assert_int_equal(
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), 0);
	c->np = np;
	c->fd = fds[0];
	c->peer = fds[1];
	c->pd = netpoll_open(np, c->fd, &conn_ops, c);
	if (c->first_deadline_ns != 0)
		netpoll_set_deadline(c->pd, c->first_deadline_ns);
}

static inline void begin_conn(struct netpoll *np, struct conn *c)
{
	open_conn(np, c);
	netpoll_begin(c->pd);
}

/* Begins it, and waits for the end of its first step. */
static inline void begin_and_wait(struct netpoll *np, struct conn *c)
{
	begin_conn(np, c);
	wait_for(c->steps > 0 && !c->busy);
}

static inline void say(struct conn *c)
{
	assert_int_equal(write(c->peer, "x", 1), 1);
}

static inline void hang_up(struct conn *c)
{
	close(c->peer);
	wait_for(c->over);
}

/* --- the pollers ------------------------------------------------------------------------------ */

static inline struct netpoll *start(void)
{
	struct err err = {0};
	struct netpoll *np = netpoll_new(&err);
	if (!np || netpoll_start(np, &err) != 0)
		fail_msg("%s", err.msg);
	return np;
}

static inline void stop(struct netpoll *np)
{
	netpoll_stop(np);
	netpoll_free(np);
	assert_int_equal(gothread_count(), 0);
}

static inline void count_poller(void *arg, const char *name, int tid)
{
	*(int *)arg += strcmp(name, "poller") == 0;
}

static inline int n_pollers(void)
{
	int n = 0;
	gothread_each(count_poller, &n);
	return n;
}

/* The thread that runs c waits here until the test lets it go on. */
static inline void be_held(struct conn *c)
{
	int n = ++c->held;
	while (c->let_go < n)
		sleep_ns(NSEC_PER_MSEC / 20);
}

static inline void wait_held(struct conn *c)
{
	c->holds++;
	wait_for(c->held >= c->holds);
}

static inline void let_go(struct conn *c)
{
	c->let_go++;
}

/* A step that is held after its input. */
static inline enum netpoll_next held_step(struct conn *c)
{
	if (c->got > 0) {
		c->got = 0;
		be_held(c);
	}
	return NETPOLL_WAIT;
}

static inline void holder_init(struct netpoll *np, struct conn *h)
{
	*h = (struct conn){.on_step = held_step};
	begin_and_wait(np, h);
}

/* Makes a step of h begin, in which a poller is held. */
static inline void hold(struct conn *h)
{
	say(h);
	wait_held(h);
}

/* Holds all pollers but some. */
struct held {
	struct conn *conns;
	int n;
};

static inline struct held hold_all_but(struct netpoll *np, int free_ones)
{
	struct held h = {.n = n_pollers() - free_ones};
	h.conns = calloc((size_t)h.n, sizeof(*h.conns));
	for (int i = 0; i < h.n; i++)
		holder_init(np, &h.conns[i]);
	for (int i = 0; i < h.n; i++)
		hold(&h.conns[i]);
	return h;
}

/* They have been let go. */
static inline void end_held(struct held *h)
{
	for (int i = 0; i < h->n; i++)
		hang_up(&h->conns[i]);
	free(h->conns);
}

static inline void free_held(struct held *h)
{
	for (int i = 0; i < h->n; i++)
		let_go(&h->conns[i]);
	end_held(h);
}

/* All pollers have taken a new event, and so are through with those they had. */
static inline void flush_pollers(struct netpoll *np)
{
	struct held h = hold_all_but(np, 0);
	free_held(&h);
}

/* --- a connection that is in its thread ------------------------------------------------------- */

/* Each byte asks for a thread. */
static inline enum netpoll_next to_thread(struct conn *c)
{
	return c->got > c->runs ? NETPOLL_THREAD : NETPOLL_WAIT;
}

static inline enum netpoll_next held_run(struct conn *c)
{
	be_held(c);
	return NETPOLL_WAIT;
}

/* A connection that is in its thread from the first byte on, until it is let go. */
static inline void away_init(struct netpoll *np, struct conn *c)
{
	*c = (struct conn){.on_step = to_thread, .on_run = held_run};
	begin_and_wait(np, c);
}

#endif
