/* SPDX-License-Identifier: MIT */
/*
 * The channel's message pump: memory queue or backend -> client_msg_chans, the only chans that
 * consumers see. It mirrors Channel.messagePump of nsqd/channel.go before NSQ 1.0 (and of the
 * walk-through); in 1.3.0 each client's pump selects over the channel's memory queue and backend by
 * itself. Thread "c:TOPIC/NAME", and threads that take its steps (common/runnext.h).
 *
 * Note on demand. A pump that took messages ahead of time would change what operators see: the
 * depth, what spills to disk, what a #ephemeral channel drops. So it takes messages only while a
 * consumer is parked on one of these chans, and only as many as those have room for. Otherwise its
 * sources are NULL, and it waits for demand. What the pump holds is its batch.
 * It counts as depth, and goes back to the queue when the channel is paused, or when the consumer
 * that asked has left.
 *
 * Lessons in docs/course/: 20-journey.
 */
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/compiler.h"
#include "common/runnext.h"
#include "common/xalloc.h"
#include "nsqd/core/message.h"
#include "nsqd/queue/channel_internal.h"

/* --- demand --------------------------------------------------------------------------------- */

/*
 * How much room the nearest of the consumers that wait have, up to CHANNEL_BATCH. Those that are
 * farther are not asked while there is any nearer.
 */
static size_t nearest_demand(struct channel *c)
{
	for (int i = 0; i < N_CLOSENESS; i++) {
		struct chan *client = c->client_msg_chans[i];
		size_t n = client ? chan_demand(client, CHANNEL_BATCH) : 0;
		if (n > 0)
			return n;
	}
	return 0;
}

/* How many messages to take now. */
static size_t demand_of_all(struct channel *c)
{
	return channel_is_paused(c) ? 0 : nearest_demand(c);
}

/* --- the batch ------------------------------------------------------------------------------ */

/* How long it is, to the thread that has written that: the pump, or one that takes its step. */
static size_t batch_len(const struct channel *c)
{
	return atomic_load_explicit(&c->batch_len, memory_order_relaxed);
}

/* The first n messages are not in it any more. */
static void shift_batch(struct channel *c, size_t n)
{
	size_t left = batch_len(c) - n;
	memmove(c->batch, c->batch + n, left * sizeof(*c->batch));
	atomic_store(&c->batch_len, left);
	c->look_ns = 0;
	channel_count_batch(c);
}

/* The first n messages have left it. */
static void batch_taken(struct channel *c, size_t n)
{
	if (n == 0)
		return;
	/* In flight, or back in the queue: a crash need not bring them again. */
	if (c->batch_from_backend)
		c->backend->ops->done(c->backend, n);
	shift_batch(c, n);
}

static void drop_batch(struct channel *c)
{
	channel_are_over(c, c->batch, batch_len(c));
	message_unref_all(c->batch, batch_len(c));
	batch_taken(c, batch_len(c));
}

/* Back into the queue; messages that the disk refuses stay in the batch. */
static void put_batch_back(struct channel *c)
{
	struct err err;
	rwlock_rdlock(&c->exit_lock);
	if (batch_len(c) > 0 && !channel_exiting(c))
		batch_taken(c, channel_put_locked(c, c->batch, batch_len(c), &err));
	rwlock_unlock(&c->exit_lock);
}

/* These have left, and came from the backend, or not. */
static void count_screened(struct channel *c, const struct screened *out, bool from_backend)
{
	if (!from_backend)
		return;
	c->dead_undone += out->dead;
	c->backend->ops->done(c->backend, out->gone);
}

/* What must not be delivered leaves the batch (channel_dead.c). */
static void screen_batch(struct channel *c)
{
	struct screened out;
	size_t n = batch_len(c);
	if (n == 0 || !channel_screens(c->pump_settings))
		return;
	size_t left = channel_screen(c, c->pump_settings, c->batch, n, &out);
	c->look_ns = 0;
	if (left == n)
		return;
	count_screened(c, &out, c->batch_from_backend);
	atomic_store(&c->batch_len, left);
	channel_count_batch(c);
}

/*
 * Nobody asks for the batch, and the channel holds too much: its messages go first. They were the
 * heads of their queues.
 */
static void drop_of_batch(struct channel *c)
{
	struct screened out = {0};
	size_t n = channel_batch_too_much(c);
	if (n == 0)
		return;
	channel_drop_overflow(c, c->batch, n, &out);
	count_screened(c, &out, c->batch_from_backend);
	shift_batch(c, n);
}

