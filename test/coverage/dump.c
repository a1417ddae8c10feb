/* SPDX-License-Identifier: MIT */
/*
 * Linked into programs that count their lines (SANITIZE=coverage), and into no others. The counters
 * are written by exit handlers. `_exit`, `abort`, a signal that the process raises, and exit_group
 * go around those. So these functions write the counters first. The linker puts them in place of
 * the C library's (`--wrap`). Only the end by another's SIGKILL loses what was counted.
 */
#include <gcov.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/syscall.h>

_Noreturn void __real__exit(int status);
_Noreturn void __real_abort(void);
int __real_raise(int signum);
long __real_syscall(long number, ...);
_Noreturn void __wrap__exit(int status);
_Noreturn void __wrap_abort(void);
int __wrap_raise(int signum);
long __wrap_syscall(long number, ...);

void __wrap__exit(int status)
{
	__gcov_dump();
	__real__exit(status);
}

void __wrap_abort(void)
{
	__gcov_dump();
	__real_abort();
}

/* It may return: then counting goes on. */
int __wrap_raise(int signum)
{
	__gcov_dump();
	__gcov_reset();
	return __real_raise(signum);
}

/* The kernel takes six arguments at most. Those that were not given are whatever is there. */
long __wrap_syscall(long number, ...)
{
	long a[6];
	va_list ap;
	va_start(ap, number);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(ap, long);
	va_end(ap);
	if (number == SYS_exit_group)
		__gcov_dump();
	return __real_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
