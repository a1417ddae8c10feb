/* SPDX-License-Identifier: MIT */
/*
 * MD5 and CRC-32. Mirrors crypto/md5 and hash/crc32. MD5 is written straight from RFC 1321: short,
 * not fast, since it sees one host name per process. CRC-32 is zlib's. Any thread.
 */
#include "common/digest.h"

#include <math.h>
#include <string.h>

#include <zlib.h>

static uint32_t rotate(uint32_t x, unsigned n)
{
	return x << n | x >> (32 - n);
}

/* One block of 64 bytes. */
static void md5_block(uint32_t state[4], const unsigned char *block)
{
	static const unsigned char shifts[4][4] = {
		{7, 12, 17, 22}, {5, 9, 14, 20}, {4, 11, 16, 23}, {6, 10, 15, 21}};
	static const unsigned char step[4] = {1, 5, 3, 7}, first[4] = {0, 1, 5, 0};
	uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
	for (unsigned i = 0; i < 64; i++) {
		unsigned round = i / 16;
		const unsigned char *p = block + 4 * ((first[round] + step[round] * (i % 16)) % 16);
		uint32_t word =
			p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
		uint32_t f = round == 0   ? (b & c) | (~b & d)
			     : round == 1 ? (b & d) | (c & ~d)
			     : round == 2 ? b ^ c ^ d
					  : c ^ (b | ~d);
		/* RFC 1321, 3.4: the table is the integer part of 2^32 * |sin(i + 1)|. */
		f += a + word + (uint32_t)(4294967296.0 * fabs(sin(i + 1.0)));
		a = d;
		d = c;
		c = b;
		b += rotate(f, shifts[round][i % 4]);
	}
	state[0] += a;
	state[1] += b;
	state[2] += c;
	state[3] += d;
}

void digest_md5(const void *data, size_t len, unsigned char out[16])
{
	uint32_t state[4] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476};
	const unsigned char *p = data;
	unsigned char tail[128] = {0};
	size_t left = len;
	for (; left >= 64; left -= 64, p += 64)
		md5_block(state, p);
	if (left > 0)
		memcpy(tail, p, left);
	tail[left] = 0x80;
	size_t padded = left < 56 ? 64 : 128; /* the length follows, in bits */
	for (unsigned i = 0; i < 8; i++)
		tail[padded - 8 + i] = (unsigned char)((uint64_t)len * 8 >> (8 * i));
	for (size_t at = 0; at < padded; at += 64)
		md5_block(state, tail + at);
	for (unsigned i = 0; i < 16; i++)
		out[i] = (unsigned char)(state[i / 4] >> (8 * (i % 4)));
}

uint32_t digest_crc32(const void *data, size_t len)
{
	return (uint32_t)crc32_z(0, data, len);
}
