/* SPDX-License-Identifier: MIT */
/*
 * A topic: its life, its channels, its settings and its pause. Mirrors nsqd/topic.go. Runs in the
 * callers' threads: operators and consumers create and delete channels.
 *
 * Its messagePump is topic_pump.c. What is published comes in by topic_put.c. topic_exit.c empties
 * it, and ends it. Where its log joins in is topic_durability.c.
 *
 * Lessons in docs/course/: 02-rendezvous, 03-buffered, 10-locks, 12-once.
 */
#include "nsqd/queue/topic_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "common/quantile.h"
#include "common/xalloc.h"
#include "nsqd/log/topic_log.h"
#include "nsqd/queue/channel.h"
#include "protocol/names.h"

/* --- life ------------------------------------------------------------------------------------- */

static void topic_free(struct topic *t)
{
	message_drain_chan(t->memory_msg_chan);
	CHECK(t->channel_map == NULL);
	if (t->backend)
		t->backend->ops->close(t->backend, NULL);
	if (t->log)
		topic_log_close(t->log, &(struct err){0});
	chan_free(t->memory_msg_chan);
	chan_free(t->start_chan);
	chan_free(t->exit_chan);
	chan_free(t->gone_chan);
	chan_free(t->channel_update_chan);
	chan_free(t->pause_chan);
	chan_free(t->unstuck_chan);
	wait_group_destroy(&t->wait_group);
	rwlock_destroy(&t->lock);
	wait_group_destroy(&t->appends);
	limits_destroy(t);
	settings_unref(t->settings);
	free(t);
}

struct topic *topic_new(struct context *ctx, const char *name,
	void (*delete_callback)(void *arg, struct topic *t), void *delete_arg, struct err *err)
{
	const struct options *opts = nsqd_get_opts(ctx);
	struct topic *t = xcalloc(1, sizeof(*t));
	atomic_init(&t->refs, 1);
	snprintf(t->name, sizeof(t->name), "%s", name);
	t->ephemeral = is_ephemeral_name(name);
	t->ctx = ctx;
	t->delete_callback = delete_callback;
	t->delete_arg = delete_arg;
	rwlock_init(&t->lock, RANK_TOPIC);
	wait_group_init(&t->appends);
	t->memory_msg_chan = chan_new(sizeof(struct message *), (size_t)opts->mem_queue_size);
	t->start_chan = chan_new(0, 1);
	t->exit_chan = chan_new(0, 0);
	t->channel_update_chan = chan_new(0, 0);
	t->pause_chan = chan_new(0, 0);
	t->unstuck_chan = chan_new(0, 1);
	wait_group_init(&t->wait_group);
	guid_factory_init(&t->id_factory, opts->id);
	t->settings = settings_store_get(&ctx->settings, t->name, NULL);
	limits_init(t);
	int rc = topic_open_backend(t, opts, err);

	char thread_name[NAME_SIZE + 2];
	snprintf(thread_name, sizeof(thread_name), "t:%s", t->name);
	if (rc != 0 ||
		wait_group_wrap(&t->wait_group, thread_name, topic_message_pump, t, err) != 0) {
		err_wrap(err, "cannot create topic %s - ", name);
		topic_free(t);
		return NULL;
	}
	nsqd_notify(ctx, t->name, NULL, false, !t->ephemeral);
	return t;
}

struct topic *topic_ref(struct topic *t)
{
	atomic_fetch_add(&t->refs, 1);
	return t;
}

void topic_unref(struct topic *t)
{
	if (t && atomic_fetch_sub(&t->refs, 1) == 1)
		topic_free(t);
}

void topic_start(struct topic *t)
{
	atomic_store(&t->started, true);
	chan_signal(t->start_chan);
	/* A publisher who comes next is refused, although the pump has not looked at its channels yet. */
	if (limits_are_set(t))
		topic_settle_settings(t);
}

/* --- channels --------------------------------------------------------------------------------- */

/* Tells the pump that channel_map has changed, and waits until it has heard; not beyond its end. */
static void update_pump(struct topic *t, struct chan *c)
{
	struct chan_case cases[] = {chan_case_send(c, NULL), chan_case_recv(t->exit_chan, NULL)};
	chan_select(cases, 2);
}

void topic_update_channels(struct topic *t)
{
	update_pump(t, t->channel_update_chan);
	/* When it hears of the second, it has done what the first has brought: limits_refresh. */
	if (atomic_load(&t->limits.on))
		update_pump(t, t->channel_update_chan);
}

static void delete_callback(struct topic *t, struct channel *c)
{
	struct err ignored;
	(void)topic_delete_channel(t, c, &ignored);
}

