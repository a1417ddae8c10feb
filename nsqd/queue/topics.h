/* SPDX-License-Identifier: MIT */
/*
 * The registry of topics: topicMap of nsqd/nsqd.go and the methods around it, which keep the name
 * that they have there.
 */
#ifndef NSQD_TOPICS_H
#define NSQD_TOPICS_H

#include <stddef.h>

#include "common/err.h"
#include "common/lock.h"
#include "nsqd/core/context.h"
#include "nsqd/queue/dead_targets.h"

struct topic;
struct channel;

struct topics {
	struct context *ctx; /* immutable; outlives it */
	/*
	 * What a new topic needs before its pump starts: the channels that the nsqlookupds know.
	 * May block. Immutable after nsqd_new; NULL: nothing.
	 */
	void (*prepare)(void *arg, struct topic *t);
	void *prepare_arg; /* likewise */

	struct dead_targets dead_targets; /* its own synchronisation */

	struct rwlock lock;
	struct topic *topic_map; /* guarded by lock; uthash by name; one reference each */
};

/* Main thread. */
void topics_init(struct topics *ts, struct context *ctx);
/* After topics_close. */
void topics_destroy(struct topics *ts);
/*
 * The topics' part of Exit: closes all of them, several at once, and waits for those that others
 * are deleting. Blocks on the disk. Main thread, when no client and no handler is left.
 */
void topics_close(struct topics *ts);

/* --- any thread -------------------------------------------------------------------------------
 *
 * Each takes topics.lock for a moment. The one that creates a topic holds it while the disk queue
 * opens (which reads files) and the pump's thread starts.
 */

/*
 * GetTopic: finds or creates it. The caller gets a reference (topic_unref). NULL with err set: its
 * thread cannot be created, or the daemon exits, or drains (ERR_DRAINING). The thread that creates one
 * prepares it first, without a lock: it asks the nsqlookupds for its channels, and waits for their
 * answers up to --http-client-request-timeout. What is found may be exiting itself; then the caller's
 * next step fails ("exiting").
 */
struct topic *nsqd_get_topic(struct topics *ts, const char *name, struct err *err);
/*
 * The same for an operator, whose next step is not seen here: waits for the end of a topic of that
 * name that is being deleted, and makes it anew.
 */
struct topic *nsqd_create_topic(struct topics *ts, const char *name, struct err *err);
/* GetExistingTopic: a reference, or NULL. */
struct topic *nsqd_get_existing_topic(struct topics *ts, const char *name);
/*
 * May a put of n messages into the topic of that name have to wait, be it for a disk, for a topic
 * that is to be made, or for a lock? May a SUB of a channel? Guesses that err on the safe side, with
 * so much room to spare that other publishers do not spoil them. They do not block.
 */
#define PUT_MARGIN 256
enum put_way nsqd_put_way(struct topics *ts, const char *topic_name, size_t n);
bool nsqd_sub_may_block(struct topics *ts, const char *topic_name, const char *channel_name);
/* topic_max_defer of the topic of that name, or as it would be if it were made. Does not block. */
int64_t nsqd_max_defer(struct topics *ts, const char *topic_name);
/*
 * DeleteExistingTopic: with its channels, messages and files. Blocks until it is gone, also if
 * another thread has begun the deletion. 0, or -1 with err set, as topic_delete_existing_channel.
 */
int nsqd_delete_existing_topic(struct topics *ts, const char *name, struct err *err);
/*
 * The same for one that the caller holds, and never for another that has taken its name meanwhile.
 */
int nsqd_delete_topic(struct topics *ts, struct topic *t, struct err *err);
/*
 * All topics sorted by name, a reference each; *count of them. The caller unrefs them and frees the
 * array.
 */
struct topic **nsqd_topics(struct topics *ts, size_t *count);
/*
 * channels(): all channels of all topics, a reference each, in no order; array freed by the caller.
 */
struct channel **nsqd_channels(struct topics *ts, size_t *count);

#endif
