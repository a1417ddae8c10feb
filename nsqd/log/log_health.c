/* SPDX-License-Identifier: MIT */
/*
 * How the commits of a log fare, for operators. No Go file: stock has no log. The writer counts. The
 * thread log:TOPIC, and publishers that wait, look whether a commit takes long: the writer cannot
 * say so while the disk holds it.
 */
#include "nsqd/log/log_health.h"

#include "nsqd/log/log_segment.h"

/* What is worth a line. */
enum { NEWS_FARED = 1, NEWS_SLOW = 2 };

int64_t log_health_begin(struct log *l)
{
	int64_t start = clock_mono_ns();
	mutex_lock(&l->lock);
	l->stats.commit_since_ns = start;
	mutex_unlock(&l->lock);
	return start;
}

/* --- failing -------------------------------------------------------------------------------------- */

bool log_health_is_failing(struct log *l)
{
	mutex_lock(&l->lock);
	bool is = l->stats.failing_since_ns != 0;
	mutex_unlock(&l->lock);
	return is;
}

/* True: it is worth a line. Another text for the same error is not. */
static bool note_failure_locked(struct log *l, const struct err *err)
{
	struct log_stats *s = &l->stats;
	bool news = s->failing_since_ns == 0 || s->last_failure.code != err->code;
	mutex_assert_held(&l->lock);
	if (s->failing_since_ns == 0)
		s->failing_since_ns = clock_mono_ns();
	s->last_failure = *err;
	return news;
}

static bool note_success_locked(struct log *l)
{
	bool news = l->stats.failing_since_ns != 0;
	mutex_assert_held(&l->lock);
	l->stats.failing_since_ns = 0;
	l->stats.last_failure = (struct err){0};
	return news;
}

/* --- slow ----------------------------------------------------------------------------------------- */

void log_health_tick(struct log *l, int64_t since_ns)
{
	mutex_lock(&l->lock);
	l->tick_since_ns = since_ns;
	mutex_unlock(&l->lock);
}

int64_t log_health_since_locked(struct log *l)
{
	mutex_assert_held(&l->lock);
	if (l->stats.commit_since_ns != 0)
		return l->stats.commit_since_ns;
	return l->pending > 0 ? l->tick_since_ns : 0;
}

/* How long the slowest commit has taken, as far as it has come; 0: there is nothing new. */
static int64_t note_slow_locked(struct log *l, int64_t now)
{
	int64_t since = log_health_since_locked(l);
	if (since != 0 && now - since >= LOG_SLOW_NS) {
		l->slow_end_ns = now;
		if (l->slowest_ns < now - since)
			l->slowest_ns = now - since;
	}
	if (l->slow || l->slowest_ns < LOG_SLOW_NS)
		return 0;
	l->slow = true;
	return l->slowest_ns;
}

/* The same, when no commit has been slow for a while. */
static int64_t note_fast_locked(struct log *l, int64_t now)
{
	int64_t ns = l->slowest_ns;
	if (!l->slow || now - l->slow_end_ns < LOG_WELL_NS)
		return 0;
	l->slow = false;
	l->slowest_ns = 0;
	return ns;
}

void log_health_look(struct log *l)
{
	char text[32];
	int64_t now = clock_mono_ns();
	mutex_lock(&l->lock);
	int64_t slow = note_slow_locked(l, now);
	int64_t fast = slow == 0 ? note_fast_locked(l, now) : 0;
	mutex_unlock(&l->lock);
	if (slow > 0)
		log_logf(l, LG_WARN, "LOG(%s): the disk is slow, a commit takes %s and more",
			l->topic, duration_format(slow, text, sizeof(text)));
	if (fast > 0)
		log_logf(l, LG_INFO, "LOG(%s): the disk is fast again, the slowest commit took %s",
			l->topic, duration_format(fast, text, sizeof(text)));
}

/* --- the end of a commit -------------------------------------------------------------------------- */

static void count_locked(struct log *l, int rc, int64_t start_ns)
{
	int64_t now = clock_mono_ns();
	l->stats.commits++;
	l->stats.failed_commits += rc != 0;
	l->stats.commit_since_ns = 0;
	latency_add(&l->stats.commit_times, now - start_ns);
	if (now - start_ns < LOG_SLOW_NS)
		return;
	l->slow_end_ns = now;
	if (l->slowest_ns < now - start_ns)
		l->slowest_ns = now - start_ns;
}

int log_health_note_locked(struct log *l, int rc, const struct err *err, int64_t start_ns)
{
	mutex_assert_held(&l->lock);
	if (start_ns != 0)
		count_locked(l, rc, start_ns);
	l->stats.syncs += l->syncs;
	l->stats.failed_syncs += l->failed_syncs;
	l->syncs = l->failed_syncs = 0;
	bool fared = rc != 0 ? note_failure_locked(l, err) : note_success_locked(l);
	return (fared ? NEWS_FARED : 0) | (l->slowest_ns > 0 ? NEWS_SLOW : 0);
}

void log_health_tell(struct log *l, int rc, const struct err *err, int news)
{
	if (news & NEWS_SLOW)
		log_health_look(l);
	if (!(news & NEWS_FARED))
		return;
	if (rc != 0)
		log_logf(l, LG_ERROR, "LOG(%s): failed to commit - %s", l->topic, err->msg);
	else
		log_logf(l, LG_INFO, "LOG(%s): commits again", l->topic);
	if (l->fared)
		l->fared(l->fared_arg, rc != 0 ? err : NULL);
}
