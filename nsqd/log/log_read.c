/* SPDX-License-Identifier: MIT */
/*
 * Readers of a log. No Go file: stock has no log. Runs in the thread that has the reader: lq:NAME, a
 * scan worker, a look. Takes log.lock only to learn how far the log has come, once for all that is kept.
 *
 * A reader never looks at bytes that are not kept, not even into memory. A commit that fails is taken
 * back, and others take its place.
 */
#include "nsqd/log/log_read.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "common/crc32c.h"
#include "common/xalloc.h"
#include "nsqd/log/log_internal.h"
#include "nsqd/log/log_segment.h"

/* What is given up at once where the disk cannot be read: a page, the least that goes bad. */
#define PAGE 4096u
/* So many lines about damage a reader writes for a segment. */
#define LINES_MAX 8

struct log_reader *log_reader_open(struct log *l, uint64_t seq, uint32_t offset)
{
	struct log_reader *r = xcalloc(1, sizeof(*r));
	r->log = l;
	r->more_chan = chan_new(0, 1);
	r->scan.fd = -1;
	r->seq = seq;
	r->hint = offset;
	mutex_lock(&l->lock);
	r->next = l->readers;
	if (r->next)
		r->next->prev = r;
	l->readers = r;
	mutex_unlock(&l->lock);
	return r;
}

void log_reader_close(struct log_reader *r)
{
	if (!r)
		return;
	mutex_lock(&r->log->lock);
	if (r->next)
		r->next->prev = r->prev;
	if (r->prev)
		r->prev->next = r->next;
	else
		r->log->readers = r->next;
	mutex_unlock(&r->log->lock);
	log_scan_close(&r->scan);
	chan_free(r->more_chan);
	free(r);
}

void log_reader_few(struct log_reader *r)
{
	r->scan.few = true;
}

/* The segment is not open any more, and nothing of it is known. */
static void leave(struct log_reader *r)
{
	log_scan_close(&r->scan);
	r->id = 0;
	r->scan.limit = 0;
}

void log_reader_seek(struct log_reader *r, uint64_t seq, uint32_t offset)
{
	/* It may be in the segment that is open; then behind the place where the reader is. */
	if (seq < r->seq || offset != 0)
		r->off = 0;
	r->seq = seq;
	r->hint = offset;
	r->scan.limit = 0;
}

uint64_t log_reader_seq(const struct log_reader *r)
{
	return r->seq;
}

struct chan *log_reader_chan(struct log_reader *r)
{
	return r->more_chan;
}

void log_reader_rest(struct log_reader *r)
{
	if (r->hint == 0)
		r->hint = r->off;
	leave(r);
}

/* --- places -------------------------------------------------------------------------------------- */

static enum log_read gap(struct log_reader *r, uint64_t upto, struct log_item *item)
{
	*item = (struct log_item){.seq = r->seq, .n = upto - r->seq, .origin = r->seq};
	r->seq = upto;
	return LOG_READ_GAP;
}

/* The same for numbers that should be there. */
static enum log_read lose(struct log_reader *r, uint64_t upto, struct log_item *item)
{
	mutex_lock(&r->log->lock);
	r->log->stats.lost += upto - r->seq;
	mutex_unlock(&r->log->lock);
	return gap(r, upto, item);
}

/* The segment that has this number, or the first one. There is one. */
static size_t find_locked(const struct log *l, uint64_t seq)
{
	size_t low = 0, high = l->n_segments;
	mutex_assert_held(&l->lock);
	while (high - low > 1) {
		size_t mid = low + (high - low) / 2;
		if (l->segments[mid].first <= seq)
			low = mid;
		else
			high = mid;
	}
	return low;
}

/*
 * Where the next number is, and how far the log has come. MESSAGE: somewhere in the segment *found,
 * which ends at r->scan.limit.
 */
static enum log_read locate(struct log_reader *r, struct log_segment *found, struct log_item *item)
{
	struct log *l = r->log;
	enum log_read what = LOG_READ_MESSAGE;
	uint64_t upto = 0;
	mutex_lock(&l->lock);
	r->waits = false;
	if (r->seq >= l->next) {
		r->waits = true;
		what = LOG_READ_END;
	} else if (l->n_segments == 0 || l->segments[0].first > r->seq) {
		upto = l->n_segments == 0 ? l->next : l->segments[0].first;
		what = LOG_READ_GAP;
	} else {
		size_t i = find_locked(l, r->seq);
		bool last = i + 1 == l->n_segments;
		*found = l->segments[i];
		r->scan.limit = found->end;
		r->scan.first = found->first;
		r->scan.bound = last ? l->next : l->segments[i + 1].first;
	}
	mutex_unlock(&l->lock);
	return what == LOG_READ_GAP ? gap(r, upto, item) : what;
}

