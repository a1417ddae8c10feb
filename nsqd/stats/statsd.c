/* SPDX-License-Identifier: MIT */
/*
 * The loop that pushes the counters to statsd. Mirrors nsqd/statsd.go. Runs in the thread "statsd".
 *
 * Differences:
 * - A name server that does not answer holds up the exit for a second or so.
 * - A topic or channel that was deleted and made anew since the last push starts from 0; stock
 *   sends a negative count.
 * - An interval of a second or less is not spread (stock panics).
 *
 * Lessons in docs/course/: 09-ticker.
 */
#include "nsqd/stats/statsd.h"

#include <resolv.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "protocol/names.h"

/* The part of the interval that is left to dial and gather; the rest is for spreading. */
#define NOT_SPREAD NSEC_PER_SEC

/* --- the lines ------------------------------------------------------------------------------ */

/* How much a counter has grown since the last push. */
static int64_t diff(uint64_t now, uint64_t last)
{
	return (int64_t)(now >= last ? now - last : now);
}

/* Both lists are sorted by name, so that the last topic or channel is found by bisection. */
static int topic_by_name(const void *name, const void *t)
{
	return strcmp(name, ((const struct topic_stats *)t)->topic_name);
}

static int channel_by_name(const void *name, const void *c)
{
	return strcmp(name, ((const struct channel_stats *)c)->channel_name);
}

static const struct topic_stats *find_topic(const struct stats *last, const char *name)
{
	static const struct topic_stats none;
	const struct topic_stats *t = NULL;
	if (last->n_topics > 0)
		t = bsearch(
			name, last->topics, last->n_topics, sizeof(*last->topics), topic_by_name);
	return t ? t : &none;
}

static const struct channel_stats *find_channel(const struct topic_stats *last, const char *name)
{
	static const struct channel_stats none;
	const struct channel_stats *c = NULL;
	if (last->n_channels > 0)
		c = bsearch(name, last->channels, last->n_channels, sizeof(*last->channels),
			channel_by_name);
	return c ? c : &none;
}

static void add_channel(struct statsd_client *client, const char *topic,
	const struct channel_stats *c, const struct channel_stats *last)
{
	const char *name = c->channel_name;
	const struct quantile_result *e2e = &c->e2e_processing_latency;
	statsd_client_incr(client, diff(c->message_count, last->message_count),
		"topic.%s.channel.%s.message_count", topic, name);
	statsd_client_gauge(client, c->depth, "topic.%s.channel.%s.depth", topic, name);
	statsd_client_gauge(
		client, c->backend_depth, "topic.%s.channel.%s.backend_depth", topic, name);
	statsd_client_gauge(client, (int64_t)c->in_flight_count,
		"topic.%s.channel.%s.in_flight_count", topic, name);
	statsd_client_gauge(client, (int64_t)c->deferred_count,
		"topic.%s.channel.%s.deferred_count", topic, name);
	for (size_t i = 0; i < n_channel_counts; i++)
		statsd_client_incr(client, diff(channel_count_of(c, i), channel_count_of(last, i)),
			"topic.%s.channel.%s.%s", topic, name, channel_counts[i].name);
	statsd_client_gauge(
		client, (int64_t)c->client_count, "topic.%s.channel.%s.clients", topic, name);
	for (size_t i = 0; i < e2e->n; i++)
		statsd_client_gauge(client, (int64_t)e2e->points[i].value,
			"topic.%s.channel.%s.e2e_processing_latency_%.0f", topic, name,
			e2e->points[i].quantile * 100.0);
}

static void add_topic(
	struct statsd_client *client, const struct topic_stats *t, const struct topic_stats *last)
{
	const char *name = t->topic_name;
	const struct quantile_result *e2e = &t->e2e_processing_latency;
	statsd_client_incr(client, diff(t->message_count, last->message_count),
		"topic.%s.message_count", name);
	statsd_client_incr(client, diff(t->message_bytes, last->message_bytes),
		"topic.%s.message_bytes", name);
	statsd_client_gauge(client, t->depth, "topic.%s.depth", name);
	statsd_client_gauge(client, t->backend_depth, "topic.%s.backend_depth", name);
	for (size_t i = 0; i < e2e->n; i++)
		/* a value of 1 ns is the minimum resolution, so nothing is lost */
		statsd_client_gauge(client, (int64_t)e2e->points[i].value,
			"topic.%s.e2e_processing_latency_%.0f", name,
			e2e->points[i].quantile * 100.0);
}

