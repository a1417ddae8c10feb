/* SPDX-License-Identifier: MIT */
/*
 * What is put into a topic. Mirrors nsqd/topic.go: PutMessage, PutMessages and put. Runs in the
 * publishers' threads, which are pollers, "io:ADDR" and those of HTTP connections, and in pumps of
 * channels that put dead letters. The end of an append runs in "log:TOPIC". The thread of a drain
 * waits for the puts.
 *
 * Differences: messages travel in batches. Limits may refuse them (admission.c). Where the topic has
 * a log they go there alone, and the pump gets them from there.
 *
 * Lessons in docs/course/: 04-close, 08-default, 10-locks, 20-journey.
 */
#include "nsqd/queue/topic_internal.h"

#include <errno.h>
#include <stdlib.h>

#include "common/check.h"
#include "common/clock.h"
#include "common/compiler.h"
#include "common/xalloc.h"
#include "nsqd/core/message_count.h"
#include "nsqd/log/topic_log.h"
#include "nsqd/queue/channel.h"

/* How often topic_await_puts looks whether the drain goes on. */
#define AWAIT_LOOK_NS (100 * NSEC_PER_MSEC)

/* --- putting ---------------------------------------------------------------------------------- */

/*
 * Stores in the backend, and tells the daemon's health. Returns how many are stored, and unrefs
 * those.
 */
static size_t put_to_backend(struct topic *t, struct message **msgs, size_t n, struct err *err)
{
	if (n == 0)
		return 0; /* says nothing of the disk's health */
	size_t stored = backend_queue_put_messages(t->backend, msgs, n, err);
	nsqd_set_health(t->ctx, stored < n ? err : NULL);
	if (stored < n)
		nsqd_logf(t->ctx, LG_ERROR,
			"TOPIC(%s) ERROR: failed to write message to backend - %s", t->name,
			err->msg);
	message_unref_all(msgs, stored);
	return stored;
}

/*
 * All n, or none. The topic's queue hands them to the pump, in the order of the log.
 *
 * The disk may take its time: topic.lock is given up meanwhile, since everybody needs that, as to
 * look at the topic, or to subscribe. The exit waits for appends.
 */
static size_t put_to_log(
	struct topic *t, struct message **msgs, size_t n, size_t *in_memory, struct err *err)
{
	if (!t->log_ready) {
		err_set(err, 0, "the log is not open");
		return 0;
	}
	wait_group_add(&t->appends);
	rwlock_unlock(&t->lock);
	int rc = topic_log_append(t->log, msgs, n, in_memory, err);
	wait_group_done(&t->appends);
	rwlock_rdlock(&t->lock);
	if (rc != 0)
		return 0;
	message_unref_all(msgs, n);
	return n;
}

/* Hands m to every channel, to be deferred; takes it over. False: there is none, and m stays. */
static bool defer(struct topic *t, struct message *m)
{
	struct channel *c, *last = NULL;
	if (!atomic_load(&t->started) || topic_is_paused(t))
		return false;
	/* The last one gets m itself: what is handed over is not ours to copy any more. */
	for (c = t->channel_map; c; c = c->hh.next) {
		if (channel_exiting(c))
			continue;
		if (last)
			channel_put_message_deferred(last, message_copy(m), m->deferred_ns);
		last = c;
	}
	if (last)
		channel_put_message_deferred(last, m, m->deferred_ns);
	return last != NULL;
}

/*
 * put: memory first, then the backend. With --mem-queue-size=0 the memory chan is avoided for more
 * consistent ordering, except for deferred messages (which lose their delay in the backend) and
 * ephemeral topics (which have none).
 *
 * A deferred message needs no queue on its way where the pump would take it: the channels keep it
 * in memory, and out of their queues, until its time comes. So its delay does not depend on how
 * busy the pump is.
 */
static size_t put(struct topic *t, struct message **msgs, size_t n, bool deferred,
	size_t *in_memory, struct err *err)
{
	size_t sent = 0;
	*in_memory = 0;
	rwlock_assert_held(&t->lock);
	if (t->log)
		return put_to_log(t, msgs, n, in_memory, err);
	if (deferred && defer(t, msgs[0]))
		return 1;
	if (chan_cap(t->memory_msg_chan) > 0 || t->ephemeral || deferred)
		sent = chan_try_send_n(t->memory_msg_chan, msgs, n);
	*in_memory = sent;
	if (sent == n)
		return n;
	return sent + put_to_backend(t, msgs + sent, n - sent, err);
}

