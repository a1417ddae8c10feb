/* SPDX-License-Identifier: MIT */
/* For tests with files: a directory for each test, and what is in it. */
#ifndef TEST_UNIT_DIR_TEST_H
#define TEST_UNIT_DIR_TEST_H

#include "test/unit/helper.h"

#include <dirent.h>

/* A test with files has a directory of its own below the working directory, and works in it. */
static char test_dir[32];

/* A setup of cmocka. */
static inline int enter_test_dir(void **state)
{
	strcpy(test_dir, "test.XXXXXX");
	return !mkdtemp(test_dir) || chdir(test_dir) != 0 ? -1 : 0;
}

/* The teardown that belongs to it. */
static inline int leave_test_dir(void **state)
{
	DIR *dir = opendir(".");
	struct dirent *e;
	while ((e = readdir(dir)))
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			unlink(e->d_name);
	closedir(dir);
	return chdir("..") != 0 || rmdir(test_dir) != 0 ? -1 : 0;
}

/* How many files have a name that begins and ends like this. */
static inline int count_files(const char *begin, const char *end)
{
	DIR *dir = opendir(".");
	struct dirent *e;
	int n = 0;
	while ((e = readdir(dir))) {
		size_t len = strlen(e->d_name), end_len = strlen(end);
		if (strncmp(e->d_name, begin, strlen(begin)) == 0 && len >= end_len &&
			strcmp(e->d_name + len - end_len, end) == 0)
			n++;
	}
	closedir(dir);
	return n;
}

static inline void write_text(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

#endif
