/* SPDX-License-Identifier: MIT */
/*
 * queueScanLoop runs in a single thread ("scan") to process in-flight and deferred priority queues.
 * It manages a pool of workers ("scan-worker", configurable max of queue_scan_worker_pool_max
 * (default: 4)) that process channels concurrently. Mirrors queueScanLoop, queueScanWorker and
 * resizePool of nsqd/nsqd.go.
 *
 * Differences: stock copies Redis's probabilistic expiration algorithm. Every 100 ms it selects 20
 * channels at random, and goes on at once while a quarter of them had something due. Here the loop
 * knows which channel is due next, and waits for that (common/deadlines.h). So a message is 2 ms
 * late at most, while the machine has time, and not 100.
 *
 * Every queue_scan_interval (100 ms) the loop looks at the next deadlines of all channels, without
 * a lock, and queues the channels that are due before the next such look. A channel that becomes
 * due earlier than it was thought to be queues itself.
 *
 * Of the channels that are due, the loop takes at most queue_scan_selection_count at a time. What
 * is quick it does itself, so that a message alone wakes no worker. A channel with more to do, or
 * without room in memory, goes to a worker. The loop does not wait for the workers, so a channel
 * whose disk is slow does not hold up the others. A worker gives the channel back itself. If all
 * workers wait for a disk, the channels that have a log do without: their queues read for themselves.
 *
 * The list of channels is refreshed every queue_scan_refresh_interval (5 s), and as soon as a
 * channel comes or goes.
 *
 * Lessons in docs/course/: 09-ticker.
 */
#include "nsqd/queue/queue_scan.h"

#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "common/clock.h"
#include "common/compiler.h"
#include "common/runnext.h"
#include "common/slab.h"
#include "common/xalloc.h"
#include "nsqd/queue/channel.h"
#include "nsqd/queue/channel_expiry.h"
#include "nsqd/queue/topics.h"

/* The most channels that wait for a worker, whatever queue_scan_selection_count says. */
#define SELECTION_MAX 256

struct scan {
	struct topics *topics;
	struct context *ctx;         /* topics->ctx */
	struct deadlines *deadlines; /* ctx's: of channels, each queued with a reference */
	struct channel **channels;   /* a reference each */
	size_t n_channels;
	int64_t look_at_all_ns; /* the horizon of deadlines; 0: now */
	struct ticker look;     /* when the loop is to look again */
	int64_t clock_offset;   /* the wall clock minus the monotonic one, when it was last set */

	struct channel *due[SELECTION_MAX]; /* taken from deadlines, for the workers */
	size_t n_due;
	bool stuck; /* no worker has taken one of them since the last look at all channels */
	size_t selection_count; /* as many as may be in due, and in work_chan */

	struct chan *work_chan;  /* of struct channel *, with the reference */
	struct chan *close_chan; /* closed, or sent to, once per worker that is to end */
	struct wait_group workers;
	size_t pool_size;
	size_t ideal_pool_size;
	struct expiry expiry;
};

/* --- one channel ------------------------------------------------------------------------------ */

static struct channel *channel_of(struct deadline *d)
{
	return (struct channel *)((char *)d - offsetof(struct channel, deadline));
}

/* The end of a turn with c, which is due next then; not before now. Takes over the reference. */
static void give_back(struct scan *s, struct channel *take_c, int64_t next_ns, int64_t now_ns)
{
	/* With work left it goes to the end of the line, behind what else is due by now. */
	int64_t at = next_ns > now_ns ? next_ns : now_ns;
	if (!deadlines_put_back(s->deadlines, &take_c->deadline, at))
		channel_unref(take_c);
}

/*
 * Requeues some of the messages that are due now. Returns when c is due next. With `waiting` what has
 * waited in the topic's log as well, which is read from the disk.
 */
