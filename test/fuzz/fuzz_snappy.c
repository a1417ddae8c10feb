/* SPDX-License-Identifier: MIT */
/*
 * Fuzz target: whatever a peer sends, the snappy reader returns data, an end or
 * an error, and never more data than the format can hold. The first two bytes
 * of the input say in which pieces it comes and is asked for.
 */
#include <errno.h>
#include <stdint.h>

#include "common/check.h"
#include "protocol/stream_snappy.h"
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
		stream_snappy_new(&stream_mem_new(data + 2, size - 2, step)->stream, NULL, 0);
	while ((got = s->ops->read(s, buf, want, 0, &err)) > 0) {
		CHECK((size_t)got <= want);
		total += (size_t)got;
		/* A chunk of at least 9 bytes gives at most 64 KiB. */
		CHECK(total <= (size / 9 + 1) * 65536);
	}
	s->ops->free(s);
	return 0;
}
