/* SPDX-License-Identifier: MIT */
/* For the tests of the compressing layers: dice that fall alike in each run, and reading to the end. */
#ifndef TEST_UNIT_STREAM_TEST_H
#define TEST_UNIT_STREAM_TEST_H

#include "test/unit/helper.h"

#include "test/unit/stream_mem.h"

static uint32_t seed = 1;

static inline uint32_t dice(uint32_t n)
{
	seed = seed * 1664525u + 1013904223u;
	return (uint32_t)(((uint64_t)seed * n) >> 32);
}

/* Reads all there is, n bytes at a time. The text of the error, or "" at the end. */
static inline const char *read_all(
	struct stream *s, size_t n, unsigned char *to, size_t max, size_t *len)
{
	static struct err err;
	ssize_t got;

	*len = 0;
	do {
		got = s->ops->read(s, to + *len, n < max - *len ? n : max - *len, 0, &err);
		if (got > 0)
			*len += (size_t)got;
	} while (got > 0 && *len < max);
	return got < 0 ? err.msg : "";
}

#endif
