/* SPDX-License-Identifier: MIT */
/*
 * The memory of C11. In a walk an atomic load may read a store that is not the last: any that this
 * thread is not known to have passed. So an order that is too weak shows, also on a machine whose
 * own order is strong.
 *
 * Each location has its stores in modification order. Each thread has a view: the store of each
 * location that it has read or written last, so that it reads no older one. A store with release
 * carries the writer's view, and a load with acquire that reads it takes that over. This is the
 * operational form of C11, without reading what is not yet written. A store may also take its place
 * before others that have run already. seq_cst accesses of a location read nothing older than its
 * last seq_cst store.
 *
 * Along with the view goes a vector clock. By it two accesses of other memory, one of them a write,
 * are either in order, or a data race.
 */
#include "test/model/mc_weak.h"

#include <stdlib.h>
#include <string.h>

#include "test/model/mc_internal.h"

#define LOCATIONS 256
#define STORES 8 /* of a location: the last ones in modification order */
#define SYNCS 128
/* Modification order: positions, with gaps for stores that come in between. */
#define GAP ((uint64_t)1 << 32)

/* What a thread knows, and what it passes on. */
struct view {
	uint32_t clock[MC_THREADS];
	uint64_t seen[LOCATIONS]; /* position of a store */
};

struct store {
	uint64_t value, position;
	bool is_read_by_change; /* the next one in modification order is that change's */
	struct view passes_on;
};

struct location {
	uintptr_t at; /* 0: none */
	size_t size;
	int n_stores;
	uint64_t last_seq_cst;
	struct store stores[STORES];
};

/* A mutex, or the like. */
struct sync {
	uintptr_t what;
	struct view view;
};

/* The last accesses of a byte. */
struct cell {
	uint32_t run, write_clock;
	uint32_t read_clocks[MC_THREADS];
	int writer;
};

#define BYTES_FROM MC_WORLD_AT
#define BYTES (MC_STACKS_AT + MC_THREADS * MC_STACK_SIZE - BYTES_FROM)
extern char __data_start[], _end[];
extern char __start_mc_tls[], __stop_mc_tls[];
/* NULL: a scenario that notes nothing has no such section. */
extern char __start_mc_ghost[] __attribute__((weak)), __stop_mc_ghost[] __attribute__((weak));

struct weak {
	uint32_t run;
	struct view threads[MC_THREADS];
	struct location locations[LOCATIONS];
	int n_locations;
	struct sync syncs[SYNCS];
	int n_syncs;
	struct cell *cells, *data_cells;
};
#define M (*(struct weak *)C.weak)

static struct view *self(void)
{
	return &M.threads[C.current];
}

static bool is_on(void)
{
	return C.weak && C.current >= 0 && !C.quiet;
}

/* --- views ------------------------------------------------------------------------------------ */

static void join(struct view *v, const struct view *with)
{
	for (int i = 0; i < MC_THREADS; i++) {
		if (v->clock[i] < with->clock[i])
			v->clock[i] = with->clock[i];
	}
	for (int i = 0; i < M.n_locations; i++) {
		if (v->seen[i] < with->seen[i])
			v->seen[i] = with->seen[i];
	}
}

/* What the thread does from now on is not yet known to those to whom it has passed its view. */
static void tick(void)
{
	self()->clock[C.current]++;
}

static bool is_acquire(int order)
{
	return order == __ATOMIC_ACQUIRE || order == __ATOMIC_CONSUME ||
	       order == __ATOMIC_ACQ_REL || order == __ATOMIC_SEQ_CST;
}

static bool is_release(int order)
{
	return order == __ATOMIC_RELEASE || order == __ATOMIC_ACQ_REL || order == __ATOMIC_SEQ_CST;
}

/* --- other memory ----------------------------------------------------------------------------- */

