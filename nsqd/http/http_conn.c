/* SPDX-License-Identifier: MIT */
/*
 * An HTTP connection: its requests, one after the other. Mirrors conn.serve and readRequest of
 * net/http's server.go, and the decorators of internal/http_api/http_server.go. Runs at the pollers,
 * and in the thread "http:ADDR" or "https:ADDR" of a connection that may block.
 *
 *     HANDSHAKE --> HEAD --> ROUTE --> BODY --> HANDLE --> REST --> ANSWER --> GOODBYE --> LINGER
 *       (TLS)        ^                                                 |
 *                    +------------------ keep-alive -------------------+
 *
 * Each state is a function. It does what it can, and says how it goes on: with another state, with a
 * wait for input, or in a thread. What it has to remember is in the connection. So it stops wherever
 * the input ends, and goes on from there, at a poller or in a thread alike. A thread may wait: for
 * the client a moment, and for the disk.
 *
 * A connection that moves bytes earns credit by that. When there is no room for a new connection,
 * one without credit makes room (http_server.c).
 */
#include "nsqd/http/http_conn.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/runnext.h"
#include "common/xalloc.h"
#include "nsqd/core/tls_config.h"
#include "nsqd/http/http.h"
#include "nsqd/http/http_access.h"
#include "nsqd/http/http_body.h"
#include "nsqd/http/http_internal.h"
#include "nsqd/http/http_io.h"
#include "nsqd/http/http_response.h"

/* The longest head of a request, in bytes. */
#define MAX_HEAD ((size_t)32 * 1024)
/* The time for a handshake, as on the TCP port. */
#define HANDSHAKE_TIMEOUT_NS (5 * NSEC_PER_SEC)
/* The first bytes of a TLS record: enough to tell HTTP from TLS. */
#define RECORD_HEADER 5
#define HANDSHAKE_RECORD 22
/* rstAvoidanceDelay: how long the close is put off for a client that may still send. */
#define LINGER_NS (500 * NSEC_PER_MSEC)
#define LINGER_MAX_NS (10 * NSEC_PER_SEC)
/* NewReqParams reads bodies without a limit. Here it is so much, if the handler needs no body. */
#define DISCARD_MAX ((int64_t)64 * 1024 * 1024)
/* Buffers that grew beyond this are not kept from one request to the next. */
#define KEEP_BUFFER ((size_t)64 * 1024)

/* What a state returns when it has gone to another one. */
#define GO_ON NETPOLL_YIELD

static bool stopping(const struct http_conn *c)
{
	return atomic_load(&c->server->stopping);
}

static enum netpoll_next go_to(struct http_conn *c, enum http_state state)
{
	c->state = state;
	return GO_ON;
}

/* --- HANDSHAKE ------------------------------------------------------------------------------- */

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
	http_io_write(c, text, sizeof(text) - 1);
}

/* tls.Conn.Handshake, and what conn.serve says when it fails. */
static enum netpoll_next start_tls(struct http_conn *c, int64_t timeout_ns)
{
	struct err err;
	struct stream *tls = NULL;
	bool is_probe = c->w == 0 && nsqd_get_opts(c->server->daemon->ctx)->log_quiet_probes;
	if (looks_like_http(c->input, c->w)) {
		err_set(&err, 0, "client sent an HTTP request to an HTTPS server");
		answer_not_https(c);
	} else {
		c->tls_config = tls_current_get(c->server->tls);
		tls = stream_tls_new(
			c->sock, &c->tls_config->server, c->input, c->w, timeout_ns, &err);
	}
	c->r = c->w = 0;
	c->wait_until_ns = 0;
	if (tls) {
		c->stream = tls;
		return go_to(c, HTTP_HEAD);
	}
	if (!stopping(c) && !is_probe) {
		char from[128];
		address_format(&c->remote, from, sizeof(from));
		lg_logf(&c->server->daemon->ctx->lg, LG_WARN,
			"http: TLS handshake error from %s: %s", from, err.msg);
	}
	c->linger = true;
	return go_to(c, HTTP_GOODBYE);
}

