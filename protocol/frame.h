/* SPDX-License-Identifier: MIT */
/*
 * Frames from the server to the client (internal/protocol/protocol.go): 4 bytes size, 4 bytes type,
 * data.
 */
#ifndef PROTOCOL_FRAME_H
#define PROTOCOL_FRAME_H

#include <stddef.h>
#include <stdint.h>

#define FRAME_TYPE_RESPONSE 0
#define FRAME_TYPE_ERROR 1
#define FRAME_TYPE_MESSAGE 2
#define FRAME_HEADER_LENGTH 8

/* The header of a frame with len bytes of data, big-endian; the size counts the type. */
void frame_write_header(unsigned char out[FRAME_HEADER_LENGTH], int32_t type, size_t len);

#endif
