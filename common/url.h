/* SPDX-License-Identifier: MIT */
/*
 * Request targets and query strings (the part of package net/url that an HTTP server needs, and
 * CleanPath of httprouter). Strings are counted: a decoded %00 is an ordinary byte. They are
 * terminated as well.
 */
#ifndef COMMON_URL_H
#define COMMON_URL_H

#include <stdbool.h>
#include <stddef.h>

#include "common/strbuf.h"

/* One key=value of a query, decoded. */
struct url_value {
	const char *key;
	size_t key_len;
	const char *value;
	size_t value_len;
};

/*
 * url.Values, in the order of the query. A zeroed or reset one can be parsed into; it uses its
 * memory again.
 */
struct url_values {
	struct url_value *v; /* owned; points into buf */
	size_t n;
	size_t cap;
	struct strbuf buf;
};

/* url.ParseQuery. False: a bad escape or a semicolon; vs has the good pairs all the same. */
bool url_parse_query(struct url_values *vs, const char *query, size_t len);
/* The first value of key, or NULL. */
const struct url_value *url_values_get(const struct url_values *vs, const char *key);
/* Empties it and keeps the memory. */
void url_values_reset(struct url_values *vs);
void url_values_free(struct url_values *vs);

/* A parsed request target. All strings are borrowed, path from the caller's strbuf. */
struct url_target {
	const char *path; /* decoded */
	size_t path_len;
	const char *raw_path; /* as sent */
	size_t raw_path_len;
	const char *raw_query; /* without "?"; NULL if there is no "?" */
	size_t raw_query_len;
};

/*
 * url.ParseRequestURI: "/path?query", "http://host/path?query", "mailto:x" (which has no path) or
 * "*". False: another form, or a space, a control byte or a bad escape in it. t borrows from target
 * and path_buf, which receives the decoded path.
 */
bool url_parse_target(
	struct url_target *t, const char *target, size_t len, struct strbuf *path_buf);

/* Appends URL.EscapedPath(): raw if that is a valid encoding, else path, escaped. */
void url_add_escaped_path(struct strbuf *out, const struct url_target *t);
/* Appends path[0..len) as Go escapes a path. */
void url_escape_path(struct strbuf *out, const char *path, size_t len);
/* Appends httprouter's CleanPath(path): without "//", "." and "..", starting with "/". */
void url_clean_path(struct strbuf *out, const char *path, size_t len);

#endif
