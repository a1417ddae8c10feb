/* SPDX-License-Identifier: MIT */
/*
 * A channel: its queues, its consumers, and the message pump between the two. Mirrors
 * nsqd/channel.go. The pump (channel_pump.c) is the thread "c:TOPIC/NAME". What is here runs in the
 * topic's pump (put), the consumers' threads, the threads that take steps of these pumps, the scan
 * workers and the operators' HTTP threads.
 *
 * Differences: stock takes a message out of the in-flight map and out of its heap in two steps,
 * here it is one. A message that the disk refuses is kept (kept.h), where stock drops it; one that
 * comes back (requeue, timeout) is deferred, and tried again. Deadlines are on the monotonic clock.
 *
 * Lessons in docs/course/: 02-rendezvous, 08-default, 10-locks, 11-memory, 13-lifetimes,
 * 20-journey.
 */
#include "nsqd/queue/channel.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "common/clock.h"
#include "common/compiler.h"
#include "common/runnext.h"
#include "common/xalloc.h"
#include "nsqd/disk/backend.h"
#include "nsqd/disk/backend_flush.h"
#include "nsqd/log/log_queue.h"
#include "nsqd/log/stock_first.h"
#include "nsqd/queue/channel_internal.h"
#include "nsqd/disk/dqname.h"
#include "protocol/names.h"

/* When to try a message again that the backend has refused. */
#define RETRY_NS NSEC_PER_SEC
#define FLUSH_BATCH 1024
/* Of what is in flight so many go under one lock, when all go. */
#define CLEAR_BATCH 1024
/* The most messages that are put in flight under one lock. */
#define START_BATCH 128

/* --- life --------------------------------------------------------------------------------- */

static void channel_free(struct channel *c)
{
	CHECK(c->clients == NULL && atomic_load(&c->batch_len) == 0);
	message_drain_chan(c->memory_msg_chan);
	in_flight_pqueue_clear(&c->in_flight);
	in_flight_pqueue_clear(&c->deferred);
	kept_destroy(&c->kept);
	kept_destroy(&c->dead);
	if (c->backend)
		c->backend->ops->close(c->backend, NULL);
	chan_free(c->memory_msg_chan);
	for (int i = 0; i < N_CLOSENESS; i++)
		chan_free(c->client_msg_chans[i]);
	chan_free(c->exit_chan);
	chan_free(c->gone_chan);
	chan_free(c->update_chan);
	chan_free(c->updated_chan);
	chan_free(c->keeping_chan);
	wait_group_destroy(&c->wait_group);
	rwlock_destroy(&c->exit_lock);
	rwlock_destroy(&c->lock);
	mutex_destroy(&c->in_flight_lock);
	mutex_destroy(&c->deferred_lock);
	quantile_free(c->e2e_processing_latency_stream);
	settings_unref(c->settings);
	settings_unref(c->pump_settings);
	c->topic_ops->unref(c->topic);
	free(c->batch);
	free(c);
}

/* backend names, for uniqueness, automatically include the topic... */
static struct backend_queue *open_backend(struct channel *c, struct err *err)
{
	char name[BACKEND_NAME_SIZE];
	struct topic_log *log = c->topic_ops->log ? c->topic_ops->log(c->topic) : NULL;
	get_backend_name(c->topic_name, c->name, name, sizeof(name));
	c->logged = log && !c->ephemeral;
	if (!c->logged)
		return backend_new(c->ctx, name, err);
	c->log_queue =
		log_queue_new_channel(log, c->name, &c->in_flight_lock, c->memory_msg_chan, err);
	if (!c->log_queue)
		return NULL;
	struct diskqueue_opts opts = backend_diskqueue_opts(nsqd_get_opts(c->ctx), name);
	opts.lg = &c->ctx->lg;
	opts.changed_chan = c->keeping_chan;
	bool always = c->topic_ops->stock_first(c->topic);
	struct backend_queue *q = stock_first_new(&opts, always, false, c->log_queue, err);
	c->stock_first = q && is_stock_first(q);
	return q;
}

