/* SPDX-License-Identifier: MIT */
/*
 * A log and its cursors, looked at. No Go file: stock has no log. Runs in the thread "main": of a
 * start, or of a process that is no daemon; and in one that makes a topic.
 */
#include "nsqd/log/log_view.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/xalloc.h"
#include "nsqd/log/log_format.h"
#include "nsqd/log/log_names.h"
#include "nsqd/log/log_read.h"
#include "protocol/names.h"

/* Further than this the reader does not read on to pass records over, but looks for the place. */
#define FAR 100000

/* --- names ---------------------------------------------------------------------------------------- */

/* Adds name without the suffix, if it ends so and the rest is valid. */
static void add_name(struct log_names *names, const char *name, const char *suffix,
	bool (*valid)(const char *name, size_t len))
{
	size_t len = strlen(name) - strlen(suffix);
	if (log_name_ends(name, suffix) && valid(name, len))
		log_names_add(names, name, len);
}

static void add_topic(void *arg, const char *name)
{
	add_name(arg, name, LOG_SUFFIX, is_valid_topic_name);
}

static void add_channel(void *arg, const char *name)
{
	add_name(arg, name, CURSOR_SUFFIX, is_valid_channel_name);
}

char *log_view_dir_name(const char *topic)
{
	return xasprintf("%s" LOG_SUFFIX, topic);
}

static void look_for_segment(void *arg, const char *name)
{
	bool *has = arg;
	uint64_t first;
	*has = *has || log_segment_number(name, &first);
}

int log_view_find(int dir, const char *topic, const struct log_io *io, bool *has, struct err *err)
{
	char *name = log_view_dir_name(topic);
	io = io ? io : &log_io_real;
	*has = false;
	int fd = io->open_dir(io, dir, name), rc = 0;
	if (fd < 0 && errno != ENOENT && errno != ENOTDIR && errno != ELOOP)
		rc = err_errno(err, errno, "open %s", name);
	if (fd >= 0 && io->list(io, fd, look_for_segment, has) != 0)
		rc = err_errno(err, errno, "list %s", name);
	if (fd >= 0)
		(void)io->close(io, fd);
	free(name);
	return rc;
}

int log_view_each_topic(int dir, const struct log_io *io,
	int (*fn)(void *arg, const char *topic, struct err *err), void *arg, struct err *err)
{
	struct log_names names;
	bool has = false;
	int rc = log_names_list(io ? io : &log_io_real, dir, add_topic, &names, err);
	for (size_t i = 0; rc == 0 && i < names.n; i++) {
		rc = log_view_find(dir, names.v[i], io, &has, err);
		if (rc == 0 && has)
			rc = fn(arg, names.v[i], err);
	}
	log_names_free(&names);
	return rc;
}

/* --- opening -------------------------------------------------------------------------------------- */

static struct cursor *open_cursor(struct log_view *v, const struct log_io *io, const char *file,
	const char *channel, struct cursor_found *found, struct err *err)
{
	struct cursor_opts o = {.io = io,
		.dir = log_dir(v->log),
		.file = file,
		.topic = v->topic,
		.channel = channel,
		.read_only = true};
	return cursor_open(&o, v->stats.first, v->stats.next, found, err);
}

static int open_channels(
	struct log_view *v, const struct log_io *io, const struct log_names *names, struct err *err)
{
	v->channels = xcalloc(names->n + 1, sizeof(*v->channels));
	for (size_t i = 0; i < names->n; i++) {
		struct log_view_channel *c = &v->channels[v->n_channels];
		char *file = xasprintf("%s" CURSOR_SUFFIX, names->v[i]);
		c->cursor = open_cursor(v, io, file, names->v[i], &c->found, err);
		free(file);
		if (!c->cursor)
			return -1;
		c->name = xstrdup(names->v[i]);
		v->n_channels++;
	}
	return 0;
}

static bool is_seen(const struct log_view *v, uint64_t seq)
{
	bool seen = false;
	for (size_t i = 0; i < v->n_channels && !seen; i++)
		seen = cursor_next_seen(v->channels[i].cursor, seq) == seq;
	return seen;
}

/* Behind the last number that any channel knows of. */
static uint64_t seen_end(const struct log_view *v, uint64_t from)
{
	uint64_t end = from, seq;
	for (size_t i = 0; i < v->n_channels; i++) {
		const struct cursor *c = v->channels[i].cursor;
		while ((seq = cursor_next_seen(c, end)) < v->stats.next)
			end = cursor_next_unseen(c, seq);
	}
	return end;
}

/* Gives up what the disk says is bad. -1 with err set: it may be read later. */
static int skip_bad(struct log_reader *r, const struct err *err)
{
	if (err->code != EIO)
		return -1;
	log_reader_skip(r);
	return 0;
}

/*
 * A channel gets messages in their order, and a copy at any time. So what is handed out ends behind
 * the last message, which is no copy, of which a channel knows.
 */
