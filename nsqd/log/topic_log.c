/* SPDX-License-Identifier: MIT */
/*
 * What a topic with a log and its channels share: opening and closing, appends, and how far the log has
 * been handed out. No Go file: stock has no log. The thread that writes the log runs fared and kept; the
 * other functions run in their callers' threads. topic_log_internal.h names the other parts.
 */
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "common/check.h"
#include "common/clock.h"
#include "common/xalloc.h"
#include "nsqd/log/topic_log_internal.h"

#define SYNC_TIMEOUT_NS (2 * NSEC_PER_SEC)

void topic_log_logf(const struct topic_log *tl, enum lg_level level, const char *fmt, ...)
{
	va_list ap;
	if (!tl->lg)
		return;
	va_start(ap, fmt);
	lg_vlogf(tl->lg, level, fmt, ap);
	va_end(ap);
}

struct log *topic_log_log(struct topic_log *tl)
{
	return tl->log;
}

const struct log_io *topic_log_io(const struct topic_log *tl)
{
	return tl->io;
}

struct mutex *topic_log_lock(struct topic_log *tl)
{
	return &tl->lock;
}

struct cursor *topic_log_cursor(struct topic_log *tl)
{
	return tl->handed;
}

void topic_log_read_only(const struct topic_log *tl, struct log_opts *out)
{
	*out = (struct log_opts){
		.dir = tl->dir, .topic = tl->topic, .read_only = true, .io = tl->io};
}

void topic_log_found(const struct topic_log *tl, uint64_t *begin, uint64_t *end)
{
	*begin = tl->begin;
	*end = tl->end;
}

void topic_log_get_moves(struct topic_log *tl, struct topic_log_moves *out)
{
	log_mover_get_stats(tl->mover, out);
}

const char *topic_log_name(const struct topic_log *tl)
{
	return tl->topic;
}

/* --- opening and closing -------------------------------------------------------------------------- */

static void free_topic_log(struct topic_log *tl)
{
	if (tl->failing && tl->fared)
		tl->fared(tl->fared_arg, NULL);
	chan_free(tl->turn_chan);
	mutex_destroy(&tl->lock);
	mutex_destroy(&tl->members.lock);
	free(tl->topic);
	free(tl);
}

static void fared(void *arg, const struct err *err)
{
	struct topic_log *tl = arg;
	tl->failing = err != NULL;
	if (tl->fared)
		tl->fared(tl->fared_arg, err);
}

/* Appends are kept that nobody waits for. */
static void settle(void *arg)
{
	topic_log_save_members(arg);
}

static size_t kept(
	void *arg, const char *channel, bool moved, struct message *const *msgs, size_t n)
{
	struct topic_log *tl = arg;
	if (channel && moved)
		log_mover_kept(tl->mover, msgs, n);
	if (channel)
		topic_log_tell_alone(tl, channel, moved, msgs, n);
	return tl->kept(tl->kept_arg, channel, moved, msgs, n);
}

static void touch(void *arg)
{
	topic_log_touch(arg);
}

int topic_log_open(const struct topic_log_opts *o, struct topic_log **out, struct err *err)
{
	struct topic_log *tl = xcalloc(1, sizeof(*tl));
	tl->topic = xstrdup(o->topic);
	tl->dir = o->dir;
	tl->lg = o->lg;
	tl->io = o->io ? o->io : &log_io_real;
	tl->fared = o->fared;
	tl->fared_arg = o->fared_arg;
	tl->turn_chan = chan_new(0, 1);
	topic_log_give_turn(tl);
	atomic_init(&tl->touched, false);
	atomic_init(&tl->thread_fails, false);
	mutex_init(&tl->lock, RANK_TOPIC_LOG);
	mutex_init(&tl->members.lock, RANK_TOPIC_MEMBERS);
	struct log_opts opts = {.dir = o->dir,
		.topic = o->topic,
		.disk = o->disk,
		.segment_bytes = o->segment_bytes,
		.lg = o->lg,
		.io = o->io,
		.tick = topic_log_tick,
		.settle = settle,
		.tick_arg = tl,
		.tick_ns = o->sync_timeout > 0 ? o->sync_timeout : SYNC_TIMEOUT_NS,
		.kept = kept,
		.kept_arg = tl,
		.fared = fared,
		.fared_arg = tl};
	if (log_open(&opts, &tl->log, err) != 0) {
		free_topic_log(tl);
		return -1;
	}
	if (topic_log_open_handed(tl, err) != 0) {
		log_close(tl->log);
		free_topic_log(tl);
		return -1;
	}
	struct log_mover_opts mover = {.log = tl->log,
		.topic = tl->topic,
		.io = tl->io,
		.lg = tl->lg,
		.members = &tl->members,
		.end = tl->end,
		.behind = o->move_behind,
		.touch = touch,
		.arg = tl};
	tl->mover = log_mover_new(&mover);
	*out = tl;
	return 0;
}

