/* SPDX-License-Identifier: MIT */
/*
 * A topic. Mirrors nsqd/topic.go, whose messagePump is topic_pump.c. Runs in the callers' threads:
 * io_loops and HTTP handlers put, operators and consumers create and delete channels.
 *
 * Differences: messages travel in batches. The exit takes the lock for writing when it sets its
 * flag, so that no put can come after the final flush.
 *
 * Lessons in docs/course/: 02-rendezvous, 03-buffered, 04-close, 05-exit-chan, 08-default,
 * 10-locks, 12-once, 20-journey.
 */
#include "nsqd/queue/topic_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "common/clock.h"
#include "common/compiler.h"
#include "common/quantile.h"
#include "common/xalloc.h"
#include "nsqd/disk/backend.h"
#include "nsqd/disk/backend_flush.h"
#include "nsqd/log/log_queue.h"
#include "nsqd/log/log_remove.h"
#include "nsqd/log/log_view.h"
#include "nsqd/log/stock_first.h"
#include "nsqd/core/message_count.h"
#include "nsqd/queue/channel.h"
#include "nsqd/queue/dead_letter.h"
#include "protocol/names.h"

/* How often topic_await_puts looks whether the drain goes on. */
#define AWAIT_LOOK_NS (100 * NSEC_PER_MSEC)
/* The most messages that the final flush writes at once. */
#define FLUSH_BATCH 1024

/* --- life --------------------------------------------------------------------------------- */

static void topic_free(struct topic *t)
{
	message_drain_chan(t->memory_msg_chan);
	CHECK(t->channel_map == NULL);
	if (t->backend)
		t->backend->ops->close(t->backend, NULL);
	if (t->log)
		topic_log_close(t->log, &(struct err){0});
	chan_free(t->memory_msg_chan);
	chan_free(t->start_chan);
	chan_free(t->exit_chan);
	chan_free(t->gone_chan);
	chan_free(t->channel_update_chan);
	chan_free(t->pause_chan);
	chan_free(t->unstuck_chan);
	wait_group_destroy(&t->wait_group);
	rwlock_destroy(&t->lock);
	wait_group_destroy(&t->appends);
	limits_destroy(t);
	settings_unref(t->settings);
	free(t);
}

/* What /ping says. */
static void log_fared(void *arg, const struct err *err)
{
	struct topic *t = arg;
	nsqd_set_log_health(t->ctx, t->log_failing, err);
	t->log_failing = err != NULL;
}

static int open_log(struct topic *t, const struct options *o, struct err *err)
{
	struct topic_log_opts opts = {.dir = t->ctx->data_dir_fd,
		.topic = t->name,
		.disk = t->settings->v.durability == DURABILITY_DISK,
		/* A segment is a file of the queue, too. */
		.segment_bytes = o->max_bytes_per_file < LOG_SEGMENT_BYTES ? o->max_bytes_per_file
									   : LOG_SEGMENT_BYTES,
		.sync_timeout = o->sync_timeout,
		.lg = &t->ctx->lg,
		.fared = log_fared,
		.fared_arg = t};
	if (topic_log_open(&opts, &t->log, err) != 0)
		return -1;
	t->logged = true;
	struct diskqueue_opts disk = backend_diskqueue_opts(o, t->name);
	disk.lg = &t->ctx->lg;
	disk.changed_chan = t->unstuck_chan;
	struct backend_queue *q = log_queue_new_topic(
		t->log, chan_cap(t->memory_msg_chan) > 0 ? t->memory_msg_chan : NULL);
	t->backend = stock_first_new(&disk, false, true, q, err);
	if (!t->backend)
		return -1;
	t->stock_first = is_stock_first(t->backend);
	/* While the metadata are loaded the channels come first: topic_enter_log. */
	if (context_is_loading(t->ctx))
		return 0;
	t->log_ready = topic_log_start(t->log, err) == 0;
	return t->log_ready ? 0 : -1;
}

static int open_backend(struct topic *t, const struct options *o, struct err *err)
{
	bool durable = t->settings->v.durability != DURABILITY_NONE && !t->ephemeral, log = false;
	if (!durable && !t->ephemeral &&
		log_view_find(t->ctx->data_dir_fd, t->name, NULL, &log, err) != 0)
		return -1;
	if (log && log_view_check_left(t->ctx->data_dir_fd, t->name, nsqd_data_path(t->ctx),
			   strcmp(o->durability, "none") != 0, err) != 0)
		return -1;
	if (durable)
		return open_log(t, o, err);
	t->backend = backend_new(t->ctx, t->name, err);
	return t->backend ? 0 : -1;
}

struct topic *topic_new(struct context *ctx, const char *name,
	void (*delete_callback)(void *arg, struct topic *t), void *delete_arg, struct err *err)
{
	const struct options *opts = nsqd_get_opts(ctx);
	struct topic *t = xcalloc(1, sizeof(*t));
	atomic_init(&t->refs, 1);
	snprintf(t->name, sizeof(t->name), "%s", name);
	t->ephemeral = is_ephemeral_name(name);
	t->ctx = ctx;
	t->delete_callback = delete_callback;
	t->delete_arg = delete_arg;
	rwlock_init(&t->lock, RANK_TOPIC);
	wait_group_init(&t->appends);
	t->memory_msg_chan = chan_new(sizeof(struct message *), (size_t)opts->mem_queue_size);
	t->start_chan = chan_new(0, 1);
	t->exit_chan = chan_new(0, 0);
	t->channel_update_chan = chan_new(0, 0);
	t->pause_chan = chan_new(0, 0);
	t->unstuck_chan = chan_new(0, 1);
	wait_group_init(&t->wait_group);
	guid_factory_init(&t->id_factory, opts->id);
	t->settings = settings_store_get(&ctx->settings, t->name, NULL);
	limits_init(t);
	int rc = open_backend(t, opts, err);

	char thread_name[NAME_SIZE + 2];
	snprintf(thread_name, sizeof(thread_name), "t:%s", t->name);
	if (rc != 0 ||
		wait_group_wrap(&t->wait_group, thread_name, topic_message_pump, t, err) != 0) {
		err_wrap(err, "cannot create topic %s - ", name);
		topic_free(t);
		return NULL;
	}
	nsqd_notify(ctx, t->name, NULL, false, !t->ephemeral);
	return t;
}