enum put_way topic_put_way(struct topic *t, size_t n)
{
	size_t cap = chan_cap(t->memory_msg_chan);
	size_t spare = cap / 4 < PUT_MARGIN ? cap / 4 : PUT_MARGIN;
	enum put_way way = PUT_AT_ONCE;
	if (!rwlock_tryrdlock(&t->lock))
		return PUT_BLOCKS;
	if (t->logged)
		way = limits_are_on(t) || !t->log_ready ? PUT_BLOCKS : PUT_BEGINS;
	else if ((!t->ephemeral && chan_len(t->memory_msg_chan) + n + spare > cap) ||
		 limits_may_wait(t, n))
		way = PUT_BLOCKS;
	rwlock_unlock(&t->lock);
	return way;
}

/*
 * topic_refuses. A list of messages of which some are queued already (begun) is no new one: its
 * publisher would publish all of it once more.
 */
static bool refuses(struct topic *t, bool begun, struct err *err)
{
	if (topic_exiting(t))
		err_set(err, 0, "exiting");
	else if (!begun && context_is_draining(t->ctx))
		err_set(err, ERR_DRAINING, "draining");
	else
		return false;
	return true;
}

bool topic_refuses(struct topic *t, struct err *err)
{
	return refuses(t, false, err);
}

/* PUT_ADMITTED: there is a reservation for them (limits.h). */
enum put_flags { PUT_DEFERRED = 1, PUT_BEGUN = 2, PUT_ADMITTED = 4 };

/* Counts, and queues; takes over the references of all n messages. */
static size_t put_messages(
	struct topic *t, struct message **msgs, size_t n, int flags, struct err *err)
{
	/* A message that is queued may be gone at once. */
	uint32_t few[TOPIC_BATCH] UNINITIALIZED;
	uint32_t *lens = n > TOPIC_BATCH ? xreallocarray(NULL, n, sizeof(*lens)) : few;
	struct limits_put p;
	size_t done = 0, in_memory = 0;
	uint64_t bytes = 0;
	for (size_t i = 0; i < n; i++)
		lens[i] = msgs[i]->body->len;

	/* Held over a write to disk, since it keeps the backend from being closed meanwhile. */
	rwlock_rdlock(&t->lock);
	limits_begin_put(t, &p, lens, n, flags & PUT_ADMITTED);
	if (!refuses(t, flags & PUT_BEGUN, err))
		done = put(t, msgs, n, flags & PUT_DEFERRED, &in_memory, err);
	limits_end_put(t, &p, in_memory);
	rwlock_unlock(&t->lock);

	for (size_t i = 0; i < done; i++)
		bytes += lens[i];
	if (lens != few)
		free(lens);
	message_unref_all(msgs + done, n - done);
	atomic_fetch_add_explicit(&t->message_count, done, memory_order_relaxed);
	atomic_fetch_add_explicit(&t->message_bytes, bytes, memory_order_relaxed);
	return done;
}

/* The bodies from the first on are dropped. */
static void drop_bodies(struct message_body *const *take_bodies, size_t n)
{
	for (size_t i = 0; i < n; i++)
		message_body_unref(take_bodies[i]);
}

/* The messages of these bodies, which are taken over. */
static void make_messages(struct topic *t, struct message **msgs,
	struct message_body *const *take_bodies, size_t n, int64_t deferred_ns)
{
	int64_t id = guid_factory_reserve(&t->id_factory, n);
	int64_t now = clock_wall_ns();
	for (size_t i = 0; i < n; i++) {
		msgs[i] = message_new(guid_hex(&t->id_factory, id++), take_bodies[i], now);
		msgs[i]->deferred_ns = deferred_ns;
	}
}

