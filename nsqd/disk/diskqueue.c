/* SPDX-License-Identifier: MIT */
/*
 * The disk queue: its interface, and dq_io_loop. Mirrors New, Put, Empty, Close, Delete and ioLoop
 * of go-diskqueue 1.1.0's diskqueue.go. dq_io_loop is the thread "dq:NAME"; the other functions run
 * in their callers' threads.
 *
 * Deliberately different from stock:
 * - dq_io_loop starts with the first put, or with data on disk, and ends when the queue has been
 *   empty and untouched for a while.
 * - All requests that wait on write_chan are taken in one go and written together. So publishers
 *   that wait at the same time share one writev and one fsync. Each is answered on a chan of its
 *   own.
 * - No depthChan: the depth is an atomic, so that asking never waits for a disk.
 * - A file whose every record was received is removed when the queue falls quiet, or is closed.
 *   Stock keeps it until it begins the next one.
 * - The sync ticker runs only while there is something to sync or to give back: an unused queue
 *   never wakes up.
 * - There is no exitFlag. close and delete end the queue's life, and the owner's lock keeps puts
 *   out of them.
 *
 * Lessons in docs/course/: 05-exit-chan, 19-io-loop.
 */
#include "nsqd/disk/diskqueue.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/check.h"
#include "common/clock.h"
#include "common/xalloc.h"
#include "nsqd/disk/diskqueue_count.h"
#include "nsqd/disk/diskqueue_dir.h"
#include "nsqd/disk/diskqueue_for_tests.h"
#include "nsqd/disk/diskqueue_meta.h"
#include "nsqd/disk/diskqueue_peek.h"
#include "nsqd/disk/diskqueue_position.h"
#include "nsqd/disk/diskqueue_read.h"
#include "nsqd/disk/diskqueue_record.h"
#include "nsqd/disk/diskqueue_write.h"

#define DQ_MAGIC 0x44515545u
/* Requests that are kept for reuse. */
#define FREE_REQS_MAX 64
/* Without any activity for this long, buffers and descriptors are given back. */
#define IDLE_NS (2 * NSEC_PER_SEC)
/* How often a directory that cannot be read is tried. */
#define LOAD_RETRY_NS NSEC_PER_SEC

static int io_open(const char *path, int flags, mode_t mode)
{
	return open(path, flags, mode);
}

static const struct dq_io default_io = {
	.open = io_open,
	.pread = pread,
	.pwritev = pwritev,
	.fdatasync = fdatasync,
	.fsync = fsync,
	.ftruncate = ftruncate,
	.rename = rename,
	.unlink = unlink,
	.start = wait_group_wrap,
};

static struct diskqueue *from_base(struct backend_queue *q)
{
	struct diskqueue *d = (struct diskqueue *)q;
	CHECK(d->magic == DQ_MAGIC);
	return d;
}

/* --- files that go --------------------------------------------------------------------------- */

/* Where everything was received: removes the file that holds it, and will go on in a new one. */
static void drop_consumed(struct diskqueue *d)
{
	struct err err;
	if (!dq_pos_eq(d->rd, d->wr) || d->wr.pos == 0)
		return;
	dq_close_read(d);
	dq_close_write(d);
	if (dq_remove_files(d, d->wr.file, d->wr.file + 1, &err) != 0)
		return;
	d->rd = d->taken = d->ahead = d->wr = dq_new_file(d, d->wr.file + 1);
	d->torn = d->data_dirty = false;
	d->meta_dirty = true;
}

/* deleteAllFiles: throws everything away and goes on in a new file. */
static int delete_all_files(struct diskqueue *d, struct err *err)
{
	char *meta = dq_meta_data_file_name(d);
	dq_count_end(d);
	dq_drop_batch(d, 0);
	dq_close_read(d);
	dq_close_write(d);
	dq_forget_damage(d);
	d->taken = d->wr;
	dq_show(d); /* nobody shall look for the files any more */
	/* Also files that could not be removed when they had been read (no directory). */
	int rc = dq_remove_files(d, 0, d->wr.file + 1, err);
	d->rd = d->ahead = d->taken = d->wr = dq_new_file(d, d->wr.file + 1);
	d->undone = 0;
	dq_set_amount(d, 0, 0);
	d->torn = d->data_dirty = d->need_sync = d->meta_dirty = false;
	d->count = 0;
	d->dir_dirty = true;
	ticker_stop(&d->retry_ticker);
	d->retry_ns = 0;
	int code = d->io->unlink(meta) != 0 ? errno : 0;

	d->meta_exists = false;
	if (code == EISDIR) {
		dq_move_aside(d, meta);
	} else if (code != 0 && code != ENOENT) {
		rc = err_errno(err, code, "remove %s", meta);
		dq_logf(d, LG_ERROR, "DISKQUEUE(%s) failed to remove metadata file - %s", d->name,
			err->msg);
		d->meta_dirty = d->meta_exists = true;
	}
	free(meta);
	return rc;
}

