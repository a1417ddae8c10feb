/* SPDX-License-Identifier: MIT */
/*
 * What is seen of messages that stay where they are. Stock has no such thing. Runs in the threads
 * of HTTP connections, and in a channel's pump.
 *
 * A view holds a reference to the body, which is immutable, and none to the record. So the record
 * goes its way, and the body is read when the lock is free again.
 */
#include "nsqd/core/message_view.h"

#include <stdlib.h>
#include <string.h>

#include "common/xalloc.h"

void message_views_init(struct message_views *views, size_t max, size_t body_max)
{
	*views = (struct message_views){.max = max, .body_max = body_max};
	views->v = xcalloc(max + 1, sizeof(*views->v));
}

void message_views_free(struct message_views *views)
{
	for (size_t i = 0; i < views->n; i++)
		message_body_unref(views->v[i].body);
	free(views->v);
	*views = (struct message_views){0};
}

void message_views_add(
	struct message_views *views, const struct message *m, enum message_place place)
{
	if (message_views_room(views) == 0)
		return;
	views->v[views->n++] = (struct message_view){
		.id = m->id,
		.timestamp = m->timestamp,
		.attempts = m->attempts,
		.place = place,
		.body = message_body_ref(m->body),
		.body_len = m->body->len,
		.client_id = m->client_id,
		.due_ns = m->due_ns,
	};
}

void message_views_see(void *arg, const void *value)
{
	message_views_add(arg, *(struct message *const *)value, PLACE_MEMORY);
}

void message_views_merge(struct message_views *views, struct message_views *more,
	int (*cmp)(const void *a, const void *b))
{
	size_t n = views->n + more->n;
	struct message_view *all = xcalloc(n + 1, sizeof(*all));
	memcpy(all, views->v, views->n * sizeof(*all));
	memcpy(all + views->n, more->v, more->n * sizeof(*all));
	qsort(all, n, sizeof(*all), cmp);
	views->n = n < views->max ? n : views->max;
	memcpy(views->v, all, views->n * sizeof(*all));
	more->n = 0;
	for (size_t i = views->n; i < n; i++)
		message_body_unref(all[i].body);
	free(all);
}

size_t message_views_find(const struct message_views *views, struct message_id id, size_t n)
{
	size_t i = 0;
	while (i < n && !message_id_equal(views->v[i].id, id))
		i++;
	return i;
}
