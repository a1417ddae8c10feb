/* SPDX-License-Identifier: MIT */
/*
 * The HTTP server: mirrors internal/http_api (http_server.go, api_response.go,
 * req_params.go), on libmicrohttpd in place of net/http. Threads: "http"
 * accepts; libmicrohttpd has one that starts and joins the connections' threads
 * "http:ADDR", in which everything else here runs.
 *
 * Different from Go: libmicrohttpd parses the head of a request (what is none is
 * refused by http_refuse.c, where we get to know of it in time); a connection is a
 * thread, so their number is limited, and at the limit the one that has been idle
 * longest makes room (by us: libmicrohttpd 0.9.75 deadlocks when it reaches a
 * limit of its own); a body that is too big is read to its end (within reason)
 * before it is refused, because closing on unread data would destroy the answer
 * on its way.
 */
#include "nsqd/http_server.h"

#include <limits.h>
#include <microhttpd.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include <utlist.h>

#include "common/chan.h"
#include "common/check.h"
#include "common/clock.h"
#include "common/gothread.h"
#include "common/lock.h"
#include "common/sanitize.h"
#include "common/xalloc.h"
#include "nsqd/http.h"
#include "nsqd/http_refuse.h"
#include "nsqd/https.h"
#include "nsqd/nsqd.h"
#include "nsqd/tls_config.h"
#include "protocol/tcp_server.h"

/* Handlers keep little on the stack; sanitizers need several times that. */
#if SANITIZE_THREAD || SANITIZE_ADDRESS
#define STACK_SIZE ((size_t)1024 * 1024)
#else
#define STACK_SIZE ((size_t)192 * 1024)
#endif

/* A handshake computes with big numbers, some of them on the stack. */
#define TLS_STACK_SIZE (STACK_SIZE + (size_t)192 * 1024)

/*
 * libmicrohttpd's buffer per connection: bounds the head of a request, and is what a body is read
 * through.
 */
#define CONNECTION_MEMORY ((size_t)32 * 1024)
/* Connections at once: half of the descriptors, within these bounds. */
#define MIN_CONNECTIONS 64
#define MAX_CONNECTIONS 8192
/* Beyond the limit until those that make room are gone. */
#define SPARE_CONNECTIONS 16
/* Nobody who did something so recently makes room. */
#define EVICT_IDLE_NS (2 * NSEC_PER_SEC)
/* Between two log lines about the limit. */
#define LIMIT_LOG_NS NSEC_PER_SEC
/* How much of a body that is too big is read and thrown away. */
#define DRAIN_MAX ((int64_t)64 * 1024 * 1024)
/* How long stop waits for answers under way, and for TLS connections to end. */
#define STOP_WAIT_NS NSEC_PER_SEC
#define GOODBYE_WAIT_NS (NSEC_PER_SEC / 2)
/* Buffers that grew beyond this are not kept from one request to the next. */
#define KEEP_BUFFER ((size_t)64 * 1024)

#define TEXT_PLAIN "text/plain; charset=utf-8"
#define TEXT_HTML "text/html; charset=utf-8"
#define APPLICATION_JSON "application/json; charset=utf-8"

struct http_server {
	struct nsqd *nsqd;             /* immutable */
	const char *proto;             /* immutable; "HTTP", "HTTPS" */
	const struct tls_config *tls;  /* immutable; NULL: HTTP */
	struct handshakes *handshakes; /* immutable; NULL likewise */
	bool tls_required;             /* immutable */
	struct tcp_listener listener;  /* immutable until free */
	struct tcp_server_loop loop;   /* its own synchronisation */
	bool started;                  /* main thread only */
	struct wait_group wait_group;  /* the accept thread */
	struct MHD_Daemon *daemon;     /* immutable once started */
	struct MHD_Response *ok;       /* immutable: the answers that need no building */
	struct MHD_Response *empty;    /* immutable */
	struct MHD_Response *plain_ok; /* immutable */

