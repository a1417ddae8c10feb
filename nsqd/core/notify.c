/* SPDX-License-Identifier: MIT */
/*
 * The list of topics and channels that have come or gone. Mirrors Notify of nsqd/nsqd.go.
 * notify_post runs in any thread, notify_next in the thread "lookup".
 *
 * Differences: Notify starts a goroutine per event, which waits until the loop has time. Here
 * events wait in a list, merged by name. Merged events leave the same state behind as one after the
 * other would: lookup.c says how.
 */
#include "nsqd/core/notify.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/xalloc.h"

void notify_init(struct notify *n)
{
	*n = (struct notify){
		.events_chan = chan_new(0, 1),
		.persist_chan = chan_new(0, 1),
		.channels_changed_chan = chan_new(0, 1),
	};
	mutex_init(&n->lock, RANK_LEAF);
}

static void free_events(struct notify_event *events)
{
	struct notify_event *e, *tmp;
	HASH_ITER (hh, events, e, tmp) {
		HASH_DEL(events, e);
		free(e);
	}
}

void notify_destroy(struct notify *n)
{
	free_events(n->events);
	mutex_destroy(&n->lock);
	chan_free(n->events_chan);
	chan_free(n->persist_chan);
	chan_free(n->channels_changed_chan);
}

static struct notify_event *event_new(const char *topic, const char *channel, bool gone)
{
	struct notify_event *e = xcalloc(1, sizeof(*e));
	snprintf(e->name, sizeof(e->name), "%s%s%s", topic, channel ? " " : "",
		channel ? channel : "");
	e->gone = gone;
	return e;
}

static void add_event(struct notify *n, struct notify_event *take_e)
{
	struct notify_event *found, *dropped = NULL;
	mutex_lock(&n->lock);
	HASH_FIND_STR(n->events, take_e->name, found);
	if (found) {
		/*
		 * It goes to the end, behind later events: a topic's new state must not be told
		 * before older news.
		 */
		HASH_DEL(n->events, found);
		take_e->gone = take_e->gone || found->gone;
	} else if (HASH_COUNT(n->events) >= NOTIFY_MAX_EVENTS) {
		dropped = n->events;
		n->events = NULL;
		n->overflow = true;
	}
	HASH_ADD_STR(n->events, name, take_e);
	mutex_unlock(&n->lock);
	free(found);
	free_events(dropped);
}

void notify_post(struct notify *n, const char *topic, const char *channel, bool gone, bool persist)
{
	add_event(n, event_new(topic, channel, gone));
	chan_signal(n->events_chan);
	if (persist)
		chan_signal(n->persist_chan);
	if (channel)
		chan_signal(n->channels_changed_chan);
}

struct notify_event *notify_next(struct notify *n, bool *overflow)
{
	mutex_lock(&n->lock);
	struct notify_event *e = n->events;
	if (e)
		HASH_DEL(n->events, e);
	bool more = n->events != NULL;
	*overflow = n->overflow;
	n->overflow = false;
	mutex_unlock(&n->lock);
	if (more)
		chan_signal(n->events_chan);
	return e;
}
