/* SPDX-License-Identifier: MIT */
/*
 * A topic's log and its cursors, looked at without changing them: what each channel has not
 * finished, and what the topic has not handed out. For a start without --durability, and for
 * --inspect-data and --export-stock. One thread uses a view. All of it may block on the disk.
 *
 * Another process may write to the log meanwhile: then what is seen is of no one moment.
 */
#ifndef NSQD_LOG_VIEW_H
#define NSQD_LOG_VIEW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "nsqd/core/message.h"
#include "nsqd/log/cursor.h"
#include "nsqd/log/log.h"

struct log_view_channel {
	char *name; /* owned */
	struct cursor *cursor;
	struct cursor_found found;
	/*
	 * Messages that are not finished, at most: among them may be some that the log has lost, and
	 * copies for other channels. A copy that the cursor does not know is among the topic's.
	 */
	uint64_t unfinished;
};

struct log_view {
	char *topic; /* owned */
	struct log *log;
	struct log_stats stats;
	struct cursor *handed; /* the topic's own */
	struct cursor_found found;
	/*
	 * All messages before it are in the channels. What the topic's cursor says may be older than
	 * that: a crash has forgotten the rest, and a channel knows better.
	 */
	uint64_t dealt;
	uint64_t unfinished;               /* of the topic, at most: from dealt on */
	struct log_view_channel *channels; /* by name; owned */
	size_t n_channels;
	/* From dealt on; what is lost there may be some. */
	enum { COPIES_UNKNOWN, COPIES_NONE, COPIES_SOME } copies;
};

/*
 * Opens the log of the topic in the data path `dir`. -1 with err set: ENOENT: it has none; ENOTSUP: a
 * newer program has written it. io: NULL: the system's.
 */
int log_view_open(int dir, const char *topic, const struct log_io *io, struct log_view **out,
	struct err *err);
/* NULL is fine. */
void log_view_close(struct log_view *v);
/* Of the topic and all channels, at most. */
uint64_t log_view_unfinished(const struct log_view *v);
/*
 * The topic is not durable, and has a log from a time when it was. -1 with err set: some of it is not
 * finished, as far as is known (see above); or that cannot be known. set: it is so since that is set for
 * the topic; else the flag says it for all. Blocks on the disk.
 */
int log_view_check_left(
	int dir, const char *topic, const char *data_path, bool set, struct err *err);
/*
 * Is there a log of that topic: a directory of its name with a segment in it? One without belongs to
 * somebody else, or a crash has come before anything was kept. Does not look into files. -1 with err
 * set: that cannot be told. io NULL: the system's. Blocks on the disk.
 */
int log_view_find(int dir, const char *topic, const struct log_io *io, bool *has, struct err *err);

struct log_view_message {
	struct message *msg; /* the callee's; with its attempts */
	int64_t due;         /* it waits until then (wall clock, ns); 0: it does not */
};

/*
 * Calls fn for each message that this channel has not finished (NULL: that the topic has not handed
 * out), in the order of the log. *lost: so many more cannot be read. If fn returns -1 with err set, that
 * is returned at once. -1 with err set also where the log cannot be read at the moment.
 */
int log_view_each(struct log_view *v, const struct log_view_channel *c,
	int (*fn)(void *arg, const struct log_view_message *m, struct err *err), void *arg,
	uint64_t *lost, struct err *err);

/* The name of the log's directory in the data path; the caller's to free. */
char *log_view_dir_name(const char *topic);
/*
 * Calls fn with the name of each topic that has a log (log_view_find) in the data path `dir`, by name.
 * -1 with err set, that of fn included. fn may change the directory.
 */
int log_view_each_topic(int dir, const struct log_io *io,
	int (*fn)(void *arg, const char *topic, struct err *err), void *arg, struct err *err);

#endif
