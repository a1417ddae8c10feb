/* SPDX-License-Identifier: MIT */
/*
 * A topic: a queue of messages and the message pump that hands each of them to every channel
 * (nsqd/topic.go). Counted: the map of topics holds one reference, and so does each caller that got
 * one from nsqd_get_topic and its like.
 */
#ifndef NSQD_TOPIC_H
#define NSQD_TOPIC_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <uthash.h>

#include "common/chan.h"
#include "common/err.h"
#include "common/gothread.h"
#include "common/lock.h"
#include "nsqd/disk/backend_queue.h"
#include "nsqd/core/context.h"
#include "nsqd/queue/gone.h"
#include "nsqd/queue/limits.h"
#include "nsqd/core/guid.h"
#include "nsqd/core/message.h"
#include "protocol/names.h"

struct channel;
struct quantile;
struct topic_log;
struct topic_log_stats;

/* How a put would go, as far as can be seen now. */
enum put_way {
	PUT_AT_ONCE,
	PUT_BEGINS, /* a log is waited for: topic_begin_put does not */
	PUT_BLOCKS, /* it may wait */
};

struct topic {
	_Atomic int refs;
	char name[NAME_SIZE]; /* immutable */
	bool ephemeral;       /* immutable */
	struct context *ctx;  /* immutable; outlives every topic */
	/* immutable; deletes an ephemeral topic that has lost its last channel; blocks */
	void (*delete_callback)(void *arg, struct topic *t);
	void *delete_arg; /* immutable */

	struct rwlock lock;
	struct channel *channel_map; /* guarded by lock; uthash by name; one reference each */
	struct settings *settings;   /* guarded by lock; a reference */
	struct limits limits;        /* how much may wait; its own synchronisation */
	_Atomic bool exit_flag;      /* set under lock (write), so that no put is under way */
	struct chan *gone_chan;      /* see gone.h; set before exit_flag, NULL till then */
	bool files_left; /* the disk has refused to remove some; read once gone_chan is closed */

	bool logged; /* immutable: it has a log */
	/*
	 * NULL: not durable. Until exit takes it away, under lock: for those who hold that, or are
	 * one of the appends, and for the channels and the pump, which end before; and for the
	 * thread that starts the topic while log_ready is not set, as nobody else knows it.
	 */
	struct topic_log *log;
	/*
	 * Appends to its log under way, and flushes. One begins with lock held, and not in vain: see
	 * topic_refuses.
	 */
	struct wait_group appends;
	bool stock_first; /* immutable: durable, and it has had a disk queue before */
	char *log_broken; /* why a channel could not be opened; of topic_enter_log */
	bool log_ready;   /* set before any publisher knows the topic */
	bool log_failing; /* counts as such: by the writer of the log, or who opens and ends */
	struct backend_queue *backend; /* immutable; lives until exit has ended; puts hold lock */
	struct chan *memory_msg_chan;  /* immutable; of struct message * */
	struct chan *start_chan;       /* immutable; capacity 1 */
	struct chan *exit_chan;        /* immutable; closed by exit */
	struct chan *channel_update_chan; /* immutable; rendezvous with the pump */
	struct chan *pause_chan;          /* immutable; rendezvous with the pump */
	struct wait_group wait_group;     /* the pump */
	struct guid_factory id_factory;

	/* The nsqlookupds are told that it is gone, since a drain has found it empty; main writes. */
	_Atomic bool unregistered;
	_Atomic bool started; /* the channels that the topic begins with are there */
	_Atomic bool paused;
	_Atomic bool unsettled; /* what is set has changed: the pump looks before its start, too */
	_Atomic bool deleter_once; /* ephemeral: the thread that sets it deletes the topic */

	struct chan *unstuck_chan; /* immutable; capacity 1: some channel keeps nothing any more */
	size_t undone; /* the pump's, then exit's: from the backend; only channels' memory has it */

	_Atomic uint64_t message_count;
	_Atomic uint64_t message_bytes;

	UT_hash_handle hh; /* topics.topic_map; guarded by topics.lock */
};

/*
 * NewTopic: one reference. Its pump waits for topic_start. delete_callback is called in the thread
 * that removes the last channel of an ephemeral topic, without a lock. NULL with err set: no
 * thread, or the disk refuses.
 */
struct topic *topic_new(struct context *ctx, const char *name,
	void (*delete_callback)(void *arg, struct topic *t), void *delete_arg, struct err *err);
