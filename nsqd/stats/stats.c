/* SPDX-License-Identifier: MIT */
/*
 * Snapshots of the counters. Mirrors nsqd/stats.go. Runs in the threads of HTTP connections and in
 * statsd_loop.
 */
#include "nsqd/stats/stats.h"

#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/libc.h"
#include "common/slab.h"
#include "common/xalloc.h"
#include "nsqd/queue/channel.h"
#include "nsqd/queue/channel_inspect.h"
#include "nsqd/client/tcp.h"
#include "nsqd/queue/topic.h"

/* Copies every client of c; returns how many. With clients NULL it only counts. */
static size_t get_clients(struct channel *c, const char *topic, struct client_v2_stats **clients)
{
	rwlock_rdlock(&c->lock);
	size_t n = HASH_CNT(hh, c->clients);
	if (clients) {
		*clients =
			xcalloc(n + 1, sizeof(**clients)); /* never NULL: an empty list is a list */
		struct client_v2_stats *out = *clients;
		for (struct consumer *k = c->clients; k; k = k->hh.next)
			k->ops->stats(k, topic, out++);
	}
	rwlock_unlock(&c->lock);
	return n;
}

#define COUNT(field)                                                                               \
	{                                                                                          \
#field, offsetof(struct channel, field), offsetof(struct channel_stats, field)     \
	}

const struct channel_count channel_counts[] = {
	COUNT(requeue_count),
	COUNT(timeout_count),
};

const size_t n_channel_counts = sizeof(channel_counts) / sizeof(*channel_counts);

uint64_t channel_count_of(const struct channel_stats *c, size_t i)
{
	return *(const uint64_t *)((const char *)c + channel_counts[i].to);
}

static void copy_counts(const struct channel *c, struct channel_stats *out)
{
	for (size_t i = 0; i < n_channel_counts; i++) {
		const _Atomic uint64_t *from =
			(const _Atomic uint64_t *)((const char *)c + channel_counts[i].from);
		uint64_t *to = (uint64_t *)((char *)out + channel_counts[i].to);
		*to = atomic_load_explicit(from, memory_order_relaxed);
	}
}

/* 0: there is none, or the clock has been put back. */
static int64_t age_of(int64_t timestamp)
{
	int64_t now = clock_wall_ns();
	return timestamp > 0 && timestamp < now ? now - timestamp : 0;
}

static void get_channel_log(struct channel *c, struct channel_stats *out)
{
	struct topic_log_cursor_stats s;
	if (!channel_get_log_stats(c, &s))
		return;
	out->log = xmalloc(sizeof(s));
	*out->log = s;
}

static void get_topic_log(struct topic *t, struct topic_stats *out)
{
	struct topic_log_stats s;
	if (!topic_get_log_stats(t, &s))
		return;
	out->log = xmalloc(sizeof(s));
	*out->log = s;
}

/* NewChannelStats */
static void get_channel(
	struct channel *c, const char *topic, bool include_clients, struct channel_stats *out)
{
	*out = (struct channel_stats){0};
	memcpy(out->channel_name, c->name, sizeof(out->channel_name));
	out->client_count = get_clients(c, topic, include_clients ? &out->clients : NULL);
	out->depth = channel_depth(c);
	out->backend_depth = channel_backend_depth(c);
	out->in_flight_count = channel_in_flight_count(c);
	out->deferred_count = channel_deferred_count(c);
	out->message_count = atomic_load_explicit(&c->message_count, memory_order_relaxed);
	for (int i = 0; i < N_CLOSENESS; i++)
		out->delivered_counts[i] =
			atomic_load_explicit(&c->delivered_counts[i], memory_order_relaxed);
	copy_counts(c, out);
	out->dropped = atomic_load_explicit(&c->dropped, memory_order_relaxed);
	out->overflow_count = atomic_load_explicit(&c->overflow_count, memory_order_relaxed);
	out->oldest_age_ns = age_of(channel_oldest_timestamp(c));
	out->expired = atomic_load_explicit(&c->expired, memory_order_relaxed);
	out->given_up = atomic_load_explicit(&c->given_up, memory_order_relaxed);
	out->dead_lettered = atomic_load_explicit(&c->dead_lettered, memory_order_relaxed);
	out->requeued_on_disconnect =
		atomic_load_explicit(&c->requeued_on_disconnect, memory_order_relaxed);
	channel_latencies(c, &out->publish_to_deliver, &out->deliver_to_finish);
	get_channel_log(c, out);
	out->paused = channel_is_paused(c);
	quantile_result(c->e2e_processing_latency_stream, &out->e2e_processing_latency);
}

/* NewTopicStats */
static void get_topic(struct topic *t, struct topic_stats *out)
{
	memcpy(out->topic_name, t->name, sizeof(out->topic_name));
	out->depth = topic_depth(t);
	out->backend_depth = topic_backend_depth(t);
	out->message_count = atomic_load_explicit(&t->message_count, memory_order_relaxed);
	out->message_bytes = atomic_load_explicit(&t->message_bytes, memory_order_relaxed);
	out->oldest_age_ns = age_of(topic_oldest_timestamp(t));
	out->dropped_count = atomic_load_explicit(&t->limits.dropped, memory_order_relaxed);
	for (int i = 0; i < N_REFUSALS; i++)
		out->rejected[i] =
			atomic_load_explicit(&t->limits.rejected[i], memory_order_relaxed);
	get_topic_log(t, out);
	out->paused = topic_is_paused(t);
	struct quantile *latencies = topic_aggregate_channel_e2e_processing_latency(t);
	quantile_result(latencies, &out->e2e_processing_latency);
	quantile_free(latencies);
}

