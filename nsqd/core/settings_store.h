/* SPDX-License-Identifier: MIT */
/*
 * What is set, and for whom. Where a value comes from, the later wins: the flags, the policies in
 * the order of the config file, what was set at run time for the topic, and what was set at run time
 * for the channel. The last two are in a file of their own, nsqd.settings.json, which stock ignores:
 *
 *   {"topics":[{"name":"t","settings":{"max_depth":1000},
 *               "channels":[{"name":"c","settings":{"max_attempts":5}}]}],"version":1}
 *
 * (No Go file.) It knows names, no topics: nsqd/queue/settings_change.h carries a change to these.
 */
#ifndef NSQD_SETTINGS_STORE_H
#define NSQD_SETTINGS_STORE_H

#include "common/err.h"
#include "common/json.h"
#include "common/lock.h"
#include "common/strbuf.h"
#include "nsqd/core/policies.h"
#include "nsqd/core/settings.h"

/* Its name in the data path. */
#define SETTINGS_FILE "nsqd.settings.json"

struct options;
struct run_time; /* what is set at run time for one topic or channel */

struct settings_store {
	/* One change at a time: held while the file is written, and while topics learn of it. */
	struct mutex change_lock;
	char *path; /* of the file; NULL: not loaded, nothing can be set at run time */
	int dir_fd; /* borrowed: the data path's */

	struct mutex lock;              /* a leaf; the next ones are guarded by it */
	struct setting_values defaults; /* of the flags */
	struct settings *plain;         /* the snapshot of these: a reference */
	struct policies *policies;      /* a reference */
	struct run_time *run_time;      /* uthash by name */
};

/* With the flags and policies of opts. */
void settings_store_init(struct settings_store *s, const struct options *opts);
void settings_store_destroy(struct settings_store *s);
/*
 * Reads the file; no file is none. -1 with err set: it cannot be read or is not such a file; then
 * what held before does. dir_fd is the data path's, and outlives s; -1: nothing will be changed. main,
 * before there are topics.
 */
int settings_store_load(
	struct settings_store *s, const char *data_path, int dir_fd, struct err *err);

/* The snapshot for the topic (channel NULL) or channel: a reference. Takes the leaf lock. */
struct settings *settings_store_get(
	struct settings_store *s, const char *topic, const char *channel);
/* What is set for the topic: an enum durability. Takes the leaf lock. */
int settings_store_durability(struct settings_store *s, const char *topic);
/*
 * Appends all settings with their values and where each comes from:
 *   {"max_depth":{"value":1000,"from":"policy","match":"orders.*"}, ...}
 * from is "default" (a flag, or none), "policy", "topic" or "channel". durability is that which the
 * topic has (-1: that is not asked): "in_effect", if another one is set. Takes the leaf lock.
 */
void settings_store_show(struct settings_store *s, const char *topic, const char *channel,
	int durability, struct strbuf *out);

/*
 * The changes. Each is called with change_lock held, and blocks on the disk. After it the caller
 * has the topics and channels that it concerns fetch their snapshots.
 */

/*
 * Sets what the members of the object say, which json_valid has accepted; null takes one back. -1
 * with err set, and nothing has changed: EINVAL, one that cannot be, by name; EIO, the disk refuses
 * the file. For an ephemeral topic or channel, memory alone has them.
 */
int settings_store_set_locked(struct settings_store *s, const char *topic, const char *channel,
	struct json_value object, struct err *err);
/*
 * The topic is deleted, with all of its channels, or (channel) that one. -1 with err set: the file
 * still has them. They do not hold any more, all the same.
 */
int settings_store_forget_locked(
	struct settings_store *s, const char *topic, const char *channel, struct err *err);
/* Is there anything to forget? Takes the leaf lock. */
bool settings_store_knows(struct settings_store *s, const char *topic, const char *channel);
/* A reload: the flags and policies are these now. */
void settings_store_reload_locked(struct settings_store *s, const struct options *opts);

#endif
