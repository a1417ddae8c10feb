/* SPDX-License-Identifier: MIT */
/* The body of a request (body and expectContinueReader of net/http). */
#ifndef NSQD_HTTP_BODY_H
#define NSQD_HTTP_BODY_H

#include <stdint.h>
#include <sys/types.h>

struct http_conn;

/* The head has been read: finds out what body follows it. */
void http_body_begin(struct http_conn *c);
/*
 * io.ReadAll of a LimitReader: into req->message, if that is there, or req->body. 0; -1: it was cut
 * off, or is malformed; HTTP_IO_WAIT. The first read consents to a body that was announced with
 * Expect.
 */
ssize_t http_body_read(struct http_conn *c, int64_t limit);
/*
 * Reads what is left, to the end of it or up to *max bytes, which it counts down. 0: to its end; 1:
 * there is more; else as above.
 */
ssize_t http_body_discard(struct http_conn *c, int64_t *max);
void http_body_end(struct http_conn *c);

#endif
