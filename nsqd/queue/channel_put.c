/* SPDX-License-Identifier: MIT */
/*
 * What is put into a channel, and what is put back. Mirrors nsqd/channel.go: PutMessage, put and
 * PutMessageDeferred. Runs in the topic's pump and in the threads that take its steps. What comes
 * back does so in the threads of consumers, in the scan workers, in the channel's pump, and in the
 * HTTP threads that redrive.
 *
 * Difference: a message that the disk refuses is kept (kept.h), where stock drops it. One that comes
 * back (requeue, timeout) is deferred then, and tried again.
 *
 * Lessons in docs/course/: 08-default, 11-memory, 20-journey.
 */
#include "nsqd/queue/channel_internal.h"

#include "common/clock.h"
#include "nsqd/log/log_queue.h"

/* When to try a message again that the backend has refused. */
#define RETRY_NS NSEC_PER_SEC

/* --- queueing --------------------------------------------------------------------------------- */

/*
 * Stores in the backend, and tells the daemon's health. Returns how many are stored, and unrefs
 * those.
 */
static size_t put_to_backend(
	struct channel *c, struct message *const *msgs, size_t n, struct err *err)
{
	if (n == 0)
		return 0; /* says nothing of the disk's health */
	size_t stored = backend_queue_put_messages(c->backend, msgs, n, err);
	nsqd_set_health(c->ctx, stored < n ? err : NULL);
	if (stored < n)
		nsqd_logf(c->ctx, LG_ERROR, "CHANNEL(%s): failed to write message to backend - %s",
			c->name, err->msg);
	message_unref_all(msgs, stored);
	return stored;
}

/* The messages are in the topic's log: in memory as well, or to be read again. */
static size_t put_logged(struct channel *c, struct message *const *msgs, size_t n, bool fresh)
{
	channel_add_bytes(c, msgs, n);
	/* What is kept is in no log, and older. */
	struct chan *memory = channel_is_stuck(c) ? NULL : c->memory_msg_chan;
	size_t sent = c->backend->ops->put_messages(c->backend, memory, msgs, n, fresh);
	channel_sub_bytes(c, msgs + sent, n - sent);
	message_unref_all(msgs + sent, n - sent);
	return n;
}

/* Memory first, then the disk queue. Messages that are in no log. */
static size_t put_unlogged(
	struct channel *c, struct message *const *msgs, size_t n, bool to_memory, struct err *err)
{
	size_t sent = 0;
	if (c->memory_msg_chan && to_memory) {
		/* Before they are there, and may be taken. */
		channel_add_bytes(c, msgs, n);
		sent = chan_try_send_n(c->memory_msg_chan, msgs, n);
		channel_sub_bytes(c, msgs + sent, n - sent);
	}
	if (sent < n)
		sent += put_to_backend(c, msgs + sent, n - sent, err);
	return sent;
}

/* How many of the first ones are in the log as the first one is, or not. */
static size_t count_alike(const struct channel *c, struct message *const *msgs, size_t n)
{
	size_t k = c->logged && n > 0 ? 1 : n;
	while (k < n && channel_is_logged(c, msgs[k]) == channel_is_logged(c, msgs[0]))
		k++;
	return k;
}

/*
 * fresh: they come from the topic. Where there is a log, a disk queue is what is left from before.
 * Its messages stay in their order then, without those that it has already being overtaken in memory.
 */
static size_t put_locked(
	struct channel *c, struct message *const *msgs, size_t n, bool fresh, struct err *err)
{
	size_t done = 0, k, put;
	rwlock_assert_held(&c->exit_lock);
	for (put = k = 0; done < n && put == k; done += put) {
		k = count_alike(c, msgs + done, n - done);
		if (channel_is_logged(c, msgs[done]))
			put = put_logged(c, msgs + done, k, fresh);
		else
			put = put_unlogged(c, msgs + done, k, !c->logged || !fresh, err);
	}
	return done;
}

size_t channel_put_locked(struct channel *c, struct message *const *msgs, size_t n, struct err *err)
{
	size_t done = put_locked(c, msgs, n, false, err);
	channel_tell_over(c);
	return done;
}

/* Keeps n > 0 messages that the disk refuses; returns how many: all, or none, and drops them. */
static size_t keep_locked(struct channel *c, struct message *const *take_msgs, size_t n)
{
	bool first;
	rwlock_assert_held(&c->exit_lock);
	if (kept_push(&c->kept, take_msgs, n, &first)) {
		if (first)
			chan_signal(c->keeping_chan);
		return n;
	}
	message_unref_all(take_msgs, n);
	atomic_fetch_add(&c->dropped, n);
	return 0;
}

