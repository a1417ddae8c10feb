/* SPDX-License-Identifier: MIT */
/*
 * A request as handlers see it, and their answer (internal/http_api, req_params.go and the values
 * that handlers return). Everything here belongs to the thread that takes the connection's step.
 */
#ifndef NSQD_HTTP_REQUEST_H
#define NSQD_HTTP_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/strbuf.h"
#include "common/url.h"
#include "nsqd/core/context.h"
#include "nsqd/http/http_router.h"
#include "nsqd/core/message.h"

struct http_server;
struct http_tokens;
struct metadata;
struct tcp_server;
struct topics;

/* The daemon as handlers see it. All borrowed; immutable once the servers have been started. */
struct http_daemon {
	struct context *ctx;
	struct topics *topics;
	struct metadata *metadata;
	struct tcp_server *tcp_server;
	struct http_server *http_server; /* NULL: there is none, as the next */
	struct http_server *https_server;
	struct http_server *readonly_server;
	struct http_tokens
		*tokens; /* in use while there is --http-auth-file; its own synchronisation */
	int tcp_port;    /* as listened to; 0: none, -1: a unix socket; as are the next two */
	int http_port;
	int https_port;
};

struct http_request {
	const struct http_daemon *daemon; /* immutable */
	struct context *ctx;              /* immutable; daemon->ctx */
	enum http_method method;
	struct url_target target;
	const char *param; /* what the route's ":name" stands for, not terminated */
	size_t param_len;
	int64_t content_length; /* -1: not told (chunked) */
	/*
	 * The body, up to the route's limit and one byte more, as stock's io.LimitReader would give
	 * it. In message if that is not NULL.
	 */
	size_t body_len;
	bool body_failed; /* it was cut off, or is malformed: body holds the part before that */
	struct strbuf body;
	struct message_body *message;
	struct url_values query;
	bool prefers_openmetrics; /* its Accept headers say so */

	/* The handler's answer; filled by the functions below. */
	int status;
	bool is_json;
	const char *type; /* a static string: Content-Type; NULL: by is_json */
	const char *text; /* a static string; NULL: out */
	struct strbuf out;
};

/* url.ParseQuery of the request's query into req->query; false if it is malformed. */
bool http_parse_query(struct http_request *req);
/* NewReqParams: the same; false with the answer given. */
bool http_parse_params(struct http_request *req);
/*
 * After that: a value as a C string, or NULL. A name with a 0 byte in it cannot exist: it becomes
 * another that cannot.
 */
const char *http_get_param(const struct http_request *req, const char *key);
/* boolParams; absent or anything else: otherwise. */
bool http_get_bool(const struct http_request *req, const char *key, bool otherwise);
/* The body; not terminated where it is in a message. */
const char *http_body(const struct http_request *req);
/* The body as a message's; the caller gets the reference. */
struct message_body *http_take_body(struct http_request *req);

/* return text, nil. text must be static. */
void http_respond_text(struct http_request *req, const char *text);
/* return x, nil: the handler has written x to req->out, as text or as JSON. */
void http_respond_out(struct http_request *req, bool is_json);
/* The same as another type, a static string. */
void http_respond_as(struct http_request *req, const char *type);
/* The same as JSON, with a status that may say that something is wrong. */
void http_respond_json(struct http_request *req, int status);
/* return nil, http_api.Err{status, text}. text is copied. */
void http_respond_error(struct http_request *req, int status, const char *text);
static inline void http_respond_empty(struct http_request *req)
{
	http_respond_text(req, "");
}

#endif
