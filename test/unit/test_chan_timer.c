/* SPDX-License-Identifier: MIT */
/*
 * select with tickers: never early, in one random order with the chans, and races with a hand-off.
 */
#include "test/unit/chan_harness.h"

static void test_a_timeout_is_never_early(void **state)
{
	struct chan *idle = chan_new(sizeof(int), 0);
	for (int i = 0; i < ROUNDS(300); i++) {
		int64_t delay = rand_below(2000) * NSEC_PER_USEC, due;
		struct ticker t;
		struct chan_case cases[] = {chan_case_recv(idle, NULL), chan_case_tick(&t)};
		ticker_after(&t, delay);
		due = t.next_ns;
		assert_int_equal(chan_select(cases, 2), 1);
		assert_true(clock_mono_ns() >= due);
	}
	assert_int_equal(count_waiters(idle, CHAN_RECV), 0);
	chan_free(idle);
}

static void test_the_earliest_of_several_fires(void **state)
{
	struct ticker t[3];
	struct chan_case cases[] = {
		chan_case_tick(&t[0]), chan_case_tick(&t[1]), chan_case_tick(&t[2])};
	ticker_start(&t[0], 3600 * NSEC_PER_SEC);
	ticker_after(&t[1], 2 * NSEC_PER_MSEC);
	ticker_stop(&t[2]);
	assert_int_equal(chan_select(cases, 3), 1);
	assert_int_equal(t[1].next_ns, 0);
	assert_int_equal(chan_try_select(cases, 3), -1);
}

static void test_ticker_ticks_on_its_beat(void **state)
{
	struct ticker t;
	struct chan_case cc = chan_case_tick(&t);
	ticker_start(&t, NSEC_PER_MSEC);
	int64_t first = t.next_ns;
	for (int i = 0; i < 20; i++) {
		int64_t due = t.next_ns;
		assert_int_equal(chan_select(&cc, 1), 0);
		assert_true(clock_mono_ns() >= due);
		assert_true(t.next_ns > clock_mono_ns() - 60 * NSEC_PER_SEC);
		assert_int_equal((t.next_ns - first) % NSEC_PER_MSEC, 0);
	}
	/* Many were missed: one tick. */
	sleep_ns(5 * NSEC_PER_MSEC);
	assert_int_equal(chan_try_select(&cc, 1), 0);
	assert_int_equal((t.next_ns - first) % NSEC_PER_MSEC, 0);
}

static void test_a_chan_that_is_ready_leaves_the_ticker_alone(void **state)
{
	struct chan *c = chan_new(sizeof(int), 1);
	struct ticker t;
	int v = 1;
	struct chan_case cases[] = {chan_case_recv(c, &v), chan_case_tick(&t)};
	ticker_start(&t, 3600 * NSEC_PER_SEC);
	int64_t due = t.next_ns;
	for (int i = 0; i < 100; i++) {
		chan_send(c, &i);
		assert_int_equal(chan_select(cases, 2), 0);
		assert_int_equal(t.next_ns, due);
	}
	chan_free(c);
}

/* If it were looked at only when nothing else is ready, a busy client would never be flushed. */
static void test_expired_ticker_fires_beside_a_chan_never_empty(void **state)
{
	struct chan *never_empty = chan_new(sizeof(int), 0);
	struct ticker t;
	struct chan_case cases[] = {chan_case_recv(never_empty, NULL), chan_case_tick(&t)};
	int ticks = 0;
	chan_close(never_empty);
	ticker_start(&t, NSEC_PER_MSEC);
	while (ticks < 50) {
		int64_t now = clock_mono_ns(), due = t.next_ns;
		/* It may lose to the chan now and then, but 64 times in a row is one in 2^64. */
		if (now >= due) {
			int turns = 0;
			while (chan_select(cases, 2) != 1)
				assert_true(++turns < 64);
			ticks++;
		} else {
			ticks += chan_select(cases, 2) == 1;
		}
	}
	chan_free(never_empty);
}

