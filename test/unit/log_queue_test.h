/* SPDX-License-Identifier: MIT */
/*
 * What the tests of topic_log and log_queue share: a topic with a log and some channels, without the
 * daemon. The topic's pump is a function that the test calls, or a thread.
 */
#ifndef TEST_UNIT_LOG_QUEUE_TEST_H
#define TEST_UNIT_LOG_QUEUE_TEST_H

#include "test/unit/log_test.h"

#include "nsqd/log/log_queue.h"

#define CHANNELS_MAX 3

/* A channel without consumers: they are functions of the test. */
struct chan_side {
	const char *name;
	struct mutex lock;
	struct chan *memory;
	struct backend_queue *q; /* NULL: there is no such channel */
	int64_t due_at;          /* when log_queue_take_due is to be called; guarded by lock */
	struct chan *due_chan;   /* capacity 1: that has changed */
};

struct side {
	const struct log_io *io; /* NULL: the system's */
	int dir;
	bool disk;
	size_t memory_size; /* 0: no memory queue */
	int64_t segment_bytes;
	int64_t sync_timeout;
	size_t move_behind; /* 0: the default */
	bool rejoin;        /* open_side: the channel "c" joins, too, if its cursor is there */
	/* In place of the queue's; NULL: its own. */
	size_t (*kept)(
		void *arg, const char *channel, bool moved, struct message *const *msgs, size_t n);
	struct topic_log *tl;
	struct chan *memory;
	struct backend_queue *q; /* the topic's; NULL: it is closed */
	struct chan_side channels[CHANNELS_MAX];
	struct mutex map_lock; /* channels, where a pump runs in a thread of its own */
	struct chan *exit_chan;
};

static inline struct chan *new_memory(const struct side *s)
{
	return s->memory_size > 0 ? chan_new(sizeof(struct message *), s->memory_size) : NULL;
}

static inline void waits_until(void *arg, int64_t at_ns)
{
	struct chan_side *c = arg;
	c->due_at = at_ns;
	chan_signal(c->due_chan);
}

static inline struct chan_side *join_channel(struct side *s, int i, const char *name)
{
	struct chan_side *c = &s->channels[i];
	struct err err = {0};
	c->name = name;
	mutex_init(&c->lock, RANK_IN_FLIGHT);
	c->memory = new_memory(s);
	struct backend_queue *q = log_queue_new_channel(s->tl, name, &c->lock, c->memory, &err);
	if (!q)
		fail_msg("log_queue_new_channel: %s", err.msg);
	c->due_at = INT64_MAX;
	c->due_chan = chan_new(0, 1);
	log_queue_on_due(q, waits_until, c);
	mutex_lock(&s->map_lock);
	c->q = q;
	mutex_unlock(&s->map_lock);
	return c;
}

static inline void join_c(void *arg, const char *channel)
{
	if (strcmp(channel, "c") == 0)
		join_channel(arg, 2, "c");
}

/* The topic, whose channels are to join. */
static inline void open_topic(struct side *s)
{
	struct err err = {0};
	struct topic_log_opts o = {.dir = s->dir,
		.topic = "t",
		.disk = s->disk,
		.segment_bytes = s->segment_bytes,
		.lg = &test_lg,
		.io = s->io,
		.sync_timeout = s->sync_timeout,
		.move_behind = s->move_behind};
	mutex_init(&s->map_lock, RANK_TOPIC);
	s->exit_chan = chan_new(0, 0);
	if (topic_log_open(&o, &s->tl, &err) != 0)
		fail_msg("topic_log_open: %s", err.msg);
	s->memory = new_memory(s);
	s->q = log_queue_new_topic(s->tl, s->memory);
	if (s->kept)
		topic_log_set_queue(s->tl, s->kept, NULL, s->q);
}

/* All have joined: messages may be appended. */
static inline void start_side(struct side *s)
{
	struct err err = {0};
	if (topic_log_start(s->tl, &err) != 0)
		fail_msg("topic_log_start: %s", err.msg);
}

