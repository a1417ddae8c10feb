/* SPDX-License-Identifier: MIT */
/*
 * Assertions (CHECK), and pthread calls that must not fail (PT_OK). Both are never compiled out:
 * they name the place and the thread, and abort.
 *
 * A CHECK is for conditions that nothing outside can influence: no data from a client, server or
 * lookupd, no file, no flag, no limit of the system. If a library refuses an argument that came
 * from outside, that is an error: struct err (err.h) for the environment, a protocol error for a
 * client. A want of memory ends the process by xalloc.h. Libraries that can use it do.
 */
#ifndef COMMON_CHECK_H
#define COMMON_CHECK_H

/* Prints "file:line: in thread NAME: text" to stderr and aborts. */
_Noreturn void check_failed(const char *file, int line, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

#define CHECK(cond)                                                                                \
	do {                                                                                       \
		if (__builtin_expect(!(cond), 0))                                                  \
			check_failed(__FILE__, __LINE__, "check failed: %s", #cond);               \
	} while (0)

/* For pthread calls that return an error number and fail only on misuse. */
#define PT_OK(call)                                                                                \
	do {                                                                                       \
		int pt_rc_ = (call);                                                               \
		if (__builtin_expect(pt_rc_ != 0, 0))                                              \
			check_failed(__FILE__, __LINE__, "%s: error %d", #call, pt_rc_);           \
	} while (0)

#endif
