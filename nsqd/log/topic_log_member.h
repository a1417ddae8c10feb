/* SPDX-License-Identifier: MIT */
/*
 * A channel of a topic with a log, as its topic_log and log_mover.c know it: its cursor, and what they
 * ask of its queue. No Go file: stock has no log.
 */
#ifndef NSQD_TOPIC_LOG_MEMBER_H
#define NSQD_TOPIC_LOG_MEMBER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/lock.h"
#include "nsqd/log/cursor.h"
#include "nsqd/log/log_read.h"

struct topic_log_settled {
	uint64_t
		settled; /* all messages before it have been handed out, or wait, or are finished */
	uint64_t floor;  /* of the cursor */
	uint64_t unfinished; /* messages of the log */
};

/*
 * What the topic_log asks of a channel's queue about copies, or tells it. With topic_log_members.lock
 * held; each takes the owner's lock, and never blocks.
 */
struct topic_log_member_ops {
	/* end: of the log. */
	struct topic_log_settled (*settled)(void *arg, uint64_t end);
	/*
	 * Up to max unfinished messages from *from to to - 1, in order; *from is where the next call
	 * goes on. due is 0 where nothing waits, and so is offset where it is not known.
	 */
	size_t (*list)(
		void *arg, uint64_t *from, uint64_t to, struct cursor_entry *out, size_t max);
	/* They are copied: from now on the copies stand for them. In the order of the log. */
	void (*moved)(void *arg, struct cursor_move *moves, size_t n);
	/* It waits, if it is not finished by now, and is not to be had any more. True: it waited. */
	bool (*lost)(void *arg, uint64_t seq);
	/* The topic's reader has met a copy, which an earlier process has written. */
	void (*met)(void *arg, const struct log_item *item);
	/*
	 * There are new messages for one channel alone, this one (mine) or another. The writer of the
	 * log says so, before anything later is handed out; and after a crash the topic's reader, where
	 * it meets them.
	 */
	void (*alone)(void *arg, bool mine, struct message *const *msgs, size_t n);
};

/* What is known of a cursor since its last flush. Guarded by the lock of its owner. */
struct topic_log_mark {
	uint64_t floor;
	int64_t since_ns; /* since when the floor is there (monotonic) */
	struct cursor_file_stats file;
	bool failing; /* the last flush has failed, and that is logged */
};

/* A channel's cursor, as the topic_log knows it. Part of its log_queue. */
struct topic_log_member {
	struct cursor *cursor;                  /* owned */
	struct mutex *lock;                     /* of its owner: guards the cursor; borrowed */
	const char *channel;                    /* its name, borrowed */
	const struct topic_log_member_ops *ops; /* with arg */
	/* By the flusher, every sync_timeout. True: once more, please. May block. NULL: nothing. */
	bool (*tick)(void *arg);
	void *arg;
	struct topic_log_mark mark;
	/* guarded by topic_log_members.lock */
	struct topic_log_member *next;
	bool muted;         /* it is not there yet, or leaves: nothing that needs its thread */
	uint64_t move_from; /* what is before is not looked at again in this pass of the mover */
	/* immutable: its file was there when the process began */
	bool old;
	/* the flusher's */
	uint64_t floor; /* of the cursor, when it was looked what is worth to be copied */
	bool saved;     /* its file is there */
};

/* The channels of a topic. */
struct topic_log_members {
	struct mutex lock; /* topic_log.members_lock; taken before the locks of the owners */
	/* guarded by lock; others than the flusher only add to it, in front */
	struct topic_log_member *first;
};

#endif
