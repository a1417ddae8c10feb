/* SPDX-License-Identifier: MIT */
/*
 * The token of an Authorization header: RFC 6750 (Bearer), or RFC 7617 (Basic) with the token as the
 * password. It keeps nothing.
 */
#ifndef PROTOCOL_HTTP_AUTHORIZATION_H
#define PROTOCOL_HTTP_AUTHORIZATION_H

#include <stdbool.h>
#include <stddef.h>

/* A shorter one could be found by trying. */
#define HTTP_TOKEN_MIN 16
#define HTTP_TOKEN_MAX 255
/* The longest value of the header that can hold a token: the name in front of it has some room. */
#define HTTP_AUTHORIZATION_MAX 1024

/* Could this be a token: HTTP_TOKEN_MIN to HTTP_TOKEN_MAX letters, digits and -._~+/= ? Any thread. */
bool http_is_auth_token(const char *s, size_t len);
/*
 * The token in the value v[0..len) of the header: its length, with the token in out, not terminated.
 * 0: there is none. Any thread.
 */
size_t http_authorization_token(const char *v, size_t len, char out[HTTP_TOKEN_MAX]);

#endif
