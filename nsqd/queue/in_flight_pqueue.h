/* SPDX-License-Identifier: MIT */
/*
 * The messages that wait for a deadline, found by deadline and by id: a heap by due_ns, Go's pri
 * (nsqd/in_flight_pqueue.go, internal/pqueue) and the map beside it that Go keeps in Channel
 * (inFlightMessages, deferredMessages). One type serves both of a channel's queues. The queue holds
 * one reference to each message.
 *
 * Deadlines are on the monotonic clock: a step of the wall clock (which stock follows) neither
 * redelivers early nor late.
 *
 * Not thread-safe: the owner's lock guards it.
 */
#ifndef NSQD_IN_FLIGHT_PQUEUE_H
#define NSQD_IN_FLIGHT_PQUEUE_H

#include <stddef.h>
#include <stdint.h>

#include "common/heap.h"
#include "nsqd/core/message.h"

struct in_flight_pqueue {
	size_t len;             /* messages */
	int64_t body_bytes;     /* of these */
	size_t peak;            /* the most of them since the last trim */
	struct heap runs;       /* the first of each run, by due_ns */
	struct message *last;   /* the end of the run that the next one may join; or NULL */
	struct message **table; /* buckets by id, chained by hash_next */
	size_t n_buckets;       /* a power of two, not below len; or 0 */
};

void in_flight_pqueue_init(struct in_flight_pqueue *q);
/* Unrefs what is in it. It is empty and can be used again. */
void in_flight_pqueue_clear(struct in_flight_pqueue *q);
/*
 * Adds m by m->due_ns and m->id; takes over one reference. Two messages of one id may both be in
 * it.
 */
void in_flight_pqueue_push(struct in_flight_pqueue *q, struct message *m);
/* A message with this id, or NULL; borrowed. */
struct message *in_flight_pqueue_find(const struct in_flight_pqueue *q, struct message_id id);
/*
 * For a loop that finds ids[0] to ids[n - 1], before it does so for i: has the processor fetch what
 * it will look at a few turns later. Changes nothing.
 */
void in_flight_pqueue_fetch_ahead(
	const struct in_flight_pqueue *q, const struct message_id *ids, size_t n, size_t i);
/* Takes m, which is in q, out; the caller gets its reference. */
void in_flight_pqueue_remove(struct in_flight_pqueue *q, struct message *m);
/*
 * Takes up to max messages out that are with that client; the caller gets their references. Looks at
 * n_buckets from bucket *at on, and moves *at on; at n_buckets of q the end is reached. Returns how
 * many. *at stays where there may be more than max.
 */
size_t in_flight_pqueue_take_of_client(struct in_flight_pqueue *q, int64_t client_id, size_t *at,
	size_t n_buckets, struct message **msgs, size_t max);
/* m->due_ns has changed. */
void in_flight_pqueue_fix(struct in_flight_pqueue *q, struct message *m);
/*
 * PeekAndShift: takes out and returns the message with the least due_ns if that is <= max; else
 * NULL.
 */
struct message *in_flight_pqueue_peek_and_shift(struct in_flight_pqueue *q, int64_t max);
/* Takes up to max messages out that are due at now_ns, the earliest first; returns how many. */
size_t in_flight_pqueue_take_due(
	struct in_flight_pqueue *q, int64_t now_ns, struct message **msgs, size_t max);
/*
 * Gives memory back that has not been needed since the last call: a burst must not cost for ever,
 * and a queue that fills and empties all the time must not be built anew each time.
 */
void in_flight_pqueue_trim(struct in_flight_pqueue *q);
/*
 * Writes the first messages by deadline to msgs, up to max, borrowed; returns how many. It looks at
 * these, and not at all there are. steps is room for IN_FLIGHT_STEPS(max) of them. Changes nothing.
 */
struct in_flight_step {
	struct heap_node node;
	size_t run; /* the place in runs of the run that m begins; or NOT_FIRST */
	struct message *m;
};
#define IN_FLIGHT_STEPS(max) (3 * (max) + 1)
size_t in_flight_pqueue_look(const struct in_flight_pqueue *q, struct message **msgs, size_t max,
	struct in_flight_step *steps);
/* The least due_ns, or INT64_MAX where it is empty. */
int64_t in_flight_pqueue_next(const struct in_flight_pqueue *q);

#endif
