/* SPDX-License-Identifier: MIT */
/*
 * What is in flight, and what is deferred. Mirrors nsqd/channel.go: StartInFlightTimeout,
 * FinishMessage, RequeueMessage, TouchMessage and the like. Runs in the consumers' threads and in
 * those that take steps of their pumps. Messages are deferred in the topic's pump and in the scan
 * workers, too. Operators' HTTP threads take single messages out, and "scan" reads the deadlines.
 *
 * Differences: stock takes a message out of the in-flight map and out of its heap in two steps,
 * here it is one. Deadlines are on the monotonic clock.
 *
 * Lessons in docs/course/: 11-memory, 13-lifetimes, 20-journey.
 */
#include "nsqd/queue/channel_internal.h"

#include "common/check.h"
#include "common/clock.h"
#include "common/compiler.h"
#include "nsqd/log/log_queue.h"

/* The most messages that are put in flight under one lock. */
#define START_BATCH 128

/* --- how many, and until when ----------------------------------------------------------------- */

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

void channel_deferred_changed_locked(struct channel *c)
{
	mutex_assert_held(&c->deferred_lock);
	(void)publish_next(c, &c->next_deferred, &c->deferred);
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

/* --- the way in ------------------------------------------------------------------------------- */

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
	if (channel_is_logged(c, take_m)) {
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

/* --- the way out ------------------------------------------------------------------------------ */

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