struct topic *topic_ref(struct topic *t)
{
	atomic_fetch_add(&t->refs, 1);
	return t;
}

void topic_unref(struct topic *t)
{
	if (t && atomic_fetch_sub(&t->refs, 1) == 1)
		topic_free(t);
}

/* --- channels ------------------------------------------------------------------------------- */

/* Tells the pump that channel_map has changed, and waits until it has heard; not beyond its end. */
static void update_pump(struct topic *t, struct chan *c)
{
	struct chan_case cases[] = {chan_case_send(c, NULL), chan_case_recv(t->exit_chan, NULL)};
	chan_select(cases, 2);
}

void topic_update_channels(struct topic *t)
{
	update_pump(t, t->channel_update_chan);
	/* When it hears of the second, it has done what the first has brought: limits_refresh. */
	if (atomic_load(&t->limits.on))
		update_pump(t, t->channel_update_chan);
}

void topic_settle_settings(struct topic *t)
{
	atomic_store(&t->unsettled, true);
	update_pump(t, t->channel_update_chan);
	update_pump(t, t->channel_update_chan);
}

static void delete_callback(struct topic *t, struct channel *c)
{
	struct err ignored;
	(void)topic_delete_channel(t, c, &ignored);
}

static void channel_unstuck(struct topic *t)
{
	chan_signal(t->unstuck_chan);
}

static struct topic_log *log_of(struct topic *t)
{
	return t->log;
}

static bool is_stock_first_topic(struct topic *t)
{
	return t->stock_first;
}

static void flush_log(struct topic *t);

static const struct channel_topic_ops channel_topic_ops = {
	.log = log_of,
	.stock_first = is_stock_first_topic,
	.delete_callback = delete_callback,
	.update_channels = topic_update_channels,
	.unstuck = channel_unstuck,
	.flush_log = flush_log,
	.unref = topic_unref,
};

/* getOrCreateChannel: borrowed from the map; NULL with err set. */
static struct channel *get_or_create_channel_locked(
	struct topic *t, const char *name, struct err *err)
{
	struct channel *c;
	rwlock_assert_held(&t->lock);
	HASH_FIND_STR(t->channel_map, name, c);
	if (c)
		return c;
	if (topic_exiting(t)) {
		err_set(err, 0, "exiting");
		return NULL;
	}
	c = channel_new(t->ctx, t->name, name, &channel_topic_ops, topic_ref(t), err);
	if (!c)
		return NULL;
	HASH_ADD_STR(t->channel_map, name, c);
	nsqd_logf(t->ctx, LG_INFO, "TOPIC(%s): new channel(%s)", t->name, c->name);
	return c;
}

struct channel *topic_get_channel(struct topic *t, const char *name, struct err *err)
{
	struct channel *c = topic_get_existing_channel(t, name);
	if (!c) {
		rwlock_wrlock(&t->lock);
		c = get_or_create_channel_locked(t, name, err);
		if (c)
			channel_ref(c);
		rwlock_unlock(&t->lock);
	}
	/* Every thread that finds it waits for that, not its maker alone: it misses no message. */
	if (c && !atomic_load(&c->pump_knows)) {
		topic_update_channels(t);
		atomic_store(&c->pump_knows, true);
	}
	return c;
}

struct channel *topic_create_channel(struct topic *t, const char *name, struct err *err)
{
	for (;;) {
		struct channel *c = topic_get_channel(t, name, err);
		if (!c || !channel_exiting(c))
			return c;
		bool gone = gone_wait(t->ctx, c->gone_chan, INT64_MAX);
		channel_unref(c);
		if (!gone) {
			err_set(err, ECANCELED, "exiting");
			return NULL;
		}
	}
}

bool topic_sub_may_block(struct topic *t, const char *channel_name)
{
	struct channel *c;
	if (topic_exiting(t) || !rwlock_tryrdlock(&t->lock))
		return true;
	HASH_FIND_STR(t->channel_map, channel_name, c);
	bool may_block = !c || channel_exiting(c) || !atomic_load(&c->pump_knows);
	rwlock_unlock(&t->lock);
	return may_block;
}

struct channel *topic_get_existing_channel(struct topic *t, const char *name)
{
	struct channel *c;
	rwlock_rdlock(&t->lock);
	HASH_FIND_STR(t->channel_map, name, c);
	if (c)
		channel_ref(c);
	rwlock_unlock(&t->lock);
	return c;
}

/*
 * The end of an exit that this thread has begun: the name is free, and the threads that wait are
 * told. Drops the map's reference. Returns how many channels are left.
 */
static size_t channel_is_gone(struct topic *t, struct channel *c, enum exit_result res)
{
	struct channel *found;
	rwlock_wrlock(&t->lock);
	HASH_FIND_STR(t->channel_map, c->name, found);
	CHECK(found == c);
	HASH_DEL(t->channel_map, c);
	size_t left = HASH_COUNT(t->channel_map);
	rwlock_unlock(&t->lock);
	c->files_left = res == EXIT_FAILED;
	chan_close(c->gone_chan);
	channel_unref(c);
	return left;
}

