/* SPDX-License-Identifier: MIT */
/*
 * What cannot happen (CHECK) and what pthreads must not answer (PT_OK). Both are never compiled
 * out: they name the place and the thread, and abort.
 *
 * CHECK is for what nobody outside can influence: no client, server or lookupd by what it sends, no
 * file, no flag, no limit of the system. What a library answers to an argument that came from there
 * is an error of the one who asked: struct err (err.h) for the environment, protocol errors for
 * clients. A want of memory ends the process by xalloc.h; libraries that can be told to use it are.
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
