/* SPDX-License-Identifier: MIT */
/* A connection of the HTTP server (conn.serve of net/http's server.go). */
#ifndef NSQD_HTTP_CONN_H
#define NSQD_HTTP_CONN_H

struct http_conn;

/* Serves the connection until it ends, and says goodbye. Blocks; the connection's thread. */
void http_conn_serve(struct http_conn *c);

#endif
