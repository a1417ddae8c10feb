/* SPDX-License-Identifier: MIT */
/*
 * JSON as strict as Go's encoding/json, for places where clients can see the difference: the
 * checker, and a walk over the members of an object that keeps each value's own spelling. (cJSON,
 * which other places use, takes 01, 1.0 for an integer, raw control characters, and a byte order
 * mark.)
 */
#ifndef COMMON_JSON_H
#define COMMON_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/strbuf.h"

enum json_type {
	JSON_NULL,
	JSON_BOOL,
	JSON_NUMBER,
	JSON_STRING,
	JSON_ARRAY,
	JSON_OBJECT,
};

/* A value by its text in the document; borrowed from it. */
struct json_value {
	enum json_type type;
	const char *p;
	size_t len;
};

/*
 * json.Valid: one value with white space around it; nested at most 10000 deep, as in Go. data may be
 * NULL where len is 0.
 */
bool json_valid(const char *data, size_t len);
/* The value of a document that json_valid has accepted. */
struct json_value json_root(const char *data, size_t len);
/*
 * The members of an object, one after the other: *pos starts at 0. False: no more. json_valid must
 * have accepted the document.
 */
bool json_next_member(
	struct json_value object, size_t *pos, struct json_value *key, struct json_value *value);
/* The same for the elements of an array. */
bool json_next_element(struct json_value array, size_t *pos, struct json_value *value);
/* Does a member's key name this field? As in Go, the case of letters does not matter. */
bool json_key_is(struct json_value key, const char *name);
/*
 * Appends a JSON_STRING, decoded as Go does (half a surrogate pair and bad UTF-8 become U+FFFD). A
 * \u0000 is an ordinary byte: the strbuf's length says where the string ends.
 */
void json_add_string(struct strbuf *sb, struct json_value v);
/*
 * The same as a C string, which the caller frees. A zero byte becomes U+FFFD: it would end the
 * string, and the rest would be lost.
 */
char *json_string(struct json_value v);
/* A JSON_NUMBER spelled as an integer (no point, no exponent) within [min, max]; else false. */
bool json_int(struct json_value v, int64_t min, int64_t max, int64_t *out);
/* "string", "number" ..., for messages. */
const char *json_type_name(enum json_type type);

#endif
