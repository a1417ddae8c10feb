/* SPDX-License-Identifier: MIT */
/* Appending to the disk queue, rolling and syncing. All of it runs in the thread of "io" fields. */
#ifndef NSQD_DISKQUEUE_WRITE_H
#define NSQD_DISKQUEUE_WRITE_H

#include "nsqd/disk/diskqueue_internal.h"

/*
 * Writes all records of n requests, syncs if it is time, and fills in their results. Blocks on the
 * disk.
 */
void dq_write(struct diskqueue *d, struct dq_write_req **reqs, size_t n);
/*
 * Syncs the data, and the directory if a file is new, then persists the metadata. -1 with err set
 * if the data is not safe. A failure to persist the metadata is logged, and tried again later.
 * Blocks on the disk.
 */
int dq_sync(struct diskqueue *d, struct err *err);
/* Leaves wr.file as it is and goes on in a new file (the reader finishes the old one). */
void dq_skip_to_next_write_file(struct diskqueue *d);
/* Closes wr.file and frees what writing needs. The next dq_write opens it again. */
void dq_close_write(struct diskqueue *d);

#endif
