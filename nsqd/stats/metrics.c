/* SPDX-License-Identifier: MIT */
/*
 * The page of GET /metrics. No Go file: stock has no such page, and leaves it to exporters. Runs in
 * the threads of HTTP connections, on a snapshot, without locks.
 *
 * A format of Prometheus wants a family in one piece. So the topics and channels are gone through
 * once for each family, and their labels are made once before. Each row of the tables below begins
 * with name, type and help: `make docs` makes the list in docs/monitoring.md of them.
 */
#include "nsqd/stats/metrics.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/version.h"
#include "common/xalloc.h"
#include "nsqd/stats/exposition.h"
#include "nsqd/stats/log_metrics.h"

#define NO_LABELS                                                                                  \
	(struct labels)                                                                            \
	{                                                                                          \
		"", 0                                                                              \
	}

/* --- labels ----------------------------------------------------------------------------------- */

/* The labels of all topics and channels, in the order of the snapshot. */
struct label_list {
	struct strbuf text;
	size_t *ends; /* owned; where each ends in text */
	size_t n;
};

/* Those of topic and channel (NULL: the topic's own). */
typedef void label_fn(
	struct strbuf *out, const struct topic_stats *t, const struct channel_stats *c);

static void add_names(
	struct strbuf *out, const struct topic_stats *t, const struct channel_stats *c)
{
	exposition_add_label(out, "topic", t->topic_name, strlen(t->topic_name));
	if (c)
		exposition_add_label(out, "channel", c->channel_name, strlen(c->channel_name));
}

static void add_exporter_names(
	struct strbuf *out, const struct topic_stats *t, const struct channel_stats *c)
{
	bool paused = c ? c->paused : t->paused;
	strbuf_adds(out, c ? "type=\"channel\"" : "type=\"topic\"");
	add_names(out, t, c);
	strbuf_adds(out, paused ? ",paused=\"true\"" : ",paused=\"false\"");
}

static size_t count_channels(const struct stats *s)
{
	size_t n = 0;
	for (size_t i = 0; i < s->n_topics; i++)
		n += s->topics[i].n_channels;
	return n;
}

static void end_labels(struct label_list *l, const struct strbuf *one)
{
	strbuf_add(&l->text, one->data, one->len);
	l->ends[l->n++] = l->text.len;
}

/* Of each topic, and behind it of its channels. */
static void make_labels(struct label_list *l, const struct stats *s, label_fn *add)
{
	struct strbuf one = STRBUF_INIT;
	*l = (struct label_list){.text = STRBUF_INIT};
	l->ends = xcalloc(s->n_topics + count_channels(s) + 1, sizeof(*l->ends));
	for (size_t i = 0; i < s->n_topics; i++) {
		const struct topic_stats *t = &s->topics[i];
		strbuf_reset(&one);
		add(&one, t, NULL);
		end_labels(l, &one);
		for (size_t j = 0; j < t->n_channels; j++) {
			strbuf_reset(&one);
			add(&one, t, &t->channels[j]);
			end_labels(l, &one);
		}
	}
	strbuf_free(&one);
}

static void free_labels(struct label_list *l)
{
	strbuf_free(&l->text);
	free(l->ends);
}

static struct labels labels_at(const struct label_list *l, size_t i)
{
	size_t start = i == 0 ? 0 : l->ends[i - 1];
	return (struct labels){l->text.data + start, l->ends[i] - start};
}

/* --- topics and channels ---------------------------------------------------------------------- */

#define TOPIC_VALUE(field)                                                                         \
	static int64_t topic_##field(const struct topic_stats *t)                                  \
	{                                                                                          \
		return (int64_t)t->field;                                                          \
	}
#define CHANNEL_VALUE(field)                                                                       \
	static int64_t channel_##field(const struct channel_stats *c)                              \
	{                                                                                          \
		return (int64_t)c->field;                                                          \
	}

TOPIC_VALUE(message_count)
TOPIC_VALUE(message_bytes)
TOPIC_VALUE(depth)
TOPIC_VALUE(backend_depth)
TOPIC_VALUE(paused)
TOPIC_VALUE(n_channels)
CHANNEL_VALUE(message_count)
CHANNEL_VALUE(requeue_count)
CHANNEL_VALUE(timeout_count)
CHANNEL_VALUE(depth)
CHANNEL_VALUE(backend_depth)
CHANNEL_VALUE(in_flight_count)
CHANNEL_VALUE(deferred_count)
CHANNEL_VALUE(client_count)
CHANNEL_VALUE(paused)
CHANNEL_VALUE(dropped)
CHANNEL_VALUE(expired)
CHANNEL_VALUE(given_up)
CHANNEL_VALUE(dead_lettered)
CHANNEL_VALUE(requeued_on_disconnect)
TOPIC_VALUE(dropped_count)
CHANNEL_VALUE(overflow_count)

