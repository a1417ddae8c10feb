/* SPDX-License-Identifier: MIT */
/* regex: what matches, what Go refuses, and time. The expectations are Go's answers. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "common/regex.h"
#include "common/strbuf.h"

static void test_matches(void **state)
{
	(void)state;
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
		{"^\\p{Greek}+$", "\xce\xb1\xce\xb2", true},
		{"^.$", "\xc3\xa9", true},
		{"#ephemeral$", "t#ephemeral", true},
		{"(?U)a+b", "aab", true},
		{"\\_\\-\\/", "_-/", true},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct err err;
		struct regex *re = regex_compile(cases[i].pattern, &err);
		if (!re)
			fail_msg("%s: %s", cases[i].pattern, err.msg);
		if (regex_match(re, cases[i].text) != cases[i].matches)
			fail_msg("%s on %s", cases[i].pattern, cases[i].text);
		regex_free(re);
	}
}

static void test_what_go_refuses_is_refused(void **state)
{
	(void)state;
	static const char *const bad[] = {"(", ")", "[", "[a", "a**", "a++", "a?+", "a*+", "a{2}+",
		"a{2}{3}", "*", "+a", "(a)\\1", "(?=a)", "(?!a)", "(?<=a)", "(?<!a)", "(?>a)",
		"(?#c)", "(?R)", "(?1)", "(?(1)a)", "(*FAIL)", "\\", "a\\Kb", "\\Ga", "\\R", "\\h",
		"\\X", "\\N", "\\8", "[\\h]", "(?x)a", "\\Z", "\\k<n>", "\\g1", "a{3,2}", "[z-a]",
		"\xff", "\\pX", NULL};
	for (size_t i = 0; bad[i]; i++) {
		struct err err;
		struct regex *re = regex_compile(bad[i], &err);
		if (re)
			fail_msg("%s is accepted", bad[i]);
		assert_memory_equal(err.msg, "error parsing regexp: ", 22);
	}
}

/* What would keep a backtracking matcher busy for years. */
static void test_no_pattern_takes_long(void **state)
{
	(void)state;
	static const char *const patterns[] = {"^(a+)+$", "^(a|aa)+$", "^(a*)*b$", "^(.*a){20}$",
		"(x+x+)+y", "^((a{1,10}){1,10}){1,10}$"};
	char text[76];
	memset(text, 'a', sizeof(text) - 2);
	text[sizeof(text) - 2] = '!';
	text[sizeof(text) - 1] = '\0';
	/* The processor's time: others may want it, too. */
	clock_t start = clock();
	for (size_t i = 0; i < sizeof(patterns) / sizeof(*patterns); i++) {
		struct err err;
		struct regex *re = regex_compile(patterns[i], &err);
		assert_non_null(re);
		assert_false(regex_match(re, text));
		regex_free(re);
	}
	assert_true(clock() - start < 5 * CLOCKS_PER_SEC);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_matches),
		cmocka_unit_test(test_what_go_refuses_is_refused),
		cmocka_unit_test(test_no_pattern_takes_long),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
