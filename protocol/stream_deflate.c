/* SPDX-License-Identifier: MIT */
/*
 * The deflate layer. Mirrors compress/flate as clientV2 uses it, on zlib. Threads: the client's
 * io_loop reads. io_loop, the client's pump and threads that take the pump's steps write, one at a
 * time under the client's write lock.
 *
 * Difference: a flush with nothing new to send sends nothing (Go sends an empty block).
 */
#include "protocol/stream_deflate.h"

#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "common/check.h"
#include "common/xalloc.h"

#define RAW_WINDOW_BITS (-15)
#define MEM_LEVEL 8 /* zlib's default */
#define IN_SIZE ((size_t)16384)
#define OUT_SIZE ((size_t)16384)

struct stream_deflate {
	struct stream stream;
	struct stream *below; /* immutable; owned */

	/* --- reader only --- */
	z_stream inflate;
	unsigned char *in; /* owned; inflate.next_in points into it */
	size_t in_cap;
	bool ended;  /* the last block has been read */
	bool failed; /* every read fails with read_err */
	struct err read_err;

	/* --- writer only --- */
	z_stream deflate;
	unsigned char *out; /* owned; of OUT_SIZE; deflate.next_out points into it */
	bool held_back;     /* something was written since the last sync marker */
};

/* --- reading ---------------------------------------------------------------------------------- */

static ssize_t fail(struct stream_deflate *s, const char *text, struct err *err)
{
	s->failed = true;
	err_set(&s->read_err, 0, "%s", text);
	*err = s->read_err;
	return -1;
}

/* Reads more input. 1; 0 at the end; -1 with err set. */
static int fill(struct stream_deflate *s, int64_t deadline_ns, struct err *err)
{
	ssize_t got = s->below->ops->read(s->below, s->in, s->in_cap, deadline_ns, err);
	if (got <= 0)
		return (int)got;
	s->inflate.next_in = s->in;
	s->inflate.avail_in = (uInt)got;
	return 1;
}

static ssize_t deflate_read(
	struct stream *stream, void *buf, size_t n, int64_t deadline_ns, struct err *err)
{
	struct stream_deflate *s = (struct stream_deflate *)stream;
	if (s->failed) {
		*err = s->read_err;
		return -1;
	}
	if (n > UINT_MAX)
		n = UINT_MAX;
	for (;;) {
		if (s->ended)
			return 0;
		s->inflate.next_out = buf;
		s->inflate.avail_out = (uInt)n;
		/* Also without input: zlib may hold data that did not fit the last time. */
		int rc = inflate(&s->inflate, Z_SYNC_FLUSH);
		bool corrupt = rc != Z_OK && rc != Z_BUF_ERROR && rc != Z_STREAM_END;
		if (rc == Z_STREAM_END)
			s->ended = true;
		if (corrupt)
			(void)fail(s, "flate: corrupt input", err);
		/* The data before the corruption is good. */
		if (s->inflate.avail_out < n)
			return (ssize_t)(n - s->inflate.avail_out);
		if (corrupt)
			return -1;
		if (s->ended || s->inflate.avail_in > 0)
			continue;
		rc = fill(s, deadline_ns, err);
		if (rc < 0)
			return -1;
		if (rc == 0)
			return fail(s, "unexpected EOF", err);
	}
}

/* --- writing ---------------------------------------------------------------------------------- */

static int send_out(struct stream_deflate *s, int64_t deadline_ns, struct err *err)
{
	struct iovec iov = {.iov_base = s->out, .iov_len = OUT_SIZE - s->deflate.avail_out};
	s->deflate.next_out = s->out;
	s->deflate.avail_out = OUT_SIZE;
	if (iov.iov_len == 0)
		return 0;
	return s->below->ops->writev(s->below, &iov, 1, deadline_ns, err);
}

