/* SPDX-License-Identifier: MIT */
/* What most tests share: cmocka, waiting with an end, and threads. */
#ifndef TEST_UNIT_HELPER_H
#define TEST_UNIT_HELPER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "common/chan.h"
#include "common/clock.h"
#include "common/err.h"
#include "common/gothread.h"
#include "common/sanitize.h"

/* 1: the program is for another processor, and an emulator runs it (test/arm64). */
#ifndef EMULATED
#define EMULATED 0
#endif

/* Fewer rounds where each costs more. */
#if SANITIZE_THREAD
#define ROUNDS(n) ((n) / 10)
#elif SANITIZE_ADDRESS || EMULATED || defined(CHAN_PERTURB)
#define ROUNDS(n) ((n) / 4)
#else
#define ROUNDS(n) (n)
#endif

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* No test waits longer than this for anything (ns). */
#define PATIENCE (120 * NSEC_PER_SEC)

/* Not by means of a chan: the chan's own tests sleep so, too. */
static inline void sleep_ns(int64_t ns)
{
	nanosleep(&(struct timespec){ns / NSEC_PER_SEC, ns % NSEC_PER_SEC}, NULL);
}

/* Waits until a condition holds that another thread brings about. */
#define wait_for(cond)                                                                             \
	do {                                                                                       \
		int64_t end_ = clock_mono_ns() + PATIENCE;                                         \
		while (!(cond)) {                                                                  \
			if (clock_mono_ns() > end_)                                                \
				fail_msg("in vain: %s", #cond);                                    \
			sleep_ns(NSEC_PER_MSEC / 4);                                               \
		}                                                                                  \
	} while (0)

/* That something does not happen is looked at for this long (ns). */
#define A_WHILE (20 * NSEC_PER_MSEC)

/* cond holds now and for a while. */
#define stays(cond)                                                                                \
	do {                                                                                       \
		int64_t end_ = clock_mono_ns() + A_WHILE;                                          \
		do {                                                                               \
			if (!(cond))                                                               \
				fail_msg("no longer: %s", #cond);                                  \
			sleep_ns(NSEC_PER_MSEC / 2);                                               \
		} while (clock_mono_ns() < end_);                                                  \
	} while (0)

/* go fn(arg) */
static inline void go(struct wait_group *wg, void (*fn)(void *), void *arg)
{
	struct err err = {0};
	if (wait_group_wrap(wg, "test", fn, arg, &err) != 0)
		fail_msg("%s", err.msg);
}

static inline void join(struct wait_group *wg)
{
	wait_group_wait(wg);
	wait_group_destroy(wg);
}

/* fork: the threads that are kept would seem to be there in the child, and are not. */
static inline pid_t fork_alone(void)
{
	gothread_drain();
	return fork();
}

/* ThreadSanitizer wants each thread that has ended to be joined. */
__attribute__((destructor)) static void drain_at_exit(void)
{
	gothread_drain();
}

/* How many descriptors this process has. */
static inline int count_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int n = 0;
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

/* Sends to fd until it takes nothing any more. Returns how much that was. */
static inline size_t fill_socket(int fd)
{
	static const char junk[1 << 16];
	size_t filled = 0;
	ssize_t sent;
	while ((sent = send(fd, junk, sizeof(junk), MSG_DONTWAIT)) > 0)
		filled += (size_t)sent;
	while (send(fd, junk, 1, MSG_DONTWAIT) == 1)
		filled++;
	return filled;
}

#endif
