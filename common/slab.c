/* SPDX-License-Identifier: MIT */
/*
 * Small objects by size class, for threads that hand them on. Mirrors, in small, the allocator of
 * the Go runtime (mcache, mcentral, mheap). Any thread.
 *
 * Why not malloc: the publisher's thread makes a message, and the consumer's drops it. glibc gives
 * each thread an arena, and grows it page by page (an mprotect for every dozen messages). A free
 * takes the lock of the arena that the memory came from. Here memory comes in spans, and objects
 * pass between threads in batches:
 *
 *   span   SPAN_SIZE bytes, aligned to that, cut into objects of one class; its
 *          head is found from the address of any of them
 *   class  the spans of one size that have free objects; a lock
 *   cache  a thread's own free objects of a class: up to two batches. Only when
 *          it has none, or a third batch comes up, the class is asked.
 *
 * A span without a used object goes back to the heap, for the next burst. slab_trim runs now and
 * then: it gives the kernel the pages of spans that were not used since the last time (the
 * scavenger of the Go runtime). A message that stays behind holds the memory of its span, as with
 * any allocator that does not move objects. But a new span is made only when its class has no free
 * object left. So there are never more spans than the largest number of messages at one time has
 * needed.
 *
 * Under AddressSanitizer all memory comes from malloc, so that the sanitizer sees each object.
 *
 * Lessons in docs/course/: 14-pool.
 */
#include "common/slab.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "common/check.h"
#include "common/libc.h"
#include "common/lock.h"
#include "common/sanitize.h"
#include "common/xalloc.h"

/* Four classes for each doubling: 64, 80, 96, 112, 128, 160, ... SLAB_MAX. */
#define CLASS_MIN 64
#define N_CLASSES 29
#define SPAN_SIZE ((size_t)256 << 10)
/* Address space is mapped in such pieces; only the used part of a span is memory. */
#define REGION_SIZE (64 * SPAN_SIZE)
/* So many spans in use mean load: from then on, new spans are paged in whole. */
#define SMALL_SPANS 8
/* The most that one thread passes to another at once. */
#define BATCH_BYTES 8192
#define BATCH_MAX 64

#define USE_MALLOC SANITIZE_ADDRESS

struct object {
	struct object *next;
};

struct span {
	struct span *prev, *next; /* all here is guarded by the class's lock */
	struct object *free;      /* given back */
	size_t fresh;             /* offset of the first object that was never handed out */
	size_t used;              /* objects with threads, their caches included */
	bool listed;
};

/* The objects begin behind the span's head. */
#define SPAN_HEAD ((sizeof(struct span) + 63) & ~(size_t)63)

struct class
{
	_Alignas(64) pthread_mutex_t lock;
	struct span *spans; /* guarded by lock; the spans that have free objects */
};

struct batch {
	struct object *first;
	size_t n;
};

struct cache {
	struct batch current; /* where slab_alloc takes and slab_free puts */
	struct batch spare;   /* empty, or a full batch */
};

static struct class classes[N_CLASSES] = {
	[0 ... N_CLASSES - 1] = {.lock = PTHREAD_MUTEX_INITIALIZER},
};

static struct {
	pthread_mutex_t lock;
	size_t in_use;      /* guarded by lock, as all here: spans that belong to a class */
	struct span *empty; /* spans that still have their memory */
	size_t n_empty;
	size_t unwanted; /* the least n_empty since the last trim */
	void **released; /* addresses of spans without memory */
	size_t n_released, cap_released;
	char *region, *region_end; /* never used before */
} heap = {.lock = PTHREAD_MUTEX_INITIALIZER};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t key;                  /* immutable after once; only for its destructor */
static _Thread_local struct cache *caches; /* N_CLASSES, made at the first use */

/* --- classes of size -------------------------------------------------------------------------- */

static unsigned class_of(size_t size)
{
	if (size <= CLASS_MIN)
		return 0;
	unsigned top = 63 - (unsigned)__builtin_clzl(size - 1); /* the highest bit; 6 or more */
	return (top - 6) * 4 + ((unsigned)((size - 1) >> (top - 2)) & 3) + 1;
}

static size_t class_size(unsigned k)
{
	if (k == 0)
		return CLASS_MIN;
	return (size_t)((k - 1) % 4 + 5) << ((k - 1) / 4 + 4);
}