/* A family with a sample for each topic, or each channel, or both. */
struct queue_metric {
	struct metric metric;
	int64_t (*topic)(const struct topic_stats *t);     /* NULL: topics have none */
	int64_t (*channel)(const struct channel_stats *c); /* NULL: channels have none */
};

/* Labels: topic; and channel. */
static const struct queue_metric queue_metrics[] = {
	{{"nsq_topic_message_count", METRIC_COUNTER, "Messages published to the topic."},
		topic_message_count, NULL},
	{{"nsq_topic_message_bytes", METRIC_COUNTER, "Bytes of the bodies published to the topic."},
		topic_message_bytes, NULL},
	{{"nsq_topic_depth", METRIC_GAUGE,
		 "Messages that wait in the topic itself, in memory and on disk."},
		topic_depth, NULL},
	{{"nsq_topic_backend_depth", METRIC_GAUGE,
		 "Messages of the topic's depth that are on disk."},
		topic_backend_depth, NULL},
	{{"nsq_topic_dropped_total", METRIC_COUNTER,
		 "Messages that the topic has dropped: overflow = drop-head, or no_channel = "
		 "drop."},
		topic_dropped_count, NULL},
	{{"nsq_topic_paused", METRIC_GAUGE, "1 while the topic is paused."}, topic_paused, NULL},
	{{"nsq_topic_channel_message_count", METRIC_COUNTER,
		 "Messages that the channel has been given."},
		NULL, channel_message_count},
	{{"nsq_topic_channel_requeue_count", METRIC_COUNTER,
		 "Messages that consumers have requeued (REQ)."},
		NULL, channel_requeue_count},
	{{"nsq_topic_channel_timeout_count", METRIC_COUNTER,
		 "Messages whose consumers have not answered in time."},
		NULL, channel_timeout_count},
	{{"nsq_topic_channel_dropped_total", METRIC_COUNTER,
		 "Messages that the disk has refused, too many to be kept in memory: they are "
		 "lost."},
		NULL, channel_dropped},
	{{"nsqd_channel_expired_total", METRIC_COUNTER,
		 "Messages that were older than message_ttl, dead letters included."},
		NULL, channel_expired},
	{{"nsqd_channel_given_up_total", METRIC_COUNTER,
		 "Messages that have had max_attempts, with no dead-letter topic: they are "
		 "finished."},
		NULL, channel_given_up},
	{{"nsqd_channel_dead_lettered_total", METRIC_COUNTER,
		 "Messages of the channel that are in its dead-letter topic."},
		NULL, channel_dead_lettered},
	{{"nsqd_channel_requeued_on_disconnect_total", METRIC_COUNTER,
		 "Messages that came back since the connection of their consumer has ended."},
		NULL, channel_requeued_on_disconnect},
	{{"nsq_topic_channel_overflow_total", METRIC_COUNTER,
		 "Messages that the channel has dropped, since it held too many: overflow = "
		 "drop-head."},
		NULL, channel_overflow_count},
	{{"nsq_topic_channel_depth", METRIC_GAUGE,
		 "Messages that wait in the channel, in memory and on disk."},
		NULL, channel_depth},
	{{"nsq_topic_channel_backend_depth", METRIC_GAUGE,
		 "Messages of the channel's depth that are on disk."},
		NULL, channel_backend_depth},
	{{"nsq_topic_channel_in_flight_count", METRIC_GAUGE,
		 "Messages that consumers have, and have not answered."},
		NULL, channel_in_flight_count},
	{{"nsq_topic_channel_deferred_count", METRIC_GAUGE,
		 "Messages that wait for the end of a delay."},
		NULL, channel_deferred_count},
	{{"nsq_topic_channel_clients", METRIC_GAUGE, "Consumers of the channel."}, NULL,
		channel_client_count},
	{{"nsq_topic_channel_paused", METRIC_GAUGE, "1 while the channel is paused."}, NULL,
		channel_paused},
};

