/* SPDX-License-Identifier: MIT */
/* quantile: ranks within 1 % on any distribution, merged or not; the window; bounded memory. */
#include "test/unit/helper.h"

#include <math.h>

#include "common/clock.h"
#include "common/quantile.h"

#define WINDOW (100 * NSEC_PER_SEC)
#define T0 (1000 * NSEC_PER_SEC)

static const double quantiles[] = {1.0, 0.999, 0.99, 0.95, 0.5, 0.1, 0.01};
#define N_QUANTILES (COUNT(quantiles))

static uint64_t seed = 88172645463325252ULL;

static double uniform(void)
{
	seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
	return (double)(seed >> 11) / (double)(UINT64_C(1) << 53);
}

static int64_t draw_uniform(void)
{
	return (int64_t)(uniform() * 1e9);
}

static int64_t draw_exponential(void)
{
	return (int64_t)(-log(1 - uniform()) * 1e6);
}

static int64_t draw_bimodal(void)
{
	double mode = uniform() < 0.9 ? 1e6 : 5e9;
	return (int64_t)(mode + (uniform() - 0.5) * 1e5);
}

/* Many equal values: a rank is right if it lies anywhere among them. */
static int64_t draw_steps(void)
{
	return (int64_t)(uniform() * 7);
}

static int64_t draw_ascending(void)
{
	static int64_t next;
	return ++next;
}

static int64_t draw_descending(void)
{
	static int64_t next = INT64_C(1) << 40;
	return --next;
}

static int ascending(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
	return (x > y) - (x < y);
}

/* The largest distance of a result's rank from the wanted one, as a share of n. Sorts v. */
static double worst_rank_error(struct quantile *q, int64_t *v, size_t n)
{
	struct quantile_result r;
	double worst = 0;
	quantile_result_at(q, &r, T0);
	assert_int_equal(r.count, n);
	assert_int_equal(r.n, N_QUANTILES);
	qsort(v, n, sizeof(*v), ascending);
	for (size_t i = 0; i < r.n; i++) {
		assert_true(r.points[i].quantile == quantiles[i]); /* the flag's order */
		size_t first = 0, last = n;
		while (first < n && (double)v[first] < r.points[i].value)
			first++;
		while (last > 0 && (double)v[last - 1] > r.points[i].value)
			last--;
		assert_true(first < last); /* it is one of the values */
		double want = quantiles[i] * (double)n;
		double error = want < (double)first + 1 ? (double)first + 1 - want
			       : want > (double)last    ? want - (double)last
							: 0;
		worst = fmax(worst, error / (double)n);
	}
	quantile_result_free(&r);
	return worst;
}

static void test_ranks_are_within_1_percent(void **state)
{
	static int64_t (*const draws[])(void) = {draw_uniform, draw_exponential, draw_bimodal,
		draw_steps, draw_ascending, draw_descending};
	static const size_t sizes[] = {1, 2, 10, 511, 513, 5000, 100000, 400000};
	for (size_t d = 0; d < COUNT(draws); d++) {
		for (size_t s = 0; s < COUNT(sizes); s++) {
			size_t n = sizes[s];
			int64_t *v = malloc(n * sizeof(*v));
			struct quantile *q = quantile_new(WINDOW, quantiles, N_QUANTILES);
			for (size_t i = 0; i < n; i++) {
				v[i] = draws[d]();
				quantile_insert_at(q, v[i], T0);
			}
			double error = worst_rank_error(q, v, n);
			/* A rank is a whole number: less than one value off is exact. */
			if (error > 0.01 && error * (double)n >= 1)
				fail_msg("distribution %zu, %zu values: %g", d, n, error);
			quantile_free(q);
			free(v);
		}
	}
}

static void test_few_values_are_exact(void **state)
{
	struct quantile *q = quantile_new(WINDOW, quantiles, N_QUANTILES);
	for (int64_t i = 1; i <= 500; i++)
		quantile_insert_at(q, i * 7919 % 1009, T0); /* a permutation of some of 1..1008 */
	int64_t v[500];
	for (int64_t i = 1; i <= 500; i++)
		v[i - 1] = i * 7919 % 1009;
	assert_true(worst_rank_error(q, v, 500) * 500 < 1); /* the next whole rank */
	quantile_free(q);
}

static void test_a_merge_keeps_the_error(void **state)
{
	enum { STREAMS = 20, EACH = 20000 };
	static int64_t v[STREAMS * EACH];
	struct quantile *all = quantile_new(WINDOW, quantiles, N_QUANTILES);
	for (int s = 0; s < STREAMS; s++) {
		struct quantile *q = quantile_new(WINDOW, quantiles, N_QUANTILES);
		for (int i = 0; i < EACH; i++) {
			v[s * EACH + i] = draw_exponential() * (s + 1);
			quantile_insert_at(q, v[s * EACH + i], T0);
		}
		quantile_merge_at(all, q, T0);
		quantile_free(q);
	}
	double error = worst_rank_error(all, v, STREAMS * EACH);
	if (error > 0.01)
		fail_msg("%g", error);
	quantile_free(all);
}

static uint64_t count_at(struct quantile *q, int64_t now)
{
	struct quantile_result r;
	quantile_result_at(q, &r, now);
	uint64_t count = r.count;
	quantile_result_free(&r);
	return count;
}