static int find_dealt(struct log_view *v, struct err *err)
{
	struct log_item item;
	v->dealt = cursor_floor(v->handed);
	uint64_t end = seen_end(v, v->dealt);
	if (end == v->dealt)
		return 0;
	struct log_reader *r = log_reader_open(v->log, v->dealt, 0);
	int rc = 0;
	while (rc == 0 && log_reader_seq(r) < end) {
		enum log_read what = log_reader_next(r, &item, err);
		if (what == LOG_READ_END)
			break;
		if (what == LOG_READ_ERROR)
			rc = skip_bad(r, err);
		if (what != LOG_READ_MESSAGE)
			continue;
		if (!item.channel && is_seen(v, item.seq))
			v->dealt = item.seq + 1;
		message_unref(item.msg);
	}
	log_reader_close(r);
	return rc;
}

/* How many numbers from from to to - 1 the channel knows of, and has not finished. */
static uint64_t count_known(const struct cursor *c, uint64_t from, uint64_t to)
{
	uint64_t n = 0, seq, end;
	for (seq = cursor_next_seen(c, from); seq < to; seq = cursor_next_seen(c, end)) {
		end = cursor_next_unseen(c, seq);
		end = end < to ? end : to;
		n += cursor_unfinished(c, end) - cursor_unfinished(c, seq);
	}
	return n;
}

static void count_unfinished(struct log_view *v)
{
	v->unfinished = v->stats.next - v->dealt;
	for (size_t i = 0; i < v->n_channels; i++) {
		struct log_view_channel *c = &v->channels[i];
		c->unfinished = cursor_unfinished(c->cursor, v->dealt) +
				count_known(c->cursor, v->dealt, v->stats.next);
	}
}

static int open_all(struct log_view *v, const struct log_io *io, struct err *err)
{
	struct log_names names = {0};
	log_get_stats(v->log, &v->stats);
	v->handed = open_cursor(v, io, TOPIC_CURSOR, "", &v->found, err);
	int rc = v->handed ? log_names_list(io, log_dir(v->log), add_channel, &names, err) : -1;
	if (rc == 0)
		rc = open_channels(v, io, &names, err);
	if (rc == 0)
		rc = find_dealt(v, err);
	if (rc == 0)
		count_unfinished(v);
	log_names_free(&names);
	return rc;
}

int log_view_open(
	int dir, const char *topic, const struct log_io *io, struct log_view **out, struct err *err)
{
	struct log_view *v = xcalloc(1, sizeof(*v));
	struct log_opts o = {.dir = dir, .topic = topic, .read_only = true, .io = io};
	v->topic = xstrdup(topic);
	if (log_open(&o, &v->log, err) != 0 || open_all(v, io ? io : &log_io_real, err) != 0) {
		log_view_close(v);
		return -1;
	}
	*out = v;
	return 0;
}

void log_view_close(struct log_view *v)
{
	if (!v)
		return;
	for (size_t i = 0; i < v->n_channels; i++) {
		cursor_free(v->channels[i].cursor);
		free(v->channels[i].name);
	}
	free(v->channels);
	if (v->handed)
		cursor_free(v->handed);
	log_close(v->log);
	free(v->topic);
	free(v);
}

uint64_t log_view_unfinished(const struct log_view *v)
{
	uint64_t n = v->unfinished;
	for (size_t i = 0; i < v->n_channels; i++)
		n += v->channels[i].unfinished;
	return n;
}

int log_view_check_left(
	int dir, const char *topic, const char *data_path, bool set, struct err *err)
{
	struct log_view *v;
	if (log_view_open(dir, topic, NULL, &v, err) != 0)
		return -1;
	unsigned long long n = log_view_unfinished(v);
	log_view_close(v);
	if (n == 0)
		return 0;
	return err_set(err, 0,
		"it has a log, and %s is none: %llu messages in it are not finished. "
		"nsqd --data-path=%s --export-stock writes them into stock's files",
		set ? "its setting durability" : "--durability", n, data_path);
}

/* --- going through the messages -------------------------------------------------------------------- */

struct walk {
	struct log_view *v;
	const struct log_view_channel *c; /* NULL: the topic */
	struct log_reader *reader;
	struct cursor_entry *waiting; /* by number; owned */
	size_t n_waiting;
	uint64_t lost;
};

static int by_seq(const void *a, const void *b)
{
	const struct cursor_entry *x = a, *y = b;
	return x->seq < y->seq ? -1 : x->seq > y->seq;
}

static void list_waiting(struct walk *w)
{
	size_t at = 0, max = w->c ? cursor_waiting(w->c->cursor) : 0;
	if (max == 0)
		return;
	w->waiting = xreallocarray(NULL, max, sizeof(*w->waiting));
	w->n_waiting = cursor_list_waiting(w->c->cursor, &at, 0, UINT64_MAX, w->waiting, max);
	qsort(w->waiting, w->n_waiting, sizeof(*w->waiting), by_seq);
}