	struct mutex conns_lock;
	struct conn *conns;     /* guarded by conns_lock; utlist */
	size_t n_conns;         /* guarded by conns_lock; from accept on */
	size_t max_conns;       /* immutable */
	size_t refused;         /* accept thread: since the last line about it */
	int64_t refused_logged; /* accept thread; monotonic */

	_Atomic bool stopping;
	_Atomic int answering;      /* requests between their handler and their last byte */
	struct chan *answered_chan; /* immutable; capacity 1: answering has become 0 */
	struct chan *closed_chan;   /* immutable; capacity 1: n_conns has become 0 */
};

/* A connection, and the request that it is at. Its own thread's, where nothing else is said. */
struct conn {
	struct conn *prev, *next;    /* guarded by conns_lock */
	struct http_server *server;  /* immutable */
	int fd;                      /* immutable; libmicrohttpd's, open while we are in conns */
	struct handshake *handshake; /* immutable; NULL: HTTP */
	gnutls_session_t session;    /* immutable; NULL: HTTP */
	char remote_addr[128];       /* immutable */
	_Atomic int64_t last_active; /* monotonic */
	_Atomic bool handling;       /* in a handler: makes no room */
	bool adopted;                /* its thread has its name */
	bool refused;                /* what came last was no request: nothing more is said */

	struct strbuf uri;  /* the target as sent */
	struct strbuf path; /* decoded */
	bool begun;         /* the head has been looked at */
	bool counted;       /* in answering */
	bool http_1_0;      /* so is the answer, then */
	const char *method; /* libmicrohttpd's, for the length of the request */
	int64_t limit;      /* of the body; -1: thrown away */
	int64_t thrown_away;
	enum http_route_result result;
	struct http_match match;
	struct http_request req;
};

/* The one whose connection this thread is, as soon as it has sent the first line of a request. */
static _Thread_local struct conn *current;

/* --- what handlers call -------------------------------------------------------------------- */

bool http_parse_query(struct http_request *req)
{
	return url_parse_query(&req->query, req->target.raw_query ? req->target.raw_query : "",
		req->target.raw_query_len);
}

const char *http_body(const struct http_request *req)
{
	return req->message ? req->message->data : req->body.data;
}

struct message_body *http_take_body(struct http_request *req)
{
	struct message_body *b = req->message;
	if (b && b->len == req->body_len) {
		req->message = NULL;
		return b;
	}
	b = message_body_new(req->body_len);
	memcpy(b->data, http_body(req), req->body_len);
	return b;
}

void http_respond_text(struct http_request *req, const char *text)
{
	req->status = MHD_HTTP_OK;
	req->is_json = false;
	req->text = text;
}

void http_respond_out(struct http_request *req, bool is_json)
{
	req->status = MHD_HTTP_OK;
	req->is_json = is_json;
	req->text = NULL;
}

void http_respond_error(struct http_request *req, int status, const char *text)
{
	req->status = status;
	req->is_json = false;
	req->text = NULL;
	strbuf_reset(&req->out);
	strbuf_adds(&req->out, text);
}

/* --- responses ----------------------------------------------------------------------------- */

static void add_header(struct MHD_Response *r, const char *name, const char *value)
{
	CHECK(MHD_add_response_header(r, name, value) == MHD_YES);
}

/*
 * A body of no bytes has no type, as with net/http, which guesses the type from
 * the body. c is NULL for an answer that is used many times.
 */
static struct MHD_Response *new_response(const struct conn *c, const char *data, size_t len,
	enum MHD_ResponseMemoryMode mode, const char *type, bool v1)
{
	struct MHD_Response *r = MHD_create_response_from_buffer(len, (void *)data, mode);
	CHECK(r); /* no memory */
	if (c && c->http_1_0)
		MHD_set_response_options(r, MHD_RF_HTTP_1_0_SERVER, MHD_RO_END);
	if (len > 0)
		add_header(r, "Content-Type", type);
	if (v1)
		add_header(r, "X-Nsq-Content-Type", "nsq; version=1.0");
	return r;
}