/* Batch by batch: topic_put_messages. With a log as one batch: all of them are kept, or none. */
static size_t put_batches(struct topic *t, struct message_body *const *take_bodies, size_t n,
	int flags, struct err *err)
{
	struct message *few[TOPIC_BATCH] UNINITIALIZED;
	size_t most = t->logged && n > TOPIC_BATCH ? n : TOPIC_BATCH, done = 0;
	struct message **msgs =
		most > TOPIC_BATCH ? xreallocarray(NULL, most, sizeof(struct message *)) : few;
	int64_t id = guid_factory_reserve(&t->id_factory, n);
	int64_t now = clock_wall_ns();
	while (done < n) {
		size_t k = n - done < most ? n - done : most;
		for (size_t i = 0; i < k; i++)
			msgs[i] = message_new(
				guid_hex(&t->id_factory, id++), take_bodies[done + i], now);
		size_t queued = put_messages(t, msgs, k, flags | (done > 0 ? PUT_BEGUN : 0), err);
		done += queued;
		if (queued < k) {
			size_t made = done - queued + k;
			if (flags & PUT_ADMITTED)
				limits_release(t, take_bodies + made, n - made);
			drop_bodies(take_bodies + made, n - made);
			break;
		}
	}
	if (msgs != few)
		free(msgs);
	return done;
}

/* What is admitted. */
static size_t put_admitted(struct topic *t, struct message_body *const *take_bodies, size_t n,
	int flags, struct err *err)
{
	if (n <= TOPIC_BATCH)
		return put_batches(t, take_bodies, n, flags, err);
	/* Between two batches there may be no record, and yet there are messages to come. */
	message_count_made_one();
	size_t done = put_batches(t, take_bodies, n, flags, err);
	message_count_freed_one();
	return done;
}

/* There is no channel, and so there shall be no messages: they count as published. */
static void drop_published(struct topic *t, struct message_body *const *take_bodies, size_t n)
{
	uint64_t bytes = 0;
	for (size_t i = 0; i < n; i++)
		bytes += take_bodies[i]->len;
	drop_bodies(take_bodies, n);
	atomic_fetch_add_explicit(&t->message_count, n, memory_order_relaxed);
	atomic_fetch_add_explicit(&t->message_bytes, bytes, memory_order_relaxed);
	limits_count_dropped(t, n);
}

/* Where there are limits: as many as these admit. */
static size_t put_within_limits(struct topic *t, struct message_body *const *take_bodies, size_t n,
	bool whole, struct err *err)
{
	bool drops;
	size_t admitted = limits_admit(t, take_bodies, n, whole, &drops, err);
	if (drops) {
		drop_published(t, take_bodies, n);
		return n;
	}
	drop_bodies(take_bodies + admitted, n - admitted);
	if (admitted == 0)
		return 0;
	size_t done = put_admitted(t, take_bodies, admitted, PUT_ADMITTED, err);
	limits_after_put(t);
	return done;
}

static size_t put_bodies(struct topic *t, struct message_body *const *take_bodies, size_t n,
	bool whole, struct err *err)
{
	/* Before any record is made: those who wait until there is none must not wait for refusals. */
	if (topic_refuses(t, err)) {
		drop_bodies(take_bodies, n);
		return 0;
	}
	return limits_are_on(t) ? put_within_limits(t, take_bodies, n, whole, err)
				: put_admitted(t, take_bodies, n, 0, err);
}

size_t topic_put_messages(
	struct topic *t, struct message_body *const *take_bodies, size_t n, struct err *err)
{
	return put_bodies(t, take_bodies, n, true, err);
}

size_t topic_put_publications(
	struct topic *t, struct message_body *const *take_bodies, size_t n, struct err *err)
{
	return put_bodies(t, take_bodies, n, false, err);
}

size_t topic_put_made_messages(
	struct topic *t, struct message **take_msgs, size_t n, struct err *err)
{
	_Static_assert(TOPIC_PUT_MAX == TOPIC_BATCH, "put_messages has room for so many");
	CHECK(n <= TOPIC_PUT_MAX);
	if (!limits_are_on(t))
		return put_messages(t, take_msgs, n, 0, err);
	size_t admitted = limits_admit_made(t, take_msgs, n, err);
	message_unref_all(take_msgs + admitted, n - admitted);
	size_t done = admitted > 0 ? put_messages(t, take_msgs, admitted, PUT_ADMITTED, err) : 0;
	(void)limits_tell_over(t);
	return done;
}