/* --- dq_io_loop ------------------------------------------------------------------------------ */

/*
 * Something was read or written: the ticker must run until that is synced, and buffers are given
 * back.
 */
static void touch(struct diskqueue *d)
{
	d->active = true;
	if (d->sync_ticker.next_ns == 0)
		ticker_start(&d->sync_ticker, d->sync_timeout);
}

/* retrieveMetaData, again if it failed before. */
static int load(struct diskqueue *d, struct err *err)
{
	if (d->loaded)
		return 0;
	if (dq_load(d, err) == 0)
		return 0;
	dq_logf(d, LG_ERROR, "DISKQUEUE(%s) failed to retrieveMetaData - %s", d->name, err->msg);
	/* Puts that come meanwhile try as well, and do not put it off. */
	if (d->retry_ticker.next_ns == 0)
		ticker_after(&d->retry_ticker, LOAD_RETRY_NS);
	return err_wrap(err, "failed to retrieveMetaData");
}

static void serve_writes(struct diskqueue *d, struct dq_write_req **reqs, size_t n)
{
	struct err err;
	if (load(d, &err) == 0) {
		dq_write(d, reqs, n);
		touch(d);
	} else {
		for (size_t i = 0; i < n; i++) {
			reqs[i]->stored = 0;
			reqs[i]->err = err;
		}
	}
	for (size_t i = 0; i < n; i++)
		chan_send(reqs[i]->response_chan, NULL);
}

static void serve_empty(struct diskqueue *d, struct dq_empty_req *req)
{
	req->rc = load(d, &req->err);
	if (req->rc == 0)
		req->rc = delete_all_files(d, &req->err);
	touch(d);
	chan_send(req->response_chan, NULL);
}

/* The queue is empty, everything is on disk, and no put is on its way: dq_io_loop may end. */
static bool retire(struct diskqueue *d)
{
	bool done = false;
	if (!d->loaded || !dq_pos_eq(d->rd, d->wr) || d->batch_n > 0 || d->counting.active)
		return false;
	mutex_lock(&d->lock);
	if (d->pending == 0) {
		d->running = false;
		done = true;
	}
	mutex_unlock(&d->lock);
	return done;
}

/*
 * The sync ticker: syncs, and gives back buffers and files after a while of quiet. True: the loop
 * ends.
 */
static bool tick(struct diskqueue *d)
{
	struct err err;
	/* The receiver may have reported messages as done since the last look. */
	if (d->loaded)
		dq_settle(d);
	if (d->loaded && (d->count > 0 || d->meta_dirty || d->data_dirty || d->dir_dirty) &&
		(d->meta_exists || d->wr.pos > 0))
		dq_sync(d, &err);
	d->idle_ticks = d->active ? 0 : d->idle_ticks + 1;
	d->active = false;
	if (d->idle_ticks * d->sync_timeout < IDLE_NS)
		return false;
	dq_drop_batch(d, 1);
	dq_close_read(d);
	if (d->loaded && dq_pos_eq(d->rd, d->wr) && d->wr.pos > 0) {
		drop_consumed(d);
		dq_sync(d, &err);
	}
	if (d->data_dirty || d->meta_dirty || d->undone > 0)
		return false; /* the sync has failed, or rd is to be moved: keeps ticking */
	dq_close_write(d);
	ticker_stop(&d->sync_ticker);
	return retire(d);
}

static void sync_if_needed(struct diskqueue *d)
{
	struct err err;
	/* dont sync all the time :) */
	if (d->count >= d->sync_every)
		d->need_sync = true;
	if (!d->need_sync)
		return;
	/* After a failure the ticker tries again, or the next sync_every messages do. */
	d->need_sync = false;
	if (dq_sync(d, &err) != 0)
		d->count = 0;
	touch(d);
}

/*
 * When a sync is due for messages that were read, their position is in the file before it begins.
 */
