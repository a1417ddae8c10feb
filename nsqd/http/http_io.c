/* SPDX-License-Identifier: MIT */
/*
 * Moving the bytes of an HTTP connection. Mirrors connReader and checkConnErrorWriter of net/http's
 * server.go. Runs at the pollers, and in the connection's thread if it has one.
 *
 * Different from Go: a connection that moves bytes earns credit by that. When there is no room for
 * a new connection, one without credit makes room (http_server.c).
 */
#include "nsqd/http/http_io.h"

#include <errno.h>

#include "common/clock.h"
#include "common/runnext.h"
#include "nsqd/http/http_internal.h"

/* A deadline that is past: what is there is read, and nothing awaited. */
#define AT_ONCE 1
/* The credit for a byte: a working client moves more than 4 KiB in a second. */
#define NS_PER_BYTE (NSEC_PER_SEC / 4096)

static void set_credit(struct http_conn *c)
{
	int64_t earned;
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

void http_io_take_steps(struct http_conn *c)
{
	if (!c->keeps_tasks)
		return;
	c->keeps_tasks = false;
	runnext_end();
}

static int64_t read_deadline(const struct http_conn *c)
{
	if (!http_is_in_thread(c) || c->is_lent || netpoll_is_short_of_threads(c->server->netpoll))
		return AT_ONCE;
	int64_t end = clock_mono_ns() + HTTP_MOMENT_NS;
	return c->wait_until_ns != 0 && c->wait_until_ns < end ? c->wait_until_ns : end;
}

ssize_t http_io_read_layer(struct http_conn *c, struct stream *layer, void *buf, size_t n)
{
	struct err err;
	bool at_poller = !http_is_in_thread(c);
	c->busy = at_poller && c->taken >= HTTP_STEP_BYTES;
	if (c->busy || c->drained)
		return HTTP_IO_WAIT;
	http_io_take_steps(c);
	ssize_t got = layer->ops->read(layer, buf, n, read_deadline(c), &err);
	if (got > 0)
		c->taken += (size_t)got;
	/* See netpoll_ops.step: that is all, for now. */
	c->drained = at_poller && layer == c->sock && got > 0 && (size_t)got < n &&
		     !netpoll_hung_up(c->pd);
	return got < 0 && err.code == ETIMEDOUT ? HTTP_IO_WAIT : got;
}

ssize_t http_io_read(struct http_conn *c, void *buf, size_t n)
{
	ssize_t got = http_io_read_layer(c, c->stream, buf, n);
	if (got > 0) {
		c->moved += got;
		set_credit(c);
	}
	return got;
}

ssize_t http_io_fill(struct http_conn *c)
{
	c->r = c->w = 0;
	ssize_t got = http_io_read(c, c->input, sizeof(c->input));
	if (got > 0)
		c->w = (size_t)got;
	return got;
}

static void end_write(struct http_conn *c, bool failed)
{
	c->send_failed = c->send_failed || failed;
	c->close = c->close || c->send_failed;
}

void http_io_flush(struct http_conn *c)
{
	struct err err;
	c->unsent = false;
	if (c->send_failed)
		return;
	int rc = c->stream->ops->flush(c->stream, http_is_in_thread(c) ? 0 : STREAM_NOW, &err);
	c->unsent = rc > 0;
	end_write(c, rc < 0);
}

/*
 * Written bytes earn only the time that writing took: for a client that never reads, they may have
 * gone no further than the kernel's buffers.
 */
void http_io_write(struct http_conn *c, const void *data, size_t n)
{
	struct err err;
	struct iovec iov = {(void *)data, n};
	int64_t deadline_ns = http_is_in_thread(c) ? 0 : STREAM_NOW;
	http_io_begin_move(c);
	if (!c->send_failed)
		end_write(c, c->stream->ops->writev(c->stream, &iov, 1, deadline_ns, &err) != 0);
	http_io_flush(c);
}
