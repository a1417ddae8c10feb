/* SPDX-License-Identifier: MIT */
/*
 * Looking into a channel, and one message by its id. Stock has no such thing. Runs in the threads
 * of HTTP connections; the functions named visit_... run in the channel's pump.
 *
 * A message belongs to its queue while it waits: so under the lock of that queue nobody changes its
 * fields, and they can be copied. The pump's batch has no lock. So the pump looks itself, between
 * two of its steps; and at the memory queue and at what is kept with it, since nothing moves from
 * there into the batch meanwhile. What is on disk is read by the thread that asks.
 */
#include "nsqd/queue/channel_inspect.h"

#include <stdlib.h>

#include "common/compiler.h"
#include "common/xalloc.h"
#include "nsqd/disk/backend_peek.h"
#include "nsqd/disk/backend_queue.h"
#include "nsqd/log/log_queue.h"
#include "nsqd/log/stock_first.h"
#include "nsqd/queue/channel_internal.h"
#include "nsqd/queue/topic.h"

/* How many messages are seen under one lock, or looked at for an id. */
#define LOOK_STEP 128
/* How often a message is looked for that may be between two queues. */
#define TRIES 3

/* --- peek ------------------------------------------------------------------------------------- */

/* NULL: there is no such queue. */
static void look_into_chan(struct chan *memory, struct message_views *out)
{
	size_t seen = 0, n = 1;
	while (memory && n > 0 && message_views_room(out) > 0) {
		size_t room = message_views_room(out);
		n = chan_look(
			memory, seen, room < LOOK_STEP ? room : LOOK_STEP, message_views_see, out);
		seen += n;
	}
}

static void visit_memory(struct channel *c, void *arg)
{
	struct message_views *out = arg;
	size_t batch = atomic_load_explicit(&c->batch_len, memory_order_relaxed);
	for (size_t i = 0; i < batch; i++)
		message_views_add(out, c->batch[i], PLACE_BATCH);
	look_into_chan(c->memory_msg_chan, out);
	kept_look(&c->kept, out, PLACE_KEPT);
	kept_look(&c->dead, out, PLACE_DEAD);
}

/*
 * A message that has moved on while one place after the other was looked at may be there twice: the
 * first time counts. Without a lock.
 */
static void drop_repeated(struct message_views *out)
{
	size_t n = 0;
	for (size_t i = 0; i < out->n; i++) {
		if (message_views_find(out, out->v[i].id, n) < n)
			message_body_unref(out->v[i].body);
		else
			out->v[n++] = out->v[i];
	}
	out->n = n;
}

static void peek_disk(struct rwlock *lock, struct backend_queue *const *q,
	struct message_views *out, struct err *err)
{
	struct err why = {0};
	if (message_views_room(out) > 0 && backend_peek(lock, q, out, &why) != 0)
		*err = why;
	drop_repeated(out);
}

/* A slice of peek_pqueue. */
struct pqueue_look {
	const struct in_flight_pqueue *q;
	struct message_views *out;
	struct in_flight_step *steps;
	struct message **msgs;       /* the walk of this slice */
	const struct message **last; /* those added with the last deadline; not to be followed */
	size_t n_last;
	int64_t last_ns; /* that deadline */
};

static bool is_one_of(const struct message *const *msgs, size_t n, const struct message *m)
{
	while (n > 0 && msgs[n - 1] != m)
		n--;
	return n > 0;
}

/* Walks over the first max messages and adds those behind the last that was seen. How many. */
static size_t look_on(struct pqueue_look *l, size_t max)
{
	size_t n = in_flight_pqueue_look(l->q, l->msgs, max, l->steps);
	for (size_t i = 0; i < n && message_views_room(l->out) > 0; i++) {
		const struct message *m = l->msgs[i];
		if (m->due_ns < l->last_ns ||
			(m->due_ns == l->last_ns && is_one_of(l->last, l->n_last, m)))
			continue;
		message_views_add(l->out, m, PLACE_MEMORY);
		if (m->due_ns > l->last_ns)
			l->n_last = 0;
		l->last_ns = m->due_ns;
		l->last[l->n_last++] = m;
	}
	return n;
}

/*
 * In slices, as FINs wait for the lock. Most of the time goes by until a message has come from the
 * memory to the processor. So a slice begins anew, but what it passes over is there already.
 */