/* The scenario's notes, and variables of single threads. */
static bool is_exempt(uintptr_t at)
{
	return (at >= (uintptr_t)__start_mc_ghost && at < (uintptr_t)__stop_mc_ghost) ||
	       (at >= (uintptr_t)__start_mc_tls && at < (uintptr_t)__stop_mc_tls);
}

/* NULL: it is not watched. */
static struct cell *cell_of(uintptr_t at)
{
	struct cell *c;
	if (at >= BYTES_FROM && at < BYTES_FROM + BYTES)
		c = &M.cells[at - BYTES_FROM];
	else if (at >= (uintptr_t)__data_start && at < (uintptr_t)_end && !is_exempt(at))
		c = &M.data_cells[at - (uintptr_t)__data_start];
	else
		return NULL;
	if (c->run != M.run) {
		memset(c, 0, sizeof(*c));
		c->run = M.run;
		c->writer = -1;
	}
	return c;
}

static void race(const char *what, uintptr_t at, int other)
{
	mc_fail("data race: %s %p, which %s has used, and nothing orders the two", what, (void *)at,
		W.threads[other].name);
}

static void check_write_before(const struct cell *c, const char *what, uintptr_t at)
{
	if (c->writer >= 0 && c->writer != C.current && self()->clock[c->writer] < c->write_clock)
		race(what, at, c->writer);
}

void mc_weak_plain_read(const volatile void *p, size_t size)
{
	if (!is_on())
		return;
	for (uintptr_t at = (uintptr_t)p; at < (uintptr_t)p + size; at++) {
		struct cell *c = cell_of(at);
		if (!c)
			continue;
		check_write_before(c, "a read of", at);
		c->read_clocks[C.current] = self()->clock[C.current];
	}
}

static void check_reads_before(const struct cell *c, const char *what, uintptr_t at)
{
	for (int i = 0; i < MC_THREADS; i++) {
		if (i != C.current && self()->clock[i] < c->read_clocks[i])
			race(what, at, i);
	}
}

static void forget_locations(uintptr_t at, size_t size)
{
	for (int i = 0; i < M.n_locations; i++) {
		struct location *l = &M.locations[i];
		if (l->at < at + size && at < l->at + l->size)
			l->at = 0;
	}
}

void mc_weak_plain_write(const volatile void *p, size_t size)
{
	if (!is_on())
		return;
	for (uintptr_t at = (uintptr_t)p; at < (uintptr_t)p + size; at++) {
		struct cell *c = cell_of(at);
		if (!c)
			continue;
		check_write_before(c, "a write of", at);
		check_reads_before(c, "a write of", at);
		c->writer = C.current;
		c->write_clock = self()->clock[C.current];
	}
	forget_locations((uintptr_t)p, size);
}

void mc_weak_forget(const volatile void *p, size_t size)
{
	if (!C.weak)
		return;
	for (uintptr_t at = (uintptr_t)p; at < (uintptr_t)p + size; at++) {
		struct cell *c = cell_of(at);
		if (c)
			c->run = 0;
	}
	forget_locations((uintptr_t)p, size);
}

/* --- locations -------------------------------------------------------------------------------- */

static uint64_t in_memory(const volatile void *at, size_t size)
{
	uint64_t v = 0;
	memcpy(&v, (const void *)at, size);
	return v;
}

/* A location that is used for the first time has one store: what is there. All may read it. */
static struct location *location_of(const volatile void *p, size_t size)
{
	int i = 0;
	while (i < M.n_locations && M.locations[i].at != (uintptr_t)p)
		i++;
	struct location *l = &M.locations[i];
	if (i < M.n_locations)
		return l;
	if (M.n_locations == LOCATIONS)
		mc_give_up("too many atomics for a walk");
	M.n_locations++;
	*l = (struct location){.at = (uintptr_t)p, .size = size, .n_stores = 1};
	l->stores[0].value = in_memory(p, size);
	l->stores[0].position = GAP;
	return l;
}

