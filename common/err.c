/* SPDX-License-Identifier: MIT */
/*
 * Error values with context. Mirrors packages errors and syscall, and fmt.Errorf with %s of an
 * error. Any thread; touches only the caller's struct err.
 */
#include "common/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/libc.h"

const char *err_strerror(int code, char *buf, size_t size)
{
	char tmp[128];
	const char *s = libc_strerror(code, tmp, sizeof(tmp));
	snprintf(buf, size, "%s", s);
	/* Go's table was made by this very rule: acronyms keep their capitals. */
	if (size > 1 && buf[0] >= 'A' && buf[0] <= 'Z' && buf[1] >= 'a' && buf[1] <= 'z')
		buf[0] = (char)(buf[0] - 'A' + 'a');
	return buf;
}

/* The separator between a text and the error that follows it, see err.h. */
static const char *separator(const char *text)
{
	size_t n = strlen(text);
	return n == 0 || text[n - 1] == ' ' ? "" : ": ";
}

/* Makes err->msg "text: tail", cut off at its end. tail may not overlap err->msg. */
static void join(struct err *err, const char *tail)
{
	size_t n = strlen(err->msg);
	snprintf(err->msg + n, sizeof(err->msg) - n, "%s%s", separator(err->msg), tail);
}

int err_set(struct err *err, int code, const char *fmt, ...)
{
	if (!err)
		return -1;
	char msg[sizeof(err->msg)]; /* the arguments may point into err->msg */
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(msg, sizeof(msg), fmt, ap);
	va_end(ap);
	memcpy(err->msg, msg, sizeof(msg));
	err->code = code;
	return -1;
}

int err_errno(struct err *err, int code, const char *fmt, ...)
{
	if (!err)
		return -1;
	char msg[sizeof(err->msg)], tail[128];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(msg, sizeof(msg), fmt, ap);
	va_end(ap);
	memcpy(err->msg, msg, sizeof(msg));
	err->code = code;
	join(err, err_strerror(code, tail, sizeof(tail)));
	return -1;
}

int err_wrap(struct err *err, const char *fmt, ...)
{
	if (!err)
		return -1;
	char msg[sizeof(err->msg)], tail[sizeof(err->msg)];
	memcpy(tail, err->msg, sizeof(tail));
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(msg, sizeof(msg), fmt, ap);
	va_end(ap);
	memcpy(err->msg, msg, sizeof(msg));
	join(err, tail);
	return -1;
}
