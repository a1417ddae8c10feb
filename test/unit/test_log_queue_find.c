/* SPDX-License-Identifier: MIT */
/* One message of a queue over a log, by its id: wherever it is, it is found there, or not touched. */
#include "test/unit/dir_test.h"
#include "test/unit/log_queue_test.h"

#include "common/rand.h"

#define HOUR (3600 * NSEC_PER_SEC)
enum { MAX = 2000 }; /* messages of a run */

static struct side s;

/* What the test knows of the message with that number. */
enum where { UNKNOWN, READY, HELD, DEFERRED, OVER };
static enum where where[MAX];
static uint16_t attempts[MAX];
static struct message *held[MAX];

static int setup(void **state)
{
	s = (struct side){.dir = AT_FDCWD,
		.memory_size = 4,
		.segment_bytes = 4096,
		.move_behind = 1,
		.sync_timeout = 5 * NSEC_PER_MSEC};
	memset(where, 0, sizeof(where));
	memset(attempts, 0, sizeof(attempts));
	memset(held, 0, sizeof(held));
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

static struct message_id id_with(uint64_t number)
{
	struct message_id id;
	char hex[MSG_ID_LENGTH + 1];
	snprintf(hex, sizeof(hex), "%016llx", (unsigned long long)number);
	memcpy(id.hex, hex, MSG_ID_LENGTH);
	return id;
}

/* --- as an operator does, but for memory and what is in flight -------------------------------------- */

enum result { DONE, ABSENT, DOUBTFUL };

static enum result look_in_log(struct chan_side *c, struct message_id id, int64_t delay)
{
	struct message *m;
	struct log_find *f = log_queue_find(c->q);
	enum log_found_by_id found = log_find_read(f, id, &m);
	log_find_free(f);
	if (found != FOUND_BY_ID)
		return found == UNKNOWN_BY_ID ? DOUBTFUL : ABSENT;
	enum log_settled settled = log_queue_settle(c->q, m, delay);
	message_unref(m);
	return settled == LOG_SETTLED ? DONE : settled == LOG_OVER ? ABSENT : DOUBTFUL;
}

static enum result by_id(struct chan_side *c, uint64_t number, int64_t delay)
{
	struct message *m = log_queue_take_read(c->q, id_with(number));
	if (!m)
		return look_in_log(c, id_with(number), delay);
	assert_int_equal(id_of(m), number);
	if (delay < 0)
		finish(c, m);
	else
		requeue(c, m, delay);
	return DONE;
}

/* It is in the log, or on its way from there to lq:NAME's hand. */
static void expect_done(struct chan_side *c, uint64_t number, int64_t delay)
{
	wait_for(by_id(c, number, delay) == DONE);
}

static size_t deferred_of(struct chan_side *c)
{
	return log_queue_deferred(c->q);
}

/* --- single cases ----------------------------------------------------------------------------------- */

static void test_what_waits(void **state)
{
	open_side(&s, "a", "b");
	struct chan_side *a = &s.channels[0], *b = &s.channels[1];
	for (uint64_t i = 1; i <= 4; i++)
		publish_delayed(&s, i, 1, 50, HOUR);
	pump(&s, 4);
	assert_int_equal(deferred_of(a), 4);
	assert_int_equal(by_id(a, 2, -1), DONE);
	assert_int_equal(by_id(a, 2, -1), ABSENT);
	assert_int_equal(by_id(a, 3, 0), DONE);
	assert_int_equal(by_id(a, 4, HOUR / 2), DONE);
	assert_int_equal(by_id(a, 9, 0), ABSENT);
	assert_int_equal(deferred_of(a), 2);
	assert_int_equal(deferred_of(b), 4);
	expect_finish(a, 3, 1);
	close_side(&s);
	open_side(&s, "a", "b");
	assert_int_equal(deferred_of(a), 2);
	assert_int_equal(by_id(a, 2, 0), ABSENT);
	assert_int_equal(by_id(a, 3, 0), ABSENT);
	assert_int_equal(by_id(a, 4, 0), DONE);
	expect_finish(a, 4, 1);
	assert_int_equal(by_id(a, 1, 0), DONE);
	expect_finish(a, 1, 1);
	for (uint64_t i = 1; i <= 4; i++)
		assert_int_equal(by_id(b, i, -1), DONE);
	assert_int_equal(deferred_of(a) + deferred_of(b), 0);
	/* (What lq:NAME has handed out it counts a moment later.) */
	wait_for(depth_of(a->q) + depth_of(b->q) == 0);
	close_side(&s);
}

static void test_what_is_to_be_read(void **state)
{
	s.memory_size = 0;
	s.segment_bytes = 0;
	open_side(&s, "a", NULL);
	struct chan_side *a = &s.channels[0];
	pub(&s, 1, 600);
	pump(&s, 600);
	/* Some are in lq:NAME's hand, and others are not. */
	for (uint64_t i = 1; i <= 600; i += 7)
		expect_done(a, i, -1);
	for (uint64_t i = 2; i <= 600; i += 70)
		expect_done(a, i, HOUR);
	assert_int_equal(depth_of(a->q) + (int64_t)deferred_of(a), 600 - 86);
	assert_int_equal(deferred_of(a), 9);
	for (uint64_t i = 1; i <= 600; i++)
		if (i % 7 != 1 && i % 70 != 2)
			expect_finish(a, i, 1);
	/* lq:NAME counts what was received a moment later. */
	wait_for(depth_of(a->q) == 0);
	/* The topic has this one, and has not handed it out. */
	pub(&s, 601, 1);
	assert_int_equal(by_id(a, 601, -1), ABSENT);
	close_side(&s);
}

static void test_what_is_far_away_is_found_or_not_known(void **state)
{
	s.memory_size = 0;
	open_side(&s, "a", NULL);
	struct chan_side *a = &s.channels[0];
	struct log_stats stats;
	for (uint64_t i = 1; i < 1000; i += 3)
		pub(&s, i, 3);
	pump(&s, 999);
	log_get_stats(topic_log_log(s.tl), &stats);
	assert_true(stats.segments > 10);
	for (uint64_t i = 999; i > 1; i -= 499)
		expect_done(a, i, -1);
	expect_done(a, 1, -1);
	assert_int_equal(by_id(a, 500, -1), ABSENT);
	assert_int_equal(by_id(a, 100000, -1), DOUBTFUL);
	assert_int_equal(by_id(a, 0, -1), DOUBTFUL);
	expect_finish(a, 2, 498);
	expect_finish(a, 501, 498);
	assert_int_equal(by_id(a, 100000, -1), ABSENT);
	close_side(&s);
}

/* --- a random run ------------------------------------------------------------------------------------ */

static uint64_t next; /* the number of the next message */

static size_t count(enum where what)
{
	size_t n = 0;
	for (uint64_t i = 1; i < next; i++)
		n += where[i] == what;
	return n;
}

static void publish_some(void)
{
	size_t n = 1 + rand_below(8);
	bool later = rand_below(4) == 0;
	publish_delayed(&s, next, n, 40, later ? HOUR : 0);
	pump(&s, n);
	for (; n > 0; n--)
		where[next++] = later ? DEFERRED : READY;
}

static void consume(struct chan_side *c)
{
	struct message *m = take_message(c);
	uint64_t i = id_of(m);
	assert_int_equal(where[i], READY);
	assert_int_equal(m->attempts, ++attempts[i]);
	where[i] = HELD;
	held[i] = m;
}

static void answer(struct chan_side *c, uint64_t i)
{
	struct message *m = held[i];
	held[i] = NULL;
	switch (rand_below(4)) {
	case 0:
		requeue(c, m, 0);
		where[i] = READY;
		break;
	case 1:
		requeue(c, m, HOUR);
		where[i] = DEFERRED;
		break;
	default:
		finish(c, m);
		where[i] = OVER;
		break;
	}
}

static void operate(struct chan_side *c, uint64_t i)
{
	static const int64_t delays[] = {-1, 0, HOUR};
	static const enum where then[] = {OVER, READY, DEFERRED};
	uint32_t what = rand_below(3);
	if (where[i] == DEFERRED || (where[i] == READY && s.memory_size == 0)) {
		expect_done(c, i, delays[what]);
		where[i] = then[what];
		return;
	}
	enum result r = by_id(c, i, delays[what]);
	/* It may be in memory. */
	if (where[i] == READY && r == DONE)
		where[i] = then[what];
	else
		assert_true(r != DONE);
}

/* What was held comes again. */
static void restart(void)
{
	for (uint64_t i = 1; i < next; i++) {
		if (where[i] != HELD)
			continue;
		message_unref(held[i]);
		held[i] = NULL;
		where[i] = READY;
	}
	close_side(&s);
	open_side(&s, "c", NULL);
}

static void happen(void)
{
	struct chan_side *c = &s.channels[0];
	uint32_t what = rand_below(100);
	uint64_t i = next > 1 ? 1 + rand_below((uint32_t)next - 1) : 0;
	if (next < MAX - 10 && (what < 20 || i == 0))
		publish_some();
	else if (what < 55 && count(READY) > 0)
		consume(c);
	else if (what < 99 && where[i] == HELD && rand_below(3) > 0)
		answer(c, i);
	else if (what < 99)
		operate(c, i);
	else if (rand_below(3) == 0)
		restart();
}

static void run(size_t memory_size)
{
	s.memory_size = memory_size;
	next = 1;
	open_side(&s, "c", NULL);
	struct chan_side *c = &s.channels[0];
	for (int k = 0; k < ROUNDS(6000); k++)
		happen();
	for (uint64_t i = 1; i < next; i++)
		if (where[i] == DEFERRED)
			operate(c, i);
	restart();
	assert_int_equal(deferred_of(c), count(DEFERRED));
	while (count(READY) > 0) {
		consume(c);
		for (uint64_t i = 1; i < next; i++)
			if (where[i] == HELD)
				answer(c, i);
	}
	wait_for(depth_of(c->q) == 0);
	assert_int_equal(deferred_of(c), count(DEFERRED));
	close_side(&s);
}

static void test_a_random_run(void **state)
{
	run(4);
}

static void test_a_random_run_without_memory(void **state)
{
	run(0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		queue_test(test_what_waits),
		queue_test(test_what_is_to_be_read),
		queue_test(test_what_is_far_away_is_found_or_not_known),
		queue_test(test_a_random_run),
		queue_test(test_a_random_run_without_memory),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
