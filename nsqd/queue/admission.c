/* SPDX-License-Identifier: MIT */
/*
 * How much may wait in a topic and its channels. Mirrors no Go file. Runs in publishers' threads and
 * in the topic's pump.
 */
#include "nsqd/queue/topic_internal.h"

#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "common/clock.h"
#include "common/compiler.h"
#include "common/xalloc.h"
#include "nsqd/queue/channel.h"

/* How often a sum is made again, since something moved: some 100 us in all. */
#define TRIES 64

const char *const refusal_names[N_REFUSALS] = {
	[REFUSED_TOPIC] = "topic",
	[REFUSED_CHANNEL] = "channel",
	[REFUSED_NO_CHANNEL] = "no_channel",
	[REFUSED_MEMORY] = "memory",
	[REFUSED_DISK] = "disk",
};

/* An amount of messages. */
struct amount {
	int64_t n, bytes;
};

/* So long topic.lock may be held for appends to end, and no longer than twice that. */
#define LOCKED_NS (100 * NSEC_PER_MSEC)

/* --- what is on ------------------------------------------------------------------------------- */

static bool has_limit(const struct setting_values *v)
{
	return v->max_depth > 0 || v->max_bytes > 0;
}

/* Nothing moves now, neither into the memory queue nor out of it. */
static void switch_to(struct topic *t, bool on, bool bytes, bool share)
{
	struct limits *l = &t->limits;
	if (on && !atomic_load(&l->on))
		atomic_store(&l->in_memory, (int64_t)chan_len(t->memory_msg_chan));
	if (bytes && !l->bytes)
		atomic_store(&l->in_memory_bytes, chan_body_bytes(t->memory_msg_chan));
	if (share != atomic_load(&l->share))
		host_limits_share(&t->ctx->host, share);
	l->bytes = bytes;
	atomic_store(&l->share, share);
	atomic_store(&l->on, on);
}

static bool topic_is_limited(const struct setting_values *v)
{
	return has_limit(v) || v->no_channel != NO_CHANNEL_BUFFER;
}

void limits_init(struct topic *t)
{
	const struct setting_values *v = &t->settings->v;
	mutex_init(&t->limits.lock, RANK_LIMITS);
	switch_to(t, topic_is_limited(v), v->max_bytes > 0, v->max_bytes > 0);
}

void limits_destroy(struct topic *t)
{
	free(t->limits.channels);
	if (atomic_load(&t->limits.share))
		host_limits_share(&t->ctx->host, false);
	mutex_destroy(&t->limits.lock);
}

/* Does the channel make its topic full? *one: its limits. */
static bool makes_full(struct channel *c, struct limited_channel *one)
{
	rwlock_rdlock(&c->exit_lock);
	const struct setting_values *v = &c->settings->v;
	*one = (struct limited_channel){c, v->max_depth, v->max_bytes};
	bool rejects = has_limit(v) && v->overflow == OVERFLOW_REJECT;
	rwlock_unlock(&c->exit_lock);
	return rejects;
}

/* Of the channels, those that make the topic full. *bytes: some channel counts them. */
static struct limited_channel *find_limited(
	struct channel *const *channels, size_t n, size_t *n_limited, bool *bytes)
{
	struct limited_channel *list = NULL;
	*n_limited = 0;
	for (size_t i = 0; i < n; i++) {
		struct limited_channel one;
		if (!makes_full(channels[i], &one))
			continue;
		*bytes = *bytes || one.max_bytes > 0;
		list = xreallocarray(list, *n_limited + 1, sizeof(*list));
		list[(*n_limited)++] = one;
	}
	return list;
}

/*
 * Takes topic.lock for writing when no append is under way: one has given topic.lock up, and yet moves
 * messages. With the lock none begins. But the disk may hang, and others want the lock: so it is kept
 * for a moment only, and given back for a longer one. The moments grow, for where commits take long.
 */
static void lock_without_appends(struct topic *t)
{
	int64_t moment = NSEC_PER_MSEC;
	rwlock_wrlock(&t->lock);
	while (!wait_group_wait_until(&t->appends, clock_mono_ns() + moment)) {
		rwlock_unlock(&t->lock);
		(void)wait_group_wait_until(&t->appends, clock_mono_ns() + 4 * moment);
		moment = moment < LOCKED_NS ? 2 * moment : moment;
		rwlock_wrlock(&t->lock);
	}
}

