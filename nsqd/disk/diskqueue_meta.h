/* SPDX-License-Identifier: MIT */
/*
 * The metadata file of the disk queue, and what is found at start. Runs in the thread of "io"
 * fields. All of it but dq_saved_position blocks on the disk.
 */
#ifndef NSQD_DISKQUEUE_META_H
#define NSQD_DISKQUEUE_META_H

#include "nsqd/disk/diskqueue_internal.h"

/*
 * retrieveMetaData: sets rd, wr and depth from the metadata file and from a look at the data files.
 * Where that does not do, it begins to count (dq_count_begin): it reads no data file itself,
 * whatever they hold. -1 with err set: the directory or the metadata cannot be read now; then
 * nothing was changed.
 */
int dq_load(struct diskqueue *d, struct err *err);
/* persistMetaData: temporary file, fsync if durable, rename. -1 with err set. */
int dq_persist_meta(struct diskqueue *d, bool durable, struct err *err);
/*
 * Writes the metadata over those in the file that is there, for a crash that is sooner than
 * dq_persist_meta is done. A failure is logged, and the next failure only after a success.
 */
void dq_note_meta(struct diskqueue *d);
/*
 * The read position that the metadata are to have: messages behind it come again after a crash. It
 * is rd; with crash_forgets it is taken. Then it is rd only at a clean stop, and while taken is in
 * another file: else the files between would never be removed.
 */
struct dq_pos dq_saved_position(const struct diskqueue *d);

#endif
