/* SPDX-License-Identifier: MIT */
/* The queue of a topic with a log and those of its channels: order, completeness, what comes back. */
#include "test/unit/dir_test.h"
#include "test/unit/log_queue_test.h"

#include <sys/stat.h>

#include "nsqd/log/log_queue_internal.h"

#define HOUR (3600 * NSEC_PER_SEC)

static struct side s;

static int setup(void **state)
{
	s = (struct side){.dir = AT_FDCWD, .memory_size = 10, .sync_timeout = 5 * NSEC_PER_MSEC};
	return enter_test_dir(state) != 0 ? -1 : log_setup(state);
}

static void empty_dir(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *e;
	char name[512];
	while (dir && (e = readdir(dir))) {
		snprintf(name, sizeof(name), "%s/%s", path, e->d_name);
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			unlink(name);
	}
	if (dir)
		closedir(dir);
	rmdir(path);
}

static int teardown(void **state)
{
	empty_dir("t.log");
	log_teardown(state);
	return leave_test_dir(state);
}

#define queue_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

static bool is_cursor_floor(struct chan_side *c, uint64_t floor)
{
	mutex_lock(&c->lock);
	bool is = cursor_floor(log_queue_cursor(c->q)) == floor;
	mutex_unlock(&c->lock);
	return is;
}

/* --- in memory, and behind ------------------------------------------------------------------------ */

static void test_in_memory(void **state)
{
	open_side(&s, "a", NULL);
	for (uint64_t i = 1; i <= 100; i += 5) {
		pub(&s, i, 5);
		assert_int_equal(chan_len(s.memory), 5);
		pump(&s, 5);
		assert_int_equal(depth_of(s.channels[0].q), 0);
		expect_finish(&s.channels[0], i, 5);
	}
	assert_true(is_cursor_floor(&s.channels[0], 101));
	expect_nothing(&s.channels[0]);
	close_side(&s);
}

/* The topic has more than its memory takes, and so has the channel. */
static void test_behind_and_caught_up(void **state)
{
	open_side(&s, "a", NULL);
	struct chan_side *c = &s.channels[0];
	for (uint64_t round = 0, at = 1; round < 5; round++, at += 500) {
		for (uint64_t i = 0; i < 500; i += 10)
			pub(&s, at + i, 10);
		assert_int_equal(chan_len(s.memory), 10);
		assert_int_equal(depth_of(s.q), 490);
		pump(&s, 500);
		wait_for(depth_of(s.q) == 0);
		assert_int_equal(chan_len(c->memory), 10);
		assert_int_equal(depth_of(c->q), 490);
		/* While it is behind, what is new goes behind, and memory stays empty. */
		expect_finish(c, at, 15);
		assert_int_equal(chan_len(c->memory), 0);
		assert_true(c->q->ops->body_bytes(c->q) > 0);
		expect_finish(c, at + 15, 485);
		wait_for(depth_of(c->q) == 0);
		assert_int_equal(c->q->ops->body_bytes(c->q), 0);
		/* It has caught up when the reader knows: then memory is used again. */
		pub(&s, at + 500, 1);
		pump(&s, 1);
		expect_finish(c, at + 500, 1);
		at++;
	}
	close_side(&s);
}

static void test_without_memory(void **state)
{
	s.memory_size = 0;
	open_side(&s, "a", NULL);
	for (uint64_t i = 1; i <= 300; i += 3) {
		pub(&s, i, 3);
		if (i % 2)
			pump(&s, 3);
		if (i % 2)
			expect_finish(&s.channels[0], i, 3);
		else
			pump(&s, 3), expect_finish(&s.channels[0], i, 3);
	}
	expect_nothing(&s.channels[0]);
	close_side(&s);
}

/* --- several publishers ----------------------------------------------------------------------------- */

#define PUBLISHERS 4
#define EACH 3000

static struct publisher {
	uint64_t first;
	size_t each;
} publishers[PUBLISHERS];

