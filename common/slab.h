/* SPDX-License-Identifier: MIT */
/*
 * Memory for many small objects that one thread makes and another drops: messages. Go has its
 * collector for this; malloc serves it badly (see slab.c).
 */
#ifndef COMMON_SLAB_H
#define COMMON_SLAB_H

#include <stddef.h>

/* What is larger comes from malloc. */
#define SLAB_MAX 8192

/*
 * size bytes, uninitialised, aligned to 16; the caller owns them. Never NULL: no memory ends the
 * process. Any thread; takes leaf locks now and then.
 */
void *slab_alloc(size_t size) __attribute__((malloc, returns_nonnull, alloc_size(1)));
/* Takes back what slab_alloc(size) gave to any thread. NULL is not fine. */
void slab_free(void *p, size_t size);
/* Gives back to the system what nobody has needed since the last call. Any thread. */
void slab_trim(void);
/* The same with all that nobody uses just now (debug.FreeOSMemory). Any thread. */
void slab_trim_all(void);

/* Bytes of spans: with objects in them; kept for the next burst; given back. */
struct slab_stats {
	size_t in_use, idle, released;
};
/* Any thread; takes a leaf lock. */
struct slab_stats slab_get_stats(void);

#endif
