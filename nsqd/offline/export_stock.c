/* SPDX-License-Identifier: MIT */
/*
 * --export-stock. Stock has no such thing. Runs in the thread "main" of a process that is no daemon;
 * the disk queues that it writes have their threads.
 *
 * A queue's new messages are written to files of their own, by the disk queue itself, in another
 * directory (export_staging.h). Their numbers begin behind those of the files that the queue has. So
 * nothing that is there is written to: to append is to move files, and to replace the metadata.
 */
#include "nsqd/offline/export_stock.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/dirlock.h"
#include "common/strbuf.h"
#include "common/version.h"
#include "common/xalloc.h"
#include "nsqd/core/data_file.h"
#include "nsqd/disk/backend.h"
#include "nsqd/disk/dqname.h"
#include "nsqd/log/log_view.h"
#include "nsqd/offline/export_staging.h"
#include "nsqd/queue/metadata_file.h"

/* Messages that are written at once, and the bytes of their bodies. */
#define EXPORT_BATCH 256
#define EXPORT_BYTES (4 << 20)

struct totals {
	long long queues, messages, deferred, lost, logs;
};

struct exporter {
	const struct options *o;
	const char *path;
	int dir_fd; /* of the data path; holds the lock */
	int out_fd, err_fd;
	struct lg lg;
	struct staging staging;
	cJSON *metadata; /* nsqd.dat, with what it has not known */
	bool metadata_changed;
	struct strbuf logs; /* the names of the logs, a line each */
	struct totals totals;
};

/* What the metadata of a disk queue say. */
struct place {
	bool exists;
	long long depth, read_file, read_pos, write_file, write_pos;
};

/* A queue that is written. */
struct target {
	struct exporter *x;
	const char *name;
	struct backend_queue *q; /* NULL: nothing has been written yet */
	struct place before;
	struct message *msgs[EXPORT_BATCH];
	size_t n, bytes;
	long long messages, deferred;
};

/* --- metadata of a disk queue ------------------------------------------------------------------------ */

static char *meta_path(const char *dir, const char *name)
{
	return xasprintf("%s/%s.diskqueue.meta.dat", dir, name);
}

static int read_place(const char *dir, const char *name, struct place *p, struct err *err)
{
	struct strbuf sb = STRBUF_INIT;
	char *path = meta_path(dir, name), end;
	int rc = data_file_read(path, &sb, err);
	*p = (struct place){.exists = rc > 0};
	strbuf_addc(&sb, '\0');
	if (rc > 0 && sscanf(sb.data, "%lld\n%lld,%lld\n%lld,%lld%c", &p->depth, &p->read_file,
			      &p->read_pos, &p->write_file, &p->write_pos, &end) != 6)
		rc = err_set(err, 0, "%s is damaged", path);
	strbuf_free(&sb);
	free(path);
	return rc < 0 ? -1 : 0;
}

static int write_place(struct exporter *x, const char *name, const struct place *p, struct err *err)
{
	struct strbuf sb = STRBUF_INIT;
	char *path = meta_path(x->staging.path, name);
	strbuf_addf(&sb, "%lld\n%lld,%lld\n%lld,%lld\n", p->depth, p->read_file, p->read_pos,
		p->write_file, p->write_pos);
	int rc = data_file_replace(x->staging.fd, path, &sb, err);
	strbuf_free(&sb);
	free(path);
	return rc;
}

/* --- a disk queue -------------------------------------------------------------------------------------- */

static struct diskqueue_opts queue_opts(struct exporter *x, const char *dir, const char *name)
{
	struct diskqueue_opts opts = backend_diskqueue_opts(x->o, name);
	opts.data_path = dir;
	opts.lg = &x->lg;
	/* All is synced before it is of use: in staging_ready. */
	opts.sync_every = INT64_MAX;
	opts.sync_timeout = 3600 * NSEC_PER_SEC;
	return opts;
}

/*
 * What a crash has left is counted and written down, as by a start: else stock would believe what is
 * too old. Its messages stay as they are.
 */
static int settle_queue(struct exporter *x, const char *name, struct err *err)
{
	struct diskqueue_opts opts = queue_opts(x, x->path, name);
	if (!diskqueue_has_files(&opts))
		return 0;
	struct backend_queue *q = diskqueue_new(&opts, err);
	if (!q)
		return -1;
	diskqueue_wait_counted(INT64_MAX);
	return q->ops->close(q, err);
}

