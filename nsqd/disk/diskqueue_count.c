/* SPDX-License-Identifier: MIT */
/*
 * Work on files that may hold anything, a slice at a time. It counts the records that the metadata
 * do not know of; queues take turns at that. Runs in dq_io_loop, and in the thread that creates a
 * queue; dq_wait_counted in main. No locks.
 *
 * Stock has no such thing, since it believes its metadata. Counting reads whole files, after a
 * crash perhaps all of them. Small amounts are counted at once, so the depth is usually right from
 * the start. Neither the start of the daemon nor a publisher waits for more. Until counting is done
 * - the depth is what has been counted so far;
 * - records are written to a new file behind all that is counted, so that it does not matter how
 *   the last of those ends;
 * - the reader reads; messages that are received before they are counted are not counted any more;
 * - the metadata say depth 0, which a later start does not believe: it counts anew.
 *
 * THE TURNS. Only one queue of the process at a time counts, or looks for the next record behind
 * much damage. dq_io_loop waits for its turn in its select, has it for a slice, and goes back in
 * line. So a thousand hostile files cost one core at most. A queue answers its publishers after a
 * few milliseconds, whatever its files hold.
 *
 * Lessons in docs/course/: 12-once.
 */
#include "nsqd/disk/diskqueue_count.h"

#include <pthread.h>
#include <stdlib.h>

#include "common/check.h"
#include "common/clock.h"
#include "common/ticker.h"
#include "nsqd/disk/diskqueue_dir.h"
#include "nsqd/disk/diskqueue_record.h"

/* The cost of opening a file, in bytes that could be counted meanwhile. */
#define FILE_COST 4096

/* How much one queue counts at once, how much all of them do, and how little is always counted. */
#define AT_ONCE_SLICE (4 << 20)
#define AT_ONCE_BYTES (64 << 20)
#define AT_ONCE_LITTLE (64 * 1024)

/* Go's semaphore: a buffered chan, with a value in it for each turn that may be had. */
static struct {
	pthread_once_t once;
	struct chan *turns;         /* immutable once made */
	struct chan *counted;       /* immutable once made; has a value when n_counting became 0 */
	_Atomic int64_t n_counting; /* atomic; queues that are not done */
	_Atomic int64_t at_once;    /* atomic; bytes that may still be counted at once */
	_Atomic int64_t until;      /* atomic; and until when (ns, monotonic) */
} all = {.once = PTHREAD_ONCE_INIT, .at_once = AT_ONCE_BYTES, .until = INT64_MAX};

static void make_chans(void)
{
	all.turns = chan_new(0, 1);
	all.counted = chan_new(0, 1);
	chan_send(all.turns, NULL);
}

struct chan *dq_turns(void)
{
	PT_OK(pthread_once(&all.once, make_chans));
	return all.turns;
}

void dq_count_until(int64_t deadline_ns)
{
	atomic_store(&all.until, deadline_ns);
}

void dq_wait_counted(int64_t deadline_ns)
{
	struct ticker patience;
	dq_turns();
	while (atomic_load(&all.n_counting) > 0 && clock_mono_ns() < deadline_ns) {
		ticker_after(&patience, deadline_ns - clock_mono_ns());
		struct chan_case cases[] = {
			chan_case_recv(all.counted, NULL), chan_case_tick(&patience)};

		chan_select(cases, 2);
	}
}

void dq_count_begin(struct diskqueue *d, int64_t *take_files, size_t n, struct dq_pos from,
	enum lg_level level, const char *what)
{
	struct dq_counting *c = &d->counting;
	CHECK(!c->active && n > 0);
	dq_turns();
	c->active = c->clean = true;
	c->files = take_files;
	c->n = n;
	c->i = 0;
	c->pos = from;
	c->last = take_files[n - 1];
	c->found = 0;
	c->level = level;
	c->what = what;
	d->wr = dq_new_file(d, c->last + 1);
	d->meta_dirty = true;
	atomic_fetch_add(&all.n_counting, 1);
}

void dq_count_end(struct diskqueue *d)
{
	struct dq_counting *c = &d->counting;
	if (!c->active)
		return;
	c->active = false;
	dq_block_close(&c->block);
	free(c->files);
	c->files = NULL;
	if (atomic_fetch_sub(&all.n_counting, 1) == 1)
		chan_signal(all.counted);
}

static bool before(struct dq_pos a, struct dq_pos b)
{
	return a.file < b.file || (a.file == b.file && a.pos < b.pos);
}

size_t dq_count_overtaken(
	struct diskqueue *d, const struct dq_batch *b, size_t n, int64_t *body_bytes)
{
	struct dq_counting *c = &d->counting;
	const struct dq_pos last_end = {c->last + 1, 0};
	size_t overtaken = 0;
	if (!c->active)
		return 0;
	for (size_t i = 0; i < n; i++) {
		if (before(c->pos, b->end[i]) && !before(last_end, b->end[i])) {
			c->pos = b->end[i];
			*body_bytes += (int64_t)b->len[i] - MSG_HEADER_LENGTH;
			overtaken++;
		}
	}
	return overtaken;
}

