/* SPDX-License-Identifier: MIT */
/*
 * The TCP side's handler: reads the protocol magic, keeps the list of the connected (nsqd/tcp.go).
 */
#ifndef NSQD_TCP_H
#define NSQD_TCP_H

#include "common/lock.h"
#include "protocol/accept_loop.h"

struct nsqd;
struct client_v2;

struct tcp_server {
	struct nsqd *nsqd;       /* immutable */
	struct accept_loop loop; /* its own synchronisation */
	struct rwlock lock;
	struct client_v2 *conns; /* guarded by lock; uthash (hh_conns) by id; borrowed */
	bool closing;            /* guarded by lock; nobody new is let in */
};

/* Over a listener that stays the caller's. NULL with err set. */
struct tcp_server *tcp_server_new(struct nsqd *n, struct tcp_listener *l, struct err *err);
void tcp_server_free(struct tcp_server *s);
/*
 * The thread "io:ADDR" of a client that was parked (netpoll.h): arg is the client, which it takes
 * over.
 */
void tcp_server_resume(void *arg);
/* Ends one that was parked and has nothing more to say, or can have no thread; frees it. */
void tcp_server_end_parked(struct client_v2 *c);
/*
 * tcpServer.Close: every client is answered what it has sent so far, and then
 * disconnected; their threads end by themselves. Takes lock.
 */
void tcp_server_close(struct tcp_server *s);
/* Ends those that are still there. Takes lock. */
void tcp_server_abort(struct tcp_server *s);
/*
 * conns.Range: calls fn for each client with lock held for reading; fn may take client_v2's locks
 * only.
 */
void tcp_server_each_client(
	struct tcp_server *s, void (*fn)(struct client_v2 *c, void *arg), void *arg);

#endif
