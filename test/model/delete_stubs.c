/* SPDX-License-Identifier: MIT */
/*
 * What topics and channels use, and is no part of the model of their end: disk queues, whose files
 * are arrays; a log and news for nobody.
 */
#include "test/model/delete_stubs.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/gothread.h"
#include "common/quantile.h"
#include "common/slab.h"
#include "common/xalloc.h"
#include "nsqd/queue/dead_targets.h"
#include "nsqd/core/topology.h"
#include "nsqd/disk/backend.h"
#include "nsqd/disk/dummy_backend_queue.h"
#include "protocol/names.h"
#include "test/model/mc.h"

/* --- files ------------------------------------------------------------------------------------ */

MC_GHOST struct file files[FILES];
MC_GHOST int disk_refusals;
MC_GHOST bool disk_keeps_files;

struct file *file_of(const char *name)
{
	int i = 0;
	while (i < FILES && files[i].name[0] && strcmp(files[i].name, name) != 0)
		i++;
	MC_CHECK(i < FILES);
	snprintf(files[i].name, sizeof(files[i].name), "%s", name);
	return &files[i];
}

/* --- a disk queue: reads what was there when it was opened ------------------------------------ */

struct disk_queue {
	struct backend_queue base;
	struct file *file;
	struct chan *read_chan, *exit_chan;
	struct wait_group wait_group; /* the reader */
	int sent[MESSAGES];           /* the numbers of those that were received, oldest first */
	int n_sent, n_done;
};

static struct disk_queue *queue_of(struct backend_queue *q)
{
	struct disk_queue *d = (struct disk_queue *)q;
	MC_CHECK(d->file->open);
	return d;
}

/* Refusals are for channels: a publisher would be told. */
static bool refuses(const struct file *f)
{
	return disk_refusals > 0 && strchr(f->name, ':') && disk_refusals-- > 0;
}

static size_t disk_put(
	struct backend_queue *q, const struct backend_record *recs, size_t n, struct err *err)
{
	mc_yield();
	for (size_t i = 0; i < n; i++) {
		if (refuses(queue_of(q)->file)) {
			err_set(err, ENOSPC, "disk full");
			return i;
		}
		queue_of(q)->file->stored[*(const unsigned char *)recs[i].body]++;
	}
	return n;
}

static struct chan *disk_read_chan(struct backend_queue *q)
{
	return queue_of(q)->read_chan;
}

static void disk_done(struct backend_queue *q, size_t n)
{
	struct disk_queue *d = queue_of(q);
	MC_CHECK(d->n_done + (int)n <= d->n_sent);
	for (size_t i = 0; i < n; i++)
		d->file->stored[d->sent[d->n_done++]]--;
}

static int disk_close(struct backend_queue *q, struct err *err)
{
	struct disk_queue *d = queue_of(q);
	(void)err;
	chan_close(d->exit_chan);
	wait_group_wait(&d->wait_group);
	mc_yield();
	d->file->open = false;
	chan_free(d->read_chan);
	chan_free(d->exit_chan);
	free(d);
	return 0;
}

static int disk_delete(struct backend_queue *q, struct err *err)
{
	struct file *f = queue_of(q)->file;
	disk_close(q, err);
	memset(f->stored, 0, sizeof(f->stored));
	f->there = disk_keeps_files;
	return disk_keeps_files ? err_set(err, EIO, "files are left") : 0;
}

static int64_t disk_depth(struct backend_queue *q)
{
	struct disk_queue *d = queue_of(q);
	int64_t n = d->n_done - d->n_sent;
	for (int i = 0; i < MESSAGES; i++)
		n += d->file->stored[i];
	return n;
}

static int disk_empty(struct backend_queue *q, struct err *err)
{
	(void)err;
	mc_yield();
	memset(queue_of(q)->file->stored, 0, MESSAGES);
	return 0;
}

static const struct backend_queue_ops disk_ops = {
	.put = disk_put,
	.read_chan = disk_read_chan,
	.done = disk_done,
	.close = disk_close,
	.delete = disk_delete,
	.depth = disk_depth,
	.empty = disk_empty,
};