void channel_tell_dropped(struct channel *c)
{
	uint64_t all = atomic_load(&c->dropped);
	if (all == c->dropped_told)
		return;
	nsqd_logf(c->ctx, LG_ERROR,
		"CHANNEL(%s): dropped %llu messages (%llu in all), which the disk refuses, with "
		"%zu kept in memory",
		c->name, (unsigned long long)(all - c->dropped_told), (unsigned long long)all,
		kept_count(&c->kept));
	c->dropped_told = all;
}

void channel_kept_less(struct channel *c)
{
	channel_tell_dropped(c);
	if (!channel_is_stuck(c))
		c->topic_ops->unstuck(c->topic);
}

size_t channel_put_messages(
	struct channel *c, struct message *const *msgs, size_t n, struct err *err)
{
	size_t done = 0;
	/* Held over a write to disk, since it keeps the backend from being closed meanwhile. */
	rwlock_rdlock(&c->exit_lock);
	if (channel_exiting(c)) {
		rwlock_unlock(&c->exit_lock);
		err_set(err, 0, "exiting");
		return 0;
	}
	/* What is kept is older. But in a log it is safe, and nothing of the log is ever kept. */
	if (!channel_is_stuck(c) || (n > 0 && channel_is_logged(c, msgs[0])))
		done = put_locked(c, msgs, n, true, err);
	if (done < n)
		done += keep_locked(c, msgs + done, n - done);
	channel_tell_over(c);
	rwlock_unlock(&c->exit_lock);
	atomic_fetch_add_explicit(&c->message_count, done, memory_order_relaxed);
	return n;
}

bool channel_has_room(struct channel *c, size_t n)
{
	struct chan *memory = c->memory_msg_chan;
	/* What has no room in memory is in the log, but for what comes from a disk queue. */
	if (c->logged && !c->stock_first)
		return true;
	return memory && !channel_is_stuck(c) && chan_len(memory) + n <= chan_cap(memory);
}

void channel_pass_over(struct channel *c, uint64_t upto)
{
	rwlock_rdlock(&c->exit_lock);
	if (c->logged && !channel_exiting(c))
		log_queue_pass_over(c->log_queue, upto);
	rwlock_unlock(&c->exit_lock);
}

int channel_put_alone(struct channel *c, struct message *const *msgs, size_t n, struct err *err)
{
	int rc = 0;
	/* Held over a write to disk: the queue stays, and so does the log. */
	rwlock_rdlock(&c->exit_lock);
	if (channel_exiting(c)) {
		rc = err_set(err, 0, "exiting");
	} else {
		rc = log_queue_append_alone(c->log_queue, msgs, n, err);
		channel_tell_over(c);
	}
	rwlock_unlock(&c->exit_lock);
	if (rc == 0)
		atomic_fetch_add_explicit(&c->message_count, n, memory_order_relaxed);
	return rc;
}

/* The queue sees that it has a delay. */
static void put_deferred_to_log(struct channel *c, struct message *take_m)
{
	struct err err;
	rwlock_rdlock(&c->exit_lock);
	if (channel_exiting(c))
		message_unref(take_m);
	else
		put_locked(c, &take_m, 1, true, &err);
	channel_tell_over(c);
	rwlock_unlock(&c->exit_lock);
}

void channel_put_message_deferred(struct channel *c, struct message *take_m, int64_t delay_ns)
{
	if (channel_is_logged(c, take_m)) {
		put_deferred_to_log(c, take_m);
	} else {
		channel_start_deferred_timeout(c, take_m, delay_ns);
		channel_tell_over(c);
	}
	atomic_fetch_add_explicit(&c->message_count, 1, memory_order_relaxed);
}

/* --- what comes back -------------------------------------------------------------------------- */

/*
 * put of messages that come back. What the disk refuses is not lost: it waits in memory, where it
 * was anyway, and is tried again.
 */
void channel_put_back_locked(struct channel *c, struct message *const *take_msgs, size_t n)
{
	struct err err;
	rwlock_assert_held(&c->exit_lock);
	for (size_t i = channel_put_locked(c, take_msgs, n, &err); i < n; i++)
		channel_start_deferred_timeout(c, take_msgs[i], RETRY_NS);
}

void channel_put_back(struct channel *c, struct message *const *take_msgs, size_t n)
{
	rwlock_rdlock(&c->exit_lock);
	/* Exiting is being deleted: at the daemon's exit no client is left, and nobody redrives. */
	if (channel_exiting(c))
		message_unref_all(take_msgs, n);
	else
		channel_put_back_locked(c, take_msgs, n);
	rwlock_unlock(&c->exit_lock);
}

void channel_return_messages(struct channel *c, struct message *const *take_msgs, size_t n)
{
	channel_put_back(c, take_msgs, n);
	channel_left_out(c, n);
}
