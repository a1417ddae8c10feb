/* SPDX-License-Identifier: MIT */
/*
 * The cursor of a channel: what is pending goes into its file, and a snapshot takes the file's
 * place. No Go file: stock has no log. Runs in the thread that flushes; cursor_encode runs under the
 * lock of the cursor's owner.
 *
 * A snapshot is written in parts, and between them messages go on. So each part says what is true
 * when it is made. What happens from the first part on is an event, and goes into the old file and
 * into the new one, in its turn. Hence a program that reads the new file to its end knows what the
 * cursor knew at the last part. What may move meanwhile must not get past the part. So the heap is
 * gone through from its end. An entry that moves towards the end past that place is told as an event.
 */
#include "nsqd/log/cursor.h"

#include <errno.h>

#include "nsqd/log/cursor_internal.h"

/* A file may be so many times as large as its snapshot. */
#define GROWTH 4
/* Memory that is kept for the next events. */
#define KEPT (64 << 10)
/* How often a flush begins a snapshot anew, since more has happened than is gathered. */
#define BEGIN_MAX 3

/* --- under the lock ----------------------------------------------------------------------------- */

/* Ranges of a set from c->next_seq on; true: that is all of it. */
static bool encode_set(struct cursor *c, const struct seq_set *s, enum cursor_op op)
{
	while (c->part.bytes.len < c->part_max) {
		uint64_t from = seq_set_next_present(s, c->next_seq);
		if (from == SEQ_END)
			return true;
		c->next_seq = seq_set_next_absent(s, from);
		events_add_range(&c->part, op, from, c->next_seq - from);
	}
	return false;
}

/* Entries from the end to the front. Some may have gone since. */
static bool encode_entries(
	struct cursor *c, const struct cursor_entries *entries, enum cursor_op op)
{
	if (c->left > entries->len)
		c->left = entries->len;
	while (c->left > 0 && c->part.bytes.len < c->part_max) {
		const struct cursor_entry *e = entries_at(entries, --c->left);
		if (!seq_set_has(&c->finished, e->seq))
			events_add(&c->part, op, e);
	}
	return c->left == 0;
}

static bool encode_phase(struct cursor *c)
{
	switch (c->phase) {
	case CURSOR_SNAPSHOT_FINISHED:
		return encode_set(c, &c->finished, CURSOR_FINISHED);
	case CURSOR_SNAPSHOT_SEEN:
		return encode_set(c, &c->seen, CURSOR_SEEN);
	case CURSOR_SNAPSHOT_WAITING:
		return encode_entries(c, &c->waiting, CURSOR_WAITING);
	case CURSOR_SNAPSHOT_TRIED:
		return encode_entries(c, &c->tried, CURSOR_TRIED);
	default:
		return true;
	}
}

static void begin_phase(struct cursor *c, enum cursor_phase phase)
{
	c->phase = phase;
	c->next_seq = phase == CURSOR_SNAPSHOT_SEEN ? cursor_floor(c) : 0;
	c->left = phase == CURSOR_SNAPSHOT_WAITING ? c->waiting.len : c->tried.len;
}

static void encode_part(struct cursor *c)
{
	while (encode_phase(c)) {
		if (c->phase == CURSOR_SNAPSHOT_TRIED) {
			c->phase = CURSOR_NO_SNAPSHOT;
			break;
		}
		begin_phase(c, c->phase + 1);
	}
	events_end(&c->part);
}

/* What is pending belongs before the snapshot, or between its parts. */
static void take_pending(struct cursor *c)
{
	struct events_out empty = c->events;
	events_reset(&empty);
	events_end(&c->pending);
	c->events = c->pending;
	c->events_too = c->phase != CURSOR_NO_SNAPSHOT;
	c->pending = empty;
}

void cursor_encode(struct cursor *c)
{
	c->begins = c->completes = false;
	events_reset(&c->part);
	/* Events are missing: what there is of a snapshot is worth nothing. */
	if (c->overflow || c->aborts)
		c->phase = CURSOR_NO_SNAPSHOT;
	if (c->overflow || c->file.fd < 0)
		c->needs_snapshot = true;
	c->overflow = c->aborts = false;
	/* (What could not be written the last time comes first.) */
	c->stays = c->events.bytes.len > 0 && events_size(&c->pending) > 0;
	if (c->events.bytes.len == 0)
		take_pending(c);
	if (c->phase == CURSOR_NO_SNAPSHOT) {
		if (!c->needs_snapshot && c->file.size < c->snapshot_at)
			return;
		c->begins = true;
		begin_phase(c, CURSOR_SNAPSHOT_FINISHED);
	}
	encode_part(c);
	c->completes = c->phase == CURSOR_NO_SNAPSHOT;
}

