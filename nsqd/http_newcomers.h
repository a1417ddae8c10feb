/* SPDX-License-Identifier: MIT */
/*
 * Plain HTTP connections that have not sent the first line of a request yet. It
 * is looked at before libmicrohttpd gets it (and the connection a thread): what is
 * none is refused in net/http's words (http_refuse.h), of which libmicrohttpd
 * knows nothing. All of it is the accept thread's.
 */
#ifndef NSQD_HTTP_NEWCOMERS_H
#define NSQD_HTTP_NEWCOMERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "protocol/listener.h"

struct http_newcomers;
struct http_refusal;

/*
 * greeted gets those whose first line is one, with their input unread; gone is
 * told of each other one, after it was closed. Both with arg. NULL with err set.
 */
struct http_newcomers *http_newcomers_new(
	void (*greeted)(void *arg, int fd, const union address *addr), void (*gone)(void *arg),
	void *arg, struct err *err);
/* Closes them all, without a word. NULL is fine. */
void http_newcomers_free(struct http_newcomers *n);
/* To be polled: readable while http_newcomers_look has something to do. */
int http_newcomers_fd(const struct http_newcomers *n);
/* Takes fd over, which is non-blocking. */
void http_newcomers_add(struct http_newcomers *n, int fd, const union address *addr);
/* Reads what has come. Does not block. */
void http_newcomers_look(struct http_newcomers *n);
/* Closes the one that has been here for longest, if that is since before (monotonic). */
bool http_newcomers_evict(struct http_newcomers *n, int64_t before_ns);
/* The first line of a request, without its end: NULL if net/http takes it, else what that says. */
const struct http_refusal *http_check_line(const char *line, size_t len);

#endif
