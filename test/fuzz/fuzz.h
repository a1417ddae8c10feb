/* SPDX-License-Identifier: MIT */
/* What the fuzz targets of the compressing layers have in common. */
#ifndef TEST_FUZZ_FUZZ_H
#define TEST_FUZZ_FUZZ_H

#include <stdint.h>

#include "common/check.h"
#include "protocol/stream.h"
#include "test/unit/stream_mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/*
 * Reads data through the layer that wrap puts over it: whatever it is, it gives data (at most so
 * much), an end or an error. The first two bytes say in which pieces the rest comes and is asked
 * for.
 */
static inline void fuzz_reader(
	struct stream *(*wrap)(struct stream *below), const uint8_t *data, size_t size, size_t most)
{
	static char buf[70000];
	struct err err;
	size_t total = 0;
	ssize_t got;

	if (size < 2)
		return;
	size_t step = 1 + (size_t)data[0] * data[0], want = 1 + (size_t)data[1] * data[1];
	struct stream *s = wrap(&stream_mem_new(data + 2, size - 2, step)->stream);
	while ((got = s->ops->read(s, buf, want, 0, &err)) > 0) {
		CHECK((size_t)got <= want);
		total += (size_t)got;
		CHECK(total <= most);
	}
	s->ops->free(s);
}

#endif