/* This thread has ended the channel. */
static int end_deletion(struct topic *t, struct channel *c, enum exit_result res, struct err *err)
{
	/* Where the disk refuses, the channel is gone all the same. */
	if (res == EXIT_FAILED)
		nsqd_logf(t->ctx, LG_ERROR, "channel(%s) delete - %s", c->name, err->msg);
	size_t left = channel_is_gone(t, c, res);

	/*
	 * Go starts a goroutine here, since it holds locks; this thread holds none, and is no pump.
	 */
	if (left == 0 && t->ephemeral && !atomic_exchange(&t->deleter_once, true))
		t->delete_callback(t->delete_arg, t);
	return gone_deleted(res == EXIT_FAILED, err);
}

int topic_delete_channel(struct topic *t, struct channel *c, struct err *err)
{
	nsqd_logf(t->ctx, LG_INFO, "TOPIC(%s): deleting channel %s", t->name, c->name);
	/*
	 * delete empties the channel before closing (so that we dont leave any messages around). We
	 * do this before removing the channel from the map below (with no lock), so that any
	 * incoming subs will error and not create a new channel, to enforce ordering.
	 */
	enum exit_result res = channel_delete(c, err);
	if (res == EXIT_ELSEWHERE)
		return gone_wait_deleted(t->ctx, c->gone_chan, &c->files_left, err);
	return end_deletion(t, c, res, err);
}

void topic_expire_channel(struct topic *t, struct channel *c)
{
	struct err err;
	enum exit_result res = channel_expire(c, &err);
	if (res != EXIT_ELSEWHERE)
		(void)end_deletion(t, c, res, &err);
}

int topic_delete_existing_channel(struct topic *t, const char *name, struct err *err)
{
	struct channel *c = topic_get_existing_channel(t, name);
	if (!c)
		return err_set(err, ENOENT, "channel does not exist");
	int rc = topic_delete_channel(t, c, err);
	channel_unref(c);
	return rc;
}

static int by_name(const void *a, const void *b)
{
	return strcmp((*(struct channel *const *)a)->name, (*(struct channel *const *)b)->name);
}

struct channel **topic_channels(struct topic *t, size_t *count)
{
	struct channel *c, *tmp;
	size_t n = 0;
	rwlock_rdlock(&t->lock);
	struct channel **list = xcalloc(HASH_COUNT(t->channel_map) + 1, sizeof(struct channel *));
	HASH_ITER (hh, t->channel_map, c, tmp)
		list[n++] = channel_ref(c);
	rwlock_unlock(&t->lock);
	qsort(list, n, sizeof(*list), by_name);
	*count = n;
	return list;
}

void topic_free_channels(struct channel **list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		channel_unref(list[i]);
	free(list);
}

/* --- starting ------------------------------------------------------------------------------- */

/* A channel has a cursor, whatever nsqd.dat says: the daemon was killed before it wrote that. */
static void get_logged_channel(void *arg, const char *name)
{
	struct topic *t = arg;
	struct err err;
	if (!is_valid_channel_name(name, strlen(name)))
		return;
	struct channel *c = topic_get_channel(t, name, &err);
	/* Its cursor must not be removed. */
	if (!c && !t->log_broken)
		t->log_broken = xstrdup(err.msg);
	channel_unref(c);
}

/* Before the start, when nothing moves: its log holds nothing that anybody still wants. */
static bool has_nothing(struct topic *t)
{
	size_t n;
	struct channel **channels = topic_channels(t, &n);
	int64_t left = topic_depth(t);
	for (size_t i = 0; i < n; i++)
		left += channel_depth(channels[i]) + (int64_t)channel_deferred_count(channels[i]);
	topic_free_channels(channels, n);
	return left == 0;
}

int topic_enter_log(struct topic *t, struct err *err)
{
	/* (nsqd.dat may have it twice.) */
	if (!t->log || t->log_ready)
		return 0;
	int rc = topic_log_each_channel(t->log, get_logged_channel, t, err);
	if (rc == 0 && t->log_broken)
		rc = err_set(err, 0, "%s", t->log_broken);
	free(t->log_broken);
	t->log_broken = NULL;
	if (rc == 0)
		rc = topic_log_start(t->log, err);
	t->log_ready = rc == 0;
	if (rc == 0 && t->ctx->dead_letter_ops && has_nothing(t))
		t->ctx->dead_letter_ops->clear(t->ctx->dead_letter_arg, t->name);
	return rc;
}

/* The channels that it has had when it was durable; nsqd.dat may not know of them. */
static int get_left_channels(struct topic *t, struct err *err)
{
	struct log_view *v;
	int rc = log_view_open(t->ctx->data_dir_fd, t->name, NULL, &v, err);
	if (rc != 0)
		return rc;
	for (size_t i = 0; rc == 0 && i < v->n_channels; i++) {
		struct channel *c = topic_get_channel(t, v->channels[i].name, err);
		rc = c ? 0 : -1;
		channel_unref(c);
	}
	log_view_close(v);
	return rc;
}

int topic_leave_log(struct topic *t, struct err *err)
{
	char aside[sizeof(t->name) + sizeof(".log:finished")];
	bool log = false;
	if (t->log || t->ephemeral)
		return 0;
	if (log_view_find(t->ctx->data_dir_fd, t->name, NULL, &log, err) != 0)
		return -1;
	if (!log)
		return 0;
	if (get_left_channels(t, err) != 0)
		return -1;
	snprintf(aside, sizeof(aside), "%s.log:finished", t->name);
	if (log_put_aside(t->ctx->data_dir_fd, t->name, aside, err) != 0)
		return -1;
	nsqd_logf(t->ctx, LG_WARN,
		"TOPIC(%s): all in its log is finished: it was put aside as %s, and is of no use "
		"any more",
		t->name, aside);
	return 0;
}

