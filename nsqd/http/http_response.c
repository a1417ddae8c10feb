/* SPDX-License-Identifier: MIT */
/*
 * The answers of handlers, as bytes. Mirrors internal/http_api/api_response.go, and below it
 * chunkWriter.writeHeader of net/http's server.go. The latter decides what an answer's head says
 * and whether the connection stays. Runs at the pollers, and in the connections' threads.
 *
 * An answer is made when the handler has run (c->answer), and sent when the rest of the request's
 * body has been dealt with: its head says what becomes of the connection.
 */
#include "nsqd/http/http_response.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "common/clock.h"
#include "nsqd/http/http_internal.h"
#include "nsqd/http/http_io.h"

/* --- an answer ------------------------------------------------------------------------------- */

#define TEXT_PLAIN "text/plain; charset=utf-8"
#define TEXT_HTML "text/html; charset=utf-8"
#define APPLICATION_JSON "application/json; charset=utf-8"
/*
 * bufferBeforeChunkingSize: longer bodies go out in chunks, since Go does not wait for their end.
 */
#define BUFFER_BEFORE_CHUNKING 2048
/* How much of an answer is written before it counts as moved. */
#define WRITE_SIZE ((size_t)64 * 1024)

/* http.StatusText, as far as nsqd uses it. */
static const char *status_text(int status)
{
	static const struct {
		int status;
		const char *text;
	} texts[] = {
		{200, "OK"},
		{301, "Moved Permanently"},
		{307, "Temporary Redirect"},
		{400, "Bad Request"},
		{401, "Unauthorized"},
		{403, "Forbidden"},
		{404, "Not Found"},
		{405, "Method Not Allowed"},
		{409, "Conflict"},
		{413, "Request Entity Too Large"},
		{417, "Expectation Failed"},
		{500, "Internal Server Error"},
		{501, "Not Implemented"},
		{503, "Service Unavailable"},
	};
	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
		if (texts[i].status == status)
			return texts[i].text;
	}
	return "";
}

static void add_header(struct strbuf *out, const char *name, const char *value)
{
	if (!value)
		return;
	strbuf_adds(out, name);
	strbuf_add(out, ": ", 2);
	strbuf_adds(out, value);
	strbuf_add(out, "\r\n", 2);
}

/* http.TimeFormat; each thread makes it anew once a second. */
static void add_date(struct strbuf *out)
{
	static const char days[] = "SunMonTueWedThuFriSat";
	static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
	static _Thread_local time_t date_of;
	static _Thread_local char date[48];
	time_t now = (time_t)(clock_wall_ns() / NSEC_PER_SEC);
	struct tm t;
	if (now != date_of) {
		gmtime_r(&now, &t);
		snprintf(date, sizeof(date), "Date: %.3s, %02d %.3s %d %02d:%02d:%02d GMT\r\n",
			days + 3 * t.tm_wday, t.tm_mday, months + 3 * t.tm_mon, t.tm_year + 1900,
			t.tm_hour, t.tm_min, t.tm_sec);
		date_of = now;
	}
	strbuf_adds(out, date);
}

/* --- what becomes of the connection ---------------------------------------------------------- */

static bool is_head(const struct http_conn *c)
{
	return strcmp(c->head.method, "HEAD") == 0;
}

/* Does the answer say how long it is? (An empty one to HEAD might have been longer to GET.) */
static bool has_length(const struct http_conn *c, const struct http_answer *a)
{
	return a->len <= BUFFER_BEFORE_CHUNKING && (!is_head(c) || a->len > 0);
}

bool http_answer_keeps_body(struct http_conn *c)
{
	const struct http_head *h = &c->head;
	struct http_answer *a = &c->answer;
	/* HTTP/1.0 knows no chunks: they may stand where the next request is expected. */
	if (h->wants_keep_alive && !h->ignored_encoding && (is_head(c) || has_length(c, a)))
		a->keeps_1_0 = true;
	else if (!http_head_is_1_1(h) || h->wants_close)
		c->close = true;
	if (a->says_close || (c->body.was_expected && !c->body.at_end))
		c->close = true;
	return !c->close && c->body.kind != HTTP_BODY_NONE;
}

/* Sets c->close and c->linger; returns what Connection says, or NULL. */
static const char *decide_connection(struct http_conn *c)
{
	bool too_big = c->answer.is_too_early;
	bool sized = has_length(c, &c->answer), is_1_1 = http_head_is_1_1(&c->head);
	c->close = c->close || too_big || (!sized && !is_head(c) && !is_1_1);
	c->linger = c->linger || !c->body.at_end;
	if (too_big || (c->close && is_1_1))
		return "close";
	return c->answer.keeps_1_0 ? "keep-alive" : NULL;
}

/* --- the bytes ------------------------------------------------------------------------------- */

static bool is_chunked(const struct http_conn *c, const struct http_answer *a)
{
	return !has_length(c, a) && !is_head(c) && http_head_is_1_1(&c->head);
}

