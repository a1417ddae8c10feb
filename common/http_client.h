/* SPDX-License-Identifier: MIT */
/*
 * The client side of HTTP (net/http as internal/http_api/api_request.go uses it), and dialling
 * (net.DialTimeout), both through libcurl: the timeout covers the look-up of host names as well.
 * Everything runs in the caller's thread and blocks it until there is a result, the time is over,
 * or the call is cancelled. Any number of threads may do so at once.
 */
#ifndef COMMON_HTTP_CLIENT_H
#define COMMON_HTTP_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/strbuf.h"

/*
 * The settings of requests. The caller owns them; nothing here changes them. Strings are borrowed.
 */
struct http_client {
	int64_t connect_timeout_ns; /* 0: no limit of our own; less: over at once */
	int64_t request_timeout_ns; /* a whole request, connecting included; 0 or less: no limit */
	const char *ca_file;        /* PEM; NULL or "": the system's certificates */
	uint16_t tls_min_version;   /* 0x0301 ... 0x0304; 0: the library's choice */
	int cancel_fd;              /* when it is readable, calls fail at once; -1: none */
};

struct http_client_call {
	const char *url;    /* borrowed */
	const char *json;   /* borrowed; NULL: a GET; else a POST with this body */
	struct strbuf body; /* out: the response's body; the caller frees it in any case */
	struct err err;     /* out: if not ok, the reason, without the query of the URL */
	bool ok;            /* out: the answer was 200 */
};

/* Once, before there are threads. Never undone. -1 with err set. */
int http_client_global_init(struct err *err);

/*
 * GETV1 and POSTV1 without their decoding: performs n calls at the same time. Follows redirects and
 * decodes gzip. Tries a 403 that names an https_port again there. An answer other than 200 is the
 * error `got response 500 Internal Server Error "body"`.
 */
void http_client_do(const struct http_client *c, struct http_client_call *calls, size_t n);

/* url.QueryEscape, appended. */
void http_client_query_escape(struct strbuf *out, const char *s, size_t n);

/*
 * net.DialTimeout("tcp", "host:port"): a connected, non-blocking, close-on-exec descriptor, or -1
 * with err set. The port may be the name of a service. The host is an address, a name, or a name in
 * /etc/hosts; nothing else is taken, and nothing guessed. timeout_ns covers the look-up of the name
 * (but not the reading of files in /etc).
 */
int http_client_dial(const char *address, int64_t timeout_ns, int cancel_fd, struct err *err);

#endif