static int64_t process_some(struct channel *c, int64_t now_ns, bool waiting)
{
	/* A message that comes back alone wakes no pump. */
	runnext_begin();
	(void)channel_process_in_flight_queue(c, now_ns);
	(void)channel_process_deferred_queue(c, now_ns);
	runnext_end();
	if (waiting && channel_has_due_waiting(c, now_ns))
		(void)channel_process_waiting(c);
	return channel_next_deadline(c);
}

/* A worker's turn: requeues all that is due, unless another channel waits for a worker. */
static void process(struct scan *s, struct channel *take_c)
{
	int64_t now, next;
	do {
		now = clock_mono_ns();
		next = process_some(take_c, now, true);
	} while (next <= now && chan_len(s->work_chan) == 0);
	give_back(s, take_c, next, now);
}

/*
 * The loop's turn. A message that was answered in time has left; then c is due later. Else the loop
 * does what is quick. True: there is work for a worker.
 */
static bool process_quickly(struct scan *s, struct channel *take_c, int64_t now_ns)
{
	int64_t next = channel_next_deadline(take_c);
	if (next <= now_ns && (channel_has_room(take_c, 2 * DUE_BATCH) || s->pool_size == 0))
		next = process_some(take_c, now_ns, s->pool_size == 0);
	if (next <= now_ns && s->pool_size > 0)
		return true;
	give_back(s, take_c, next, now_ns);
	return false;
}

/*
 * queueScanWorker receives work (in the form of a channel) from the scan loop and processes the
 * queues.
 */
static void scan_worker(void *arg)
{
	struct scan *s = arg;
	struct channel *c;
	enum { WORK, CLOSE };
	for (;;) {
		struct chan_case cases[] = {
			[WORK] = chan_case_recv(s->work_chan, &c),
			[CLOSE] = chan_case_recv(s->close_chan, NULL),
		};
		if (chan_select(cases, 2) == CLOSE)
			return;
		process(s, c);
	}
}

/* --- the pool, and the list of channels ------------------------------------------------------- */

/*
 * resizePool adjusts the size of the pool of workers: 1 <= pool <= min(num * 0.25,
 * queue_scan_worker_pool_max). The loop ends those that are too many, when they have no work.
 */
static void resize_pool(struct scan *s)
{
	size_t max = (size_t)nsqd_get_opts(s->ctx)->queue_scan_worker_pool_max;
	size_t ideal = s->n_channels / 4;
	struct err err;
	if (ideal > max)
		ideal = max;
	if (ideal < 1)
		ideal = 1;
	s->ideal_pool_size = ideal;
	while (s->pool_size < ideal) {
		if (wait_group_wrap(&s->workers, "scan-worker", scan_worker, s, &err) != 0) {
			/* The next refresh tries again. */
			nsqd_logf(s->ctx, LG_ERROR, "QUEUESCAN: no thread for a worker - %s",
				err.msg);
			break;
		}
		s->pool_size++;
	}
}

static void drop_channels(struct scan *s)
{
	for (size_t i = 0; i < s->n_channels; i++)
		channel_unref(s->channels[i]);
	free(s->channels);
}

static void refresh(struct scan *s)
{
	drop_channels(s);
	s->channels = nsqd_channels(s->topics, &s->n_channels);
	s->look_at_all_ns = 0;
	resize_pool(s);
}

/* The memory of messages and of their queues, which Go's collector gives back. */
static void trim(const struct scan *s)
{
	slab_trim();
	for (size_t i = 0; i < s->n_channels; i++)
		channel_trim(s->channels[i]);
}

/* --- the loop --------------------------------------------------------------------------------- */

/* By less the wall clock has not been set: it was only looked at late. */
#define STEP_NS (2 * NSEC_PER_MSEC)

/*
 * All deadlines are on the monotonic clock. But a log says by the wall clock until when a message waits,
 * for the next process: where that clock was set, this is to be written anew.
 */
