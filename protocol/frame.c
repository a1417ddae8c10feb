/* SPDX-License-Identifier: MIT */
/* Frames from the server to the client. Mirrors internal/protocol/protocol.go. Any thread. */
#include "protocol/frame.h"

#include "common/bytes.h"

void frame_write_header(unsigned char out[FRAME_HEADER_LENGTH], int32_t type, size_t len)
{
	put_be32(out, (uint32_t)len + 4);
	put_be32(out + 4, (uint32_t)type);
}
