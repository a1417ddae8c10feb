/* SPDX-License-Identifier: MIT */
/* The message of the lesson: a record for each channel, and a body that all records share. */
#ifndef TEST_COURSE_JOURNEY_H
#define TEST_COURSE_JOURNEY_H

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/xalloc.h"

struct body {
	_Atomic int refs; /* a record each */
	char text[16];    /* immutable */
};

struct message {
	_Atomic int refs;  /* its owner, and a pump that still writes it */
	int id;            /* immutable, as is the next one */
	struct body *body; /* a reference */
	int attempts;      /* owner only, as is the next one */
	char way[96];      /* the stations that it has passed */
};

/* A record that shares the body, and takes over the caller's reference to it. */
static inline struct message *message_new(int id, struct body *take_body, const char *way)
{
	struct message *m = xcalloc(1, sizeof(*m));

	atomic_init(&m->refs, 1);
	m->id = id;
	m->body = take_body;
	snprintf(m->way, sizeof(m->way), "%s", way);
	return m;
}

/* The first record, and the body. */
static inline struct message *message_from(int id, const char *text)
{
	struct body *b = xcalloc(1, sizeof(*b));

	atomic_init(&b->refs, 1);
	snprintf(b->text, sizeof(b->text), "%s", text);
	return message_new(id, b, "PUB");
}

static inline struct message *message_copy(const struct message *m)
{
	atomic_fetch_add_explicit(&m->body->refs, 1, memory_order_relaxed);
	return message_new(m->id, m->body, m->way);
}

static inline void message_ref(struct message *m)
{
	atomic_fetch_add_explicit(&m->refs, 1, memory_order_relaxed);
}

static inline void message_unref(struct message *m)
{
	if (atomic_fetch_sub_explicit(&m->refs, 1, memory_order_acq_rel) > 1)
		return;
	if (atomic_fetch_sub_explicit(&m->body->refs, 1, memory_order_acq_rel) == 1)
		free(m->body);
	free(m);
}

/* The owner's note that the message has come to a station. */
static inline void message_pass(struct message *m, const char *station)
{
	size_t len = strlen(m->way);

	snprintf(m->way + len, sizeof(m->way) - len, ", %s", station);
}

#endif
