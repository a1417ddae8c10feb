/* SPDX-License-Identifier: MIT */
/*
 * The files of a log, and the list of them. No Go file: stock has no log. Runs in the thread that
 * opens the log, in log:TOPIC, and in the one that closes it; takes log.lock for a moment.
 *
 * With `disk` a new segment is on the disk, name and head, before the first record is written to it.
 * So a segment whose head is torn has never had a kept record.
 */
#include "nsqd/log/log_segment.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "common/clock.h"
#include "common/rand.h"
#include "common/xalloc.h"

void log_logf(const struct log *l, enum lg_level level, const char *fmt, ...)
{
	va_list ap;
	if (!l->lg)
		return;
	va_start(ap, fmt);
	lg_vlogf(l->lg, level, fmt, ap);
	va_end(ap);
}

/* --- the list ------------------------------------------------------------------------------------ */

static void add_segment(struct log *l, uint64_t first, uint32_t end)
{
	if (l->n_segments == l->segments_cap) {
		l->segments_cap = l->segments_cap ? 2 * l->segments_cap : 4;
		l->segments = xreallocarray(l->segments, l->segments_cap, sizeof(*l->segments));
	}
	l->segments[l->n_segments++] = (struct log_segment){first, ++l->last_id, end};
}

void log_segment_use_last(struct log *l)
{
	if (l->n_segments > 0)
		l->active = l->segments[l->n_segments - 1];
}

void log_segment_grow_locked(struct log *l, uint32_t bytes, uint64_t records)
{
	mutex_assert_held(&l->lock);
	l->active.end += bytes;
	l->segments[l->n_segments - 1].end = l->active.end;
	l->next += records;
}

static void list_one(void *arg, const char *name)
{
	struct log *l = arg;
	uint64_t first;
	if (log_segment_number(name, &first))
		add_segment(l, first, 0);
}

static int by_number(const void *a, const void *b)
{
	const struct log_segment *x = a, *y = b;
	return x->first < y->first ? -1 : x->first > y->first;
}

static int size_of(struct log *l, struct log_segment *s, struct err *err)
{
	char name[LOG_SEGMENT_NAME];
	log_segment_name(s->first, name);
	int fd = l->io->open(l->io, l->dir, name, LOG_IO_READ);
	if (fd < 0)
		return err_errno(err, errno, "open %s", name);
	int64_t size = l->io->size(l->io, fd);
	int code = errno;
	l->io->close(l->io, fd);
	if (size < 0)
		return err_errno(err, code, "stat %s", name);
	s->end = size < (int64_t)LOG_BYTES_MAX ? (uint32_t)size : LOG_BYTES_MAX;
	return 0;
}

int log_segment_list(struct log *l, struct err *err)
{
	if (l->io->list(l->io, l->dir, list_one, l) != 0)
		return err_errno(err, errno, "list");
	if (l->n_segments == 0)
		return 0;
	qsort(l->segments, l->n_segments, sizeof(*l->segments), by_number);
	for (size_t i = 0; i < l->n_segments; i++)
		if (size_of(l, &l->segments[i], err) != 0)
			return -1;
	return 0;
}

/* --- the one that is written to ------------------------------------------------------------------ */

void log_segment_close(struct log *l)
{
	if (l->fd >= 0)
		l->io->close(l->io, l->fd);
	l->fd = -1;
	l->allocated = 0;
}

void log_segment_give_back(struct log *l, int64_t size)
{
	if (l->allocated > size)
		(void)l->io->truncate(l->io, l->fd, size);
}

int log_segment_write_head(struct log *l, int fd, uint64_t first, struct err *err)
{
	unsigned char bytes[LOG_HEAD_SIZE];
	struct iovec iov = {bytes, sizeof(bytes)};
	struct log_head head = {.first = first, .made = clock_wall_ns(), .key = rand_u64()};
	strncpy(head.name, l->topic, LOG_NAME_MAX);
	log_head_encode(&head, bytes);
	if (log_io_write_all(l->io, fd, &iov, 1, 0, err) != 0)
		return -1;
	if (log_syncs(l) && l->io->sync(l->io, fd) != 0)
		return err_errno(err, errno, "fsync");
	l->key = head.key;
	return 0;
}

/* A new file of this name. What has it already is none of ours: its numbers are still to come. */
static int create(struct log *l, const char *name, struct err *err)
{
	int fd = l->io->open(l->io, l->dir, name, LOG_IO_CREATE);
	if (fd < 0 && errno == EEXIST && l->io->unlink(l->io, l->dir, name) == 0)
		fd = l->io->open(l->io, l->dir, name, LOG_IO_CREATE);
	return fd < 0 ? err_errno(err, errno, "open %s", name) : fd;
}

int log_segment_begin(struct log *l, struct err *err)
{
	char name[LOG_SEGMENT_NAME];
	uint64_t first = l->next;
	log_segment_close(l);
	l->closed = true; /* until there is a new one */
	log_segment_name(first, name);
	int fd = create(l, name, err);
	if (fd < 0)
		return -1;
	if (log_segment_write_head(l, fd, first, err) != 0 ||
		(log_syncs(l) && l->io->sync_dir(l->io, l->dir) != 0 &&
			err_errno(err, errno, "fsync") != 0)) {
		l->io->close(l->io, fd);
		l->io->unlink(l->io, l->dir, name);
		return err_wrap(err, "%s", name);
	}
	mutex_lock(&l->lock);
	if (l->active.first == first)
		l->n_segments--;
	add_segment(l, first, LOG_HEAD_SIZE);
	log_segment_use_last(l);
	mutex_unlock(&l->lock);
	l->fd = fd;
	l->torn = l->closed = false;
	return 0;
}

/* 1: it is the file that it should be. 0: it is another. -1 with err set: it cannot be opened now. */
static int open_old(struct log *l, const char *name, struct err *err)
{
	unsigned char bytes[LOG_HEAD_SIZE];
	struct log_head head;
	l->fd = l->io->open(l->io, l->dir, name, LOG_IO_WRITE);
	if (l->fd < 0)
		return errno == ENOENT ? 0 : err_errno(err, errno, "open %s", name);
	int64_t size = l->io->size(l->io, l->fd);
	ssize_t n = log_io_read_all(l->io, l->fd, bytes, sizeof(bytes), 0);
	if (size < 0 || n < 0)
		return err_errno(err, errno, "read %s", name);
	if (size < l->active.end || log_head_decode(bytes, (size_t)n, &head, err) != 0 ||
		head.first != l->active.first)
		return 0;
	l->key = head.key;
	l->torn = size > l->active.end;
	return 1;
}

int log_segment_reopen(struct log *l, struct err *err)
{
	char name[LOG_SEGMENT_NAME];
	if (l->fd >= 0)
		return 0;
	if (l->active.first == 0 || l->closed)
		return log_segment_begin(l, err);
	log_segment_name(l->active.first, name);
	int rc = open_old(l, name, err);
	if (rc <= 0)
		log_segment_close(l);
	if (rc != 0)
		return rc < 0 ? -1 : 0;
	log_logf(l, LG_WARN, "LOG(%s): %s is not as it was left, going on in a new segment",
		l->topic, name);
	return log_segment_begin(l, err);
}
