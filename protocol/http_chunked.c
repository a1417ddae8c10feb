/* SPDX-License-Identifier: MIT */
/*
 * Bodies in chunks. Mirrors net/http's internal/chunked.go (chunkedReader) and readTrailer of
 * transfer.go. Threads: those of HTTP connections; the caller keeps all state.
 *
 * Different from Go: an error in a line is reported at once, not at the line's end. An empty line
 * without its CR does not end a trailer: else a proxy could see another end than this parser does.
 */
#include "protocol/http_chunked.h"

#include <string.h>

#include "protocol/http_head.h"

/* A size has so many hexadecimal digits at most. */
#define MAX_DIGITS 16
/*
 * Bytes that are tolerated beside the data: so many for each chunk, twice the data, and so many in
 * all.
 */
#define OVERHEAD 16
#define MAX_EXCESS (16 * 1024)

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* A sender may send single bytes, but may not hide them among extensions. */
static bool count_excess(struct http_chunked *c)
{
	int64_t tolerated = c->left > INT32_MAX ? INT64_MAX / 4 : OVERHEAD + 2 * (int64_t)c->left;
	c->excess += (int64_t)c->line_len - tolerated;
	if (c->excess < 0)
		c->excess = 0;
	return c->excess <= MAX_EXCESS;
}

/* The line with the size is complete: begins the chunk. */
static bool begin_chunk(struct http_chunked *c)
{
	bool ok = count_excess(c);
	c->line_len = 0;
	c->digits = 0;
	c->at = c->left > 0 ? CHUNK_DATA : CHUNK_TRAILER;
	return ok;
}

/* Takes the first byte behind the size: a blank, an extension or the end. */
static bool end_digits(struct http_chunked *c, char b)
{
	c->at = b == ';' ? CHUNK_EXTENSION : b == ' ' || b == '\t' ? CHUNK_BLANKS : CHUNK_SIZE_LF;
	return c->digits > 0 && (b == ';' || b == ' ' || b == '\t' || b == '\r');
}

/* Takes one byte of the line with the size. False: the byte does not belong there. */
static bool feed_size(struct http_chunked *c, char b)
{
	int value;
	if (++c->line_len > HTTP_CHUNK_LINE_MAX)
		return false;
	switch (c->at) {
	case CHUNK_SIZE:
		value = hex_value(b);
		if (value < 0)
			return end_digits(c, b);
		c->left = c->left << 4 | (unsigned)value;
		return ++c->digits <= MAX_DIGITS;
	case CHUNK_BLANKS:
		if (b == '\r')
			c->at = CHUNK_SIZE_LF;
		return b == ' ' || b == '\t' || b == '\r';
	case CHUNK_EXTENSION:
		if (b == '\r')
			c->at = CHUNK_SIZE_LF;
		return b != '\n';
	default: /* CHUNK_SIZE_LF */
		return b == '\n' && begin_chunk(c);
	}
}

static bool feed_data_end(struct http_chunked *c, char b)
{
	bool is_cr = c->at == CHUNK_DATA_CR;
	c->at = is_cr ? CHUNK_DATA_LF : CHUNK_SIZE;
	return b == (is_cr ? '\r' : '\n');
}

/* Takes one byte of the trailer: an empty line, or headers and an empty line. */
static enum http_chunked_state feed_trailer(struct http_chunked *c, char b)
{
	strbuf_addc(&c->trailer, b);
	const char *t = c->trailer.data;
	size_t n = c->trailer.len;
	if (n == 2 && memcmp(t, "\r\n", 2) == 0)
		return HTTP_CHUNKED_DONE;
	if (n >= 4 && memcmp(t + n - 4, "\r\n\r\n", 4) == 0)
		return http_trailer_is_valid(t, n) ? HTTP_CHUNKED_DONE : HTTP_CHUNKED_FAILED;
	return n < HTTP_CHUNK_LINE_MAX ? HTTP_CHUNKED_MORE : HTTP_CHUNKED_FAILED;
}

static enum http_chunked_state feed_byte(struct http_chunked *c, char b)
{
	bool ok;
	if (c->at == CHUNK_TRAILER)
		return feed_trailer(c, b);
	if (c->at == CHUNK_DATA_CR || c->at == CHUNK_DATA_LF)
		ok = feed_data_end(c, b);
	else
		ok = feed_size(c, b);
	return ok ? HTTP_CHUNKED_MORE : HTTP_CHUNKED_FAILED;
}

static enum http_chunked_state feed_data(
	struct http_chunked *c, const char *in, size_t n, const char **data, size_t *len)
{
	*data = in;
	*len = n < c->left ? n : (size_t)c->left;
	c->left -= *len;
	if (c->left == 0)
		c->at = CHUNK_DATA_CR;
	return HTTP_CHUNKED_DATA;
}

enum http_chunked_state http_chunked_feed(struct http_chunked *c, const char *in, size_t n,
	size_t *used, const char **data, size_t *len)
{
	enum http_chunked_state state = HTTP_CHUNKED_MORE;
	size_t i = 0;
	if (c->at == CHUNK_DATA) {
		state = feed_data(c, in, n, data, len);
		*used = *len;
		return state;
	}
	while (i < n && state == HTTP_CHUNKED_MORE && c->at != CHUNK_DATA)
		state = feed_byte(c, in[i++]);
	*used = i;
	return state;
}

void http_chunked_free(struct http_chunked *c)
{
	strbuf_free(&c->trailer);
	*c = (struct http_chunked){0};
}
