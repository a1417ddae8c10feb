/* SPDX-License-Identifier: MIT */
/*
 * A channel is emptied, and ends. Mirrors nsqd/channel.go: Empty, flush and exit. Runs in operators'
 * HTTP threads, in those of the last consumers of ephemeral channels, in "expire", and where the
 * topic ends.
 *
 * Lessons in docs/course/: 11-memory.
 */
#include "nsqd/queue/channel_internal.h"

#include <stdlib.h>

#include "common/clock.h"
#include "common/compiler.h"
#include "common/xalloc.h"
#include "nsqd/disk/backend_flush.h"
#include "nsqd/log/log_queue.h"

/* The most messages that the final flush writes at once. */
#define FLUSH_BATCH 1024
/* Of what is in flight so many go under one lock, when all go. */
#define CLEAR_BATCH 1024

/* --- emptying --------------------------------------------------------------------------------- */

/* With a log each is finished there, by CLEAR_BATCH under one lock. */
static void finish_in_flight(struct channel *c)
{
	struct message *m;
	size_t left = channel_in_flight_count(c);
	while (left > 0) {
		mutex_lock(&c->in_flight_lock);
		size_t n = left < CLEAR_BATCH ? left : CLEAR_BATCH;
		for (size_t i = 0; i < n; i++) {
			m = in_flight_pqueue_peek_and_shift(&c->in_flight, INT64_MAX);
			if (m && c->log_queue)
				log_queue_finished_locked(c->log_queue, m);
			message_unref(m);
		}
		mutex_unlock(&c->in_flight_lock);
		left -= n;
	}
}

/* initPQ: forgets what is in flight and deferred; the consumers have nothing in flight any more. */
static void clear_in_flight_and_deferred(struct channel *c)
{
	struct consumer *client, *tmp;
	if (c->logged)
		finish_in_flight(c);
	mutex_lock(&c->in_flight_lock);
	if (!c->logged)
		in_flight_pqueue_clear(&c->in_flight);
	channel_in_flight_changed_locked(c);
	mutex_unlock(&c->in_flight_lock);

	mutex_lock(&c->deferred_lock);
	in_flight_pqueue_clear(&c->deferred);
	channel_deferred_changed_locked(c);
	mutex_unlock(&c->deferred_lock);

	rwlock_rdlock(&c->lock);
	HASH_ITER (hh, c->clients, client, tmp)
		client->ops->empty(client);
	rwlock_unlock(&c->lock);
}

static void empty_memory(struct channel *c)
{
	struct message *msgs[CHANNEL_BATCH] UNINITIALIZED;
	size_t n = c->memory_msg_chan ? CHANNEL_BATCH : 0;
	while (n > 0) {
		rwlock_rdlock(&c->exit_lock);
		n = chan_try_recv_n(c->memory_msg_chan, msgs, CHANNEL_BATCH, NULL);
		channel_sub_bytes(c, msgs, n);
		channel_are_over(c, msgs, n);
		rwlock_unlock(&c->exit_lock);
		message_unref_all(msgs, n);
	}
}

/*
 * From the queues to the consumers, the way a message goes: so what the pump takes meanwhile is in
 * its hand, and what it hands out is in flight, when that is emptied in turn. First of all what the
 * disk refuses: the pump may be about to move that into a queue.
 */
int channel_empty(struct channel *c, struct err *err)
{
	if (channel_is_stuck(c))
		channel_update_pump(c, CHANNEL_EMPTIED);
	empty_memory(c);
	rwlock_rdlock(&c->exit_lock);
	int rc = c->backend ? c->backend->ops->empty(c->backend, err) : 0;
	rwlock_unlock(&c->exit_lock);
	/* What came into memory before that is finished in the log. */
	if (c->logged)
		empty_memory(c);
	channel_update_pump(c, CHANNEL_EMPTIED);
	clear_in_flight_and_deferred(c);
	/* What was emptied must not come again after kill -9. */
	if (c->logged)
		c->topic_ops->flush_log(c->topic);
	return rc;
}

/* --- flush ------------------------------------------------------------------------------------ */

/*
 * Takes over n messages; returns how many are lost. What is in the log is there again after the next
 * start, in its order, and the cursor knows how often it has been handed out.
 */
