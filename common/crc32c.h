/* SPDX-License-Identifier: MIT */
/* CRC-32C (hash/crc32 with crc32.Castagnoli), by the processor's instruction if it has one. */
#ifndef COMMON_CRC32C_H
#define COMMON_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* crc32.Update: start with 0. Any thread. */
uint32_t crc32c(uint32_t crc, const void *data, size_t len);
/* The same without the processor's instruction; for the tests. */
uint32_t crc32c_portable(uint32_t crc, const void *data, size_t len);

#endif
