/* SPDX-License-Identifier: MIT */
/*
 * Scenarios of the model of the log (log.c): a topic with a log, and its channels. Messages go from
 * publishers to the topic's pump, and from there to consumers, through memory or the reader lq:NAME.
 * Channels join and leave while cursors are written, and old messages are copied.
 */
#include <fcntl.h>
#include <string.h>

#include "common/clock.h"
#include "nsqd/log/log_internal.h"
#include "nsqd/log/log_queue_internal.h"
#include "nsqd/log/topic_log.h"
#include "test/model/log.h"
#include "test/model/log_disk.h"
#include "test/model/mc.h"
#include "test/model/mc_weak.h"

#define CHANNELS 2

/* A channel; its pump, or the consumers, are functions of the scenario. */
struct side {
	const char *name;
	struct mutex lock;
	struct chan *memory;
	struct backend_queue *q; /* NULL: it is not there; set under map_lock and lock */
	/* Of the scan worker, if there is one. */
	struct chan *due_chan, *exit_chan;
	int64_t due_ns; /* guarded by lock */
};

/* A delay that a consumer asks for. */
#define DELAY NSEC_PER_MSEC

static struct topic_log *tl;
static struct backend_queue *topic_queue;
static struct chan *topic_memory;
static struct mutex map_lock; /* of the topic: what channels it has */
static struct side sides[CHANNELS] = {{.name = "a"}, {.name = "b"}};

/* --- a topic and its channels ----------------------------------------------------------------- */

static struct chan *new_memory(int cap)
{
	return cap > 0 ? chan_new(sizeof(struct message *), (size_t)cap) : NULL;
}

static void open_topic(int mem)
{
	struct err err;
	struct topic_log_opts o = {.dir = AT_FDCWD,
		.topic = "t",
		.disk = mc_param("disk", 0),
		.segment_bytes = mc_param("segment", 0),
		.io = &disk_io,
		.sync_timeout = 5 * NSEC_PER_SEC,
		.move_behind = 1};
	mutex_init(&map_lock, RANK_TOPIC);
	for (int i = 0; i < CHANNELS; i++)
		mutex_init(&sides[i].lock, RANK_IN_FLIGHT);
	MC_CHECK(topic_log_open(&o, &tl, &err) == 0);
	topic_memory = new_memory(mem);
	topic_queue = log_queue_new_topic(tl, topic_memory);
	/* What is shown is no subject here: nobody decides by it. */
	mc_no_point(&((struct log_queue *)topic_queue)->count_lock);
}

/* Until a scan begins. */
static void nobody_waits(void *arg, int64_t at_ns)
{
	(void)arg, (void)at_ns;
}

static void join(struct side *s, int mem)
{
	struct err err;
	s->memory = new_memory(mem);
	mutex_lock(&map_lock);
	s->q = log_queue_new_channel(tl, s->name, &s->lock, s->memory, &err);
	mutex_unlock(&map_lock);
	MC_CHECK(s->q);
	log_queue_on_due(s->q, nobody_waits, NULL);
}

static void start_topic(void)
{
	struct err err;
	MC_CHECK(topic_log_start(tl, &err) == 0);
}

static void publish(int number)
{
	struct err err;
	struct message *m = new_message(number);
	MC_CHECK(topic_log_append(tl, &m, 1, NULL, &err) == 0);
	fates[number].acked = true;
	message_unref(m);
}

static void leave(struct side *s, bool remove)
{
	struct err err;
	mutex_lock(&map_lock);
	mutex_lock(&s->lock);
	struct backend_queue *q = s->q;
	s->q = NULL;
	mutex_unlock(&s->lock);
	mutex_unlock(&map_lock);
	if (!q)
		return;
	/* What is deleted nobody wants. */
	for (int i = 0; remove && i < MESSAGES; i++)
		fates[i].finished[s - sides] = true;
	MC_CHECK((remove ? q->ops->delete (q, &err) : q->ops->close(q, &err)) == 0);
	message_drain_chan(s->memory);
	chan_free(s->memory);
}

static void close_topic(void)
{
	struct err err;
	for (int i = 0; i < CHANNELS; i++)
		leave(&sides[i], false);
	topic_queue->ops->close(topic_queue, &err);
	MC_CHECK(topic_log_close(tl, &err) == 0);
	message_drain_chan(topic_memory);
	chan_free(topic_memory);
	for (int i = 0; i < CHANNELS; i++)
		mutex_destroy(&sides[i].lock);
	mutex_destroy(&map_lock);
	topic_queue = NULL;
	topic_memory = NULL;
	tl = NULL;
}

