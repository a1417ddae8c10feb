/* SPDX-License-Identifier: MIT */
/*
 * What a channel gives up. Mirrors no Go file. Screening runs in the channel's pump, in the threads
 * that take its steps, and in those of consumers; what comes back, in the pollers, "io:ADDR" and the
 * scan workers. They put messages into c->dead, and do not wait. The pump's own thread takes them
 * from there to the dead-letter topic.
 *
 * Note on bounds. While the dead-letter topic refuses, c->dead grows to what kept.h allows. Then the
 * pump takes nothing more, since it could not screen it, and what comes back goes into the queue.
 */
#include "nsqd/queue/channel_internal.h"

#include <time.h>

#include "common/check.h"
#include "common/clock.h"
#include "common/compiler.h"
#include "common/runnext.h"
#include "nsqd/core/context.h"
#include "nsqd/log/log_queue.h"

/* The most messages that become dead letters at once. */
#define BURY_BATCH 128
/* How many buckets of what is in flight are looked at under one lock: FINs wait for it. */
#define DISCONNECT_BUCKETS 1024
/* And how long they have between two looks. More than one pollers do not take: they do not wait. */
#define DISCONNECT_PAUSE_NS (100 * NSEC_PER_USEC)

static const char *const reason_names[N_DEAD_REASONS] = {
	[DEAD_MAX_ATTEMPTS] = "max_attempts",
	[DEAD_EXPIRED] = "expired",
	[DEAD_OVERFLOW] = "overflow",
};

const char *dead_reason_name(int reason)
{
	return reason >= 0 && reason < N_DEAD_REASONS ? reason_names[reason] : "unknown";
}

/* --- giving up -------------------------------------------------------------------------------- */

/* A dead-letter topic has no dead letters of its own. */
static bool is_target(const struct channel *c)
{
	const struct dead_letter_ops *ops = c->ctx->dead_letter_ops;
	return ops && ops->is_target(c->ctx->dead_letter_arg, c->topic_name);
}

static bool has_target(const struct channel *c, const struct settings *s)
{
	return *s->v.dead_letter_topic && c->ctx->dead_letter_ops && !is_target(c);
}

static void count_up(_Atomic uint64_t *count, size_t n)
{
	atomic_fetch_add_explicit(count, n, memory_order_relaxed);
}

static void drop(struct channel *c, struct message *const *take_msgs, size_t n, int reason)
{
	channel_are_over(c, take_msgs, n);
	message_unref_all(take_msgs, n);
	if (reason == DEAD_MAX_ATTEMPTS)
		count_up(&c->given_up, n);
}

void channel_give_up(struct channel *c, const struct settings *s, struct message *const *take_msgs,
	size_t n, enum dead_reason reason, struct screened *out)
{
	bool first;
	if (n == 0)
		return;
	if (reason == DEAD_EXPIRED)
		count_up(&c->expired, n);
	if (!has_target(c, s)) {
		drop(c, take_msgs, n, reason);
		out->gone += n;
		return;
	}
	for (size_t i = 0; i < n; i++)
		dead_reason_set(take_msgs[i], reason);
	kept_append(&c->dead, take_msgs, n, &first);
	out->dead += n;
	if (first)
		chan_signal(c->keeping_chan);
}

bool channel_dead_is_full(struct channel *c)
{
	return kept_count(&c->dead) > 0 && kept_is_full(&c->dead);
}

/* --- screening ---------------------------------------------------------------------------------- */

/* What is too much. */
struct screen {
	int64_t born;         /* older ones have expired; INT64_MIN: none */
	int64_t max_attempts; /* 0: no limit */
};

static struct screen screen_of(const struct settings *s)
{
	int64_t ttl = s->v.message_ttl;
	return (struct screen){
		.born = ttl != 0 ? clock_wall_ns() - ttl : INT64_MIN,
		.max_attempts = s->v.max_attempts,
	};
}

static bool expired(const struct screen *w, const struct message *m)
{
	return m->timestamp < w->born;
}

static bool exhausted(const struct screen *w, const struct message *m)
{
	return w->max_attempts != 0 && m->attempts >= w->max_attempts;
}

/* Those from the first on that is not fit. (Not inlined: that is rare, and needs a large stack.) */
static __attribute__((noinline)) size_t sort_out(struct channel *c, const struct settings *s,
	const struct screen *w, struct message **msgs, size_t n, struct screened *out)
{
	struct message *old[SCREEN_BATCH] UNINITIALIZED;
	struct message *tried[SCREEN_BATCH] UNINITIALIZED;
	size_t left = 0, n_old = 0, n_tried = 0;
	CHECK(n <= SCREEN_BATCH);
	bool endless = is_target(c);
	for (size_t i = 0; i < n; i++) {
		if (expired(w, msgs[i]))
			old[n_old++] = msgs[i];
		else if (!endless && exhausted(w, msgs[i]))
			tried[n_tried++] = msgs[i];
		else
			msgs[left++] = msgs[i];
	}
	channel_give_up(c, s, old, n_old, DEAD_EXPIRED, out);
	channel_give_up(c, s, tried, n_tried, DEAD_MAX_ATTEMPTS, out);
	return left;
}

