/* SPDX-License-Identifier: MIT */
/*
 * Tokens of --http-auth-file. No Go file: stock asks nobody for a secret by HTTP. A file is read in
 * the thread "main", and tokens are looked up where routes are: at the pollers, and in the
 * connections' threads.
 *
 * Only digests are kept, so the memory holds no token that nobody has sent. A lookup compares the
 * digest with all of them, without a branch. So its time says nothing about any token.
 */
#include "nsqd/http/http_tokens.h"

#include <errno.h>
#include <gnutls/crypto.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/check.h"
#include "common/lock.h"
#include "common/regfile.h"
#include "common/strbuf.h"
#include "common/xalloc.h"
#include "protocol/http_authorization.h"

/* 10,000 tokens of the longest kind, with scopes and comments. */
#define MAX_FILE ((size_t)8 * 1024 * 1024)
#define MAX_LINE 1024
/* In front of the common name of a certificate. No token has a colon in it. */
#define CERTIFICATE "cert:"
/* As long as X.509 allows. */
#define COMMON_NAME_MAX 64
#define DIGEST_WORDS 4

struct http_token {
	uint64_t digest[DIGEST_WORDS]; /* SHA-256 */
	unsigned scopes;
	unsigned line;
};

/* --- one token -------------------------------------------------------------------------------- */

/* GnuTLS refuses SHA-256 under no policy. */
static void get_digest(const char *s, size_t len, uint64_t out[DIGEST_WORDS])
{
	CHECK(gnutls_hash_fast(GNUTLS_DIG_SHA256, s, len, out) == 0);
}

/* All ones if the two are the same, else 0. */
static unsigned same(const uint64_t a[DIGEST_WORDS], const uint64_t b[DIGEST_WORDS])
{
	uint64_t diff = 0;
	for (int i = 0; i < DIGEST_WORDS; i++)
		diff |= a[i] ^ b[i];
	return (unsigned)((diff | -diff) >> 63) - 1;
}

static unsigned find(const struct http_token_list *list, const uint64_t digest[DIGEST_WORDS])
{
	unsigned scopes = 0;
	for (size_t i = 0; i < list->n; i++)
		scopes |= list->v[i].scopes & same(digest, list->v[i].digest);
	return scopes;
}

/* --- a file ----------------------------------------------------------------------------------- */

struct field {
	const char *s;
	size_t len;
};

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

/* Cuts the next word off the rest of a line. False: there is none, but perhaps a comment. */
static bool next_word(struct field *rest, struct field *word)
{
	while (rest->len > 0 && is_blank(*rest->s)) {
		rest->s++;
		rest->len--;
	}
	*word = (struct field){rest->s, 0};
	if (rest->len > 0 && *rest->s == '#')
		rest->len = 0;
	while (word->len < rest->len && !is_blank(word->s[word->len]))
		word->len++;
	rest->s += word->len;
	rest->len -= word->len;
	return word->len > 0;
}

static unsigned parse_scope(struct field f)
{
	static const struct {
		const char *name;
		unsigned scopes;
	} names[] = {
		{"read", HTTP_READ},
		{"publish", HTTP_PUBLISH},
		{"admin", HTTP_READ | HTTP_PUBLISH | HTTP_ADMIN},
	};
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		if (f.len == strlen(names[i].name) && memcmp(f.s, names[i].name, f.len) == 0)
			return names[i].scopes;
	}
	return 0;
}

/* Scopes with commas between them; 0: one is unknown. */
static unsigned parse_scopes(struct field f)
{
	unsigned all = 0;
	for (;;) {
		const char *comma = memchr(f.s, ',', f.len);
		size_t len = comma ? (size_t)(comma - f.s) : f.len;
		unsigned scopes = parse_scope((struct field){f.s, len});
		if (!scopes)
			return 0;
		all |= scopes;
		if (!comma)
			return all;
		f = (struct field){comma + 1, f.len - len - 1};
	}
}

static bool is_certificate(struct field f)
{
	size_t n = strlen(CERTIFICATE);
	return f.len > n && f.len <= n + COMMON_NAME_MAX && memcmp(f.s, CERTIFICATE, n) == 0;
}

/* A line without its end. NULL, or what is wrong. */
static const char *parse_line(struct http_token_list *list, struct field rest, unsigned line)
{
	struct field word, scopes, more;
	if (rest.len > MAX_LINE)
		return "it is longer than 1024 bytes";
	if (memchr(rest.s, '\0', rest.len))
		return "there is a NUL byte in it";
	if (!next_word(&rest, &word))
		return NULL;
	bool certificate = is_certificate(word);
	if (!certificate && !http_is_auth_token(word.s, word.len))
		return "a token has 16 to 255 letters, digits and -._~+/=";
	if (!next_word(&rest, &scopes))
		return "no scope stands behind the token";
	unsigned found = parse_scopes(scopes);
	if (!found || next_word(&rest, &more))
		return "behind the token stands a list of read, publish and admin, with commas";
	if (list->n == HTTP_TOKENS_MAX)
		return "more than 10000 tokens";
	struct http_token *t = &list->v[list->n++];
	t->scopes = found;
	t->line = line;
	get_digest(word.s, word.len, t->digest);
	list->has_certificates = list->has_certificates || certificate;
	return NULL;
}

static int parse_lines(struct http_token_list *list, const char *text, size_t len, struct err *err)
{
	unsigned line = 0;
	for (const char *p = text, *end = text + len; p < end;) {
		const char *newline = memchr(p, '\n', (size_t)(end - p));
		size_t n = (size_t)((newline ? newline : end) - p);
		const char *problem = parse_line(list, (struct field){p, n}, ++line);
		if (problem)
			return err_set(err, EINVAL, "line %u: %s", line, problem);
		p += n + (newline != NULL);
	}
	/* A file that is being written may be empty for a moment. */
	return list->n > 0 ? 0 : err_set(err, EINVAL, "there is no token in it");
}

