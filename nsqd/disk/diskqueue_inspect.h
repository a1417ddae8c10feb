/* SPDX-License-Identifier: MIT */
/* What a start would find in the files of a queue, found without changing them. */
#ifndef NSQD_DISKQUEUE_INSPECT_H
#define NSQD_DISKQUEUE_INSPECT_H

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "nsqd/disk/diskqueue.h"

/* The files of a data path, by their names. */
enum dq_file_kind {
	DQ_FILE_OTHER,     /* no file of a queue */
	DQ_FILE_DATA,      /* NAME.diskqueue.NNNNNN.dat */
	DQ_FILE_META,      /* NAME.diskqueue.meta.dat */
	DQ_FILE_TEMPORARY, /* NAME.diskqueue.meta.dat.N.tmp */
	DQ_FILE_BAD,       /* one of these that was moved aside: ... .bad */
};

struct diskqueue_report {
	/* False: metadata or directory cannot be read at the moment; puts would fail until they can. */
	bool loaded;
	struct err why; /* where not loaded */

	int64_t depth;      /* what a start shows, when it has counted what it must count */
	int64_t read_file;  /* data files from here ... */
	int64_t write_file; /* ... to here are the queue's */
	int64_t files;      /* how many of these are there */
	int64_t bytes;      /* what they hold from the read position to the write position */
	int64_t records;    /* sound records in these bytes */
	int64_t damaged_places;
	int64_t damaged_bytes;
	int64_t unreadable_files;
	/*
	 * Lines, each with its end: what a start would log and do, then where damage is. Only so
	 * many (16 KiB); the last one says so. Owned.
	 */
	char *notes;
};

/* entry is a file's name. *name_len: how much of it is the queue's name; 0 for DQ_FILE_OTHER. */
enum dq_file_kind diskqueue_file_kind(const char *entry, size_t *name_len);
/*
 * Reads the queue as diskqueue_new would, then all its records, whatever the files hold. opts->lg
 * is not used. Writes, renames and removes nothing; memory is a few blocks and the longest record.
 * Another process may change the files meanwhile: then the numbers are of no one moment. -1 with
 * err set: out of descriptors and the like; else 0, and diskqueue_report_free is due. Blocks on the
 * disk for as long as the reading takes. Main thread only.
 */
int diskqueue_inspect(
	const struct diskqueue_opts *opts, struct diskqueue_report *r, struct err *err);
void diskqueue_report_free(struct diskqueue_report *r);

#endif
