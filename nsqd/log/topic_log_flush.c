/* SPDX-License-Identifier: MIT */
/*
 * The flusher of a topic with a log. No Go file: stock has no log. topic_log_tick runs in the thread
 * "log:TOPIC"; the other functions run in their callers' threads.
 *
 * One thread at a time is the flusher, which writes cursors' files: the one that has received the
 * value of turn_chan. It is log:TOPIC in its tick, or a thread whose channel leaves. Only the flusher
 * takes members out of the list, and it does that with the lock held as well. Others only add them, at
 * the front, with the lock held. So the flusher gets the first one under the lock. Then it walks on
 * without the lock, while it blocks on the disk. A new channel waits for nothing: its topic's lock is held
 * meanwhile, and everybody needs that.
 */
#include <stdatomic.h>

#include "common/clock.h"
#include "nsqd/log/log_loop.h"
#include "nsqd/log/log_remove.h"
#include "nsqd/log/topic_log_internal.h"

void topic_log_take_turn(struct topic_log *tl)
{
	chan_recv(tl->turn_chan, NULL);
}

void topic_log_give_turn(struct topic_log *tl)
{
	chan_send(tl->turn_chan, NULL);
}

/* Notes how far a cursor has come, and how its file fares. True: whether it fails is news. */
static bool note_locked(struct cursor *c, uint64_t floor, struct topic_log_mark *mark, int rc)
{
	bool news = mark->failing != (rc != 0);
	if (mark->since_ns == 0 || mark->floor != floor)
		mark->since_ns = clock_mono_ns();
	mark->floor = floor;
	mark->file = cursor_file_stats(c);
	mark->failing = rc != 0;
	return news;
}

/* channel: whose cursor it is; NULL: the topic's. Says once that it fails, until it works again. */
static int flush(struct topic_log *tl, const char *channel, struct cursor *c, struct mutex *lock,
	struct topic_log_mark *mark, struct err *err)
{
	uint64_t before = cursor_file_stats(c).written;
	const char *of = channel ? channel : "the topic", *what = channel ? "channel " : "";
	int rc = cursor_flush(c, lock, err);
	mutex_lock(lock);
	uint64_t floor = channel ? cursor_floor(c) : tl->handed_to;
	bool news = note_locked(c, floor, mark, rc);
	mutex_unlock(lock);
	mutex_lock(&tl->lock);
	tl->cursor_bytes += cursor_file_stats(c).written - before;
	if (news)
		tl->failing_cursors += rc != 0 ? 1 : (size_t)-1;
	mutex_unlock(&tl->lock);
	if (news && rc != 0)
		topic_log_logf(tl, LG_ERROR, "LOG(%s): failed to write the cursor of %s%s - %s",
			tl->topic, what, of, err->msg);
	else if (news)
		topic_log_logf(tl, LG_INFO, "LOG(%s): the cursor of %s%s is written again",
			tl->topic, what, of);
	return rc;
}

/*
 * The topic's cursor goes on only if each channel has its file. So after a crash no message is taken
 * for handed to a channel of which nothing is known.
 */
void topic_log_move_handed_locked(struct topic_log *tl)
{
	uint64_t floor = cursor_floor(tl->handed);
	mutex_assert_held(&tl->lock);
	if (tl->n_unsaved == 0 && floor < tl->handed_to)
		cursor_finished_range(tl->handed, floor, tl->handed_to);
	/* What is for one channel alone is finished before its turn comes. */
	floor = cursor_floor(tl->handed);
	if (tl->handed_to < floor)
		tl->handed_to = floor;
}

int topic_log_flush_member(struct topic_log *tl, struct topic_log_member *m, struct err *err)
{
	int rc = flush(tl, m->channel, m->cursor, m->lock, &m->mark, err);
	if (rc != 0 || m->saved)
		return rc;
	m->saved = true;
	mutex_lock(&tl->lock);
	tl->n_unsaved--;
	topic_log_move_handed_locked(tl);
	mutex_unlock(&tl->lock);
	return 0;
}

int topic_log_flush_handed(struct topic_log *tl, struct err *err)
{
	return flush(tl, NULL, tl->handed, &tl->lock, &tl->mark, err);
}

static uint64_t floor_of(struct cursor *c, struct mutex *lock)
{
	mutex_lock(lock);
	uint64_t floor = cursor_floor(c);
	mutex_unlock(lock);
	return floor;
}

/* The first member, and what the topic has handed to all. */
static struct topic_log_member *begin_flush(struct topic_log *tl, uint64_t *handed)
{
	mutex_lock(&tl->members.lock);
	struct topic_log_member *m = tl->members.first;
	mutex_lock(&tl->lock);
	*handed = tl->handed_to;
	mutex_unlock(&tl->lock);
	mutex_unlock(&tl->members.lock);
	return m;
}

