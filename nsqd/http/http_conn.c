/* SPDX-License-Identifier: MIT */
/*
 * An HTTP connection: its requests, one after the other. Mirrors conn.serve and readRequest of
 * net/http's server.go, and the decorators of internal/http_api/http_server.go. Runs in the thread
 * of the connection, "http:ADDR" or "https:ADDR"; if it has none, in "http-reserve".
 *
 *     handshake --> head --> body --> handler --> answer --+--> linger --> end
 *       (TLS)        ^                                     |
 *                    +-------------- keep-alive -----------+
 *
 * In each of these states but "handler" a connection moves bytes, and earns credit by that. When
 * there is no room for a new connection, one without credit makes room (http_server.c).
 */
#include "nsqd/http/http_conn.h"

#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "nsqd/http/http.h"
#include "nsqd/http/http_body.h"
#include "nsqd/http/http_internal.h"
#include "nsqd/http/http_io.h"
#include "nsqd/http/http_response.h"
#include "nsqd/core/tls_config.h"

/* The time for a handshake, as on the TCP port. */
#define HANDSHAKE_TIMEOUT_NS (5 * NSEC_PER_SEC)
/* The first bytes of a TLS record: enough to tell HTTP from TLS. */
#define RECORD_HEADER 5
/* rstAvoidanceDelay: how long the close is put off for a client that may still send. */
#define LINGER_NS (500 * NSEC_PER_MSEC)
#define LINGER_MAX_NS (10 * NSEC_PER_SEC)
/* NewReqParams reads bodies without a limit. Here it is so much, if the handler needs no body. */
#define DISCARD_MAX ((int64_t)64 * 1024 * 1024)
/* Buffers that grew beyond this are not kept from one request to the next. */
#define KEEP_BUFFER ((size_t)64 * 1024)

static bool stopping(const struct http_conn *c)
{
	return atomic_load(&c->server->stopping);
}

/* --- TLS ------------------------------------------------------------------------------------- */

/* tlsRecordHeaderLooksLikeHTTP */
static bool looks_like_http(const char *first, size_t n)
{
	static const char *const starts[] = {"GET /", "HEAD ", "POST ", "PUT /", "OPTIO"};
	for (size_t i = 0; i < sizeof(starts) / sizeof(*starts); i++) {
		if (n == RECORD_HEADER && memcmp(first, starts[i], RECORD_HEADER) == 0)
			return true;
	}
	return false;
}

static void answer_not_https(struct http_conn *c)
{
	static const char text[] = "HTTP/1.0 400 Bad Request\r\n\r\n"
				   "Client sent an HTTP request to an HTTPS server.\n";
	struct iovec iov = {(void *)text, sizeof(text) - 1};
	http_io_write(c, &iov, 1);
}

/* Reads the first bytes, below TLS: as many as have come in time. */
static size_t read_record_header(struct http_conn *c, char *first, int64_t deadline)
{
	struct err ignored;
	size_t n = 0;
	while (n < RECORD_HEADER) {
		ssize_t got =
			http_io_read_until(c, first + n, RECORD_HEADER - n, deadline, &ignored);
		if (got <= 0)
			break;
		n += (size_t)got;
	}
	return n;
}

/* tls.Conn.Handshake, and what conn.serve says when it fails. */
static bool handshake(struct http_conn *c)
{
	char first[RECORD_HEADER];
	struct err err;
	int64_t deadline = clock_mono_ns() + HANDSHAKE_TIMEOUT_NS;
	if (c->deadline_ns != 0 && c->deadline_ns < deadline)
		deadline = c->deadline_ns;
	size_t n = read_record_header(c, first, deadline);
	int64_t left = deadline - clock_mono_ns();
	/*
	 * The header came, but the time is over: the machine stood still. The rest has its time
	 * anew.
	 */
	if (left <= 0 && n == RECORD_HEADER)
		left = HANDSHAKE_TIMEOUT_NS;
	c->linger = true;
	if (looks_like_http(first, n)) {
		err_set(&err, 0, "client sent an HTTP request to an HTTPS server");
		answer_not_https(c);
	} else {
		struct stream *tls = stream_tls_new(
			c->sock, &c->server->tls->server, first, n, left > 0 ? left : 1, &err);
		if (tls) {
			c->stream = tls;
			c->linger = false;
			return true;
		}
	}
	if (!stopping(c))
		lg_logf(&c->server->daemon->ctx->lg, LG_WARN,
			"http: TLS handshake error from %s: %s", c->remote_addr, err.msg);
	return false;
}

