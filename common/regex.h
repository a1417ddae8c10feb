/* SPDX-License-Identifier: MIT */
/*
 * Regular expressions with Go's syntax (package regexp), on top of PCRE2. What
 * Go would refuse (back references, look-around, possessive quantifiers ...) is
 * refused. Matching takes time in proportion to the product of the lengths of
 * text and pattern, whatever the pattern.
 */
#ifndef COMMON_REGEX_H
#define COMMON_REGEX_H

#include <stdbool.h>
#include <stddef.h>

#include "common/err.h"

struct regex;

/* regexp.Compile: NULL with err set. pattern is UTF-8. */
struct regex *regex_compile(const char *pattern, struct err *err);
/* NULL is fine. */
void regex_free(struct regex *re);
/* MatchString: is there a match anywhere in text? One thread at a time per regex. */
bool regex_match(const struct regex *re, const char *text);

#endif
