/* SPDX-License-Identifier: MIT */
/*
 * Records in a data file: where one ends, whether it is one, and where the next one begins when the
 * bytes between are damaged. Mirrors the lower half of readOne in go-diskqueue's diskqueue.go. Runs
 * in dq_io_loop, and in the creator of a queue. No locks, no state but the block.
 *
 * Deliberately different from stock:
 * - Reads are blocks of 256 KiB, not 4 KiB.
 * - Stock gives up a whole file at the first length that is out of range, and believes every other
 *   length. There is no checksum in the format. But every record of nsqd begins with a message
 *   header, which hardly anything else looks like: a length in range that fits, a timestamp of 2001
 *   to 2080, 16 lower-case hexadecimal digits. That is enough to find the next record behind
 *   damaged bytes, and to notice most damaged lengths (THE RULES, below).
 * - A file may hold anything, and be of any size. So each byte of it is searched once (THE SEARCH),
 *   and holes are leapt over. The caller says how much may be done at a time (dq_block.budget).
 */
#include "nsqd/disk/diskqueue_record.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/check.h"
#include "common/regfile.h"
#include "common/xalloc.h"
#include "nsqd/disk/disk_stats.h"

/*
 * THE RULES. A record at pos is sound if its length is in range, it ends at or before the limit,
 * and something confirms its end s. The end is confirmed if s is the limit, or if a length that is
 * in range and fits stands at s, with the digits of an id. Almost every record passes this, at the
 * price of looking at each header once.
 *
 * Otherwise either this length is damaged, or the next record is. A record is still taken (it is
 * not proven to be damaged) if
 *   E1  at s stand two of these three: a length in range, a timestamp, an id (the third is damaged,
 *       or the tail of the file is torn off),
 *   E2  at s stands a length whose own end is confirmed,
 *   E3  the bytes from s on were wiped (all 0x00 or 0xff: a block that was never written), and the
 *       byte before s was not.
 * If none of these holds, the next place p with a whole plausible record, whose successor is
 * plausible too, decides:
 *   R1  if the length to p differs from the one that is written in one bit, the bit is damaged: the
 *       record is taken with the length to p;
 *   R2  if p lies inside the record, the record is skipped up to p;
 *   R3  else the record is taken; what follows it is dealt with in its turn.
 * Where there is no p the limit takes its place. For R1 it does so only if a whole header would fit
 * behind s: else a sound record and a torn header would be taken for one record.
 *
 * A length that is out of range, or too long for the file, is damaged. R1 holds here with a p
 * inside the file. Else the bytes are skipped up to p, or up to the limit if there is no p. (The
 * limit does not stand for p here: a torn tail would often be one bit away from a whole record.)
 *
 * So every delivered record begins with a header that was written as one, and only bytes that are
 * proven to be broken are skipped. No rule can see damage inside a body, or a damaged length that
 * ends just where a later record ends. A body with records in it looks the same, and a sound file
 * must never be read wrongly for the sake of a damaged one.
 */

#define TS_MIN 1000000000000000000LL /* September 2001 */
/*
 * January 2080: the last moment that does not read as text. Eight bytes of digits or letters are a
 * later one. So a reader that was misled into an id or a body of text never takes it for a
 * timestamp.
 */
#define TS_MAX 0x302fffffffffffffLL

/*
 * THE SEARCH for the next p goes forward only. Its findings are kept in dq_block.search: there is
 * no p in [from, upto), and one at upto if `found` is set. A later search goes on where the last
 * one stopped. So no byte of a file is searched twice, however the file was made. Two things make
 * this possible. A p beyond the longest record counts as no p (in R1 to R3). And heads that lead
 * far away are looked at with a read of their own (peek).
 */
#define SEARCH_CHUNK (64 * 1024)
/* The cost of looking at a candidate, in bytes that could be searched meanwhile. */
#define CANDIDATE_COST 512

void dq_block_init(struct dq_block *b, const struct dq_io *io)
{
	memset(b, 0, sizeof(*b));
	b->io = io;
	b->fd = -1;
	b->budget = INT64_MAX;
}

