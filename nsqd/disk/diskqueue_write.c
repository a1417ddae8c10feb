/* SPDX-License-Identifier: MIT */
/*
 * Appending to the queue: writev, rolling, syncing. Mirrors writeOne and sync of go-diskqueue's
 * diskqueue.go. Runs in dq_io_loop. No locks.
 *
 * Deliberately different from stock:
 * - A put of n records, and the puts that wait beside it, are one writev and, if one is due, one
 *   sync.
 * - Where --sync-every is reached the sync comes before the answer, so that with 1 an acknowledged
 *   message is on the disk. If it fails the put fails, and its records are taken out again. Stock
 *   answers first and logs the failure.
 * - A write that fails half-way is cut back to the last whole record.
 * - A file that is longer or shorter than it should be is not written into.
 */
#include "nsqd/disk/diskqueue_write.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/check.h"
#include "common/clock.h"
#include "common/regfile.h"
#include "common/xalloc.h"
#include "nsqd/disk/disk_stats.h"
#include "nsqd/disk/diskqueue_dir.h"
#include "nsqd/disk/diskqueue_meta.h"
#include "nsqd/disk/diskqueue_patience.h"
#include "nsqd/disk/diskqueue_peek.h"
#include "nsqd/disk/diskqueue_position.h"

/* The records of a group of puts, in order. */
struct records {
	struct dq_write_req **reqs;
	size_t n;
	size_t req; /* the next record is reqs[req]->recs[rec] */
	size_t rec;
};

static const struct backend_record *next_record(struct records *r)
{
	while (r->req < r->n && r->rec == r->reqs[r->req]->n) {
		r->req++;
		r->rec = 0;
	}
	return r->req < r->n ? &r->reqs[r->req]->recs[r->rec] : NULL;
}

static int64_t record_bytes(const struct backend_record *rec)
{
	return DQ_PREFIX + (int64_t)rec->head_len + (int64_t)rec->body_len;
}

/* What was written is synced by now, so an error changes nothing. It may be the first sign. */
static void close_write_fd(struct diskqueue *d)
{
	struct err err;
	if (d->write_fd >= 0 && close(d->write_fd) != 0) {
		err_errno(&err, errno, "close");
		dq_logf(d, LG_ERROR, "DISKQUEUE(%s) failed to close a data file - %s", d->name,
			err.msg);
	}
	d->write_fd = -1;
}

void dq_close_write(struct diskqueue *d)
{
	close_write_fd(d);
	free(d->iov);
	free(d->prefixes);
	d->iov = NULL;
	d->prefixes = NULL;
}

/* Cuts wr.file back to its last whole record. */
static int cut_tail(struct diskqueue *d, struct err *err)
{
	int rc;
	if (!d->torn)
		return 0;
	do
		rc = d->io->ftruncate(d->write_fd, d->wr.pos);
	while (rc < 0 && errno == EINTR);
	if (rc < 0)
		return err_errno(err, errno, "truncate");
	d->torn = false;
	return 0;
}

static int sync_file(struct diskqueue *d, struct err *err)
{
	if (!d->data_dirty)
		return 0;
	int64_t start = clock_mono_ns();
	int rc = d->io->fdatasync(d->write_fd), code = errno;
	disk_stats_synced(start, rc);
	if (rc != 0)
		return err_errno(err, code, "fsync");
	d->data_dirty = false;
	return 0;
}

static int sync_data(struct diskqueue *d, struct err *err)
{
	if (sync_file(d, err) != 0)
		return -1;
	if (d->dir_dirty && dq_sync_dir(d, err) != 0)
		return -1;
	d->dir_dirty = false;
	return 0;
}

void dq_skip_to_next_write_file(struct diskqueue *d)
{
	struct dq_pos to = dq_new_file(d, d->wr.file + 1);
	struct err err;
	/* The directory follows: need_sync. */
	if (sync_file(d, &err) != 0)
		dq_logf(d, LG_ERROR, "DISKQUEUE(%s) failed to sync - %s", d->name, err.msg);
	dq_reader_follow(d, to);
	close_write_fd(d);
	d->wr = to;
	d->torn = false;
	d->data_dirty = false;
	d->meta_dirty = true;
	d->need_sync = true;
}

