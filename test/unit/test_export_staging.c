/* SPDX-License-Identifier: MIT */
/* The end of --export-stock, cut short at every step: the next call completes it. */
#include "test/unit/dir_test.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "nsqd/core/data_file.h"
#include "nsqd/offline/export_staging.h"

#define FILES 5

/* In the order in which they are moved, but for that of the first two, and of the next two. */
static const char *const files[FILES] = {"t.diskqueue.000003.dat", "t:a.diskqueue.000000.dat",
	"t.diskqueue.meta.dat", "t:a.diskqueue.meta.dat", "nsqd.dat"};
static const char *const logs[] = {"t.log", "u.log"};

static int aside; /* how often a log was put aside */

static void count_aside(void *arg, const char *log, const char *name)
{
	assert_true(strstr(name, log) == name && strstr(name, ":exported"));
	aside++;
}

static int open_here(void)
{
	int fd = open(".", O_RDONLY | O_DIRECTORY);
	assert_true(fd >= 0);
	return fd;
}

/* An export that is ready, over a data path with other files and two logs. */
static void prepare(int fd)
{
	struct staging s;
	struct err err;
	struct strbuf names = STRBUF_INIT;
	char path[100];
	write_text("t.diskqueue.meta.dat", "old");
	write_text("nsqd.dat", "old");
	for (int i = 0; i < 2; i++) {
		assert_int_equal(mkdir(logs[i], 0700), 0);
		snprintf(path, sizeof(path), "%s/1.seg", logs[i]);
		write_text(path, logs[i]);
		strbuf_addf(&names, "%s\n", logs[i]);
	}
	assert_int_equal(staging_begin(&s, ".", fd, &err), 0);
	for (int i = 0; i < FILES; i++) {
		snprintf(path, sizeof(path), EXPORT_DIR "/%s", files[i]);
		write_text(path, files[i]);
	}
	assert_int_equal(staging_ready(&s, &names, &err), 0);
	staging_end(&s, false);
	strbuf_free(&names);
}

static void expect_text(const char *path, const char *text)
{
	char buf[100] = "";
	FILE *f = fopen(path, "r");
	if (!f)
		fail_msg("%s is not there", path);
	assert_true(fread(buf, 1, sizeof(buf) - 1, f) > 0);
	fclose(f);
	assert_string_equal(buf, text);
}

static void remove_aside(const char *log)
{
	char path[100];
	snprintf(path, sizeof(path), "%s:exported/1.seg", log);
	expect_text(path, log);
	assert_int_equal(unlink(path), 0);
	snprintf(path, sizeof(path), "%s:exported", log);
	assert_int_equal(rmdir(path), 0);
}

/* So many of the steps were done by a process that has died. */
static void do_steps(int n)
{
	char from[100], to[100];
	for (int i = 0; i < n && i < FILES; i++) {
		snprintf(from, sizeof(from), EXPORT_DIR "/%s", files[i]);
		assert_int_equal(rename(from, files[i]), 0);
	}
	for (int i = FILES; i < n && i < FILES + 2; i++) {
		snprintf(to, sizeof(to), "%s:exported", logs[i - FILES]);
		assert_int_equal(rename(logs[i - FILES], to), 0);
	}
	if (n > FILES + 2)
		assert_int_equal(unlink(EXPORT_DIR "/" EXPORT_READY), 0);
}

static void test_cut_short_at_every_step(void **state)
{
	struct err err = {0};
	struct stat st;
	int fd = open_here();
	for (int steps = 0; steps <= FILES + 3; steps++) {
		prepare(fd);
		do_steps(steps);
		aside = 0;
		int rc = staging_complete(".", fd, count_aside, NULL, &err);
		if (steps <= FILES + 2) {
			if (rc != 1)
				fail_msg("step %d: %s", steps, err.msg);
			assert_int_not_equal(stat(EXPORT_DIR, &st), 0);
			assert_int_equal(aside, steps <= FILES ? 2 : FILES + 2 - steps);
		} else {
			/* All was done but for the directory, which the next export removes. */
			assert_int_equal(rc, 0);
			assert_int_equal(rmdir(EXPORT_DIR), 0);
		}
		for (int i = 0; i < FILES; i++)
			expect_text(files[i], files[i]);
		for (int i = 0; i < 2; i++)
			remove_aside(logs[i]);
		/* Once more: there is nothing to do. */
		assert_int_equal(staging_complete(".", fd, count_aside, NULL, &err), 0);
	}
	close(fd);
}

/* Before it is ready, nothing counts; the next attempt begins anew. */
static void test_before_it_is_ready(void **state)
{
	struct staging s;
	struct err err = {0};
	struct stat st;
	int fd = open_here();
	write_text("nsqd.dat", "old");
	assert_int_equal(staging_begin(&s, ".", fd, &err), 0);
	write_text(EXPORT_DIR "/nsqd.dat", "new");
	staging_end(&s, false);
	assert_int_equal(export_is_complete(".", &err), 0);
	assert_int_equal(staging_complete(".", fd, count_aside, NULL, &err), 0);
	expect_text("nsqd.dat", "old");
	assert_int_equal(staging_begin(&s, ".", fd, &err), 0);
	assert_int_not_equal(stat(EXPORT_DIR "/nsqd.dat", &st), 0);
	staging_end(&s, true);
	assert_int_not_equal(stat(EXPORT_DIR, &st), 0);
	close(fd);
}

static void test_what_is_in_its_way(void **state)
{
	struct staging s;
	struct err err = {0};
	int fd = open_here();
	/* A file of that name is not ours. */
	write_text(EXPORT_DIR, "x");
	assert_int_equal(staging_begin(&s, ".", fd, &err), -1);
	staging_end(&s, false);
	assert_int_equal(staging_complete(".", fd, count_aside, NULL, &err), -1);
	assert_int_equal(export_is_complete(".", &err), 0);
	assert_int_equal(unlink(EXPORT_DIR), 0);
	/* Names that lead elsewhere. */
	prepare(fd);
	write_text(EXPORT_DIR "/" EXPORT_READY, "t.log\n../t.log\n");
	aside = 0;
	assert_int_equal(staging_complete(".", fd, count_aside, NULL, &err), -1);
	assert_int_equal(export_is_complete(".", &err), -1);
	assert_int_equal(aside, 1);
	remove_aside("t.log");
	/* As an operator would. */
	write_text(EXPORT_DIR "/" EXPORT_READY, "u.log\n");
	assert_int_equal(mkdir("u.log:exported", 0700), 0);
	assert_int_equal(staging_complete(".", fd, count_aside, NULL, &err), 1);
	assert_int_equal(aside, 2);
	assert_int_equal(rmdir("u.log:exported"), 0);
	assert_int_equal(rename("u.log:exported-2", "u.log:exported"), 0);
	remove_aside("u.log");
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			test_cut_short_at_every_step, enter_test_dir, leave_test_dir),
		cmocka_unit_test_setup_teardown(
			test_before_it_is_ready, enter_test_dir, leave_test_dir),
		cmocka_unit_test_setup_teardown(
			test_what_is_in_its_way, enter_test_dir, leave_test_dir),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
