/* SPDX-License-Identifier: MIT */
/*
 * Whether the daemon drains: it takes no new messages, and ends when it has none left. Stock 1.3.0
 * has no such state; the names are those of its issue 1302 and pull request 1305. What main does
 * about it is in nsqd/life/draining.c.
 */
#ifndef NSQD_DRAIN_H
#define NSQD_DRAIN_H

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/chan.h"

enum drain_state {
	DRAIN_OFF,
	DRAIN_ON,      /* by an operator, who may call it off */
	DRAIN_TO_EXIT, /* by SIGTERM, or at its end: nobody can call it off */
};

/* The code of an error that says "draining". No call of the kernel that we make fails with it. */
#define ERR_DRAINING ESHUTDOWN

struct drain {
	/* The state in the lowest two bits, and above them how often it has changed. */
	_Atomic uint64_t word;
	struct chan *changed_chan; /* immutable; capacity 1: an operator has changed it (main) */
};

void drain_init(struct drain *d);
void drain_destroy(struct drain *d);

static inline enum drain_state drain_state_of(uint64_t word)
{
	return (enum drain_state)(word & 3);
}
static inline uint64_t drain_changes(uint64_t word)
{
	return word >> 2;
}
/* Any thread. */
static inline bool drain_is_on(const struct drain *d)
{
	return drain_state_of(atomic_load(&d->word)) != DRAIN_OFF;
}

/*
 * PUT /config/drain: begins it, or calls it off. False: it cannot be called off, since the daemon
 * will exit. Any thread; does not block.
 */
bool drain_request(struct drain *d, bool on);
/* From now on it cannot be called off. Main thread. */
void drain_to_exit(struct drain *d);
/* The same, unless anything has changed since the word was this one: then false. Main thread. */
bool drain_to_exit_from(struct drain *d, uint64_t word);

#endif
