/* SPDX-License-Identifier: MIT */
/*
 * TLS, snappy and deflate under a connection. Snappy and deflate are spoken by the daemon's own
 * layers (protocol/), whose proof is stock's half of each pair.
 *
 * A publisher's compressed bytes are recorded before the clock starts: to compress costs several
 * times what it costs to decompress, and it is the server that is to be measured. Between the
 * compressor and what is below it lies a tap, which keeps what comes by while a recording is made.
 */
#include "test/bench/bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/stream_deflate.h"
#include "protocol/stream_snappy.h"

enum { STALL_S = 30, DEFLATE_LEVEL = 6 };

struct tap {
	struct stream stream; /* first: the layers above get a pointer to it */
	struct stream *below;
	struct recording *recording; /* NULL: all passes through */
};

static int64_t stall_deadline(void)
{
	return (int64_t)now_ns() + STALL_S * 1000000000LL;
}

static ssize_t tap_read(
	struct stream *stream, void *buf, size_t n, int64_t deadline_ns, struct err *err)
{
	struct stream *below = ((struct tap *)stream)->below;

	return below->ops->read(below, buf, n, deadline_ns, err);
}

static void record(struct recording *r, const void *data, size_t len)
{
	if (len > r->cap - r->len) {
		r->cap = 2 * r->cap + len;
		r->data = realloc(r->data, r->cap);
		if (!r->data)
			die("out of memory");
	}
	memcpy(r->data + r->len, data, len);
	r->len += len;
}

static int tap_writev(
	struct stream *stream, struct iovec *iov, int n, int64_t deadline_ns, struct err *err)
{
	struct tap *t = (struct tap *)stream;

	if (!t->recording)
		return t->below->ops->writev(t->below, iov, n, deadline_ns, err);
	for (int i = 0; i < n; i++)
		record(t->recording, iov[i].iov_base, iov[i].iov_len);
	return 0;
}

static int tap_flush(struct stream *stream, int64_t deadline_ns, struct err *err)
{
	struct tap *t = (struct tap *)stream;

	return t->recording != NULL ? 0 : t->below->ops->flush(t->below, deadline_ns, err);
}

static void tap_shutdown(struct stream *stream)
{
	struct stream *below = ((struct tap *)stream)->below;

	below->ops->shutdown(below);
}

static void tap_free(struct stream *stream)
{
	struct tap *t = (struct tap *)stream;

	t->below->ops->free(t->below);
	free(t);
}

static const struct stream_ops tap_ops = {
	.read = tap_read,
	.writev = tap_writev,
	.flush = tap_flush,
	.shutdown = tap_shutdown,
	.free = tap_free,
};

bool transport_is_plain(void)
{
	return !opt.tls && opt.compress == COMPRESS_NONE;
}

int transport_json(char *out, size_t size)
{
	static const char *const compress[] = {
		[COMPRESS_NONE] = "",
		[COMPRESS_SNAPPY] = ",\"snappy\":true",
		[COMPRESS_DEFLATE] = ",\"deflate\":true,\"deflate_level\":6",
	};

	if (transport_is_plain())
		return 0;
	return snprintf(out, size, ",\"feature_negotiation\":true%s%s",
		opt.tls ? ",\"tls_v1\":true" : "", compress[opt.compress]);
}

/* What the server agreed to must be what was asked for. */
static void check_agreed(struct conn *c)
{
	static const char *const compress[] = {
		[COMPRESS_SNAPPY] = "\"snappy\":true",
		[COMPRESS_DEFLATE] = "\"deflate\":true",
	};
	struct frame f;
	size_t used = 0;

	while (!conn_frame(c, &used, &f))
		conn_recv(c);
	if (opt.tls && memmem(f.data, f.len, "\"tls_v1\":true", 13) == NULL)
		die("the server has no TLS: %.*s", (int)f.len, f.data);
	if (opt.compress != COMPRESS_NONE && memmem(f.data, f.len, compress[opt.compress],
						     strlen(compress[opt.compress])) == NULL)
		die("the server does not compress: %.*s", (int)f.len, f.data);
	conn_consume(c, used);
}

/* What has been received already is compressed. */
static void push_compressor(struct conn *c)
{
	struct tap *t = xalloc(sizeof(*t));

	t->stream.ops = &tap_ops;
	t->below = c->stream;
	c->tap = t;
	c->stream = opt.compress == COMPRESS_SNAPPY
			    ? stream_snappy_new(&t->stream, c->buf, c->have)
			    : stream_deflate_new(&t->stream, DEFLATE_LEVEL, c->buf, c->have);
	c->have = 0;
}

void transport_upgrade(struct conn *c)
{
	if (transport_is_plain())
		return;
	check_agreed(c);
	pthread_mutex_init(&c->send_lock, NULL);
	c->stream = stream_sock_new(c->fd);
	if (opt.tls) {
		if (c->have > 0)
			die("the server went on before the TLS handshake");
		c->stream = tls_client_new(c->stream);
		conn_expect_ok(c, "tls_v1");
	}
	if (opt.compress != COMPRESS_NONE) {
		push_compressor(c);
		conn_expect_ok(c, "compression");
	}
}

void transport_close(struct conn *c)
{
	pthread_mutex_destroy(&c->send_lock);
	c->stream->ops->free(c->stream);
}

/* To the top of the stack, or to what is below the compressor. */
static void send_to(struct conn *c, struct stream *s, const void *data, size_t len)
{
	struct iovec iov = {.iov_base = (void *)data, .iov_len = len};
	struct err err = {0};

	pthread_mutex_lock(&c->send_lock);
	if (s->ops->writev(s, &iov, 1, stall_deadline(), &err) != 0 ||
		s->ops->flush(s, stall_deadline(), &err) != 0)
		die("send: %s", err.msg);
	pthread_mutex_unlock(&c->send_lock);
}

void transport_send(struct conn *c, const void *data, size_t len)
{
	send_to(c, c->stream, data, len);
}

ssize_t transport_recv(struct conn *c, void *buf, size_t n)
{
	struct err err = {0};
	ssize_t got = c->stream->ops->read(c->stream, buf, n, stall_deadline(), &err);

	if (got < 0)
		die("recv: %s", err.msg);
	return got;
}

void recording_begin(struct conn *c, struct recording *r)
{
	c->tap->recording = r;
}

void recording_end(struct conn *c)
{
	c->tap->recording = NULL;
}

void recording_send(struct conn *c, const struct recording *r, size_t from, size_t to)
{
	send_to(c, c->tap->below, r->data + from, to - from);
}