static void publisher(void *arg)
{
	struct publisher *p = arg;
	for (uint64_t i = 0; i < p->each; i += 5) {
		pub(&s, p->first + i, i % 3 == 0 ? 5 : 1);
		if (i % 3 != 0)
			pub(&s, p->first + i + 1, 4);
		if (i % 500 == 0)
			sleep_ns(NSEC_PER_MSEC);
	}
}

/* A consumer sees each publisher's messages in order, and all in that of the log. */
static void consume_all(struct chan_side *c, size_t n, int64_t pause)
{
	uint64_t next[PUBLISHERS], last = 0;
	for (int i = 0; i < PUBLISHERS; i++)
		next[i] = publishers[i].first;
	for (size_t k = 0; k < n; k++) {
		struct message *m = take_message(c);
		uint64_t id = id_of(m);
		int p = (int)(id / 100000);
		if (m->seq <= last || next[p]++ != id)
			fail_msg("message %llu of publisher %d, number %llu behind %llu",
				(unsigned long long)id, p, (unsigned long long)m->seq,
				(unsigned long long)last);
		last = m->seq;
		finish(c, m);
		if (pause > 0 && k % 100 == 0)
			sleep_ns(pause);
	}
}

struct slow {
	struct chan_side *c;
	size_t n;
	int64_t pause;
};

static void consumer(void *arg)
{
	const struct slow *slow = arg;
	consume_all(slow->c, slow->n, slow->pause);
}

static void many_publishers(size_t memory_size, bool disk, int64_t pause_a, int64_t pause_b)
{
	struct wait_group wg, pumps;
	size_t each = ROUNDS(EACH) / 5 * 5;
	s.memory_size = memory_size;
	s.disk = disk;
	open_side(&s, "a", "b");
	struct slow slow[] = {{&s.channels[0], PUBLISHERS * each, pause_a},
		{&s.channels[1], PUBLISHERS * each, pause_b}};
	wait_group_init(&wg);
	wait_group_init(&pumps);
	go(&pumps, pump_thread, &s);
	for (unsigned i = 0; i < PUBLISHERS; i++) {
		publishers[i] = (struct publisher){100000 * i, each};
		go(&wg, publisher, &publishers[i]);
	}
	for (int i = 0; i < 2; i++)
		go(&wg, consumer, &slow[i]);
	join(&wg);
	for (int i = 0; i < 2; i++) {
		expect_nothing(&s.channels[i]);
		assert_true(is_cursor_floor(&s.channels[i], PUBLISHERS * each + 1));
	}
	chan_close(s.exit_chan);
	join(&pumps);
	close_side(&s);
}

static void test_many_publishers(void **state)
{
	many_publishers(10, false, 0, 0);
}

static void test_many_publishers_and_one_slow_channel(void **state)
{
	many_publishers(50, false, 0, 2 * NSEC_PER_MSEC);
}

static void test_many_publishers_with_syncs(void **state)
{
	many_publishers(200, true, 0, NSEC_PER_MSEC);
}

static struct {
	struct chan *begun, *go_on;
	bool slow;
} teller;

static size_t tell_late(
	void *arg, const char *channel, bool moved, struct message *const *msgs, size_t n)
{
	if (teller.slow) {
		chan_send(teller.begun, NULL);
		chan_recv(teller.go_on, NULL);
	}
	return lq_kept(arg, channel, moved, msgs, n);
}

static void publish_last(void *arg)
{
	pub(&s, 31, 3);
}

static bool has_caught_up(struct backend_queue *q)
{
	struct log_queue *lq = log_queue_of(q);
	mutex_lock(lq->lock);
	bool has = !lq->behind;
	mutex_unlock(lq->lock);
	return has;
}

/* The reader has seen messages before the queue is told of them: they are not handed out twice. */
static void test_read_before_told(void **state)
{
	struct wait_group wg;
	teller.begun = chan_new(0, 0);
	teller.go_on = chan_new(0, 0);
	teller.slow = false;
	s.kept = tell_late;
	open_side(&s, "a", NULL);
	pub(&s, 1, 30);
	teller.slow = true;
	wait_group_init(&wg);
	go(&wg, publish_last, NULL);
	chan_recv(teller.begun, NULL);
	pump(&s, 33);
	wait_for(has_caught_up(s.q));
	chan_send(teller.go_on, NULL);
	join(&wg);
	teller.slow = false;
	assert_int_equal(chan_len(s.memory), 0);
	wait_for(depth_of(s.q) == 0);
	pub(&s, 34, 1);
	pump(&s, 1);
	expect_finish(&s.channels[0], 1, 34);
	close_side(&s);
	chan_free(teller.begun);
	chan_free(teller.go_on);
}

