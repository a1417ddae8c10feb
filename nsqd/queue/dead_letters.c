/* SPDX-License-Identifier: MIT */
/*
 * How a message becomes a dead letter. Mirrors no Go file. Runs in the pumps of channels, in their own
 * threads.
 *
 * The origin of a dead letter is written before the message is put, under the id that it will have.
 * So no dead letter is without one, whenever the daemon is killed. What is refused is taken back from
 * the file.
 */
#include "nsqd/queue/dead_letters.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/compiler.h"
#include "common/xalloc.h"
#include "nsqd/core/context.h"
#include "nsqd/queue/dead_envelope.h"
#include "nsqd/queue/dead_letter.h"
#include "nsqd/queue/dead_targets.h"
#include "nsqd/queue/topic.h"
#include "nsqd/queue/topics.h"

/* The most that are put at once. */
#define PUT_BATCH TOPIC_PUT_MAX

static struct message_body *copy_body(const struct message_body *body)
{
	struct message_body *b = message_body_new(body->len);
	memcpy(b->data, body->data, body->len);
	return b;
}

/* What becomes of m: its origin into *e, which has its new id, and the new message. */
static struct message *make_one(struct context *ctx, const struct dead_source *from,
	const struct message *m, int64_t now, struct dead_entry *e)
{
	struct dead_letter *o = &e->from;
	*o = (struct dead_letter){
		.id = m->id,
		.timestamp = m->timestamp,
		.attempts = m->attempts,
		.reason = (int)m->client_id,
		.time = now,
	};
	snprintf(o->topic, sizeof(o->topic), "%s", from->topic);
	snprintf(o->channel, sizeof(o->channel), "%s", from->channel);
	struct message_body *body = NULL;
	if (from->envelope)
		body = dead_envelope_new(o, m->body, (size_t)nsqd_get_opts(ctx)->max_msg_size);
	o->envelope = body != NULL;
	return message_new(e->id, body ? body : copy_body(m->body), now);
}

/* n <= PUT_BATCH. */
static size_t put_batch_locked(struct topics *ts, struct dead_target *target, struct topic *t,
	const struct dead_source *from, struct message *const *msgs, size_t n, struct err *err)
{
	struct message *made[PUT_BATCH] UNINITIALIZED;
	mutex_assert_held(&target->lock);
	if (target->forgotten)
		err_set(err, 0, "deleted");
	if (target->forgotten || topic_refuses(t, err))
		return 0;
	struct dead_entry *entries = xreallocarray(NULL, n, sizeof(*entries));
	int64_t id = guid_factory_reserve(&t->id_factory, n), now = clock_wall_ns();
	for (size_t i = 0; i < n; i++) {
		entries[i].id = guid_hex(&t->id_factory, id + (int64_t)i);
		made[i] = make_one(ts->ctx, from, msgs[i], now, &entries[i]);
	}
	bool sync = nsqd_get_opts(ts->ctx)->sync_every == 1 || topic_is_synced(t);
	size_t done = 0;
	if (dead_log_append(target->log, entries, n, sync, err) != 0) {
		message_unref_all(made, n);
	} else {
		struct err why;
		done = topic_put_made_messages(t, made, n, err);
		if (dead_log_take_back(target->log, n - done, &why) != 0)
			nsqd_logf(ts->ctx, LG_ERROR, "failed to %s", why.msg);
	}
	free(entries);
	return done;
}

static size_t put_all(struct topics *ts, struct topic *t, const struct dead_source *from,
	struct message *const *msgs, size_t n, struct err *err)
{
	struct dead_target *target = dead_targets_get(&ts->dead_targets, from->target);
	size_t done = 0;
	while (done < n) {
		size_t k = n - done < PUT_BATCH ? n - done : PUT_BATCH;
		mutex_lock(&target->lock);
		size_t some = put_batch_locked(ts, target, t, from, msgs + done, k, err);
		mutex_unlock(&target->lock);
		done += some;
		if (some < k)
			break;
	}
	dead_target_unref(target);
	return done;
}

static size_t put(void *arg, const struct dead_source *from, struct message *const *msgs, size_t n,
	struct err *err)
{
	struct topics *ts = arg;
	struct topic *t = nsqd_get_topic(ts, from->target, err);
	if (!t)
		return 0;
	size_t done = put_all(ts, t, from, msgs, n, err);
	topic_unref(t);
	return done;
}

static bool is_target(void *arg, const char *topic)
{
	struct topics *ts = arg;
	return dead_targets_has(&ts->dead_targets, topic);
}

static void clear(void *arg, const char *topic)
{
	struct topics *ts = arg;
	dead_targets_clear(&ts->dead_targets, topic);
}

static const struct dead_letter_ops ops = {.put = put, .is_target = is_target, .clear = clear};

void dead_letters_init(struct topics *ts)
{
	ts->ctx->dead_letter_arg = ts;
	ts->ctx->dead_letter_ops = &ops;
}
