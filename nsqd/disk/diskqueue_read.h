/* SPDX-License-Identifier: MIT */
/* Reading ahead in the disk queue. All of it runs in the thread of "io" fields. */
#ifndef NSQD_DISKQUEUE_READ_H
#define NSQD_DISKQUEUE_READ_H

#include "nsqd/disk/diskqueue_internal.h"

/*
 * Reads ahead until the batch is full or the queue ends. If reading fails, retry_ticker runs.
 * Behind about `budget` bytes of damage it stops, with `searching` set. Blocks on the disk.
 */
void dq_fill(struct diskqueue *d, int64_t budget);
/* Drops the batch but for its first keep messages; they will be read again. With 0, its memory. */
void dq_drop_batch(struct diskqueue *d, size_t keep);
/* Closes the read file and gives its buffer back. */
void dq_close_read(struct diskqueue *d);
/* Forgets which files are damaged, and logs what was skipped in the last one without a line. */
void dq_forget_damage(struct diskqueue *d);

#endif