int dq_open_regular(const struct dq_io *io, const char *path, int64_t *size, struct err *err)
{
	if (regfile_check(path, err) != 0)
		return -1;
	int fd = io->open(path, O_RDONLY | REGFILE_FLAGS, 0);
	if (fd < 0)
		return err_errno(err, errno, "open %s", path);
	if (regfile_check_fd(fd, path, size, err) != 0) {
		close(fd);
		return -1;
	}
	return fd;
}

int dq_block_open(struct dq_block *b, const char *path, int64_t file, struct err *err)
{
	CHECK(b->fd < 0);
	b->fd = dq_open_regular(b->io, path, &b->size, err);
	if (b->fd < 0)
		return -1;
	b->file = file;
	b->main.len = b->ahead.len = 0;
	return 0;
}

void dq_block_release(struct dq_block *b)
{
	free(b->main.buf);
	free(b->ahead.buf);
	b->main = b->ahead = (struct dq_window){0};
}

void dq_block_close(struct dq_block *b)
{
	if (b->fd >= 0)
		close(b->fd);
	b->fd = -1;
	dq_block_release(b);
}

int dq_block_stat(struct dq_block *b, struct err *err)
{
	struct stat st;
	if (fstat(b->fd, &st) != 0)
		return err_errno(err, errno, "fstat");
	b->size = st.st_size;
	return 0;
}

/* Reads at least n and at most max bytes at pos. 0 and *got; 1: the file ends before; -1. */
static int read_at(struct dq_block *b, unsigned char *buf, size_t n, size_t max, int64_t pos,
	size_t *got, struct err *err)
{
	*got = 0;
	while (*got < n) {
		ssize_t r = b->io->pread(b->fd, buf + *got, max - *got, pos + (int64_t)*got);
		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return err_errno(err, errno, "read");
		if (r == 0)
			return 1;
		*got += (size_t)r;
		disk_stats_read((uint64_t)r);
	}
	return 0;
}

static bool in_window(const struct dq_window *w, int64_t pos, size_t n)
{
	return pos >= w->off && pos + (int64_t)n <= w->off + (int64_t)w->len;
}

/* Fills w from pos with at least n bytes, and as much more as size has room for. */
static int window_fill(struct dq_block *b, struct dq_window *w, size_t size, int64_t pos, size_t n,
	int64_t limit, struct err *err)
{
	size_t want, got, have = 0;
	if (w->cap < n || !w->buf) {
		w->cap = n > size ? n : size;
		free(w->buf);
		w->buf = xmalloc(w->cap);
		w->len = 0;
	}
	/* The part that is there already moves to the front: it is not read twice. */
	if (in_window(w, pos, 0)) {
		have = w->len - (size_t)(pos - w->off);
		memmove(w->buf, w->buf + (pos - w->off), have);
	}
	want = limit - pos < (int64_t)w->cap ? (size_t)(limit - pos) : w->cap;
	int rc = read_at(b, w->buf + have, n - have, want - have, pos + (int64_t)have, &got, err);
	w->off = pos;
	w->len = have + got;
	return rc;
}

int dq_block_view(struct dq_block *b, int64_t pos, size_t n, int64_t limit, const unsigned char **p,
	struct err *err)
{
	CHECK(pos >= 0 && pos + (int64_t)n <= limit);
	if (!in_window(&b->main, pos, n)) {
		int rc = window_fill(b, &b->main, DQ_BLOCK_SIZE, pos, n, limit, err);
		if (rc != 0)
			return rc;
	}
	*p = b->main.buf + (pos - b->main.off);
	return 0;
}

/*
 * Copies a few bytes [pos, pos + n), which may lie anywhere, into buf. As dq_block_view, but the
 * windows stay where they are. Heads that are only looked at may lead anywhere in the file, and a
 * block for each would be most of the work.
 */
