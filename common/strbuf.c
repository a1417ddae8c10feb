/* SPDX-License-Identifier: MIT */
/*
 * A growing byte buffer, and the two ways in which Go quotes a string. Mirrors bytes.Buffer,
 * encoding/json (appendString with escapeHTML) and strconv.Quote. Any thread; a strbuf belongs to
 * one thread at a time.
 *
 * Two things differ from a given Go release. In JSON \b and \f are \u0008 and \u000c, as in the
 * releases up to 1.21 that the stock binaries were built with. And %q shows a code point as it is
 * if Unicode has not assigned it yet.
 */
#include "common/strbuf.h"

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/xalloc.h"

void strbuf_free(struct strbuf *sb)
{
	free(sb->data);
	*sb = (struct strbuf)STRBUF_INIT;
}

void strbuf_wipe(struct strbuf *sb)
{
	if (sb->data)
		explicit_bzero(sb->data, sb->cap);
	strbuf_free(sb);
}

void strbuf_shrink(struct strbuf *sb)
{
	if (sb->len == 0) {
		strbuf_free(sb);
		return;
	}
	sb->cap = sb->len + 1;
	sb->data = xrealloc(sb->data, sb->cap);
}

void strbuf_reset(struct strbuf *sb)
{
	sb->len = 0;
	if (sb->data)
		sb->data[0] = '\0';
}

void strbuf_reserve(struct strbuf *sb, size_t n)
{
	size_t need;
	if (__builtin_add_overflow(sb->len, n, &need) || need > SIZE_MAX / 4)
		need = SIZE_MAX / 4; /* more than there can be: xrealloc reports that */
	need++;
	if (need <= sb->cap)
		return;
	size_t cap = sb->cap != 0 ? sb->cap : 64;
	while (cap < need)
		cap *= 2;
	sb->data = xrealloc(sb->data, cap);
	sb->cap = cap;
	sb->data[sb->len] = '\0';
}

void strbuf_add(struct strbuf *sb, const void *data, size_t n)
{
	strbuf_reserve(sb, n);
	if (n > 0) /* data may be NULL then */
		memcpy(sb->data + sb->len, data, n);
	sb->len += n;
	sb->data[sb->len] = '\0';
}

void strbuf_adds(struct strbuf *sb, const char *s)
{
	strbuf_add(sb, s, strlen(s));
}

void strbuf_addc(struct strbuf *sb, char c)
{
	strbuf_add(sb, &c, 1);
}

void strbuf_vaddf(struct strbuf *sb, const char *fmt, va_list ap)
{
	va_list ap2;
	va_copy(ap2, ap);
	strbuf_reserve(sb, 0);
	int n = vsnprintf(sb->data + sb->len, sb->cap - sb->len, fmt, ap2);
	va_end(ap2);
	if (n < 0) { /* a bad conversion: the text stays as it was */
		sb->data[sb->len] = '\0';
		return;
	}
	if ((size_t)n >= sb->cap - sb->len) {
		strbuf_reserve(sb, (size_t)n);
		vsnprintf(sb->data + sb->len, sb->cap - sb->len, fmt, ap);
	}
	sb->len += (size_t)n;
}

void strbuf_addf(struct strbuf *sb, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	strbuf_vaddf(sb, fmt, ap);
	va_end(ap);
}

#define RUNE_BAD UINT32_MAX

/* utf8.DecodeRune: *rune and its length. An invalid byte is RUNE_BAD, of length 1. */
static size_t decode_rune(const unsigned char *s, size_t n, uint32_t *rune)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	size_t len = s[0] < 0x80             ? 1
		     : (s[0] & 0xe0) == 0xc0 ? 2
		     : (s[0] & 0xf0) == 0xe0 ? 3
		     : (s[0] & 0xf8) == 0xf0 ? 4
					     : 0;
	*rune = RUNE_BAD;
	if (len == 0 || len > n)
		return 1;
	uint32_t r = len == 1 ? s[0] : s[0] & (0x7fu >> len);
	for (size_t i = 1; i < len; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 1;
		r = r << 6 | (s[i] & 0x3f);
	}
	if (r < least[len] || r > 0x10ffff || (r >= 0xd800 && r <= 0xdfff))
		return 1; /* overlong, too large, or half of a surrogate pair */
	*rune = r;
	return len;
}

