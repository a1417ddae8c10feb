/* SPDX-License-Identifier: MIT */
/*
 * The body of a request. Mirrors body and expectContinueReader of net/http (transfer.go,
 * server.go). Runs at the pollers, and in the connections' threads. Where the input ends for now,
 * each function returns HTTP_IO_WAIT. It goes on from there when it is called again.
 */
#include "nsqd/http/http_body.h"

#include <string.h>

#include "common/compiler.h"
#include "nsqd/http/http_internal.h"
#include "nsqd/http/http_io.h"

/* How much is read at once of a body that is not a message's, or that is discarded. */
#define READ_SIZE ((int64_t)64 * 1024)
/* Likewise, if it is not known whether so much will come. */
#define FIRST_READ_SIZE 4096
#define SCRAP_SIZE 4096

void http_body_begin(struct http_conn *c)
{
	struct http_body *b = &c->body;
	int64_t length = c->head.content_length;
	*b = (struct http_body){
		.kind = length == 0  ? HTTP_BODY_NONE
			: length < 0 ? HTTP_BODY_CHUNKED
				     : HTTP_BODY_LENGTH,
		.left = length,
		.at_end = length == 0,
	};
	b->was_expected = b->must_continue =
		c->head.expects_continue && http_head_is_1_1(&c->head) && length != 0;
}

void http_body_end(struct http_conn *c)
{
	http_chunked_free(&c->body.chunked);
}

static void consent(struct http_conn *c)
{
	static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
	c->body.must_continue = false;
	http_io_write(c, text, sizeof(text) - 1);
}

static size_t take_input(struct http_conn *c, char *buf, size_t n)
{
	size_t there = c->w - c->r;
	n = n < there ? n : there;
	memcpy(buf, c->input + c->r, n);
	c->r += n;
	return n;
}

/* Of a body whose length is known. */
static ssize_t read_length(struct http_conn *c, char *buf, size_t n)
{
	struct http_body *b = &c->body;
	if ((int64_t)n > b->left)
		n = (size_t)b->left;
	ssize_t got = c->r < c->w ? (ssize_t)take_input(c, buf, n) : http_io_read(c, buf, n);
	if (got == HTTP_IO_WAIT)
		return got;
	if (got > 0)
		b->left -= got;
	b->failed = got < 0;
	/* As with Go: a body that is cut off is at its end. */
	b->at_end = got == 0 || b->left == 0;
	return got > 0 ? got : -1;
}

/* One step of a body in chunks: as http_body_read, but 0 also when nothing has come out of it. */
static ssize_t read_some_chunk(struct http_conn *c, char *buf, size_t n)
{
	struct http_body *b = &c->body;
	size_t there = c->w - c->r, used, len = 0;
	const char *data;
	if (b->chunked.at == CHUNK_DATA && n < there)
		there = n;
	switch (http_chunked_feed(&b->chunked, c->input + c->r, there, &used, &data, &len)) {
	case HTTP_CHUNKED_DATA:
		memcpy(buf, data, len);
		break;
	case HTTP_CHUNKED_DONE:
		b->at_end = true;
		break;
	case HTTP_CHUNKED_FAILED:
		b->failed = true;
		return -1;
	case HTTP_CHUNKED_MORE:
		break;
	}
	c->r += used;
	return (ssize_t)len;
}

static ssize_t read_chunked(struct http_conn *c, char *buf, size_t n)
{
	struct http_body *b = &c->body;
	while (!b->at_end) {
		ssize_t got = c->r < c->w ? 1 : http_io_fill(c);
		if (got == HTTP_IO_WAIT)
			return got;
		b->failed = got <= 0;
		if (b->failed)
			return -1;
		got = read_some_chunk(c, buf, n);
		if (got != 0)
			return got;
	}
	return 0;
}

/*
 * Reads 1 to n bytes of the body. 0: that was all; -1: it was cut off, or is malformed. The first
 * call consents to a body that was announced with Expect.
 */
static ssize_t read_some(struct http_conn *c, char *buf, size_t n)
{
	struct http_body *b = &c->body;
	if (b->failed)
		return -1;
	if (b->at_end)
		return 0;
	if (b->must_continue)
		consent(c);
	return b->kind == HTTP_BODY_LENGTH ? read_length(c, buf, n) : read_chunked(c, buf, n);
}

/* Where the next part of the body goes, and how much of it, at most; 0: no more is wanted. */
static size_t make_room(struct http_conn *c, int64_t limit, char **to)
{
	struct http_request *req = &c->req;
	const struct http_body *b = &c->body;
	if (req->message) {
		*to = req->message->data + req->body_len;
		return req->message->len - req->body_len;
	}
	int64_t n = limit + 1 - (int64_t)req->body_len, most = READ_SIZE;
	if (b->kind != HTTP_BODY_CHUNKED)
		most = b->left < READ_SIZE ? b->left : READ_SIZE;
	else if (req->body_len < FIRST_READ_SIZE)
		most = FIRST_READ_SIZE;
	n = n < most ? n : most;
	req->body.len = req->body_len;
	strbuf_reserve(&req->body, (size_t)n);
	*to = req->body.data + req->body_len;
	return (size_t)n;
}

ssize_t http_body_read(struct http_conn *c, int64_t limit)
{
	size_t n;
	char *to;
	while ((n = make_room(c, limit, &to)) > 0) {
		ssize_t got = read_some(c, to, n);
		if (got <= 0)
			return got;
		c->req.body_len += (size_t)got;
	}
	return 0;
}

ssize_t http_body_discard(struct http_conn *c, int64_t *max)
{
	char scrap[SCRAP_SIZE] UNINITIALIZED;
	while (*max > 0) {
		ssize_t got =
			read_some(c, scrap, *max < SCRAP_SIZE ? (size_t)*max : (size_t)SCRAP_SIZE);
		if (got <= 0)
			return got;
		*max -= got;
	}
	return c->body.at_end ? 0 : 1;
}