/* Labels: type, which is topic or channel; topic; channel; paused. */
static const struct queue_metric exporter_metrics[] = {
	{{"nsq_channel_count", METRIC_GAUGE, "As lovoo's exporter: channels of the topic."},
		topic_n_channels, NULL},
	{{"nsq_depth", METRIC_GAUGE, "As lovoo's exporter: messages that wait."}, topic_depth,
		channel_depth},
	{{"nsq_backend_depth", METRIC_GAUGE, "As lovoo's exporter: of these, on disk."},
		topic_backend_depth, channel_backend_depth},
	{{"nsq_message_count", METRIC_GAUGE, "As lovoo's exporter: messages so far."},
		topic_message_count, channel_message_count},
	{{"nsq_in_flight_count", METRIC_GAUGE,
		 "As lovoo's exporter: messages that consumers have not answered."},
		NULL, channel_in_flight_count},
	{{"nsq_deferred_count", METRIC_GAUGE,
		 "As lovoo's exporter: messages that wait for the end of a delay."},
		NULL, channel_deferred_count},
	{{"nsq_requeue_count", METRIC_GAUGE, "As lovoo's exporter: requeued messages so far."},
		NULL, channel_requeue_count},
	{{"nsq_timeout_count", METRIC_GAUGE, "As lovoo's exporter: timed out messages so far."},
		NULL, channel_timeout_count},
	{{"nsq_client_count", METRIC_GAUGE, "As lovoo's exporter: consumers of the channel."}, NULL,
		channel_client_count},
};

static void print_queue_metric(struct exposition *e, const struct stats *s,
	const struct label_list *labels, const struct queue_metric *m)
{
	size_t at = 0;
	exposition_family(e, &m->metric);
	for (size_t i = 0; i < s->n_topics; i++) {
		const struct topic_stats *t = &s->topics[i];
		if (m->topic)
			exposition_int(e, labels_at(labels, at), m->topic(t));
		at++;
		for (size_t j = 0; m->channel && j < t->n_channels; j++)
			exposition_int(e, labels_at(labels, at + j), m->channel(&t->channels[j]));
		at += t->n_channels;
	}
}

/* --- refusals --------------------------------------------------------------------------------- */

struct refusal_metric {
	struct metric metric;
};

/* Labels: topic, reason. */
static const struct refusal_metric refusal_metrics[] = {
	{{"nsq_topic_rejected_total", METRIC_COUNTER,
		"Messages that publishers have not got in, since a limit was reached, by reason: "
		"topic, channel, no_channel, memory, disk."}},
};

/* What has never happened has no sample. */
static void print_refusals(struct exposition *e, const struct stats *s)
{
	exposition_family(e, &refusal_metrics[0].metric);
	for (size_t i = 0; i < s->n_topics; i++) {
		const struct topic_stats *t = &s->topics[i];
		for (int k = 0; k < N_REFUSALS; k++) {
			struct strbuf labels = STRBUF_INIT;
			if (t->rejected[k] == 0)
				continue;
			add_names(&labels, t, NULL);
			exposition_add_label(
				&labels, "reason", refusal_names[k], strlen(refusal_names[k]));
			exposition_int(e, (struct labels){labels.data, labels.len},
				(int64_t)t->rejected[k]);
			strbuf_free(&labels);
		}
	}
}

/* --- ages ------------------------------------------------------------------------------------- */

struct age_metric {
	struct metric metric;
	bool channels; /* each channel's; else each topic's own */
};

/* Labels: topic; and channel. */
static const struct age_metric age_metrics[] = {
	{{"nsq_topic_oldest_message_age_seconds", METRIC_GAUGE,
		 "Age of the oldest message that is first in a queue of the topic itself; 0: "
		 "nothing waits."},
		false},
	{{"nsq_topic_channel_oldest_message_age_seconds", METRIC_GAUGE,
		 "Age of the oldest message that is first in a queue of the channel, in memory or "
		 "on disk; 0: nothing waits."},
		true},
};

static void print_age(struct exposition *e, const struct stats *s, const struct label_list *labels,
	const struct age_metric *m)
{
	size_t at = 0;
	exposition_family(e, &m->metric);
	for (size_t i = 0; i < s->n_topics; i++) {
		const struct topic_stats *t = &s->topics[i];
		if (!m->channels)
			exposition_double(
				e, labels_at(labels, at), (double)t->oldest_age_ns / NSEC_PER_SEC);
		at++;
		for (size_t j = 0; m->channels && j < t->n_channels; j++)
			exposition_double(e, labels_at(labels, at + j),
				(double)t->channels[j].oldest_age_ns / NSEC_PER_SEC);
		at += t->n_channels;
	}
}

