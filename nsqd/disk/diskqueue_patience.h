/* SPDX-License-Identifier: MIT */
/* How long the disk queue waits out an error, and which errors are those of one file. */
#ifndef NSQD_DISKQUEUE_PATIENCE_H
#define NSQD_DISKQUEUE_PATIENCE_H

#include <stdbool.h>
#include <stdint.h>

/*
 * A file that cannot be read, or stands in the way, is tried again for so long, and then set aside.
 * The numbers are tries: odd_* where no regular file stands there, error_* for errors of reading.
 * Tests set lower ones.
 */
struct dq_patience {
	int odd_tries;       /* of reading: 3 s */
	int error_tries;     /* of reading: 141 s */
	int odd_loads;       /* of metadata, one per second */
	int error_loads;     /* of metadata, one per second */
	int64_t obstacle_ns; /* what stands where a new file is to be written */
};
/* Immutable but for tests, which change it before a queue is created. */
extern struct dq_patience dq_patience;

/* Whether an error (err->code) may be one of the file alone, so that others can be read. */
bool dq_is_files_own(int code);
/* Whether it says that no regular file stands there. */
bool dq_is_odd(int code);

#endif