/* A new batch has come, from the backend or not; the caller screens it. */
static void begin_batch(struct channel *c, size_t n, bool from_backend)
{
	c->batch_from_backend = from_backend;
	atomic_store(&c->batch_len, n);
	channel_count_batch(c);
}

static void screen_new_batch(struct channel *c)
{
	screen_batch(c);
	if (batch_len(c) > 0)
		c->looking = false;
}

/* --- updates -------------------------------------------------------------------------------- */

static void fetch_settings(struct channel *c)
{
	settings_unref(c->pump_settings);
	rwlock_rdlock(&c->exit_lock);
	c->pump_settings = settings_ref(c->settings);
	rwlock_unlock(&c->exit_lock);
	channel_dead_settings_changed(c);
	c->dead_retry_ns = 0;
	c->look_ns = 0;
	c->looking = c->pump_settings->v.message_ttl != 0;
	if (!channel_dead_is_full(c))
		screen_batch(c);
	channel_count_bytes(c);
}

static void apply_update(struct channel *c, const struct pump_update *update)
{
	switch (update->what) {
	case CHANNEL_PAUSED:
		if (channel_is_paused(c))
			put_batch_back(c);
		break;
	case CHANNEL_EMPTIED:
		drop_batch(c);
		channel_drop_dead(c);
		kept_clear(&c->kept);
		channel_kept_less(c);
		break;
	case CHANNEL_SETTINGS:
		fetch_settings(c);
		break;
	case CHANNEL_CLIENT_LEFT:
		if (nearest_demand(c) == 0)
			put_batch_back(c);
		if (batch_len(c) == 0) {
			free(c->batch);
			c->batch = NULL;
		}
		break;
	case CHANNEL_VISITED:
		update->visit->visit(c, update->visit->arg);
		chan_send(update->visit->done_chan, NULL); /* the visitor may go, and all of that */
		return;
	}
	struct chan_case cases[] = {
		chan_case_send(c->updated_chan, NULL), chan_case_recv(c->exit_chan, NULL)};
	chan_select(cases, 2);
}

void channel_update_pump(struct channel *c, enum channel_update what)
{
	struct pump_update update = {.what = what};
	struct chan_case tell[] = {
		chan_case_send(c->update_chan, &update), chan_case_recv(c->exit_chan, NULL)};
	if (chan_select(tell, 2) != 0)
		return;
	struct chan_case wait[] = {
		chan_case_recv(c->updated_chan, NULL), chan_case_recv(c->exit_chan, NULL)};
	chan_select(wait, 2);
}

bool channel_visit_pump(struct channel *c, void (*visit)(struct channel *c, void *arg), void *arg)
{
	struct pump_visit v = {visit, arg, chan_new(0, 1)};
	struct pump_update update = {CHANNEL_VISITED, &v};
	struct chan_case tell[] = {
		chan_case_send(c->update_chan, &update), chan_case_recv(c->exit_chan, NULL)};
	bool told = chan_select(tell, 2) == 0;
	/* Not beside exit_chan: the pump that has it will use it, whatever comes then. */
	if (told)
		chan_recv(v.done_chan, NULL);
	chan_free(v.done_chan);
	return told;
}

struct message *channel_first_in_batch(struct channel *c, struct message_id id)
{
	size_t n = batch_len(c), i = 0;
	while (i < n && !message_id_equal(c->batch[i]->id, id))
		i++;
	if (i == n)
		return NULL;
	struct message *m = c->batch[i];
	memmove(c->batch + 1, c->batch, i * sizeof(*c->batch));
	c->batch[0] = m;
	return m;
}

void channel_drop_first_of_batch(struct channel *c)
{
	batch_taken(c, 1);
}

/* --- past the pump ---------------------------------------------------------------------------- */

