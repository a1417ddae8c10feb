/* SPDX-License-Identifier: MIT */
/* Decimal numbers in commands. Mirrors internal/protocol/byte_base10.go. Any thread. */
#include "protocol/byte_base10.h"

bool byte_to_base10(const char *s, size_t len, uint64_t *n)
{
	uint64_t sum = 0;
	for (size_t i = 0; i < len; i++) {
		if (s[i] < '0' || s[i] > '9')
			return false;
		sum = sum * 10 + (uint64_t)(s[i] - '0');
	}
	*n = sum;
	return true;
}
