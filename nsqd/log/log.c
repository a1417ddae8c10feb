/* SPDX-License-Identifier: MIT */
/*
 * The log of a topic: its interface, and its thread. No Go file: stock has no log. log_loop is the
 * thread "log:TOPIC"; the other functions run in their callers' threads.
 *
 * The thread starts with the first append, and ends when the log has been left alone for a while. It
 * takes all requests that wait on append_chan in one go. So publishers that wait at the same time
 * share one write and one fdatasync: that is group commit. Each is answered on a chan of its own. If
 * no thread is to be had, each publisher commits for itself.
 *
 * Lessons in docs/course/: 23-log.
 */
#include "nsqd/log/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "common/clock.h"
#include "common/xalloc.h"
#include "nsqd/core/message_count.h"
#include "nsqd/log/log_append.h"
#include "nsqd/log/log_health.h"
#include "nsqd/log/log_internal.h"
#include "nsqd/log/log_recover.h"
#include "nsqd/log/log_segment.h"

#define SUFFIX ".log"
/* What is being deleted; no topic can have such a name. */
#define DELETED_SUFFIX ".log:deleted"
/* Without any append for this long, the thread ends. */
#define IDLE_NS (2 * NSEC_PER_SEC)

/* How long the thread waits for others at most: a part of what the last commit took, and no more. */
#define PATIENCE_PART 4
#define PATIENCE_NS (2 * NSEC_PER_MSEC)
/* After so many times in vain it tries once in 2^IN_VAIN_MAX commits. */
#define IN_VAIN_MAX 7

/* How the commits follow each other. Of the thread. */
struct pace {
	int64_t answered_ns, took_ns; /* the last one */
	size_t expected;  /* requests: those of the last one, and those that waited then */
	unsigned in_vain; /* waits in a row after which not all were there */
	unsigned skip;    /* commits until the next wait */
};

/* How many commits there had been, since when. */
struct idle {
	uint64_t commits;
	int64_t since_ns;
};

/* --- log:TOPIC ------------------------------------------------------------------------------------ */

static void free_requests(struct log_request *r)
{
	while (r) {
		struct log_request *next = r->next;
		log_request_free(r);
		r = next;
	}
}

/* Nobody waits for the thread, and all is written: it ends. */
static bool retire(struct log *l)
{
	bool done = false;
	chan_recv(l->turn_chan, NULL);
	log_rest(l);
	mutex_lock(&l->lock);
	struct log_request *unused = l->free_reqs;
	l->free_reqs = NULL;
	l->n_free_reqs = 0;
	/* Who wakes it without the lock sees that, or its signal is seen here. */
	atomic_store(&l->has_thread, false);
	if (l->pending == 0 && chan_len(l->wake_chan) == 0)
		done = true;
	else
		atomic_store(&l->has_thread, true);
	mutex_unlock(&l->lock);
	chan_send(l->turn_chan, NULL);
	free_requests(unused);
	return done;
}

/* Has there been no commit since the last look, for a while? */
static bool is_idle(struct log *l, struct idle *idle)
{
	int64_t now = clock_mono_ns();
	mutex_lock(&l->lock);
	uint64_t commits = l->stats.commits;
	mutex_unlock(&l->lock);
	if (commits != idle->commits || idle->since_ns == 0)
		*idle = (struct idle){commits, now};
	return now - idle->since_ns >= IDLE_NS;
}

/*
 * Publishers that have just been answered come again, mostly at once. If others wait by then, the
 * thread would write those alone, and the first ones after that, in turns. So it gives them a moment
 * to come back, a part of what the last commit took: then all share each sync. Where that moment is
 * too short it is given ever more rarely. A publisher that is alone never waits for it.
 */
static size_t await_others(struct log *l, struct log_request **reqs, size_t n, struct pace *p)
{
	struct ticker patience;
	int64_t left = p->answered_ns + p->took_ns / PATIENCE_PART - clock_mono_ns();
	if (!log_syncs(l) || n >= p->expected || left <= 0)
		return n;
	if (p->skip > 0) {
		p->skip--;
		return n;
	}
	ticker_after(&patience, left < PATIENCE_NS ? left : PATIENCE_NS);
	while (n < p->expected) {
		struct chan_case cases[] = {
			chan_case_recv_n(l->append_chan, reqs + n, LOG_REQS_MAX - n),
			chan_case_tick(&patience),
		};
		if (chan_select(cases, 2) != 0)
			break;
		n += cases[0].n;
	}
	p->in_vain = n < p->expected ? p->in_vain + (p->in_vain < IN_VAIN_MAX) : 0;
	p->skip = p->in_vain > 0 ? 1u << p->in_vain : 0;
	return n;
}

