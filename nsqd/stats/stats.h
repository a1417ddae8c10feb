/* SPDX-License-Identifier: MIT */
/*
 * The daemon's counters, as a snapshot for /stats and statsd (nsqd/stats.go). The snapshot owns all
 * of it; no lock is held once it is taken.
 */
#ifndef NSQD_STATS_H
#define NSQD_STATS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/latency.h"
#include "common/quantile.h"
#include "nsqd/client/client_v2.h"
#include "nsqd/log/topic_log.h"
#include "nsqd/queue/limits.h"
#include "nsqd/queue/topics.h"

struct tcp_server;

struct channel_stats {
	char channel_name[NAME_SIZE];
	int64_t depth;
	int64_t backend_depth;
	size_t in_flight_count;
	size_t deferred_count;
	uint64_t message_count;
	uint64_t delivered_counts[N_CLOSENESS]; /* 0 unless the experiment is on */
	uint64_t requeue_count;
	uint64_t timeout_count;
	size_t client_count;
	struct client_v2_stats *clients; /* owned; client_count of them, or NULL: not asked for */
	bool paused;
	struct quantile_result e2e_processing_latency;
	uint64_t overflow_count; /* /metrics alone shows this, and all that follow */
	uint64_t dropped;
	int64_t oldest_age_ns;
	uint64_t expired;
	uint64_t given_up;
	uint64_t dead_lettered;
	uint64_t requeued_on_disconnect;
	struct latency publish_to_deliver;
	struct latency deliver_to_finish;
	struct topic_log_cursor_stats *log; /* owned; NULL: it has no cursor */
};

/*
 * The counters that /stats and statsd show beside message_count, in their order. A new one needs a
 * field in struct channel, one in struct channel_stats and a row in stats.c.
 */
struct channel_count {
	const char *name;
	size_t from; /* in struct channel: an _Atomic uint64_t */
	size_t to;   /* in struct channel_stats: a uint64_t */
};
extern const struct channel_count channel_counts[];
extern const size_t n_channel_counts;
/* The counter of the snapshot that i, less than n_channel_counts, is the row of. */
uint64_t channel_count_of(const struct channel_stats *c, size_t i);

struct topic_stats {
	char topic_name[NAME_SIZE];
	struct channel_stats *channels; /* owned; by name */
	size_t n_channels;
	int64_t depth;
	int64_t backend_depth;
	uint64_t message_count;
	uint64_t message_bytes;
	uint64_t dropped_count; /* /metrics alone shows this, and the next two */
	uint64_t rejected[N_REFUSALS];
	int64_t oldest_age_ns;
	bool paused;
	struct quantile_result e2e_processing_latency;
	struct topic_log_stats *log; /* owned; NULL: it has no log; shown when asked for */
};

struct stats {
	struct topic_stats *topics; /* owned; by name */
	size_t n_topics;
	bool unknown_topic; /* the one that was asked for: JSON says null in place of [] */
	bool include_clients;
	struct client_v2_stats *producers; /* owned */
	size_t n_producers;
};

/*
 * GetStats: of everything, or of one topic, or of one channel in each topic. NULL or "" means all;
 * topics without that channel are left out. With the clients of tcp_server, if that is not NULL.
 * Takes the locks of topics, topic, channels and clients, one after the other, each for a moment.
 */
void stats_get(struct topics *ts, struct tcp_server *tcp_server, const char *topic,
	const char *channel, struct stats *out);
void stats_free(struct stats *s);

/*
 * memStats: the allocator's figures where they mean the same, 0 for what only a garbage collector
 * has.
 */
struct mem_stats {
	uint64_t heap_objects;
	uint64_t heap_idle_bytes;
	uint64_t heap_in_use_bytes;
	uint64_t heap_released_bytes;
	uint64_t gc_pause_usec_100;
	uint64_t gc_pause_usec_99;
	uint64_t gc_pause_usec_95;
	uint64_t next_gc_bytes;
	uint64_t gc_total_runs;
};

/* The keys of mem_stats in stock's order, for the printers. */
struct mem_stats_field {
	const char *name;
	size_t offset; /* of a uint64_t */
};

extern const struct mem_stats_field mem_stats_fields[];
extern const size_t mem_stats_n_fields;

void mem_stats_get(struct mem_stats *out);

#endif