static void channel_unstuck(struct topic *t)
{
	chan_signal(t->unstuck_chan);
}

static struct topic_log *log_of(struct topic *t)
{
	return t->log;
}

static bool is_stock_first_topic(struct topic *t)
{
	return t->stock_first;
}

static const struct channel_topic_ops channel_topic_ops = {
	.log = log_of,
	.stock_first = is_stock_first_topic,
	.delete_callback = delete_callback,
	.update_channels = topic_update_channels,
	.unstuck = channel_unstuck,
	.flush_log = topic_flush_log,
	.unref = topic_unref,
};

/* getOrCreateChannel: borrowed from the map; NULL with err set. */
static struct channel *get_or_create_channel_locked(
	struct topic *t, const char *name, struct err *err)
{
	struct channel *c;
	rwlock_assert_held(&t->lock);
	HASH_FIND_STR(t->channel_map, name, c);
	if (c)
		return c;
	if (topic_exiting(t)) {
		err_set(err, 0, "exiting");
		return NULL;
	}
	c = channel_new(t->ctx, t->name, name, &channel_topic_ops, topic_ref(t), err);
	if (!c)
		return NULL;
	HASH_ADD_STR(t->channel_map, name, c);
	nsqd_logf(t->ctx, LG_INFO, "TOPIC(%s): new channel(%s)", t->name, c->name);
	return c;
}

struct channel *topic_get_channel(struct topic *t, const char *name, struct err *err)
{
	struct channel *c = topic_get_existing_channel(t, name);
	if (!c) {
		rwlock_wrlock(&t->lock);
		c = get_or_create_channel_locked(t, name, err);
		if (c)
			channel_ref(c);
		rwlock_unlock(&t->lock);
	}
	/* Every thread that finds it waits for that, not its maker alone: it misses no message. */
	if (c && !atomic_load(&c->pump_knows)) {
		/*
		 * Twice where it has a limit, as topic_update_channels does for a topic that has one.
		 * (Before the start, topic_start sees to that.)
		 */
		if (atomic_load(&t->started) && limits_of_channel(c))
			update_pump(t, t->channel_update_chan);
		topic_update_channels(t);
		atomic_store(&c->pump_knows, true);
	}
	return c;
}

struct channel *topic_create_channel(struct topic *t, const char *name, struct err *err)
{
	for (;;) {
		struct channel *c = topic_get_channel(t, name, err);
		if (!c || !channel_exiting(c))
			return c;
		bool gone = gone_wait(t->ctx, c->gone_chan, INT64_MAX);
		channel_unref(c);
		if (!gone) {
			err_set(err, ECANCELED, "exiting");
			return NULL;
		}
	}
}

bool topic_sub_may_block(struct topic *t, const char *channel_name)
{
	struct channel *c;
	if (topic_exiting(t) || !rwlock_tryrdlock(&t->lock))
		return true;
	HASH_FIND_STR(t->channel_map, channel_name, c);
	bool may_block = !c || channel_exiting(c) || !atomic_load(&c->pump_knows);
	rwlock_unlock(&t->lock);
	return may_block;
}

struct channel *topic_get_existing_channel(struct topic *t, const char *name)
{
	struct channel *c;
	rwlock_rdlock(&t->lock);
	HASH_FIND_STR(t->channel_map, name, c);
	if (c)
		channel_ref(c);
	rwlock_unlock(&t->lock);
	return c;
}

size_t topic_channel_is_gone(struct topic *t, struct channel *c, enum exit_result res)
{
	struct channel *found;
	rwlock_wrlock(&t->lock);
	HASH_FIND_STR(t->channel_map, c->name, found);
	CHECK(found == c);
	HASH_DEL(t->channel_map, c);
	size_t left = HASH_COUNT(t->channel_map);
	rwlock_unlock(&t->lock);
	c->files_left = res == EXIT_FAILED;
	chan_close(c->gone_chan);
	channel_unref(c);
	return left;
}

/* This thread has ended the channel. */
static int end_deletion(struct topic *t, struct channel *c, enum exit_result res, struct err *err)
{
	/* Where the disk refuses, the channel is gone all the same. */
	if (res == EXIT_FAILED)
		nsqd_logf(t->ctx, LG_ERROR, "channel(%s) delete - %s", c->name, err->msg);
	size_t left = topic_channel_is_gone(t, c, res);

	/*
	 * Go starts a goroutine here, since it holds locks; this thread holds none, and is no pump.
	 */
	if (left == 0 && t->ephemeral && !atomic_exchange(&t->deleter_once, true))
		t->delete_callback(t->delete_arg, t);
	return gone_deleted(res == EXIT_FAILED, err);
}

