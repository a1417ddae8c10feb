/* SPDX-License-Identifier: MIT */
/*
 * The log of a topic: each message once, in the order in which it was published, in files that are
 * only appended to (docs/log.md). A message has a number in it, dense from 1.
 *
 * An append returns when its messages are kept: through the death of the process, or through a loss
 * of power as well. Readers (log_read.h) follow what is kept. The log does not know what has been
 * read: a cursor per channel does.
 */
#ifndef NSQD_LOG_H
#define NSQD_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/lg.h"
#include "nsqd/core/message.h"
#include "nsqd/log/log_io.h"
#include "nsqd/log/log_stats.h"

/* A segment is closed when the next batch would make it larger than this. */
#define LOG_SEGMENT_BYTES (64 << 20)

struct log;

struct log_opts {
	int dir;           /* the data path, or AT_FDCWD; borrowed, outlives the log */
	const char *topic; /* copied. The log is the directory TOPIC.log in there */
	bool disk;         /* kept is what survives a loss of power; else the end of the process */
	bool read_only;    /* for a look: no file is changed, and nothing can be appended */
	int64_t segment_bytes;   /* 0: LOG_SEGMENT_BYTES */
	const struct lg *lg;     /* borrowed; NULL: nothing is said */
	const struct log_io *io; /* borrowed; NULL: log_io_real */
	/*
	 * Called in the log's thread after a log_wake, every tick_ns until it returns false. For
	 * what else is written into the directory, such as cursors. It may block. NULL: nothing is
	 * called.
	 */
	bool (*tick)(void *arg);
	/*
	 * Called in the log's thread when appends that nobody waits for are kept (log_begin_append),
	 * before that is told. It may block on the disk. NULL: nothing is called.
	 */
	void (*settle)(void *arg);
	void *tick_arg;  /* of both */
	int64_t tick_ns; /* 0: a second */
	/*
	 * Called for each append that is kept, in the order of the log, before its thread is told.
	 * The messages are borrowed, and know their numbers and places; channel as in
	 * log_append_copies, else NULL; moved: those had a number before. Readers may have seen them already. The next commit waits:
	 * it must not block, nor append. What it returns is the *told of log_append_telling. NULL:
	 * nothing is called.
	 */
	size_t (*kept)(
		void *arg, const char *channel, bool moved, struct message *const *msgs, size_t n);
	void *kept_arg;
	/*
	 * Called when commits begin to fail, or fail for another reason; and with err NULL when they
	 * succeed again. One thread at a time calls it, without locks. It must not block, nor append.
	 * NULL: nothing is called.
	 */
	void (*fared)(void *arg, const struct err *err);
	void *fared_arg;
};

/*
 * Opens a topic's log, or makes one. Reads the last segment, and cuts off what a crash has left of
 * a commit. -1 with err set; ENOTSUP: a newer program has written it. Blocks on the disk.
 */
int log_open(const struct log_opts *opts, struct log **out, struct err *err);
/*
 * Waits for appends under way, ends the thread, and frees the log. No reader may be open, and no
 * thread may use the log any more. What is kept stays. NULL is fine.
 */
void log_close(struct log *l);
/*
 * As log_close, and removes the directory with all that is in it. -1 with err set: something is
 * left. No later log of the topic will find it, if its name has gone. Blocks on the disk.
 */
int log_delete(struct log *l, int dir, struct err *err);

/*
 * Appends n > 0 messages: all of them, or none. Each gets its number and its place (seq, offset);
 * deferred_ns is kept as its due time. Blocks until they are kept. -1 with err set: none is in the
 * log. Any thread.
 */
int log_append(struct log *l, struct message *const *msgs, size_t n, struct err *err);
/* The same. *told: what log_opts.kept has returned for them; 0 if they are not kept. */
int log_append_telling(
	struct log *l, struct message *const *msgs, size_t n, size_t *told, struct err *err);
/*
 * log_append that does not wait: when the messages are kept, or are not, log:TOPIC calls done, with
 * err set as log_append does, or NULL. Until then they are borrowed. done must not block, nor append.
 * Behind it log:TOPIC needs the caller no more, and the log may be closed. -1 with err set: done is
 * not called. EAGAIN: for that a thread is needed, and there is none. Any thread.
 */
int log_begin_append(struct log *l, struct message *const *msgs, size_t n,
	void (*done)(void *arg, const struct err *err), void *arg, struct err *err);
/* If a commit takes long, says so in the daemon's log. For threads that wait for one, now and then. */
void log_look(struct log *l);
/*
 * The same for messages that are in the log already, and get new numbers for one channel alone,
 * because their old segment is to go. What they were called before is kept with them, and their
 * attempts are. A delay is counted from now on: deferred_ns from timestamp, as ever. Or for messages
 * that are new, with seq 0, and are for one channel alone. All are of the one kind, or the other.
 */
int log_append_copies(
	struct log *l, const char *channel, struct message *const *msgs, size_t n, struct err *err);
/*
 * Nothing below floor is wanted: what is left counts for --max-disk-bytes (message_count_stored). Of
 * the segment in which floor is, that is an estimate. Any thread.
 */
void log_count_wanted(struct log *l, uint64_t floor);
/*
 * From now on kept is what survives a loss of power (disk), or the end of the process. What was kept
 * before is as safe as it was. dir is the data path. -1 with err set, and nothing has changed: the
 * disk refuses. Any thread; waits for the commit under way.
 */
int log_set_disk(struct log *l, int dir, bool disk, struct err *err);
/* The log's directory, for its cursors; borrowed. */
int log_dir(const struct log *l);

/* Any thread; takes log.lock for a moment. */
void log_get_stats(struct log *l, struct log_stats *out);
/* What of the log a channel holds that has finished all messages before floor. */
struct log_held {
	int64_t bytes; /* from the beginning of the segment on in which floor is */
	bool oldest;   /* that is the oldest segment, and there are others */
	uint64_t next; /* the number of the next message: with floor there nothing stays */
};
/* Any thread; takes log.lock for a moment, as the next one does. */
struct log_held log_get_held(struct log *l, uint64_t floor);
/* A segment's number and size, from the oldest. False: there is no i-th one. */
bool log_get_segment(struct log *l, size_t i, uint64_t *first, int64_t *bytes);

#endif
