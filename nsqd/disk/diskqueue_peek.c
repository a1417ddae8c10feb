/* SPDX-License-Identifier: MIT */
/*
 * Looking at the first messages of a disk queue, where they stay. Go has no such thing. dq_show
 * runs in dq_io_loop, all else in the thread that looks: no queue waits for it.
 *
 * dq_io_loop tells in each of its rounds where the messages begin and end. A look copies that, and
 * reads the files with a descriptor of its own, by dq_record_at, as the reader does. There is no
 * buffer in front of the files: what was put is in them. Below the end that was told, nothing is
 * written any more, and nothing is cut off. What may happen is that the reader leaves a file while
 * it is looked at. An open one can still be read; one that is gone already means: look anew.
 */
#include "nsqd/disk/diskqueue_peek.h"

#include <errno.h>
#include <stdlib.h>

#include "common/xalloc.h"
#include "nsqd/disk/diskqueue_dir.h"
#include "nsqd/disk/diskqueue_record.h"

/* A look reads no more than this for damage, and passes no more files. */
#define PEEK_SEARCH_MAX ((int64_t)64 << 20)
#define PEEK_FILES_MAX 2048
/* The cost of passing over one damaged stretch, in bytes that could be searched meanwhile. */
#define DAMAGE_COST 512

/* --- what is told ----------------------------------------------------------------------------- */

static void show(struct diskqueue *d, int64_t first, int64_t last, size_t n)
{
	struct dq_shown now = {.first = first, .last = last, .n = n};
	const struct dq_shown *old = &d->shown;
	now.loaded = d->loaded;
	if (d->loaded) {
		now.from = d->taken;
		now.to = d->wr;
	}
	if (dq_pos_eq(now.from, old->from) && dq_pos_eq(now.to, old->to) &&
		now.first == old->first && now.last == old->last && now.n == old->n &&
		now.loaded == old->loaded)
		return;
	mutex_lock(&d->shown_lock);
	d->shown = now;
	mutex_unlock(&d->shown_lock);
}

void dq_show(struct diskqueue *d)
{
	size_t n = d->batch_n;
	if (n > 0)
		show(d, d->batch->msgs[0]->timestamp, d->batch->msgs[n - 1]->timestamp, n);
	else
		show(d, 0, 0, 0);
}

void dq_show_place(struct diskqueue *d)
{
	show(d, d->shown.first, d->shown.last, d->shown.n);
}

static struct dq_shown shown(struct diskqueue *d)
{
	mutex_lock(&d->shown_lock);
	struct dq_shown now = d->shown;
	mutex_unlock(&d->shown_lock);
	return now;
}

bool dq_shown_empty(struct diskqueue *d)
{
	struct dq_shown now = shown(d);
	return now.loaded && dq_pos_eq(now.from, now.to);
}

size_t dq_shown_ahead(struct diskqueue *d, int64_t *first, int64_t *last)
{
	struct dq_shown now = shown(d);
	*first = now.first;
	*last = now.last;
	return now.n;
}

int64_t dq_shown_first(struct diskqueue *d)
{
	return shown(d).first;
}

/* --- a look ----------------------------------------------------------------------------------- */

/* The queue as it was: of d, only what is immutable in a queue is set. */
struct dq_look {
	struct backend_look base;
	struct diskqueue d;
	struct dq_pos pos; /* read up to here */
	struct dq_pos to;
	struct dq_block block;
	size_t files;
};

static void look_free(struct backend_look *base)
{
	struct dq_look *l = (struct dq_look *)base;
	dq_block_close(&l->block);
	free(l->d.name);
	free(l->d.data_path);
	free(l);
}

static void next_file(struct dq_look *l, int64_t file)
{
	dq_block_close(&l->block);
	l->pos = file > l->to.file ? l->to : (struct dq_pos){file, 0};
}

/* The file at pos is gone, and others follow: goes on with the next that is there. */
static int skip_missing(struct dq_look *l, struct err *err)
{
	int64_t *files;
	size_t n, i = 0;
	if (dq_list_files(&l->d, &files, &n, err) != 0)
		return -1;
	while (i < n && files[i] <= l->pos.file)
		i++;
	next_file(l, i < n ? files[i] : l->to.file + 1);
	free(files);
	return 0;
}

