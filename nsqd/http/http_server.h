/* SPDX-License-Identifier: MIT */
/* The HTTP server's life (internal/http_api/http_server.go): on the pollers. */
#ifndef NSQD_HTTP_SERVER_H
#define NSQD_HTTP_SERVER_H

#include <stdbool.h>

#include "common/err.h"

struct http_daemon;
struct http_server;
struct netpoll;
struct tls_config;

/*
 * Listens on address. daemon and tls are borrowed until free; daemon may be filled until start.
 * With tls this is the HTTPS server, and not on a unix socket. tls_required without tls: every
 * answer is 403 TLS_REQUIRED. NULL with err set to Go's text of net.Listen.
 */
struct http_server *http_server_new(const struct http_daemon *daemon, const char *address,
	const struct tls_config *tls, bool tls_required, struct err *err);
/* Serves; logs "HTTP: listening on ADDR". np runs until stop. Once. */
void http_server_start(struct http_server *s, struct netpoll *np);
/*
 * Stops accepting, lets the handlers that run finish and answer, ends the connections, for a second
 * without force; logs "HTTP: closing ADDR". Fine without start.
 */
void http_server_stop(struct http_server *s);
/* After stop. NULL is fine. */
void http_server_free(struct http_server *s);
/* The real port; -1 for a unix socket. */
int http_server_port(const struct http_server *s);

#endif
