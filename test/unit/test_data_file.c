/* SPDX-License-Identifier: MIT */
/* nsqd/core/data_file: a small file that is read or refused, and replaced or left as it was. */
#include "test/unit/dir_test.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "nsqd/core/data_file.h"

static int read_it(struct strbuf *sb, struct err *err)
{
	*sb = (struct strbuf)STRBUF_INIT;
	return data_file_read("./f", sb, err);
}

static void expect_content(const char *text)
{
	struct strbuf sb;
	struct err err;
	assert_int_equal(read_it(&sb, &err), 1);
	assert_int_equal(sb.len, strlen(text));
	assert_memory_equal(sb.data ? sb.data : "", text, sb.len);
	strbuf_free(&sb);
}

static void expect_refused(int code)
{
	struct strbuf sb;
	struct err err;
	assert_int_equal(read_it(&sb, &err), -1);
	assert_int_equal(err.code, code);
	strbuf_free(&sb);
}

static int replace(const char *text, struct err *err)
{
	struct strbuf sb = STRBUF_INIT;
	strbuf_adds(&sb, text);
	int dir = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int rc = data_file_replace(dir, "./f", &sb, err);
	close(dir);
	strbuf_free(&sb);
	return rc;
}

static void test_no_file_is_none(void **state)
{
	struct strbuf sb;
	struct err err;
	assert_int_equal(read_it(&sb, &err), 0);
	assert_int_equal(sb.len, 0);
	write_text("f", "");
	expect_content("");
}

static void test_what_is_replaced_is_read_and_nothing_else_is_left(void **state)
{
	struct err err;
	struct stat st;
	assert_int_equal(replace("one", &err), 0);
	expect_content("one");
	assert_int_equal(replace("two and more", &err), 0);
	expect_content("two and more");
	assert_int_equal(stat("f", &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(count_files("f", ""), 1);
}

static void test_what_is_no_regular_file_is_refused_at_once(void **state)
{
	assert_int_equal(mkfifo("f", 0600), 0);
	expect_refused(ENXIO);
	unlink("f");
	assert_int_equal(mkdir("f", 0700), 0);
	expect_refused(EISDIR);
	assert_int_equal(rmdir("f"), 0);
	assert_int_equal(symlink("f", "f"), 0);
	expect_refused(ELOOP);
}

static void test_a_huge_one_is_refused_before_it_is_read(void **state)
{
	write_text("f", "x");
	assert_int_equal(truncate("f", (off_t)1 << 40), 0);
	expect_refused(EFBIG);
}

static void test_a_disk_that_refuses_leaves_the_old_one(void **state)
{
	struct rlimit old, small;
	struct err err = {0};
	assert_int_equal(replace("old", &err), 0);
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	small = (struct rlimit){4, old.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	int rc = replace("new, and too long", &err);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	assert_int_equal(rc, -1);
	assert_int_equal(err.code, EFBIG);
	expect_content("old");
	assert_int_equal(count_files("f", ""), 1);
}

static void test_what_cannot_be_replaced_leaves_no_other(void **state)
{
	struct err err = {0};
	assert_int_equal(mkdir("f", 0700), 0);
	assert_int_equal(replace("x", &err), -1);
	assert_int_equal(err.code, EISDIR);
	assert_int_equal(count_files("f", ""), 1);
	assert_int_equal(rmdir("f"), 0);
}

static void expect_path(const char *dir, const char *path)
{
	char *p = data_file_path(dir, "f");
	assert_string_equal(p, path);
	free(p);
}

static void test_paths(void **state)
{
	expect_path(".", "./f");
	expect_path("/", "/f");
	expect_path("///", "/f");
	expect_path("/a/b", "/a/b/f");
	expect_path("/a/b//", "/a/b/f");
}

static void test_names_of_temporary_files(void **state)
{
	assert_true(data_file_is_temporary("nsqd.dat.123.tmp", "nsqd.dat"));
	assert_true(data_file_is_temporary("nsqd.dat.9223372036854775807.tmp", "nsqd.dat"));
	static const char *const others[] = {"nsqd.dat", "nsqd.dat.tmp", "nsqd.dat..tmp",
		"nsqd.dat.1", "nsqd.dat.1.tmpx", "nsqd.dat.x.tmp", "nsqd.dat1.tmp", "nsqd.da",
		"nsqd.dat.12345678901234567890.tmp", "nsqd.settings.json.1.tmp", ""};
	for (size_t i = 0; i < COUNT(others); i++)
		assert_false(data_file_is_temporary(others[i], "nsqd.dat"));
	assert_true(data_file_is_temporary("nsqd.settings.json.1.tmp", "nsqd.settings.json"));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, enter_test_dir, leave_test_dir)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_no_file_is_none),
		TEST(test_what_is_replaced_is_read_and_nothing_else_is_left),
		TEST(test_what_is_no_regular_file_is_refused_at_once),
		TEST(test_a_huge_one_is_refused_before_it_is_read),
		TEST(test_a_disk_that_refuses_leaves_the_old_one),
		TEST(test_what_cannot_be_replaced_leaves_no_other),
		cmocka_unit_test(test_paths),
		cmocka_unit_test(test_names_of_temporary_files),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
