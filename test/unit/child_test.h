/* SPDX-License-Identifier: MIT */
/* For what ends the process: it happens in a child, and the test reads what that said. */
#ifndef TEST_UNIT_CHILD_TEST_H
#define TEST_UNIT_CHILD_TEST_H

#include "test/unit/helper.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

/* Runs fn in a child. Its stderr goes to text, as a string. Returns its status, as waitpid. */
static inline int run_in_child(void (*fn)(void), char *text, size_t size)
{
	int fds[2];
	assert_int_equal(pipe(fds), 0);
	fflush(NULL);
	pid_t pid = fork_alone();
	assert_true(pid >= 0);
	if (pid == 0) {
		setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
		/* Not cmocka's handler: the end must be that of the program itself. */
		signal(SIGABRT, SIG_DFL);
		dup2(fds[1], STDERR_FILENO);
		fn();
		_exit(0);
	}
	close(fds[1]);
	size_t len = 0;
	for (ssize_t n; (n = read(fds[0], text + len, size - 1 - len)) > 0;)
		len += (size_t)n;
	text[len] = '\0';
	close(fds[0]);
	int status;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

/* fn must abort in a child, with a message that has all of the given parts (up to a NULL). */
static inline void expect_abort(void (*fn)(void), ...)
{
	char text[4096];
	int status = run_in_child(fn, text, sizeof(text));
	if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGABRT)
		fail_msg("no abort: status %#x, message: %s", status, text);
	va_list ap;
	va_start(ap, fn);
	for (const char *part; (part = va_arg(ap, const char *));)
		if (!strstr(text, part))
			fail_msg("no \"%s\" in: %s", part, text);
	va_end(ap);
}

#endif
