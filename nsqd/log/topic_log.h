/* SPDX-License-Identifier: MIT */
/*
 * What a topic with a log and its channels share: the log, the cursor of the topic, and the list of
 * the channels' cursors. It sees to it that cursors are written in time, and that segments go which
 * nobody wants. No Go file: stock has no log. docs/log-design.md says how topic and channel use
 * it, and what must always be true.
 *
 * The life of one: open; the topic's queue; a queue for each channel that topic_log_each_channel names;
 * start. Then appends, and channels that come and go. In the end all queues close; close or delete.
 */
#ifndef NSQD_TOPIC_LOG_H
#define NSQD_TOPIC_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/lg.h"
#include "common/lock.h"
#include "nsqd/core/message.h"
#include "nsqd/log/cursor.h"
#include "nsqd/log/log.h"
#include "nsqd/log/log_mover.h"
#include "nsqd/log/topic_log_member.h"

struct topic_log;

struct topic_log_opts {
	int dir;           /* the data path; borrowed, outlives all looks */
	const char *topic; /* copied */
	bool disk;         /* as in struct log_opts, as the next four are */
	int64_t segment_bytes;
	const struct lg *lg;
	const struct log_io *io;
	int64_t sync_timeout; /* ns; what happens is in a cursor's file so soon; 0: 2 s */
	size_t move_behind;   /* as in log_mover_new */
	/*
	 * As in struct log_opts, and with err NULL when the log is closed while commits fail. So of
	 * all calls with err set and NULL, the last one is NULL.
	 */
	void (*fared)(void *arg, const struct err *err);
	void *fared_arg;
};

/* --- life --------------------------------------------------------------------------------------- */

/* Opens the log and the topic's cursor. -1 with err set. Blocks on the disk. */
int topic_log_open(const struct topic_log_opts *o, struct topic_log **out, struct err *err);
/*
 * Calls fn for each channel whose cursor is in the directory. Such a channel had been there when the
 * daemon ended, and it is to be opened before topic_log_start. -1 with err set. Blocks on the disk.
 */
int topic_log_each_channel(struct topic_log *tl, void (*fn)(void *arg, const char *channel),
	void *arg, struct err *err);
/*
 * All channels that were there are open: removes the cursors of others. From now on messages may be
 * appended. -1 with err set: one could not be removed; nothing may be appended. Blocks on the disk.
 */
int topic_log_start(struct topic_log *tl, struct err *err);
/*
 * Appends n > 0 messages, all or none, and blocks until they are kept, and all channels have a file
 * that are there. Then the topic's queue has the messages: the first *in_memory of them in memory
 * (NULL: nobody asks), and it will read the others. They are still the caller's to unref. -1 with err
 * set; EFBIG: they are too many for one append.
 */
int topic_log_append(struct topic_log *tl, struct message *const *msgs, size_t n, size_t *in_memory,
	struct err *err);
/* The same without waiting: log_begin_append. */
int topic_log_begin_append(struct topic_log *tl, struct message *const *msgs, size_t n,
	void (*done)(void *arg, const struct err *err), void *arg, struct err *err);
/*
 * All messages with lower numbers are in the channels, or there were none. The topic's pump says so when
 * it has dealt out a batch, from memory or not. Never blocks; takes topic_log.lock.
 */
void topic_log_handed(struct topic_log *tl, uint64_t upto);
/*
 * From now on what is kept survives a loss of power (disk), or the end of the process only. What was
 * kept before is as safe as it was. -1 with err set, and nothing has changed: the disk refuses. Waits
 * for commits under way.
 */
int topic_log_set_disk(struct topic_log *tl, bool disk, struct err *err);
/* The first number of which that is not known. Takes topic_log.lock. */
uint64_t topic_log_handed_upto(struct topic_log *tl);
/*
 * Writes all that is pending now, and removes what nobody wants. What happened before is safe from
 * kill -9 when this returns 0. -1: some of it could not be written, as is logged. Blocks on the disk.
 */
int topic_log_flush(struct topic_log *tl);
/* Any thread, never blocks. */
void topic_log_get_moves(struct topic_log *tl, struct topic_log_moves *out);
/*
 * Writes what is pending, and closes the log. No queue may be open. -1 with err set: the topic's
 * cursor could not be written, so some messages will be handed out again. Blocks on the disk.
 */
int topic_log_close(struct topic_log *tl, struct err *err);
/* The same, and removes the log. */
int topic_log_delete(struct topic_log *tl, struct err *err);

/* --- what is there -------------------------------------------------------------------------------- */

/* Of a cursor: what it holds back, and its file. */
struct topic_log_cursor_stats {
	uint64_t floor;         /* all messages before it are finished */
	int64_t floor_since_ns; /* since when, about (monotonic); 0: nothing behind it is there */
	int64_t held_bytes;     /* as in struct log_held */
	bool holds_oldest;      /* likewise; other cursors may do so, too */
	uint64_t unfinished;    /* messages up to the end of the log */
	uint64_t waiting;       /* of these, for their time, or for room in memory */
	int64_t file_bytes;
	bool failing; /* its file could not be written */
};