static enum MHD_Result queue(struct MHD_Connection *mc, int status, struct MHD_Response *r)
{
	enum MHD_Result rc = MHD_queue_response(mc, (unsigned)status, r);
	MHD_destroy_response(r); /* our reference */
	return rc;
}

/* Queues what is in out, which is given away. */
static enum MHD_Result queue_out(struct conn *c, struct MHD_Connection *mc, int status,
	struct strbuf *out, const char *type, bool v1)
{
	size_t len = out->len;
	char *data = strbuf_detach(out);
	return queue(mc, status, new_response(c, data, len, MHD_RESPMEM_MUST_FREE, type, v1));
}

/* A static text. The usual ones need no building. */
static enum MHD_Result queue_text(
	struct conn *c, struct MHD_Connection *mc, const char *text, bool v1)
{
	struct http_server *s = c->server;
	if (!c->http_1_0 && strcmp(text, "OK") == 0)
		return MHD_queue_response(mc, MHD_HTTP_OK, v1 ? s->ok : s->plain_ok);
	if (!c->http_1_0 && !*text && v1)
		return MHD_queue_response(mc, MHD_HTTP_OK, s->empty);
	return queue(mc, MHD_HTTP_OK,
		new_response(c, text, strlen(text), MHD_RESPMEM_PERSISTENT, TEXT_PLAIN, v1));
}

/* http_api.RespondV1 */
static enum MHD_Result respond_v1(struct conn *c, struct MHD_Connection *mc)
{
	struct http_request *req = &c->req;
	if (req->status == MHD_HTTP_OK && req->text)
		return queue_text(c, mc, req->text, true);
	if (req->status == MHD_HTTP_OK)
		return queue_out(c, mc, req->status, &req->out,
			req->is_json ? APPLICATION_JSON : TEXT_PLAIN, true);
	struct strbuf json = STRBUF_INIT;
	strbuf_adds(&json, "{\"message\":");
	strbuf_add_json(&json, req->out.data, req->out.len);
	strbuf_addc(&json, '}');
	return queue_out(c, mc, req->status, &json, APPLICATION_JSON, true);
}

/* http_api.PlainText */
static enum MHD_Result respond_plain(struct conn *c, struct MHD_Connection *mc)
{
	struct http_request *req = &c->req;
	if (req->text)
		return queue_text(c, mc, req->text, false);
	return queue_out(c, mc, req->status, &req->out, TEXT_PLAIN, false);
}

static enum MHD_Result respond_tls_required(struct conn *c, struct MHD_Connection *mc)
{
	struct http_server *https = c->server->nsqd->https_server;
	struct strbuf json = STRBUF_INIT;
	strbuf_addf(&json, "{\"message\": \"TLS_REQUIRED\", \"https_port\": %d}",
		https ? http_server_port(https) : 0);
	return queue_out(c, mc, MHD_HTTP_FORBIDDEN, &json, APPLICATION_JSON, true);
}

/* template.HTMLEscape as http.Redirect uses it */
static void add_html_escaped(struct strbuf *out, const char *s)
{
	for (; *s; s++) {
		const char *esc = *s == '&'    ? "&amp;"
				  : *s == '<'  ? "&lt;"
				  : *s == '>'  ? "&gt;"
				  : *s == '"'  ? "&#34;"
				  : *s == '\'' ? "&#39;"
					       : NULL;
		if (esc)
			strbuf_adds(out, esc);
		else
			strbuf_addc(out, *s);
	}
}

/* URL.String() with the path of the redirect. */
static void add_redirect_url(struct strbuf *out, const struct conn *c)
{
	struct strbuf clean = STRBUF_INIT;
	url_clean_path(&clean, c->match.redirect_path.data, c->match.redirect_path.len);
	url_escape_path(out, clean.data, clean.len);
	strbuf_free(&clean);
	if (!c->req.target.raw_query)
		return;
	strbuf_addc(out, '?');
	strbuf_add(out, c->req.target.raw_query, c->req.target.raw_query_len);
}