/* sync, without the metadata: enough for a put whose sync is due. */
static int sync_put(struct diskqueue *d, struct err *err)
{
	if (sync_data(d, err) == 0)
		return 0;
	dq_logf(d, LG_ERROR, "DISKQUEUE(%s) failed to sync - %s", d->name, err->msg);
	return -1;
}

int dq_sync(struct diskqueue *d, struct err *err)
{
	struct err meta_err;
	/*
	 * Messages that were received shall not come again if we are killed while the disk works.
	 */
	if (d->meta_exists && !dq_pos_eq(dq_saved_position(d), d->saved_rd))
		dq_note_meta(d);
	if (sync_put(d, err) != 0)
		return -1;
	/* The next start finds data without their metadata: that is no reason to refuse a put. */
	if ((d->meta_dirty || !d->meta_exists) && dq_persist_meta(d, true, &meta_err) != 0)
		dq_logf(d, LG_ERROR, "DISKQUEUE(%s) failed to sync - %s", d->name, meta_err.msg);
	d->need_sync = false;
	d->count = 0;
	return 0;
}

/*
 * The records in a file that is left behind are safe. With --sync-every=1 so is its name. Else the
 * directory is synced once for all files of a batch, right after it (need_sync): otherwise a batch
 * of 200 that fill a file each took three times as long.
 */
static int sync_before_roll(struct diskqueue *d, struct err *err)
{
	return d->sync_every <= 1 ? sync_data(d, err) : sync_file(d, err);
}

/* The current file is full: syncs it and goes on to the next. */
static int roll(struct diskqueue *d, struct err *err)
{
	int fd = d->write_fd;
	if (fd >= 0 && (cut_tail(d, err) != 0 || sync_before_roll(d, err) != 0))
		return -1;
	dq_skip_to_next_write_file(d);
	return 0;
}

/* A new file that is there already is not ours: stock would write over its beginning. */
static int adopt_write_file(
	struct diskqueue *d, const char *path, const struct stat *st, struct err *err)
{
	/* Nor is anything but a regular file, or a file with a second name. */
	bool ours = S_ISREG(st->st_mode) && st->st_nlink <= 1;

	if (ours && st->st_size == d->wr.pos)
		return 0;
	if (ours && st->st_size > d->wr.pos && d->torn)
		return cut_tail(d, err);
	if (ours)
		dq_logf(d, LG_WARN,
			"DISKQUEUE(%s) %s has %lld bytes instead of %lld, skipping to new file",
			d->name, path, (long long)st->st_size, (long long)d->wr.pos);
	else
		dq_logf(d, LG_WARN, "DISKQUEUE(%s) %s is no file of ours, skipping to new file",
			d->name, path);
	if (d->wr.pos == 0)
		dq_move_aside(d, path);
	return 1;
}

/*
 * A directory stands where the next file will be. It may be there by mistake, and gone in a moment.
 * -1 with err set; or 1, when it has been in the way for long enough.
 */
static int wait_for_obstacle(struct diskqueue *d, const char *path, struct err *err)
{
	int64_t now = clock_mono_ns();
	if (d->obstacle_since == 0 || d->obstacle_file != d->wr.file) {
		d->obstacle_file = d->wr.file;
		d->obstacle_since = now;
	}
	if (now - d->obstacle_since < dq_patience.obstacle_ns)
		return err_errno(err, EISDIR, "open %s", path);
	d->obstacle_since = 0;
	if (d->wr.pos == 0)
		dq_move_aside(d, path);
	return 1;
}

/*
 * The file that stands there already. It is opened only if it is a regular one, and under its own
 * name: the target of a symbolic link is not ours to write to.
 */
