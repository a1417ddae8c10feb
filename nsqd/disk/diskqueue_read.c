/* SPDX-License-Identifier: MIT */
/*
 * Reading ahead, and what becomes of files that cannot be read. Mirrors readOne, handleReadError
 * and skipToNextRWFile of go-diskqueue's diskqueue.go. Runs in dq_io_loop. No locks.
 *
 * Deliberately different from stock:
 * - A batch of messages is read ahead and offered, not one. It is as large as the readers are
 *   quick: one at first, twice as many each time all were taken.
 * - Errors of the moment (EMFILE, EIO, EACCES...) are retried, at growing intervals. Only a file
 *   that alone could not be read for minutes is given up: it is kept as .bad, and the next one is
 *   read. Anything but a regular file is given up after seconds.
 * - Damaged bytes are skipped, not the rest of their file. The file is kept as .bad once it was
 *   read to its end. Behind much damage the reader waits for its turn (diskqueue_count.c), so no
 *   file keeps dq_io_loop from its publishers.
 */
#include "nsqd/disk/diskqueue_read.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/xalloc.h"
#include "nsqd/disk/diskqueue_dir.h"
#include "nsqd/disk/diskqueue_patience.h"
#include "nsqd/disk/diskqueue_position.h"
#include "nsqd/disk/diskqueue_record.h"
#include "nsqd/disk/diskqueue_write.h"

#define RETRY_MIN (100 * NSEC_PER_MSEC)
#define RETRY_MAX (30 * NSEC_PER_SEC)
/* Lines in the log about damage in one file; the rest is summed up. */
#define LOG_LINES_MAX 20
/* The cost of passing over one damaged stretch, in bytes that could be searched meanwhile. */
#define DAMAGE_COST 512

void dq_drop_batch(struct diskqueue *d, size_t keep)
{
	while (d->batch_n > keep) {
		d->batch_n--;
		d->batch_bytes -= d->batch->len[d->batch_n];
		message_unref(d->batch->msgs[d->batch_n]);
	}
	d->ahead = d->batch_n > 0 ? d->batch->end[d->batch_n - 1] : d->taken;
	d->batch_target = 1;
	if (d->batch_n == 0) {
		free(d->batch);
		d->batch = NULL;
	}
}

void dq_close_read(struct diskqueue *d)
{
	dq_block_close(&d->block);
}

/* The file at ahead will be kept as .bad when it has been read. Nothing more is written into it. */
static void mark_bad(struct diskqueue *d)
{
	for (size_t i = 0; i < d->n_bad_files; i++)
		if (d->bad_files[i] == d->ahead.file)
			return;
	d->bad_files = xreallocarray(d->bad_files, d->n_bad_files + 1, sizeof(d->bad_files[0]));
	d->bad_files[d->n_bad_files++] = d->ahead.file;
	if (d->ahead.file == d->wr.file)
		dq_skip_to_next_write_file(d);
}

/* The file at ahead is gone: goes on with the next one that is there. 0, or -1 with err set. */
static int skip_missing(struct diskqueue *d, struct err *err)
{
	int64_t *files;
	size_t n;
	if (dq_list_files(d, &files, &n, err) != 0)
		return -1;
	char *path = dq_file_name(d, d->ahead.file);
	/* A symbolic link that leads nowhere is kept as well. */
	if (dq_anything_at(path))
		mark_bad(d);
	struct dq_pos to = d->wr;
	if (to.pos > 0)
		to = (struct dq_pos){d->wr.file + 1, 0};
	for (size_t i = 0; i < n; i++) {
		if (files[i] > d->ahead.file && files[i] <= d->wr.file) {
			to = (struct dq_pos){files[i], 0};
			break;
		}
	}
	free(files);
	dq_logf(d, LG_ERROR, "DISKQUEUE(%s) reading at %lld of %s - no such file, skipping to %lld",
		d->name, (long long)d->ahead.pos, path, (long long)to.file);
	free(path);
	if (to.file > d->wr.file)
		dq_skip_to_next_write_file(d);
	dq_jump_ahead(d, to);
	return 0;
}

