/* SPDX-License-Identifier: MIT */
/*
 * Go's regular expressions on top of PCRE2. Mirrors package regexp. PCRE2's syntax is nearly a
 * superset of RE2's: additional syntax is refused before PCRE2 sees it. Threads: the io_loops of
 * clients.
 *
 * It matches with pcre2_dfa_match, which follows all alternatives at once, so that no pattern
 * backtracks without end. Differences from Go: \s takes a vertical tab as well, \v any vertical
 * space. The limits of a pattern's length and nesting are lower. PCRE2's compiler calls itself for
 * each level, so the stack of a thread limits the depth: docs/channels.md, "Threads".
 */
#include "common/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "common/strbuf.h"
#include "common/xalloc.h"

/* A level costs 640 bytes of stack: so many take half of a thread's (test_regex.c tries it). */
#define MAX_NESTING 64
/* More than PCRE2's code of 64 KiB can hold. */
#define MAX_LENGTH 65536
/* regexp/syntax: how often a part may repeat; nested repetitions multiply. */
#define MAX_REPEAT 1000
/* The first workspace, in ints: enough for the states of a usual pattern. It grows on demand. */
#define WORKSPACE 256
#define MAX_WORKSPACE (1 << 20)
/* Guards against a mistake in this reasoning: a match that takes longer is none. */
#define MATCH_LIMIT 1000000

struct regex {
	pcre2_code *code;
};

/* --- what Go refuses -------------------------------------------------------------------------- */

/* The rest of a pattern; a zero byte is an ordinary character. */
struct text {
	const char *p;
	const char *end;
};

/* The character i places on; '\0' also behind the end. */
static char at(struct text t, size_t i)
{
	return i < (size_t)(t.end - t.p) ? t.p[i] : '\0';
}

static bool begins_with(struct text t, const char *word)
{
	size_t n = strlen(word);
	return (size_t)(t.end - t.p) >= n && memcmp(t.p, word, n) == 0;
}

static struct text skip(struct text t, size_t n)
{
	return (struct text){t.p + n, t.end};
}

/* Is c a character of set? */
static bool is_in(char c, const char *set)
{
	return c != '\0' && strchr(set, c) != NULL;
}

/* How many characters from i on are in set. */
static size_t span(struct text t, size_t i, const char *set)
{
	size_t n = 0;
	while (is_in(at(t, i + n), set))
		n++;
	return n;
}

/* The distance from i to the end of the first word; 0: there is no word. */
static size_t up_to(struct text t, size_t i, const char *word)
{
	const char *found = memmem(t.p + i, (size_t)(t.end - t.p) - i, word, strlen(word));
	return found ? (size_t)(found - t.p) + strlen(word) : 0;
}

/* The length of the escape at t; 0: Go does not have it. (The caller handles \Q.) */
static size_t escape_length(struct text t)
{
	char c = at(t, 1);
	if (t.end - t.p < 2)
		return 0;
	/* A single digit but 0 is a back reference. */
	if (c >= '1' && c <= '7')
		return at(t, 2) >= '0' && at(t, 2) <= '7' ? 3 : 0;
	if (is_in(c, "xpP") && at(t, 2) == '{')
		return up_to(t, 2, "}");
	if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '8' || c == '9')
		return is_in(c, "aftnrvAbBzQEdDsSwWpPx") ? 2 : 0;
	return 2;
}

/* A number in a quantifier; one that is too large stays too large. */
static int number(struct text t, size_t i, size_t digits)
{
	int n = 0;
	for (size_t k = 0; k < digits && n <= MAX_REPEAT; k++)
		n = n * 10 + (at(t, i + k) - '0');
	return n;
}

/*
 * The length of the quantifier at t, or 0. *times is its upper bound, or its lower one if it has no
 * upper one, for MAX_REPEAT; 1 for *, + and ?.
 */
