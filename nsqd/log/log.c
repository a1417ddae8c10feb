/* SPDX-License-Identifier: MIT */
/*
 * The log of a topic: its interface. No Go file: stock has no log. All functions run in their callers'
 * threads; log_loop.c has that of the log, and log_internal.h names the other parts.
 *
 * Lessons in docs/course/: 23-log.
 */
#include "nsqd/log/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "common/clock.h"
#include "common/xalloc.h"
#include "nsqd/core/message_count.h"
#include "nsqd/log/log_append.h"
#include "nsqd/log/log_health.h"
#include "nsqd/log/log_internal.h"
#include "nsqd/log/log_loop.h"
#include "nsqd/log/log_names.h"
#include "nsqd/log/log_recover.h"
#include "nsqd/log/log_remove.h"
#include "nsqd/log/log_segment.h"

/* --- appending ------------------------------------------------------------------------------------ */

static int append(struct log *l, const char *channel, struct message *const *msgs, size_t n,
	size_t *told, struct err *err)
{
	CHECK(!l->read_only);
	struct log_request *r = log_request_get(l);
	r->done = NULL;
	int rc = log_request_prepare(r, channel, msgs, n, err);
	if (rc == 0)
		log_commit_one(l, r);
	if (rc == 0 && r->rc != 0) {
		rc = -1;
		if (err)
			*err = r->err;
	}
	*told = rc == 0 ? r->told : 0;
	log_request_put(l, r);
	return rc;
}

int log_begin_append(struct log *l, struct message *const *msgs, size_t n,
	void (*done)(void *arg, const struct err *err), void *arg, struct err *err)
{
	CHECK(!l->read_only);
	struct log_request *r = log_request_get(l);
	r->done = done;
	r->done_arg = arg;
	int rc = log_request_prepare(r, NULL, msgs, n, err);
	if (rc == 0)
		rc = log_begin_commit(l, r, err);
	if (rc != 0)
		log_request_put(l, r);
	return rc;
}

void log_look(struct log *l)
{
	log_health_look(l);
}

int log_append(struct log *l, struct message *const *msgs, size_t n, struct err *err)
{
	size_t ignored;
	return append(l, NULL, msgs, n, &ignored, err);
}

int log_append_telling(
	struct log *l, struct message *const *msgs, size_t n, size_t *told, struct err *err)
{
	return append(l, NULL, msgs, n, told, err);
}

int log_append_copies(
	struct log *l, const char *channel, struct message *const *msgs, size_t n, struct err *err)
{
	size_t ignored;
	return append(l, channel, msgs, n, &ignored, err);
}

/* --- opening and closing -------------------------------------------------------------------------- */

/* The log's directory, which is made where there is none. */
static int open_dir(struct log *l, int parent, struct err *err)
{
	char *name = xasprintf("%s" LOG_SUFFIX, l->topic);
	int rc = 0;
	l->dir = l->io->open_dir(l->io, parent, name);
	if (l->dir < 0 && errno == ENOENT && !l->read_only) {
		if (l->io->mkdir(l->io, parent, name) != 0)
			rc = err_errno(err, errno, "mkdir %s", name);
		else
			l->dir = l->io->open_dir(l->io, parent, name);
	}
	if (rc == 0 && l->dir < 0)
		rc = err_errno(err, errno, "open %s", name);
	free(name);
	return rc;
}

static void free_log(struct log *l)
{
	message_count_stored(-l->stored);
	log_requests_free(l->free_reqs);
	if (l->dir >= 0)
		l->io->close(l->io, l->dir);
	chan_free(l->append_chan);
	chan_free(l->turn_chan);
	chan_free(l->wake_chan);
	chan_free(l->exit_chan);
	wait_group_destroy(&l->wait_group);
	mutex_destroy(&l->lock);
	free(l->segments);
	free(l->topic);
	free(l);
}

int log_open(const struct log_opts *opts, struct log **out, struct err *err)
{
	struct log *l = xcalloc(1, sizeof(*l));
	CHECK(strlen(opts->topic) <= LOG_NAME_MAX);
	l->topic = xstrdup(opts->topic);
	l->dir = l->fd = -1;
	l->parent = opts->dir;
	atomic_init(&l->disk, opts->disk);
	l->read_only = opts->read_only;
	l->segment_bytes = opts->segment_bytes > 0 ? opts->segment_bytes : LOG_SEGMENT_BYTES;
	if (l->segment_bytes > LOG_BYTES_MAX)
		l->segment_bytes = LOG_BYTES_MAX;
	l->lg = opts->lg;
	l->io = opts->io ? opts->io : &log_io_real;
	l->tick = opts->tick;
	l->settle = opts->settle;
	l->tick_arg = opts->tick_arg;
	l->kept = opts->kept;
	l->kept_arg = opts->kept_arg;
	l->fared = opts->fared;
	l->fared_arg = opts->fared_arg;
	l->tick_ns = opts->tick_ns > 0 ? opts->tick_ns : NSEC_PER_SEC;
	l->append_chan = chan_new(0, 1);
	l->last = &l->first;
	l->turn_chan = chan_new(0, 1);
	chan_send(l->turn_chan, NULL);
	l->wake_chan = chan_new(0, 1);
	l->exit_chan = chan_new(0, 0);
	wait_group_init(&l->wait_group);
	mutex_init(&l->lock, RANK_LOG);
	if (open_dir(l, opts->dir, err) != 0 || log_recover(l, err) != 0) {
		err_wrap(err, "LOG(%s)", l->topic);
		free_log(l);
		return -1;
	}
	*out = l;
	return 0;
}