static void init_locks(struct channel *c)
{
	rwlock_init(&c->exit_lock, RANK_CHANNEL_EXIT);
	rwlock_init(&c->lock, RANK_CHANNEL);
	mutex_init(&c->in_flight_lock, RANK_IN_FLIGHT);
	mutex_init(&c->deferred_lock, RANK_DEFERRED);
	atomic_init(&c->next_in_flight, INT64_MAX);
	atomic_init(&c->next_deferred, INT64_MAX);
	atomic_init(&c->next_waiting, INT64_MAX);
	atomic_init(&c->unused_since_ns, clock_mono_ns());
}

static void init_client_msg_chans(struct channel *c, const struct options *opts)
{
	c->topology_aware = topology_is_aware(opts);
	bool wanted[N_CLOSENESS] = {
		[ZONE_LOCAL] = c->topology_aware && *opts->topology_zone,
		[REGION_LOCAL] = c->topology_aware && *opts->topology_region,
		[GLOBAL] = true,
	};
	for (int i = 0; i < N_CLOSENESS; i++) {
		if (wanted[i])
			c->client_msg_chans[i] = chan_new(sizeof(struct message *), 0);
	}
}

static void add_rest(void *arg, struct message *const *msgs, size_t n)
{
	channel_add_bytes(arg, msgs, n);
}

/*
 * The log's reader holds all that is left, and nobody asks for it: then it goes into memory. Not with
 * older messages elsewhere. (Who empties the channel may hold exit_lock, and wait for the reader.)
 */
static void take_rest(void *arg)
{
	struct channel *c = arg;
	if (!rwlock_tryrdlock(&c->exit_lock))
		return;
	if (!channel_exiting(c) && !channel_is_stuck(c) && c->backend == c->log_queue)
		log_queue_give_rest(c->log_queue, add_rest, c);
	rwlock_unlock(&c->exit_lock);
}

struct channel *channel_new(struct context *ctx, const char *topic_name, const char *name,
	const struct channel_topic_ops *topic_ops, struct topic *take_topic, struct err *err)
{
	const struct options *opts = nsqd_get_opts(ctx);
	struct channel *c = xcalloc(1, sizeof(*c));
	atomic_init(&c->refs, 1);
	snprintf(c->name, sizeof(c->name), "%s", name);
	c->ephemeral = is_ephemeral_name(name);
	c->ctx = ctx;
	snprintf(c->topic_name, sizeof(c->topic_name), "%s", topic_name);
	c->topic = take_topic;
	c->topic_ops = topic_ops;
	init_locks(c);
	in_flight_pqueue_init(&c->in_flight);
	in_flight_pqueue_init(&c->deferred);
	kept_init(&c->kept, &ctx->kept_bytes);
	kept_init(&c->dead, &ctx->kept_bytes);
	/* avoid mem-queue if size == 0 for more consistent ordering */
	if (opts->mem_queue_size > 0 || c->ephemeral)
		c->memory_msg_chan =
			chan_new(sizeof(struct message *), (size_t)opts->mem_queue_size);
	init_client_msg_chans(c, opts);
	c->exit_chan = chan_new(0, 0);
	c->update_chan = chan_new(sizeof(struct pump_update), 0);
	c->updated_chan = chan_new(0, 0);
	c->keeping_chan = chan_new(0, 1);
	wait_group_init(&c->wait_group);
	if (opts->n_e2e_processing_latency_percentiles > 0)
		c->e2e_processing_latency_stream =
			quantile_new(opts->e2e_processing_latency_window_time,
				opts->e2e_processing_latency_percentiles,
				opts->n_e2e_processing_latency_percentiles);
	c->settings = settings_store_get(&ctx->settings, topic_name, name);
	c->pump_settings = settings_ref(c->settings);
	atomic_init(&c->expire_ns, c->settings->v.channel_expire);
	c->counts_bytes = c->settings->v.max_bytes > 0;
	channel_apply_limits(c);
	c->backend = open_backend(c, err);

	char thread_name[2 * NAME_SIZE + 4];
	snprintf(thread_name, sizeof(thread_name), "c:%s/%s", topic_name, name);
	if (!c->backend ||
		wait_group_wrap(&c->wait_group, thread_name, channel_message_pump, c, err) != 0) {
		err_wrap(err, "cannot create channel %s - ", name);
		channel_free(c);
		return NULL;
	}
	/* From here on there is somebody to take what is due: the channel cannot be freed meanwhile. */
	if (c->logged)
		log_queue_on_due(c->log_queue, channel_waits_until, c);
	if (c->logged)
		log_queue_on_rest(c->log_queue, take_rest, c);
	nsqd_notify(ctx, topic_name, name, false, !c->ephemeral);
	return c;
}