static void log_skipped(struct diskqueue *d, int64_t to, const char *why)
{
	if (++d->log_lines > LOG_LINES_MAX) {
		d->log_skipped += to - d->ahead.pos;
		return;
	}
	char *path = dq_file_name(d, d->ahead.file);
	dq_logf(d, LG_ERROR, "DISKQUEUE(%s) reading at %lld of %s - %s, skipping %lld bytes",
		d->name, (long long)d->ahead.pos, path, why, (long long)(to - d->ahead.pos));
	free(path);
}

/* The reader leaves a file: logs how much was skipped there without a line. */
static void log_rest(struct diskqueue *d)
{
	if (d->log_lines > LOG_LINES_MAX) {
		char *path = dq_file_name(d, d->ahead.file);
		dq_logf(d, LG_ERROR, "DISKQUEUE(%s) %s - %d more such places, %lld bytes skipped",
			d->name, path, d->log_lines - LOG_LINES_MAX, (long long)d->log_skipped);
		free(path);
	}
	d->log_lines = 0;
	d->log_skipped = 0;
}

/* The file at ahead cannot be read, and others perhaps can: goes on with them. */
static void give_up(struct diskqueue *d, const struct err *err)
{
	char *path = dq_file_name(d, d->ahead.file);
	dq_logf(d, LG_ERROR, "DISKQUEUE(%s) giving up %s at %lld after %d tries - %s", d->name,
		path, (long long)d->ahead.pos, d->read_tries, err->msg);
	free(path);
	d->read_tries = 0;
	d->retry_ns = 0;
	mark_bad(d);
	log_rest(d);
	dq_close_read(d);
	dq_jump_ahead(d, (struct dq_pos){d->ahead.file + 1, 0});
}

/* Whether the error is that of one file which is there, in a directory that is well, and lasts. */
static bool is_hopeless(struct diskqueue *d, const struct err *err)
{
	char *path = dq_file_name(d, d->ahead.file);
	bool there = dq_anything_at(path);
	int64_t *files;
	struct err dir_err;
	size_t n;
	free(path);
	d->read_tries++;
	if (!there || !dq_is_files_own(err->code) ||
		d->read_tries <=
			(dq_is_odd(err->code) ? dq_patience.odd_tries : dq_patience.error_tries) ||
		dq_list_files(d, &files, &n, &dir_err) != 0)
		return false;
	free(files);
	return true;
}

/* Tries again later, a little later each time; but not for ever. */
static void retry_later(struct diskqueue *d, const struct err *err)
{
	if (is_hopeless(d, err)) {
		give_up(d, err);
		ticker_after(&d->retry_ticker, 0);
		return;
	}
	char *path = dq_file_name(d, d->ahead.file);
	d->retry_ns = d->retry_ns == 0 ? RETRY_MIN : 2 * d->retry_ns;
	if (d->retry_ns > RETRY_MAX)
		d->retry_ns = RETRY_MAX;
	dq_logf(d, LG_ERROR, "DISKQUEUE(%s) reading at %lld of %s - %s", d->name,
		(long long)d->ahead.pos, path, err->msg);
	free(path);
	dq_close_read(d);
	ticker_after(&d->retry_ticker, d->retry_ns);
}

static void push(struct diskqueue *d, struct message *m, struct dq_pos end, size_t len)
{
	if (!d->batch)
		d->batch = xmalloc(sizeof(*d->batch));
	d->batch->msgs[d->batch_n] = m;
	d->batch->end[d->batch_n] = end;
	d->batch->len[d->batch_n] = len;
	d->batch_n++;
	d->batch_bytes += len;
	d->ahead = end;
}

/* A record was found: its message joins the batch. */
static int take_record(
	struct diskqueue *d, int64_t limit, const struct dq_record *rec, struct err *err)
{
	const unsigned char *v;
	/* With the head behind it, which is looked at next. */
	int64_t n =
		rec->next + DQ_RECORD_HEADER <= limit ? rec->next + DQ_RECORD_HEADER : rec->next;
	int rc = dq_block_view(&d->block, d->ahead.pos, (size_t)(n - d->ahead.pos), limit, &v, err);
	if (rc < 0)
		return -1;
	struct message *m = rc > 0 ? NULL : message_decode(v + DQ_PREFIX, (size_t)rec->len, err);
	if (m) {
		push(d, m, (struct dq_pos){d->ahead.file, rec->next}, (size_t)rec->len);
		return 0;
	}
	log_skipped(d, rec->next, rc > 0 ? "unexpected EOF" : err->msg);
	mark_bad(d);
	dq_jump_ahead(d, (struct dq_pos){d->ahead.file, rec->next});
	return 0;
}

