/* SPDX-License-Identifier: MIT */
/*
 * nsqd.dat: which topics and channels there are, and which are paused (LoadMetadata,
 * PersistMetadata, GetMetadata of nsqd/nsqd.go). The JSON is stock's, byte for byte:
 *
 *   {"topics":[{"name":"t","paused":false,"channels":[{"name":"c","paused":false}]}],"version":"1.3.0"}
 */
#ifndef NSQD_METADATA_H
#define NSQD_METADATA_H

#include <stdbool.h>

#include "common/err.h"
#include "common/lock.h"
#include "nsqd/queue/topics.h"

struct metadata {
	struct topics *topics; /* immutable */
	struct mutex lock;     /* held while nsqd.dat is written */
	bool closed;           /* guarded by lock; the last word is written */
};

void metadata_init(struct metadata *m, struct topics *topics);
void metadata_destroy(struct metadata *m);

/*
 * LoadMetadata: creates what the file lists; invalid names are skipped with a warning. No file is a
 * fresh start. -1 with err set: it cannot be read, or is no such JSON (then nothing has been
 * created). Main thread, before nsqd_main.
 */
int nsqd_load_metadata(struct metadata *m, struct err *err);
/*
 * PersistMetadata: writes a temporary file, syncs, renames it, syncs the directory. Takes
 * metadata.lock, and for moments the locks of topics and each topic; blocks on the disk. Any
 * thread.
 */
int nsqd_persist_metadata(struct metadata *m, struct err *err);
/* From now on persisting does nothing: topics that close at exit must not vanish from the file. */
void nsqd_close_metadata(struct metadata *m);
/*
 * The thread "metadata": persists whenever notify.persist_chan says so, until exit_chan is closed.
 * arg is the struct metadata.
 */
void nsqd_metadata_loop(void *arg);

#endif
