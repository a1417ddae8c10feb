/* SPDX-License-Identifier: MIT */
/* The thread of a log, and how an append comes to be committed: by that thread, or by its own. */
#ifndef NSQD_LOG_LOOP_H
#define NSQD_LOG_LOOP_H

#include <stdbool.h>

#include "common/err.h"

struct log;
struct log_request;

/* Has tick called within tick_ns. -1 with err set: no thread. Any thread, does not block. */
int log_wake(struct log *l, struct err *err);
/* The same, but starts no thread. False: there is none. Takes no lock of the log. */
bool log_wake_running(struct log *l);

/* --- for log.c ------------------------------------------------------------------------------------ */

/*
 * Has a request committed that log_request_prepare has made: r->rc says what has become of it. Blocks
 * until that is known, and so on the disk. Any thread, without locks; takes log.lock.
 */
void log_commit_one(struct log *l, struct log_request *r);
/*
 * The same without waiting: log:TOPIC calls r->done, and has r then. -1 with err set, EAGAIN: there is no
 * thread for it; r stays the caller's. Takes log.lock.
 */
int log_begin_commit(struct log *l, struct log_request *r, struct err *err);
/* Frees a list of requests, linked by next. Nobody else may know them. */
void log_requests_free(struct log_request *r);

#endif