void topic_start(struct topic *t)
{
	atomic_store(&t->started, true);
	chan_signal(t->start_chan);
}

/* --- putting --------------------------------------------------------------------------------- */

/*
 * Stores in the backend, and tells the daemon's health. Returns how many are stored, and unrefs
 * those.
 */
static size_t put_to_backend(struct topic *t, struct message **msgs, size_t n, struct err *err)
{
	if (n == 0)
		return 0; /* says nothing of the disk's health */
	size_t stored = backend_queue_put_messages(t->backend, msgs, n, err);
	nsqd_set_health(t->ctx, stored < n ? err : NULL);
	if (stored < n)
		nsqd_logf(t->ctx, LG_ERROR,
			"TOPIC(%s) ERROR: failed to write message to backend - %s", t->name,
			err->msg);
	message_unref_all(msgs, stored);
	return stored;
}

/*
 * All n, or none. The topic's queue hands them to the pump, in the order of the log.
 *
 * The disk may take its time: topic.lock is given up meanwhile, since everybody needs that, as to
 * look at the topic, or to subscribe. The exit waits for appends.
 */
static size_t put_to_log(
	struct topic *t, struct message **msgs, size_t n, size_t *in_memory, struct err *err)
{
	if (!t->log_ready) {
		err_set(err, 0, "the log is not open");
		return 0;
	}
	wait_group_add(&t->appends);
	rwlock_unlock(&t->lock);
	int rc = topic_log_append(t->log, msgs, n, in_memory, err);
	wait_group_done(&t->appends);
	rwlock_rdlock(&t->lock);
	if (rc != 0)
		return 0;
	message_unref_all(msgs, n);
	return n;
}

/* Hands m to every channel, to be deferred; takes it over. False: there is none, and m stays. */
static bool defer(struct topic *t, struct message *m)
{
	struct channel *c, *last = NULL;
	if (!atomic_load(&t->started) || topic_is_paused(t))
		return false;
	/* The last one gets m itself: what is handed over is not ours to copy any more. */
	for (c = t->channel_map; c; c = c->hh.next) {
		if (channel_exiting(c))
			continue;
		if (last)
			channel_put_message_deferred(last, message_copy(m), m->deferred_ns);
		last = c;
	}
	if (last)
		channel_put_message_deferred(last, m, m->deferred_ns);
	return last != NULL;
}

/*
 * put: memory first, then the backend. With --mem-queue-size=0 the memory chan is avoided for more
 * consistent ordering, except for deferred messages (which lose their delay in the backend) and
 * ephemeral topics (which have none).
 *
 * A deferred message needs no queue on its way where the pump would take it: the channels keep it
 * in memory, and out of their queues, until its time comes. So its delay does not depend on how
 * busy the pump is.
 */
static size_t put(struct topic *t, struct message **msgs, size_t n, bool deferred,
	size_t *in_memory, struct err *err)
{
	size_t sent = 0;
	*in_memory = 0;
	rwlock_assert_held(&t->lock);
	if (t->log)
		return put_to_log(t, msgs, n, in_memory, err);
	if (deferred && defer(t, msgs[0]))
		return 1;
	if (chan_cap(t->memory_msg_chan) > 0 || t->ephemeral || deferred)
		sent = chan_try_send_n(t->memory_msg_chan, msgs, n);
	*in_memory = sent;
	if (sent == n)
		return n;
	return sent + put_to_backend(t, msgs + sent, n - sent, err);
}

enum put_way topic_put_way(struct topic *t, size_t n)
{
	size_t cap = chan_cap(t->memory_msg_chan);
	size_t spare = cap / 4 < PUT_MARGIN ? cap / 4 : PUT_MARGIN;
	enum put_way way = PUT_AT_ONCE;
	if (!rwlock_tryrdlock(&t->lock))
		return PUT_BLOCKS;
	if (t->logged)
		way = limits_are_on(t) || !t->log_ready ? PUT_BLOCKS : PUT_BEGINS;
	else if ((!t->ephemeral && chan_len(t->memory_msg_chan) + n + spare > cap) ||
		 limits_may_wait(t, n))
		way = PUT_BLOCKS;
	rwlock_unlock(&t->lock);
	return way;
}

/*
 * topic_refuses. A list of messages of which some are queued already (begun) is no new one: its
 * publisher would publish all of it once more.
 */
static bool refuses(struct topic *t, bool begun, struct err *err)
{
	if (topic_exiting(t))
		err_set(err, 0, "exiting");
	else if (!begun && context_is_draining(t->ctx))
		err_set(err, ERR_DRAINING, "draining");
	else
		return false;
	return true;
}

bool topic_refuses(struct topic *t, struct err *err)
{
	return refuses(t, false, err);
}

/* PUT_ADMITTED: there is a reservation for them (limits.h). */
enum put_flags { PUT_DEFERRED = 1, PUT_BEGUN = 2, PUT_ADMITTED = 4 };

/* Counts, and queues; takes over the references of all n messages. */
static size_t put_messages(
	struct topic *t, struct message **msgs, size_t n, int flags, struct err *err)
{
	/* A message that is queued may be gone at once. */
	uint32_t few[TOPIC_BATCH] UNINITIALIZED;
	uint32_t *lens = n > TOPIC_BATCH ? xreallocarray(NULL, n, sizeof(*lens)) : few;
	struct limits_put p;
	size_t done = 0, in_memory = 0;
	uint64_t bytes = 0;
	for (size_t i = 0; i < n; i++)
		lens[i] = msgs[i]->body->len;

