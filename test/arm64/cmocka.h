/* SPDX-License-Identifier: MIT */
/*
 * As much of cmocka as the unit tests of common/ use, for the build for arm64. Debian has cmocka for
 * that processor only in the lists of that architecture, which a machine for tests does not have.
 * A test that fails ends the program.
 */
#ifndef TEST_ARM64_CMOCKA_H
#define TEST_ARM64_CMOCKA_H

#include <fnmatch.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef int (*CMFixtureFunction)(void **state);

struct CMUnitTest {
	const char *name;
	void (*test_func)(void **state);
	CMFixtureFunction setup_func, teardown_func;
	void *initial_state;
};

#define cmocka_unit_test_setup_teardown(f, setup, teardown)                                        \
	{                                                                                          \
#f, f, setup, teardown, NULL                                                       \
	}
#define cmocka_unit_test(f) cmocka_unit_test_setup_teardown(f, NULL, NULL)

__attribute__((unused)) static const char *cmocka_filter;

#define cmocka_set_test_filter(pattern) (cmocka_filter = (pattern))
#define cmocka_run_group_tests(tests, setup, teardown)                                             \
	cmocka_run((tests), sizeof(tests) / sizeof((tests)[0]), setup, teardown)

__attribute__((noreturn, format(printf, 3, 4), unused)) static void cmocka_fail(
	const char *file, int line, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	fprintf(stderr, "%s:%d: ", file, line);
	vfprintf(stderr, fmt, ap);
	fputs("\n[  FAILED  ]\n", stderr);
	va_end(ap);
	_Exit(1);
}

#define fail_msg(...) cmocka_fail(__FILE__, __LINE__, __VA_ARGS__)
#define print_message(...) printf(__VA_ARGS__)
#define cmocka_check(cond, ...) ((cond) ? (void)0 : fail_msg(__VA_ARGS__))
#define assert_true(c) cmocka_check((c), "not so: %s", #c)
#define assert_false(c) cmocka_check(!(c), "is so: %s", #c)
#define assert_non_null(p) cmocka_check((p) != NULL, "NULL: %s", #p)
#define assert_null(p) cmocka_check((p) == NULL, "not NULL: %s", #p)
#define assert_ptr_equal(a, b)                                                                     \
	cmocka_check((const void *)(a) == (const void *)(b), "%s is not %s", #a, #b)
#define assert_ptr_not_equal(a, b)                                                                 \
	cmocka_check((const void *)(a) != (const void *)(b), "%s is %s", #a, #b)
#define assert_string_equal(a, b) cmocka_check(strcmp((a), (b)) == 0, "%s is not %s", #a, #b)
#define assert_string_not_equal(a, b) cmocka_check(strcmp((a), (b)) != 0, "%s is %s", #a, #b)
#define assert_memory_equal(a, b, n)                                                               \
	cmocka_check(memcmp((a), (b), (n)) == 0, "%s is not %s", #a, #b)

__attribute__((unused)) static void cmocka_compare(
	uintmax_t a, uintmax_t b, int equal, const char *what, const char *file, int line)
{
	if ((a == b) != equal)
		cmocka_fail(file, line, "%s: %#jx and %#jx", what, a, b);
}

#define assert_int_equal(a, b)                                                                     \
	cmocka_compare((uintmax_t)(a), (uintmax_t)(b), 1, #a " is not " #b, __FILE__, __LINE__)
#define assert_int_not_equal(a, b)                                                                 \
	cmocka_compare((uintmax_t)(a), (uintmax_t)(b), 0, #a " is " #b, __FILE__, __LINE__)

__attribute__((unused)) static void cmocka_in_range(
	uintmax_t v, uintmax_t least, uintmax_t most, const char *what, const char *file, int line)
{
	if (v < least || v > most)
		cmocka_fail(file, line, "%s is %ju, not %ju to %ju", what, v, least, most);
}

#define assert_in_range(v, least, most)                                                            \
	cmocka_in_range(                                                                           \
		(uintmax_t)(v), (uintmax_t)(least), (uintmax_t)(most), #v, __FILE__, __LINE__)

static void cmocka_run_one(const struct CMUnitTest *t)
{
	void *state = t->initial_state;
	printf("[ RUN      ] %s\n", t->name);
	fflush(stdout);
	if (t->setup_func && t->setup_func(&state) != 0)
		fail_msg("%s: setup", t->name);
	t->test_func(&state);
	if (t->teardown_func && t->teardown_func(&state) != 0)
		fail_msg("%s: teardown", t->name);
	printf("[       OK ] %s\n", t->name);
	fflush(stdout);
}

/* ARM64_WITHOUT: the names of tests for which something is missing here, with spaces between. */
static bool cmocka_is_left_out(const char *name)
{
	const char *list = getenv("ARM64_WITHOUT");
	size_t n = strlen(name);
	for (const char *at = list; at && (at = strstr(at, name)); at += n) {
		if ((at == list || at[-1] == ' ') && (at[n] == '\0' || at[n] == ' '))
			return true;
	}
	return false;
}

__attribute__((unused)) static int cmocka_run(const struct CMUnitTest *tests, size_t n,
	CMFixtureFunction setup, CMFixtureFunction teardown)
{
	const char *filter = getenv("CMOCKA_TEST_FILTER");
	void *state = NULL;
	if (setup && setup(&state) != 0)
		fail_msg("setup");
	for (size_t i = 0; i < n; i++) {
		if (filter && fnmatch(filter, tests[i].name, 0) != 0)
			continue;
		if (cmocka_is_left_out(tests[i].name))
			printf("[  SKIPPED ] %s\n", tests[i].name);
		else
			cmocka_run_one(&tests[i]);
	}
	if (teardown && teardown(&state) != 0)
		fail_msg("teardown");
	puts("[  PASSED  ]"); /* test/unit/run.sh looks for it */
	return 0;
}

#endif
