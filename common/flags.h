/* SPDX-License-Identifier: MIT */
/*
 * The command line as Go's package flag reads it: -f or --f, =value or the next word, booleans with
 * or without =value. "--" or the first other word ends the flags. A flag points to its value, and
 * has a type that can read and print such a value. All messages are Go's, to the letter, but for
 * one line that Go does not have: the suggestion for a mistyped flag.
 */
#ifndef COMMON_FLAGS_H
#define COMMON_FLAGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/strbuf.h"

/* flag.Value, and how the usage text shows it. Immutable. */
struct flag_type {
	const char *placeholder; /* in the usage, "int"; "" if IsBoolFlag() */
	const char *zero; /* the text of a zero value: the usage does not show such a default */
	bool quote;       /* the usage quotes the default */
	/* Set(): -1 with err set if text is no such value; *value may have changed even so. */
	int (*set)(void *value, const char *text, struct err *err);
	/* String(). */
	void (*print)(const void *value, struct strbuf *sb);
};

/* The types of package flag, and the C types that value points to. */
extern const struct flag_type flag_type_bool;     /* bool */
extern const struct flag_type flag_type_int;      /* int; Go's has 64 bits, this one has 32 */
extern const struct flag_type flag_type_int64;    /* int64_t */
extern const struct flag_type flag_type_string;   /* char *, owned; never NULL */
extern const struct flag_type flag_type_duration; /* int64_t, ns */

struct flag {
	const char *name;
	const char *usage;
	const struct flag_type *type;
	void *value; /* borrowed; holds the default before parsing */
	bool seen;   /* out: it was on the command line */
};

enum flags_result { FLAGS_OK, FLAGS_HELP, FLAGS_BAD };

/*
 * FlagSet.Parse(argv[1:]). FLAGS_HELP: the user gave -h or -help, and *out holds the usage.
 * FLAGS_BAD: *out holds the message, then perhaps the suggestion ("did you mean -NAME?"), then the
 * usage. *rest (may be NULL) is the index of the first argument that is no flag, or argc.
 */
enum flags_result flags_scan(const char *program, struct flag *flags, size_t n, int argc,
	char **argv, int *rest, struct strbuf *out);
/* FlagSet.PrintDefaults under "Usage of <program>:", sorted by name; shows the current values. */
void flags_usage(const char *program, const struct flag *flags, size_t n, struct strbuf *out);

/*
 * strconv.ParseInt: base 10, or base 0 for prefixes (0x, 0o, 0b, 0) and underscores; bits up to 64.
 * 0, or EINVAL ("invalid syntax"), or ERANGE.
 */
int flags_parse_int(const char *text, int base, int bits, int64_t *v);
/* strconv.ParseBool: 1, t, T, TRUE, true, True, and the same for false. */
bool flags_parse_bool(const char *text, bool *v);
/* strconv.ParseFloat, hexadecimals and underscores too. False also if out of range. */
bool flags_parse_float(const char *text, double *v);

#endif
