/* SPDX-License-Identifier: MIT */
/*
 * Quantiles over a sliding window. Mirrors internal/quantile/quantile.go. Threads: any that
 * finishes a message or asks for stats.
 *
 * Differences: the streams are KLL sketches (Karnin, Lang, Liberty: "Optimal Quantile Approximation
 * in Streams", 2016). perks' targeted streams, which stock has, know no error bound once merged.
 * Before a stream is merged into another it is moved to the present (stock adds values that have
 * left its window long ago). A window of 0 is empty (stock loops for ever).
 *
 * A KLL sketch keeps values in levels: a value of level h stands for 2^h inserted ones. When a
 * level is full, it is sorted, and every second value moves up, beginning at random with the first
 * or the second. The others are dropped. That keeps the total weight and shifts no rank by more
 * than one weight. The shift goes to either side with the same chance, so the errors cancel out.
 * The top level has K places, each level below two thirds of the one above.
 */
#include "common/quantile.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/lock.h"
#include "common/rand.h"
#include "common/xalloc.h"

#define K 512     /* a standard error of about 0.15 % of the ranks */
#define MIN_CAP 8 /* of a level */
#define LEVELS 48 /* 2^48 * K values: more than can ever come */

struct sketch {
	struct level {
		int64_t *v; /* owned */
		size_t n;
		size_t cap; /* of the memory */
	} levels[LEVELS];
	size_t n_levels;
	size_t n_values; /* in all levels */
	size_t limit;    /* of n_values, given n_levels */
	uint64_t count;  /* inserted, the sum of all weights */
	int64_t max;     /* valid if count > 0 */
};

struct quantile {
	struct mutex lock;
	struct sketch streams[2]; /* guarded by lock */
	unsigned current;         /* guarded by lock */
	int64_t last_move_ns;     /* guarded by lock; monotonic clock; 0: nothing came yet */
	int64_t move_window_ns;   /* immutable */
	double *percentiles;      /* immutable; owned */
	size_t n_percentiles;     /* immutable */
};

/* --- one stream ------------------------------------------------------------------------------- */

static size_t level_limit(size_t n_levels, size_t level)
{
	double cap = K;
	for (size_t i = level + 1; i < n_levels && cap > MIN_CAP; i++)
		cap *= 2.0 / 3.0;
	return cap > MIN_CAP ? (size_t)cap : MIN_CAP;
}

static void sketch_set_levels(struct sketch *s, size_t n_levels)
{
	s->n_levels = n_levels;
	s->limit = 0;
	for (size_t i = 0; i < n_levels; i++)
		s->limit += level_limit(n_levels, i);
}

/* Empties it and keeps the memory. */
static void sketch_reset(struct sketch *s)
{
	for (size_t i = 0; i < LEVELS; i++)
		s->levels[i].n = 0;
	s->n_values = 0;
	s->count = 0;
	sketch_set_levels(s, 1);
}

static void sketch_free(struct sketch *s)
{
	for (size_t i = 0; i < LEVELS; i++)
		free(s->levels[i].v);
}

static void level_reserve(struct level *l, size_t n)
{
	if (n <= l->cap)
		return;
	l->cap = l->cap * 2 > n ? l->cap * 2 : n;
	l->v = xreallocarray(l->v, l->cap, sizeof(*l->v));
}

static int ascending(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
	return (x > y) - (x < y);
}

/* Moves every second value of a level to the level above; an odd one stays. */
static void compact_level(struct sketch *s, size_t h)
{
	struct level *l = &s->levels[h], *up = &s->levels[h + 1];
	size_t half = l->n / 2, odd = l->n % 2, offset = rand_below(2);
	qsort(l->v, l->n, sizeof(*l->v), ascending);
	level_reserve(up, up->n + half);
	for (size_t i = 0; i < half; i++)
		up->v[up->n + i] = l->v[odd + 2 * i + offset];
	up->n += half;
	l->n = odd; /* the smallest, if there is one */
	/* A level that was the top had a larger limit than now. */
	size_t limit = level_limit(s->n_levels, h);
	if (l->cap > 2 * limit) {
		l->cap = limit;
		l->v = xreallocarray(l->v, l->cap, sizeof(*l->v));
	}
	s->n_values -= half;
}

