/* SPDX-License-Identifier: MIT */
/*
 * A layer that compresses with raw deflate (RFC 1951). What is written stays in the compressor
 * until flush, which ends it with a sync marker, so that the peer can decode all of it.
 *
 * Reading fails for good with "flate: corrupt input"; an end before the last block is "unexpected
 * EOF", as with Go (clients that just close end so); after the last block comes the end. Data is
 * inflated into the caller's buffer, never more than there is room for: a bomb takes no memory.
 */
#ifndef PROTOCOL_STREAM_DEFLATE_H
#define PROTOCOL_STREAM_DEFLATE_H

#include "protocol/stream.h"

/*
 * Takes over below. level: 1 to 9. The n bytes of pending have been read from it already and come
 * first (copied).
 */
struct stream *stream_deflate_new(
	struct stream *take_below, int level, const void *pending, size_t n);

#endif
