/* SPDX-License-Identifier: MIT */
/* chan: a first look at every operation; the rules one by one are in test_chan_*.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/chan.h"
#include "common/clock.h"
#include "common/gothread.h"

enum { VALUES = 20000 };

static void produce(void *arg)
{
	for (int i = 0; i < VALUES; i++)
		chan_send(arg, &i);
	chan_close(arg);
}

static void test_one_to_one_in_order(void **state)
{
	(void)state;
	static const size_t caps[] = {0, 1, 2, 100};

	for (size_t k = 0; k < 4; k++) {
		struct chan *c = chan_new(sizeof(int), caps[k]);
		struct wait_group wg;
		int v, want = 0;

		wait_group_init(&wg);
		assert_int_equal(wait_group_wrap(&wg, "produce", produce, c, NULL), 0);
		while (chan_recv(c, &v))
			assert_int_equal(v, want++);
		assert_int_equal(want, VALUES);
		wait_group_wait(&wg);
		wait_group_destroy(&wg);
		chan_free(c);
	}
}

struct select_args {
	struct chan *data, *exit;
	int got;
};

static void consume(void *arg)
{
	struct select_args *a = arg;
	int v[8];
	struct chan_case cases[] = {chan_case_recv_n(a->data, v, 8), chan_case_recv(a->exit, NULL)};

	while (chan_select(cases, 2) == 0)
		a->got += (int)cases[0].n;
}

static void test_select_until_exit(void **state)
{
	(void)state;
	struct select_args a = {chan_new(sizeof(int), 0), chan_new(0, 0), 0};
	struct wait_group wg;

	wait_group_init(&wg);
	for (int i = 0; i < 4; i++)
		assert_int_equal(wait_group_wrap(&wg, "consume", consume, &a, NULL), 0);
	chan_close(a.exit);
	wait_group_wait(&wg);
	a.exit = (chan_free(a.exit), chan_new(0, 0));
	assert_int_equal(wait_group_wrap(&wg, "consume", consume, &a, NULL), 0);
	for (int i = 0; i < VALUES; i++)
		chan_send(a.data, &i);
	chan_close(a.exit);
	wait_group_wait(&wg);
	assert_int_equal(a.got, VALUES);
	wait_group_destroy(&wg);
	chan_free(a.data);
	chan_free(a.exit);
}

static void test_try_and_timeout(void **state)
{
	(void)state;
	struct chan *c = chan_new(sizeof(int), 1);
	struct ticker t;
	int v = 1;
	bool closed;
	struct chan_case cases[] = {chan_case_send(c, &v), chan_case_tick(&t)};
	int64_t before = clock_mono_ns();

	assert_int_equal(chan_try_send_n(c, &v, 1), 1);
	assert_int_equal(chan_try_send_n(c, &v, 1), 0);
	ticker_after(&t, 3 * NSEC_PER_MSEC);
	assert_int_equal(chan_try_select(cases, 2), -1);
	assert_int_equal(chan_select(cases, 2), 1);
	assert_true(clock_mono_ns() - before >= 3 * NSEC_PER_MSEC);
	assert_int_equal(chan_demand(c), 0);
	chan_close(c);
	assert_int_equal(chan_try_recv_n(c, &v, 1, &closed), 1);
	assert_false(closed);
	assert_int_equal(chan_try_recv_n(c, &v, 1, &closed), 0);
	assert_true(closed);
	assert_int_equal(v, 0);
	chan_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_to_one_in_order),
		cmocka_unit_test(test_select_until_exit),
		cmocka_unit_test(test_try_and_timeout),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
