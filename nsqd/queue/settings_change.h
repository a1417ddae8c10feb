/* SPDX-License-Identifier: MIT */
/*
 * Changes of settings, carried to the topics and channels that they concern. One at a time
 * (settings_store.change_lock), so that the file, the store and the snapshots have the same order.
 * When a function returns, every message that comes later is treated by the new settings. (No Go
 * file.)
 */
#ifndef NSQD_SETTINGS_CHANGE_H
#define NSQD_SETTINGS_CHANGE_H

#include "common/err.h"
#include "common/json.h"
#include "nsqd/queue/topics.h"

struct channel;

/*
 * Sets for t, or for its channel c (NULL: for t and all of its channels), what the JSON object says.
 * -1 with err set, and nothing has changed: EINVAL, a setting that cannot be; ECANCELED, it is
 * exiting; else the disk. Blocks on the disk and on the pumps. Any thread without locks.
 */
int nsqd_set_settings(
	struct topic *t, struct channel *c, struct json_value object, struct err *err);
/* A reload: the flags and policies are those of opts now. Blocks on the pumps. main. */
void nsqd_reload_settings(struct topics *ts, const struct options *opts);

#endif