struct topic *topic_ref(struct topic *t);
/* NULL is fine. */
void topic_unref(struct topic *t);
/*
 * Before topic_start, with its channels: if it is not durable, and has a log in which all is finished,
 * makes the channels that the log knows, and puts it aside. -1 with err set. Blocks on the disk.
 */
int topic_leave_log(struct topic *t, struct err *err);
/*
 * While the metadata are loaded, before topic_start, with its channels, whose depths are known: makes the
 * channels that only its log knows, and begins with that. -1 with err set: it can only be closed.
 * Nothing where it is not durable. Blocks on the disk.
 */
int topic_enter_log(struct topic *t, struct err *err);
/*
 * Start: lets the pump go, once the channels that it must serve are there. What limits them holds when
 * it returns: for that it waits until the pump has looked at them.
 */
void topic_start(struct topic *t);
static inline bool topic_exiting(const struct topic *t)
{
	return atomic_load(&t->exit_flag);
}

/*
 * GetChannel: finds or creates it; the caller gets a reference. NULL with err set: no thread, or
 * exiting. A channel that is found may be exiting itself; then the caller's next step fails.
 */
struct channel *topic_get_channel(struct topic *t, const char *name, struct err *err);
/*
 * The same for an operator, whose next step is not seen here: waits for the end of a channel of
 * that name that is being deleted, and makes it anew. NULL as above, or if the daemon exits
 * meanwhile.
 */
struct channel *topic_create_channel(struct topic *t, const char *name, struct err *err);
/* What its log holds, and has done. False: it has none. Takes topic.lock, never blocks on the disk. */
bool topic_get_log_stats(struct topic *t, struct topic_log_stats *out);
/* For nsqd_put_way and nsqd_sub_may_block (topics.h), which see. */
enum put_way topic_put_way(struct topic *t, size_t n);
bool topic_sub_may_block(struct topic *t, const char *channel_name);
/* GetExistingChannel: a reference, or NULL. */
struct channel *topic_get_existing_channel(struct topic *t, const char *name);
/*
 * DeleteExistingChannel: blocks until it is gone: its pump has ended, its files are removed, its
 * name is free; also if another thread has begun the deletion. Deletes an ephemeral topic that has
 * lost its last channel. 0, or -1 with err set, by code: ENOENT, "channel does not exist"; EIO: it
 * is gone, but the disk refused to remove all of its files; ECANCELED: the daemon exits while
 * another thread's deletion is under way.
 */
int topic_delete_existing_channel(struct topic *t, const char *name, struct err *err);
/*
 * The same for one that the caller holds, and never for another that has taken its name meanwhile.
 */
int topic_delete_channel(struct topic *t, struct channel *c, struct err *err);
/*
 * The same if c has expired (channel_expire), and no other thread has begun its deletion; else this
 * does nothing.
 */
void topic_expire_channel(struct topic *t, struct channel *c);
/*
 * Tells the pump that a channel has come or is exiting: from then on it deals out messages with
 * regard to that. Blocks until the pump is done with its batch, or has exited.
 */
void topic_update_channels(struct topic *t);
/*
 * All channels sorted by name, a reference each; *count of them. The caller unrefs them and frees
 * the array.
 */
struct channel **topic_channels(struct topic *t, size_t *count);

/*
 * True with err set: it takes no new messages, since it is "exiting", or the daemon "draining"
 * (ERR_DRAINING). A put finds the same under the topic's lock. Any thread; takes no lock.
 */
bool topic_refuses(struct topic *t, struct err *err);
/*
 * PutMessages: makes n messages of the given bodies, in order: gives each its id and timestamp and
 * queues it, in memory or, where that is full, in the backend. Takes over the references of all n
 * bodies, whatever happens. Returns how many messages are queued; fewer than n only with err set:
 * "exiting", "draining" (then none is), ERR_FULL (likewise: limits.h), or what the disk says.
 * May block on the disk.
 */
size_t topic_put_messages(
	struct topic *t, struct message_body *const *take_bodies, size_t n, struct err *err);
/* The same for n publications: those that come before a limit are queued. */
size_t topic_put_publications(
	struct topic *t, struct message_body *const *take_bodies, size_t n, struct err *err);
/*
 * The same for n <= TOPIC_PUT_MAX messages that are made already, with ids of id_factory: dead
 * letters. Takes over their references, whatever happens. As many are queued as max_depth and
 * max_bytes admit. They are not new to the daemon: the limits of the host, and no_channel, do not
 * hold for them. Waits for no pump.
 */