static int peek(struct dq_block *b, int64_t pos, size_t n, int64_t limit, unsigned char *buf,
	struct err *err)
{
	const struct dq_window *w = in_window(&b->main, pos, n) ? &b->main : &b->ahead;
	size_t got;
	CHECK(pos >= 0 && pos + (int64_t)n <= limit);
	if (in_window(w, pos, n)) {
		memcpy(buf, w->buf + (pos - w->off), n);
		return 0;
	}
	return read_at(b, buf, n, n, pos, &got, err);
}

static uint32_t be32(const unsigned char *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* The length at p as stock reads it: signed. */
static int64_t length_at(const unsigned char *p)
{
	return (int32_t)be32(p);
}

static bool length_ok(const struct diskqueue *d, int64_t len)
{
	return len >= d->min_msg_size && len <= d->max_msg_size;
}

static bool is_digit(unsigned char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
}

/* p is where a record begins. */
static bool id_ok(const unsigned char *p)
{
	const unsigned char *id = p + DQ_PREFIX + 10;
	for (int i = 0; i < MSG_ID_LENGTH; i++)
		if (!is_digit(id[i]))
			return false;
	return true;
}

static bool timestamp_ok(const unsigned char *p)
{
	int64_t ts = (int64_t)((uint64_t)be32(p + DQ_PREFIX) << 32 | be32(p + DQ_PREFIX + 4));
	return ts >= TS_MIN && ts <= TS_MAX;
}

/*
 * Whether most of a header is 0x00, or 0xff, and the byte before it is not: wiped from about here
 * on.
 */
static bool wiped(const unsigned char *p)
{
	int zeros = 0, ones = 0;
	for (int i = 0; i < DQ_RECORD_HEADER; i++) {
		zeros += p[i] == 0x00;
		ones += p[i] == 0xff;
	}
	return (zeros > 20 && p[-1] != 0x00) || (ones > 20 && p[-1] != 0xff);
}

/* The answer of dq_record_at when a search has failed. rc is dq_block_view's. */
static enum dq_found found_nothing(int rc)
{
	return rc > 0 ? DQ_SHORT : DQ_ERROR;
}

/*
 * Whether a whole plausible record stands at p whose successor is plausible as well (or missing, or
 * torn). DQ_RECORD: yes; DQ_DAMAGED: no; or DQ_SHORT, DQ_ERROR.
 */
static enum dq_found chain_at(
	struct dq_block *b, const struct diskqueue *d, int64_t p, int64_t limit, struct err *err)
{
	unsigned char v[DQ_RECORD_HEADER];
	int rc = peek(b, p, DQ_RECORD_HEADER, limit, v, err);
	if (rc != 0)
		return found_nothing(rc);
	int64_t len = length_at(v);
	int64_t s = p + DQ_PREFIX + len;
	if (!length_ok(d, len) || s > limit || !timestamp_ok(v) || !id_ok(v))
		return DQ_DAMAGED;
	int64_t rest = limit - s;
	if (rest < DQ_PREFIX)
		return DQ_RECORD;
	rc = peek(b, s, rest < DQ_RECORD_HEADER ? (size_t)rest : DQ_RECORD_HEADER, limit, v, err);
	if (rc != 0)
		return found_nothing(rc);
	if (!length_ok(d, length_at(v)))
		return DQ_DAMAGED;
	return rest < DQ_RECORD_HEADER || id_ok(v) ? DQ_RECORD : DQ_DAMAGED;
}

/*
 * The first i in [0, n) where the head of a record may be, or n. v has DQ_RECORD_HEADER - 1 bytes
 * more than n. Looks at the last digit of the id first. If it is not a digit, no head can be where
 * its id would cover that byte.
 */
static int64_t find_head(const struct diskqueue *d, const unsigned char *v, int64_t n)
{
	const int64_t id = DQ_PREFIX + 10;
	int64_t digits_to = 0; /* [i + id, digits_to) are digits */
	for (int64_t i = 0; i < n; i++) {
		int64_t k = i + id + MSG_ID_LENGTH;
		while (k > digits_to && k > i + id && is_digit(v[k - 1]))
			k--;
		if (k > digits_to && k > i + id) {
			i = k - 1 - id; /* the one behind it is next */
			digits_to = 0;
			continue;
		}
		digits_to = i + id + MSG_ID_LENGTH;
		if (length_ok(d, length_at(v + i)) && timestamp_ok(v + i))
			return i;
	}
	return n;
}

/* Where the file has a hole at pos: its end, but for what a head in it may have of it. Else pos. */
static int64_t skip_hole(const struct dq_block *b, int64_t pos, int64_t limit)
{
	off_t data = lseek(b->fd, pos, SEEK_DATA);
	if (data < 0)
		return errno == ENXIO ? limit : pos; /* nothing but a hole; or no such thing here */
	data -= DQ_RECORD_HEADER - 1;
	return data > pos ? data : pos;
}

/* Moves the search on by a stretch of the file, or to the next p. 0, or as dq_block_view. */
static int search_on(struct dq_block *b, const struct diskqueue *d, int64_t limit, struct err *err)
{
	struct dq_search *s = &b->search;
	struct dq_window *w = &b->ahead;
	if (!in_window(w, s->upto, DQ_RECORD_HEADER)) {
		int rc = window_fill(b, w, SEARCH_CHUNK, s->upto, DQ_RECORD_HEADER, limit, err);
		if (rc != 0)
			return rc;
	}
	const unsigned char *v = w->buf + (s->upto - w->off);
	int64_t n = w->off + (int64_t)w->len - s->upto - DQ_RECORD_HEADER + 1;
	int64_t i = find_head(d, v, n);
	b->budget -= i;
	s->upto += i;
	if (i < n) {
		enum dq_found f = chain_at(b, d, s->upto, limit, err);
		if (f == DQ_SHORT || f == DQ_ERROR)
			return f == DQ_SHORT ? 1 : -1;
		b->budget -= CANDIDATE_COST;
		s->found = f == DQ_RECORD;
		s->upto += !s->found;
	} else if (v[n - 1] == 0) {
		s->upto = skip_hole(b, s->upto, limit);
	}
	return 0;
}

/*
 * The first p in [from, to) where chain_at says yes: DQ_RECORD. DQ_END: there is none. DQ_MORE: the
 * budget is used up; another call goes on where this one stopped.
 */
static enum dq_found find_chain(struct dq_block *b, const struct diskqueue *d, int64_t from,
	int64_t to, int64_t limit, int64_t *p, struct err *err)
{
	struct dq_search *s = &b->search;
	if (s->file != b->file || s->limit != limit || from < s->from || from > s->upto)
		*s = (struct dq_search){
			.file = b->file, .limit = limit, .from = from, .upto = from};
	if (to > limit - DQ_RECORD_HEADER + 1)
		to = limit - DQ_RECORD_HEADER + 1;
	while (!s->found && s->upto < to) {
		if (b->budget <= 0)
			return DQ_MORE;
		int rc = search_on(b, d, limit, err);
		if (rc != 0)
			return found_nothing(rc);
	}
	if (s->upto >= to)
		return DQ_END;
	*p = s->upto;
	return DQ_RECORD;
}

static bool one_bit_apart(int64_t a, int64_t b)
{
	return a >= 0 && b >= 0 && __builtin_popcountll((uint64_t)(a ^ b)) == 1;
}

/* The rules for a length that cannot be right: own tells whether a message header follows it. */
static enum dq_found bad_length(struct dq_block *b, const struct diskqueue *d, int64_t pos,
	int64_t limit, int64_t len, bool own, struct dq_record *rec, struct err *err)
{
	int64_t p = limit;
	enum dq_found f = find_chain(b, d, pos + 1, limit, limit, &p, err);
	if (f == DQ_SHORT || f == DQ_ERROR || f == DQ_MORE)
		return f;
	rec->next = p;
	rec->len = p - pos - DQ_PREFIX;
	if (f == DQ_RECORD && own && length_ok(d, rec->len) &&
		one_bit_apart(rec->len, (uint32_t)len))
		return DQ_RECORD;
	return DQ_DAMAGED;
}

/* E1 to E3: whether the bytes at s confirm that a record ends there. As chain_at. */
static enum dq_found end_confirmed(
	struct dq_block *b, const struct diskqueue *d, int64_t s, int64_t limit, struct err *err)
{
	unsigned char buf[1 + DQ_RECORD_HEADER], *v = buf + 1; /* and the byte before it */
	if (limit - s < DQ_RECORD_HEADER)
		return DQ_DAMAGED;
	int rc = peek(b, s - 1, sizeof(buf), limit, buf, err);
	if (rc != 0)
		return found_nothing(rc);
	int64_t len = length_at(v);
	if (length_ok(d, len) + timestamp_ok(v) + id_ok(v) >= 2)
		return DQ_RECORD; /* E1 */
	if (wiped(v))
		return DQ_RECORD; /* E3 */
	if (!length_ok(d, len))
		return DQ_DAMAGED;
	int64_t s2 = s + DQ_PREFIX + len;
	if (s2 == limit)
		return DQ_RECORD; /* E2 */
	if (limit - s2 < DQ_RECORD_HEADER)
		return DQ_DAMAGED;
	rc = peek(b, s2, DQ_RECORD_HEADER, limit, v, err);
	if (rc != 0)
		return found_nothing(rc);
	return length_ok(d, length_at(v)) && id_ok(v) ? DQ_RECORD : DQ_DAMAGED; /* E2 */
}

/* A length that is possible, but whose end nothing confirmed at first sight. */
static enum dq_found doubtful(struct dq_block *b, const struct diskqueue *d, int64_t pos,
	int64_t limit, int64_t len, struct dq_record *rec, struct err *err)
{
	int64_t s = pos + DQ_PREFIX + len, p = limit;
	enum dq_found f = end_confirmed(b, d, s, limit, err);
	if (f == DQ_DAMAGED) {
		f = find_chain(b, d, pos + DQ_PREFIX + d->min_msg_size,
			pos + DQ_PREFIX + d->max_msg_size + 1, limit, &p, err);
		if (f == DQ_SHORT || f == DQ_ERROR || f == DQ_MORE)
			return f;
		rec->next = p;
		rec->len = p - pos - DQ_PREFIX;
		if ((f == DQ_RECORD || limit - s >= DQ_RECORD_HEADER) && length_ok(d, rec->len) &&
			one_bit_apart(rec->len, len))
			return DQ_RECORD; /* R1 */
		if (p < s)
			return DQ_DAMAGED; /* R2 */
		f = DQ_RECORD;             /* R3 */
	}
	if (f == DQ_RECORD) {
		rec->len = len;
		rec->next = s;
	}
	return f;
}

enum dq_found dq_record_at(struct dq_block *b, const struct diskqueue *d, int64_t pos,
	int64_t limit, struct dq_record *rec, struct err *err)
{
	const unsigned char *v;
	int64_t len, s, n, rest = limit - pos;
	if (rest <= 0)
		return DQ_END;
	n = rest < DQ_RECORD_HEADER ? rest : DQ_RECORD_HEADER;
	int rc = dq_block_view(b, pos, (size_t)n, limit, &v, err);
	if (rc != 0)
		return found_nothing(rc);
	len = n < DQ_PREFIX ? -1 : length_at(v);
	s = pos + DQ_PREFIX + len;
	if (!length_ok(d, len) || s > limit)
		return bad_length(b, d, pos, limit, len,
			n == DQ_RECORD_HEADER && timestamp_ok(v) && id_ok(v), rec, err);

	rec->len = len;
	rec->next = s;
	if (s == limit)
		return DQ_RECORD;
	if (s + DQ_RECORD_HEADER <= limit) {
		unsigned char next[DQ_RECORD_HEADER];
		rc = peek(b, s, sizeof(next), limit, next, err);
		if (rc != 0)
			return found_nothing(rc);
		int64_t next_len = length_at(next);
		if (length_ok(d, next_len) && s + DQ_PREFIX + next_len <= limit && id_ok(next))
			return DQ_RECORD;
	}
	return doubtful(b, d, pos, limit, len, rec, err);
}
