/* SPDX-License-Identifier: MIT */
/* Errors of a client. Mirrors internal/protocol/errors.go. Thread: the client's io_loop. */
#include "protocol/errors.h"

#include <stdarg.h>
#include <stdio.h>

static void set(struct protocol_err *e, bool fatal, const char *parent, const char *code,
	const char *fmt, va_list ap) __attribute__((format(printf, 5, 0)));

static void set(struct protocol_err *e, bool fatal, const char *parent, const char *code,
	const char *fmt, va_list ap)
{
	e->fatal = fatal;
	snprintf(e->parent, sizeof(e->parent), "%s", parent ? parent : "");
	strbuf_reset(&e->text);
	strbuf_adds(&e->text, code);
	strbuf_addc(&e->text, ' ');
	strbuf_vaddf(&e->text, fmt, ap);
}

int client_err(struct protocol_err *e, const char *parent, const char *code, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	set(e, false, parent, code, fmt, ap);
	va_end(ap);
	return -1;
}

int fatal_client_err(
	struct protocol_err *e, const char *parent, const char *code, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	set(e, true, parent, code, fmt, ap);
	va_end(ap);
	return -1;
}
