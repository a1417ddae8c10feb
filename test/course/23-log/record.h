/* SPDX-License-Identifier: MIT */
/* The records of lesson 23: a length, a checksum, and a text. */
#ifndef TEST_COURSE_RECORD_H
#define TEST_COURSE_RECORD_H

#include <string.h>

#include "common/bytes.h"
#include "common/crc32c.h"

enum { RECORD_HEAD = 8, TEXT_SIZE = 32, TEXTS = 16 };

struct texts {
	char list[TEXTS][TEXT_SIZE];
	int n;
};

/* Returns the size of the record; out has room for it. */
static inline size_t put_record(char *out, const char *text)
{
	size_t size = strlen(text);

	put_be32((unsigned char *)out, (uint32_t)size);
	put_be32((unsigned char *)out + 4, crc32c(0, text, size));
	memcpy(out + RECORD_HEAD, text, size);
	return RECORD_HEAD + size;
}

/* The texts of all whole records. Returns where they end. */
static inline size_t recover(const char *data, size_t len, struct texts *texts)
{
	size_t end = 0;

	texts->n = 0;
	while (texts->n < TEXTS && len - end >= RECORD_HEAD) {
		const unsigned char *record = (const unsigned char *)data + end;
		size_t size = get_be32(record);

		if (size == 0 || size >= TEXT_SIZE || size > len - end - RECORD_HEAD)
			break;
		if (crc32c(0, record + RECORD_HEAD, size) != get_be32(record + 4))
			break;
		memcpy(texts->list[texts->n], record + RECORD_HEAD, size);
		texts->list[texts->n++][size] = '\0';
		end += RECORD_HEAD + size;
	}
	return end;
}

#endif