/* Compresses the bytes at next_in; with Z_SYNC_FLUSH all of them go to the layer below. */
static int compress_in(struct stream_deflate *s, int flush, int64_t deadline_ns, struct err *err)
{
	for (;;) {
		int rc = deflate(&s->deflate, flush);
		CHECK(rc == Z_OK || rc == Z_BUF_ERROR);
		if (s->deflate.avail_out > 0)
			break;
		if (send_out(s, deadline_ns, err) != 0)
			return -1;
	}
	CHECK(s->deflate.avail_in == 0);
	return flush == Z_SYNC_FLUSH ? send_out(s, deadline_ns, err) : 0;
}

static int deflate_writev(
	struct stream *stream, struct iovec *iov, int n, int64_t deadline_ns, struct err *err)
{
	struct stream_deflate *s = (struct stream_deflate *)stream;
	for (; n > 0; iov++, n--) {
		const char *p = iov->iov_base;
		size_t left = iov->iov_len;
		while (left > 0) {
			size_t take = left < UINT_MAX ? left : UINT_MAX;
			s->deflate.next_in = (unsigned char *)p;
			s->deflate.avail_in = (uInt)take;
			s->held_back = true;
			if (compress_in(s, Z_NO_FLUSH, deadline_ns, err) != 0)
				return -1;
			p += take;
			left -= take;
		}
	}
	return 0;
}

static int deflate_flush(struct stream *stream, int64_t deadline_ns, struct err *err)
{
	struct stream_deflate *s = (struct stream_deflate *)stream;
	if (s->held_back) {
		s->held_back = false;
		if (compress_in(s, Z_SYNC_FLUSH, deadline_ns, err) != 0)
			return -1;
	}
	return s->below->ops->flush(s->below, deadline_ns, err);
}

/* --- life ------------------------------------------------------------------------------------- */

static void deflate_close_write(struct stream *stream, int64_t deadline_ns)
{
	struct stream *below = ((struct stream_deflate *)stream)->below;
	below->ops->close_write(below, deadline_ns);
}

static void deflate_shutdown(struct stream *stream)
{
	struct stream *below = ((struct stream_deflate *)stream)->below;
	below->ops->shutdown(below);
}

static void deflate_free(struct stream *stream)
{
	struct stream_deflate *s = (struct stream_deflate *)stream;
	s->below->ops->free(s->below);
	inflateEnd(&s->inflate);
	deflateEnd(&s->deflate);
	free(s->in);
	free(s->out);
	free(s);
}

static const struct stream_ops deflate_ops = {
	.read = deflate_read,
	.writev = deflate_writev,
	.flush = deflate_flush,
	.close_write = deflate_close_write,
	.shutdown = deflate_shutdown,
	.free = deflate_free,
};

/* zlib's memory: without memory the process ends with a message, as everywhere. */
static void *allocate(void *arg, unsigned n, unsigned size)
{
	(void)arg;
	return xreallocarray(NULL, n, size);
}

static void release(void *arg, void *p)
{
	(void)arg;
	free(p);
}

struct stream *stream_deflate_new(
	struct stream *take_below, int level, const void *pending, size_t n)
{
	struct stream_deflate *s = xcalloc(1, sizeof(*s));
	s->stream.ops = &deflate_ops;
	s->below = take_below;
	s->in_cap = n > IN_SIZE ? n : IN_SIZE;
	s->in = xmalloc(s->in_cap);
	if (n > 0)
		memcpy(s->in, pending, n);
	s->inflate.next_in = s->in;
	s->inflate.avail_in = (uInt)n;
	s->out = xmalloc(OUT_SIZE);
	s->inflate.zalloc = s->deflate.zalloc = allocate;
	s->inflate.zfree = s->deflate.zfree = release;
	/* These calls fail only without memory, and allocate never fails. */
	CHECK(inflateInit2(&s->inflate, RAW_WINDOW_BITS) == Z_OK);
	CHECK(deflateInit2(&s->deflate, level, Z_DEFLATED, RAW_WINDOW_BITS, MEM_LEVEL,
		      Z_DEFAULT_STRATEGY) == Z_OK);
	s->deflate.next_out = s->out;
	s->deflate.avail_out = OUT_SIZE;
	return &s->stream;
}