/* --- percentiles ------------------------------------------------------------------------------ */

/* The percentile at this place of the flag's list. */
struct percentile_metric {
	struct metric metric;
	bool topic, channel;
	size_t i;
	double unit; /* in ns */
};

static void print_percentile(struct exposition *e, const struct stats *s,
	const struct label_list *labels, const struct percentile_metric *m)
{
	size_t at = 0;
	exposition_family(e, &m->metric);
	for (size_t i = 0; i < s->n_topics; i++) {
		const struct topic_stats *t = &s->topics[i];
		const struct quantile_result *r = &t->e2e_processing_latency;
		if (m->topic && m->i < r->n)
			exposition_double(
				e, labels_at(labels, at), r->points[m->i].value / m->unit);
		at++;
		for (size_t j = 0; m->channel && j < t->n_channels; j++) {
			r = &t->channels[j].e2e_processing_latency;
			if (m->i < r->n)
				exposition_double(e, labels_at(labels, at + j),
					r->points[m->i].value / m->unit);
		}
		at += t->n_channels;
	}
}

/* The percentiles that are measured. (A topic without channels has none.) */
static const struct quantile_result *percentiles_of(const struct stats *s)
{
	static const struct quantile_result none;
	for (size_t i = 0; i < s->n_topics; i++) {
		if (s->topics[i].e2e_processing_latency.n > 0)
			return &s->topics[i].e2e_processing_latency;
	}
	return &none;
}

/* "..._99" for 0.99, as statsd's keys. */
static void name_percentile(char *name, size_t size, const char *prefix, double quantile)
{
	snprintf(name, size, "%s_e2e_processing_latency_%.0f", prefix, quantile * 100.0);
}

/* Two percentiles may round to one name: the first has it. */
static bool is_named_before(const struct quantile_result *r, size_t i)
{
	char name[64], other[64];
	name_percentile(name, sizeof(name), "", r->points[i].quantile);
	for (size_t j = 0; j < i; j++) {
		name_percentile(other, sizeof(other), "", r->points[j].quantile);
		if (strcmp(name, other) == 0)
			return true;
	}
	return false;
}

static void print_percentiles(
	struct exposition *e, const struct stats *s, const struct label_list *labels)
{
	const struct quantile_result *r = percentiles_of(s);
	char name[64];
	for (size_t i = 0; i < r->n; i++) {
		if (is_named_before(r, i))
			continue;
		struct percentile_metric m = {
			{name, METRIC_GAUGE,
				"That percentile of the time from publish to finish, in "
				"nanoseconds."},
			true, false, i, 1};
		name_percentile(name, sizeof(name), "nsq_topic", r->points[i].quantile);
		print_percentile(e, s, labels, &m);
		m.topic = false;
		m.channel = true;
		name_percentile(name, sizeof(name), "nsq_topic_channel", r->points[i].quantile);
		print_percentile(e, s, labels, &m);
	}
}

/* lovoo's exporter goes by the place of a percentile, too, whatever it is. */
static const struct percentile_metric exporter_percentiles[] = {
	{{"nsq_e2e_latency_99p", METRIC_GAUGE,
		 "As lovoo's exporter: the first percentile of the flag, in nanoseconds."},
		true, true, 0, 1},
	{{"nsq_e2e_latency_95p", METRIC_GAUGE,
		 "As lovoo's exporter: the second percentile of the flag, in nanoseconds."},
		true, true, 1, 1},
};

static void print_exporter(struct exposition *e, const struct stats *s)
{
	struct label_list labels;
	make_labels(&labels, s, add_exporter_names);
	for (size_t i = 0; i < sizeof(exporter_metrics) / sizeof(*exporter_metrics); i++)
		print_queue_metric(e, s, &labels, &exporter_metrics[i]);
	for (size_t i = 0; i < sizeof(exporter_percentiles) / sizeof(*exporter_percentiles); i++) {
		if (i < percentiles_of(s)->n)
			print_percentile(e, s, &labels, &exporter_percentiles[i]);
	}
	free_labels(&labels);
}

/* --- histograms of channels ------------------------------------------------------------------- */

struct latency_metric {
	struct metric metric;
	size_t offset; /* in struct channel_stats: a struct latency */
};