struct channel *channel_ref(struct channel *c)
{
	atomic_fetch_add(&c->refs, 1);
	return c;
}

void channel_unref(struct channel *c)
{
	if (c && atomic_fetch_sub(&c->refs, 1) == 1)
		channel_free(c);
}

/* --- queueing -------------------------------------------------------------------------------- */

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

static bool is_logged(const struct channel *c, const struct message *m)
{
	return c->logged && m->seq > 0;
}

/* How many of the first ones are in the log as the first one is, or not. */
static size_t count_alike(const struct channel *c, struct message *const *msgs, size_t n)
{
	size_t k = c->logged && n > 0 ? 1 : n;
	while (k < n && is_logged(c, msgs[k]) == is_logged(c, msgs[0]))
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
		if (is_logged(c, msgs[done]))
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

/* The pump's, then exit's. */
static void tell_dropped(struct channel *c)
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
	tell_dropped(c);
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
	if (!channel_is_stuck(c) || (n > 0 && is_logged(c, msgs[0])))
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
	if (is_logged(c, take_m)) {
		put_deferred_to_log(c, take_m);
	} else {
		channel_start_deferred_timeout(c, take_m, delay_ns);
		channel_tell_over(c);
	}
	atomic_fetch_add_explicit(&c->message_count, 1, memory_order_relaxed);
}

/* --- in flight and deferred ------------------------------------------------------------------ */

/* There may be fewer in flight, or on their way: wakes the pump if it waits for that. */
static void flow_changed_locked(struct channel *c)
{
	mutex_assert_held(&c->in_flight_lock);
	if (!c->flow.waits || channel_flow_room_locked(&c->flow, c->settings->v.max_in_flight,
				      c->in_flight.len) <= 0)
		return;
	c->flow.waits = false;
	chan_signal(c->keeping_chan);
}

void channel_left_out(struct channel *c, size_t n)
{
	mutex_lock(&c->in_flight_lock);
	c->flow.arrived += n;
	flow_changed_locked(c);
	mutex_unlock(&c->in_flight_lock);
}

/*
 * The end of every change of a queue: the scan loop learns of its earliest deadline without a lock.
 * True: it may not learn of it in time, so the caller calls channel_await_deadline, behind the
 * unlock. A deadline that becomes later, as all do when messages leave, never needs that: the loop
 * looks too early, once. So only one that becomes earlier is ordered (common/deadlines.h).
 */
static bool publish_next(struct channel *c, _Atomic int64_t *next, const struct in_flight_pqueue *q)
{
	if (q == &c->in_flight)
		flow_changed_locked(c);
	int64_t before = atomic_load_explicit(next, memory_order_relaxed);
	int64_t now = in_flight_pqueue_next(q);
	if (now >= before) {
		atomic_store_explicit(next, now, memory_order_relaxed);
		return false;
	}
	atomic_store(next, now);
	return deadlines_concern(&c->ctx->deadlines, now);
}

void channel_in_flight_changed_locked(struct channel *c)
{
	mutex_assert_held(&c->in_flight_lock);
	(void)publish_next(c, &c->next_in_flight, &c->in_flight);
}

void channel_await_deadline(struct channel *c)
{
	channel_ref(c);
	if (!deadlines_add(&c->ctx->deadlines, &c->deadline, channel_next_deadline(c)))
		channel_unref(c);
}

