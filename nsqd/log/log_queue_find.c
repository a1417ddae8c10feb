/* SPDX-License-Identifier: MIT */
/*
 * One message of a channel with a log, by its id; and those that wait for their time, to be looked at.
 * No Go file: stock has no log. Runs in the threads of HTTP connections.
 *
 * A cursor knows numbers, and no ids. So a message is searched for in the log itself, which the thread
 * opens for itself, to read only: no queue waits for it. What was found may have moved on meanwhile.
 * So it is settled under the owner's lock, by its number, only if it is still where it was found.
 *
 * Ids of a topic grow with time, as numbers do. So the first id of each segment says in which one a
 * message would be. Publishers that come at once may change places; hence that one's neighbours are
 * read as well. Copies are at another place than their ids say. They are found among those that wait,
 * if they are among the first.
 */
#include "nsqd/log/log_queue.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/xalloc.h"
#include "nsqd/log/log_queue_internal.h"

/* So many entries of a cursor are looked at under one lock. */
#define STEP 256
/* How often a thread that waits for lq:NAME looks whether that is still there. */
#define LOOK_NS (50 * NSEC_PER_MSEC)
/* So often. It may be waiting for the disk, and the visitor holds what others wait for. */
#define VISIT_TRIES 10
/* So many records at the beginning of a segment are looked at for one that is no copy. */
#define HEADS 64

/* --- the batch ------------------------------------------------------------------------------------ */

static bool is_running(struct log_queue *q)
{
	mutex_lock(q->lock);
	bool running = q->running;
	mutex_unlock(q->lock);
	return running;
}

static void add_pending(struct log_queue *q, bool more)
{
	mutex_lock(q->lock);
	q->pending += more ? 1 : (size_t)-1;
	mutex_unlock(q->lock);
}

/* Without the thread there is no batch. Gives up if it does not come in time. */
static void visit(struct log_queue *q, struct lq_visit *v)
{
	struct ticker look;
	bool sent = false;
	v->done_chan = chan_new(0, 1);
	/* From now on it does not end. */
	add_pending(q, true);
	for (int i = 0; i < VISIT_TRIES && !sent && is_running(q); i++) {
		ticker_after(&look, LOOK_NS);
		struct chan_case cases[] = {
			chan_case_send(q->visit_chan, &v), chan_case_tick(&look)};
		sent = chan_select(cases, 2) == 0;
	}
	if (sent)
		chan_recv(v->done_chan, NULL);
	add_pending(q, false);
	chan_free(v->done_chan);
}

void log_queue_see_batch(struct backend_queue *base, struct message_views *out)
{
	struct lq_visit v = {.see = out};
	visit(log_queue_of(base), &v);
}

struct message *log_queue_take_read(struct backend_queue *base, struct message_id id)
{
	struct lq_visit v = {.id = id};
	visit(log_queue_of(base), &v);
	return v.taken;
}

/* --- what waits ----------------------------------------------------------------------------------- */

static int by_due(const void *a, const void *b)
{
	const struct cursor_entry *x = a, *y = b;
	if (x->due != y->due)
		return x->due < y->due ? -1 : 1;
	return x->seq < y->seq ? -1 : x->seq > y->seq;
}

static int by_seq(const void *a, const void *b)
{
	const struct cursor_entry *x = a, *y = b;
	return x->seq < y->seq ? -1 : x->seq > y->seq;
}

/* The first `max` that are due; owned. */
struct first_waiting {
	struct cursor_entry *v; /* room for twice as many */
	size_t n, max;
	bool more; /* there are others */
};

static void keep_first(struct first_waiting *f)
{
	qsort(f->v, f->n, sizeof(*f->v), by_due);
	if (f->n <= f->max)
		return;
	f->n = f->max;
	f->more = true;
}

static void add_waiting(struct first_waiting *f, const struct cursor_entry *e)
{
	/* Once more than enough were seen, the first max are in order. */
	if (f->more && by_due(e, &f->v[f->max - 1]) > 0)
		return;
	f->v[f->n++] = *e;
	if (f->n == 2 * f->max)
		keep_first(f);
}