/* As long as a consumer has asked for; and until a thread is tried again that could not be had. */
static int64_t may_be_idle(void)
{
	return mc_param("waits", 0) * DELAY + mc_param("threads", 0) * NSEC_PER_SEC;
}

/* As a pump does it: what comes from memory, or from the reader. */
static struct message *receive(struct backend_queue *q, struct chan *memory)
{
	struct message *m = NULL;
	struct chan *read_chan = q->ops->read_chan(q);
	int first = mc_param("reader", 0); /* this one first */
	struct chan_case cases[2];
	cases[first] = chan_case_recv(memory, &m);
	cases[1 - first] = chan_case_recv(read_chan, &m);
	if (chan_select(cases, 2) == 1 - first)
		q->ops->done(q, 1);
	/* Nobody has waited for it: neither for a tick, nor for a reader that is about to end. */
	MC_CHECK(mc_idle() <= may_be_idle());
	return m;
}

/* The topic's pump: into each channel, and then the log is told. */
static void deal_out(struct message *m)
{
	int number = number_of(m);
	uint64_t seq = m->seq;
	mutex_lock(&map_lock);
	for (int i = 0; i < CHANNELS; i++) {
		struct side *s = &sides[i];
		struct message *copy = s->q ? message_copy(m) : NULL;
		if (s->q && s->q->ops->put_messages(s->q, s->memory, &copy, 1, true) == 0)
			message_unref(copy);
		fates[number].put[i] = s->q != NULL;
	}
	fates[number].handed = true;
	mutex_unlock(&map_lock);
	topic_log_handed(tl, seq + 1);
	message_unref(m);
}

/* The reader has counted what was received. */
static bool is_empty(void *arg)
{
	const struct log_queue *q = arg;
	return q->counts.unread == 0 && q->counts.back == 0 && q->counts.waiting_bytes == 0;
}

/* --- from the log to the topic's pump --------------------------------------------------------- */

static const int first_three[] = {1, 2, 3};

/* Messages 1 and, with n=3, 3; message 2. */
static void publish_odd(void *arg)
{
	(void)arg;
	publish(1);
	if (mc_param("n", 2) > 2)
		publish(3);
}

static void publish_even(void *arg)
{
	(void)arg;
	publish(2);
}

/* Each once, in the order of the log. */
static void pump(void *arg)
{
	bool seen[MESSAGES] = {false};
	(void)arg;
	for (int i = 1; i <= mc_param("n", 2); i++) {
		struct message *m = receive(topic_queue, topic_memory);
		int number = number_of(m);
		MC_CHECK(m->seq == (uint64_t)(i + mc_param("first", 0)) && !seen[number]);
		seen[number] = true;
		deal_out(m);
	}
}

static void make_hand_over(void)
{
	open_topic(mc_param("mem", 1));
	start_topic();
	if (!mc_param("first", 0))
		return;
	/* So the reader rests; it reads only what is wanted. */
	publish(7);
	deal_out(receive(topic_queue, topic_memory));
}

/* The pump has got all: nothing is left for another time. */
static void finish_hand_over(void)
{
	mc_wait(is_empty, topic_queue);
	MC_CHECK(!topic_memory || chan_len(topic_memory) == 0);
	close_topic();
}

void setup_hand_over(void)
{
	begin(make_hand_over, finish_hand_over);
	go("publish", publish_odd, NULL);
	if (mc_param("n", 2) > 1)
		go("publish 2", publish_even, NULL);
	go("pump", pump, NULL);
	if (mc_param("dies", 0))
		go("die", die, NULL);
}

/* --- the scan loop: what waits, and what failed to start ------------------------------------------ */

static MC_GHOST bool scan_over;

static void waits_until(void *arg, int64_t at_ns)
{
	struct side *s = arg;
	s->due_ns = at_ns;
	chan_signal(s->due_chan);
}

/* As channel_process_waiting. */
static bool take_due(struct side *s)
{
	struct message *m;
	if (log_queue_take_due(s->q, &m, 1) == 0)
		return false;
	int64_t len = m->body->len;
	if (s->q->ops->put_messages(s->q, s->memory, &m, 1, false) == 0)
		message_unref(m);
	log_queue_due_done(s->q, 1, len);
	return true;
}

