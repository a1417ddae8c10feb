/* SPDX-License-Identifier: MIT */
/*
 * A set of message numbers, as a sorted array of ranges. No Go file: stock has no log. Any thread,
 * under the lock of the set's owner.
 */
#include "nsqd/log/cursor_set.h"

#include <stdlib.h>
#include <string.h>

#include "common/xalloc.h"

/* The first range that ends at seq or behind. */
static size_t find(const struct seq_set *s, uint64_t seq)
{
	size_t lo = 0, hi = s->n;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		if (s->v[mid].to < seq)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

uint64_t seq_set_add_range(struct seq_set *s, uint64_t from, uint64_t to)
{
	if (from >= to)
		return 0;
	size_t i = find(s, from), j = i;
	uint64_t had = 0, lo = from, hi = to;
	for (; j < s->n && s->v[j].from <= to; j++) {
		uint64_t a = s->v[j].from > from ? s->v[j].from : from;
		uint64_t b = s->v[j].to < to ? s->v[j].to : to;
		had += b > a ? b - a : 0;
		lo = s->v[j].from < lo ? s->v[j].from : lo;
		hi = s->v[j].to > hi ? s->v[j].to : hi;
	}
	if (i == j) {
		if (s->n == s->cap) {
			s->cap = s->cap > 0 ? s->cap * 2 : 4;
			s->v = xreallocarray(s->v, s->cap, sizeof(*s->v));
		}
		memmove(s->v + i + 1, s->v + i, (s->n - i) * sizeof(*s->v));
		s->n++;
	} else {
		memmove(s->v + i + 1, s->v + j, (s->n - j) * sizeof(*s->v));
		s->n -= j - i - 1;
	}
	s->v[i] = (struct seq_range){lo, hi};
	s->count += to - from - had;
	return to - from - had;
}

bool seq_set_add(struct seq_set *s, uint64_t seq)
{
	return seq_set_add_range(s, seq, seq + 1) == 1;
}

bool seq_set_has(const struct seq_set *s, uint64_t seq)
{
	return seq_set_next_absent(s, seq) != seq;
}

uint64_t seq_set_next_absent(const struct seq_set *s, uint64_t seq)
{
	size_t i = find(s, seq + 1);
	return i < s->n && s->v[i].from <= seq ? s->v[i].to : seq;
}

uint64_t seq_set_next_present(const struct seq_set *s, uint64_t seq)
{
	size_t i = find(s, seq + 1);
	if (i == s->n)
		return SEQ_END;
	return s->v[i].from > seq ? s->v[i].from : seq;
}

uint64_t seq_set_count_below(const struct seq_set *s, uint64_t seq)
{
	uint64_t n = 0;
	for (size_t i = 0; i < s->n && s->v[i].from < seq; i++)
		n += (s->v[i].to < seq ? s->v[i].to : seq) - s->v[i].from;
	return n;
}

size_t seq_set_memory(const struct seq_set *s)
{
	return s->cap * sizeof(*s->v);
}

void seq_set_free(struct seq_set *s)
{
	free(s->v);
	*s = (struct seq_set){0};
}
