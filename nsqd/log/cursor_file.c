/* SPDX-License-Identifier: MIT */
/*
 * The file of a cursor: head, frames, replacing. No Go file: stock has no log. Runs in the thread
 * that flushes the cursor, and in the one that opens it.
 *
 *   a copy of the head                         a frame
 *     0   8  "NSQ cur" and a line feed           0   4  CRC-32C of key, place, and the next 8
 *     8   4  version                             4   4  bytes of content
 *    12   4  where the frames begin              8   4  CRC-32C of the content
 *    16   8  when the file was made             12   -  content
 *    24   8  key
 *    32  28  zero
 *    60  64  topic, filled up with zeros
 *   124  64  channel, likewise
 *   188   4  CRC-32C of the 188 bytes before
 *
 * All numbers are big-endian. The key is random, so no frame of another file is one of this file,
 * nor is one that has got to another place.
 */
#include "nsqd/log/cursor_file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/bytes.h"
#include "common/check.h"
#include "common/clock.h"
#include "common/crc32c.h"
#include "common/rand.h"
#include "common/strbuf.h"
#include "common/xalloc.h"

static const char magic[8] = {'N', 'S', 'Q', ' ', 'c', 'u', 'r', '\n'};

#define HEAD_CRC (CURSOR_HEAD_COPY - 4)
#define HEAD_TOPIC 60
#define HEAD_CHANNEL 124
/* Bytes that are read at once. */
#ifndef CURSOR_BLOCK
#define CURSOR_BLOCK (256 << 10)
#endif
/* No more bytes of a file are searched for a frame behind damage. */
#define SEARCH_MAX (64 << 20)

void cursor_file_init(struct cursor_file *f, const struct log_io *io, int dir, const char *file,
	const char *topic, const char *channel)
{
	*f = (struct cursor_file){.io = io, .dir = dir, .fd = -1, .new_fd = -1};
	CHECK(strlen(topic) <= CURSOR_NAME_MAX && strlen(channel) <= CURSOR_NAME_MAX);
	strcpy(f->topic, topic);
	strcpy(f->channel, channel);
	f->name = file ? xstrdup(file) : NULL;
	f->new_name = file ? xasprintf("%s.tmp", file) : NULL;
}

static void close_file(struct cursor_file *f)
{
	if (f->fd >= 0)
		f->io->close(f->io, f->fd);
	f->fd = -1;
}

void cursor_file_close(struct cursor_file *f)
{
	cursor_file_new_abandon(f);
	close_file(f);
	free(f->name);
	free(f->new_name);
	f->name = f->new_name = NULL;
}

/* --- the head ---------------------------------------------------------------------------------- */

static void encode_head(
	const struct cursor_file *f, uint64_t key, unsigned char out[CURSOR_HEAD_SIZE])
{
	memset(out, 0, CURSOR_HEAD_SIZE);
	memcpy(out, magic, sizeof(magic));
	put_be32(out + 8, CURSOR_VERSION);
	put_be32(out + 12, CURSOR_HEAD_SIZE);
	put_be64(out + 16, (uint64_t)clock_wall_ns());
	put_be64(out + 24, key);
	memcpy(out + HEAD_TOPIC, f->topic, strlen(f->topic));
	memcpy(out + HEAD_CHANNEL, f->channel, strlen(f->channel));
	put_be32(out + HEAD_CRC, crc32c(0, out, HEAD_CRC));
	memcpy(out + CURSOR_HEAD_COPY, out, CURSOR_HEAD_COPY);
}

/* 1: it is ours; 0: damaged; -1 with err set. */
static int decode_copy(struct cursor_file *f, const unsigned char *p, struct err *err)
{
	char topic[CURSOR_NAME_MAX + 1] = "", channel[CURSOR_NAME_MAX + 1] = "";
	if (memcmp(p, magic, sizeof(magic)) != 0 ||
		get_be32(p + HEAD_CRC) != crc32c(0, p, HEAD_CRC))
		return 0;
	uint32_t version = get_be32(p + 8);
	if (version > CURSOR_VERSION)
		return err_set(err, ENOTSUP,
			"%s: it has version %u of the format, and this program knows %u only",
			f->name, version, CURSOR_VERSION);
	if (version == 0 || get_be32(p + 12) != CURSOR_HEAD_SIZE)
		return 0;
	memcpy(topic, p + HEAD_TOPIC, CURSOR_NAME_MAX);
	memcpy(channel, p + HEAD_CHANNEL, CURSOR_NAME_MAX);
	if (strcmp(topic, f->topic) != 0 || strcmp(channel, f->channel) != 0)
		return err_set(err, EINVAL, "%s: it belongs to topic %s, channel %s", f->name,
			topic, channel);
	f->key = get_be64(p + 24);
	return 1;
}

