/* SPDX-License-Identifier: MIT */
/*
 * The metadata file, and making sense of a directory at start. Mirrors
 * retrieveMetaData and persistMetaData of go-diskqueue's diskqueue.go. Runs in
 * the creator of a queue and in io_loop. No locks.
 *
 * Deliberately different from stock:
 * - The metadata is a hint, the data files are the truth. Stock begins at file
 *   0, and writes over what is there, when the metadata is missing, empty or
 *   cannot be read; it believes any numbers. Here what the metadata does not
 *   know of is found and counted, and numbers that cannot be are not used.
 * - Stock goes on in a new file when the last one is longer than the metadata
 *   says; here only if it does not end in a whole record.
 * - The depth is right after a crash, not only when the queue has been read to
 *   its end.
 */
#include "nsqd/diskqueue_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/xalloc.h"

/* Files more than this apart are looked up in the directory, not one by one. */
#define WIDE_RANGE 1000

struct meta {
	int64_t depth;
	struct dq_pos rd, wr;
};

enum meta_state { META_OK, META_NONE, META_BAD, META_ERROR };

int dq_persist_meta(struct diskqueue *d, bool durable, struct err *err)
{
	char *path = dq_meta_data_file_name(d);
	/* Stock puts a random number here; one name, used again, leaves at most one file behind. */
	char *tmp = xasprintf("%s.0.tmp", path);
	char text[160];
	int rc = 0, n;
	int fd = d->io->open(tmp, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	n = snprintf(text, sizeof(text), "%lld\n%lld,%lld\n%lld,%lld\n",
		(long long)(atomic_load(&d->depth) + d->undone), (long long)d->rd.file,
		(long long)d->rd.pos, (long long)d->wr.file, (long long)d->wr.pos);
	if (fd < 0) {
		rc = err_errno(err, errno, "open %s", tmp);
	} else {
		struct iovec iov = {.iov_base = text, .iov_len = (size_t)n};
		ssize_t w = d->io->pwritev(fd, &iov, 1, 0);

		if (w != n)
			rc = err_errno(err, w < 0 ? errno : ENOSPC, "write %s", tmp);
		else if (durable && d->io->fdatasync(fd) < 0)
			rc = err_errno(err, errno, "fsync %s", tmp);
		close(fd);
		/* atomically rename */
		if (rc == 0 && d->io->rename(tmp, path) < 0)
			rc = err_errno(err, errno, "rename %s to %s", tmp, path);
		if (rc < 0)
			d->io->unlink(tmp);
	}
	if (rc == 0) {
		d->meta_exists = true;
		d->meta_dirty = false;
	}
	free(tmp);
	free(path);
	return rc;
}

/* One "%d" of Go's Fscanf and the byte behind it. */
static bool scan_number(const char **s, char after, int64_t *v)
{
	char *end;

	errno = 0;
	*v = strtoll(*s, &end, 10);
	if (end == *s || errno != 0 || *end != after)
		return false;
	*s = end + 1;
	return true;
}

/* Whether the numbers can be those of a queue at all. */
static bool meta_sane(const struct meta *m)
{
	const int64_t v[] = {m->depth, m->rd.file, m->rd.pos, m->wr.file, m->wr.pos};

	for (size_t i = 0; i < sizeof(v) / sizeof(v[0]); i++)
		if (v[i] < 0 || v[i] > DQ_SANE_MAX)
			return false;
	return m->rd.file < m->wr.file || (m->rd.file == m->wr.file && m->rd.pos <= m->wr.pos);
}

static enum meta_state read_meta(struct diskqueue *d, struct meta *m, struct err *err)
{
	char *path = dq_meta_data_file_name(d);
	enum meta_state state = META_OK;
	char text[256];
	const char *s = text;
	ssize_t n = -1;
	int fd = d->io->open(path, O_RDONLY | O_CLOEXEC, 0);

	if (fd >= 0) {
		n = d->io->pread(fd, text, sizeof(text) - 1, 0);
		if (n < 0)
			err_errno(err, errno, "read %s", path);
		close(fd);
		state = n < 0 ? META_ERROR : META_OK;
	} else {
		state = errno == ENOENT ? META_NONE : META_ERROR;
		err_errno(err, errno, "open %s", path);
	}
	if (state == META_OK) {
		text[n] = 0;
		if (!scan_number(&s, '\n', &m->depth) || !scan_number(&s, ',', &m->rd.file) ||
			!scan_number(&s, '\n', &m->rd.pos) || !scan_number(&s, ',', &m->wr.file) ||
			!scan_number(&s, '\n', &m->wr.pos)) {
			err_set(err, 0, "%s is not a metadata file", path);
			state = META_BAD;
		} else if (!meta_sane(m)) {
			err_set(err, 0, "%s holds impossible numbers", path);
			state = META_BAD;
		}
	}
	if (state == META_BAD) {
		dq_logf(d, LG_ERROR, "DISKQUEUE(%s) failed to retrieveMetaData - %s", d->name,
			err->msg);
		dq_move_aside(d, path);
	}
	free(path);
	return state;
}

/*
 * Counts the records of a file behind from. *clean: nothing was damaged up to
 * the end, so that more can be appended. A file that cannot be read now counts
 * as none and not clean: the reader will try again, and that is logged there.
 */
static int64_t count_records(struct diskqueue *d, int64_t file, int64_t from, bool *clean)
{
	struct dq_block b;
	struct dq_record rec;
	struct err err = {0};
	enum dq_found f = DQ_ERROR;
	char *path = dq_file_name(d, file);
	int64_t count = 0;

	*clean = true;
	dq_block_init(&b, d->io);
	if (dq_block_open(&b, path, file, &err) == 0) {
		while ((f = dq_record_at(&b, d, from, b.size, &rec, &err)) == DQ_RECORD ||
			f == DQ_DAMAGED) {
			if (f == DQ_RECORD)
				count++;
			else
				*clean = false;
			from = rec.next;
		}
	}
	if (f != DQ_END) {
		*clean = false;
		dq_logf(d, LG_WARN, "DISKQUEUE(%s) cannot count the messages of %s - %s", d->name,
			path, f == DQ_SHORT ? "unexpected EOF" : err.msg);
	}
	dq_block_close(&b);
	free(path);
	return count;
}

/* Sets wr behind everything in file: to its end, or to a new file where nothing can be appended. */
static int end_at(struct diskqueue *d, int64_t file, bool clean, struct err *err)
{
	int64_t size = 0;

	if (dq_file_size(d, file, &size, err) < 0)
		return -1;
	d->wr = clean ? (struct dq_pos){file, size} : (struct dq_pos){file + 1, 0};
	if (!clean)
		dq_logf(d, LG_WARN,
			"DISKQUEUE(%s) file %lld does not end in a whole record, skipping to new "
			"file",
			d->name, (long long)file);
	return 0;
}

/*
 * Whether the file at rd ends before rd: then all that is left of it was
 * received. Nothing may be appended there, so it goes out of the way.
 */
static bool cut_off(struct diskqueue *d, struct dq_pos rd)
{
	struct err err;
	int64_t size;
	char *path;

	if (dq_file_size(d, rd.file, &size, &err) != 1 || size >= rd.pos)
		return false;
	path = dq_file_name(d, rd.file);
	dq_move_aside(d, path);
	free(path);
	return true;
}

/* Counts every record from rd on, in the files that are there, and sets wr and depth. */
static int recount(struct diskqueue *d, struct dq_pos rd, struct err *err)
{
	int64_t *files, depth = 0;
	size_t n, i = 0;
	bool clean = true;

	if (dq_list_files(d, &files, &n, err) < 0)
		return -1;
	while (i < n && files[i] < rd.file)
		i++;
	if (i < n && files[i] == rd.file && cut_off(d, rd)) {
		rd = (struct dq_pos){rd.file + 1, 0};
		i++;
	}
	if (i == n) {
		/* Nothing left; a new file, lest a number is used twice. */
		d->rd = d->wr = (struct dq_pos){rd.file + (rd.pos > 0), 0};
		free(files);
		return 0;
	}
	if (files[i] > rd.file)
		rd = (struct dq_pos){files[i], 0};
	d->rd = rd;
	for (; i < n; i++)
		depth += count_records(d, files[i], files[i] == rd.file ? rd.pos : 0, &clean);
	int rc = end_at(d, files[n - 1], clean, err);

	free(files);
	atomic_store(&d->depth, depth);
	d->meta_dirty = true;
	return rc;
}

/* The metadata is older than the data: what stands behind wr was written before a crash. */
static int count_tail(struct diskqueue *d, const struct meta *m, int64_t wr_size, struct err *err)
{
	char *path = dq_file_name(d, m->wr.file);
	int64_t depth = m->depth, file = m->wr.file, size;
	bool clean = true;
	int rc = 1;

	if (wr_size > m->wr.pos) {
		dq_logf(d, LG_WARN,
			"DISKQUEUE(%s) %s metadata writePos %lld < file size of %lld, recovering",
			d->name, path, (long long)m->wr.pos, (long long)wr_size);
		depth += count_records(d, file, m->wr.pos, &clean);
	}
	free(path);
	while ((rc = dq_file_size(d, file + 1, &size, err)) == 1)
		depth += count_records(d, ++file, 0, &clean);
	if (rc < 0)
		return -1;
	dq_logf(d, LG_INFO, "DISKQUEUE(%s) recovered %lld messages behind the metadata", d->name,
		(long long)(depth - m->depth));
	d->rd = m->rd;
	atomic_store(&d->depth, depth);
	d->meta_dirty = true;
	return end_at(d, file, clean, err);
}

/*
 * The bytes from the read position to the end of the last file. 1: a file is
 * missing in between; nobody shall look for thousands of them one by one.
 */
static int bytes_between(struct diskqueue *d, const struct meta *m, int64_t *bytes, struct err *err)
{
	int64_t size, *files;
	size_t n;

	*bytes = -m->rd.pos;
	if (m->wr.file - m->rd.file > WIDE_RANGE) {
		if (dq_list_files(d, &files, &n, err) < 0)
			return -1;
		free(files);
		if ((int64_t)n < m->wr.file - m->rd.file)
			return 1;
	}
	for (int64_t f = m->rd.file; f <= m->wr.file; f++) {
		int rc = dq_file_size(d, f, &size, err);

		if (rc < 0)
			return -1;
		if (rc == 0 && f < m->wr.file)
			return 1;
		*bytes += rc == 1 ? size : 0;
	}
	return 0;
}

/* What a look at the ends of the queue says about the metadata. */
enum verdict { TRUSTED, OLDER, WRONG, UNKNOWN };

static enum verdict judge(
	struct diskqueue *d, const struct meta *m, int64_t *wr_size, struct err *err)
{
	int64_t rd_size = 0, size, bytes;
	int rc;
	int rd_there = dq_file_size(d, m->rd.file, &rd_size, err);
	int wr_there = dq_file_size(d, m->wr.file, wr_size, err);
	int later = dq_file_size(d, m->wr.file + 1, &size, err);

	if (rd_there < 0 || wr_there < 0 || later < 0)
		return UNKNOWN;
	if (!wr_there)
		*wr_size = 0;
	if (*wr_size < m->wr.pos || rd_size < m->rd.pos)
		return WRONG; /* data are missing that it counts */
	if (m->rd.file < m->wr.file && !rd_there)
		return WRONG; /* the file was read and removed since; it counts what is gone */
	if (dq_pos_eq(m->rd, m->wr) != (m->depth == 0))
		return WRONG;
	rc = bytes_between(d, m, &bytes, err);
	if (rc != 0)
		return rc < 0 ? UNKNOWN : WRONG;
	if (m->depth > bytes / (DQ_PREFIX + d->min_msg_size))
		return WRONG; /* they cannot have been so small */
	return later || *wr_size > m->wr.pos ? OLDER : TRUSTED;
}

/* The end of a finished file is the beginning of the next one: stock may stop at the former. */
static void normalise_read_position(struct diskqueue *d, struct meta *m)
{
	struct err err;
	int64_t size;

	while (m->rd.file < m->wr.file && dq_file_size(d, m->rd.file, &size, &err) == 1 &&
		m->rd.pos == size) {
		dq_remove_files(d, m->rd.file, m->rd.file + 1, &err);
		m->rd = (struct dq_pos){m->rd.file + 1, 0};
		d->meta_dirty = true;
	}
}

static int load_with_meta(struct diskqueue *d, struct meta *m, struct err *err)
{
	int64_t wr_size = 0;
	int rc = 0;

	normalise_read_position(d, m);
	switch (judge(d, m, &wr_size, err)) {
	case UNKNOWN:
		return -1;
	case TRUSTED:
		d->rd = m->rd;
		d->wr = m->wr;
		atomic_store(&d->depth, m->depth);
		break;
	case OLDER:
		rc = count_tail(d, m, wr_size, err);
		break;
	case WRONG:
		dq_logf(d, LG_WARN,
			"DISKQUEUE(%s) metadata (depth %lld, read %lld,%lld, write %lld,%lld) does "
			"not "
			"fit the data files, counting them",
			d->name, (long long)m->depth, (long long)m->rd.file, (long long)m->rd.pos,
			(long long)m->wr.file, (long long)m->wr.pos);
		rc = recount(d, m->rd, err);
		d->meta_dirty = true;
		break;
	}
	return rc;
}

int dq_load(struct diskqueue *d, struct err *err)
{
	struct meta m;
	int rc = 0;

	switch (read_meta(d, &m, err)) {
	case META_ERROR:
		return -1;
	case META_OK:
		d->meta_exists = true;
		rc = load_with_meta(d, &m, err);
		break;
	case META_NONE:
		rc = dq_any_files(d, err);
		if (rc <= 0)
			break; /* a queue that was never written to: nearly always */
			       /* fall through */
	case META_BAD:
		rc = recount(d, (struct dq_pos){0, 0}, err);
		if (rc == 0 && d->meta_dirty)
			dq_logf(d, LG_WARN,
				"DISKQUEUE(%s) found %lld messages in data files without metadata",
				d->name, (long long)atomic_load(&d->depth));
		break;
	}
	if (rc < 0)
		return -1;
	d->ahead = d->taken = d->rd;
	d->loaded = true;
	return 0;
}
