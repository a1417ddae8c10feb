/* SPDX-License-Identifier: MIT */
/* A lowest layer in memory: gives what it was given, in pieces, and keeps what is written. */
#ifndef TEST_UNIT_STREAM_MEM_H
#define TEST_UNIT_STREAM_MEM_H

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/stream.h"

struct stream_mem {
	struct stream stream;
	const unsigned char *in; /* borrowed */
	size_t in_len, pos;
	size_t step;        /* the most that one read gives */
	size_t timeouts;    /* every other read fails with a timeout while this is not 0 */
	unsigned char *out; /* owned: all that was written */
	size_t out_len;
	size_t flushes, shutdowns;
	int *freed; /* counts up, if not NULL */
};

static ssize_t stream_mem_read(
	struct stream *stream, void *buf, size_t n, int64_t deadline_ns, struct err *err)
{
	struct stream_mem *s = (struct stream_mem *)stream;
	size_t left = s->in_len - s->pos;
	size_t take = left < n ? left : n;
	(void)deadline_ns;
	if (s->timeouts > 0 && s->timeouts-- % 2)
		return err_set(err, ETIMEDOUT, "i/o timeout");
	if (take > s->step)
		take = s->step;
	if (take > 0)
		memcpy(buf, s->in + s->pos, take);
	s->pos += take;
	return (ssize_t)take;
}

static int stream_mem_writev(
	struct stream *stream, struct iovec *iov, int n, int64_t deadline_ns, struct err *err)
{
	struct stream_mem *s = (struct stream_mem *)stream;
	(void)deadline_ns;
	(void)err;
	for (int i = 0; i < n; i++) {
		if (iov[i].iov_len == 0)
			continue;
		s->out = realloc(s->out, s->out_len + iov[i].iov_len);
		memcpy(s->out + s->out_len, iov[i].iov_base, iov[i].iov_len);
		s->out_len += iov[i].iov_len;
	}
	return 0;
}

static int stream_mem_flush(struct stream *stream, int64_t deadline_ns, struct err *err)
{
	(void)deadline_ns;
	(void)err;
	((struct stream_mem *)stream)->flushes++;
	return 0;
}

static void stream_mem_shutdown(struct stream *stream)
{
	((struct stream_mem *)stream)->shutdowns++;
}

static void stream_mem_free(struct stream *stream)
{
	struct stream_mem *s = (struct stream_mem *)stream;
	if (s->freed)
		(*s->freed)++;
	free(s->out);
	free(s);
}

static const struct stream_ops stream_mem_ops = {
	.read = stream_mem_read,
	.writev = stream_mem_writev,
	.flush = stream_mem_flush,
	.shutdown = stream_mem_shutdown,
	.free = stream_mem_free,
};

static inline struct stream_mem *stream_mem_new(const void *in, size_t len, size_t step)
{
	struct stream_mem *s = calloc(1, sizeof(*s));
	s->stream.ops = &stream_mem_ops;
	s->in = in;
	s->in_len = len;
	s->step = step;
	return s;
}

#endif