static void watch_clock(struct scan *s)
{
	char text[32];
	int64_t offset;
	if (!clock_offset_ns(&offset))
		return;
	int64_t by = offset - s->clock_offset;
	if (by <= STEP_NS && by >= -STEP_NS)
		return;
	s->clock_offset = offset;
	/* To the millisecond: no more is known. */
	int64_t ms = ((by > 0 ? by : -by) + NSEC_PER_MSEC / 2) / NSEC_PER_MSEC;
	duration_format(ms * NSEC_PER_MSEC, text, sizeof(text));
	nsqd_logf(s->ctx, LG_INFO, "QUEUESCAN: the clock was set %s by %s; delays stay as they are",
		by > 0 ? "forward" : "back", text);
	for (size_t i = 0; i < s->n_channels; i++)
		channel_clock_was_set(s->channels[i]);
}

/*
 * The workers wait for a disk, and so would each channel that is due. But a logged channel needs them
 * only to read: its queue has a thread of its own for that, if it must. True: c needs a worker.
 */
static bool relieve_channel(struct scan *s, struct channel *take_c, int64_t now)
{
	channel_leave_waiting(take_c);
	int64_t next = channel_next_deadline(take_c);
	if (next <= now && channel_has_room(take_c, 2 * DUE_BATCH))
		next = process_some(take_c, now, false);
	if (next <= now && !channel_has_room(take_c, 2 * DUE_BATCH))
		return true;
	give_back(s, take_c, next, now);
	return false;
}

/* What waits for a worker gets on without one, as far as it can. */
static void relieve(struct scan *s, int64_t now)
{
	struct channel *waits[2 * SELECTION_MAX] UNINITIALIZED;
	size_t n = chan_try_recv_n(s->work_chan, waits, SELECTION_MAX, NULL), left = 0;
	memcpy(waits + n, s->due, s->n_due * sizeof(*waits));
	n += s->n_due;
	for (size_t i = 0; i < n; i++) {
		if (relieve_channel(s, waits[i], now))
			waits[left++] = waits[i];
	}
	/* All had a place here or there before, and only this thread sends. */
	size_t sent = chan_try_send_n(s->work_chan, waits, left);
	s->n_due = left - sent;
	memcpy(s->due, waits + sent, s->n_due * sizeof(*waits));
}

/* Queues the channels that are due before the next such look. Until then they do so themselves. */
static void look_at_all(struct scan *s, int64_t now)
{
	int64_t interval = nsqd_get_opts(s->ctx)->queue_scan_interval;
	if (__builtin_add_overflow(now, interval, &s->look_at_all_ns))
		s->look_at_all_ns = INT64_MAX;
	deadlines_set_horizon(s->deadlines, s->look_at_all_ns);
	watch_clock(s);
	bool is_open = expiry_is_open(&s->expiry, now), has_place = is_open;
	for (size_t i = 0; i < s->n_channels; i++) {
		struct channel *c = s->channels[i];
		if (channel_next_deadline(c) < s->look_at_all_ns)
			channel_await_deadline(c);
		if (has_place && channel_has_expired(c, now))
			has_place = expiry_add(&s->expiry, c);
	}
	if (is_open)
		expiry_start(&s->expiry, now);
}

/* Takes what is due, and does what is quick. What is left is in due, for the workers. */
static void take_due(struct scan *s, int64_t now)
{
	struct deadline *taken[SELECTION_MAX] UNINITIALIZED;
	CHECK(s->n_due == 0);
	size_t n = deadlines_take(s->deadlines, now, taken, s->selection_count);
	for (size_t i = 0; i < n; i++) {
		struct channel *c = channel_of(taken[i]);
		if (process_quickly(s, c, now))
			s->due[s->n_due++] = c;
	}
}

/* The first n of due are on their way. */
static void handed_out(struct scan *s, size_t n)
{
	s->stuck = false;
	s->n_due -= n;
	memmove(s->due, s->due + n, s->n_due * sizeof(*s->due));
}

