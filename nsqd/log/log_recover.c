/* SPDX-License-Identifier: MIT */
/*
 * What is found when a log opens. No Go file: stock has no log. Runs in the thread that opens the
 * log, before others know it; blocks on the disk. No locks.
 *
 * Only the last segment is read, and not even that where the log was closed: then its last bytes say
 * so (LOG_KIND_END). All other segments were whole before the next one was begun.
 *
 * What a crash leaves at the end is a commit in part. Of that, batches that are whole may stay: what
 * nobody has acknowledged may be there, or not. Others must go. Those at the very end are cut off.
 * After a loss of power, when any sectors may be missing, one may stand before a whole batch as
 * well. Then its records are overwritten with zeros, so that readers pass over them as over damage.
 * Holes before the last commit are damage of another kind, since all that was on the disk: there the
 * records around them stay.
 *
 * All of this can be cut short itself, and be done again. With `disk` it is synced before the log is
 * used.
 */
#include "nsqd/log/log_recover.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/xalloc.h"
#include "nsqd/log/log_segment.h"

/* Places of records that have to go. */
struct places {
	uint32_t *offs; /* owned */
	size_t n, cap;
};

/* The walk over the last segment. */
struct walk {
	struct log *l;
	struct log_scan scan;
	uint32_t off;
	uint64_t seq;       /* the lowest number that the next record may have */
	uint32_t commit;    /* where the last commit begins */
	uint32_t good_end;  /* behind the last whole batch */
	uint64_t good_next; /* the number after it */
	uint32_t holes;     /* how many were passed, and their bytes */
	uint64_t hole_bytes;
	struct places
		batch; /* the records of the batch that has begun, or of what is left of one */
	struct places orphans; /* those of incomplete batches since the last commit began */
	bool whole;            /* the batch that has begun has its first record, and no hole */
};

static void add_place(struct places *p, uint32_t off)
{
	if (p->n == p->cap) {
		p->cap = p->cap ? 2 * p->cap : 16;
		p->offs = xreallocarray(p->offs, p->cap, sizeof(*p->offs));
	}
	p->offs[p->n++] = off;
}

/* The batch that has begun will not become whole. */
static void give_up_batch(struct walk *w)
{
	for (size_t i = 0; i < w->batch.n; i++)
		add_place(&w->orphans, w->batch.offs[i]);
	w->batch.n = 0;
	w->whole = false;
}

/* A sound record at w->off. */
static void take_record(struct walk *w, const struct log_record *rec)
{
	if (rec->seq != w->seq)
		give_up_batch(w);
	if (rec->flags & LOG_FLAG_COMMIT) {
		/* What lies before was on the disk, whole: if it is not now, that is damage. */
		give_up_batch(w);
		w->orphans.n = 0;
		w->good_end = w->commit = w->off;
		w->good_next = rec->seq;
	}
	if (rec->flags & LOG_FLAG_FIRST) {
		give_up_batch(w);
		w->whole = true;
	}
	add_place(&w->batch, w->off);
	w->off += rec->size;
	w->seq = rec->seq + 1;
	if (!(rec->flags & LOG_FLAG_LAST))
		return;
	if (w->whole) {
		w->good_end = w->off;
		w->good_next = w->seq;
		w->batch.n = 0;
	}
	give_up_batch(w);
}

/* No sound record at w->off: goes on to the next one. */
static enum log_found pass_hole(struct walk *w, uint32_t from, struct err *err)
{
	uint32_t next;
	enum log_found found = log_scan_search(&w->scan, from, &next, err);
	give_up_batch(w);
	if (found != LOG_FOUND)
		return found;
	w->holes++;
	w->hole_bytes += next - w->off;
	w->off = next;
	return LOG_FOUND;
}

/* LOG_NOTHING: the end of what there is. */
static enum log_found step(struct walk *w, struct err *err)
{
	struct log_record rec;
	enum log_found found = log_scan_at(&w->scan, w->off, &rec, err);
	if (found == LOG_DAMAGED)
		return pass_hole(w, w->off + 1, err);
	if (found != LOG_FOUND)
		return found;
	if (rec.seq < w->seq) /* cannot be: what was overwritten lies nowhere */
		return pass_hole(w, w->off + 1, err);
	found = log_scan_check(&w->scan, w->off, &rec, err);
	if (found == LOG_DAMAGED)
		return pass_hole(w, w->off + rec.size, err);
	if (found == LOG_FOUND)
		take_record(w, &rec);
	return found;
}

