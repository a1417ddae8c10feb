/* SPDX-License-Identifier: MIT */
/* regex: what matches, what Go refuses, and time. The expectations are Go's answers. */
#include "test/unit/helper.h"

#include <time.h>

#include "common/gothread.h"
#include "common/regex.h"
#include "common/strbuf.h"

static void test_matches_are_those_of_go(void **state)
{
	static const struct {
		const char *pattern;
		const char *text;
		bool matches;
	} cases[] = {
		{"", "", true},
		{"", "x", true},
		{".*", "", true},
		{"^$", "", true},
		{"^$", "x", false},
		{"rd", "orders", true},
		{"^rd", "orders", false},
		{"^orders$", "orders", true},
		{"^orders$", "orders2", false},
		{"^orders$", "orders\n", false},
		{"ORDERS", "orders", false},
		{"(?i)ORDERS", "orders", true},
		{"(?i:O)rders", "orders", true},
		{"(?P<name>a|b)c", "xbc", true},
		{"^(foo|bar)-[0-9]{2,3}$", "bar-123", true},
		{"^(foo|bar)-[0-9]{2,3}$", "bar-1234", false},
		{"^\\w+\\.\\d+$", "a_b.1", true},
		{"^[[:alpha:]]+$", "abc", true},
		{"^[[:alpha:]]+$", "ab1", false},
		{"^[]a]+$", "]a", true},
		{"^[^\\]]$", "]", false},
		{"^\\x{61}+?$", "aa", true},
		{"^\\x61\\101$", "aA", true},
		{"^\\Qa.*b\\E$", "a.*b", true},
		{"^\\Qa.*b\\E$", "axb", false},
		{"\\Aab\\z", "ab", true},
		{"a{,2}", "a{,2}", true},
		{"a{,2}", "aa", false},
		{"a{ 1 }", "a{ 1 }", true},
		{"a{1, 2}", "a{1, 2}", true},
		{"a{1, 2}", "aa", false},
		{"{", "{", true},
		{"a{b}{2}", "a{b}}", true},
		{"\\Qa{,2}\\E", "a{,2}", true},
		{"[{,}]", "{", true},
		{"^\\p{Greek}{2}$", "\xce\xb1\xce\xb2", true},
		{"^\\P{Greek}$", "\xce\xb1", false},
		{"^[\\p{Greek}x]$", "\xce\xb1", true},
		{"\\x{61}{2}", "aa", true},
		{"^\\p{Greek}+$", "\xce\xb1\xce\xb2", true},
		{"^.$", "\xc3\xa9", true},
		{"#ephemeral$", "t#ephemeral", true},
		{"(?U)a+b", "aab", true},
		{"\\_\\-\\/", "_-/", true},
		{"^a{1000}$", "a", false},
		{"((a{10}){10}){10}", "a", false},
		{"(a{1000}b{1000}){1}", "a", false},
		{"(a{1000}){0}", "a", true},
		{"(a{1000})*", "a", true},
		{"(?i)A{2}", "aa", true},
	};
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct err err;
		struct regex *re = regex_compile(cases[i].pattern, strlen(cases[i].pattern), &err);
		if (!re)
			fail_msg("%s: %s", cases[i].pattern, err.msg);
		if (regex_match(re, cases[i].text) != cases[i].matches)
			fail_msg("%s on %s", cases[i].pattern, cases[i].text);
		regex_free(re);
	}
}

static void test_what_go_refuses_is_refused(void **state)
{
	static const char *const bad[] = {"(", ")", "[", "[a", "a**", "a++", "a?+", "a*+", "a{2}+",
		"a{2}{3}", "*", "+a", "(a)\\1", "(?=a)", "(?!a)", "(?<=a)", "(?<!a)", "(?>a)",
		"(?#c)", "(?R)", "(?1)", "(?(1)a)", "(*FAIL)", "\\", "a\\Kb", "\\Ga", "\\R", "\\h",
		"\\X", "\\N", "\\8", "[\\h]", "(?x)a", "\\Z", "\\k<n>", "\\g1", "a{3,2}", "[z-a]",
		"\xff", "\\pX", "a{1001}", "a{1001,}", "a{0,1001}", "(a{101}){10}",
		"((a{10}){10}){11}", "(b|(?:a{501}c)){2}", "a{99999999999}", NULL};
	for (size_t i = 0; bad[i]; i++) {
		struct err err;
		struct regex *re = regex_compile(bad[i], strlen(bad[i]), &err);
		if (re)
			fail_msg("%s is accepted", bad[i]);
		assert_memory_equal(err.msg, "error parsing regexp: ", 22);
	}
}

