/* SPDX-License-Identifier: MIT */
/*
 * Listening, and the accept loop with a thread per connection
 * (internal/protocol/tcp_server.go, net.Listen).
 */
#ifndef PROTOCOL_TCP_SERVER_H
#define PROTOCOL_TCP_SERVER_H

#include <stdint.h>
#include <sys/socket.h>

#include "common/err.h"
#include "common/gothread.h"
#include "common/lg.h"

/* A listening socket: TCP "host:port" (host may be empty, a name, v4, [v6]; port a number or 0), or a path. */
struct tcp_listener {
	int fd;
	int port;          /* the real one; -1 for a unix socket */
	char addr[128];    /* as Go prints it: "127.0.0.1:4150", "[::]:4150", the path */
	char *unlink_path; /* unix: removed on close; owned; else NULL */
};

/* net.Listen(TypeOfAddr(addr), addr). -1 with err set to Go's text, e.g.
 * "listen tcp 0.0.0.0:4150: bind: address already in use". */
int tcp_listen(struct tcp_listener *l, const char *addr, struct err *err);
/* Closes the socket. An accept loop on it must have been stopped first. */
void tcp_listener_close(struct tcp_listener *l);

/* What the loop needs of its user. */
struct tcp_handler {
	/* Handle(conn): runs in the connection's own thread; owns fd. */
	void (*handle)(void *arg, int fd, const char *remote_addr);
	/*
	 * In place of handle, for a user that has threads of its own (libmicrohttpd):
	 * runs in the loop's thread and must not block; owns fd, which is non-blocking.
	 */
	void (*accepted)(void *arg, int fd, const struct sockaddr *addr, socklen_t addr_len);
	void *arg;
	const struct lg *lg;
	const char *proto; /* for the log: "HTTP"; NULL is "TCP" */
};

/* RemoteAddr().String(): as Go prints it. */
void tcp_addr_format(const struct sockaddr *addr, char *out, size_t size);

/*
 * TCPServer: accepts until tcp_server_stop, each connection in a thread "io:ADDR"
 * of its own; then waits until all handlers have returned. A connection that
 * cannot have a thread is closed with a log line. 0, or -1 with err set.
 */
struct tcp_server_loop {
	struct tcp_listener *listener; /* borrowed */
	struct tcp_handler handler;
	int stop_fd; /* eventfd: the loop polls it beside the socket */
	struct wait_group handlers;
};

int tcp_server_init(struct tcp_server_loop *s, struct tcp_listener *l, const struct tcp_handler *h,
	struct err *err);
int tcp_server_run(struct tcp_server_loop *s, struct err *err);
/* Ends tcp_server_run; any thread. Connections that are handled go on until their handlers return. */
void tcp_server_stop(struct tcp_server_loop *s);
void tcp_server_destroy(struct tcp_server_loop *s);

#endif
