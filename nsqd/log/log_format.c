/* SPDX-License-Identifier: MIT */
/*
 * The bytes of a log's segments. No Go file: stock has no log. Any thread; pure functions.
 *
 *   a copy of the head of a segment            the head of a record
 *     0   8  "NSQ log" and a line feed           0   4  size of the record
 *     8   4  version                             4   4  CRC of key, place, and all but these 4
 *    12   4  where the records begin             8   4  CRC of what follows the head
 *    16   8  number of the first record         12   2  attempts
 *    24   8  when the file was made             14   1  kind
 *    32   8  key                                15   1  flags
 *    40  20  zero                               16   8  number
 *    60  64  topic, filled up with zeros        24   8  time stamp
 *   124   4  CRC of the 124 bytes before        32   8  due time
 *                                               40  16  id
 */
#include "nsqd/log/log_format.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/bytes.h"
#include "common/check.h"
#include "common/crc32c.h"

static const char magic[8] = {'N', 'S', 'Q', ' ', 'l', 'o', 'g', '\n'};

#define HEAD_CRC (LOG_HEAD_COPY - 4)
#define HEAD_NAME 60
#define SUFFIX ".seg"
#define DIGITS 20

/* --- names --------------------------------------------------------------------------------------- */

void log_segment_name(uint64_t first, char out[LOG_SEGMENT_NAME])
{
	snprintf(out, LOG_SEGMENT_NAME, "%020llu" SUFFIX, (unsigned long long)first);
}

bool log_segment_number(const char *name, uint64_t *first)
{
	char again[LOG_SEGMENT_NAME];
	if (strlen(name) != LOG_SEGMENT_NAME - 1 || strspn(name, "0123456789") != DIGITS)
		return false;
	errno = 0;
	*first = strtoull(name, NULL, 10);
	if (errno != 0 || *first == 0 || *first > LOG_SEQ_MAX)
		return false;
	log_segment_name(*first, again);
	return strcmp(again, name) == 0;
}

/* --- the head of a segment ---------------------------------------------------------------------- */

void log_head_encode_version(
	const struct log_head *h, uint32_t version, unsigned char out[LOG_HEAD_SIZE])
{
	size_t len = strlen(h->name);
	memset(out, 0, LOG_HEAD_SIZE);
	memcpy(out, magic, sizeof(magic));
	put_be32(out + 8, version);
	put_be32(out + 12, LOG_HEAD_SIZE);
	put_be64(out + 16, h->first);
	put_be64(out + 24, (uint64_t)h->made);
	put_be64(out + 32, h->key);
	CHECK(len <= LOG_NAME_MAX);
	memcpy(out + HEAD_NAME, h->name, len);
	put_be32(out + HEAD_CRC, crc32c(0, out, HEAD_CRC));
	memcpy(out + LOG_HEAD_COPY, out, LOG_HEAD_COPY);
}

void log_head_encode(const struct log_head *h, unsigned char out[LOG_HEAD_SIZE])
{
	log_head_encode_version(h, LOG_VERSION, out);
}

/* The version of a sound copy; 0: it is not sound. */
static uint32_t decode_copy(const unsigned char *p, struct log_head *out)
{
	if (memcmp(p, magic, sizeof(magic)) != 0 ||
		get_be32(p + HEAD_CRC) != crc32c(0, p, HEAD_CRC))
		return 0;
	uint32_t version = get_be32(p + 8);
	if (version == LOG_VERSION && get_be32(p + 12) != LOG_HEAD_SIZE)
		return 0;
	out->first = get_be64(p + 16);
	out->made = (int64_t)get_be64(p + 24);
	out->key = get_be64(p + 32);
	memcpy(out->name, p + HEAD_NAME, LOG_NAME_MAX);
	out->name[LOG_NAME_MAX] = '\0';
	return version;
}

int log_head_decode(const void *buf, size_t n, struct log_head *out, struct err *err)
{
	const unsigned char *p = buf;
	uint32_t version = 0;
	for (size_t at = 0; at < LOG_HEAD_SIZE && version == 0; at += LOG_HEAD_COPY)
		if (n >= at + LOG_HEAD_COPY)
			version = decode_copy(p + at, out);
	if (version == 0)
		return err_set(err, EBADMSG, "its head is damaged");
	if (version > LOG_VERSION)
		return err_set(err, ENOTSUP,
			"it has version %u of the format, and this program knows %u only", version,
			LOG_VERSION);
	return 0;
}

/* --- records ------------------------------------------------------------------------------------ */

uint32_t log_record_seed(uint64_t key, uint32_t offset)
{
	unsigned char b[12];
	put_be64(b, key);
	put_be32(b + 8, offset);
	return crc32c(0, b, sizeof(b));
}

static uint32_t record_crc(const unsigned char *p, uint32_t seed)
{
	return crc32c(crc32c(seed, p, 4), p + 8, LOG_RECORD_HEAD - 8);
}

void log_record_encode(
	const struct log_record *r, uint32_t seed, unsigned char out[LOG_RECORD_HEAD])
{
	put_be32(out, r->size);
	put_be32(out + 8, r->body_crc);
	put_be16(out + 12, r->attempts);
	out[14] = r->kind;
	out[15] = r->flags;
	put_be64(out + 16, r->seq);
	put_be64(out + 24, (uint64_t)r->timestamp);
	put_be64(out + 32, (uint64_t)r->due);
	memcpy(out + 40, r->id.hex, MSG_ID_LENGTH);
	put_be32(out + 4, record_crc(out, seed));
}

void log_record_stamp(
	unsigned char head[LOG_RECORD_HEAD], uint64_t seq, uint8_t flags, uint32_t seed)
{
	head[15] = flags;
	put_be64(head + 16, seq);
	put_be32(head + 4, record_crc(head, seed));
}

bool log_record_decode(
	const unsigned char buf[LOG_RECORD_HEAD], uint32_t seed, struct log_record *out)
{
	out->size = get_be32(buf);
	out->kind = buf[14];
	if (out->size < LOG_RECORD_HEAD || out->kind < LOG_KIND_MESSAGE ||
		out->kind > LOG_KIND_END || get_be32(buf + 4) != record_crc(buf, seed))
		return false;
	out->body_crc = get_be32(buf + 8);
	out->attempts = get_be16(buf + 12);
	out->flags = buf[15];
	out->seq = get_be64(buf + 16);
	out->timestamp = (int64_t)get_be64(buf + 24);
	out->due = (int64_t)get_be64(buf + 32);
	memcpy(out->id.hex, buf + 40, MSG_ID_LENGTH);
	return true;
}

size_t log_copy_encode(const struct log_copy *c, unsigned char out[LOG_COPY_PREFIX_MAX])
{
	CHECK(c->name_len > 0 && c->name_len <= LOG_NAME_MAX);
	put_be64(out, c->origin);
	out[8] = (unsigned char)c->name_len;
	memcpy(out + 9, c->name, c->name_len);
	return 9 + c->name_len;
}

bool log_copy_decode(const void *buf, size_t n, struct log_copy *out)
{
	const unsigned char *p = buf;
	if (n < 9 || p[8] == 0 || p[8] > LOG_NAME_MAX || n < 9 + (size_t)p[8])
		return false;
	out->origin = get_be64(p);
	out->name_len = p[8];
	out->name = (const char *)p + 9;
	out->prefix_len = 9 + out->name_len;
	return true;
}
