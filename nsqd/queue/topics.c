/* SPDX-License-Identifier: MIT */
/*
 * The registry of topics: mirrors GetTopic, GetExistingTopic, DeleteExistingTopic, channels and the
 * topics' part of Exit of nsqd/nsqd.go. Runs in any thread; topics_close in main, and in the
 * threads "close" that it starts.
 */
#include "nsqd/queue/topics.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "common/gothread.h"
#include "common/runnext.h"
#include "common/xalloc.h"
#include "nsqd/queue/channel.h"
#include "nsqd/queue/gone.h"
#include "nsqd/queue/topic.h"

/* How many threads close topics at exit, main included. */
#define MAX_CLOSERS 8

void topics_init(struct topics *ts, struct context *ctx)
{
	*ts = (struct topics){.ctx = ctx};
	rwlock_init(&ts->lock, RANK_TOPICS);
	dead_targets_init(&ts->dead_targets, ctx);
}

void topics_destroy(struct topics *ts)
{
	CHECK(ts->topic_map == NULL);
	dead_targets_destroy(&ts->dead_targets);
	rwlock_destroy(&ts->lock);
}

/* --- finding and creating ------------------------------------------------------------------- */

struct topic *nsqd_get_existing_topic(struct topics *ts, const char *name)
{
	struct topic *t;
	rwlock_rdlock(&ts->lock);
	HASH_FIND_STR(ts->topic_map, name, t);
	if (t)
		topic_ref(t);
	rwlock_unlock(&ts->lock);
	return t;
}

enum put_way nsqd_put_way(struct topics *ts, const char *topic_name, size_t n)
{
	struct topic *t;
	if (!rwlock_tryrdlock(&ts->lock))
		return PUT_BLOCKS;
	HASH_FIND_STR(ts->topic_map, topic_name, t);
	enum put_way way = t ? topic_put_way(t, n) : PUT_BLOCKS;
	rwlock_unlock(&ts->lock);
	return way;
}

int64_t nsqd_max_defer(struct topics *ts, const char *topic_name)
{
	const struct options *opts = nsqd_get_opts(ts->ctx);
	int64_t max = opts->max_req_timeout;
	if (opts->max_defer_timeout <= max)
		return max;
	struct topic *t = nsqd_get_existing_topic(ts, topic_name);
	if (t) {
		max = topic_max_defer(t);
	} else if (!is_ephemeral_name(topic_name)) {
		/* As it would be made. */
		int durability = settings_store_durability(&ts->ctx->settings, topic_name);
		if (durability != DURABILITY_NONE)
			max = opts->max_defer_timeout;
	}
	topic_unref(t);
	return max;
}

bool nsqd_sub_may_block(struct topics *ts, const char *topic_name, const char *channel_name)
{
	struct topic *t;
	if (!rwlock_tryrdlock(&ts->lock))
		return true;
	HASH_FIND_STR(ts->topic_map, topic_name, t);
	bool may_block = !t || topic_sub_may_block(t, channel_name);
	rwlock_unlock(&ts->lock);
	return may_block;
}

/* deleteCallback: an ephemeral topic has lost its last channel. */
static void delete_callback(void *arg, struct topic *t)
{
	struct err ignored;
	(void)nsqd_delete_topic(arg, t, &ignored);
}

/* Finds or creates it under the lock; the caller gets a reference. NULL with err set. */
static struct topic *get_or_create_topic(
	struct topics *ts, const char *name, bool *is_new, struct err *err)
{
	struct topic *t;
	*is_new = false;
	rwlock_wrlock(&ts->lock);
	HASH_FIND_STR(ts->topic_map, name, t);
	if (!t && context_is_exiting(ts->ctx)) {
		err_set(err, 0, "exiting");
	} else if (!t && context_is_draining(ts->ctx)) {
		err_set(err, ERR_DRAINING, "draining");
	} else if (!t && (t = topic_new(ts->ctx, name, delete_callback, ts, err)) != NULL) {
		HASH_ADD_STR(ts->topic_map, name, t);
		*is_new = true;
	}
	if (t)
		topic_ref(t);
	rwlock_unlock(&ts->lock);
	return t;
}

struct topic *nsqd_get_topic(struct topics *ts, const char *name, struct err *err)
{
	/* most likely we already have this topic, so try read lock first */
	struct topic *t = nsqd_get_existing_topic(ts, name);
	if (t)
		return t;
	bool is_new;
	runnext_handoff(); /* the disk, and nsqlookupd, may take their time */
	t = get_or_create_topic(ts, name, &is_new, err);
	if (!t || !is_new)
		return t;
	nsqd_logf(ts->ctx, LG_INFO, "TOPIC(%s): created", t->name);
	/* topic is created but messagePump not yet started. If this topic was created
	 * while loading metadata at startup don't do any further initialization
	 * (topic will be "started" after loading completes) */
	if (context_is_loading(ts->ctx))
		return t;
	if (ts->prepare)
		ts->prepare(ts->prepare_arg, t);
	/* now that all channels are added, start topic messagePump */
	topic_start(t);
	return t;
}

struct topic *nsqd_create_topic(struct topics *ts, const char *name, struct err *err)
{
	for (;;) {
		struct topic *t = nsqd_get_topic(ts, name, err);
		if (!t || !topic_exiting(t))
			return t;
		bool gone = gone_wait(ts->ctx, t->gone_chan, INT64_MAX);
		topic_unref(t);
		if (!gone) {
			err_set(err, ECANCELED, "exiting");
			return NULL;
		}
	}
}