/* Labels: topic, channel, le. */
static const struct latency_metric latency_metrics[] = {
	{{"nsq_topic_channel_publish_to_deliver_seconds", METRIC_HISTOGRAM,
		 "Time from the publication of a message to its first delivery."},
		offsetof(struct channel_stats, publish_to_deliver)},
	{{"nsq_topic_channel_deliver_to_finish_seconds", METRIC_HISTOGRAM,
		 "Time from the last delivery of a message to its end (FIN)."},
		offsetof(struct channel_stats, deliver_to_finish)},
};

static bool is_empty(const struct latency *l)
{
	for (size_t i = 0; i <= LATENCY_BOUNDS; i++) {
		if (l->counts[i] > 0)
			return false;
	}
	return true;
}

/* A channel that has never delivered anything has none: most of a daemon's may be so. */
static void print_latencies(
	struct exposition *e, const struct stats *s, const struct label_list *labels)
{
	for (size_t k = 0; k < sizeof(latency_metrics) / sizeof(*latency_metrics); k++) {
		size_t at = 0;
		exposition_family(e, &latency_metrics[k].metric);
		for (size_t i = 0; i < s->n_topics; i++) {
			const struct topic_stats *t = &s->topics[i];
			at++;
			for (size_t j = 0; j < t->n_channels; j++, at++) {
				const char *c = (const char *)&t->channels[j];
				const struct latency *l =
					(const struct latency *)(c + latency_metrics[k].offset);
				if (!is_empty(&t->channels[j].publish_to_deliver))
					exposition_latency(e, labels_at(labels, at), l);
			}
		}
	}
}

/* --- clients ---------------------------------------------------------------------------------- */

#define CLIENT_VALUE(field)                                                                        \
	static int64_t client_##field(const struct client_v2_stats *c)                             \
	{                                                                                          \
		return (int64_t)c->field;                                                          \
	}

CLIENT_VALUE(ready_count)
CLIENT_VALUE(in_flight_count)
CLIENT_VALUE(message_count)
CLIENT_VALUE(finish_count)
CLIENT_VALUE(requeue_count)
CLIENT_VALUE(connect_ts)
CLIENT_VALUE(pub_count)

struct client_metric {
	struct metric metric;
	int64_t (*value)(const struct client_v2_stats *c);
};

/* Labels: topic, channel, id, client_id, hostname, remote_address, user_agent, version. */
static const struct client_metric consumer_metrics[] = {
	{{"nsq_client_ready_count", METRIC_GAUGE, "RDY of the consumer."}, client_ready_count},
	{{"nsq_client_in_flight_count", METRIC_GAUGE,
		 "Messages that the consumer has not answered."},
		client_in_flight_count},
	{{"nsq_client_message_count", METRIC_COUNTER, "Messages sent to the consumer."},
		client_message_count},
	{{"nsq_client_finish_count", METRIC_COUNTER, "Messages that the consumer has finished."},
		client_finish_count},
	{{"nsq_client_requeue_count", METRIC_COUNTER, "Messages that the consumer has requeued."},
		client_requeue_count},
	{{"nsq_client_connect_ts", METRIC_GAUGE,
		 "When the consumer has connected, in Unix seconds."},
		client_connect_ts},
};

/* Labels: topic, id, client_id, hostname, remote_address, user_agent, version. */
static const struct client_metric producer_metrics[] = {
	{{"nsq_producer_message_count", METRIC_COUNTER,
		 "Messages that the client has published by TCP to the topic; of one topic alone, "
		 "as in /stats."},
		client_pub_count},
};

static void print_client(struct exposition *e, const char *topic, const char *channel,
	const struct client_v2_stats *c, int64_t value)
{
	struct strbuf labels = STRBUF_INIT;
	char id[24];
	snprintf(id, sizeof(id), "%lld", (long long)c->id);
	exposition_add_label(&labels, "topic", topic, strlen(topic));
	if (channel)
		exposition_add_label(&labels, "channel", channel, strlen(channel));
	exposition_add_label(&labels, "id", id, strlen(id));
	exposition_add_label(&labels, "client_id", c->client_id.s, c->client_id.len);
	exposition_add_label(&labels, "hostname", c->hostname.s, c->hostname.len);
	exposition_add_label(
		&labels, "remote_address", c->remote_address, strlen(c->remote_address));
	exposition_add_label(&labels, "user_agent", c->user_agent.s, c->user_agent.len);
	exposition_add_label(&labels, "version", "V2", 2);
	exposition_int(e, (struct labels){labels.data, labels.len}, value);
	strbuf_free(&labels);
}

