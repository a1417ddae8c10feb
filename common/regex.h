/* SPDX-License-Identifier: MIT */
/*
 * Regular expressions with Go's syntax (package regexp), on top of PCRE2. Syntax that Go refuses
 * (back references, look-around, possessive quantifiers ...) is refused. For any pattern, matching
 * takes time in proportion to the product of the lengths of text and pattern.
 */
#ifndef COMMON_REGEX_H
#define COMMON_REGEX_H

#include <stdbool.h>
#include <stddef.h>

#include "common/err.h"

struct regex;

/*
 * regexp.Compile: NULL with err set. pattern is UTF-8; a zero byte is an ordinary character. Also
 * refuses groups nested more than 64 deep, and more than 65,536 bytes, so that stack and memory are
 * bounded. The caller frees the result.
 */
struct regex *regex_compile(const char *pattern, size_t len, struct err *err);
/* NULL is fine. */
void regex_free(struct regex *re);
/* MatchString: is there a match anywhere in text? Any number of threads at once. */
bool regex_match(const struct regex *re, const char *text);

#endif
