/* SPDX-License-Identifier: MIT */
/*
 * The handlers' arguments and results. Mirrors internal/http_api/req_params.go, and the part of
 * api_response.go that looks at the values that a handler returns. Runs where handlers do: at the
 * pollers, and in the connections' threads.
 */
#include "nsqd/http/http_request.h"

bool http_parse_query(struct http_request *req)
{
	return url_parse_query(&req->query, req->target.raw_query ? req->target.raw_query : "",
		req->target.raw_query_len);
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

void http_respond_error(struct http_request *req, int status, const char *text)
{
	req->status = status;
	req->is_json = false;
	req->text = NULL;
	strbuf_reset(&req->out);
	strbuf_adds(&req->out, text);
}
