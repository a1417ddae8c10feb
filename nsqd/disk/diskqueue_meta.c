/* SPDX-License-Identifier: MIT */
/*
 * The metadata file, and what is made of a directory at start. Mirrors retrieveMetaData and
 * persistMetaData of go-diskqueue's diskqueue.go. Runs in the creator of a queue and in dq_io_loop.
 * No locks.
 *
 * Deliberately different from stock:
 * - The metadata is a hint, the data files are the truth. Stock begins at file 0, and writes over
 *   what is there, when the metadata is missing, empty or cannot be read; it believes any numbers.
 *   Here records that the metadata does not know of are found and counted, and impossible numbers
 *   are not used.
 * - Stock goes on in a new file when the last one is longer than the metadata says. Here that
 *   happens only if it does not end in a whole record.
 * - The depth is right soon after a crash (diskqueue_count.c), not only when the queue has been
 *   read to its end.
 * - The temporary file is a new one; stock opens what is there.
 */
#include "nsqd/disk/diskqueue_meta.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/rand.h"
#include "common/regfile.h"
#include "common/xalloc.h"
#include "nsqd/disk/disk_stats.h"
#include "nsqd/disk/diskqueue_count.h"
#include "nsqd/disk/diskqueue_dir.h"
#include "nsqd/disk/diskqueue_patience.h"
#include "nsqd/disk/diskqueue_record.h"

/* Files more than this apart are looked up in the directory, not one by one. */
#define WIDE_RANGE 1000

struct meta {
	int64_t depth;
	struct dq_pos rd, wr;
	bool rd_known; /* the first two lines are whole */
	bool whole; /* the third one ends with a newline, so that its last number is not cut off */
};

enum meta_state { META_OK, META_NONE, META_BAD, META_ERROR };

/*
 * A new file for the metadata: its descriptor, and its name in *tmp. One name, used again, leaves
 * at most one file behind after a crash. If something stands there that cannot be removed (a
 * directory), the name is random, as in stock. An existing file is never written to.
 */
static int create_tmp(const struct diskqueue *d, const char *path, char **tmp, struct err *err)
{
	const mode_t mode = 0600;
	*tmp = xasprintf("%s.0.tmp", path);
	int fd = d->io->open(*tmp, O_RDWR | REGFILE_NEW, mode);
	if (fd < 0 && errno == EEXIST) {
		d->io->unlink(*tmp);
		fd = d->io->open(*tmp, O_RDWR | REGFILE_NEW, mode);
	}
	for (int i = 0; fd < 0 && errno == EEXIST && i < 10; i++) {
		free(*tmp);
		*tmp = xasprintf("%s.%llu.tmp", path, (unsigned long long)rand_u64() >> 1);
		fd = d->io->open(*tmp, O_RDWR | REGFILE_NEW, mode);
	}
	return fd >= 0 ? fd : err_errno(err, errno, "open %s", *tmp);
}

struct dq_pos dq_saved_position(const struct diskqueue *d)
{
	return atomic_load(&d->crash_forgets) && !d->closing && d->taken.file == d->rd.file
		       ? d->taken
		       : d->rd;
}

static int write_meta(struct diskqueue *d, int fd, const char *path, size_t *len, struct err *err)
{
	char text[160];
	struct dq_pos rd = dq_saved_position(d);
	int64_t depth = atomic_load(&d->depth) + (dq_pos_eq(rd, d->rd) ? d->undone : 0);
	/* A start does not believe depth 0 where there is something to read: it counts anew. */
	int n = snprintf(text, sizeof(text), "%lld\n%lld,%lld\n%lld,%lld\n",
		(long long)(d->counting.active ? 0 : depth), (long long)rd.file, (long long)rd.pos,
		(long long)d->wr.file, (long long)d->wr.pos);
	struct iovec iov = {.iov_base = text, .iov_len = (size_t)n};
	ssize_t w = d->io->pwritev(fd, &iov, 1, 0);
	*len = (size_t)n;
	return w == n ? 0 : err_errno(err, w < 0 ? errno : ENOSPC, "write %s", path);
}

