/* SPDX-License-Identifier: MIT */
/*
 * The read position, and what goes with it: the depth, and the files that are left behind. Mirrors
 * moveForward and checkTailCorruption of go-diskqueue's diskqueue.go. Runs in dq_io_loop, and in
 * the thread that closes a queue. No locks.
 *
 * Deliberately different from stock: there are three positions. `ahead` is behind what was read,
 * `taken` behind what was received, and rd behind what the receiver is done with, too. Only rd
 * removes files. When the writer leaves a file, a reader that waits at its end follows; stock
 * renames that file to .bad.
 */
#include "nsqd/disk/diskqueue_position.h"

#include <string.h>

#include "common/check.h"
#include "nsqd/disk/diskqueue_count.h"
#include "nsqd/disk/diskqueue_dir.h"
#include "nsqd/disk/diskqueue_peek.h"
#include "nsqd/disk/diskqueue_record.h"

/*
 * checkTailCorruption: where everything was read nothing can be left. It is if the metadata counted
 * wrong, or records were damaged.
 */
static void check_tail(struct diskqueue *d)
{
	int64_t depth = atomic_load(&d->depth);
	if (!dq_pos_eq(d->taken, d->wr))
		return;
	if (depth == 0) {
		/* Damaged records may have been counted as bytes. */
		if (atomic_load(&d->body_bytes) != 0)
			dq_set_amount(d, 0, 0);
		return;
	}
	if (depth < 0)
		dq_logf(d, LG_ERROR,
			"DISKQUEUE(%s) negative depth at tail (%lld), metadata corruption, "
			"resetting 0...",
			d->name, (long long)depth);
	else
		dq_logf(d, LG_ERROR,
			"DISKQUEUE(%s) positive depth at tail (%lld), data loss, resetting 0...",
			d->name, (long long)depth);
	/* force set depth 0 */
	dq_set_amount(d, 0, 0);
	d->need_sync = d->meta_dirty = true;
}

/* Moves the read position, and removes the files that it leaves behind. */
static void move_read(struct diskqueue *d, struct dq_pos to)
{
	struct err err;
	int64_t from = d->rd.file;
	d->rd = to;
	d->meta_dirty = true;
	if (from != to.file) {
		/* sync every time we start reading from a new file */
		d->need_sync = true;
		/* First, as removing and syncing take their time: nobody shall look for them. */
		dq_show_place(d);
		dq_remove_files(d, from, to.file, &err);
	}
}

void dq_jump_ahead(struct diskqueue *d, struct dq_pos to)
{
	d->ahead = to;
	if (d->batch_n > 0) {
		d->batch->end[d->batch_n - 1] = to;
		return;
	}
	d->taken = to;
	if (d->undone == 0)
		move_read(d, to);
	check_tail(d);
}

void dq_reader_follow(struct diskqueue *d, struct dq_pos to)
{
	if (d->loaded && dq_pos_eq(d->ahead, d->wr)) {
		dq_block_close(&d->block);
		dq_jump_ahead(d, to);
	}
}

void dq_settle(struct diskqueue *d)
{
	if (d->undone == 0 ||
		(d->waits_for_done && atomic_load(&d->done) < atomic_load(&d->received)))
		return;
	d->count += d->undone;
	d->undone = 0;
	move_read(d, d->taken);
}

void dq_taken(struct diskqueue *d, size_t n)
{
	CHECK(n > 0 && n <= d->batch_n);
	struct dq_batch *b = d->batch;
	struct dq_pos to = b->end[n - 1];
	int64_t uncounted = 0, bytes = 0;
	size_t overtaken = dq_count_overtaken(d, b, n, &uncounted);

	/* The receiver came back: as a rule it is done with what it received before. */
	dq_settle(d);
	if (n == d->batch_n && d->batch_target < DQ_BATCH_MAX)
		d->batch_target *= 2;
	for (size_t i = 0; i < n; i++)
		bytes += (int64_t)b->len[i];
	d->batch_bytes -= (size_t)bytes;
	d->batch_n -= n;
	memmove(b->msgs, b->msgs + n, d->batch_n * sizeof(b->msgs[0]));
	memmove(b->end, b->end + n, d->batch_n * sizeof(b->end[0]));
	memmove(b->len, b->len + n, d->batch_n * sizeof(b->len[0]));
	/* The depth first: check_tail looks at both. */
	bytes -= (int64_t)(n * MSG_HEADER_LENGTH) + uncounted;
	if (d->waits_for_done)
		atomic_fetch_add(&d->in_hand, (int64_t)n);
	atomic_fetch_add(&d->received_bytes, bytes + uncounted);
	dq_add_amount(d, -(int64_t)(n - overtaken), -bytes);
	d->taken = to;
	d->undone += (int64_t)n;
	atomic_fetch_add(&d->received, (int64_t)n);
	check_tail(d);
	dq_settle(d);
}
