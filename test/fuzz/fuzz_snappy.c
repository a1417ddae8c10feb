/* SPDX-License-Identifier: MIT */
/*
 * Fuzz target: whatever a peer sends, the snappy reader returns data, an end or an error. It never
 * returns more data than the format can hold. It also reads what the writer makes of any data. In this
 * build a chunk with the checksum 0 is taken as well (is_checksum in protocol/stream_snappy.c).
 */
#include "test/fuzz/layer.h"

#include "protocol/stream_snappy.h"

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* A chunk of at least 9 bytes gives at most 64 KiB. */
	layer_try(stream_snappy_new, data, size, (size / 9 + 1) * 65536);
	return 0;
}
