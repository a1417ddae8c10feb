/* SPDX-License-Identifier: MIT */
/* The accept loop with a thread per connection (internal/protocol/tcp_server.go). */
#ifndef PROTOCOL_ACCEPT_LOOP_H
#define PROTOCOL_ACCEPT_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "common/gothread.h"
#include "common/lg.h"
#include "protocol/listener.h"

/*
 * The functions with which a user of the loop handles connections. Immutable while the loop runs.
 * The loop's thread calls all of these functions but handle.
 */
struct accept_handler {
	/* Handle(conn): runs in the connection's own thread; owns fd. */
	void (*handle)(void *arg, int fd, const char *remote_addr);
	/*
	 * There is no thread for handle: owns fd, must not block. NULL: the loop closes the
	 * connection and logs a line.
	 */
	void (*no_thread)(void *arg, int fd, const char *remote_addr, const struct err *why);
	/* In place of handle, if the user starts threads itself: owns fd, must not block. */
	void (*accepted)(void *arg, int fd, const union address *addr);
	/*
	 * How many of the last descriptors are for others: a connection that gets one of these is
	 * closed. Two loops may keep back different numbers; then the lower number goes first.
	 */
	int keep_back;
	/*
	 * There is no descriptor for the connection that waits. Frees one of the user's own; true:
	 * it has, and the loop accepts again at once. May be NULL.
	 */
	bool (*no_descriptors)(void *arg);
	void *arg;           /* the first argument of each */
	const struct lg *lg; /* borrowed */
	const char *proto;   /* for the log: "HTTP"; NULL is "TCP" */
};

struct accept_loop {
	struct tcp_listener *listener; /* immutable; borrowed */
	struct accept_handler handler; /* immutable */
	int stop_fd;                /* immutable; eventfd that the loop polls beside the socket */
	int64_t next_complaint_ns;  /* the loop's: until then no more lines about descriptors */
	struct wait_group handlers; /* has its own lock */
};

/* Copies *h. 0, or -1 with err set: there is no descriptor. */
int accept_loop_init(struct accept_loop *l, struct tcp_listener *listener,
	const struct accept_handler *h, struct err *err);
/*
 * TCPServer: accepts until accept_loop_stop, and handles each connection in a thread "io:ADDR" of
 * its own. Then blocks until all handlers have returned. 0, or -1 with err set: accepting failed.
 */
int accept_loop_run(struct accept_loop *l, struct err *err);
/* Makes accept_loop_run accept no more. Any thread; does not block. */
void accept_loop_stop(struct accept_loop *l);
/* After accept_loop_run has returned, or was never called. Does not close the listener. */
void accept_loop_destroy(struct accept_loop *l);

#endif
