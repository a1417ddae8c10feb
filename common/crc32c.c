/* SPDX-License-Identifier: MIT */
/*
 * CRC-32C (Go: hash/crc32). Any thread. On x86-64 with SSE 4.2 by the crc32
 * instruction, eight bytes at a time; elsewhere by tables, also eight at a time.
 */
#include "common/crc32c.h"

#include <pthread.h>
#include <string.h>

#define POLYNOMIAL 0x82f63b78u /* reflected */

/* tables[k][b]: the remainder of byte b followed by k zero bytes. Written once, by build_tables. */
static uint32_t tables[8][256];
static pthread_once_t tables_once = PTHREAD_ONCE_INIT;

static void build_tables(void)
{
	for (uint32_t b = 0; b < 256; b++) {
		uint32_t r = b;
		for (int bit = 0; bit < 8; bit++)
			r = (r >> 1) ^ ((r & 1) ? POLYNOMIAL : 0);
		tables[0][b] = r;
	}
	for (int k = 1; k < 8; k++) {
		for (int b = 0; b < 256; b++) {
			uint32_t r = tables[k - 1][b];
			tables[k][b] = (r >> 8) ^ tables[0][r & 0xff];
		}
	}
}

uint32_t crc32c_portable(uint32_t crc, const void *data, size_t len)
{
	const unsigned char *p = data;
	pthread_once(&tables_once, build_tables);
	crc = ~crc;
	for (; len >= 8; p += 8, len -= 8) {
		uint32_t low = crc ^ (p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 |
					     (uint32_t)p[3] << 24);
		crc = tables[7][low & 0xff] ^ tables[6][(low >> 8) & 0xff] ^
		      tables[5][(low >> 16) & 0xff] ^ tables[4][low >> 24] ^ tables[3][p[4]] ^
		      tables[2][p[5]] ^ tables[1][p[6]] ^ tables[0][p[7]];
	}
	for (; len > 0; p++, len--)
		crc = (crc >> 8) ^ tables[0][(crc ^ *p) & 0xff];
	return ~crc;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) static uint32_t crc32c_sse42(
	uint32_t crc, const unsigned char *p, size_t len)
{
	uint64_t r = (uint32_t)~crc;
	for (; len >= 8; p += 8, len -= 8) {
		uint64_t word;
		memcpy(&word, p, sizeof(word));
		r = __builtin_ia32_crc32di(r, word);
	}
	for (; len > 0; p++, len--)
		r = __builtin_ia32_crc32qi((uint32_t)r, *p);
	return ~(uint32_t)r;
}
#endif

uint32_t crc32c(uint32_t crc, const void *data, size_t len)
{
#if defined(__x86_64__)
	if (__builtin_cpu_supports("sse4.2"))
		return crc32c_sse42(crc, data, len);
#endif
	return crc32c_portable(crc, data, len);
}
