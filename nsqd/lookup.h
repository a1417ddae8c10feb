/* SPDX-License-Identifier: MIT */
/*
 * Registration with the nsqlookupds (nsqd/lookup.go): the loop that tells them
 * which topics and channels there are, and what the rest of the daemon has to
 * do with it.
 */
#ifndef NSQD_LOOKUP_H
#define NSQD_LOOKUP_H

#include <stdbool.h>

#include <uthash.h>

#include "common/chan.h"
#include "common/lock.h"
#include "nsqd/options.h"
#include "protocol/names.h"

struct nsqd;

/* Events that wait at most. */
#define LOOKUP_MAX_EVENTS 16384

/* A topic or channel that has come or gone. */
struct lookup_event {
	/* "TOPIC" or "TOPIC CHANNEL", as in REGISTER: names have no blanks. */
	char name[2 * (NAME_MAX_LENGTH + 1)];
	bool gone;         /* it was deleted, whatever has come since */
	UT_hash_handle hh; /* lookup.events */
};

struct lookup {
	struct mutex lock;
	struct lookup_event *events; /* guarded by lock; uthash, in order of arrival; owned */
	bool overflow;              /* guarded by lock; there were too many: tell everything anew */
	struct strarray http_addrs; /* guarded by lock; of the peers that have told theirs */
	struct chan *notify_chan;   /* immutable; capacity 1: there are events */
};

void lookup_init(struct lookup *l);
void lookup_destroy(struct lookup *l);

/*
 * What Notify sends to notifyChan: this topic, or this channel of it (NULL for
 * the topic itself), has come or (gone) is deleted. What the loop tells is whether
 * it is there when the loop gets to it, and before that each deletion. Never
 * blocks; takes a leaf lock; events of one name merge, and there are never more
 * than a fixed number. Any thread.
 */
void lookup_notify(struct nsqd *n, const char *topic, const char *channel, bool gone);
/* lookupdHTTPAddrs: a copy, which the caller frees. Any thread. */
void lookup_http_addrs(struct nsqd *n, struct strarray *out);

/* The thread "lookup"; arg is the nsqd. It ends when exit_chan is closed. */
void lookup_loop(void *arg);

#endif
