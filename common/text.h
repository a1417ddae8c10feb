/* SPDX-License-Identifier: MIT */
/*
 * A string that a client chose: it may hold any byte, a zero included (Go's string). One more zero
 * follows it, so that it serves as a C string if it holds none.
 */
#ifndef COMMON_TEXT_H
#define COMMON_TEXT_H

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "common/xalloc.h"

struct text {
	char *s; /* owned; NULL only in a zeroed one, which is for text_free only */
	size_t len;
};

/* Copies s; the caller calls text_free. */
static inline struct text text_new(const char *s, size_t len)
{
	struct text t = {.s = xmalloc(len + 1), .len = len};
	memcpy(t.s, s, len);
	t.s[len] = '\0';
	return t;
}

static inline struct text text_from(const char *s)
{
	return text_new(s, strlen(s));
}

static inline struct text text_copy(struct text t)
{
	return text_new(t.s, t.len);
}

static inline void text_free(struct text *t)
{
	free(t->s);
	*t = (struct text){0};
}

static inline bool text_is(struct text t, const char *s)
{
	return t.len == strlen(s) && memcmp(t.s, s, t.len) == 0;
}

#endif
