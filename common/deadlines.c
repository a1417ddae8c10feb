/* SPDX-License-Identifier: MIT */
/*
 * Which of many things is due next. Mirrors what addtimer, wakeNetPoller and checkTimers do
 * (runtime/time.go, runtime/proc.go). Any thread adds; one thread waits and takes.
 *
 * Different from Go: a timer far in the future is not added; the waiter finds it in time. And the
 * waiter rests between two looks, so that a thousand timers per millisecond cost it one wake-up.
 *
 * Lessons in docs/course/: 11-memory.
 */
#include "common/deadlines.h"

#include "common/check.h"

static struct deadline *deadline_of(struct heap_node *n)
{
	return (struct deadline *)((char *)n - offsetof(struct deadline, node));
}

void deadlines_init(struct deadlines *q)
{
	*q = (struct deadlines){.earlier_than_ns = INT64_MIN, .earlier_chan = chan_new(0, 1)};
	atomic_init(&q->horizon_ns, INT64_MIN);
	mutex_init(&q->lock, RANK_LEAF);
}

void deadlines_destroy(struct deadlines *q)
{
	CHECK(q->queue.len == 0);
	heap_free(&q->queue);
	chan_free(q->earlier_chan);
	mutex_destroy(&q->lock);
}

/* Whether the waiter must be told: once, unless something is due earlier still. */
static bool is_news_locked(struct deadlines *q, int64_t at_ns)
{
	mutex_assert_held(&q->lock);
	if (at_ns >= q->earlier_than_ns)
		return false;
	q->earlier_than_ns = at_ns;
	return true;
}

static void enqueue_locked(struct deadlines *q, struct deadline *d, int64_t at_ns)
{
	mutex_assert_held(&q->lock);
	d->due_ns = at_ns;
	if (d->state == DEADLINE_QUEUED)
		heap_fix(&q->queue, &d->node, at_ns);
	else
		heap_push(&q->queue, &d->node, at_ns);
	d->state = DEADLINE_QUEUED;
}

/* Whether that changes when d is taken next. */
static bool is_earlier_locked(struct deadlines *q, const struct deadline *d, int64_t at_ns)
{
	mutex_assert_held(&q->lock);
	return deadlines_concern(q, at_ns) && (d->state == DEADLINE_IDLE || at_ns < d->due_ns);
}

bool deadlines_add(struct deadlines *q, struct deadline *d, int64_t at_ns)
{
	bool came = false, tell = false;
	mutex_lock(&q->lock);
	if (is_earlier_locked(q, d, at_ns)) {
		came = d->state == DEADLINE_IDLE;
		if (d->state == DEADLINE_TAKEN) {
			d->due_ns = at_ns;
		} else {
			enqueue_locked(q, d, at_ns);
			tell = is_news_locked(q, at_ns);
		}
	}
	mutex_unlock(&q->lock);
	if (tell)
		chan_signal(q->earlier_chan);
	return came;
}

bool deadlines_put_back(struct deadlines *q, struct deadline *d, int64_t at_ns)
{
	bool tell = false;
	mutex_lock(&q->lock);
	CHECK(d->state == DEADLINE_TAKEN);
	if (d->due_ns < at_ns)
		at_ns = d->due_ns;
	d->state = DEADLINE_IDLE;
	bool queued = is_earlier_locked(q, d, at_ns);
	if (queued) {
		enqueue_locked(q, d, at_ns);
		tell = is_news_locked(q, at_ns);
	}
	mutex_unlock(&q->lock);
	if (tell)
		chan_signal(q->earlier_chan);
	return queued;
}

/* Under the lock: a thread that puts back has looked at the old one, or sees the new one. */
void deadlines_set_horizon(struct deadlines *q, int64_t ns)
{
	mutex_lock(&q->lock);
	atomic_store(&q->horizon_ns, ns);
	mutex_unlock(&q->lock);
	q->rest_until_ns = INT64_MIN;
}

size_t deadlines_take(struct deadlines *q, int64_t now_ns, struct deadline **v, size_t max)
{
	size_t n = 0;
	if (now_ns < q->rest_until_ns)
		return 0;
	mutex_lock(&q->lock);
	q->earlier_than_ns = INT64_MIN;
	while (n < max && heap_least(&q->queue) <= now_ns && q->queue.len > 0) {
		struct deadline *d = deadline_of(heap_peek(&q->queue));
		heap_remove(&q->queue, &d->node);
		d->state = DEADLINE_TAKEN;
		d->due_ns = INT64_MAX;
		v[n++] = d;
	}
	mutex_unlock(&q->lock);
	if (n < max && __builtin_add_overflow(now_ns, DEADLINES_GRAIN, &q->rest_until_ns))
		q->rest_until_ns = INT64_MAX;
	return n;
}

int64_t deadlines_await(struct deadlines *q)
{
	mutex_lock(&q->lock);
	int64_t horizon = atomic_load(&q->horizon_ns), wake = heap_least(&q->queue);
	CHECK(horizon != INT64_MIN);
	bool rests = wake < q->rest_until_ns;
	if (rests)
		wake = q->rest_until_ns;
	if (wake > horizon)
		wake = horizon;
	/* Of what is due so little earlier the waiter need not hear. */
	q->earlier_than_ns = rests ? INT64_MIN : wake - DEADLINES_GRAIN;
	mutex_unlock(&q->lock);
	return wake;
}