static void peek_pqueue(
	struct mutex *lock, const struct in_flight_pqueue *q, struct message_views *out)
{
	size_t room = message_views_room(out), n, max = 0;
	struct pqueue_look l = {.q = q, .out = out, .last_ns = INT64_MIN};
	l.steps = xreallocarray(NULL, IN_FLIGHT_STEPS(room), sizeof(*l.steps));
	l.msgs = xreallocarray(NULL, room + 1, sizeof(*l.msgs));
	l.last = xreallocarray(NULL, room + 1, sizeof(*l.last));
	do {
		max = room - max < LOOK_STEP ? room : max + LOOK_STEP;
		mutex_lock(lock);
		n = look_on(&l, max);
		mutex_unlock(lock);
	} while (n == max && max < room);
	free(l.steps);
	free(l.msgs);
	free(l.last);
	drop_repeated(out);
}

/* --- peek, with a log ----------------------------------------------------------------------------- */

/* What has waited, and is in the hand of the queue's thread: the log does not show it any more. */
static void peek_waited(struct channel *c, struct message_views *out)
{
	rwlock_rdlock(&c->exit_lock);
	if (c->logged && !channel_exiting(c))
		log_queue_see_batch(c->log_queue, out);
	rwlock_unlock(&c->exit_lock);
}

static int by_due(const void *a, const void *b)
{
	const struct message_view *x = a, *y = b;
	return x->due_ns < y->due_ns ? -1 : x->due_ns > y->due_ns;
}

/* Those that wait in the log, with those that wait in memory, as a disk queue's do. */
static void peek_waiting(struct channel *c, struct message_views *out, struct err *err)
{
	struct backend_look *l = NULL;
	struct message_views logged;
	struct err why = {0};
	if (!c->logged || out->max == 0)
		return;
	rwlock_rdlock(&c->exit_lock);
	if (!channel_exiting(c))
		l = log_queue_look_waiting(c->log_queue, out->max);
	rwlock_unlock(&c->exit_lock);
	if (!l)
		return;
	message_views_init(&logged, out->max, out->body_max);
	if (l->read(l, &logged, &why) < 0)
		*err = why;
	l->free(l);
	message_views_merge(out, &logged, by_due);
	message_views_free(&logged);
	drop_repeated(out);
}

bool channel_peek(struct channel *c, enum channel_state state, bool memory, bool disk,
	struct message_views *out, struct err *disk_err)
{
	*disk_err = (struct err){0};
	if (channel_exiting(c))
		return false;
	switch (state) {
	case CHANNEL_READY:
		if (memory && !channel_visit_pump(c, visit_memory, out))
			return false;
		if (disk)
			peek_waited(c, out);
		if (disk)
			peek_disk(&c->exit_lock, &c->backend, out, disk_err);
		break;
	case CHANNEL_IN_FLIGHT:
		peek_pqueue(&c->in_flight_lock, &c->in_flight, out);
		break;
	case CHANNEL_DEFERRED:
		peek_pqueue(&c->deferred_lock, &c->deferred, out);
		peek_waiting(c, out, disk_err);
		break;
	}
	return true;
}

void topic_peek(
	struct topic *t, bool memory, bool disk, struct message_views *out, struct err *disk_err)
{
	*disk_err = (struct err){0};
	if (memory)
		look_into_chan(t->memory_msg_chan, out);
	if (disk)
		peek_disk(&t->lock, &t->backend, out, disk_err);
}

bool channel_get_consumer(struct channel *c, int64_t client_id, struct client_v2_stats *out)
{
	struct consumer *client;
	rwlock_rdlock(&c->lock);
	HASH_FIND(hh, c->clients, &client_id, sizeof(client_id), client);
	if (client)
		client->ops->stats(client, c->topic_name, out);
	rwlock_unlock(&c->lock);
	return client != NULL;
}

/* --- the oldest ------------------------------------------------------------------------------- */

static void see_timestamp(void *arg, const void *value)
{
	*(int64_t *)arg = (*(struct message *const *)value)->timestamp;
}

static int64_t first_in_memory(struct chan *memory)
{
	int64_t timestamp = 0;
	if (memory && chan_len(memory) > 0)
		chan_look(memory, 0, 1, see_timestamp, &timestamp);
	return timestamp;
}

static int64_t first_on_disk(struct rwlock *lock, struct backend_queue *const *q)
{
	rwlock_rdlock(lock);
	int64_t timestamp = *q ? (*q)->ops->first_timestamp(*q) : 0;
	rwlock_unlock(lock);
	return timestamp;
}

