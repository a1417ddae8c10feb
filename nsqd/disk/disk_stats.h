/* SPDX-License-Identifier: MIT */
/*
 * What the disk queues of the process have done since the start, and what lies in the data path,
 * for /metrics (go-diskqueue counts nothing). Any thread.
 */
#ifndef NSQD_DISK_STATS_H
#define NSQD_DISK_STATS_H

#include <stdint.h>

#include "common/latency.h"

struct disk_stats {
	struct latency syncs; /* how long each fsync and fdatasync took */
	uint64_t sync_errors; /* how many of these failed */
	uint64_t written_bytes;
	uint64_t read_bytes;
	uint64_t moved_aside; /* damaged or foreign files that were given the name .bad */
};

/* The counts so far. These five take a leaf lock. */
void disk_stats_get(struct disk_stats *out);
/* A sync that began at start_ns (monotonic) has ended; rc is what the system call has returned. */
void disk_stats_synced(int64_t start_ns, int rc);
void disk_stats_written(uint64_t bytes);
void disk_stats_read(uint64_t bytes);
void disk_stats_moved_aside(void);

#define DISK_UNKNOWN INT64_MAX

struct disk_usage {
	int64_t bytes;     /* of all files below; DISK_UNKNOWN: they cannot be listed */
	int64_t data;      /* how many files queues have, their metadata included, and nsqd.dat */
	int64_t bad;       /* .bad: moved aside, for the operator to look at */
	int64_t other;     /* what is not ours */
	int64_t size;      /* of the file system, or DISK_UNKNOWN, as the next */
	int64_t available; /* of that, to a process without privileges */
};

/*
 * Looks at each file of a directory, and at its file system: waits for the disk. What cannot be
 * looked at is left out.
 */
void disk_usage_get(const char *data_path, struct disk_usage *out);

#endif
