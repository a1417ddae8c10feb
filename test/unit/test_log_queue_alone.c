/* SPDX-License-Identifier: MIT */
/*
 * Queues over a log: messages for one channel alone, what is passed over, and what limits want to know
 * and to take out.
 */
#include "test/unit/dir_test.h"
#include "test/unit/log_queue_test.h"

#define HOUR (3600 * NSEC_PER_SEC)

static struct side s;

static int setup(void **state)
{
	s = (struct side){.dir = AT_FDCWD, .memory_size = 10, .sync_timeout = 5 * NSEC_PER_MSEC};
	return enter_test_dir(state) != 0 ? -1 : log_setup(state);
}

static int teardown(void **state)
{
	DIR *dir = opendir("t.log");
	struct dirent *e;
	char name[512];
	while (dir && (e = readdir(dir))) {
		snprintf(name, sizeof(name), "t.log/%s", e->d_name);
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			unlink(name);
	}
	if (dir)
		closedir(dir);
	rmdir("t.log");
	log_teardown(state);
	return leave_test_dir(state);
}

#define queue_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

static uint64_t floor_of(struct chan_side *c)
{
	mutex_lock(&c->lock);
	uint64_t floor = cursor_floor(log_queue_cursor(c->q));
	mutex_unlock(&c->lock);
	return floor;
}

static int64_t waiting_of(struct chan_side *c)
{
	int64_t bytes;
	return log_queue_waiting(c->q, &bytes);
}

/* Messages first, first + 1, ... for that channel alone, in one append. */
static void put_alone(struct chan_side *c, uint64_t first, size_t n)
{
	struct message *msgs[16];
	struct err err = {0};
	assert_true(n <= 16);
	for (size_t i = 0; i < n; i++)
		msgs[i] = make_message(first + i, 40);
	if (log_queue_append_alone(c->q, msgs, n, &err) != 0)
		fail_msg("log_queue_append_alone: %s", err.msg);
	message_unref_all(msgs, n);
}

/* These messages come, in any order, and are finished. first[i] to first[i] + n[i] - 1. */
static void expect_all(struct chan_side *c, const uint64_t *first, const size_t *n, int ranges)
{
	bool seen[1024] = {false};
	size_t all = 0;
	for (int i = 0; i < ranges; i++)
		all += n[i];
	for (size_t k = 0; k < all; k++) {
		struct message *m = take_message(c);
		uint64_t id = id_of(m);
		bool is = false;
		for (int i = 0; i < ranges; i++)
			is = is || (id >= first[i] && id < first[i] + n[i]);
		if (!is || seen[id])
			fail_msg("message %llu comes", (unsigned long long)id);
		assert_int_equal(m->attempts, 1);
		seen[id] = true;
		finish(c, m);
	}
}

static void test_alone(void **state)
{
	open_side(&s, "a", "b");
	struct chan_side *a = &s.channels[0], *b = &s.channels[1];
	pub(&s, 1, 3);
	pump(&s, 3);
	put_alone(a, 100, 4);
	assert_int_equal(waiting_of(a), 4);
	assert_int_equal(waiting_of(b), 0);
	/* What comes later does not pass over them. */
	pub(&s, 4, 2);
	pump(&s, 2);
	expect_all(a, (uint64_t[]){1, 100}, (size_t[]){5, 4}, 2);
	expect_finish(b, 1, 5);
	assert_int_equal(floor_of(a), 10);
	assert_int_equal(floor_of(b), 10);
	assert_int_equal(topic_log_handed_upto(s.tl), 10);
	close_side(&s);
	open_side(&s, "a", "b");
	expect_nothing(a);
	expect_nothing(b);
	close_side(&s);
}

/* The topic holds older ones, and a clean stop comes between. */
static void test_alone_ahead_of_the_topic(void **state)
{
	open_side(&s, "a", "b");
	struct chan_side *a = &s.channels[0], *b = &s.channels[1];
	pub(&s, 1, 30);
	put_alone(a, 100, 3);
	pub(&s, 31, 30);
	expect_all(a, (uint64_t[]){100}, (size_t[]){1}, 1);
	close_side(&s);
	open_side(&s, "a", "b");
	wait_for(waiting_of(a) == 2); /* waiting, or met by the topic */
	assert_int_equal(waiting_of(b), 0);
	expect_all(a, (uint64_t[]){101}, (size_t[]){2}, 1);
	pump(&s, 60);
	expect_finish(a, 1, 60);
	expect_finish(b, 1, 60);
	wait_for(depth_of(a->q) == 0 && depth_of(b->q) == 0 && depth_of(s.q) == 0);
	assert_int_equal(floor_of(a), 64);
	assert_int_equal(floor_of(b), 64);
	close_side(&s);
}