static bool is_expired_ticker_chosen_as_often(void)
{
	enum { TRIALS = 10000 };
	struct chan *ready = chan_new(sizeof(int), 0);
	int fired = 0;
	chan_close(ready);
	for (int i = 0; i < TRIALS; i++) {
		struct ticker t = {.period_ns = 0, .next_ns = 1};
		struct chan_case cases[] = {chan_case_recv(ready, NULL), chan_case_tick(&t)};
		fired += (i % 2 != 0 ? chan_select(cases, 2) : chan_try_select(cases, 2)) == 1;
	}
	chan_free(ready);
	return is_half(fired, TRIALS);
}

static void test_expired_ticker_is_chosen_as_often_as_a_ready_chan(void **state)
{
	assert_true(is_expired_ticker_chosen_as_often() || is_expired_ticker_chosen_as_often());
}

static void test_stopped_ticker_never_fires_and_can_be_armed_again(void **state)
{
	struct ticker stopped, end;
	struct chan_case cases[] = {chan_case_tick(&stopped), chan_case_tick(&end)};
	ticker_start(&stopped, NSEC_PER_USEC);
	ticker_stop(&stopped);
	ticker_after(&end, 3 * NSEC_PER_MSEC);
	assert_int_equal(chan_select(cases, 2), 1);
	ticker_after(&stopped, NSEC_PER_MSEC);
	assert_int_equal(chan_select(cases, 2), 0);
}

/* --- a time-out races with a hand-off --------------------------------------------------------- */

struct racer {
	struct chan *c;
	int rounds;
	size_t moved; /* values */
	bool sender;
};

static void race(void *arg)
{
	struct racer *r = arg;
	int v[4] = {0};
	for (int i = 0; i < r->rounds; i++) {
		struct ticker t;
		size_t max = 1 + rand_below(4);
		struct chan_case cases[] = {
			r->sender ? chan_case_send_n(r->c, v, max) : chan_case_recv_n(r->c, v, max),
			chan_case_tick(&t)};
		ticker_after(&t, rand_below(40) * NSEC_PER_USEC);
		if (chan_select(cases, 2) == 0)
			r->moved += cases[0].n;
	}
}

static void test_timeout_racing_a_handoff_loses_nothing(void **state)
{
	for (size_t cap = 0, tries = 0; cap < 3;) {
		struct chan *c = chan_new(sizeof(int), cap);
		struct racer r[4];
		struct wait_group wg;
		wait_group_init(&wg);
		for (int i = 0; i < 4; i++) {
			r[i] = (struct racer){c, ROUNDS(5000), 0, i & 1};
			go(&wg, race, &r[i]);
		}
		join(&wg);
		assert_int_equal(r[1].moved + r[3].moved, r[0].moved + r[2].moved + chan_len(c));
		/* Threads that race must meet; on one busy processor they may miss each other. */
		if (r[1].moved > 0 && r[3].moved > 0)
			cap++;
		else
			assert_true(++tries < 100);
		assert_int_equal(count_waiters(c, CHAN_SEND) + count_waiters(c, CHAN_RECV), 0);
		chan_free(c);
	}
}

static void test_deadline_in_the_past_does_not_sleep(void **state)
{
	struct chan *idle = chan_new(sizeof(int), 0);
	int64_t before = clock_mono_ns();
	for (int i = 0; i < 1000; i++) {
		struct ticker t = {.period_ns = 0, .next_ns = 1};
		struct chan_case cases[] = {chan_case_recv(idle, NULL), chan_case_tick(&t)};
		assert_int_equal(chan_select(cases, 2), 1);
	}
	assert_true(clock_mono_ns() - before < 60 * NSEC_PER_SEC);
	chan_free(idle);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_timeout_is_never_early),
		cmocka_unit_test(test_the_earliest_of_several_fires),
		cmocka_unit_test(test_ticker_ticks_on_its_beat),
		cmocka_unit_test(test_a_chan_that_is_ready_leaves_the_ticker_alone),
		cmocka_unit_test(test_expired_ticker_fires_beside_a_chan_never_empty),
		cmocka_unit_test(test_expired_ticker_is_chosen_as_often_as_a_ready_chan),
		cmocka_unit_test(test_stopped_ticker_never_fires_and_can_be_armed_again),
		cmocka_unit_test(test_timeout_racing_a_handoff_loses_nothing),
		cmocka_unit_test(test_deadline_in_the_past_does_not_sleep),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