/* --- what comes back -------------------------------------------------------------------------------- */

static void test_requeue_while_behind(void **state)
{
	open_side(&s, "a", NULL);
	struct chan_side *c = &s.channels[0];
	pub(&s, 1, 200);
	pump(&s, 200);
	uint64_t next = 1, again = 0;
	uint16_t tried[201] = {0};
	size_t finished = 0;
	while (finished < 200) {
		struct message *m = take_message(c);
		uint64_t id = id_of(m);
		assert_int_equal(m->attempts, ++tried[id]);
		if (tried[id] == 1)
			assert_int_equal(id, next++);
		/* Each third one comes back once, each ninth one three times. */
		if (tried[id] <= (id % 9 == 0 ? 3 : id % 3 == 0)) {
			again++;
			requeue(c, m, 0);
			continue;
		}
		finish(c, m);
		finished++;
	}
	assert_int_equal(again, 44 + 22 * 3);
	expect_nothing(c);
	wait_for(depth_of(c->q) == 0);
	assert_true(is_cursor_floor(c, 201));
	close_side(&s);
}

/* What always comes back does not keep the others from being read: some always wait here. */
static void test_those_that_always_come_back(void **state)
{
	enum { COME_BACK = 200, ALL = 900 };
	struct message *held[COME_BACK];
	open_side(&s, "a", NULL);
	struct chan_side *c = &s.channels[0];
	pub(&s, 1, ALL);
	pump(&s, ALL);
	for (int i = 0; i < COME_BACK; i++)
		held[i] = take_message(c);
	for (int i = 0; i < COME_BACK; i++)
		requeue(c, held[i], 0);
	for (uint64_t next = COME_BACK + 1; next <= ALL;) {
		struct message *m = take_message(c);
		if (id_of(m) <= COME_BACK) {
			requeue(c, m, 0);
			continue;
		}
		assert_int_equal(id_of(m), next++);
		finish(c, m);
	}
	for (int i = 0; i < COME_BACK; i++)
		finish(c, take_message(c));
	expect_nothing(c);
	close_side(&s);
}

static void test_delays(void **state)
{
	open_side(&s, "a", NULL);
	struct chan_side *c = &s.channels[0];
	int64_t begin = clock_wall_ns(), delay = 150 * NSEC_PER_MSEC;
	pub(&s, 1, 2);
	publish_delayed(&s, 3, 1, 50, delay);
	pub(&s, 4, 30);
	pump(&s, 33);
	assert_int_equal(log_queue_deferred(c->q), 1);
	struct message *m = take_message(c);
	requeue(c, m, 2 * delay);
	assert_int_equal(log_queue_deferred(c->q), 2);
	expect_finish(c, 2, 1);
	expect_finish(c, 4, 30);
	m = take_message(c);
	assert_true(id_of(m) == 3 && m->attempts == 1 && clock_wall_ns() >= begin + delay);
	finish(c, m);
	m = take_message(c);
	assert_true(id_of(m) == 1 && m->attempts == 2 && clock_wall_ns() >= begin + 2 * delay);
	finish(c, m);
	assert_int_equal(log_queue_deferred(c->q), 0);
	expect_nothing(c);
	close_side(&s);
}

/* A delay is still one after a restart, for the topic and for a channel that is behind. */
static void test_delays_after_a_restart(void **state)
{
	int64_t begin = clock_wall_ns(), delay = 400 * NSEC_PER_MSEC;
	open_side(&s, "a", NULL);
	publish_delayed(&s, 1, 1, 50, delay);
	pump(&s, 1);
	publish_delayed(&s, 2, 1, 50, delay);
	publish_delayed(&s, 3, 1, 50, 1);
	pub(&s, 4, 1);
	close_side(&s);
	open_side(&s, "a", NULL);
	pump(&s, 3);
	struct chan_side *c = &s.channels[0];
	expect_finish(c, 3, 2);
	expect_finish(c, 1, 2);
	assert_true(clock_wall_ns() >= begin + delay);
	close_side(&s);
}

