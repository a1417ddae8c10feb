/* SPDX-License-Identifier: MIT */
/*
 * Dead letters go back. Mirrors no Go file. Runs in the threads of HTTP connections, beside the
 * channel's pump, as one more that takes messages from its queues.
 */
#include "nsqd/queue/redrive.h"

#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/compiler.h"
#include "common/ticker.h"
#include "common/xalloc.h"
#include "nsqd/core/message_count.h"
#include "nsqd/log/log_queue.h"
#include "nsqd/queue/channel.h"
#include "nsqd/queue/channel_internal.h"
#include "nsqd/queue/dead_envelope.h"
#include "nsqd/queue/dead_targets.h"
#include "nsqd/queue/topic.h"

#define REDRIVE_BATCH 128
/* How long the disk queue has to offer its next message, under a lock, and how often. */
#define READ_PATIENCE_NS (100 * NSEC_PER_MSEC)
#define READ_TRIES 100
/* Between two looks whether the depth is known. */
#define DEPTH_PAUSE_NS (100 * NSEC_PER_USEC)

struct redrive {
	struct topics *topics;
	struct channel *c;
	bool from_backend;
	bool late; /* the last time there were some, but not yet to be had */
	struct message *msgs[REDRIVE_BATCH];
	struct dead_entry entries[REDRIVE_BATCH];
	bool found[REDRIVE_BATCH];
	bool gone[REDRIVE_BATCH];      /* back where they came from */
	struct log_queue_place *aside; /* owned; those that stay in a logged channel */
	size_t n_aside;
	struct redriven *out;
};

/* --- taking ------------------------------------------------------------------------------------- */

/* Up to max that wait; 0: there are none. With exit_lock held, so that the backend stays. */
static size_t take_locked(struct redrive *r, size_t max)
{
	enum { MEMORY, BACKEND, LATE, EXIT };
	struct channel *c = r->c;
	struct ticker late = {0};
	rwlock_assert_held(&c->exit_lock);
	r->late = false;
	bool on_disk = c->backend->ops->depth(c->backend) > 0;
	if (!on_disk && (!c->memory_msg_chan || chan_len(c->memory_msg_chan) == 0))
		return 0;
	ticker_after(&late, READ_PATIENCE_NS);
	struct chan_case cases[] = {
		[MEMORY] = chan_case_recv_n(c->memory_msg_chan, r->msgs, max),
		[BACKEND] = chan_case_recv_n(
			on_disk ? c->backend->ops->read_chan(c->backend) : NULL, r->msgs, max),
		[LATE] = chan_case_tick(&late),
		[EXIT] = chan_case_recv(c->ctx->exit_begun_chan, NULL),
	};
	int chosen = chan_select(cases, 4);
	r->late = chosen == LATE;
	r->from_backend = chosen == BACKEND;
	if (chosen == MEMORY)
		channel_sub_bytes(c, r->msgs, cases[MEMORY].n);
	if (chosen == BACKEND)
		backend_queue_took(c->backend, r->msgs, cases[BACKEND].n);
	if (chosen == BACKEND)
		atomic_fetch_add(&c->received, (int64_t)cases[BACKEND].n);
	return chosen == MEMORY || chosen == BACKEND ? cases[chosen].n : 0;
}

/* --- giving back -------------------------------------------------------------------------------- */

/* Where it came from: a reference, or NULL. */
static struct channel *origin_of(struct topics *ts, const struct dead_letter *from)
{
	struct topic *t = nsqd_get_existing_topic(ts, from->topic);
	struct channel *c = t ? topic_get_existing_channel(t, from->channel) : NULL;
	topic_unref(t);
	return c;
}

/* The body that it had; NULL: what should be an envelope is none. */
static struct message_body *body_of(const struct dead_letter *from, const struct message_body *body)
{
	if (from->envelope)
		return dead_envelope_open(body);
	struct message_body *b = message_body_new(body->len);
	memcpy(b->data, body->data, body->len);
	return b;
}

static struct message *make_new(struct channel *c, struct message_body *take_body)
{
	struct guid_factory *ids = &c->topic->id_factory;
	struct message_id id = guid_hex(ids, guid_factory_reserve(ids, 1));
	return message_new(id, take_body, clock_wall_ns());
}

