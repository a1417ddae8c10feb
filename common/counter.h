/* SPDX-License-Identifier: MIT */
/*
 * A count that many threads add to all the time. Each processor has a cell in a cache line of its
 * own, so that threads do not take it from each other. Go has none. Any thread; no function blocks.
 */
#ifndef COMMON_COUNTER_H
#define COMMON_COUNTER_H

#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>

#define COUNTER_CELLS 16 /* a power of two; processors beyond share them */

struct counter_cell {
	_Alignas(64) _Atomic uint64_t count;
};

/* Zeroed memory is a count of 0. */
struct counter {
	struct counter_cell cells[COUNTER_CELLS];
};

static inline void counter_add(struct counter *c, uint64_t n)
{
	/* (Without such a call in the kernel it is -1: the last cell.) */
	unsigned cell = (unsigned)sched_getcpu() % COUNTER_CELLS;
	atomic_fetch_add_explicit(&c->cells[cell].count, n, memory_order_relaxed);
}

/* The sum. It never falls from one call of a thread to the next. */
static inline uint64_t counter_get(const struct counter *c)
{
	uint64_t sum = 0;
	for (int i = 0; i < COUNTER_CELLS; i++)
		sum += atomic_load_explicit(&c->cells[i].count, memory_order_relaxed);
	return sum;
}

#endif
