/* SPDX-License-Identifier: MIT */
/*
 * What is due in a channel: timeouts, deferred messages, and what waits in the topic's log. Mirrors
 * nsqd/channel.go: processInFlightQueue and processDeferredQueue. Runs in "scan" and its workers
 * (queue_scan.c). channel_tell_timed_out also runs where an operator takes a message out.
 */
#include "nsqd/queue/channel_internal.h"

#include "common/compiler.h"
#include "common/runnext.h"
#include "nsqd/log/log_queue.h"

/* How many of n > 0 messages, from the first on, were with one client. */
static size_t count_of_one_client(struct message *const *msgs, size_t n)
{
	size_t same = 1;
	while (same < n && msgs[same]->client_id == msgs[0]->client_id)
		same++;
	return same;
}

void channel_tell_timed_out(struct channel *c, struct message *const *msgs, size_t n)
{
	struct consumer *client;
	rwlock_rdlock(&c->lock);
	for (size_t i = 0, same; i < n; i += same) {
		same = count_of_one_client(msgs + i, n - i);
		HASH_FIND(hh, c->clients, &msgs[i]->client_id, sizeof(msgs[i]->client_id), client);
		if (client)
			client->ops->timed_out_messages(client, same);
	}
	rwlock_unlock(&c->lock);
}

/* Not beyond the begin of exit, whose flush finds the messages in the queue. */
static size_t time_out_locked(struct channel *c, int64_t now_ns)
{
	struct message *msgs[DUE_BATCH] UNINITIALIZED;
	rwlock_assert_held(&c->exit_lock);
	if (channel_exiting(c))
		return 0;
	mutex_lock(&c->in_flight_lock);
	size_t n = in_flight_pqueue_take_due(&c->in_flight, now_ns, msgs, DUE_BATCH);
	channel_in_flight_changed_locked(c);
	mutex_unlock(&c->in_flight_lock);
	if (n == 0)
		return 0;
	atomic_fetch_add_explicit(&c->timeout_count, n, memory_order_relaxed);
	channel_tell_timed_out(c, msgs, n);
	channel_come_back_locked(c, msgs, n, true);
	return n;
}

bool channel_process_in_flight_queue(struct channel *c, int64_t now_ns)
{
	rwlock_rdlock(&c->exit_lock);
	size_t n = time_out_locked(c, now_ns);
	rwlock_unlock(&c->exit_lock);
	return n > 0;
}

/* They are counted as deferred until they are elsewhere. */
static void put_deferred_back_locked(
	struct channel *c, struct message *const *take_msgs, size_t n, int64_t bytes)
{
	channel_put_back_locked(c, take_msgs, n);
	atomic_fetch_sub(&c->moving, (int64_t)n);
	atomic_fetch_sub(&c->moving_bytes, bytes);
}

bool channel_process_deferred_queue(struct channel *c, int64_t now_ns)
{
	struct message *msgs[DUE_BATCH] UNINITIALIZED;
	size_t n = 0;
	int64_t bytes = 0;
	rwlock_rdlock(&c->exit_lock);
	if (!channel_exiting(c)) {
		mutex_lock(&c->deferred_lock);
		n = in_flight_pqueue_take_due(&c->deferred, now_ns, msgs, DUE_BATCH);
		for (size_t i = 0; i < n; i++)
			bytes += msgs[i]->body->len;
		atomic_fetch_add(&c->moving, (int64_t)n);
		atomic_fetch_add(&c->moving_bytes, bytes);
		channel_deferred_changed_locked(c);
		mutex_unlock(&c->deferred_lock);
	}
	if (n > 0)
		put_deferred_back_locked(c, msgs, n, bytes);
	rwlock_unlock(&c->exit_lock);
	return n > 0;
}

bool channel_process_waiting(struct channel *c)
{
	struct message *msgs[DUE_BATCH] UNINITIALIZED;
	size_t n = 0;
	rwlock_rdlock(&c->exit_lock);
	if (c->logged && !channel_exiting(c))
		n = log_queue_take_due(c->log_queue, msgs, DUE_BATCH);
	int64_t bytes = 0;
	for (size_t i = 0; i < n; i++)
		bytes += msgs[i]->body->len;
	if (n > 0) {
		/* From here on nothing waits for the disk. */
		runnext_begin();
		channel_put_back_locked(c, msgs, n);
		log_queue_due_done(c->log_queue, n, bytes);
	}
	rwlock_unlock(&c->exit_lock);
	if (n > 0)
		runnext_end();
	return n > 0;
}

void channel_leave_waiting(struct channel *c)
{
	rwlock_rdlock(&c->exit_lock);
	if (c->logged && !channel_exiting(c))
		log_queue_leave_due(c->log_queue);
	rwlock_unlock(&c->exit_lock);
}

void channel_clock_was_set(struct channel *c)
{
	if (!c->logged)
		return;
	mutex_lock(&c->in_flight_lock);
	if (c->log_queue)
		log_queue_touch(c->log_queue);
	mutex_unlock(&c->in_flight_lock);
}

void channel_trim(struct channel *c)
{
	mutex_lock(&c->in_flight_lock);
	in_flight_pqueue_trim(&c->in_flight);
	if (c->log_queue)
		log_queue_try_again(c->log_queue);
	mutex_unlock(&c->in_flight_lock);
	mutex_lock(&c->deferred_lock);
	in_flight_pqueue_trim(&c->deferred);
	mutex_unlock(&c->deferred_lock);
}