/* hexEscapeNonASCII */
static void add_ascii(struct strbuf *out, const char *s)
{
	for (; *s; s++) {
		if ((unsigned char)*s < 0x80)
			strbuf_addc(out, *s);
		else
			strbuf_addf(out, "%%%02x", (unsigned char)*s);
	}
}

/* http.Redirect */
static enum MHD_Result respond_redirect(struct conn *c, struct MHD_Connection *mc)
{
	bool get = c->req.method == HTTP_GET;
	struct strbuf url = STRBUF_INIT, location = STRBUF_INIT, html = STRBUF_INIT;
	add_redirect_url(&url, c);
	add_ascii(&location, url.data);
	if (get) {
		strbuf_adds(&html, "<a href=\"");
		add_html_escaped(&html, url.data);
		strbuf_adds(&html, "\">Moved Permanently</a>.\n\n");
	}
	strbuf_free(&url);
	size_t len = html.len;
	struct MHD_Response *r =
		new_response(c, strbuf_detach(&html), len, MHD_RESPMEM_MUST_FREE, TEXT_HTML, false);
	add_header(r, "Location", location.data);
	strbuf_free(&location);
	return queue(mc, get ? MHD_HTTP_MOVED_PERMANENTLY : MHD_HTTP_TEMPORARY_REDIRECT, r);
}

static enum MHD_Result respond_allow(struct conn *c, struct MHD_Connection *mc)
{
	struct MHD_Response *r = new_response(c, "", 0, MHD_RESPMEM_PERSISTENT, NULL, false);
	if (*c->match.allow)
		add_header(r, "Allow", c->match.allow);
	return queue(mc, MHD_HTTP_OK, r);
}

static enum MHD_Result respond_method_not_allowed(struct conn *c, struct MHD_Connection *mc)
{
	static const char json[] = "{\"message\":\"METHOD_NOT_ALLOWED\"}";
	struct MHD_Response *r = new_response(
		c, json, sizeof(json) - 1, MHD_RESPMEM_PERSISTENT, APPLICATION_JSON, true);
	add_header(r, "Allow", c->match.allow);
	return queue(mc, MHD_HTTP_METHOD_NOT_ALLOWED, r);
}

/* --- a request ------------------------------------------------------------------------------ */

/* http_api.Log */
static void log_request(struct conn *c, int status, int64_t elapsed_ns)
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

static void run_handler(struct conn *c)
{
	const struct http_route *route = c->match.route;
	bool logged = route->flags & HTTP_LOGGED;
	int64_t start = logged ? clock_mono_ns() : 0;
	route->handle(&c->req);
	if (logged)
		log_request(c, c->req.status, clock_mono_ns() - start);
}

/* The whole request is there (or as much of it as is wanted): answers it. */
static enum MHD_Result finish_request(struct conn *c, struct MHD_Connection *mc)
{
	atomic_store(&c->handling, true);
	atomic_fetch_add(&c->server->answering, 1);
	c->counted = true;
	if (c->server->tls_required && !c->server->tls)
		return respond_tls_required(c, mc);
	switch (c->result) {
	case HTTP_ROUTE_FOUND:
		run_handler(c);
		return c->match.route->flags & HTTP_PLAIN_TEXT ? respond_plain(c, mc)
							       : respond_v1(c, mc);
	case HTTP_ROUTE_REDIRECT:
		return respond_redirect(c, mc);
	case HTTP_ROUTE_ALLOW:
		return respond_allow(c, mc);
	case HTTP_ROUTE_METHOD_NOT_ALLOWED:
		log_request(c, MHD_HTTP_METHOD_NOT_ALLOWED, 0);
		return respond_method_not_allowed(c, mc);
	case HTTP_ROUTE_NOT_FOUND:
		break;
	}
	http_respond_error(&c->req, MHD_HTTP_NOT_FOUND, "NOT_FOUND");
	log_request(c, MHD_HTTP_NOT_FOUND, 0);
	return respond_v1(c, mc);
}

