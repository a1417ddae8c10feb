/* SPDX-License-Identifier: MIT */
/*
 * A gate for broken programs: a thread waits there until another one has come so far. So a race that
 * happens one time in a thousand happens each time. It orders the threads in time, and no memory:
 * its accesses are relaxed, so ThreadSanitizer sees the race as if the gate were not there. A right
 * program has no use for it.
 */
#ifndef TEST_COURSE_GATE_H
#define TEST_COURSE_GATE_H

#include <fcntl.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct gate {
	atomic_bool open;
	atomic_int tid; /* of the thread that is about to block; 0: none */
};

/* Any thread, at any time. */
static inline void gate_open(struct gate *g)
{
	atomic_store_explicit(&g->open, true, memory_order_relaxed);
}

/* Waits until it is open, without sleeping: not for long. */
static inline void gate_wait(struct gate *g)
{
	while (!atomic_load_explicit(&g->open, memory_order_relaxed))
		sched_yield();
}

/* The next thing that the calling thread does is a system call that blocks. */
static inline void gate_about_to_block(struct gate *g)
{
	atomic_store_explicit(&g->tid, gettid(), memory_order_relaxed);
}

/* Waits until a thread has said so, and sleeps. */
static inline void gate_wait_blocked(struct gate *g)
{
	char path[64], stat[512] = "";
	const char *state = NULL;
	int tid;

	while ((tid = atomic_load_explicit(&g->tid, memory_order_relaxed)) == 0)
		sched_yield();
	snprintf(path, sizeof path, "/proc/self/task/%d/stat", tid);
	while (!state || strncmp(state, ") S", 3) != 0) {
		int fd = open(path, O_RDONLY | O_CLOEXEC);
		ssize_t n = fd < 0 ? 0 : read(fd, stat, sizeof stat - 1);

		if (fd >= 0)
			close(fd);
		stat[n > 0 ? n : 0] = '\0';
		state = strrchr(stat, ')'); /* behind the thread's name, which may hold anything */
		sched_yield();
	}
}

#endif
