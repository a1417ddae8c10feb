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

size_t message_views_find(const struct message_views *views, struct message_id id, size_t n)
{
	size_t i = 0;
	while (i < n && !message_id_equal(views->v[i].id, id))
		i++;
	return i;
}