/* --- repairs -------------------------------------------------------------------------------------- */

static int blank(struct walk *w, int fd, struct err *err)
{
	static const unsigned char zeros[LOG_RECORD_HEAD];
	for (size_t i = 0; i < w->orphans.n; i++) {
		struct iovec iov = {(void *)zeros, sizeof(zeros)};
		if (w->orphans.offs[i] >= w->good_end)
			continue; /* cut off */
		if (log_io_write_all(w->l->io, fd, &iov, 1, w->orphans.offs[i], err) != 0)
			return -1;
	}
	return 0;
}

/*
 * Writes the last commit once more, as it is. The process may have died after a failed sync. Then what
 * the system shows of it is not on the disk, and no later sync would bring it there.
 */
static int write_again(struct walk *w, int fd, struct err *err)
{
	unsigned char *buf = xmalloc(LOG_BLOCK_SIZE);
	int rc = 0;
	for (uint32_t off = w->commit; rc == 0 && off < w->good_end;) {
		size_t left = w->good_end - off, n = left < LOG_BLOCK_SIZE ? left : LOG_BLOCK_SIZE;
		struct iovec iov = {buf, n};
		ssize_t r = log_io_read_all(w->l->io, fd, buf, n, off);
		if (r < 0 || (size_t)r < n)
			rc = err_errno(err, r < 0 ? errno : EIO, "read");
		else
			rc = log_io_write_all(w->l->io, fd, &iov, 1, off, err);
		off += (uint32_t)n;
	}
	free(buf);
	return rc;
}

static int repair_file(struct walk *w, int fd, bool cut, struct err *err)
{
	const struct log_io *io = w->l->io;
	if (blank(w, fd, err) != 0)
		return -1;
	if (cut && io->truncate(io, fd, w->good_end) != 0)
		return err_errno(err, errno, "truncate");
	if (log_syncs(w->l) && write_again(w, fd, err) != 0)
		return -1;
	if (log_syncs(w->l) && io->sync(io, fd) != 0)
		return err_errno(err, errno, "fsync");
	return 0;
}

static int repair(struct walk *w, struct log_segment *last, struct err *err)
{
	struct log *l = w->l;
	char name[LOG_SEGMENT_NAME];
	log_segment_name(last->first, name);
	bool blanks = false;
	for (size_t i = 0; i < w->orphans.n; i++)
		blanks = blanks || w->orphans.offs[i] < w->good_end;
	bool cut = w->good_end < last->end;
	if (l->read_only || (!blanks && !cut && !log_syncs(l)))
		return 0;
	l->stats.cut_bytes += last->end - w->good_end;
	if (cut)
		log_logf(l, LG_WARN,
			"LOG(%s): cutting off %u bytes behind the last whole commit in %s",
			l->topic, last->end - w->good_end, name);
	int fd = l->io->open(l->io, l->dir, name, LOG_IO_WRITE);
	if (fd < 0)
		return err_errno(err, errno, "open %s", name);
	int rc = repair_file(w, fd, cut, err);
	l->io->close(l->io, fd);
	return rc != 0 ? err_wrap(err, "%s", name) : 0;
}

/* --- the last segment ---------------------------------------------------------------------------- */

/* Do the last bytes say that the log ends here? */
static int find_end(struct walk *w, bool *there, struct err *err)
{
	unsigned char bytes[LOG_RECORD_HEAD];
	struct log_record rec;
	*there = false;
	if (w->scan.limit < LOG_HEAD_SIZE + LOG_RECORD_HEAD)
		return 0;
	uint32_t off = w->scan.limit - LOG_RECORD_HEAD;
	ssize_t n = log_io_read_all(w->l->io, w->scan.fd, bytes, sizeof(bytes), off);
	if (n < 0)
		return err_errno(err, errno, "read");
	if (n == LOG_RECORD_HEAD &&
		log_record_decode(bytes, log_record_seed(w->scan.key, off), &rec) &&
		rec.kind == LOG_KIND_END && rec.size == LOG_RECORD_HEAD &&
		rec.seq >= w->scan.first && rec.seq <= w->scan.bound) {
		*there = true;
		w->good_end = off;
		w->good_next = rec.seq;
	}
	return 0;
}

