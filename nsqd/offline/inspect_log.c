/* SPDX-License-Identifier: MIT */
/*
 * --inspect-data of a topic's log. Stock has no such thing. Runs in the thread "main" of a process
 * that is no daemon.
 */
#include "nsqd/offline/inspect_log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/xalloc.h"
#include "nsqd/log/log_read.h"
#include "nsqd/log/log_view.h"

/* --- reading -------------------------------------------------------------------------------------- */

static void note_cursor(struct log_report_queue *q, const struct cursor_found *f)
{
	if (f->missing)
		strbuf_adds(&q->notes, "there is no cursor\n");
	if (f->damaged)
		strbuf_addf(&q->notes,
			"the cursor is damaged: %lld bytes; messages may come again\n",
			(long long)f->damaged_bytes);
	if (f->torn_bytes > 0)
		strbuf_addf(&q->notes, "the cursor ends with %lld bytes that a start cuts off\n",
			(long long)f->torn_bytes);
	if (f->beyond > 0)
		strbuf_adds(&q->notes, "the cursor knows of messages that the log has lost\n");
	if (f->gone > 0)
		strbuf_addf(&q->notes,
			"%llu messages that were not finished have gone with their segments\n",
			(unsigned long long)f->gone);
}

static int count_message(void *arg, const struct log_view_message *m, struct err *err)
{
	struct log_report_queue *q = arg;
	(void)err;
	q->messages++;
	q->bytes += m->msg->body->len;
	if (m->due > q->now) {
		q->deferred++;
		if (q->first_due == 0 || m->due < q->first_due)
			q->first_due = m->due;
	}
	message_unref(m->msg);
	return 0;
}

/* c NULL: the topic. */
static int inspect_queue(struct log_view *v, const struct log_view_channel *c,
	struct log_report_queue *q, struct err *err)
{
	*q = (struct log_report_queue){.notes = STRBUF_INIT, .now = clock_wall_ns()};
	q->channel = c ? xstrdup(c->name) : NULL;
	q->floor = c ? cursor_floor(c->cursor) : v->dealt;
	note_cursor(q, c ? &c->found : &v->found);
	return log_view_each(v, c, count_message, q, &q->lost, err);
}

/* All records, finished or not. */
static int read_all(struct log_view *v, struct log_report *r, struct err *err)
{
	struct log_reader *reader = log_reader_open(v->log, v->stats.first, 0);
	struct log_stats before, after;
	struct log_item item;
	bool more = true;
	int rc = 0;
	log_get_stats(v->log, &before);
	while (more && rc == 0) {
		switch (log_reader_next(reader, &item, err)) {
		case LOG_READ_END:
			more = false;
			break;
		case LOG_READ_ERROR:
			rc = err->code == EIO ? 0 : -1;
			r->read_failed = true;
			r->why = *err;
			if (rc == 0)
				log_reader_skip(reader);
			break;
		case LOG_READ_GAP:
			r->lost += item.n;
			break;
		case LOG_READ_MESSAGE:
			r->records++;
			r->copies += item.channel != NULL;
			message_unref(item.msg);
			break;
		}
	}
	log_reader_close(reader);
	log_get_stats(v->log, &after);
	r->damaged = after.damaged - before.damaged;
	r->damaged_bytes = after.damaged_bytes - before.damaged_bytes;
	return rc;
}

/* Which queue keeps the oldest segment from going. */
static int find_holder(const struct log_report *r)
{
	int holder = -1;
	uint64_t least = r->next;
	for (size_t i = 0; i < r->n_queues; i++) {
		if (r->queues[i].floor < least) {
			least = r->queues[i].floor;
			holder = (int)i;
		}
	}
	return holder;
}

void inspect_log(int dir, const char *topic, struct log_report *r)
{
	struct log_view *v;
	*r = (struct log_report){.held_back_by = -1};
	if (log_view_open(dir, topic, NULL, &v, &r->why) != 0)
		return;
	r->opened = true;
	r->first = v->stats.first;
	r->next = v->stats.next;
	r->segments = v->stats.segments;
	r->bytes = v->stats.bytes;
	r->queues = xcalloc(v->n_channels + 1, sizeof(*r->queues));
	int rc = read_all(v, r, &r->why);
	for (size_t i = 0; rc == 0 && i <= v->n_channels; i++)
		rc = inspect_queue(
			v, i > 0 ? &v->channels[i - 1] : NULL, &r->queues[r->n_queues++], &r->why);
	if (rc != 0)
		r->read_failed = true;
	r->held_back_by = find_holder(r);
	log_view_close(v);
}

void log_report_free(struct log_report *r)
{
	for (size_t i = 0; i < r->n_queues; i++) {
		free(r->queues[i].channel);
		strbuf_free(&r->queues[i].notes);
	}
	free(r->queues);
}

uint64_t log_report_messages(const struct log_report *r)
{
	uint64_t n = 0;
	for (size_t i = 0; i < r->n_queues; i++)
		n += r->queues[i].messages;
	return n;
}

/* --- as lines --------------------------------------------------------------------------------------- */