/* A crash has come before anything was flushed: the log alone knows of them. */
static void test_alone_after_a_crash(void **state)
{
	open_side(&s, "a", "b");
	struct chan_side *a = &s.channels[0], *b = &s.channels[1];
	pub(&s, 1, 5);
	put_alone(a, 100, 3);
	pub(&s, 6, 5);
	close_side(&s);
	assert_int_equal(unlink("t.log/a.cursor"), 0);
	assert_int_equal(unlink("t.log/:topic.cursor"), 0);
	open_side(&s, "a", "b");
	pump(&s, 10);
	expect_all(a, (uint64_t[]){1, 100}, (size_t[]){10, 3}, 2);
	expect_finish(b, 1, 10);
	expect_nothing(a);
	expect_nothing(b);
	close_side(&s);
	open_side(&s, "a", "b");
	expect_nothing(a);
	close_side(&s);
}

/* What it alone has got is emptied as well, in flight and waiting, wherever the topic is. */
static void test_alone_and_empty(void **state)
{
	struct err err;
	open_side(&s, "a", NULL);
	struct chan_side *a = &s.channels[0];
	pub(&s, 1, 3);
	put_alone(a, 100, 4);
	struct message *m = take_message(a);
	assert_true(id_of(m) >= 100);
	assert_int_equal(a->q->ops->empty(a->q, &err), 0);
	message_unref(m);
	wait_for(waiting_of(a) == 0);
	assert_int_equal(log_queue_deferred(a->q), 0);
	pump(&s, 3);
	expect_finish(a, 1, 3);
	expect_nothing(a);
	assert_int_equal(floor_of(a), 8);
	close_side(&s);
}

/* A channel that is told meanwhile may leave: nobody tells it any more. */
static void join_and_leave(void *arg)
{
	(void)arg;
	for (int i = 0; i < 50; i++) {
		join_channel(&s, 1, "b");
		close_channel(&s, 1, i % 2 == 0);
	}
}

static void test_alone_while_others_come_and_go(void **state)
{
	struct wait_group wg;
	open_side(&s, "a", NULL);
	struct chan_side *a = &s.channels[0];
	wait_group_init(&wg);
	go(&wg, join_and_leave, NULL);
	for (uint64_t i = 0; i < 200; i += 4)
		put_alone(a, 1 + i, 4);
	join(&wg);
	expect_all(a, (uint64_t[]){1}, (size_t[]){200}, 1);
	expect_nothing(a);
	close_side(&s);
}

/* They come back before the topic has handed out what is older: that is passed over by nobody. */
static void test_alone_comes_back(void **state)
{
	open_side(&s, "a", NULL);
	struct chan_side *a = &s.channels[0];
	pub(&s, 1, 3);
	put_alone(a, 100, 3);
	for (int i = 0; i < 3; i++) {
		struct message *m = take_message(a);
		requeue(a, m, i == 2 ? NSEC_PER_MSEC : 0);
	}
	pump(&s, 3);
	bool seen[200] = {false};
	for (int i = 0; i < 6; i++) {
		struct message *m = take_message(a);
		seen[id_of(m)] = true;
		finish(a, m);
	}
	assert_true(seen[1] && seen[2] && seen[3] && seen[100] && seen[101] && seen[102]);
	expect_nothing(a);
	close_side(&s);
}

static void test_passed_over(void **state)
{
	open_side(&s, "a", NULL);
	struct chan_side *a = &s.channels[0];
	pub(&s, 1, 2);
	pump(&s, 2);
	pub(&s, 3, 6);
	/* The topic drops 3 to 6. */
	struct message *msgs[4];
	assert_int_equal(chan_try_recv_n(s.memory, msgs, 4, NULL), 4);
	log_queue_pass_over(a->q, 7);
	topic_log_handed(s.tl, 7);
	/* One of them was in a pump's hand: it does not come. */
	message_unref_all(msgs, 3);
	put_message(a, message_copy(msgs[3]), true);
	message_unref(msgs[3]);
	pump(&s, 2);
	expect_finish(a, 1, 2);
	expect_finish(a, 7, 2);
	assert_int_equal(floor_of(a), 9);
	close_side(&s);
	open_side(&s, "a", NULL);
	expect_nothing(a);
	close_side(&s);
}

/* A batch of which some were passed over: the others are new all the same. */
static void test_passed_over_in_the_middle_of_a_batch(void **state)
{
	open_side(&s, "a", NULL);
	struct chan_side *a = &s.channels[0];
	struct message *msgs[6];
	pub(&s, 1, 6);
	assert_int_equal(chan_try_recv_n(s.memory, msgs, 6, NULL), 6);
	log_queue_pass_over(a->q, 4);
	assert_int_equal(a->q->ops->put_messages(a->q, a->memory, msgs, 6, true), 0);
	message_unref_all(msgs, 6);
	topic_log_handed(s.tl, 7);
	pub(&s, 7, 1);
	pump(&s, 1);
	expect_finish(a, 4, 4);
	assert_int_equal(floor_of(a), 8);
	close_side(&s);
}