static void sketch_compress(struct sketch *s)
{
	while (s->n_values > s->limit) {
		size_t h = 0; /* some level is over its limit, since the sum is */
		while (s->levels[h].n <= level_limit(s->n_levels, h))
			h++;
		if (h + 1 == s->n_levels)
			sketch_set_levels(s, s->n_levels + 1);
		compact_level(s, h);
	}
}

static void sketch_insert(struct sketch *s, int64_t value)
{
	struct level *l = &s->levels[0];
	level_reserve(l, l->n + 1);
	l->v[l->n++] = value;
	s->n_values++;
	s->max = s->count == 0 || value > s->max ? value : s->max;
	s->count++;
	sketch_compress(s);
}

static void sketch_merge(struct sketch *s, const struct sketch *from)
{
	if (from->count == 0)
		return;
	if (from->n_levels > s->n_levels)
		sketch_set_levels(s, from->n_levels);
	for (size_t h = 0; h < from->n_levels; h++) {
		const struct level *l = &from->levels[h];
		if (l->n == 0)
			continue;
		level_reserve(&s->levels[h], s->levels[h].n + l->n);
		memcpy(s->levels[h].v + s->levels[h].n, l->v, l->n * sizeof(*l->v));
		s->levels[h].n += l->n;
		s->n_values += l->n;
	}
	s->max = s->count == 0 || from->max > s->max ? from->max : s->max;
	s->count += from->count;
	sketch_compress(s);
}

struct weighted {
	int64_t value;
	uint64_t weight;
};

static int by_value(const void *a, const void *b)
{
	return ascending(
		&((const struct weighted *)a)->value, &((const struct weighted *)b)->value);
}

/* All values in order; the caller frees them. s holds at least one. */
static struct weighted *sketch_sorted(const struct sketch *s)
{
	struct weighted *all = xreallocarray(NULL, s->n_values, sizeof(*all));
	size_t n = 0;
	for (size_t h = 0; h < s->n_levels; h++) {
		for (size_t i = 0; i < s->levels[h].n; i++)
			all[n++] = (struct weighted){s->levels[h].v[i], UINT64_C(1) << h};
	}
	qsort(all, n, sizeof(*all), by_value);
	return all;
}

/* The value whose rank is q * count, rounded up. */
static int64_t sketch_query(const struct sketch *s, const struct weighted *sorted, double q)
{
	double rank = ceil(q * (double)s->count);
	uint64_t below = 0;
	if (q >= 1)
		return s->max;
	for (size_t i = 0; i < s->n_values; i++) {
		below += sorted[i].weight;
		if ((double)below >= rank)
			return sorted[i].value;
	}
	return s->max;
}

static size_t sketch_memory(const struct sketch *s)
{
	size_t total = 0;
	for (size_t i = 0; i < LEVELS; i++)
		total += s->levels[i].cap * sizeof(int64_t);
	return total;
}

/* --- the window ------------------------------------------------------------------------------- */

struct quantile *quantile_new(int64_t window_ns, const double *percentiles, size_t n)
{
	struct quantile *q = xcalloc(1, sizeof(*q));
	mutex_init(&q->lock, RANK_QUANTILE);
	q->move_window_ns = window_ns / 2;
	q->percentiles = xreallocarray(NULL, n, sizeof(double));
	if (n > 0)
		memcpy(q->percentiles, percentiles, n * sizeof(double));
	q->n_percentiles = n;
	sketch_reset(&q->streams[0]);
	sketch_reset(&q->streams[1]);
	return q;
}

void quantile_free(struct quantile *q)
{
	if (!q)
		return;
	sketch_free(&q->streams[0]);
	sketch_free(&q->streams[1]);
	free(q->percentiles);
	mutex_destroy(&q->lock);
	free(q);
}