static uint64_t *seen_of(struct view *v, const struct location *l)
{
	return &v->seen[l - M.locations];
}

/* The oldest that the thread may read. */
static int oldest(const struct location *l, int order)
{
	uint64_t from = *seen_of(self(), l);
	int i = 0;
	if (order == __ATOMIC_SEQ_CST && from < l->last_seq_cst)
		from = l->last_seq_cst;
	while (i < l->n_stores - 1 && l->stores[i].position < from)
		i++;
	return i;
}

/* One of them, mostly the last. */
static int pick(int from, int n)
{
	return mc_random(2) ? n - 1 : from + (int)mc_random((unsigned)(n - from));
}

static uint64_t read_store(struct location *l, const struct store *s, int order)
{
	uint64_t *seen = seen_of(self(), l);
	C.is_out_of_order |= s != &l->stores[l->n_stores - 1];
	if (is_acquire(order))
		join(self(), &s->passes_on);
	if (*seen < s->position)
		*seen = s->position;
	return s->value;
}

/* Makes room for a store at index i. The oldest one is forgotten, if there are many. */
static struct store *insert(struct location *l, int i, uint64_t position)
{
	if (l->n_stores == STORES) {
		memmove(&l->stores[0], &l->stores[1], (STORES - 1) * sizeof(l->stores[0]));
		l->n_stores--;
		i--;
	}
	memmove(&l->stores[i + 1], &l->stores[i], (size_t)(l->n_stores - i) * sizeof(l->stores[0]));
	l->n_stores++;
	memset(&l->stores[i], 0, sizeof(l->stores[i]));
	l->stores[i].position = position;
	return &l->stores[i];
}

/* The place after store i. */
static uint64_t position_after(const struct location *l, int i)
{
	uint64_t at = l->stores[i].position;
	return i == l->n_stores - 1 ? at + GAP : at + (l->stores[i + 1].position - at) / 2;
}

/* A store of the thread, after store i of l. `before`: what a change has read, or NULL. */
static void write_store(
	struct location *l, int i, uint64_t value, int order, const struct view *before)
{
	bool is_last = i == l->n_stores - 1;
	C.is_out_of_order |= !is_last;
	struct view passed = before ? *before : (struct view){.clock = {0}};
	struct store *s = insert(l, i + 1, position_after(l, i));
	*seen_of(self(), l) = s->position;
	s->value = value;
	s->passes_on = passed;
	if (is_release(order))
		join(&s->passes_on, self());
	*seen_of(&s->passes_on, l) = s->position;
	if (order == __ATOMIC_SEQ_CST && l->last_seq_cst < s->position)
		l->last_seq_cst = s->position;
	/* Memory has what comes last. */
	if (is_last)
		memcpy((void *)l->at, &value, l->size);
	tick();
}

/* --- accesses --------------------------------------------------------------------------------- */

/*
 * An atomic access must come after what has made the atomic, and be no atomic access to other
 * memory.
 */
static void check_atomic(const volatile void *p, size_t size)
{
	for (uintptr_t at = (uintptr_t)p; at < (uintptr_t)p + size; at++) {
		struct cell *c = cell_of(at);
		if (c)
			check_write_before(c, "an atomic access to", at);
	}
}

uint64_t mc_weak_load(const volatile void *at, size_t size, int order)
{
	if (!is_on())
		return in_memory(at, size);
	check_atomic(at, size);
	struct location *l = location_of(at, size);
	return read_store(l, &l->stores[pick(oldest(l, order), l->n_stores)], order);
}

void mc_weak_store(volatile void *at, size_t size, uint64_t value, int order)
{
	if (!is_on()) {
		memcpy((void *)at, &value, size);
		return;
	}
	check_atomic(at, size);
	struct location *l = location_of(at, size);
	int i = pick(oldest(l, order), l->n_stores);
	while (l->stores[i].is_read_by_change)
		i++;
	write_store(l, i, value, order, NULL);
}

