/* SPDX-License-Identifier: MIT */
/*
 * The options that change while the daemon runs (swapOpts and triggerOptsNotification of
 * nsqd/nsqd.go): PUT /config sets them, lookup_loop reads them. (The log level is the other one:
 * lg.level.)
 */
#ifndef NSQD_NSQD_CONFIG_H
#define NSQD_NSQD_CONFIG_H

#include "common/chan.h"
#include "common/lock.h"
#include "nsqd/core/options.h"

struct nsqd_config {
	struct mutex lock;
	struct strarray nsqlookupd_tcp_addresses; /* guarded by lock */
	struct chan *opts_notification_chan;      /* immutable; capacity 1: something has changed */
};

/* Starts with the addresses of opts. */
void nsqd_config_init(struct nsqd_config *c, const struct options *opts);
void nsqd_config_destroy(struct nsqd_config *c);

/* A copy of the present addresses, which the caller frees. Any thread. */
void nsqd_config_get_lookupd(struct nsqd_config *c, struct strarray *out);
/* Replaces them, taking over what is in *take, and posts to opts_notification_chan. Any thread. */
void nsqd_config_take_lookupd(struct nsqd_config *c, struct strarray *take);

#endif