size_t channel_take_messages(struct channel *c, struct message **msgs, size_t max)
{
	size_t n = 0;
	if (!c->memory_msg_chan || c->topology_aware || channel_is_paused(c))
		return 0;
	/*
	 * What the pump has taken is older, also if it has not seen that yet. Among several
	 * consumers there is no order, and they do not wait for the pump.
	 */
	bool may_take = atomic_load(&c->may_take) && atomic_load(&c->client_count) == 1;
	/* In this order: the pump has its batch before it says that it takes no more. */
	if (may_take || atomic_load(&c->batch_len) > 0)
		return 0;
	if (!rwlock_tryrdlock(&c->exit_lock))
		return 0;
	if (channel_flow_is_limited(&c->settings->v))
		max = 0;
	/* With messages in both, the pump's select is what is fair to those on disk. */
	bool screens = channel_screens(c->settings);
	if (screens)
		max = channel_dead_is_full(c) ? 0 : max < SCREEN_BATCH ? max : SCREEN_BATCH;
	if (!channel_exiting(c) && c->backend->ops->depth(c->backend) == 0)
		n = chan_try_recv_n(c->memory_msg_chan, msgs, max, NULL);
	channel_sub_bytes(c, msgs, n);
	if (screens && n > 0)
		n = channel_screen(c, c->settings, msgs, n, &(struct screened){0});
	if (n > 0)
		atomic_fetch_add_explicit(&c->flow.handed, n, memory_order_relaxed);
	rwlock_unlock(&c->exit_lock);
	return n;
}

/* --- messages that the disk refuses ----------------------------------------------------------- */

/* How long the pump waits until it tries again, at first and at last. */
#define PATIENCE_MIN_NS (250 * NSEC_PER_MSEC)
#define PATIENCE_MAX_NS NSEC_PER_SEC

/* When to try to queue the kept messages; NULL: there are none. */
static struct ticker *await_retry(struct channel *c)
{
	if (!channel_is_stuck(c)) {
		c->kept_patience_ns = 0;
		return NULL;
	}
	if (c->kept_patience_ns == 0) {
		c->kept_patience_ns = PATIENCE_MIN_NS;
		ticker_after(&c->kept_retry, c->kept_patience_ns);
	}
	return &c->kept_retry;
}

/*
 * Queues the kept messages, as far as memory and disk have room by now. (Not inlined: a pump that
 * waits has no need of the messages on its stack.)
 */
static __attribute__((noinline)) void queue_kept(struct channel *c)
{
	struct message *msgs[CHANNEL_BATCH] UNINITIALIZED;
	struct err err;
	size_t n = kept_take(&c->kept, msgs, CHANNEL_BATCH), done = 0;
	rwlock_rdlock(&c->exit_lock);
	if (!channel_exiting(c))
		done = channel_put_locked(c, msgs, n, &err);
	rwlock_unlock(&c->exit_lock);
	kept_settle(&c->kept, msgs + done, n - done);
	channel_kept_less(c);
	if (done == n) {
		/* There is room: on with the next, but let others have their turn in between. */
		c->kept_patience_ns = PATIENCE_MIN_NS;
		ticker_after(&c->kept_retry, 0);
	} else {
		c->kept_patience_ns = 2 * c->kept_patience_ns < PATIENCE_MAX_NS
					      ? 2 * c->kept_patience_ns
					      : PATIENCE_MAX_NS;
		ticker_after(&c->kept_retry, c->kept_patience_ns);
	}
}

/* Takes up to max of the kept messages as a batch, for consumers that ask. */
static void take_kept(struct channel *c, size_t max)
{
	begin_batch(c, kept_take(&c->kept, c->batch, max), false);
	kept_settle(&c->kept, NULL, 0);
	screen_new_batch(c);
	channel_kept_less(c);
}

/*
 * Whether the kept messages come next, along with those on disk: those in memory are older. They
 * come by way of a ticker that is due, so that select is fair to all.
 */
static bool kept_is_next(struct channel *c, struct ticker *due)
{
	if (!channel_is_stuck(c) || (c->memory_msg_chan && chan_len(c->memory_msg_chan) > 0))
		return false;
	ticker_after(due, 0);
	return true;
}

/* --- dead letters, and what is too old --------------------------------------------------------- */

/* When the pump tries a dead-letter topic again that has refused. */
#define DEAD_RETRY_NS NSEC_PER_SEC
/* How often a pump without a batch looks for messages that have expired: by the ttl, within these. */
#define LOOK_MIN_NS (100 * NSEC_PER_MSEC)
#define LOOK_MAX_NS (5 * NSEC_PER_SEC)
/* With one: when its first message expires, within these, since the wall clock may be set. */
#define HAND_MIN_NS NSEC_PER_MSEC
#define HAND_MAX_NS (60 * NSEC_PER_SEC)

static int64_t within(int64_t ns, int64_t min, int64_t max)
{
	return ns < min ? min : ns > max ? max : ns;
}