int topic_put_message_deferred(
	struct topic *t, struct message_body *take_body, int64_t deferred_ns, struct err *err)
{
	int flags = deferred_ns != 0 ? PUT_DEFERRED : 0;
	bool limited = limits_are_on(t), drops = false;
	if (topic_refuses(t, err) ||
		(limited && limits_admit(t, &take_body, 1, true, &drops, err) == 0 && !drops)) {
		message_body_unref(take_body);
		return -1;
	}
	if (drops) {
		drop_published(t, &take_body, 1);
		return 0;
	}
	int64_t id = guid_factory_reserve(&t->id_factory, 1);
	struct message *m = message_new(guid_hex(&t->id_factory, id), take_body, clock_wall_ns());
	m->deferred_ns = deferred_ns;
	size_t done = put_messages(t, &m, 1, flags | (limited ? PUT_ADMITTED : 0), err);
	if (limited)
		limits_after_put(t);
	return done == 1 ? 0 : -1;
}

size_t topic_put_deferred(struct topic *t, struct message_body *const *take_bodies, size_t n,
	int64_t deferred_ns, struct err *err)
{
	struct message *msgs[TOPIC_BATCH] UNINITIALIZED;
	size_t done = 0;
	CHECK(n > 0 && n <= TOPIC_BATCH);
	if (!t->logged || limits_are_on(t)) {
		while (done < n &&
			topic_put_message_deferred(t, take_bodies[done], deferred_ns, err) == 0)
			done++;
		if (done < n)
			drop_bodies(take_bodies + done + 1, n - done - 1);
		return done;
	}
	if (topic_refuses(t, err)) {
		drop_bodies(take_bodies, n);
		return 0;
	}
	make_messages(t, msgs, take_bodies, n, deferred_ns);
	return put_messages(t, msgs, n, PUT_DEFERRED, err);
}

/* --- putting without waiting ------------------------------------------------------------------ */

/* The end of a put that has made its messages. */
static void end_put(struct topic_put *p, const struct err *why)
{
	size_t n = p->n_msgs;
	if (why) {
		p->err = *why;
	} else {
		atomic_fetch_add_explicit(&p->topic->message_count, n, memory_order_relaxed);
		atomic_fetch_add_explicit(&p->topic->message_bytes, p->bytes, memory_order_relaxed);
		p->n = n;
	}
	message_unref_all(p->msgs, n);
	free(p->msgs);
	p->done(p);
}

/* Of an append: log:TOPIC. The exit waits for it, and not for the publisher, which has the topic. */
static void append_ended(void *arg, const struct err *why)
{
	struct topic_put *p = arg;
	struct topic *t = p->topic;
	wait_group_done(&t->appends);
	end_put(p, why);
}

/* topic.lock is given up. False: no thread would do it. */
static bool begin_append(
	struct topic_put *p, struct message_body *const *take_bodies, size_t n, struct err *err)
{
	struct topic *t = p->topic;
	p->bytes = 0;
	for (size_t i = 0; i < n; i++)
		p->bytes += take_bodies[i]->len;
	p->msgs = xreallocarray(NULL, n, sizeof(struct message *));
	make_messages(t, p->msgs, take_bodies, n, p->deferred_ns);
	p->n_msgs = n;
	if (topic_log_begin_append(t->log, p->msgs, n, append_ended, p, err) == 0)
		return true;
	wait_group_done(&t->appends);
	if (err->code != EAGAIN) {
		end_put(p, err);
		return true;
	}
	for (size_t i = 0; i < n; i++)
		message_body_ref(take_bodies[i]);
	message_unref_all(p->msgs, n);
	free(p->msgs);
	return false;
}

bool topic_begin_put(struct topic_put *p, struct message_body *const *take_bodies, size_t n)
{
	struct topic *t = p->topic;
	struct err err;
	if (!rwlock_tryrdlock(&t->lock))
		return false;
	/* Limits begin with that lock, and when no append is under way. */
	bool begins = t->logged && t->log_ready && !limits_are_on(t);
	bool refused = begins && refuses(t, false, &p->err);
	if (begins && !refused)
		wait_group_add(&t->appends);
	rwlock_unlock(&t->lock);
	p->n = 0;
	if (!refused)
		return begins && begin_append(p, take_bodies, n, &err);
	drop_bodies(take_bodies, n);
	p->done(p);
	return true;
}

/* --- waiting for puts ------------------------------------------------------------------------- */

void topic_await_puts(struct topic *t)
{
	rwlock_wrlock(&t->lock);
	rwlock_unlock(&t->lock);
	/* If the drain is called off, others begin, and there may always be some. */
	while (!wait_group_wait_until(&t->appends, clock_mono_ns() + AWAIT_LOOK_NS) &&
		context_is_draining(t->ctx))
		;
}
