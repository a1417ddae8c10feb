/* SPDX-License-Identifier: MIT */
/*
 * A layer that speaks the framing format of snappy
 * (github.com/google/snappy/blob/main/framing_format.txt). Written data goes out at once, in chunks
 * of at most 64 KiB of data; there is nothing to flush.
 *
 * Two errors fail this and every later read. "snappy: corrupt input" is a bad checksum, a chunk
 * that is too large, an end in the middle, or no stream identifier at the start. "snappy:
 * unsupported input" is a chunk that must not be skipped. An end between two chunks is the end.
 * Memory is bounded: 64 KiB of data and one chunk, in each direction, and that only after a chunk
 * of more than 16 KiB.
 */
#ifndef PROTOCOL_STREAM_SNAPPY_H
#define PROTOCOL_STREAM_SNAPPY_H

#include "protocol/stream.h"

/*
 * Takes over below. Reads first the n bytes of pending, which have been read from below already
 * (copied).
 */
struct stream *stream_snappy_new(struct stream *take_below, const void *pending, size_t n);

#endif
