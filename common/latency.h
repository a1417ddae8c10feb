/* SPDX-License-Identifier: MIT */
/*
 * A histogram of times, for /metrics: how many lasted at most so long. Go has no such thing; nsqd's
 * quantiles (quantile.h) cannot be added up over daemons and windows, and these can. Not
 * thread-safe: the owner's lock guards it.
 */
#ifndef COMMON_LATENCY_H
#define COMMON_LATENCY_H

#include <stddef.h>
#include <stdint.h>

#include "common/clock.h"

/* The bounds of the buckets, in ns; beyond the last one there is one more. */
static const int64_t latency_bounds[] = {
	NSEC_PER_MSEC,
	10 * NSEC_PER_MSEC,
	100 * NSEC_PER_MSEC,
	500 * NSEC_PER_MSEC, /* clients' output may wait for 250 ms */
	2500 * NSEC_PER_MSEC,
	15 * NSEC_PER_SEC,
	120 * NSEC_PER_SEC,
	1800 * NSEC_PER_SEC,
};
#define LATENCY_BOUNDS (sizeof(latency_bounds) / sizeof(*latency_bounds))

struct latency {
	uint64_t counts[LATENCY_BOUNDS + 1]; /* each of its bucket alone */
	double sum_ns;
};

/* Adds a time. One below 0 counts as 0: the wall clock may have stepped. */
static inline void latency_add(struct latency *l, int64_t ns)
{
	size_t i = 0;
	if (ns < 0)
		ns = 0;
	while (i < LATENCY_BOUNDS && ns > latency_bounds[i])
		i++;
	l->counts[i]++;
	l->sum_ns += (double)ns;
}

#endif