/* --- what is left ----------------------------------------------------------------------------------- */

static _Atomic size_t counted;

static void count_rest(void *arg, struct message *const *msgs, size_t n)
{
	atomic_fetch_add(&counted, n);
	for (size_t i = 0; i < n; i++)
		assert_true(id_of(msgs[i]) == 1 + i);
}

static void take_rest(void *arg)
{
	struct chan_side *c = arg;
	log_queue_give_rest(c->q, count_rest, NULL);
}

static void find_reader(void *arg, const char *name, int tid)
{
	if (strcmp(name, "lq:t:a") == 0)
		*(bool *)arg = true;
}

static bool has_reader(void)
{
	bool there = false;
	gothread_each(find_reader, &there);
	return there;
}

/* Nobody takes what a restart has left: it is in memory then, and no thread holds it. */
static void test_what_is_left_goes_into_memory(void **state)
{
	open_side(&s, "a", NULL);
	pub(&s, 1, 5);
	pump(&s, 5);
	close_side(&s);
	open_side(&s, "a", NULL);
	struct chan_side *c = &s.channels[0];
	assert_int_equal(c->q->ops->depth(c->q), 5);
	log_queue_on_rest(c->q, take_rest, c);
	wait_for(chan_len(c->memory) == 5);
	wait_for(c->q->ops->depth(c->q) == 0);
	assert_int_equal(atomic_load(&counted), 5);
	wait_for(!has_reader());
	pub(&s, 6, 2);
	pump(&s, 2);
	assert_int_equal(chan_len(c->memory), 7);
	expect_finish(c, 1, 7);
	expect_nothing(c);
	close_side(&s);
}

/* --- channels that come and go --------------------------------------------------------------------- */

/* The backlog of a topic without channels goes to the first one. */
static void test_first_channel_gets_the_backlog(void **state)
{
	open_side(&s, NULL, NULL);
	pub(&s, 1, 100);
	close_side(&s);
	open_side(&s, NULL, NULL);
	assert_int_equal(depth_of(s.q), 100);
	pub(&s, 101, 10);
	join_channel(&s, 0, "a");
	pump(&s, 110);
	join_channel(&s, 1, "b");
	pub(&s, 111, 1);
	pump(&s, 1);
	expect_finish(&s.channels[0], 1, 111);
	expect_finish(&s.channels[1], 111, 1);
	assert_true(is_cursor_floor(&s.channels[1], 112));
	close_side(&s);
}

/* What the pump has dealt out before it knew of a channel is no business of that. */
static void test_a_channel_made_on_the_way(void **state)
{
	open_side(&s, "a", NULL);
	pub(&s, 1, 5);
	struct message *msgs[5];
	for (int i = 0; i < 5; i++)
		chan_recv(s.memory, &msgs[i]);
	for (int i = 0; i < 3; i++)
		put_message(&s.channels[0], message_copy(msgs[i]), true);
	join_channel(&s, 1, "b");
	for (int i = 0; i < 3; i++)
		message_unref(msgs[i]);
	deal(&s, msgs + 3, 2);
	expect_finish(&s.channels[0], 1, 5);
	expect_finish(&s.channels[1], 4, 2);
	assert_true(is_cursor_floor(&s.channels[1], 6));
	expect_nothing(&s.channels[1]);
	close_side(&s);
}

static void come_and_go(void *arg)
{
	for (int i = 0; i < 30; i++) {
		struct chan_side *c = join_channel(&s, 2, "c");
		uint64_t last = 0;
		for (int k = 0; k < 40; k++) {
			struct message *m = take_within(c, A_WHILE);
			if (!m)
				break;
			assert_true(m->seq > last);
			last = m->seq;
			finish(c, m);
		}
		close_channel(&s, 2, true);
	}
}

