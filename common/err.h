/* SPDX-License-Identifier: MIT */
/*
 * Errors of the environment, with their reason as text (Go's error values). A function that can
 * fail returns 0 or -1 (or NULL). On failure it fills a struct err that the caller owns, usually on
 * its stack. Wrapping puts context in front.
 */
#ifndef COMMON_ERR_H
#define COMMON_ERR_H

#include <stddef.h>

struct err {
	int code;      /* an errno value, or 0 */
	char msg[512]; /* always terminated; cut off if too long */
};

/*
 * Both return -1, so that a failing function can end with "return err_set(...)". err may be NULL.
 */
int err_set(struct err *err, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/*
 * fmt, then Go's text of errno (strerror in lower case). ": " stands between them, unless fmt is
 * empty or ends with a space. So "open x" and "open x: " both give "open x: no such file or
 * directory", and "failed - " gives "failed - no such file or directory".
 */
int err_errno(struct err *err, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/*
 * Puts fmt in front of the message that err holds, joined as in err_errno; keeps the code. Returns
 * -1.
 */
int err_wrap(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* syscall.Errno.Error(): "no such file or directory". Returns buf, cut off if size is too small. */
const char *err_strerror(int code, char *buf, size_t size);

#endif