static size_t batch_size(unsigned k)
{
	size_t n = BATCH_BYTES / class_size(k);
	return n > BATCH_MAX ? BATCH_MAX : n;
}

/* --- the heap: spans -------------------------------------------------------------------------- */

static void new_region_locked(void)
{
	plain_mutex_assert_locked(&heap.lock);
	char *p = mmap(NULL, REGION_SIZE, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		check_failed(__FILE__, __LINE__, "out of memory for messages");
	heap.region = (char *)(((uintptr_t)p + SPAN_SIZE - 1) & ~(uintptr_t)(SPAN_SIZE - 1));
	heap.region_end = p + REGION_SIZE;
}

/* A span from the heap. *page_in: its memory is new, and will soon be used. */
static struct span *take_span(bool *page_in)
{
	struct span *s;
	PT_OK(pthread_mutex_lock(&heap.lock));
	*page_in = heap.n_empty == 0 && heap.in_use >= SMALL_SPANS;
	heap.in_use++;
	if (heap.n_empty > 0) {
		s = heap.empty;
		heap.empty = s->next;
		if (--heap.n_empty < heap.unwanted)
			heap.unwanted = heap.n_empty;
	} else if (heap.n_released > 0) {
		s = heap.released[--heap.n_released];
	} else {
		if ((size_t)(heap.region_end - heap.region) < SPAN_SIZE)
			new_region_locked();
		s = (struct span *)heap.region;
		heap.region += SPAN_SIZE;
	}
	PT_OK(pthread_mutex_unlock(&heap.lock));
	return s;
}

static struct span *span_new(void)
{
	bool page_in;
	struct span *s = take_span(&page_in);
	/* In one call: else each page costs a fault. An old kernel refuses; then each page does. */
	if (page_in)
		(void)madvise(s, SPAN_SIZE, MADV_POPULATE_WRITE);
	*s = (struct span){.fresh = SPAN_HEAD};
	return s;
}

static void span_free(struct span *s)
{
	PT_OK(pthread_mutex_lock(&heap.lock));
	heap.in_use--;
	s->next = heap.empty;
	heap.empty = s;
	heap.n_empty++;
	PT_OK(pthread_mutex_unlock(&heap.lock));
}

/* Takes an empty span that was not used since the last trim, or NULL. */
static struct span *take_unwanted(void)
{
	struct span *s = NULL;
	PT_OK(pthread_mutex_lock(&heap.lock));
	if (heap.unwanted > 0) {
		s = heap.empty;
		heap.empty = s->next;
		heap.n_empty--;
		heap.unwanted--;
	}
	PT_OK(pthread_mutex_unlock(&heap.lock));
	return s;
}

static void add_released(struct span *s)
{
	PT_OK(pthread_mutex_lock(&heap.lock));
	if (heap.n_released == heap.cap_released) {
		heap.cap_released = heap.cap_released != 0 ? 2 * heap.cap_released : 64;
		heap.released =
			xreallocarray(heap.released, heap.cap_released, sizeof(*heap.released));
	}
	heap.released[heap.n_released++] = s;
	PT_OK(pthread_mutex_unlock(&heap.lock));
}

void slab_trim(void)
{
	struct span *s;
	/* One by one, and the system call without the lock: no thread waits for it. */
	while ((s = take_unwanted()) != NULL) {
		(void)madvise(s, SPAN_SIZE, MADV_DONTNEED);
		add_released(s);
	}
	PT_OK(pthread_mutex_lock(&heap.lock));
	heap.unwanted = heap.n_empty;
	PT_OK(pthread_mutex_unlock(&heap.lock));
}

void slab_trim_all(void)
{
	PT_OK(pthread_mutex_lock(&heap.lock));
	heap.unwanted = heap.n_empty;
	PT_OK(pthread_mutex_unlock(&heap.lock));
	slab_trim();
}

struct slab_stats slab_get_stats(void)
{
	PT_OK(pthread_mutex_lock(&heap.lock));
	struct slab_stats st = {
		.in_use = heap.in_use * SPAN_SIZE,
		.idle = heap.n_empty * SPAN_SIZE,
		.released = heap.n_released * SPAN_SIZE,
	};
	PT_OK(pthread_mutex_unlock(&heap.lock));
	return st;
}

/* --- classes: objects of one size ------------------------------------------------------------- */

static struct span *span_of(void *p)
{
	return (struct span *)((uintptr_t)p & ~(uintptr_t)(SPAN_SIZE - 1));
}

static void list_span(struct class *c, struct span *s)
{
	s->prev = NULL;
	s->next = c->spans;
	if (s->next)
		s->next->prev = s;
	c->spans = s;
	s->listed = true;
}

static void unlist_span(struct class *c, struct span *s)
{
	if (s->prev)
		s->prev->next = s->next;
	else
		c->spans = s->next;
	if (s->next)
		s->next->prev = s->prev;
	s->listed = false;
}

/* Moves objects of size bytes from s to b, until b has max. */
static void take_from_span(struct span *s, size_t size, struct batch *b, size_t max)
{
	while (b->n < max) {
		struct object *o = s->free;
		if (o) {
			s->free = o->next;
		} else if (s->fresh + size <= SPAN_SIZE) {
			o = (struct object *)((char *)s + s->fresh);
			s->fresh += size;
		} else {
			return;
		}
		o->next = b->first;
		b->first = o;
		b->n++;
		s->used++;
	}
}

/* Takes a batch with at least one object from the class. */
static struct batch class_take(unsigned k)
{
	struct class *c = &classes[k];
	struct batch b = {0};
	struct span *fresh = NULL;
	size_t size = class_size(k), max = batch_size(k);
	while (b.n == 0) {
		PT_OK(pthread_mutex_lock(&c->lock));
		if (fresh)
			list_span(c, fresh);
		while (b.n < max && c->spans) {
			struct span *s = c->spans;
			take_from_span(s, size, &b, max);
			if (!s->free && s->fresh + size > SPAN_SIZE)
				unlist_span(c, s);
		}
		PT_OK(pthread_mutex_unlock(&c->lock));
		if (b.n == 0)
			fresh = span_new(); /* system calls, so without the lock */
	}
	return b;
}

static void class_give(unsigned k, struct batch b)
{
	struct class *c = &classes[k];
	struct span *empty = NULL;
	PT_OK(pthread_mutex_lock(&c->lock));
	for (struct object *o = b.first, *next; o; o = next) {
		struct span *s = span_of(o);
		next = o->next;
		o->next = s->free;
		s->free = o;
		if (!s->listed)
			list_span(c, s);
		if (--s->used == 0) {
			unlist_span(c, s);
			s->next = empty;
			empty = s;
		}
	}
	PT_OK(pthread_mutex_unlock(&c->lock));
	while (empty) {
		struct span *s = empty;
		empty = s->next;
		span_free(s);
	}
}

/* --- caches: one thread's --------------------------------------------------------------------- */

/* The thread ends: its free objects go back to the classes. */
static void drop_caches(void *arg)
{
	struct cache *mine = arg;
	caches = NULL;
	for (unsigned k = 0; k < N_CLASSES; k++) {
		if (mine[k].current.first)
			class_give(k, mine[k].current);
		if (mine[k].spare.first)
			class_give(k, mine[k].spare);
	}
	free(mine);
}

static void make_key(void)
{
	PT_OK(pthread_key_create(&key, drop_caches));
}

static struct cache *cache_of(unsigned k)
{
	if (__builtin_expect(!caches, 0)) {
		PT_OK(pthread_once(&once, make_key));
		caches = xcalloc(N_CLASSES, sizeof(*caches));
		PT_OK(pthread_setspecific(key, caches));
	}
	return &caches[k];
}

void *slab_alloc(size_t size)
{
	if (USE_MALLOC || size > SLAB_MAX)
		return xmalloc(size);
	unsigned k = class_of(size);
	struct cache *c = cache_of(k);
	if (!c->current.first) {
		c->current = c->spare.first ? c->spare : class_take(k);
		c->spare = (struct batch){0};
	}
	struct object *o = c->current.first;
	c->current.first = o->next;
	c->current.n--;
	return o;
}

void slab_free(void *p, size_t size)
{
	if (USE_MALLOC || size > SLAB_MAX) {
		free(p);
		return;
	}
	unsigned k = class_of(size);
	struct cache *c = cache_of(k);
	if (c->current.n >= batch_size(k)) {
		if (c->spare.first)
			class_give(k, c->spare);
		c->spare = c->current;
		c->current = (struct batch){0};
	}
	struct object *o = p;
	o->next = c->current.first;
	c->current.first = o;
	c->current.n++;
}