/* --- a request ------------------------------------------------------------------------------- */

/* Answers a malformed request. All that follows it is malformed as well. */
static void refuse(struct http_conn *c, const struct http_refusal *why)
{
	c->close = c->linger = true;
	http_answer_refusal(c, why);
}

/*
 * The input has ended within a head, if in one. (net/http waits for 4 bytes of a further request.)
 */
static void end_within_head(struct http_conn *c, ssize_t got)
{
	enum { PEEKED = 4 };
	if (got == 0 && !stopping(c) && c->head.size >= (c->has_served ? PEEKED : 1))
		refuse(c, &http_bad_request);
}

/* False: no head has come, or it was refused. */
static bool read_head(struct http_conn *c)
{
	struct err err;
	for (;;) {
		size_t used;
		bool begins = c->head.size == 0;
		if (c->r == c->w) {
			ssize_t got = http_io_fill(c, &err);
			if (got <= 0) {
				end_within_head(c, got);
				return false;
			}
			if (begins)
				http_io_begin_move(c); /* the silence before it does not count */
		}
		enum http_head_state state =
			http_head_feed(&c->head, c->input + c->r, c->w - c->r, &used);
		c->r += used;
		if (state == HTTP_HEAD_DONE)
			return true;
		if (state == HTTP_HEAD_REFUSED) {
			refuse(c, c->head.refusal);
			return false;
		}
	}
}

/* Finds the request's route. */
static void route_request(struct http_conn *c)
{
	struct http_request *req = &c->req;
	req->method = http_method_parse(c->head.method);
	req->target = c->head.target;
	req->content_length = c->head.content_length;
	c->result = http_route_find(http_routes, http_n_routes, req->method, req->target.path,
		req->target.path_len, &c->match);
	req->param = c->match.param;
	req->param_len = c->match.param_len;
}

/* Reads as much of the body as the handler looks at, if it does not refuse it for its length. */
static void read_body(struct http_conn *c)
{
	struct http_request *req = &c->req;
	const struct http_route *route = c->match.route;
	if (route->flags & HTTP_DISCARDS_BODY) {
		req->body_failed = http_body_discard(c, DISCARD_MAX) < 0;
		return;
	}
	if (!route->body_limit)
		return;
	int64_t limit = route->body_limit(nsqd_get_opts(c->server->daemon->ctx));
	if (req->content_length > limit)
		return;
	c->answered = (route->flags & HTTP_TOPIC_FIRST) && !http_find_topic(req);
	if (c->answered)
		return;
	if (req->content_length > 0 && (route->flags & HTTP_MESSAGE_BODY))
		req->message = message_body_new((size_t)req->content_length);
	req->body_failed = !http_body_read_all(c, limit);
}

/* http_api.Log */
static void log_request(struct http_conn *c, int status, int64_t elapsed_ns)
{
	char elapsed[32];
	struct strbuf uri = STRBUF_INIT;
	if (!lg_enabled(&c->server->daemon->ctx->lg, LG_INFO))
		return;
	url_add_escaped_path(&uri, &c->req.target);
	if (uri.len == 0)
		strbuf_addc(&uri, '/');
	if (c->req.target.raw_query) {
		strbuf_addc(&uri, '?');
		strbuf_add(&uri, c->req.target.raw_query, c->req.target.raw_query_len);
	}
	lg_logf(&c->server->daemon->ctx->lg, LG_INFO, "%d %s %s (%s) %s", status, c->head.method,
		uri.data, c->remote_addr, duration_format(elapsed_ns, elapsed, sizeof(elapsed)));
	strbuf_free(&uri);
}

static void run_handler(struct http_conn *c)
{
	const struct http_route *route = c->match.route;
	bool logged = route->flags & HTTP_LOGGED;
	int64_t start = logged ? clock_mono_ns() : 0;
	if (c->req.body_failed && (route->flags & HTTP_DISCARDS_BODY))
		http_respond_error(&c->req, 400, "INVALID_REQUEST"); /* NewReqParams */
	else if (!c->answered)
		route->handle(&c->req);
	if (logged)
		log_request(c, c->req.status, clock_mono_ns() - start);
}