/* How much to read before a thread is worth it: the first record, if it looks like TLS. */
static size_t first_size(const struct http_conn *c)
{
	const unsigned char *p = (const unsigned char *)c->input;
	if (c->w < RECORD_HEADER || p[0] != HANDSHAKE_RECORD)
		return RECORD_HEADER;
	size_t size = RECORD_HEADER + ((size_t)p[3] << 8 | p[4]);
	return size < sizeof(c->input) ? size : sizeof(c->input);
}

/* Reads the client's first record below TLS. The rest is for a thread. */
static enum netpoll_next handshake(struct http_conn *c)
{
	ssize_t got = 1;
	while (got > 0 && c->w < first_size(c)) {
		got = http_io_read(c, c->input + c->w, first_size(c) - c->w);
		c->w += got > 0 ? (size_t)got : 0;
	}
	int64_t left = c->wait_until_ns - clock_mono_ns();
	if (got == HTTP_IO_WAIT && left > 0)
		return NETPOLL_WAIT;
	/* Without the rest it fails at once, here as well. */
	bool has_come = c->w == first_size(c);
	if (has_come && !http_is_in_thread(c))
		return NETPOLL_THREAD;
	/* It came, but the time is over: the machine stood still. The rest has its time anew. */
	if (left <= 0)
		left = has_come ? HANDSHAKE_TIMEOUT_NS : 1;
	return start_tls(c, left);
}

/* --- HEAD ------------------------------------------------------------------------------------ */

/* Answers a malformed request. All that follows it is malformed as well. */
static enum netpoll_next refuse(struct http_conn *c, const struct http_refusal *why)
{
	c->linger = true;
	http_answer_refusal(c, why);
	return go_to(c, HTTP_GOODBYE);
}

/* The input has ended, perhaps within a head. (net/http waits for 4 bytes of a further request.) */
static enum netpoll_next end_of_input(struct http_conn *c, ssize_t got)
{
	enum { PEEKED = 4 };
	if (got == 0 && !stopping(c) && c->head.size >= (c->has_served ? PEEKED : 1))
		return refuse(c, &http_bad_request);
	return go_to(c, HTTP_GOODBYE);
}

static enum netpoll_next read_head(struct http_conn *c)
{
	enum http_head_state state = HTTP_HEAD_MORE;
	/* Also when the rest of the last answer, which the socket did not take at once, has failed. */
	if (stopping(c) || c->send_failed)
		return go_to(c, HTTP_GOODBYE);
	if (!http_is_in_thread(c) && c->served == HTTP_STEP_REQUESTS)
		return NETPOLL_THREAD;
	/* A thread that it got for one request would be its own for as long as it is never silent. */
	if (http_is_in_thread(c) && c->served >= HTTP_THREAD_REQUESTS && c->stream == c->sock &&
		c->r == c->w && c->head.size == 0)
		return NETPOLL_WAIT;
	while (state == HTTP_HEAD_MORE) {
		size_t used;
		if (c->r == c->w) {
			bool begins = c->head.size == 0;
			ssize_t got = http_io_fill(c);
			if (got == HTTP_IO_WAIT)
				return NETPOLL_WAIT;
			if (got <= 0)
				return end_of_input(c, got);
			if (begins)
				http_io_begin_move(c); /* the silence before it does not count */
		}
		state = http_head_feed(&c->head, c->input + c->r, c->w - c->r, &used);
		c->r += used;
	}
	return state == HTTP_HEAD_DONE ? go_to(c, HTTP_ROUTE) : refuse(c, c->head.refusal);
}

/* --- ROUTE and BODY -------------------------------------------------------------------------- */

static void find_route(struct http_conn *c)
{
	struct http_request *req = &c->req;
	req->method = http_method_parse(c->head.method);
	req->target = c->head.target;
	req->content_length = c->head.content_length;
	req->prefers_openmetrics = http_accept_prefers_openmetrics(&c->head.accept);
	c->result = http_route_find(http_routes, http_n_routes, req->method, req->target.path,
		req->target.path_len, &c->match);
	req->param = c->match.param;
	req->param_len = c->match.param_len;
}

