/* SPDX-License-Identifier: MIT */
/*
 * What a client did wrong (internal/protocol/errors.go): the text goes to it in
 * an error frame; a fatal one closes the connection after that.
 */
#ifndef PROTOCOL_ERRORS_H
#define PROTOCOL_ERRORS_H

#include <stdbool.h>

struct protocol_err {
	bool fatal;
	char text[1024];  /* "E_CODE description"; a message that is too long is cut off */
	char parent[256]; /* the reason behind it, for our log only; "" for none */
};

/* NewClientErr, NewFatalClientErr; parent may be NULL. Both return -1. fmt describes; code and a space precede it. */
int client_err(struct protocol_err *e, const char *parent, const char *code, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
int fatal_client_err(struct protocol_err *e, const char *parent, const char *code, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

#endif