/* The segment is lost: its head is damaged, or it is gone. */
static enum log_read lost(struct log_reader *r, const struct err *err, struct log_item *item)
{
	struct log *l = r->log;
	log_logf(l, LG_ERROR, "LOG(%s): a segment is lost - %s", l->topic, err->msg);
	mutex_lock(&l->lock);
	l->stats.damaged++;
	l->stats.damaged_bytes += r->scan.limit;
	mutex_unlock(&l->lock);
	uint64_t bound = r->scan.bound;
	leave(r);
	return lose(r, bound, item);
}

/* MESSAGE: the segment with the next number is open, and r->off is a place in it. */
static enum log_read get_ready(struct log_reader *r, struct log_item *item, struct err *err)
{
	struct log_segment s;
	struct log_head head;
	enum log_read what = locate(r, &s, item);
	if (what != LOG_READ_MESSAGE)
		return what;
	if (r->id != s.id || r->scan.fd < 0) {
		uint32_t limit = r->scan.limit;
		log_scan_close(&r->scan);
		r->id = 0;
		r->off = 0;
		r->lines = 0;
		r->scan.limit = limit;
		if (r->lost_id == s.id) {
			err_set(err, 0, "%020llu.seg cannot be read", (unsigned long long)s.first);
			return lost(r, err, item);
		}
		if (log_scan_open(&r->scan, r->log->io, r->log->dir, s.first, &head, err) != 0) {
			r->failed_id = s.id;
			if (err->code == EBADMSG || err->code == ENOENT)
				return lost(r, err, item);
			leave(r);
			return LOG_READ_ERROR;
		}
		r->id = s.id;
	}
	if (r->hint >= LOG_HEAD_SIZE)
		r->off = r->hint;
	r->hinted = r->hint >= LOG_HEAD_SIZE;
	r->hint = 0;
	if (r->off < LOG_HEAD_SIZE)
		r->off = LOG_HEAD_SIZE;
	return LOG_READ_MESSAGE;
}

/* --- damage -------------------------------------------------------------------------------------- */

static void note_damage(struct log_reader *r, uint32_t upto, const char *what)
{
	struct log *l = r->log;
	if (r->lines++ < LINES_MAX)
		log_logf(l, LG_ERROR, "LOG(%s): %s, skipping %u bytes at %u of %020llu.seg",
			l->topic, what, upto - r->off, r->off, (unsigned long long)r->scan.first);
	mutex_lock(&l->lock);
	l->stats.damaged++;
	l->stats.damaged_bytes += upto - r->off;
	mutex_unlock(&l->lock);
}

/* No record is where one should be: goes to the next one, or to the end. -1 with err set. */
static int search(struct log_reader *r, struct err *err)
{
	uint32_t next = r->scan.limit;
	if (log_scan_search(&r->scan, r->off + 1, &next, err) == LOG_FAILED)
		return -1;
	note_damage(r, next, "damage");
	r->off = next;
	return 0;
}

void log_reader_skip(struct log_reader *r)
{
	struct log_record rec;
	struct err ignored;
	if (r->scan.fd < 0) {
		r->lost_id = r->failed_id;
		return;
	}
	uint32_t next = r->off | (PAGE - 1);
	if (log_scan_at(&r->scan, r->off, &rec, &ignored) == LOG_FOUND)
		next = r->off + rec.size - 1;
	next = next < r->scan.limit ? next + 1 : r->scan.limit;
	note_damage(r, next, "a place that cannot be read");
	r->off = next;
	r->hinted = false;
}

/* --- records ------------------------------------------------------------------------------------- */

