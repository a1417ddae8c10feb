/* SPDX-License-Identifier: MIT */
/*
 * The end of a process that found itself wrong. No Go file: Go has panic and throw in its runtime.
 * Any thread; uses neither locks nor memory, since the thread may hold a lock or lack memory.
 */
#include "common/check.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/thread_name.h"

void check_failed(const char *file, int line, const char *fmt, ...)
{
	char buf[1024];
	va_list ap;
	int n = snprintf(buf, sizeof(buf), "%s:%d: in thread %s: ", file, line, thread_name());
	if (n > 0 && (size_t)n < sizeof(buf)) {
		va_start(ap, fmt);
		n += vsnprintf(buf + n, sizeof(buf) - (size_t)n, fmt, ap);
		va_end(ap);
	}
	if (n > (int)sizeof(buf) - 1)
		n = sizeof(buf) - 1;
	buf[n++] = '\n';
	/* One write, so that it stays one line. If it fails, nothing is left to do. */
	if (write(STDERR_FILENO, buf, (size_t)n) < 0)
		abort();
	abort();
}
