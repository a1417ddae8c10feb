/* SPDX-License-Identifier: MIT */
/*
 * What a topic with a log and its channels share. No Go file: stock has no log. tick runs in the
 * thread "log:TOPIC"; the other functions run in their callers' threads.
 *
 * One thread at a time is the flusher, which writes cursors' files: the one that has received the
 * value of turn_chan. It is log:TOPIC in tick, or a thread whose channel leaves. Only the flusher
 * takes members out of the list, and it does that with the lock held as well. Others only add them, at
 * the front, with the lock held: so the flusher gets the first one under the lock, and walks on
 * without, while it blocks on the disk. A new channel waits for nothing: its topic's lock is held
 * meanwhile, and everybody needs that.
 */
#include "nsqd/log/topic_log.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/chan.h"
#include "common/check.h"
#include "common/clock.h"
#include "common/xalloc.h"

#define SUFFIX ".cursor"
#define TMP_SUFFIX ".cursor.tmp"
/* No channel can have this name. */
#define TOPIC_CURSOR ":topic" SUFFIX
#define SYNC_TIMEOUT_NS (2 * NSEC_PER_SEC)

struct topic_log {
	/* immutable */
	char *topic;
	int dir; /* the data path */
	const struct lg *lg;
	const struct log_io *io;
	struct log *log;
	struct chan *turn_chan;    /* capacity 1, one value: the turn to be the flusher */
	_Atomic bool touched;      /* a tick will come, and has not begun */
	_Atomic bool thread_fails; /* for that, and it is logged */
	uint64_t begin, end;       /* the numbers that the log had when it was opened */
	struct log_mover *mover;
	/* set before anything is appended */
	size_t (*kept)(
		void *arg, const char *channel, bool moved, struct message *const *msgs, size_t n);
	void *kept_arg;
	bool started;
	bool (*tick)(void *arg); /* the topic's queue's, with kept_arg; the flusher's */

	struct mutex lock;
	/* guarded by lock */
	struct cursor
		*handed;    /* what is in the channels is finished there, up to handed_to at most */
	uint64_t handed_to; /* all before it is in the channels */
	size_t n_unsaved;   /* members without a file: then handed stays where it is */

	struct topic_log_members members;

	struct topic_log_mark mark; /* of handed */
	uint64_t cursor_bytes;      /* that cursors have written */
	size_t failing_cursors;
	/* the flusher's */
	bool closed;  /* there is nothing to flush any more */
	bool closing; /* a channel has left that comes again: what it wants must not be forgotten */
	/* the log's writer's; then of who closes */
	bool failing;                                    /* fared has said so */
	void (*fared)(void *arg, const struct err *err); /* immutable, as its arg is */
	void *fared_arg;
};

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

/* --- the flusher ---------------------------------------------------------------------------------- */

static void take_turn(struct topic_log *tl)
{
	chan_recv(tl->turn_chan, NULL);
}

static void give_turn(struct topic_log *tl)
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
 * The topic's cursor goes on only if each channel has its file: so after a crash no message is taken
 * for handed to a channel of which nothing is known.
 */
static void move_handed_locked(struct topic_log *tl)
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

static int flush_member(struct topic_log *tl, struct topic_log_member *m, struct err *err)
{
	int rc = flush(tl, m->channel, m->cursor, m->lock, &m->mark, err);
	if (rc != 0 || m->saved)
		return rc;
	m->saved = true;
	mutex_lock(&tl->lock);
	tl->n_unsaved--;
	move_handed_locked(tl);
	mutex_unlock(&tl->lock);
	return 0;
}

static int flush_handed(struct topic_log *tl, struct err *err)
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
static uint64_t least_floor(struct topic_log *tl)
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
 * are those of now, and not of what the files say: what is below was finished, and where the disk is
 * full a cursor cannot be written until a segment has gone. Each is that of before its flush: so else
 * the files know of each copy that stands for a message whose segment goes. The topic's cursor is
 * written last, behind those of its channels.
 *
 * True: something could not be written. *more: the mover is to be asked once more.
 */