static void note_taken(struct diskqueue *d)
{
	if (atomic_load(&d->crash_forgets) && d->meta_exists &&
		d->count + d->undone >= d->sync_every &&
		!dq_pos_eq(dq_saved_position(d), d->saved_rd))
		dq_note_meta(d);
}

/* It is our turn at hard work. */
static void slice(struct diskqueue *d)
{
	if (d->searching && d->retry_ticker.next_ns == 0) {
		d->searching = false;
		dq_fill(d, DQ_SLICE);
	}
	if (d->counting.active)
		dq_count_slice(d, DQ_SLICE);
	chan_send(dq_turns(), NULL);
	touch(d);
}

/* After a failure to read: the metadata, where they could not be read either. */
static void load_again(struct diskqueue *d)
{
	struct err ignored; /* logged */
	d->load_tries += !d->loaded;
	(void)load(d, &ignored);
}

/* Those that wait for the queue to become empty, or not empty, look again. */
static void tell_if_changed(struct diskqueue *d)
{
	if (!d->changed_chan || diskqueue_is_empty(&d->base) == d->told_empty)
		return;
	d->told_empty = !d->told_empty;
	chan_signal(d->changed_chan);
}

/* Does what can be done without waiting. Returns where it waits for its turn to do more, or NULL. */
static struct chan *work_and_show(struct diskqueue *d)
{
	struct chan *turns = NULL;
	dq_settle(d);
	sync_if_needed(d);
	if (d->loaded && d->retry_ticker.next_ns == 0 && !d->searching)
		dq_fill(d, DQ_FIRST_SLICE);
	sync_if_needed(d);
	if (d->searching || d->counting.active)
		turns = dq_turns();
	dq_show(d);
	tell_if_changed(d);
	/* Release: what was done until now is seen by diskqueue_barrier with it. */
	atomic_store_explicit(&d->at_work, turns != NULL, memory_order_release);
	return turns;
}

static void dq_io_loop(void *arg)
{
	enum { READ, WRITE, EMPTY, DONE, TICK, RETRY, TURN, EXIT, N_CASES };
	struct diskqueue *d = arg;
	struct dq_write_req *reqs[DQ_REQS_MAX];
	struct dq_empty_req *empty_req;
	for (;;) {
		struct chan *turns = work_and_show(d);
		/* r is set only while there is data to read: a NULL chan is never ready */
		struct chan *r = d->batch_n > 0 ? d->read_chan : NULL;

		struct chan_case cases[N_CASES] = {
			[READ] = chan_case_send_n(r, r ? d->batch->msgs : NULL, d->batch_n),
			[WRITE] = chan_case_recv_n(d->write_chan, reqs, DQ_REQS_MAX),
			[EMPTY] = chan_case_recv(d->empty_chan, &empty_req),
			[DONE] = chan_case_recv(d->done_chan, NULL),
			[TICK] = chan_case_tick(&d->sync_ticker),
			[RETRY] = chan_case_tick(&d->retry_ticker),
			[TURN] = chan_case_recv(turns, NULL),
			[EXIT] = chan_case_recv(d->exit_chan, NULL),
		};

		switch (chan_select(cases, N_CASES)) {
		case READ:
			dq_taken(d, cases[READ].n);
			note_taken(d);
			touch(d);
			break;
		case WRITE:
			serve_writes(d, reqs, cases[WRITE].n);
			break;
		case EMPTY:
			serve_empty(d, empty_req);
			break;
		case TICK:
			if (tick(d))
				return;
			break;
		case RETRY:
			load_again(d);
			break;
		case TURN:
			slice(d);
			break;
		case EXIT:
			dq_logf(d, LG_INFO, "DISKQUEUE(%s): closing ... ioLoop", d->name);
			return;
		}
	}
}

/* --- the interface --------------------------------------------------------------------------- */

/* Makes sure that dq_io_loop runs. -1 with err set. */
static int start_locked(struct diskqueue *d, struct err *err)
{
	char name[sizeof("dq:") + 160];
	mutex_assert_held(&d->lock);
	if (d->running)
		return 0;
	snprintf(name, sizeof(name), "dq:%s", d->name);
	/*
	 * This creates a thread under a lock: all that wait for the lock need that thread anyway.
	 */
	if (d->io->start(&d->wait_group, name, dq_io_loop, d, err) != 0)
		return err_wrap(err, "DISKQUEUE(%s)", d->name);
	d->running = true;
	return 0;
}

/*
 * A request that dq_io_loop will answer; until end_write it does not end. NULL with err set: there
 * is no such thread.
 */
