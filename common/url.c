/* SPDX-License-Identifier: MIT */
/*
 * Request targets and query strings. Mirrors the parts of Go's net/url that a server uses, and
 * path.go of httprouter. Threads: those of HTTP connections; no state.
 */
#include "common/url.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "common/ascii.h"
#include "common/bytes.h"
#include "common/xalloc.h"

/*
 * url.unescape: appends s decoded, which is never longer than s. False on a bad escape: then out
 * has a part of it.
 */
static bool unescape(struct strbuf *out, const char *s, size_t len, bool plus_is_space)
{
	strbuf_reserve(out, len);
	bool ok = true;
	for (size_t i = 0; i < len; i++) {
		char c = s[i];
		if (c == '%') {
			int hi = len - i < 3 ? -1 : bytes_hex_digit(s[i + 1]);
			int lo = len - i < 3 ? -1 : bytes_hex_digit(s[i + 2]);
			if (hi < 0 || lo < 0) {
				ok = false;
				break;
			}
			c = (char)(hi << 4 | lo);
			i += 2;
		} else if (c == '+' && plus_is_space) {
			c = ' ';
		}
		out->data[out->len++] = c;
	}
	out->data[out->len] = '\0';
	return ok;
}

/* --- queries ---------------------------------------------------------------------------------- */

/* The caller has reserved memory in the buffer, so that earlier pointers stay valid. */
static bool parse_pair(struct url_values *vs, const char *pair, size_t len)
{
	if (memchr(pair, ';', len))
		return false;
	const char *eq = memchr(pair, '=', len);
	size_t key_len = eq ? (size_t)(eq - pair) : len;
	size_t start = vs->buf.len;
	if (!unescape(&vs->buf, pair, key_len, true))
		return false;
	size_t mid = vs->buf.len;
	strbuf_addc(&vs->buf, '\0');
	if (eq && !unescape(&vs->buf, eq + 1, len - key_len - 1, true))
		return false;
	size_t end = vs->buf.len;
	strbuf_addc(&vs->buf, '\0');
	if (vs->n == vs->cap) {
		vs->cap = vs->cap != 0 ? vs->cap * 2 : 8;
		vs->v = xreallocarray(vs->v, vs->cap, sizeof(*vs->v));
	}
	vs->v[vs->n++] = (struct url_value){
		.key = vs->buf.data + start,
		.key_len = mid - start,
		.value = vs->buf.data + mid + 1,
		.value_len = end - mid - 1,
	};
	return true;
}

bool url_parse_query(struct url_values *vs, const char *query, size_t len)
{
	url_values_reset(vs);
	/* Each pair costs two terminators, and takes at least one byte and an "&" of the query. */
	strbuf_reserve(&vs->buf, 2 * len + 4);
	bool ok = true;
	const char *end = query + len;
	while (query < end) {
		const char *amp = memchr(query, '&', (size_t)(end - query));
		size_t n = (size_t)((amp ? amp : end) - query);
		if (n > 0 && !parse_pair(vs, query, n))
			ok = false;
		query += n + 1;
	}
	return ok;
}

const struct url_value *url_values_get(const struct url_values *vs, const char *key)
{
	size_t len = strlen(key);
	for (size_t i = 0; i < vs->n; i++) {
		if (vs->v[i].key_len == len && memcmp(vs->v[i].key, key, len) == 0)
			return &vs->v[i];
	}
	return NULL;
}

void url_values_reset(struct url_values *vs)
{
	vs->n = 0;
	strbuf_reset(&vs->buf);
}

void url_values_free(struct url_values *vs)
{
	free(vs->v);
	strbuf_free(&vs->buf);
	*vs = (struct url_values){0};
}

/* --- targets ---------------------------------------------------------------------------------- */

static bool in_set(char c, const char *set)
{
	return c != '\0' && strchr(set, c);
}

/* Is s made of letters, digits and marks only, and of bytes beyond ASCII if non_ascii? */
static bool consists_of(const char *s, size_t len, const char *marks, bool non_ascii)
{
	for (size_t i = 0; i < len; i++) {
		bool high = (unsigned char)s[i] >= 0x80;
		if (high ? !non_ascii : !ascii_is_alnum(s[i]) && !in_set(s[i], marks))
			return false;
	}
	return true;
}

/* Do all escapes have two digits? Escapes of ASCII count as bad unless ascii. */
static bool has_good_escapes(const char *s, size_t len, bool ascii)
{
	for (size_t i = 0; i < len; i++) {
		if (s[i] != '%')
			continue;
		if (len - i < 3 || bytes_hex_digit(s[i + 1]) < 0 || bytes_hex_digit(s[i + 2]) < 0)
			return false;
		if (!ascii && bytes_hex_digit(s[i + 1]) < 8 && memcmp(s + i, "%25", 3) != 0)
			return false;
	}
	return true;
}

/* validOptionalPort */
static bool is_optional_port(const char *s, size_t len)
{
	if (len > 0 && *s != ':')
		return false;
	for (size_t i = 1; i < len; i++) {
		if (!ascii_is_digit(s[i]))
			return false;
	}
	return true;
}

/* Is s, the text in brackets, an address of IPv6, perhaps with a zone? */
static bool is_literal(const char *s, size_t len)
{
	char text[INET6_ADDRSTRLEN];
	struct in6_addr addr;
	const char *zone = memmem(s, len, "%25", 3);
	size_t n = zone ? (size_t)(zone - s) : len;
	if (n >= sizeof(text) || (zone && len - n == 3) || !has_good_escapes(s, len, zone != NULL))
		return false;
	memcpy(text, s, n);
	text[n] = '\0';
	return strlen(text) == n && inet_pton(AF_INET6, text, &addr) == 1;
}