static void queue_text(const struct log_report_queue *q, struct strbuf *out)
{
	strbuf_addf(out, q->channel ? "  channel %s of the log" : "  topic, not handed out",
		q->channel);
	strbuf_addf(out, ": from number %llu on, %llu messages in %lld bytes",
		(unsigned long long)q->floor, (unsigned long long)q->messages, (long long)q->bytes);
	if (q->deferred > 0)
		strbuf_addf(out, ", %llu of them deferred, the first for %lld s",
			(unsigned long long)q->deferred,
			(long long)((q->first_due - q->now) / NSEC_PER_SEC));
	if (q->lost > 0)
		strbuf_addf(out, ", damaged: %llu messages", (unsigned long long)q->lost);
	strbuf_addc(out, '\n');
	const char *line = q->notes.len > 0 ? q->notes.data : "";
	for (const char *end; (end = strchr(line, '\n')) != NULL; line = end + 1)
		strbuf_addf(out, "    %.*s\n", (int)(end - line), line);
}

void log_report_text(const struct log_report *r, const char *topic, struct strbuf *out)
{
	if (!r->opened) {
		strbuf_addf(out, "log %s: a start would fail: %s\n", topic, r->why.msg);
		return;
	}
	strbuf_addf(out, "log %s: ", topic);
	if (r->next > r->first)
		strbuf_addf(out, "numbers %llu to %llu, ", (unsigned long long)r->first,
			(unsigned long long)r->next - 1);
	strbuf_addf(out, "%llu records in %lld bytes of %zu segments",
		(unsigned long long)r->records, (long long)r->bytes, r->segments);
	if (r->copies > 0)
		strbuf_addf(out, ", %llu of them copies", (unsigned long long)r->copies);
	if (r->damaged > 0 || r->lost > 0)
		strbuf_addf(out, ", damaged: %llu places, %llu bytes, %llu records",
			(unsigned long long)r->damaged, (unsigned long long)r->damaged_bytes,
			(unsigned long long)r->lost);
	if (r->read_failed)
		strbuf_addf(out, ", not all can be read: %s", r->why.msg);
	strbuf_addc(out, '\n');
	for (size_t i = 0; i < r->n_queues; i++)
		queue_text(&r->queues[i], out);
	if (r->segments > 1 && r->held_back_by >= 0) {
		const struct log_report_queue *q = &r->queues[r->held_back_by];
		strbuf_addf(out, "  segments are kept for %s%s\n", q->channel ? "channel " : "",
			q->channel ? q->channel : "the topic, which has not handed them out");
	}
}

/* --- as JSON ---------------------------------------------------------------------------------------- */

static void add_string(struct strbuf *out, const char *key, const char *value)
{
	strbuf_addf(out, "\"%s\":", key);
	strbuf_add_json(out, value, strlen(value));
}

static void add_notes(const struct strbuf *notes, struct strbuf *out)
{
	const char *line = notes->len > 0 ? notes->data : "";
	const char *comma = "";
	strbuf_adds(out, ",\"notes\":[");
	for (const char *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
		strbuf_adds(out, comma);
		strbuf_add_json(out, line, (size_t)(end - line));
		comma = ",";
	}
	strbuf_addc(out, ']');
}

static void queue_json(const struct log_report_queue *q, struct strbuf *out)
{
	strbuf_addc(out, '{');
	if (q->channel) {
		add_string(out, "channel_name", q->channel);
		strbuf_addc(out, ',');
	}
	strbuf_addf(out,
		"\"floor\":%llu,\"messages\":%llu,\"bytes\":%lld,\"deferred\":%llu,"
		"\"first_due\":%lld,\"lost\":%llu",
		(unsigned long long)q->floor, (unsigned long long)q->messages, (long long)q->bytes,
		(unsigned long long)q->deferred, (long long)q->first_due,
		(unsigned long long)q->lost);
	add_notes(&q->notes, out);
	strbuf_addc(out, '}');
}

static void add_channels(const struct log_report *r, struct strbuf *out)
{
	strbuf_adds(out, ",\"channels\":[");
	for (size_t i = 1; i < r->n_queues; i++) {
		strbuf_adds(out, i > 1 ? "," : "");
		queue_json(&r->queues[i], out);
	}
	strbuf_addc(out, ']');
}

void log_report_json(const struct log_report *r, const char *topic, struct strbuf *out)
{
	strbuf_addc(out, '{');
	add_string(out, "topic_name", topic);
	if (!r->opened || r->read_failed) {
		strbuf_addc(out, ',');
		add_string(out, "error", r->why.msg);
	}
	if (r->opened) {
		strbuf_addf(out,
			",\"first\":%llu,\"next\":%llu,\"records\":%llu,\"copies\":%llu,"
			"\"segments\":%zu,\"bytes\":%lld,\"damaged_places\":%llu,"
			"\"damaged_bytes\":%llu,\"lost\":%llu",
			(unsigned long long)r->first, (unsigned long long)r->next,
			(unsigned long long)r->records, (unsigned long long)r->copies, r->segments,
			(long long)r->bytes, (unsigned long long)r->damaged,
			(unsigned long long)r->damaged_bytes, (unsigned long long)r->lost);
		if (r->n_queues > 0) {
			strbuf_adds(out, ",\"topic\":");
			queue_json(&r->queues[0], out);
		}
		add_channels(r, out);
	}
	strbuf_addc(out, '}');
}
