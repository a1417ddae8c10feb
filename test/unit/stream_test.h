/* SPDX-License-Identifier: MIT */
/*
 * For the tests of the compressing layers: dice that fall alike in each run, data that they throw,
 * and reading to the end.
 */
#ifndef TEST_UNIT_STREAM_TEST_H
#define TEST_UNIT_STREAM_TEST_H

#include "test/unit/helper.h"

#include <stdbool.h>

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

/* Runs that compress, noise that does not, and something in between. */
static inline void fill(unsigned char *data, size_t n)
{
	for (size_t i = 0; i < n;) {
		uint32_t kind = dice(3), len = 1 + dice(3000), c = dice(256);
		for (; len > 0 && i < n; len--, i++)
			data[i] = (unsigned char)(kind == 0   ? c
						  : kind == 1 ? dice(256)
							      : (uint32_t) "abc"[dice(3)]);
	}
}

/* Writes data in writev calls of random parts; flushing: some of them, and the last. */
static inline void write_in_parts(struct stream *s, unsigned char *data, size_t n, bool flushing)
{
	struct err err;
	for (size_t done = 0; done < n;) {
		struct iovec iov[5];
		int parts = 1 + (int)dice(5);
		for (int i = 0; i < parts; i++) {
			size_t len = dice(4) ? dice(200) : dice(150000);
			if (len > n - done)
				len = n - done;
			iov[i] = (struct iovec){.iov_base = data + done, .iov_len = len};
			done += len;
		}
		assert_int_equal(s->ops->writev(s, iov, parts, 0, &err), 0);
		if (flushing && (done == n || dice(2)))
			assert_int_equal(s->ops->flush(s, 0, &err), 0);
	}
}

#endif