size_t channel_screen(struct channel *c, const struct settings *s, struct message **msgs, size_t n,
	struct screened *out)
{
	enum { AHEAD = 4 };
	struct screen w = screen_of(s);
	*out = (struct screened){0};
	for (size_t i = 0; i < n; i++) {
		if (i + AHEAD < n)
			__builtin_prefetch(msgs[i + AHEAD]);
		if (expired(&w, msgs[i]) || exhausted(&w, msgs[i]))
			return i + sort_out(c, s, &w, msgs + i, n - i, out);
	}
	return n;
}

/* --- coming back -------------------------------------------------------------------------------- */

bool channel_has_had_it_locked(struct channel *c, const struct message *m)
{
	int64_t max = c->settings->v.max_attempts;
	rwlock_assert_held(&c->exit_lock);
	return max != 0 && m->attempts >= max && !is_target(c);
}

/* The delay of one that has been delivered so often. */
static int64_t backoff_of(const struct backoff *b, uint16_t attempts)
{
	if (b->n == 0)
		return 0;
	size_t i = attempts > 0 ? attempts - 1u : 0;
	return b->delay_ns[i < b->n ? i : b->n - 1];
}

static void come_back_alone(struct channel *c, struct message *take_m, bool backs_off)
{
	struct screened ignored = {0};
	int64_t delay = backs_off ? backoff_of(&c->settings->v.backoff, take_m->attempts) : 0;
	if (channel_has_had_it_locked(c, take_m) && !channel_dead_is_full(c))
		channel_give_up(c, c->settings, &take_m, 1, DEAD_MAX_ATTEMPTS, &ignored);
	else if (delay > 0)
		channel_start_deferred_timeout(c, take_m, delay);
	else
		channel_put_back_locked(c, &take_m, 1);
}

void channel_come_back_locked(
	struct channel *c, struct message *const *take_msgs, size_t n, bool backs_off)
{
	const struct setting_values *v = &c->settings->v;
	rwlock_assert_held(&c->exit_lock);
	if (v->max_attempts == 0 && (v->backoff.n == 0 || !backs_off)) {
		channel_put_back_locked(c, take_msgs, n);
		return;
	}
	for (size_t i = 0; i < n; i++)
		come_back_alone(c, take_msgs[i], backs_off);
}

/* --- a consumer has gone ------------------------------------------------------------------------ */

bool channel_has_dead_letters(struct channel *c)
{
	mutex_lock(&c->in_flight_lock);
	bool yes = *c->settings->v.dead_letter_topic != '\0';
	mutex_unlock(&c->in_flight_lock);
	return yes || kept_count(&c->dead) > 0;
}

bool channel_requeues_on_disconnect(struct channel *c)
{
	mutex_lock(&c->in_flight_lock);
	bool yes = c->settings->v.requeue_on_disconnect;
	mutex_unlock(&c->in_flight_lock);
	return yes && !context_is_exiting(c->ctx);
}

/* How far the search for the messages of a client has come. */
struct search {
	int64_t client_id;
	size_t at;        /* the next bucket */
	size_t n_buckets; /* of the table, as it was then */
	bool over;
};

/* Some of them. */
static size_t take_of_client_locked(struct channel *c, struct search *s, struct message **msgs)
{
	struct in_flight_pqueue *q = &c->in_flight;
	rwlock_assert_held(&c->exit_lock);
	mutex_lock(&c->in_flight_lock);
	/* The table has changed its size: anew, since what was ahead may be behind. */
	if (q->n_buckets != s->n_buckets)
		s->at = 0;
	s->n_buckets = q->n_buckets;
	size_t n = in_flight_pqueue_take_of_client(
		q, s->client_id, &s->at, DISCONNECT_BUCKETS, msgs, DUE_BATCH);
	s->over = s->at >= q->n_buckets;
	if (n > 0)
		channel_in_flight_changed_locked(c);
	mutex_unlock(&c->in_flight_lock);
	return n;
}

/* The cursor of a logged channel learns of it: a crash must not count them up again. */
static void tell_attempts(struct channel *c, struct message *const *msgs, size_t n)
{
	if (!c->logged)
		return;
	mutex_lock(&c->in_flight_lock);
	if (c->log_queue)
		log_queue_taken_locked(c->log_queue, msgs, n);
	mutex_unlock(&c->in_flight_lock);
}

