/* SPDX-License-Identifier: MIT */
/* flags: Go's package flag; every message here was printed by it. */
#include "test/unit/helper.h"

#include <errno.h>
#include <math.h>

#include "common/flags.h"
#include "common/xalloc.h"

static struct {
	bool b;
	int i;
	int64_t l, d;
	char *s;
} v;

static struct flag flags[] = {
	{"size", "how \"big\"", &flag_type_int64, &v.l, false},
	{"b", "a bool", &flag_type_bool, &v.b, false},
	{"int", "an int", &flag_type_int, &v.i, false},
	{"name", "a name", &flag_type_string, &v.s, false},
	{"wait", "a duration", &flag_type_duration, &v.d, false},
};
#define N_FLAGS (COUNT(flags))

static int rest;
static struct strbuf out;

static int setup(void **state)
{
	v.b = false;
	v.i = 0;
	v.l = 5;
	v.d = 90000000000;
	v.s = xstrdup("x\"y");
	for (size_t i = 0; i < N_FLAGS; i++)
		flags[i].seen = false;
	out = (struct strbuf)STRBUF_INIT;
	strbuf_adds(&out, "");
	return 0;
}

static int teardown(void **state)
{
	free(v.s);
	strbuf_free(&out);
	return 0;
}

#define SCAN(...) scan((const char *[]){"prog", __VA_ARGS__, NULL})
static enum flags_result scan(const char **argv)
{
	int argc = 0;
	while (argv[argc])
		argc++;
	strbuf_reset(&out);
	return flags_scan("prog", flags, N_FLAGS, argc, (char **)argv, &rest, &out);
}

static void test_a_flag_has_one_or_two_dashes_and_its_value_behind_equals_or_next(void **state)
{
	assert_int_equal(SCAN("-size=7", "--int", "-3", "-name", "", "--wait=250ms"), FLAGS_OK);
	assert_int_equal(v.l, 7);
	assert_int_equal(v.i, -3);
	assert_string_equal(v.s, "");
	assert_int_equal(v.d, 250000000);
	assert_int_equal(rest, 7);
	assert_true(flags[0].seen && !flags[1].seen && flags[2].seen);
	assert_string_equal(out.data, "");
}

static void test_a_value_may_have_equals_and_dashes(void **state)
{
	assert_int_equal(SCAN("-name=a=b"), FLAGS_OK);
	assert_string_equal(v.s, "a=b");
	assert_int_equal(SCAN("-name", "--b"), FLAGS_OK);
	assert_string_equal(v.s, "--b");
	assert_false(v.b);
}

static void test_booleans_need_no_value_and_take_none_from_the_next_word(void **state)
{
	assert_int_equal(SCAN("-b"), FLAGS_OK);
	assert_true(v.b);
	assert_int_equal(SCAN("--b=F"), FLAGS_OK);
	assert_false(v.b);
	assert_int_equal(SCAN("-b", "false", "-size=9"), FLAGS_OK);
	assert_true(v.b);
	assert_int_equal(rest, 2);
	assert_int_equal(v.l, 5);
}

static void test_the_last_of_several_wins(void **state)
{
	assert_int_equal(SCAN("-size=1", "-size=2"), FLAGS_OK);
	assert_int_equal(v.l, 2);
}

static void test_a_word_or_two_dashes_end_the_flags(void **state)
{
	assert_int_equal(SCAN("--", "-size=1"), FLAGS_OK);
	assert_int_equal(rest, 2);
	assert_int_equal(SCAN("-", "-size=1"), FLAGS_OK);
	assert_int_equal(rest, 1);
	assert_int_equal(SCAN("word", "-size=1"), FLAGS_OK);
	assert_int_equal(rest, 1);
	assert_int_equal(SCAN("", "-size=1"), FLAGS_OK);
	assert_int_equal(rest, 1);
	assert_int_equal(v.l, 5);
	assert_int_equal(SCAN("-b", "--"), FLAGS_OK);
	assert_int_equal(rest, 3);
}

static const char usage[] = "Usage of prog:\n"
			    "  -b\ta bool\n"
			    "  -int int\n    \tan int\n"
			    "  -name string\n    \ta name (default \"x\\\"y\")\n"
			    "  -size int\n    \thow \"big\" (default 5)\n"
			    "  -wait duration\n    \ta duration (default 1m30s)\n";

