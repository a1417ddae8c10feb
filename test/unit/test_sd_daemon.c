/* SPDX-License-Identifier: MIT */
/* sd_daemon: what a service manager may put into the environment, and what it gets to hear. */
#include "test/unit/helper.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "common/sd_daemon.h"

static const char *const names[SD_SOCKETS] = {"tcp", "http", "https", "http-readonly"};

/* --- what the manager hears ------------------------------------------------------------------- */

/* A manager: a datagram socket with this name, "@" for an abstract one. */
static int manager(const char *name)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	size_t len = strlen(name);
	memcpy(a.sun_path, name, len);
	if (*name == '@')
		a.sun_path[0] = '\0';
	socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + (*name != '@'));
	assert_int_equal(bind(fd, (struct sockaddr *)&a, size), 0);
	return fd;
}

static void expect_told(int fd, const char *text)
{
	char buf[256];
	ssize_t n = recv(fd, buf, sizeof(buf) - 1, MSG_DONTWAIT);
	assert_true(n >= 0);
	buf[n] = '\0';
	assert_string_equal(buf, text);
}

static void set_own_pid(const char *variable)
{
	char text[16];
	snprintf(text, sizeof(text), "%d", (int)getpid());
	setenv(variable, text, 1);
}

static struct sd_daemon init(void)
{
	struct sd_daemon sd;
	struct err err = {0};
	if (sd_daemon_init(&sd, names, SD_SOCKETS, &err) != 0)
		fail_msg("%s", err.msg);
	return sd;
}

static void expect_talk(const char *name)
{
	struct err err;
	int fd = manager(name);
	setenv("NOTIFY_SOCKET", name, 1);
	struct sd_daemon sd = init();
	assert_int_equal(sd.warning.code, 0);
	assert_null(getenv("NOTIFY_SOCKET"));
	assert_true(fcntl(sd.notify_fd, F_GETFD) & FD_CLOEXEC);
	assert_int_equal(sd_daemon_ready(&sd, "here", &err), 0);
	expect_told(fd, "READY=1\nSTATUS=here");
	assert_int_equal(sd_daemon_notify(&sd, "STOPPING=1", &err), 0);
	expect_told(fd, "STOPPING=1");
	sd_daemon_close(&sd);
	sd_daemon_close(&sd);
	close(fd);
}

static void test_it_is_told_by_a_path(void **state)
{
	char path[64], cwd[4096];
	assert_non_null(getcwd(cwd, sizeof(cwd)));
	strcpy(path, "/tmp/sd_daemon.XXXXXX");
	assert_non_null(mkdtemp(path));
	char dir[64];
	strcpy(dir, path);
	strcat(path, "/s");
	expect_talk(path);
	unlink(path);
	rmdir(dir);
}

static void test_it_is_told_by_an_abstract_name(void **state)
{
	char name[64];
	snprintf(name, sizeof(name), "@sd_daemon test %d", (int)getpid());
	expect_talk(name);
}

/* A name that fills the address; an abstract one needs no zero at its end. */
static void test_the_longest_names(void **state)
{
	char name[sizeof(((struct sockaddr_un *)0)->sun_path) + 2];
	memset(name, 'x', sizeof(name));
	int n = snprintf(name, sizeof(name), "@%d", (int)getpid());
	name[n] = 'x';
	name[sizeof(name) - 2] = '\0';
	expect_talk(name);
	name[sizeof(name) - 2] = 'x';
	name[sizeof(name) - 1] = '\0';
	setenv("NOTIFY_SOCKET", name, 1);
	struct sd_daemon sd = init();
	assert_int_equal(sd.notify_fd, -1);
	assert_non_null(strstr(sd.warning.msg, "too long"));
}

static void test_a_manager_that_is_not_there_or_does_not_listen_is_an_error(void **state)
{
	struct err err;
	char name[64];
	snprintf(name, sizeof(name), "@sd_daemon gone %d", (int)getpid());
	setenv("NOTIFY_SOCKET", name, 1);
	struct sd_daemon sd = init();
	assert_int_equal(sd_daemon_notify(&sd, "WATCHDOG=1", &err), -1);
	assert_string_equal(err.msg, "notifying the service manager: connection refused");
	/* It starts anew, under the same name. */
	int fd = manager(name);
	assert_int_equal(sd_daemon_notify(&sd, "WATCHDOG=1", &err), 0);
	expect_told(fd, "WATCHDOG=1");
	while (sd_daemon_notify(&sd, "WATCHDOG=1", &err) == 0)
		;
	assert_int_equal(err.code, EAGAIN);
	close(fd);
	sd_daemon_close(&sd);
}