	/* Held over a write to disk, since it keeps the backend from being closed meanwhile. */
	rwlock_rdlock(&t->lock);
	limits_begin_put(t, &p, lens, n, flags & PUT_ADMITTED);
	if (!refuses(t, flags & PUT_BEGUN, err))
		done = put(t, msgs, n, flags & PUT_DEFERRED, &in_memory, err);
	limits_end_put(t, &p, in_memory);
	rwlock_unlock(&t->lock);

	for (size_t i = 0; i < done; i++)
		bytes += lens[i];
	if (lens != few)
		free(lens);
	message_unref_all(msgs + done, n - done);
	atomic_fetch_add_explicit(&t->message_count, done, memory_order_relaxed);
	atomic_fetch_add_explicit(&t->message_bytes, bytes, memory_order_relaxed);
	return done;
}

/* The bodies from the first on are dropped. */
static void drop_bodies(struct message_body *const *take_bodies, size_t n)
{
	for (size_t i = 0; i < n; i++)
		message_body_unref(take_bodies[i]);
}

/* The messages of these bodies, which are taken over. */
static void make_messages(struct topic *t, struct message **msgs,
	struct message_body *const *take_bodies, size_t n, int64_t deferred_ns)
{
	int64_t id = guid_factory_reserve(&t->id_factory, n);
	int64_t now = clock_wall_ns();
	for (size_t i = 0; i < n; i++) {
		msgs[i] = message_new(guid_hex(&t->id_factory, id++), take_bodies[i], now);
		msgs[i]->deferred_ns = deferred_ns;
	}
}

/* Batch by batch: topic_put_messages. With a log as one batch: all of them are kept, or none. */
static size_t put_batches(struct topic *t, struct message_body *const *take_bodies, size_t n,
	int flags, struct err *err)
{
	struct message *few[TOPIC_BATCH] UNINITIALIZED;
	size_t most = t->logged && n > TOPIC_BATCH ? n : TOPIC_BATCH, done = 0;
	struct message **msgs =
		most > TOPIC_BATCH ? xreallocarray(NULL, most, sizeof(struct message *)) : few;
	int64_t id = guid_factory_reserve(&t->id_factory, n);
	int64_t now = clock_wall_ns();
	while (done < n) {
		size_t k = n - done < most ? n - done : most;
		for (size_t i = 0; i < k; i++)
			msgs[i] = message_new(
				guid_hex(&t->id_factory, id++), take_bodies[done + i], now);
		size_t queued = put_messages(t, msgs, k, flags | (done > 0 ? PUT_BEGUN : 0), err);
		done += queued;
		if (queued < k) {
			size_t made = done - queued + k;
			if (flags & PUT_ADMITTED)
				limits_release(t, take_bodies + made, n - made);
			drop_bodies(take_bodies + made, n - made);
			break;
		}
	}
	if (msgs != few)
		free(msgs);
	return done;
}

/* What is admitted. */
static size_t put_admitted(struct topic *t, struct message_body *const *take_bodies, size_t n,
	int flags, struct err *err)
{
	if (n <= TOPIC_BATCH)
		return put_batches(t, take_bodies, n, flags, err);
	/* Between two batches there may be no record, and yet there are messages to come. */
	message_count_made_one();
	size_t done = put_batches(t, take_bodies, n, flags, err);
	message_count_freed_one();
	return done;
}

/* There is no channel, and so there shall be no messages: they count as published. */
static void drop_published(struct topic *t, struct message_body *const *take_bodies, size_t n)
{
	uint64_t bytes = 0;
	for (size_t i = 0; i < n; i++)
		bytes += take_bodies[i]->len;
	drop_bodies(take_bodies, n);
	atomic_fetch_add_explicit(&t->message_count, n, memory_order_relaxed);
	atomic_fetch_add_explicit(&t->message_bytes, bytes, memory_order_relaxed);
	limits_count_dropped(t, n);
}

/* Where there are limits: as many as these admit. */
static size_t put_within_limits(struct topic *t, struct message_body *const *take_bodies, size_t n,
	bool whole, struct err *err)
{
	bool drops;
	size_t admitted = limits_admit(t, take_bodies, n, whole, &drops, err);
	if (drops) {
		drop_published(t, take_bodies, n);
		return n;
	}
	drop_bodies(take_bodies + admitted, n - admitted);
	if (admitted == 0)
		return 0;
	size_t done = put_admitted(t, take_bodies, admitted, PUT_ADMITTED, err);
	limits_after_put(t);
	return done;
}

static size_t put_bodies(struct topic *t, struct message_body *const *take_bodies, size_t n,
	bool whole, struct err *err)
{
	/* Before any record is made: those who wait until there is none must not wait for refusals. */
	if (topic_refuses(t, err)) {
		drop_bodies(take_bodies, n);
		return 0;
	}
	return limits_are_on(t) ? put_within_limits(t, take_bodies, n, whole, err)
				: put_admitted(t, take_bodies, n, 0, err);
}

size_t topic_put_messages(
	struct topic *t, struct message_body *const *take_bodies, size_t n, struct err *err)
{
	return put_bodies(t, take_bodies, n, true, err);
}

size_t topic_put_publications(
	struct topic *t, struct message_body *const *take_bodies, size_t n, struct err *err)
{
	return put_bodies(t, take_bodies, n, false, err);
}