bool limits_of_channel(struct channel *c)
{
	struct limited_channel ignored;
	return makes_full(c, &ignored);
}

bool limits_are_set(struct topic *t)
{
	size_t n, i = 0;
	if (atomic_load(&t->limits.on))
		return true;
	struct channel **channels = topic_channels(t, &n);
	while (i < n && !limits_of_channel(channels[i]))
		i++;
	topic_free_channels(channels, n);
	return i < n;
}

void limits_refresh(struct topic *t, struct channel *const *channels, size_t n)
{
	struct limits *l = &t->limits;
	size_t n_limited;
	bool bytes = false;
	struct limited_channel *list = find_limited(channels, n, &n_limited, &bytes);
	rwlock_rdlock(&t->lock);
	bool on = n_limited > 0 || topic_is_limited(&t->settings->v);
	bool share = t->settings->v.max_bytes > 0;
	rwlock_unlock(&t->lock);
	/* This thread alone writes l->on: with no limit before and after, no lock is needed. */
	if (!on && !atomic_load(&l->on))
		return;
	lock_without_appends(t);
	struct limited_channel *old = l->channels;
	l->channels = list;
	l->n_channels = n_limited;
	switch_to(t, on, bytes || share, share);
	rwlock_unlock(&t->lock);
	free(old);
}

/* --- what waits ------------------------------------------------------------------------------- */

/* In the topic, with what is about to be put. */
static struct amount topic_holds(struct topic *t)
{
	struct limits *l = &t->limits;
	struct backend_queue *q = t->backend;
	struct amount a;
	a.n = atomic_load(&l->reserved) + atomic_load(&l->in_memory);
	a.n += q->ops->depth(q) + q->ops->undone(q);
	a.bytes = 0;
	if (l->bytes) {
		a.bytes = atomic_load(&l->reserved_bytes) + atomic_load(&l->in_memory_bytes);
		a.bytes += q->ops->body_bytes(q);
		/* What the pump has in its hand, from the disk. */
		a.bytes += q->ops->received_bytes(q) - atomic_load(&l->from_disk_bytes);
	}
	return a;
}

/* How many of n messages with these bodies still fit, if there is so much already. */
static size_t count_fitting(const struct amount *there, int64_t max_depth, int64_t max_bytes,
	struct message_body *const *bodies, size_t n)
{
	if (max_depth > 0) {
		int64_t room = max_depth - there->n;
		n = room <= 0 ? 0 : (size_t)room < n ? (size_t)room : n;
	}
	if (max_bytes > 0) {
		int64_t room = max_bytes - there->bytes;
		for (size_t i = 0; i < n; i++) {
			room -= bodies[i]->len;
			if (room < 0)
				return i;
		}
	}
	return n;
}

/* What was counted twice perhaps: that can be seen by a mover at work, or one that was. */
static bool has_moved(struct limits *l, uint64_t moves)
{
	return atomic_load(&l->moving) > 0 || atomic_load(&l->moves) != moves;
}

/* --- admission -------------------------------------------------------------------------------- */

/* An attempt to admit messages. */
struct admission {
	struct message_body *const *bodies;
	size_t n;
	bool whole;
	enum refusal why; /* of the first that is refused */
	char limit[160];  /* likewise, for the publisher */
};

static void describe(struct admission *a, enum refusal why, const char *what, bool depth,
	int64_t max_depth, int64_t max_bytes)
{
	a->why = why;
	snprintf(a->limit, sizeof(a->limit), "%s is full: %s %" PRId64, what,
		depth ? "max_depth" : "max_bytes", depth ? max_depth : max_bytes);
}

/* Less than n fit; sets n, and says why. */
static void limit_to(struct admission *a, size_t *n, size_t fit, enum refusal why, const char *what,
	const struct amount *there, int64_t max_depth, int64_t max_bytes)
{
	if (fit >= *n)
		return;
	bool depth = max_depth > 0 && there->n + (int64_t)fit >= max_depth;
	*n = fit;
	describe(a, why, what, depth, max_depth, max_bytes);
}

