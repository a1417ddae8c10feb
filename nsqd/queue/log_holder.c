/* SPDX-License-Identifier: MIT */
/*
 * Which message holds back a topic's log. No Go file: stock has no log. Runs in the threads of HTTP
 * connections. It opens the log for itself, to read only: no topic waits for it, and a topic that
 * ends meanwhile does no harm.
 */
#include "nsqd/queue/log_holder.h"

#include <stdio.h>
#include <stdlib.h>

#include "nsqd/log/log_queue.h"
#include "nsqd/log/log_read.h"
#include "nsqd/log/topic_log.h"
#include "nsqd/queue/channel.h"
#include "nsqd/queue/topic.h"

/* So many entries of a cursor are looked at under one lock. */
#define LOOK_STEP 1024

/* --- who it is ------------------------------------------------------------------------------------ */

static void take(
	struct log_holder *out, const char *channel, const struct topic_log_cursor_stats *s)
{
	out->seq = s->floor;
	out->since_ns = s->floor_since_ns;
	snprintf(out->channel, sizeof(out->channel), "%s", channel);
}

/* The channel is *c, with a reference; NULL: the topic's own. False: nobody holds anything. */
static bool find_cursor(struct topic *t, struct log_holder *out, struct channel **c)
{
	struct topic_log_stats s;
	struct topic_log_cursor_stats cs;
	size_t n;
	*c = NULL;
	if (!topic_get_log_stats(t, &s))
		return false;
	bool found = s.handed.unfinished > 0;
	if (found)
		take(out, "", &s.handed);
	struct channel **channels = topic_channels(t, &n);
	for (size_t i = 0; i < n; i++) {
		if (!channel_get_log_stats(channels[i], &cs) || cs.unfinished == 0 ||
			(found && cs.floor >= out->seq))
			continue;
		found = true;
		channel_unref(*c);
		*c = channel_ref(channels[i]);
		take(out, channels[i]->name, &cs);
	}
	for (size_t i = 0; i < n; i++)
		channel_unref(channels[i]);
	free(channels);
	return found;
}

/* --- what it is ----------------------------------------------------------------------------------- */

static void read_message(struct topic *t, struct log_holder *out)
{
	const struct log_opts opts = {
		.dir = t->ctx->data_dir_fd, .topic = t->name, .read_only = true};
	struct log_item item;
	struct err err;
	struct log *l;
	if (log_open(&opts, &l, &err) != 0)
		return;
	struct log_reader *r = log_reader_open(l, out->seq, 0);
	if (log_reader_next(r, &item, &err) == LOG_READ_MESSAGE) {
		out->known = item.seq == out->seq;
		out->id = item.msg->id;
		out->timestamp = item.msg->timestamp;
		out->body_len = item.msg->body->len;
		message_unref(item.msg);
	}
	log_reader_close(r);
	log_close(l);
}

/* --- what it does --------------------------------------------------------------------------------- */

static bool is_in_flight(struct channel *c, struct log_holder *out)
{
	mutex_lock(&c->in_flight_lock);
	const struct message *m = in_flight_pqueue_find(&c->in_flight, out->id);
	if (m && m->seq == out->seq) {
		out->state = HOLDER_IN_FLIGHT;
		out->client_id = m->client_id;
	}
	mutex_unlock(&c->in_flight_lock);
	return out->state == HOLDER_IN_FLIGHT;
}

static void look_whether_it_waits(struct channel *c, struct log_holder *out)
{
	struct cursor_entry e = {0};
	size_t at = 0;
	int found = 0;
	while (found == 0) {
		mutex_lock(&c->in_flight_lock);
		found = c->log_queue ? cursor_find_waiting(log_queue_cursor(c->log_queue), &at,
					       LOOK_STEP, out->seq, &e)
				     : -1;
		mutex_unlock(&c->in_flight_lock);
	}
	if (found < 0 || e.due <= clock_wall_ns())
		return;
	out->state = HOLDER_DEFERRED;
	out->due = e.due;
}

bool log_holder_find(struct topic *t, struct log_holder *out)
{
	struct channel *c;
	*out = (struct log_holder){.state = HOLDER_QUEUED};
	if (!find_cursor(t, out, &c))
		return false;
	read_message(t, out);
	if (c && !(out->known && is_in_flight(c, out)))
		look_whether_it_waits(c, out);
	channel_unref(c);
	return true;
}
