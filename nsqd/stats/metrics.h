/* SPDX-License-Identifier: MIT */
/*
 * The page of GET /metrics: which metrics there are, and their values. docs/monitoring.md lists
 * them. Topics and channels have the names of Grafana's NSQ mixin and, once more, those of lovoo's
 * exporter.
 */
#ifndef NSQD_METRICS_H
#define NSQD_METRICS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/proc.h"
#include "common/strbuf.h"
#include "nsqd/core/host_limits.h"
#include "nsqd/disk/disk_stats.h"
#include "nsqd/stats/stats.h"

/* What is counted of the daemon as a whole. */
struct daemon_stats {
	bool healthy; /* as GET /ping says */
	double start_time_seconds;
	int64_t tcp_connections;
	int64_t http_connections;
	int64_t https_connections;
	uint64_t received_bytes;
	uint64_t sent_bytes;
	int64_t kept_threads;
	int64_t kept_bytes;
	int64_t expired_channels;
	struct proc_stats proc;
	struct disk_stats disk;
	struct host_limits_state limits;
	struct disk_usage usage;
	struct mem_stats memory;
};

struct metrics_page {
	const struct stats *stats;
	const struct daemon_stats *daemon;
	bool openmetrics;
	bool include_exporter;   /* the names of lovoo's exporter as well */
	bool include_histograms; /* of channels */
};

void metrics_print(struct strbuf *out, const struct metrics_page *p);

#endif