static struct dq_write_req *begin_write(struct diskqueue *d, struct err *err)
{
	struct dq_write_req *req = NULL;
	mutex_lock(&d->lock);
	if (start_locked(d, err) != 0) {
		mutex_unlock(&d->lock);
		return NULL;
	}
	d->pending++;
	if (d->free_reqs) {
		req = d->free_reqs;
		d->free_reqs = req->next;
		d->n_free_reqs--;
	}
	mutex_unlock(&d->lock);
	if (!req) {
		req = xcalloc(1, sizeof(*req));
		req->response_chan = chan_new(0, 1);
	}
	return req;
}

static void free_write_req(struct dq_write_req *req)
{
	chan_free(req->response_chan);
	free(req);
}

static void end_write(struct diskqueue *d, struct dq_write_req *req)
{
	mutex_lock(&d->lock);
	d->pending--;
	if (d->n_free_reqs < FREE_REQS_MAX) {
		req->next = d->free_reqs;
		d->free_reqs = req;
		d->n_free_reqs++;
		req = NULL;
	}
	mutex_unlock(&d->lock);
	if (req)
		free_write_req(req);
}

/* How many of the first records have a size that is allowed; err is set if not all. */
static size_t valid_records(
	const struct diskqueue *d, const struct backend_record *recs, size_t n, struct err *err)
{
	for (size_t i = 0; i < n; i++) {
		uint64_t len = (uint64_t)recs[i].head_len + recs[i].body_len;
		if (len < (uint64_t)d->min_msg_size || len > (uint64_t)d->max_msg_size) {
			err_set(err, 0,
				"invalid message write size (%llu) minMsgSize=%lld maxMsgSize=%lld",
				(unsigned long long)len, (long long)d->min_msg_size,
				(long long)d->max_msg_size);
			return i;
		}
	}
	return n;
}

static size_t write_and_wait(
	struct diskqueue *d, const struct backend_record *recs, size_t n, struct err *err)
{
	struct dq_write_req *req = begin_write(d, err);
	if (!req)
		return 0;
	req->recs = recs;
	req->n = n;
	chan_send(d->write_chan, &req);
	chan_recv(req->response_chan, NULL);
	size_t stored = req->stored;
	if (stored < n && err)
		*err = req->err;
	end_write(d, req);
	return stored;
}

static size_t diskqueue_put(
	struct backend_queue *q, const struct backend_record *recs, size_t n, struct err *err)
{
	struct diskqueue *d = from_base(q);
	n = valid_records(d, recs, n, err);
	return n > 0 ? write_and_wait(d, recs, n, err) : 0;
}

void diskqueue_barrier(struct backend_queue *q)
{
	struct diskqueue *d = from_base(q);
	struct ticker pause;
	for (;;) {
		write_and_wait(d, NULL, 0, NULL);
		if (!atomic_load(&d->at_work))
			return;
		ticker_after(&pause, NSEC_PER_MSEC);
		chan_select((struct chan_case[]){chan_case_tick(&pause)}, 1);
	}
}

static struct chan *diskqueue_read_chan(struct backend_queue *q)
{
	return from_base(q)->read_chan;
}

static void diskqueue_forget(struct backend_queue *q, bool at_once)
{
	struct diskqueue *d = from_base(q);
	atomic_store(&d->crash_forgets, at_once && d->may_forget);
}

static void diskqueue_done(struct backend_queue *q, size_t n)
{
	struct diskqueue *d = from_base(q);
	if (d->waits_for_done)
		atomic_fetch_sub(&d->in_hand, (int64_t)n);
	/* dq_io_loop sees it in its next round, which the sync ticker starts at the latest. */
	atomic_fetch_add(&d->done, (int64_t)n);
	/* With so few messages per sync, the loop is woken at once. */
	if ((int64_t)n >= d->sync_every)
		chan_signal(d->done_chan);
}

static int64_t diskqueue_undone(struct backend_queue *q)
{
	return atomic_load(&from_base(q)->in_hand);
}

static int64_t diskqueue_received(struct backend_queue *q)
{
	return atomic_load(&from_base(q)->received);
}

static int64_t diskqueue_received_bytes(struct backend_queue *q)
{
	return atomic_load(&from_base(q)->received_bytes);
}

static size_t diskqueue_ahead(struct backend_queue *q, int64_t *first, int64_t *last)
{
	return dq_shown_ahead(from_base(q), first, last);
}