size_t strbuf_utf8_len(const char *s, size_t n)
{
	uint32_t rune;
	size_t len = decode_rune((const unsigned char *)s, n, &rune);
	return rune == RUNE_BAD ? 0 : len;
}

/* The letter after the backslash for c, if both forms know one, or 0. */
static char short_escape(uint32_t c)
{
	switch (c) {
	case '"':
	case '\\':
		return (char)c;
	case '\n':
		return 'n';
	case '\r':
		return 'r';
	case '\t':
		return 't';
	default:
		return 0;
	}
}

static bool json_needs_escape(uint32_t r)
{
	return r < 0x20 || r == '"' || r == '\\' || r == '<' || r == '>' || r == '&' ||
	       r == 0x2028 || r == 0x2029 || r == RUNE_BAD;
}

void strbuf_add_json(struct strbuf *sb, const char *s, size_t n)
{
	const unsigned char *p = (const unsigned char *)s;
	strbuf_reserve(sb, n + 2);
	strbuf_addc(sb, '"');
	for (size_t i = 0, start = 0; i < n || start < n;) {
		uint32_t r = 0;
		size_t len = i < n ? decode_rune(p + i, n - i, &r) : 0;
		if (len > 0 && !json_needs_escape(r)) {
			i += len;
			continue;
		}
		strbuf_add(sb, s + start, i - start); /* the run that needs no escape */
		if (len > 0) {
			char c = short_escape(r);
			if (c != 0)
				strbuf_addf(sb, "\\%c", c);
			else
				strbuf_addf(sb, "\\u%04x", r == RUNE_BAD ? 0xfffdu : r);
		}
		i += len;
		start = i;
	}
	strbuf_addc(sb, '"');
}

/*
 * The code points beyond ASCII that strconv.IsPrint denies: categories Z, Cf, Co, and
 * non-characters.
 */
static const struct {
	uint32_t first, last;
} not_printable[] = {
	{0x0080, 0x00a0},
	{0x00ad, 0x00ad},
	{0x0600, 0x0605},
	{0x061c, 0x061c},
	{0x06dd, 0x06dd},
	{0x070f, 0x070f},
	{0x0890, 0x0891},
	{0x08e2, 0x08e2},
	{0x1680, 0x1680},
	{0x180e, 0x180e},
	{0x2000, 0x200f},
	{0x2028, 0x202f},
	{0x205f, 0x2064},
	{0x2066, 0x206f},
	{0x3000, 0x3000},
	{0xe000, 0xf8ff},
	{0xfdd0, 0xfdef},
	{0xfeff, 0xfeff},
	{0xfff9, 0xfffb},
	{0xfffe, 0xffff},
	{0x110bd, 0x110bd},
	{0x110cd, 0x110cd},
	{0x13430, 0x1343f},
	{0x1bca0, 0x1bca3},
	{0x1d173, 0x1d17a},
	{0x1fffe, 0x1ffff},
	{0x2fffe, 0x2ffff},
	{0x3fffe, 0x3ffff},
	{0x4fffe, 0x4ffff},
	{0x5fffe, 0x5ffff},
	{0x6fffe, 0x6ffff},
	{0x7fffe, 0x7ffff},
	{0x8fffe, 0x8ffff},
	{0x9fffe, 0x9ffff},
	{0xafffe, 0xaffff},
	{0xbfffe, 0xbffff},
	{0xcfffe, 0xcffff},
	{0xdfffe, 0xdffff},
	{0xe0001, 0xe0001},
	{0xe0020, 0xe007f},
	{0xefffe, 0x10ffff},
};