/*
 * In steps, lest others wait for the lock: what moves meanwhile may be missed, or seen twice. Those
 * that are due at once are not asked for by who looks: they count as ready.
 */
static struct first_waiting list_first(struct log_queue *q, size_t max, bool back)
{
	struct first_waiting f = {.max = max};
	struct cursor_entry some[STEP];
	size_t at = 0, n;
	f.v = xreallocarray(NULL, 2 * max, sizeof(*f.v));
	do {
		mutex_lock(q->lock);
		n = cursor_list_waiting(q->cursor, &at, 0, UINT64_MAX, some, STEP);
		mutex_unlock(q->lock);
		for (size_t i = 0; i < n; i++)
			if (back || some[i].due != 0)
				add_waiting(&f, &some[i]);
	} while (n == STEP);
	keep_first(&f);
	qsort(f.v, f.n, sizeof(*f.v), by_seq);
	return f;
}

/* --- the log, for who only reads it ---------------------------------------------------------------- */

struct own_log {
	struct log_opts opts; /* topic is owned */
	struct log *log;      /* NULL: not open yet */
	struct log_reader *reader;
};

static void name_log(struct own_log *o, const struct log_queue *q)
{
	topic_log_read_only(q->tl, &o->opts);
	o->opts.topic = xstrdup(o->opts.topic);
}

static int open_log(struct own_log *o, struct err *err)
{
	if (log_open(&o->opts, &o->log, err) != 0)
		return -1;
	o->reader = log_reader_open(o->log, 1, 0);
	return 0;
}

static void close_log(struct own_log *o)
{
	log_reader_close(o->reader);
	log_close(o->log);
	free((char *)o->opts.topic);
}

/* The message of the entry, with its attempts. NULL: it has gone; or err is set. */
static struct message *read_entry(
	struct own_log *o, const struct cursor_entry *e, const char *channel, struct err *err)
{
	struct log_item item;
	enum log_read what = log_read_at(o->reader, e->seq, e->offset, &item, err);
	if (what != LOG_READ_MESSAGE)
		return NULL;
	if (item.channel && strcmp(item.channel, channel) != 0) {
		message_unref(item.msg);
		return NULL;
	}
	if (e->attempts > item.msg->attempts)
		item.msg->attempts = e->attempts;
	return item.msg;
}

/* --- looking at what waits ------------------------------------------------------------------------- */

struct waiting_look {
	struct backend_look base;
	struct own_log own;
	struct first_waiting first;
	char *channel;     /* owned */
	int64_t offset_ns; /* from the monotonic clock to that of the entries */
};

static int views_by_due(const void *a, const void *b)
{
	const struct message_view *x = a, *y = b;
	return x->due_ns < y->due_ns ? -1 : x->due_ns > y->due_ns;
}

static int read_waiting(struct backend_look *base, struct message_views *out, struct err *err)
{
	struct waiting_look *l = (struct waiting_look *)base;
	size_t begin = out->n;
	struct err why = {0};
	if (open_log(&l->own, err) != 0)
		return err->code == ENOENT ? 1 : -1;
	for (size_t i = 0; i < l->first.n && !*why.msg; i++) {
		const struct cursor_entry *e = &l->first.v[i];
		struct message *m = read_entry(&l->own, e, l->channel, &why);
		if (!m)
			continue;
		m->due_ns = e->due == INT64_MAX ? INT64_MAX : e->due - l->offset_ns;
		lq_see(m, out);
	}
	qsort(out->v + begin, out->n - begin, sizeof(*out->v), views_by_due);
	if (*why.msg)
		*err = why;
	return *why.msg ? -1 : 0;
}

static void free_waiting(struct backend_look *base)
{
	struct waiting_look *l = (struct waiting_look *)base;
	close_log(&l->own);
	free(l->first.v);
	free(l->channel);
	free(l);
}

