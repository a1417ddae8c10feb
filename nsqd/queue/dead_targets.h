/* SPDX-License-Identifier: MIT */
/*
 * Which topics are dead-letter topics (stock has none). A topic is one as soon as it has had a dead
 * letter, as its side file says (dead_log.h), until it is deleted. It is a topic as any other, but it
 * has no dead letters of its own, and max_attempts ends nothing there.
 */
#ifndef NSQD_DEAD_TARGETS_H
#define NSQD_DEAD_TARGETS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include <uthash.h>

#include "common/err.h"
#include "common/lock.h"
#include "nsqd/queue/dead_log.h"
#include "protocol/names.h"

struct context;

/* One of them. */
struct dead_target {
	_Atomic int refs;
	char name[NAME_SIZE]; /* immutable */
	struct mutex lock;    /* held over the disk: the log, and the put that it tells of */
	struct dead_log *log; /* guarded by lock; owned */
	bool has_messages;    /* dead_targets_load's own */
	bool forgotten;       /* guarded by lock: the topic is deleted, another may have its name */
	UT_hash_handle hh;    /* dead_targets.list; guarded by its lock */
};

struct dead_targets {
	struct context *ctx;      /* immutable */
	struct mutex lock;        /* a leaf */
	struct dead_target *list; /* guarded by lock; uthash by name; one reference each */
};

/* Main thread, as the next two. */
void dead_targets_init(struct dead_targets *d, struct context *ctx);
void dead_targets_destroy(struct dead_targets *d);
/*
 * Finds those that there are in the data path. Of one without a message on disk the log is cleared.
 * Before there are topics.
 */
void dead_targets_load(struct dead_targets *d, const char *data_path);

/* --- any thread ------------------------------------------------------------------------------- */

/* Is it one? Takes a leaf lock. */
bool dead_targets_has(struct dead_targets *d, const char *topic);
/* From now on it is one: a reference. Opens no file. */
struct dead_target *dead_targets_get(struct dead_targets *d, const char *topic);
/* NULL is fine. */
void dead_target_unref(struct dead_target *t);
/*
 * Where the dead letters of that topic with the ids of entries come from: fills in from, where
 * found[i]. -1 with err set: that cannot be read. No such topic: none is found. Blocks on the disk;
 * no locks are held.
 */
int dead_targets_origins(struct dead_targets *d, const char *topic, struct dead_entry *entries,
	bool *found, size_t n, struct err *err);
/* No message of that topic is left. Blocks on the disk; no locks are held. */
void dead_targets_clear(struct dead_targets *d, const char *topic);
/* The topic is deleted: its side files are removed. Blocks on the disk; no locks are held. */
void dead_targets_forget(struct dead_targets *d, const char *topic);

#endif
