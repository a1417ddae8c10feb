/* SPDX-License-Identifier: MIT */
/*
 * The file of --http-auth-file: tokens, and what each may do. docs/access.md says how it is written.
 * Stock has none.
 */
#ifndef NSQD_HTTP_TOKENS_H
#define NSQD_HTTP_TOKENS_H

#include <stdbool.h>
#include <stddef.h>

#include "common/err.h"
#include "nsqd/core/options.h"

/* What a route needs, and what a token has of it. 0 is none of them: a route must say. */
enum http_scope {
	HTTP_READ = 1,    /* look at statistics and options */
	HTTP_PUBLISH = 2, /* publish */
	HTTP_ADMIN = 4,   /* everything else; one that has it has the other two */
	HTTP_OPEN = 8,    /* of a route: nobody is asked for a token */
};

/* No file has more. All are compared with each token that comes: some 10 us. */
#define HTTP_TOKENS_MAX 10000

/* What a file says; immutable. */
struct http_token_list {
	struct http_token *v; /* owned */
	size_t n;
	bool open_to_others;   /* users beside owner and group can read or write the file */
	bool has_certificates; /* there are names of certificates among them */
};

/*
 * What text[0..len) says. NULL with err set, in which nothing of the text is quoted. Any thread.
 */
struct http_token_list *http_token_list_parse(const char *text, size_t len, struct err *err);
/*
 * Reads --http-auth-file. 0: *list is set and the caller's, or NULL without that flag. -1: err names
 * the file and the line. Blocks on the disk only.
 */
int http_token_list_load(
	const struct options *opts, struct http_token_list **list, struct err *err);
/* Calls warn for what is not as its author may think. A list that is NULL is fine. */
void http_token_list_check(const struct http_token_list *list, const struct options *opts,
	void (*warn)(void *arg, const char *text), void *arg);
/* NULL is fine. */
void http_token_list_free(struct http_token_list *list);

/* The list that is in use: a reload puts another one here. */
struct http_tokens;

/* take_list may be NULL: then no token is known. Never NULL. Main thread. */
struct http_tokens *http_tokens_new(struct http_token_list *take_list);
/* When no connection is left. NULL is fine. Main thread. */
void http_tokens_free(struct http_tokens *t);
/* From now on this is the list. Any thread; takes a leaf lock, for writing. */
void http_tokens_replace(struct http_tokens *t, struct http_token_list *take_list);
/*
 * The scopes of a token; 0: it is not known. It takes as long for one as for the other. Any thread;
 * takes a leaf lock, for reading.
 */
unsigned http_tokens_find(struct http_tokens *t, const char *token, size_t len);
/* The same for the common name of a client's certificate that has been verified. */
unsigned http_tokens_find_certificate(struct http_tokens *t, const char *common_name);

#endif
