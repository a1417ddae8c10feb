/* SPDX-License-Identifier: MIT */
/*
 * queueScanLoop runs in a single thread ("scan") to process in-flight and deferred priority queues.
 * It manages a pool of workers ("scan-worker", configurable max of queue_scan_worker_pool_max
 * (default: 4)) that process channels concurrently. Mirrors queueScanLoop, queueScanWorker and
 * resizePool of nsqd/nsqd.go.
 *
 * It copies Redis's probabilistic expiration algorithm: it wakes up every queue_scan_interval
 * (default: 100ms) to select a random queue_scan_selection_count (default: 20) channels from a
 * locally cached list (refreshed every queue_scan_refresh_interval (default: 5s)). If either of the
 * queues had work to do the channel is considered "dirty". If queue_scan_dirty_percent (default:
 * 25%) of the selected channels were dirty, the loop continues without sleep.
 *
 * Differences: it selects among the channels that have something due, which it sees without a lock.
 * So a message among thousands of quiet channels does not wait for luck. And it refreshes the list
 * as soon as a channel comes or goes, so that a new channel's timeouts need not wait for 5 s.
 */
#include "nsqd/queue/queue_scan.h"

#include <stdlib.h>

#include "common/clock.h"
#include "common/rand.h"
#include "common/slab.h"
#include "common/xalloc.h"
#include "nsqd/queue/channel.h"
#include "nsqd/queue/topics.h"

struct scan {
	struct topics *topics;
	struct context *ctx;       /* topics->ctx */
	struct channel **channels; /* a reference each */
	size_t n_channels;
	struct channel **due; /* those of them that have something to do; borrowed */
	uint32_t *picks;      /* n_channels each: what rand_unique fills, and its scratch */
	uint32_t *scratch;

	struct chan *work_chan;     /* of struct channel *, borrowed until answered */
	struct chan *response_chan; /* of bool: dirty */
	struct chan *close_chan;    /* closed, or sent to, once per worker that is to end */
	struct wait_group workers;
	size_t pool_size;
};

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
		int64_t now = clock_mono_ns();
		bool dirty = channel_process_in_flight_queue(c, now);
		if (channel_process_deferred_queue(c, now))
			dirty = true;
		chan_send(s->response_chan, &dirty);
	}
}

/*
 * resizePool adjusts the size of the pool of workers: 1 <= pool <= min(num * 0.25,
 * queue_scan_worker_pool_max)
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
	while (s->pool_size > ideal) {
		chan_send(s->close_chan, NULL);
		s->pool_size--;
	}
	while (s->pool_size < ideal) {
		if (wait_group_wrap(&s->workers, "scan-worker", scan_worker, s, &err) != 0) {
			/*
			 * The next refresh tries again; with no worker at all the loop does the
			 * work.
			 */
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
	free(s->due);
	free(s->picks);
	free(s->scratch);
}

static void refresh(struct scan *s)
{
	drop_channels(s);
	s->channels = nsqd_channels(s->topics, &s->n_channels);
	s->due = xcalloc(s->n_channels + 1, sizeof(struct channel *));
	s->picks = xcalloc(s->n_channels + 1, sizeof(*s->picks));
	s->scratch = xcalloc(s->n_channels + 1, sizeof(*s->scratch));
	resize_pool(s);
}

static size_t find_due(struct scan *s)
{
	size_t n = 0;
	int64_t now = clock_mono_ns();
	for (size_t i = 0; i < s->n_channels; i++) {
		if (channel_next_deadline(s->channels[i]) <= now)
			s->due[n++] = s->channels[i];
	}
	return n;
}

/* Has num of the n due channels processed; returns how many were dirty. */
static size_t process(struct scan *s, size_t num, size_t n)
{
	size_t dirty = 0;
	num = rand_unique(num, n, s->picks, s->scratch);
	if (s->pool_size == 0) {
		for (size_t i = 0; i < num; i++) {
			struct channel *c = s->due[s->picks[i]];
			int64_t now = clock_mono_ns();
			bool in_flight = channel_process_in_flight_queue(c, now);
			bool deferred = channel_process_deferred_queue(c, now);
			dirty += in_flight || deferred;
		}
		return dirty;
	}
	for (size_t i = 0; i < num; i++)
		chan_send(s->work_chan, &s->due[s->picks[i]]);
	for (size_t i = 0; i < num; i++) {
		bool was_dirty;
		chan_recv(s->response_chan, &was_dirty);
		dirty += was_dirty;
	}
	return dirty;
}

static void work(struct scan *s)
{
	const struct options *opts = nsqd_get_opts(s->ctx);
	for (;;) {
		size_t n = find_due(s);
		size_t num = (size_t)opts->queue_scan_selection_count;
		if (num > n)
			num = n;
		if (num == 0 || context_is_exiting(s->ctx))
			return;
		size_t dirty = process(s, num, n);
		if ((double)dirty / (double)num <= opts->queue_scan_dirty_percent)
			return;
	}
}

/* The memory of messages and of their queues, which Go's collector gives back. */
static void trim(const struct scan *s)
{
	slab_trim();
	for (size_t i = 0; i < s->n_channels; i++)
		channel_trim(s->channels[i]);
}

static void scan(struct scan *s)
{
	const struct options *opts = nsqd_get_opts(s->ctx);
	struct ticker work_ticker, refresh_ticker;
	ticker_start(&work_ticker, opts->queue_scan_interval);
	ticker_start(&refresh_ticker, opts->queue_scan_refresh_interval);
	refresh(s);
	enum { WORK, REFRESH, CHANGED, EXIT };
	for (;;) {
		struct chan_case cases[] = {
			[WORK] = chan_case_tick(&work_ticker),
			[REFRESH] = chan_case_tick(&refresh_ticker),
			[CHANGED] = chan_case_recv(s->ctx->notify.channels_changed_chan, NULL),
			[EXIT] = chan_case_recv(s->ctx->exit_chan, NULL),
		};
		switch (chan_select(cases, 4)) {
		case WORK:
			work(s);
			break;
		case REFRESH:
			refresh(s);
			trim(s);
			break;
		case CHANGED:
			refresh(s);
			break;
		case EXIT:
			return;
		}
	}
}

void nsqd_queue_scan_loop(void *arg)
{
	struct topics *topics = arg;
	size_t count = (size_t)nsqd_get_opts(topics->ctx)->queue_scan_selection_count;
	struct scan s = {
		.topics = topics,
		.ctx = topics->ctx,
		.work_chan = chan_new(sizeof(struct channel *), count),
		.response_chan = chan_new(sizeof(bool), count),
		.close_chan = chan_new(0, 0),
	};
	wait_group_init(&s.workers);
	scan(&s);
	nsqd_logf(s.ctx, LG_INFO, "QUEUESCAN: closing");
	chan_close(s.close_chan);
	wait_group_wait(&s.workers);
	drop_channels(&s);
	chan_free(s.work_chan);
	chan_free(s.response_chan);
	chan_free(s.close_chan);
	wait_group_destroy(&s.workers);
}
