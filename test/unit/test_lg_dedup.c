/* SPDX-License-Identifier: MIT */
/* lg_dedup: what is counted, when its time is over, and what has to make room. */
#include "test/unit/helper.h"

#include "common/lg.h"
#include "common/lg_dedup.h"

static struct lg_dedup *d;
static const char place[2];

static int setup(void **state)
{
	d = lg_dedup_new(100);
	return 0;
}

static int teardown(void **state)
{
	lg_dedup_free(d);
	return 0;
}

static bool repeats(const char *text, int64_t now)
{
	struct lg_repeated out;
	bool repeated = lg_dedup_is_repeated(d, LG_ERROR, place, text, strlen(text), now, &out);
	assert_null(out.text);
	return repeated;
}

static void expect(struct lg_repeated *r, const char *text, uint64_t count)
{
	assert_non_null(r->text);
	assert_int_equal(r->len, strlen(text));
	assert_memory_equal(r->text, text, r->len);
	assert_int_equal(r->count, count);
	assert_int_equal(r->ns, 100);
	assert_int_equal(r->level, LG_ERROR);
	free(r->text);
}

static void test_the_same_is_counted_until_its_time_is_over(void **state)
{
	struct lg_repeated out;
	assert_int_equal(lg_dedup_next(d), 0);
	assert_false(repeats("a", 1000));
	assert_int_equal(lg_dedup_next(d), 1100);
	assert_true(repeats("a", 1000));
	assert_true(repeats("a", 1099));
	assert_false(lg_dedup_take(d, 1099, &out));
	assert_true(lg_dedup_take(d, 1100, &out));
	expect(&out, "a", 2);
	assert_int_equal(lg_dedup_next(d), 0);
	assert_false(repeats("a", 1100));
	/* One that came once is forgotten without a word. */
	assert_false(lg_dedup_take(d, 1200, &out));
	assert_int_equal(lg_dedup_next(d), 0);
}

static void test_a_late_one_begins_anew_behind_the_count(void **state)
{
	struct lg_repeated out;
	assert_false(repeats("a", 1000));
	assert_true(repeats("a", 1050));
	assert_false(lg_dedup_is_repeated(d, LG_ERROR, place, "a", 1, 1100, &out));
	expect(&out, "a", 1);
	assert_int_equal(lg_dedup_next(d), 1200);
}

static void test_text_level_and_place_tell_lines_apart(void **state)
{
	struct lg_repeated out;
	assert_false(repeats("a", 1000));
	assert_false(repeats("b", 1000));
	assert_false(repeats("aa", 1000));
	assert_false(lg_dedup_is_repeated(d, LG_WARN, place, "a", 1, 1000, &out));
	assert_false(lg_dedup_is_repeated(d, LG_ERROR, place + 1, "a", 1, 1000, &out));
	assert_true(lg_dedup_is_repeated(d, LG_ERROR, place + 1, "a", 1, 1000, &out));
	assert_true(repeats("a", 1000));
	assert_false(lg_dedup_is_repeated(d, LG_ERROR, place, "a\0b", 3, 1000, &out));
	assert_true(lg_dedup_is_repeated(d, LG_ERROR, place, "a\0b", 3, 1000, &out));
	assert_false(lg_dedup_is_repeated(d, LG_ERROR, place, "a\0c", 3, 1000, &out));
}

static void test_long_and_empty_texts_are_not_counted(void **state)
{
	char text[LG_DEDUP_SIZE + 2];
	memset(text, 'x', sizeof(text));
	text[LG_DEDUP_SIZE + 1] = '\0';
	assert_false(repeats(text, 1));
	assert_false(repeats(text, 1));
	text[LG_DEDUP_SIZE] = '\0';
	assert_false(repeats(text, 1));
	assert_true(repeats(text, 1));
	assert_false(repeats("", 1));
	assert_false(repeats("", 1));
}

/* However many there are: the one whose time is over first makes room, and its count is told. */
static void test_there_are_never_more_than_so_many(void **state)
{
	struct lg_repeated out;
	char text[32];
	for (int i = 0; i < LG_DEDUP_TEXTS; i++) {
		snprintf(text, sizeof(text), "%d", i);
		assert_false(repeats(text, 1000 + i));
	}
	assert_true(repeats("0", 1000));
	assert_false(lg_dedup_is_repeated(d, LG_ERROR, place, "more", 4, 1064, &out));
	expect(&out, "0", 1);
	assert_false(repeats("again more", 1065)); /* in place of "1", which came once */
	assert_true(repeats("2", 1065));
	for (int i = 0; i < 100000; i++) {
		snprintf(text, sizeof(text), "x%d", i);
		(void)lg_dedup_is_repeated(d, LG_ERROR, place, text, strlen(text), 2000 + i, &out);
		free(out.text);
	}
	assert_int_equal(lg_dedup_next(d), 2000 + 100000 - LG_DEDUP_TEXTS + 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			test_the_same_is_counted_until_its_time_is_over, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_a_late_one_begins_anew_behind_the_count, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_text_level_and_place_tell_lines_apart, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_long_and_empty_texts_are_not_counted, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_there_are_never_more_than_so_many, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
