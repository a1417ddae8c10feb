/* SPDX-License-Identifier: MIT */
/* Classes of ASCII characters, independent of the locale (unlike ctype.h). Any thread. */
#ifndef COMMON_ASCII_H
#define COMMON_ASCII_H

#include <stdbool.h>

/* c is a char of either sign, or -1 for an end, which is in no class. */
static inline bool ascii_is_digit(int c)
{
	return c >= '0' && c <= '9';
}

/* A letter or a digit. */
static inline bool ascii_is_alnum(int c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || ascii_is_digit(c);
}

static inline char ascii_to_lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

#endif