static void serve(struct log *l, struct log_request **reqs, size_t n, struct pace *p)
{
	n = await_others(l, reqs, n, p);
	chan_recv(l->turn_chan, NULL);
	int64_t begun = clock_mono_ns();
	log_commit(l, reqs, n);
	chan_send(l->turn_chan, NULL);
	p->answered_ns = clock_mono_ns();
	p->took_ns = p->answered_ns - begun;
	size_t expected = n + chan_len(l->append_chan);
	p->expected = expected < LOG_REQS_MAX ? expected : LOG_REQS_MAX;
	/* Behind this a request is its thread's again. */
	for (size_t i = 0; i < n; i++)
		chan_send(reqs[i]->response_chan, NULL);
}

static bool do_tick(struct log *l)
{
	log_health_tick(l, clock_mono_ns());
	bool again = l->tick(l->tick_arg);
	log_health_tick(l, 0);
	return again;
}

/* The last commit has failed: would one succeed? True: no, so the thread stays. */
static bool try_again(struct log *l)
{
	if (!log_health_is_failing(l))
		return false;
	chan_recv(l->turn_chan, NULL);
	bool fails = log_health_is_failing(l) && log_probe(l) != 0;
	chan_send(l->turn_chan, NULL);
	return fails;
}

static void log_loop(void *arg)
{
	enum { APPEND, WAKE, TICK, EXIT, N_CASES };
	struct log *l = arg;
	struct log_request *reqs[LOG_REQS_MAX];
	struct ticker ticker;
	struct idle idle = {0};
	struct pace pace = {0};
	bool wanted = true;
	ticker_start(&ticker, l->tick_ns);
	for (;;) {
		struct chan_case cases[N_CASES] = {
			[APPEND] = chan_case_recv_n(l->append_chan, reqs, LOG_REQS_MAX),
			[WAKE] = chan_case_recv(l->wake_chan, NULL),
			[TICK] = chan_case_tick(&ticker),
			[EXIT] = chan_case_recv(l->exit_chan, NULL),
		};
		switch (chan_select(cases, N_CASES)) {
		case APPEND:
			serve(l, reqs, cases[APPEND].n, &pace);
			break;
		case WAKE:
			wanted = true;
			break;
		case TICK:
			wanted = wanted && l->tick && do_tick(l);
			log_health_look(l);
			if (!try_again(l) && is_idle(l, &idle) && !wanted && retire(l))
				return;
			break;
		case EXIT:
			return;
		}
	}
}

/* Makes sure that the thread runs. -1 with err set. */
static int start_locked(struct log *l, struct err *err)
{
	char name[sizeof("log:") + LOG_NAME_MAX];
	mutex_assert_held(&l->lock);
	if (atomic_load(&l->has_thread))
		return 0;
	snprintf(name, sizeof(name), "log:%s", l->topic);
	/* A thread is created under a lock: all that wait for the lock need that thread anyway. */
	if (l->io->start(&l->wait_group, name, log_loop, l, err) != 0)
		return err_wrap(err, "LOG(%s)", l->topic);
	atomic_store(&l->has_thread, true);
	return 0;
}

bool log_wake_running(struct log *l)
{
	if (!atomic_load(&l->has_thread))
		return false;
	chan_signal(l->wake_chan);
	return atomic_load(&l->has_thread);
}

int log_wake(struct log *l, struct err *err)
{
	mutex_lock(&l->lock);
	int rc = start_locked(l, err);
	if (rc == 0)
		chan_signal(l->wake_chan);
	mutex_unlock(&l->lock);
	return rc;
}

/* --- appending ------------------------------------------------------------------------------------ */

static struct log_request *get_request(struct log *l)
{
	mutex_lock(&l->lock);
	struct log_request *r = l->free_reqs;
	if (r) {
		l->free_reqs = r->next;
		l->n_free_reqs--;
	}
	mutex_unlock(&l->lock);
	return r ? r : log_request_new();
}

