/* SPDX-License-Identifier: MIT */
/* bufpool: buffers are whole, distinct, writable, and come back; other sizes are malloc's. */
#include "test/unit/helper.h"

#include "common/bufpool.h"

enum { MANY = 600 }; /* more than two regions */

static void test_each_buffer_is_its_own(void **state)
{
	static char *bufs[MANY];
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < MANY; i++) {
			bufs[i] = bufpool_get(BUFPOOL_SIZE);
			memset(bufs[i], i, BUFPOOL_SIZE);
		}
		for (int i = 0; i < MANY; i++) {
			assert_int_equal(bufs[i][0], (char)i);
			assert_int_equal(bufs[i][BUFPOOL_SIZE - 1], (char)i);
			bufpool_put(bufs[i], BUFPOOL_SIZE);
		}
	}
}

static void test_other_sizes_and_nothing_are_taken_as_well(void **state)
{
	char *one = bufpool_get(1), *big = bufpool_get(1000000);
	one[0] = big[999999] = 'x';
	bufpool_put(one, 1);
	bufpool_put(big, 1000000);
	bufpool_put(NULL, BUFPOOL_SIZE);
	bufpool_put(NULL, 5);
}

static void take_and_return(void *arg)
{
	char *bufs[50];
	for (int round = 0; round < 200; round++) {
		for (int i = 0; i < 50; i++) {
			bufs[i] = bufpool_get(BUFPOOL_SIZE);
			*(void **)bufs[i] = arg;
		}
		for (int i = 0; i < 50; i++) {
			assert_ptr_equal(*(void **)bufs[i], arg);
			bufpool_put(bufs[i], BUFPOOL_SIZE);
		}
	}
}

static void test_threads_share_it(void **state)
{
	struct wait_group wg;
	struct err err;
	int ids[4];
	wait_group_init(&wg);
	for (int i = 0; i < 4; i++)
		assert_int_equal(wait_group_wrap(&wg, "t", take_and_return, &ids[i], &err), 0);
	wait_group_wait(&wg);
	wait_group_destroy(&wg);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_buffer_is_its_own),
		cmocka_unit_test(test_other_sizes_and_nothing_are_taken_as_well),
		cmocka_unit_test(test_threads_share_it),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
