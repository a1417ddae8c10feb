/* SPDX-License-Identifier: MIT */
/*
 * A strict JSON checker and a walk over an object's members. Mirrors the rules of encoding/json
 * (scanner.go, decode.go). Any thread; no state.
 *
 * The checker keeps a stack of its own, a bit per level, so that a deep document costs no stack of
 * the thread.
 */
#include "common/json.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/bytes.h"
#include "common/check.h"
#include "common/strbuf.h"

#define MAX_DEPTH 10000 /* encoding/json's maxNestingDepth */

struct scanner {
	const char *p;
	const char *end;
};

static void skip_space(struct scanner *s)
{
	while (s->p < s->end && (*s->p == ' ' || *s->p == '\t' || *s->p == '\r' || *s->p == '\n'))
		s->p++;
}

static bool take(struct scanner *s, char ch)
{
	if (s->p == s->end || *s->p != ch)
		return false;
	s->p++;
	return true;
}

static bool take_word(struct scanner *s, const char *word)
{
	size_t n = strlen(word);
	if ((size_t)(s->end - s->p) < n || memcmp(s->p, word, n) != 0)
		return false;
	s->p += n;
	return true;
}

static bool take_digits(struct scanner *s)
{
	const char *start = s->p;
	while (s->p < s->end && *s->p >= '0' && *s->p <= '9')
		s->p++;
	return s->p > start;
}

static bool take_number(struct scanner *s)
{
	take(s, '-');
	if (!take(s, '0') && !take_digits(s))
		return false;
	if (take(s, '.') && !take_digits(s))
		return false;
	if (take(s, 'e') || take(s, 'E')) {
		if (!take(s, '+'))
			take(s, '-');
		return take_digits(s);
	}
	return true;
}

static bool take_escape(struct scanner *s)
{
	if (s->p == s->end)
		return false;
	char ch = *s->p++;
	if (ch != 'u')
		return strchr("\"\\/bfnrt", ch) != NULL && ch != '\0';
	for (int i = 0; i < 4; i++) {
		if (s->p == s->end || bytes_hex_digit(*s->p++) < 0)
			return false;
	}
	return true;
}

/* The opening quote has been taken. */
static bool take_string(struct scanner *s)
{
	while (s->p < s->end) {
		unsigned char ch = (unsigned char)*s->p++;
		if (ch == '"')
			return true;
		if (ch < 0x20 || (ch == '\\' && !take_escape(s)))
			return false;
	}
	return false;
}

static bool take_scalar(struct scanner *s)
{
	if (take(s, '"'))
		return take_string(s);
	return take_word(s, "null") || take_word(s, "true") || take_word(s, "false") ||
	       take_number(s);
}

/* The containers that are open; a set bit is an object. */
struct stack {
	unsigned char bits[MAX_DEPTH / 8 + 1];
	size_t depth;
};

static bool push(struct stack *st, bool object)
{
	if (st->depth == MAX_DEPTH)
		return false;
	unsigned char bit = (unsigned char)(1u << (st->depth % 8));
	if (object)
		st->bits[st->depth / 8] |= bit;
	else
		st->bits[st->depth / 8] &= (unsigned char)~bit;
	st->depth++;
	return true;
}

static bool in_object(const struct stack *st)
{
	size_t top = st->depth - 1;
	return st->bits[top / 8] >> (top % 8) & 1;
}

static bool take_key(struct scanner *s)
{
	skip_space(s);
	if (!take(s, '"') || !take_string(s))
		return false;
	skip_space(s);
	return take(s, ':');
}

/*
 * After a value: closes what ends here, and takes the comma and key before the next value. *more
 * tells whether there is one.
 */
static bool take_ends(struct scanner *s, struct stack *st, bool *more)
{
	for (*more = false; st->depth > 0; st->depth--) {
		skip_space(s);
		if (take(s, ',')) {
			*more = true;
			return !in_object(st) || take_key(s);
		}
		if (!take(s, in_object(st) ? '}' : ']'))
			return false;
	}
	return true;
}

/* Takes one value, however deep. */
static bool take_value(struct scanner *s)
{
	struct stack st = {.depth = 0};
	bool more = true;
	while (more) {
		skip_space(s);
		bool object = take(s, '{');
		if (object || take(s, '[')) {
			if (!push(&st, object))
				return false;
			skip_space(s);
			bool empty = s->p < s->end && *s->p == (object ? '}' : ']');
			if (!empty) {
				if (object && !take_key(s))
					return false;
				continue; /* to the first value in it */
			}
		} else if (!take_scalar(s)) {
			return false;
		}
		if (!take_ends(s, &st, &more))
			return false;
	}
	return true;
}

bool json_valid(const char *data, size_t len)
{
	if (len == 0) /* data may be NULL then */
		return false;
	struct scanner s = {data, data + len};
	if (!take_value(&s))
		return false;
	skip_space(&s);
	return s.p == s.end;
}

