/* SPDX-License-Identifier: MIT */
/*
 * Fuzz target: whatever a peer sends, the deflate reader returns data, an end or
 * an error. The first two bytes of the input say in which pieces it comes and is
 * asked for.
 */
#include <errno.h>
#include <stdint.h>

#include "common/check.h"
#include "protocol/stream_deflate.h"
#include "test/unit/stream_mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char buf[70000];
	struct err err;
	size_t total = 0;
	ssize_t got;

	if (size < 2)
		return 0;
	size_t step = 1 + (size_t)data[0] * data[0], want = 1 + (size_t)data[1] * data[1];
	struct stream *s =
		stream_deflate_new(&stream_mem_new(data + 2, size - 2, step)->stream, 6, NULL, 0);
	while ((got = s->ops->read(s, buf, want, 0, &err)) > 0) {
		CHECK((size_t)got <= want);
		total += (size_t)got;
		/* Deflate gains a factor of 1032 at most. */
		CHECK(total <= size * 1032 + 1032);
	}
	s->ops->free(s);
	return 0;
}