/* Is the answer the handler's? If not, the body is not looked at. */
static bool is_for_handler(const struct http_conn *c)
{
	return c->result == HTTP_ROUTE_FOUND && !c->head.expects_other &&
	       (c->server->tls || !c->server->tls_required);
}

/* How much of the body the handler looks at; -1: nothing, or it refuses the body for its length. */
static int64_t body_limit(const struct http_conn *c)
{
	const struct http_route *route = c->match.route;
	if (!route->body_limit)
		return -1;
	int64_t limit = route->body_limit(nsqd_get_opts(c->server->daemon->ctx));
	return c->req.content_length <= limit ? limit : -1;
}

static enum netpoll_next route(struct http_conn *c)
{
	struct http_request *req = &c->req;
	http_body_begin(c);
	find_route(c);
	if (!is_for_handler(c))
		return go_to(c, HTTP_HANDLE);
	c->access = http_access_check(c);
	if (c->access != HTTP_GRANTED) {
		c->answered = true;
		return go_to(c, HTTP_HANDLE);
	}
	int flags = c->match.route->flags;
	if ((flags & HTTP_TOPIC_FIRST) && body_limit(c) >= 0) {
		if (!http_is_in_thread(c) && http_put_may_block(req, true))
			return NETPOLL_THREAD;
		c->answered = !http_find_topic(req);
	}
	if ((flags & HTTP_MESSAGE_BODY) && req->content_length > 0 && body_limit(c) >= 0)
		req->message = message_body_new((size_t)req->content_length);
	c->discard_left = DISCARD_MAX;
	return go_to(c, c->answered ? HTTP_HANDLE : HTTP_BODY);
}

/* Reads as much of the body as the handler looks at. */
static enum netpoll_next read_body(struct http_conn *c)
{
	ssize_t rc = 0;
	if (c->match.route->flags & HTTP_DISCARDS_BODY)
		rc = http_body_discard(c, &c->discard_left);
	else if (body_limit(c) >= 0)
		rc = http_body_read(c, body_limit(c));
	if (rc == HTTP_IO_WAIT)
		return NETPOLL_WAIT;
	c->req.body_failed = rc < 0;
	return go_to(c, HTTP_HANDLE);
}

/* --- HANDLE ---------------------------------------------------------------------------------- */

/* http_api.Log */
static void log_request(struct http_conn *c, int status, int64_t elapsed_ns)
{
	char elapsed[32], from[128];
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
	address_format(&c->remote, from, sizeof(from));
	lg_logf(&c->server->daemon->ctx->lg, LG_INFO, "%d %s %s (%s) %s", status, c->head.method,
		uri.data, from, duration_format(elapsed_ns, elapsed, sizeof(elapsed)));
	strbuf_free(&uri);
}

/* While it runs it may wake pumps: their steps are taken when the answer has been sent. */
static void run_handler(struct http_conn *c)
{
	const struct http_route *route = c->match.route;
	bool logged = route->flags & HTTP_LOGGED;
	int64_t start = logged ? clock_mono_ns() : 0;
	if (!(route->flags & HTTP_PUBLISHES)) {
		http_io_take_steps(c);
	} else if (!c->keeps_tasks) {
		c->keeps_tasks = true;
		runnext_begin();
	}
	if (c->req.body_failed && (route->flags & HTTP_DISCARDS_BODY))
		http_respond_error(&c->req, 400, "INVALID_REQUEST"); /* NewReqParams */
	else if (!c->answered)
		route->handle(&c->req);
	if (logged)
		log_request(c, c->req.status, clock_mono_ns() - start);
	if (route->flags & HTTP_PLAIN_TEXT)
		http_answer_plain(c);
	else
		http_answer_v1(c);
}