/* The end of the file at ahead: nothing follows in wr.file, otherwise the next file. */
static void end_of_file(struct diskqueue *d)
{
	if (d->ahead.file < d->wr.file) {
		log_rest(d);
		dq_close_read(d);
		dq_jump_ahead(d, (struct dq_pos){d->ahead.file + 1, 0});
	}
}

static int open_read_file(struct diskqueue *d, struct err *err)
{
	char *path = dq_file_name(d, d->ahead.file);
	if (d->block.fd >= 0)
		dq_close_read(d);
	int rc = dq_block_open(&d->block, path, d->ahead.file, err);
	if (rc == 0)
		dq_logf(d, LG_INFO, "DISKQUEUE(%s): readOne() opened %s", d->name, path);
	else if (err->code == ENOENT)
		rc = 1;
	else if (err->code == EISDIR)
		err_errno(err, EISDIR, "read"); /* the line in the log names the file */
	free(path);
	return rc;
}

/*
 * The end of the records in the file at ahead: in wr.file the end of what was written, in a
 * finished one its size. The size is looked at again when the reader gets there: the file may have
 * grown since.
 */
static int find_limit(struct diskqueue *d, int64_t *limit, struct err *err)
{
	if (d->ahead.file == d->wr.file) {
		*limit = d->block.size = d->wr.pos;
		return 0;
	}
	if (d->ahead.pos >= d->block.size && dq_block_stat(&d->block, err) != 0)
		return -1;
	*limit = d->block.size;
	return 0;
}

/* The file is shorter than it was: its new end is the end of its records. */
static int shortened(struct diskqueue *d, int64_t limit, struct err *err)
{
	if (dq_block_stat(&d->block, err) != 0)
		return -1;
	if (d->block.size >= limit)
		return err_set(err, 0, "unexpected EOF");
	log_skipped(d, d->ahead.pos, "unexpected EOF");
	mark_bad(d);
	return 0;
}

/* One step of the read-ahead. 0, or -1 with err set: try again later. */
static int fill_one(struct diskqueue *d, struct err *err)
{
	struct dq_record rec = {0};
	int64_t limit;
	if (d->block.fd < 0 || d->block.file != d->ahead.file) {
		int rc = open_read_file(d, err);
		if (rc != 0)
			return rc < 0 ? -1 : skip_missing(d, err);
	}
	if (find_limit(d, &limit, err) != 0)
		return -1;
	switch (dq_record_at(&d->block, d, d->ahead.pos, limit, &rec, err)) {
	case DQ_RECORD:
		return take_record(d, limit, &rec, err);
	case DQ_END:
		end_of_file(d);
		return 0;
	case DQ_DAMAGED:
		d->block.budget -= DAMAGE_COST;
		log_skipped(d, rec.next, "damaged record");
		mark_bad(d);
		dq_jump_ahead(d, (struct dq_pos){d->ahead.file, rec.next});
		return 0;
	case DQ_SHORT:
		return shortened(d, limit, err);
	case DQ_MORE:
		return 0;
	case DQ_ERROR:
		break;
	}
	return -1;
}

void dq_fill(struct diskqueue *d, int64_t budget)
{
	struct err err = {0};
	/* A batch is refilled when half of it is gone, not after each message. */
	if (d->batch_n > d->batch_target / 2)
		return;
	d->block.budget = budget;
	while (d->batch_n < d->batch_target && d->batch_bytes < DQ_BATCH_BYTES &&
		!dq_pos_eq(d->ahead, d->wr)) {
		if (d->block.budget <= 0) {
			d->searching = true;
			dq_block_release(&d->block);
			return;
		}
		if (fill_one(d, &err) != 0) {
			retry_later(d, &err);
			return;
		}
		d->retry_ns = 0;
		d->read_tries = 0;
	}
}

void dq_forget_damage(struct diskqueue *d)
{
	d->n_bad_files = 0;
	d->searching = false;
	d->read_tries = 0;
	log_rest(d);
}