/* How long until the pump is to look how old the oldest messages are. */
static int64_t time_to_look(const struct channel *c)
{
	int64_t ttl = c->pump_settings->v.message_ttl;
	size_t n = batch_len(c);
	if (n == 0)
		return within(ttl / 8, LOOK_MIN_NS, LOOK_MAX_NS);
	int64_t oldest = c->batch[0]->timestamp;
	for (size_t i = 1; i < n; i++)
		oldest = c->batch[i]->timestamp < oldest ? c->batch[i]->timestamp : oldest;
	return within(oldest - (clock_wall_ns() - ttl), HAND_MIN_NS, HAND_MAX_NS);
}

/*
 * The next of these chores, into due; NULL: there is none. A pump that looks has its queues open, and
 * needs no time for that.
 */
static struct ticker *await_chore(struct channel *c, struct ticker *due)
{
	int64_t at = INT64_MAX;
	if (kept_count(&c->dead) > 0)
		at = c->dead_retry_ns;
	if (c->pump_settings->v.message_ttl != 0 && !c->looking) {
		if (c->look_ns == 0)
			c->look_ns = clock_mono_ns() + time_to_look(c);
		at = c->look_ns < at ? c->look_ns : at;
	}
	if (at == INT64_MAX)
		return NULL;
	ticker_after(due, at == 0 ? 0 : at - clock_mono_ns());
	return due;
}

/* The pump's own thread. */
static void do_chores(struct channel *c)
{
	int64_t now = clock_mono_ns();
	if (kept_count(&c->dead) > 0 && now >= c->dead_retry_ns)
		c->dead_retry_ns = channel_bury(c) ? clock_mono_ns() + DEAD_RETRY_NS : 0;
	if (c->pump_settings->v.message_ttl == 0 || c->looking || now < c->look_ns)
		return;
	if (!channel_dead_is_full(c))
		screen_batch(c);
	c->look_ns = 0;
	c->looking = batch_len(c) == 0;
}

/* --- the select ------------------------------------------------------------------------------- */

enum { MEMORY, BACKEND, UPDATE, KEEPING, KEPT, CHORE, EXIT, CLIENTS };
#define MAX_CASES (CLIENTS + N_CLOSENESS)

/* The pump's state: that of the thread that takes its step. */
struct pump {
	struct task task;
	struct chan_case cases[MAX_CASES];
	struct waiter waiters[MAX_CASES];
	struct channel *channel;
	struct pump_update update;
	size_t wanted;  /* for so many messages there is demand, and no batch */
	size_t offered; /* so many of the batch may be handed out */
	bool held_up;   /* there is demand, or a batch, but the flow allows none (channel_flow.h) */
	bool kept_next; /* the kept messages are a source */
	struct ticker due; /* for that */
	struct ticker chore;
	struct drop_plan drop;    /* these are dropped, since the channel holds too much */
	unsigned drop_looks;      /* so often in a row it was not known */
	struct message **dropped; /* room for CHANNEL_BATCH; NULL: none were, so far */
};

static struct pump *pump_of(struct task *task)
{
	return (struct pump *)task;
}

/* How many of n messages may be in flight beside those that are. None: the pump is woken for them. */
static size_t room_in_flight(struct channel *c, size_t n)
{
	mutex_lock(&c->in_flight_lock);
	int64_t room =
		channel_flow_room_locked(&c->flow, c->settings->v.max_in_flight, c->in_flight.len);
	c->flow.waits = room <= 0;
	mutex_unlock(&c->in_flight_lock);
	return room <= 0 ? 0 : n < (size_t)room ? n : (size_t)room;
}

/*
 * How many of n messages may be handed out now. If none: with flow.more stopped, keeping_chan wakes
 * the pump.
 */
static size_t flow_allows(struct channel *c, size_t n)
{
	const struct setting_values *v = &c->pump_settings->v;
	if (n == 0 || !channel_flow_is_limited(v))
		return n;
	ticker_stop(&c->flow.more);
	if (v->max_in_flight > 0)
		n = room_in_flight(c, n);
	return n > 0 && v->rate > 0 ? channel_flow_tokens(&c->flow, v->rate, n) : n;
}

/* The first n messages of the batch have gone to consumers. */
static void batch_handed(struct channel *c, size_t n)
{
	if (n > 0)
		channel_flow_handed(&c->flow, c->pump_settings->v.rate, n);
	batch_taken(c, n);
}

/* To near consumers that wait: one that is nearer than that which asked may have come since. */
static void offer_to_near(struct channel *c)
{
	for (int i = 0; batch_len(c) > 0 && i < GLOBAL; i++) {
		struct chan *near = c->client_msg_chans[i];
		if (near)
			batch_handed(
				c, chan_try_send_n(near, c->batch, flow_allows(c, batch_len(c))));
	}
}