void channel_waits_until(void *arg, int64_t at_ns)
{
	struct channel *c = arg;
	mutex_assert_held(&c->in_flight_lock);
	int64_t before = atomic_load_explicit(&c->next_waiting, memory_order_relaxed);
	atomic_store(&c->next_waiting, at_ns);
	if (at_ns < before && deadlines_concern(&c->ctx->deadlines, at_ns))
		channel_await_deadline(c);
}

/* now + ns. The longest timeouts that the flags allow are beyond the end of time. */
static int64_t deadline_after(int64_t now, int64_t ns)
{
	int64_t sum;
	return __builtin_add_overflow(now, ns, &sum) ? INT64_MAX : sum;
}

/* How long a message is with a client that has asked for that (0: that has not asked). */
static int64_t msg_timeout_locked(const struct channel *c, int64_t asked_ns)
{
	const struct setting_values *v = &c->settings->v;
	return asked_ns == 0                   ? v->msg_timeout
	       : asked_ns < v->max_msg_timeout ? asked_ns
					       : v->max_msg_timeout;
}

/* n is small, so that the FINs of other consumers do not wait for long. */
static void put_in_flight(struct channel *c, struct message *const *take_msgs, size_t n,
	int64_t client_id, int64_t now, int64_t asked_ns)
{
	int64_t wall_now = clock_wall_ns();
	mutex_lock(&c->in_flight_lock);
	int64_t deadline = deadline_after(now, msg_timeout_locked(c, asked_ns));
	c->flow.arrived += n;
	for (size_t i = 0; i < n; i++) {
		struct message *m = take_msgs[i];
		m->client_id = client_id;
		m->delivery_ns = now;
		m->due_ns = deadline;
		if (m->attempts <= 1)
			latency_add(&c->publish_to_deliver, wall_now - m->timestamp);
		in_flight_pqueue_push(&c->in_flight, m);
	}
	if (c->log_queue) {
		log_queue_taken_locked(c->log_queue, take_msgs, n);
		log_queue_touch(c->log_queue);
	}
	bool is_next = publish_next(c, &c->next_in_flight, &c->in_flight);
	mutex_unlock(&c->in_flight_lock);
	if (is_next)
		channel_await_deadline(c);
}

void channel_start_in_flight_timeout(struct channel *c, struct message *const *take_msgs, size_t n,
	int64_t client_id, int64_t timeout_ns)
{
	int64_t now = clock_mono_ns();
	for (size_t done = 0, some; done < n; done += some) {
		some = n - done < START_BATCH ? n - done : START_BATCH;
		put_in_flight(c, take_msgs + done, some, client_id, now, timeout_ns);
	}
}

void channel_start_deferred_timeout(struct channel *c, struct message *take_m, int64_t delay_ns)
{
	/* With exit_lock held, as by all that requeue: the queue stays. */
	if (is_logged(c, take_m)) {
		log_queue_wait_for(c->log_queue, take_m, delay_ns);
		message_unref(take_m);
		return;
	}
	mutex_lock(&c->deferred_lock);
	take_m->due_ns = deadline_after(clock_mono_ns(), delay_ns);
	in_flight_pqueue_push(&c->deferred, take_m);
	bool is_next = publish_next(c, &c->next_deferred, &c->deferred);
	mutex_unlock(&c->deferred_lock);
	if (is_next)
		channel_await_deadline(c);
}

/*
 * The client's message of that id, still in the queue, and *why NULL; else NULL, and *why says it.
 */
static struct message *find_in_flight_locked(
	struct channel *c, int64_t client_id, struct message_id id, const char **why)
{
	mutex_assert_held(&c->in_flight_lock);
	struct message *m = in_flight_pqueue_find(&c->in_flight, id);
	*why = !m                          ? "ID not in flight"
	       : m->client_id != client_id ? "client does not own message"
					   : NULL;
	return *why ? NULL : m;
}

