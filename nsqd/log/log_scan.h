/* SPDX-License-Identifier: MIT */
/*
 * A segment as a row of records: where one ends, and where the next one begins after damage. For
 * readers, for the start, and for --inspect-data. No locks. Blocks on the disk.
 */
#ifndef NSQD_LOG_SCAN_H
#define NSQD_LOG_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "nsqd/log/log_format.h"
#include "nsqd/log/log_io.h"

/* Bytes per read. */
#ifndef LOG_BLOCK_SIZE
#define LOG_BLOCK_SIZE (256 * 1024)
#endif
#ifndef LOG_FEW_SIZE
#define LOG_FEW_SIZE (8 * 1024)
#endif

/* A segment that is open, and the bytes of it that are in memory. All zero but fd (-1) is closed. */
struct log_scan {
	const struct log_io *io;
	int fd; /* -1: closed */
	uint64_t key;
	uint32_t limit; /* nothing behind it is looked at, nor read */
	/* Records with other numbers than [first, bound) are none: they are what a crash has left. */
	uint64_t first, bound;
	unsigned char *buf; /* of LOG_BLOCK_SIZE, or LOG_FEW_SIZE; NULL: nothing was read yet */
	bool few;           /* single records are read, so less at a time; set before the first */
	int64_t off;        /* buf[0..len) is what stands there */
	size_t len;
};

enum log_found {
	LOG_FOUND,   /* a record: its head is sound, and its body is within the limit */
	LOG_NOTHING, /* the limit, or an LOG_KIND_END */
	LOG_DAMAGED, /* no record here */
	LOG_FAILED,  /* the file cannot be read now; err is set */
};

/*
 * Opens a segment, whose head must be sound and name this first number. -1 with err set; EBADMSG:
 * the head is damaged.
 */
int log_scan_open(struct log_scan *s, const struct log_io *io, int dir, uint64_t first,
	struct log_head *head, struct err *err);
/* Closes the file and frees the memory. */
void log_scan_close(struct log_scan *s);
/* Frees the memory alone. */
void log_scan_rest(struct log_scan *s);

/* What is at off. */
enum log_found log_scan_at(
	struct log_scan *s, uint32_t off, struct log_record *rec, struct err *err);
/* Where the next record begins, at off or behind it: LOG_FOUND, LOG_NOTHING or LOG_FAILED. */
enum log_found log_scan_search(struct log_scan *s, uint32_t off, uint32_t *found, struct err *err);
/*
 * Copies n bytes at off, which lie below the limit. LOG_FOUND; LOG_DAMAGED: the file is shorter
 * than that; LOG_FAILED.
 */
enum log_found log_scan_copy(struct log_scan *s, uint32_t off, void *to, size_t n, struct err *err);
/* Is what follows the head of the record at off as its checksum says? LOG_FOUND, LOG_DAMAGED. */
enum log_found log_scan_check(
	struct log_scan *s, uint32_t off, const struct log_record *rec, struct err *err);

#endif
