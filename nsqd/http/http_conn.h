/* SPDX-License-Identifier: MIT */
/* A connection of the HTTP server (conn.serve of net/http's server.go). */
#ifndef NSQD_HTTP_CONN_H
#define NSQD_HTTP_CONN_H

#include <stdbool.h>

#include "common/netpoll.h"
#include "protocol/listener.h"

struct http_conn;
struct http_server;

/* Takes over fd, a connected socket. Never NULL. */
struct http_conn *http_conn_new(struct http_server *s, int fd, const union address *addr);
/*
 * Goes on with the connection for as long as that is possible. in_thread: it may block, and waits a
 * moment for input; the result is NETPOLL_WAIT (for input, or until c->wait_until_ns) or
 * NETPOLL_OVER. Else it is a poller's step, which does not block, and may ask for a thread
 * (NETPOLL_THREAD). One thread at a time; it holds no lock, and is not between runnext_begin and
 * runnext_end.
 */
enum netpoll_next http_conn_step(struct http_conn *c, bool in_thread);
/*
 * It has asked for a thread, and there is none. True: a poller may go on with it in further steps,
 * as others have their turns in between.
 */
bool http_conn_can_do_without(struct http_conn *c);
/* Without a thread for its request: is it one with which an operator may help against that? */
bool http_conn_helps(const struct http_conn *c);
/* There was no thread for too long: has it answer 503. False: it can only be ended. */
bool http_conn_refuse(struct http_conn *c);
/* Also in the middle of a request. Closes its socket. */
void http_conn_free(struct http_conn *c);

#endif
