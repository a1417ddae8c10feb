/* SPDX-License-Identifier: MIT */
/*
 * How much may wait in a channel. Mirrors no Go file. Runs in the threads that put, and in the pumps
 * of the channel and of its topic.
 */
#include "nsqd/queue/channel_internal.h"

#include "common/clock.h"
#include "common/compiler.h"
#include "nsqd/log/log_queue.h"
#include "nsqd/log/stock_first.h"

/* --- what waits ------------------------------------------------------------------------------- */

/*
 * In the order in which messages go: one that moves meanwhile is counted twice perhaps, but not
 * passed over. (What the pump has taken for a consumer is about to be in flight.)
 */
int64_t channel_waiting(struct channel *c)
{
	int64_t ignored;
	mutex_lock(&c->deferred_lock);
	int64_t n = (int64_t)c->deferred.len + atomic_load(&c->moving);
	mutex_unlock(&c->deferred_lock);
	n += (int64_t)kept_count(&c->kept);
	if (c->memory_msg_chan)
		n += (int64_t)chan_len(c->memory_msg_chan);
	n += c->logged ? stock_first_waiting(c->backend, c->log_queue, &ignored)
		       : c->backend->ops->depth(c->backend);
	n += (int64_t)atomic_load(&c->batch_len);
	return n + (int64_t)kept_count(&c->dead);
}

int64_t channel_waiting_bytes(struct channel *c)
{
	mutex_lock(&c->deferred_lock);
	int64_t bytes = c->deferred.body_bytes + atomic_load(&c->moving_bytes);
	mutex_unlock(&c->deferred_lock);
	bytes += kept_body_bytes(&c->kept);
	bytes += atomic_load(&c->memory_bytes);
	bytes += c->backend->ops->body_bytes(c->backend);
	bytes += atomic_load(&c->batch_bytes);
	return bytes + kept_body_bytes(&c->dead);
}

/* --- the bytes in memory ---------------------------------------------------------------------- */

static int64_t sum_lens(struct message *const *msgs, size_t n)
{
	int64_t sum = 0;
	for (size_t i = 0; i < n; i++)
		sum += msgs[i]->body->len;
	return sum;
}

void channel_add_bytes(struct channel *c, struct message *const *msgs, size_t n)
{
	if (c->counts_bytes)
		atomic_fetch_add(&c->memory_bytes, sum_lens(msgs, n));
}

void channel_sub_bytes(struct channel *c, struct message *const *msgs, size_t n)
{
	if (c->counts_bytes)
		atomic_fetch_sub(&c->memory_bytes, sum_lens(msgs, n));
}

void channel_count_batch(struct channel *c)
{
	if (c->counts_bytes)
		atomic_store(&c->batch_bytes, sum_lens(c->batch, atomic_load(&c->batch_len)));
}

void channel_count_bytes(struct channel *c)
{
	bool counts = c->pump_settings->v.max_bytes > 0;
	if (counts == c->counts_bytes)
		return;
	rwlock_wrlock(&c->exit_lock);
	if (counts)
		atomic_store(&c->memory_bytes, chan_body_bytes(c->memory_msg_chan));
	c->counts_bytes = counts;
	channel_count_batch(c);
	rwlock_unlock(&c->exit_lock);
}

/* --- settings --------------------------------------------------------------------------------- */

static bool drops_head(const struct setting_values *v)
{
	return v->overflow == OVERFLOW_DROP_HEAD && (v->max_depth > 0 || v->max_bytes > 0);
}

void channel_apply_limits(struct channel *c)
{
	atomic_store(&c->drops_head, drops_head(&c->settings->v));
}

/* --- the pump drops --------------------------------------------------------------------------- */

