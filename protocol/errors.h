/* SPDX-License-Identifier: MIT */
/*
 * What a client did wrong (internal/protocol/errors.go): the text goes to it in an error frame; a
 * fatal one closes the connection after that.
 */
#ifndef PROTOCOL_ERRORS_H
#define PROTOCOL_ERRORS_H

#include <stdbool.h>

#include "common/strbuf.h"

struct protocol_err {
	bool fatal;
	struct strbuf text; /* "E_CODE description"; may hold any byte that the client sent */
	char parent[256];   /* the reason behind it, for our log only; "" for none */
};

/*
 * The owner of e frees e->text with strbuf_free; a new error replaces the old text.
 *
 * NewClientErr, NewFatalClientErr; parent may be NULL. Both return -1. fmt describes; code and a
 * space precede it. Bytes that may be 0 are appended to e->text afterwards.
 */
int client_err(struct protocol_err *e, const char *parent, const char *code, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
int fatal_client_err(struct protocol_err *e, const char *parent, const char *code, const char *fmt,
	...) __attribute__((format(printf, 4, 5)));

#endif
