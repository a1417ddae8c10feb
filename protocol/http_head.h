/* SPDX-License-Identifier: MIT */
/*
 * The head of an HTTP request, taken in piece by piece as it comes (readRequest of net/http, and
 * what that calls: net/textproto's Reader, transfer.go). It reads no socket and keeps one line at a
 * time, so that any thread can continue at any byte.
 *
 * It accepts and refuses as net/http does, in the same order and words (Go 1.26).
 */
#ifndef PROTOCOL_HTTP_HEAD_H
#define PROTOCOL_HTTP_HEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/strbuf.h"
#include "common/url.h"
#include "protocol/http_accept.h"

/* The answer to a malformed request. */
struct http_refusal {
	const char *status; /* "400 Bad Request: ..." */
	const char *text;   /* the body of the answer; NULL: status once more */
};

extern const struct http_refusal http_bad_request;

/* Is this a token (RFC 9110), as methods and names of headers are? An empty text is not. */
bool http_is_token(const char *s, size_t len);

enum http_head_state {
	HTTP_HEAD_MORE,    /* the head is not complete */
	HTTP_HEAD_DONE,    /* it is: the body follows, or the next request */
	HTTP_HEAD_REFUSED, /* malformed: see refusal; the caller must not read on */
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
	struct http_accept accept;
	size_t n_authorizations;     /* how many Authorization headers there are */
	struct strbuf authorization; /* the first one, if it is not longer than one with a token */
	bool is_h2_preface;          /* "PRI * HTTP/2.0" without headers */
	bool ignored_encoding;       /* HTTP/1.0 with Transfer-Encoding, which is ignored */

	const struct http_refusal *refusal; /* with HTTP_HEAD_REFUSED */
	size_t size;                        /* bytes taken since http_head_reset */

	/* --- the parser's own --- */
	size_t max;               /* bytes that a head may have */
	size_t skip;              /* how many leading CR or LF are still tolerated */
	struct strbuf first_line; /* method and target, each terminated */
	struct strbuf path;       /* decoded */
	struct strbuf line;       /* a header with its continuation lines so far */
	size_t part;              /* where the current line begins in `line` */
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

/* Sets h up for heads of at most max bytes (beyond that: 431). Zeroes *h first. */
void http_head_init(struct http_head *h, size_t max);
void http_head_free(struct http_head *h);
/*
 * The next request begins. after_post: skips up to four line ends in front of it, because old
 * clients send them behind the body of a POST.
 */
void http_head_reset(struct http_head *h, bool after_post);
/*
 * Takes data[0..n) up to the end of the head; *used says how much. With HTTP_HEAD_MORE that is all.
 * After any other state the caller calls http_head_reset first.
 */
enum http_head_state http_head_feed(struct http_head *h, const char *data, size_t n, size_t *used);
/* Is data[0..n) the valid trailer of a chunked body? It ends with the 2 bytes of the empty line. */
bool http_trailer_is_valid(const char *data, size_t n);

/* At least HTTP/1.1? */
static inline bool http_head_is_1_1(const struct http_head *h)
{
	return h->major > 1 || (h->major == 1 && h->minor >= 1);
}

#endif