static void put_request(struct log *l, struct log_request *r)
{
	mutex_lock(&l->lock);
	if (l->n_free_reqs < LOG_REQS_MAX && !log_request_is_large(r)) {
		r->next = l->free_reqs;
		l->free_reqs = r;
		l->n_free_reqs++;
		r = NULL;
	}
	mutex_unlock(&l->lock);
	if (r)
		log_request_free(r);
}

/* Where that takes long, the log of the daemon is told: the writer cannot do it. */
static void await_response(struct log *l, struct log_request *r)
{
	struct ticker slow;
	ticker_start(&slow, LOG_SLOW_NS);
	struct chan_case cases[] = {chan_case_recv(r->response_chan, NULL), chan_case_tick(&slow)};
	while (chan_select(cases, 2) != 0)
		log_health_look(l);
}

/*
 * Hands the request to the thread, and waits for its answer. Where no thread is to be had the publisher
 * is the writer, when it is its turn.
 */
static void send_and_wait(struct log *l, struct log_request *r)
{
	struct err ignored;
	mutex_lock(&l->lock);
	int rc = start_locked(l, &ignored);
	if (rc == 0)
		l->pending++;
	mutex_unlock(&l->lock);
	if (rc != 0) {
		chan_recv(l->turn_chan, NULL);
		log_commit(l, &r, 1);
		chan_send(l->turn_chan, NULL);
		return;
	}
	chan_send(l->append_chan, &r);
	await_response(l, r);
	mutex_lock(&l->lock);
	l->pending--;
	mutex_unlock(&l->lock);
}

/*
 * A write without a sync takes less time than to wake another thread for it. So a publisher that
 * finds nobody writing does it itself. The thread is there for those that find somebody, and closes
 * the file in the end.
 */
static bool commit_alone(struct log *l, struct log_request *r)
{
	struct err ignored;
	if (log_syncs(l) || chan_try_recv_n(l->turn_chan, NULL, 1, NULL) == 0)
		return false;
	mutex_lock(&l->lock);
	(void)start_locked(l, &ignored);
	mutex_unlock(&l->lock);
	log_commit(l, &r, 1);
	chan_send(l->turn_chan, NULL);
	return true;
}