static void test_messages_are_those_of_go_and_the_usage_follows(void **state)
{
	static const struct {
		const char *word, *message;
	} cases[] = {
		{"--bogus", "flag provided but not defined: -bogus\n"},
		{"-bogus=1", "flag provided but not defined: -bogus\n"},
		{"-=x", "bad flag syntax: -=x\n"},
		{"---x", "bad flag syntax: ---x\n"},
		{"-size", "flag needs an argument: -size\n"},
		{"-size=x", "invalid value \"x\" for flag -size: parse error\n"},
		{"-size=", "invalid value \"\" for flag -size: parse error\n"},
		{"-size=a\tb", "invalid value \"a\\tb\" for flag -size: parse error\n"},
		{"-size=9223372036854775808", "invalid value \"9223372036854775808\" for flag "
					      "-size: value out of range\n"},
		{"-wait=5", "invalid value \"5\" for flag -wait: parse error\n"},
		{"-b=maybe", "invalid boolean value \"maybe\" for -b: parse error\n"},
		{"-b=", "invalid boolean value \"\" for -b: parse error\n"},
	};
	for (size_t i = 0; i < COUNT(cases); i++) {
		assert_int_equal(SCAN(cases[i].word), FLAGS_BAD);
		size_t n = strlen(cases[i].message);
		if (strncmp(out.data, cases[i].message, n) != 0)
			fail_msg("%s: %s", cases[i].word, out.data);
		assert_string_equal(out.data + n, usage);
	}
}

static void test_a_mistyped_flag_gets_a_suggestion_behind_gos_message(void **state)
{
	static const struct {
		const char *word, *name; /* NULL: nothing is near */
	} cases[] = {
		{"-nmae", "name"},   /* two letters exchanged */
		{"-nam=5", "name"},  /* one is missing */
		{"--naame", "name"}, /* one too many */
		{"-SIZE", "size"}, {"-s_ize", "size"}, {"-wayt", "wait"}, {"-x", NULL},
		{"-in", NULL}, /* of two letters none may be wrong */
		{"-bogus", NULL}, {"-snze", "size"}, {"-n12e", NULL}, /* two of four */
	};
	for (size_t i = 0; i < COUNT(cases); i++) {
		assert_int_equal(SCAN(cases[i].word), FLAGS_BAD);
		const char *line = strchr(out.data, '\n') + 1;
		char want[64] = "";
		if (cases[i].name)
			snprintf(want, sizeof(want), "did you mean -%s?\n", cases[i].name);
		if (strncmp(line, want, strlen(want)) != 0)
			fail_msg("%s: %s", cases[i].word, out.data);
		assert_string_equal(line + strlen(want), usage);
	}
	char *word = xcalloc(1, 100001);
	memset(word, 'n', 100000);
	word[0] = '-';
	assert_int_equal(SCAN(word), FLAGS_BAD);
	assert_null(strstr(out.data, "did you mean"));
	for (size_t len = 60; len < 70; len++) { /* about the longest that is compared */
		word[len] = '\0';
		assert_int_equal(SCAN(word), FLAGS_BAD);
		word[len] = 'n';
	}
	free(word);
}

static void test_help_prints_the_defaults_even_behind_other_flags(void **state)
{
	assert_int_equal(SCAN("-h"), FLAGS_HELP);
	assert_string_equal(out.data, usage);
	assert_int_equal(SCAN("-help=x"), FLAGS_HELP);
	assert_string_equal(out.data, usage);
	assert_int_equal(SCAN("-size=77", "--help"), FLAGS_HELP);
	assert_non_null(strstr(out.data, "(default 5)"));
}

