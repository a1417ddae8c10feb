/* SPDX-License-Identifier: MIT */
/*
 * Readers of a log. A reader gives the records one after the other, from a number on, and never more
 * than what is kept. One thread at a time uses a reader; a log may have many. Blocks on the disk.
 */
#ifndef NSQD_LOG_READ_H
#define NSQD_LOG_READ_H

#include <stddef.h>
#include <stdint.h>

#include "common/chan.h"
#include "common/err.h"
#include "nsqd/core/message.h"
#include "nsqd/log/log.h"

struct log_reader;

enum log_read {
	LOG_READ_MESSAGE, /* one */
	LOG_READ_GAP,     /* some numbers that the log does not have: damaged, or forgotten */
	LOG_READ_END,     /* nothing more is kept by now; log_reader_chan says when there is */
	LOG_READ_ERROR,   /* the disk does not say; err is set. To be tried again later */
};

struct log_item {
	struct message *msg; /* MESSAGE: owned; with seq, offset, attempts and deferred_ns */
	uint64_t seq;        /* MESSAGE, GAP: the number, or the first one */
	uint64_t n;          /* MESSAGE: 1. GAP: how many */
	uint64_t origin;     /* of a copy: the number that it had until then; else seq */
	const char *channel; /* of a copy: whose it is; else NULL. Valid until the next call */
};

/*
 * A reader that begins with number seq. offset is that record's place; 0: it is not known, and the
 * segment is read from the beginning.
 */
struct log_reader *log_reader_open(struct log *l, uint64_t seq, uint32_t offset);
/* Before anything is read: it is for single records, here and there, and so reads little at a time. */
void log_reader_few(struct log_reader *r);
/* NULL is fine. */
void log_reader_close(struct log_reader *r);
/* Goes on with number seq instead; as log_reader_open. Does not block. */
void log_reader_seek(struct log_reader *r, uint64_t seq, uint32_t offset);
/* What comes next. */
enum log_read log_reader_next(struct log_reader *r, struct log_item *item, struct err *err);
/*
 * After LOG_READ_ERROR: gives up what cannot be read, a record or some kilobytes of the file. The
 * numbers that this costs come as a gap.
 */
void log_reader_skip(struct log_reader *r);
/* The number that comes next. */
uint64_t log_reader_seq(const struct log_reader *r);
/*
 * A chan of capacity 1: a value is there when there is more since LOG_READ_END, and maybe when there
 * is not. Borrowed; the same for the life of the reader.
 */
struct chan *log_reader_chan(struct log_reader *r);
/* The reader will not be used for a while: gives its memory and its descriptor back. */
void log_reader_rest(struct log_reader *r);

/*
 * The record with this number, at this place: MESSAGE, GAP (it is damaged or gone) or ERROR. Best
 * with a reader of its own, which keeps the segment open, and some of it in memory.
 */
enum log_read log_read_at(struct log_reader *r, uint64_t seq, uint32_t offset,
	struct log_item *item, struct err *err);

#endif
