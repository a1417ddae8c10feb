/* SPDX-License-Identifier: MIT */
/*
 * nsqd.dat: which topics and channels there are, and which are paused
 * (LoadMetadata, PersistMetadata, GetMetadata of nsqd/nsqd.go). The JSON is
 * stock's, byte for byte:
 *
 *   {"topics":[{"name":"t","paused":false,"channels":[{"name":"c","paused":false}]}],"version":"1.3.0"}
 */
#ifndef NSQD_METADATA_H
#define NSQD_METADATA_H

#include "common/err.h"

struct nsqd;

/*
 * LoadMetadata: creates what the file lists; invalid names are skipped with a
 * warning. No file is a fresh start. -1 with err set: it cannot be read, or is
 * no such JSON (then nothing has been created). Main thread, before nsqd_main.
 */
int nsqd_load_metadata(struct nsqd *n, struct err *err);
/*
 * PersistMetadata: writes a temporary file, syncs, renames it, syncs the
 * directory. Takes metadata_lock, and for moments the locks of nsqd and topics;
 * blocks on the disk. Any thread.
 */
int nsqd_persist_metadata(struct nsqd *n, struct err *err);
/* From now on persisting does nothing: topics that close at exit must not vanish from the file. */
void nsqd_close_metadata(struct nsqd *n);
/*
 * The thread "metadata": persists whenever persist_chan says so, until exit_chan is closed. arg is
 * the nsqd.
 */
void nsqd_metadata_loop(void *arg);

#endif