/* By how much it is too much, for the pump's settings: messages, bytes. */
static void too_much(struct channel *c, int64_t *n, int64_t *bytes)
{
	const struct setting_values *v = &c->pump_settings->v;
	int64_t ignored;
	*n = *bytes = 0;
	if (!drops_head(v))
		return;
	/* Against the direction in which messages go: none is counted twice, and dropped for that. */
	int64_t memory = c->memory_msg_chan ? (int64_t)chan_len(c->memory_msg_chan) : 0;
	if (v->max_depth > 0)
		*n = memory - v->max_depth +
		     (c->logged ? stock_first_waiting(c->backend, c->log_queue, &ignored)
				: c->backend->ops->depth(c->backend));
	if (v->max_bytes > 0)
		*bytes = atomic_load(&c->memory_bytes) + c->backend->ops->body_bytes(c->backend) -
			 v->max_bytes;
	mutex_lock(&c->deferred_lock);
	*n += v->max_depth > 0 ? (int64_t)c->deferred.len : 0;
	*bytes += v->max_bytes > 0 ? c->deferred.body_bytes : 0;
	mutex_unlock(&c->deferred_lock);
	/* One that a consumer has asked for is about to be in flight. */
	if (c->batch_idle && v->max_depth > 0)
		*n += (int64_t)atomic_load(&c->batch_len);
	if (c->batch_idle && v->max_bytes > 0)
		*bytes += atomic_load(&c->batch_bytes);
}

bool channel_is_over(struct channel *c)
{
	int64_t n, bytes;
	too_much(c, &n, &bytes);
	return n > 0 || bytes > 0;
}

bool channel_depth_is_known(struct channel *c)
{
	return c->backend->ops->received(c->backend) == atomic_load(&c->received);
}

size_t channel_batch_too_much(struct channel *c)
{
	int64_t n, bytes;
	size_t k = 0, len = atomic_load(&c->batch_len);
	too_much(c, &n, &bytes);
	while (k < len && ((int64_t)k < n || bytes > 0))
		bytes -= c->batch[k++]->body->len;
	return k;
}

struct drop_plan channel_plan_drop(struct channel *c)
{
	int64_t n, bytes;
	bool known = channel_depth_is_known(c);
	too_much(c, &n, &bytes);
	if (!known && (n > 0 || bytes > 0))
		return (struct drop_plan){.again = true};
	return drop_plan_make(c->memory_msg_chan, c->backend, n, bytes);
}

void channel_drop_deferred(struct channel *c)
{
	struct message *msgs[DUE_BATCH] UNINITIALIZED;
	int64_t n, bytes;
	size_t k = DUE_BATCH;
	struct screened out = {0}; /* no backend waits for them */
	while (k == DUE_BATCH && !channel_dead_is_full(c)) {
		too_much(c, &n, &bytes);
		k = channel_take_first_deferred(c, msgs, DUE_BATCH, n, bytes);
		channel_drop_overflow(c, msgs, k, &out);
	}
}

void channel_drop_overflow(
	struct channel *c, struct message **take_msgs, size_t n, struct screened *out)
{
	channel_give_up(c, c->pump_settings, take_msgs, n, DEAD_OVERFLOW, out);
	atomic_fetch_add_explicit(&c->overflow_count, n, memory_order_relaxed);
}

/* --- who puts --------------------------------------------------------------------------------- */

void channel_tell_over(struct channel *c)
{
	if (atomic_load_explicit(&c->drops_head, memory_order_relaxed))
		chan_signal(c->keeping_chan);
}

/* More than a batch too much? In the pump, where its settings are. */
static void look_whether_far(struct channel *c, void *arg)
{
	int64_t n, bytes;
	too_much(c, &n, &bytes);
	bool far = n > CHANNEL_BATCH || bytes > c->pump_settings->v.max_bytes / 8;
	/* Nothing is dropped until dead letters have found their place: that is not waited for. */
	*(bool *)arg = far && !channel_dead_is_full(c);
}

void channel_await_drops(struct channel *c)
{
	if (!atomic_load_explicit(&c->drops_head, memory_order_relaxed))
		return;
	bool far = true;
	int64_t until = clock_mono_ns() + DROP_PATIENCE_NS;
	while (far && clock_mono_ns() < until) {
		if (!channel_visit_pump(c, look_whether_far, &far))
			return;
	}
}
