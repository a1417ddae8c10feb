/* SPDX-License-Identifier: MIT */
/*
 * The cursor of a channel: made anew, or from its file. No Go file: stock has no log. Runs in the
 * thread that makes the channel; blocks on the disk.
 *
 * Lessons in docs/course/: 23-log.
 */
#include "nsqd/log/cursor.h"

#include <stdlib.h>

#include "common/check.h"
#include "common/xalloc.h"
#include "nsqd/log/cursor_internal.h"

#define SNAPSHOT_MIN (256 << 10)
/* For as long as it takes to make that, the lock is held. */
#define PART (32 << 10)
#define PENDING_MAX (1 << 20)

static struct cursor *make(const struct cursor_opts *o)
{
	struct cursor *c = xcalloc(1, sizeof(*c));
	cursor_file_init(&c->file, o->io, o->dir, o->file, o->topic, o->channel);
	c->snapshot_min = o->snapshot_min > 0 ? o->snapshot_min : SNAPSHOT_MIN;
	c->part_max = o->part > 0 ? o->part : PART;
	c->pending_max = o->pending_max > 0 ? o->pending_max : PENDING_MAX;
	c->snapshot_at = (int64_t)c->snapshot_min;
	c->file.read_only = o->read_only;
	return c;
}

struct cursor *cursor_new(const struct cursor_opts *o, uint64_t start)
{
	struct cursor *c = make(o);
	CHECK(start <= SEQ_END);
	seq_set_add_range(&c->finished, 0, start);
	seq_set_add_range(&c->held, 0, start);
	seq_set_add_range(&c->seen, 0, start);
	c->needs_snapshot = true;
	return c;
}

void cursor_free(struct cursor *c)
{
	cursor_file_close(&c->file);
	seq_set_free(&c->finished);
	seq_set_free(&c->held);
	seq_set_free(&c->seen);
	entries_free(&c->waiting);
	entries_free(&c->tried);
	events_free(&c->pending);
	events_free(&c->events);
	events_free(&c->part);
	free(c);
}

int cursor_remove(struct cursor *c, struct err *err)
{
	return cursor_file_remove(&c->file, err);
}

/* --- reading the file --------------------------------------------------------------------------- */

struct replay {
	struct cursor *c;
	uint64_t end;    /* of the log */
	uint64_t beyond; /* events about messages behind */
};

/* TAKEN is bounded by CURSOR_TAKEN_MAX: an event costs little, whatever the file holds. */
static void replay_taken(struct cursor *c, uint64_t seq, uint64_t n)
{
	seq_set_add_range(&c->seen, seq, seq + n);
	for (uint64_t i = seq; i < seq + n && c->waiting.len > 0; i++)
		entries_remove(&c->waiting, i);
	for (uint64_t i = seq; i < seq + n && c->tried.len > 0; i++)
		entries_remove(&c->tried, i);
}

static void replay_tried(struct cursor *c, const struct cursor_entry *e)
{
	seq_set_add(&c->seen, e->seq);
	entries_remove(&c->waiting, e->seq);
	if (e->attempts == 1)
		entries_remove(&c->tried, e->seq);
	else
		entries_put(&c->tried, e);
}

static void replay_waiting(struct cursor *c, const struct cursor_entry *e)
{
	seq_set_add(&c->seen, e->seq);
	entries_remove(&c->tried, e->seq);
	entries_put(&c->waiting, e);
}

static void replay_event(struct replay *r, const struct cursor_event *ev)
{
	uint64_t seq = ev->e.seq, n = ev->n;
	if (seq + n > r->end) {
		r->beyond++;
		if (seq >= r->end)
			return;
		n = r->end - seq;
	}
	switch (ev->op) {
	case CURSOR_FINISHED:
		seq_set_add_range(&r->c->finished, seq, seq + n);
		seq_set_add_range(&r->c->held, seq, seq + n);
		seq_set_add_range(&r->c->seen, seq, seq + n);
		break;
	case CURSOR_SEEN:
		seq_set_add_range(&r->c->seen, seq, seq + n);
		break;
	case CURSOR_TAKEN:
		replay_taken(r->c, seq, n);
		break;
	case CURSOR_TRIED:
		replay_tried(r->c, &ev->e);
		break;
	case CURSOR_WAITING:
		replay_waiting(r->c, &ev->e);
		break;
	}
}

/* Of a frame that makes no sense in the middle, what comes before is believed. */
static bool replay_frame(void *arg, const unsigned char *content, size_t n)
{
	struct events_in in = {.p = content, .end = content + n};
	struct cursor_event ev;
	int rc;
	while ((rc = events_next(&in, &ev)) > 0)
		replay_event(arg, &ev);
	return rc == 0;
}

/* Entries of messages that have been finished since. */
static void drop_finished(struct cursor *c, struct cursor_entries *entries)
{
	for (size_t i = entries->len; i-- > 0;) {
		uint64_t seq = entries_at(entries, i)->seq;
		if (seq_set_has(&c->finished, seq))
			entries_remove(entries, seq);
	}
}

static void settle(struct cursor *c, uint64_t first, struct cursor_found *found)
{
	uint64_t gone = seq_set_add_range(&c->finished, 0, first);
	found->gone = found->missing ? 0 : gone;
	seq_set_add_range(&c->held, 0, first);
	seq_set_add_range(&c->seen, 0, first);
	drop_finished(c, &c->waiting);
	drop_finished(c, &c->tried);
	for (size_t i = 0; i < c->waiting.len; i++)
		seq_set_add(&c->held, entries_at(&c->waiting, i)->seq);
	entries_heapify(&c->waiting);
	cursor_floor(c);
}

struct cursor *cursor_open(const struct cursor_opts *o, uint64_t first, uint64_t end,
	struct cursor_found *found, struct err *err)
{
	struct cursor_file_found in_file;
	struct cursor *c = make(o);
	struct replay r = {.c = c, .end = end};
	CHECK(c->pending_max + PART <= CURSOR_FRAME_MAX);
	CHECK(first <= end && end <= SEQ_END && o->file);
	if (cursor_file_open(&c->file, replay_frame, &r, &in_file, err) != 0) {
		cursor_free(c);
		return NULL;
	}
	*found = (struct cursor_found){
		.missing = in_file.missing,
		.damaged = in_file.head_damaged || in_file.damaged_bytes > 0,
		.damaged_bytes = in_file.damaged_bytes,
		.torn_bytes = in_file.torn_bytes,
		.beyond = r.beyond,
	};
	settle(c, first, found);
	c->needs_snapshot = found->missing || found->damaged || found->beyond > 0;
	if (found->beyond > 0 && !o->read_only && cursor_flush(c, NULL, err) != 0) {
		cursor_free(c);
		return NULL;
	}
	return c;
}
