/* SPDX-License-Identifier: MIT */
/*
 * A layer that speaks the framing format of snappy
 * (github.com/google/snappy/blob/main/framing_format.txt). What is written goes out at once, in
 * chunks of at most 64 KiB of data; there is nothing to flush.
 *
 * Reading fails for good with "snappy: corrupt input" (a bad checksum, a chunk that is too big, an
 * end in the middle, no stream identifier at the start) or "snappy: unsupported input" (a chunk
 * that must not be skipped). An end between two chunks is the end. Memory is bounded: 64 KiB of
 * data and one chunk, in each direction, and that only once there was a chunk of more than 16 KiB.
 */
#ifndef PROTOCOL_STREAM_SNAPPY_H
#define PROTOCOL_STREAM_SNAPPY_H

#include "protocol/stream.h"

/*
 * Takes over below. The n bytes of pending have been read from it already and come first (copied).
 */
struct stream *stream_snappy_new(struct stream *take_below, const void *pending, size_t n);

#endif
