/* SPDX-License-Identifier: MIT */
/*
 * Go's regular expressions on top of PCRE2, whose syntax is nearly a superset of
 * RE2's: what it has in addition is refused before it sees it. Runs in the
 * threads of clients.
 *
 * It matches with pcre2_dfa_match, which follows all alternatives at once, so
 * that no pattern backtracks without end. What differs from Go: \s takes a
 * vertical tab as well, \v any vertical space; a pattern may not be as long.
 */
#include "common/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "common/xalloc.h"

/* Room for the states of a usual pattern, in ints; it grows where that is too little. */
#define WORKSPACE 256
#define MAX_WORKSPACE (1 << 20)
/* So that a bug in our reasoning cannot stop a thread: then nothing matches. */
#define MATCH_LIMIT 1000000

struct regex {
	pcre2_code *code;
	pcre2_match_data *match;      /* for one offset pair */
	pcre2_match_context *context; /* with the limit */
};

/* --- what Go refuses ------------------------------------------------------------------------ */

/* The escape at p[0] == '\\': its length, or 0: Go has none such. (\Q is the caller's.) */
static size_t escape_length(const char *p)
{
	char c = p[1];
	if (c == '\0')
		return 0;
	/* A single digit but 0 is a back reference. */
	if (c >= '1' && c <= '7')
		return p[2] >= '0' && p[2] <= '7' ? 3 : 0;
	if (c == 'x' && p[2] == '{') {
		const char *end = strchr(p, '}');
		return end ? (size_t)(end + 1 - p) : 0;
	}
	if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '8' || c == '9')
		return strchr("aftnrvAbBzQEdDsSwWpPx", c) ? 2 : 0;
	return 2;
}

/* The quantifier at p: its length, or 0. */
static size_t quantifier_length(const char *p)
{
	if (*p == '*' || *p == '+' || *p == '?')
		return 1;
	if (*p != '{')
		return 0;
	size_t digits = strspn(p + 1, "0123456789");
	const char *q = p + 1 + digits;
	if (digits > 0 && *q == ',')
		q += 1 + strspn(q + 1, "0123456789");
	return digits > 0 && *q == '}' ? (size_t)(q + 1 - p) : 0;
}

/* The character class at p[0] == '[': its length, or 0: bad escape, or no end. */
static size_t class_length(const char *p)
{
	const char *q = p + 1;
	if (*q == '^')
		q++;
	if (*q == ']')
		q++; /* in first place it is itself */
	while (*q && *q != ']') {
		const char *end = q[0] == '[' && q[1] == ':' ? strstr(q, ":]") : NULL;
		size_t n = end ? (size_t)(end + 2 - q) : *q == '\\' ? escape_length(q) : 1;
		if (n == 0)
			return 0;
		q += n;
	}
	return *q ? (size_t)(q + 1 - p) : 0;
}

/* The beginning of the group at p[0] == '(': its length, or 0. */
static size_t group_length(const char *p)
{
	if (p[1] == '*')
		return 0;
	if (p[1] != '?')
		return 1;
	if (strncmp(p, "(?P<", 4) == 0)
		return 4;
	/* A name, and not a look behind. */
	if (strncmp(p, "(?<", 3) == 0)
		return p[3] != '=' && p[3] != '!' ? 3 : 0;
	size_t flags = strspn(p + 2, "imsU-");
	return p[2 + flags] == ':' || (flags > 0 && p[2 + flags] == ')') ? 3 + flags : 0;
}

/* \Q...\E, which may lack its end. */
static size_t quoted_length(const char *p)
{
	const char *end = strstr(p, "\\E");
	return end ? (size_t)(end + 2 - p) : strlen(p);
}

/* Does the pattern do with what Go has? What both refuse is left to PCRE2. */
static bool is_go_syntax(const char *p)
{
	while (*p) {
		size_t n = 1, q = quantifier_length(p);
		if (strncmp(p, "\\Q", 2) == 0)
			n = quoted_length(p);
		else if (*p == '\\')
			n = escape_length(p);
		else if (*p == '[')
			n = class_length(p);
		else if (*p == '(')
			n = group_length(p);
		else if (q > 0)
			n = q + (p[q] == '?' ? 1 : 0);
		/* One after another is possessive, or repeats what is repeated. */
		if (n == 0 || (q > 0 && quantifier_length(p + n) > 0))
			return false;
		p += n;
	}
	return true;
}

/* --- the rest ------------------------------------------------------------------------------- */

struct regex *regex_compile(const char *pattern, struct err *err)
{
	int code;
	PCRE2_SIZE offset;
	PCRE2_UCHAR text[128];
	if (!is_go_syntax(pattern)) {
		err_set(err, 0, "error parsing regexp: not in Go's syntax");
		return NULL;
	}
	/*
	 * Possessive quantifiers, which PCRE2 would make on its own, cost the other matcher more.
	 */
	pcre2_code *compiled = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED,
		PCRE2_UTF | PCRE2_DOLLAR_ENDONLY | PCRE2_NO_AUTO_POSSESS, &code, &offset, NULL);
	if (!compiled) {
		pcre2_get_error_message(code, text, sizeof(text));
		err_set(err, 0, "error parsing regexp: %s", (const char *)text);
		return NULL;
	}
	struct regex *re = xcalloc(1, sizeof(*re));
	re->code = compiled;
	re->match = pcre2_match_data_create(1, NULL);
	re->context = pcre2_match_context_create(NULL);
	CHECK(re->match != NULL && re->context != NULL);
	pcre2_set_match_limit(re->context, MATCH_LIMIT);
	return re;
}

void regex_free(struct regex *re)
{
	if (!re)
		return;
	pcre2_match_context_free(re->context);
	pcre2_match_data_free(re->match);
	pcre2_code_free(re->code);
	free(re);
}

bool regex_match(const struct regex *re, const char *text)
{
	size_t size = WORKSPACE;
	int *workspace = NULL;
	int rc;
	do {
		workspace = xreallocarray(workspace, size, sizeof(*workspace));
		rc = pcre2_dfa_match(re->code, (PCRE2_SPTR)text, PCRE2_ZERO_TERMINATED, 0,
			PCRE2_DFA_SHORTEST, re->match, re->context, workspace, size);
		size *= 4;
	} while (rc == PCRE2_ERROR_DFA_WSSIZE && size <= MAX_WORKSPACE);
	free(workspace);
	return rc >= 0;
}
