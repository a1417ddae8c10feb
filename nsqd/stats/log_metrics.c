/* SPDX-License-Identifier: MIT */
/*
 * The part of GET /metrics that is about the logs of topics. No Go file: stock has no log. Runs in
 * the threads of HTTP connections, on a snapshot, without locks.
 *
 * The tables are made up as those of metrics.c: docs/monitoring.md has a list of them.
 */
#include "nsqd/stats/log_metrics.h"

#include <string.h>

#include "common/clock.h"

#define VALUE(name, expression)                                                                    \
	static double log_##name(const struct topic_log_stats *s)                                  \
	{                                                                                          \
		return (double)(expression);                                                       \
	}
#define CURSOR_VALUE(name, expression)                                                             \
	static double cursor_##name(const struct topic_log_cursor_stats *s)                        \
	{                                                                                          \
		return (double)(expression);                                                       \
	}

/* How long ago, in seconds; 0: it is not so. */
static double seconds_since(int64_t since_ns)
{
	return since_ns == 0 ? 0 : (double)(clock_mono_ns() - since_ns) / NSEC_PER_SEC;
}

VALUE(bytes, s->log.bytes)
VALUE(segments, s->log.segments)
VALUE(messages, s->log.next - s->log.first)
VALUE(appended, s->log.records)
VALUE(written, s->log.written_bytes)
VALUE(cursor_written, s->cursor_bytes)
VALUE(commits, s->log.commits)
VALUE(failed_commits, s->log.failed_commits)
VALUE(syncs, s->log.syncs)
VALUE(failed_syncs, s->log.failed_syncs)
VALUE(commit_age, seconds_since(s->log.commit_since_ns))
VALUE(failing, s->log.failing_since_ns != 0)
VALUE(failing_cursors, s->failing_cursors)
VALUE(damaged, s->log.damaged)
VALUE(damaged_bytes, s->log.damaged_bytes)
VALUE(lost, s->log.lost)
VALUE(cut, s->log.cut_bytes)
CURSOR_VALUE(held, s->held_bytes)
CURSOR_VALUE(oldest, s->holds_oldest)
CURSOR_VALUE(unfinished_count, s->unfinished)
CURSOR_VALUE(stuck, seconds_since(s->floor_since_ns))
CURSOR_VALUE(file, s->file_bytes)

struct log_metric {
	struct metric metric;
	double (*value)(const struct topic_log_stats *s);
};

/* Labels: topic. */
static const struct log_metric log_metrics[] = {
	{{"nsqd_log_bytes", METRIC_GAUGE, "Bytes of the segments of the topic's log."}, log_bytes},
	{{"nsqd_log_segments", METRIC_GAUGE, "How many segments there are."}, log_segments},
	{{"nsqd_log_messages", METRIC_GAUGE,
		 "Messages in these, those included that are finished."},
		log_messages},
	{{"nsqd_log_appended_total", METRIC_COUNTER, "Messages that were appended and kept."},
		log_appended},
	{{"nsqd_log_written_bytes_total", METRIC_COUNTER,
		 "Bytes of these. Divided by nsqd_log_appended_total: bytes written per message."},
		log_written},
	{{"nsqd_log_cursor_written_bytes_total", METRIC_COUNTER,
		 "Bytes that the cursors of the topic and its channels have written."},
		log_cursor_written},
	{{"nsqd_log_commits_total", METRIC_COUNTER,
		 "Commits, failed ones included: writes of what publishers had appended by then."},
		log_commits},
	{{"nsqd_log_failed_commits_total", METRIC_COUNTER,
		 "Of these, how many failed: their publishers were told, and nothing was kept."},
		log_failed_commits},
	{{"nsqd_log_syncs_total", METRIC_COUNTER, "Syncs of commits; with disk alone."}, log_syncs},
	{{"nsqd_log_failed_syncs_total", METRIC_COUNTER, "Of these, how many failed."},
		log_failed_syncs},
	{{"nsqd_log_commit_age_seconds", METRIC_GAUGE,
		 "For how long the commit that is under way has lasted, or has been waited for; 0: "
		 "there is none."},
		log_commit_age},
	{{"nsqd_log_failing", METRIC_GAUGE,
		 "1 while commits fail: publishers are refused, and /ping says NOK."},
		log_failing},
	{{"nsqd_log_cursors_failing", METRIC_GAUGE,
		 "Cursors that could not be written: after a crash more messages come again."},
		log_failing_cursors},
	{{"nsqd_log_damaged_total", METRIC_COUNTER,
		 "Places at which readers have skipped damage; each reader counts for itself."},
		log_damaged},
	{{"nsqd_log_damaged_bytes_total", METRIC_COUNTER, "Bytes there."}, log_damaged_bytes},
	{{"nsqd_log_lost_messages_total", METRIC_COUNTER,
		 "Messages that should have been there; each reader counts for itself."},
		log_lost},
	{{"nsqd_log_cut_bytes", METRIC_GAUGE,
		 "Bytes of a commit that a crash has cut short; cut off when the log was opened."},
		log_cut},
};

