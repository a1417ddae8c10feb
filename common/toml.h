/* SPDX-License-Identifier: MIT */
/*
 * The part of TOML that configuration files use, read strictly (BurntSushi/toml in the Go source):
 * bare, quoted and dotted keys, tables as a prefix of the keys, strings on one line, integers,
 * floats, booleans, and arrays of those. Refused with a message of their own: dates, inline tables,
 * nested arrays, multi-line strings, text that is not UTF-8, a key that comes twice.
 */
#ifndef COMMON_TOML_H
#define COMMON_TOML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

enum toml_type { TOML_STRING, TOML_INTEGER, TOML_FLOAT, TOML_BOOLEAN, TOML_ARRAY };

struct toml_value {
	enum toml_type type;
	union {
		char *string; /* owned; UTF-8 without 0 bytes */
		int64_t integer;
		double number;
		bool boolean;
		struct {
			struct toml_value *v; /* owned; no element is an array */
			size_t n;
		} array;
	};
};

struct toml_entry {
	/*
	 * Owned. "key", "table.key", "array_of_tables[line].key"; parts that are not bare keys keep
	 * their quotes.
	 */
	char *key;
	int line; /* the line of the key, from 1 */
	struct toml_value value;
};

struct toml {
	struct toml_entry *entries; /* owned; in the order of the text */
	size_t n;
};

/*
 * Reads text[0..len), which may hold any bytes. 0: the caller calls toml_free. -1 with err set
 * ("toml: line 3 (last key "a"): reason"): t is empty.
 */
int toml_parse(struct toml *t, const char *text, size_t len, struct err *err);
/*
 * The same for a file of at most 16 MB; blocks on it. Messages of the parser do not name the file.
 */
int toml_parse_file(struct toml *t, const char *path, struct err *err);
void toml_free(struct toml *t);
/* Borrowed; NULL: there is no such key. */
const struct toml_entry *toml_get(const struct toml *t, const char *key);

#endif
