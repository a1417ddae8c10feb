/* SPDX-License-Identifier: MIT */
/*
 * Looking at the first messages that a queue over a log has to read, where they stay. No Go file:
 * stock has no log. lq_look runs in any thread, all else in the thread that looks: no queue waits
 * for it.
 *
 * A look outlives its queue, and the log. So it copies the numbers of what there is to be seen, and
 * opens the log for itself, to read only. What has been finished meanwhile it shows all the same.
 */
#include "nsqd/log/log_queue.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/xalloc.h"
#include "nsqd/log/log_queue_internal.h"

/* So many of them at most are to be seen. */
#define NUMBERS_MAX 4096
/* Of those that came back. */
#define BACK_MAX 1024

struct log_look {
	struct backend_look base;
	struct log_opts opts; /* topic is owned */
	struct log *log;      /* NULL: not open yet */
	struct log_reader *reader;
	struct cursor_entry back[BACK_MAX]; /* to be read again; by number */
	size_t n_back, at_back;
	uint64_t *seqs; /* in the log, in order; owned */
	size_t n, at;
	uint32_t offset; /* of the first one, or 0 */
};

static void look_free(struct backend_look *base)
{
	struct log_look *l = (struct log_look *)base;
	log_reader_close(l->reader);
	log_close(l->log);
	free((char *)l->opts.topic);
	free(l->seqs);
	free(l);
}

/* --- reading -------------------------------------------------------------------------------------- */

void lq_see(struct message *take_m, struct message_views *out)
{
	struct message *m = take_m;
	size_t len = m->body->len;
	if (message_views_room(out) == 0) {
		message_unref(m);
		return;
	}
	if (len > out->body_max) {
		struct message_body *body = message_body_new(out->body_max);
		memcpy(body->data, m->body->data, out->body_max);
		m = message_new(take_m->id, body, take_m->timestamp);
		m->attempts = take_m->attempts;
		m->due_ns = take_m->due_ns;
		message_unref(take_m);
	}
	message_views_add(out, m, PLACE_DISK);
	out->v[out->n - 1].body_len = len;
	message_unref(m);
}

/* 1: the log has gone. -1 with err set. */
static int open_log(struct log_look *l, struct err *err)
{
	if (l->log)
		return 0;
	if (log_open(&l->opts, &l->log, err) != 0)
		return err->code == ENOENT ? 1 : -1;
	l->reader = log_reader_open(l->log, 1, 0);
	return 0;
}

/* A message that came back. */
static int read_back(struct log_look *l, struct message_views *out, struct err *err)
{
	const struct cursor_entry *e = &l->back[l->at_back++];
	struct log_item item;
	enum log_read what = log_read_at(l->reader, e->seq, e->offset, &item, err);
	if (what == LOG_READ_ERROR)
		return -1;
	if (what == LOG_READ_MESSAGE) {
		item.msg->attempts = e->attempts;
		lq_see(item.msg, out);
	}
	if (l->at_back == l->n_back && l->n > 0)
		log_reader_seek(l->reader, l->seqs[0], l->offset);
	return 0;
}

/* The next record of the log, which may be one that is not to be seen. */
static int read_next(struct log_look *l, struct message_views *out, struct err *err)
{
	struct log_item item;
	switch (log_reader_next(l->reader, &item, err)) {
	case LOG_READ_ERROR:
		return -1;
	case LOG_READ_END:
		l->at = l->n;
		return 0;
	case LOG_READ_GAP:
		while (l->at < l->n && l->seqs[l->at] < item.seq + item.n)
			l->at++;
		return 0;
	case LOG_READ_MESSAGE:
		break;
	}
	while (l->at < l->n && l->seqs[l->at] < item.seq)
		l->at++;
	if (l->at < l->n && l->seqs[l->at] == item.seq && !item.channel) {
		lq_see(item.msg, out);
		l->at++;
	} else {
		message_unref(item.msg);
	}
	return 0;
}

static int look_read(struct backend_look *base, struct message_views *out, struct err *err)
{
	struct log_look *l = (struct log_look *)base;
	bool begins = !l->log;
	int rc = open_log(l, err);
	if (rc == 0 && begins && l->n_back == 0)
		log_reader_seek(l->reader, l->seqs[0], l->offset);
	while (rc == 0 && message_views_room(out) > 0 && l->at_back < l->n_back)
		rc = read_back(l, out, err);
	while (rc == 0 && message_views_room(out) > 0 && l->at < l->n)
		rc = read_next(l, out, err);
	return rc;
}

/* --- what there is -------------------------------------------------------------------------------- */

static int by_seq(const void *a, const void *b)
{
	const struct cursor_entry *x = a, *y = b;
	return x->seq < y->seq ? -1 : x->seq > y->seq;
}

/* What is due at once is at the front of the heap. */
static void note_back_locked(struct log_queue *q, struct log_look *l)
{
	size_t at = 0, n;
	if (lq_is_topic(q) || q->zero == 0)
		return;
	n = cursor_list_waiting(q->cursor, &at, 0, UINT64_MAX, l->back, BACK_MAX);
	for (size_t i = 0; i < n; i++)
		if (l->back[i].due == 0)
			l->back[l->n_back++] = l->back[i];
	qsort(l->back, l->n_back, sizeof(l->back[0]), by_seq);
}

static void note_numbers_locked(struct log_queue *q, struct log_look *l)
{
	uint64_t seq = q->next;
	l->offset = q->hint == seq ? q->hint_offset : 0;
	mutex_lock(&q->count_lock);
	if (q->counts.batch_seq != 0) {
		seq = q->counts.batch_seq;
		l->offset = q->counts.batch_offset;
	}
	mutex_unlock(&q->count_lock);
	if (!lq_is_topic(q))
		seq = cursor_next_wanted(q->cursor, seq);
	while (seq < q->to && l->n < NUMBERS_MAX) {
		l->seqs[l->n++] = seq++;
		if (!lq_is_topic(q))
			seq = cursor_next_wanted(q->cursor, seq);
	}
}

struct backend_look *lq_look(struct backend_queue *base)
{
	struct log_queue *q = log_queue_of(base);
	struct log_look *l = xcalloc(1, sizeof(*l));
	l->base = (struct backend_look){.read = look_read, .free = look_free};
	l->seqs = xreallocarray(NULL, NUMBERS_MAX, sizeof(*l->seqs));
	mutex_lock(q->lock);
	note_back_locked(q, l);
	if (q->behind)
		note_numbers_locked(q, l);
	mutex_unlock(q->lock);
	topic_log_read_only(q->tl, &l->opts);
	l->opts.topic = xstrdup(l->opts.topic);
	if (l->n + l->n_back > 0)
		return &l->base;
	look_free(&l->base);
	return NULL;
}