/*
 * popInFlightMessage and removeFromInFlightPQ: the caller gets the queue's reference; NULL with err
 * set.
 */
static struct message *pop_in_flight(
	struct channel *c, int64_t client_id, struct message_id id, struct err *err)
{
	const char *why;
	mutex_lock(&c->in_flight_lock);
	struct message *m = find_in_flight_locked(c, client_id, id, &why);
	if (m) {
		in_flight_pqueue_remove(&c->in_flight, m);
		(void)publish_next(c, &c->next_in_flight, &c->in_flight);
	}
	mutex_unlock(&c->in_flight_lock);
	if (!m)
		err_set(err, 0, "%s", why);
	return m;
}

struct message *channel_pop_in_flight(struct channel *c, struct message_id id)
{
	mutex_lock(&c->in_flight_lock);
	struct message *m = in_flight_pqueue_find(&c->in_flight, id);
	if (m) {
		in_flight_pqueue_remove(&c->in_flight, m);
		(void)publish_next(c, &c->next_in_flight, &c->in_flight);
	}
	mutex_unlock(&c->in_flight_lock);
	return m;
}

struct message *channel_pop_deferred(struct channel *c, struct message_id id)
{
	mutex_lock(&c->deferred_lock);
	struct message *m = in_flight_pqueue_find(&c->deferred, id);
	if (m) {
		in_flight_pqueue_remove(&c->deferred, m);
		(void)publish_next(c, &c->next_deferred, &c->deferred);
	}
	mutex_unlock(&c->deferred_lock);
	return m;
}

size_t channel_finish_messages(struct channel *c, int64_t client_id, const struct message_id *ids,
	size_t n, const char **why)
{
	struct message *finished[FINISH_BATCH] UNINITIALIZED;
	size_t done = 0;
	CHECK(n <= FINISH_BATCH);
	int64_t now = clock_mono_ns();
	mutex_lock(&c->in_flight_lock);
	for (size_t i = 0; i < n; i++) {
		in_flight_pqueue_fetch_ahead(&c->in_flight, ids, n, i);
		struct message *m = find_in_flight_locked(c, client_id, ids[i], &why[i]);
		if (!m)
			continue;
		latency_add(&c->deliver_to_finish, now - m->delivery_ns);
		in_flight_pqueue_remove(&c->in_flight, m);
		if (c->log_queue)
			log_queue_finished_locked(c->log_queue, m);
		finished[done++] = m;
	}
	if (c->log_queue && done > 0)
		log_queue_touch(c->log_queue);
	(void)publish_next(c, &c->next_in_flight, &c->in_flight);
	mutex_unlock(&c->in_flight_lock);

	for (size_t i = 0; i < done; i++) {
		if (c->e2e_processing_latency_stream)
			quantile_insert(c->e2e_processing_latency_stream, finished[i]->timestamp);
		message_unref(finished[i]);
	}
	return done;
}

void channel_are_over(struct channel *c, struct message *const *msgs, size_t n)
{
	if (!c->logged)
		return;
	mutex_lock(&c->in_flight_lock);
	for (size_t i = 0; i < n && c->log_queue; i++)
		log_queue_finished_locked(c->log_queue, msgs[i]);
	if (c->log_queue)
		log_queue_touch(c->log_queue);
	mutex_unlock(&c->in_flight_lock);
}

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

void channel_return_messages(struct channel *c, struct message *const *take_msgs, size_t n)
{
	rwlock_rdlock(&c->exit_lock);
	/* Exiting is being deleted: at the daemon's exit no client is left. */
	if (channel_exiting(c))
		message_unref_all(take_msgs, n);
	else
		channel_put_back_locked(c, take_msgs, n);
	rwlock_unlock(&c->exit_lock);
	channel_left_out(c, n);
}

int64_t channel_max_req_timeout(struct channel *c)
{
	const struct options *opts = nsqd_get_opts(c->ctx);
	rwlock_rdlock(&c->exit_lock);
	int64_t max = c->settings->v.max_req_timeout;
	rwlock_unlock(&c->exit_lock);
	/* One that was set for the channel holds. */
	bool is_flag = max == opts->max_req_timeout;
	return c->logged && is_flag && opts->max_defer_timeout > max ? opts->max_defer_timeout
								     : max;
}

