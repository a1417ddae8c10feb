/* SPDX-License-Identifier: MIT */
/*
 * The handlers' arguments and results. Mirrors internal/http_api/req_params.go, and the part of
 * api_response.go that looks at the values that a handler returns. Runs where handlers do: at the
 * pollers, and in the connections' threads.
 */
#include "nsqd/http/http_request.h"

#include <string.h>

bool http_parse_query(struct http_request *req)
{
	return url_parse_query(&req->query, req->target.raw_query ? req->target.raw_query : "",
		req->target.raw_query_len);
}

bool http_parse_params(struct http_request *req)
{
	if (http_parse_query(req))
		return true;
	nsqd_logf(req->ctx, LG_ERROR, "failed to parse request params - bad query %.*s",
		(int)req->target.raw_query_len, req->target.raw_query);
	http_respond_error(req, 400, "INVALID_REQUEST");
	return false;
}

const char *http_get_param(const struct http_request *req, const char *key)
{
	const struct url_value *v = url_values_get(&req->query, key);
	if (!v)
		return NULL;
	return strlen(v->value) == v->value_len ? v->value : "\x01";
}

bool http_get_bool(const struct http_request *req, const char *key, bool otherwise)
{
	static const struct {
		const char *name;
		bool value;
	} names[] = {{"true", true}, {"1", true}, {"false", false}, {"0", false}};
	const char *s = http_get_param(req, key);
	for (size_t i = 0; s && i < sizeof(names) / sizeof(*names); i++) {
		if (strcmp(s, names[i].name) == 0)
			return names[i].value;
	}
	return otherwise;
}

const char *http_body(const struct http_request *req)
{
	if (req->message)
		return req->message->data;
	return req->body.data ? req->body.data : "";
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
	req->status = 200;
	req->is_json = false;
	req->text = text;
}

void http_respond_out(struct http_request *req, bool is_json)
{
	req->status = 200;
	req->is_json = is_json;
	req->text = NULL;
}

void http_respond_as(struct http_request *req, const char *type)
{
	http_respond_out(req, false);
	req->type = type;
}

void http_respond_json(struct http_request *req, int status)
{
	http_respond_out(req, true);
	req->status = status;
}

void http_respond_error(struct http_request *req, int status, const char *text)
{
	req->status = status;
	req->is_json = false;
	req->type = NULL;
	req->text = NULL;
	strbuf_reset(&req->out);
	strbuf_adds(&req->out, text);
}
