/* SPDX-License-Identifier: MIT */
/*
 * A layer that compresses with raw deflate (RFC 1951). Written data stays in the compressor until
 * flush. A flush adds a sync marker, so that the peer can decode all of it.
 *
 * Corrupt data fails this and every later read with "flate: corrupt input". An end before the last
 * block is "unexpected EOF", as in Go (clients that just close end so). After the last block comes
 * the end. Data is inflated into the caller's buffer, and never more than fits: a bomb takes no
 * memory.
 */
#ifndef PROTOCOL_STREAM_DEFLATE_H
#define PROTOCOL_STREAM_DEFLATE_H

#include "protocol/stream.h"

/*
 * Takes over below. level: 1 to 9. Reads first the n bytes of pending, which have been read from
 * below already (copied).
 */
struct stream *stream_deflate_new(
	struct stream *take_below, int level, const void *pending, size_t n);

#endif
