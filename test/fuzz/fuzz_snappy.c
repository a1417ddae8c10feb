/* SPDX-License-Identifier: MIT */
/*
 * Fuzz target: whatever a peer sends, the snappy reader returns data, an end or an error, and never
 * more data than the format can hold.
 */
#include "test/fuzz/fuzz.h"

#include "protocol/stream_snappy.h"

static struct stream *wrap(struct stream *below)
{
	return stream_snappy_new(below, NULL, 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* A chunk of at least 9 bytes gives at most 64 KiB. */
	fuzz_reader(wrap, data, size, (size / 9 + 1) * 65536);
	return 0;
}