/* A change reads the store before its own: one that no other change has read. */
static int pick_for_change(struct location *l, int order)
{
	int i = pick(oldest(l, order), l->n_stores);
	while (l->stores[i].is_read_by_change)
		i++;
	return i;
}

static void change_store(struct location *l, int i, uint64_t value, int order)
{
	struct view before = l->stores[i].passes_on;
	l->stores[i].is_read_by_change = true;
	write_store(l, i, value, order, &before);
}

uint64_t mc_weak_change(volatile void *at, size_t size,
	uint64_t (*change)(uint64_t value, uint64_t operand), uint64_t operand, int order)
{
	uint64_t value, mask = size == 8 ? UINT64_MAX : ((uint64_t)1 << 8 * size) - 1;
	if (!is_on()) {
		value = in_memory(at, size);
		uint64_t changed = change(value, operand);
		memcpy((void *)at, &changed, size);
		return value;
	}
	check_atomic(at, size);
	struct location *l = location_of(at, size);
	int i = pick_for_change(l, order);
	value = read_store(l, &l->stores[i], order);
	change_store(l, i, change(value, operand) & mask, order);
	return value;
}

bool mc_weak_compare(volatile void *at, size_t size, uint64_t *expected, uint64_t value, int order,
	int order_if_not)
{
	uint64_t seen;
	if (!is_on()) {
		seen = in_memory(at, size);
		if (seen == *expected) {
			memcpy((void *)at, &value, size);
			return true;
		}
		*expected = seen;
		return false;
	}
	check_atomic(at, size);
	struct location *l = location_of(at, size);
	int i = pick_for_change(l, order);
	if (l->stores[i].value != *expected) {
		*expected = read_store(l, &l->stores[i], order_if_not);
		return false;
	}
	read_store(l, &l->stores[i], order);
	change_store(l, i, value, order);
	return true;
}

/* --- mutexes and the like --------------------------------------------------------------------- */

static struct view *sync_of(const volatile void *what)
{
	int i = 0;
	while (i < M.n_syncs && M.syncs[i].what != (uintptr_t)what)
		i++;
	if (i == SYNCS)
		mc_give_up("too many mutexes for a walk");
	if (i == M.n_syncs) {
		M.n_syncs++;
		memset(&M.syncs[i], 0, sizeof(M.syncs[i]));
		M.syncs[i].what = (uintptr_t)what;
	}
	return &M.syncs[i].view;
}

void mc_weak_release(const volatile void *what)
{
	if (!is_on())
		return;
	join(sync_of(what), self());
	tick();
}

void mc_weak_acquire(const volatile void *what)
{
	if (is_on())
		join(self(), sync_of(what));
}

/* --- life ------------------------------------------------------------------------------------- */

void mc_weak_begin(int thread)
{
	if (!C.weak)
		return;
	struct view *v = &M.threads[thread];
	uint32_t clock = v->clock[thread];
	if (clock > 0)
		mc_weak_forget(
			(char *)MC_STACKS_AT + (size_t)thread * MC_STACK_SIZE, MC_STACK_SIZE);
	/* What the thread before it in this place knew, it does not know. */
	memset(v, 0, sizeof(*v));
	v->clock[thread] = clock + 1;
	if (C.current >= 0) {
		join(v, self());
		tick();
	}
}

void mc_weak_reset(void)
{
	if (!C.weak) {
		C.weak = mc_map(sizeof(struct weak));
		M.cells = mc_map(BYTES * sizeof(struct cell));
		M.data_cells = mc_map((size_t)(_end - __data_start) * sizeof(struct cell));
	}
	M.run++;
	M.n_locations = M.n_syncs = 0;
	memset(M.threads, 0, sizeof(M.threads));
	for (int i = 0; i < MC_THREADS; i++)
		M.threads[i].clock[i] = 1;
}