void statsd_add_stats(struct statsd_client *client, const struct options *opts,
	const struct stats *now, const struct stats *last)
{
	for (size_t i = 0; i < now->n_topics; i++) {
		const struct topic_stats *t = &now->topics[i];
		if (opts->statsd_exclude_ephemeral && is_ephemeral_name(t->topic_name))
			continue;
		const struct topic_stats *last_topic = find_topic(last, t->topic_name);
		add_topic(client, t, last_topic);
		for (size_t k = 0; k < t->n_channels; k++) {
			const struct channel_stats *c = &t->channels[k];
			if (opts->statsd_exclude_ephemeral && is_ephemeral_name(c->channel_name))
				continue;
			add_channel(client, t->topic_name, c,
				find_channel(last_topic, c->channel_name));
		}
	}
}

static void add_mem_stats(struct statsd_client *client, uint64_t *last_gc_runs)
{
	struct mem_stats ms;
	mem_stats_get(&ms);
	statsd_client_gauge(client, (int64_t)ms.heap_objects, "mem.heap_objects");
	statsd_client_gauge(client, (int64_t)ms.heap_idle_bytes, "mem.heap_idle_bytes");
	statsd_client_gauge(client, (int64_t)ms.heap_in_use_bytes, "mem.heap_in_use_bytes");
	statsd_client_gauge(client, (int64_t)ms.heap_released_bytes, "mem.heap_released_bytes");
	statsd_client_gauge(client, (int64_t)ms.gc_pause_usec_100, "mem.gc_pause_usec_100");
	statsd_client_gauge(client, (int64_t)ms.gc_pause_usec_99, "mem.gc_pause_usec_99");
	statsd_client_gauge(client, (int64_t)ms.gc_pause_usec_95, "mem.gc_pause_usec_95");
	statsd_client_gauge(client, (int64_t)ms.next_gc_bytes, "mem.next_gc_bytes");
	statsd_client_incr(client, diff(ms.gc_total_runs, *last_gc_runs), "mem.gc_runs");
	*last_gc_runs = ms.gc_total_runs;
}

/* --- the loop ------------------------------------------------------------------------------- */

/* The counters of the last push; the next one subtracts them. */
struct last {
	struct stats stats;
	uint64_t gc_runs;
};

static void push(struct topics *ts, struct last *last)
{
	const struct options *opts = nsqd_get_opts(ts->ctx);
	struct statsd_client client;
	struct stats stats;
	struct err err;
	int fd = statsd_client_dial(opts->statsd_address, &err);
	if (fd < 0) {
		nsqd_logf(ts->ctx, LG_ERROR, "failed to create UDP socket to statsd(%s) - %s",
			opts->statsd_address, err.msg);
		return;
	}
	nsqd_logf(ts->ctx, LG_INFO, "STATSD: pushing stats to %s", opts->statsd_address);
	statsd_client_init(&client, opts->statsd_prefix, opts->statsd_udp_packet_size);
	stats_get(ts, NULL, NULL, NULL, &stats);
	statsd_add_stats(&client, opts, &stats, &last->stats);
	stats_free(&last->stats);
	last->stats = stats;
	if (opts->statsd_mem_stats)
		add_mem_stats(&client, &last->gc_runs);
	size_t dropped = statsd_client_flush(
		&client, fd, opts->statsd_interval - NOT_SPREAD, ts->ctx->exit_chan, &err);
	if (dropped > 0)
		nsqd_logf(ts->ctx, LG_WARN, "STATSD: %zu datagrams were not sent - %s", dropped,
			err.msg);
	statsd_client_destroy(&client);
	close(fd);
}

/*
 * This thread asks each name server once, for a second (stock's DialTimeout): _res is the thread's
 * own.
 */
static void bound_resolver(void)
{
	if (res_init() == 0) {
		_res.retrans = 1;
		_res.retry = 1;
	}
}

void statsd_loop(void *arg)
{
	struct topics *ts = arg;
	bound_resolver();
	struct last last = {0};
	struct ticker ticker;
	ticker_start(&ticker, nsqd_get_opts(ts->ctx)->statsd_interval);
	enum { EXIT, TICK };
	for (;;) {
		struct chan_case cases[] = {
			[EXIT] = chan_case_recv(ts->ctx->exit_chan, NULL),
			[TICK] = chan_case_tick(&ticker),
		};
		if (chan_select(cases, 2) == EXIT)
			break;
		push(ts, &last);
	}
	stats_free(&last.stats);
	nsqd_logf(ts->ctx, LG_INFO, "STATSD: closing");
}