static void scan(void *arg)
{
	struct side *s = arg;
	for (;;) {
		struct ticker due = {0};
		mutex_lock(&s->lock);
		int64_t at = s->due_ns;
		mutex_unlock(&s->lock);
		if (at <= mc_now() && take_due(s))
			continue;
		if (at > mc_now() && at < INT64_MAX)
			ticker_after(&due, at - mc_now());
		struct chan_case cases[] = {chan_case_recv(s->due_chan, NULL),
			chan_case_recv(s->exit_chan, NULL), chan_case_tick(&due)};
		if (chan_select(cases, 3) == 1)
			break;
	}
	mc_weak_release(&scan_over);
	scan_over = true;
}

static void begin_scan(struct side *s)
{
	s->due_chan = chan_new(0, 1);
	s->exit_chan = chan_new(0, 1);
	log_queue_on_due(s->q, waits_until, s);
	mc_go("scan", scan, s);
}

static bool has_scanned(void *arg)
{
	(void)arg;
	return scan_over;
}

static void end_scan(struct side *s)
{
	chan_signal(s->exit_chan);
	mc_wait(has_scanned, NULL);
	mc_weak_acquire(&scan_over);
	chan_free(s->due_chan);
	chan_free(s->exit_chan);
}

/* --- from the topic's pump to a consumer ------------------------------------------------------ */

/* The pump has them; the channel gets them one by one. */
static void put_three(void *arg)
{
	(void)arg;
	for (int i = 0; i < mc_param("n", 3); i++)
		deal_out(receive(topic_queue, topic_memory));
}

static void take(struct side *s, struct message *m)
{
	mutex_lock(&s->lock);
	m->attempts++;
	log_queue_taken_locked(s->q, &m, 1);
	log_queue_touch(s->q);
	mutex_unlock(&s->lock);
}

/* As a channel does it, also after its end. */
static void finish(struct side *s, struct message *m)
{
	mutex_lock(&s->lock);
	if (s->q) {
		fates[number_of(m)].finished[s - sides] = true;
		log_queue_finished_locked(s->q, m);
		log_queue_touch(s->q);
	}
	mutex_unlock(&s->lock);
	message_unref(m);
}

/* At once, or in a while. */
static void come_back(struct side *s, struct message *m)
{
	if (mc_param("waits", 0)) {
		log_queue_wait_for(s->q, m, DELAY);
		message_unref(m);
		return;
	}
	if (s->q->ops->put_messages(s->q, s->memory, &m, 1, false) == 0)
		message_unref(m);
}

/* All come, in order but for the one that is requeued, and none twice. */
static void consume(void *arg)
{
	struct side *s = arg;
	bool is_back = false;
	uint64_t last = 0;
	for (int left = mc_param("n", 3); left > 0;) {
		struct message *m = receive(s->q, s->memory);
		bool again = m->attempts > 0;
		MC_CHECK(again ? is_back : m->seq > last);
		MC_CHECK(!fates[number_of(m)].finished[0]);
		last = again ? last : m->seq;
		take(s, m);
		if (!is_back && (int)m->seq == mc_param("back", 0)) {
			is_back = true;
			come_back(s, m);
			continue;
		}
		finish(s, m);
		left--;
	}
}

/* Something is to be seen to that nobody else sees to. */
static bool scans(void)
{
	return mc_param("waits", 0) || mc_param("threads", 0);
}

static void make_catch_up(void)
{
	open_topic(MESSAGES);
	join(&sides[0], mc_param("mem", 1));
	start_topic();
	for (int i = 0; i < mc_param("n", 3); i++)
		publish(first_three[i]);
	mc_no_point(&((struct log_queue *)sides[0].q)->count_lock);
	if (scans())
		begin_scan(&sides[0]);
}

/* Nothing is left in the channel. */
static void finish_catch_up(void)
{
	struct backend_queue *q = sides[0].q;
	mutex_lock(&sides[0].lock);
	MC_CHECK(cursor_floor(log_queue_cursor(q)) == (uint64_t)mc_param("n", 3) + 1);
	mutex_unlock(&sides[0].lock);
	mc_wait(is_empty, q);
	if (scans())
		end_scan(&sides[0]);
	close_topic();
}

