/* SPDX-License-Identifier: MIT */
/*
 * Errors of a client (internal/protocol/errors.go). The client gets the text in an error frame; a
 * fatal error closes the connection after that.
 */
#ifndef PROTOCOL_ERRORS_H
#define PROTOCOL_ERRORS_H

#include <stdbool.h>

#include "common/strbuf.h"

struct protocol_err {
	bool fatal;
	struct strbuf text; /* "E_CODE description"; may hold any byte that the client sent */
	char parent[256];   /* the underlying reason, for our log only; "" for none */
};

/*
 * The owner of e frees e->text with strbuf_free; a new error replaces the old text.
 *
 * NewClientErr, NewFatalClientErr; parent may be NULL. Both return -1. e->text becomes code, a
 * space and fmt. The caller appends bytes that may be 0 to e->text afterwards.
 */
int client_err(struct protocol_err *e, const char *parent, const char *code, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
int fatal_client_err(struct protocol_err *e, const char *parent, const char *code, const char *fmt,
	...) __attribute__((format(printf, 4, 5)));

#endif
