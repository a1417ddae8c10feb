/* SPDX-License-Identifier: MIT */
/* Records in a data file. Runs in any thread that has the block for itself; no locks. */
#ifndef NSQD_DISKQUEUE_RECORD_H
#define NSQD_DISKQUEUE_RECORD_H

#include "nsqd/disk/diskqueue_internal.h"

/* Makes a closed block. io is borrowed, and outlives it. */
void dq_block_init(struct dq_block *b, const struct dq_io *io);
/*
 * Opens path for reading, if a regular file stands there. *size may be NULL. Returns the
 * descriptor, the caller's; or -1 with err set: err->code is errno, EISDIR or ENXIO where no
 * regular file stands.
 */
int dq_open_regular(const struct dq_io *io, const char *path, int64_t *size, struct err *err);
/* Opens file number file at path. -1 with err set, as dq_open_regular. */
int dq_block_open(struct dq_block *b, const char *path, int64_t file, struct err *err);
/* Frees the buffers; the file stays open. */
void dq_block_release(struct dq_block *b);
/* Closes the file and frees the buffers. */
void dq_block_close(struct dq_block *b);
/* Looks at the size again. -1 with err set. */
int dq_block_stat(struct dq_block *b, struct err *err);
/* Bytes [pos, pos + n), valid until the next call. 0; 1: the file ends before; -1 with err set. */
int dq_block_view(struct dq_block *b, int64_t pos, size_t n, int64_t limit, const unsigned char **p,
	struct err *err);
/* Looks what stands at pos of a file whose records end at limit. Sizes are checked against d's. */
enum dq_found dq_record_at(struct dq_block *b, const struct diskqueue *d, int64_t pos,
	int64_t limit, struct dq_record *rec, struct err *err);

#endif