/* Takes what is due, unless the workers have enough to do; and decides when to look again. */
static void look(struct scan *s)
{
	int64_t now = clock_mono_ns();
	bool closed = context_is_exiting(s->ctx);
	if (now >= s->look_at_all_ns) {
		if (s->stuck && (s->n_due > 0 || chan_len(s->work_chan) > 0))
			relieve(s, now);
		s->stuck = true;
		look_at_all(s, now);
	}
	if (s->n_due == 0 && !closed)
		take_due(s, now);
	bool waits = s->n_due == 0 && !closed;
	ticker_after(&s->look, (waits ? deadlines_await(s->deadlines) : s->look_at_all_ns) - now);
}

static void scan(struct scan *s)
{
	struct ticker refresh_ticker;
	ticker_start(&refresh_ticker, nsqd_get_opts(s->ctx)->queue_scan_refresh_interval);
	refresh(s);
	enum { HAND_OUT, LOOK, EARLIER, END_WORKER, REFRESH, CHANGED, ALIVE, EXIT, N_CASES };
	for (;;) {
		look(s);
		bool many = s->pool_size > s->ideal_pool_size;
		struct chan_case cases[] = {
			[HAND_OUT] = chan_case_send_n(s->work_chan, s->due, s->n_due),
			[LOOK] = chan_case_tick(&s->look),
			[EARLIER] = chan_case_recv(s->deadlines->earlier_chan, NULL),
			[END_WORKER] = chan_case_send(many ? s->close_chan : NULL, NULL),
			[REFRESH] = chan_case_tick(&refresh_ticker),
			[CHANGED] = chan_case_recv(s->ctx->notify.channels_changed_chan, NULL),
			[ALIVE] = chan_case_recv(s->ctx->alive_chan, NULL),
			[EXIT] = chan_case_recv(s->ctx->exit_chan, NULL),
		};
		switch (chan_select(cases, N_CASES)) {
		case HAND_OUT:
			handed_out(s, cases[HAND_OUT].n);
			break;
		case END_WORKER:
			s->pool_size--;
			break;
		case REFRESH:
			refresh(s);
			trim(s);
			break;
		case CHANGED:
			refresh(s);
			break;
		case ALIVE:
			break; /* the receive is the answer */
		case EXIT:
			return;
		}
	}
}

/* The workers have ended: drops the references that are left. */
static void drop_due(struct scan *s)
{
	struct deadline *d;
	struct channel *c;
	deadlines_set_horizon(s->deadlines, INT64_MIN);
	while (chan_try_recv_n(s->work_chan, &c, 1, NULL) == 1)
		channel_unref(c);
	for (size_t i = 0; i < s->n_due; i++)
		channel_unref(s->due[i]);
	while (deadlines_take(s->deadlines, INT64_MAX, &d, 1) == 1)
		channel_unref(channel_of(d));
}

void nsqd_queue_scan_loop(void *arg)
{
	struct topics *topics = arg;
	int count = nsqd_get_opts(topics->ctx)->queue_scan_selection_count;
	struct scan s = {
		.topics = topics,
		.ctx = topics->ctx,
		.deadlines = &topics->ctx->deadlines,
		.selection_count = (size_t)(count < SELECTION_MAX ? count : SELECTION_MAX),
		.close_chan = chan_new(0, 0),
	};
	(void)clock_offset_ns(&s.clock_offset);
	s.work_chan = chan_new(sizeof(struct channel *), s.selection_count);
	wait_group_init(&s.workers);
	expiry_init(&s.expiry, topics->ctx);
	scan(&s);
	nsqd_logf(s.ctx, LG_INFO, "QUEUESCAN: closing");
	chan_close(s.close_chan);
	wait_group_wait(&s.workers);
	expiry_end(&s.expiry);
	drop_due(&s);
	drop_channels(&s);
	chan_free(s.work_chan);
	chan_free(s.close_chan);
	wait_group_destroy(&s.workers);
}