static int64_t diskqueue_body_bytes(struct backend_queue *q)
{
	int64_t bytes = atomic_load(&from_base(q)->body_bytes);
	return bytes > 0 ? bytes : 0;
}

static int64_t diskqueue_depth(struct backend_queue *q)
{
	int64_t depth = atomic_load(&from_base(q)->depth);
	/* Below 0: the metadata counted wrong. check_tail will put it right. */
	return depth > 0 ? depth : 0;
}

bool diskqueue_is_empty(struct backend_queue *q)
{
	return diskqueue_depth(q) == 0 && dq_shown_empty(from_base(q));
}

/* Whether there may be a file of this queue. Only while dq_io_loop does not run. */
static bool nothing_on_disk(const struct diskqueue *d)
{
	return d->loaded && !d->meta_exists && d->wr.pos == 0 && dq_pos_eq(d->rd, d->wr);
}

static int diskqueue_empty(struct backend_queue *q, struct err *err)
{
	struct diskqueue *d = from_base(q);
	struct dq_empty_req req = {0}, *preq = &req;
	int rc = 0;
	dq_logf(d, LG_INFO, "DISKQUEUE(%s): emptying", d->name);
	mutex_lock(&d->lock);
	bool nothing = !d->running && nothing_on_disk(d);
	if (!nothing && (rc = start_locked(d, err)) == 0)
		d->pending++;
	mutex_unlock(&d->lock);
	if (nothing || rc < 0)
		return rc;
	req.response_chan = chan_new(0, 1);
	chan_send(d->empty_chan, &preq);
	chan_recv(req.response_chan, NULL);
	chan_free(req.response_chan);
	mutex_lock(&d->lock);
	d->pending--;
	mutex_unlock(&d->lock);
	if (req.rc < 0 && err)
		*err = req.err;
	return req.rc;
}

/* Stops dq_io_loop. After this the queue is the caller's alone. */
static void stop(struct diskqueue *d)
{
	mutex_lock(&d->lock);
	CHECK(d->pending == 0);
	mutex_unlock(&d->lock);
	chan_close(d->exit_chan);
	wait_group_wait(&d->wait_group);
	if (d->loaded) {
		d->closing = true;
		dq_drop_batch(d, 0);
		dq_settle(d);
		if (!dq_pos_eq(d->rd, d->saved_rd))
			d->meta_dirty = true;
	}
}

static void diskqueue_free(struct diskqueue *d)
{
	struct dq_write_req *req;
	dq_set_amount(d, 0, 0); /* of what is open, all queues together count it */
	dq_count_end(d);
	dq_close_read(d);
	dq_close_write(d);
	while ((req = d->free_reqs) != NULL) {
		d->free_reqs = req->next;
		free_write_req(req);
	}
	wait_group_destroy(&d->wait_group);
	mutex_destroy(&d->lock);
	mutex_destroy(&d->shown_lock);
	chan_free(d->read_chan);
	chan_free(d->write_chan);
	chan_free(d->empty_chan);
	chan_free(d->done_chan);
	chan_free(d->exit_chan);
	free(d->bad_files);
	free(d->name);
	free(d->data_path);
	d->magic = 0;
	free(d);
}

static int diskqueue_close(struct backend_queue *q, struct err *err)
{
	struct diskqueue *d = from_base(q);
	struct err own;
	int rc = 0;
	if (!err)
		err = &own;
	dq_logf(d, LG_INFO, "DISKQUEUE(%s): closing", d->name);
	stop(d);
	if (d->loaded)
		drop_consumed(d);
	/* A queue that was never used, or emptied, leaves no file behind. */
	if (d->loaded && !nothing_on_disk(d) && (d->meta_dirty || d->data_dirty || d->dir_dirty)) {
		rc = dq_sync(d, err);
		if (rc == 0 && d->meta_dirty)
			rc = err_set(err, 0, "metadata could not be written");
	}
	diskqueue_free(d);
	return rc;
}

static int diskqueue_delete(struct backend_queue *q, struct err *err)
{
	struct diskqueue *d = from_base(q);
	struct err own;
	int rc = 0;
	if (!err)
		err = &own;
	dq_logf(d, LG_INFO, "DISKQUEUE(%s): deleting", d->name);
	stop(d);
	if (!d->loaded) {
		/* The directory was never read: remove every file of that name. */
		d->wr.file = DQ_SANE_MAX;
	}
	if (!nothing_on_disk(d))
		rc = delete_all_files(d, err);
	diskqueue_free(d);
	return rc;
}

