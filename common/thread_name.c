/* SPDX-License-Identifier: MIT */
/* The names of threads. Goroutines have none: there is no Go file. Runs in any thread. */
#include "common/thread_name.h"

#include <stddef.h>
#include <unistd.h>

static _Thread_local const char *name; /* NULL: the thread has none */

const char *thread_name(void)
{
	if (name)
		return name;
	return gettid() == getpid() ? "main" : "?";
}

void thread_name_set(const char *new_name)
{
	name = new_name;
}
