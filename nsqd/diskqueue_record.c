/* SPDX-License-Identifier: MIT */
/*
 * Records in a data file: where one ends, whether it is one, and where the next
 * one begins when the bytes between are damaged. Mirrors the lower half of
 * readOne in go-diskqueue's diskqueue.go. Runs in io_loop, and in the creator
 * of a queue. No locks, no state but the block.
 *
 * Deliberately different from stock:
 * - Reads are blocks of 256 KiB, not 4 KiB.
 * - Stock gives up a whole file at the first length that is out of range, and
 *   believes every other length. There is no checksum in the format, but every
 *   record of nsqd begins with a message header, which is hard to take for
 *   anything else: a length in range that fits, a timestamp of 2001 to 2080, 16
 *   lower-case hexadecimal digits. That is enough to find the next record behind
 *   damaged bytes, and to notice most damaged lengths (THE RULES, below).
 */
#include "nsqd/diskqueue_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/check.h"
#include "common/xalloc.h"

/*
 * THE RULES. A record at pos is sound if its length is in range, it ends at or
 * before the limit, and something confirms its end s: s is the limit, or at s
 * stands a length that is in range and fits, and the digits of an id. Almost
 * every record passes this, at the price of looking at each header once.
 *
 * Otherwise either this length is damaged, or the next record is. A record is
 * still taken (it is not proven to be damaged) if
 *   E1  at s stand two of these three: a length in range, a timestamp, an id (the
 *       third is damaged, or the tail of the file is torn off),
 *   E2  at s stands a length whose own end is confirmed,
 *   E3  the bytes from s on were wiped (all 0x00 or 0xff: a block that was never
 *       written), and the byte before s was not.
 * If none of these holds, the next place p with a whole plausible record, whose
 * successor is plausible too, decides:
 *   R1  if the length to p differs from the one that is written in one bit, the
 *       bit is damaged: the record is taken with the length to p;
 *   R2  if p lies inside the record, the record is skipped up to p;
 *   R3  else the record is taken; what follows it is dealt with in its turn.
 * Where there is no p the limit takes its place, for R1 only if a whole header
 * would fit behind s: else a sound record and a torn header would be taken for
 * one record.
 *
 * A length that is out of range, or too long for the file, is damaged: R1 with p
 * inside the file, else skip to p, or to the limit if there is no p. (The limit
 * is no p here: a torn tail would often be one bit away from a whole record.)
 *
 * So nothing is delivered that does not begin with a header which was written
 * as one, and nothing is skipped that is not proven to be broken. What no rule
 * can see is damage inside a body, and a length that was damaged so that it ends
 * just where a later record ends: that is what a body with records in it looks
 * like, and a sound file must never be read wrongly for the sake of a damaged one.
 */

#define TS_MIN 1000000000000000000LL /* September 2001 */
/*
 * January 2080: the last moment that does not read as text. Eight bytes of
 * digits or letters are a later one, so that neither an id nor a body of text is
 * ever taken for a timestamp by a reader that was misled into it.
 */
#define TS_MAX 0x302fffffffffffffLL
#define SEARCH_CHUNK (64 * 1024)

void dq_block_init(struct dq_block *b, const struct dq_io *io)
{
	memset(b, 0, sizeof(*b));
	b->io = io;
	b->fd = -1;
}

int dq_block_open(struct dq_block *b, const char *path, int64_t file, struct err *err)
{
	CHECK(b->fd < 0);
	b->fd = b->io->open(path, O_RDONLY | O_CLOEXEC, 0);
	if (b->fd < 0)
		return err_errno(err, errno, "open %s", path);
	b->file = file;
	b->off = 0;
	b->len = 0;
	if (dq_block_stat(b, err) < 0) {
		close(b->fd);
		b->fd = -1;
		return -1;
	}
	return 0;
}

