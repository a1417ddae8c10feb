/* SPDX-License-Identifier: MIT */
/*
 * The buffers of connections, on pages of their own. From malloc each would lie between small
 * things that stay for as long as the connection does, and its first and last page with them, long
 * after it was freed.
 */
#ifndef COMMON_BUFPOOL_H
#define COMMON_BUFPOOL_H

#include <stddef.h>

/* The usual size. Others are malloc's. */
#define BUFPOOL_SIZE (16 * 1024)

/* Never NULL: no memory aborts. Not zeroed. Any thread. */
void *bufpool_get(size_t size) __attribute__((malloc, returns_nonnull, alloc_size(1)));
/* Takes back what bufpool_get(size) gave. NULL is fine. Any thread. */
void bufpool_put(void *buf, size_t size);

#endif
