/* SPDX-License-Identifier: MIT */
/* Appends: what their threads prepare, and the commit of several together. */
#ifndef NSQD_LOG_APPEND_H
#define NSQD_LOG_APPEND_H

#include <stdbool.h>
#include <stddef.h>

#include "common/err.h"
#include "nsqd/log/log_internal.h"

/* A request without records. */
struct log_request *log_request_new(void);
/* With its memory, but not the messages. */
void log_request_free(struct log_request *r);
/* It has so much memory that it is not to be kept for the next append. */
bool log_request_is_large(const struct log_request *r);
/* One of the log's free ones, or a new one; and back. Any thread; takes log.lock. */
struct log_request *log_request_get(struct log *l);
void log_request_put(struct log *l, struct log_request *take_r);
/*
 * Makes the records of n > 0 messages, all but their numbers and places; borrows the messages until
 * the commit. channel: they are copies for it; NULL: for all. -1 with err set: they are too large,
 * or a name is. The appending thread.
 */
int log_request_prepare(struct log_request *r, const char *channel, struct message *const *msgs,
	size_t n, struct err *err);
/*
 * Writes all of the requests, syncs with `disk`, makes them known to readers, and sets the rc of
 * each. The messages of those that are kept get their numbers and places. Answers none. The writer; blocks on the disk.
 */
void log_commit(struct log *l, struct log_request *const *reqs, size_t n);
/*
 * The last commit has failed: would one of its size succeed now? Writes zeros behind the end, syncs
 * with `disk`, and cuts them off. 0 if so. Tells log_health.h. The writer; blocks on the disk.
 */
int log_probe(struct log *l);
/*
 * The log falls idle, or is closed: writes where it ends, so that the next start has nothing to
 * look for, and closes the file. A failure is no harm. The writer.
 */
void log_rest(struct log *l);

#endif