static bool is_printable(uint32_t r)
{
	if (r < 0x80)
		return r >= 0x20 && r != 0x7f;
	for (size_t i = 0; i < sizeof(not_printable) / sizeof(not_printable[0]); i++) {
		if (r >= not_printable[i].first && r <= not_printable[i].last)
			return false;
	}
	return true;
}

/* Appends a character of %q that cannot stand for itself. byte: the first of a bad sequence. */
static void add_go_escape(struct strbuf *sb, uint32_t r, unsigned char byte)
{
	static const char letters[] = "abtnvfr"; /* \a is 7, \r is 13 */
	if (r == RUNE_BAD)
		strbuf_addf(sb, "\\x%02x", byte);
	else if (r == '"' || r == '\\')
		strbuf_addf(sb, "\\%c", (int)r);
	else if (r >= 7 && r <= 13)
		strbuf_addf(sb, "\\%c", letters[r - 7]);
	else if (r < 0x20 || r == 0x7f)
		strbuf_addf(sb, "\\x%02x", r);
	else if (r < 0x10000)
		strbuf_addf(sb, "\\u%04x", r);
	else
		strbuf_addf(sb, "\\U%08x", r);
}

void strbuf_addq(struct strbuf *sb, const char *s, size_t n)
{
	const unsigned char *p = (const unsigned char *)s;
	strbuf_addc(sb, '"');
	for (size_t i = 0; i < n;) {
		uint32_t r;
		size_t len = decode_rune(p + i, n - i, &r);
		if (r != RUNE_BAD && r != '"' && r != '\\' && is_printable(r))
			strbuf_add(sb, s + i, len);
		else
			add_go_escape(sb, r, p[i]);
		i += len;
	}
	strbuf_addc(sb, '"');
}

void strbuf_add_json_double(struct strbuf *sb, double d)
{
	char buf[40];
	int digits = 1;
	if (d == 0) {
		strbuf_adds(sb, signbit(d) ? "-0" : "0");
		return;
	}
	do /* the shortest text that reads back as d; 17 digits always do */
		snprintf(buf, sizeof(buf), "%.*e", digits - 1, d);
	while (strtod(buf, NULL) != d && ++digits <= 17);

	char *e = strchr(buf, 'e');
	int exponent = atoi(e + 1);
	*e = '\0';
	if (exponent < -6 || exponent >= 21) { /* 1e-7 and 1e+21, where C has two digits at least */
		strbuf_addf(sb, "%se%c%d", buf, exponent < 0 ? '-' : '+', abs(exponent));
	} else if (digits - 1 > exponent) {
		strbuf_addf(sb, "%.*f", digits - 1 - exponent, d);
	} else { /* an integer; %f would show more digits than needed */
		for (const char *p = buf; *p != '\0'; p++) {
			if (*p != '.')
				strbuf_addc(sb, *p);
		}
		for (int i = digits - 1; i < exponent; i++)
			strbuf_addc(sb, '0');
	}
}

char *strbuf_detach(struct strbuf *sb)
{
	strbuf_reserve(sb, 0);
	char *s = sb->data;
	*sb = (struct strbuf)STRBUF_INIT;
	return s;
}

void strbuf_add_rune(struct strbuf *sb, uint32_t r)
{
	if (r < 0x80) {
		strbuf_addc(sb, (char)r);
	} else if (r < 0x800) {
		strbuf_addc(sb, (char)(0xc0 | r >> 6));
		strbuf_addc(sb, (char)(0x80 | (r & 0x3f)));
	} else if (r < 0x10000) {
		strbuf_addc(sb, (char)(0xe0 | r >> 12));
		strbuf_addc(sb, (char)(0x80 | (r >> 6 & 0x3f)));
		strbuf_addc(sb, (char)(0x80 | (r & 0x3f)));
	} else {
		strbuf_addc(sb, (char)(0xf0 | r >> 18));
		strbuf_addc(sb, (char)(0x80 | (r >> 12 & 0x3f)));
		strbuf_addc(sb, (char)(0x80 | (r >> 6 & 0x3f)));
		strbuf_addc(sb, (char)(0x80 | (r & 0x3f)));
	}
}