/* The value at s, which json_valid has accepted; moves s behind it. */
static struct json_value value_at(struct scanner *s)
{
	skip_space(s);
	struct json_value v = {.p = s->p};
	CHECK(s->p < s->end);
	switch (*s->p) {
	case '{':
		v.type = JSON_OBJECT;
		break;
	case '[':
		v.type = JSON_ARRAY;
		break;
	case '"':
		v.type = JSON_STRING;
		break;
	case 'n':
		v.type = JSON_NULL;
		break;
	case 't':
	case 'f':
		v.type = JSON_BOOL;
		break;
	default:
		v.type = JSON_NUMBER;
	}
	CHECK(take_value(s));
	v.len = (size_t)(s->p - v.p);
	return v;
}

struct json_value json_root(const char *data, size_t len)
{
	struct scanner s = {data, data + len};
	return value_at(&s);
}

bool json_next_member(
	struct json_value object, size_t *pos, struct json_value *key, struct json_value *value)
{
	struct scanner s = {object.p + *pos, object.p + object.len};
	CHECK(object.type == JSON_OBJECT);
	if (*pos == 0)
		CHECK(take(&s, '{'));
	skip_space(&s);
	if (take(&s, '}'))
		return false;
	take(&s, ',');
	*key = value_at(&s);
	skip_space(&s);
	CHECK(take(&s, ':'));
	*value = value_at(&s);
	*pos = (size_t)(s.p - object.p);
	return true;
}

bool json_next_element(struct json_value array, size_t *pos, struct json_value *value)
{
	struct scanner s = {array.p + *pos, array.p + array.len};
	CHECK(array.type == JSON_ARRAY);
	if (*pos == 0)
		CHECK(take(&s, '['));
	skip_space(&s);
	if (take(&s, ']'))
		return false;
	take(&s, ',');
	*value = value_at(&s);
	*pos = (size_t)(s.p - array.p);
	return true;
}

/* --- strings ---------------------------------------------------------------------------------- */

#define REPLACEMENT 0xfffd

/* The four digits behind \u; they are there. */
static uint32_t hex4(const char *p)
{
	uint32_t r = 0;
	for (int i = 0; i < 4; i++)
		r = r << 4 | (uint32_t)bytes_hex_digit(p[i]);
	return r;
}

/* Decodes \uXXXX, perhaps with the second half of a pair; returns how many bytes of p it took. */
static size_t add_unicode_escape(struct strbuf *sb, const char *p, const char *end)
{
	uint32_t r = hex4(p + 2);
	if (r >= 0xd800 && r < 0xdc00 && end - p >= 12 && p[6] == '\\' && p[7] == 'u') {
		uint32_t low = hex4(p + 8);
		if (low >= 0xdc00 && low < 0xe000) {
			strbuf_add_rune(sb, 0x10000 + ((r - 0xd800) << 10) + (low - 0xdc00));
			return 12;
		}
	}
	strbuf_add_rune(sb, r >= 0xd800 && r < 0xe000 ? REPLACEMENT : r);
	return 6;
}

static size_t add_escape(struct strbuf *sb, const char *p, const char *end)
{
	static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
	if (p[1] == 'u')
		return add_unicode_escape(sb, p, end);
	strbuf_addc(sb, values[strchr(names, p[1]) - names]);
	return 2;
}

void json_add_string(struct strbuf *sb, struct json_value v)
{
	CHECK(v.type == JSON_STRING);
	const char *p = v.p + 1, *end = v.p + v.len - 1;
	while (p < end) {
		if (*p == '\\') {
			p += add_escape(sb, p, end);
			continue;
		}
		size_t n = strbuf_utf8_len(p, (size_t)(end - p));
		if (n == 0) {
			strbuf_add_rune(sb, REPLACEMENT);
			p++;
		} else {
			strbuf_add(sb, p, n);
			p += n;
		}
	}
}

char *json_string(struct json_value v)
{
	struct strbuf sb = STRBUF_INIT, text = STRBUF_INIT;
	json_add_string(&sb, v);
	for (const char *p = sb.data; p && p < sb.data + sb.len; p++) {
		if (*p)
			strbuf_addc(&text, *p);
		else
			strbuf_add_rune(&text, REPLACEMENT);
	}
	strbuf_free(&sb);
	return strbuf_detach(&text);
}

bool json_key_is(struct json_value key, const char *name)
{
	char *text = json_string(key);
	bool is = strcasecmp(text, name) == 0;
	free(text);
	return is;
}

bool json_int(struct json_value v, int64_t min, int64_t max, int64_t *out)
{
	char buf[32]; /* no 64-bit number is longer */
	char *end;
	if (v.type != JSON_NUMBER || v.len >= sizeof(buf))
		return false;
	memcpy(buf, v.p, v.len);
	buf[v.len] = '\0';
	errno = 0;
	long long n = strtoll(buf, &end, 10);
	if (errno != 0 || *end != '\0' || n < min || n > max)
		return false;
	*out = n;
	return true;
}

const char *json_type_name(enum json_type type)
{
	static const char *const names[] = {"null", "bool", "number", "string", "array", "object"};
	return names[type];
}