/* Puts n new messages, and takes them over. How many, the first ones, are there. */
static size_t put_there(struct channel *c, struct message **take_msgs, size_t n)
{
	struct err err;
	size_t done = 0;
	if (c->logged) {
		/* For this channel alone: the topic's others had theirs. All, or none. */
		done = channel_put_alone(c, take_msgs, n, &err) == 0 ? n : 0;
		message_unref_all(take_msgs, n);
		return done;
	}
	/* What its disk refuses it would keep in memory, and here it is safe. */
	while (done < n && !channel_is_stuck(c) &&
		channel_put_messages(c, &take_msgs[done], 1, &err) == 1)
		done++;
	message_unref_all(take_msgs + done, n - done);
	return done;
}

/* So many messages from the i-th on, at most n, are from one channel. */
static size_t count_of_one_origin(const struct redrive *r, size_t i, size_t n)
{
	const struct dead_letter *from = &r->entries[i].from;
	size_t k = 1;
	while (k < n && r->found[i + k] && strcmp(r->entries[i + k].from.topic, from->topic) == 0 &&
		strcmp(r->entries[i + k].from.channel, from->channel) == 0)
		k++;
	return k;
}

/* The n messages from the i-th on go to where they came from; gone[] says which are there. */
static void redrive_to(struct redrive *r, struct channel *c, size_t i, size_t n)
{
	struct message *made[REDRIVE_BATCH] UNINITIALIZED;
	size_t which[REDRIVE_BATCH] UNINITIALIZED;
	size_t n_made = 0;
	for (size_t k = i; k < i + n; k++) {
		struct message_body *body = body_of(&r->entries[k].from, r->msgs[k]->body);
		r->out->no_origin += !body;
		if (!body)
			continue;
		which[n_made] = k;
		made[n_made++] = make_new(c, body);
	}
	size_t done = n_made > 0 ? put_there(c, made, n_made) : 0;
	for (size_t k = 0; k < done; k++)
		r->gone[which[k]] = true;
	r->out->redriven += done;
	r->out->refused += n_made - done;
}

static void redrive_found(struct redrive *r, size_t n)
{
	memset(r->gone, 0, sizeof(r->gone));
	for (size_t i = 0, k; i < n; i += k) {
		k = 1;
		if (!r->found[i]) {
			r->out->no_origin++;
			continue;
		}
		k = count_of_one_origin(r, i, n - i);
		struct channel *c = origin_of(r->topics, &r->entries[i].from);
		if (c)
			redrive_to(r, c, i, k);
		else
			r->out->no_channel += k;
		channel_unref(c);
	}
}

/* Redrives n of them; those that stay are the first *left then. -1 with err set: all of them. */
static int redrive_batch(struct redrive *r, size_t n, size_t *left, struct err *err)
{
	*left = n;
	for (size_t i = 0; i < n; i++)
		r->entries[i].id = r->msgs[i]->id;
	if (dead_targets_origins(
		    &r->topics->dead_targets, r->c->topic_name, r->entries, r->found, n, err) != 0)
		return -1;
	redrive_found(r, n);
	*left = 0;
	for (size_t i = 0; i < n; i++) {
		struct message *m = r->msgs[i];
		if (r->gone[i]) {
			channel_are_over(r->c, &m, 1);
			message_unref(m);
		} else {
			r->msgs[(*left)++] = m;
		}
	}
	return 0;
}

/* --- the call ----------------------------------------------------------------------------------- */

static bool lock_unless_exiting(struct channel *c, struct err *err)
{
	rwlock_rdlock(&c->exit_lock);
	if (!channel_exiting(c))
		return true;
	rwlock_unlock(&c->exit_lock);
	err_set(err, 0, "exiting");
	return false;
}

/* Meanwhile a crash must forget nothing that is in our hands. */
static void set_forgetful(struct channel *c, bool forgetful)
{
	struct err ignored;
	if (!lock_unless_exiting(c, &ignored))
		return;
	c->backend->ops->forget(c->backend, forgetful && !*c->settings->v.dead_letter_topic);
	rwlock_unlock(&c->exit_lock);
}