static int open_old_write_file(struct diskqueue *d, const char *path, struct err *err)
{
	struct stat st;
	if (lstat(path, &st) != 0) {
		if (errno != ENOENT)
			return err_errno(err, errno, "open %s", path);
		dq_logf(d, LG_WARN, "DISKQUEUE(%s) %s is gone, skipping to new file", d->name,
			path);
		return 1;
	}
	if (S_ISDIR(st.st_mode))
		return wait_for_obstacle(d, path, err);
	if (!S_ISREG(st.st_mode))
		return adopt_write_file(d, path, &st, err);
	d->write_fd = d->io->open(path, O_RDWR | O_CREAT | O_NOFOLLOW | REGFILE_FLAGS, 0600);
	if (d->write_fd < 0)
		return err_errno(err, errno, "open %s", path);
	if (fstat(d->write_fd, &st) != 0)
		return err_errno(err, errno, "stat %s", path);
	return adopt_write_file(d, path, &st, err);
}

/* 0: write_fd is ready. 1: not this file, try again. -1 with err set. */
static int open_write_file(struct diskqueue *d, struct err *err)
{
	char *path = dq_file_name(d, d->wr.file);
	int rc = 0;
	if (d->wr.pos == 0)
		d->write_fd = d->io->open(path, O_RDWR | REGFILE_NEW, 0600);
	if (d->write_fd < 0 && (d->wr.pos > 0 || errno == EEXIST))
		rc = open_old_write_file(d, path, err);
	else if (d->write_fd < 0)
		rc = err_errno(err, errno, "open %s", path);
	if (rc == 0) {
		dq_logf(d, LG_INFO, "DISKQUEUE(%s): writeOne() opened %s", d->name, path);
		d->obstacle_since = 0;
		d->dir_dirty = d->dir_dirty || d->wr.pos == 0;
	} else {
		close_write_fd(d);
	}
	if (rc == 1)
		dq_skip_to_next_write_file(d);
	free(path);
	return rc;
}

/*
 * Fills iov with records as far as the file and the vector allow. Returns how many; 0: the next one
 * belongs into a new file.
 */
static size_t gather(struct diskqueue *d, struct records *r, int *n_iov, int64_t *bytes)
{
	const struct backend_record *rec;
	size_t n = 0;
	*n_iov = 0;
	*bytes = 0;
	while (*n_iov + 3 <= DQ_IOV_MAX && (rec = next_record(r)) != NULL) {
		int64_t end = d->wr.pos + *bytes;
		if (end > 0 && end + record_bytes(rec) > d->max_bytes_per_file)
			break;
		d->prefixes[n] = __builtin_bswap32((uint32_t)(record_bytes(rec) - DQ_PREFIX));
		d->iov[(*n_iov)++] = (struct iovec){&d->prefixes[n], DQ_PREFIX};
		d->iov[(*n_iov)++] = (struct iovec){(void *)rec->head, rec->head_len};
		d->iov[(*n_iov)++] = (struct iovec){(void *)rec->body, rec->body_len};
		*bytes += record_bytes(rec);
		r->rec++;
		n++;
	}
	return n;
}

/* Writes all of iov at wr. Returns the bytes that went; fewer than bytes with err set. */
static int64_t write_all(struct diskqueue *d, int n_iov, int64_t bytes, struct err *err)
{
	struct iovec *iov = d->iov;
	int64_t done = 0;
	while (done < bytes) {
		ssize_t w = d->io->pwritev(d->write_fd, iov, n_iov, d->wr.pos + done);
		if (w < 0 && errno == EINTR)
			continue;
		if (w <= 0) {
			err_errno(err, w < 0 ? errno : ENOSPC, "write");
			break;
		}
		done += w;
		while (n_iov > 0 && (size_t)w >= iov->iov_len) {
			w -= (ssize_t)iov->iov_len;
			iov++;
			n_iov--;
		}
		if (n_iov > 0) {
			iov->iov_base = (char *)iov->iov_base + w;
			iov->iov_len -= (size_t)w;
		}
	}
	return done;
}

/* Writes n gathered records; returns how many are whole in the file, and moves wr behind them. */
static size_t write_gathered(
	struct diskqueue *d, size_t n, int n_iov, int64_t bytes, struct err *err)
{
	int64_t done = write_all(d, n_iov, bytes, err), whole = 0;
	struct err cut_err;
	size_t i;
	for (i = 0; i < n; i++) {
		int64_t len = DQ_PREFIX + (int64_t)__builtin_bswap32(d->prefixes[i]);
		if (whole + len > done)
			break;
		whole += len;
	}
	d->wr.pos += whole;
	disk_stats_written((uint64_t)whole);
	if (i > 0)
		d->data_dirty = d->meta_dirty = true;
	if (done > whole) {
		d->torn = true;
		if (cut_tail(d, &cut_err) != 0)
			dq_logf(d, LG_ERROR, "DISKQUEUE(%s) failed to cut off a torn record - %s",
				d->name, cut_err.msg);
	}
	return i;
}