/* Offers message number. False: the queue is closed. */
static bool offer(struct disk_queue *d, int number)
{
	struct message_id id = {"from the disk"};
	struct message *m = message_new(id, body_of(number), 0);
	struct chan_case cases[] = {
		chan_case_send(d->read_chan, &m), chan_case_recv(d->exit_chan, NULL)};
	d->sent[d->n_sent++] = number;
	if (chan_select(cases, 2) == 0)
		return true;
	d->n_sent--;
	message_unref(m);
	return false;
}

static void read_disk(void *arg)
{
	struct disk_queue *d = arg;
	int number = 0;
	while (number < MESSAGES && (!d->file->stored[number] || offer(d, number)))
		number++;
}

/* Of one name there is one at a time. */
struct backend_queue *backend_new(struct context *c, const char *name, struct err *err)
{
	(void)c;
	if (is_ephemeral_name(name))
		return dummy_backend_queue_new();
	struct disk_queue *d = xcalloc(1, sizeof(*d));
	d->base.ops = &disk_ops;
	d->file = file_of(name);
	d->read_chan = chan_new(sizeof(struct message *), 0);
	d->exit_chan = chan_new(0, 0);
	wait_group_init(&d->wait_group);
	MC_CHECK(!d->file->open);
	d->file->open = d->file->there = true;
	if (disk_depth(&d->base) > 0)
		MC_CHECK(wait_group_wrap(&d->wait_group, "dq", read_disk, d, err) == 0);
	return &d->base;
}

struct message_body *body_of(int number)
{
	struct message_body *b = message_body_new(1);
	b->data[0] = (char)number;
	return b;
}

/* --- the context ------------------------------------------------------------------------------ */

struct context ctx;
static struct options opts;

void context_make(int mem_queue_size)
{
	opts.mem_queue_size = mem_queue_size;
	opts.topology_zone = (char *)(mc_param("near", 0) ? "here" : "");
	opts.topology_region = (char *)"";
	ctx.opts = &opts;
	ctx.exit_begun_chan = chan_new(0, 0);
	ctx.exit_chan = chan_new(0, 0);
	deadlines_init(&ctx.deadlines);
}

void context_end(void)
{
	chan_free(ctx.exit_begun_chan);
	chan_free(ctx.exit_chan);
	deadlines_destroy(&ctx.deadlines);
}

void context_begin_exit(struct context *c)
{
	atomic_store(&c->phase, PHASE_EXITING);
	chan_close(c->exit_begun_chan);
}

void nsqd_logf(struct context *c, enum lg_level level, const char *fmt, ...)
{
	(void)c, (void)level, (void)fmt;
}

/* What the disk of the model refuses it refuses for good: no flush waits for it. */
bool patience_wait(struct patience *p, int64_t *pause_ns)
{
	(void)p, (void)pause_ns;
	return false;
}

bool topology_is_aware(const struct options *o)
{
	(void)o;
	return mc_param("near", 0);
}

/* --- no percentiles --------------------------------------------------------------------------- */

struct quantile *quantile_new(int64_t window_ns, const double *percentiles, size_t n)
{
	(void)window_ns, (void)percentiles, (void)n;
	mc_fail("percentiles");
}

void quantile_insert(struct quantile *q, int64_t start_time_ns)
{
	(void)q, (void)start_time_ns;
}

void quantile_merge(struct quantile *q, struct quantile *them)
{
	(void)q, (void)them;
}

void quantile_free(struct quantile *q)
{
	(void)q;
}

/* --- no dead letters, no limits --------------------------------------------------------------- */

void dead_targets_init(struct dead_targets *d, struct context *c)
{
	(void)d, (void)c;
}

void dead_targets_destroy(struct dead_targets *d)
{
	(void)d;
}

void dead_targets_forget(struct dead_targets *d, const char *topic)
{
	(void)d, (void)topic;
}

bool host_limits_admit(struct context *c, int64_t bytes, bool share, bool ephemeral,
	enum host_limit *which, char *text, size_t size)
{
	(void)c, (void)bytes, (void)share, (void)ephemeral, (void)which, (void)text, (void)size;
	MC_CHECK(false);
	return true;
}

/* --- memory ----------------------------------------------------------------------------------- */

void *slab_alloc(size_t size)
{
	return xmalloc(size);
}

void slab_free(void *p, size_t size)
{
	(void)size;
	free(p);
}
