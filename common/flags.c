/* SPDX-License-Identifier: MIT */
/*
 * Command line flags. Mirrors Go's flag/flag.go (parseOne, PrintDefaults and the value types) and
 * strconv's ParseInt, ParseBool and ParseFloat. Main thread, before others start; no state.
 */
#include "common/flags.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/ascii.h"
#include "common/clock.h"
#include "common/xalloc.h"

static int digit_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'Z')
		return c - 'A' + 10;
	return 99;
}

/* The base of a literal by its prefix; moves *s behind the prefix. */
static int take_base(const char **s)
{
	if ((*s)[0] != '0' || (*s)[1] == '\0')
		return 10;
	switch ((*s)[1]) {
	case 'x':
	case 'X':
		*s += 2;
		return 16;
	case 'o':
	case 'O':
		*s += 2;
		return 8;
	case 'b':
	case 'B':
		*s += 2;
		return 2;
	default:
		*s += 1; /* 017; the zero also stands for a digit before an underscore */
		return 8;
	}
}

int flags_parse_int(const char *text, int base, int bits, int64_t *v)
{
	const char *s = text;
	bool negative = *s == '-', literal = base == 0;
	if (*s == '-' || *s == '+')
		s++;
	const char *start = s;
	if (literal)
		base = take_base(&s);
	bool may_underscore = s > start; /* only behind a digit or a prefix */
	bool digits = s == start + 1;    /* the zero of 017 */
	bool bad_underscore = false;
	uint64_t u = 0;
	/*
	 * Go's order of complaints: beyond 64 bits at once, underscores and the sign's limit last.
	 */
	for (; *s != '\0'; s++) {
		if (*s == '_' && literal) {
			bad_underscore |= !may_underscore;
			may_underscore = false;
			continue;
		}
		int d = digit_value(*s);
		if (d >= base)
			return EINVAL;
		digits = may_underscore = true;
		if (__builtin_mul_overflow(u, (uint64_t)base, &u) ||
			__builtin_add_overflow(u, (uint64_t)d, &u))
			return ERANGE;
	}
	if (!digits || bad_underscore || s[-1] == '_')
		return EINVAL;
	if (u > (UINT64_C(1) << (bits - 1)) - (negative ? 0 : 1))
		return ERANGE;
	*v = negative ? (int64_t)(0 - u) : (int64_t)u;
	return 0;
}

bool flags_parse_bool(const char *text, bool *v)
{
	static const char *const yes[] = {"1", "t", "T", "TRUE", "true", "True"};
	static const char *const no[] = {"0", "f", "F", "FALSE", "false", "False"};
	for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++) {
		if (strcmp(text, yes[i]) == 0 || strcmp(text, no[i]) == 0) {
			*v = strcmp(text, yes[i]) == 0;
			return true;
		}
	}
	return false;
}

/* underscoreOK: between two digits only, the 0x being one of them. s has no sign. */
static bool underscores_are_fine(const char *s, const char *digits)
{
	bool after_digit = s[0] == '0' && (s[1] == 'x' || s[1] == 'X');
	for (s += after_digit ? 2 : 0; *s; s++) {
		bool digit = strchr(digits, *s) != NULL;
		if (*s == '_' && (!after_digit || s[1] == '\0' || !strchr(digits, s[1])))
			return false;
		after_digit = digit;
	}
	return true;
}

/* Is s, without a sign, a number to Go? strtod also takes blanks, nan(x), and hex without a p. */
static bool is_gos_float(const char *s)
{
	static const char decimal[] = "0123456789", hexadecimal[] = "0123456789abcdefABCDEF";
	bool hex = s[0] == '0' && (s[1] == 'x' || s[1] == 'X');
	const char *more = hex ? "_.xXpP+-" : "_.eE+-";
	for (const char *p = s; *p; p++) {
		if (!strchr(hex ? hexadecimal : decimal, *p) && !strchr(more, *p))
			return false;
	}
	if (*s == '+' || *s == '-' || (hex && !strpbrk(s, "pP")))
		return false;
	return underscores_are_fine(s, hex ? hexadecimal : decimal);
}

bool flags_parse_float(const char *text, double *v)
{
	static const char *const words[] = {"inf", "infinity", "nan"};
	const char *s = text + (*text == '+' || *text == '-');
	bool word = false;
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		word = word || strcasecmp(s, words[i]) == 0;
	if (!word && !is_gos_float(s))
		return false;
	char *plain = xstrdup(text), *to = plain, *end;
	for (const char *from = text; *from; from++) {
		if (*from != '_')
			*to++ = *from;
	}
	*to = '\0';
	*v = strtod(plain, &end); /* nobody calls setlocale */
	bool whole = end != plain && *end == '\0';
	free(plain);
	return whole && (word || !isinf(*v));
}