/* The file at pos is open: 0. 1: the first of them has gone. -1 with err set. */
static int open_file(struct dq_look *l, struct err *err)
{
	if (l->block.fd >= 0)
		return 0;
	if (l->files++ == PEEK_FILES_MAX)
		return err_set(err, 0, "looked at %d files", PEEK_FILES_MAX);
	char *path = dq_file_name(&l->d, l->pos.file);
	int rc = dq_block_open(&l->block, path, l->pos.file, err);
	free(path);
	if (rc < 0 && err->code == ENOENT)
		return l->files == 1 ? 1 : skip_missing(l, err);
	return rc;
}

/* A record: adds its message. 0, or -1 with err set. */
static int add_record(struct dq_look *l, int64_t limit, const struct dq_record *rec,
	struct message_views *out, struct err *err)
{
	const unsigned char *v;
	int64_t body = rec->len - MSG_HEADER_LENGTH;
	int64_t wanted = body < (int64_t)out->body_max ? body : (int64_t)out->body_max;
	if (body < 0)
		return 0; /* no message of ours: the reader will skip it */
	size_t n = DQ_RECORD_HEADER + (size_t)wanted;
	int rc = dq_block_view(&l->block, l->pos.pos, n, limit, &v, err);
	if (rc != 0)
		return rc < 0 ? -1 : err_set(err, 0, "unexpected EOF");
	struct message *m = message_decode(v + DQ_PREFIX, n - DQ_PREFIX, err);
	if (!m)
		return -1;
	message_views_add(out, m, PLACE_DISK);
	out->v[out->n - 1].body_len = (size_t)body;
	message_unref(m);
	return 0;
}

/* One record, one damaged stretch, or the end of a file. As read. */
static int look_at_one(struct dq_look *l, struct message_views *out, struct err *err)
{
	struct dq_record rec = {0};
	int rc = open_file(l, err);
	if (rc != 0 || l->block.fd < 0)
		return rc;
	int64_t limit = l->pos.file == l->to.file ? l->to.pos : l->block.size;
	switch (dq_record_at(&l->block, &l->d, l->pos.pos, limit, &rec, err)) {
	case DQ_RECORD:
		rc = add_record(l, limit, &rec, out, err);
		l->pos.pos = rec.next;
		return rc;
	case DQ_DAMAGED:
		l->block.budget -= DAMAGE_COST;
		l->pos.pos = rec.next;
		return 0;
	case DQ_END:
	case DQ_SHORT: /* it has become shorter: its end is the end of its records */
		next_file(l, l->pos.file + 1);
		return 0;
	case DQ_MORE: /* the budget is used up, as look_read will see */
		return 0;
	case DQ_ERROR:
		break;
	}
	return -1;
}

static int look_read(struct backend_look *base, struct message_views *out, struct err *err)
{
	struct dq_look *l = (struct dq_look *)base;
	while (message_views_room(out) > 0 && !dq_pos_eq(l->pos, l->to)) {
		if (l->block.budget <= 0)
			return err_set(err, 0, "much of it is damaged");
		*err = (struct err){0};
		int rc = look_at_one(l, out, err);
		if (rc != 0)
			return rc;
	}
	return 0;
}

struct backend_look *dq_look_new(struct diskqueue *d)
{
	struct dq_shown now = shown(d);
	if (dq_pos_eq(now.from, now.to))
		return NULL;
	struct dq_look *l = xcalloc(1, sizeof(*l));
	l->base = (struct backend_look){.read = look_read, .free = look_free};
	l->d.name = xstrdup(d->name);
	l->d.data_path = xstrdup(d->data_path);
	l->d.min_msg_size = d->min_msg_size;
	l->d.max_msg_size = d->max_msg_size;
	l->d.lg = d->lg;
	l->d.io = d->io;
	l->pos = now.from;
	l->to = now.to;
	dq_block_init(&l->block, d->io);
	l->block.budget = PEEK_SEARCH_MAX;
	return &l->base;
}
