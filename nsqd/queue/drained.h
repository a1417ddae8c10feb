/* SPDX-License-Identifier: MIT */
/*
 * What a drain (nsqd/core/drain.h) wants to know of topics and channels: whether they are empty, and
 * what the nsqlookupds are to be told of that.
 */
#ifndef NSQD_DRAINED_H
#define NSQD_DRAINED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "nsqd/queue/topics.h"

/* What a drain has still to wait for. */
struct drain_left {
	size_t topics;    /* those that are not empty, or have a channel that is not */
	int64_t messages; /* waiting, in flight and deferred, in all of them; about */
};

/*
 * Waits for all puts that have begun before the drain did. After that no topic takes a message,
 * as long as it goes on. May block on the disk, as the puts do. Main thread, as are the others.
 */
void drained_await_puts(struct topics *ts);
/*
 * Has the nsqlookupds told that topics and channels are gone that are empty by now; and that one is
 * there again to which a message has come back. Fills in *left.
 */
void drained_announce(struct topics *ts, struct drain_left *left);
/* The drain is called off: all are to be found again. */
void drained_announce_all(struct topics *ts);
/*
 * Is there no message left, be it in a queue, in flight, or on its way? Exact, after
 * drained_await_puts.
 */
bool drained_all(struct topics *ts);

#endif