static size_t flush_messages(struct channel *c, struct message **take_msgs, size_t n)
{
	size_t unlogged = 0;
	for (size_t i = 0; i < n; i++) {
		if (channel_is_logged(c, take_msgs[i]))
			message_unref(take_msgs[i]);
		else
			take_msgs[unlogged++] = take_msgs[i];
	}
	return backend_flush_messages(c->ctx, c->backend, take_msgs, unlogged);
}

/*
 * Only taking them out is under the queue's lock, since writing may wait for the disk. What is taken
 * out is in no other thread's reach. msgs is room for FLUSH_BATCH.
 */
static size_t flush_pqueue(
	struct channel *c, struct mutex *lock, struct in_flight_pqueue *q, struct message **msgs)
{
	size_t n, lost = 0;
	do {
		mutex_lock(lock);
		n = in_flight_pqueue_take_due(q, INT64_MAX, msgs, FLUSH_BATCH);
		if (n == 0)
			in_flight_pqueue_clear(q);
		mutex_unlock(lock);
		lost += flush_messages(c, msgs, n);
	} while (n > 0);
	return lost;
}

/* A batch from the backend goes to its end; if that is refused it is still at the front. */
static size_t flush_batch(struct channel *c)
{
	size_t n = atomic_exchange(&c->batch_len, 0);
	size_t lost = flush_messages(c, c->batch, n);
	if (!c->batch_from_backend)
		return lost;
	if (lost == 0)
		c->backend->ops->done(c->backend, n);
	return 0;
}

/* msgs is room for FLUSH_BATCH. */
static size_t flush_list(struct channel *c, struct kept *k, struct message **msgs)
{
	size_t n, lost = 0;
	while ((n = kept_take(k, msgs, FLUSH_BATCH)) > 0) {
		lost += flush_messages(c, msgs, n);
		kept_settle(k, NULL, 0);
	}
	return lost;
}

static size_t flush_kept(struct channel *c, struct message **msgs)
{
	size_t lost = flush_list(c, &c->kept, msgs);
	channel_tell_dropped(c);
	return lost;
}

/* As flush_batch: those from the backend are not lost, but still at its front. */
static size_t flush_dead(struct channel *c, struct message **msgs)
{
	size_t lost = flush_list(c, &c->dead, msgs);
	if (lost == 0)
		channel_drop_dead(c);
	return lost > c->dead_undone ? lost - c->dead_undone : 0;
}

/*
 * flush: everything in memory goes to the backend. Messages that it refuses are lost, and the log
 * says so. No other thread moves messages any more, but "scan", its workers and statsd may still
 * look at the queues.
 */
static void flush(struct channel *c)
{
	struct message **msgs = xreallocarray(NULL, FLUSH_BATCH, sizeof(*msgs));
	size_t n, lost;
	size_t in_flight = channel_in_flight_count(c), deferred = channel_deferred_count(c);
	size_t memory = c->memory_msg_chan ? chan_len(c->memory_msg_chan) : 0;
	memory += atomic_load(&c->batch_len) + kept_count(&c->kept) + kept_count(&c->dead);
	if (memory + in_flight + deferred > 0)
		nsqd_logf(c->ctx, LG_INFO,
			"CHANNEL(%s): flushing %zu memory %zu in-flight %zu deferred messages to "
			"backend",
			c->name, memory, in_flight, deferred);

	lost = flush_batch(c);
	while (c->memory_msg_chan &&
		(n = chan_try_recv_n(c->memory_msg_chan, msgs, FLUSH_BATCH, NULL)) > 0)
		lost += flush_messages(c, msgs, n);
	lost += flush_kept(c, msgs);
	lost += flush_dead(c, msgs);
	lost += flush_pqueue(c, &c->in_flight_lock, &c->in_flight, msgs);
	lost += flush_pqueue(c, &c->deferred_lock, &c->deferred, msgs);
	free(msgs);
	c->lost = lost;
	if (lost > 0)
		nsqd_logf(c->ctx, LG_ERROR, "CHANNEL(%s): %zu messages could not be flushed",
			c->name, lost);
}

/* --- exit ------------------------------------------------------------------------------------- */