/* How many fit into the topic and its channels. */
static size_t count_admitted(struct topic *t, struct admission *a)
{
	struct limits *l = &t->limits;
	const struct setting_values *v = &t->settings->v;
	struct amount here = topic_holds(t);
	size_t n = a->n;
	if (has_limit(v) && v->overflow == OVERFLOW_REJECT)
		limit_to(a, &n, count_fitting(&here, v->max_depth, v->max_bytes, a->bodies, n),
			REFUSED_TOPIC, "topic", &here, v->max_depth, v->max_bytes);
	for (size_t i = 0; i < l->n_channels && n > 0; i++) {
		const struct limited_channel *c = &l->channels[i];
		char what[NAME_SIZE + 16];
		struct amount there = here;
		there.n += channel_waiting(c->channel);
		if (c->max_bytes > 0)
			there.bytes += channel_waiting_bytes(c->channel);
		size_t fit = count_fitting(&there, c->max_depth, c->max_bytes, a->bodies, n);
		if (fit == n)
			continue;
		snprintf(what, sizeof(what), "channel %s", c->channel->name);
		limit_to(a, &n, fit, REFUSED_CHANNEL, what, &there, c->max_depth, c->max_bytes);
	}
	return a->whole && n < a->n ? 0 : n;
}

static int64_t sum_lens(struct message_body *const *bodies, size_t n)
{
	int64_t sum = 0;
	for (size_t i = 0; i < n; i++)
		sum += bodies[i]->len;
	return sum;
}

static void add_reservation(struct topic *t, const struct admission *a, size_t n)
{
	atomic_fetch_add(&t->limits.reserved, (int64_t)n);
	atomic_fetch_add(&t->limits.reserved_bytes, sum_lens(a->bodies, n));
}

static size_t reserve(struct topic *t, struct admission *a, bool *again)
{
	struct limits *l = &t->limits;
	mutex_lock(&l->lock);
	uint64_t moves = atomic_load(&l->moves);
	size_t n = count_admitted(t, a);
	*again = n < a->n && has_moved(l, moves);
	if (!*again)
		add_reservation(t, a, n);
	mutex_unlock(&l->lock);
	return n;
}

/* Reserves, too. Not again and again: a pump that waits for the disk moves for long. */
static size_t admit_locked(struct topic *t, struct admission *a)
{
	bool again = true;
	size_t n = 0;
	for (int i = 0; i < TRIES && again; i++) {
		if (i > 0)
			sched_yield();
		n = reserve(t, a, &again);
	}
	return again ? 0 : n;
}

static bool has_channel(struct topic *t)
{
	/* Before the start its channels may not all be there. */
	if (!atomic_load(&t->started))
		return true;
	for (struct channel *c = t->channel_map; c; c = c->hh.next) {
		if (!channel_exiting(c))
			return true;
	}
	return false;
}

/* The topic's own limits. */
static size_t admit_to_topic(struct topic *t, struct admission *a, bool *drops)
{
	size_t n = a->n;
	rwlock_rdlock(&t->lock);
	int no_channel = t->settings->v.no_channel;
	if (topic_exiting(t)) {
		/* The put will find that. */
	} else if (no_channel != NO_CHANNEL_BUFFER && !has_channel(t)) {
		*drops = no_channel == NO_CHANNEL_DROP;
		n = 0;
		a->why = REFUSED_NO_CHANNEL;
		snprintf(a->limit, sizeof(a->limit), "no channel");
	} else if (atomic_load(&t->limits.on)) {
		n = admit_locked(t, a);
		rwlock_unlock(&t->lock);
		return n;
	}
	add_reservation(t, a, n);
	rwlock_unlock(&t->lock);
	return n;
}

bool limits_are_on(struct topic *t)
{
	return atomic_load_explicit(&t->limits.on, memory_order_relaxed) ||
	       host_limits_are_on(&t->ctx->host);
}

/* Those of the host. */
static bool host_admits(struct topic *t, struct admission *a)
{
	enum host_limit which;
	bool share = atomic_load_explicit(&t->limits.share, memory_order_relaxed);
	if (host_limits_admit(t->ctx, sum_lens(a->bodies, a->n), share, t->ephemeral, &which,
		    a->limit, sizeof(a->limit)))
		return true;
	a->why = which == HOST_MEMORY ? REFUSED_MEMORY : REFUSED_DISK;
	return false;
}

size_t limits_admit(struct topic *t, struct message_body *const *bodies, size_t n, bool whole,
	bool *drops, struct err *err)
{
	struct admission a = {.bodies = bodies, .n = n, .whole = whole};
	*drops = false;
	size_t admitted = 0;
	if (!host_limits_are_on(&t->ctx->host) || host_admits(t, &a))
		admitted = admit_to_topic(t, &a, drops);
	if (admitted == n || *drops)
		return admitted;
	/* Of publications the first ends the connection: those behind it are not looked at. */
	size_t rejected = whole ? n : 1;
	atomic_fetch_add_explicit(&t->limits.rejected[a.why], rejected, memory_order_relaxed);
	err_set(err, ERR_FULL, "%s", *a.limit ? a.limit : "topic is full");
	return admitted;
}