struct backend_look *log_queue_look_waiting(struct backend_queue *base, size_t max)
{
	struct log_queue *q = log_queue_of(base);
	struct first_waiting first = list_first(q, max, false);
	if (first.n == 0) {
		free(first.v);
		return NULL;
	}
	struct waiting_look *l = xcalloc(1, sizeof(*l));
	l->base = (struct backend_look){.read = read_waiting, .free = free_waiting};
	l->first = first;
	l->channel = xstrdup(q->channel);
	name_log(&l->own, q);
	mutex_lock(q->lock);
	l->offset_ns = q->offset_ns;
	mutex_unlock(q->lock);
	return &l->base;
}

/* --- by id ----------------------------------------------------------------------------------------- */

struct log_find {
	struct own_log own;
	struct first_waiting first;
	char *channel;     /* owned */
	uint64_t next, to; /* what is to be read: numbers from next to to - 1 */
};

struct log_find *log_queue_find(struct backend_queue *base)
{
	struct log_queue *q = log_queue_of(base);
	struct log_find *f = xcalloc(1, sizeof(*f));
	f->first = list_first(q, LOG_FIND_WAITING, true);
	f->channel = xstrdup(q->channel);
	name_log(&f->own, q);
	mutex_lock(q->lock);
	f->next = q->behind ? q->next : q->to;
	f->to = q->to;
	mutex_unlock(q->lock);
	return f;
}

void log_find_free(struct log_find *f)
{
	close_log(&f->own);
	free(f->first.v);
	free(f->channel);
	free(f);
}

/* *found, owned: among the first that are due. -1: some could not be read. */
static int find_waiting(struct log_find *f, struct message_id id, struct message **found)
{
	struct err err = {0};
	for (size_t i = 0; i < f->first.n; i++) {
		struct message *m = read_entry(&f->own, &f->first.v[i], f->channel, &err);
		if (m && message_id_equal(m->id, id)) {
			*found = m;
			return 0;
		}
		if (m)
			message_unref(m);
	}
	return *err.msg ? -1 : 0;
}

/* Does that segment begin with ids that are greater? One without an answer does not. */
static bool begins_behind(struct own_log *o, uint64_t first, struct message_id id)
{
	struct log_item item;
	struct err err;
	int order = 0;
	log_reader_seek(o->reader, first, 0);
	for (int i = 0; i < HEADS && order == 0; i++) {
		enum log_read what = log_reader_next(o->reader, &item, &err);
		if (what != LOG_READ_MESSAGE && what != LOG_READ_GAP)
			break;
		if (what != LOG_READ_MESSAGE)
			continue;
		if (!item.channel)
			order = memcmp(item.msg->id.hex, id.hex, sizeof(id.hex)) > 0 ? 1 : -1;
		message_unref(item.msg);
	}
	return order > 0;
}

static uint64_t segment_first(struct own_log *o, size_t i)
{
	uint64_t first;
	int64_t bytes;
	return log_get_segment(o->log, i, &first, &bytes) ? first : UINT64_MAX;
}

/* The numbers of the segment in which such a message would be, and of its neighbours. */
static void find_range(struct own_log *o, struct message_id id, uint64_t *from, uint64_t *to)
{
	struct log_stats s;
	log_get_stats(o->log, &s);
	size_t low = 0, high = s.segments;
	while (high - low > 1) {
		size_t mid = low + (high - low) / 2;
		if (begins_behind(o, segment_first(o, mid), id))
			high = mid;
		else
			low = mid;
	}
	*from = s.segments > 0 ? segment_first(o, low > 0 ? low - 1 : 0) : s.next;
	*to = low + 2 < s.segments ? segment_first(o, low + 2) : s.next;
}

static int find_in_log(struct log_find *f, struct message_id id, uint64_t from, uint64_t to,
	struct message **found)
{
	struct log_item item;
	struct err err;
	log_reader_seek(f->own.reader, from, 0);
	while (log_reader_seq(f->own.reader) < to) {
		switch (log_reader_next(f->own.reader, &item, &err)) {
		case LOG_READ_ERROR:
			return -1;
		case LOG_READ_END:
			return 0;
		case LOG_READ_GAP:
			continue;
		case LOG_READ_MESSAGE:
			break;
		}
		if (message_id_equal(item.msg->id, id) &&
			(!item.channel || strcmp(item.channel, f->channel) == 0)) {
			*found = item.msg;
			return 0;
		}
		message_unref(item.msg);
	}
	return 0;
}

