/* SPDX-License-Identifier: MIT */
/*
 * The TCP side's handler: reads the protocol magic, keeps the list of the connected (nsqd/tcp.go).
 */
#ifndef NSQD_TCP_H
#define NSQD_TCP_H

#include "common/gothread.h"
#include "common/lock.h"
#include "nsqd/client/client_v2.h"
#include "protocol/acceptor.h"

struct tcp_server {
	struct protocol_v2 protocol;    /* immutable */
	struct acceptor acceptor;       /* its own synchronisation */
	struct wait_group clients;      /* every client, from accept to free */
	struct wait_group pump_threads; /* their pumps' threads */
	_Atomic int64_t client_id_sequence;
	struct rwlock lock;
	struct client_v2 *conns; /* guarded by lock; uthash (hh_conns) by id; borrowed */
	bool closing;            /* guarded by lock; no new client is let in */
};

/*
 * Over a listener, which stays the caller's; so do the others, which outlive it. tls may be
 * NULL. Main thread, as are the next three.
 */
struct tcp_server *tcp_server_new(struct context *ctx, struct topics *topics,
	struct tls_current *tls, struct tcp_listener *l, struct netpoll *np);
/* When no client is left. NULL is fine. */
void tcp_server_free(struct tcp_server *s);
/* Accepts clients from now on, at the pollers. */
void tcp_server_start(struct tcp_server *s);
/*
 * tcpServer.Close, and what Exit waits for: no new client comes in, every client is answered what
 * it has sent so far, and then disconnected. Blocks until all have left. Those that do not read are
 * cut off after a second. Fine without start.
 */
void tcp_server_close(struct tcp_server *s);
/* How many clients are connected. Takes lock for reading. Any thread. */
size_t tcp_server_n_clients(struct tcp_server *s);
/*
 * conns.Range: calls fn for each client with lock held for reading; fn may take client_v2's locks
 * only.
 */
void tcp_server_each_client(
	struct tcp_server *s, void (*fn)(struct client_v2 *c, void *arg), void *arg);

#endif