static void test_integers_as_strconv_reads_them(void **state)
{
	static const struct {
		const char *text;
		int rc;
		int64_t want;
	} cases[] = {
		{"0", 0, 0},
		{"+7", 0, 7},
		{"-7", 0, -7},
		{"0x1F", 0, 31},
		{"0X1f", 0, 31},
		{"-0b11", 0, -3},
		{"0o17", 0, 15},
		{"017", 0, 15},
		{"00", 0, 0},
		{"1_000", 0, 1000},
		{"0x_f", 0, 15},
		{"0_7", 0, 7},
		{"9223372036854775807", 0, INT64_MAX},
		{"-9223372036854775808", 0, INT64_MIN},
		{"9223372036854775808", ERANGE, 0},
		{"99999999999999999999x", ERANGE, 0},
		{"_99999999999999999999", ERANGE, 0},
		{"9223372036854775808x", EINVAL, 0},
		{"-9223372036854775809", ERANGE, 0},
		{"99999999999999999999999", ERANGE, 0},
		{"", EINVAL, 0},
		{"-", EINVAL, 0},
		{"0x", EINVAL, 0},
		{"08", EINVAL, 0},
		{"_1", EINVAL, 0},
		{"1_", EINVAL, 0},
		{"1__0", EINVAL, 0},
		{"1a", EINVAL, 0},
		{" 1", EINVAL, 0},
		{"1 ", EINVAL, 0},
		{"--1", EINVAL, 0},
		{"1.5", EINVAL, 0},
	};
	for (size_t i = 0; i < COUNT(cases); i++) {
		int64_t got = 0;
		int rc = flags_parse_int(cases[i].text, 0, 64, &got);
		if (rc != cases[i].rc || got != cases[i].want)
			fail_msg("%s: %d, %lld", cases[i].text, rc, (long long)got);
	}
	int64_t got;
	assert_int_equal(flags_parse_int("010", 10, 64, &got), 0);
	assert_int_equal(got, 10);
	assert_int_equal(flags_parse_int("0x10", 10, 64, &got), EINVAL);
	assert_int_equal(flags_parse_int("1_0", 10, 64, &got), EINVAL);
	assert_int_equal(flags_parse_int("2147483648", 0, 32, &got), ERANGE);
	assert_int_equal(flags_parse_int("-2147483648", 0, 32, &got), 0);
}

static void test_floats_and_booleans_as_strconv_reads_them(void **state)
{
	double d;
	bool b;
	assert_true(flags_parse_float("0.99", &d) && d == 0.99);
	assert_true(flags_parse_float("+1e-3", &d) && d == 1e-3);
	assert_true(flags_parse_float(".5", &d) && d == 0.5);
	assert_true(flags_parse_float("5.", &d) && d == 5);
	assert_true(flags_parse_float("-Inf", &d) && isinf(d));
	assert_true(flags_parse_float("NaN", &d) && isnan(d));
	assert_true(flags_parse_float("0x1p-1", &d) && d == 0.5);
	assert_true(flags_parse_float("-0X.8P0", &d) && d == -0.5);
	assert_true(flags_parse_float("0x_8p-0_4", &d) && d == 0.5);
	assert_true(flags_parse_float("0.5_0", &d) && d == 0.5);
	assert_true(flags_parse_float("0x1e_fp0", &d) && d == 0x1ef);
	static const char *const bad[] = {"", " 1", "1 ", "x", "1e", "1e999", "--1", "+-1", "0x",
		"nan(1)", "1,5", ".", "0x1", "0x.8", "0xp1", "0x1p", "_1", "1_", "1__0", "1_.5",
		"1._5", "1_e5", "1e_5", "0_x1p2", "0x1p1f", "in_f", "0x1p999999", "1p2", "1f"};
	for (size_t i = 0; i < COUNT(bad); i++)
		if (flags_parse_float(bad[i], &d))
			fail_msg("%s", bad[i]);
	assert_true(flags_parse_bool("T", &b) && b);
	assert_true(flags_parse_bool("FALSE", &b) && !b);
	assert_false(flags_parse_bool("tRUE", &b));
	assert_false(flags_parse_bool("", &b));
	assert_false(flags_parse_bool("yes", &b));
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_a_flag_has_one_or_two_dashes_and_its_value_behind_equals_or_next),
		T(test_a_value_may_have_equals_and_dashes),
		T(test_booleans_need_no_value_and_take_none_from_the_next_word),
		T(test_the_last_of_several_wins),
		T(test_a_word_or_two_dashes_end_the_flags),
		T(test_messages_are_those_of_go_and_the_usage_follows),
		T(test_a_mistyped_flag_gets_a_suggestion_behind_gos_message),
		T(test_help_prints_the_defaults_even_behind_other_flags),
		cmocka_unit_test(test_integers_as_strconv_reads_them),
		cmocka_unit_test(test_floats_and_booleans_as_strconv_reads_them),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