/* Begins the queue's new files, behind those that it has. */
static int open_target(struct target *t, struct err *err)
{
	struct exporter *x = t->x;
	if (settle_queue(x, t->name, err) != 0 ||
		read_place(x->path, t->name, &t->before, err) != 0)
		return err_wrap(err, "%s: ", t->name);
	long long first = t->before.write_file + (t->before.write_pos > 0);
	struct place none = {.read_file = first, .write_file = first};
	if (write_place(x, t->name, &none, err) != 0)
		return -1;
	struct diskqueue_opts opts = queue_opts(x, x->staging.path, t->name);
	t->q = diskqueue_new(&opts, err);
	return t->q ? 0 : -1;
}

static int write_batch(struct target *t, struct err *err)
{
	size_t n = t->n, put = 0;
	int rc = 0;
	if (n > 0 && !t->q)
		rc = open_target(t, err);
	if (n > 0 && rc == 0)
		put = backend_queue_put_messages(t->q, t->msgs, n, err);
	if (rc == 0 && put < n) {
		err_wrap(err, "%s: ", t->name);
		rc = -1;
	}
	message_unref_all(t->msgs, n);
	t->n = t->bytes = 0;
	t->messages += (long long)put;
	return rc;
}

/* A message of a log has a number; for the disk queue it is one as any other. */
static int add_message(void *arg, const struct log_view_message *m, struct err *err)
{
	struct target *t = arg;
	m->msg->seq = 0;
	t->deferred += m->due > clock_wall_ns();
	t->bytes += m->msg->body->len;
	t->msgs[t->n++] = m->msg;
	return t->n == EXPORT_BATCH || t->bytes >= EXPORT_BYTES ? write_batch(t, err) : 0;
}

/* Behind what was there before. */
static int close_target(struct target *t, struct err *err)
{
	struct place now;
	if (!t->q)
		return 0;
	int rc = t->q->ops->close(t->q, err);
	t->q = NULL;
	if (rc == 0)
		rc = read_place(t->x->staging.path, t->name, &now, err);
	if (rc == 0 && now.depth != t->messages)
		rc = err_set(err, 0, "%s: %lld messages were written, and %lld are there", t->name,
			t->messages, now.depth);
	if (rc != 0 || t->before.depth <= 0)
		return rc;
	now.depth += t->before.depth;
	now.read_file = t->before.read_file;
	now.read_pos = t->before.read_pos;
	return write_place(t->x, t->name, &now, err);
}

/* c NULL: the topic's own messages. */
static int export_queue(
	struct exporter *x, struct log_view *v, const struct log_view_channel *c, struct err *err)
{
	char name[BACKEND_NAME_SIZE];
	struct target t = {.x = x};
	uint64_t lost;
	t.name = c ? get_backend_name(v->topic, c->name, name, sizeof(name)) : v->topic;
	int rc = log_view_each(v, c, add_message, &t, &lost, err);
	if (rc == 0)
		rc = write_batch(&t, err);
	message_unref_all(t.msgs, t.n);
	if (rc == 0 && !t.q)
		rc = settle_queue(x, t.name, err);
	if (rc == 0)
		rc = close_target(&t, err);
	else if (t.q)
		t.q->ops->close(t.q, NULL);
	if (rc != 0)
		return -1;
	x->totals.queues++;
	x->totals.messages += t.messages;
	x->totals.deferred += t.deferred;
	x->totals.lost += (long long)lost;
	dprintf(x->out_fd, "%s: %lld messages, %lld of them deferred\n", t.name, t.messages,
		t.deferred);
	if (lost > 0)
		dprintf(x->err_fd, "nsqd: %s: %llu messages are damaged, and left out\n", t.name,
			(unsigned long long)lost);
	return 0;
}

/* --- nsqd.dat ------------------------------------------------------------------------------------------ */

/* The entry of that name in the list `key` of parent; made where there is none. */
static cJSON *get_entry(struct exporter *x, cJSON *parent, const char *key, const char *name)
{
	cJSON *list = cJSON_GetObjectItem(parent, key), *e;
	if (!cJSON_IsArray(list)) {
		cJSON_DeleteItemFromObject(parent, key);
		list = cJSON_AddArrayToObject(parent, key);
	}
	cJSON_ArrayForEach(e, list)
	{
		if (strcmp(metadata_name(e), name) == 0)
			return e;
	}
	e = cJSON_CreateObject();
	cJSON_AddStringToObject(e, "name", name);
	cJSON_AddBoolToObject(e, "paused", false);
	cJSON_AddItemToArray(list, e);
	x->metadata_changed = true;
	return e;
}

/* The daemon may have been killed before it wrote of the topic, or of a channel. */
static void add_names(struct exporter *x, const struct log_view *v)
{
	cJSON *topic = get_entry(x, x->metadata, "topics", v->topic);
	for (size_t i = 0; i < v->n_channels; i++)
		(void)get_entry(x, topic, "channels", v->channels[i].name);
}