static void test_names_that_are_none(void **state)
{
	static const char *const bad[] = {"x", "run/systemd", "/", "@", "vsock:2:1234", " /run/x"};
	struct err err;
	for (size_t i = 0; i < COUNT(bad); i++) {
		setenv("NOTIFY_SOCKET", bad[i], 1);
		setenv("WATCHDOG_USEC", "1000000", 1);
		struct sd_daemon sd = init();
		assert_int_equal(sd.notify_fd, -1);
		assert_int_equal(sd.watchdog_ns, 0);
		assert_non_null(strstr(sd.warning.msg, bad[i]));
		assert_int_equal(sd_daemon_notify(&sd, "READY=1", &err), 0);
	}
}

static void test_without_a_manager_nothing_is_done(void **state)
{
	struct err err;
	int before = count_descriptors();
	setenv("NOTIFY_SOCKET", "", 1);
	struct sd_daemon sd = init();
	assert_int_equal(sd.warning.code, 0);
	assert_int_equal(sd_daemon_ready(&sd, "", &err), 0);
	assert_int_equal(count_descriptors(), before);
}

/* --- the watchdog ----------------------------------------------------------------------------- */

static int64_t watchdog_with(const char *usec, struct err *warning)
{
	setenv("NOTIFY_SOCKET", "@x", 1);
	setenv("WATCHDOG_USEC", usec, 1);
	struct sd_daemon sd = init();
	*warning = sd.warning;
	assert_null(getenv("WATCHDOG_USEC"));
	assert_null(getenv("WATCHDOG_PID"));
	sd_daemon_close(&sd);
	return sd.watchdog_ns;
}

static void test_the_watchdogs_time(void **state)
{
	static const char *const bad[] = {
		"", "0", "-1", "1s", " 1", "+1", "1e3", "9223372036854776", "18446744073709551616"};
	struct err warning;
	assert_int_equal(watchdog_with("1", &warning), 1000);
	assert_int_equal(watchdog_with("30000000", &warning), 30 * NSEC_PER_SEC);
	assert_true(watchdog_with("9223372036854775", &warning) == 9223372036854775000);
	assert_int_equal(warning.code, 0);
	for (size_t i = 0; i < COUNT(bad); i++) {
		assert_int_equal(watchdog_with(bad[i], &warning), 0);
		assert_non_null(strstr(warning.msg, "WATCHDOG_USEC="));
	}
}

static void test_a_watchdog_of_another_process(void **state)
{
	struct err warning;
	setenv("WATCHDOG_PID", "1", 1);
	assert_int_equal(watchdog_with("1000", &warning), 0);
	setenv("WATCHDOG_PID", "x", 1);
	assert_int_equal(watchdog_with("1000", &warning), 0);
	assert_int_equal(warning.code, 0);
	set_own_pid("WATCHDOG_PID");
	assert_int_equal(watchdog_with("1000", &warning), 1000000);
}

static void test_a_watchdog_that_nothing_can_be_said_to(void **state)
{
	setenv("WATCHDOG_USEC", "1000", 1);
	struct sd_daemon sd = init();
	assert_int_equal(sd.watchdog_ns, 0);
	assert_int_equal(sd.warning.code, 0);
}

/* --- sockets ---------------------------------------------------------------------------------- */

/*
 * In a child, where the first descriptors are this test's: passes n sockets with these names, NULL
 * for none. want is where each of the known names is to be found, "3 5 -1"; or the error.
 */