size_t topic_put_made_messages(
	struct topic *t, struct message **take_msgs, size_t n, struct err *err)
{
	_Static_assert(TOPIC_PUT_MAX == TOPIC_BATCH, "put_messages has room for so many");
	CHECK(n <= TOPIC_PUT_MAX);
	if (!limits_are_on(t))
		return put_messages(t, take_msgs, n, 0, err);
	size_t admitted = limits_admit_made(t, take_msgs, n, err);
	message_unref_all(take_msgs + admitted, n - admitted);
	size_t done = admitted > 0 ? put_messages(t, take_msgs, admitted, PUT_ADMITTED, err) : 0;
	(void)limits_tell_over(t);
	return done;
}

int topic_put_message_deferred(
	struct topic *t, struct message_body *take_body, int64_t deferred_ns, struct err *err)
{
	int flags = deferred_ns != 0 ? PUT_DEFERRED : 0;
	bool limited = limits_are_on(t), drops = false;
	if (topic_refuses(t, err) ||
		(limited && limits_admit(t, &take_body, 1, true, &drops, err) == 0 && !drops)) {
		message_body_unref(take_body);
		return -1;
	}
	if (drops) {
		drop_published(t, &take_body, 1);
		return 0;
	}
	int64_t id = guid_factory_reserve(&t->id_factory, 1);
	struct message *m = message_new(guid_hex(&t->id_factory, id), take_body, clock_wall_ns());
	m->deferred_ns = deferred_ns;
	size_t done = put_messages(t, &m, 1, flags | (limited ? PUT_ADMITTED : 0), err);
	if (limited)
		limits_after_put(t);
	return done == 1 ? 0 : -1;
}

size_t topic_put_deferred(struct topic *t, struct message_body *const *take_bodies, size_t n,
	int64_t deferred_ns, struct err *err)
{
	struct message *msgs[TOPIC_BATCH] UNINITIALIZED;
	size_t done = 0;
	CHECK(n > 0 && n <= TOPIC_BATCH);
	if (!t->logged || limits_are_on(t)) {
		while (done < n &&
			topic_put_message_deferred(t, take_bodies[done], deferred_ns, err) == 0)
			done++;
		if (done < n)
			drop_bodies(take_bodies + done + 1, n - done - 1);
		return done;
	}
	if (topic_refuses(t, err)) {
		drop_bodies(take_bodies, n);
		return 0;
	}
	make_messages(t, msgs, take_bodies, n, deferred_ns);
	return put_messages(t, msgs, n, PUT_DEFERRED, err);
}

/* --- putting without waiting ----------------------------------------------------------------- */

/* The end of a put that has made its messages. */
static void end_put(struct topic_put *p, const struct err *why)
{
	size_t n = p->n_msgs;
	if (why) {
		p->err = *why;
	} else {
		atomic_fetch_add_explicit(&p->topic->message_count, n, memory_order_relaxed);
		atomic_fetch_add_explicit(&p->topic->message_bytes, p->bytes, memory_order_relaxed);
		p->n = n;
	}
	message_unref_all(p->msgs, n);
	free(p->msgs);
	p->done(p);
}

/* Of an append: log:TOPIC. The exit waits for it, and not for the publisher, which has the topic. */
static void append_ended(void *arg, const struct err *why)
{
	struct topic_put *p = arg;
	struct topic *t = p->topic;
	wait_group_done(&t->appends);
	end_put(p, why);
}

/* topic.lock is given up. False: no thread would do it. */
static bool begin_append(
	struct topic_put *p, struct message_body *const *take_bodies, size_t n, struct err *err)
{
	struct topic *t = p->topic;
	p->bytes = 0;
	for (size_t i = 0; i < n; i++)
		p->bytes += take_bodies[i]->len;
	p->msgs = xreallocarray(NULL, n, sizeof(struct message *));
	make_messages(t, p->msgs, take_bodies, n, p->deferred_ns);
	p->n_msgs = n;
	if (topic_log_begin_append(t->log, p->msgs, n, append_ended, p, err) == 0)
		return true;
	wait_group_done(&t->appends);
	if (err->code != EAGAIN) {
		end_put(p, err);
		return true;
	}
	for (size_t i = 0; i < n; i++)
		message_body_ref(take_bodies[i]);
	message_unref_all(p->msgs, n);
	free(p->msgs);
	return false;
}

bool topic_begin_put(struct topic_put *p, struct message_body *const *take_bodies, size_t n)
{
	struct topic *t = p->topic;
	struct err err;
	if (!rwlock_tryrdlock(&t->lock))
		return false;
	/* Limits begin with that lock, and when no append is under way. */
	bool begins = t->logged && t->log_ready && !limits_are_on(t);
	bool refused = begins && refuses(t, false, &p->err);
	if (begins && !refused)
		wait_group_add(&t->appends);
	rwlock_unlock(&t->lock);
	p->n = 0;
	if (!refused)
		return begins && begin_append(p, take_bodies, n, &err);
	drop_bodies(take_bodies, n);
	p->done(p);
	return true;
}

void topic_look_at_log(struct topic *t)
{
	if (!rwlock_tryrdlock(&t->lock))
		return;
	if (t->log)
		log_look(topic_log_log(t->log));
	rwlock_unlock(&t->lock);
}

/*
 * Between process and disk the log changes at once. To get a log, or to lose it, a topic has to be
 * opened anew. Takes topic.lock for reading; waits for the disk.
 */
