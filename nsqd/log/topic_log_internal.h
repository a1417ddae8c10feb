/* SPDX-License-Identifier: MIT */
/*
 * What the parts of a topic_log share; for no other file. No Go file: stock has no log. A part calls
 * those below it, and topic_log_logf:
 *
 *   topic_log.c          open, start, append, handed, close; what is there
 *   topic_log_members.c  channels that join and leave, and what is for one of them alone
 *   topic_log_flush.c    the flusher: cursors' files are written, and segments go
 *   topic_log_files.c    cursors' files in the directory: which there are, and opening them
 *
 * Fields marked "the flusher's" are for the thread that has the turn: see topic_log_flush.c.
 */
#ifndef NSQD_TOPIC_LOG_INTERNAL_H
#define NSQD_TOPIC_LOG_INTERNAL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/chan.h"
#include "nsqd/log/topic_log.h"

struct topic_log {
	/* immutable */
	char *topic;
	int dir; /* the data path */
	const struct lg *lg;
	const struct log_io *io;
	struct log *log;
	struct chan *turn_chan;    /* capacity 1, one value: the turn to be the flusher */
	_Atomic bool touched;      /* a tick will come, and has not begun */
	_Atomic bool thread_fails; /* for that, and it is logged */
	uint64_t begin, end;       /* the numbers that the log had when it was opened */
	struct log_mover *mover;
	/* set before anything is appended */
	size_t (*kept)(
		void *arg, const char *channel, bool moved, struct message *const *msgs, size_t n);
	void *kept_arg;
	bool started;
	bool (*tick)(void *arg); /* the topic's queue's, with kept_arg; the flusher's */

	struct mutex lock;
	/* guarded by lock */
	struct cursor
		*handed;    /* what is in the channels is finished there, up to handed_to at most */
	uint64_t handed_to; /* all before it is in the channels */
	size_t n_unsaved;   /* members without a file: then handed stays where it is */

	struct topic_log_members members;

	struct topic_log_mark mark; /* of handed */
	uint64_t cursor_bytes;      /* that cursors have written */
	size_t failing_cursors;
	/* the flusher's */
	bool closed;  /* there is nothing to flush any more */
	bool closing; /* a channel has left that comes again: what it wants must not be forgotten */
	/* the log's writer's; then of the thread that closes */
	bool failing;                                    /* fared has said so */
	void (*fared)(void *arg, const struct err *err); /* immutable, as its arg is */
	void *fared_arg;
};
/* --- the flusher: topic_log_flush.c --------------------------------------------------------------- */

/* From now on the caller is the flusher. Waits for the one before, and so for the disk. */
void topic_log_take_turn(struct topic_log *tl);
/* It is the flusher no longer. Never blocks. */
void topic_log_give_turn(struct topic_log *tl);
/*
 * log_opts.tick of the log: writes all cursors, lets segments go, and wakes the mover. True: once
 * more, please. In log:TOPIC; takes the turn, and blocks on the disk.
 */
bool topic_log_tick(void *arg);
/*
 * Writes what is pending of a channel's cursor. -1 with err set. Logs only that it begins to fail, or
 * works again. With the turn; blocks on the disk, and takes the lock of the member's owner, then
 * topic_log.lock.
 */
int topic_log_flush_member(struct topic_log *tl, struct topic_log_member *m, struct err *err);
/* The same for the topic's cursor. Takes topic_log.lock alone. */
int topic_log_flush_handed(struct topic_log *tl, struct err *err);
/*
 * What was kept is to be there for all channels that were. Makes the files of those that have none, as
 * a crash would forget them. Where one cannot be made, that is the flusher's business. Takes the turn,
 * if there are any; may block on the disk.
 */
void topic_log_save_members(struct topic_log *tl);
/* Nobody wants what is before. With the turn; takes all locks of members' owners, one at a time. */
uint64_t topic_log_least_floor(struct topic_log *tl);
/*
 * Lets the topic's cursor go on to what has been handed out, if each channel has its file. With
 * topic_log.lock held.
 */
void topic_log_move_handed_locked(struct topic_log *tl);

/* --- members: topic_log_members.c ----------------------------------------------------------------- */

/*
 * n messages are for one channel alone: it lets them wait, unless they are copies, of which it knows
 * already. The others are done with them. Never blocks on the disk; takes topic_log_members.lock and
 * the owners' locks.
 */
void topic_log_tell_alone(struct topic_log *tl, const char *channel, bool copies,
	struct message *const *msgs, size_t n);

/* --- files: topic_log_files.c --------------------------------------------------------------------- */

/* Opens the topic's cursor, or makes one. -1 with err set. Blocks on the disk; nobody knows tl yet. */
int topic_log_open_handed(struct topic_log *tl, struct err *err);
/*
 * The cursor of a channel that was there when the daemon ended: the caller's. NULL with err set;
 * ENOENT: it was not there. o as for cursor_open, and borrowed. Blocks on the disk.
 */
struct cursor *topic_log_open_old(
	struct topic_log *tl, const struct cursor_opts *o, struct err *err);
/*
 * Removes the files of all cursors but those of members. -1 with err set: one of them is there still.
 * With the turn, and before topic_log_start has succeeded; blocks on the disk.
 */
int topic_log_remove_strays(struct topic_log *tl, struct err *err);

#endif
