/* SPDX-License-Identifier: MIT */
/*
 * Connections that wait for the network without a thread (runtime/netpoll.go).
 *
 * A goroutine that waits for the network costs Go a few kilobytes: the runtime takes it off its
 * thread, and asks epoll for all such goroutines at once. A pthread cannot be taken off itself. So
 * here a connection is a struct with a function that takes its next *step*, as far as that is
 * possible without waiting. Some threads, the *pollers*, wait for all connections together, and
 * take the steps of those for which something has come. There are as many pollers as processors.
 *
 * What might block must not run in a step. A step that meets such a thing says NETPOLL_THREAD, and
 * the connection goes on in a thread of its own. There it may block as it likes, until it has
 * nothing to do but wait for the network, and returns to the pollers.
 *
 *                 begin                    THREAD
 *        (open) --------> [ RUNNING ] ------------------> [ its thread ]
 *                          |  ^   | OVER                   |   | OVER
 *                     WAIT |  |   +-------> (closed) <---------+
 *                          v  | input, deadline            |
 *                        [ PARKED ] <----------------------+ WAIT
 *
 * One thread at a time runs a connection: the poller that has claimed it, or its own. What
 * happens meanwhile is remembered (AGAIN), and another step follows.
 *
 * There is one epoll instance, as in Go, and any poller takes any connection. So a step that takes
 * long holds up nobody but the few connections that its poller has fetched together with it.
 */
#ifndef COMMON_NETPOLL_H
#define COMMON_NETPOLL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

/*
 * How many connections a poller fetches at once. A step takes some 5 to 100 us, so none of them
 * waits for a millisecond.
 */
#define NETPOLL_EVENTS 8

struct netpoll;
struct poll_desc;

enum netpoll_next {
	NETPOLL_WAIT,   /* for input, or for the deadline */
	NETPOLL_YIELD,  /* there is more to do: another step, when the others have had their turn */
	NETPOLL_THREAD, /* what comes next may block: it needs a thread */
	NETPOLL_OVER,   /* it has called netpoll_close */
};

/* What makes a connection. arg is its own. */
struct netpoll_ops {
	/*
	 * Takes a step: something has come in, or the deadline has passed, or neither. Before it
	 * returns NETPOLL_WAIT it has read until there was nothing more: what is there already is
	 * not told again. (A read of a socket that fills less than was asked for is proof of that,
	 * unless netpoll_hung_up: then the end may follow.) A poller; must not block.
	 */
	enum netpoll_next (*step)(void *arg);
	/*
	 * Goes on in a thread of its own. NETPOLL_WAIT: back to the pollers, which take a step
	 * first if something has come meanwhile. Or NETPOLL_OVER.
	 */
	enum netpoll_next (*run)(void *arg);
	/*
	 * There is no thread for run; why says so. NETPOLL_WAIT: another try follows in a while.
	 * NETPOLL_YIELD: a step instead. NETPOLL_OVER: it is given up. NETPOLL_THREAD: run is called
	 * by the poller; only where it does not block. A poller; must not block.
	 */
	enum netpoll_next (*no_thread)(void *arg, const struct err *why);
	/* The name of its thread. */
	void (*thread_name)(void *arg, char *out, size_t size);
};

/* NULL with err set. */
struct netpoll *netpoll_new(struct err *err);
/* Starts the pollers. 0, or -1 with err set: there is no thread, and no poller runs. */
int netpoll_start(struct netpoll *np, struct err *err);
/* Ends and joins the pollers: no connection is open any more. Fine without start. */
void netpoll_stop(struct netpoll *np);
/* After stop. NULL is fine. */
void netpoll_free(struct netpoll *np);

/*
 * A connection: fd, which is non-blocking or only used without waiting at the pollers. fd, ops and
 * arg outlive it. It is the caller's until netpoll_begin. Any thread; takes a leaf lock, as all
 * functions below may.
 */
struct poll_desc *netpoll_open(
	struct netpoll *np, int fd, const struct netpoll_ops *ops, void *arg);
/* Its first step follows, by the calling poller or by another. The connection is the pollers'. */
void netpoll_begin(struct poll_desc *pd);
/*
 * It is over: before fd is closed. The thread that runs it; netpoll does not touch it, fd or arg
 * any more, once step or run has returned NETPOLL_OVER.
 */
void netpoll_close(struct poll_desc *pd);
/* Has the peer ended its sending, or the connection? The thread that runs it, in a step. */
bool netpoll_hung_up(struct poll_desc *pd);
/* Are there connections for which there is no thread? A guess. Any thread; takes no lock. */
bool netpoll_is_short_of_threads(struct netpoll *np);
/* When step is to be called though nothing has come (monotonic; 0: never). The thread that runs it. */
void netpoll_set_deadline(struct poll_desc *pd, int64_t deadline_ns);
/*
 * A step soon, for a reason of the caller's, which sees what the caller has written before; while
 * the connection has its own thread, when it comes back from it. Any thread; pd is open, or was. (A
 * kick that comes too late at worst gives a step to the connection that has its place now.)
 */
void netpoll_kick(struct poll_desc *pd);

#endif