/* Answers a request for which the router has found no handler. */
static void answer_routed(struct http_conn *c)
{
	switch (c->result) {
	case HTTP_ROUTE_FOUND:
	case HTTP_ROUTE_NOT_FOUND:
		break;
	case HTTP_ROUTE_REDIRECT:
		http_answer_redirect(c);
		return;
	case HTTP_ROUTE_ALLOW:
		http_answer_allow(c);
		return;
	case HTTP_ROUTE_METHOD_NOT_ALLOWED:
		log_request(c, 405, 0);
		http_answer_method_not_allowed(c);
		return;
	}
	http_respond_error(&c->req, 404, "NOT_FOUND");
	log_request(c, 404, 0);
	http_answer_v1(c);
}

/* While a handler runs, the thread does not wait for the client. */
static void begin_answer(struct http_conn *c)
{
	atomic_store(&c->answering, true);
	atomic_store_explicit(&c->credit_ns, INT64_MAX, memory_order_relaxed);
}

/* serverHandler.ServeHTTP */
static void answer(struct http_conn *c)
{
	struct http_server *s = c->server;
	if (c->head.is_server_target && strcmp(c->head.method, "OPTIONS") == 0) {
		http_answer_global_options(c);
	} else if (s->tls_required && !s->tls) {
		http_answer_tls_required(c);
	} else if (c->result != HTTP_ROUTE_FOUND) {
		answer_routed(c);
	} else {
		run_handler(c);
		if (c->match.route->flags & HTTP_PLAIN_TEXT)
			http_answer_plain(c);
		else
			http_answer_v1(c);
	}
}

static void reset_buffer(struct strbuf *sb)
{
	if (sb->cap > KEEP_BUFFER)
		strbuf_free(sb);
	else
		strbuf_reset(sb);
}

static void end_request(struct http_conn *c)
{
	struct http_request *req = &c->req;
	if (req->message)
		message_body_unref(req->message);
	strbuf_free(&c->match.redirect_path);
	reset_buffer(&req->body);
	reset_buffer(&req->out);
	http_body_end(c);
	req->message = NULL;
	req->body_len = 0;
	req->body_failed = false;
	c->answered = false;
	c->match = (struct http_match){0};
	c->after_post = strcmp(c->head.method, "POST") == 0;
	c->has_served = true;
	http_head_reset(&c->head, c->after_post);
	c->grace_ns = HTTP_GRACE_NS;
	http_io_begin_move(c);
	atomic_store(&c->answering, false);
}

static void serve_request(struct http_conn *c)
{
	bool for_handler = c->server->tls || !c->server->tls_required;
	http_body_begin(c);
	route_request(c);
	if (c->head.expects_other) {
		http_answer_expectation_failed(c);
		return;
	}
	if (for_handler && c->result == HTTP_ROUTE_FOUND)
		read_body(c);
	/* The daemon's exit has cut the body off: that is not the client's fault. */
	if (stopping(c) && c->req.body_failed) {
		c->close = true;
		return;
	}
	begin_answer(c);
	answer(c);
}

/* --- the end --------------------------------------------------------------------------------- */

/*
 * Closing a socket with unread input resets the connection, which may destroy our last answer. So
 * input is still read, until the client is silent or closes. In that time it has no credit.
 */
static void linger(struct http_conn *c)
{
	char scrap[HTTP_INPUT_SIZE];
	struct err ignored;
	int64_t now = clock_mono_ns(), end = now + LINGER_MAX_NS;
	if (c->deadline_ns != 0)
		end = c->deadline_ns;
	while (now < end && !stopping(c)) {
		int64_t silence = now + LINGER_NS;
		atomic_store_explicit(&c->credit_ns, now, memory_order_relaxed);
		if (c->sock->ops->read(c->sock, scrap, sizeof(scrap), silence < end ? silence : end,
			    &ignored) <= 0)
			break;
		now = clock_mono_ns();
	}
}

void http_conn_serve(struct http_conn *c)
{
	http_io_begin_move(c);
	if (!c->server->tls || handshake(c)) {
		while (!c->close && !stopping(c) && read_head(c)) {
			serve_request(c);
			end_request(c);
		}
	}
	/* With a short deadline: a client that does not read is not waited for. */
	if (!c->send_failed)
		c->stream->ops->close_write(c->stream, clock_mono_ns() + LINGER_NS);
	if (c->linger)
		linger(c);
}
