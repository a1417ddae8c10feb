/* SPDX-License-Identifier: MIT */
/*
 * Allocation that ends the process instead of failing. Mirrors the Go runtime's "out of memory"
 * (runtime/malloc.go): a message and exit code 2, no core file of a whole heap. Any thread.
 */
#include "common/xalloc.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/libc.h"

static _Noreturn void out_of_memory(size_t size)
{
	char buf[96];
	int n = snprintf(
		buf, sizeof(buf), "fatal error: out of memory: cannot allocate %zu bytes\n", size);
	/* Not stdio: it may want memory itself. */
	ssize_t ignored = write(STDERR_FILENO, buf, (size_t)n);
	(void)ignored;
	_exit(2);
}

static size_t product(size_t n, size_t size)
{
	size_t total;
	if (__builtin_mul_overflow(n, size, &total))
		out_of_memory(SIZE_MAX);
	return total;
}

void *xmalloc(size_t size)
{
	/* malloc(0) may be NULL, which no caller expects. */
	void *p = malloc(size != 0 ? size : 1);
	if (!p)
		out_of_memory(size);
	return p;
}

void *xcalloc(size_t n, size_t size)
{
	size_t total = product(n, size);
	void *p = calloc(1, total ? total : 1);
	if (!p)
		out_of_memory(total);
	return p;
}

void *xcalloc_aligned(size_t align, size_t size)
{
	/* aligned_alloc wants a multiple of the alignment. */
	size_t more = -size & (align - 1), total;
	if (__builtin_add_overflow(size, more, &total))
		out_of_memory(size);
	void *p = aligned_alloc(align, total);
	if (!p)
		out_of_memory(size);
	return memset(p, 0, total);
}

void *xrealloc(void *p, size_t size)
{
	void *q = realloc(p, size != 0 ? size : 1);
	if (!q)
		out_of_memory(size);
	return q;
}

void *xreallocarray(void *p, size_t n, size_t size)
{
	return xrealloc(p, product(n, size));
}

char *xstrdup(const char *s)
{
	size_t n = strlen(s) + 1;
	return memcpy(xmalloc(n), s, n);
}

char *xstrndup(const char *s, size_t n)
{
	size_t len = strnlen(s, n);
	char *p = xmalloc(len + 1);
	memcpy(p, s, len);
	p[len] = '\0';
	return p;
}

char *xasprintf(const char *fmt, ...)
{
	char *s;
	va_list ap;
	va_start(ap, fmt);
	int n = vasprintf(&s, fmt, ap);
	va_end(ap);
	if (n < 0)
		out_of_memory(0);
	return s;
}

/*
 * glibc raises both limits with the largest block that was ever freed, up to 32 and 64 MB. Each
 * thread's arena then keeps as much at its end, and malloc_trim does not give that back. The limits
 * set here are those that messages of 1 MB lead to.
 */
void xalloc_init(void)
{
	libc_set_thresholds(2 << 20, 4 << 20);
}
