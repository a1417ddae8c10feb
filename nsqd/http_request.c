/* SPDX-License-Identifier: MIT */
/*
 * A request, from its head to its answer: mirrors internal/http_api/http_server.go's
 * decorators, and the part of net/http that reads requests. Runs
 * in the connections' threads, called by libmicrohttpd.
 *
 * Different from Go: libmicrohttpd parses the head (what is none is refused by
 * http_refuse.c, where we get to know of it in time); a body that is too big is
 * read to its end (within reason) before it is refused, because closing on unread
 * data would destroy the answer on its way.
 */
#include "nsqd/http_server_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/chan.h"
#include "common/check.h"
#include "common/clock.h"
#include "nsqd/http.h"
#include "nsqd/http_refuse.h"
#include "nsqd/nsqd.h"

/* How much of a body that is too big is read and thrown away. */
#define DRAIN_MAX ((int64_t)64 * 1024 * 1024)
/* Buffers that grew beyond this are not kept from one request to the next. */
#define KEEP_BUFFER ((size_t)64 * 1024)

/* The one whose connection this thread is, as soon as it has sent the first line of a request. */
static _Thread_local struct http_conn *current;

/* --- a request ------------------------------------------------------------------------------ */

/* http_api.Log */
static void log_request(struct http_conn *c, int status, int64_t elapsed_ns)
{
	char elapsed[32];
	struct strbuf uri = STRBUF_INIT;
	if (!lg_enabled(&c->server->nsqd->lg, LG_INFO))
		return;
	url_add_escaped_path(&uri, &c->req.target);
	if (c->req.target.raw_query) {
		strbuf_addc(&uri, '?');
		strbuf_add(&uri, c->req.target.raw_query, c->req.target.raw_query_len);
	}
	lg_logf(&c->server->nsqd->lg, LG_INFO, "%d %s %s (%s) %s", status, c->method, uri.data,
		c->remote_addr, duration_format(elapsed_ns, elapsed, sizeof(elapsed)));
	strbuf_free(&uri);
}

static void run_handler(struct http_conn *c)
{
	const struct http_route *route = c->match.route;
	bool logged = route->flags & HTTP_LOGGED;
	int64_t start = logged ? clock_mono_ns() : 0;
	route->handle(&c->req);
	if (logged)
		log_request(c, c->req.status, clock_mono_ns() - start);
}

/* The whole request is there (or as much of it as is wanted): answers it. */
static enum MHD_Result finish_request(struct http_conn *c, struct MHD_Connection *mc)
{
	atomic_store(&c->handling, true);
	atomic_fetch_add(&c->server->answering, 1);
	c->counted = true;
	if (c->server->tls_required && !c->server->tls)
		return http_answer_tls_required(c, mc);
	switch (c->result) {
	case HTTP_ROUTE_FOUND:
		run_handler(c);
		return c->match.route->flags & HTTP_PLAIN_TEXT ? http_answer_plain(c, mc)
							       : http_answer_v1(c, mc);
	case HTTP_ROUTE_REDIRECT:
		return http_answer_redirect(c, mc);
	case HTTP_ROUTE_ALLOW:
		return http_answer_allow(c, mc);
	case HTTP_ROUTE_METHOD_NOT_ALLOWED:
		log_request(c, MHD_HTTP_METHOD_NOT_ALLOWED, 0);
		return http_answer_method_not_allowed(c, mc);
	case HTTP_ROUTE_NOT_FOUND:
		break;
	}
	http_respond_error(&c->req, MHD_HTTP_NOT_FOUND, "NOT_FOUND");
	log_request(c, MHD_HTTP_NOT_FOUND, 0);
	return http_answer_v1(c, mc);
}

static int64_t content_length(struct MHD_Connection *mc)
{
	const char *v = MHD_lookup_connection_value(mc, MHD_HEADER_KIND, "Content-Length");
	if (v)
		return strtoll(v, NULL, 10); /* libmicrohttpd has checked it */
	return MHD_lookup_connection_value(mc, MHD_HEADER_KIND, "Transfer-Encoding") ? -1 : 0;
}

/* What came is no request; says so in net/http's words. */
static void refuse_request(struct http_conn *c, const struct http_refusal *why)
{
	c->refused = true;
	http_refuse(c->fd, c->session, why);
	http_await_close(c->fd);
}

/* Is it a request? If not, it is refused. */
static bool check_request(struct http_conn *c, struct MHD_Connection *mc, const char *version)
{
	const struct http_refusal *why =
		url_parse_target(&c->req.target, c->uri.data, c->uri.len, &c->path)
			? http_check_head(mc, c->method, version)
			: &http_bad_request;
	if (why)
		refuse_request(c, why);
	return !why;
}

/* Where the request goes, and how much of its body is wanted. */
static void route_request(struct http_conn *c)
{
	struct http_request *req = &c->req;
	req->method = http_method_parse(c->method);
	c->limit = -1;
	if (req->method == HTTP_OPTIONS && c->uri.len == 1 && c->uri.data[0] == '*') {
		c->result = HTTP_ROUTE_ALLOW; /* net/http answers that itself, without Allow */
		return;
	}
	c->result = http_route_find(http_routes, http_n_routes, req->method, req->target.path,
		req->target.path_len, &c->match);
	if (c->result != HTTP_ROUTE_FOUND)
		return;
	req->param = c->match.param;
	req->param_len = c->match.param_len;
	if (c->match.route->body_limit)
		c->limit = c->match.route->body_limit(nsqd_get_opts(c->server->nsqd));
}