void setup_catch_up(void)
{
	begin(make_catch_up, finish_catch_up);
	go("pump", put_three, NULL);
	go("consume", consume, &sides[0]);
	if (mc_param("dies", 0))
		go("die", die, NULL);
}

/* --- what a start would find ------------------------------------------------------------------ */

struct found {
	struct log *log;
	uint64_t first; /* the oldest number */
	struct cursor *topic, *channels[CHANNELS];
	bool missing[CHANNELS]; /* has no file */
};

static struct cursor *open_cursor(
	const struct found *f, const char *file, const char *channel, bool *missing)
{
	struct err err;
	struct log_stats s;
	struct cursor_found found;
	struct cursor_opts o = {.io = &crashed_io,
		.dir = log_dir(f->log),
		.file = file,
		.topic = "t",
		.channel = channel};
	log_get_stats(f->log, &s);
	struct cursor *c = cursor_open(&o, s.first, s.next, &found, &err);
	MC_CHECK(c && !found.damaged && found.beyond == 0);
	*missing = found.missing;
	return c;
}

/*
 * The next process hands this record out to channel i, which had the message. Of a copy that the
 * cursor does not know the old number counts, if that is there (docs/log-design.md).
 */
static bool comes_again(const struct found *f, int i, const struct log_item *item)
{
	const struct cursor *c = f->channels[i];
	if (cursor_is_finished(c, item->seq))
		return false;
	if (!item->channel)
		return !f->missing[i] || !cursor_is_finished(f->topic, item->seq);
	return !f->missing[i] &&
	       (cursor_next_unseen(c, item->seq) != item->seq || item->origin < f->first);
}

/* What was acknowledged and is not finished comes again; and after a clean end nothing else. */
static void check_fates(const struct found *f, const struct fate *fs, bool clean)
{
	bool to_all[MESSAGES] = {false}, to[CHANNELS][MESSAGES] = {{false}};
	struct log_item item;
	struct err err;
	struct log_reader *r = log_reader_open(f->log, 1, 0);
	enum log_read what;
	while ((what = log_reader_next(r, &item, &err)) != LOG_READ_END) {
		MC_CHECK(what == LOG_READ_MESSAGE || what == LOG_READ_GAP);
		if (what == LOG_READ_GAP)
			continue;
		int number = number_of(item.msg);
		to_all[number] |= !item.channel && !cursor_is_finished(f->topic, item.seq);
		for (int i = 0; i < CHANNELS; i++)
			if (!item.channel || strcmp(item.channel, sides[i].name) == 0)
				to[i][number] |= comes_again(f, i, &item);
	}
	for (int n = 1; n < MESSAGES; n++) {
		MC_CHECK(!fs[n].acked || fs[n].handed || to_all[n]);
		for (int i = 0; i < CHANNELS; i++) {
			if (!fs[n].put[i])
				continue;
			MC_CHECK(fs[n].finished[i] || to[i][n]);
			if (fs[n].finished[i] && (clean || fs[n].written))
				MC_CHECK(!to[i][n]);
		}
	}
}

static void check_start(const struct fate *fs, bool clean)
{
	struct err err;
	bool ignored;
	struct log_stats s;
	struct found f = {0};
	struct log_opts o = {.dir = AT_FDCWD, .topic = "t", .io = &crashed_io};
	if (!crashed.has_dir)
		return;
	MC_CHECK(log_open(&o, &f.log, &err) == 0);
	log_get_stats(f.log, &s);
	f.first = s.first;
	f.topic = open_cursor(&f, ":topic.cursor", "", &ignored);
	f.channels[0] = open_cursor(&f, "a.cursor", "a", &f.missing[0]);
	f.channels[1] = open_cursor(&f, "b.cursor", "b", &f.missing[1]);
	check_fates(&f, fs, clean);
}

void end_topic(void)
{
	end_clean();
	if (has_died())
		check_start(fates_then, false);
	disk_crash();
	check_start(fates, true);
}

/* --- the end: what is old is copied, cursors are written, and all of it is closed ------------- */

static MC_GHOST struct message *held; /* by a consumer of the first channel */

/*
 * A message is old, and the others are finished: worth a copy. Each has a segment. Message 1 is held
 * by a consumer; with waits=1 it waits.
 */
