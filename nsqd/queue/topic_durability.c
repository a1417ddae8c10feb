/* SPDX-License-Identifier: MIT */
/*
 * The durability of a topic: where its log joins in. Mirrors no function of nsqd/topic.go, since
 * stock has no log. Runs in main while the metadata are loaded, then in the threads that create,
 * publish to, look at, set, pause, empty and end the topic. log_fared also runs in the thread that
 * writes the log.
 */
#include "nsqd/queue/topic_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/xalloc.h"
#include "nsqd/disk/backend.h"
#include "nsqd/log/log_queue.h"
#include "nsqd/log/log_remove.h"
#include "nsqd/log/log_view.h"
#include "nsqd/log/stock_first.h"
#include "nsqd/log/topic_log.h"
#include "nsqd/queue/channel.h"
#include "nsqd/queue/dead_letter.h"
#include "protocol/names.h"

/* --- opening ---------------------------------------------------------------------------------- */

/* What /ping says. */
static void log_fared(void *arg, const struct err *err)
{
	struct topic *t = arg;
	nsqd_set_log_health(t->ctx, t->log_failing, err);
	t->log_failing = err != NULL;
}

static int open_log(struct topic *t, const struct options *o, struct err *err)
{
	struct topic_log_opts opts = {.dir = t->ctx->data_dir_fd,
		.topic = t->name,
		.disk = t->settings->v.durability == DURABILITY_DISK,
		/* A segment is a file of the queue, too. */
		.segment_bytes = o->max_bytes_per_file < LOG_SEGMENT_BYTES ? o->max_bytes_per_file
									   : LOG_SEGMENT_BYTES,
		.sync_timeout = o->sync_timeout,
		.lg = &t->ctx->lg,
		.fared = log_fared,
		.fared_arg = t};
	if (topic_log_open(&opts, &t->log, err) != 0)
		return -1;
	t->logged = true;
	struct diskqueue_opts disk = backend_diskqueue_opts(o, t->name);
	disk.lg = &t->ctx->lg;
	disk.changed_chan = t->unstuck_chan;
	struct backend_queue *q = log_queue_new_topic(
		t->log, chan_cap(t->memory_msg_chan) > 0 ? t->memory_msg_chan : NULL);
	t->backend = stock_first_new(&disk, false, true, q, err);
	if (!t->backend)
		return -1;
	t->stock_first = is_stock_first(t->backend);
	/* While the metadata are loaded the channels come first: topic_enter_log. */
	if (context_is_loading(t->ctx))
		return 0;
	t->log_ready = topic_log_start(t->log, err) == 0;
	return t->log_ready ? 0 : -1;
}

int topic_open_backend(struct topic *t, const struct options *o, struct err *err)
{
	bool durable = t->settings->v.durability != DURABILITY_NONE && !t->ephemeral, log = false;
	if (!durable && !t->ephemeral &&
		log_view_find(t->ctx->data_dir_fd, t->name, NULL, &log, err) != 0)
		return -1;
	if (log && log_view_check_left(t->ctx->data_dir_fd, t->name, nsqd_data_path(t->ctx),
			   strcmp(o->durability, "none") != 0, err) != 0)
		return -1;
	if (durable)
		return open_log(t, o, err);
	t->backend = backend_new(t->ctx, t->name, err);
	return t->backend ? 0 : -1;
}

/* --- the start -------------------------------------------------------------------------------- */

/* A channel has a cursor, whatever nsqd.dat says: the daemon was killed before it wrote that. */
static void get_logged_channel(void *arg, const char *name)
{
	struct topic *t = arg;
	struct err err;
	if (!is_valid_channel_name(name, strlen(name)))
		return;
	struct channel *c = topic_get_channel(t, name, &err);
	/* Its cursor must not be removed. */
	if (!c && !t->log_broken)
		t->log_broken = xstrdup(err.msg);
	channel_unref(c);
}

/* Before the start, when nothing moves: its log holds nothing that anybody still wants. */
static bool has_nothing(struct topic *t)
{
	size_t n;
	struct channel **channels = topic_channels(t, &n);
	int64_t left = topic_depth(t);
	for (size_t i = 0; i < n; i++)
		left += channel_depth(channels[i]) + (int64_t)channel_deferred_count(channels[i]);
	topic_free_channels(channels, n);
	return left == 0;
}

int topic_enter_log(struct topic *t, struct err *err)
{
	/* (nsqd.dat may have it twice.) */
	if (!t->log || t->log_ready)
		return 0;
	int rc = topic_log_each_channel(t->log, get_logged_channel, t, err);
	if (rc == 0 && t->log_broken)
		rc = err_set(err, 0, "%s", t->log_broken);
	free(t->log_broken);
	t->log_broken = NULL;
	if (rc == 0)
		rc = topic_log_start(t->log, err);
	t->log_ready = rc == 0;
	if (rc == 0 && t->ctx->dead_letter_ops && has_nothing(t))
		t->ctx->dead_letter_ops->clear(t->ctx->dead_letter_arg, t->name);
	return rc;
}