/* The less of two timestamps, where 0 is none. */
static int64_t older(int64_t a, int64_t b)
{
	return a == 0 ? b : b == 0 || a < b ? a : b;
}

int64_t channel_oldest_timestamp(struct channel *c)
{
	int64_t memory = older(first_in_memory(c->memory_msg_chan), kept_first_timestamp(&c->kept));
	return older(memory, first_on_disk(&c->exit_lock, &c->backend));
}

int64_t topic_oldest_timestamp(struct topic *t)
{
	return older(first_in_memory(t->memory_msg_chan), first_on_disk(&t->lock, &t->backend));
}

/* --- by id ------------------------------------------------------------------------------------ */

struct search {
	struct message_id id;
	bool requeue; /* else finish */
	int64_t delay_ns;
	bool found;
};

static void requeue_locked(struct channel *c, struct message *take_m, int64_t delay_ns)
{
	if (delay_ns == 0)
		channel_put_back_locked(c, &take_m, 1);
	else
		channel_start_deferred_timeout(c, take_m, delay_ns);
}

/* Deals with m, which is in no queue any more. */
static void settle_locked(struct channel *c, const struct search *s, struct message *take_m)
{
	if (s->requeue) {
		requeue_locked(c, take_m, s->delay_ns);
		return;
	}
	channel_are_over(c, &take_m, 1);
	message_unref(take_m);
}

static bool is_wanted(void *arg, const void *value)
{
	const struct search *s = arg;
	return message_id_equal((*(struct message *const *)value)->id, s->id);
}

/*
 * The step of a search. exit_lock is held for one step, as a put does: so a message that is taken
 * out is in its place again before an exit flushes the queues.
 */
static enum chan_found search_memory_locked(struct channel *c, struct search *s, size_t *passed)
{
	struct message *m;
	enum chan_found f = chan_take_out(c->memory_msg_chan, passed, LOOK_STEP, is_wanted, s, &m);
	if (f == CHAN_FOUND) {
		channel_sub_bytes(c, &m, 1);
		settle_locked(c, s, m);
	}
	return f;
}

static void search_in_flight_locked(struct channel *c, struct search *s)
{
	struct message *m = channel_pop_in_flight(c, s->id);
	if (m) {
		s->found = true;
		if (s->requeue)
			atomic_fetch_add_explicit(&c->requeue_count, 1, memory_order_relaxed);
		channel_tell_timed_out(c, &m, 1);
	} else {
		m = channel_pop_deferred(c, s->id);
		s->found = m != NULL;
	}
	if (m)
		settle_locked(c, s, m);
}

/* In the batch, kept or given up. The put comes before the end there: a crash must find it somewhere. */
static void visit_by_id(struct channel *c, void *arg)
{
	struct search *s = arg;
	struct message *m;
	rwlock_rdlock(&c->exit_lock);
	if (channel_exiting(c)) {
		rwlock_unlock(&c->exit_lock);
		return;
	}
	if ((m = channel_first_in_batch(c, s->id)) != NULL) {
		settle_locked(c, s, m);
		channel_drop_first_of_batch(c);
		s->found = true;
	} else if ((m = kept_take_out(&c->kept, s->id)) != NULL) {
		settle_locked(c, s, m);
		channel_kept_less(c);
		s->found = true;
	} else if ((m = kept_take_out(&c->dead, s->id)) != NULL) {
		settle_locked(c, s, m);
		channel_dead_less(c);
		s->found = true;
	}
	rwlock_unlock(&c->exit_lock);
}

/* With a log: what its thread has read, and the pump has not received. */
static void search_read(struct channel *c, struct search *s)
{
	struct message *m = NULL;
	if (!c->logged)
		return;
	rwlock_rdlock(&c->exit_lock);
	if (!channel_exiting(c))
		m = log_queue_take_read(c->log_queue, s->id);
	if (m)
		settle_locked(c, s, m);
	rwlock_unlock(&c->exit_lock);
	s->found = m != NULL;
}

