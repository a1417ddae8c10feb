/* SPDX-License-Identifier: MIT */
/*
 * Buffered reading and writing of a stream. Mirrors Go's package bufio, as far
 * as clientV2 uses it. The reader runs in the client's io_loop; the writer in
 * io_loop and in the client's pump, under the client's write lock.
 *
 * Unlike bufio, a write that overflows the buffer goes out together with what
 * is buffered, in one system call and without a copy of the big part.
 */
#include "protocol/bufio.h"

#include <errno.h>
#include <string.h>

#include "common/bufpool.h"
#include "common/check.h"
#include "common/clock.h"

/* The most parts of one bufio_writev: a frame and what precedes it. */
#define MAX_PARTS 4

void bufio_reader_init(struct bufio_reader *b, struct stream *s, size_t size)
{
	*b = (struct bufio_reader){.stream = s, .size = size};
}

void bufio_reader_free(struct bufio_reader *b)
{
	bufpool_put(b->buf, b->size);
	b->buf = NULL;
}

void bufio_reader_give_back(struct bufio_reader *b)
{
	CHECK(b->r == b->w);
	bufio_reader_free(b);
	b->r = b->w = 0;
}

void bufio_reader_reset(struct bufio_reader *b, struct stream *s)
{
	b->stream = s;
	b->r = b->w = 0;
}

/*
 * One read of the stream into p, after the chance to send what is held back.
 * With idle_ns it is tried for so long again and again: one and the same timeout
 * all the time, which need not be set anew (see stream_sock.c).
 */
static enum bufio_result read_stream(
	struct bufio_reader *b, void *p, size_t n, bool between_lines, size_t *got, struct err *err)
{
	if (b->before_read && b->before_read(b->arg, err) != 0)
		return BUFIO_ERR;
	for (;;) {
		int64_t now = b->timeout_ns > 0 || b->idle_ns > 0 ? clock_mono_ns() : 0;
		if (b->deadline_ns == 0 && b->timeout_ns > 0)
			b->deadline_ns = now + b->timeout_ns;
		int64_t deadline = b->deadline_ns;
		bool idle = b->idle_ns > 0 && (deadline == 0 || now + b->idle_ns < deadline);
		if (idle)
			deadline = now + b->idle_ns;
		ssize_t rc = b->stream->ops->read(b->stream, p, n, deadline, err);
		if (rc >= 0) {
			*got = (size_t)rc;
			return rc == 0 ? BUFIO_EOF : BUFIO_OK;
		}
		if (!idle || err->code != ETIMEDOUT)
			return BUFIO_ERR;
		if (between_lines)
			return BUFIO_IDLE;
	}
}

/* Moves what is left to the front and reads behind it. */
static enum bufio_result fill(struct bufio_reader *b, bool between_lines, struct err *err)
{
	if (!b->buf)
		b->buf = bufpool_get(b->size);
	if (b->r > 0) {
		memmove(b->buf, b->buf + b->r, b->w - b->r);
		b->w -= b->r;
		b->r = 0;
	}
	CHECK(b->w < b->size);
	size_t got = 0;
	enum bufio_result res =
		read_stream(b, b->buf + b->w, b->size - b->w, between_lines, &got, err);
	b->w += got;
	return res;
}

enum bufio_result bufio_read_line(struct bufio_reader *b, char **line, size_t *len, struct err *err)
{
	size_t searched = 0; /* a long line is not searched from its start again */
	for (;;) {
		size_t buffered = bufio_buffered(b);
		char *start = buffered > 0 ? b->buf + b->r : NULL;
		char *nl = buffered > searched ? memchr(start + searched, '\n', buffered - searched)
					       : NULL;
		if (nl) {
			*line = start;
			*len = (size_t)(nl - start) + 1;
			b->r += *len;
			return BUFIO_OK;
		}
		searched = buffered;
		if (searched == b->size) {
			err_set(err, 0, "bufio: buffer full");
			return BUFIO_ERR;
		}
		enum bufio_result res = fill(b, buffered == 0, err);
		if (res != BUFIO_OK)
			return res;
	}
}

enum bufio_result bufio_read_full(struct bufio_reader *b, void *p, size_t n, struct err *err)
{
	char *out = p;
	size_t have = 0;
	while (have < n) {
		size_t buffered = bufio_buffered(b);
		if (buffered > 0) {
			size_t take = buffered < n - have ? buffered : n - have;
			memcpy(out + have, b->buf + b->r, take);
			b->r += take;
			have += take;
			continue;
		}
		/* What fills the whole buffer or more is read to where it belongs. */
		size_t got = 0;
		enum bufio_result res =
			n - have >= b->size ? read_stream(b, out + have, n - have, false, &got, err)
					    : fill(b, false, err);
		have += got;
		if (res == BUFIO_EOF && have > 0) {
			err_set(err, 0, "unexpected EOF");
			return BUFIO_ERR;
		}
		if (res != BUFIO_OK) {
			if (res == BUFIO_EOF)
				err_set(err, 0, "EOF");
			return res;
		}
	}
	return BUFIO_OK;
}

void bufio_writer_init(struct bufio_writer *b, struct stream *s, size_t size)
{
	*b = (struct bufio_writer){.stream = s, .size = size};
}

void bufio_writer_free(struct bufio_writer *b)
{
	bufpool_put(b->buf, b->size);
	b->buf = NULL;
}

void bufio_writer_give_back(struct bufio_writer *b)
{
	if (b->len == 0)
		bufio_writer_free(b);
}

void bufio_writer_reset(struct bufio_writer *b, struct stream *s, size_t size)
{
	CHECK(b->len == 0 || b->failed);
	bufio_writer_free(b);
	bufio_writer_init(b, s, size);
}

/* Remembers the first error for all later calls. */
static int result(struct bufio_writer *b, int rc, struct err *err)
{
	if (rc != 0 && !b->failed) {
		b->failed = true;
		b->err = *err;
	}
	return rc;
}

static int failed(const struct bufio_writer *b, struct err *err)
{
	*err = b->err;
	return -1;
}

int bufio_writev(struct bufio_writer *b, const struct iovec *parts, int n, int64_t deadline_ns,
	struct err *err)
{
	CHECK(n <= MAX_PARTS);
	if (b->failed)
		return failed(b, err);
	size_t total = 0;
	for (int i = 0; i < n; i++)
		total += parts[i].iov_len;

	b->unflushed = true;
	if (total <= b->size - b->len) {
		if (!b->buf)
			b->buf = bufpool_get(b->size);
		for (int i = 0; i < n; i++) {
			memcpy(b->buf + b->len, parts[i].iov_base, parts[i].iov_len);
			b->len += parts[i].iov_len;
		}
		return 0;
	}
	struct iovec iov[MAX_PARTS + 1] = {{.iov_base = b->buf, .iov_len = b->len}};
	memcpy(iov + 1, parts, (size_t)n * sizeof(*parts));
	int first = b->len > 0 ? 0 : 1;
	b->len = 0;
	return result(b,
		b->stream->ops->writev(b->stream, iov + first, n + 1 - first, deadline_ns, err),
		err);
}

int bufio_flush(struct bufio_writer *b, int64_t deadline_ns, struct err *err)
{
	if (b->failed)
		return failed(b, err);
	b->unflushed = false;
	if (b->len > 0) {
		struct iovec iov = {.iov_base = b->buf, .iov_len = b->len};
		b->len = 0;
		if (b->stream->ops->writev(b->stream, &iov, 1, deadline_ns, err) != 0)
			return result(b, -1, err);
	}
	return result(b, b->stream->ops->flush(b->stream, deadline_ns, err), err);
}
