/* SPDX-License-Identifier: MIT */
/* lg: stock's line format, levels and their names. */
#include "test/unit/helper.h"

#include <errno.h>
#include <regex.h>
#include <time.h>

#include "common/lg.h"

static struct lg lg;
static int fds[2];

static int setup(void **state)
{
	if (pipe(fds) != 0)
		return -1;
	lg_init(&lg, fds[1], "[nsqd] ", LG_INFO);
	return 0;
}

static int teardown(void **state)
{
	lg_destroy(&lg);
	close(fds[0]);
	close(fds[1]);
	return 0;
}

/* Everything that was logged so far; closes the pipe's writing end. */
static const char *logged(void)
{
	static char buf[32768];
	close(fds[1]);
	fds[1] = -1;
	size_t n = 0;
	for (ssize_t got; (got = read(fds[0], buf + n, sizeof(buf) - 1 - n)) > 0;)
		n += (size_t)got;
	buf[n] = '\0';
	return buf;
}

static void test_a_line_looks_like_stocks(void **state)
{
	regex_t re;
	time_t before = time(NULL);
	lg_logf(&lg, LG_ERROR, "DISKQUEUE(%s) reading at %d", "t", 7);
	const char *line = logged();
	assert_int_equal(regcomp(&re,
				 "^\\[nsqd\\] [0-9]{4}/[0-9]{2}/[0-9]{2} "
				 "[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{6} "
				 "ERROR: DISKQUEUE\\(t\\) reading at 7\n$",
				 REG_EXTENDED | REG_NOSUB),
		0);
	int rc = regexec(&re, line, 0, NULL, 0);
	regfree(&re);
	if (rc != 0)
		fail_msg("%s", line);

	struct tm tm = {.tm_isdst = -1};
	assert_non_null(strptime(line + strlen("[nsqd] "), "%Y/%m/%d %H:%M:%S", &tm));
	time_t stamp = mktime(&tm); /* local time */
	/* (time() is the clock of the last tick, some milliseconds ago.) */
	struct timespec now;
	assert_int_equal(clock_gettime(CLOCK_REALTIME, &now), 0);
	assert_true(stamp >= before && stamp <= now.tv_sec);
}

static void test_levels_below_the_set_one_are_dropped(void **state)
{
	for (int set = LG_DEBUG; set <= LG_FATAL; set++) {
		atomic_store(&lg.level, set);
		for (int level = LG_DEBUG; level <= LG_FATAL; level++)
			lg_logf(&lg, (enum lg_level)level, "%d", set);
	}
	const char *p = logged();
	int lines = 0;
	for (; (p = strchr(p, '\n')); p++)
		lines++;
	assert_int_equal(lines, 5 + 4 + 3 + 2 + 1);
}

static void test_each_level_has_its_text(void **state)
{
	atomic_store(&lg.level, LG_DEBUG);
	for (int level = LG_DEBUG; level <= LG_FATAL; level++)
		lg_logf(&lg, (enum lg_level)level, "x");
	const char *all = logged();
	static const char *const texts[] = {
		" DEBUG: x\n", " INFO: x\n", " WARNING: x\n", " ERROR: x\n", " FATAL: x\n"};
	for (int i = 0; i < 5; i++) {
		const char *at = strstr(all, texts[i]);
		assert_non_null(at);
		all = at;
	}
}

static void test_a_newline_is_added_once(void **state)
{
	lg_logf(&lg, LG_INFO, "with\n");
	lg_logf(&lg, LG_INFO, "without");
	const char *p = logged();
	assert_null(strstr(p, "\n\n"));
	assert_non_null(strstr(p, "INFO: with\n["));
	assert_int_equal(p[strlen(p) - 1], '\n');
}

static void test_long_lines_are_whole(void **state)
{
	for (size_t n = 900; n < 1100; n += 7) {
		char *text = malloc(n + 1);
		memset(text, 'y', n);
		text[n] = '\0';
		lg_logf(&lg, LG_INFO, "%s|", text);
		free(text);
	}
	const char *p = logged();
	for (size_t n = 900; n < 1100; n += 7) {
		p = strchr(p, 'y');
		assert_non_null(p);
		assert_int_equal(strspn(p, "y"), n);
		p += n;
		assert_memory_equal(p, "|\n", 2);
	}
}

static void test_errno_is_left_alone(void **state)
{
	errno = ENOSPC;
	lg_logf(&lg, LG_INFO, "x");
	assert_int_equal(errno, ENOSPC);
	logged();
}

static void test_level_names_are_parsed_in_any_case(void **state)
{
	enum lg_level level;
	assert_true(lg_parse_level("debug", &level) && level == LG_DEBUG);
	assert_true(lg_parse_level("Info", &level) && level == LG_INFO);
	assert_true(lg_parse_level("WARN", &level) && level == LG_WARN);
	assert_true(lg_parse_level("error", &level) && level == LG_ERROR);
	assert_true(lg_parse_level("fatal", &level) && level == LG_FATAL);
	assert_false(lg_parse_level("warning", &level));
	assert_false(lg_parse_level("", &level));
	assert_false(lg_parse_level("3", &level));
	assert_string_equal(lg_level_name(LG_WARN), "warn");
	assert_string_equal(lg_level_name((enum lg_level)9), "invalid");
	assert_string_equal(lg_level_text(LG_WARN), "WARNING");
	assert_string_equal(lg_level_text((enum lg_level)0), "invalid");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_a_line_looks_like_stocks, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_levels_below_the_set_one_are_dropped, setup, teardown),
		cmocka_unit_test_setup_teardown(test_each_level_has_its_text, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_newline_is_added_once, setup, teardown),
		cmocka_unit_test_setup_teardown(test_long_lines_are_whole, setup, teardown),
		cmocka_unit_test_setup_teardown(test_errno_is_left_alone, setup, teardown),
		cmocka_unit_test(test_level_names_are_parsed_in_any_case),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
