/* SPDX-License-Identifier: MIT */
/* ticker: Go's rules for missed ticks, stop and re-arm, on invented times. */
#include "test/unit/helper.h"

#include "common/clock.h"
#include "common/ticker.h"

static void test_first_tick_is_one_period_from_now(void **state)
{
	struct ticker t;
	int64_t before = clock_mono_ns();
	ticker_start(&t, NSEC_PER_SEC);
	assert_true(t.next_ns >= before + NSEC_PER_SEC);
	assert_true(t.next_ns <= clock_mono_ns() + NSEC_PER_SEC);
	assert_false(ticker_take(&t, t.next_ns - 1));
	assert_true(ticker_take(&t, t.next_ns));
}

static void test_tickers_of_one_period_tick_together(void **state)
{
	enum { PERIOD = 80 * NSEC_PER_MSEC, STEP = PERIOD / 8 };
	struct ticker t;
	int64_t before = clock_mono_ns();
	ticker_start_in_step(&t, PERIOD);
	assert_true(t.next_ns > before + PERIOD - STEP);
	assert_true(t.next_ns <= clock_mono_ns() + PERIOD);
	assert_int_equal(t.next_ns % STEP, 0);
	assert_true(ticker_take(&t, t.next_ns));
	assert_int_equal(t.next_ns % STEP, 0);
	/* As ever: no period is a stopped ticker, and the shortest one still ticks. */
	ticker_start_in_step(&t, 0);
	assert_int_equal(t.next_ns, 0);
	ticker_start_in_step(&t, 1);
	assert_true(ticker_take(&t, clock_mono_ns()));
}

static void test_missed_ticks_merge_and_the_phase_is_kept(void **state)
{
	struct ticker t = {.period_ns = 100, .next_ns = 1000};
	assert_true(ticker_take(&t, 1000));
	assert_int_equal(t.next_ns, 1100);
	assert_true(ticker_take(&t, 1199));
	assert_int_equal(t.next_ns, 1200);
	/* Late by three periods and a bit: one tick, and the next on the old beat. */
	assert_true(ticker_take(&t, 1555));
	assert_int_equal(t.next_ns, 1600);
	assert_false(ticker_take(&t, 1555));
	/* Exactly on a later beat: that one is used up as well. */
	assert_true(ticker_take(&t, 1800));
	assert_int_equal(t.next_ns, 1900);
}

static void test_one_shot_fires_once(void **state)
{
	struct ticker t;
	ticker_after(&t, 1000);
	assert_false(ticker_take(&t, t.next_ns - 1));
	assert_true(ticker_take(&t, t.next_ns + 5));
	assert_int_equal(t.next_ns, 0);
	assert_false(ticker_take(&t, INT64_MAX));
}

static void test_no_delay_is_due_at_once(void **state)
{
	struct ticker t;
	ticker_after(&t, 0);
	assert_true(ticker_take(&t, clock_mono_ns()));
	ticker_after(&t, -5);
	assert_true(ticker_take(&t, clock_mono_ns()));
}

static void test_stopped_never_fires_and_can_be_armed_again(void **state)
{
	struct ticker t;
	ticker_start(&t, 10);
	ticker_stop(&t);
	assert_false(ticker_take(&t, INT64_MAX));
	ticker_start(&t, 0);
	assert_false(ticker_take(&t, INT64_MAX));
	ticker_start(&t, -1);
	assert_false(ticker_take(&t, INT64_MAX));
	ticker_after(&t, 10);
	assert_true(ticker_take(&t, t.next_ns));
}

static void test_far_future_does_not_wrap(void **state)
{
	struct ticker t;
	ticker_after(&t, INT64_MAX);
	assert_false(ticker_take(&t, clock_mono_ns()));
	ticker_start(&t, INT64_MAX);
	assert_false(ticker_take(&t, clock_mono_ns()));
	/* And neither does the step to the next tick. */
	assert_true(ticker_take(&t, INT64_MAX));
	assert_true(t.next_ns > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_first_tick_is_one_period_from_now),
		cmocka_unit_test(test_tickers_of_one_period_tick_together),
		cmocka_unit_test(test_missed_ticks_merge_and_the_phase_is_kept),
		cmocka_unit_test(test_one_shot_fires_once),
		cmocka_unit_test(test_no_delay_is_due_at_once),
		cmocka_unit_test(test_stopped_never_fires_and_can_be_armed_again),
		cmocka_unit_test(test_far_future_does_not_wrap),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
