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
 * A deadline for writev and flush that never blocks. The lowest layer keeps the bytes that the
 * system does not take at once, and the next write or flush sends them first. The caller limits how
 * many bytes that may be.
 */
#define STREAM_NOW INT64_C(-1)
/*
 * A deadline for read, which is past: it waits neither for the peer nor for another thread. If one
 * that writes is in the way, the read fails with EBUSY, and another one may succeed.
 */
#define STREAM_AT_ONCE INT64_C(1)

struct stream_ops {
	/*
	 * Reads 1..n bytes, blocking until there are some, or until deadline_ns (monotonic; 0: for
	 * ever). 0: end of file; -1: err set. Bytes that are there at the deadline, or after it,
	 * are read: only silence is ETIMEDOUT. Then the next read goes on where this one stopped.
	 * Reader only.
	 */
	ssize_t (*read)(
		struct stream *s, void *buf, size_t n, int64_t deadline_ns, struct err *err);
	/*
	 * Reads bytes that are there already, without blocking. -1: there are none, or an error
	 * that read will report. May be NULL. Reader only.
	 */
	ssize_t (*try_read)(struct stream *s, void *buf, size_t n);
	/*
	 * Writes all n buffers (changes iov), blocking until deadline_ns, or STREAM_NOW. -1 with
	 * err set: some bytes may have been sent. Writer only.
	 */
	int (*writev)(
		struct stream *s, struct iovec *iov, int n, int64_t deadline_ns, struct err *err);
	/*
	 * Sends the bytes that the layers hold back. 0; 1: STREAM_NOW, and the lowest layer still
	 * keeps some; -1 with err set. Writer only.
	 */
	int (*flush)(struct stream *s, int64_t deadline_ns, struct err *err);
	/*
	 * Tells the peer that no more data will come (close-notify, FIN), if that can still be sent
	 * until deadline_ns. The writer has flushed before, and writes no more. Writer only, after
	 * the reader has ended.
	 */
	void (*close_write)(struct stream *s, int64_t deadline_ns);
	/*
	 * Ends both directions: a thread that reads or writes returns at once. Any thread; also
	 * more than once.
	 */
	void (*shutdown)(struct stream *s);
	/*
	 * Frees it with the layers below, and closes the descriptor. No thread may use it any more.
	 */
	void (*free)(struct stream *s);
};

/* The head of every layer. */
struct stream {
	const struct stream_ops *ops; /* immutable */
};

/* The lowest layer. Takes over fd, a connected and blocking stream socket. */
struct stream *stream_sock_new(int fd);
/* The bytes that all streams of stream_sock_new have moved since the start. Any thread. */
void stream_sock_get_bytes(uint64_t *received, uint64_t *sent);
/* The descriptor of a stream of stream_sock_new, for a thread that waits for several of them. */
int stream_sock_fd(const struct stream *s);
/*
 * Throws away what has come in, as far as that goes without waiting: at most 256 KB. 1: some of it; 0:
 * there was nothing; -1: there will be no more. The reader, when it reads no more.
 */
int stream_sock_discard(const struct stream *s);
/*
 * Ends reading in the lowest layer, and so in all layers above: a read now or later returns the
 * end. Writing goes on. Any thread; also more than once.
 */
void stream_sock_shutdown_read(struct stream *s);

#endif
