/* SPDX-License-Identifier: MIT */
/*
 * What a client of /metrics wants to read, by its Accept headers (RFC 9110): OpenMetrics, or plain
 * text.
 */
#ifndef PROTOCOL_HTTP_ACCEPT_H
#define PROTOCOL_HTTP_ACCEPT_H

#include <stdbool.h>
#include <stddef.h>

/* Weights in thousandths; 0: not wanted. Zeroed memory: no header has come yet. */
struct http_accept {
	int openmetrics; /* application/openmetrics-text, version 1.0.0 or none */
	int text;        /* text/plain, or any type */
};

/* Takes the value of an Accept header, one of several; what is malformed is left out. */
void http_accept_add(struct http_accept *a, const char *value, size_t len);

/* Is OpenMetrics wanted more than plain text? Without a header it is not. */
static inline bool http_accept_prefers_openmetrics(const struct http_accept *a)
{
	return a->openmetrics > 0 && a->openmetrics >= a->text;
}

#endif