/* The progress of a group of puts. */
struct progress {
	size_t stored;
	size_t safe;      /* of these, in files that were synced and left behind */
	int64_t undo_pos; /* of wr.file, where those after safe begin */
};

static void write_records(
	struct diskqueue *d, struct records *r, struct progress *p, struct err *err)
{
	while (next_record(r)) {
		int64_t bytes;
		int n_iov, rc = 0;
		if (d->write_fd < 0 && (rc = open_write_file(d, err)) < 0)
			return;
		if (rc == 1 || cut_tail(d, err) != 0) {
			if (rc == 0)
				return;
			p->undo_pos = 0;
			p->safe = p->stored;
			continue;
		}
		size_t n = gather(d, r, &n_iov, &bytes);
		if (n == 0) {
			if (roll(d, err) != 0)
				return;
			p->safe = p->stored;
			p->undo_pos = 0;
			continue;
		}
		size_t whole = write_gathered(d, n, n_iov, bytes, err);
		p->stored += whole;
		if (whole < n)
			return;
	}
}

/* The sync that was due has failed, so the records must not be there. */
static void undo(struct diskqueue *d, struct progress *p)
{
	struct err err;
	p->stored = p->safe;
	if (d->wr.pos == p->undo_pos)
		return;
	d->wr.pos = p->undo_pos;
	d->torn = true;
	if (d->write_fd >= 0 && cut_tail(d, &err) != 0)
		dq_logf(d, LG_ERROR, "DISKQUEUE(%s) failed to cut off unsynced records - %s",
			d->name, err.msg);
}

/* The bytes of the bodies in the first n records. */
static int64_t body_bytes(struct dq_write_req **reqs, size_t n)
{
	struct records r = {.reqs = reqs, .n = SIZE_MAX};
	int64_t sum = 0;
	for (size_t i = 0; i < n; i++, r.rec++)
		sum += record_bytes(next_record(&r)) - DQ_OVERHEAD;
	return sum;
}

void dq_write(struct diskqueue *d, struct dq_write_req **reqs, size_t n)
{
	struct records r = {.reqs = reqs, .n = n};
	struct progress p = {.undo_pos = d->wr.pos};
	struct err err = {0};
	if (!d->iov) {
		d->iov = xcalloc(DQ_IOV_MAX, sizeof(*d->iov));
		d->prefixes = xcalloc(DQ_IOV_MAX / 3, sizeof(*d->prefixes));
	}
	write_records(d, &r, &p, &err);
	/*
	 * If a sync is due, the data are synced before the answer. The metadata can wait until
	 * after it: a start finds the data without them.
	 */
	if (d->count + (int64_t)p.stored >= d->sync_every && p.stored > 0) {
		if (sync_put(d, &err) != 0)
			undo(d, &p);
		else
			d->need_sync = true;
	}
	dq_show(d); /* first: what is counted can be seen */
	dq_add_amount(d, (int64_t)p.stored, body_bytes(reqs, p.stored));
	d->count += (int64_t)p.stored;
	/*
	 * The first file of a queue is worth nothing to stock without metadata: do not leave it
	 * alone.
	 */
	if (p.stored > 0 && !d->meta_exists) {
		struct err meta_err;
		if (dq_persist_meta(d, false, &meta_err) != 0) {
			dq_logf(d, LG_ERROR, "DISKQUEUE(%s) failed to sync - %s", d->name,
				meta_err.msg);
			d->need_sync = true;
		}
		d->meta_dirty = true;
	}
	size_t left = p.stored;
	for (size_t i = 0; i < n; i++) {
		reqs[i]->stored = reqs[i]->n < left ? reqs[i]->n : left;
		left -= reqs[i]->stored;
		if (reqs[i]->stored < reqs[i]->n)
			reqs[i]->err = err;
	}
}
