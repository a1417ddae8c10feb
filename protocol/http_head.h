/* SPDX-License-Identifier: MIT */
/*
 * The head of an HTTP request, taken in piece by piece as it comes (readRequest of net/http, and
 * what that calls: net/textproto's Reader, transfer.go). It reads no socket and keeps one line at a
 * time, so that any thread can go on with it at any byte.
 *
 * What is accepted and refused, in which order and in which words, is net/http's (Go 1.26).
 */
#ifndef PROTOCOL_HTTP_HEAD_H
#define PROTOCOL_HTTP_HEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/strbuf.h"
#include "common/url.h"

/* What a peer is told that has sent no request. */
struct http_refusal {
	const char *status; /* "400 Bad Request: ..." */
	const char *text;   /* the body of the answer; NULL: status once more */
};

extern const struct http_refusal http_bad_request;

/* Is this a token (RFC 9110), as methods and names of headers are? Not if it is empty. */
bool http_is_token(const char *s, size_t len);

enum http_head_state {
	HTTP_HEAD_MORE, /* the head is not complete */
	HTTP_HEAD_DONE, /* it is: what follows is the body, or the next request */
	HTTP_HEAD_REFUSED, /* it is none: refusal says why, and nothing that follows may be looked at */
};

/* The thread that feeds it owns it; nothing here is shared. */
struct http_head {
	/* With HTTP_HEAD_DONE; the strings stay until the next http_head_reset. */
	const char *method; /* terminated */
	struct url_target target;
	bool is_server_target;  /* the target is "*" */
	int major, minor;       /* of the version */
	int64_t content_length; /* -1: chunked */
	bool wants_close;       /* Connection: close, or HTTP/1.0 without keep-alive */
	bool wants_keep_alive;  /* HTTP/1.0 with Connection: keep-alive */
	bool expects_continue;  /* Expect: 100-continue */
	bool expects_other;     /* Expect with anything else */
	bool is_h2_preface;     /* "PRI * HTTP/2.0" without headers */
	bool ignored_encoding;  /* HTTP/1.0 with Transfer-Encoding, which does not count there */

	const struct http_refusal *refusal; /* with HTTP_HEAD_REFUSED */
	size_t size;                        /* bytes taken since http_head_reset */

	/* --- the parser's own --- */
	size_t max;               /* bytes that a head may have */
	size_t skip;              /* so many leading CR or LF are still tolerated */
	struct strbuf first_line; /* method and target, each terminated */
	struct strbuf path;       /* decoded */
	struct strbuf line;       /* a header with its continuation lines, as far as it is there */
	size_t part;              /* where the line that is being read begins in `line` */
	bool has_first_line;
	bool has_line;        /* `line` is a header, unless a continuation line follows */
	bool is_first_header; /* none has come yet */
	size_t n_hosts, n_lengths, n_encodings, n_connections, n_expects, n_trailers;
	bool host_is_bad, length_is_bad, encoding_is_chunked, trailer_is_bad, name_is_bad;
	bool has_token_close, has_token_keep_alive; /* in one of the Connection headers */
	bool has_headers;
	int64_t length;
	struct strbuf length_text; /* the first Content-Length */
};

/* A head of at most max bytes (beyond that: 431). Zeroes *h first. */
void http_head_init(struct http_head *h, size_t max);
void http_head_free(struct http_head *h);
/*
 * The next request begins. after_post: up to four line ends in front of it are skipped, as old
 * clients send them behind the body of a POST.
 */
void http_head_reset(struct http_head *h, bool after_post);
/*
 * Takes what is needed of data[0..n); *used says how much that was. All of it with HTTP_HEAD_MORE.
 * To be called no more after anything else, until http_head_reset.
 */
enum http_head_state http_head_feed(struct http_head *h, const char *data, size_t n, size_t *used);
/*
 * The lines of a trailer behind a chunked body, up to its empty line, whose last 2 bytes are the
 * end of data: are they headers?
 */
bool http_trailer_is_valid(const char *data, size_t n);

/* At least HTTP/1.1? */
static inline bool http_head_is_1_1(const struct http_head *h)
{
	return h->major > 1 || (h->major == 1 && h->minor >= 1);
}

#endif