static void drop_everything(struct channel *c)
{
	message_unref_all(c->batch, atomic_exchange(&c->batch_len, 0));
	message_drain_chan(c->memory_msg_chan);
	kept_clear(&c->kept);
	channel_drop_dead(c);
	clear_in_flight_and_deferred(c);
}

/* From here on depth and empty do without the backend, so that it can be freed. */
static struct backend_queue *take_backend(struct channel *c)
{
	rwlock_wrlock(&c->exit_lock);
	struct backend_queue *q = c->backend;
	c->backend = NULL;
	mutex_lock(&c->in_flight_lock);
	c->log_queue = NULL;
	mutex_unlock(&c->in_flight_lock);
	rwlock_unlock(&c->exit_lock);
	return q;
}

static void close_clients(struct channel *c)
{
	struct consumer *client, *tmp;
	rwlock_rdlock(&c->lock);
	HASH_ITER (hh, c->clients, client, tmp)
		client->ops->close(client);
	rwlock_unlock(&c->lock);
}

bool channel_has_expired(const struct channel *c, int64_t now_ns)
{
	int64_t expire = atomic_load_explicit(&c->expire_ns, memory_order_relaxed);
	if (expire == 0 || c->ephemeral)
		return false;
	int64_t since = atomic_load(&c->unused_since_ns);
	return since != INT64_MAX && now_ns - since >= expire;
}

/* Why a channel exits. */
enum exit_kind { DELETED, CLOSED, EXPIRED };

/*
 * Whether the exit is the calling thread's; else another one has begun it. One that expires: or a
 * consumer has come, which holds exit_lock for that.
 */
static bool begin_exit(struct channel *c, enum exit_kind kind)
{
	rwlock_wrlock(&c->exit_lock);
	bool first = !channel_exiting(c);
	if (kind == EXPIRED && !channel_has_expired(c, clock_mono_ns()))
		first = false;
	if (first) {
		c->gone_chan = chan_new(0, 0);
		atomic_store(&c->exit_unused, kind == EXPIRED);
		atomic_store(&c->exit_flag, true);
	}
	rwlock_unlock(&c->exit_lock);
	return first;
}

static void log_expired(struct channel *c)
{
	char text[32];
	nsqd_logf(c->ctx, LG_INFO, "CHANNEL(%s): expired, no consumer for %s (channel_expire)",
		c->name, duration_format(atomic_load(&c->expire_ns), text, sizeof(text)));
	atomic_fetch_add(&c->ctx->expired_channels, 1);
}

static enum exit_result channel_exit(struct channel *c, enum exit_kind kind, struct err *err)
{
	bool deleted = kind != CLOSED;
	if (!begin_exit(c, kind)) {
		err_set(err, 0, "exiting");
		return EXIT_ELSEWHERE;
	}
	if (kind == EXPIRED)
		log_expired(c);
	if (deleted) {
		nsqd_logf(c->ctx, LG_INFO, "CHANNEL(%s): deleting", c->name);
		/* before nsqd.dat is without it: who makes it anew finds none of them */
		nsqd_forget_settings(c->ctx, c->topic_name, c->name);
		/* since we are explicitly deleting a channel (not just at system exit time)
		 * de-register this from the lookupd */
		nsqd_notify(c->ctx, c->topic_name, c->name, true, !c->ephemeral);
	} else {
		nsqd_logf(c->ctx, LG_INFO, "CHANNEL(%s): closing", c->name);
	}
	/* this forceably closes client connections */
	close_clients(c);
	chan_close(c->exit_chan);
	/* What is published from now on waits in the topic, if there is no other channel. */
	c->topic_ops->update_channels(c->topic);
	wait_group_wait(&c->wait_group);

	if (deleted)
		drop_everything(c);
	else
		flush(c);
	struct backend_queue *q = take_backend(c);
	int rc = deleted ? q->ops->delete (q, err) : q->ops->close(q, err);
	return rc == 0 ? EXIT_DONE : EXIT_FAILED;
}

enum exit_result channel_delete(struct channel *c, struct err *err)
{
	return channel_exit(c, DELETED, err);
}

enum exit_result channel_close(struct channel *c, struct err *err)
{
	return channel_exit(c, CLOSED, err);
}

enum exit_result channel_expire(struct channel *c, struct err *err)
{
	return channel_exit(c, EXPIRED, err);
}
