/* SPDX-License-Identifier: MIT */
/*
 * The HTTP server (internal/http_api, and what Go's net/http does below it): a thread per
 * connection, the request as handlers see it, and the decorators that turn what they say into a
 * response and a log line.
 */
#ifndef NSQD_HTTP_SERVER_H
#define NSQD_HTTP_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/strbuf.h"
#include "common/url.h"
#include "nsqd/http_router.h"
#include "nsqd/message.h"

struct nsqd;
struct http_server;
struct tls_config;

/*
 * Listens on address. tls, borrowed until free: this is the HTTPS server, and not
 * on a unix socket; tls_required: without tls, every answer is 403 TLS_REQUIRED.
 * NULL with err set to Go's text of net.Listen.
 */
struct http_server *http_server_new(struct nsqd *n, const char *address,
	const struct tls_config *tls, bool tls_required, struct err *err);
/* Serves; logs "HTTP: listening on ADDR". -1 with err set: no thread. Once. */
int http_server_start(struct http_server *s, struct err *err);
/*
 * Stops accepting, lets the handlers that run finish and answer, closes the
 * connections, joins all threads; logs "HTTP: closing ADDR". Fine without start.
 */
void http_server_stop(struct http_server *s);
/* After stop. NULL is fine. */
void http_server_free(struct http_server *s);
/* The real port; -1 for a unix socket. */
int http_server_port(const struct http_server *s);

/* --- for handlers (http.c); everything below belongs to the connection's thread ------------- */

struct http_request {
	struct nsqd *nsqd;
	enum http_method method;
	const char *remote_addr;
	struct url_target target;
	const char *param; /* what the route's ":name" stands for, not terminated */
	size_t param_len;
	int64_t content_length; /* -1: not told (chunked) */
	/*
	 * The body, up to the route's limit and one byte more, as stock's
	 * io.LimitReader would give it. In message if that is not NULL.
	 */
	size_t body_len;
	bool body_failed; /* it was cut off, or is none: what is there is the part before that */
	struct strbuf body;
	struct message_body *message;
	struct url_values query;

	/* What the handler answers; filled by the functions below. */
	int status;
	bool is_json;
	const char *text; /* a static string; NULL: out */
	struct strbuf out;
};

/* url.ParseQuery of the request's query into req->query; false if it is malformed. */
bool http_parse_query(struct http_request *req);
/* The body; not terminated where it is in a message. */
const char *http_body(const struct http_request *req);
/* The body as a message's; the caller gets the reference. */
struct message_body *http_take_body(struct http_request *req);

/* return text, nil. text must be static. */
void http_respond_text(struct http_request *req, const char *text);
/* return x, nil: what the handler has written to req->out, as text or as JSON. */
void http_respond_out(struct http_request *req, bool is_json);
/* return nil, http_api.Err{status, text}. text is copied. */
void http_respond_error(struct http_request *req, int status, const char *text);
static inline void http_respond_empty(struct http_request *req)
{
	http_respond_text(req, "");
}

#endif
