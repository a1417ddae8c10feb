/* SPDX-License-Identifier: MIT */
/*
 * News: topics and channels that have come or gone (the notifyChan of nsqd/nsqd.go). Threads that
 * make or delete one post it here; the threads "lookup", "metadata" and "scan" take it from here.
 */
#ifndef NSQD_NOTIFY_H
#define NSQD_NOTIFY_H

#include <stdbool.h>

#include <uthash.h>

#include "common/chan.h"
#include "common/lock.h"
#include "protocol/names.h"

/* Events that wait at most. */
#define NOTIFY_MAX_EVENTS 16384

/* A topic or channel that has come or gone. */
struct notify_event {
	char name[2 * NAME_SIZE]; /* "TOPIC" or "TOPIC CHANNEL", as in REGISTER */
	bool gone;                /* it was deleted, whatever has come since */
	UT_hash_handle hh;        /* notify.events */
};

struct notify {
	struct mutex lock;
	struct notify_event *events; /* guarded by lock; uthash, in order of arrival; owned */
	bool overflow;               /* guarded by lock; there were too many, and they are lost */

	struct chan *events_chan;           /* immutable; capacity 1: there are events (lookup) */
	struct chan *persist_chan;          /* immutable; capacity 1: nsqd.dat is old (metadata) */
	struct chan *channels_changed_chan; /* immutable; capacity 1: the list is old (scan) */
};

void notify_init(struct notify *n);
void notify_destroy(struct notify *n);

/*
 * Posts what Notify sends to notifyChan, as nsqd_notify says. Events of one name merge, and never
 * more than NOTIFY_MAX_EVENTS wait: then all of them are dropped. Never blocks; takes a leaf lock.
 * Any thread.
 */
void notify_post(struct notify *n, const char *topic, const char *channel, bool gone, bool persist);
/*
 * The oldest event, which the caller frees, or NULL. *overflow: events have been lost since the
 * last call. Where more wait, events_chan is sent to again. The thread "lookup".
 */
struct notify_event *notify_next(struct notify *n, bool *overflow);

#endif