static void test_channels_come_and_go(void **state)
{
	struct wait_group wg, pumps;
	size_t each = ROUNDS(EACH) / 5 * 5;
	s.segment_bytes = 20000;
	open_side(&s, "a", NULL);
	struct slow slow = {&s.channels[0], PUBLISHERS * each, 0};
	wait_group_init(&wg);
	wait_group_init(&pumps);
	go(&pumps, pump_thread, &s);
	go(&wg, come_and_go, NULL);
	for (unsigned i = 0; i < PUBLISHERS; i++) {
		publishers[i] = (struct publisher){100000 * i, each};
		go(&wg, publisher, &publishers[i]);
	}
	go(&wg, consumer, &slow);
	join(&wg);
	/* Segments go that nobody wants. */
	struct log_stats stats;
	wait_for((log_get_stats(topic_log_log(s.tl), &stats), stats.segments) == 1);
	chan_close(s.exit_chan);
	join(&pumps);
	close_side(&s);
}

static void test_two_channels_at_different_places(void **state)
{
	s.segment_bytes = 5000;
	open_side(&s, "a", "b");
	pub(&s, 1, 400);
	pump(&s, 400);
	expect_finish(&s.channels[0], 1, 300);
	expect_finish(&s.channels[1], 1, 20);
	close_side(&s);
	open_side(&s, "a", "b");
	assert_int_equal(depth_of(s.channels[0].q), 100);
	assert_int_equal(depth_of(s.channels[1].q), 380);
	expect_finish(&s.channels[0], 301, 100);
	expect_finish(&s.channels[1], 21, 380);
	pub(&s, 401, 1);
	pump(&s, 1);
	expect_finish(&s.channels[0], 401, 1);
	expect_finish(&s.channels[1], 401, 1);
	close_side(&s);
}

/* --- looking ---------------------------------------------------------------------------------------- */

/* What is seen of a queue: messages of these numbers, from the first on. */
static void expect_look(struct backend_queue *q, const uint64_t *ids, size_t n, size_t max)
{
	struct message_views views;
	struct err err = {0};
	struct backend_look *l = q->ops->look(q);
	assert_non_null(l);
	message_views_init(&views, max, 10);
	if (l->read(l, &views, &err) != 0)
		fail_msg("look: %s", err.msg);
	assert_int_equal(views.n, n);
	for (size_t i = 0; i < n; i++) {
		const struct message_view *v = &views.v[i];
		assert_int_equal(v->timestamp, BASE_TS + (int64_t)ids[i]);
		assert_true(v->body->len == 10 && v->body_len >= 40);
		assert_true(v->place == PLACE_DISK);
	}
	message_views_free(&views);
	l->free(l);
}

static void test_look(void **state)
{
	uint64_t ids[100];
	open_side(&s, "a", NULL);
	struct chan_side *c = &s.channels[0];
	assert_null(s.q->ops->look(s.q));
	assert_null(c->q->ops->look(c->q));
	pub(&s, 1, 60);
	for (uint64_t i = 0; i < 100; i++)
		ids[i] = 11 + i;
	expect_look(s.q, ids, 50, 100);
	expect_look(s.q, ids, 7, 7);
	pump(&s, 60);
	expect_look(c->q, ids, 50, 100);
	struct message *m = take_message(c);
	requeue(c, m, HOUR);
	expect_finish(c, 2, 20);
	for (uint64_t i = 0; i < 100; i++)
		ids[i] = 22 + i;
	wait_for(depth_of(c->q) == 39);
	expect_look(c->q, ids, 39, 100);
	/* A look outlives its queue, and the log. */
	struct backend_look *l = c->q->ops->look(c->q);
	struct message_views views;
	struct err err = {0};
	message_views_init(&views, 5, 10);
	close_side(&s);
	assert_int_equal(l->read(l, &views, &err), 0);
	assert_true(views.n == 5 && views.v[0].timestamp == BASE_TS + 22);
	message_views_free(&views);
	l->free(l);
}

/* --- empty, damage ----------------------------------------------------------------------------------- */