/* Renames atomically. If a directory stands in the way, it is moved aside. */
static int replace_meta(struct diskqueue *d, const char *tmp, const char *path, struct err *err)
{
	int rc = d->io->rename(tmp, path);
	if (rc < 0 && (errno == EISDIR || errno == ENOTEMPTY || errno == EEXIST)) {
		dq_move_aside(d, path);
		rc = d->io->rename(tmp, path);
	}
	return rc < 0 ? err_errno(err, errno, "rename %s to %s", tmp, path) : 0;
}

static int sync_meta(const struct diskqueue *d, int fd, const char *tmp, struct err *err)
{
	int64_t start = clock_mono_ns();
	int rc = d->io->fdatasync(fd), code = errno;
	disk_stats_synced(start, rc);
	return rc == 0 ? 0 : err_errno(err, code, "fsync %s", tmp);
}

int dq_persist_meta(struct diskqueue *d, bool durable, struct err *err)
{
	char *path = dq_meta_data_file_name(d), *tmp;
	int fd = create_tmp(d, path, &tmp, err), rc = -1;
	size_t len;
	if (fd >= 0) {
		rc = write_meta(d, fd, tmp, &len, err);
		if (rc == 0 && durable)
			rc = sync_meta(d, fd, tmp, err);
		if (close(fd) != 0 && rc == 0)
			rc = err_errno(err, errno, "close %s", tmp);
		if (rc == 0)
			rc = replace_meta(d, tmp, path, err);
		if (rc < 0)
			d->io->unlink(tmp);
	}
	if (rc == 0) {
		d->meta_exists = true;
		d->meta_dirty = false;
		d->saved_rd = dq_saved_position(d);
	}
	free(tmp);
	free(path);
	return rc;
}

/*
 * One page, written in one go: after a crash it is the old one or the new one. The rest of a longer
 * old one stands behind the last newline, which ends the reading.
 */
static int note_meta(struct diskqueue *d, const char *path, struct err *err)
{
	struct stat st;
	size_t len;
	int fd = dq_open_ours(d, path, &st, err);
	if (fd < 0)
		return -1;
	int rc = write_meta(d, fd, path, &len, err);
	if (rc == 0 && st.st_size > (off_t)len && d->io->ftruncate(fd, (off_t)len) != 0)
		rc = err_errno(err, errno, "truncate %s", path);
	if (close(fd) != 0 && rc == 0)
		rc = err_errno(err, errno, "close %s", path);
	return rc;
}

void dq_note_meta(struct diskqueue *d)
{
	char *path = dq_meta_data_file_name(d);
	struct err err;
	bool failed = note_meta(d, path, &err) != 0;
	d->saved_rd = dq_saved_position(d);
	/* One line, and not one for each message, while the disk refuses. */
	if (failed && !d->note_failed)
		dq_logf(d, LG_ERROR, "DISKQUEUE(%s) failed to note the read position - %s", d->name,
			err.msg);
	d->note_failed = failed;
	free(path);
}

static void skip_spaces(const char **s)
{
	while (**s == ' ' || **s == '\t' || **s == '\v' || **s == '\f' ||
		(**s == '\r' && (*s)[1] != '\n'))
		++*s;
}

/*
 * One "%d" of Go's Fscanf, and what follows it: either a comma at once, or a newline. Spaces may
 * stand before the newline, and the end of the file instead of it.
 */
static bool scan_number(const char **s, char after, int64_t *v)
{
	char *end;
	skip_spaces(s);
	if (**s != '-' && **s != '+' && (**s < '0' || **s > '9'))
		return false;
	errno = 0;
	*v = strtoll(*s, &end, 10);
	if (end == *s || errno != 0)
		return false;
	*s = end;
	if (after == '\n') {
		skip_spaces(s);
		if (**s == '\r')
			++*s;
	}
	if (**s != after)
		return after == '\n' && **s == 0;
	++*s;
	return true;
}