/* The channels that it has had when it was durable; nsqd.dat may not know of them. */
static int get_left_channels(struct topic *t, struct err *err)
{
	struct log_view *v;
	int rc = log_view_open(t->ctx->data_dir_fd, t->name, NULL, &v, err);
	if (rc != 0)
		return rc;
	for (size_t i = 0; rc == 0 && i < v->n_channels; i++) {
		struct channel *c = topic_get_channel(t, v->channels[i].name, err);
		rc = c ? 0 : -1;
		channel_unref(c);
	}
	log_view_close(v);
	return rc;
}

int topic_leave_log(struct topic *t, struct err *err)
{
	char aside[sizeof(t->name) + sizeof(".log:finished")];
	bool log = false;
	if (t->log || t->ephemeral)
		return 0;
	if (log_view_find(t->ctx->data_dir_fd, t->name, NULL, &log, err) != 0)
		return -1;
	if (!log)
		return 0;
	if (get_left_channels(t, err) != 0)
		return -1;
	snprintf(aside, sizeof(aside), "%s.log:finished", t->name);
	if (log_put_aside(t->ctx->data_dir_fd, t->name, aside, err) != 0)
		return -1;
	nsqd_logf(t->ctx, LG_WARN,
		"TOPIC(%s): all in its log is finished: it was put aside as %s, and is of no use "
		"any more",
		t->name, aside);
	return 0;
}

/* --- which one holds -------------------------------------------------------------------------- */

void topic_change_durability(struct topic *t, int durability)
{
	struct err err;
	int rc = 0;
	if (t->ephemeral)
		return;
	if (t->logged != (durability != DURABILITY_NONE)) {
		nsqd_logf(t->ctx, LG_WARN,
			"TOPIC(%s): durability is %s from the next start on, and stays what it is "
			"until then%s",
			t->name, durability_name(durability),
			t->logged ? ". That start is refused while messages in its log are not "
				    "finished"
				  : "");
		return;
	}
	rwlock_rdlock(&t->lock);
	if (t->log)
		rc = topic_log_set_disk(t->log, durability == DURABILITY_DISK, &err);
	rwlock_unlock(&t->lock);
	if (rc != 0)
		nsqd_logf(t->ctx, LG_ERROR,
			"TOPIC(%s): durability is %s from the next start on only - %s", t->name,
			durability_name(durability), err.msg);
	else if (t->logged)
		nsqd_logf(t->ctx, LG_INFO, "TOPIC(%s): durability is %s now", t->name,
			durability_name(durability));
}

bool topic_is_synced(struct topic *t)
{
	rwlock_rdlock(&t->lock);
	bool synced = t->logged && t->settings->v.durability == DURABILITY_DISK;
	rwlock_unlock(&t->lock);
	return synced;
}

int topic_durability(struct topic *t)
{
	struct topic_log_stats s;
	if (!topic_get_log_stats(t, &s))
		return DURABILITY_NONE;
	return s.log.disk ? DURABILITY_DISK : DURABILITY_PROCESS;
}

int64_t topic_max_defer(const struct topic *t)
{
	const struct options *opts = nsqd_get_opts(t->ctx);
	return t->logged && opts->max_defer_timeout > opts->max_req_timeout
		       ? opts->max_defer_timeout
		       : opts->max_req_timeout;
}

/* --- the log ---------------------------------------------------------------------------------- */

bool topic_get_log_stats(struct topic *t, struct topic_log_stats *out)
{
	rwlock_rdlock(&t->lock);
	bool has = t->log != NULL;
	if (has)
		topic_log_get_stats(t->log, out);
	rwlock_unlock(&t->lock);
	return has;
}

void topic_look_at_log(struct topic *t)
{
	if (!rwlock_tryrdlock(&t->lock))
		return;
	if (t->log)
		log_look(topic_log_log(t->log));
	rwlock_unlock(&t->lock);
}

/* topic.lock is not held meanwhile, as with an append. Where that fails the log says so. */
void topic_flush_log(struct topic *t)
{
	rwlock_rdlock(&t->lock);
	bool has = !topic_exiting(t) && t->log && t->log_ready;
	if (has)
		wait_group_add(&t->appends);
	rwlock_unlock(&t->lock);
	if (!has)
		return;
	(void)topic_log_flush(t->log);
	wait_group_done(&t->appends);
}

int topic_end_log(struct topic *t, bool deleted, struct err *err)
{
	rwlock_wrlock(&t->lock);
	struct topic_log *log = t->log;
	t->log = NULL;
	rwlock_unlock(&t->lock);
	if (!log)
		return 0;
	int rc = deleted ? topic_log_delete(log, err) : topic_log_close(log, err);
	if (t->log_failing) /* it was never ready */
		log_fared(t, NULL);
	return rc;
}