/* --- frames ------------------------------------------------------------------------------------ */

static uint32_t frame_crc(uint64_t key, int64_t at, const unsigned char *p)
{
	unsigned char b[16];
	put_be64(b, key);
	put_be64(b + 8, (uint64_t)at);
	return crc32c(crc32c(0, b, sizeof(b)), p + 4, CURSOR_FRAME_HEAD - 4);
}

/* Bytes of content of the frame whose head is p; 0: that is no head. */
static size_t decode_frame(uint64_t key, int64_t at, const unsigned char *p)
{
	uint32_t n = get_be32(p + 4);
	if (n == 0 || n > CURSOR_FRAME_MAX || get_be32(p) != frame_crc(key, at, p))
		return 0;
	return n;
}

static int write_frame(const struct cursor_file *f, int fd, uint64_t key, int64_t at,
	const void *content, size_t n, struct err *err)
{
	unsigned char head[CURSOR_FRAME_HEAD];
	struct iovec iov[2] = {{head, sizeof(head)}, {(void *)content, n}};
	CHECK(n > 0 && n <= CURSOR_FRAME_MAX);
	put_be32(head + 4, (uint32_t)n);
	put_be32(head + 8, crc32c(0, content, n));
	put_be32(head, frame_crc(key, at, head));
	return log_io_write_all(f->io, fd, iov, 2, at, err);
}

/* --- reading ----------------------------------------------------------------------------------- */

struct reader {
	struct cursor_file *f;
	unsigned char *buf; /* owned; what stands in the file from base to base + len - 1 */
	size_t cap, len;
	int64_t base;
	int64_t searched;
	struct err *err;
	bool failed; /* err is set */
};

/* n bytes at `at`; NULL: the file ends before, or r->failed. Valid until the next call. */
static const unsigned char *peek(struct reader *r, int64_t at, size_t n)
{
	if (at >= r->base && at + (int64_t)n <= r->base + (int64_t)r->len)
		return r->buf + (at - r->base);
	if (at + (int64_t)n > r->f->size)
		return NULL;
	if (n > r->cap || r->cap == 0) {
		r->cap = n > CURSOR_BLOCK ? n : CURSOR_BLOCK;
		free(r->buf);
		r->buf = xmalloc(r->cap);
	}
	ssize_t got = log_io_read_all(r->f->io, r->f->fd, r->buf, r->cap, at);
	if (got < 0) {
		err_errno(r->err, errno, "read %s", r->f->name);
		r->failed = true;
	}
	r->base = at;
	r->len = got > 0 ? (size_t)got : 0;
	return r->len >= n ? r->buf : NULL;
}

static int read_head(struct reader *r, struct cursor_file_found *found)
{
	for (int64_t at = 0; at < CURSOR_HEAD_SIZE; at += CURSOR_HEAD_COPY) {
		const unsigned char *p = peek(r, at, CURSOR_HEAD_COPY);
		int rc = p ? decode_copy(r->f, p, r->err) : 0;
		if (rc < 0 || r->failed)
			return -1;
		if (rc > 0)
			return 0;
	}
	found->head_damaged = true;
	found->damaged_bytes = r->f->size;
	return 0;
}

/*
 * The place of the next head of a frame from `at` on; -1: there is none, or r->failed. The bytes in
 * between mean nothing.
 */
static int64_t search(struct reader *r, int64_t at)
{
	const unsigned char *p;
	for (; (p = peek(r, at, CURSOR_FRAME_HEAD)); at++) {
		if (decode_frame(r->f->key, at, p) > 0)
			return at;
		if (++r->searched > SEARCH_MAX)
			break;
	}
	return -1;
}

/*
 * What damage has spared is true: a frame says what has happened, and nothing in an earlier frame
 * undoes it. So the search goes on behind damage.
 */
static int read_frames(struct reader *r, struct cursor_file_found *found,
	bool (*frame)(void *arg, const unsigned char *content, size_t n), void *arg)
{
	struct cursor_file *f = r->f;
	int64_t at = CURSOR_HEAD_SIZE, sound = at;
	while ((at = search(r, at)) >= 0) {
		const unsigned char *p = peek(r, at, CURSOR_FRAME_HEAD);
		size_t n = p ? decode_frame(f->key, at, p) : 0;
		uint32_t crc = p ? get_be32(p + 8) : 0;
		p = peek(r, at + CURSOR_FRAME_HEAD, n);
		if (!p)
			break;
		int64_t end = at + CURSOR_FRAME_HEAD + (int64_t)n;
		if (crc32c(0, p, n) == crc && frame(arg, p, n)) {
			found->damaged_bytes += at - sound;
			sound = end;
		}
		at = end;
	}
	if (r->failed)
		return -1;
	if (r->searched > SEARCH_MAX)
		found->damaged_bytes += f->size - sound;
	else
		found->torn_bytes = f->size - sound;
	if (f->size > sound && !f->read_only && f->io->truncate(f->io, f->fd, sound) != 0)
		close_file(f);
	f->size = sound;
	return 0;
}