static bool scan_meta(const char *text, size_t len, struct meta *m)
{
	const char *s = text;
	*m = (struct meta){0};
	m->rd_known = scan_number(&s, '\n', &m->depth) && scan_number(&s, ',', &m->rd.file) &&
		      scan_number(&s, '\n', &m->rd.pos) && s[-1] == '\n' && m->rd.file >= 0 &&
		      m->rd.file <= DQ_SANE_MAX && m->rd.pos >= 0 && m->rd.pos <= DQ_SANE_MAX;
	if (!m->rd_known || !scan_number(&s, ',', &m->wr.file) ||
		!scan_number(&s, '\n', &m->wr.pos))
		return false;
	m->whole = s[-1] == '\n';
	/* A zero byte is not the end of the file. */
	return m->whole || s == text + len;
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

/*
 * A metadata file that cannot be read, for a reason of its own, is waited for. True: for long
 * enough. The data files have all that matters except how far they were read.
 */
static bool out_of_patience(struct diskqueue *d, const struct err *err)
{
	int most = dq_is_odd(err->code) ? dq_patience.odd_loads : dq_patience.error_loads;
	return dq_is_files_own(err->code) && d->load_tries >= most;
}

/* META_OK: text has what the file holds, and a zero behind it. */
static enum meta_state read_text(struct diskqueue *d, const char *path, char *text, size_t size,
	size_t *len, struct err *err)
{
	int fd = dq_open_regular(d->io, path, NULL, err);
	ssize_t n;
	if (fd < 0)
		return err->code == ENOENT ? META_NONE : META_ERROR;
	do
		n = d->io->pread(fd, text, size - 1, 0);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		err_errno(err, errno, "read %s", path);
	close(fd);
	if (n < 0)
		return META_ERROR;
	text[n] = 0;
	*len = (size_t)n;
	return META_OK;
}

static enum meta_state read_meta(struct diskqueue *d, struct meta *m, struct err *err)
{
	char *path = dq_meta_data_file_name(d);
	char text[256];
	size_t len;
	enum meta_state state = read_text(d, path, text, sizeof(text), &len, err);
	*m = (struct meta){0};
	if (state == META_OK && !scan_meta(text, len, m)) {
		err_set(err, 0, "%s is not a metadata file", path);
		state = META_BAD;
	} else if (state == META_OK && !meta_sane(m)) {
		err_set(err, 0, "%s holds impossible numbers", path);
		m->rd_known = false;
		state = META_BAD;
	} else if (state == META_ERROR && out_of_patience(d, err)) {
		state = META_BAD;
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
 * Whether the file at rd ends before rd: then all that is left of it was received. Nothing may be
 * appended there, so it goes out of the way.
 */
static bool cut_off(struct diskqueue *d, struct dq_pos rd)
{
	struct err err;
	int64_t size;
	if (dq_file_size(d, rd.file, &size, &err) != 1 || size >= rd.pos)
		return false;
	char *path = dq_file_name(d, rd.file);
	dq_move_aside(d, path);
	free(path);
	return true;
}

/* Begins to count every record from rd on, in the files that are there. */
static int recount(struct diskqueue *d, struct dq_pos rd, const char *what, struct err *err)
{
	int64_t *files;
	size_t n, i = 0;
	if (dq_list_files(d, &files, &n, err) != 0)
		return -1;
	while (i < n && files[i] < rd.file)
		i++;
	if (i < n && files[i] == rd.file && cut_off(d, rd)) {
		i++;
		rd = (struct dq_pos){rd.file + 1, 0};
	}
	dq_set_amount(d, 0, 0);
	if (i == n) {
		/* Nothing left; a new file, lest a number is used twice. */
		d->rd = d->wr = (struct dq_pos){rd.file + (rd.pos > 0), 0};
		free(files);
		return 0;
	}
	if (files[i] > rd.file)
		rd = (struct dq_pos){files[i], 0};
	d->rd = rd;
	memmove(files, files + i, (n - i) * sizeof(files[0]));
	dq_count_begin(d, files, n - i, rd, LG_WARN, what);
	return 0;
}

/*
 * The metadata is older than the data: records behind wr were written before a crash, and are
 * counted.
 */
static int count_tail(struct diskqueue *d, const struct meta *m, int64_t wr_size, struct err *err)
{
	char *path = dq_file_name(d, m->wr.file);
	size_t n = 1, cap = 16;
	int64_t size, *files = xreallocarray(NULL, cap, sizeof(files[0]));
	int rc;
	if (wr_size > m->wr.pos)
		dq_logf(d, LG_WARN,
			"DISKQUEUE(%s) %s metadata writePos %lld < file size of %lld, recovering",
			d->name, path, (long long)m->wr.pos, (long long)wr_size);
	free(path);
	/* A file that was not begun yet need not be there. */
	files[0] = wr_size > m->wr.pos ? m->wr.file : m->wr.file + 1;
	while ((rc = dq_file_size(d, files[n - 1] + 1, &size, err)) == 1) {
		if (n == cap) {
			cap *= 2;
			files = xreallocarray(files, cap, sizeof(files[0]));
		}
		files[n] = files[n - 1] + 1;
		n++;
	}
	if (rc < 0) {
		free(files);
		return -1;
	}
	d->rd = m->rd;
	dq_count_begin(d, files, n, wr_size > m->wr.pos ? m->wr : (struct dq_pos){files[0], 0},
		LG_INFO, "behind the metadata");
	return 0;
}

/*
 * The bytes from the read position to the end of the last file. 1: a file is missing in between. A
 * wide range is looked up in the directory, not file by file.
 */
static int bytes_between(struct diskqueue *d, const struct meta *m, int64_t *bytes, struct err *err)
{
	int64_t size, *files;
	size_t n;
	*bytes = -m->rd.pos;
	if (m->wr.file - m->rd.file > WIDE_RANGE) {
		if (dq_list_files(d, &files, &n, err) != 0)
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

/* Judgement of the metadata, by the ends of the queue. */
enum verdict { TRUSTED, OLDER, WRONG, UNKNOWN };

/* *bytes: from the read position to the write position, where the metadata are not wrong. */
static enum verdict judge(struct diskqueue *d, const struct meta *m, int64_t *wr_size,
	int64_t *bytes, struct err *err)
{
	int64_t rd_size = 0, size;
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
	int rc = bytes_between(d, m, bytes, err);
	if (rc != 0)
		return rc < 0 ? UNKNOWN : WRONG;
	if (m->depth > *bytes / (DQ_PREFIX + d->min_msg_size))
		return WRONG; /* they cannot have been so small */
	*bytes -= *wr_size - m->wr.pos;
	if (!later && *wr_size == m->wr.pos)
		return TRUSTED;
	/* Where the last number may be cut off, only the read position is known. */
	return m->whole ? OLDER : WRONG;
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
	int64_t wr_size = 0, bytes;
	int rc = 0;
	normalise_read_position(d, m);
	enum verdict v = judge(d, m, &wr_size, &bytes, err);
	if (v == TRUSTED || v == OLDER)
		dq_set_amount(d, m->depth, bytes - m->depth * DQ_OVERHEAD);
	switch (v) {
	case UNKNOWN:
		return -1;
	case TRUSTED:
		d->rd = m->rd;
		d->wr = m->wr;
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
		rc = recount(d, m->rd, "in data files that do not fit the metadata", err);
		d->meta_dirty = true;
		break;
	}
	return rc;
}

/* The read position in metadata that are cut off, if it can be one; else the beginning. */
static struct dq_pos salvaged(const struct diskqueue *d, const struct meta *m)
{
	struct err err;
	int64_t size;
	if (m->rd_known && dq_file_size(d, m->rd.file, &size, &err) == 1 && size >= m->rd.pos)
		return m->rd;
	return (struct dq_pos){0, 0};
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
		rc = recount(d, salvaged(d, &m), "in data files without metadata", err);
		break;
	}
	if (rc < 0)
		return -1;
	d->ahead = d->taken = d->saved_rd = d->rd;
	d->loaded = true;
	d->load_tries = 0;
	dq_count_at_once(d);
	return 0;
}
