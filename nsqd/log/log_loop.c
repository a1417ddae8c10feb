/* SPDX-License-Identifier: MIT */
/*
 * The thread of a log: group commit. No Go file: stock has no log. log_loop is the thread
 * "log:TOPIC"; the other functions run in their callers' threads.
 *
 * The thread starts with the first append, and ends when the log has been left alone for a while. It
 * takes all requests of the list in one go; append_chan says that there are some. So publishers that
 * wait at the same time share one write and one fdatasync: that is group commit. Each is answered on a
 * chan of its own, or by a call where nobody waits. If no thread is to be had, each publisher that
 * waits commits for itself.
 */
#include "nsqd/log/log_loop.h"

#include <stdio.h>

#include "common/check.h"
#include "common/clock.h"
#include "nsqd/log/log_append.h"
#include "nsqd/log/log_health.h"
#include "nsqd/log/log_internal.h"

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

void log_requests_free(struct log_request *r)
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
	/* A caller that wakes it without the lock sees that, or its signal is seen here. */
	atomic_store(&l->has_thread, false);
	if (l->pending == 0 && chan_len(l->wake_chan) == 0)
		done = true;
	else
		atomic_store(&l->has_thread, true);
	mutex_unlock(&l->lock);
	chan_send(l->turn_chan, NULL);
	log_requests_free(unused);
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

/* One more request for the thread, which is told of the first. */
static void give_to_thread(struct log *l, struct log_request *r)
{
	r->next = NULL;
	mutex_lock(&l->lock);
	bool first = !l->first;
	*l->last = r;
	l->last = &r->next;
	l->n_waiting++;
	mutex_unlock(&l->lock);
	if (first)
		chan_signal(l->append_chan);
}

/* Those that wait, most at most: how many. Of others there is a signal. */
static size_t take_requests(struct log *l, struct log_request **reqs, size_t most)
{
	size_t n = 0;
	mutex_lock(&l->lock);
	for (struct log_request *r = l->first; r && n < most; r = r->next)
		reqs[n++] = r;
	l->n_waiting -= n;
	l->first = n > 0 ? reqs[n - 1]->next : l->first;
	if (!l->first)
		l->last = &l->first;
	bool more = l->first;
	mutex_unlock(&l->lock);
	if (more)
		chan_signal(l->append_chan);
	return n;
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
			chan_case_recv(l->append_chan, NULL),
			chan_case_tick(&patience),
		};
		if (chan_select(cases, 2) != 0)
			break;
		n += take_requests(l, reqs + n, LOG_REQS_MAX - n);
	}
	p->in_vain = n < p->expected ? p->in_vain + (p->in_vain < IN_VAIN_MAX) : 0;
	p->skip = p->in_vain > 0 ? 1u << p->in_vain : 0;
	return n;
}

/* Behind this a request is its thread's again; or it is over. */
static void answer_all(struct log *l, struct log_request *const *reqs, size_t n)
{
	size_t over = 0, kept = 0;
	for (size_t i = 0; i < n; i++) {
		over += reqs[i]->done != NULL;
		kept += reqs[i]->done != NULL && reqs[i]->rc == 0;
	}
	if (kept > 0 && l->settle)
		l->settle(l->tick_arg);
	mutex_lock(&l->lock);
	l->pending -= over;
	mutex_unlock(&l->lock);
	for (size_t i = 0; i < n; i++) {
		struct log_request *r = reqs[i];
		if (!r->done) {
			chan_send(r->response_chan, NULL);
			continue;
		}
		r->done(r->done_arg, r->rc != 0 ? &r->err : NULL);
		log_request_put(l, r);
	}
}

static void serve(struct log *l, struct pace *p)
{
	struct log_request *reqs[LOG_REQS_MAX];
	size_t n = take_requests(l, reqs, LOG_REQS_MAX);
	if (n == 0)
		return;
	n = await_others(l, reqs, n, p);
	chan_recv(l->turn_chan, NULL);
	int64_t begun = clock_mono_ns();
	log_commit(l, reqs, n);
	chan_send(l->turn_chan, NULL);
	p->answered_ns = clock_mono_ns();
	p->took_ns = p->answered_ns - begun;
	mutex_lock(&l->lock);
	size_t expected = n + l->n_waiting;
	mutex_unlock(&l->lock);
	p->expected = expected < LOG_REQS_MAX ? expected : LOG_REQS_MAX;
	answer_all(l, reqs, n);
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
	struct ticker ticker;
	struct idle idle = {0};
	struct pace pace = {0};
	bool wanted = true;
	ticker_start(&ticker, l->tick_ns);
	for (;;) {
		struct chan_case cases[N_CASES] = {
			[APPEND] = chan_case_recv(l->append_chan, NULL),
			[WAKE] = chan_case_recv(l->wake_chan, NULL),
			[TICK] = chan_case_tick(&ticker),
			[EXIT] = chan_case_recv(l->exit_chan, NULL),
		};
		switch (chan_select(cases, N_CASES)) {
		case APPEND:
			serve(l, &pace);
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

/* --- appends -------------------------------------------------------------------------------------- */

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
	give_to_thread(l, r);
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

void log_commit_one(struct log *l, struct log_request *r)
{
	if (!commit_alone(l, r))
		send_and_wait(l, r);
}

int log_begin_commit(struct log *l, struct log_request *r, struct err *err)
{
	mutex_lock(&l->lock);
	int rc = start_locked(l, err);
	l->pending += rc == 0;
	mutex_unlock(&l->lock);
	if (rc == 0)
		give_to_thread(l, r);
	return rc;
}