size_t limits_admit_made(struct topic *t, struct message *const *msgs, size_t n, struct err *err)
{
	struct message_body *bodies[TOPIC_BATCH] UNINITIALIZED;
	struct admission a = {.bodies = bodies, .n = n};
	CHECK(n <= TOPIC_BATCH);
	for (size_t i = 0; i < n; i++)
		bodies[i] = msgs[i]->body;
	rwlock_rdlock(&t->lock);
	/* If it exits, the put will find that. */
	size_t admitted = n;
	if (!topic_exiting(t) && atomic_load(&t->limits.on))
		admitted = admit_locked(t, &a);
	else
		add_reservation(t, &a, n);
	rwlock_unlock(&t->lock);
	if (admitted < n)
		err_set(err, ERR_FULL, "%s", *a.limit ? a.limit : "topic is full");
	return admitted;
}

void limits_release(struct topic *t, struct message_body *const *bodies, size_t n)
{
	atomic_fetch_sub(&t->limits.reserved, (int64_t)n);
	atomic_fetch_sub(&t->limits.reserved_bytes, sum_lens(bodies, n));
}

const char *limits_http_text(const struct err *why)
{
	static const struct {
		const char *begin, *text;
	} texts[] = {
		{"channel ", "CHANNEL_FULL"},
		{"no channel", "NO_CHANNEL"},
		{"memory ", "MEMORY_FULL"},
		{"disk ", "DISK_FULL"},
	};
	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
		if (strncmp(why->msg, texts[i].begin, strlen(texts[i].begin)) == 0)
			return texts[i].text;
	}
	return "TOPIC_FULL";
}

/* --- a put ------------------------------------------------------------------------------------ */

static int64_t sum_of(const uint32_t *lens, size_t n)
{
	int64_t sum = 0;
	for (size_t i = 0; i < n; i++)
		sum += lens[i];
	return sum;
}

static void begin_move(struct limits *l)
{
	atomic_fetch_add(&l->moving, 1);
}

static void end_move(struct limits *l)
{
	atomic_fetch_add(&l->moves, 1);
	atomic_fetch_sub(&l->moving, 1);
}

void limits_begin_put(
	struct topic *t, struct limits_put *p, const uint32_t *lens, size_t n, bool admitted)
{
	struct limits *l = &t->limits;
	*p = (struct limits_put){.counted = atomic_load(&l->on), .n = n, .lens = lens};
	rwlock_assert_held(&t->lock);
	if (!p->counted && !admitted)
		return;
	int64_t bytes = sum_of(lens, n);
	mutex_lock(&l->lock);
	if (admitted) {
		atomic_fetch_sub(&l->reserved, (int64_t)n);
		atomic_fetch_sub(&l->reserved_bytes, bytes);
	}
	if (p->counted) {
		atomic_fetch_add(&l->in_memory, (int64_t)n);
		atomic_fetch_add(&l->in_memory_bytes, bytes);
		begin_move(l);
	}
	mutex_unlock(&l->lock);
}

void limits_end_put(struct topic *t, const struct limits_put *p, size_t in_memory)
{
	struct limits *l = &t->limits;
	if (!p->counted)
		return;
	if (in_memory < p->n) {
		atomic_fetch_sub(&l->in_memory, (int64_t)(p->n - in_memory));
		atomic_fetch_sub(
			&l->in_memory_bytes, sum_of(p->lens + in_memory, p->n - in_memory));
	}
	end_move(l);
}

void limits_emptied(struct topic *t, size_t n, int64_t bytes)
{
	rwlock_assert_held(&t->lock);
	if (!atomic_load(&t->limits.on))
		return;
	atomic_fetch_sub(&t->limits.in_memory, (int64_t)n);
	atomic_fetch_sub(&t->limits.in_memory_bytes, bytes);
}

/* --- the topic's pump deals out --------------------------------------------------------------- */