size_t quantile_memory(struct quantile *q)
{
	mutex_lock(&q->lock);
	size_t total = sizeof(*q) + sketch_memory(&q->streams[0]) + sketch_memory(&q->streams[1]);
	mutex_unlock(&q->lock);
	return total;
}

/*
 * Drops the older stream once for each half window that has passed. The caller holds q->lock, or no
 * other thread has q.
 */
static void move_window(struct quantile *q, int64_t now_ns)
{
	int64_t passed = now_ns - q->last_move_ns;
	if (q->last_move_ns == 0) {
		q->last_move_ns = now_ns;
		return;
	}
	if (q->move_window_ns <= 0) {
		sketch_reset(&q->streams[0]);
		sketch_reset(&q->streams[1]);
		return;
	}
	int64_t moves = passed > 0 ? (passed - 1) / q->move_window_ns : 0;
	q->last_move_ns += moves * q->move_window_ns;
	for (; moves > 0; moves = moves > 2 ? 1 : moves - 1) { /* two moves empty both */
		q->current ^= 1;
		sketch_reset(&q->streams[q->current]);
	}
}

void quantile_insert_at(struct quantile *q, int64_t value, int64_t now_mono_ns)
{
	mutex_lock(&q->lock);
	move_window(q, now_mono_ns);
	sketch_insert(&q->streams[q->current], value);
	mutex_unlock(&q->lock);
}

void quantile_insert(struct quantile *q, int64_t msg_start_ns)
{
	quantile_insert_at(q, clock_wall_ns() - msg_start_ns, clock_mono_ns());
}

void quantile_merge_at(struct quantile *q, struct quantile *them, int64_t now_mono_ns)
{
	move_window(q, now_mono_ns);
	mutex_lock(&them->lock);
	move_window(them, now_mono_ns);
	sketch_merge(&q->streams[q->current], &them->streams[them->current]);
	sketch_merge(&q->streams[q->current ^ 1], &them->streams[them->current ^ 1]);
	mutex_unlock(&them->lock);
}

void quantile_merge(struct quantile *q, struct quantile *them)
{
	quantile_merge_at(q, them, clock_mono_ns());
}

void quantile_result_at(struct quantile *q, struct quantile_result *r, int64_t now_mono_ns)
{
	*r = (struct quantile_result){0};
	if (!q)
		return;

	struct sketch both = {0};
	sketch_reset(&both);
	mutex_lock(&q->lock);
	move_window(q, now_mono_ns);
	sketch_merge(&both, &q->streams[0]);
	sketch_merge(&both, &q->streams[1]);
	mutex_unlock(&q->lock);

	struct weighted *sorted = both.count > 0 ? sketch_sorted(&both) : NULL;
	r->count = both.count;
	r->n = q->n_percentiles;
	r->points = xcalloc(r->n, sizeof(*r->points));
	for (size_t i = 0; i < r->n; i++) {
		r->points[i].quantile = q->percentiles[i];
		if (sorted)
			r->points[i].value = (double)sketch_query(&both, sorted, q->percentiles[i]);
	}
	free(sorted);
	sketch_free(&both);
}

void quantile_result(struct quantile *q, struct quantile_result *r)
{
	quantile_result_at(q, r, clock_mono_ns());
}

void quantile_result_free(struct quantile_result *r)
{
	free(r->points);
	*r = (struct quantile_result){0};
}

void quantile_result_add_json(const struct quantile_result *r, struct strbuf *sb)
{
	strbuf_addf(sb, "{\"count\":%llu,\"percentiles\":", (unsigned long long)r->count);
	if (!r->points) {
		strbuf_adds(sb, "null}");
		return;
	}
	strbuf_addc(sb, '[');
	for (size_t i = 0; i < r->n; i++) {
		strbuf_adds(sb, i > 0 ? ",{\"quantile\":" : "{\"quantile\":");
		strbuf_add_json_double(sb, r->points[i].quantile);
		strbuf_adds(sb, ",\"value\":");
		strbuf_add_json_double(sb, r->points[i].value);
		strbuf_addc(sb, '}');
	}
	strbuf_adds(sb, "]}");
}
