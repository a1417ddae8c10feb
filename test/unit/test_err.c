/* SPDX-License-Identifier: MIT */
/* err: messages with context, and Go's texts of errno. */
#include "test/unit/helper.h"

#include <errno.h>

#include "common/err.h"

static void test_set_keeps_code_and_text(void **state)
{
	struct err err;
	assert_int_equal(err_set(&err, EINVAL, "bad %s %d", "thing", 3), -1);
	assert_int_equal(err.code, EINVAL);
	assert_string_equal(err.msg, "bad thing 3");
}

static void test_null_err_is_allowed(void **state)
{
	assert_int_equal(err_set(NULL, 0, "x"), -1);
	assert_int_equal(err_errno(NULL, EIO, "x"), -1);
	assert_int_equal(err_wrap(NULL, "x"), -1);
}

/* What the Go syscall package says for the same number. */
static void test_errno_texts_are_those_of_go(void **state)
{
	static const struct {
		int code;
		const char *text;
	} texts[] = {
		{EPERM, "operation not permitted"},
		{ENOENT, "no such file or directory"},
		{EINTR, "interrupted system call"},
		{EIO, "input/output error"},
		{EBADF, "bad file descriptor"},
		{EAGAIN, "resource temporarily unavailable"},
		{ENOMEM, "cannot allocate memory"},
		{EACCES, "permission denied"},
		{EEXIST, "file exists"},
		{ENOTDIR, "not a directory"},
		{EISDIR, "is a directory"},
		{EINVAL, "invalid argument"},
		{ENFILE, "too many open files in system"},
		{EMFILE, "too many open files"},
		{EFBIG, "file too large"},
		{ENOSPC, "no space left on device"},
		{EROFS, "read-only file system"},
		{EPIPE, "broken pipe"},
		{ENAMETOOLONG, "file name too long"},
		{EADDRINUSE, "address already in use"},
		{EADDRNOTAVAIL, "cannot assign requested address"},
		{ECONNABORTED, "software caused connection abort"},
		{ECONNRESET, "connection reset by peer"},
		{ETIMEDOUT, "connection timed out"},
		{ECONNREFUSED, "connection refused"},
		{EHOSTUNREACH, "no route to host"},
		{EDQUOT, "disk quota exceeded"},
		{ENOTNAM, "not a XENIX named type file"},
		{ELIBSCN, ".lib section in a.out corrupted"},
		{ERFKILL, "operation not possible due to RF-kill"},
	};
	char buf[128];
	for (size_t i = 0; i < COUNT(texts); i++)
		assert_string_equal(err_strerror(texts[i].code, buf, sizeof(buf)), texts[i].text);
}

static void test_errno_joins_with_a_colon_unless_told_otherwise(void **state)
{
	struct err err;
	err_errno(&err, ENOENT, "open %s", "x");
	assert_string_equal(err.msg, "open x: no such file or directory");
	assert_int_equal(err.code, ENOENT);
	err_errno(&err, ENOENT, "open %s: ", "x");
	assert_string_equal(err.msg, "open x: no such file or directory");
	err_errno(&err, ENOENT, "failed to open - ");
	assert_string_equal(err.msg, "failed to open - no such file or directory");
	err_errno(&err, ENOENT, "%s", "");
	assert_string_equal(err.msg, "no such file or directory");
}

static void test_wrap_puts_context_in_front_and_keeps_the_code(void **state)
{
	struct err err;
	err_errno(&err, EACCES, "open %s", "a.dat");
	assert_int_equal(err_wrap(&err, "topic %s", "t"), -1);
	assert_string_equal(err.msg, "topic t: open a.dat: permission denied");
	err_wrap(&err, "failed - ");
	assert_string_equal(err.msg, "failed - topic t: open a.dat: permission denied");
	assert_int_equal(err.code, EACCES);
}

static void test_arguments_may_come_from_the_message_itself(void **state)
{
	struct err err;
	err_set(&err, 5, "inner");
	err_set(&err, 6, "<%s>", err.msg);
	assert_string_equal(err.msg, "<inner>");
	err_wrap(&err, "[%s]", err.msg);
	assert_string_equal(err.msg, "[<inner>]: <inner>");
}

static void test_long_messages_are_cut_off(void **state)
{
	struct err err;
	char longer[600];
	memset(longer, 'a', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	err_set(&err, 0, "%s", longer);
	assert_int_equal(strlen(err.msg), sizeof(err.msg) - 1);
	err_errno(&err, ENOENT, "%s", longer);
	assert_int_equal(strlen(err.msg), sizeof(err.msg) - 1);
	err_wrap(&err, "%s", longer);
	err_wrap(&err, "short");
	assert_int_equal(strlen(err.msg), sizeof(err.msg) - 1);
	assert_memory_equal(err.msg, "short: aaa", 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_set_keeps_code_and_text),
		cmocka_unit_test(test_null_err_is_allowed),
		cmocka_unit_test(test_errno_texts_are_those_of_go),
		cmocka_unit_test(test_errno_joins_with_a_colon_unless_told_otherwise),
		cmocka_unit_test(test_wrap_puts_context_in_front_and_keeps_the_code),
		cmocka_unit_test(test_arguments_may_come_from_the_message_itself),
		cmocka_unit_test(test_long_messages_are_cut_off),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