/* Those that stay in a logged channel: it would offer them again before the others. */
static void set_aside(struct redrive *r, struct message *const *take_msgs, size_t n)
{
	if (n == 0)
		return;
	r->aside = xreallocarray(r->aside, r->n_aside + n, sizeof(*r->aside));
	for (size_t i = 0; i < n; i++) {
		const struct message *m = take_msgs[i];
		r->aside[r->n_aside++] =
			(struct log_queue_place){m->seq, m->offset, m->body->len, m->attempts};
	}
	message_unref_all(take_msgs, n);
}

/* At the end they are back. An exit waits for those who redrive, so one that exits is deleted. */
static void put_aside_back(struct redrive *r)
{
	struct err ignored;
	if (r->n_aside > 0 && lock_unless_exiting(r->c, &ignored)) {
		log_queue_put_back(r->c->log_queue, r->aside, r->n_aside);
		rwlock_unlock(&r->c->exit_lock);
	}
	free(r->aside);
}

/*
 * Those that stay. (No consumer has had them, so they do not count as handed out and returned.) An
 * exit waits for those who redrive, so a channel that exits is being deleted.
 */
static void put_back(struct redrive *r, struct message *const *take_msgs, size_t n)
{
	if (r->c->logged)
		set_aside(r, take_msgs, n);
	else
		channel_put_back(r->c, take_msgs, n);
}

/* Does the queue's depth know of so many that were received? One that is being deleted need not. */
static bool depth_is_known(struct channel *c, int64_t received)
{
	struct err ignored;
	if (!lock_unless_exiting(c, &ignored))
		return true;
	bool known = c->backend->ops->received(c->backend) >= received;
	rwlock_unlock(&c->exit_lock);
	return known;
}

/*
 * The queue's thread learns of what was received a moment later than we do. The answer has the depth,
 * so it waits for that moment, as long as it waited for a message. An exit ends it.
 */
static void await_depth(struct channel *c)
{
	enum { TICK, EXIT };
	int64_t received = atomic_load(&c->received);
	int64_t until = clock_mono_ns() + READ_TRIES * READ_PATIENCE_NS;
	struct ticker pause = {0};
	int chosen = TICK;
	while (chosen == TICK && !depth_is_known(c, received) && clock_mono_ns() < until) {
		ticker_after(&pause, DEPTH_PAUSE_NS);
		struct chan_case cases[] = {
			[TICK] = chan_case_tick(&pause),
			[EXIT] = chan_case_recv(c->ctx->exit_begun_chan, NULL),
		};
		chosen = chan_select(cases, 2);
	}
}

/* Up to max; *n of them were there. */
static int redrive_some(struct redrive *r, size_t max, size_t *n, struct err *err)
{
	struct channel *c = r->c;
	size_t left;
	struct err late;
	*n = 0;
	if (!lock_unless_exiting(c, err))
		return -1;
	*n = take_locked(r, max);
	rwlock_unlock(&c->exit_lock);
	if (*n == 0)
		return 0;
	int rc = redrive_batch(r, *n, &left, err);
	put_back(r, r->msgs, left);
	if (r->from_backend && lock_unless_exiting(c, &late)) {
		c->backend->ops->done(c->backend, *n);
		rwlock_unlock(&c->exit_lock);
	}
	return rc;
}

int nsqd_redrive(
	struct topics *ts, struct channel *c, size_t n, struct redriven *out, struct err *err)
{
	int rc = 0;
	struct redrive *r = xcalloc(1, sizeof(*r));
	*out = (struct redriven){0};
	r->topics = ts;
	r->c = c;
	r->out = out;
	/* The pump puts back what it has in its hand for nobody. */
	channel_update_pump(c, CHANNEL_CLIENT_LEFT);
	/* Those that stay come behind the others: each is looked at once. */
	int64_t depth = channel_depth(c);
	if (depth >= 0 && n > (size_t)depth)
		n = (size_t)depth;
	/* What is set aside has no record, and yet it is there: a drain must see that. */
	message_count_made_one();
	set_forgetful(c, false);
	int tries = READ_TRIES;
	for (size_t done = 0, some = 1; rc == 0 && done < n && some + r->late > 0; done += some) {
		rc = redrive_some(
			r, n - done < REDRIVE_BATCH ? n - done : REDRIVE_BATCH, &some, err);
		tries = some > 0 ? READ_TRIES : tries - 1;
		if (tries == 0)
			break;
	}
	put_aside_back(r);
	message_count_freed_one();
	await_depth(c);
	set_forgetful(c, true);
	free(r);
	return rc;
}
