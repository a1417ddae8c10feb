/* SPDX-License-Identifier: MIT */
/*
 * /stats as JSON and as text, the same to the letter as stock's (nsqd/http.go doStats, printStats).
 */
#ifndef NSQD_STATS_PRINT_H
#define NSQD_STATS_PRINT_H

#include <stdint.h>

#include "common/strbuf.h"
#include "nsqd/core/host_limits.h"
#include "nsqd/queue/log_holder.h"
#include "nsqd/stats/stats.h"

struct stats_page {
	const struct stats *stats;
	const struct mem_stats *memory;         /* NULL: not asked for */
	const struct host_limits_state *limits; /* likewise; JSON alone shows them */
	bool include_log;                       /* JSON alone shows logs */
	const struct log_holder *holder; /* of the topic that was asked for; NULL: not known */
	const char *health;
	int64_t start_time_ns; /* wall clock */
	int64_t now_ns;        /* wall clock */
};

void stats_print_json(struct strbuf *out, const struct stats_page *p);
void stats_print_text(struct strbuf *out, const struct stats_page *p);

#endif