/* All channels of t, or the one of that name. False: no channel has that name. */
static bool find_channels(struct topic *t, const char *name, struct channel ***channels, size_t *n)
{
	if (!name || !*name) {
		*channels = topic_channels(t, n);
		return true;
	}
	struct channel *c = topic_get_existing_channel(t, name);
	if (!c)
		return false;
	*channels = xmalloc(sizeof(**channels));
	**channels = c;
	*n = 1;
	return true;
}

static bool add_topic(struct topic *t, const char *topic, const char *channel, bool include_clients,
	struct topic_stats *out)
{
	struct channel **channels;
	size_t n;
	*out = (struct topic_stats){0};
	if (!find_channels(t, channel, &channels, &n))
		return false;
	out->channels = xcalloc(n + 1, sizeof(*out->channels));
	out->n_channels = n;
	for (size_t i = 0; i < n; i++) {
		get_channel(channels[i], topic, include_clients, &out->channels[i]);
		channel_unref(channels[i]);
	}
	free(channels);
	get_topic(t, out);
	return true;
}

struct producers {
	struct stats *stats;
	const char *topic;
	size_t cap;
};

static void add_producer(struct client_v2 *c, void *arg)
{
	struct producers *p = arg;
	struct stats *s = p->stats;
	if (!client_v2_is_producer(c))
		return;
	if (s->n_producers == p->cap) {
		p->cap = p->cap ? p->cap * 2 : 16;
		s->producers = xreallocarray(s->producers, p->cap, sizeof(*s->producers));
	}
	client_v2_stats(c, p->topic, &s->producers[s->n_producers++]);
}

void stats_get(struct topics *ts, struct tcp_server *tcp_server, const char *topic,
	const char *channel, struct stats *out)
{
	bool include_clients = tcp_server != NULL;
	struct topic **topics;
	size_t count = 1;
	*out = (struct stats){.include_clients = include_clients};
	if (topic && *topic) {
		struct topic *t = nsqd_get_existing_topic(ts, topic);
		if (!t) {
			/* Stock returns here, and so shows no producers either. */
			out->unknown_topic = true;
			return;
		}
		topics = xmalloc(sizeof(*topics));
		*topics = t;
	} else {
		topics = nsqd_topics(ts, &count);
	}
	out->topics = xcalloc(count + 1, sizeof(*out->topics));
	for (size_t i = 0; i < count; i++) {
		if (add_topic(topics[i], topic, channel, include_clients,
			    &out->topics[out->n_topics]))
			out->n_topics++;
		topic_unref(topics[i]);
	}
	free(topics);
	if (include_clients) {
		struct producers p = {.stats = out, .topic = topic};
		tcp_server_each_client(tcp_server, add_producer, &p);
	}
}

static void free_clients(struct client_v2_stats *clients, size_t n)
{
	for (size_t i = 0; clients && i < n; i++)
		client_v2_stats_free(&clients[i]);
	free(clients);
}

void stats_free(struct stats *s)
{
	for (size_t i = 0; i < s->n_topics; i++) {
		struct topic_stats *t = &s->topics[i];
		for (size_t j = 0; j < t->n_channels; j++) {
			free_clients(t->channels[j].clients, t->channels[j].client_count);
			quantile_result_free(&t->channels[j].e2e_processing_latency);
			free(t->channels[j].log);
		}
		free(t->channels);
		free(t->log);
		quantile_result_free(&t->e2e_processing_latency);
	}
	free(s->topics);
	free_clients(s->producers, s->n_producers);
	*s = (struct stats){0};
}

#define FIELD(name)                                                                                \
	{                                                                                          \
#name, offsetof(struct mem_stats, name)                                            \
	}

const struct mem_stats_field mem_stats_fields[] = {
	FIELD(heap_objects),
	FIELD(heap_idle_bytes),
	FIELD(heap_in_use_bytes),
	FIELD(heap_released_bytes),
	FIELD(gc_pause_usec_100),
	FIELD(gc_pause_usec_99),
	FIELD(gc_pause_usec_95),
	FIELD(next_gc_bytes),
	FIELD(gc_total_runs),
};

const size_t mem_stats_n_fields = sizeof(mem_stats_fields) / sizeof(*mem_stats_fields);

void mem_stats_get(struct mem_stats *out)
{
	struct libc_mallinfo mi = libc_get_mallinfo();
	struct slab_stats slab = slab_get_stats();
	/*
	 * glibc counts neither its live objects nor what it has given back; the messages are
	 * slab's.
	 */
	*out = (struct mem_stats){
		.heap_idle_bytes = mi.fordblks + slab.idle,
		.heap_in_use_bytes = mi.uordblks + mi.hblkhd + slab.in_use,
		.heap_released_bytes = slab.released,
	};
}
