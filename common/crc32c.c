/* SPDX-License-Identifier: MIT */
/*
 * CRC-32C. Mirrors hash/crc32. Any thread. On x86-64 with SSE 4.2 and PCLMULQDQ it uses the crc32
 * instruction: eight bytes at a time and, as Go does, three of them at once. Elsewhere it uses
 * tables, also eight bytes at a time.
 */
#include "common/crc32c.h"

#include <pthread.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

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
/*
 * One crc32 takes three cycles, but one can begin in each cycle. So the loops go through three
 * adjacent strips at once: long ones, and where there is less, short ones, which a usual message
 * has. Carry-less multiplication puts their remainders together: two more strips follow the first,
 * one follows the second, and n zero bytes multiply by x^8n.
 */
#define LONG_STRIP ((size_t)1024)
#define SHORT_STRIP ((size_t)64)

/* For strips of n bytes: x^(16n - 33) and x^(8n - 33), reflected. */
struct shifts {
	uint32_t two_strips, one_strip;
};

static struct shifts long_shifts, short_shifts; /* written once, by build_shifts */
static pthread_once_t shifts_once = PTHREAD_ONCE_INIT;

static uint32_t power_of_x(size_t n)
{
	uint32_t r = 0x80000000u; /* 1 */
	for (; n > 0; n--)
		r = (r >> 1) ^ ((r & 1) ? POLYNOMIAL : 0);
	return r;
}

/*
 * The exponents are 33 less than needed: the product of two reflected numbers is one bit short, and
 * crc32 multiplies by x^32.
 */
static void build_shifts(void)
{
	long_shifts.two_strips = power_of_x(16 * LONG_STRIP - 33);
	long_shifts.one_strip = power_of_x(8 * LONG_STRIP - 33);
	short_shifts.two_strips = power_of_x(16 * SHORT_STRIP - 33);
	short_shifts.one_strip = power_of_x(8 * SHORT_STRIP - 33);
}

static uint64_t word_at(const unsigned char *p)
{
	uint64_t word;
	memcpy(&word, p, sizeof(word));
	return word;
}

__attribute__((target("sse4.2,pclmul"))) static uint64_t shift(uint64_t r, uint32_t by)
{
	__m128i product = _mm_clmulepi64_si128(
		_mm_cvtsi64_si128((int64_t)r), _mm_cvtsi64_si128((int64_t)by), 0);
	return __builtin_ia32_crc32di(0, (uint64_t)_mm_cvtsi128_si64(product));
}

__attribute__((target("sse4.2,pclmul"), always_inline)) static inline uint64_t three_strips(
	uint64_t r, const unsigned char *p, size_t strip, const struct shifts *by)
{
	uint64_t second = 0, third = 0;
	for (size_t i = 0; i < strip; i += 8) {
		r = __builtin_ia32_crc32di(r, word_at(p + i));
		second = __builtin_ia32_crc32di(second, word_at(p + strip + i));
		third = __builtin_ia32_crc32di(third, word_at(p + 2 * strip + i));
	}
	return shift(r, by->two_strips) ^ shift(second, by->one_strip) ^ third;
}

__attribute__((target("sse4.2,pclmul"))) static uint32_t crc32c_sse42(
	uint32_t crc, const unsigned char *p, size_t len)
{
	uint64_t r = (uint32_t)~crc;
	if (len >= 3 * SHORT_STRIP)
		pthread_once(&shifts_once, build_shifts);
	for (; len >= 3 * LONG_STRIP; p += 3 * LONG_STRIP, len -= 3 * LONG_STRIP)
		r = three_strips(r, p, LONG_STRIP, &long_shifts);
	for (; len >= 3 * SHORT_STRIP; p += 3 * SHORT_STRIP, len -= 3 * SHORT_STRIP)
		r = three_strips(r, p, SHORT_STRIP, &short_shifts);
	for (; len >= 8; p += 8, len -= 8)
		r = __builtin_ia32_crc32di(r, word_at(p));
	for (; len > 0; p++, len--)
		r = __builtin_ia32_crc32qi((uint32_t)r, *p);
	return ~(uint32_t)r;
}
#endif

uint32_t crc32c(uint32_t crc, const void *data, size_t len)
{
#if defined(__x86_64__)
	if (__builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("pclmul"))
		return crc32c_sse42(crc, data, len);
#endif
	return crc32c_portable(crc, data, len);
}