/* --- deleting and closing ------------------------------------------------------------------- */

/* The end of an exit that this thread has begun: the name is free, and those that wait are told. */
static void topic_is_gone(struct topics *ts, struct topic *t, enum exit_result res)
{
	struct topic *found;
	rwlock_wrlock(&ts->lock);
	HASH_FIND_STR(ts->topic_map, t->name, found);
	CHECK(found == t);
	HASH_DEL(ts->topic_map, t);
	rwlock_unlock(&ts->lock);
	t->files_left = res == EXIT_FAILED;
	chan_close(t->gone_chan);
	topic_unref(t);
}

int nsqd_delete_topic(struct topics *ts, struct topic *t, struct err *err)
{
	/*
	 * delete empties all channels and the topic itself before closing (so that we dont leave
	 * any messages around). We do this before removing the topic from the map below (with no
	 * lock), so that any incoming writes will error and not create a new topic, to enforce
	 * ordering.
	 */
	enum exit_result res = topic_delete(t, err);
	if (res == EXIT_ELSEWHERE)
		return gone_wait_deleted(ts->ctx, t->gone_chan, &t->files_left, err);
	/* Where the disk refuses, the topic is gone all the same. */
	if (res == EXIT_FAILED)
		nsqd_logf(ts->ctx, LG_ERROR, "topic(%s) delete - %s", t->name, err->msg);
	dead_targets_forget(&ts->dead_targets, t->name);
	topic_is_gone(ts, t, res);
	return gone_deleted(res == EXIT_FAILED, err);
}

int nsqd_delete_existing_topic(struct topics *ts, const char *name, struct err *err)
{
	struct topic *t = nsqd_get_existing_topic(ts, name);
	if (!t)
		return err_set(err, ENOENT, "topic does not exist");
	int rc = nsqd_delete_topic(ts, t, err);
	topic_unref(t);
	return rc;
}

/* The topics that are still to be closed: each thread takes the next one. */
struct closing {
	struct topics *registry;
	struct topic **topics;
	size_t count;
	_Atomic size_t next; /* atomic */
};

/* Or waits until the thread has done its work that deletes the topic just now. */
static void close_topic(struct topics *ts, struct topic *t)
{
	struct err err;
	enum exit_result res = topic_close(t, &err);
	if (res == EXIT_ELSEWHERE) {
		chan_recv(t->gone_chan, NULL);
		return;
	}
	if (res == EXIT_FAILED)
		nsqd_logf(ts->ctx, LG_ERROR, "topic(%s) close - %s", t->name, err.msg);
	topic_is_gone(ts, t, res);
}

/* The threads "close", and main. */
static void close_some(void *arg)
{
	struct closing *c = arg;
	size_t i;
	while ((i = atomic_fetch_add(&c->next, 1)) < c->count)
		close_topic(c->registry, c->topics[i]);
}

/*
 * Several at once, because most of it is waiting for the disk, and some supervisors kill after ten
 * seconds. Where threads cannot be created, main closes the topics that are left.
 */
static void close_all(struct topics *ts, struct topic **topics, size_t count)
{
	struct closing c = {.registry = ts, .topics = topics, .count = count};
	struct wait_group wg;
	struct err err;
	wait_group_init(&wg);
	for (size_t i = 1; i < count && i < MAX_CLOSERS; i++) {
		if (wait_group_wrap(&wg, "close", close_some, &c, &err) != 0)
			break;
	}
	close_some(&c);
	wait_group_wait(&wg);
	wait_group_destroy(&wg);
}

void topics_close(struct topics *ts)
{
	size_t count;
	struct topic **topics = nsqd_topics(ts, &count);
	close_all(ts, topics, count);
	for (size_t i = 0; i < count; i++)
		topic_unref(topics[i]);
	free(topics);
}

/* --- lists ---------------------------------------------------------------------------------- */

static int by_name(const void *a, const void *b)
{
	return strcmp((*(struct topic *const *)a)->name, (*(struct topic *const *)b)->name);
}

struct topic **nsqd_topics(struct topics *ts, size_t *count)
{
	struct topic *t, *tmp;
	size_t i = 0;
	rwlock_rdlock(&ts->lock);
	struct topic **list = xcalloc(HASH_COUNT(ts->topic_map) + 1, sizeof(struct topic *));
	HASH_ITER (hh, ts->topic_map, t, tmp)
		list[i++] = topic_ref(t);
	rwlock_unlock(&ts->lock);
	qsort(list, i, sizeof(*list), by_name);
	*count = i;
	return list;
}

struct channel **nsqd_channels(struct topics *ts, size_t *count)
{
	size_t n_topics, total = 0;
	struct channel **all = NULL;
	struct topic **topics = nsqd_topics(ts, &n_topics);
	for (size_t i = 0; i < n_topics; i++) {
		size_t n_channels;
		struct channel **channels = topic_channels(topics[i], &n_channels);
		all = xreallocarray(all, total + n_channels + 1, sizeof(*all));
		memcpy(all + total, channels, n_channels * sizeof(*all));
		total += n_channels;
		free(channels);
		topic_unref(topics[i]);
	}
	free(topics);
	*count = total;
	return all;
}