static void print_consumers(
	struct exposition *e, const struct topic_stats *t, const struct client_metric *m)
{
	for (size_t i = 0; i < t->n_channels; i++) {
		const struct channel_stats *c = &t->channels[i];
		for (size_t j = 0; c->clients && j < c->client_count; j++)
			print_client(e, t->topic_name, c->channel_name, &c->clients[j],
				m->value(&c->clients[j]));
	}
}

static void print_clients(struct exposition *e, const struct stats *s)
{
	for (size_t k = 0; k < sizeof(consumer_metrics) / sizeof(*consumer_metrics); k++) {
		exposition_family(e, &consumer_metrics[k].metric);
		for (size_t i = 0; i < s->n_topics; i++)
			print_consumers(e, &s->topics[i], &consumer_metrics[k]);
	}
	exposition_family(e, &producer_metrics[0].metric);
	for (size_t i = 0; i < s->n_producers; i++) {
		const struct client_v2_stats *c = &s->producers[i];
		print_client(e, c->pub_topic, NULL, c, producer_metrics[0].value(c));
	}
}

/* --- the daemon ------------------------------------------------------------------------------- */

static void print_labelled(struct exposition *e, const char *name, const char *value, int64_t n)
{
	struct strbuf labels = STRBUF_INIT;
	exposition_add_label(&labels, name, value, strlen(value));
	exposition_int(e, (struct labels){labels.data, labels.len}, n);
	strbuf_free(&labels);
}

static void print_build_info(struct exposition *e, const struct daemon_stats *d)
{
	static const char labels[] =
		"version=\"" NSQ_VERSION "\",product=\"" PRODUCT_NAME
		"\",product_version=\"" PRODUCT_VERSION "\",compiler=\"" VERSION_COMPILER "\"";
	(void)d;
	exposition_int(e, (struct labels){labels, sizeof(labels) - 1}, 1);
}

static void print_connections(struct exposition *e, const struct daemon_stats *d)
{
	print_labelled(e, "kind", "tcp", d->tcp_connections);
	print_labelled(e, "kind", "http", d->http_connections);
	print_labelled(e, "kind", "https", d->https_connections);
}

/* A limit that there is not has no sample. */
static void print_thread_limits(struct exposition *e, const struct daemon_stats *d)
{
	const struct {
		const char *limit;
		int64_t value;
	} rows[] = {
		{"user", d->proc.threads_max_user},
		{"system", d->proc.threads_max_system},
		{"container", d->proc.threads_max_container},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		if (rows[i].value != PROC_NONE)
			print_labelled(e, "limit", rows[i].limit, rows[i].value);
	}
}

static void print_files(struct exposition *e, const struct daemon_stats *d)
{
	if (d->usage.bytes == DISK_UNKNOWN)
		return;
	print_labelled(e, "kind", "data", d->usage.data);
	print_labelled(e, "kind", "bad", d->usage.bad);
	print_labelled(e, "kind", "other", d->usage.other);
}

/* Without a limit there is no sample, but memory and disk have one of what is used. */
static void print_limits_used(struct exposition *e, const struct daemon_stats *d)
{
	for (int i = 0; i < N_HOST_LIMITS; i++) {
		if (d->limits.limits[i].max > 0 || i != HOST_FREE_DISK)
			print_labelled(e, "limit", host_limit_flags[i], d->limits.limits[i].used);
	}
}

static void print_limits(struct exposition *e, const struct daemon_stats *d)
{
	for (int i = 0; i < N_HOST_LIMITS; i++) {
		if (d->limits.limits[i].max > 0)
			print_labelled(e, "limit", host_limit_flags[i], d->limits.limits[i].max);
	}
}

static void print_limits_reached(struct exposition *e, const struct daemon_stats *d)
{
	for (int i = 0; i < N_HOST_LIMITS; i++) {
		if (d->limits.limits[i].max > 0)
			print_labelled(
				e, "limit", host_limit_flags[i], d->limits.limits[i].reached);
	}
}

static void print_syncs(struct exposition *e, const struct daemon_stats *d)
{
	exposition_latency(e, NO_LABELS, &d->disk.syncs);
}

static void print_cpu(struct exposition *e, const struct daemon_stats *d)
{
	exposition_double(e, NO_LABELS, d->proc.cpu_seconds);
}

static void print_start(struct exposition *e, const struct daemon_stats *d)
{
	exposition_double(e, NO_LABELS, d->start_time_seconds);
}

