/* SPDX-License-Identifier: MIT */
/*
 * A dead letter, as channels see it: which messages a channel gives up, and who takes them. Stock
 * has no such thing. A channel is below the topics, so it reaches a dead-letter topic by the
 * functions here, which nsqd/queue/dead_letters.c puts into the context.
 */
#ifndef NSQD_DEAD_LETTER_H
#define NSQD_DEAD_LETTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "nsqd/core/message.h"
#include "protocol/names.h"

/* Why a channel gives a message up. The numbers are in files (dead_log.h). */
enum dead_reason { DEAD_MAX_ATTEMPTS = 0, DEAD_EXPIRED = 1, DEAD_OVERFLOW = 2, N_DEAD_REASONS };

/* "max_attempts", "expired", "overflow". */
const char *dead_reason_name(int reason);

/* Where a dead letter has come from. */
struct dead_letter {
	char topic[NAME_SIZE];
	char channel[NAME_SIZE];
	struct message_id id; /* there; as are the next two */
	int64_t timestamp;    /* wall clock, ns */
	uint16_t attempts;
	int reason;    /* enum dead_reason */
	int64_t time;  /* when it was given up; wall clock, ns */
	bool envelope; /* its body is one (dead_envelope.h) */
};

/*
 * A message that a channel has given up carries its reason in client_id, which it needs no more,
 * until it is a dead letter.
 */
static inline void dead_reason_set(struct message *m, enum dead_reason reason)
{
	m->client_id = reason;
}

/* The channel that gives messages up, and where they are to go. */
struct dead_source {
	const char *topic, *channel;
	const char *target; /* the dead-letter topic */
	bool envelope;      /* dead_letter_envelope */
};

struct dead_letter_ops {
	/*
	 * Puts n messages, each with its reason, into the target, which is made if it is not there.
	 * They stay the caller's. Returns how many are there; fewer than n with err set. May block
	 * on the disk, and on the nsqlookupds for a topic that is new; so no lock may be held.
	 */
	size_t (*put)(void *arg, const struct dead_source *from, struct message *const *msgs,
		size_t n, struct err *err);
	/* Has this topic got dead letters? Takes a leaf lock. */
	bool (*is_target)(void *arg, const char *topic);
	/* No message of that topic is left: where they came from need not be known any more. */
	void (*clear)(void *arg, const char *topic);
};

#endif