int log_set_disk(struct log *l, int dir, bool disk, struct err *err)
{
	int rc = 0;
	chan_recv(l->turn_chan, NULL);
	/* The names on the way to the segment. The next commit syncs all that is in it. */
	if (disk && !log_syncs(l) &&
		(l->io->sync_dir(l->io, dir) != 0 || l->io->sync_dir(l->io, l->dir) != 0))
		rc = err_errno(err, errno, "LOG(%s): fsync", l->topic);
	else
		atomic_store_explicit(&l->disk, disk, memory_order_relaxed);
	chan_send(l->turn_chan, NULL);
	return rc;
}

/* Ends the thread. After this the log is the caller's alone. */
static void stop(struct log *l)
{
	mutex_lock(&l->lock);
	CHECK(l->pending == 0 && !l->readers);
	mutex_unlock(&l->lock);
	chan_close(l->exit_chan);
	wait_group_wait(&l->wait_group);
	chan_recv(l->turn_chan, NULL);
}

void log_close(struct log *l)
{
	if (!l)
		return;
	stop(l);
	log_rest(l);
	free_log(l);
}

int log_delete(struct log *l, int dir, struct err *err)
{
	const struct log_io *io = l->io;
	bool disk = log_syncs(l);
	char *topic = xstrdup(l->topic);
	stop(l);
	log_segment_close(l);
	free_log(l);
	int rc = log_remove(io, dir, topic, disk, err);
	free(topic);
	return rc;
}

/* --- what is there -------------------------------------------------------------------------------- */

int log_dir(const struct log *l)
{
	return l->dir;
}

void log_get_stats(struct log *l, struct log_stats *out)
{
	mutex_lock(&l->lock);
	*out = l->stats;
	out->disk = log_syncs(l);
	out->commit_since_ns = log_health_since_locked(l);
	out->first = l->n_segments > 0 ? l->segments[0].first : l->next;
	out->next = l->next;
	out->segments = l->n_segments;
	out->bytes = 0;
	for (size_t i = 0; i < l->n_segments; i++)
		out->bytes += l->segments[i].end;
	mutex_unlock(&l->lock);
}

/* Of the i-th segment, what is wanted. */
static int64_t wanted_of_locked(const struct log *l, size_t i, uint64_t floor)
{
	const struct log_segment *s = &l->segments[i];
	uint64_t end = i + 1 < l->n_segments ? s[1].first : l->next;
	if (end <= floor || end <= s->first)
		return 0;
	if (floor <= s->first)
		return s->end;
	return (int64_t)((double)s->end * (double)(end - floor) / (double)(end - s->first));
}

static void set_stored_locked(struct log *l, int64_t bytes)
{
	mutex_assert_held(&l->lock);
	message_count_stored(bytes - l->stored);
	l->stored = bytes;
}

void log_count_wanted(struct log *l, uint64_t floor)
{
	int64_t bytes = 0;
	mutex_lock(&l->lock);
	for (size_t i = 0; i < l->n_segments; i++)
		bytes += wanted_of_locked(l, i, floor);
	set_stored_locked(l, bytes);
	mutex_unlock(&l->lock);
}

struct log_held log_get_held(struct log *l, uint64_t floor)
{
	struct log_held held = {0};
	size_t i;
	mutex_lock(&l->lock);
	held.next = l->next;
	for (i = l->n_segments; floor < l->next && i > 0; i--) {
		held.bytes += l->segments[i - 1].end;
		if (l->segments[i - 1].first <= floor)
			break;
	}
	held.oldest = floor < l->next && l->n_segments > 1 && i <= 1;
	mutex_unlock(&l->lock);
	return held;
}

bool log_get_segment(struct log *l, size_t i, uint64_t *first, int64_t *bytes)
{
	mutex_lock(&l->lock);
	bool is = i < l->n_segments;
	if (is) {
		*first = l->segments[i].first;
		*bytes = l->segments[i].end;
	}
	mutex_unlock(&l->lock);
	return is;
}
