/* SPDX-License-Identifier: MIT */
/*
 * The buffers of connections, on pages of their own. A buffer from malloc lies between small
 * objects that live as long as the connection. They would keep its first and last page in memory
 * long after the buffer is freed.
 */
#ifndef COMMON_BUFPOOL_H
#define COMMON_BUFPOOL_H

#include <stddef.h>

/* The size of a pooled buffer. Buffers of other sizes come from malloc. */
#define BUFPOOL_SIZE (16 * 1024)
/* So many free buffers keep their pages: 1 MiB. They are taken first. */
#define BUFPOOL_WARM 64

/* Never NULL: without memory the process ends. Not zeroed. Any thread; takes the pool's lock. */
void *bufpool_get(size_t size) __attribute__((malloc, returns_nonnull, alloc_size(1)));
/* Takes a buffer of bufpool_get(size) back. NULL is fine. Any thread; takes the pool's lock. */
void bufpool_put(void *buf, size_t size);

#endif
