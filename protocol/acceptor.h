/* SPDX-License-Identifier: MIT */
/*
 * Accepting connections (internal/protocol/tcp_server.go). The listener is a connection of the
 * pollers itself (common/netpoll.h): they accept, and none of them waits for the next client.
 */
#ifndef PROTOCOL_ACCEPTOR_H
#define PROTOCOL_ACCEPTOR_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "common/gothread.h"
#include "common/lg.h"
#include "common/netpoll.h"
#include "protocol/listener.h"

/* The functions of a user. Immutable while connections are accepted. Pollers call them, at times
 * several at once; none may block. */
struct tcp_handler {
	/* Handle(conn): owns fd, and opens it with netpoll_open, if it does not refuse it. */
	void (*handle)(void *arg, int fd, const union address *addr);
	/*
	 * Asked before each accept: is there room for one more? False: connections wait for a
	 * moment. May be NULL.
	 */
	bool (*has_room)(void *arg);
	/*
	 * There is no descriptor for the connection that waits. True: one of the user's own will be
	 * free in a moment. May be NULL.
	 */
	bool (*no_descriptors)(void *arg);
	/* Accepting has failed for good, and has ended. */
	void (*failed)(void *arg, const struct err *why);
	/*
	 * How many of the last descriptors are for others: a connection that gets one of these is
	 * closed. Two servers may keep back different numbers; then the lower number goes first.
	 */
	int keep_back;
	void *arg;           /* the first argument of each */
	const struct lg *lg; /* borrowed */
	const char *proto;   /* for the log: "TCP", "HTTP" */
};

struct acceptor {
	struct tcp_listener *listener;     /* immutable; borrowed */
	struct tcp_handler handler;        /* immutable */
	struct poll_desc *pd;              /* immutable between start and stop */
	_Atomic bool stopping;             /* atomic */
	_Atomic int plenty;                /* atomic; descriptors below this are not looked at */
	_Atomic int64_t next_complaint_ns; /* atomic; until then no more lines about descriptors */
	int64_t resume_ns;                 /* the step's; it pauses until then. 0: it does not */
	struct wait_group accepting;       /* has its own lock */
};

/* Copies *h. From now on clients may connect; they are accepted from acceptor_start on. */
void acceptor_init(struct acceptor *s, struct tcp_listener *listener, const struct tcp_handler *h);
/* TCPServer: accepts from now on. Logs so. Any thread. */
void acceptor_start(struct acceptor *s, struct netpoll *np);
/* No connection is accepted any more when this returns. Logs so. Blocks for no more than a step. Fine
 * without start. */
void acceptor_stop(struct acceptor *s);
/* After stop. Does not close the listener. */
void acceptor_destroy(struct acceptor *s);

#endif
