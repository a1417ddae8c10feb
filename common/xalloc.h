/* SPDX-License-Identifier: MIT */
/*
 * Allocation that never returns NULL. Without memory the process ends with a message that names the
 * size, as the Go runtime does. So every size from the network or the disk is checked against a
 * limit before it gets here. Any thread.
 */
#ifndef COMMON_XALLOC_H
#define COMMON_XALLOC_H

#include <stddef.h>

void *xmalloc(size_t size) __attribute__((malloc, returns_nonnull, alloc_size(1)));
/* Zeroed. n * size is checked for overflow. */
void *xcalloc(size_t n, size_t size) __attribute__((malloc, returns_nonnull, alloc_size(1, 2)));
/* Zeroed, for a type whose alignment (a power of two) is more than malloc's. Freed by free. */
void *xcalloc_aligned(size_t align, size_t size)
	__attribute__((malloc, returns_nonnull, alloc_align(1), alloc_size(2)));
void *xrealloc(void *p, size_t size) __attribute__((returns_nonnull, alloc_size(2)));
/* realloc to n elements of size bytes, checked for overflow. */
void *xreallocarray(void *p, size_t n, size_t size)
	__attribute__((returns_nonnull, alloc_size(2, 3)));
char *xstrdup(const char *s) __attribute__((malloc, returns_nonnull));
char *xstrndup(const char *s, size_t n) __attribute__((malloc, returns_nonnull));
char *xasprintf(const char *fmt, ...)
	__attribute__((malloc, returns_nonnull, format(printf, 1, 2)));

/* Tells malloc how much it may keep; see xalloc.c. Before the first other thread starts. */
void xalloc_init(void);

#endif
