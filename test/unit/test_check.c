/* SPDX-License-Identifier: MIT */
/* check: what a process says at its end that found itself wrong. Each test ends a child. */
#include "test/unit/child_test.h"

#include "common/check.h"

static void fail_plainly(void)
{
	CHECK(1 + 1 == 3);
}

static void test_the_place_the_thread_and_the_condition_are_said(void **state)
{
	expect_abort(fail_plainly, "test/unit/test_check.c:", ": in thread ", "1 + 1 == 3", NULL);
}

static void fail_at_length(void)
{
	char text[5000];
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	check_failed("file.c", 7, "%s", text);
}

static void test_a_long_text_is_cut_off_and_is_one_line(void **state)
{
	char text[8192];
	int status = run_in_child(fail_at_length, text, sizeof(text));
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	assert_int_equal(strncmp(text, "file.c:7: in thread ", 20), 0);
	assert_true(strlen(text) <= 1024);
	assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
}

static void fail_unheard(void)
{
	close(STDERR_FILENO);
	check_failed("file.c", 7, "nobody hears it");
}

static void test_without_stderr_it_aborts_all_the_same(void **state)
{
	char text[64];
	int status = run_in_child(fail_unheard, text, sizeof(text));
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	assert_string_equal(text, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_place_the_thread_and_the_condition_are_said),
		cmocka_unit_test(test_a_long_text_is_cut_off_and_is_one_line),
		cmocka_unit_test(test_without_stderr_it_aborts_all_the_same),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