static int by_digest(const void *a, const void *b)
{
	const struct http_token *x = a, *y = b;
	int order = memcmp(x->digest, y->digest, sizeof(x->digest));
	return order != 0 ? order : (x->line > y->line) - (x->line < y->line);
}

/* Two lines about one token: it is not clear which is meant. */
static int check_duplicates(struct http_token_list *list, struct err *err)
{
	qsort(list->v, list->n, sizeof(*list->v), by_digest);
	for (size_t i = 1; i < list->n; i++) {
		const struct http_token *a = &list->v[i - 1], *b = &list->v[i];
		if (same(a->digest, b->digest))
			return err_set(err, EINVAL, "line %u: its token stands in line %u as well",
				b->line, a->line);
	}
	return 0;
}

/* So many lines may have a token. */
static size_t count_lines(const char *text, size_t len)
{
	size_t n = 1;
	for (size_t i = 0; i < len; i++)
		n += text[i] == '\n';
	return n < HTTP_TOKENS_MAX ? n : HTTP_TOKENS_MAX;
}

struct http_token_list *http_token_list_parse(const char *text, size_t len, struct err *err)
{
	struct http_token_list *list = xcalloc(1, sizeof(*list));
	list->v = xcalloc(count_lines(text, len), sizeof(*list->v));
	if (parse_lines(list, text, len, err) == 0 && check_duplicates(list, err) == 0)
		return list;
	http_token_list_free(list);
	return NULL;
}

/* All size bytes of the file. The caller wipes the text. */
static int read_all(int fd, size_t size, struct strbuf *text, struct err *err)
{
	if (size > MAX_FILE)
		return err_set(err, EFBIG, "file too large");
	strbuf_reserve(text, size + 1);
	while (text->len <= size) {
		ssize_t got = read(fd, text->data + text->len, size + 1 - text->len);
		if (got < 0 && errno != EINTR)
			return err_errno(err, errno, "read");
		if (got == 0)
			return 0;
		text->len += got > 0 ? (size_t)got : 0;
	}
	return err_set(err, EBUSY, "it is being written");
}

static struct http_token_list *load_fd(int fd, struct err *err)
{
	struct strbuf text = STRBUF_INIT;
	struct http_token_list *list = NULL;
	struct stat st;
	if (fstat(fd, &st) != 0)
		err_errno(err, errno, "stat");
	else if (read_all(fd, (size_t)st.st_size, &text, err) == 0)
		list = http_token_list_parse(text.data, text.len, err);
	strbuf_wipe(&text);
	if (list)
		list->open_to_others = st.st_mode & (S_IROTH | S_IWOTH);
	return list;
}

int http_token_list_load(const struct options *opts, struct http_token_list **list, struct err *err)
{
	const char *path = opts->http_auth_file;
	*list = NULL;
	if (!*path)
		return 0;
	int fd = regfile_open(path, err);
	if (fd < 0)
		return err_wrap(err, "--http-auth-file: ");
	*list = load_fd(fd, err);
	close(fd);
	return *list ? 0 : err_wrap(err, "--http-auth-file %s: ", path);
}

void http_token_list_check(const struct http_token_list *list, const struct options *opts,
	void (*warn)(void *arg, const char *text), void *arg)
{
	if (list && list->open_to_others)
		warn(arg, "other users may read or write this file: chmod 0640");
	if (list && list->has_certificates &&
		strcmp(opts->tls_client_auth_policy, "require-verify") != 0)
		warn(arg, "cert: has no effect without --tls-client-auth-policy=require-verify");
}

void http_token_list_free(struct http_token_list *list)
{
	if (list)
		free(list->v);
	free(list);
}

/* --- the list in use -------------------------------------------------------------------------- */

struct http_tokens {
	struct rwlock lock;
	struct http_token_list *list; /* guarded by lock; owned; NULL: none */
};

struct http_tokens *http_tokens_new(struct http_token_list *take_list)
{
	struct http_tokens *t = xcalloc(1, sizeof(*t));
	rwlock_init(&t->lock, RANK_LEAF);
	t->list = take_list;
	return t;
}

void http_tokens_free(struct http_tokens *t)
{
	if (!t)
		return;
	http_token_list_free(t->list);
	rwlock_destroy(&t->lock);
	free(t);
}

void http_tokens_replace(struct http_tokens *t, struct http_token_list *take_list)
{
	rwlock_wrlock(&t->lock);
	struct http_token_list *old = t->list;
	t->list = take_list;
	rwlock_unlock(&t->lock);
	http_token_list_free(old);
}

unsigned http_tokens_find(struct http_tokens *t, const char *token, size_t len)
{
	uint64_t digest[DIGEST_WORDS];
	get_digest(token, len, digest);
	rwlock_rdlock(&t->lock);
	unsigned scopes = t->list ? find(t->list, digest) : 0;
	rwlock_unlock(&t->lock);
	return scopes;
}

unsigned http_tokens_find_certificate(struct http_tokens *t, const char *common_name)
{
	char name[sizeof(CERTIFICATE) + COMMON_NAME_MAX];
	int len = snprintf(name, sizeof(name), CERTIFICATE "%s", common_name);
	bool fits = *common_name && len > 0 && (size_t)len < sizeof(name);
	return fits ? http_tokens_find(t, name, (size_t)len) : 0;
}