int channel_requeue_message(struct channel *c, int64_t client_id, struct message_id id,
	int64_t delay_ns, struct err *err)
{
	int rc = 0;
	/*
	 * Asked before the message is taken out, so that exit still finds and flushes it. With a
	 * delay as well: exit may have flushed the deferred messages already.
	 */
	rwlock_rdlock(&c->exit_lock);
	if (channel_exiting(c)) {
		rwlock_unlock(&c->exit_lock);
		return err_set(err, 0, "exiting");
	}
	struct message *m = pop_in_flight(c, client_id, id, err);
	if (!m) {
		rc = -1;
	} else {
		atomic_fetch_add_explicit(&c->requeue_count, 1, memory_order_relaxed);
		if (delay_ns == 0 || channel_has_had_it_locked(c, m))
			channel_come_back_locked(c, &m, 1, delay_ns == 0);
		else
			channel_start_deferred_timeout(c, m, delay_ns);
	}
	rwlock_unlock(&c->exit_lock);
	return rc;
}

int channel_touch_message(struct channel *c, int64_t client_id, struct message_id id,
	int64_t timeout_ns, struct err *err)
{
	const char *why;
	bool is_next = false;
	mutex_lock(&c->in_flight_lock);
	struct message *m = find_in_flight_locked(c, client_id, id, &why);
	if (m) {
		int64_t max = c->settings->v.max_msg_timeout;
		int64_t timeout = msg_timeout_locked(c, timeout_ns);
		int64_t deadline = deadline_after(clock_mono_ns(), timeout);
		/* where we would have gone over, set to the max */
		m->due_ns = deadline - m->delivery_ns >= max ? m->delivery_ns + max : deadline;
		in_flight_pqueue_fix(&c->in_flight, m);
		is_next = publish_next(c, &c->next_in_flight, &c->in_flight);
	}
	mutex_unlock(&c->in_flight_lock);
	if (is_next)
		channel_await_deadline(c);
	return m ? 0 : err_set(err, 0, "%s", why);
}

/* --- time ------------------------------------------------------------------------------------- */

/* Takes up to max messages out of q that are due; returns how many. */
static size_t take_due(
	struct in_flight_pqueue *q, int64_t now_ns, struct message **msgs, size_t max)
{
	size_t n = 0;
	while (n < max && (msgs[n] = in_flight_pqueue_peek_and_shift(q, now_ns)) != NULL)
		n++;
	return n;
}

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
	size_t n = take_due(&c->in_flight, now_ns, msgs, DUE_BATCH);
	(void)publish_next(c, &c->next_in_flight, &c->in_flight);
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
		n = take_due(&c->deferred, now_ns, msgs, DUE_BATCH);
		for (size_t i = 0; i < n; i++)
			bytes += msgs[i]->body->len;
		atomic_fetch_add(&c->moving, (int64_t)n);
		atomic_fetch_add(&c->moving_bytes, bytes);
		(void)publish_next(c, &c->next_deferred, &c->deferred);
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