static struct backend_look *diskqueue_look(struct backend_queue *q)
{
	return dq_look_new(from_base(q));
}

static int64_t diskqueue_first_timestamp(struct backend_queue *q)
{
	return dq_shown_first(from_base(q));
}

static const struct backend_queue_ops diskqueue_ops = {
	.put = diskqueue_put,
	.read_chan = diskqueue_read_chan,
	.done = diskqueue_done,
	.forget = diskqueue_forget,
	.close = diskqueue_close,
	.delete = diskqueue_delete,
	.depth = diskqueue_depth,
	.body_bytes = diskqueue_body_bytes,
	.undone = diskqueue_undone,
	.received = diskqueue_received,
	.received_bytes = diskqueue_received_bytes,
	.ahead = diskqueue_ahead,
	.empty = diskqueue_empty,
	.look = diskqueue_look,
	.first_timestamp = diskqueue_first_timestamp,
};

static struct diskqueue *diskqueue_alloc(const struct diskqueue_opts *opts, const struct dq_io *io)
{
	struct diskqueue *d = xcalloc(1, sizeof(*d));
	d->base.ops = &diskqueue_ops;
	d->magic = DQ_MAGIC;
	d->name = xstrdup(opts->name);
	d->data_path = xstrdup(opts->data_path);
	d->max_bytes_per_file = opts->max_bytes_per_file;
	/* Shorter records hold no message, whatever was asked for. */
	d->min_msg_size = opts->min_msg_size > 0 ? opts->min_msg_size : 0;
	d->max_msg_size = opts->max_msg_size;
	d->sync_every = opts->sync_every;
	d->sync_timeout = opts->sync_timeout > 0 ? opts->sync_timeout : IDLE_NS;
	d->waits_for_done = opts->waits_for_done;
	d->may_forget = opts->crash_forgets;
	atomic_init(&d->crash_forgets, opts->crash_forgets);
	d->lg = opts->lg;
	d->changed_chan = opts->changed_chan;
	d->told_empty = true;
	d->io = io;
	d->read_chan = chan_new(sizeof(struct message *), 0);
	d->write_chan = chan_new(sizeof(struct dq_write_req *), 0);
	d->empty_chan = chan_new(sizeof(struct dq_empty_req *), 0);
	d->done_chan = chan_new(0, 1);
	d->exit_chan = chan_new(0, 0);
	wait_group_init(&d->wait_group);
	mutex_init(&d->lock, RANK_DISKQUEUE);
	mutex_init(&d->shown_lock, RANK_LEAF);
	dq_block_init(&d->block, io);
	dq_block_init(&d->counting.block, io);
	d->write_fd = -1;
	d->batch_target = 1;
	return d;
}

struct backend_queue *diskqueue_new_with_io(
	const struct diskqueue_opts *opts, const struct dq_io *io, struct err *err)
{
	struct diskqueue *d = diskqueue_alloc(opts, io);
	struct err own;
	if (!err)
		err = &own;
	/* no need to lock here, nothing else could possibly be touching this instance */
	load(d, err);
	dq_show(d);
	if (d->loaded && dq_pos_eq(d->rd, d->wr) && !d->meta_dirty)
		return &d->base;
	if (d->loaded)
		touch(d);
	mutex_lock(&d->lock);
	int rc = start_locked(d, err);
	mutex_unlock(&d->lock);
	if (rc < 0) {
		diskqueue_free(d);
		return NULL;
	}
	return &d->base;
}

struct backend_queue *diskqueue_new(const struct diskqueue_opts *opts, struct err *err)
{
	return diskqueue_new_with_io(opts, &default_io, err);
}

bool diskqueue_has_files(const struct diskqueue_opts *opts)
{
	struct diskqueue *d = diskqueue_alloc(opts, &default_io);
	struct stat st;
	struct err err;
	char *meta = dq_meta_data_file_name(d);
	int has = lstat(meta, &st) == 0 || errno != ENOENT ? 1 : dq_any_files(d, &err);
	if (has < 0)
		dq_logf(d, LG_WARN, "DISKQUEUE(%s): it may have files - failed to %s", d->name,
			err.msg);
	free(meta);
	diskqueue_free(d);
	return has != 0;
}

void diskqueue_count_until(int64_t deadline_ns)
{
	dq_count_until(deadline_ns);
}

void diskqueue_wait_counted(int64_t deadline_ns)
{
	dq_wait_counted(deadline_ns);
}
