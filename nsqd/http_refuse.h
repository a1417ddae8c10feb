/* SPDX-License-Identifier: MIT */
/*
 * What net/http (server.go, request.go) says to what is no HTTP request, byte by
 * byte: libmicrohttpd says something else, or nothing, and takes some of it.
 */
#ifndef NSQD_HTTP_REFUSE_H
#define NSQD_HTTP_REFUSE_H

#include <stdbool.h>
#include <stddef.h>

#include <gnutls/gnutls.h>

struct MHD_Connection;

struct http_refusal {
	const char *status; /* "400 Bad Request" */
	const char *text;   /* the body; NULL: the status again */
};

/* What it is in most cases. */
extern const struct http_refusal http_bad_request;

/* May it be a method, or the name of a header? */
bool http_is_token(const char *s, size_t len);
/*
 * Looks at a head that libmicrohttpd has taken, but for the target: NULL if
 * net/http takes it, too, else what that says; static. Takes no lock.
 */
const struct http_refusal *http_check_head(
	struct MHD_Connection *mc, const char *method, const char *version);
/* What net/http says where libmicrohttpd would answer with this status; static. */
const struct http_refusal *http_refusal_for(unsigned status);
/*
 * Says it and ends the output: nothing can be sent any more. session is NULL
 * without TLS. Does not block; nobody else may use the connection meanwhile.
 */
void http_refuse(int fd, gnutls_session_t session, const struct http_refusal *why);
/*
 * After that: reads on until the peer closes, for half a second at most, because
 * what is unread when the socket is closed would destroy the answer on its way.
 */
void http_await_close(int fd);

#endif
