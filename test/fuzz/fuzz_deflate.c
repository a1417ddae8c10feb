/* SPDX-License-Identifier: MIT */
/*
 * Fuzz target: whatever a peer sends, the deflate reader returns data, an end or an error. It also
 * reads what the writer makes of any data.
 */
#include "test/fuzz/layer.h"

#include "protocol/stream_deflate.h"

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	return 0;
}

static struct stream *layer(struct stream *below, const void *pending, size_t n)
{
	return stream_deflate_new(below, 6, pending, n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* Deflate gains a factor of 1032 at most. */
	layer_try(layer, data, size, size * 1032 + 1032);
	return 0;
}