static size_t quantifier_length(struct text t, int *times)
{
	static const char digit[] = "0123456789";
	*times = 1;
	if (is_in(at(t, 0), "*+?"))
		return 1;
	if (at(t, 0) != '{')
		return 0;
	size_t min = span(t, 1, digit), n = 1 + min, max = 0;
	if (min > 0 && at(t, n) == ',') {
		max = span(t, n + 1, digit);
		n += 1 + max;
	}
	if (min == 0 || at(t, n) != '}')
		return 0;
	*times = max > 0 ? number(t, n - max, max) : number(t, 1, min);
	return n + 1;
}

/* The length of the character class at t; 0: bad escape, or no end. */
static size_t class_length(struct text t)
{
	size_t i = at(t, 1) == '^' ? 2 : 1;
	if (at(t, i) == ']')
		i++; /* in first place ] stands for itself */
	while (t.p + i < t.end && t.p[i] != ']') {
		struct text rest = skip(t, i);
		size_t n = begins_with(rest, "[:") ? up_to(rest, 0, ":]") : 0;
		if (n == 0)
			n = *rest.p == '\\' ? escape_length(rest) : 1;
		if (n == 0)
			return 0;
		i += n;
	}
	return t.p + i < t.end ? i + 1 : 0;
}

/* The length of the beginning of the group at t, or 0. */
static size_t group_length(struct text t)
{
	if (at(t, 1) == '*')
		return 0;
	if (at(t, 1) != '?')
		return 1;
	if (begins_with(t, "(?P<"))
		return 4;
	/* A name, but not a look-behind. */
	if (begins_with(t, "(?<"))
		return at(t, 3) != '=' && at(t, 3) != '!' ? 3 : 0;
	size_t flags = span(t, 2, "imsU-");
	char c = at(t, 2 + flags);
	return c == ':' || (flags > 0 && c == ')') ? 3 + flags : 0;
}

/* The length of \Q...\E; the end may be missing. */
static size_t quoted_length(struct text t)
{
	size_t n = up_to(t, 2, "\\E");
	return n > 0 ? n : (size_t)(t.end - t.p);
}

/* The open groups: for each level how often its parts repeat at most. */
struct nesting {
	int times[MAX_NESTING + 1];
	size_t depth;
	int last; /* for the part just read; a quantifier may follow */
};

/* Counts one part of a pattern, n characters at t, with its quantifier. False: too much. */
static bool count(struct nesting *s, struct text t, size_t n, bool quantified, int times)
{
	if (quantified) {
		s->last = times == 0 ? 1 : s->last * times;
		if (s->last > MAX_REPEAT)
			return false;
	} else if (*t.p == ')' && s->depth > 0) {
		s->last = s->times[s->depth--];
	} else {
		s->last = 1;
	}
	/* A group of flags only, "(?i)", is closed already. */
	if (!quantified && *t.p == '(' && t.p[n - 1] != ')') {
		if (s->depth == MAX_NESTING)
			return false;
		s->times[++s->depth] = 1;
	}
	if (s->times[s->depth] < s->last)
		s->times[s->depth] = s->last;
	return true;
}

/* The length of the part at t, or 0. Leaves to PCRE2 what both refuse. */
static size_t part_length(struct text t, size_t quantifier)
{
	if (begins_with(t, "\\Q"))
		return quoted_length(t);
	switch (*t.p) {
	case '\\':
		return escape_length(t);
	case '[':
		return class_length(t);
	case '(':
		return group_length(t);
	default:
		return quantifier > 0 && at(t, quantifier) == '?' ? quantifier + 1
		       : quantifier > 0                           ? quantifier
								  : 1;
	}
}

/*
 * Does the pattern use Go's syntax only? NULL, or the error. Appends to out the pattern for PCRE2:
 * from 10.43 on "{,2}" and "{ 1 }" are quantifiers there, but text in Go.
 */