/* Nothing of its body has been read: HTTP_ROUTE has gone to HTTP_HANDLE at once. */
static void answer_denied(struct http_conn *c)
{
	http_answer_denied(c);
	log_request(c, c->req.status, 0);
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

/* serverHandler.ServeHTTP */
static void answer(struct http_conn *c)
{
	struct http_server *s = c->server;
	if (c->head.expects_other)
		http_answer_expectation_failed(c);
	else if (c->head.is_server_target && strcmp(c->head.method, "OPTIONS") == 0)
		http_answer_global_options(c);
	else if (s->tls_required && !s->tls)
		http_answer_tls_required(c);
	else if (c->result != HTTP_ROUTE_FOUND)
		answer_routed(c);
	else if (c->access != HTTP_GRANTED)
		answer_denied(c);
	else
		run_handler(c);
}

/* The answer is made. */
static enum netpoll_next answer_next(struct http_conn *c)
{
	c->discard_left = HTTP_DISCARD_MAX + 1;
	return go_to(c, HTTP_REST);
}

static bool may_block(struct http_conn *c)
{
	if (!is_for_handler(c) || c->answered)
		return false;
	int flags = c->match.route->flags;
	if (flags & HTTP_PUBLISHES)
		return http_put_may_block(&c->req, !(flags & HTTP_MESSAGE_BODY));
	return !(flags & HTTP_QUICK);
}

static enum netpoll_next handle(struct http_conn *c)
{
	/* The daemon's exit has cut the body off: that is not the client's fault. */
	if (stopping(c) && c->req.body_failed)
		return go_to(c, HTTP_GOODBYE);
	/* From here on it does not depend on the client. */
	atomic_store_explicit(&c->credit_ns, INT64_MAX, memory_order_relaxed);
	if (!http_is_in_thread(c) && may_block(c))
		return NETPOLL_THREAD;
	answer(c);
	return answer_next(c);
}

/* --- REST and ANSWER ------------------------------------------------------------------------- */

/*
 * A client that sends all of its request before it reads must not wait for us while we wait for it.
 * So the rest of the body is read, unless it is too long.
 */
static enum netpoll_next read_rest(struct http_conn *c)
{
	ssize_t rc = 0;
	if (http_answer_keeps_body(c)) {
		bool too_long =
			c->body.kind == HTTP_BODY_LENGTH && c->body.left >= HTTP_DISCARD_MAX;
		rc = too_long ? 1 : http_body_discard(c, &c->discard_left);
	}
	if (rc == HTTP_IO_WAIT)
		return NETPOLL_WAIT;
	c->close = c->close || rc < 0;
	c->answer.is_too_early = rc > 0;
	return go_to(c, HTTP_ANSWER);
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
	reset_buffer(&c->out);
	reset_buffer(&c->made);
	http_body_end(c);
	req->message = NULL;
	req->type = NULL;
	req->body_len = 0;
	req->body_failed = false;
	c->answered = false;
	c->access = HTTP_GRANTED;
	c->match = (struct http_match){0};
}

static enum netpoll_next send_answer(struct http_conn *c)
{
	const size_t len = c->answer.len;
	http_begin_answer(c->server, len);
	http_answer_send(c);
	end_request(c);
	http_end_answer(len);
	http_head_reset(&c->head, c->req.method == HTTP_POST);
	c->has_served = true;
	c->served++;
	c->grace_ns = HTTP_GRACE_NS;
	http_io_begin_move(c);
	return go_to(c, c->close ? HTTP_GOODBYE : HTTP_HEAD);
}

/* --- GOODBYE and LINGER ---------------------------------------------------------------------- */

/*
 * With a short deadline: a client that does not read is not waited for. If nothing is left to be
 * read, the close of the socket says the same.
 */
static enum netpoll_next say_goodbye(struct http_conn *c)
{
	int64_t now = clock_mono_ns();
	bool close_does = !c->linger && c->drained && c->r == c->w;
	if (!c->send_failed && !close_does)
		c->stream->ops->close_write(
			c->stream, http_is_in_thread(c) ? now + LINGER_NS : STREAM_NOW);
	if (!c->linger)
		return NETPOLL_OVER;
	c->wait_until_ns = now + LINGER_NS;
	c->linger_end_ns = now + LINGER_MAX_NS;
	return go_to(c, HTTP_LINGER);
}

/*
 * Closing a socket with unread input resets the connection, which may destroy our last answer. So
 * input is still read, until the client is silent or closes. In that time it has no credit.
 */
static enum netpoll_next linger(struct http_conn *c)
{
	int64_t now = clock_mono_ns();
	while (now < c->linger_end_ns && !stopping(c)) {
		atomic_store_explicit(&c->credit_ns, now, memory_order_relaxed);
		ssize_t got = http_io_read_layer(c, c->sock, c->input, sizeof(c->input));
		now = clock_mono_ns();
		if (got == HTTP_IO_WAIT && now < c->wait_until_ns)
			return NETPOLL_WAIT;
		if (got <= 0)
			break;
		c->wait_until_ns = now + LINGER_NS;
	}
	return NETPOLL_OVER;
}

/* --- all of it ------------------------------------------------------------------------------- */

static enum netpoll_next take_transition(struct http_conn *c)
{
	static enum netpoll_next (*const states[])(struct http_conn * c) = {
		[HTTP_HANDSHAKE] = handshake,
		[HTTP_HEAD] = read_head,
		[HTTP_ROUTE] = route,
		[HTTP_BODY] = read_body,
		[HTTP_HANDLE] = handle,
		[HTTP_REST] = read_rest,
		[HTTP_ANSWER] = send_answer,
		[HTTP_GOODBYE] = say_goodbye,
		[HTTP_LINGER] = linger,
	};
	return states[c->state](c);
}

enum netpoll_next http_conn_step(struct http_conn *c, bool in_thread)
{
	enum netpoll_next next = GO_ON;
	http_set_in_thread(c, in_thread);
	c->busy = c->drained = false;
	c->taken = 0;
	c->served = 0;
	if (c->unsent)
		http_io_flush(c);
	while (next == GO_ON && !c->unsent)
		next = take_transition(c);
	http_io_take_steps(c);
	http_set_in_thread(c, false);
	return c->unsent || c->busy ? NETPOLL_THREAD : next;
}

bool http_conn_can_do_without(struct http_conn *c)
{
	if (!c->unsent)
		return c->state != HTTP_HANDSHAKE && c->state != HTTP_ROUTE &&
		       c->state != HTTP_HANDLE;
	http_io_flush(c);
	return !c->unsent;
}

bool http_conn_helps(const struct http_conn *c)
{
	return !c->unsent && c->state == HTTP_HANDLE && is_for_handler(c) &&
	       (c->match.route->flags & HTTP_HELPS);
}

bool http_conn_refuse(struct http_conn *c)
{
	if (c->unsent || c->state == HTTP_HANDSHAKE)
		return false;
	http_respond_error(&c->req, 503, "OUT_OF_THREADS");
	log_request(c, 503, 0);
	http_answer_v1(c);
	(void)answer_next(c);
	return true;
}

struct http_conn *http_conn_new(struct http_server *s, int fd, const union address *addr)
{
	struct http_conn *c = xcalloc(1, sizeof(*c));
	c->server = s;
	c->sock = c->stream = stream_sock_new(fd);
	c->state = s->tls ? HTTP_HANDSHAKE : HTTP_HEAD;
	c->wait_until_ns = s->tls ? clock_mono_ns() + HANDSHAKE_TIMEOUT_NS : 0;
	c->remote = *addr;
	http_head_init(&c->head, MAX_HEAD);
	c->req.daemon = s->daemon;
	c->req.ctx = s->daemon->ctx;
	http_io_begin_move(c);
	return c;
}

void http_conn_free(struct http_conn *c)
{
	c->stream->ops->free(c->stream);
	tls_config_unref(c->tls_config);
	end_request(c);
	http_head_free(&c->head);
	strbuf_free(&c->req.body);
	strbuf_free(&c->req.out);
	strbuf_free(&c->made);
	strbuf_free(&c->out);
	url_values_free(&c->req.query);
	free(c);
}
