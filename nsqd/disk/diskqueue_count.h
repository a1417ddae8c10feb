/* SPDX-License-Identifier: MIT */
/*
 * Counting what the metadata do not know of, and turns at hard work. Functions that take a queue
 * run in the thread of its "io" fields, the others in any.
 */
#ifndef NSQD_DISKQUEUE_COUNT_H
#define NSQD_DISKQUEUE_COUNT_H

#include "nsqd/disk/diskqueue_internal.h"

/* The chan to receive a turn from; it is sent back when the slice is done. Process-wide. */
struct chan *dq_turns(void);
/*
 * Begins to count the records from `from` on, in n > 0 files; take_files has their numbers in
 * order. wr becomes a new file behind them. level and what (static) are for the log.
 */
void dq_count_begin(struct diskqueue *d, int64_t *take_files, size_t n, struct dq_pos from,
	enum lg_level level, const char *what);
/* Counts on, for about so many bytes. In a turn. Blocks on the disk. */
void dq_count_slice(struct diskqueue *d, int64_t budget);
/* Counts what is little, before dq_io_loop runs. Blocks on the disk. */
void dq_count_at_once(struct diskqueue *d);
/*
 * The first n messages of b are received: how many of them are not in the depth yet. The bytes of
 * their bodies are added to *body_bytes.
 */
size_t dq_count_overtaken(
	struct diskqueue *d, const struct dq_batch *b, size_t n, int64_t *body_bytes);
/* No more counting: done, or everything is thrown away. */
void dq_count_end(struct diskqueue *d);
/* diskqueue_count_until. */
void dq_count_until(int64_t deadline_ns);
/* diskqueue_wait_counted. */
void dq_wait_counted(int64_t deadline_ns);

#endif