/* All is counted up to size of the last file, where nothing was damaged if it is clean. */
static void finish(struct diskqueue *d, int64_t size)
{
	struct dq_counting *c = &d->counting;
	const struct dq_pos new_file = {c->last + 1, 0};
	dq_logf(d, c->level, "DISKQUEUE(%s) found %lld messages %s", d->name, (long long)c->found,
		c->what);
	/* Where nothing was written or received behind it, the last file goes on. */
	if (size >= 0 && c->clean && dq_pos_eq(d->wr, new_file) && d->write_fd < 0 &&
		d->ahead.file <= c->last)
		d->wr = (struct dq_pos){c->last, size};
	else if (!c->clean)
		dq_logf(d, LG_WARN,
			"DISKQUEUE(%s) file %lld does not end in a whole record, skipping to new "
			"file",
			d->name, (long long)c->last);
	d->meta_dirty = true;
	dq_count_end(d);
}

/* Moves c->pos to the first place at or behind pos where there is a file. */
static void go_to(struct dq_counting *c, struct dq_pos pos)
{
	while (c->i < c->n && c->files[c->i] < pos.file)
		c->i++;
	if (c->i == c->n)
		pos = (struct dq_pos){c->last + 1, 0};
	else if (c->files[c->i] > pos.file)
		pos = (struct dq_pos){c->files[c->i], 0};
	if (c->block.fd >= 0 && c->block.file != pos.file)
		dq_block_close(&c->block);
	c->pos = pos;
}

static void next_file(struct dq_counting *c)
{
	go_to(c, (struct dq_pos){c->pos.file + 1, 0});
}

/* A file that cannot be read counts as empty: the reader will try again, and log that. */
static void cannot_count(struct diskqueue *d, const char *why)
{
	char *path = dq_file_name(d, d->counting.pos.file);
	dq_logf(d, LG_WARN, "DISKQUEUE(%s) cannot count the messages of %s - %s", d->name, path,
		why);
	free(path);
	d->counting.clean = false;
	next_file(&d->counting);
}

/* The file at c->pos is open. False: it is not, and it was dealt with. */
static bool open_file(struct diskqueue *d)
{
	struct dq_counting *c = &d->counting;
	struct err err;
	if (c->block.fd >= 0)
		return true;
	c->block.budget -= FILE_COST;
	char *path = dq_file_name(d, c->pos.file);
	int rc = dq_block_open(&c->block, path, c->pos.file, &err);
	free(path);
	if (rc < 0)
		cannot_count(d, err.msg);
	return rc == 0;
}

/* One record, one damaged stretch, or one file. */
static void count_one(struct diskqueue *d)
{
	struct dq_counting *c = &d->counting;
	struct dq_record rec = {0};
	struct err err = {0};
	if (!open_file(d))
		return;
	switch (dq_record_at(&c->block, d, c->pos.pos, c->block.size, &rec, &err)) {
	case DQ_RECORD:
		c->found++;
		dq_add_amount(d, 1, rec.len - MSG_HEADER_LENGTH);
		c->block.budget -= rec.next - c->pos.pos;
		c->pos.pos = rec.next;
		break;
	case DQ_DAMAGED:
		c->clean = false;
		c->block.budget -= DQ_BLOCK_SIZE / 1024;
		c->pos.pos = rec.next;
		break;
	case DQ_END:
		if (c->pos.file == c->last)
			finish(d, c->block.size);
		else
			next_file(c);
		break;
	case DQ_MORE:
		break;
	case DQ_SHORT:
		cannot_count(d, "unexpected EOF");
		break;
	case DQ_ERROR:
		cannot_count(d, err.msg);
		break;
	}
}

void dq_count_slice(struct diskqueue *d, int64_t budget)
{
	struct dq_counting *c = &d->counting;
	c->block.budget = budget;
	while (c->active && c->block.budget > 0) {
		/* The reader may have come by, and have removed the files. */
		go_to(c, before(c->pos, d->taken) ? d->taken : c->pos);
		if (c->pos.file > c->last)
			finish(d, -1);
		else
			count_one(d);
	}
	/* Of a thousand queues that count, one has buffers and a descriptor. */
	dq_block_close(&c->block);
}

void dq_count_at_once(struct diskqueue *d)
{
	bool in_time = clock_mono_ns() < atomic_load(&all.until) && atomic_load(&all.at_once) > 0;
	int64_t budget = in_time ? AT_ONCE_SLICE : AT_ONCE_LITTLE;
	if (!d->counting.active)
		return;
	dq_count_slice(d, budget);
	if (in_time)
		atomic_fetch_sub(&all.at_once, budget - d->counting.block.budget);
}
