/* SPDX-License-Identifier: MIT */
/*
 * Message bodies. Each carries its sequence number in the first eight bytes
 * and the low half of it in the last four, so that a consumer can tell which
 * message it is and that it came whole. The rest is text, the same in each.
 */
#include "test/bench/bench.h"

#include <string.h>

static const uint32_t TAIL = 0x6e737164;

void body_fill(char *body, size_t size)
{
	uint32_t x = 1;

	for (size_t i = 0; i < size; i++) {
		x = x * 1664525 + 1013904223;
		body[i] = (char)('a' + (x >> 24) % 26);
	}
}

void body_stamp(char *body, size_t size, uint64_t seq)
{
	uint32_t tail = (uint32_t)seq ^ TAIL;

	memcpy(body, &seq, 8);
	memcpy(body + size - 4, &tail, 4);
}

uint64_t body_check(const char *body, size_t size)
{
	uint64_t seq;
	uint32_t tail;

	if (size != opt.size)
		die("a body of %zu bytes, expected %zu", size, opt.size);
	memcpy(&seq, body, 8);
	memcpy(&tail, body + size - 4, 4);
	if (tail != ((uint32_t)seq ^ TAIL))
		die("message %llu came with a wrong end", (unsigned long long)seq);
	return seq;
}

unsigned sequence_take(struct sequence *s, unsigned n, uint64_t *first)
{
	if (atomic_load_explicit(&s->stop, memory_order_relaxed))
		return 0;
	*first = atomic_fetch_add_explicit(&s->next, n, memory_order_relaxed);
	if (*first >= s->total)
		return 0;
	return s->total - *first < n ? (unsigned)(s->total - *first) : n;
}
