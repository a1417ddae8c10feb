/* SPDX-License-Identifier: MIT */
/*
 * What a channel's disk refuses: messages that were acknowledged, kept in memory until there is
 * room. A list, oldest first. The topic's pump appends. One thread takes: the channel's pump, and
 * after its end the thread that closes the channel.
 *
 * It is bounded, by messages and by bytes, per channel and for the daemon in all. A channel that
 * keeps nothing may always keep one batch: so a topic whose channels all keep something, and which
 * therefore hands out nothing more, has never had to drop anything.
 *
 * Dead letters wait for their topic in another such list (channel_dead.c), to which any thread appends.
 */
#ifndef NSQD_KEPT_H
#define NSQD_KEPT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "common/lock.h"
#include "nsqd/core/message.h"
#include "nsqd/core/message_view.h"

/* So much a channel keeps, and one batch on top of it. */
#define KEPT_MSGS_MAX 10000
#define KEPT_BYTES_MAX ((size_t)64 << 20)
/* So much the daemon keeps in all, and one batch for each channel on top of it. */
#define KEPT_TOTAL_BYTES_MAX ((size_t)256 << 20)

struct kept {
	struct mutex lock;
	struct message *first; /* guarded by lock; one reference each; linked by run_next */
	struct message *last;  /* guarded by lock */
	size_t bytes;          /* guarded by lock: of all that are counted, with their records */
	_Atomic size_t count;  /* written under lock; with what is taken and not settled */
	size_t taken;          /* the taker's own, as is the next */
	size_t taken_bytes;
	_Atomic size_t *total_bytes; /* immutable; borrowed: of all channels */
};

/* total_bytes is shared by all that are bounded together, and outlives k. */
void kept_init(struct kept *k, _Atomic size_t *total_bytes);
/* Drops what there is. */
void kept_destroy(struct kept *k);

/* How many are kept. Any thread, no lock. */
static inline size_t kept_count(const struct kept *k)
{
	return atomic_load(&k->count);
}
/* The bytes of their bodies. Any thread; takes the leaf lock. */
int64_t kept_body_bytes(struct kept *k);
/*
 * Appends n messages, n > 0, and takes over their references. False: there are as many as may be,
 * and all n are still the caller's. *was_empty: these are the first.
 */
bool kept_push(struct kept *k, struct message *const *take_msgs, size_t n, bool *was_empty);
/* Does kept_push refuse? Others may push meanwhile. Takes the leaf lock. */
bool kept_is_full(struct kept *k);
/* As kept_push, but for a caller who has asked kept_is_full before, and for one batch: never refuses. */
void kept_append(struct kept *k, struct message *const *take_msgs, size_t n, bool *was_empty);
/*
 * Takes up to max of the oldest; the references are the caller's. They count as kept until
 * kept_settle, which must come next. Returns how many.
 */
size_t kept_take(struct kept *k, struct message **msgs, size_t max);
/*
 * What was taken is elsewhere now, but for n messages: these come back to the front. True: nothing
 * is kept any more.
 */
bool kept_settle(struct kept *k, struct message *const *take_rest, size_t n);
/*
 * Adds the oldest to views, as far as there is room. Only where the taker could take, so that those
 * who append wait no longer than for one of them.
 */
void kept_look(struct kept *k, struct message_views *views, enum message_place place);
/* The timestamp of the oldest (ns), or 0. Any thread; takes k's lock, if there is any. */
int64_t kept_first_timestamp(struct kept *k);
/*
 * Takes the one with that id out; the reference is the caller's. NULL: there is none. Only where
 * the taker could take. Looks at up to KEPT_MSGS_MAX messages and a batch; others wait for one.
 */
struct message *kept_take_out(struct kept *k, struct message_id id);
/* Drops everything; only where the taker could take. */
void kept_clear(struct kept *k);

#endif
