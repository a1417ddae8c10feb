/* SPDX-License-Identifier: MIT */
/*
 * The client side of HTTP (net/http as internal/http_api/api_request.go uses it), and dialling
 * (net.DialTimeout), both through libcurl: host names are looked up within the timeout as well.
 * Everything runs in the caller's thread and blocks it until there is a result, the time is over,
 * or the call is cancelled; any number of threads may do so at once.
 */
#ifndef COMMON_HTTP_CLIENT_H
#define COMMON_HTTP_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/strbuf.h"

/* What requests have in common; the caller's, and not changed. Strings are borrowed. */
struct http_client {
	int64_t connect_timeout_ns; /* 0: none of our own; less: over at once */
	int64_t request_timeout_ns; /* all of a request, connecting included; 0 or less: none */
	const char *ca_file;        /* PEM; NULL or "": the system's certificates */
	uint16_t tls_min_version;   /* 0x0301 ... 0x0304; 0: the library's choice */
	int cancel_fd;              /* when it is readable, calls fail at once; -1: none */
};

struct http_client_call {
	const char *url;    /* borrowed */
	const char *json;   /* borrowed; NULL: a GET; else a POST with this body */
	struct strbuf body; /* out: of the response; the caller frees it in any case */
	struct err err;     /* out: where not ok, the reason, without the query of the URL */
	bool ok;            /* out: the answer was 200 */
};

/* Once, before there are threads. Never undone. -1 with err set. */
int http_client_global_init(struct err *err);

/*
 * GETV1 and POSTV1 without their decoding: performs n calls at the same time. Redirects are
 * followed, gzip is decoded. A 403 that names an https_port is tried again there. An answer other
 * than 200 is the error `got response 500 Internal Server Error "body"`.
 */
void http_client_do(const struct http_client *c, struct http_client_call *calls, size_t n);

/* url.QueryEscape, appended. */
void http_client_query_escape(struct strbuf *out, const char *s, size_t n);

/*
 * net.DialTimeout("tcp", "host:port"): a connected, non-blocking, close-on-exec descriptor, or -1
 * with err set. The port may be the name of a service, the host an address, a name, or what
 * /etc/hosts has; nothing else is taken, and nothing guessed. timeout_ns covers the name as well
 * (the files in /etc are read without it).
 */
int http_client_dial(const char *address, int64_t timeout_ns, int cancel_fd, struct err *err);

#endif