int64_t limits_begin_deal(struct topic *t, struct message *const *msgs, size_t n, bool memory)
{
	int64_t bytes = 0;
	bool on = atomic_load(&t->limits.on);
	/* Those from the disk count always: so what is in the pump's hand is known at any time. */
	for (size_t i = 0; i < n && (!memory || (on && t->limits.bytes)); i++)
		bytes += msgs[i]->body->len;
	if (on)
		begin_move(&t->limits);
	return bytes;
}

void limits_end_deal(struct topic *t, size_t n, int64_t bytes, bool memory)
{
	struct limits *l = &t->limits;
	if (!memory)
		atomic_fetch_add(&l->from_disk_bytes, bytes);
	if (!atomic_load(&l->on))
		return;
	if (memory) {
		atomic_fetch_sub(&l->in_memory, (int64_t)n);
		atomic_fetch_sub(&l->in_memory_bytes, bytes);
	}
	end_move(l);
}

/* --- drop-head -------------------------------------------------------------------------------- */

/* How much too much the topic holds, with drop-head. (One that has exited has no backend any more.) */
static struct amount too_much(struct topic *t)
{
	const struct setting_values *v = &t->settings->v;
	struct amount over = {0, 0}, here;
	rwlock_assert_held(&t->lock);
	if (topic_exiting(t) || !atomic_load(&t->limits.on) || v->overflow != OVERFLOW_DROP_HEAD ||
		!has_limit(v))
		return over;
	here = topic_holds(t);
	/* What is reserved is not there yet. */
	if (v->max_depth > 0)
		over.n = here.n - v->max_depth;
	if (v->max_bytes > 0)
		over.bytes = here.bytes - v->max_bytes;
	return over;
}

struct drop_plan limits_plan_topic(struct topic *t, int64_t received)
{
	if (!atomic_load(&t->limits.on))
		return (struct drop_plan){0};
	rwlock_rdlock(&t->lock);
	struct amount over = too_much(t), most = over;
	/* What is still to be put is not there to be dropped: its publisher will tell. */
	bool known = t->backend->ops->received(t->backend) == received;
	int64_t there = (int64_t)chan_len(t->memory_msg_chan) + t->backend->ops->depth(t->backend);
	int64_t max_depth = t->settings->v.max_depth;
	known = known && (over.bytes <= 0 || atomic_load(&t->limits.moving) == 0);
	rwlock_unlock(&t->lock);
	if (over.n > there - max_depth)
		over.n = there - max_depth;
	if ((most.n > 0 || most.bytes > 0) && !known)
		return (struct drop_plan){.again = true};
	return drop_plan_make(t->memory_msg_chan, t->backend, over.n, over.bytes);
}

void limits_count_dropped(struct topic *t, size_t n)
{
	atomic_fetch_add_explicit(&t->limits.dropped, n, memory_order_relaxed);
}

void limits_drop(struct topic *t, struct message **take_msgs, size_t n, bool memory)
{
	int64_t bytes = limits_begin_deal(t, take_msgs, n, memory);
	message_unref_all(take_msgs, n);
	limits_count_dropped(t, n);
	limits_end_deal(t, n, bytes, memory);
}

static bool is_far_over(struct topic *t, struct amount *over)
{
	rwlock_rdlock(&t->lock);
	*over = too_much(t);
	int64_t max_bytes = t->settings->v.max_bytes;
	rwlock_unlock(&t->lock);
	return over->n > TOPIC_BATCH || (over->bytes > 0 && over->bytes > max_bytes / 8);
}

bool limits_tell_over(struct topic *t)
{
	struct amount over;
	if (!atomic_load(&t->limits.on))
		return false;
	bool far = is_far_over(t, &over);
	if (over.n > 0 || over.bytes > 0)
		chan_signal(t->unstuck_chan);
	return far;
}

void limits_after_put(struct topic *t)
{
	struct amount over;
	bool far = limits_tell_over(t);
	int64_t until = clock_mono_ns() + DROP_PATIENCE_NS;
	while (far && clock_mono_ns() < until) {
		topic_update_channels(t);
		far = is_far_over(t, &over);
	}
}

bool limits_may_wait(struct topic *t, size_t n)
{
	rwlock_assert_held(&t->lock);
	struct amount over = too_much(t);
	const struct setting_values *v = &t->settings->v;
	bool drops = atomic_load(&t->limits.on) && v->overflow == OVERFLOW_DROP_HEAD;
	bool far = drops && v->max_depth > 0 && over.n + (int64_t)n > TOPIC_BATCH;
	return far || over.n > 0 || over.bytes > 0;
}