/* The topic, and channels of these names; then messages may be appended. */
static inline void open_side(struct side *s, const char *a, const char *b)
{
	struct err err = {0};
	open_topic(s);
	if (a)
		join_channel(s, 0, a);
	if (b)
		join_channel(s, 1, b);
	if (s->rejoin && topic_log_each_channel(s->tl, join_c, s, &err) != 0)
		fail_msg("topic_log_each_channel: %s", err.msg);
	start_side(s);
}

static inline void close_channel(struct side *s, int i, bool remove)
{
	struct chan_side *c = &s->channels[i];
	struct err err = {0};
	mutex_lock(&s->map_lock);
	struct backend_queue *q = c->q;
	c->q = NULL;
	mutex_unlock(&s->map_lock);
	if (!q)
		return;
	if ((remove ? q->ops->delete (q, &err) : q->ops->close(q, &err)) != 0)
		fail_msg("%s", err.msg);
	message_drain_chan(c->memory);
	chan_free(c->memory);
	chan_free(c->due_chan);
	mutex_destroy(&c->lock);
}

static inline void close_side(struct side *s)
{
	struct err err = {0};
	for (int i = 0; i < CHANNELS_MAX; i++)
		close_channel(s, i, false);
	if (s->q)
		s->q->ops->close(s->q, &err);
	if (topic_log_close(s->tl, &err) != 0)
		fail_msg("topic_log_close: %s", err.msg);
	message_drain_chan(s->memory);
	chan_free(s->memory);
	chan_free(s->exit_chan);
	mutex_destroy(&s->map_lock);
	s->memory = NULL;
}

/* --- publishers ------------------------------------------------------------------------------------ */

/* Messages [first, first + n), in one append. delay: of each, from now on (ns). */
static inline void publish_delayed(
	struct side *s, uint64_t first, size_t n, size_t len, int64_t delay)
{
	struct message **msgs = xcalloc(n, sizeof(struct message *));
	struct err err = {0};
	for (size_t i = 0; i < n; i++) {
		msgs[i] = make_message(first + i, len);
		msgs[i]->deferred_ns = delay > 0 ? clock_wall_ns() + delay - msgs[i]->timestamp : 0;
	}
	if (topic_log_append(s->tl, msgs, n, NULL, &err) != 0)
		fail_msg("topic_log_append: %s", err.msg);
	message_unref_all(msgs, n);
	free(msgs);
}

static inline void pub(struct side *s, uint64_t first, size_t n)
{
	publish_delayed(s, first, n, 40 + first % 100, 0);
}

/* The number of make_message, whatever the delay is. */
static inline uint64_t id_of(const struct message *m)
{
	char hex[MSG_ID_LENGTH + 1] = {0};
	memcpy(hex, m->id.hex, MSG_ID_LENGTH);
	uint64_t number = strtoull(hex, NULL, 16);
	assert_true(m->timestamp == BASE_TS + (int64_t)number);
	for (size_t i = 0; i < m->body->len; i++)
		assert_true((unsigned char)m->body->data[i] == body_byte(number, i));
	return number;
}

/* --- the topic's pump -------------------------------------------------------------------------------- */

/* As channel_put_locked; m is the channel's own record. */
static inline void put_message(struct chan_side *c, struct message *take_m, bool fresh)
{
	if (c->q->ops->put_messages(c->q, c->memory, &take_m, 1, fresh) == 0)
		message_unref(take_m);
}

static inline void deal(struct side *s, struct message **msgs, size_t n)
{
	uint64_t upto = msgs[n - 1]->seq + 1;
	for (size_t i = 0; i < n; i++) {
		mutex_lock(&s->map_lock);
		for (int k = 0; k < CHANNELS_MAX; k++)
			if (s->channels[k].q)
				put_message(&s->channels[k], message_copy(msgs[i]), true);
		mutex_unlock(&s->map_lock);
		message_unref(msgs[i]);
	}
	topic_log_handed(s->tl, upto);
}

