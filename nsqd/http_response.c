/* SPDX-License-Identifier: MIT */
/*
 * What handlers are given and give back, and the answers that become of it:
 * mirrors internal/http_api/req_params.go and api_response.go, and what these need
 * of net/http. Runs in the connections' threads.
 */
#include "nsqd/http_server_internal.h"

#include <string.h>

#include "common/check.h"
#include "nsqd/nsqd.h"

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

/* A body of no bytes has no type, as with net/http, which guesses the type from the body. */
struct MHD_Response *http_new_response(const struct http_conn *c, const char *data, size_t len,
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
static enum MHD_Result queue_out(struct http_conn *c, struct MHD_Connection *mc, int status,
	struct strbuf *out, const char *type, bool v1)
{
	size_t len = out->len;
	char *data = strbuf_detach(out);
	return queue(mc, status, http_new_response(c, data, len, MHD_RESPMEM_MUST_FREE, type, v1));
}

/* A static text. The usual ones need no building. */
static enum MHD_Result queue_text(
	struct http_conn *c, struct MHD_Connection *mc, const char *text, bool v1)
{
	struct http_server *s = c->server;
	if (!c->http_1_0 && strcmp(text, "OK") == 0)
		return MHD_queue_response(mc, MHD_HTTP_OK, v1 ? s->ok : s->plain_ok);
	if (!c->http_1_0 && !*text && v1)
		return MHD_queue_response(mc, MHD_HTTP_OK, s->empty);
	return queue(mc, MHD_HTTP_OK,
		http_new_response(c, text, strlen(text), MHD_RESPMEM_PERSISTENT, TEXT_PLAIN, v1));
}

/* http_api.RespondV1 */
enum MHD_Result http_answer_v1(struct http_conn *c, struct MHD_Connection *mc)
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
enum MHD_Result http_answer_plain(struct http_conn *c, struct MHD_Connection *mc)
{
	struct http_request *req = &c->req;
	if (req->text)
		return queue_text(c, mc, req->text, false);
	return queue_out(c, mc, req->status, &req->out, TEXT_PLAIN, false);
}

enum MHD_Result http_answer_tls_required(struct http_conn *c, struct MHD_Connection *mc)
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
enum MHD_Result http_answer_redirect(struct http_conn *c, struct MHD_Connection *mc)
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
	struct MHD_Response *r = http_new_response(
		c, strbuf_detach(&html), len, MHD_RESPMEM_MUST_FREE, TEXT_HTML, false);
	add_header(r, "Location", location.data);
	strbuf_free(&location);
	return queue(mc, get ? MHD_HTTP_MOVED_PERMANENTLY : MHD_HTTP_TEMPORARY_REDIRECT, r);
}

enum MHD_Result http_answer_allow(struct http_conn *c, struct MHD_Connection *mc)
{
	struct MHD_Response *r = http_new_response(c, "", 0, MHD_RESPMEM_PERSISTENT, NULL, false);
	if (*c->match.allow)
		add_header(r, "Allow", c->match.allow);
	return queue(mc, MHD_HTTP_OK, r);
}

enum MHD_Result http_answer_method_not_allowed(struct http_conn *c, struct MHD_Connection *mc)
{
	static const char json[] = "{\"message\":\"METHOD_NOT_ALLOWED\"}";
	struct MHD_Response *r = http_new_response(
		c, json, sizeof(json) - 1, MHD_RESPMEM_PERSISTENT, APPLICATION_JSON, true);
	add_header(r, "Allow", c->match.allow);
	return queue(mc, MHD_HTTP_METHOD_NOT_ALLOWED, r);
}