/*
 * The cases of the consumers: the batch is offered; or without one, and without demand, awaited.
 * Returns how many cases there are.
 */
static int add_clients(struct channel *c, struct pump *p)
{
	int n = CLIENTS;
	/* A batch while the channel is paused is what the disk refuses to take back. */
	if (p->wanted > 0 || channel_is_paused(c))
		return n;
	/* Nor is anybody's demand of use while nothing may be taken. */
	if (batch_len(c) == 0 && channel_dead_is_full(c))
		return n;
	if (p->held_up) {
		p->task.cases[n++] = chan_case_tick(&c->flow.more);
		return n;
	}
	for (int i = 0; i < N_CLOSENESS; i++) {
		struct chan *client = c->client_msg_chans[i];
		if (!client)
			continue;
		struct chan_case *cc = &p->task.cases[n++];
		*cc = batch_len(c) > 0 ? chan_case_send_n(client, c->batch, p->offered)
				       : chan_case_demand(client);
		if (batch_len(c) == 0)
			cc->max = 1; /* how much it is, is asked anew */
	}
	return n;
}

/* So many messages as may leave are taken, or those of the batch offered. */
static void limit_flow(struct channel *c, struct pump *p)
{
	bool any = p->wanted + batch_len(c) > 0;
	p->wanted = flow_allows(c, p->wanted);
	p->offered = flow_allows(c, batch_len(c));
	p->held_up = any && p->wanted + p->offered == 0;
}

/* How many the pump takes of which so many are wanted: to look how old they are; or none. */
static size_t take_for_looks(struct channel *c, size_t wanted)
{
	if (channel_dead_is_full(c))
		return 0;
	/* Not while some are on their way: the disk forgets what it has read when they are there. */
	bool looks = c->looking && batch_len(c) == 0 && kept_count(&c->dead) == 0;
	return wanted == 0 && looks ? CHANNEL_BATCH : wanted;
}

/*
 * Those on disk only while no batch is from there: what was received last would be done first. A
 * batch that somebody asks for is on its way; of another one the messages go first.
 */
static void plan_drop(struct pump *p)
{
	struct channel *c = p->channel;
	/* They go on when some dead letters have found their place. */
	if (channel_dead_is_full(c))
		return;
	p->drop.again = !channel_depth_is_known(c);
	if (!p->drop.again && c->batch_idle)
		drop_of_batch(c);
	if (!p->drop.again)
		p->drop = channel_plan_drop(c);
	if (!p->drop.again)
		p->drop_looks = 0;
	if (p->drop.again)
		ticker_after(&p->due, drop_retry_ns(&p->drop_looks));
	else if (p->drop.n > 0 && !p->drop.memory && batch_len(c) > 0 && c->batch_from_backend)
		p->drop.n = 0;
	else if (p->drop.n == 0)
		channel_drop_deferred(c);
	if (p->drop.n > CHANNEL_BATCH)
		p->drop.n = CHANNEL_BATCH;
	if (p->drop.n > 0 && !p->dropped)
		p->dropped = xreallocarray(NULL, CHANNEL_BATCH, sizeof(struct message *));
}

/* One source is open, for what is dropped: consumers get what is left. */
static void prefer_drop(struct pump *p)
{
	struct channel *c = p->channel;
	struct chan *memory = p->drop.memory || p->drop.both ? c->memory_msg_chan : NULL;
	struct chan *backend = p->drop.memory ? NULL : c->backend->ops->read_chan(c->backend);
	p->task.cases[MEMORY] = chan_case_recv_n(memory, p->dropped, p->drop.n);
	p->task.cases[BACKEND] = chan_case_recv_n(backend, p->dropped, p->drop.n);
}

