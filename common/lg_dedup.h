/* SPDX-License-Identifier: MIT */
/*
 * Counting log lines that come again and again. Within a time, from the first one on, the same text
 * at the same level and place is counted and not written. At its end one line says how often it
 * came. (No Go file: stock writes every line.)
 */
#ifndef COMMON_LG_DEDUP_H
#define COMMON_LG_DEDUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* So many texts are watched at a time, of so many bytes at most; longer ones are not counted. */
#define LG_DEDUP_TEXTS 64
#define LG_DEDUP_SIZE 1024

struct lg_dedup;

/* A text whose time is over, and how often it has come after the first time. */
struct lg_repeated {
	int level;
	char *text; /* owned; NULL: there is none */
	size_t len;
	uint64_t count; /* above 0 */
	int64_t ns;     /* the time in which it came */
};

/* ns above 0. */
struct lg_dedup *lg_dedup_new(int64_t ns);
/* NULL is fine. */
void lg_dedup_free(struct lg_dedup *d);
/*
 * A text is about to be written. True: it is counted instead. False: it is to be written, behind
 * *out, which may hold one whose time is over, or that had to make room for this one. now_ns is
 * monotonic. place tells lines apart whose text happens to be the same. Takes a leaf lock. Any
 * thread.
 */
bool lg_dedup_is_repeated(struct lg_dedup *d, int level, const void *place, const char *text,
	size_t len, int64_t now_ns, struct lg_repeated *out);
/* When the next time is over (monotonic); 0: never. Takes a leaf lock. */
int64_t lg_dedup_next(struct lg_dedup *d);
/* Takes one out whose time is over by now_ns, and that was repeated. False: there is none. */
bool lg_dedup_take(struct lg_dedup *d, int64_t now_ns, struct lg_repeated *out);

#endif