/* --- types ------------------------------------------------------------------------------------ */

static int set_bool(void *value, const char *text, struct err *err)
{
	return flags_parse_bool(text, value) ? 0 : err_set(err, EINVAL, "parse error");
}

static void print_bool(const void *value, struct strbuf *sb)
{
	strbuf_adds(sb, *(const bool *)value ? "true" : "false");
}

const struct flag_type flag_type_bool = {"", "false", false, set_bool, print_bool};

static int set_number(const char *text, int bits, int64_t *v, struct err *err)
{
	switch (flags_parse_int(text, 0, bits, v)) {
	case 0:
		return 0;
	case ERANGE:
		return err_set(err, ERANGE, "value out of range");
	default:
		return err_set(err, EINVAL, "parse error");
	}
}

static int set_int(void *value, const char *text, struct err *err)
{
	int64_t v;
	if (set_number(text, sizeof(int) * CHAR_BIT, &v, err) != 0)
		return -1;
	*(int *)value = (int)v;
	return 0;
}

static void print_int(const void *value, struct strbuf *sb)
{
	strbuf_addf(sb, "%d", *(const int *)value);
}

const struct flag_type flag_type_int = {"int", "0", false, set_int, print_int};

static int set_int64(void *value, const char *text, struct err *err)
{
	return set_number(text, 64, value, err);
}

static void print_int64(const void *value, struct strbuf *sb)
{
	strbuf_addf(sb, "%" PRId64, *(const int64_t *)value);
}

const struct flag_type flag_type_int64 = {"int", "0", false, set_int64, print_int64};

static int set_string(void *value, const char *text, struct err *err)
{
	(void)err;
	char *copy = xstrdup(text);
	free(*(char **)value);
	*(char **)value = copy;
	return 0;
}

static void print_string(const void *value, struct strbuf *sb)
{
	strbuf_adds(sb, *(char *const *)value);
}

const struct flag_type flag_type_string = {"string", "", true, set_string, print_string};

static int set_duration(void *value, const char *text, struct err *err)
{
	return duration_parse(text, value) ? 0 : err_set(err, EINVAL, "parse error");
}

static void print_duration(const void *value, struct strbuf *sb)
{
	char buf[32];
	strbuf_adds(sb, duration_format(*(const int64_t *)value, buf, sizeof(buf)));
}

const struct flag_type flag_type_duration = {"duration", "0s", false, set_duration, print_duration};

/* --- usage ------------------------------------------------------------------------------------ */

static int by_name(const void *a, const void *b)
{
	return strcmp(
		(*(const struct flag *const *)a)->name, (*(const struct flag *const *)b)->name);
}

static void print_flag(const struct flag *f, struct strbuf *out)
{
	struct strbuf def = STRBUF_INIT;
	strbuf_addf(out, "  -%s", f->name);
	if (f->type->placeholder[0] != '\0')
		strbuf_addf(out, " %s", f->type->placeholder);
	/* One letter and no value: the text fits on the same line. */
	bool fits = strlen(f->name) == 1 && f->type->placeholder[0] == '\0';
	strbuf_addf(out, "%s%s", fits ? "\t" : "\n    \t", f->usage);

	strbuf_adds(&def, "");
	f->type->print(f->value, &def);
	if (strcmp(def.data, f->type->zero) != 0) {
		strbuf_adds(out, " (default ");
		if (f->type->quote)
			strbuf_addq(out, def.data, def.len);
		else
			strbuf_adds(out, def.data);
		strbuf_addc(out, ')');
	}
	strbuf_addc(out, '\n');
	strbuf_free(&def);
}

void flags_usage(const char *program, const struct flag *flags, size_t n, struct strbuf *out)
{
	const struct flag **sorted = xreallocarray(NULL, n, sizeof(*sorted));
	for (size_t i = 0; i < n; i++)
		sorted[i] = &flags[i];
	qsort(sorted, n, sizeof(*sorted), by_name);
	strbuf_addf(out, "Usage of %s:\n", program);
	for (size_t i = 0; i < n; i++)
		print_flag(sorted[i], out);
	free(sorted);
}

/* --- parsing ---------------------------------------------------------------------------------- */

static struct flag *find(struct flag *flags, size_t n, const char *name, size_t len)
{
	for (size_t i = 0; i < n; i++) {
		if (strlen(flags[i].name) == len && memcmp(flags[i].name, name, len) == 0)
			return &flags[i];
	}
	return NULL;
}

/* A mistyped flag that is longer than this gets no suggestion. */
#define SUGGEST_MAX 64

/* Case, and the '_' of a config file's key, do not tell names apart. */
static char folded(char c)
{
	return c == '_' ? '-' : ascii_to_lower(c);
}