static void test_first_of_those_that_wait(void **state)
{
	struct message *msgs[4];
	int64_t bytes;
	open_side(&s, "a", NULL);
	struct chan_side *a = &s.channels[0];
	for (uint64_t i = 1; i <= 5; i++)
		publish_delayed(&s, i, 1, 100, (int64_t)(10 - i) * HOUR);
	pump(&s, 5);
	assert_int_equal(log_queue_waiting(a->q, &bytes), 5);
	assert_int_equal(bytes, 500);
	/* As many as are wanted, by number or by bytes; the earliest first. */
	assert_int_equal(log_queue_take_first(a->q, msgs, 4, 1, 0), 1);
	assert_int_equal(id_of(msgs[0]), 5);
	assert_int_equal(log_queue_take_first(a->q, msgs + 1, 3, 0, 150), 2);
	assert_int_equal(id_of(msgs[1]), 4);
	assert_int_equal(id_of(msgs[2]), 3);
	assert_int_equal(log_queue_take_first(a->q, msgs, 0, 1, 1), 0);
	assert_int_equal(log_queue_waiting(a->q, &bytes), 2);
	assert_int_equal(bytes, 200);
	for (int i = 0; i < 3; i++)
		finish(a, msgs[i]);
	assert_int_equal(log_queue_take_first(a->q, msgs, 4, 9, 0), 2);
	assert_int_equal(log_queue_take_first(a->q, msgs + 2, 2, 9, 9), 0);
	for (int i = 0; i < 2; i++)
		finish(a, msgs[i]);
	assert_int_equal(log_queue_waiting(a->q, &bytes), 0);
	assert_int_equal(bytes, 0);
	assert_int_equal(floor_of(a), 6);
	close_side(&s);
}

static void test_put_back_by_place(void **state)
{
	struct log_queue_place places[3];
	struct message *m;
	int64_t bytes;
	open_side(&s, "a", NULL);
	struct chan_side *a = &s.channels[0];
	for (uint64_t i = 1; i <= 4; i++)
		publish_delayed(&s, i, 1, 100, 0);
	pump(&s, 4);
	for (int i = 0; i < 3; i++) {
		assert_true(chan_recv(a->memory, &m));
		places[i] = (struct log_queue_place){m->seq, m->offset, m->body->len, 7};
		message_unref(m);
	}
	log_queue_put_back(a->q, places, 3);
	assert_int_equal(depth_of(a->q), 3);
	assert_int_equal(log_queue_waiting(a->q, &bytes), 3);
	assert_int_equal(bytes, 300);
	for (int i = 0; i < 4; i++) {
		m = take_message(a);
		assert_int_equal(m->attempts, id_of(m) == 4 ? 1 : 8);
		finish(a, m);
	}
	close_side(&s);
}

/* What is behind memory is not there to be had, until memory is empty. */
static void test_ahead_is_what_is_offered(void **state)
{
	int64_t first, last;
	struct message *m;
	open_side(&s, "a", NULL);
	struct chan_side *a = &s.channels[0];
	pub(&s, 1, 40);
	pump(&s, 40);
	assert_int_equal(chan_len(a->memory), 10);
	assert_int_equal(depth_of(a->q), 30);
	for (int i = 0; i < 10; i++) {
		assert_int_equal(a->q->ops->ahead(a->q, &first, &last), 0);
		expect_finish(a, (uint64_t)i + 1, 1);
	}
	m = take_message(a);
	assert_int_equal(id_of(m), 11);
	wait_for(a->q->ops->ahead(a->q, &first, &last) > 0 && first == BASE_TS + 12);
	assert_true(last >= first);
	finish(a, m);
	close_side(&s);
}

/* How many are in a topic, and in its pump's hand. */
static void test_undone_of_a_topic(void **state)
{
	struct message *m;
	s.memory_size = 0;
	open_side(&s, "a", NULL);
	pub(&s, 1, 5);
	assert_true(chan_recv(s.q->ops->read_chan(s.q), &m));
	wait_for(depth_of(s.q) == 4);
	assert_int_equal(s.q->ops->undone(s.q), 1);
	deal(&s, &m, 1);
	s.q->ops->done(s.q, 1);
	assert_int_equal(s.q->ops->undone(s.q), 0);
	close_side(&s);
}

static void test_sync_is_switched(void **state)
{
	struct err err = {0};
	open_side(&s, "a", NULL);
	for (uint64_t i = 1; i <= 20; i++) {
		assert_int_equal(topic_log_set_disk(s.tl, i % 3 == 0, &err), 0);
		pub(&s, i, 1);
		pump(&s, 1);
	}
	close_side(&s);
	open_side(&s, "a", NULL);
	expect_finish(&s.channels[0], 1, 20);
	close_side(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		queue_test(test_alone),
		queue_test(test_alone_ahead_of_the_topic),
		queue_test(test_alone_after_a_crash),
		queue_test(test_alone_and_empty),
		queue_test(test_alone_while_others_come_and_go),
		queue_test(test_alone_comes_back),
		queue_test(test_passed_over),
		queue_test(test_passed_over_in_the_middle_of_a_batch),
		queue_test(test_first_of_those_that_wait),
		queue_test(test_put_back_by_place),
		queue_test(test_ahead_is_what_is_offered),
		queue_test(test_undone_of_a_topic),
		queue_test(test_sync_is_switched),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
