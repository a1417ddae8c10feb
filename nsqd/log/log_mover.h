/* SPDX-License-Identifier: MIT */
/*
 * The mover of a topic's log: a few old messages must not hold all that is behind them. It appends
 * them again, for their channel alone, so that the oldest segments may go. "What holds an old segment"
 * in docs/log-design.md says when, and what must always be true. No Go file: stock has no log.
 *
 * Part of a topic_log, which calls all of this.
 */
#ifndef NSQD_LOG_MOVER_H
#define NSQD_LOG_MOVER_H

#include <stddef.h>
#include <stdint.h>

#include "common/lg.h"
#include "nsqd/core/message.h"
#include "nsqd/log/log.h"
#include "nsqd/log/topic_log_member.h"

struct log_mover;

/* All is borrowed, and outlives the mover. */
struct log_mover_opts {
	struct log *log;
	const char *topic;
	const struct log_io *io;
	const struct lg *lg; /* NULL: nothing is said */
	struct topic_log_members *members;
	uint64_t end;  /* of the log, when it was opened */
	size_t behind; /* so many of the newest segments are left alone; 0: 4 */
	/* There is something to flush, and then segments may go. Never blocks. */
	void (*touch)(void *arg);
	void *arg;
};

/* What was copied so that old segments may go, since the log was opened. */
struct topic_log_moves {
	uint64_t passes;   /* how often a beginning of the log was found worth it */
	uint64_t messages; /* that have got a new number */
	uint64_t bytes;    /* of their records */
	uint64_t lost;     /* could not be read any more, and waited */
	bool running;      /* the mover is at it */
	bool pending;      /* it has yet to look at what has happened */
};

/* Never NULL; does not block. */
struct log_mover *log_mover_new(const struct log_mover_opts *o);
/* No thread starts any more, and one that runs ends after its append. The flusher; does not block. */
void log_mover_end(struct log_mover *mv);
/* After log_mover_end, without the turn: waits for the thread, and so for an append that is under way. */
void log_mover_wait(struct log_mover *mv);
/* Ends it, and waits for the thread. No more calls. */
void log_mover_free(struct log_mover *mv);
/*
 * Is there something that is worth to be copied? Then the thread starts. handed: the topic has
 * handed out what is before. True: call it once more, later. The flusher; never blocks on the disk.
 */
bool log_mover_tick(struct log_mover *mv, uint64_t handed);
/*
 * What is being copied must stay, also if it is finished meanwhile: where the old number is gone, the
 * next process takes a copy of which no cursor knows for the message. So no number may go from
 * log_mover_held on, as it is when the cursors have been written: what was picked, and not yet told of,
 * at any moment since log_mover_begin_flush. The flusher; takes topic_log_members.lock.
 */
void log_mover_begin_flush(struct log_mover *mv);
uint64_t log_mover_held(struct log_mover *mv);
/* log_opts.kept, for copies: whose they are is told of them. The writer of the log. */
void log_mover_kept(struct log_mover *mv, struct message *const *msgs, size_t n);
/* A channel leaves: it is told nothing any more. With topic_log_members.lock held. */
void log_mover_left_locked(struct log_mover *mv, const struct topic_log_member *m);
/* Any thread, never blocks. */
void log_mover_get_stats(struct log_mover *mv, struct topic_log_moves *out);

#endif