void dq_block_close(struct dq_block *b)
{
	if (b->fd >= 0)
		close(b->fd);
	b->fd = -1;
	free(b->buf);
	b->buf = NULL;
	b->cap = 0;
	b->len = 0;
}

int dq_block_stat(struct dq_block *b, struct err *err)
{
	struct stat st;

	if (fstat(b->fd, &st) < 0)
		return err_errno(err, errno, "fstat");
	b->size = st.st_size;
	return 0;
}

/* Fills the buffer from pos with at least n bytes, and as much more as there is room for. */
static int block_read(struct dq_block *b, int64_t pos, size_t n, int64_t limit, struct err *err)
{
	size_t want, have = 0;

	if (b->cap < n || b->buf == NULL) {
		b->cap = n > DQ_BLOCK_SIZE ? n : DQ_BLOCK_SIZE;
		free(b->buf);
		b->buf = xmalloc(b->cap);
		b->len = 0;
	}
	/* The part that is there already moves to the front: it is not read twice. */
	if (pos >= b->off && pos < b->off + (int64_t)b->len) {
		have = b->len - (size_t)(pos - b->off);
		memmove(b->buf, b->buf + (pos - b->off), have);
	}
	b->off = pos;
	b->len = have;
	want = b->cap;
	if (limit - pos < (int64_t)want)
		want = (size_t)(limit - pos);
	while (b->len < n) {
		ssize_t r =
			b->io->pread(b->fd, b->buf + b->len, want - b->len, pos + (int64_t)b->len);

		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return err_errno(err, errno, "read");
		if (r == 0)
			return 1;
		b->len += (size_t)r;
	}
	return 0;
}