static size_t least(size_t a, size_t b)
{
	return a < b ? a : b;
}

/*
 * How many letters must be added, removed, replaced, or exchanged with the next one, to make b of
 * a. Both have at most SUGGEST_MAX.
 */
static size_t distance(const char *a, size_t a_len, const char *b, size_t b_len)
{
	size_t rows[3][SUGGEST_MAX + 1];
	size_t *before = rows[0], *above = rows[1], *row = rows[2];
	for (size_t j = 0; j <= b_len; j++)
		row[j] = j;
	for (size_t i = 1; i <= a_len; i++) {
		size_t *free_row = before;
		before = above;
		above = row;
		row = free_row;
		row[0] = i;
		for (size_t j = 1; j <= b_len; j++) {
			char x = folded(a[i - 1]), y = folded(b[j - 1]);
			row[j] = least(least(above[j], row[j - 1]) + 1, above[j - 1] + (x != y));
			if (i > 1 && j > 1 && x == folded(b[j - 2]) && y == folded(a[i - 2]))
				row[j] = least(row[j], before[j - 2] + 1);
		}
	}
	return row[b_len];
}

/* The line behind Go's, if a flag has nearly that name: a third of the letters may be wrong. */
static void suggest(
	const struct flag *flags, size_t n, const char *name, size_t len, struct strbuf *msg)
{
	const char *best = NULL;
	size_t best_distance = len / 3 + 1;
	if (len > SUGGEST_MAX)
		return;
	for (size_t i = 0; i < n; i++) {
		size_t flag_len = strlen(flags[i].name);
		if (flag_len > SUGGEST_MAX)
			continue;
		size_t d = distance(name, len, flags[i].name, flag_len);
		if (d < best_distance) {
			best = flags[i].name;
			best_distance = d;
		}
	}
	if (best)
		strbuf_addf(msg, "did you mean -%s?\n", best);
}

/* value is NULL if there is none. On failure appends the message to msg. */
static int set_flag(struct flag *f, const char *value, struct strbuf *msg)
{
	struct err err;
	bool is_bool = f->type->placeholder[0] == '\0';
	if (!value && !is_bool) {
		strbuf_addf(msg, "flag needs an argument: -%s\n", f->name);
		return -1;
	}
	if (!value)
		value = "true";
	if (f->type->set(f->value, value, &err) == 0) {
		f->seen = true;
		return 0;
	}
	strbuf_adds(msg, is_bool ? "invalid boolean value " : "invalid value ");
	strbuf_addq(msg, value, strlen(value));
	strbuf_addf(msg, is_bool ? " for -%s: %s\n" : " for flag -%s: %s\n", f->name, err.msg);
	return -1;
}

/* One flag from argv[*i]; moves *i behind it. */
static enum flags_result scan_one(
	struct flag *flags, size_t n, int argc, char **argv, int *i, struct strbuf *msg)
{
	const char *word = argv[(*i)++];
	const char *name = word + (word[1] == '-' ? 2 : 1);
	size_t len = strcspn(name, "=");
	if (len == 0 || name[0] == '-') {
		strbuf_addf(msg, "bad flag syntax: %s\n", word);
		return FLAGS_BAD;
	}
	const char *value = name[len] == '=' ? name + len + 1 : NULL;
	struct flag *f = find(flags, n, name, len);
	if (!f) {
		if ((len == 1 && *name == 'h') || (len == 4 && memcmp(name, "help", 4) == 0))
			return FLAGS_HELP;
		strbuf_addf(msg, "flag provided but not defined: -%.*s\n", (int)len, name);
		suggest(flags, n, name, len, msg);
		return FLAGS_BAD;
	}
	if (!value && f->type->placeholder[0] != '\0' && *i < argc)
		value = argv[(*i)++];
	return set_flag(f, value, msg) == 0 ? FLAGS_OK : FLAGS_BAD;
}

enum flags_result flags_scan(const char *program, struct flag *flags, size_t n, int argc,
	char **argv, int *rest, struct strbuf *out)
{
	/* The usage shows the defaults, so it is made before they are overwritten. */
	struct strbuf usage = STRBUF_INIT;
	enum flags_result result = FLAGS_OK;
	int i = 1;
	flags_usage(program, flags, n, &usage);
	while (i < argc && result == FLAGS_OK) {
		if (argv[i][0] != '-' || argv[i][1] == '\0')
			break;
		if (strcmp(argv[i], "--") == 0) {
			i++;
			break;
		}
		result = scan_one(flags, n, argc, argv, &i, out);
	}
	if (result != FLAGS_OK)
		strbuf_add(out, usage.data, usage.len);
	strbuf_free(&usage);
	if (rest)
		*rest = i < argc ? i : argc;
	return result;
}
