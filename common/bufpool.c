/* SPDX-License-Identifier: MIT */
/*
 * Buffers of one size, cut out of regions that are mapped when needed and never unmapped. No Go
 * file: Go has the size classes of its heap, and the scavenger. Threads: any that opens or closes a
 * connection, or gives up its buffers.
 *
 * A few free buffers keep their pages, for connections that come and go: these are *warm*. The
 * kernel gets the pages of the others back; their addresses stay. A buffer that was never used has
 * no pages either. Both are *cold*: the next thread that uses such a buffer faults its pages in.
 */
#include "common/bufpool.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "common/check.h"
#include "common/lock.h"
#include "common/sanitize.h"
#include "common/xalloc.h"

#define REGION_BUFFERS 256 /* 4 MiB: rarely aligned so that it could become a huge page */

/* A leaf: nothing is taken under it. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
/* A stack: the cold ones are below, the warm ones above. */
static char **free_list; /* guarded by lock */
static size_t n_free;    /* guarded by lock */
static size_t n_cold;    /* guarded by lock; at most n_free */
static size_t n_all;     /* guarded by lock; the capacity of free_list */

#if SANITIZE_ADDRESS
/* All buffers come from malloc, so that the sanitizer knows their bounds. */
static const size_t pooled_size = 0;
#else
static const size_t pooled_size = BUFPOOL_SIZE;
#endif

static void add_region_locked(void)
{
	plain_mutex_assert_locked(&lock);
	size_t size = (size_t)REGION_BUFFERS * BUFPOOL_SIZE;
	char *region = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (region == MAP_FAILED)
		check_failed(__FILE__, __LINE__, "out of memory for %d buffers", REGION_BUFFERS);
	/* A huge page would bring back all the memory that this is to save. */
	(void)madvise(region, size, MADV_NOHUGEPAGE);
	n_all += REGION_BUFFERS;
	free_list = xreallocarray(free_list, n_all, sizeof(*free_list));
	for (size_t i = REGION_BUFFERS; i > 0; i--)
		free_list[n_free++] = region + (i - 1) * BUFPOOL_SIZE;
	n_cold = n_free;
}

/* The lowest of the warm ones makes room for it, at the top. */
static void push_cold_locked(char *buf)
{
	plain_mutex_assert_locked(&lock);
	free_list[n_free++] = free_list[n_cold];
	free_list[n_cold++] = buf;
}

void *bufpool_get(size_t size)
{
	if (size != pooled_size)
		return xmalloc(size);
	PT_OK(pthread_mutex_lock(&lock));
	if (n_free == 0)
		add_region_locked();
	void *buf = free_list[--n_free];
	if (n_cold > n_free)
		n_cold = n_free;
	PT_OK(pthread_mutex_unlock(&lock));
	return buf;
}

void bufpool_put(void *buf, size_t size)
{
	if (size != pooled_size || !buf) {
		free(buf);
		return;
	}
	PT_OK(pthread_mutex_lock(&lock));
	bool warm = n_free - n_cold < BUFPOOL_WARM;
	if (warm)
		free_list[n_free++] = buf;
	PT_OK(pthread_mutex_unlock(&lock));
	if (warm)
		return;
	(void)madvise(buf, size, MADV_DONTNEED); /* not under the lock: it takes microseconds */
	PT_OK(pthread_mutex_lock(&lock));
	push_cold_locked(buf);
	PT_OK(pthread_mutex_unlock(&lock));
}
