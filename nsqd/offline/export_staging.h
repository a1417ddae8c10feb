/* SPDX-License-Identifier: MIT */
/*
 * Where --export-stock writes stock's files before they are the data path's: a directory in there.
 * When all of them are complete and synced, the file "ready" is made. From then on they are moved,
 * and the logs put aside. If that is cut short, the next call completes it. Before, nothing of the
 * data path has changed. All of it blocks on the disk. Main thread.
 */
#ifndef NSQD_EXPORT_STAGING_H
#define NSQD_EXPORT_STAGING_H

#include <stdbool.h>

#include "common/err.h"
#include "common/strbuf.h"

struct staging {
	const char *data_path; /* borrowed */
	int data_fd;           /* of it; borrowed */
	int fd;                /* of the directory */
	char *path;            /* its path; owned */
};

/*
 * Completes an export that was cut short. Calls put_aside with the old and the new name of each log.
 * 1: there was one. 0: there was none. -1 with err set: it is still to be completed.
 */
int staging_complete(const char *data_path, int data_fd,
	void (*put_aside)(void *arg, const char *log, const char *name), void *arg,
	struct err *err);
/* Makes the directory, and removes what an attempt has left that came to nothing. -1 with err set. */
int staging_begin(struct staging *s, const char *data_path, int data_fd, struct err *err);
/*
 * Syncs all that is in the directory, and makes "ready" with the names of these logs, a line each.
 * Behind this staging_complete is due. -1 with err set.
 */
int staging_ready(struct staging *s, const struct strbuf *logs, struct err *err);
/* Ends it. removes: with the directory, of which "ready" has not been made. */
void staging_end(struct staging *s, bool removes);

#endif
