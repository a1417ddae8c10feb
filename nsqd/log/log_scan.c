/* SPDX-License-Identifier: MIT */
/*
 * A segment as a row of records. No Go file: stock has no log. Runs in the threads that open logs,
 * and in those that read them; blocks on the disk. No locks.
 *
 * A record is recognised by the checksum of its head alone. That goes over the file's key and the
 * place as well. So a record that a publisher has put into a body is none. Nor is one that lies where
 * it was not written. The head knows the length. So damage to a body costs this record and no
 * other. Behind a damaged head the next sound one is searched for, byte by byte.
 */
#include "nsqd/log/log_scan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/bytes.h"
#include "common/check.h"
#include "common/crc32c.h"
#include "common/xalloc.h"

int log_scan_open(struct log_scan *s, const struct log_io *io, int dir, uint64_t first,
	struct log_head *head, struct err *err)
{
	unsigned char bytes[LOG_HEAD_SIZE];
	char name[LOG_SEGMENT_NAME];
	log_segment_name(first, name);
	int fd = io->open(io, dir, name, LOG_IO_READ);
	if (fd < 0)
		return err_errno(err, errno, "open %s", name);
	ssize_t n = log_io_read_all(io, fd, bytes, sizeof(bytes), 0);
	int rc = n < 0 ? err_errno(err, errno, "read")
		       : log_head_decode(bytes, (size_t)n, head, err);
	if (rc == 0 && head->first != first)
		rc = err_set(err, EBADMSG, "it begins with number %llu",
			(unsigned long long)head->first);
	if (rc != 0) {
		io->close(io, fd);
		return err_wrap(err, "%s", name);
	}
	s->io = io;
	s->fd = fd;
	s->key = head->key;
	s->len = 0;
	return 0;
}

void log_scan_rest(struct log_scan *s)
{
	free(s->buf);
	s->buf = NULL;
	s->len = 0;
}

void log_scan_close(struct log_scan *s)
{
	if (s->fd >= 0)
		s->io->close(s->io, s->fd);
	s->fd = -1;
	log_scan_rest(s);
}

/*
 * Reads n bytes at off, or as many as there are. An error behind the first `want` bytes is none yet:
 * a bad place on the disk does not hide what lies before it.
 */
static int read_block(struct log_scan *s, uint32_t off, size_t n, size_t want, struct err *err)
{
	ssize_t r = 1;
	s->off = off;
	s->len = 0;
	while (s->len < n && r > 0) {
		r = s->io->pread(
			s->io, s->fd, s->buf + s->len, n - s->len, (int64_t)off + (int64_t)s->len);
		s->len += r > 0 ? (size_t)r : 0;
	}
	if (r >= 0 || s->len >= want)
		return 0;
	s->len = 0;
	return err_errno(err, errno, "read");
}

static size_t block_size(const struct log_scan *s)
{
	return s->few ? LOG_FEW_SIZE : LOG_BLOCK_SIZE;
}

/*
 * Gets the bytes at off into memory: as many as there are, but no more than a block. Returns how
 * many of them are there, at *p. -1 with err set.
 */
static ssize_t look_at(
	struct log_scan *s, uint32_t off, size_t want, unsigned char **p, struct err *err)
{
	int64_t end = s->off + (int64_t)s->len;
	if (!s->buf)
		s->buf = xmalloc(block_size(s));
	if (s->len == 0 || off < s->off || off + (int64_t)want > end) {
		int64_t left = (int64_t)s->limit - off;
		size_t n = block_size(s);
		n = left < (int64_t)n ? (size_t)left : n;
		if (read_block(s, off, n, want, err) != 0)
			return -1;
		end = off + (int64_t)s->len;
	}
	*p = s->buf + (off - s->off);
	return (ssize_t)(end - off);
}

enum log_found log_scan_at(
	struct log_scan *s, uint32_t off, struct log_record *rec, struct err *err)
{
	unsigned char *p;
	if (off >= s->limit)
		return LOG_NOTHING;
	if (s->limit - off < LOG_RECORD_HEAD)
		return LOG_DAMAGED;
	ssize_t n = look_at(s, off, LOG_RECORD_HEAD, &p, err);
	if (n < 0)
		return LOG_FAILED;
	if (n < LOG_RECORD_HEAD || !log_record_decode(p, log_record_seed(s->key, off), rec))
		return LOG_DAMAGED;
	if (rec->size > s->limit - off || rec->seq < s->first)
		return LOG_DAMAGED;
	if (rec->kind == LOG_KIND_END)
		return rec->size < s->limit - off ? LOG_DAMAGED : LOG_NOTHING;
	if (rec->seq >= s->bound)
		return LOG_NOTHING;
	return LOG_FOUND;
}

/* May these be the bytes of a head? Spares most of the checksums. */
static bool looks_like_head(const struct log_scan *s, const unsigned char *p, uint32_t room)
{
	uint64_t seq = get_be64(p + 16);
	uint32_t size = get_be32(p);
	return size >= LOG_RECORD_HEAD && size <= room && p[14] >= LOG_KIND_MESSAGE &&
	       p[14] <= LOG_KIND_END && seq >= s->first && seq <= s->bound;
}

enum log_found log_scan_search(struct log_scan *s, uint32_t off, uint32_t *found, struct err *err)
{
	struct log_record rec;
	while (off < s->limit && s->limit - off >= LOG_RECORD_HEAD) {
		unsigned char *p;
		ssize_t n = look_at(s, off, LOG_RECORD_HEAD, &p, err);
		if (n < 0)
			return LOG_FAILED;
		if (n < LOG_RECORD_HEAD)
			return LOG_NOTHING;
		for (; n >= LOG_RECORD_HEAD; n--, p++, off++) {
			if (!looks_like_head(s, p, s->limit - off) ||
				!log_record_decode(p, log_record_seed(s->key, off), &rec))
				continue;
			*found = off;
			return LOG_FOUND;
		}
	}
	return LOG_NOTHING;
}

enum log_found log_scan_copy(struct log_scan *s, uint32_t off, void *to, size_t n, struct err *err)
{
	unsigned char *p;
	CHECK(off <= s->limit && n <= s->limit - off);
	if (n == 0)
		return LOG_FOUND;
	/* What is in memory; of the rest a large part goes straight to its place. */
	size_t want = n < block_size(s) / 4 ? n : 1;
	ssize_t have = look_at(s, off, want, &p, err);
	if (have < 0)
		return LOG_FAILED;
	size_t some = (size_t)have < n ? (size_t)have : n;
	memcpy(to, p, some);
	if (some == n)
		return LOG_FOUND;
	ssize_t r = log_io_read_all(
		s->io, s->fd, (char *)to + some, n - some, (int64_t)off + (int64_t)some);
	if (r < 0) {
		err_errno(err, errno, "read");
		return LOG_FAILED;
	}
	return (size_t)r == n - some ? LOG_FOUND : LOG_DAMAGED;
}

enum log_found log_scan_check(
	struct log_scan *s, uint32_t off, const struct log_record *rec, struct err *err)
{
	size_t left = rec->size - LOG_RECORD_HEAD;
	uint32_t crc = 0;
	off += LOG_RECORD_HEAD;
	while (left > 0) {
		unsigned char *p;
		ssize_t n = look_at(s, off, 1, &p, err);
		if (n < 0)
			return LOG_FAILED;
		if (n == 0)
			return LOG_DAMAGED;
		size_t some = (size_t)n < left ? (size_t)n : left;
		crc = crc32c(crc, p, some);
		off += (uint32_t)some;
		left -= some;
	}
	return crc == rec->body_crc ? LOG_FOUND : LOG_DAMAGED;
}
