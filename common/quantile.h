/* SPDX-License-Identifier: MIT */
/*
 * Quantiles of a stream over a sliding window (internal/quantile, on top of bmizerany/perks): end
 * to end latencies. The window is two streams that take turns every half window, so a result covers
 * between half of it and all of it.
 *
 * The rank of a result is within 1 % of the exact one, whatever the distribution; up to 512 values
 * it is exact. Memory: some 50 kB once many thousand values came.
 */
#ifndef COMMON_QUANTILE_H
#define COMMON_QUANTILE_H

#include <stddef.h>
#include <stdint.h>

#include "common/strbuf.h"

struct quantile;

/* New: percentiles (copied) are in (0,1]; results come in their order. */
struct quantile *quantile_new(int64_t window_ns, const double *percentiles, size_t n);
/* NULL is fine. */
void quantile_free(struct quantile *q);
/* The bytes that q holds. */
size_t quantile_memory(struct quantile *q);

/* Insert: adds the time from msg_start_ns (wall clock) to now. Takes q's lock; any thread. */
void quantile_insert(struct quantile *q, int64_t msg_start_ns);
/* The same with value and time (monotonic clock) given, for tests. */
void quantile_insert_at(struct quantile *q, int64_t value, int64_t now_mono_ns);
/*
 * Merge: adds the values of them to q. Locks them only, since a thread never holds two locks of one
 * rank: q is the caller's own aggregate.
 */
void quantile_merge(struct quantile *q, struct quantile *them);
void quantile_merge_at(struct quantile *q, struct quantile *them, int64_t now_mono_ns);

struct quantile_point {
	double quantile;
	double value; /* ns; 0 if the window is empty */
};

struct quantile_result {
	uint64_t count;                /* values in the window */
	struct quantile_point *points; /* owned; NULL: there is no quantile */
	size_t n;
};

/* Result: the caller frees it with quantile_result_free. q may be NULL: nothing is measured. */
void quantile_result(struct quantile *q, struct quantile_result *r);
void quantile_result_at(struct quantile *q, struct quantile_result *r, int64_t now_mono_ns);
void quantile_result_free(struct quantile_result *r);
/*
 * json.Marshal: {"count":2,"percentiles":[{"quantile":0.99,"value":5}]}, or null for the
 * percentiles.
 */
void quantile_result_add_json(const struct quantile_result *r, struct strbuf *sb);

#endif
