/* SPDX-License-Identifier: MIT */
/* rand: bounds, uniformity, distinct numbers, a seed per thread. */
#include "test/unit/helper.h"

#include <pthread.h>

#include "common/rand.h"

static void test_below_stays_below_and_is_uniform(void **state)
{
	static const uint32_t sizes[] = {1, 2, 3, 7, 8, 100};
	for (size_t k = 0; k < COUNT(sizes); k++) {
		uint32_t n = sizes[k], hits[100] = {0}, trials = 20000 * n;
		double chi2 = 0;
		for (uint32_t i = 0; i < trials; i++) {
			uint32_t r = rand_below(n);
			assert_true(r < n);
			hits[r]++;
		}
		for (uint32_t i = 0; i < n; i++)
			chi2 += (hits[i] - 20000.0) * (hits[i] - 20000.0) / 20000.0;
		/* Mean n - 1, variance 2 (n - 1); this is beyond six standard deviations. */
		assert_true(chi2 < (n - 1) + 60.0 + 9.0 * (n - 1) / 10.0);
	}
}

static void test_below_a_large_bound_reaches_both_ends(void **state)
{
	uint32_t n = 0xfffffff0u, low = n, high = 0;
	for (int i = 0; i < 100000; i++) {
		uint32_t r = rand_below(n);
		low = r < low ? r : low;
		high = r > high ? r : high;
		assert_true(r < n);
	}
	assert_true(low < n / 1000 && high > n - n / 1000);
}

static void *draw(void *arg)
{
	*(uint64_t *)arg = rand_u64();
	return NULL;
}

static void test_threads_draw_different_numbers(void **state)
{
	uint64_t a, b, c = rand_u64();
	pthread_t t;
	pthread_create(&t, NULL, draw, &a);
	pthread_join(t, NULL);
	pthread_create(&t, NULL, draw, &b);
	pthread_join(t, NULL);
	assert_true(a != b && b != c && a != c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_below_stays_below_and_is_uniform),
		cmocka_unit_test(test_below_a_large_bound_reaches_both_ends),
		cmocka_unit_test(test_threads_draw_different_numbers),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