static void test_empty(void **state)
{
	struct err err = {0};
	open_side(&s, "a", NULL);
	struct chan_side *c = &s.channels[0];
	/* Without a thread; and with a batch that waits to be received. */
	assert_int_equal(c->q->ops->empty(c->q, &err), 0);
	pub(&s, 1, 500);
	pump(&s, 500);
	struct message *m = take_message(c);
	requeue(c, m, 10 * NSEC_PER_SEC);
	message_drain_chan(c->memory);
	assert_int_equal(c->q->ops->empty(c->q, &err), 0);
	wait_for(depth_of(c->q) == 0);
	assert_int_equal(log_queue_deferred(c->q), 0);
	assert_true(is_cursor_floor(c, 501));
	expect_nothing(c);
	/* What comes back afterwards is gone, if there is no room in memory. */
	pub(&s, 501, 1);
	pump(&s, 1);
	expect_finish(c, 501, 1);
	/* The topic's */
	pub(&s, 502, 50);
	message_drain_chan(s.memory);
	assert_int_equal(s.q->ops->empty(s.q, &err), 0);
	wait_for(depth_of(s.q) == 0);
	pub(&s, 600, 1);
	pump(&s, 1);
	expect_finish(c, 600, 1);
	assert_true(is_cursor_floor(c, 553));
	close_side(&s);
	open_side(&s, "a", NULL);
	expect_nothing(&s.channels[0]);
	close_side(&s);
}

static void test_damage(void **state)
{
	open_side(&s, "a", NULL);
	for (uint64_t i = 1; i <= 9; i++)
		publish_delayed(&s, i, 1, 1000, 0);
	close_side(&s);
	/* In the body of the fifth one. */
	int fd = open("t.log/00000000000000000001.seg", O_RDWR | O_CLOEXEC);
	assert_int_equal(pwrite(fd, "?!", 2, 256 + 4 * (56 + 1000) + 100), 2);
	close(fd);
	open_side(&s, "a", NULL);
	pump(&s, 8);
	struct chan_side *c = &s.channels[0];
	expect_finish(c, 1, 4);
	expect_finish(c, 6, 4);
	assert_true(is_cursor_floor(c, 10));
	wait_for(depth_of(c->q) == 0);
	close_side(&s);
}

/* The same where the topic was in time, and the channel was not. */
static void test_damage_for_a_channel(void **state)
{
	open_side(&s, "a", NULL);
	struct chan_side *c = &s.channels[0];
	for (uint64_t i = 1; i <= 20; i++) {
		publish_delayed(&s, i, 1, 1000, 0);
		pump(&s, 1);
	}
	int fd = open("t.log/00000000000000000001.seg", O_RDWR | O_CLOEXEC);
	for (int i = 0; i < 2; i++)
		assert_int_equal(pwrite(fd, "?!", 2, 256 + (i ? 3 : 15) * (56 + 1000) + 100), 2);
	close(fd);
	close_side(&s);
	open_side(&s, "a", NULL);
	expect_finish(c, 1, 3);
	expect_finish(c, 5, 11);
	expect_finish(c, 17, 4);
	wait_for(depth_of(c->q) == 0);
	assert_true(is_cursor_floor(c, 21));
	close_side(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		queue_test(test_in_memory),
		queue_test(test_behind_and_caught_up),
		queue_test(test_without_memory),
		queue_test(test_many_publishers),
		queue_test(test_many_publishers_and_one_slow_channel),
		queue_test(test_many_publishers_with_syncs),
		queue_test(test_read_before_told),
		queue_test(test_requeue_while_behind),
		queue_test(test_those_that_always_come_back),
		queue_test(test_delays),
		queue_test(test_delays_after_a_restart),
		queue_test(test_what_is_left_goes_into_memory),
		queue_test(test_first_channel_gets_the_backlog),
		queue_test(test_a_channel_made_on_the_way),
		queue_test(test_channels_come_and_go),
		queue_test(test_two_channels_at_different_places),
		queue_test(test_look),
		queue_test(test_empty),
		queue_test(test_damage),
		queue_test(test_damage_for_a_channel),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
