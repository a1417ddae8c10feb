/* SPDX-License-Identifier: MIT */
/*
 * Moving the bytes of an HTTP connection. Mirrors connReader and checkConnErrorWriter of net/http's
 * server.go. Runs in the connection's thread.
 *
 * Different from Go: a connection that moves bytes earns credit by that. When there is no room for
 * a new connection, one without credit makes room (http_server.c).
 */
#include "nsqd/http/http_io.h"

#include "common/clock.h"
#include "nsqd/http/http_internal.h"

/* The credit for a byte: a working client moves more than 4 KiB in a second. */
#define NS_PER_BYTE (NSEC_PER_SEC / 4096)
/* How much of an answer is written before it counts as moved. */
#define WRITE_SIZE ((size_t)64 * 1024)

static void set_credit(struct http_conn *c)
{
	int64_t earned;
	if (c->deadline_ns != 0)
		return; /* that bounds it */
	if (__builtin_mul_overflow(c->moved, NS_PER_BYTE, &earned) ||
		__builtin_add_overflow(earned, c->since_ns + c->grace_ns, &earned))
		earned = INT64_MAX;
	atomic_store_explicit(&c->credit_ns, earned, memory_order_relaxed);
}

void http_io_begin_move(struct http_conn *c)
{
	c->since_ns = clock_mono_ns();
	c->moved = 0;
	set_credit(c);
}

ssize_t http_io_read_until(
	struct http_conn *c, void *buf, size_t n, int64_t deadline_ns, struct err *err)
{
	ssize_t got = c->stream->ops->read(c->stream, buf, n, deadline_ns, err);
	if (got > 0) {
		c->moved += got;
		set_credit(c);
	}
	return got;
}

ssize_t http_io_read(struct http_conn *c, void *buf, size_t n, struct err *err)
{
	return http_io_read_until(c, buf, n, c->deadline_ns, err);
}

ssize_t http_io_fill(struct http_conn *c, struct err *err)
{
	c->r = c->w = 0;
	ssize_t got = http_io_read(c, c->input, sizeof(c->input), err);
	if (got > 0)
		c->w = (size_t)got;
	return got;
}

/* The part of the buffers that goes out next, at most WRITE_SIZE. Returns how many buffers. */
static int next_part(struct iovec *part, const struct iovec *iov, int n, size_t *len)
{
	int used = 0;
	*len = 0;
	while (used < n && *len < WRITE_SIZE) {
		part[used] = iov[used];
		if (part[used].iov_len > WRITE_SIZE - *len)
			part[used].iov_len = WRITE_SIZE - *len;
		*len += part[used++].iov_len;
	}
	return used;
}

static void drop_part(struct iovec **iov, int *n, size_t len)
{
	while (*n > 0 && len >= (*iov)->iov_len) {
		len -= (*iov)->iov_len;
		++*iov;
		--*n;
	}
	if (*n > 0) {
		(*iov)->iov_base = (char *)(*iov)->iov_base + len;
		(*iov)->iov_len -= len;
	}
}

/*
 * Written bytes earn only the time that writing took: for a client that never reads, they may have
 * gone no further than the kernel's buffers.
 */
void http_io_write(struct http_conn *c, struct iovec *iov, int n)
{
	enum { MAX_PARTS = 4 };
	struct iovec part[MAX_PARTS];
	struct err err;
	size_t len;
	http_io_begin_move(c);
	while (n > 0 && !c->send_failed) {
		int k = next_part(part, iov, n < MAX_PARTS ? n : MAX_PARTS, &len);
		c->send_failed =
			c->stream->ops->writev(c->stream, part, k, c->deadline_ns, &err) != 0;
		drop_part(&iov, &n, len);
		http_io_begin_move(c);
	}
	if (!c->send_failed && c->stream != c->sock)
		c->send_failed = c->stream->ops->flush(c->stream, c->deadline_ns, &err) != 0;
	c->close = c->close || c->send_failed;
}