/* One number without labels; what is not known has no sample. */
_Static_assert(PROC_NONE == DISK_UNKNOWN, "both are what is not known");
#define DAEMON_VALUE(name, field)                                                                  \
	static void print_##name(struct exposition *e, const struct daemon_stats *d)               \
	{                                                                                          \
		if ((int64_t)d->field != PROC_NONE)                                                \
			exposition_int(e, NO_LABELS, (int64_t)d->field);                           \
	}

DAEMON_VALUE(healthy, healthy)
DAEMON_VALUE(received, received_bytes)
DAEMON_VALUE(sent, sent_bytes)
DAEMON_VALUE(kept_threads, kept_threads)
DAEMON_VALUE(kept_bytes, kept_bytes)
DAEMON_VALUE(expired_channels, expired_channels)
DAEMON_VALUE(sync_errors, disk.sync_errors)
DAEMON_VALUE(written, disk.written_bytes)
DAEMON_VALUE(read, disk.read_bytes)
DAEMON_VALUE(moved_aside, disk.moved_aside)
DAEMON_VALUE(usage, usage.bytes)
DAEMON_VALUE(size, usage.size)
DAEMON_VALUE(available, usage.available)
DAEMON_VALUE(heap_objects, memory.heap_objects)
DAEMON_VALUE(heap_idle, memory.heap_idle_bytes)
DAEMON_VALUE(heap_in_use, memory.heap_in_use_bytes)
DAEMON_VALUE(heap_released, memory.heap_released_bytes)
DAEMON_VALUE(gc_100, memory.gc_pause_usec_100)
DAEMON_VALUE(gc_99, memory.gc_pause_usec_99)
DAEMON_VALUE(gc_95, memory.gc_pause_usec_95)
DAEMON_VALUE(next_gc, memory.next_gc_bytes)
DAEMON_VALUE(gc_runs, memory.gc_total_runs)
DAEMON_VALUE(open_fds, proc.open_fds)
DAEMON_VALUE(max_fds, proc.max_fds)
DAEMON_VALUE(threads, proc.threads)
DAEMON_VALUE(virtual, proc.virtual_bytes)
DAEMON_VALUE(virtual_max, proc.virtual_max)
DAEMON_VALUE(resident, proc.resident_bytes)

struct daemon_metric {
	struct metric metric;
	void (*print)(struct exposition *e, const struct daemon_stats *d);
};

