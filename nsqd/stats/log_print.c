/* SPDX-License-Identifier: MIT */
/*
 * What /stats?include_log=true shows of the logs of topics. No Go file: stock has no log. Runs in
 * the threads of HTTP connections, on a snapshot, without locks.
 */
#include "nsqd/stats/log_print.h"

#include <inttypes.h>
#include <string.h>

#include "common/clock.h"

/* How long ago; 0: it is not so. */
static int64_t ns_since(int64_t since_ns)
{
	return since_ns == 0 ? 0 : clock_mono_ns() - since_ns;
}

static void add_string(struct strbuf *out, const char *key, const char *value, size_t len)
{
	strbuf_addf(out, ",\"%s\":", key);
	strbuf_add_json(out, value, len);
}

/* channel NULL: the topic's own cursor. */
static void print_cursor(
	struct strbuf *out, const char *channel, const struct topic_log_cursor_stats *c)
{
	strbuf_adds(out, "{\"channel_name\":");
	if (channel)
		strbuf_add_json(out, channel, strlen(channel));
	else
		strbuf_adds(out, "null");
	strbuf_addf(out,
		",\"oldest\":%" PRIu64 ",\"unfinished\":%" PRIu64 ",\"waiting\":%" PRIu64
		",\"held_bytes\":%" PRId64 ",\"holds_oldest_segment\":%s"
		",\"unchanged_ns\":%" PRId64 ",\"file_bytes\":%" PRId64 ",\"failing\":%s}",
		c->floor, c->unfinished, c->waiting, c->held_bytes,
		c->holds_oldest ? "true" : "false", ns_since(c->floor_since_ns), c->file_bytes,
		c->failing ? "true" : "false");
}

static void print_cursors(struct strbuf *out, const struct topic_stats *t)
{
	strbuf_adds(out, ",\"cursors\":[");
	print_cursor(out, NULL, &t->log->handed);
	for (size_t i = 0; i < t->n_channels; i++) {
		if (!t->channels[i].log)
			continue;
		strbuf_addc(out, ',');
		print_cursor(out, t->channels[i].channel_name, t->channels[i].log);
	}
	strbuf_addc(out, ']');
}

static void print_commits(struct strbuf *out, const struct log_stats *l)
{
	double mean = l->commits > 0 ? l->commit_times.sum_ns / (double)l->commits : 0;
	strbuf_addf(out,
		",\"appended\":%" PRIu64 ",\"written_bytes\":%" PRIu64 ",\"commits\":%" PRIu64
		",\"failed_commits\":%" PRIu64 ",\"commit_mean_ns\":%.0f,\"commit_age_ns\":%" PRId64
		",\"syncs\":%" PRIu64 ",\"failed_syncs\":%" PRIu64 ",\"failing\":%s",
		l->records, l->written_bytes, l->commits, l->failed_commits, mean,
		ns_since(l->commit_since_ns), l->syncs, l->failed_syncs,
		l->failing_since_ns != 0 ? "true" : "false");
	if (l->failing_since_ns == 0)
		return;
	strbuf_addf(out, ",\"failing_ns\":%" PRId64, ns_since(l->failing_since_ns));
	add_string(out, "error", l->last_failure.msg, strlen(l->last_failure.msg));
}

static void print_holder(struct strbuf *out, const struct log_holder *h)
{
	static const char *const states[] = {
		[HOLDER_QUEUED] = "queued",
		[HOLDER_IN_FLIGHT] = "in flight",
		[HOLDER_DEFERRED] = "deferred",
	};
	strbuf_adds(out, ",\"held_by\":{\"channel_name\":");
	if (*h->channel)
		strbuf_add_json(out, h->channel, strlen(h->channel));
	else
		strbuf_adds(out, "null");
	strbuf_addf(out, ",\"message\":%" PRIu64 ",\"unchanged_ns\":%" PRId64 ",\"state\":\"%s\"",
		h->seq, ns_since(h->since_ns), states[h->state]);
	if (h->state == HOLDER_IN_FLIGHT)
		strbuf_addf(out, ",\"client\":%" PRId64, h->client_id);
	if (h->state == HOLDER_DEFERRED)
		strbuf_addf(out, ",\"due\":%" PRId64, h->due);
	if (h->known) {
		add_string(out, "id", h->id.hex, MSG_ID_LENGTH);
		strbuf_addf(out, ",\"timestamp\":%" PRId64 ",\"body_bytes\":%zu", h->timestamp,
			h->body_len);
	}
	strbuf_addc(out, '}');
}

static void print_log(
	struct strbuf *out, const struct topic_stats *t, const struct log_holder *holder)
{
	const struct log_stats *l = &t->log->log;
	strbuf_adds(out, "{\"topic_name\":");
	strbuf_add_json(out, t->topic_name, strlen(t->topic_name));
	strbuf_addf(out,
		",\"durability\":\"%s\",\"bytes\":%" PRId64 ",\"segments\":%zu,\"first\":%" PRIu64
		",\"next\":%" PRIu64,
		l->disk ? "disk" : "process", l->bytes, l->segments, l->first, l->next);
	print_commits(out, l);
	strbuf_addf(out,
		",\"cursor_written_bytes\":%" PRIu64 ",\"failing_cursors\":%zu,\"damaged\":%" PRIu64
		",\"damaged_bytes\":%" PRIu64 ",\"lost\":%" PRIu64 ",\"cut_bytes\":%" PRIu64,
		t->log->cursor_bytes, t->log->failing_cursors, l->damaged, l->damaged_bytes,
		l->lost, l->cut_bytes);
	print_cursors(out, t);
	if (holder)
		print_holder(out, holder);
	strbuf_addc(out, '}');
}

void log_print_json(struct strbuf *out, const struct stats *s, const struct log_holder *holder)
{
	bool first = true;
	strbuf_adds(out, ",\"logs\":[");
	for (size_t i = 0; i < s->n_topics; i++) {
		if (!s->topics[i].log)
			continue;
		if (!first)
			strbuf_addc(out, ',');
		first = false;
		print_log(out, &s->topics[i], holder);
	}
	strbuf_addc(out, ']');
}
