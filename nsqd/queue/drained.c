/* SPDX-License-Identifier: MIT */
/*
 * What a drain wants to know of topics and channels. No Go file: stock 1.3.0 cannot drain. Issue
 * 1302 has the idea. Runs in the thread "main".
 *
 * Pull request 1305 deletes what is empty. Here it stays, and only the nsqlookupds are told that it
 * is gone. So a daemon that starts again on the same data path has all its channels, and misses no
 * message for them.
 */
#include "nsqd/queue/drained.h"

#include <stdlib.h>

#include "nsqd/core/message_count.h"
#include "nsqd/queue/channel.h"
#include "nsqd/queue/topic.h"

/* Calls fn for each topic, with its channels. */
static void each_topic(struct topics *ts,
	void (*fn)(struct topic *t, struct channel **channels, size_t n, void *arg), void *arg)
{
	size_t n_topics;
	struct topic **topics = nsqd_topics(ts, &n_topics);
	for (size_t i = 0; i < n_topics; i++) {
		size_t n_channels;
		struct channel **channels = topic_channels(topics[i], &n_channels);
		fn(topics[i], channels, n_channels, arg);
		for (size_t k = 0; k < n_channels; k++)
			channel_unref(channels[k]);
		free(channels);
		topic_unref(topics[i]);
	}
	free(topics);
}

/* --- puts ----------------------------------------------------------------------------------- */

static void await_puts(struct topic *t, struct channel **channels, size_t n, void *arg)
{
	(void)channels;
	(void)n;
	(void)arg;
	topic_await_puts(t);
}

void drained_await_puts(struct topics *ts)
{
	each_topic(ts, await_puts, NULL);
}

/* --- registration ----------------------------------------------------------------------------- */

/* *unregistered becomes gone; news of that are posted. Channel NULL: the topic itself. False: none. */
static bool announce(struct topic *t, struct channel *c, _Atomic bool *unregistered, bool gone)
{
	if (atomic_load(unregistered) == gone)
		return false;
	atomic_store(unregistered, gone);
	nsqd_notify(t->ctx, t->name, c ? c->name : NULL, false, false);
	return true;
}

/* Messages of its own, wherever they are; about, since they move meanwhile. */
static int64_t messages_of(struct channel *c)
{
	return channel_depth(c) + (int64_t)channel_in_flight_count(c) +
	       (int64_t)channel_deferred_count(c);
}

static void announce_topic(struct topic *t, struct channel **channels, size_t n, void *arg)
{
	struct drain_left *left = arg;
	int64_t own = topic_depth(t);
	/* Before its start it may have messages to come, from nobody's hand. */
	bool none = own == 0 && atomic_load(&t->started);
	bool empty = none, news = false;
	left->messages += own;
	for (size_t i = 0; i < n; i++) {
		int64_t messages = messages_of(channels[i]);
		left->messages += messages;
		empty = empty && messages == 0;
		news = announce(
			       t, channels[i], &channels[i]->unregistered, none && messages == 0) ||
		       news;
	}
	left->topics += !empty;
	/* To register a new channel registers its topic as well: that is to be gone once more. */
	if (!announce(t, NULL, &t->unregistered, empty) && empty && news)
		nsqd_notify(t->ctx, t->name, NULL, false, false);
}

void drained_announce(struct topics *ts, struct drain_left *left)
{
	*left = (struct drain_left){0};
	each_topic(ts, announce_topic, left);
}

static void announce_again(struct topic *t, struct channel **channels, size_t n, void *arg)
{
	(void)arg;
	announce(t, NULL, &t->unregistered, false);
	for (size_t i = 0; i < n; i++)
		announce(t, channels[i], &channels[i]->unregistered, false);
}

void drained_announce_all(struct topics *ts)
{
	each_topic(ts, announce_again, NULL);
}

/* --- the end ---------------------------------------------------------------------------------- */

/* With a log a deferred message has no record, and becomes one of the backend's without one. */
static void add_backends(struct topic *t, struct channel **channels, size_t n, void *arg)
{
	int64_t *depth = arg;
	*depth += topic_backend_depth(t);
	for (size_t i = 0; i < n; i++)
		*depth += channel_backend_holds(channels[i]);
}

/*
 * A message is in a backend, or has a record in memory; where it changes over, both for a moment. If
 * no record is there from the first look to the last, no message can change over meanwhile, and so
 * each backend is what it was when it was looked at.
 */
bool drained_all(struct topics *ts)
{
	int64_t depth = 0;
	uint64_t freed = message_count_freed();
	each_topic(ts, add_backends, &depth);
	return depth == 0 && message_count_made() == freed;
}
