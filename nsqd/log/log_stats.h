/* SPDX-License-Identifier: MIT */
/* What a log holds, and has done: for /stats and /metrics, and for publishers that wait for a slow disk. */
#ifndef NSQD_LOG_STATS_H
#define NSQD_LOG_STATS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/latency.h"

/* Since the log was opened. */
struct log_stats {
	bool disk;      /* kept is what survives a loss of power */
	uint64_t first; /* the number of the oldest record that may be there */
	uint64_t next;  /* that of the next one */
	size_t segments;
	int64_t bytes;    /* in all of them */
	uint64_t commits; /* how often something was written and, maybe, synced */
	uint64_t batches; /* appends that were kept */
	uint64_t records; /* messages that were kept; copies count as well */
	uint64_t written_bytes;
	uint64_t failed_commits;
	uint64_t syncs; /* of segments, for a commit */
	uint64_t failed_syncs;
	/* What readers have met; each counts for itself. */
	uint64_t damaged;        /* places where bytes were skipped */
	uint64_t damaged_bytes;  /* all these bytes */
	uint64_t lost;           /* numbers whose records should be there, and are not */
	uint64_t cut_bytes;      /* behind the last whole batch, when the log was opened */
	int64_t commit_since_ns; /* since when a commit has been under way, or due; 0: none is */
	struct latency commit_times;
	/* Of a commit, or of a try whether one would succeed; "": the last one was good. */
	struct err last_failure;
	int64_t failing_since_ns; /* since when there is one (monotonic); 0: there is none */
};

#endif