int topic_delete_channel(struct topic *t, struct channel *c, struct err *err)
{
	nsqd_logf(t->ctx, LG_INFO, "TOPIC(%s): deleting channel %s", t->name, c->name);
	/*
	 * delete empties the channel before closing (so that we dont leave any messages around). We
	 * do this before removing the channel from the map below (with no lock), so that any
	 * incoming subs will error and not create a new channel, to enforce ordering.
	 */
	enum exit_result res = channel_delete(c, err);
	if (res == EXIT_ELSEWHERE)
		return gone_wait_deleted(t->ctx, c->gone_chan, &c->files_left, err);
	return end_deletion(t, c, res, err);
}

void topic_expire_channel(struct topic *t, struct channel *c)
{
	struct err err;
	enum exit_result res = channel_expire(c, &err);
	if (res != EXIT_ELSEWHERE)
		(void)end_deletion(t, c, res, &err);
}

int topic_delete_existing_channel(struct topic *t, const char *name, struct err *err)
{
	struct channel *c = topic_get_existing_channel(t, name);
	if (!c)
		return err_set(err, ENOENT, "channel does not exist");
	int rc = topic_delete_channel(t, c, err);
	channel_unref(c);
	return rc;
}

static int by_name(const void *a, const void *b)
{
	return strcmp((*(struct channel *const *)a)->name, (*(struct channel *const *)b)->name);
}

struct channel **topic_channels(struct topic *t, size_t *count)
{
	struct channel *c, *tmp;
	size_t n = 0;
	rwlock_rdlock(&t->lock);
	struct channel **list = xcalloc(HASH_COUNT(t->channel_map) + 1, sizeof(struct channel *));
	HASH_ITER (hh, t->channel_map, c, tmp)
		list[n++] = channel_ref(c);
	rwlock_unlock(&t->lock);
	qsort(list, n, sizeof(*list), by_name);
	*count = n;
	return list;
}

void topic_free_channels(struct channel **list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		channel_unref(list[i]);
	free(list);
}

/* --- settings --------------------------------------------------------------------------------- */

void topic_fetch_settings(struct topic *t)
{
	size_t n;
	struct settings *fresh = settings_store_get(&t->ctx->settings, t->name, NULL);
	rwlock_wrlock(&t->lock);
	struct settings *old = t->settings;
	t->settings = fresh;
	rwlock_unlock(&t->lock);
	if (old->v.durability != fresh->v.durability)
		topic_change_durability(t, fresh->v.durability);
	settings_unref(old);
	/* A channel that is made from now on finds the new ones in the store. */
	struct channel **channels = topic_channels(t, &n);
	for (size_t i = 0; i < n; i++)
		channel_fetch_settings(channels[i]);
	topic_free_channels(channels, n);
}

void topic_settle_settings(struct topic *t)
{
	atomic_store(&t->unsettled, true);
	update_pump(t, t->channel_update_chan);
	update_pump(t, t->channel_update_chan);
}

/* --- numbers ---------------------------------------------------------------------------------- */

int64_t topic_backend_depth(struct topic *t)
{
	rwlock_rdlock(&t->lock);
	int64_t depth = t->backend ? t->backend->ops->depth(t->backend) : 0;
	rwlock_unlock(&t->lock);
	return depth;
}

int64_t topic_depth(struct topic *t)
{
	return (int64_t)chan_len(t->memory_msg_chan) + topic_backend_depth(t);
}

struct quantile *topic_aggregate_channel_e2e_processing_latency(struct topic *t)
{
	const struct options *opts = nsqd_get_opts(t->ctx);
	struct quantile *all = NULL;
	size_t n;
	if (opts->n_e2e_processing_latency_percentiles == 0)
		return NULL;
	struct channel **channels = topic_channels(t, &n);
	if (n > 0)
		all = quantile_new(opts->e2e_processing_latency_window_time,
			opts->e2e_processing_latency_percentiles,
			opts->n_e2e_processing_latency_percentiles);
	for (size_t i = 0; i < n; i++)
		quantile_merge(all, channels[i]->e2e_processing_latency_stream);
	topic_free_channels(channels, n);
	return all;
}

/* --- pause ------------------------------------------------------------------------------------ */

/*
 * A pump that is paused hands out nothing from now on, and may drop what the topic holds. After a
 * crash that must not be what its channels had got already: so the cursor on disk says how far it has
 * come.
 */
static void do_pause(struct topic *t, bool pause)
{
	atomic_store(&t->paused, pause);
	update_pump(t, t->pause_chan);
	if (pause)
		topic_flush_log(t);
}

void topic_pause(struct topic *t)
{
	do_pause(t, true);
}

void topic_unpause(struct topic *t)
{
	do_pause(t, false);
}
