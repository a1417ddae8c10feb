/* SPDX-License-Identifier: MIT */
/* The `go` statement for the programs of the course, from lesson 2 on: lesson 1 writes it out. */
#ifndef TEST_COURSE_GO_H
#define TEST_COURSE_GO_H

#include <stdio.h>
#include <stdlib.h>

#include "common/gothread.h"

/*
 * Runs fn(arg) in a thread with this name, and counts it in wg. arg must stay until fn is done with
 * it. Without a thread the program ends with a message: a daemon would go on, and refuse one client.
 */
static inline void go(struct wait_group *wg, const char *name, void (*fn)(void *), void *arg)
{
	struct err err;

	if (wait_group_wrap(wg, name, fn, arg, &err) < 0) {
		fprintf(stderr, "%s: %s\n", name, err.msg);
		exit(1);
	}
}

#endif