struct log_latency_metric {
	struct metric metric;
};

/* Labels: topic, le. */
static const struct log_latency_metric log_latency_metrics[] = {
	{{"nsqd_log_commit_duration_seconds", METRIC_HISTOGRAM,
		"Time that each commit took; with disk, its sync included."}},
};

struct cursor_metric {
	struct metric metric;
	double (*value)(const struct topic_log_cursor_stats *s);
};

/* Labels: topic; and channel. Without channel it is the topic's own, of what is in no channel yet. */
static const struct cursor_metric cursor_metrics[] = {
	{{"nsqd_log_unfinished_messages", METRIC_GAUGE,
		 "Messages of the log that are not finished."},
		cursor_unfinished_count},
	{{"nsqd_log_held_bytes", METRIC_GAUGE,
		 "Bytes of the log that stay for the oldest of them: its segment, and the later "
		 "ones."},
		cursor_held},
	{{"nsqd_log_holds_oldest_segment", METRIC_GAUGE,
		 "1 if the oldest of them is in the oldest segment, and there are others: that "
		 "cannot go."},
		cursor_oldest},
	{{"nsqd_log_oldest_unchanged_seconds", METRIC_GAUGE,
		 "For how long the same message has been the oldest; 0: there is none."},
		cursor_stuck},
	{{"nsqd_log_cursor_bytes", METRIC_GAUGE, "Size of the cursor's file."}, cursor_file},
};

static void begin_labels(struct strbuf *out, const char *topic, const char *channel)
{
	strbuf_reset(out);
	exposition_add_label(out, "topic", topic, strlen(topic));
	if (channel)
		exposition_add_label(out, "channel", channel, strlen(channel));
}

static void print_cursor(struct exposition *e, struct strbuf *labels,
	const struct topic_log_cursor_stats *s, const struct cursor_metric *m)
{
	exposition_double(e, (struct labels){labels->data, labels->len}, m->value(s));
}

static void print_cursors(struct exposition *e, const struct topic_stats *t,
	const struct cursor_metric *m, struct strbuf *labels)
{
	begin_labels(labels, t->topic_name, NULL);
	print_cursor(e, labels, &t->log->handed, m);
	for (size_t i = 0; i < t->n_channels; i++) {
		const struct channel_stats *c = &t->channels[i];
		if (!c->log)
			continue;
		begin_labels(labels, t->topic_name, c->channel_name);
		print_cursor(e, labels, c->log, m);
	}
}

static void print_families(
	struct exposition *e, const struct topic_stats *topics, size_t n, struct strbuf *labels)
{
	for (size_t k = 0; k < sizeof(log_metrics) / sizeof(*log_metrics); k++) {
		exposition_family(e, &log_metrics[k].metric);
		for (size_t i = 0; i < n; i++) {
			if (!topics[i].log)
				continue;
			begin_labels(labels, topics[i].topic_name, NULL);
			exposition_double(e, (struct labels){labels->data, labels->len},
				log_metrics[k].value(topics[i].log));
		}
	}
	exposition_family(e, &log_latency_metrics[0].metric);
	for (size_t i = 0; i < n; i++) {
		if (!topics[i].log)
			continue;
		begin_labels(labels, topics[i].topic_name, NULL);
		exposition_latency(e, (struct labels){labels->data, labels->len},
			&topics[i].log->log.commit_times);
	}
	for (size_t k = 0; k < sizeof(cursor_metrics) / sizeof(*cursor_metrics); k++) {
		exposition_family(e, &cursor_metrics[k].metric);
		for (size_t i = 0; i < n; i++) {
			if (topics[i].log)
				print_cursors(e, &topics[i], &cursor_metrics[k], labels);
		}
	}
}

void log_metrics_print(struct exposition *e, const struct stats *s)
{
	struct strbuf labels = STRBUF_INIT;
	bool any = false;
	for (size_t i = 0; i < s->n_topics; i++)
		any |= s->topics[i].log != NULL;
	if (any)
		print_families(e, s->topics, s->n_topics, &labels);
	strbuf_free(&labels);
}