/* The next number from seq on that is to be looked at; v->stats.next: there is none. */
static uint64_t next_wanted(const struct walk *w, uint64_t seq)
{
	const struct log_view *v = w->v;
	uint64_t from = seq, found;
	if (w->c && seq < v->dealt &&
		cursor_list_unfinished(w->c->cursor, &from, v->dealt, &found, 1) == 1)
		return found;
	if (w->c && v->copies == COPIES_NONE)
		return v->stats.next;
	return seq < v->dealt ? v->dealt : seq;
}

/* So many of these are not finished. */
static void lose(struct walk *w, uint64_t from, uint64_t to)
{
	struct log_view *v = w->v;
	to = to < v->stats.next ? to : v->stats.next;
	/* Each look at all channels has to come by: some of them may know of these. */
	if (to > v->dealt)
		v->copies = COPIES_SOME;
	if (!w->c) {
		w->lost += from < to ? to - from : 0;
		return;
	}
	uint64_t low = from < v->dealt ? from : v->dealt, high = to < v->dealt ? to : v->dealt;
	w->lost += cursor_unfinished(w->c->cursor, high) - cursor_unfinished(w->c->cursor, low);
	w->lost += count_known(w->c->cursor, from > v->dealt ? from : v->dealt, to);
}

/* Is it one that is not finished, and the channel's, or the topic's? */
static bool is_wanted(const struct walk *w, const struct log_item *item)
{
	const struct cursor *c = w->c ? w->c->cursor : NULL;
	if (!c)
		return !item->channel;
	if (cursor_is_finished(c, item->seq))
		return false;
	if (!item->channel)
		return item->seq < w->v->dealt;
	if (strcmp(item->channel, w->c->name) != 0)
		return false;
	/*
	 * A crash may have come before the cursor knew of the copy. Then the message is still where it
	 * was, or it was finished there, or was copied once more. But that segment may have gone.
	 */
	return cursor_next_seen(c, item->seq) == item->seq || item->origin < w->v->stats.first;
}

/* What the cursor, or the record, says of it. */
static struct log_view_message complete(const struct walk *w, const struct log_item *item)
{
	struct message *m = item->msg;
	struct log_view_message out = {.msg = m};
	struct cursor_entry key = {.seq = m->seq};
	const struct cursor_entry *e = NULL;
	if (w->n_waiting > 0)
		e = bsearch(&key, w->waiting, w->n_waiting, sizeof(key), by_seq);
	bool seen = w->c && cursor_next_seen(w->c->cursor, m->seq) == m->seq;
	uint16_t attempts = e ? e->attempts : seen ? cursor_attempts(w->c->cursor, m->seq) : 0;
	if (attempts > m->attempts)
		m->attempts = attempts;
	if (e)
		out.due = e->due;
	else if (!seen && m->deferred_ns > 0 &&
		 __builtin_add_overflow(m->timestamp, m->deferred_ns, &out.due))
		out.due = INT64_MAX;
	return out;
}

/* One step of the reader. 1: there is no more; -1 with err set. */
static int step(struct walk *w,
	int (*fn)(void *arg, const struct log_view_message *m, struct err *err), void *arg,
	struct err *err)
{
	struct log_item item;
	uint64_t at = log_reader_seq(w->reader), wanted = next_wanted(w, at);
	if (wanted >= w->v->stats.next)
		return 1;
	if (wanted - at > FAR)
		log_reader_seek(w->reader, wanted, 0);
	switch (log_reader_next(w->reader, &item, err)) {
	case LOG_READ_END:
		return 1;
	case LOG_READ_ERROR:
		return skip_bad(w->reader, err);
	case LOG_READ_GAP:
		lose(w, item.seq, item.seq + item.n);
		return 0;
	case LOG_READ_MESSAGE:
		break;
	}
	if (item.channel && item.seq >= w->v->dealt)
		w->v->copies = COPIES_SOME;
	if (!is_wanted(w, &item)) {
		message_unref(item.msg);
		return 0;
	}
	struct log_view_message m = complete(w, &item);
	return fn(arg, &m, err);
}

int log_view_each(struct log_view *v, const struct log_view_channel *c,
	int (*fn)(void *arg, const struct log_view_message *m, struct err *err), void *arg,
	uint64_t *lost, struct err *err)
{
	struct walk w = {.v = v, .c = c};
	int rc = 0;
	list_waiting(&w);
	uint64_t first = next_wanted(&w, v->stats.first);
	w.reader = log_reader_open(v->log, first, 0);
	while (rc == 0)
		rc = step(&w, fn, arg, err);
	/* All from dealt on has been looked at. */
	if (rc == 1 && v->copies == COPIES_UNKNOWN)
		v->copies = COPIES_NONE;
	log_reader_close(w.reader);
	free(w.waiting);
	*lost = w.lost;
	return rc == 1 ? 0 : -1;
}