static const char *not_gos(const char *pattern, size_t len, struct strbuf *out)
{
	struct nesting nesting = {.times = {1}, .last = 1};
	struct text t = {pattern, pattern + len};
	while (t.p < t.end) {
		int times, ignored;
		size_t quantifier = quantifier_length(t, &times);
		size_t n = part_length(t, quantifier);
		/* A quantifier behind another is possessive, or repeats a repetition. */
		if (n == 0 || (quantifier > 0 && quantifier_length(skip(t, n), &ignored) > 0))
			return "not in Go's syntax";
		if (!count(&nesting, t, n, quantifier > 0, times))
			return nesting.depth == MAX_NESTING ? "nested too deeply"
							    : "invalid repeat count";
		if (*t.p == '{' && quantifier == 0)
			strbuf_addc(out, '\\');
		strbuf_add(out, t.p, n);
		t.p += n;
	}
	return NULL;
}

/* --- compiling and matching ------------------------------------------------------------------- */

/* PCRE2's memory: without memory the process ends with a message, as everywhere. */
static void *allocate(size_t size, void *arg)
{
	(void)arg;
	return xmalloc(size);
}

static void release(void *p, void *arg)
{
	(void)arg;
	free(p);
}

static pthread_once_t contexts_once = PTHREAD_ONCE_INIT;
/* Immutable after contexts_once; never freed. */
static pcre2_general_context *general_context;
static pcre2_compile_context *compile_context;
static pcre2_match_context *match_context;

static void make_contexts(void)
{
	/* These calls fail only without memory, and allocate never fails. */
	general_context = pcre2_general_context_create(allocate, release, NULL);
	compile_context = pcre2_compile_context_create(general_context);
	match_context = pcre2_match_context_create(general_context);
	CHECK(general_context && compile_context && match_context);
	pcre2_set_parens_nest_limit(compile_context, MAX_NESTING);
	pcre2_set_max_pattern_length(compile_context, 2 * MAX_LENGTH);
	pcre2_set_match_limit(match_context, MATCH_LIMIT);
}

struct regex *regex_compile(const char *pattern, size_t len, struct err *err)
{
	int code;
	PCRE2_SIZE offset;
	PCRE2_UCHAR text[128];
	struct strbuf ours = STRBUF_INIT;
	const char *why = len > MAX_LENGTH ? "too long" : not_gos(pattern, len, &ours);
	if (why) {
		strbuf_free(&ours);
		err_set(err, 0, "error parsing regexp: %s", why);
		return NULL;
	}
	PT_OK(pthread_once(&contexts_once, make_contexts));
	/* Without this, PCRE2 makes possessive quantifiers, which cost pcre2_dfa_match more. */
	pcre2_code *compiled = pcre2_compile(ours.len > 0 ? (PCRE2_SPTR)ours.data : (PCRE2_SPTR) "",
		ours.len, PCRE2_UTF | PCRE2_DOLLAR_ENDONLY | PCRE2_NO_AUTO_POSSESS, &code, &offset,
		compile_context);
	strbuf_free(&ours);
	if (!compiled) {
		pcre2_get_error_message(code, text, sizeof(text));
		err_set(err, 0, "error parsing regexp: %s", (const char *)text);
		return NULL;
	}
	struct regex *re = xcalloc(1, sizeof(*re));
	re->code = compiled;
	return re;
}

void regex_free(struct regex *re)
{
	if (!re)
		return;
	pcre2_code_free(re->code);
	free(re);
}

bool regex_match(const struct regex *re, const char *text)
{
	size_t size = WORKSPACE;
	int *workspace = NULL;
	int rc;
	pcre2_match_data *match = pcre2_match_data_create(1, general_context);
	CHECK(match != NULL); /* as above */
	do {
		workspace = xreallocarray(workspace, size, sizeof(*workspace));
		rc = pcre2_dfa_match(re->code, (PCRE2_SPTR)text, PCRE2_ZERO_TERMINATED, 0,
			PCRE2_DFA_SHORTEST, match, match_context, workspace, size);
		size *= 4;
	} while (rc == PCRE2_ERROR_DFA_WSSIZE && size <= MAX_WORKSPACE);
	free(workspace);
	pcre2_match_data_free(match);
	return rc >= 0;
}