struct topic_log_stats {
	struct log_stats log;
	struct topic_log_cursor_stats
		handed;        /* the topic's own: what is in its channels is finished */
	uint64_t cursor_bytes; /* that cursors have written, since the start */
	size_t failing_cursors;
};

/* Any thread, never blocks: takes topic_log.lock and log.lock, one after the other. */
void topic_log_get_stats(struct topic_log *tl, struct topic_log_stats *out);

/* --- for log_queue.c ------------------------------------------------------------------------------ */

/* The topic's queue: kept is called for all that is appended, as log_opts.kept; tick as a member's. */
void topic_log_set_queue(struct topic_log *tl,
	size_t (*kept)(
		void *arg, const char *channel, bool moved, struct message *const *msgs, size_t n),
	bool (*tick)(void *arg), void *arg);
/*
 * It is to be closed, after those of the channels: neither tick nor kept is called any more, as nobody
 * appends. The mover would: so it ends. May wait for it and for a tick, and so for the disk.
 */
void topic_log_unset_queue(struct topic_log *tl);
/*
 * A channel joins, whose member has channel, lock, ops, tick and arg set. Opens its cursor, or makes
 * one that begins with what the topic has not handed out. *handed: all before it has been handed out.
 * -1 with err set. Before topic_log_start this blocks on the disk, and one thread at a time may join.
 * Afterwards it does not block: the next flush makes the file, and there is no error.
 */
int topic_log_join(struct topic_log *tl, const char *channel, struct topic_log_member *m,
	uint64_t *handed, struct err *err);
/* From now on its met and alone are called. Takes topic_log_members.lock. */
void topic_log_listen(struct topic_log *tl, struct topic_log_member *m);
/* Its tick, met and alone are not called any more. May wait for a tick, and so for the disk. */
void topic_log_mute(struct topic_log *tl, struct topic_log_member *m);
/*
 * It leaves, and frees the cursor: removes the file, or writes what is pending. Only while the topic
 * closes may it leave its file there: no segment goes from then on. -1 with err set. Blocks on the
 * disk.
 */
int topic_log_leave(struct topic_log *tl, struct topic_log_member *m, bool remove, struct err *err);
/*
 * Appends n > 0 messages that are new, with seq 0, for that channel alone, all or none, and blocks
 * until they are kept. The channel's queue has them then; they are still the caller's to unref. The
 * channel stays meanwhile. -1 with err set, also before topic_log_start.
 */
int topic_log_append_alone(struct topic_log *tl, const char *channel, struct message *const *msgs,
	size_t n, struct err *err);
/* The same as topic_log_handed, with topic_log.lock held, and without topic_log_touch. */
void topic_log_handed_locked(struct topic_log *tl, uint64_t upto);
/* What a cursor with this floor holds back of the log; its owner's lock is held. */
void topic_log_cursor_stats_locked(struct log *l, struct cursor *c, uint64_t floor,
	const struct topic_log_mark *mark, struct topic_log_cursor_stats *out);
/*
 * A cursor has something to write. -1: there is no thread that would, as is logged; to be tried again.
 * Never blocks on the disk; takes locks below topic_log.lock. Any thread.
 */
int topic_log_touch(struct topic_log *tl);
/*
 * The same, but starts no thread, for callers that hold a lock. False: one is to be started. Never
 * blocks.
 */
bool topic_log_touch_running(struct topic_log *tl);
/* Could the last topic_log_touch start no thread? Takes no lock. */
bool topic_log_has_failed(const struct topic_log *tl);
/* Its log; borrowed. */
struct log *topic_log_log(struct topic_log *tl);
/* As in topic_log_opts, or log_io_real. */
const struct log_io *topic_log_io(const struct topic_log *tl);
/*
 * The numbers that the log had when it was opened: from *begin to *end - 1. What a cursor knew of those
 * before is gone.
 */
void topic_log_found(const struct topic_log *tl, uint64_t *begin, uint64_t *end);
/*
 * The topic's reader has met what is for one channel alone: channels that may not know it are told.
 * Never blocks; takes topic_log_members.lock, and the owners' locks.
 */
void topic_log_met(struct topic_log *tl, const struct log_item *item);
/* Guards the topic's cursor, among others. */
struct mutex *topic_log_lock(struct topic_log *tl);
/* The topic's cursor; borrowed, until topic_log_close. */
struct cursor *topic_log_cursor(struct topic_log *tl);
/* How the log is opened for a look: all is borrowed, as long as the topic_log is there. */
void topic_log_read_only(const struct topic_log *tl, struct log_opts *out);
/* The topic's name; borrowed. */
const char *topic_log_name(const struct topic_log *tl);
/* Writes a line to the daemon's log, if there is one. Any thread. */
void topic_log_logf(const struct topic_log *tl, enum lg_level level, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

#endif