#define TOPIC_PUT_MAX 256
size_t topic_put_made_messages(
	struct topic *t, struct message **take_msgs, size_t n, struct err *err);
/*
 * PutMessage with a delay (DPUB): 0, or -1 with err set. The channels that there are defer it
 * before this returns. Without one, before the start or while the topic is paused it is queued as
 * any other: then its delay begins when the pump hands it on, and is lost if it has been on disk.
 */
int topic_put_message_deferred(
	struct topic *t, struct message_body *take_body, int64_t deferred_ns, struct err *err);
/*
 * The same for 0 < n <= TOPIC_PUT_MAX publications with one delay. With a log they share a commit: all
 * are queued, or none is. Returns how many are; fewer than n only with err set.
 */
size_t topic_put_deferred(struct topic *t, struct message_body *const *take_bodies, size_t n,
	int64_t deferred_ns, struct err *err);

/*
 * A put that its publisher does not wait for: one batch, all of it or nothing. It belongs to the
 * topic from topic_begin_put until done is called.
 */
struct topic_put {
	struct topic *topic; /* the caller's reference */
	/* Called by any thread, perhaps before topic_begin_put returns. Must not block, nor put. */
	void (*done)(struct topic_put *p);
	int64_t deferred_ns; /* the delay of its messages; 0: none */
	/* when done is called */
	size_t n; /* messages that are kept; 0 with err set */
	struct err err;
	/* the topic's own */
	struct message **msgs;
	size_t n_msgs;
	uint64_t bytes; /* of their bodies */
};
/*
 * Begins to put n messages, if the topic has a log: topic, done and deferred_ns are set. Takes over
 * the references of the bodies. False: it would have to wait, and has taken nothing. Any thread; does
 * not block.
 */
bool topic_begin_put(struct topic_put *p, struct message_body *const *take_bodies, size_t n);
/* A put under way takes long: a client that waits for it has that told to the log of the daemon. Does not block. */
void topic_look_at_log(struct topic *t);

/*
 * The longest delay of a message that is published to it: --max-req-timeout, or with a log
 * --max-defer-timeout where that is more. Takes no lock.
 */
int64_t topic_max_defer(const struct topic *t);
/* Does a message that it has taken survive a loss of power? Takes topic.lock for reading. */
bool topic_is_synced(struct topic *t);
/*
 * An enum durability: that which holds now, whatever is set for the next start. Takes topic.lock for
 * reading.
 */
int topic_durability(struct topic *t);

/*
 * Waits for the puts that are under way. Later ones find what the caller has changed before: the
 * state of a drain.
 */
void topic_await_puts(struct topic *t);

/*
 * What is set for it, or for its channels, has changed in the store: fetches its snapshot and
 * theirs. Called with the store's change_lock held.
 */
void topic_fetch_settings(struct topic *t);
/* After that, or what is set for a channel of it: waits until the pump goes by the new ones. */
void topic_settle_settings(struct topic *t);

/* Depth: messages in memory and backend. */
int64_t topic_depth(struct topic *t);
int64_t topic_backend_depth(struct topic *t);

/*
 * AggregateChannelE2eProcessingLatency: of all channels together. The caller frees it; NULL: none
 * are measured.
 */
struct quantile *topic_aggregate_channel_e2e_processing_latency(struct topic *t);

/*
 * Pause, UnPause: the pump has heard of it when they return. With a log a pause may block on the disk.
 */
void topic_pause(struct topic *t);
void topic_unpause(struct topic *t);
static inline bool topic_is_paused(const struct topic *t)
{
	return atomic_load(&t->paused);
}

/* Empty: throws away the topic's own messages (not its channels'). May block on the disk. */
int topic_empty(struct topic *t, struct err *err);
/*
 * Delete: with channels and files. Close: writes what is in memory to the backend. Both block until
 * the threads have ended, those of channels that others are deleting included. Unless it was begun
 * elsewhere, the caller takes the topic out of the map of topics and closes gone_chan.
 */
enum exit_result topic_delete(struct topic *t, struct err *err);
enum exit_result topic_close(struct topic *t, struct err *err);

/* The answer of HTTP to an error with ERR_FULL: "TOPIC_FULL" and its like. */
const char *limits_http_text(const struct err *why);

#endif
