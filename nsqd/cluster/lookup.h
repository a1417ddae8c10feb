/* SPDX-License-Identifier: MIT */
/*
 * Registration with the nsqlookupds (nsqd/lookup.go): a loop tells them which topics and channels
 * there are.
 */
#ifndef NSQD_LOOKUP_H
#define NSQD_LOOKUP_H

#include "common/lock.h"
#include "nsqd/core/options.h"
#include "nsqd/queue/topics.h"

struct lookup {
	struct topics *topics; /* immutable */
	struct mutex lock;
	struct strarray http_addrs; /* guarded by lock; of the peers that have told theirs */
};

void lookup_init(struct lookup *l, struct topics *topics);
void lookup_destroy(struct lookup *l);

/* lookupdHTTPAddrs: a copy, which the caller frees. Any thread. */
void lookup_http_addrs(struct lookup *l, struct strarray *out);

/* The thread "lookup"; arg is the struct lookup. It ends when exit_chan is closed. */
void lookup_loop(void *arg);

#endif
