/* SPDX-License-Identifier: MIT */
/*
 * The byte stream of a connection (net.Conn): a stack of layers, of which the socket
 * (stream_sock.c) is the lowest; TLS, snappy and deflate go on top. One thread reads and one writes
 * at a time, each without waiting for the other; any thread may shut it down.
 */
#ifndef PROTOCOL_STREAM_H
#define PROTOCOL_STREAM_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "common/err.h"

struct stream;

/*
 * In place of a deadline of writev and flush: never blocks. What the system does not take at once
 * the lowest layer keeps, in whatever form the layers above have given it, and the next write or
 * flush sends it first. How much that may become is the caller's to limit.
 */
#define STREAM_NOW INT64_C(-1)

struct stream_ops {
	/*
	 * Reads 1..n bytes, blocking until there are some, or until deadline_ns (monotonic; 0: for
	 * ever). 0: end of file; -1: err set. What is there at the deadline, or after it, is read:
	 * only silence is ETIMEDOUT, and then the next read goes on where this one was. Reader
	 * only.
	 */
	ssize_t (*read)(
		struct stream *s, void *buf, size_t n, int64_t deadline_ns, struct err *err);
	/*
	 * The same of what is there already, without blocking: -1 if that is nothing, or anything
	 * is wrong; then read says what. May be NULL. Reader only.
	 */
	ssize_t (*try_read)(struct stream *s, void *buf, size_t n);
	/*
	 * Writes all n buffers (iov is used up), blocking until deadline_ns, or STREAM_NOW. -1 with
	 * err set: then some may have gone. Writer only.
	 */
	int (*writev)(
		struct stream *s, struct iovec *iov, int n, int64_t deadline_ns, struct err *err);
	/*
	 * Sends on what the layers hold back. 0; 1: STREAM_NOW, and the lowest layer still keeps
	 * some; -1 with err set. Writer only.
	 */
	int (*flush)(struct stream *s, int64_t deadline_ns, struct err *err);
	/*
	 * Says that nothing more will be written (close-notify, FIN), until deadline_ns, and as far
	 * as the peer can still be told. What is held back must have been flushed. Nothing may be
	 * written any more. Sender, and the reader has ended.
	 */
	void (*close_write)(struct stream *s, int64_t deadline_ns);
	/*
	 * Both directions end: whoever reads or writes returns at once. Any thread; also more than
	 * once.
	 */
	void (*shutdown)(struct stream *s);
	/* Frees it with the layers below, closing the descriptor. Nobody may use it any more. */
	void (*free)(struct stream *s);
};

/* The head of every layer. */
struct stream {
	const struct stream_ops *ops; /* immutable */
};

/* The lowest layer. Takes over fd, a connected and blocking stream socket. */
struct stream *stream_sock_new(int fd);
/* The descriptor of a stream of stream_sock_new, for those who wait for several of them. */
int stream_sock_fd(const struct stream *s);
/*
 * Of the lowest layer, and through it of all above: whoever reads now, or later, gets the end.
 * Writing goes on. Any thread; also more than once.
 */
void stream_sock_shutdown_read(struct stream *s);

#endif