/* Labels: as the help says; else none. */
static const struct daemon_metric daemon_metrics[] = {
	{{"nsqd_build_info", METRIC_GAUGE,
		 "1; the labels version, product, product_version and compiler say what runs."},
		print_build_info},
	{{"nsqd_healthy", METRIC_GAUGE, "1 while /ping says OK: the last write to disk succeeded."},
		print_healthy},
	{{"nsqd_connections", METRIC_GAUGE, "Connections, by kind: tcp, http, https."},
		print_connections},
	{{"nsqd_network_received_bytes_total", METRIC_COUNTER,
		 "Bytes that all connections have brought in."},
		print_received},
	{{"nsqd_network_sent_bytes_total", METRIC_COUNTER,
		 "Bytes that all connections have taken out."},
		print_sent},
	{{"nsqd_threads_kept", METRIC_GAUGE, "Threads that wait for something to do."},
		print_kept_threads},
	{{"nsqd_threads_limit", METRIC_GAUGE,
		 "Threads allowed, by limit: user, system, container. The daemon's own share is "
		 "not told."},
		print_thread_limits},
	{{"nsqd_kept_bytes", METRIC_GAUGE,
		 "Bytes of messages that channels keep in memory, since the disk refuses them."},
		print_kept_bytes},
	{{"nsqd_channels_expired_total", METRIC_COUNTER,
		 "Channels that were deleted, since they had no consumer for their "
		 "channel_expire."},
		print_expired_channels},
	{{"nsqd_limit_used_bytes", METRIC_GAUGE,
		 "How much there is of what a flag limits, by limit: max-memory-bytes, "
		 "max-disk-bytes, min-free-disk. Of the last, what is free."},
		print_limits_used},
	{{"nsqd_limit_bytes", METRIC_GAUGE,
		 "How much there may be, by limit; of min-free-disk, how much must be free."},
		print_limits},
	{{"nsqd_limit_reached", METRIC_GAUGE,
		 "1 while publishers are refused, since that limit is reached, or were a moment "
		 "ago."},
		print_limits_reached},
	{{"nsqd_disk_sync_duration_seconds", METRIC_HISTOGRAM,
		 "Time that each fsync of a disk queue took."},
		print_syncs},
	{{"nsqd_disk_sync_errors_total", METRIC_COUNTER, "Of these, how many failed."},
		print_sync_errors},
	{{"nsqd_disk_written_bytes_total", METRIC_COUNTER,
		 "Bytes of records that disk queues have written."},
		print_written},
	{{"nsqd_disk_read_bytes_total", METRIC_COUNTER, "Bytes that disk queues have read."},
		print_read},
	{{"nsqd_disk_moved_aside_total", METRIC_COUNTER,
		 "Damaged or foreign files that were renamed to .bad."},
		print_moved_aside},
	{{"nsqd_data_path_bytes", METRIC_GAUGE, "Disk space of the files in the data path."},
		print_usage},
	{{"nsqd_data_path_files", METRIC_GAUGE,
		 "Files in the data path, by kind: data, bad, other."},
		print_files},
	{{"nsqd_filesystem_size_bytes", METRIC_GAUGE, "Size of the file system of the data path."},
		print_size},
	{{"nsqd_filesystem_available_bytes", METRIC_GAUGE, "Of that, what is left."},
		print_available},
	{{"nsq_mem_heap_objects", METRIC_GAUGE, "As statsd's mem.heap_objects; 0."},
		print_heap_objects},
	{{"nsq_mem_heap_idle_bytes", METRIC_GAUGE, "Free memory that the allocator holds."},
		print_heap_idle},
	{{"nsq_mem_heap_in_use_bytes", METRIC_GAUGE, "Memory that is in use."}, print_heap_in_use},
	{{"nsq_mem_heap_released_bytes", METRIC_GAUGE,
		 "Memory of messages that was given back to the system."},
		print_heap_released},
	{{"nsq_mem_gc_pause_usec_100", METRIC_GAUGE, "0: there is no garbage collector."},
		print_gc_100},
	{{"nsq_mem_gc_pause_usec_99", METRIC_GAUGE, "0, likewise."}, print_gc_99},
	{{"nsq_mem_gc_pause_usec_95", METRIC_GAUGE, "0, likewise."}, print_gc_95},
	{{"nsq_mem_next_gc_bytes", METRIC_GAUGE, "0, likewise."}, print_next_gc},
	{{"nsq_mem_gc_runs", METRIC_COUNTER, "0, likewise."}, print_gc_runs},
	{{"process_cpu_seconds_total", METRIC_COUNTER, "Processor time, user and system."},
		print_cpu},
	{{"process_open_fds", METRIC_GAUGE, "Open descriptors."}, print_open_fds},
	{{"process_max_fds", METRIC_GAUGE, "Descriptors allowed."}, print_max_fds},
	{{"process_threads", METRIC_GAUGE, "Threads."}, print_threads},
	{{"process_virtual_memory_bytes", METRIC_GAUGE, "Virtual memory."}, print_virtual},
	{{"process_virtual_memory_max_bytes", METRIC_GAUGE,
		 "Virtual memory allowed; no sample where that is without limit."},
		print_virtual_max},
	{{"process_resident_memory_bytes", METRIC_GAUGE, "Resident memory."}, print_resident},
	{{"process_start_time_seconds", METRIC_GAUGE, "When the daemon started, in Unix seconds."},
		print_start},
};

/* --- the page --------------------------------------------------------------------------------- */

void metrics_print(struct strbuf *out, const struct metrics_page *p)
{
	const struct stats *s = p->stats;
	struct exposition e = {.out = out, .openmetrics = p->openmetrics};
	struct label_list labels;
	for (size_t i = 0; i < sizeof(daemon_metrics) / sizeof(*daemon_metrics); i++) {
		exposition_family(&e, &daemon_metrics[i].metric);
		daemon_metrics[i].print(&e, p->daemon);
	}
	make_labels(&labels, s, add_names);
	for (size_t i = 0; i < sizeof(queue_metrics) / sizeof(*queue_metrics); i++)
		print_queue_metric(&e, s, &labels, &queue_metrics[i]);
	for (size_t i = 0; i < sizeof(age_metrics) / sizeof(*age_metrics); i++)
		print_age(&e, s, &labels, &age_metrics[i]);
	print_refusals(&e, s);
	print_percentiles(&e, s, &labels);
	log_metrics_print(&e, s);
	if (p->include_histograms)
		print_latencies(&e, s, &labels);
	free_labels(&labels);
	if (p->include_exporter)
		print_exporter(&e, s);
	if (s->include_clients)
		print_clients(&e, s);
	exposition_end(&e);
}
