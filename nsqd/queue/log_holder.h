/* SPDX-License-Identifier: MIT */
/*
 * Which message holds back a topic's log: the oldest that some channel has not finished. The
 * segment in which it is stays, and all behind it.
 */
#ifndef NSQD_LOG_HOLDER_H
#define NSQD_LOG_HOLDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "nsqd/core/message.h"
#include "protocol/names.h"

struct topic;

enum log_holder_state {
	HOLDER_QUEUED,
	HOLDER_IN_FLIGHT,
	HOLDER_DEFERRED,
};

struct log_holder {
	char channel
		[NAME_SIZE]; /* one of them, if there are several; "": it is in no channel yet */
	uint64_t seq;        /* its number in the log */
	int64_t since_ns;    /* since when it is the oldest one, about (monotonic) */
	enum log_holder_state state;
	int64_t client_id; /* in flight: its consumer */
	int64_t due;       /* deferred: wall clock, ns */
	/* From the log; false: it cannot be read, and the others are not set. */
	bool known;
	struct message_id id;
	int64_t timestamp; /* wall clock, ns */
	size_t body_len;
};

/*
 * False: the topic has no log, or all is finished. Blocks on the disk, without locks. Takes the
 * locks of topic and channels for a moment each.
 */
bool log_holder_find(struct topic *t, struct log_holder *out);

#endif