static int64_t content_length(struct MHD_Connection *mc)
{
	const char *v = MHD_lookup_connection_value(mc, MHD_HEADER_KIND, "Content-Length");
	if (v)
		return strtoll(v, NULL, 10); /* libmicrohttpd has checked it */
	return MHD_lookup_connection_value(mc, MHD_HEADER_KIND, "Transfer-Encoding") ? -1 : 0;
}

/* What came is no request; says so in net/http's words. */
static void refuse_request(struct conn *c, const struct http_refusal *why)
{
	c->refused = true;
	http_refuse(c->fd, c->session, why);
	http_await_close(c->fd);
}

/* Is it a request? If not, it is refused. */
static bool check_request(struct conn *c, struct MHD_Connection *mc, const char *version)
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
static void route_request(struct conn *c)
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
	struct conn *c, struct MHD_Connection *mc, const char *method, const char *version)
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
static enum MHD_Result take_body(struct conn *c, const char *data, size_t len)
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
static enum MHD_Result handle_access(void *cls, struct MHD_Connection *mc, const char *url,
	const char *method, const char *version, const char *upload_data, size_t *upload_data_size,
	void **req_cls)
{
	(void)cls;
	(void)url;
	struct conn *c = *req_cls;
	if (!c->begun)
		return begin_request(c, mc, method, version);
	if (*upload_data_size == 0)
		return finish_request(c, mc);
	size_t len = *upload_data_size;
	*upload_data_size = 0;
	return take_body(c, upload_data, len);
}

