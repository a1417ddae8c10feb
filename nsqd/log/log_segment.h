/* SPDX-License-Identifier: MIT */
/*
 * The files of a log: their names, their heads, and the list of them. A file is named by the number
 * of its first record, in 20 digits. Blocks on the disk.
 */
#ifndef NSQD_LOG_SEGMENT_H
#define NSQD_LOG_SEGMENT_H

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "nsqd/log/log_internal.h"

/*
 * Reads the directory into the list of segments, with the sizes of the files as their ends. -1 with
 * err set. Before others know the log.
 */
int log_segment_list(struct log *l, struct err *err);
/*
 * The last segment is done with: makes the next one, whose first record will have the number
 * `next`. It is in the list afterwards, and l->fd is its descriptor. A file without any kept record
 * goes instead. -1 with err set, and l->fd is -1. The writer.
 */
int log_segment_begin(struct log *l, struct err *err);
/* Writes a file's head, and syncs it with `disk`. The writer. */
int log_segment_write_head(struct log *l, int fd, uint64_t first, struct err *err);
/* The last segment in the list is the active one, which the writer knows. While nobody else does. */
void log_segment_use_last(struct log *l);
/* Opens the last segment to append to it, if it is what it should be; else begins another one. */
int log_segment_reopen(struct log *l, struct err *err);
/* Disk space that was asked for, and is not needed behind the end of l->fd. The writer. */
void log_segment_give_back(struct log *l, int64_t size);
/* Closes l->fd, if there is one. The writer. */
void log_segment_close(struct log *l);
/* So many more bytes and records of the active segment are kept. The writer, under log.lock. */
void log_segment_grow_locked(struct log *l, uint32_t bytes, uint64_t records);

/* Writes a line to the log of the process, as printf. */
void log_logf(const struct log *l, enum lg_level level, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

#endif
