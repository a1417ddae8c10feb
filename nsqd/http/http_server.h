/* SPDX-License-Identifier: MIT */
/* The HTTP server's life (internal/http_api/http_server.go): on the pollers. */
#ifndef NSQD_HTTP_SERVER_H
#define NSQD_HTTP_SERVER_H

#include <stdbool.h>
#include <stddef.h>

struct http_daemon;
struct http_server;
struct netpoll;
struct tcp_listener;
struct tls_current;

/*
 * Takes over the listener. daemon and tls are borrowed until free; daemon may be filled until start.
 * With tls this is the HTTPS server. tls_required without tls: every answer is 403 TLS_REQUIRED.
 * Never NULL.
 */
struct http_server *http_server_new(const struct http_daemon *daemon,
	const struct tcp_listener *take_l, struct tls_current *tls, bool tls_required);
/*
 * The same for --http-readonly-address: it serves the routes that are HTTP_PUBLIC, asks for no
 * token, and obeys no tls_required.
 */
struct http_server *http_server_new_readonly(
	const struct http_daemon *daemon, const struct tcp_listener *take_l);
/* Serves; logs "HTTP: listening on ADDR". np runs until wait has returned. Once. */
void http_server_start(struct http_server *s, struct netpoll *np);
/*
 * Stops accepting, and ends the connections that are not being answered; logs "HTTP: closing ADDR".
 * Blocks until a poller has ended the listener. Fine without start; NULL is fine. Main thread.
 */
void http_server_close(struct http_server *s);
/*
 * After close: blocks until the handlers that run have finished, and their answers are sent. A
 * second after close it ends the connections of clients that do not read. NULL is fine. Main thread.
 */
void http_server_wait(struct http_server *s);
/* After wait, or without start. NULL is fine. */
void http_server_free(struct http_server *s);
/* Connections that are open. NULL has none. Any thread; takes a leaf lock. */
size_t http_server_n_connections(struct http_server *s);
/* The real port; -1 for a unix socket. */
int http_server_port(const struct http_server *s);

#endif