static int read_metadata(struct exporter *x, struct err *err)
{
	if (metadata_file_read(x->path, &x->metadata, err) < 0)
		return -1;
	if (cJSON_IsObject(x->metadata))
		return 0;
	cJSON_Delete(x->metadata);
	x->metadata = cJSON_CreateObject();
	cJSON_AddStringToObject(x->metadata, "version", NSQ_VERSION);
	return 0;
}

static int write_metadata(struct exporter *x, struct err *err)
{
	struct strbuf sb = STRBUF_INIT;
	if (!x->metadata_changed)
		return 0;
	char *text = cJSON_PrintUnformatted(x->metadata);
	char *path = data_file_path(x->staging.path, METADATA_FILE);
	strbuf_adds(&sb, text ? text : "");
	int rc = data_file_replace(x->staging.fd, path, &sb, err);
	strbuf_free(&sb);
	free(path);
	cJSON_free(text);
	return rc;
}

/* --- all of it ----------------------------------------------------------------------------------------- */

static int export_topic(void *arg, const char *topic, struct err *err)
{
	struct exporter *x = arg;
	struct log_view *v;
	if (log_view_open(x->dir_fd, topic, NULL, &v, err) != 0)
		return -1;
	add_names(x, v);
	int rc = export_queue(x, v, NULL, err);
	for (size_t i = 0; rc == 0 && i < v->n_channels; i++)
		rc = export_queue(x, v, &v->channels[i], err);
	log_view_close(v);
	char *log = log_view_dir_name(topic);
	strbuf_addf(&x->logs, "%s\n", log);
	free(log);
	x->totals.logs++;
	return rc;
}

static void say_aside(void *arg, const char *log, const char *name)
{
	struct exporter *x = arg;
	dprintf(x->out_fd, "%s was put aside as %s\n", log, name);
}

static int write_all(struct exporter *x, struct err *err)
{
	int rc = read_metadata(x, err);
	if (rc == 0)
		rc = staging_begin(&x->staging, x->path, x->dir_fd, err);
	else
		return rc;
	if (rc == 0)
		rc = log_view_each_topic(x->dir_fd, NULL, export_topic, x, err);
	if (rc == 0)
		rc = write_metadata(x, err);
	bool any = rc == 0 && x->totals.logs > 0;
	if (any)
		rc = staging_ready(&x->staging, &x->logs, err);
	staging_end(&x->staging, !any || rc != 0);
	if (any && rc == 0)
		rc = staging_complete(x->path, x->dir_fd, say_aside, x, err);
	return rc < 0 ? rc : 0;
}

static void say_totals(const struct exporter *x)
{
	const struct totals *t = &x->totals;
	dprintf(x->out_fd,
		"in all: %lld messages in %lld queues of %lld topics; deferred: %lld; damaged: "
		"%lld\n",
		t->messages, t->queues, t->logs, t->deferred, t->lost);
	if (t->deferred > 0)
		dprintf(x->out_fd, "Stock's files have no delays: what was deferred is due at "
				   "once.\n");
	if (t->logs > 0)
		dprintf(x->out_fd, "What was put aside is of no use any more, and may be "
				   "removed.\n");
}

static int run(struct exporter *x, struct err *err)
{
	int done = staging_complete(x->path, x->dir_fd, say_aside, x, err);
	if (done < 0)
		return -1;
	if (done > 0)
		dprintf(x->out_fd, "an earlier export, which was cut short, is complete\n");
	if (write_all(x, err) != 0)
		return -1;
	say_totals(x);
	return 0;
}

int export_stock(struct options *o, int out_fd, int err_fd)
{
	struct exporter x = {.o = o,
		.path = options_data_path(o),
		.dir_fd = -1,
		.out_fd = out_fd,
		.err_fd = err_fd,
		.logs = STRBUF_INIT};
	struct err err;
	int rc = options_check(o, &err);
	lg_init(&x.lg, err_fd, "[nsqd] ", LG_WARN);
	if (rc == 0) {
		x.dir_fd = dirlock_lock(x.path, &err);
		rc = x.dir_fd >= 0 ? run(&x, &err) : -1;
	}
	if (rc != 0)
		dprintf(err_fd, "nsqd: cannot write stock's files: %s\n", err.msg);
	if (x.dir_fd >= 0)
		dirlock_unlock(x.dir_fd);
	cJSON_Delete(x.metadata);
	strbuf_free(&x.logs);
	lg_destroy(&x.lg);
	return rc == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