/* The target before libmicrohttpd decodes it; what it returns is the request's *req_cls. */
static void *handle_uri(void *cls, const char *uri, struct MHD_Connection *mc)
{
	(void)cls;
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(mc, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
	struct conn *c = info->socket_context;
	current = c;
	if (c->handshake)
		handshake_asked(c->handshake);
	strbuf_reset(&c->uri);
	strbuf_adds(&c->uri, uri);
	atomic_store_explicit(&c->last_active, clock_mono_ns(), memory_order_relaxed);
	return c;
}

/* We decode ourselves, so that bad escapes can be refused as Go does. */
static size_t leave_escaped(void *cls, struct MHD_Connection *mc, char *s)
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
static void request_completed(
	void *cls, struct MHD_Connection *mc, void **req_cls, enum MHD_RequestTerminationCode toe)
{
	(void)mc;
	(void)toe;
	struct http_server *s = cls;
	struct conn *c = *req_cls;
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

/* --- connections ---------------------------------------------------------------------------- */

/*
 * Over the limit: whoever has done nothing for longest goes. conns_lock keeps its descriptor open.
 */
static void evict_locked(struct http_server *s)
{
	struct conn *oldest = NULL;
	int64_t before = clock_mono_ns() - EVICT_IDLE_NS;
	for (struct conn *c = s->conns; c; c = c->next) {
		int64_t last = atomic_load_explicit(&c->last_active, memory_order_relaxed);
		if (last < before && !atomic_load(&c->handling)) {
			oldest = c;
			before = last;
		}
	}
	if (!oldest)
		return;
	atomic_store_explicit(&oldest->last_active, INT64_MAX, memory_order_relaxed);
	shutdown(oldest->fd, SHUT_RDWR);
}

/* In libmicrohttpd's own thread, before the connection has one. */
static void connection_started(struct http_server *s, struct MHD_Connection *mc, void **socket_cls)
{
	struct conn *c = xcalloc(1, sizeof(*c));
	c->server = s;
	c->fd = MHD_get_connection_info(mc, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
	const void *addr =
		MHD_get_connection_info(mc, MHD_CONNECTION_INFO_CLIENT_ADDRESS)->client_addr;
	address_format(addr, c->remote_addr, sizeof(c->remote_addr));
	atomic_init(&c->last_active, clock_mono_ns());
	c->req.nsqd = s->nsqd;
	c->req.remote_addr = c->remote_addr;
	if (s->tls) {
		c->session = MHD_get_connection_info(mc, MHD_CONNECTION_INFO_GNUTLS_SESSION)
				     ->tls_session;
		c->handshake = handshake_new(s->handshakes, c->session, c->fd, c->remote_addr);
	}
	*socket_cls = c;
	mutex_lock(&s->conns_lock);
	DL_APPEND(s->conns, c);
	if (s->tls && atomic_load(&s->stopping))
		shutdown(c->fd, SHUT_RD); /* as say_goodbye does */
	mutex_unlock(&s->conns_lock);
}

/* Likewise; its thread has been joined, its descriptor is still open. */
static void connection_closed(struct http_server *s, struct conn *c)
{
	mutex_lock(&s->conns_lock);
	DL_DELETE(s->conns, c);
	bool last = --s->n_conns == 0;
	mutex_unlock(&s->conns_lock);
	if (last && atomic_load(&s->stopping))
		chan_try_send_n(s->closed_chan, "", 1);
	handshake_free(c->handshake);
	CHECK(!c->req.message); /* request_completed comes first */
	strbuf_free(&c->uri);
	strbuf_free(&c->path);
	strbuf_free(&c->req.body);
	strbuf_free(&c->req.out);
	url_values_free(&c->req.query);
	free(c);
}

static void notify_connection(void *cls, struct MHD_Connection *mc, void **socket_cls,
	enum MHD_ConnectionNotificationCode toe)
{
	if (toe == MHD_CONNECTION_NOTIFY_STARTED)
		connection_started(cls, mc, socket_cls);
	else
		connection_closed(cls, *socket_cls);
}

/* Accept thread: is there room for one more, or can there be? */
static bool make_room(struct http_server *s)
{
	mutex_lock(&s->conns_lock);
	if (s->n_conns >= s->max_conns)
		evict_locked(s);
	bool room = s->n_conns < s->max_conns + SPARE_CONNECTIONS;
	if (room)
		s->n_conns++;
	mutex_unlock(&s->conns_lock);
	return room;
}

static void refuse(struct http_server *s, int fd)
{
	int64_t now = clock_mono_ns();
	close(fd);
	s->refused++;
	if (now - s->refused_logged < LIMIT_LOG_NS)
		return;
	nsqd_logf(s->nsqd, LG_WARN, "%s: %zu connections are too many, %zu refused", s->proto,
		s->max_conns, s->refused);
	s->refused = 0;
	s->refused_logged = now;
}

/* tcp_handler.accepted: libmicrohttpd owns the socket, also when it fails. */
static void handle_accepted(void *arg, int fd, const union address *addr)
{
	struct http_server *s = arg;
	if (!make_room(s)) {
		refuse(s, fd);
	} else if (MHD_add_connection(s->daemon, fd, &addr->sa, sizeof(*addr)) != MHD_YES) {
		/* (All of the address, since its zeros are needed to format it again.) */
		mutex_lock(&s->conns_lock);
		s->n_conns--;
		mutex_unlock(&s->conns_lock);
	}
}

/* --- the server ------------------------------------------------------------------------------ */

/*
 * It is about to answer what it cannot parse. That is the last moment to do so in
 * net/http's words, where we know whose thread this is. (On a plain connection we
 * do not before the first line of the first request has been parsed.)
 */
static bool refuse_malformed(const char *fmt, va_list ap)
{
	static const char complaint[] = "Error processing request (HTTP response code is %u";
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

static void log_mhd(void *cls, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));

/* What libmicrohttpd has to say; net/http says such things at the same level. */
static void log_mhd(void *cls, const char *fmt, va_list ap)
{
	struct http_server *s = cls;
	struct strbuf text = STRBUF_INIT;
	if (handshake_complaint() || (current && current->refused))
		return;
	va_list args;
	va_copy(args, ap);
	bool refused = refuse_malformed(fmt, args);
	va_end(args);
	if (refused)
		return;
	strbuf_vaddf(&text, fmt, ap);
	while (text.len > 0 && text.data[text.len - 1] == '\n')
		text.data[--text.len] = '\0';
	/*
	 * When we stop, what it complains about is our doing; and a unix socket has no TCP options.
	 */
	bool known = atomic_load(&s->stopping) || s->listener.port < 0;
	lg_logf(&s->nsqd->lg, known ? LG_DEBUG : LG_WARN, "%s: %s", s->proto, text.data);
	strbuf_free(&text);
}

static _Noreturn void mhd_panic(void *cls, const char *file, unsigned int line, const char *reason)
{
	(void)cls;
	check_failed(file, (int)line, "libmicrohttpd: %s", reason ? reason : "");
}

/* HTTPS has half as many, so that both together leave some for the rest. */
static size_t connection_limit(bool tls)
{
	struct rlimit files;
	size_t n = MAX_CONNECTIONS;
	if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur / 2 < n)
		n = (size_t)files.rlim_cur / 2;
	n = tls ? n / 2 : n;
	return n < MIN_CONNECTIONS ? MIN_CONNECTIONS : n;
}

struct http_server *http_server_new(struct nsqd *n, const char *address,
	const struct tls_config *tls, bool tls_required, struct err *err)
{
	struct http_server *s = xcalloc(1, sizeof(*s));
	s->nsqd = n;
	s->proto = tls ? "HTTPS" : "HTTP";
	s->tls = tls;
	s->tls_required = tls_required;
	s->max_conns = connection_limit(tls != NULL);
	if ((tls ? tcp_listen_no_unix : tcp_listen)(&s->listener, address, err) != 0) {
		free(s);
		return NULL;
	}
	struct tcp_handler h = {
		.accepted = handle_accepted, .arg = s, .lg = &n->lg, .proto = s->proto};
	if (tcp_server_init(&s->loop, &s->listener, &h, err) != 0) {
		tcp_listener_close(&s->listener);
		free(s);
		return NULL;
	}
	mutex_init(&s->conns_lock, RANK_LEAF);
	wait_group_init(&s->wait_group);
	if (tls)
		s->handshakes = handshakes_new(&tls->server, &n->lg);
	s->answered_chan = chan_new(0, 1);
	s->closed_chan = chan_new(0, 1);
	s->ok = new_response(NULL, "OK", 2, MHD_RESPMEM_PERSISTENT, TEXT_PLAIN, true);
	s->empty = new_response(NULL, "", 0, MHD_RESPMEM_PERSISTENT, NULL, true);
	s->plain_ok = new_response(NULL, "OK", 2, MHD_RESPMEM_PERSISTENT, TEXT_PLAIN, false);
	return s;
}

static void accept_loop(void *arg)
{
	struct http_server *s = arg;
	struct err err;
	if (tcp_server_run(&s->loop, &err) == 0)
		return;
	nsqd_logf(s->nsqd, LG_FATAL, "http.Serve() error - %s", err.msg);
	/* As in stock, the daemon does not go on with an ear less. */
	atomic_store(&s->nsqd->main_failed, true);
	kill(getpid(), SIGTERM);
}

/* Its threads, which wait for what we give it. */
static struct MHD_Daemon *start_daemon(struct http_server *s)
{
	unsigned flags = MHD_USE_THREAD_PER_CONNECTION | MHD_USE_INTERNAL_POLLING_THREAD |
			 MHD_USE_POLL | MHD_USE_ITC | MHD_USE_NO_LISTEN_SOCKET | MHD_USE_ERROR_LOG;
	struct MHD_OptionItem none[] = {{MHD_OPTION_END, 0, NULL}};
	struct MHD_OptionItem tls[] = {
		{MHD_OPTION_HTTPS_MEM_CERT, 0, s->tls ? s->tls->cert_pem : NULL},
		{MHD_OPTION_HTTPS_MEM_KEY, 0, s->tls ? s->tls->key_pem : NULL},
		{MHD_OPTION_HTTPS_PRIORITIES, 0, s->tls ? s->tls->priority : NULL},
		{MHD_OPTION_TLS_NO_ALPN, 1, NULL}, /* stock offers no protocols */
		{MHD_OPTION_END, 0, NULL},
	};
	MHD_set_panic_func(mhd_panic, NULL);
	return MHD_start_daemon(flags | (s->tls ? MHD_USE_TLS : 0), 0, NULL, NULL, handle_access, s,
		MHD_OPTION_EXTERNAL_LOGGER, log_mhd, s, MHD_OPTION_NOTIFY_CONNECTION,
		notify_connection, s, MHD_OPTION_NOTIFY_COMPLETED, request_completed, s,
		MHD_OPTION_URI_LOG_CALLBACK, handle_uri, s, MHD_OPTION_UNESCAPE_CALLBACK,
		leave_escaped, s, MHD_OPTION_CONNECTION_MEMORY_LIMIT, CONNECTION_MEMORY,
		MHD_OPTION_CONNECTION_LIMIT, UINT_MAX, MHD_OPTION_THREAD_STACK_SIZE,
		s->tls ? TLS_STACK_SIZE : STACK_SIZE, MHD_OPTION_ARRAY, s->tls ? tls : none,
		MHD_OPTION_END);
}

int http_server_start(struct http_server *s, struct err *err)
{
	s->daemon = start_daemon(s);
	if (!s->daemon)
		return err_set(err, 0, "%s: libmicrohttpd cannot start a thread", s->proto);
	const char *name = s->tls ? "https" : "http";
	if ((s->tls && handshakes_start(s->handshakes, err) != 0) ||
		wait_group_wrap(&s->wait_group, name, accept_loop, s, err) != 0) {
		MHD_stop_daemon(s->daemon);
		s->daemon = NULL;
		return -1;
	}
	s->started = true;
	return 0;
}

static void wait_a_while(struct chan *for_chan, int64_t timeout_ns)
{
	struct ticker timeout;
	ticker_after(&timeout, timeout_ns);
	struct chan_case cases[] = {
		chan_case_recv(for_chan, NULL),
		chan_case_tick(&timeout),
	};
	chan_select(cases, 2);
}

/*
 * Connections that wait for their next request are simply closed; answers under way get a moment.
 */
static void wait_for_answers(struct http_server *s)
{
	atomic_store(&s->stopping, true);
	if (atomic_load(&s->answering) > 0)
		wait_a_while(s->answered_chan, STOP_WAIT_NS);
}

/*
 * libmicrohttpd would close them without TLS's close-notify. A thread that sees
 * the end of its input sends one.
 */
static void say_goodbye(struct http_server *s)
{
	struct conn *c;
	mutex_lock(&s->conns_lock);
	DL_FOREACH (s->conns, c)
		shutdown(c->fd, SHUT_RD);
	bool any = s->n_conns > 0;
	mutex_unlock(&s->conns_lock);
	if (any)
		wait_a_while(s->closed_chan, GOODBYE_WAIT_NS);
}

void http_server_stop(struct http_server *s)
{
	if (!s->started)
		return;
	s->started = false;
	tcp_server_stop(&s->loop);
	wait_group_wait(&s->wait_group);
	/* Who comes now is told so, instead of waiting until the daemon has ended. */
	tcp_listener_close(&s->listener);
	wait_for_answers(s);
	if (s->tls) {
		handshakes_stop(s->handshakes);
		say_goodbye(s);
	}
	MHD_stop_daemon(s->daemon);
	s->daemon = NULL;
}

void http_server_free(struct http_server *s)
{
	if (!s)
		return;
	CHECK(!s->daemon);
	MHD_destroy_response(s->ok);
	MHD_destroy_response(s->empty);
	MHD_destroy_response(s->plain_ok);
	if (s->handshakes)
		handshakes_stop(s->handshakes);
	handshakes_free(s->handshakes);
	tcp_server_destroy(&s->loop);
	tcp_listener_close(&s->listener);
	wait_group_destroy(&s->wait_group);
	mutex_destroy(&s->conns_lock);
	chan_free(s->answered_chan);
	chan_free(s->closed_chan);
	free(s);
}

int http_server_port(const struct http_server *s)
{
	return s->listener.port;
}
