/* SPDX-License-Identifier: MIT */
/*
 * A channel: its life, its consumers, its numbers, its pause and its settings. Mirrors
 * nsqd/channel.go. Runs in the threads that create the topic's channels, in those of consumers
 * (pollers, "io:ADDR"), of operators' HTTP connections and of statistics. take_rest runs in "lq:NAME".
 *
 * channel_put.c has its queues, channel_in_flight.c what is in flight and deferred, channel_due.c
 * what becomes due, channel_exit.c how it is emptied and ends. Between queues and consumers runs the
 * message pump, channel_pump.c: the thread "c:TOPIC/NAME".
 *
 * Lessons in docs/course/: 02-rendezvous, 10-locks.
 */
#include "nsqd/queue/channel.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/check.h"
#include "common/clock.h"
#include "common/xalloc.h"
#include "nsqd/disk/backend.h"
#include "nsqd/disk/dqname.h"
#include "nsqd/log/log_queue.h"
#include "nsqd/log/stock_first.h"
#include "nsqd/queue/channel_internal.h"
#include "protocol/names.h"

/* --- life ------------------------------------------------------------------------------------- */

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

/* --- consumers -------------------------------------------------------------------------------- */

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

/* --- numbers ---------------------------------------------------------------------------------- */

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

/* --- pause and settings ----------------------------------------------------------------------- */

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
