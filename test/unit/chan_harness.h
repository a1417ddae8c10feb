/* SPDX-License-Identifier: MIT */
/*
 * What the tests of the chan share. They look into chan_internal.h for one thing: to know that a
 * thread sleeps in a queue, instead of sleeping a while and hoping that it does.
 */
#ifndef TEST_UNIT_CHAN_HARNESS_H
#define TEST_UNIT_CHAN_HARNESS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/chan.h"
#include "common/chan_internal.h"
#include "common/check.h"
#include "common/clock.h"
#include "common/gothread.h"
#include "common/rand.h"

/* Fewer rounds where each costs more. */
#ifdef __has_feature
#if __has_feature(thread_sanitizer) && !defined(__SANITIZE_THREAD__)
#define __SANITIZE_THREAD__ 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define ROUNDS(n) ((n) / 10)
#elif defined(CHAN_PERTURB) || defined(__SANITIZE_ADDRESS__)
#define ROUNDS(n) ((n) / 5)
#else
#define ROUNDS(n) (n)
#endif

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* go fn(arg) */
static inline void go(struct wait_group *wg, void (*fn)(void *), void *arg)
{
	assert_int_equal(wait_group_wrap(wg, "test", fn, arg, NULL), 0);
}

static inline void join(struct wait_group *wg)
{
	wait_group_wait(wg);
	wait_group_destroy(wg);
}

static inline void sleep_us(long us)
{
	nanosleep(&(struct timespec){us / 1000000, us % 1000000 * 1000}, NULL);
}

/* How many stand in the queue of op, served elsewhere or not. */
static inline size_t count_waiters(struct chan *c, enum chan_op op)
{
	size_t n = 0;
	chan_lock(c);
	for (struct waiter *w = (op == CHAN_SEND   ? &c->sendq
				 : op == CHAN_RECV ? &c->recvq
						   : &c->demandq)
					->first;
		w; w = w->next)
		n++;
	chan_unlock(c);
	return n;
}

/* Returns when exactly n do. */
static inline void await_waiters(struct chan *c, enum chan_op op, size_t n)
{
	while (count_waiters(c, op) != n)
		sleep_us(20);
}

/*
 * fn runs in a child, which must abort with a message that has all of the given parts (up to a
 * NULL).
 */
static inline void expect_abort(void (*fn)(void), ...)
{
	char text[4096] = "";
	size_t len = 0;
	ssize_t n;
	int fds[2], status;
	va_list ap;
	assert_int_equal(pipe(fds), 0);
	pid_t pid = fork();
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
	while ((n = read(fds[0], text + len, sizeof(text) - 1 - len)) > 0)
		len += (size_t)n;
	text[len] = '\0';
	close(fds[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGABRT)
		fail_msg("no abort: status %#x, message: %s", status, text);
	va_start(ap, fn);
	for (const char *part; (part = va_arg(ap, const char *));)
		if (!strstr(text, part))
			fail_msg("no \"%s\" in: %s", part, text);
	va_end(ap);
}

#endif