/* One slice. */
static void requeue_some_locked(struct channel *c, struct search *s)
{
	struct message *msgs[DUE_BATCH] UNINITIALIZED;
	s->over = true;
	if (channel_exiting(c))
		return;
	size_t n = take_of_client_locked(c, s, msgs);
	if (!c->settings->v.count_disconnect_as_attempt) {
		for (size_t i = 0; i < n; i++)
			msgs[i]->attempts -= msgs[i]->attempts > 0;
		tell_attempts(c, msgs, n);
	}
	count_up(&c->requeued_on_disconnect, n);
	channel_come_back_locked(c, msgs, n, false);
}

bool channel_requeue_of_client_may_block(struct channel *c)
{
	mutex_lock(&c->in_flight_lock);
	bool many = c->in_flight.n_buckets > DISCONNECT_BUCKETS;
	mutex_unlock(&c->in_flight_lock);
	return many || !channel_has_room(c, DISCONNECT_BUCKETS);
}

void channel_requeue_of_client(struct channel *c, int64_t client_id)
{
	const struct timespec pause = {.tv_nsec = DISCONNECT_PAUSE_NS};
	struct search s = {.client_id = client_id};
	while (!s.over) {
		rwlock_rdlock(&c->exit_lock);
		requeue_some_locked(c, &s);
		rwlock_unlock(&c->exit_lock);
		/* A mutex is not fair: those that wait for it get their turn now. */
		if (!s.over && s.n_buckets > DISCONNECT_BUCKETS)
			nanosleep(&pause, NULL);
	}
}

/* --- to the dead-letter topic ------------------------------------------------------------------- */

void channel_dead_less(struct channel *c)
{
	if (kept_count(&c->dead) > 0 || c->dead_undone == 0)
		return;
	c->backend->ops->done(c->backend, c->dead_undone);
	c->dead_undone = 0;
}

/* The log says that once, until it goes on. */
static void tell_refused(struct channel *c, const char *target, const struct err *err)
{
	if (c->dead_refused)
		return;
	c->dead_refused = true;
	nsqd_logf(c->ctx, LG_ERROR,
		"CHANNEL(%s): %zu dead letters wait, since topic(%s) refuses them - %s", c->name,
		kept_count(&c->dead), target, err->msg);
}

static size_t put_dead(struct channel *c, struct message *const *msgs, size_t n)
{
	char target[NAME_SIZE];
	struct err err;
	const struct setting_values *v = &c->pump_settings->v;
	struct dead_source from = {
		.topic = c->topic_name,
		.channel = c->name,
		.target = dead_letter_name(v->dead_letter_topic, c->topic_name, c->name, target),
		.envelope = v->dead_letter_envelope,
	};
	size_t done = c->ctx->dead_letter_ops->put(c->ctx->dead_letter_arg, &from, msgs, n, &err);
	count_up(&c->dead_lettered, done);
	if (done < n)
		tell_refused(c, target, &err);
	else
		c->dead_refused = false;
	return done;
}

/* Not inlined: a pump that waits has no need of the messages on its stack. */
__attribute__((noinline)) bool channel_bury(struct channel *c)
{
	struct message *msgs[BURY_BATCH] UNINITIALIZED;
	bool has = has_target(c, c->pump_settings);
	size_t n = kept_take(&c->dead, msgs, BURY_BATCH), done = n;
	runnext_handoff(); /* the disk, and nsqlookupd, may take their time */
	if (has && n > 0) {
		done = put_dead(c, msgs, n);
		channel_are_over(c, msgs, done);
		message_unref_all(msgs, done);
	} else {
		for (size_t i = 0; i < n; i++)
			drop(c, &msgs[i], 1, (int)msgs[i]->client_id);
	}
	kept_settle(&c->dead, msgs + done, n - done);
	channel_dead_less(c);
	return done < n;
}

void channel_drop_dead(struct channel *c)
{
	struct message *msgs[BURY_BATCH] UNINITIALIZED;
	size_t n;
	while ((n = kept_take(&c->dead, msgs, BURY_BATCH)) > 0) {
		channel_are_over(c, msgs, n);
		message_unref_all(msgs, n);
		(void)kept_settle(&c->dead, NULL, 0);
	}
	channel_dead_less(c);
}

void channel_dead_settings_changed(struct channel *c)
{
	bool keeps = *c->pump_settings->v.dead_letter_topic != '\0';
	if (keeps != c->remembers)
		c->backend->ops->forget(c->backend, !keeps);
	c->remembers = keeps;
}
