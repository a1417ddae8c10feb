/* SPDX-License-Identifier: MIT */
/*
 * How a connection of the HTTP server moves bytes, and earns credit by that (connReader and
 * checkConnErrorWriter of net/http's server.go).
 */
#ifndef NSQD_HTTP_IO_H
#define NSQD_HTTP_IO_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "common/err.h"

struct http_conn;

/* Reads what there is, at least one byte, into the empty input. 0: the end; -1: err set. Blocks. */
ssize_t http_io_fill(struct http_conn *c, struct err *err);
/* Reads into buf without detour, up to n > 0 bytes. As http_io_fill. */
ssize_t http_io_read(struct http_conn *c, void *buf, size_t n, struct err *err);
/* The same, but not beyond deadline_ns (monotonic; 0: without end). */
ssize_t http_io_read_until(
	struct http_conn *c, void *buf, size_t n, int64_t deadline_ns, struct err *err);
/*
 * Writes all of it, and flushes; iov is used up. A failure is remembered: nothing more is sent, and
 * the connection ends. Blocks for as long as the client takes what is sent.
 */
void http_io_write(struct http_conn *c, struct iovec *iov, int n);
/* A new part begins to move: the bytes moved so far earn nothing any more. */
void http_io_begin_move(struct http_conn *c);

#endif
