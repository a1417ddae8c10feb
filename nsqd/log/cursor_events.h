/* SPDX-License-Identifier: MIT */
/*
 * What happens to the messages of a channel, as bytes: the content of a frame of a cursor file
 * (docs/log.md has them all). Not thread-safe; nothing here blocks.
 */
#ifndef NSQD_CURSOR_EVENTS_H
#define NSQD_CURSOR_EVENTS_H

#include <stddef.h>
#include <stdint.h>

#include "common/strbuf.h"
#include "nsqd/log/cursor_entries.h"
#include "nsqd/log/cursor_set.h"

enum cursor_op {
	CURSOR_FINISHED = 1, /* seq to seq + n - 1 are finished */
	CURSOR_SEEN = 2,     /* they have been handed out or have waited */
	CURSOR_TAKEN = 3,    /* they have been handed out once, and do not wait */
	CURSOR_TRIED = 4,    /* seq has been handed out so many times, and does not wait */
	CURSOR_WAITING = 5,  /* the same, and it waits until it is due */
};

/* The most messages of one CURSOR_TAKEN. */
#define CURSOR_TAKEN_MAX 1024

struct cursor_event {
	enum cursor_op op;
	uint64_t n;            /* of FINISHED, SEEN, TAKEN: at least 1; else 1 */
	struct cursor_entry e; /* seq; attempts of TRIED, WAITING; offset and due of WAITING */
};

/* Events that are gathered. All zeros is none. */
struct events_out {
	struct strbuf bytes; /* what goes into a frame, but for the two runs */
	uint64_t seq;        /* the next number is written relative to this */
	int64_t due;         /* likewise */
	/* What is not written yet, as it may grow: from to to - 1; nothing if they are equal. */
	struct seq_range taken, finished;
};

/* The same has happened to n messages from seq on: CURSOR_FINISHED, CURSOR_SEEN or CURSOR_TAKEN. */
void events_add_range(struct events_out *o, enum cursor_op op, uint64_t seq, uint64_t n);
/* What has happened to one: any of the operations. */
void events_add(struct events_out *o, enum cursor_op op, const struct cursor_entry *e);
/* Bytes, about. */
static inline size_t events_size(const struct events_out *o)
{
	return o->bytes.len + (o->taken.from != o->taken.to) * 8 +
	       (o->finished.from != o->finished.to) * 8;
}
/* Completes o->bytes. */
void events_end(struct events_out *o);
/* Empties it, and keeps memory. */
void events_reset(struct events_out *o);
/* Empties it. */
void events_free(struct events_out *o);

/* A frame's content that is read. */
struct events_in {
	const unsigned char *p, *end;
	uint64_t seq;
	int64_t due;
};

/* 1: *ev is the next event; 0: there is none; -1: these are no events. */
int events_next(struct events_in *in, struct cursor_event *ev);

#endif