static void change_durability(struct topic *t, int durability)
{
	struct err err;
	int rc = 0;
	if (t->ephemeral)
		return;
	if (t->logged != (durability != DURABILITY_NONE)) {
		nsqd_logf(t->ctx, LG_WARN,
			"TOPIC(%s): durability is %s from the next start on, and stays what it is "
			"until then%s",
			t->name, durability_name(durability),
			t->logged ? ". That start is refused while messages in its log are not "
				    "finished"
				  : "");
		return;
	}
	rwlock_rdlock(&t->lock);
	if (t->log)
		rc = topic_log_set_disk(t->log, durability == DURABILITY_DISK, &err);
	rwlock_unlock(&t->lock);
	if (rc != 0)
		nsqd_logf(t->ctx, LG_ERROR,
			"TOPIC(%s): durability is %s from the next start on only - %s", t->name,
			durability_name(durability), err.msg);
	else if (t->logged)
		nsqd_logf(t->ctx, LG_INFO, "TOPIC(%s): durability is %s now", t->name,
			durability_name(durability));
}

void topic_fetch_settings(struct topic *t)
{
	size_t n;
	struct settings *fresh = settings_store_get(&t->ctx->settings, t->name, NULL);
	rwlock_wrlock(&t->lock);
	struct settings *old = t->settings;
	t->settings = fresh;
	rwlock_unlock(&t->lock);
	if (old->v.durability != fresh->v.durability)
		change_durability(t, fresh->v.durability);
	settings_unref(old);
	/* A channel that is made from now on finds the new ones in the store. */
	struct channel **channels = topic_channels(t, &n);
	for (size_t i = 0; i < n; i++)
		channel_fetch_settings(channels[i]);
	topic_free_channels(channels, n);
}

int64_t topic_backend_depth(struct topic *t)
{
	rwlock_rdlock(&t->lock);
	int64_t depth = t->backend ? t->backend->ops->depth(t->backend) : 0;
	rwlock_unlock(&t->lock);
	return depth;
}

int64_t topic_max_defer(const struct topic *t)
{
	const struct options *opts = nsqd_get_opts(t->ctx);
	return t->logged && opts->max_defer_timeout > opts->max_req_timeout
		       ? opts->max_defer_timeout
		       : opts->max_req_timeout;
}

bool topic_is_synced(struct topic *t)
{
	rwlock_rdlock(&t->lock);
	bool synced = t->logged && t->settings->v.durability == DURABILITY_DISK;
	rwlock_unlock(&t->lock);
	return synced;
}

int topic_durability(struct topic *t)
{
	struct topic_log_stats s;
	if (!topic_get_log_stats(t, &s))
		return DURABILITY_NONE;
	return s.log.disk ? DURABILITY_DISK : DURABILITY_PROCESS;
}

bool topic_get_log_stats(struct topic *t, struct topic_log_stats *out)
{
	rwlock_rdlock(&t->lock);
	bool has = t->log != NULL;
	if (has)
		topic_log_get_stats(t->log, out);
	rwlock_unlock(&t->lock);
	return has;
}

void topic_await_puts(struct topic *t)
{
	rwlock_wrlock(&t->lock);
	rwlock_unlock(&t->lock);
	/* If the drain is called off, others begin, and there may always be some. */
	while (!wait_group_wait_until(&t->appends, clock_mono_ns() + AWAIT_LOOK_NS) &&
		context_is_draining(t->ctx))
		;
}

int64_t topic_depth(struct topic *t)
{
	return (int64_t)chan_len(t->memory_msg_chan) + topic_backend_depth(t);
}

struct quantile *topic_aggregate_channel_e2e_processing_latency(struct topic *t)
{
	const struct options *opts = nsqd_get_opts(t->ctx);
	struct quantile *all = NULL;
	size_t n;
	if (opts->n_e2e_processing_latency_percentiles == 0)
		return NULL;
	struct channel **channels = topic_channels(t, &n);
	if (n > 0)
		all = quantile_new(opts->e2e_processing_latency_window_time,
			opts->e2e_processing_latency_percentiles,
			opts->n_e2e_processing_latency_percentiles);
	for (size_t i = 0; i < n; i++)
		quantile_merge(all, channels[i]->e2e_processing_latency_stream);
	topic_free_channels(channels, n);
	return all;
}

/* --- operators ------------------------------------------------------------------------------- */

/* topic.lock is not held meanwhile, as with an append. Where that fails the log says so. */
static void flush_log(struct topic *t)
{
	rwlock_rdlock(&t->lock);
	bool has = !topic_exiting(t) && t->log && t->log_ready;
	if (has)
		wait_group_add(&t->appends);
	rwlock_unlock(&t->lock);
	if (!has)
		return;
	(void)topic_log_flush(t->log);
	wait_group_done(&t->appends);
}

/*
 * A pump that is paused hands out nothing from now on, and may drop what the topic holds. After a
 * crash that must not be what its channels had got already: so the cursor on disk says how far it has
 * come.
 */
static void do_pause(struct topic *t, bool pause)
{
	atomic_store(&t->paused, pause);
	update_pump(t, t->pause_chan);
	if (pause)
		flush_log(t);
}

void topic_pause(struct topic *t)
{
	do_pause(t, true);
}

void topic_unpause(struct topic *t)
{
	do_pause(t, false);
}

static void empty_memory(struct topic *t)
{
	struct message *msgs[TOPIC_BATCH] UNINITIALIZED;
	size_t n = TOPIC_BATCH;
	while (n > 0) {
		int64_t bytes = 0;
		rwlock_rdlock(&t->lock);
		n = chan_try_recv_n(t->memory_msg_chan, msgs, TOPIC_BATCH, NULL);
		for (size_t i = 0; i < n; i++)
			bytes += msgs[i]->body->len;
		limits_emptied(t, n, bytes);
		rwlock_unlock(&t->lock);
		message_unref_all(msgs, n);
	}
}