static void test_the_window_forgets_half_at_a_time(void **state)
{
	int64_t half = WINDOW / 2;
	struct quantile *q = quantile_new(WINDOW, quantiles, N_QUANTILES);
	quantile_insert_at(q, 1, T0);
	quantile_insert_at(q, 2, T0 + half + 1);
	assert_int_equal(count_at(q, T0 + half + 1), 2);
	quantile_insert_at(q, 3, T0 + half + 2);
	assert_int_equal(count_at(q, T0 + 2 * half), 3);
	assert_int_equal(count_at(q, T0 + 2 * half + 1), 2); /* the first has gone */
	assert_int_equal(count_at(q, T0 + 3 * half + 1), 0);
	quantile_insert_at(q, 4, T0 + 50 * half + 7); /* long silence: the phase is kept */
	assert_int_equal(count_at(q, T0 + 51 * half), 1);
	assert_int_equal(count_at(q, T0 + 52 * half), 1);
	assert_int_equal(count_at(q, T0 + 52 * half + 1), 0);
	quantile_free(q);
}

static void test_a_merge_takes_only_what_is_in_the_window(void **state)
{
	struct quantile *q = quantile_new(WINDOW, quantiles, N_QUANTILES);
	struct quantile *old = quantile_new(WINDOW, quantiles, N_QUANTILES);
	struct quantile *fresh = quantile_new(WINDOW, quantiles, N_QUANTILES);
	int64_t now = T0 + 10 * WINDOW;
	quantile_insert_at(old, 1, T0);
	quantile_insert_at(fresh, 2, now);
	quantile_merge_at(q, fresh, now);
	quantile_merge_at(q, old, now);
	assert_int_equal(count_at(q, now), 1);
	assert_int_equal(count_at(fresh, now), 1); /* and leaves it where it was */
	quantile_free(q);
	quantile_free(old);
	quantile_free(fresh);
}

static void test_a_window_of_zero_is_empty(void **state)
{
	struct quantile *q = quantile_new(0, quantiles, N_QUANTILES);
	quantile_insert_at(q, 1, T0);
	quantile_insert_at(q, 2, T0 + 1);
	assert_int_equal(count_at(q, T0 + 2), 0);
	quantile_free(q);
}

static void test_json_is_stocks(void **state)
{
	static const double two[] = {0.99, 0.5};
	struct strbuf sb = STRBUF_INIT;
	struct quantile_result r;
	quantile_result(NULL, &r);
	quantile_result_add_json(&r, &sb);
	assert_string_equal(sb.data, "{\"count\":0,\"percentiles\":null}");
	quantile_result_free(&r);

	struct quantile *q = quantile_new(WINDOW, two, 2);
	strbuf_reset(&sb);
	quantile_result_at(q, &r, T0);
	quantile_result_add_json(&r, &sb);
	assert_string_equal(sb.data,
		"{\"count\":0,\"percentiles\":[{\"quantile\":0.99,\"value\":0},"
		"{\"quantile\":0.5,\"value\":0}]}");
	quantile_result_free(&r);

	quantile_insert_at(q, 3000000, T0);
	quantile_insert_at(q, 1000000, T0);
	strbuf_reset(&sb);
	quantile_result_at(q, &r, T0);
	quantile_result_add_json(&r, &sb);
	assert_string_equal(sb.data,
		"{\"count\":2,\"percentiles\":[{\"quantile\":0.99,\"value\":3000000},"
		"{\"quantile\":0.5,\"value\":1000000}]}");
	quantile_result_free(&r);
	quantile_free(q);
	strbuf_free(&sb);
}

static void test_insert_measures_from_the_wall_clock(void **state)
{
	static const double one[] = {1.0};
	struct quantile *q = quantile_new(WINDOW, one, 1);
	struct quantile_result r;
	quantile_insert(q, clock_wall_ns() - 5 * NSEC_PER_SEC);
	quantile_result(q, &r);
	assert_true(r.points[0].value >= 4.9e9 && r.points[0].value < 60e9);
	quantile_result_free(&r);
	quantile_free(q);
}

static void test_memory_is_bounded(void **state)
{
	struct quantile *q = quantile_new(WINDOW, quantiles, N_QUANTILES);
	size_t most = 0;
	for (int i = 0; i < 1000000; i++) {
		quantile_insert_at(q, draw_uniform(), T0 + (i > 500000 ? WINDOW / 2 + 1 : 0));
		size_t used = i % 1000 == 0 ? quantile_memory(q) : 0;
		most = used > most ? used : most;
	}
	assert_int_equal(count_at(q, T0 + WINDOW / 2 + 1), 1000000);
	if (most > 64000)
		fail_msg("%zu bytes", most);
	quantile_free(q);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ranks_are_within_1_percent),
		cmocka_unit_test(test_few_values_are_exact),
		cmocka_unit_test(test_a_merge_keeps_the_error),
		cmocka_unit_test(test_the_window_forgets_half_at_a_time),
		cmocka_unit_test(test_a_merge_takes_only_what_is_in_the_window),
		cmocka_unit_test(test_a_window_of_zero_is_empty),
		cmocka_unit_test(test_json_is_stocks),
		cmocka_unit_test(test_insert_measures_from_the_wall_clock),
		cmocka_unit_test(test_memory_is_bounded),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