/* The prefix of a copy, at off, and its checksum. */
static enum log_found read_prefix(struct log_reader *r, uint32_t off, const struct log_record *rec,
	struct log_item *item, size_t *len, uint32_t *crc, struct err *err)
{
	unsigned char prefix[LOG_COPY_PREFIX_MAX];
	struct log_copy copy;
	size_t n = rec->size - LOG_RECORD_HEAD;
	if (n > sizeof(prefix))
		n = sizeof(prefix);
	enum log_found found = log_scan_copy(&r->scan, off, prefix, n, err);
	if (found != LOG_FOUND)
		return found;
	if (!log_copy_decode(prefix, n, &copy))
		return LOG_DAMAGED;
	memcpy(r->channel, copy.name, copy.name_len);
	r->channel[copy.name_len] = '\0';
	item->channel = r->channel;
	item->origin = copy.origin;
	*len = copy.prefix_len;
	*crc = crc32c(0, prefix, *len);
	return LOG_FOUND;
}

/* The message of the record at r->off. LOG_FOUND: it is as it was written. */
static enum log_found read_message(
	struct log_reader *r, const struct log_record *rec, struct log_item *item, struct err *err)
{
	uint32_t off = r->off + LOG_RECORD_HEAD, crc = 0;
	size_t prefix = 0;
	enum log_found found = LOG_FOUND;
	*item = (struct log_item){.seq = rec->seq, .n = 1, .origin = rec->seq};
	if (rec->kind == LOG_KIND_COPY)
		found = read_prefix(r, off, rec, item, &prefix, &crc, err);
	if (found != LOG_FOUND)
		return found;
	struct message_body *body = message_body_new(rec->size - LOG_RECORD_HEAD - prefix);
	found = log_scan_copy(&r->scan, off + (uint32_t)prefix, body->data, body->len, err);
	if (found == LOG_FOUND && crc32c(crc, body->data, body->len) != rec->body_crc)
		found = LOG_DAMAGED;
	if (found != LOG_FOUND) {
		message_body_unref(body);
		return found;
	}
	item->msg = message_new(rec->id, body, rec->timestamp);
	item->msg->seq = rec->seq;
	item->msg->offset = r->off;
	item->msg->attempts = rec->attempts;
	if (rec->due != 0 &&
		__builtin_sub_overflow(rec->due, rec->timestamp, &item->msg->deferred_ns))
		item->msg->deferred_ns = INT64_MAX;
	return LOG_FOUND;
}

/* A record is at r->off. MESSAGE and so on; END: none that is wanted, r->off has moved. */
static enum log_read use_record(
	struct log_reader *r, const struct log_record *rec, struct log_item *item, struct err *err)
{
	uint32_t next = r->off + rec->size;
	if (rec->seq < r->seq) {
		r->off = next;
		return LOG_READ_END;
	}
	if (rec->seq > r->seq)
		return lose(r, rec->seq, item);
	enum log_found found = read_message(r, rec, item, err);
	if (found == LOG_FAILED)
		return LOG_READ_ERROR;
	if (found == LOG_DAMAGED) {
		note_damage(r, next, "a damaged message");
		r->off = next;
		return lose(r, r->seq + 1, item);
	}
	r->off = next;
	r->seq++;
	return LOG_READ_MESSAGE;
}

enum log_read log_reader_next(struct log_reader *r, struct log_item *item, struct err *err)
{
	for (;;) {
		struct log_record rec;
		if (r->off >= r->scan.limit || r->seq >= r->scan.bound) {
			enum log_read what = get_ready(r, item, err);
			if (what != LOG_READ_MESSAGE)
				return what;
		}
		enum log_found found = log_scan_at(&r->scan, r->off, &rec, err);
		if (found == LOG_FAILED)
			return LOG_READ_ERROR;
		if (r->hinted && (found != LOG_FOUND || rec.seq != r->seq)) {
			/* The place is another's. */
			r->off = LOG_HEAD_SIZE;
			r->hinted = false;
			continue;
		}
		r->hinted = false;
		if (found == LOG_NOTHING)
			return lose(r, r->scan.bound, item);
		if (found == LOG_DAMAGED) {
			if (search(r, err) != 0)
				return LOG_READ_ERROR;
			continue;
		}
		enum log_read what = use_record(r, &rec, item, err);
		if (what != LOG_READ_END)
			return what;
	}
}

enum log_read log_read_at(
	struct log_reader *r, uint64_t seq, uint32_t offset, struct log_item *item, struct err *err)
{
	log_reader_seek(r, seq, offset);
	enum log_read what = log_reader_next(r, item, err);
	if (what == LOG_READ_END)
		return gap(r, seq + 1, item);
	if (what == LOG_READ_GAP)
		item->n = 1;
	return what;
}