int dq_block_view(struct dq_block *b, int64_t pos, size_t n, int64_t limit, const unsigned char **p,
	struct err *err)
{
	CHECK(pos >= 0 && pos + (int64_t)n <= limit);
	if (pos < b->off || pos + (int64_t)n > b->off + (int64_t)b->len) {
		int rc = block_read(b, pos, n, limit, err);

		if (rc != 0)
			return rc;
	}
	*p = b->buf + (pos - b->off);
	return 0;
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

/* p is where a record begins. */
static bool id_ok(const unsigned char *p)
{
	const unsigned char *id = p + DQ_PREFIX + 10;

	for (int i = 0; i < MSG_ID_LENGTH; i++)
		if (!((id[i] >= '0' && id[i] <= '9') || (id[i] >= 'a' && id[i] <= 'f')))
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

/* A search that failed: what dq_record_at answers. rc is dq_block_view's. */
static enum dq_found found_nothing(int rc)
{
	return rc > 0 ? DQ_SHORT : DQ_ERROR;
}

/*
 * Whether a whole plausible record stands at p whose successor is plausible as
 * well (or missing, or torn). DQ_RECORD: yes; DQ_DAMAGED: no; or DQ_SHORT, DQ_ERROR.
 */
static enum dq_found chain_at(
	struct dq_block *b, const struct diskqueue *d, int64_t p, int64_t limit, struct err *err)
{
	const unsigned char *v;
	int64_t len, s, rest;
	int rc = dq_block_view(b, p, DQ_RECORD_HEADER, limit, &v, err);

	if (rc != 0)
		return found_nothing(rc);
	len = length_at(v);
	s = p + DQ_PREFIX + len;
	if (!length_ok(d, len) || s > limit || !timestamp_ok(v) || !id_ok(v))
		return DQ_DAMAGED;
	rest = limit - s;
	if (rest < DQ_PREFIX)
		return DQ_RECORD;
	rc = dq_block_view(
		b, s, rest < DQ_RECORD_HEADER ? (size_t)rest : DQ_RECORD_HEADER, limit, &v, err);
	if (rc != 0)
		return found_nothing(rc);
	if (!length_ok(d, length_at(v)))
		return DQ_DAMAGED;
	return rest < DQ_RECORD_HEADER || id_ok(v) ? DQ_RECORD : DQ_DAMAGED;
}

/*
 * The first p >= from where chain_at says yes: DQ_RECORD. DQ_END: there is none before the limit.
 */
static enum dq_found find_chain(struct dq_block *b, const struct diskqueue *d, int64_t from,
	int64_t limit, int64_t *p, struct err *err)
{
	while (limit - from >= DQ_RECORD_HEADER) {
		int64_t n = limit - from < SEARCH_CHUNK ? limit - from : SEARCH_CHUNK;
		int64_t candidate = -1;
		const unsigned char *v;
		int rc = dq_block_view(b, from, (size_t)n, limit, &v, err);

		if (rc != 0)
			return found_nothing(rc);
		for (int64_t i = 0; i + DQ_RECORD_HEADER <= n; i++) {
			if (length_ok(d, length_at(v + i)) && timestamp_ok(v + i) && id_ok(v + i)) {
				candidate = from + i;
				break;
			}
		}
		if (candidate < 0) {
			from += n - DQ_RECORD_HEADER + 1;
			continue;
		}
		enum dq_found f = chain_at(b, d, candidate, limit, err);

		if (f != DQ_DAMAGED) {
			*p = candidate;
			return f;
		}
		from = candidate + 1;
	}
	return DQ_END;
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
	enum dq_found f = find_chain(b, d, pos + 1, limit, &p, err);

	if (f == DQ_SHORT || f == DQ_ERROR)
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
	const unsigned char *v;
	int64_t len, s2;
	int rc;

	if (limit - s < DQ_RECORD_HEADER)
		return DQ_DAMAGED;
	rc = dq_block_view(b, s - 1, 1 + DQ_RECORD_HEADER, limit, &v, err);
	if (rc != 0)
		return found_nothing(rc);
	v++;
	len = length_at(v);
	if (length_ok(d, len) + timestamp_ok(v) + id_ok(v) >= 2)
		return DQ_RECORD; /* E1 */
	if (wiped(v))
		return DQ_RECORD; /* E3 */
	if (!length_ok(d, len))
		return DQ_DAMAGED;
	s2 = s + DQ_PREFIX + len;
	if (s2 == limit)
		return DQ_RECORD; /* E2 */
	if (limit - s2 < DQ_RECORD_HEADER)
		return DQ_DAMAGED;
	rc = dq_block_view(b, s2, DQ_RECORD_HEADER, limit, &v, err);
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
		f = find_chain(b, d, pos + DQ_PREFIX + d->min_msg_size, limit, &p, err);
		if (f == DQ_SHORT || f == DQ_ERROR)
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
	int rc;

	if (rest <= 0)
		return DQ_END;
	n = rest < DQ_RECORD_HEADER ? rest : DQ_RECORD_HEADER;
	rc = dq_block_view(b, pos, (size_t)n, limit, &v, err);
	if (rc != 0)
		return found_nothing(rc);
	len = n < DQ_PREFIX ? -1 : length_at(v);
	s = pos + DQ_PREFIX + len;
	if (!length_ok(d, len) || s > limit)
		return bad_length(b, d, pos, limit, len,
			n == DQ_RECORD_HEADER && timestamp_ok(v) && id_ok(v), rec, err);

	/* The record and the header behind it in one view: the body is needed anyway. */
	n = s + DQ_RECORD_HEADER <= limit ? s + DQ_RECORD_HEADER - pos : s - pos;
	rc = dq_block_view(b, pos, (size_t)n, limit, &v, err);
	if (rc != 0)
		return found_nothing(rc);
	rec->len = len;
	rec->next = s;
	if (s == limit)
		return DQ_RECORD;
	if (s + DQ_RECORD_HEADER <= limit) {
		const unsigned char *next = v + DQ_PREFIX + len;
		int64_t next_len = length_at(next);

		if (length_ok(d, next_len) && s + DQ_PREFIX + next_len <= limit && id_ok(next))
			return DQ_RECORD;
	}
	return doubtful(b, d, pos, limit, len, rec, err);
}
