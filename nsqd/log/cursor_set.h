/* SPDX-License-Identifier: MIT */
/*
 * A set of message numbers, to which numbers are only ever added: what is finished, what has been
 * handed out. It is small where it is all or nothing. A number that is missing in between, or is there
 * alone, takes some two bytes. Where it is mixed, each number takes one bit (cursor_set.c). Not thread-safe: the owner's lock guards it. Nothing here blocks.
 */
#ifndef NSQD_CURSOR_SET_H
#define NSQD_CURSOR_SET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Behind the last number that a message can have. */
#define SEQ_END ((uint64_t)1 << 58)

struct seq_node;
struct seq_box;

/* All zeros is an empty set. */
struct seq_set {
	struct seq_node *root; /* owned; NULL: nothing is in it */
	int level;             /* of root */
	uint64_t count;        /* how many numbers are in it */
	size_t memory;         /* bytes allocated */
	struct seq_box *box;   /* that of the last number added, or NULL; for speed */
	uint64_t box_key;      /* whose numbers begin so */
};

/* from to to - 1 */
struct seq_range {
	uint64_t from, to;
};

/* False: it was there before. */
bool seq_set_add(struct seq_set *s, uint64_t seq);
/* Adds from to to - 1; from <= to. Returns how many of them are new. */
uint64_t seq_set_add_range(struct seq_set *s, uint64_t from, uint64_t to);
/* Is it there? */
bool seq_set_has(const struct seq_set *s, uint64_t seq);
/* The first number from seq on that is not in it. */
uint64_t seq_set_next_absent(const struct seq_set *s, uint64_t seq);
/* The first number from seq on that is in it; SEQ_END: there is none. */
uint64_t seq_set_next_present(const struct seq_set *s, uint64_t seq);
/* How many numbers of it are below seq. */
uint64_t seq_set_count_below(const struct seq_set *s, uint64_t seq);
/* Bytes allocated. */
size_t seq_set_memory(const struct seq_set *s);
/* Empties it. */
void seq_set_free(struct seq_set *s);

#endif
