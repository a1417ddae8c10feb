/* SPDX-License-Identifier: MIT */
/*
 * The disk of the model of the log: the table of log_io.h over arrays of bytes. There is one
 * directory, t.log. See log_disk.c.
 */
#ifndef TEST_MODEL_LOG_DISK_H
#define TEST_MODEL_LOG_DISK_H

#include <stdbool.h>
#include <stdint.h>

#include "nsqd/log/log_io.h"

#define DISK_FILES 12
#define DISK_BYTES 1024

struct disk_file {
	char name[27]; /* "": it has none any more, or is not there */
	bool there;
	uint16_t n_open;
	uint32_t size;
	unsigned char bytes[DISK_BYTES];
};

struct disk {
	bool has_dir;
	struct disk_file files[DISK_FILES];
};

/* The disk that the daemon uses, and what a crash has left of it: the same at one moment. */
extern struct disk disk, crashed;
extern const struct log_io disk_io, crashed_io;

/* So many calls of each kind may fail; of a write some of the bytes may be there then. */
struct disk_failures {
	int writes, syncs, truncates;
};
extern struct disk_failures disk_failures;

/* All is lost that is in memory. */
void disk_crash(void);
/* Is there a file of this name? */
bool disk_has(const struct disk *d, const char *name);
/* How many descriptors are open. */
int disk_n_open(const struct disk *d);

#endif