enum log_found_by_id log_find_read(struct log_find *f, struct message_id id, struct message **m)
{
	struct err err;
	uint64_t from, to;
	bool behind = f->next < f->to;
	*m = NULL;
	if (f->first.n == 0 && !behind)
		return GONE_BY_ID;
	if (open_log(&f->own, &err) != 0)
		return err.code == ENOENT ? GONE_BY_ID : UNKNOWN_BY_ID;
	bool unknown = find_waiting(f, id, m) != 0;
	if (*m)
		return FOUND_BY_ID;
	if (!behind && !f->first.more)
		return unknown ? UNKNOWN_BY_ID : GONE_BY_ID;
	find_range(&f->own, id, &from, &to);
	unknown |= find_in_log(f, id, from, to, m) != 0;
	if (*m)
		return FOUND_BY_ID;
	/* All that is to be read was in there, and all that waits was looked at. */
	unknown |= f->first.more || (behind && (f->next < from || f->to > to));
	return unknown ? UNKNOWN_BY_ID : NOT_BY_ID;
}

/* --- settling -------------------------------------------------------------------------------------- */

static int64_t due_after_locked(const struct log_queue *q, int64_t delay_ns)
{
	int64_t due;
	if (delay_ns == 0)
		return 0;
	return __builtin_add_overflow(lq_now_locked(q), delay_ns, &due) ? INT64_MAX : due;
}

/* e was taken out of what waits. */
static void settle_waiting_locked(
	struct log_queue *q, struct cursor_entry *e, uint32_t len, int64_t delay_ns)
{
	bool was_back = e->due == 0;
	q->zero -= was_back;
	if (delay_ns < 0) {
		cursor_finished(q->cursor, e->seq);
		lq_count(q, (struct lq_change){
				    .back = -(int64_t)was_back, .waiting_bytes = -(int64_t)len});
		lq_tell_due_locked(q);
		return;
	}
	int64_t due = due_after_locked(q, delay_ns);
	if (lq_wait_again_locked(q, e, due))
		lq_count(q, (struct lq_change){.back = (due == 0) - was_back});
}

static enum log_settled settle_unread_locked(
	struct log_queue *q, struct message *m, int64_t delay_ns)
{
	bool wanted = cursor_wants(q->cursor, m->seq);
	if (cursor_is_finished(q->cursor, m->seq) || (wanted && m->seq >= q->to))
		return LOG_OVER;
	if (!wanted || !q->behind || m->seq < q->next || m->seq < q->read_to)
		return LOG_ELSEWHERE;
	uint16_t attempts = cursor_attempts(q->cursor, m->seq);
	if (attempts > m->attempts)
		m->attempts = attempts;
	if (delay_ns < 0)
		cursor_finished(q->cursor, m->seq);
	else
		lq_wait_locked(q, m, due_after_locked(q, delay_ns));
	lq_count(q, (struct lq_change){.unread = -1, .unread_bytes = -(int64_t)m->body->len});
	return LOG_SETTLED;
}

enum log_settled log_queue_settle(struct backend_queue *base, struct message *m, int64_t delay_ns)
{
	struct log_queue *q = log_queue_of(base);
	enum log_settled done = LOG_SETTLED;
	struct cursor_entry e;
	bool start = false;
	size_t at = 0;
	int found = 0;
	while (found == 0) {
		mutex_lock(q->lock);
		found = cursor_take_waiting(q->cursor, &at, STEP, m->seq, &e);
		if (found > 0)
			settle_waiting_locked(q, &e, m->body->len, delay_ns);
		else if (found < 0)
			done = settle_unread_locked(q, m, delay_ns);
		start = found != 0 && lq_wake_locked(q);
		mutex_unlock(q->lock);
	}
	if (start)
		(void)lq_start(q);
	return done;
}

void log_queue_flush(struct backend_queue *base)
{
	struct log_queue *q = log_queue_of(base);
	if (topic_log_flush(q->tl) != 0)
		lq_touch(q);
}
