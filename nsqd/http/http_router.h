/* SPDX-License-Identifier: MIT */
/*
 * Finds the route that serves a method and a path (httprouter 1.3.0, with nsqd's settings). Without
 * a route it finds the answer: a redirect to the path that was meant, 405, the list of methods, or
 * 404.
 */
#ifndef NSQD_HTTP_ROUTER_H
#define NSQD_HTTP_ROUTER_H

#include <stddef.h>
#include <stdint.h>

#include "common/strbuf.h"
#include "nsqd/http/http_tokens.h"

struct http_request;
struct options;

enum http_method { HTTP_GET = 1, HTTP_POST = 2, HTTP_PUT = 4, HTTP_OPTIONS = 8, HTTP_OTHER = 16 };

enum http_route_flags {
	HTTP_LOGGED = 1,        /* http_api.Log: a line per request */
	HTTP_PLAIN_TEXT = 2,    /* http_api.PlainText; without: http_api.V1 */
	HTTP_MESSAGE_BODY = 4,  /* a body of known length is read into a message_body at once */
	HTTP_DISCARDS_BODY = 8, /* NewReqParams: read, and nothing of it looked at */
	HTTP_TOPIC_FIRST = 16,  /* http_find_topic comes before the body; no topic: no body */
	HTTP_QUICK = 32,        /* handle neither blocks nor takes long */
	HTTP_HELPS =
		128, /* an operator may want it when threads are short: a poller lends itself */
	HTTP_PUBLISHES = 64, /* likewise, unless http_put_may_block; and it wakes pumps */
	HTTP_PUBLIC = 256,   /* served at --http-readonly-address as well */
};

struct http_route {
	enum http_method method;
	const char *path;      /* one that ends in "/:name" takes any last element: request.param */
	enum http_scope scope; /* what a token must have; test/docs/access.py wants it, too */
	void (*handle)(struct http_request *req);
	int flags;
	/*
	 * How much of the body handle looks at, at most (it is given one byte more). NULL: nothing.
	 */
	int64_t (*body_limit)(const struct options *opts);
};

enum http_route_result {
	HTTP_ROUTE_FOUND,
	HTTP_ROUTE_REDIRECT,           /* to redirect_path */
	HTTP_ROUTE_ALLOW,              /* OPTIONS: answer with allow */
	HTTP_ROUTE_METHOD_NOT_ALLOWED, /* allow has the others */
	HTTP_ROUTE_NOT_FOUND,
};

struct http_match {
	const struct http_route *route; /* FOUND */
	const char *param; /* FOUND: what ":name" stands for; points into path; not terminated */
	size_t param_len;
	struct strbuf redirect_path; /* REDIRECT; to be freed by the caller in any case */
	char allow[32];              /* "GET, OPTIONS, PUT" */
};

enum http_method http_method_parse(const char *method);
/* path is decoded. */
enum http_route_result http_route_find(const struct http_route *routes, size_t n_routes,
	enum http_method method, const char *path, size_t path_len, struct http_match *out);

#endif