static void make_old(int n)
{
	for (int i = 1; i <= n; i++) {
		publish(i);
		deal_out(receive(topic_queue, topic_memory));
		struct message *m = receive(sides[0].q, sides[0].memory);
		take(&sides[0], m);
		if (i > 1)
			finish(&sides[0], m);
		else
			held = m;
	}
	if (!mc_param("waits", 0))
		return;
	log_queue_wait_for(sides[0].q, held, 3600 * NSEC_PER_SEC);
	message_unref(held);
	held = NULL;
}

static void make_end(void)
{
	open_topic(MESSAGES);
	join(&sides[0], MESSAGES);
	start_topic();
	/* Not later: the mover is to begin in the search. */
	(void)topic_log_flush(tl);
	make_old(mc_param("n", 5));
	mc_no_point(&((struct log_queue *)sides[0].q)->count_lock);
}

/* As the pause of a topic does; the mover begins with it. */
static void flush(void *arg)
{
	(void)arg;
	(void)topic_log_flush(tl);
}

/* The consumer is done with what it holds, while that is copied. */
static void finish_held(void *arg)
{
	(void)arg;
	if (held)
		finish(&sides[0], held);
	held = NULL;
	/* From here on it is finished also for the next process. */
	if (mc_param("flushes", 0) && topic_log_flush(tl) == 0)
		fates[1].written = true;
}

static void leave_first(void *arg)
{
	(void)arg;
	leave(&sides[0], mc_param("remove", 0));
}

static void finish_end(void)
{
	/* So segments go. */
	if (sides[0].q)
		(void)topic_log_flush(tl);
	close_topic();
	message_unref(held);
	held = NULL;
}

void setup_end(void)
{
	begin(make_end, finish_end);
	if (mc_param("flush", 1))
		go("flush", flush, NULL);
	if (mc_param("finish", 0))
		go("finish", finish_held, NULL);
	if (mc_param("leave", 1))
		go("leave", leave_first, NULL);
	if (mc_param("dies", 0))
		go("die", die, NULL);
}

/* --- channels join and leave while cursors are written ---------------------------------------- */

static void join_second(void *arg)
{
	(void)arg;
	join(&sides[1], MESSAGES);
	/* It may go before it has got a file. */
	if (mc_param("join", 1) == 2)
		leave(&sides[1], true);
}

static void make_members(void)
{
	open_topic(MESSAGES);
	join(&sides[0], MESSAGES);
	start_topic();
	for (int i = 0; i < mc_param("n", 2); i++)
		publish(first_three[i]);
	if (mc_param("flushed", 0))
		(void)topic_log_flush(tl);
}

static void put_all(void *arg)
{
	(void)arg;
	for (int i = 0; i < mc_param("n", 2); i++)
		deal_out(receive(topic_queue, topic_memory));
}

/* When all channels have their files the topic's goes on. */
static void finish_members(void)
{
	(void)topic_log_flush(tl);
	uint64_t upto = topic_log_handed_upto(tl);
	mutex_lock(topic_log_lock(tl));
	MC_CHECK(cursor_floor(topic_log_cursor(tl)) == upto);
	mutex_unlock(topic_log_lock(tl));
	MC_CHECK(upto == (uint64_t)mc_param("n", 2) + 1);
	close_topic();
}

void setup_members(void)
{
	begin(make_members, finish_members);
	go("pump", put_all, NULL);
	if (mc_param("join", 1))
		go("join", join_second, NULL);
	if (mc_param("leave", 0))
		go("leave", leave_first, NULL);
	if (mc_param("flush", 1))
		go("flush", flush, NULL);
	if (mc_param("dies", 0))
		go("die", die, NULL);
}

/* --- what happens is written in time, while the thread of the log comes and goes ----------------- */

static void make_rest(void)
{
	open_topic(MESSAGES);
	join(&sides[0], MESSAGES);
	start_topic();
	make_old(1);
	(void)topic_log_flush(tl);
	begin_scan(&sides[0]);
}

static bool is_written(void *arg)
{
	(void)arg;
	return cursor_pending(log_queue_cursor(sides[0].q)) == 0 &&
	       cursor_pending(topic_log_cursor(tl)) == 0;
}

/* Without any more calls. */
static void finish_rest(void)
{
	mc_wait(is_written, NULL);
	end_scan(&sides[0]);
	close_topic();
}

void setup_rest(void)
{
	begin(make_rest, finish_rest);
	go("finish", finish_held, NULL);
	if (mc_param("publish", 0))
		go("publish", publish_even, NULL);
}
