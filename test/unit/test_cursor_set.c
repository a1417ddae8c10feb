/* SPDX-License-Identifier: MIT */
/* cursor_set: beside a model, which is an array of bools; and what it costs. */
#include "test/unit/helper.h"

#include "common/rand.h"
#include "common/xalloc.h"
#include "nsqd/log/cursor_set.h"

/* More than a node of boxes. */
enum { N = ROUNDS(5 << 20) };

static bool there[N + 1];

static void expect_same(const struct seq_set *s, uint64_t base, uint64_t x)
{
	uint64_t absent = x, present = x;
	while (absent < N && there[absent])
		absent++;
	while (present < N && !there[present])
		present++;
	assert_int_equal(seq_set_has(s, base + x), there[x]);
	assert_int_equal(seq_set_next_absent(s, base + x), base + absent);
	assert_int_equal(seq_set_next_present(s, base + x), present < N ? base + present : SEQ_END);
}

static void expect_all_the_same(const struct seq_set *s, uint64_t base)
{
	uint64_t count = 0;
	for (uint64_t x = 0; x < N; x++) {
		if (x % 100003 == 0)
			assert_int_equal(seq_set_count_below(s, base + x), count);
		if (seq_set_has(s, base + x) != there[x])
			fail_msg("%lu", (unsigned long)x);
		count += there[x];
	}
	assert_int_equal(s->count, count);
	assert_int_equal(seq_set_count_below(s, base + N), count);
	if (base > 0) {
		assert_int_equal(seq_set_next_absent(s, 0), 0);
		assert_false(seq_set_has(s, base - 1));
	}
	assert_int_equal(seq_set_next_present(s, base + N), SEQ_END);
	assert_int_equal(seq_set_next_absent(s, base + N), base + N);
}

static void add(struct seq_set *s, uint64_t base, uint64_t x, uint64_t n)
{
	uint64_t added = 0;
	for (uint64_t i = x; i < x + n; i++) {
		added += !there[i];
		there[i] = true;
	}
	if (n == 1)
		assert_int_equal(seq_set_add(s, base + x), added);
	else
		assert_int_equal(seq_set_add_range(s, base + x, base + x + n), added);
}

/* Numbers within span places, until most of them are there. */
static void try_out(uint64_t base, uint32_t span, uint32_t longest)
{
	struct seq_set s = {0};
	memset(there, 0, sizeof(there));
	uint32_t from = rand_below(N - span);
	for (int i = 0; i < ROUNDS(100000); i++) {
		uint64_t x = from + rand_below(span);
		uint64_t n = rand_below(4) ? 1 : 1 + rand_below(longest);
		add(&s, base, x, n < N - x ? n : N - x);
		if (i % 100 == 0)
			expect_same(&s, base, from + rand_below(span));
	}
	expect_all_the_same(&s, base);
	/* What is left, from the back. */
	for (uint64_t x = from + span; x-- > from;)
		if (!there[x] && rand_below(1000))
			add(&s, base, x, 1);
	expect_all_the_same(&s, base);
	add(&s, base, 0, N);
	expect_all_the_same(&s, base);
	seq_set_free(&s);
	assert_int_equal(s.memory, 0);
}

static void test_as_an_array_of_bools(void **state)
{
	static const uint64_t bases[] = {0, (UINT64_C(1) << 40) + 12345, SEQ_END - N};
	static const uint32_t spans[] = {300, 200000, N - 1};
	for (size_t i = 0; i < COUNT(bases); i++)
		for (size_t j = 0; j < COUNT(spans); j++)
			try_out(bases[i], spans[j], i % 2 ? 300 : spans[j] / 20);
}

static void test_the_ends(void **state)
{
	struct seq_set s = {0};
	assert_false(seq_set_has(&s, 0));
	assert_int_equal(seq_set_next_absent(&s, 7), 7);
	assert_int_equal(seq_set_next_present(&s, 7), SEQ_END);
	assert_int_equal(seq_set_count_below(&s, SEQ_END), 0);
	assert_int_equal(seq_set_add_range(&s, 5, 5), 0);
	assert_int_equal(seq_set_add_range(&s, 0, SEQ_END), SEQ_END);
	assert_int_equal(seq_set_add_range(&s, 0, SEQ_END), 0);
	assert_false(seq_set_add(&s, SEQ_END - 1));
	assert_int_equal(seq_set_next_absent(&s, 0), SEQ_END);
	assert_int_equal(seq_set_count_below(&s, 1000), 1000);
	assert_true(s.memory < 100);
	seq_set_free(&s);
	assert_true(seq_set_add(&s, SEQ_END - 1));
	assert_false(seq_set_add(&s, SEQ_END - 1));
	assert_int_equal(seq_set_next_present(&s, 0), SEQ_END - 1);
	assert_int_equal(seq_set_next_absent(&s, SEQ_END - 1), SEQ_END);
	seq_set_free(&s);
}

/* The bytes that malloc was asked for are those that the set says. */
static void test_one_old_one_and_all_behind_it(void **state)
{
	struct seq_set s = {0};
	seq_set_add_range(&s, 0, 1000);
	for (uint64_t x = 1001; x < 1001 + 100 * 1000 * 1000ULL; x += 1000)
		seq_set_add_range(&s, x, x + 1000);
	assert_true(s.memory < 10000);
	assert_int_equal(seq_set_next_absent(&s, 0), 1000);
	assert_true(seq_set_add(&s, 1000));
	assert_int_equal(seq_set_next_absent(&s, 0), 1001 + 100 * 1000 * 1000ULL);
	seq_set_free(&s);
}

/* So many bytes for each number that is missing, of one in `every`. */
static double bytes_each(uint64_t every, bool invert)
{
	struct seq_set s = {0};
	enum { MISSING = 20000 };
	for (uint64_t i = 0; i < MISSING; i++) {
		uint64_t x = i * every + rand_below((uint32_t)every);
		if (invert)
			seq_set_add(&s, x);
		else
			seq_set_add_range(&s, seq_set_next_absent(&s, i ? i * every : 0), x);
		if (!invert && x + 1 < (i + 1) * every)
			seq_set_add_range(&s, x + 1, (i + 1) * every);
	}
	double each = (double)s.memory / MISSING;
	print_message("one in %lu %s: %.1f bytes each\n", (unsigned long)every,
		invert ? "is there" : "is missing", each);
	seq_set_free(&s);
	return each;
}

static void test_few_bytes_for_each_that_is_not_as_its_neighbours(void **state)
{
	for (int invert = 0; invert < 2; invert++) {
		assert_true(bytes_each(2, invert) < 1);
		assert_true(bytes_each(10, invert) < 3);
		assert_true(bytes_each(100, invert) < (invert ? 16 : 5));
		assert_true(bytes_each(1000, invert) < 6);
		assert_true(bytes_each(10000, invert) < 20);
		assert_true(bytes_each(100000, invert) < 50);
		assert_true(bytes_each(100000000, invert) < 100);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_as_an_array_of_bools),
		cmocka_unit_test(test_the_ends),
		cmocka_unit_test(test_one_old_one_and_all_behind_it),
		cmocka_unit_test(test_few_bytes_for_each_that_is_not_as_its_neighbours),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