/* Nobody wants what is before. With the turn. */
uint64_t topic_log_least_floor(struct topic_log *tl)
{
	uint64_t floor;
	for (struct topic_log_member *m = begin_flush(tl, &floor); m; m = m->next) {
		uint64_t f = floor_of(m->cursor, m->lock);
		floor = f < floor ? f : floor;
	}
	return floor;
}

/*
 * Removes what nobody wants. While the topic opens or closes, not all who may want something are
 * members.
 */
static int forget(struct topic_log *tl, uint64_t floor)
{
	struct err err;
	if (!tl->started || tl->closing || log_forget(tl->log, floor, &err) == 0)
		return 0;
	topic_log_logf(tl, LG_ERROR, "LOG(%s): %s", tl->topic, err.msg);
	return -1;
}

/*
 * The place of the topic comes first: a channel that joins later begins there or behind. The floors
 * are those of now, and not of what the files say. What is below was finished; and where the disk is
 * full a cursor cannot be written until a segment has gone. Each is that of before its flush: so else
 * the files know of each copy that stands for a message whose segment goes. And what is being copied
 * stays. The topic's cursor is written last, behind those of its channels.
 *
 * True: something could not be written. *more: the mover is to be asked once more.
 */
static bool flush_all(struct topic_log *tl, bool *more)
{
	struct err err;
	uint64_t handed, floor;
	bool again = false;
	log_mover_begin_flush(tl->mover);
	struct topic_log_member *m = begin_flush(tl, &handed);
	for (floor = handed; m; m = m->next) {
		uint64_t f = floor_of(m->cursor, m->lock);
		floor = f < floor ? f : floor;
		again |= topic_log_flush_member(tl, m, &err) != 0;
		if (m->tick)
			again |= m->tick(m->arg);
	}
	if (tl->tick)
		again |= tl->tick(tl->kept_arg);
	log_count_wanted(tl->log, floor);
	again |= topic_log_flush_handed(tl, &err) != 0;
	uint64_t held = log_mover_held(tl->mover);
	again |= forget(tl, held < floor ? held : floor) != 0;
	*more = tl->started && log_mover_tick(tl->mover, handed);
	return again;
}

bool topic_log_tick(void *arg)
{
	struct topic_log *tl = arg;
	bool again = false, more = false;
	/* What happens from here on asks for a tick anew. */
	atomic_store(&tl->touched, false);
	topic_log_take_turn(tl);
	/* Before the start there are channels to come, whose messages must not be forgotten. */
	if (!tl->closed)
		again = !tl->started || flush_all(tl, &more);
	topic_log_give_turn(tl);
	return again || more || atomic_load(&tl->touched);
}

void topic_log_save_members(struct topic_log *tl)
{
	struct err err;
	uint64_t handed;
	mutex_lock(&tl->lock);
	bool any = tl->n_unsaved > 0 && tl->failing_cursors == 0;
	mutex_unlock(&tl->lock);
	if (!any)
		return;
	topic_log_take_turn(tl);
	for (struct topic_log_member *m = begin_flush(tl, &handed); m; m = m->next) {
		if (!m->saved)
			(void)topic_log_flush_member(tl, m, &err);
	}
	topic_log_give_turn(tl);
}

int topic_log_flush(struct topic_log *tl)
{
	bool more;
	topic_log_take_turn(tl);
	bool failed = flush_all(tl, &more);
	topic_log_give_turn(tl);
	return failed ? -1 : 0;
}

int topic_log_touch(struct topic_log *tl)
{
	struct err err;
	if (atomic_load(&tl->touched) || atomic_exchange(&tl->touched, true))
		return 0;
	int rc = log_wake(tl->log, &err);
	if (rc != 0)
		atomic_store(&tl->touched, false);
	if (atomic_load(&tl->thread_fails) == (rc != 0))
		return rc;
	if (atomic_exchange(&tl->thread_fails, rc != 0) == (rc != 0))
		return rc;
	if (rc != 0)
		topic_log_logf(tl, LG_ERROR, "LOG(%s): the cursors are not written - %s", tl->topic,
			err.msg);
	else
		topic_log_logf(tl, LG_INFO, "LOG(%s): the cursors are written again", tl->topic);
	return rc;
}

bool topic_log_has_failed(const struct topic_log *tl)
{
	return atomic_load(&tl->thread_fails);
}

bool topic_log_touch_running(struct topic_log *tl)
{
	if (atomic_load(&tl->touched) || atomic_exchange(&tl->touched, true))
		return true;
	if (log_wake_running(tl->log))
		return true;
	atomic_store(&tl->touched, false);
	return false;
}
