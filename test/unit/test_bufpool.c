/* SPDX-License-Identifier: MIT */
/* bufpool: buffers are whole, distinct, writable, and come back; other sizes are malloc's. */
#include "test/unit/helper.h"

#include "common/bufpool.h"
#include "common/sanitize.h"

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

#if !SANITIZE_ADDRESS /* there is no pool then: every buffer is malloc's */

/* Has buf still the pages that were written? Else the next use faults new ones in, of zeros. */
static bool is_warm(const char *buf)
{
	return buf[0] == 1 && buf[BUFPOOL_SIZE - 1] == 1;
}

/* Takes n into bufs. Returns how many of them are warm; *first of these come before any cold one. */
static size_t take(char **bufs, size_t n, size_t *first)
{
	size_t warm = 0;
	*first = 0;
	for (size_t i = 0; i < n; i++) {
		bufs[i] = bufpool_get(BUFPOOL_SIZE);
		warm += is_warm(bufs[i]);
		*first += warm == i + 1;
	}
	return warm;
}

static void use_and_return(char **bufs, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		memset(bufs[i], 1, BUFPOOL_SIZE);
		bufpool_put(bufs[i], BUFPOOL_SIZE);
	}
}

/* As connections that come and go, beside a pool of which most was never used. */
static void test_few_buffers_that_come_and_go_keep_their_pages(void **state)
{
	char *bufs[BUFPOOL_WARM];
	size_t first;
	for (size_t n = 1; n <= BUFPOOL_WARM; n++) {
		take(bufs, n, &first);
		use_and_return(bufs, n);
		assert_int_equal(take(bufs, n, &first), n);
		use_and_return(bufs, n);
	}
}

static void test_of_many_free_buffers_the_warm_ones_are_bounded_and_come_first(void **state)
{
	static char *bufs[MANY];
	size_t first;
	for (int round = 0; round < 3; round++) {
		take(bufs, MANY, &first);
		use_and_return(bufs, MANY);
		assert_int_equal(take(bufs, MANY, &first), BUFPOOL_WARM);
		assert_int_equal(first, BUFPOOL_WARM);
		use_and_return(bufs, MANY);
	}
}

#endif

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
#if !SANITIZE_ADDRESS
		cmocka_unit_test(test_few_buffers_that_come_and_go_keep_their_pages),
		cmocka_unit_test(
			test_of_many_free_buffers_the_warm_ones_are_bounded_and_come_first),
#endif
		cmocka_unit_test(test_each_buffer_is_its_own),
		cmocka_unit_test(test_other_sizes_and_nothing_are_taken_as_well),
		cmocka_unit_test(test_threads_share_it),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