/* In the direction in which messages go, lest one that moves is missed. False: it exits. */
static bool search_all(struct channel *c, struct search *s)
{
	search_read(c, s);
	if (s->found)
		return true;
	enum chan_found f = c->memory_msg_chan ? CHAN_ON : CHAN_NONE;
	for (size_t passed = 0; f == CHAN_ON;) {
		rwlock_rdlock(&c->exit_lock);
		f = channel_exiting(c) ? CHAN_NONE : search_memory_locked(c, s, &passed);
		rwlock_unlock(&c->exit_lock);
	}
	s->found = f == CHAN_FOUND;
	if (!s->found && !channel_visit_pump(c, visit_by_id, s))
		return false;
	rwlock_rdlock(&c->exit_lock);
	bool exiting = channel_exiting(c);
	if (!s->found && !exiting)
		search_in_flight_locked(c, s);
	rwlock_unlock(&c->exit_lock);
	return s->found || !exiting;
}

/* It is nowhere in memory. */
static enum by_id search_disk(struct channel *c, struct message_id id)
{
	struct message_views seen;
	struct err err = {0};
	message_views_init(&seen, PEEK_MAX, 0);
	peek_disk(&c->exit_lock, &c->backend, &seen, &err);
	enum by_id result = BY_ID_NOT_FOUND;
	if (message_views_find(&seen, id, seen.n) < seen.n)
		result = BY_ID_ON_DISK;
	else if (seen.n == seen.max || *err.msg)
		result = BY_ID_NOT_IN_MEMORY;
	message_views_free(&seen);
	return result;
}

/* It was in the log a moment ago. */
static enum by_id settle_in_log(struct channel *c, const struct search *s, struct message *m)
{
	static const enum by_id results[] = {[LOG_SETTLED] = BY_ID_DONE,
		[LOG_OVER] = BY_ID_NOT_FOUND,
		[LOG_ELSEWHERE] = BY_ID_NOT_IN_MEMORY};
	enum by_id result = BY_ID_EXITING;
	rwlock_rdlock(&c->exit_lock);
	if (!channel_exiting(c))
		result = results[log_queue_settle(c->log_queue, m, s->requeue ? s->delay_ns : -1)];
	rwlock_unlock(&c->exit_lock);
	return result;
}

/*
 * It is nowhere in memory: in the log, which is read without a lock. *again: it may have been on its
 * way.
 */
static enum by_id search_log(struct channel *c, const struct search *s, bool *again)
{
	struct log_find *f = NULL;
	struct message *m = NULL;
	rwlock_rdlock(&c->exit_lock);
	if (!channel_exiting(c))
		f = log_queue_find(c->log_queue);
	rwlock_unlock(&c->exit_lock);
	*again = false;
	if (!f)
		return BY_ID_EXITING;
	enum log_found_by_id found = log_find_read(f, s->id, &m);
	log_find_free(f);
	*again = found == GONE_BY_ID;
	if (found != FOUND_BY_ID)
		return found == UNKNOWN_BY_ID ? BY_ID_NOT_IN_MEMORY : BY_ID_NOT_FOUND;
	enum by_id result = settle_in_log(c, s, m);
	*again = result == BY_ID_NOT_IN_MEMORY;
	message_unref(m);
	return result;
}

/* Is there a disk queue that may have it? */
static bool has_disk_queue(struct channel *c)
{
	rwlock_rdlock(&c->exit_lock);
	bool has = c->backend && (!c->logged || is_stock_first(c->backend));
	rwlock_unlock(&c->exit_lock);
	return has;
}

static enum by_id by_id(struct channel *c, struct search *s)
{
	enum by_id result = BY_ID_NOT_FOUND;
	bool again = true;
	for (int i = 0; i < TRIES && again; i++) {
		if (!search_all(c, s))
			return BY_ID_EXITING;
		if (s->found)
			return BY_ID_DONE;
		if (c->logged)
			result = search_log(c, s, &again);
	}
	return result == BY_ID_NOT_FOUND && has_disk_queue(c) ? search_disk(c, s->id) : result;
}

/* What an operator is told of is so after kill -9 as well. */
static enum by_id do_by_id(struct channel *c, struct search *s)
{
	enum by_id result = by_id(c, s);
	if (result != BY_ID_DONE || !c->logged)
		return result;
	rwlock_rdlock(&c->exit_lock);
	if (!channel_exiting(c))
		log_queue_flush(c->log_queue);
	rwlock_unlock(&c->exit_lock);
	return result;
}

enum by_id channel_finish_by_id(struct channel *c, struct message_id id)
{
	struct search s = {.id = id};
	return do_by_id(c, &s);
}

enum by_id channel_requeue_by_id(struct channel *c, struct message_id id, int64_t delay_ns)
{
	struct search s = {.id = id, .requeue = true, .delay_ns = delay_ns};
	return do_by_id(c, &s);
}