static bool flush_all(struct topic_log *tl, bool *more)
{
	struct err err;
	uint64_t handed, floor;
	bool again = false;
	struct topic_log_member *m = begin_flush(tl, &handed);
	for (floor = handed; m; m = m->next) {
		uint64_t f = floor_of(m->cursor, m->lock);
		floor = f < floor ? f : floor;
		again |= flush_member(tl, m, &err) != 0;
		if (m->tick)
			again |= m->tick(m->arg);
	}
	if (tl->tick)
		again |= tl->tick(tl->kept_arg);
	log_count_wanted(tl->log, floor);
	again |= flush_handed(tl, &err) != 0;
	again |= forget(tl, floor) != 0;
	*more = tl->started && log_mover_tick(tl->mover, handed);
	return again;
}

static bool tick(void *arg)
{
	struct topic_log *tl = arg;
	bool again = false, more = false;
	/* What happens from here on asks for a tick anew. */
	atomic_store(&tl->touched, false);
	take_turn(tl);
	/* Before the start there are channels to come, whose messages must not be forgotten. */
	if (!tl->closed)
		again = !tl->started || flush_all(tl, &more);
	give_turn(tl);
	return again || more || atomic_load(&tl->touched);
}

int topic_log_flush(struct topic_log *tl)
{
	bool more;
	take_turn(tl);
	bool failed = flush_all(tl, &more);
	give_turn(tl);
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

/* --- members -------------------------------------------------------------------------------------- */

static void report(struct topic_log *tl, const char *what, const struct cursor_found *f)
{
	if (f->damaged)
		topic_log_logf(tl, LG_ERROR,
			"LOG(%s): the cursor of %s is damaged (%lld bytes): messages come again",
			tl->topic, what, (long long)f->damaged_bytes);
	if (f->beyond > 0)
		topic_log_logf(tl, LG_WARN,
			"LOG(%s): the cursor of %s knew of messages that the log has lost",
			tl->topic, what);
}

/* The cursor of a channel that was there when the daemon ended. NULL with err set; ENOENT: it was not. */
static struct cursor *open_old(struct topic_log *tl, const struct cursor_opts *o, struct err *err)
{
	struct cursor_found found;
	struct log_stats s;
	log_get_stats(tl->log, &s);
	struct cursor *c = cursor_open(o, s.first, s.next, &found, err);
	if (!c) {
		if (err->code == ENOENT)
			err->code = EIO;
		return NULL;
	}
	if (found.missing) {
		cursor_free(c);
		err_set(err, ENOENT, "there is no %s", o->file);
		return NULL;
	}
	report(tl, o->channel, &found);
	return c;
}

int topic_log_join(struct topic_log *tl, const char *channel, struct topic_log_member *m,
	uint64_t *handed, struct err *err)
{
	struct err why;
	char *file = xasprintf("%s" SUFFIX, channel);
	struct cursor_opts o = {.io = tl->io,
		.dir = log_dir(tl->log),
		.file = file,
		.topic = tl->topic,
		.channel = channel};
	m->saved = false;
	m->muted = true;
	m->mark = (struct topic_log_mark){0};
	m->cursor = tl->started ? NULL : open_old(tl, &o, &why);
	m->old = m->cursor != NULL;
	bool failed = !tl->started && !m->cursor && why.code != ENOENT;
	if (!failed) {
		mutex_lock(&tl->members.lock);
		mutex_lock(&tl->lock);
		*handed = tl->handed_to;
		tl->n_unsaved++;
		mutex_unlock(&tl->lock);
		if (!m->cursor)
			m->cursor = cursor_new(&o, *handed);
		m->next = tl->members.first;
		tl->members.first = m;
		mutex_unlock(&tl->members.lock);
	}
	free(file);
	if (failed)
		return err_set(err, why.code, "LOG(%s): %s", tl->topic, why.msg);
	topic_log_touch(tl);
	return 0;
}

void topic_log_listen(struct topic_log *tl, struct topic_log_member *m)
{
	mutex_lock(&tl->members.lock);
	m->muted = false;
	mutex_unlock(&tl->members.lock);
}

void topic_log_mute(struct topic_log *tl, struct topic_log_member *m)
{
	take_turn(tl);
	m->tick = NULL;
	give_turn(tl);
	mutex_lock(&tl->members.lock);
	m->muted = true;
	mutex_unlock(&tl->members.lock);
}

/* The messages are for one channel alone: it lets them wait, and the others are done with them. */
static void tell_alone(
	struct topic_log *tl, const char *channel, struct message *const *msgs, size_t n)
{
	mutex_lock(&tl->members.lock);
	for (struct topic_log_member *m = tl->members.first; m; m = m->next)
		if (!m->muted)
			m->ops->alone(m->arg, strcmp(m->channel, channel) == 0, msgs, n);
	mutex_unlock(&tl->members.lock);
	topic_log_touch(tl);
}

int topic_log_append_alone(struct topic_log *tl, const char *channel, struct message *const *msgs,
	size_t n, struct err *err)
{
	if (!tl->started)
		return err_set(err, 0, "LOG(%s): the log is not open", tl->topic);
	return log_append_copies(tl->log, channel, msgs, n, err);
}

int topic_log_leave(struct topic_log *tl, struct topic_log_member *m, bool remove, struct err *err)
{
	take_turn(tl);
	mutex_lock(&tl->members.lock);
	struct topic_log_member **p = &tl->members.first;
	while (*p != m)
		p = &(*p)->next;
	*p = m->next;
	log_mover_left_locked(tl->mover, m);
	mutex_lock(&tl->lock);
	/* Where its file is left, but could not be written, the topic's cursor stays where it is. */
	if (remove && !m->saved) {
		tl->n_unsaved--;
		move_handed_locked(tl);
	}
	mutex_unlock(&tl->lock);
	mutex_unlock(&tl->members.lock);
	tl->closing |= !remove;
	int rc = remove ? cursor_remove(m->cursor, err) : flush_member(tl, m, err);
	if (m->mark.failing) {
		mutex_lock(&tl->lock);
		tl->failing_cursors--;
		mutex_unlock(&tl->lock);
	}
	cursor_free(m->cursor);
	m->cursor = NULL;
	give_turn(tl);
	/* Segments may go. */
	(void)topic_log_touch(tl);
	return rc;
}

void topic_log_met(struct topic_log *tl, const struct log_item *item)
{
	/* Of what this process has written each channel has been told. */
	if (item->seq >= tl->end)
		return;
	if (item->origin == 0) {
		tell_alone(tl, item->channel, &item->msg, 1);
		return;
	}
	mutex_lock(&tl->members.lock);
	struct topic_log_member *m = tl->members.first;
	while (m && strcmp(m->channel, item->channel) != 0)
		m = m->next;
	/* One that is new would take what another one of its name has left. */
	if (m && m->old && !m->muted)
		m->ops->met(m->arg, item);
	mutex_unlock(&tl->members.lock);
}

/* --- opening and closing -------------------------------------------------------------------------- */

static int open_handed(struct topic_log *tl, struct err *err)
{
	struct cursor_found found;
	struct log_stats s;
	struct cursor_opts o = {.io = tl->io,
		.dir = log_dir(tl->log),
		.file = TOPIC_CURSOR,
		.topic = tl->topic,
		.channel = ""};
	log_get_stats(tl->log, &s);
	tl->begin = s.first;
	tl->end = s.next;
	tl->handed = cursor_open(&o, s.first, s.next, &found, err);
	if (!tl->handed)
		return -1;
	tl->handed_to = cursor_floor(tl->handed);
	report(tl, "the topic", &found);
	return 0;
}

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

static size_t kept(
	void *arg, const char *channel, bool moved, struct message *const *msgs, size_t n)
{
	struct topic_log *tl = arg;
	if (channel && moved)
		log_mover_kept(tl->mover, msgs, n);
	else if (channel)
		tell_alone(tl, channel, msgs, n);
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
	give_turn(tl);
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
		.tick = tick,
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
	if (open_handed(tl, err) != 0) {
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

/* The cursors in the directory. */
struct files {
	char **names;
	size_t n;
};

static bool ends_with(const char *s, const char *end)
{
	size_t n = strlen(s), k = strlen(end);
	return n > k && strcmp(s + n - k, end) == 0;
}

static void add_file(void *arg, const char *name)
{
	struct files *f = arg;
	if (strcmp(name, TOPIC_CURSOR) == 0 || strcmp(name, TOPIC_CURSOR ".tmp") == 0 ||
		(!ends_with(name, SUFFIX) && !ends_with(name, TMP_SUFFIX)))
		return;
	f->names = xreallocarray(f->names, f->n + 1, sizeof(*f->names));
	f->names[f->n++] = xstrdup(name);
}

static int list_files(struct topic_log *tl, struct files *f, struct err *err)
{
	*f = (struct files){0};
	if (tl->io->list(tl->io, log_dir(tl->log), add_file, f) == 0)
		return 0;
	return err_errno(err, errno, "LOG(%s): list", tl->topic);
}

static void free_files(struct files *f)
{
	for (size_t i = 0; i < f->n; i++)
		free(f->names[i]);
	free(f->names);
}

int topic_log_each_channel(struct topic_log *tl, void (*fn)(void *arg, const char *channel),
	void *arg, struct err *err)
{
	struct files f;
	int rc = list_files(tl, &f, err);
	for (size_t i = 0; i < f.n; i++) {
		if (!ends_with(f.names[i], SUFFIX))
			continue;
		f.names[i][strlen(f.names[i]) - strlen(SUFFIX)] = '\0';
		fn(arg, f.names[i]);
	}
	free_files(&f);
	return rc;
}

/* Is it the file of a channel that is open, or what will be? */
static bool is_open(struct topic_log *tl, const char *file)
{
	for (const struct topic_log_member *m = tl->members.first; m; m = m->next) {
		const char *own = cursor_file_name(m->cursor);
		size_t n = strlen(own);
		if (strncmp(file, own, n) == 0 &&
			(file[n] == '\0' || strcmp(file + n, ".tmp") == 0))
			return true;
	}
	return false;
}

int topic_log_start(struct topic_log *tl, struct err *err)
{
	struct files f;
	CHECK(tl->kept && !tl->started);
	take_turn(tl);
	int rc = list_files(tl, &f, err);
	bool any = false;
	for (size_t i = 0; rc == 0 && i < f.n; i++) {
		if (is_open(tl, f.names[i]))
			continue;
		any = true;
		if (tl->io->unlink(tl->io, log_dir(tl->log), f.names[i]) != 0 && errno != ENOENT)
			rc = err_errno(err, errno, "LOG(%s): remove %s", tl->topic, f.names[i]);
	}
	/* Else what they say would be taken for true of other messages, after a loss of power. */
	if (rc == 0 && any && tl->io->sync_dir(tl->io, log_dir(tl->log)) != 0)
		rc = err_errno(err, errno, "LOG(%s): fsync", tl->topic);
	free_files(&f);
	tl->started = rc == 0;
	if (rc == 0)
		log_count_wanted(tl->log, least_floor(tl));
	/* Not before: what its reader may meet for a channel alone needs that channel. */
	if (rc == 0 && tl->tick)
		(void)tl->tick(tl->kept_arg);
	give_turn(tl);
	topic_log_touch(tl);
	return rc;
}

void topic_log_set_queue(struct topic_log *tl,
	size_t (*fn)(
		void *arg, const char *channel, bool moved, struct message *const *msgs, size_t n),
	bool (*fn_tick)(void *arg), void *arg)
{
	CHECK(!tl->started);
	take_turn(tl);
	tl->kept = fn;
	tl->kept_arg = arg;
	tl->tick = fn_tick;
	give_turn(tl);
}

void topic_log_unset_queue(struct topic_log *tl)
{
	take_turn(tl);
	tl->tick = NULL;
	log_mover_end(tl->mover);
	give_turn(tl);
	/* (Not with the turn: the writer of the log takes it, and the mover waits for that.) */
	log_mover_wait(tl->mover);
}

int topic_log_append(struct topic_log *tl, struct message *const *msgs, size_t n, size_t *in_memory,
	struct err *err)
{
	size_t ignored;
	CHECK(tl->started);
	return log_append_telling(tl->log, msgs, n, in_memory ? in_memory : &ignored, err);
}

void topic_log_handed_locked(struct topic_log *tl, uint64_t upto)
{
	mutex_assert_held(&tl->lock);
	if (tl->handed_to < upto)
		tl->handed_to = upto;
	move_handed_locked(tl);
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
	take_turn(tl);
	CHECK(!tl->members.first);
	int rc = flush ? flush_handed(tl, err) : 0;
	cursor_free(tl->handed);
	tl->handed = NULL;
	tl->closed = true;
	give_turn(tl);
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