int topic_log_start(struct topic_log *tl, struct err *err)
{
	CHECK(tl->kept && !tl->started);
	topic_log_take_turn(tl);
	int rc = topic_log_remove_strays(tl, err);
	tl->started = rc == 0;
	if (rc == 0)
		log_count_wanted(tl->log, topic_log_least_floor(tl));
	/* Not before: what its reader may meet for a channel alone needs that channel. */
	if (rc == 0 && tl->tick)
		(void)tl->tick(tl->kept_arg);
	topic_log_give_turn(tl);
	topic_log_touch(tl);
	return rc;
}

void topic_log_set_queue(struct topic_log *tl,
	size_t (*fn)(
		void *arg, const char *channel, bool moved, struct message *const *msgs, size_t n),
	bool (*fn_tick)(void *arg), void *arg)
{
	CHECK(!tl->started);
	topic_log_take_turn(tl);
	tl->kept = fn;
	tl->kept_arg = arg;
	tl->tick = fn_tick;
	topic_log_give_turn(tl);
}

void topic_log_unset_queue(struct topic_log *tl)
{
	topic_log_take_turn(tl);
	tl->tick = NULL;
	log_mover_end(tl->mover);
	topic_log_give_turn(tl);
	/* (Not with the turn: the writer of the log takes it, and the mover waits for that.) */
	log_mover_wait(tl->mover);
}

int topic_log_append(struct topic_log *tl, struct message *const *msgs, size_t n, size_t *in_memory,
	struct err *err)
{
	size_t ignored;
	CHECK(tl->started);
	int rc = log_append_telling(tl->log, msgs, n, in_memory ? in_memory : &ignored, err);
	if (rc == 0)
		topic_log_save_members(tl);
	return rc;
}

int topic_log_begin_append(struct topic_log *tl, struct message *const *msgs, size_t n,
	void (*done)(void *arg, const struct err *err), void *arg, struct err *err)
{
	CHECK(tl->started);
	return log_begin_append(tl->log, msgs, n, done, arg, err);
}

void topic_log_handed_locked(struct topic_log *tl, uint64_t upto)
{
	mutex_assert_held(&tl->lock);
	if (tl->handed_to < upto)
		tl->handed_to = upto;
	topic_log_move_handed_locked(tl);
}

void topic_log_handed(struct topic_log *tl, uint64_t upto)
{
	mutex_lock(&tl->lock);
	topic_log_handed_locked(tl, upto);
	mutex_unlock(&tl->lock);
	(void)topic_log_touch(tl);
}

int topic_log_set_disk(struct topic_log *tl, bool disk, struct err *err)
{
	return log_set_disk(tl->log, tl->dir, disk, err);
}

uint64_t topic_log_handed_upto(struct topic_log *tl)
{
	mutex_lock(&tl->lock);
	uint64_t upto = tl->handed_to;
	mutex_unlock(&tl->lock);
	return upto;
}

/* After this tick does nothing. */
static int end_flushing(struct topic_log *tl, bool flush, struct err *err)
{
	topic_log_take_turn(tl);
	CHECK(!tl->members.first);
	int rc = flush ? topic_log_flush_handed(tl, err) : 0;
	cursor_free(tl->handed);
	tl->handed = NULL;
	tl->closed = true;
	topic_log_give_turn(tl);
	return rc;
}

int topic_log_close(struct topic_log *tl, struct err *err)
{
	int rc = end_flushing(tl, true, err);
	log_mover_free(tl->mover);
	log_close(tl->log);
	free_topic_log(tl);
	return rc;
}

int topic_log_delete(struct topic_log *tl, struct err *err)
{
	end_flushing(tl, false, err);
	log_mover_free(tl->mover);
	int rc = log_delete(tl->log, tl->dir, err);
	free_topic_log(tl);
	return rc;
}

/* --- what is there -------------------------------------------------------------------------------- */

void topic_log_cursor_stats_locked(struct log *l, struct cursor *c, uint64_t floor,
	const struct topic_log_mark *mark, struct topic_log_cursor_stats *out)
{
	struct log_held held = log_get_held(l, floor);
	*out = (struct topic_log_cursor_stats){
		.floor = floor,
		.held_bytes = held.bytes,
		.holds_oldest = held.oldest,
		.waiting = cursor_waiting(c),
		.file_bytes = mark->file.size,
		.failing = mark->failing,
	};
	if (floor >= held.next)
		return;
	out->unfinished = cursor_unfinished(c, held.next) - cursor_unfinished(c, floor);
	/* It may have moved since the last flush: then it is there since a moment ago. */
	out->floor_since_ns =
		mark->floor == floor && mark->since_ns != 0 ? mark->since_ns : clock_mono_ns();
}

void topic_log_get_stats(struct topic_log *tl, struct topic_log_stats *out)
{
	*out = (struct topic_log_stats){0};
	log_get_stats(tl->log, &out->log);
	mutex_lock(&tl->lock);
	topic_log_cursor_stats_locked(tl->log, tl->handed, tl->handed_to, &tl->mark, &out->handed);
	out->cursor_bytes = tl->cursor_bytes;
	out->failing_cursors = tl->failing_cursors;
	mutex_unlock(&tl->lock);
}