size_t channel_take_first_deferred(
	struct channel *c, struct message **msgs, size_t max, int64_t wanted, int64_t wanted_bytes)
{
	size_t n = 0;
	if (c->logged)
		return log_queue_take_first(c->log_queue, msgs, max, wanted, wanted_bytes);
	mutex_lock(&c->deferred_lock);
	while (n < max && ((int64_t)n < wanted || wanted_bytes > 0) &&
		(msgs[n] = in_flight_pqueue_peek_and_shift(&c->deferred, INT64_MAX)) != NULL)
		wanted_bytes -= msgs[n++]->body->len;
	(void)publish_next(c, &c->next_deferred, &c->deferred);
	mutex_unlock(&c->deferred_lock);
	return n;
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

int64_t channel_next_deadline(const struct channel *c)
{
	int64_t a = atomic_load(&c->next_in_flight), b = atomic_load(&c->next_deferred);
	int64_t next = atomic_load(&c->next_waiting);
	b = a < b ? a : b;
	next = b < next ? b : next;
	/* Of an idle channel no more is fetched than these three: there may be thousands. */
	return next < INT64_MAX && channel_exiting(c) ? INT64_MAX : next;
}

/* --- consumers ------------------------------------------------------------------------------ */

int channel_add_client(struct channel *c, struct consumer *client, struct err *err)
{
	int max = nsqd_get_opts(c->ctx)->max_channel_consumers;
	int rc = 0;
	rwlock_rdlock(&c->exit_lock);
	rwlock_wrlock(&c->lock);
	if (channel_exiting(c)) {
		rc = err_set(err, 0, "exiting");
	} else if (max != 0 && atomic_load(&c->client_count) >= max) {
		rc = err_set(err, 0, "consumers for %s:%s exceeds limit of %d", c->topic_name,
			c->name, max);
	} else {
		HASH_ADD(hh, c->clients, id, sizeof(client->id), client);
		atomic_fetch_add(&c->client_count, 1);
		atomic_store(&c->unused_since_ns, INT64_MAX);
	}
	rwlock_unlock(&c->lock);
	rwlock_unlock(&c->exit_lock);
	return rc;
}

void channel_remove_client(struct channel *c, struct consumer *client)
{
	rwlock_wrlock(&c->lock);
	HASH_DEL(c->clients, client);
	int left = atomic_fetch_sub(&c->client_count, 1) - 1;
	if (left == 0)
		atomic_store(&c->unused_since_ns, clock_mono_ns());
	rwlock_unlock(&c->lock);
	if (channel_exiting(c))
		return;

	/*
	 * The pump puts a batch back that it took for this client, and that no other wants. When
	 * all clients go, at the daemon's exit, the flush finds the batch, and the pump is not
	 * asked.
	 */
	if (!context_is_exiting(c->ctx))
		channel_update_pump(c, CHANNEL_CLIENT_LEFT);
	/*
	 * Go starts a goroutine here, since it holds locks; this thread holds none, and is no pump.
	 * There are no files that a disk could refuse to remove.
	 */
	if (left == 0 && c->ephemeral && !atomic_exchange(&c->deleter_once, true))
		c->topic_ops->delete_callback(c->topic, c);
}

bool channel_removal_may_block(struct channel *c)
{
	if (c->ephemeral || channel_has_dead_letters(c))
		return true;
	size_t cap = c->memory_msg_chan ? chan_cap(c->memory_msg_chan) : 0;
	size_t spare = cap / 4 < PUT_MARGIN ? cap / 4 : PUT_MARGIN;
	/* At exit the flush finds the batch. */
	return !channel_has_room(c, atomic_load(&c->batch_len) + spare) &&
	       !context_is_exiting(c->ctx);
}

static void close_clients(struct channel *c)
{
	struct consumer *client, *tmp;
	rwlock_rdlock(&c->lock);
	HASH_ITER (hh, c->clients, client, tmp)
		client->ops->close(client);
	rwlock_unlock(&c->lock);
}

/* --- operators ------------------------------------------------------------------------------ */

int64_t channel_backend_depth(struct channel *c)
{
	rwlock_rdlock(&c->exit_lock);
	int64_t depth = c->backend ? c->backend->ops->depth(c->backend) : 0;
	rwlock_unlock(&c->exit_lock);
	return depth;
}

int64_t channel_backend_holds(struct channel *c)
{
	int64_t bytes, n = 0;
	rwlock_rdlock(&c->exit_lock);
	if (c->backend)
		n = c->logged ? stock_first_waiting(c->backend, c->log_queue, &bytes)
			      : c->backend->ops->depth(c->backend);
	rwlock_unlock(&c->exit_lock);
	return n;
}

int64_t channel_depth(struct channel *c)
{
	int64_t memory = c->memory_msg_chan ? (int64_t)chan_len(c->memory_msg_chan) : 0;
	int64_t kept = (int64_t)(kept_count(&c->kept) + kept_count(&c->dead));
	return memory + (int64_t)atomic_load(&c->batch_len) + kept + channel_backend_depth(c);
}

size_t channel_in_flight_count(struct channel *c)
{
	mutex_lock(&c->in_flight_lock);
	size_t n = c->in_flight.len;
	mutex_unlock(&c->in_flight_lock);
	return n;
}

void channel_latencies(
	struct channel *c, struct latency *publish_to_deliver, struct latency *deliver_to_finish)
{
	mutex_lock(&c->in_flight_lock);
	*publish_to_deliver = c->publish_to_deliver;
	*deliver_to_finish = c->deliver_to_finish;
	mutex_unlock(&c->in_flight_lock);
}

bool channel_get_log_stats(struct channel *c, struct topic_log_cursor_stats *out)
{
	mutex_lock(&c->in_flight_lock);
	bool has = c->log_queue != NULL;
	if (has)
		log_queue_stats_locked(c->log_queue, out);
	mutex_unlock(&c->in_flight_lock);
	return has;
}

size_t channel_deferred_count(struct channel *c)
{
	mutex_lock(&c->deferred_lock);
	size_t n = c->deferred.len;
	mutex_unlock(&c->deferred_lock);
	if (!c->logged)
		return n;
	rwlock_rdlock(&c->exit_lock);
	n += c->log_queue ? log_queue_deferred(c->log_queue) : 0;
	rwlock_unlock(&c->exit_lock);
	return n;
}

static void do_pause(struct channel *c, bool pause)
{
	struct consumer *client, *tmp;
	atomic_store(&c->paused, pause);
	rwlock_rdlock(&c->lock);
	HASH_ITER (hh, c->clients, client, tmp)
		client->ops->ready_changed(client);
	rwlock_unlock(&c->lock);
	channel_update_pump(c, CHANNEL_PAUSED);
}

void channel_pause(struct channel *c)
{
	do_pause(c, true);
}

void channel_unpause(struct channel *c)
{
	do_pause(c, false);
}

void channel_fetch_settings(struct channel *c)
{
	struct settings *fresh = settings_store_get(&c->ctx->settings, c->topic_name, c->name);
	rwlock_wrlock(&c->exit_lock);
	mutex_lock(&c->in_flight_lock);
	struct settings *old = c->settings;
	c->settings = fresh;
	atomic_store(&c->expire_ns, fresh->v.channel_expire);
	channel_apply_limits(c);
	mutex_unlock(&c->in_flight_lock);
	rwlock_unlock(&c->exit_lock);
	settings_unref(old);
}

void channel_pump_fetches_settings(struct channel *c)
{
	channel_update_pump(c, CHANNEL_SETTINGS);
}

/* initPQ: forgets what is in flight and deferred; the consumers have nothing in flight any more. */
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

static void clear_in_flight_and_deferred(struct channel *c)
{
	struct consumer *client, *tmp;
	if (c->logged)
		finish_in_flight(c);
	mutex_lock(&c->in_flight_lock);
	if (!c->logged)
		in_flight_pqueue_clear(&c->in_flight);
	(void)publish_next(c, &c->next_in_flight, &c->in_flight);
	mutex_unlock(&c->in_flight_lock);

	mutex_lock(&c->deferred_lock);
	in_flight_pqueue_clear(&c->deferred);
	(void)publish_next(c, &c->next_deferred, &c->deferred);
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

/*
 * Takes over n messages; returns how many are lost. What is in the log is there again after the next
 * start, in its order, and the cursor knows how often it has been handed out.
 */
static size_t flush_messages(struct channel *c, struct message **take_msgs, size_t n)
{
	size_t unlogged = 0;
	for (size_t i = 0; i < n; i++) {
		if (is_logged(c, take_msgs[i]))
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
		n = take_due(q, INT64_MAX, msgs, FLUSH_BATCH);
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
	tell_dropped(c);
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
