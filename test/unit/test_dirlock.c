/* SPDX-License-Identifier: MIT */
/* dirlock: one holder at a time, stock's message, released with the process. */
#include "test/unit/helper.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "common/dirlock.h"

static void test_a_second_lock_is_refused_with_stocks_text(void **state)
{
	struct err err;
	int fd = dirlock_lock(".", &err);
	assert_true(fd >= 0);
	assert_int_equal(dirlock_lock(".", &err), -1);
	assert_int_equal(err.code, EWOULDBLOCK);
	assert_string_equal(err.msg, "cannot flock directory . - resource temporarily unavailable "
				     "(possibly in use by another instance of nsqd)");
	dirlock_unlock(fd);
	fd = dirlock_lock(".", &err);
	assert_true(fd >= 0);
	dirlock_unlock(fd);
}

/* The lock that stock takes: flock on the directory. */
static void test_another_flock_of_the_directory_excludes_it(void **state)
{
	struct err err;
	int other = open(".", O_RDONLY);
	assert_int_equal(flock(other, LOCK_EX | LOCK_NB), 0);
	assert_int_equal(dirlock_lock(".", &err), -1);
	close(other);
	int fd = dirlock_lock(".", &err);
	assert_true(fd >= 0);
	dirlock_unlock(fd);
}

static void test_it_goes_with_the_process(void **state)
{
	struct err err;
	pid_t pid = fork_alone();
	if (pid == 0)
		_exit(dirlock_lock(".", &err) >= 0 ? 0 : 1);
	int status;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	int fd = dirlock_lock(".", &err);
	assert_true(fd >= 0);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	dirlock_unlock(fd);
}

static void test_it_is_seen_without_being_taken(void **state)
{
	struct err err;
	assert_int_equal(dirlock_is_held(".", &err), 0);
	int fd = dirlock_lock(".", &err);
	assert_true(fd >= 0);
	assert_int_equal(dirlock_is_held(".", &err), 1);
	assert_int_equal(dirlock_is_held(".", &err), 1);
	dirlock_unlock(fd);
	int descriptors = count_descriptors();
	assert_int_equal(dirlock_is_held(".", &err), 0);
	assert_int_equal(count_descriptors(), descriptors);
	assert_int_equal(dirlock_is_held("nope", &err), -1);
	assert_string_equal(err.msg, "open nope: no such file or directory");
}

static void test_a_directory_that_is_not_there_is_an_error(void **state)
{
	struct err err;
	assert_int_equal(dirlock_lock("nope", &err), -1);
	assert_string_equal(err.msg, "open nope: no such file or directory");
	assert_int_equal(err.code, ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_second_lock_is_refused_with_stocks_text),
		cmocka_unit_test(test_another_flock_of_the_directory_excludes_it),
		cmocka_unit_test(test_it_goes_with_the_process),
		cmocka_unit_test(test_it_is_seen_without_being_taken),
		cmocka_unit_test(test_a_directory_that_is_not_there_is_an_error),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