static void expect_passed(const char *n, const char *fdnames, const char *want)
{
	pid_t pid = fork_alone();
	if (pid == 0) {
		struct sd_daemon sd;
		struct err err = {0};
		char got[600];
		for (int fd = 3; fd < 8; fd++)
			dup2(STDERR_FILENO, fd);
		set_own_pid("LISTEN_PID");
		setenv("LISTEN_FDS", n, 1);
		if (fdnames)
			setenv("LISTEN_FDNAMES", fdnames, 1);
		if (sd_daemon_init(&sd, names, SD_SOCKETS, &err) != 0)
			snprintf(got, sizeof(got), "%s", err.msg);
		else
			snprintf(got, sizeof(got), "%d %d %d %d", sd.sockets[0], sd.sockets[1],
				sd.sockets[2], sd.sockets[3]);
		bool gone =
			!getenv("LISTEN_PID") && !getenv("LISTEN_FDS") && !getenv("LISTEN_FDNAMES");
		for (size_t i = 0; err.code == 0 && i < SD_SOCKETS; i++)
			gone = gone &&
			       (sd.sockets[i] < 0 || fcntl(sd.sockets[i], F_GETFD) & FD_CLOEXEC);
		if (!gone || !strstr(got, want))
			dprintf(STDERR_FILENO, "%s %s: got %s, not %s\n", n, fdnames, got, want);
		_exit(!gone || !strstr(got, want));
	}
	int status;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void test_sockets_without_names_are_taken_in_order(void **state)
{
	expect_passed("0", NULL, "-1 -1 -1");
	expect_passed("1", NULL, "3 -1 -1");
	expect_passed("2", NULL, "3 4 -1");
	expect_passed("3", NULL, "3 4 5 -1");
	expect_passed("4", NULL, "3 4 5 6");
	/* What systemd calls those that it was told no name for. */
	expect_passed("2", "nsqd.socket:nsqd.socket", "3 4 -1");
	expect_passed("2", "", "3 4 -1");
	expect_passed("2", "unknown", "3 4 -1");
	expect_passed("3", "::", "3 4 5");
}

static void test_sockets_with_names(void **state)
{
	expect_passed("1", "http", "-1 3 -1");
	expect_passed("2", "http:tcp", "4 3 -1");
	expect_passed("3", "https:tcp:http", "4 5 3");
	expect_passed("1", "tcp:http", "3 -1 -1");
	expect_passed("2", "http-readonly:http", "-1 4 -1 3");
	expect_passed("1", "tcpx", "3 -1 -1");
}

static void test_sockets_that_are_not_clear(void **state)
{
	expect_passed("2", "tcp:tcp", "LISTEN_FDNAMES: two sockets are called tcp");
	expect_passed("2", "tcp", "some of these names are known, and some are not");
	expect_passed("2", "other:http", "some of these names are known, and some are not");
	expect_passed("5", NULL, "LISTEN_FDS=5: at most 4 sockets are of use");
	expect_passed("18446744073709551615", NULL, "at most 4 sockets are of use");
	expect_passed("", NULL, "LISTEN_FDS=: not a number of sockets");
	expect_passed("-1", NULL, "LISTEN_FDS=-1: not a number of sockets");
	expect_passed("1 ", NULL, "not a number of sockets");
}

static void test_sockets_that_are_not_there(void **state)
{
	pid_t pid = fork_alone();
	if (pid == 0) {
		struct sd_daemon sd;
		struct err err = {0};
		for (int fd = 3; fd < 20; fd++)
			close(fd);
		set_own_pid("LISTEN_PID");
		setenv("LISTEN_FDS", "1", 1);
		_exit(sd_daemon_init(&sd, names, SD_SOCKETS, &err) != -1 || err.code != EBADF);
	}
	int status;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void test_sockets_of_another_process(void **state)
{
	static const char *const pids[] = {"1", "", "x", "-1"};
	for (size_t i = 0; i <= COUNT(pids); i++) {
		setenv("LISTEN_FDS", "99", 1);
		if (i < COUNT(pids))
			setenv("LISTEN_PID", pids[i], 1);
		struct sd_daemon sd = init();
		for (size_t k = 0; k < SD_SOCKETS; k++)
			assert_int_equal(sd.sockets[k], -1);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_it_is_told_by_a_path),
		cmocka_unit_test(test_it_is_told_by_an_abstract_name),
		cmocka_unit_test(test_the_longest_names),
		cmocka_unit_test(test_a_manager_that_is_not_there_or_does_not_listen_is_an_error),
		cmocka_unit_test(test_names_that_are_none),
		cmocka_unit_test(test_without_a_manager_nothing_is_done),
		cmocka_unit_test(test_the_watchdogs_time),
		cmocka_unit_test(test_a_watchdog_of_another_process),
		cmocka_unit_test(test_a_watchdog_that_nothing_can_be_said_to),
		cmocka_unit_test(test_sockets_without_names_are_taken_in_order),
		cmocka_unit_test(test_sockets_with_names),
		cmocka_unit_test(test_sockets_that_are_not_clear),
		cmocka_unit_test(test_sockets_that_are_not_there),
		cmocka_unit_test(test_sockets_of_another_process),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