/* The head of a request is there. */
static enum MHD_Result begin_request(
	struct http_conn *c, struct MHD_Connection *mc, const char *method, const char *version)
{
	struct http_request *req = &c->req;
	c->begun = true;
	c->method = method;
	c->http_1_0 = strcmp(version, MHD_HTTP_VERSION_1_0) == 0;
	if (!c->adopted) {
		char name[160];
		snprintf(name, sizeof(name), "%s:%s", c->server->tls ? "https" : "http",
			c->remote_addr);
		gothread_adopt(name);
		c->adopted = true;
	}
	if (atomic_load(&c->server->stopping) ||
		(c->handshake && !handshake_succeeded(c->handshake)) ||
		!check_request(c, mc, version))
		return MHD_NO;
	route_request(c);
	req->content_length = content_length(mc);
	if (c->limit < 0)
		return MHD_YES;
	if (req->content_length > c->limit) {
		/* Who waits for our consent to send so much gets the answer in its place. */
		if (req->content_length - c->limit > DRAIN_MAX ||
			MHD_lookup_connection_value(mc, MHD_HEADER_KIND, "Expect"))
			return finish_request(c, mc);
	} else if (req->content_length > 0 && (c->match.route->flags & HTTP_MESSAGE_BODY)) {
		req->message = message_body_new((size_t)req->content_length);
	}
	return MHD_YES;
}

/* Keeps of the body what fits, and throws the rest away. */
static enum MHD_Result take_body(struct http_conn *c, const char *data, size_t len)
{
	struct http_request *req = &c->req;
	size_t room = c->limit < 0 ? 0 : (size_t)c->limit + 1 - req->body_len;
	size_t n = len < room ? len : room;
	atomic_store_explicit(&c->last_active, clock_mono_ns(), memory_order_relaxed);
	if (n > 0 && req->message) {
		CHECK(n <= req->message->len - req->body_len);
		memcpy(req->message->data + req->body_len, data, n);
	} else if (n > 0) {
		strbuf_add(&req->body, data, n);
	}
	req->body_len += n;
	c->thrown_away += (int64_t)(len - n);
	return c->limit >= 0 && c->thrown_away > DRAIN_MAX ? MHD_NO : MHD_YES;
}

/*
 * MHD_AccessHandlerCallback: once with the head, then with each part of the body, then at its end.
 */
enum MHD_Result http_handle_access(void *cls, struct MHD_Connection *mc, const char *url,
	const char *method, const char *version, const char *upload_data, size_t *upload_data_size,
	void **req_cls)
{
	(void)cls;
	(void)url;
	struct http_conn *c = *req_cls;
	if (!c->begun)
		return begin_request(c, mc, method, version);
	if (*upload_data_size == 0)
		return finish_request(c, mc);
	size_t len = *upload_data_size;
	*upload_data_size = 0;
	return take_body(c, upload_data, len);
}

/* The target before libmicrohttpd decodes it; what it returns is the request's *req_cls. */
void *http_handle_uri(void *cls, const char *uri, struct MHD_Connection *mc)
{
	(void)cls;
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(mc, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
	struct http_conn *c = info->socket_context;
	current = c;
	if (c->handshake)
		handshake_asked(c->handshake);
	strbuf_reset(&c->uri);
	strbuf_adds(&c->uri, uri);
	atomic_store_explicit(&c->last_active, clock_mono_ns(), memory_order_relaxed);
	return c;
}

/* We decode ourselves, so that bad escapes can be refused as Go does. */
size_t http_leave_escaped(void *cls, struct MHD_Connection *mc, char *s)
{
	(void)cls;
	(void)mc;
	return strlen(s);
}

static void reset_buffer(struct strbuf *sb)
{
	if (sb->cap > KEEP_BUFFER)
		strbuf_free(sb);
	else
		strbuf_reset(sb);
}

/* MHD_RequestCompletedCallback: answered, or broken off. */
void http_request_completed(
	void *cls, struct MHD_Connection *mc, void **req_cls, enum MHD_RequestTerminationCode toe)
{
	(void)mc;
	(void)toe;
	struct http_server *s = cls;
	struct http_conn *c = *req_cls;
	struct http_request *req = &c->req;
	if (req->message)
		message_body_unref(req->message);
	strbuf_free(&c->match.redirect_path);
	reset_buffer(&req->body);
	reset_buffer(&req->out);
	req->message = NULL;
	req->body_len = 0;
	req->param = NULL;
	req->target = (struct url_target){0};
	c->match = (struct http_match){0};
	c->begun = false;
	c->thrown_away = 0;
	atomic_store(&c->handling, false);
	if (!c->counted)
		return;
	c->counted = false;
	if (atomic_fetch_sub(&s->answering, 1) == 1 && atomic_load(&s->stopping))
		chan_try_send_n(s->answered_chan, "", 1);
}

/* --- what is none --------------------------------------------------------------------------- */

/*
 * libmicrohttpd is about to answer what it cannot parse. That is the last moment to do so in
 * net/http's words. (Whose thread this is, is known: over TLS since its handshake,
 * else the first line has been looked at by http_newcomers.c.)
 */
bool http_refuse_malformed(const char *fmt, va_list ap)
{
	static const char complaint[] = "Error processing request (HTTP response code is %u";
	if (current && current->refused)
		return true;
	if (strncmp(fmt, complaint, sizeof(complaint) - 1) != 0)
		return false;
	const struct http_refusal *why = http_refusal_for(va_arg(ap, unsigned));
	if (!current)
		return handshake_refuse(why);
	/* A body that is none: its handler may have begun. */
	if (current->begun)
		return false;
	refuse_request(current, why);
	return true;
}