static int append(struct log *l, const char *channel, struct message *const *msgs, size_t n,
	size_t *told, struct err *err)
{
	CHECK(!l->read_only);
	struct log_request *r = get_request(l);
	int rc = log_request_prepare(r, channel, msgs, n, err);
	if (rc == 0 && !commit_alone(l, r))
		send_and_wait(l, r);
	if (rc == 0 && r->rc != 0) {
		rc = -1;
		if (err)
			*err = r->err;
	}
	*told = rc == 0 ? r->told : 0;
	put_request(l, r);
	return rc;
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
	char *name = xasprintf("%s" SUFFIX, l->topic);
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
	free_requests(l->free_reqs);
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
	l->tick_arg = opts->tick_arg;
	l->kept = opts->kept;
	l->kept_arg = opts->kept_arg;
	l->fared = opts->fared;
	l->fared_arg = opts->fared_arg;
	l->tick_ns = opts->tick_ns > 0 ? opts->tick_ns : NSEC_PER_SEC;
	l->append_chan = chan_new(sizeof(struct log_request *), LOG_REQS_MAX);
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

/* --- deleting and forgetting ---------------------------------------------------------------------- */

/* Names in a directory. */
struct names {
	char **names;
	size_t n;
};

static void add_name(void *arg, const char *name)
{
	struct names *names = arg;
	names->names = xreallocarray(names->names, names->n + 1, sizeof(char *));
	names->names[names->n++] = xstrdup(name);
}

/* Removes a directory and the files in it. It is no error if there is none. */
static int remove_dir(const struct log_io *io, int parent, const char *name, struct err *err)
{
	struct names names = {0};
	int rc = 0, dir = io->open_dir(io, parent, name);
	if (dir < 0)
		return errno == ENOENT ? 0 : err_errno(err, errno, "open %s", name);
	if (io->list(io, dir, add_name, &names) != 0)
		rc = err_errno(err, errno, "list %s", name);
	for (size_t i = 0; i < names.n; i++) {
		if (io->unlink(io, dir, names.names[i]) != 0 && errno != ENOENT)
			rc = err_errno(err, errno, "remove %s/%s", name, names.names[i]);
		free(names.names[i]);
	}
	free(names.names);
	io->close(io, dir);
	/* ENOTDIR: the name is a symbolic link to where the directory is. */
	if (rc == 0 && io->rmdir(io, parent, name) != 0 &&
		(errno != ENOTDIR || io->unlink(io, parent, name) != 0))
		rc = err_errno(err, errno, "remove %s", name);
	return rc;
}

int log_delete(struct log *l, int dir, struct err *err)
{
	const struct log_io *io = l->io;
	bool disk = log_syncs(l);
	char *name = xasprintf("%s" SUFFIX, l->topic);
	char *deleted = xasprintf("%s" DELETED_SUFFIX, l->topic);
	stop(l);
	log_segment_close(l);
	free_log(l);
	/* What an earlier deletion has left. */
	int rc = remove_dir(io, dir, deleted, err);
	if (rc == 0 && io->rename(io, dir, name, deleted) != 0)
		rc = err_errno(err, errno, "rename %s", name);
	if (rc == 0 && disk && io->sync_dir(io, dir) != 0)
		rc = err_errno(err, errno, "fsync");
	if (rc == 0)
		rc = remove_dir(io, dir, deleted, err);
	free(name);
	free(deleted);
	return rc;
}

int log_remove_deleted(const struct log_io *io, int dir, const char *file, struct err *err)
{
	size_t n = strlen(file), k = sizeof(DELETED_SUFFIX) - 1;
	if (n <= k || strcmp(file + n - k, DELETED_SUFFIX) != 0)
		return 0;
	return remove_dir(io ? io : &log_io_real, dir, file, err);
}

int log_put_aside(int dir, const char *topic, const char *as, struct err *err)
{
	const struct log_io *io = &log_io_real;
	char *name = xasprintf("%s" SUFFIX, topic);
	int rc = remove_dir(io, dir, as, err);
	if (rc == 0 && io->rename(io, dir, name, as) != 0)
		rc = err_errno(err, errno, "rename %s to %s", name, as);
	if (rc == 0 && io->sync_dir(io, dir) != 0)
		rc = err_errno(err, errno, "fsync");
	free(name);
	return rc;
}

void log_skip_to(struct log *l, uint64_t seq)
{
	mutex_lock(&l->lock);
	if (seq > l->next) {
		log_logf(l, LG_WARN, "LOG(%s): numbers from %llu to %llu are known and not there",
			l->topic, (unsigned long long)l->next, (unsigned long long)seq - 1);
		l->next = seq;
		l->closed = true;
	}
	mutex_unlock(&l->lock);
}

/* The oldest segment, if nothing in it is wanted and it is not the last one. */
static bool oldest_below(struct log *l, uint64_t floor, uint64_t *first)
{
	mutex_lock(&l->lock);
	bool is = l->n_segments > 1 && l->segments[1].first <= floor;
	if (is)
		*first = l->segments[0].first;
	mutex_unlock(&l->lock);
	return is;
}

/*
 * With `disk` one segment is gone for certain before the next one goes: so after a loss of power too,
 * what is missing is the beginning. Who knows a number from where the log begins on may rely on that.
 */
int log_forget(struct log *l, uint64_t floor, struct err *err)
{
	char name[LOG_SEGMENT_NAME];
	uint64_t first;
	while (oldest_below(l, floor, &first)) {
		log_segment_name(first, name);
		if (l->removed && log_syncs(l) && l->io->sync_dir(l->io, l->dir) != 0)
			return err_errno(err, errno, "fsync");
		l->removed = true;
		if (l->io->unlink(l->io, l->dir, name) != 0 && errno != ENOENT)
			return err_errno(err, errno, "remove %s", name);
		mutex_lock(&l->lock);
		l->n_segments--;
		memmove(l->segments, l->segments + 1, l->n_segments * sizeof(*l->segments));
		mutex_unlock(&l->lock);
	}
	return 0;
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

/* --- what is there -------------------------------------------------------------------------------- */

int log_dir(const struct log *l)
{
	return l->dir;
}

void log_get_stats(struct log *l, struct log_stats *out)
{
	mutex_lock(&l->lock);
	*out = l->stats;
	out->disk = l->disk;
	out->commit_since_ns = log_health_since_locked(l);
	out->first = l->n_segments > 0 ? l->segments[0].first : l->next;
	out->next = l->next;
	out->segments = l->n_segments;
	out->bytes = 0;
	for (size_t i = 0; i < l->n_segments; i++)
		out->bytes += l->segments[i].end;
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