/* With demand, and no batch, the sources are open; else the batch is offered. */
static int prepare(struct task *task, bool owner)
{
	struct pump *p = pump_of(task);
	struct channel *c = p->channel;
	p->drop = (struct drop_plan){0};
	if (atomic_load_explicit(&c->drops_head, memory_order_relaxed)) {
		c->batch_idle = batch_len(c) > 0 && demand_of_all(c) == 0;
		bool over = channel_is_over(c);
		/* Dead letters may block. */
		if (over && !owner)
			return -1;
		if (over)
			plan_drop(p);
	}
	if (c->topology_aware && !channel_is_paused(c))
		offer_to_near(c);
	/* Before it looks for demand: a consumer that leaves the line after that knows it. */
	atomic_store(&c->may_take, true);
	p->wanted = batch_len(c) > 0 ? 0 : demand_of_all(c);
	limit_flow(c, p);
	p->wanted = take_for_looks(c, p->wanted);
	if (p->wanted == 0)
		atomic_store(&c->may_take, false);
	if (p->wanted > 0 && !c->batch)
		c->batch = xreallocarray(NULL, CHANNEL_BATCH, sizeof(*c->batch));
	p->kept_next = p->wanted > 0 && kept_is_next(c, &p->due);
	struct chan *memory = p->wanted > 0 ? c->memory_msg_chan : NULL;
	struct chan *backend = p->wanted > 0 ? c->backend->ops->read_chan(c->backend) : NULL;
	task->cases[MEMORY] = chan_case_recv_n(memory, c->batch, p->wanted);
	task->cases[BACKEND] = chan_case_recv_n(backend, c->batch, p->wanted);
	if (p->drop.n > 0)
		prefer_drop(p);
	task->cases[UPDATE] = chan_case_recv(c->update_chan, &p->update);
	task->cases[KEEPING] = chan_case_recv(c->keeping_chan, NULL);
	bool due = p->kept_next || p->drop.again;
	task->cases[KEPT] = chan_case_tick(due ? &p->due : await_retry(c));
	task->cases[CHORE] = chan_case_tick(await_chore(c, &p->chore));
	task->cases[EXIT] = chan_case_recv(c->exit_chan, NULL);
	return add_clients(c, p);
}

/* What touches neither the disk nor a thread that waits for the pump. */
static bool may_run(struct task *task, int chosen, size_t n)
{
	(void)n;
	if (pump_of(task)->drop.n > 0 && chosen == MEMORY)
		return false;
	return chosen == MEMORY || chosen == KEEPING || chosen >= CLIENTS;
}

/* n messages have come that are too many. */
static void drop(struct pump *p, size_t n, bool from_backend)
{
	struct channel *c = p->channel;
	struct screened out = {0};
	channel_drop_overflow(c, p->dropped, n, &out);
	count_screened(c, &out, from_backend);
}

/* n messages have come, for consumers or to be dropped. */
static void take(struct pump *p, size_t n, bool from_backend)
{
	struct channel *c = p->channel;
	bool drops = p->drop.n > 0;
	if (from_backend)
		backend_queue_took(c->backend, drops ? p->dropped : c->batch, n);
	if (from_backend)
		atomic_fetch_add(&c->received, (int64_t)n);
	if (!drops)
		begin_batch(c, n, from_backend);
	if (!from_backend)
		channel_sub_bytes(c, drops ? p->dropped : c->batch, n);
	if (drops)
		drop(p, n, from_backend);
	else
		screen_new_batch(c);
}

static enum task_result act(struct task *task, int chosen, bool owner)
{
	struct pump *p = pump_of(task);
	struct channel *c = p->channel;
	switch (chosen) {
	case MEMORY:
	case BACKEND:
		take(p, task->cases[chosen].n, chosen == BACKEND);
		break;
	case UPDATE:
		apply_update(c, &p->update);
		break;
	case KEEPING:
		break; /* prepare looks at what is kept, and at the flow */
	case KEPT:
		if (p->kept_next)
			take_kept(c, p->wanted);
		else if (!p->drop.again) /* else prepare looks again */
			queue_kept(c);
		break;
	case CHORE:
		if (!owner)
			return TASK_NOT_DONE;
		do_chores(c);
		break;
	case EXIT:
		return TASK_END;
	default:
		if (task->cases[chosen].op == CHAN_SEND)
			batch_handed(c, task->cases[chosen].n);
	}
	return TASK_ON;
}

/* messagePump reads messages from either memory or backend and sends them to consumers. */
static const struct task_ops pump_ops = {.prepare = prepare, .may_run = may_run, .act = act};

void channel_message_pump(void *arg)
{
	struct channel *c = arg;
	struct pump p UNINITIALIZED;
	p.channel = c;
	channel_dead_settings_changed(c);
	c->looking = c->pump_settings->v.message_ttl != 0;
	task_init(&p.task, p.cases, p.waiters, MAX_CASES);
	p.drop_looks = 0;
	p.dropped = NULL;
	task_run(&p.task, &pump_ops);
	free(p.dropped);
	nsqd_logf(c->ctx, LG_INFO, "CHANNEL(%s): closing ... messagePump", c->name);
}
