/* SPDX-License-Identifier: MIT */
/*
 * The body of an HTTP request that comes in chunks, taken in piece by piece (net/http's
 * internal/chunked.go, and readTrailer of transfer.go). It reads no socket.
 */
#ifndef PROTOCOL_HTTP_CHUNKED_H
#define PROTOCOL_HTTP_CHUNKED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/strbuf.h"

/* The most that a line with the size of a chunk, or all lines of a trailer, may have. */
#define HTTP_CHUNK_LINE_MAX 4096

enum http_chunked_state {
	HTTP_CHUNKED_MORE,   /* the taken bytes hold nothing of the body */
	HTTP_CHUNKED_DATA,   /* data[0..len) is */
	HTTP_CHUNKED_DONE,   /* the body is complete, with its trailer */
	HTTP_CHUNKED_FAILED, /* malformed chunks: the caller must not read on */
};

/* A zeroed one is at the beginning of a body. The thread that feeds it owns it. */
struct http_chunked {
	uint64_t left;  /* of the current chunk's data */
	int64_t excess; /* bytes beside the data, beyond the tolerated ones */
	enum {
		CHUNK_SIZE,   /* hexadecimal digits */
		CHUNK_BLANKS, /* behind them */
		CHUNK_EXTENSION,
		CHUNK_SIZE_LF, /* of the line with the size */
		CHUNK_DATA,
		CHUNK_DATA_CR,
		CHUNK_DATA_LF,
		CHUNK_TRAILER,
	} at;
	unsigned digits; /* of the size */
	size_t line_len; /* of the line with the size, so far */
	struct strbuf trailer;
};

void http_chunked_free(struct http_chunked *c);
/*
 * Takes some of in[0..n), n > 0; *used says how much. With HTTP_CHUNKED_DATA, *data and *len are
 * the data in it. Else it holds no data, and may end where data begins. The caller calls it until
 * everything is taken, but not after DONE or FAILED.
 */
enum http_chunked_state http_chunked_feed(struct http_chunked *c, const char *in, size_t n,
	size_t *used, const char **data, size_t *len);

#endif