static void test_a_zero_is_a_character(void **state)
{
	struct err err;
	struct regex *re = regex_compile("^orders\0x", 9, &err);
	assert_non_null(re);
	assert_false(regex_match(re, "orders"));
	regex_free(re);
	assert_null(regex_compile("(\0", 2, &err));
	assert_null(regex_compile("a\0**", 4, &err));
	re = regex_compile("[\0]|\\\0|o", 7, &err);
	assert_non_null(re);
	assert_true(regex_match(re, "orders"));
	regex_free(re);
}

/* n times open, middle, n times close, compiled; NULL with err set. */
static struct regex *compile_nested(
	const char *open, const char *middle, const char *close, int n, struct err *err)
{
	struct strbuf sb = STRBUF_INIT;
	for (int i = 0; i < n; i++)
		strbuf_adds(&sb, open);
	strbuf_adds(&sb, middle);
	for (int i = 0; i < n; i++)
		strbuf_adds(&sb, close);
	struct regex *re = regex_compile(sb.data, sb.len, err);
	strbuf_free(&sb);
	return re;
}

static const struct {
	const char *open, *middle, *close;
} forms[] = {{"(", "a", ")"}, {"(?:", "a", ")"}, {"(?i:b|", "a", "|c)*"}, {"(?P<n", ">a)", ")"},
	{"((?i)(?s)", "[^b]", ")?"}, {"(x{0,2}", "\\pL", ")+?"}};

/* In a thread with the stack that clients' threads have. */
static void nest(void *arg)
{
	for (size_t i = 0; i < COUNT(forms); i++) {
		for (int depth = 1; depth < 300000; depth *= 2) {
			struct err err;
			struct regex *re = compile_nested(
				forms[i].open, forms[i].middle, forms[i].close, depth, &err);
			if (re)
				regex_match(re, "orders");
			else if (depth <= 64 && i != 3)
				fail_msg("%s at %d: %s", forms[i].open, depth, err.msg);
			if (re && depth > 64)
				fail_msg("%s at %d is accepted", forms[i].open, depth);
			regex_free(re);
		}
	}
}

static void test_no_nesting_overflows_the_stack(void **state)
{
	struct wait_group wg;
	struct err err;
	wait_group_init(&wg);
	assert_int_equal(wait_group_wrap(&wg, "nest", nest, NULL, &err), 0);
	wait_group_wait(&wg);
	wait_group_destroy(&wg);
}

/* What would keep a backtracking matcher busy for years. */
static void test_no_pattern_takes_long(void **state)
{
	static const char *const patterns[] = {"^(a+)+$", "^(a|aa)+$", "^(a*)*b$", "^(.*a){20}$",
		"(x+x+)+y", "^((a{1,10}){1,10}){1,10}$"};
	char text[76];
	memset(text, 'a', sizeof(text) - 2);
	text[sizeof(text) - 2] = '!';
	text[sizeof(text) - 1] = '\0';
	/* The processor's time: others may want it, too. */
	clock_t start = clock();
	for (size_t i = 0; i < COUNT(patterns); i++) {
		struct err err;
		struct regex *re = regex_compile(patterns[i], strlen(patterns[i]), &err);
		assert_non_null(re);
		assert_false(regex_match(re, text));
		regex_free(re);
	}
	assert_true(clock() - start < 5 * CLOCKS_PER_SEC);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_matches_are_those_of_go),
		cmocka_unit_test(test_what_go_refuses_is_refused),
		cmocka_unit_test(test_a_zero_is_a_character),
		cmocka_unit_test(test_no_nesting_overflows_the_stack),
		cmocka_unit_test(test_no_pattern_takes_long),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
