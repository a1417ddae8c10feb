/* SPDX-License-Identifier: MIT */
/* Decimal numbers in commands (internal/protocol/byte_base10.go). */
#ifndef PROTOCOL_BYTE_BASE10_H
#define PROTOCOL_BYTE_BASE10_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * ByteToBase10. False where a byte is not a digit. Like stock's, it takes the empty string for 0
 * and wraps beyond 64 bits: callers check the range.
 */
bool byte_to_base10(const char *s, size_t len, uint64_t *n);

#endif
