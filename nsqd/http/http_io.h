/* SPDX-License-Identifier: MIT */
/*
 * How a connection of the HTTP server moves bytes, and earns credit by that (connReader and
 * checkConnErrorWriter of net/http's server.go).
 */
#ifndef NSQD_HTTP_IO_H
#define NSQD_HTTP_IO_H

#include <stddef.h>
#include <sys/types.h>

struct http_conn;
struct stream;

/* What reads return beside a count, 0 for the end, and -1: there is no input yet. */
#define HTTP_IO_WAIT (-2)

/*
 * Reads up to n > 0 bytes from layer, what there is. A poller's step does not wait for them, and
 * gets HTTP_IO_WAIT also where it has read enough. In a thread it waits for a moment, but not beyond
 * c->wait_until_ns. Takes the steps of tasks that c has kept first.
 */
ssize_t http_io_read_layer(struct http_conn *c, struct stream *layer, void *buf, size_t n);
/* The same from the top layer. */
ssize_t http_io_read(struct http_conn *c, void *buf, size_t n);
/* The same into the input, which is empty. */
ssize_t http_io_fill(struct http_conn *c);
/*
 * Writes all of it, and flushes. A failure is remembered: nothing more is sent, and the connection
 * ends. In a thread it blocks for as long as the client takes what is sent. At a
 * poller it does not: where the socket is full, c->unsent is set, and http_io_flush is next.
 */
void http_io_write(struct http_conn *c, const void *data, size_t n);
/* Sends what could not be sent before; as http_io_write. */
void http_io_flush(struct http_conn *c);
/* A new part begins to move: the bytes moved so far earn nothing any more. */
void http_io_begin_move(struct http_conn *c);
/* Takes the steps of the tasks that the handler has woken. The caller holds no lock. */
void http_io_take_steps(struct http_conn *c);

#endif