/* Deals out n messages. */
static inline void pump(struct side *s, size_t n)
{
	struct message *msgs[16];
	while (n > 0) {
		struct ticker patience;
		size_t most = n < 16 ? n : 16;
		ticker_after(&patience, PATIENCE);
		struct chan_case cases[] = {chan_case_recv_n(s->memory, msgs, most),
			chan_case_recv_n(s->q->ops->read_chan(s->q), msgs, most),
			chan_case_tick(&patience)};
		int i = chan_select(cases, 3);
		assert_true(i < 2);
		deal(s, msgs, cases[i].n);
		n -= cases[i].n;
	}
}

/* The pump as a thread, until exit_chan is closed. */
static inline void pump_thread(void *arg)
{
	struct side *s = arg;
	struct message *msgs[16];
	for (;;) {
		struct chan_case cases[] = {chan_case_recv_n(s->memory, msgs, 16),
			chan_case_recv_n(s->q->ops->read_chan(s->q), msgs, 16),
			chan_case_recv(s->exit_chan, NULL)};
		int i = chan_select(cases, 3);
		if (i == 2)
			return;
		deal(s, msgs, cases[i].n);
	}
}

/* --- consumers -------------------------------------------------------------------------------------- */

/* As the scan loop: what is due comes back. Returns when the next is (monotonic). */
static inline int64_t take_due(struct chan_side *c)
{
	for (;;) {
		struct message *msgs[8];
		mutex_lock(&c->lock);
		int64_t at = c->due_at;
		mutex_unlock(&c->lock);
		if (at > clock_mono_ns())
			return at;
		size_t n = log_queue_take_due(c->q, msgs, 8);
		int64_t bytes = 0;
		for (size_t i = 0; i < n; i++)
			bytes += msgs[i]->body->len;
		size_t sent = c->q->ops->put_messages(c->q, c->memory, msgs, n, false);
		log_queue_due_done(c->q, n, bytes);
		message_unref_all(msgs + sent, n - sent);
	}
}

/* The next message, taken; NULL: none comes within ns. */
static inline struct message *take_within(struct chan_side *c, int64_t ns)
{
	struct message *m = NULL;
	struct ticker patience, due;
	ticker_after(&patience, ns);
	for (int chosen = 3; chosen >= 3;) {
		ticker_after(&due, take_due(c) - clock_mono_ns());
		struct chan_case cases[] = {chan_case_recv(c->memory, &m),
			chan_case_recv(c->q->ops->read_chan(c->q), &m), chan_case_tick(&patience),
			chan_case_tick(&due), chan_case_recv(c->due_chan, NULL)};
		chosen = chan_select(cases, 5);
		if (chosen == 2)
			return NULL;
	}
	m->attempts++;
	mutex_lock(&c->lock);
	log_queue_taken_locked(c->q, &m, 1);
	log_queue_touch(c->q);
	mutex_unlock(&c->lock);
	return m;
}

static inline struct message *take_message(struct chan_side *c)
{
	struct message *m = take_within(c, PATIENCE);
	assert_non_null(m);
	return m;
}

static inline void finish(struct chan_side *c, struct message *take_m)
{
	mutex_lock(&c->lock);
	log_queue_finished_locked(c->q, take_m);
	log_queue_touch(c->q);
	mutex_unlock(&c->lock);
	message_unref(take_m);
}

static inline void requeue(struct chan_side *c, struct message *take_m, int64_t delay)
{
	if (delay == 0) {
		put_message(c, take_m, false);
		return;
	}
	log_queue_wait_for(c->q, take_m, delay);
	message_unref(take_m);
}

/* The next n messages are first, first + 1, ...; they are finished. */
static inline void expect_finish(struct chan_side *c, uint64_t first, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct message *m = take_message(c);
		if (id_of(m) != first + i)
			fail_msg("%llu instead of %llu", (unsigned long long)id_of(m),
				(unsigned long long)(first + i));
		assert_int_equal(m->attempts, 1);
		finish(c, m);
	}
}

static inline void expect_nothing(struct chan_side *c)
{
	struct message *m = take_within(c, A_WHILE);
	if (m)
		fail_msg("message %llu comes, attempt %u", (unsigned long long)id_of(m),
			m->attempts);
}

static inline int64_t depth_of(struct backend_queue *q)
{
	return q->ops->depth(q);
}

#endif
