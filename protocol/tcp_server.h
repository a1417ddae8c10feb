/* SPDX-License-Identifier: MIT */
/* The accept loop with a thread per connection (internal/protocol/tcp_server.go). */
#ifndef PROTOCOL_TCP_SERVER_H
#define PROTOCOL_TCP_SERVER_H

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "common/gothread.h"
#include "common/lg.h"
#include "protocol/listener.h"

/* What the loop needs of its user. */
struct tcp_handler {
	/* Handle(conn): runs in the connection's own thread; owns fd. */
	void (*handle)(void *arg, int fd, const char *remote_addr);
	/*
	 * There is no thread for handle: runs in the loop's, owns fd, must not block. NULL: the
	 * connection is closed, with a line in the log.
	 */
	void (*no_thread)(void *arg, int fd, const char *remote_addr, const struct err *why);
	/*
	 * In place of handle, for a user that gives connections their threads itself: runs in the
	 * loop's thread and must not block; owns fd.
	 */
	void (*accepted)(void *arg, int fd, const union address *addr);
	/*
	 * How many of the last descriptors are not for these connections: one that would get such
	 * a descriptor is closed. So that others, who keep back less, still get some.
	 */
	int keep_back;
	/*
	 * There is no descriptor for the connection that waits: makes one of its own free. True: it
	 * has, so that accepting is tried again at once. In the loop's thread; may be NULL.
	 */
	bool (*no_descriptors)(void *arg);
	void *arg;
	const struct lg *lg;
	const char *proto; /* for the log: "HTTP"; NULL is "TCP" */
};

/*
 * TCPServer: accepts until tcp_server_stop, each connection in a thread "io:ADDR"
 * of its own; then waits until all handlers have returned. A connection that
 * cannot have a thread is closed with a log line. 0, or -1 with err set.
 */
struct tcp_server_loop {
	struct tcp_listener *listener; /* borrowed */
	struct tcp_handler handler;
	int stop_fd;               /* eventfd: the loop polls it beside the socket */
	int64_t next_complaint_ns; /* the loop's; before then no further line about descriptors */
	struct wait_group handlers;
};

int tcp_server_init(struct tcp_server_loop *s, struct tcp_listener *l, const struct tcp_handler *h,
	struct err *err);
int tcp_server_run(struct tcp_server_loop *s, struct err *err);
/*
 * Ends tcp_server_run; any thread. Connections that are handled go on until their handlers return.
 */
void tcp_server_stop(struct tcp_server_loop *s);
void tcp_server_destroy(struct tcp_server_loop *s);

#endif
