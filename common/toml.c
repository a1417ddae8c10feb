/* SPDX-License-Identifier: MIT */
/*
 * A strict reader of flat TOML. No Go file: takes the place of BurntSushi/toml. Main thread, before
 * others start; no state, so any thread may call it.
 *
 * One pass with one byte of look-ahead. A function that reads something moves p->at behind it, or
 * returns false with the error set.
 */
#include "common/toml.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/ascii.h"
#include "common/strbuf.h"
#include "common/xalloc.h"

#define MAX_FILE_SIZE (16 << 20)

struct parser {
	const char *at;
	const char *end;
	int line;
	char *table; /* owned; "name." of the current table, or "" */
	const char *last_key;
	struct toml *out;
	size_t cap; /* of out->entries */
	struct err *err;
};

static bool fail(struct parser *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static bool fail(struct parser *p, const char *fmt, ...)
{
	char text[200];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (p->last_key)
		err_set(p->err, 0, "toml: line %d (last key \"%.40s\"): %s", p->line, p->last_key,
			text);
	else
		err_set(p->err, 0, "toml: line %d: %s", p->line, text);
	return false;
}

/* The next byte, or -1 at the end. */
static int peek(const struct parser *p)
{
	return p->at < p->end ? (unsigned char)*p->at : -1;
}

static bool fail_found(struct parser *p, const char *wanted)
{
	int c = peek(p);
	if (c < 0)
		return fail(p, "expected %s but found the end of the file", wanted);
	if (c == '\n' || (c == '\r' && p->end - p->at > 1 && p->at[1] == '\n'))
		return fail(p, "expected %s but found the end of the line", wanted);
	if (c < 0x20 || c >= 0x7f)
		return fail(p, "expected %s but found byte 0x%02x", wanted, (unsigned)c);
	return fail(p, "expected %s but found '%c'", wanted, c);
}

static bool take(struct parser *p, const char *s)
{
	size_t n = strlen(s);
	if ((size_t)(p->end - p->at) < n || memcmp(p->at, s, n) != 0)
		return false;
	p->at += n;
	return true;
}

static bool is_bare(int c)
{
	return ascii_is_alnum(c) || c == '_' || c == '-';
}

static void skip_blanks(struct parser *p)
{
	while (peek(p) == ' ' || peek(p) == '\t')
		p->at++;
}

/* A comment to the end of its line, if there is one. */
static bool skip_comment(struct parser *p)
{
	if (peek(p) != '#')
		return true;
	for (; peek(p) >= 0 && peek(p) != '\n'; p->at++) {
		int c = peek(p);
		bool crlf = c == '\r' && p->end - p->at > 1 && p->at[1] == '\n';
		if ((c < 0x20 && c != '\t' && !crlf) || c == 0x7f)
			return fail(p, "control byte 0x%02x in a comment", (unsigned)c);
	}
	return true;
}

/* Takes one end of line. False, without an error: there is none. */
static bool take_newline(struct parser *p)
{
	if (!take(p, "\n") && !take(p, "\r\n"))
		return false;
	p->line++;
	return true;
}

/* Blanks, comments and newlines. */
static bool skip_space(struct parser *p)
{
	do {
		skip_blanks(p);
		if (!skip_comment(p))
			return false;
	} while (take_newline(p));
	return true;
}

static bool end_of_line(struct parser *p)
{
	skip_blanks(p);
	if (!skip_comment(p))
		return false;
	return peek(p) < 0 || take_newline(p) || fail_found(p, "the end of the line");
}

/* The digits of \uXXXX or \UXXXXXXXX. */
static bool read_unicode(struct parser *p, int digits, struct strbuf *sb)
{
	uint32_t r = 0;
	for (int i = 0; i < digits; i++, p->at++) {
		int c = peek(p);
		int v = ascii_is_digit(c)      ? c - '0'
			: c >= 'a' && c <= 'f' ? c - 'a' + 10
			: c >= 'A' && c <= 'F' ? c - 'A' + 10
					       : -1;
		if (v < 0)
			return fail(p, "expected %d hexadecimal digits after \\%c", digits,
				digits == 4 ? 'u' : 'U');
		r = r << 4 | (uint32_t)v;
	}
	if (r == 0)
		return fail(p, "a string cannot contain U+0000");
	if (r > 0x10ffff || (r >= 0xd800 && r <= 0xdfff))
		return fail(p, "escape is not a Unicode scalar value: U+%04X", r);
	strbuf_add_rune(sb, r);
	return true;
}

/* Reads the part of an escape behind the backslash. */
static bool read_escape(struct parser *p, struct strbuf *sb)
{
	static const char from[] = "btnfr\"\\", to[] = "\b\t\n\f\r\"\\";
	int c = peek(p);
	const char *found = c > 0 ? strchr(from, c) : NULL;
	if (found) {
		p->at++;
		strbuf_addc(sb, to[found - from]);
		return true;
	}
	if (c == 'u' || c == 'U') {
		p->at++;
		return read_unicode(p, c == 'u' ? 4 : 8, sb);
	}
	if (c <= 0x20 || c >= 0x7f)
		return fail(p, "invalid escape in string");
	return fail(p, "invalid escape in string '\\%c'", c);
}

/* A string in quote marks of either kind, on one line; appended to sb. */
static bool read_string(struct parser *p, struct strbuf *sb)
{
	char quote = *p->at++;
	char three[] = {quote, quote, '\0'}; /* with the quote that is read already */
	if (take(p, three))
		return fail(p, "multi-line strings are not supported");
	for (;;) {
		int c = peek(p);
		if (c == quote)
			break;
		if (c < 0 || c == '\n' || c == '\r')
			return fail_found(p, "the end of the string");
		if ((c < 0x20 && c != '\t') || c == 0x7f)
			return fail(p, "control byte 0x%02x in a string", (unsigned)c);
		p->at++;
		if (c == '\\' && quote == '"') {
			if (!read_escape(p, sb))
				return false;
		} else {
			strbuf_addc(sb, (char)c);
		}
	}
	p->at++;
	return true;
}

/* Digits of base with single underscores between them, from s; the digits alone go to out. */
static const char *scan_digits(const char *s, int base, struct strbuf *out)
{
	const char *start = s;
	for (;; s++) {
		int c = (unsigned char)*s;
		int v = ascii_is_digit(c)      ? c - '0'
			: c >= 'a' && c <= 'f' ? c - 'a' + 10
			: c >= 'A' && c <= 'F' ? c - 'A' + 10
					       : 16;
		if (v < base)
			strbuf_addc(out, (char)c);
		else if (c != '_' || s == start || s[-1] == '_')
			break;
	}
	return s > start && s[-1] == '_' ? s - 1 : s; /* then garbage follows */
}

static bool to_integer(
	struct parser *p, const char *word, const char *digits, int base, struct toml_value *v)
{
	errno = 0;
	v->type = TOML_INTEGER;
	v->integer = strtoll(digits, NULL, base);
	return errno == 0 || fail(p, "integer out of range: %.40s", word);
}

/* 0xff, 0o17, 0b1: word begins with 0 and a letter. */
static bool read_prefixed(struct parser *p, const char *word, int base, struct toml_value *v)
{
	struct strbuf digits = STRBUF_INIT;
	const char *end = scan_digits(word + 2, base, &digits);
	bool ok = *end == '\0' && digits.len > 0;
	ok = ok ? to_integer(p, word, digits.data, base, v)
		: fail(p, "invalid integer: %.40s", word);
	strbuf_free(&digits);
	return ok;
}

/* [+-] digits [. digits] [e [+-] digits], collected in text without underscores. */
static bool scan_decimal(const char *word, struct strbuf *text, bool *is_float)
{
	const char *s = word;
	if (*s == '+' || *s == '-')
		strbuf_addc(text, *s++);
	const char *start = s;
	s = scan_digits(s, 10, text);
	if (s == start || (*start == '0' && s - start > 1))
		return false; /* no digit, or a zero in front of others */
	if (*s == '.') {
		*is_float = true;
		strbuf_addc(text, *s++);
		start = s;
		s = scan_digits(s, 10, text);
		if (s == start)
			return false;
	}
	if (*s == 'e' || *s == 'E') {
		*is_float = true;
		strbuf_addc(text, *s++);
		if (*s == '+' || *s == '-')
			strbuf_addc(text, *s++);
		start = s;
		s = scan_digits(s, 10, text);
		if (s == start)
			return false;
	}
	return *s == '\0';
}

static bool read_decimal(struct parser *p, const char *word, struct toml_value *v)
{
	struct strbuf text = STRBUF_INIT;
	bool is_float = false;
	bool ok = scan_decimal(word, &text, &is_float);
	if (!ok) {
		fail(p, "invalid value: %.40s", word);
	} else if (is_float) {
		v->type = TOML_FLOAT;
		v->number = strtod(text.data, NULL); /* nobody calls setlocale */
		if (isinf(v->number))
			ok = fail(p, "number out of range: %.40s", word);
	} else {
		ok = to_integer(p, word, text.data, 10, v);
	}
	strbuf_free(&text);
	return ok;
}

/* Reads a number, true or false: all up to a byte that ends a value. */
static bool read_word(struct parser *p, struct toml_value *v)
{
	char word[64];
	size_t n = 0;
	for (int c = peek(p); is_bare(c) || c == '+' || c == '.' || c == ':'; c = peek(p)) {
		if (n == sizeof(word) - 1)
			return fail(p, "value is too long: %.40s", word);
		word[n++] = *p->at++;
		word[n] = '\0';
	}
	if (n == 0)
		return fail_found(p, "a value");
	word[n] = '\0';

	if (strcmp(word, "true") == 0 || strcmp(word, "false") == 0) {
		v->type = TOML_BOOLEAN;
		v->boolean = word[0] == 't';
		return true;
	}
	const char *s = word + (word[0] == '+' || word[0] == '-');
	if (strcmp(s, "inf") == 0 || strcmp(s, "nan") == 0) {
		v->type = TOML_FLOAT;
		v->number = copysign(
			*s == 'i' ? (double)INFINITY : (double)NAN, word[0] == '-' ? -1 : 1);
		return true;
	}
	if (word[0] == '0' && (word[1] == 'x' || word[1] == 'o' || word[1] == 'b'))
		return read_prefixed(p, word, word[1] == 'x' ? 16 : word[1] == 'o' ? 8 : 2, v);
	if (ascii_is_digit(word[0]) &&
		(strchr(word, ':') != NULL || strchr(word + 1, '-') != NULL) &&
		strpbrk(word, "eE") == NULL)
		return fail(p, "dates and times are not supported: %.40s", word);
	return read_decimal(p, word, v);
}

static void free_value(struct toml_value *v)
{
	if (v->type == TOML_STRING) {
		free(v->string);
	} else if (v->type == TOML_ARRAY) {
		for (size_t i = 0; i < v->array.n; i++)
			free_value(&v->array.v[i]);
		free(v->array.v);
	}
}

/* Reads any value but an array. On failure nothing is left to free. */
static bool read_scalar(struct parser *p, struct toml_value *v)
{
	int c = peek(p);
	if (c == '"' || c == '\'') {
		struct strbuf sb = STRBUF_INIT;
		if (!read_string(p, &sb)) {
			strbuf_free(&sb);
			return false;
		}
		v->type = TOML_STRING;
		v->string = strbuf_detach(&sb);
		return true;
	}
	if (c == '{')
		return fail(p, "inline tables are not supported");
	if (c == '[')
		return fail(p, "arrays in arrays are not supported");
	return read_word(p, v);
}

/* Reads the rest of an array. Also on failure *v holds the elements so far. */
static bool read_array(struct parser *p, struct toml_value *v)
{
	size_t cap = 0;
	p->at++;
	for (;;) {
		if (!skip_space(p))
			return false;
		if (take(p, "]"))
			return true;
		if (v->array.n == cap) {
			cap = cap != 0 ? cap * 2 : 4;
			v->array.v = xreallocarray(v->array.v, cap, sizeof(*v->array.v));
		}
		if (!read_scalar(p, &v->array.v[v->array.n]))
			return false;
		v->array.n++;
		if (!skip_space(p))
			return false;
		if (!take(p, ",") && peek(p) != ']')
			return fail_found(p, "',' or ']'");
	}
}

static bool read_value(struct parser *p, struct toml_value *v)
{
	if (peek(p) != '[')
		return read_scalar(p, v);
	*v = (struct toml_value){.type = TOML_ARRAY};
	if (read_array(p, v))
		return true;
	free_value(v);
	return false;
}

/* Reads one part of a key. A quoted part that is no bare key keeps its quotes. */
static bool read_key_part(struct parser *p, struct strbuf *key)
{
	int c = peek(p);
	if (c != '"' && c != '\'') {
		const char *start = p->at;
		while (is_bare(peek(p)))
			p->at++;
		strbuf_add(key, start, (size_t)(p->at - start));
		return p->at > start || fail_found(p, "a key");
	}
	struct strbuf part = STRBUF_INIT;
	bool ok = read_string(p, &part);
	bool bare = part.len > 0;
	for (size_t i = 0; i < part.len; i++)
		bare = bare && is_bare((unsigned char)part.data[i]);
	if (ok && bare)
		strbuf_add(key, part.data, part.len);
	else if (ok)
		strbuf_addq(key, part.data, part.len);
	strbuf_free(&part);
	return ok;
}

/* Appends to key: key, key.key, with blanks around the points. */
static bool read_key(struct parser *p, struct strbuf *key)
{
	do {
		skip_blanks(p);
		if (!read_key_part(p, key))
			return false;
		skip_blanks(p);
		if (peek(p) == '.')
			strbuf_addc(key, '.');
	} while (take(p, "."));
	return true;
}

/* Reads [name] or [[name]]: from here on its name goes in front of every key. */
static bool read_table(struct parser *p)
{
	struct strbuf name = STRBUF_INIT;
	bool array = take(p, "[[");
	if (!array)
		p->at++;
	bool ok = read_key(p, &name);
	if (ok && !take(p, array ? "]]" : "]"))
		ok = fail_found(p, array ? "']]'" : "']'");
	if (array) /* each [[name]] is a table of its own, told apart by its line */
		strbuf_addf(&name, "[%d]", p->line);
	strbuf_addc(&name, '.');
	free(p->table);
	p->table = strbuf_detach(&name);
	return ok && end_of_line(p);
}

static bool read_entry(struct parser *p)
{
	struct strbuf key = STRBUF_INIT;
	struct toml_entry e = {.line = p->line};
	strbuf_adds(&key, p->table);
	if (!read_key(p, &key)) {
		strbuf_free(&key);
		return false;
	}
	e.key = strbuf_detach(&key);
	p->last_key = e.key;
	bool ok = take(p, "=") || fail_found(p, "'.' or '='");
	skip_blanks(p);
	if (!ok || !read_value(p, &e.value)) {
		free(e.key);
		return false;
	}
	if (p->out->n == p->cap) {
		p->cap = p->cap != 0 ? p->cap * 2 : 16;
		p->out->entries = xreallocarray(p->out->entries, p->cap, sizeof(e));
	}
	p->out->entries[p->out->n++] = e; /* e owns last_key from now on */
	return end_of_line(p);
}

static int by_key_and_line(const void *a, const void *b)
{
	const struct toml_entry *x = *(const struct toml_entry *const *)a;
	const struct toml_entry *y = *(const struct toml_entry *const *)b;
	int order = strcmp(x->key, y->key);
	return order != 0 ? order : (x->line > y->line) - (x->line < y->line);
}

/* Sorts the keys first: in a file of a million keys, none takes a million steps. */
static bool check_duplicates(struct parser *p)
{
	const struct toml_entry **sorted = xreallocarray(NULL, p->out->n, sizeof(*sorted));
	const struct toml_entry *again = NULL;
	for (size_t i = 0; i < p->out->n; i++)
		sorted[i] = &p->out->entries[i];
	qsort(sorted, p->out->n, sizeof(*sorted), by_key_and_line);
	for (size_t i = 1; i < p->out->n; i++) {
		if (strcmp(sorted[i]->key, sorted[i - 1]->key) == 0 &&
			(!again || sorted[i]->line < again->line))
			again = sorted[i];
	}
	free(sorted);
	if (!again)
		return true;
	p->line = again->line;
	p->last_key = again->key;
	return fail(p, "key '%.80s' has already been defined", again->key);
}

/* Refuses text that is not UTF-8, before other functions look at single bytes. */
static bool check_utf8(struct parser *p)
{
	const char *start = p->at;
	while (p->at < p->end) {
		size_t n = strbuf_utf8_len(p->at, (size_t)(p->end - p->at));
		if (n == 0)
			return fail(p, "invalid UTF-8 byte: 0x%02x", (unsigned char)*p->at);
		p->line += *p->at == '\n';
		p->at += n;
	}
	p->at = start;
	p->line = 1;
	return true;
}

static bool read_document(struct parser *p)
{
	take(p, "\xef\xbb\xbf"); /* byte order mark */
	if (!check_utf8(p))
		return false;
	for (;;) {
		if (!skip_space(p))
			return false;
		if (peek(p) < 0)
			return check_duplicates(p);
		if (!(peek(p) == '[' ? read_table(p) : read_entry(p)))
			return false;
	}
}

int toml_parse(struct toml *t, const char *text, size_t len, struct err *err)
{
	*t = (struct toml){NULL, 0};
	struct parser p = {.at = text,
		.end = text + len,
		.line = 1,
		.table = xstrdup(""),
		.out = t,
		.err = err};
	bool ok = read_document(&p);
	free(p.table);
	if (!ok)
		toml_free(t);
	return ok ? 0 : -1;
}

/* Reads all of fd into sb. */
static int read_all(int fd, const char *path, struct strbuf *sb, struct err *err)
{
	for (;;) {
		strbuf_reserve(sb, 4096);
		ssize_t n = read(fd, sb->data + sb->len, 4096);
		if (n < 0 && errno != EINTR)
			return err_errno(err, errno, "read %s", path);
		if (n == 0)
			return 0;
		if (n > 0)
			sb->len += (size_t)n;
		if (sb->len > MAX_FILE_SIZE)
			return err_set(
				err, EFBIG, "read %s: larger than %d bytes", path, MAX_FILE_SIZE);
	}
}

int toml_parse_file(struct toml *t, const char *path, struct err *err)
{
	struct strbuf sb = STRBUF_INIT;
	*t = (struct toml){NULL, 0};
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return err_errno(err, errno, "open %s", path);
	int rc = read_all(fd, path, &sb, err);
	close(fd);
	if (rc == 0)
		rc = toml_parse(t, sb.data, sb.len, err);
	strbuf_free(&sb);
	return rc;
}

void toml_free(struct toml *t)
{
	for (size_t i = 0; i < t->n; i++) {
		free(t->entries[i].key);
		free_value(&t->entries[i].value);
	}
	free(t->entries);
	*t = (struct toml){NULL, 0};
}

const struct toml_entry *toml_get(const struct toml *t, const char *key)
{
	for (size_t i = 0; i < t->n; i++) {
		if (strcmp(t->entries[i].key, key) == 0)
			return &t->entries[i];
	}
	return NULL;
}
