/* SPDX-License-Identifier: MIT */
/*
 * A growing byte buffer (bytes.Buffer, strings.Builder). data is always terminated by a 0 byte
 * beyond len, so that it can be used as a C string.
 */
#ifndef COMMON_STRBUF_H
#define COMMON_STRBUF_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

struct strbuf {
	char *data; /* owned; NULL until the first write */
	size_t len;
	size_t cap;
};

#define STRBUF_INIT                                                                                \
	{                                                                                          \
		NULL, 0, 0                                                                         \
	}

/* Frees the memory; the strbuf is empty and can be used again. */
void strbuf_free(struct strbuf *sb);
/* The same for a secret: overwrites all of the memory first. */
void strbuf_wipe(struct strbuf *sb);
/* Gives unused memory back; an empty strbuf keeps none. */
void strbuf_shrink(struct strbuf *sb);
/* Empties it and keeps the memory. */
void strbuf_reset(struct strbuf *sb);
/* Makes room for n more bytes (and the terminator). Without memory the process ends. */
void strbuf_reserve(struct strbuf *sb, size_t n);
void strbuf_add(struct strbuf *sb, const void *data, size_t n);
void strbuf_adds(struct strbuf *sb, const char *s);
void strbuf_addc(struct strbuf *sb, char c);
void strbuf_addf(struct strbuf *sb, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void strbuf_vaddf(struct strbuf *sb, const char *fmt, va_list ap)
	__attribute__((format(printf, 2, 0)));
/*
 * Appends s[0..n) as a JSON string with its quotes, escaped as Go's encoding/json does (HTML
 * escapes included).
 */
void strbuf_add_json(struct strbuf *sb, const char *s, size_t n);
/*
 * Appends s[0..n) as Go's %q does: quoted, with \n, \t, \", \\, \x00 escapes, invalid UTF-8 as
 * \xNN.
 */
void strbuf_addq(struct strbuf *sb, const char *s, size_t n);
/*
 * Appends d as Go's encoding/json does: the shortest text that reads back as d. Not for NaN and
 * infinities.
 */
void strbuf_add_json_double(struct strbuf *sb, double d);
/* Appends the code point r in UTF-8 (utf8.AppendRune). */
void strbuf_add_rune(struct strbuf *sb, uint32_t r);
/* How many bytes the UTF-8 character at s[0..n) has, n > 0; 0: there is none (utf8.DecodeRune). */
size_t strbuf_utf8_len(const char *s, size_t n);
/* The caller owns the returned string (never NULL); the strbuf is empty. */
char *strbuf_detach(struct strbuf *sb);

#endif