/* --- files -------------------------------------------------------------------------------------- */

static void give_back(struct events_out *o)
{
	if (o->bytes.cap > KEPT)
		events_free(o);
	else
		events_reset(o);
}

/* The new file is of no use. The old one is still there, and may be complete. */
static int abandon(struct cursor *c)
{
	cursor_file_new_abandon(&c->file);
	c->aborts = true;
	if (c->snapshot_at <= c->file.size)
		c->snapshot_at = 2 * c->file.size;
	return -1;
}

/*
 * Into the old file. Where that fails a snapshot does as well, unless there is no space: then it
 * would take more of it.
 */
static int append(struct cursor *c, struct err *err)
{
	if (c->file.fd < 0 || c->incomplete)
		return 0;
	if (cursor_file_append(&c->file, c->events.bytes.data, c->events.bytes.len, err) == 0) {
		c->written += c->events.bytes.len + CURSOR_FRAME_HEAD;
		return 0;
	}
	if (!c->begins && c->file.new_fd < 0) {
		if (err->code != ENOSPC && err->code != EDQUOT)
			c->needs_snapshot = true;
		return -1;
	}
	c->incomplete = c->needs_snapshot = true;
	return 0;
}

static int write_new(struct cursor *c, const struct strbuf *bytes, struct err *err)
{
	if (bytes->len == 0)
		return 0;
	c->written += bytes->len + CURSOR_FRAME_HEAD;
	return cursor_file_new_add(&c->file, bytes->data, bytes->len, err);
}

static int complete(struct cursor *c, struct err *err)
{
	if (cursor_file_new_commit(&c->file, err) != 0) {
		if (c->file.new_fd >= 0)
			return abandon(c);
		/* It is in its place, but may not be after a power cut. */
		c->incomplete = false;
		c->needs_snapshot = true;
		return -1;
	}
	c->incomplete = c->needs_snapshot = false;
	c->snapshot_at = GROWTH * c->file.size;
	if (c->snapshot_at < (int64_t)c->snapshot_min)
		c->snapshot_at = (int64_t)c->snapshot_min;
	c->snapshots++;
	return 0;
}

/* What cursor_encode has made. */
static int write_encoded(struct cursor *c, struct err *err)
{
	if (c->events.bytes.len > 0 && append(c, err) != 0)
		return -1;
	if (c->begins) {
		cursor_file_new_abandon(&c->file);
		c->events_too = false;
		if (cursor_file_new(&c->file, err) != 0) {
			give_back(&c->events);
			return abandon(c);
		}
		c->written += CURSOR_HEAD_SIZE;
	}
	int rc = c->events_too ? write_new(c, &c->events.bytes, err) : 0;
	give_back(&c->events);
	if (rc == 0)
		rc = write_new(c, &c->part.bytes, err);
	if (rc != 0)
		return abandon(c);
	return c->completes ? complete(c, err) : 0;
}

int cursor_flush(struct cursor *c, struct mutex *lock, struct err *err)
{
	bool more;
	int begun = 0;
	if (!c->file.name)
		return 0;
	do {
		if (lock)
			mutex_lock(lock);
		cursor_encode(c);
		more = c->phase != CURSOR_NO_SNAPSHOT || c->stays;
		if (lock)
			mutex_unlock(lock);
		begun += c->begins;
		if (write_encoded(c, err) != 0)
			return -1;
		if (more && begun > BEGIN_MAX)
			return err_set(err, EBUSY, "%s: too much happens meanwhile", c->file.name);
	} while (more);
	give_back(&c->part);
	return 0;
}

void cursor_want_snapshot(struct cursor *c)
{
	c->needs_snapshot = true;
}

struct cursor_file_stats cursor_file_stats(const struct cursor *c)
{
	return (struct cursor_file_stats){
		.size = c->file.size, .snapshots = c->snapshots, .written = c->written};
}

const char *cursor_file_name(const struct cursor *c)
{
	return c->file.name;
}
