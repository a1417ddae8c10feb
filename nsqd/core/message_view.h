/* SPDX-License-Identifier: MIT */
/*
 * What is seen of messages that stay where they are: copies of their fields, for an operator who
 * looks into a queue. Stock has no such thing. One thread's own; it adds messages while it holds
 * the lock of the queue that they are in.
 */
#ifndef NSQD_MESSAGE_VIEW_H
#define NSQD_MESSAGE_VIEW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "nsqd/core/message.h"

/* Where it waits. */
enum message_place {
	PLACE_BATCH,  /* a pump is about to hand it out */
	PLACE_MEMORY, /* the queue in memory, or that of messages in flight, or deferred */
	PLACE_KEPT,   /* in memory, since the disk refuses it */
	PLACE_DISK,
	PLACE_DEAD, /* given up; on its way to the dead-letter topic */
};

struct message_view {
	struct message_id id;
	int64_t timestamp; /* wall clock, ns */
	uint16_t attempts;
	enum message_place place;
	struct message_body *body; /* one reference; of one on disk at most so much as was asked */
	size_t body_len;           /* of the message, as published */
	int64_t client_id;         /* in flight: who has it */
	int64_t due_ns;            /* in flight, deferred: monotonic clock */
};

struct message_views {
	struct message_view *v; /* owned; of max */
	size_t n;
	size_t max;
	size_t body_max; /* so many bytes of each body are wanted */
};

/* Room for max messages: allocates here, and not under a lock. */
void message_views_init(struct message_views *views, size_t max, size_t body_max);
void message_views_free(struct message_views *views);
static inline size_t message_views_room(const struct message_views *views)
{
	return views->max - views->n;
}
/*
 * Adds m, if there is room. The caller is m's owner, or holds the lock of the queue that m is in:
 * so nobody counts up its attempts now. Takes no lock, and never blocks.
 */
void message_views_add(
	struct message_views *views, const struct message *m, enum message_place place);
/* For chan_look: value is a struct message *, arg the views; PLACE_MEMORY. */
void message_views_see(void *arg, const void *value);
/*
 * Those of both that are the first in the order of cmp (as for qsort), as many as there is room for in
 * views. more is empty then.
 */
void message_views_merge(struct message_views *views, struct message_views *more,
	int (*cmp)(const void *a, const void *b));
/* The first of [0, n) with that id, or n. */
size_t message_views_find(const struct message_views *views, struct message_id id, size_t n);

#endif