/* Nothing is kept in it: makes its head anew. */
static int make_head(struct log *l, struct log_segment *s, struct err *err)
{
	char name[LOG_SEGMENT_NAME];
	int rc = 0;
	s->end = LOG_HEAD_SIZE;
	l->next = s->first;
	if (l->read_only)
		return 0;
	log_segment_name(s->first, name);
	int fd = l->io->open(l->io, l->dir, name, LOG_IO_WRITE);
	if (fd < 0)
		return err_errno(err, errno, "open %s", name);
	if (l->io->truncate(l->io, fd, 0) != 0)
		rc = err_errno(err, errno, "truncate");
	if (rc == 0)
		rc = log_segment_write_head(l, fd, s->first, err);
	l->io->close(l->io, fd);
	return rc != 0 ? err_wrap(err, "%s", name) : 0;
}

static int walk_segment(struct walk *w, struct log_segment *last, struct err *err)
{
	struct log *l = w->l;
	enum log_found found;
	bool closed;
	w->scan.limit = last->end;
	w->scan.first = last->first;
	w->scan.bound = LOG_SEQ_MAX;
	w->off = w->commit = w->good_end = LOG_HEAD_SIZE;
	w->seq = w->good_next = last->first;
	if (find_end(w, &closed, err) != 0)
		return -1;
	if (!closed) {
		while ((found = step(w, err)) == LOG_FOUND)
			;
		give_up_batch(w);
		if (found == LOG_FAILED || repair(w, last, err) != 0)
			return -1;
	}
	if (w->holes > 0)
		log_logf(l, LG_ERROR, "LOG(%s): damage at %u places of %020llu.seg, %llu bytes",
			l->topic, w->holes, (unsigned long long)last->first,
			(unsigned long long)w->hole_bytes);
	last->end = w->good_end;
	l->next = w->good_next;
	/* The process that made it may have died before its head was on the disk. */
	if (log_syncs(l) && !l->read_only && w->good_end == LOG_HEAD_SIZE &&
		w->good_next == last->first)
		return make_head(l, last, err);
	return 0;
}

/* Has nothing been written to it but, maybe, some of its head? */
static int is_blank(
	struct log *l, const struct log_segment *s, int fd, bool *answer, struct err *err)
{
	unsigned char bytes[4096];
	*answer = true;
	for (int64_t off = LOG_HEAD_SIZE; *answer && off < s->end;) {
		ssize_t n = log_io_read_all(l->io, fd, bytes, sizeof(bytes), off);
		if (n < 0)
			return err_errno(err, errno, "read");
		if (n == 0)
			break;
		for (ssize_t i = 0; i < n; i++)
			*answer = *answer && bytes[i] == 0;
		off += n;
	}
	return 0;
}

/*
 * The head of the last segment is damaged. If there is something behind it, nobody can read that.
 * But its numbers were given, and must not be given again.
 */
static int without_head(struct log *l, struct log_segment *s, struct err *err)
{
	char name[LOG_SEGMENT_NAME];
	bool blank_file;
	log_segment_name(s->first, name);
	int fd = l->io->open(l->io, l->dir, name, LOG_IO_READ);
	if (fd < 0)
		return err_errno(err, errno, "open %s", name);
	int rc = is_blank(l, s, fd, &blank_file, err);
	l->io->close(l->io, fd);
	if (rc != 0)
		return err_wrap(err, "%s", name);
	if (blank_file)
		return make_head(l, s, err);
	log_logf(l, LG_ERROR, "LOG(%s): the head of %s is damaged, its messages are lost", l->topic,
		name);
	l->next = s->first + s->end / LOG_RECORD_HEAD + 1;
	l->closed = true;
	return 0;
}

static int recover(struct log *l, struct err *err)
{
	struct walk w = {.l = l, .scan = {.fd = -1}};
	struct log_head head;
	l->next = 1;
	if (log_segment_list(l, err) != 0)
		return -1;
	if (l->n_segments == 0)
		return 0;
	struct log_segment *last = &l->segments[l->n_segments - 1];
	int rc = log_scan_open(&w.scan, l->io, l->dir, last->first, &head, err);
	if (rc != 0 && err->code == EBADMSG)
		return without_head(l, last, err);
	if (rc == 0)
		rc = walk_segment(&w, last, err);
	log_scan_close(&w.scan);
	free(w.batch.offs);
	free(w.orphans.offs);
	return rc;
}

int log_recover(struct log *l, struct err *err)
{
	int rc = recover(l, err);
	log_segment_use_last(l);
	return rc;
}