int topic_empty(struct topic *t, struct err *err)
{
	empty_memory(t);
	/* For reading: the lock keeps the backend from being closed; others may go on putting. */
	rwlock_rdlock(&t->lock);
	int rc = t->backend ? t->backend->ops->empty(t->backend, err) : 0;
	if (rc == 0 && t->backend && t->log) {
		/* Else a restart would find that the channels have not finished them. */
		uint64_t upto = topic_log_handed_upto(t->log);
		for (struct channel *c = t->channel_map; c; c = c->hh.next)
			channel_pass_over(c, upto);
	}
	rwlock_unlock(&t->lock);
	/* What was emptied must not come again after kill -9. */
	flush_log(t);
	return rc;
}

/* flush: memory goes to the backend. Messages that it refuses are lost, and the log says so. */
static void flush(struct topic *t)
{
	struct message **msgs = xreallocarray(NULL, FLUSH_BATCH, sizeof(*msgs));
	size_t n, lost = 0, left = chan_len(t->memory_msg_chan);
	if (left > 0)
		nsqd_logf(t->ctx, LG_INFO, "TOPIC(%s): flushing %zu memory messages to backend",
			t->name, left);
	while ((n = chan_try_recv_n(t->memory_msg_chan, msgs, FLUSH_BATCH, NULL)) > 0)
		lost += backend_flush_messages(t->ctx, t->backend, msgs, n);
	free(msgs);
	if (lost > 0)
		nsqd_logf(t->ctx, LG_ERROR, "TOPIC(%s): %zu messages could not be flushed", t->name,
			lost);
}

/* From here on depth and empty do without the backend, so that it can be freed. */
static struct backend_queue *take_backend(struct topic *t)
{
	rwlock_wrlock(&t->lock);
	struct backend_queue *q = t->backend;
	t->backend = NULL;
	rwlock_unlock(&t->lock);
	return q;
}

/*
 * Ends a channel. Where another thread is deleting it, waits until that has done so: only then may
 * the files be another's. False: its files could not be removed, or not be written.
 */
static bool end_channel(struct topic *t, struct channel *c, bool deleted)
{
	struct err err;
	enum exit_result res = deleted ? channel_delete(c, &err) : channel_close(c, &err);
	if (res == EXIT_ELSEWHERE) {
		chan_recv(c->gone_chan, NULL);
		return !c->files_left;
	}
	/* we need to continue regardless of error to close all the channels */
	if (res == EXIT_FAILED)
		nsqd_logf(t->ctx, LG_ERROR, "channel(%s) %s - %s", c->name,
			deleted ? "delete" : "close", err.msg);
	/* The channels hold the topic: taking them out of the map ends the circle. */
	channel_is_gone(t, c, res);
	return res == EXIT_DONE;
}

/* *lost: messages that could not be flushed. */
static bool end_channels(struct topic *t, bool deleted, size_t *lost)
{
	size_t n;
	bool ok = true;
	struct channel **channels = topic_channels(t, &n);
	*lost = 0;
	for (size_t i = 0; i < n; i++) {
		ok &= end_channel(t, channels[i], deleted);
		*lost += channels[i]->lost;
	}
	topic_free_channels(channels, n);
	return ok;
}

/* Whether the exit is the calling thread's; else another one has begun it. */
static bool begin_exit(struct topic *t)
{
	rwlock_wrlock(&t->lock);
	bool first = !topic_exiting(t);
	if (first) {
		t->gone_chan = chan_new(0, 0);
		atomic_store(&t->exit_flag, true);
	}
	rwlock_unlock(&t->lock);
	return first;
}

static int end_log(struct topic *t, bool deleted, struct err *err)
{
	rwlock_wrlock(&t->lock);
	struct topic_log *log = t->log;
	t->log = NULL;
	rwlock_unlock(&t->lock);
	if (!log)
		return 0;
	int rc = deleted ? topic_log_delete(log, err) : topic_log_close(log, err);
	if (t->log_failing) /* it was never ready */
		log_fared(t, NULL);
	return rc;
}

static enum exit_result topic_exit(struct topic *t, bool deleted, struct err *err)
{
	if (!begin_exit(t)) {
		err_set(err, 0, "exiting");
		return EXIT_ELSEWHERE;
	}
	wait_group_wait(&t->appends);
	if (deleted) {
		nsqd_logf(t->ctx, LG_INFO, "TOPIC(%s): deleting", t->name);
		/* before nsqd.dat is without it: who makes it anew finds none of them */
		nsqd_forget_settings(t->ctx, t->name, NULL);
		/* since we are explicitly deleting a topic (not just at system exit time)
		 * de-register this from the lookupd */
		nsqd_notify(t->ctx, t->name, NULL, true, !t->ephemeral);
	} else {
		nsqd_logf(t->ctx, LG_INFO, "TOPIC(%s): closing", t->name);
	}
	chan_close(t->exit_chan);
	/* synchronize the close of messagePump() */
	wait_group_wait(&t->wait_group);

	size_t lost;
	bool ok = end_channels(t, deleted, &lost);
	if (deleted) {
		message_drain_chan(t->memory_msg_chan);
	} else {
		if (t->undone > 0 && lost == 0)
			topic_settle(t); /* else the next start finds these once more */
		flush(t);
	}
	struct backend_queue *q = take_backend(t);
	int rc = deleted ? q->ops->delete (q, err) : q->ops->close(q, err);
	rc |= end_log(t, deleted, err);
	if (rc == 0 && !ok && deleted)
		rc = err_set(err, EIO, "the files of a channel could not be removed");
	return rc == 0 ? EXIT_DONE : EXIT_FAILED;
}

enum exit_result topic_delete(struct topic *t, struct err *err)
{
	return topic_exit(t, true, err);
}

enum exit_result topic_close(struct topic *t, struct err *err)
{
	return topic_exit(t, false, err);
}
