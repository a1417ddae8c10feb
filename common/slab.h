/* SPDX-License-Identifier: MIT */
/*
 * Memory for many small objects that one thread makes and another drops: messages. Go has its
 * collector for this; malloc is bad at it (see slab.c).
 */
#ifndef COMMON_SLAB_H
#define COMMON_SLAB_H

#include <stddef.h>

/* Larger objects come from malloc. */
#define SLAB_MAX 8192

/*
 * size bytes, uninitialised, aligned to 16; the caller owns them. Never NULL: without memory the
 * process ends. Any thread; takes leaf locks now and then.
 */
void *slab_alloc(size_t size) __attribute__((malloc, returns_nonnull, alloc_size(1)));
/* Takes memory of slab_alloc(size) back, from any thread. NULL is not allowed. */
void slab_free(void *p, size_t size);
/* Gives the system memory back that was not needed since the last call. Any thread. */
void slab_trim(void);
/* The same with all memory that is free now (debug.FreeOSMemory). Any thread. */
void slab_trim_all(void);

/* Bytes of spans: with objects in them; kept for the next burst; given back to the system. */
struct slab_stats {
	size_t in_use, idle, released;
};
/* Any thread; takes a leaf lock. */
struct slab_stats slab_get_stats(void);

#endif
