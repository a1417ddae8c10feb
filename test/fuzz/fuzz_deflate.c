/* SPDX-License-Identifier: MIT */
/* Fuzz target: whatever a peer sends, the deflate reader returns data, an end or an error. */
#include "test/fuzz/fuzz.h"

#include "protocol/stream_deflate.h"

static struct stream *wrap(struct stream *below)
{
	return stream_deflate_new(below, 6, NULL, 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* Deflate gains a factor of 1032 at most. */
	fuzz_reader(wrap, data, size, size * 1032 + 1032);
	return 0;
}