int cursor_file_open(struct cursor_file *f,
	bool (*frame)(void *arg, const unsigned char *content, size_t n), void *arg,
	struct cursor_file_found *found, struct err *err)
{
	*found = (struct cursor_file_found){0};
	/* Of a crash; it may be large. */
	if (!f->read_only)
		f->io->unlink(f->io, f->dir, f->new_name);
	f->fd = f->io->open(f->io, f->dir, f->name, f->read_only ? LOG_IO_READ : LOG_IO_WRITE);
	if (f->fd < 0 && errno == ENOENT) {
		found->missing = true;
		return 0;
	}
	if (f->fd < 0)
		return err_errno(err, errno, "open %s", f->name);
	f->size = f->io->size(f->io, f->fd);
	struct reader r = {.f = f, .err = err};
	int rc;
	if (f->size < 0)
		rc = err_errno(err, errno, "stat %s", f->name);
	else
		rc = read_head(&r, found);
	if (rc == 0 && !found->head_damaged)
		rc = read_frames(&r, found, frame, arg);
	free(r.buf);
	/* Nothing is ever added behind a head that cannot be read. */
	if (rc != 0 || found->head_damaged)
		close_file(f);
	return rc;
}

/* --- writing ----------------------------------------------------------------------------------- */

int cursor_file_append(struct cursor_file *f, const void *content, size_t n, struct err *err)
{
	if (write_frame(f, f->fd, f->key, f->size, content, n, err) != 0) {
		err_wrap(err, "%s", f->name);
		if (f->io->truncate(f->io, f->fd, f->size) != 0)
			close_file(f);
		return -1;
	}
	f->size += CURSOR_FRAME_HEAD + (int64_t)n;
	return 0;
}

int cursor_file_new(struct cursor_file *f, struct err *err)
{
	unsigned char head[CURSOR_HEAD_SIZE];
	struct iovec iov = {head, sizeof(head)};
	/* Of a crash. */
	if (f->io->unlink(f->io, f->dir, f->new_name) != 0 && errno != ENOENT)
		return err_errno(err, errno, "unlink %s", f->new_name);
	f->new_fd = f->io->open(f->io, f->dir, f->new_name, LOG_IO_CREATE);
	if (f->new_fd < 0)
		return err_errno(err, errno, "open %s", f->new_name);
	f->new_key = rand_u64();
	f->new_size = CURSOR_HEAD_SIZE;
	encode_head(f, f->new_key, head);
	if (log_io_write_all(f->io, f->new_fd, &iov, 1, 0, err) == 0)
		return 0;
	err_wrap(err, "%s", f->new_name);
	cursor_file_new_abandon(f);
	return -1;
}

int cursor_file_new_add(struct cursor_file *f, const void *content, size_t n, struct err *err)
{
	if (write_frame(f, f->new_fd, f->new_key, f->new_size, content, n, err) != 0)
		return err_wrap(err, "%s", f->new_name);
	f->new_size += CURSOR_FRAME_HEAD + (int64_t)n;
	return 0;
}

int cursor_file_new_commit(struct cursor_file *f, struct err *err)
{
	if (f->io->sync(f->io, f->new_fd) != 0)
		return err_errno(err, errno, "sync %s", f->new_name);
	if (f->io->rename(f->io, f->dir, f->new_name, f->name) != 0)
		return err_errno(err, errno, "rename %s", f->new_name);
	close_file(f);
	f->fd = f->new_fd;
	f->size = f->new_size;
	f->key = f->new_key;
	f->new_fd = -1;
	if (f->io->sync_dir(f->io, f->dir) != 0)
		return err_errno(err, errno, "sync the directory of %s", f->name);
	return 0;
}

void cursor_file_new_abandon(struct cursor_file *f)
{
	if (f->new_fd < 0)
		return;
	f->io->close(f->io, f->new_fd);
	f->io->unlink(f->io, f->dir, f->new_name);
	f->new_fd = -1;
}

int cursor_file_remove(struct cursor_file *f, struct err *err)
{
	if (!f->name)
		return 0;
	cursor_file_new_abandon(f);
	close_file(f);
	f->io->unlink(f->io, f->dir, f->new_name);
	if (f->io->unlink(f->io, f->dir, f->name) != 0 && errno != ENOENT)
		return err_errno(err, errno, "unlink %s", f->name);
	if (f->io->sync_dir(f->io, f->dir) != 0)
		return err_errno(err, errno, "sync the directory of %s", f->name);
	return 0;
}