/* parseHost */
static bool is_host(const char *s, size_t len)
{
	const char *open = memrchr(s, '[', len), *close = memrchr(s, ']', len);
	if (open) {
		return open == s && close && is_literal(s + 1, (size_t)(close - s) - 1) &&
		       is_optional_port(close + 1, (size_t)(s + len - close) - 1);
	}
	const char *colon = memrchr(s, ':', len);
	return (!colon || is_optional_port(colon, (size_t)(s + len - colon))) &&
	       consists_of(s, len, "-_.~!$&'()*+,;=:[]<>\"%", true) &&
	       has_good_escapes(s, len, false);
}

/* parseAuthority */
static bool is_authority(const char *s, size_t len)
{
	const char *at = memrchr(s, '@', len);
	if (!at)
		return is_host(s, len);
	size_t user = (size_t)(at - s);
	return is_host(at + 1, len - user - 1) && has_good_escapes(s, user, true) &&
	       consists_of(s, user, "-._:~!$&'()*+,;=%@", false);
}

/* getScheme: the text behind the scheme; s itself if there is none; NULL: it is empty. */
static const char *skip_scheme(const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (s[i] == ':')
			return i > 0 ? s + i + 1 : NULL;
		if (!ascii_is_alnum(s[i]) && !in_set(s[i], "+-."))
			return s;
		if (i == 0 && (ascii_is_digit(s[i]) || !ascii_is_alnum(s[i])))
			return s;
	}
	return s;
}

/* The path of an absolute target; an opaque one has none. NULL: it is malformed. */
static const char *find_path(const char *s, size_t len)
{
	const char *rest = skip_scheme(s, len), *end = s + len;
	if (!rest || rest == s)
		return NULL;
	const char *query = memchr(rest, '?', (size_t)(end - rest));
	if (query)
		end = query;
	if (rest == end || *rest != '/')
		return end;
	if (end - rest < 2 || rest[1] != '/')
		return rest;
	rest += 2;
	const char *path = memchr(rest, '/', (size_t)(end - rest));
	if (!path)
		path = end;
	return is_authority(rest, (size_t)(path - rest)) ? path : NULL;
}

bool url_parse_target(struct url_target *t, const char *target, size_t len, struct strbuf *path_buf)
{
	const char *s = target, *end = target + len;
	for (const char *p = s; p < end; p++) {
		if ((unsigned char)*p <= 0x20 || *p == 0x7f)
			return false;
	}
	if (len == 0)
		return false;
	if (*s != '/' && !(len == 1 && *s == '*')) {
		s = find_path(target, len);
		if (!s)
			return false;
	}
	const char *q = memchr(s, '?', (size_t)(end - s));
	*t = (struct url_target){.raw_path = s, .raw_path_len = (size_t)((q ? q : end) - s)};
	if (q) {
		t->raw_query = q + 1;
		t->raw_query_len = (size_t)(end - q - 1);
	}
	strbuf_reset(path_buf);
	if (!unescape(path_buf, s, t->raw_path_len, false))
		return false;
	t->path = path_buf->data;
	t->path_len = path_buf->len;
	return true;
}

/* url.validEncoded for a path. */
static bool is_valid_encoded(const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (!ascii_is_alnum(s[i]) && !in_set(s[i], "-_.~!$&'()*+,;=:@[]%/"))
			return false;
	}
	return true;
}

void url_escape_path(struct strbuf *out, const char *path, size_t len)
{
	static const char hex[] = "0123456789ABCDEF";
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)path[i];
		if (ascii_is_alnum(path[i]) || in_set(path[i], "-_.~$&+,/:;=@")) {
			strbuf_addc(out, path[i]);
			continue;
		}
		char esc[3] = {'%', hex[c >> 4], hex[c & 15]};
		strbuf_add(out, esc, sizeof(esc));
	}
}

void url_add_escaped_path(struct strbuf *out, const struct url_target *t)
{
	if (is_valid_encoded(t->raw_path, t->raw_path_len))
		strbuf_add(out, t->raw_path, t->raw_path_len);
	else
		url_escape_path(out, t->path, t->path_len);
}

/* Takes the last element off the part of out from start on. */
static void drop_element(struct strbuf *out, size_t start)
{
	while (out->len > start && out->data[out->len - 1] != '/')
		out->len--;
	if (out->len > start)
		out->len--;
}

void url_clean_path(struct strbuf *out, const char *path, size_t len)
{
	size_t start = out->len, r = 0;
	bool trailing = len > 1 && path[len - 1] == '/';
	strbuf_reserve(out, len + 2);
	while (r < len) {
		size_t n = 0;
		while (r + n < len && path[r + n] != '/')
			n++;
		const char *element = path + r;
		r += n + 1;
		if (n == 0)
			continue;
		if (n == 1 && element[0] == '.') {
			trailing = trailing || r > len; /* a last "." stands for its directory */
		} else if (n == 2 && element[0] == '.' && element[1] == '.') {
			drop_element(out, start);
		} else {
			strbuf_addc(out, '/');
			strbuf_add(out, element, n);
		}
	}
	if (out->len == start || trailing)
		strbuf_addc(out, '/');
	out->data[out->len] = '\0';
}