/* First the handler's headers, by name; then those that net/http adds, in its order. */
static void add_head(struct strbuf *out, struct http_conn *c, const struct http_answer *a,
	const char *connection)
{
	char length[24];
	snprintf(length, sizeof(length), "%zu", a->len);
	strbuf_addf(out, "HTTP/1.%d %d %s\r\n", http_head_is_1_1(&c->head), a->status,
		status_text(a->status));
	add_header(out, "Allow", a->allow);
	add_header(out, "Connection", a->says_close ? "close" : NULL);
	add_header(out, "Content-Length", a->says_length ? length : NULL);
	add_header(out, "Content-Type", a->is_sniffed ? NULL : a->type);
	add_header(out, "Location", a->location);
	add_header(out, "WWW-Authenticate", a->asks_for_token ? "Bearer realm=\"nsqd\"" : NULL);
	add_header(out, "WWW-Authenticate", a->asks_for_token ? "Basic realm=\"nsqd\"" : NULL);
	add_header(out, "X-Nsq-Content-Type", a->is_v1 ? "nsq; version=1.0" : NULL);
	add_date(out);
	add_header(out, "Content-Length", has_length(c, a) && !a->says_length ? length : NULL);
	add_header(out, "Content-Type", a->is_sniffed && a->len > 0 ? a->type : NULL);
	add_header(out, "Connection", a->says_close ? NULL : connection);
	add_header(out, "Transfer-Encoding", is_chunked(c, a) ? "chunked" : NULL);
	strbuf_add(out, "\r\n", 2);
}

void http_answer_send(struct http_conn *c)
{
	const struct http_answer *a = &c->answer;
	struct strbuf *out = &c->out;
	const char *connection = decide_connection(c);
	size_t len = is_head(c) ? 0 : a->len, at = 0;
	add_head(out, c, a, connection);
	if (is_chunked(c, a))
		strbuf_addf(out, "%zx\r\n", len);
	do {
		size_t n = len - at < WRITE_SIZE ? len - at : WRITE_SIZE;
		strbuf_add(out, a->data + at, n);
		at += n;
		if (at == len && is_chunked(c, a))
			strbuf_adds(out, "\r\n0\r\n\r\n");
		http_io_write(c, out->data, out->len);
		strbuf_reset(out);
	} while (at < len && !c->send_failed);
}

/* What the handler has made, or a static text. */
static void set_text(struct http_conn *c, bool v1)
{
	const struct http_request *req = &c->req;
	c->answer = (struct http_answer){.status = req->status,
		.data = req->text      ? req->text
			: req->out.len ? req->out.data
				       : "",
		.len = req->text ? strlen(req->text) : req->out.len,
		.type = req->type      ? req->type
			: req->is_json ? APPLICATION_JSON
				       : TEXT_PLAIN,
		.is_sniffed = !req->type && !req->is_json,
		.is_v1 = v1};
}

/* What is in c->made. */
static void set_json(struct http_conn *c, int status, const char *allow)
{
	c->answer = (struct http_answer){.status = status,
		.data = c->made.data,
		.len = c->made.len,
		.type = APPLICATION_JSON,
		.is_v1 = true,
		.allow = allow};
}

/* --- answers --------------------------------------------------------------------------------- */

/* http_api.RespondV1 */
void http_answer_v1(struct http_conn *c)
{
	struct http_request *req = &c->req;
	if (req->status == 200 || req->is_json) {
		set_text(c, true);
		return;
	}
	strbuf_adds(&c->made, "{\"message\":");
	strbuf_add_json(&c->made, req->out.data, req->out.len);
	strbuf_addc(&c->made, '}');
	set_json(c, req->status, NULL);
}

/* http_api.PlainText */
void http_answer_plain(struct http_conn *c)
{
	c->req.is_json = false;
	set_text(c, false);
}

void http_answer_tls_required(struct http_conn *c)
{
	strbuf_addf(&c->made, "{\"message\": \"TLS_REQUIRED\", \"https_port\": %d}",
		c->server->daemon->https_port);
	set_json(c, 403, NULL);
}

void http_answer_denied(struct http_conn *c)
{
	bool unknown = c->access == HTTP_UNAUTHORIZED;
	http_respond_error(&c->req, unknown ? 401 : 403, unknown ? "UNAUTHORIZED" : "FORBIDDEN");
	http_answer_v1(c);
	c->answer.asks_for_token = unknown;
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
static void add_redirect_url(struct strbuf *out, const struct http_conn *c)
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
void http_answer_redirect(struct http_conn *c)
{
	bool get = c->req.method == HTTP_GET;
	struct strbuf url = STRBUF_INIT, *location = &c->match.redirect_path;
	add_redirect_url(&url, c);
	strbuf_reset(location); /* url is made of it */
	add_ascii(location, url.data);
	if (get) {
		strbuf_adds(&c->made, "<a href=\"");
		add_html_escaped(&c->made, url.data);
		strbuf_adds(&c->made, "\">Moved Permanently</a>.\n\n");
	}
	strbuf_free(&url);
	c->answer = (struct http_answer){.status = get ? 301 : 307,
		.data = get ? c->made.data : "",
		.len = c->made.len,
		.type = get ? TEXT_HTML : NULL,
		.location = location->data};
}

void http_answer_allow(struct http_conn *c)
{
	c->answer = (struct http_answer){.status = 200, .data = "", .allow = c->match.allow};
}

void http_answer_method_not_allowed(struct http_conn *c)
{
	strbuf_adds(&c->made, "{\"message\":\"METHOD_NOT_ALLOWED\"}");
	set_json(c, 405, c->match.allow);
}

void http_answer_global_options(struct http_conn *c)
{
	c->answer = (struct http_answer){.status = 200, .data = "", .says_length = true};
}

void http_answer_expectation_failed(struct http_conn *c)
{
	c->answer = (struct http_answer){.status = 417, .data = "", .says_close = true};
}

void http_answer_refusal(struct http_conn *c, const struct http_refusal *why)
{
	strbuf_addf(&c->out,
		"HTTP/1.1 %s\r\nContent-Type: text/plain; charset=utf-8\r\n"
		"Connection: close\r\n\r\n%s",
		why->status, why->text ? why->text : why->status);
	http_io_write(c, c->out.data, c->out.len);
}
