/* SPDX-License-Identifier: MIT */
/*
 * A channel: its own copy of the topic's messages, shared out among its consumers
 * (nsqd/channel.go). Every change of a message's state goes through one of the functions below.
 * Counted like topics.
 */
#ifndef NSQD_CHANNEL_H
#define NSQD_CHANNEL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <uthash.h>

#include "common/chan.h"
#include "common/deadlines.h"
#include "common/err.h"
#include "common/gothread.h"
#include "common/latency.h"
#include "common/lock.h"
#include "common/quantile.h"
#include "nsqd/disk/backend_queue.h"
#include "nsqd/queue/channel_flow.h"
#include "nsqd/queue/consumer.h"
#include "nsqd/core/context.h"
#include "nsqd/queue/gone.h"
#include "nsqd/queue/in_flight_pqueue.h"
#include "nsqd/queue/kept.h"
#include "nsqd/core/message.h"
#include "nsqd/core/topology.h"
#include "protocol/names.h"

struct channel;
struct topic;
struct topic_log_cursor_stats;

/* The most messages in the pump's batch. */
#define CHANNEL_BATCH 256
/* The most messages that are finished at once. */
#define FINISH_BATCH 128

/* What a channel needs of its topic, which is above it. All but unref are called without a lock. */
struct channel_topic_ops {
	/* deleteCallback: the last consumer of an ephemeral channel left. Blocks until it is gone. */
	void (*delete_callback)(struct topic *t, struct channel *c);
	/* The exit of a channel has begun: see topic_update_channels. */
	void (*update_channels)(struct topic *t);
	/* The channel keeps nothing any more that its disk has refused. Does not block. */
	void (*unstuck)(struct topic *t);
	/* The topic's log, borrowed; NULL: it has none. May be NULL itself. */
	struct topic_log *(*log)(struct topic *t);
	/* With a log: may messages come that are in none, since the topic has had a disk queue? */
	bool (*stock_first)(struct topic *t);
	/* With a log: what happened before is safe from kill -9 then. Blocks on the disk. */
	void (*flush_log)(struct topic *t);
	/*
	 * Drops the channel's reference. Where no channel could be made that is under topic.lock,
	 * and topic_get_channel's caller has another one.
	 */
	void (*unref)(struct topic *t);
};

struct channel {
	_Atomic int refs;
	char name[NAME_SIZE]; /* immutable, as are the next four */
	bool ephemeral;
	struct context *ctx; /* outlives every channel */
	char topic_name[NAME_SIZE];
	struct topic *topic;                       /* a reference; for the next */
	const struct channel_topic_ops *topic_ops; /* immutable */

	/* Immutable; lives until exit has ended; puts hold exit_lock. */
	struct backend_queue *backend;
	bool logged;      /* immutable: the topic has a log, and this channel a cursor */
	bool stock_first; /* immutable: and a disk queue in front of it */
	/*
	 * The one over the log, if it is logged: backend, or a part of it. Changes with in_flight_lock
	 * and exit_lock, and either will do to read it.
	 */
	struct backend_queue *log_queue;
	struct chan *memory_msg_chan; /* immutable; of struct message *; NULL: --mem-queue-size=0 */
	/*
	 * Immutable; of struct message *, unbuffered: all that clients see, each one of them. The
	 * near ones are NULL unless the experiment is on and the node has a zone, a region.
	 */
	struct chan *client_msg_chans[N_CLOSENESS];
	struct chan *exit_chan;    /* immutable; closed by exit */
	struct chan *update_chan;  /* immutable; of struct pump_update, rendezvous with the pump */
	struct chan *updated_chan; /* immutable; the pump's answer to each update */
	struct wait_group wait_group; /* the pump */

	struct settings *settings;      /* a reference; read under exit_lock or in_flight_lock, */
					/* written with both held, exit_lock for writing */
	struct settings *pump_settings; /* the pump's own reference to them */

	struct rwlock exit_lock;  /* read: a put is under way; write: exit */
	_Atomic bool exit_flag;   /* set under exit_lock */
	struct chan *gone_chan;   /* see gone.h; set before exit_flag, NULL till then */
	bool files_left;          /* the disk has kept some; read once gone_chan is closed */
	_Atomic bool exit_unused; /* set before exit_flag: see channel_expire */

	struct rwlock lock;
	struct consumer *clients; /* guarded by lock; uthash by id; borrowed: each removes itself */
	_Atomic int client_count; /* changed under lock */

	_Atomic bool unregistered; /* as topic.unregistered */
	_Atomic bool pump_knows;   /* the topic's pump has heard of it: it misses no message */
	_Atomic bool paused;
	_Atomic bool deleter_once; /* ephemeral: the thread that sets it deletes the channel */

	/*
	 * What the pump holds between a queue and a consumer. All four are the pump's own while it
	 * runs, then exit's; other threads may read the atomic ones.
	 */
	struct message **batch; /* at most CHANNEL_BATCH; NULL: no consumer has asked yet */
	_Atomic size_t batch_len;
	bool batch_from_backend;
	_Atomic bool may_take; /* the pump receives from its queues, or is about to */

	/* The messages that the disk refuses; while there are some, new ones join them (kept.h). */
	struct kept kept;
	struct ticker kept_retry; /* the pump's own: when it tries to queue them */
	int64_t kept_patience_ns; /* the pump's own: how long it waits for that */
	_Atomic uint64_t dropped; /* messages that the disk refused, too many to keep */

	_Atomic bool drops_head;      /* overflow = drop-head, and there is a limit; as settings */
	bool counts_bytes;            /* written by the pump, with exit_lock held for writing */
	_Atomic int64_t memory_bytes; /* while counts_bytes: bodies in memory_msg_chan */
	_Atomic int64_t batch_bytes;  /* likewise, in batch; written by the pump */
	_Atomic int64_t moving; /* deferred messages that are due, on their way; added to and */
	_Atomic int64_t moving_bytes;    /* read under deferred_lock; of these */
	_Atomic uint64_t overflow_count; /* messages dropped, since there were too many */
	_Atomic int64_t received; /* from the backend, in all: by the pump, and to be redriven */
	uint64_t dropped_told;    /* the pump's own, then exit's: so many the log knows of */
	size_t lost;              /* written by exit: messages that could not be flushed */

	struct chan
		*keeping_chan; /* immutable; capacity 1: the pump is to look at kept, dead, flow */
	struct channel_flow flow; /* how many may go to consumers; see there */

	/*
	 * Messages that it has given up, on their way to the dead-letter topic (channel_dead.c). Any
	 * thread appends, the pump takes. What is not said to be atomic here is the pump's own, then
	 * exit's.
	 */
	struct kept dead;
	size_t dead_undone;       /* so many of them are from the backend, and not done */
	bool dead_refused;        /* the log has said so */
	bool remembers;           /* the backend has been told to */
	bool batch_idle;          /* nobody asks for the batch; as of the last prepare */
	bool looking;             /* the pump takes a batch without demand, to look how old it is */
	int64_t dead_retry_ns;    /* when to try again; monotonic; 0: at once */
	int64_t look_ns;          /* when to look how old the oldest are; 0: not known yet */
	_Atomic uint64_t expired; /* messages older than message_ttl */
	_Atomic uint64_t given_up;      /* after max_attempts, without a dead-letter topic */
	_Atomic uint64_t dead_lettered; /* messages that are in the dead-letter topic */
	_Atomic uint64_t requeued_on_disconnect;

	struct mutex in_flight_lock;
	struct in_flight_pqueue in_flight; /* guarded by in_flight_lock */
	struct latency
		publish_to_deliver; /* guarded by in_flight_lock; the first delivery of each */
	struct latency deliver_to_finish; /* guarded by in_flight_lock; the last delivery of each */
	struct mutex deferred_lock;
	struct in_flight_pqueue deferred; /* guarded by deferred_lock */
	_Atomic int64_t next_in_flight;   /* earliest deadline; written under in_flight_lock */
	_Atomic int64_t next_deferred;    /* likewise, deferred_lock */
	_Atomic int64_t next_waiting; /* of what waits in the log; written under in_flight_lock */
	/*
	 * For the scan loop, which takes no lock: the setting channel_expire, 0 for never, written with
	 * settings; and since when there is no consumer (monotonic), INT64_MAX: there is one, written
	 * under lock.
	 */
	_Atomic int64_t expire_ns;
	_Atomic int64_t unused_since_ns;
	struct deadline deadline; /* the scan loop's; a reference, unless it is idle */

	_Atomic uint64_t message_count;
	bool topology_aware;                            /* immutable */
	_Atomic uint64_t delivered_counts[N_CLOSENESS]; /* if topology_aware */
	_Atomic uint64_t requeue_count;
	_Atomic uint64_t timeout_count;

	/* Immutable; its own lock; NULL: no percentiles are configured. */
	struct quantile *e2e_processing_latency_stream;

	UT_hash_handle hh; /* topic.channel_map; guarded by topic.lock */
};

/*
 * NewChannel: one reference, pump running. Takes over a reference to the topic, whatever happens.
 * NULL with err set: no thread, or the disk refuses.
 */
struct channel *channel_new(struct context *ctx, const char *topic_name, const char *name,
	const struct channel_topic_ops *topic_ops, struct topic *take_topic, struct err *err);
struct channel *channel_ref(struct channel *c);
/* NULL is fine. */
void channel_unref(struct channel *c);
static inline bool channel_exiting(const struct channel *c)
{
	return atomic_load(&c->exit_flag);
}

/* What it holds back of the topic's log. False: it has no cursor. Takes in_flight_lock. */
bool channel_get_log_stats(struct channel *c, struct topic_log_cursor_stats *out);

/* --- queueing: the topic's pump --------------------------------------------------------------- */

/*
 * PutMessage, for n of them: queues each in memory or, where that is full, in the backend. Messages
 * that the disk refuses are kept (kept.h), up to a bound; beyond, they are dropped, counted, and
 * the log says so. Returns n; or 0, with err set to "exiting", and they are still the caller's. May
 * block on the disk.
 */
size_t channel_put_messages(
	struct channel *c, struct message *const *msgs, size_t n, struct err *err);
/* Its disk refuses messages, and not all of them have found a place yet. Takes no lock. */
static inline bool channel_is_stuck(const struct channel *c)
{
	return kept_count(&c->kept) > 0;
}
/*
 * Would n messages that are put, or requeued, go to memory, and so not wait for the disk? A guess:
 * others may be faster. Does not block.
 */
bool channel_has_room(struct channel *c, size_t n);
/* So many messages others may put between such a guess and the put. */
#define PUT_MARGIN 256
/*
 * Of the topic's log the channel will not get what is before upto, and was not put: the topic has
 * dropped it, by a limit or since it was emptied. Takes exit_lock for a moment. Does not block.
 */
void channel_pass_over(struct channel *c, uint64_t upto);
/*
 * Queues n messages that are new, with seq 0, in this channel alone, whose topic has a log (logged):
 * all or none. They are still the caller's to unref. -1 with err set: "exiting", or what the disk
 * says. Blocks on the disk.
 */
int channel_put_alone(struct channel *c, struct message *const *msgs, size_t n, struct err *err);
/* PutMessageDeferred: takes m over and queues it once its delay is over. */
void channel_put_message_deferred(struct channel *c, struct message *take_m, int64_t delay_ns);

/* --- delivery: a client's pump ---------------------------------------------------------------- */

/*
 * StartInFlightTimeout, for n of them: each is the client's until FIN, REQ or the timeout (ns), which
 * is the channel's max_msg_timeout at most. 0: the channel's own msg_timeout. Takes over one
 * reference each.
 */
void channel_start_in_flight_timeout(struct channel *c, struct message *const *take_msgs, size_t n,
	int64_t client_id, int64_t timeout_ns);

/*
 * Takes up to max messages from memory, as the pumps of clients do in stock, so that the channel's
 * pump need not hand them out. Returns how many. 0 where the channel's pump must choose: it has a
 * batch, or the backend has messages, or consumers are nearer or farther, or the flow is limited;
 * and 0 while the channel is paused or exits. A channel's only consumer, which does not stand in line, gets its messages in
 * order so. Any thread; does not block.
 */
size_t channel_take_messages(struct channel *c, struct message **msgs, size_t max);

/*
 * Puts n messages that were received but will not be sent back into the queue; takes over one
 * reference each.
 */
void channel_return_messages(struct channel *c, struct message *const *take_msgs, size_t n);
/* Of the messages that were received n will not be sent, and are gone. Takes in_flight_lock. */
void channel_left_out(struct channel *c, size_t n);
/*
 * The most that a REQ may be delayed: the setting; or with a log, where none is set for the channel,
 * --max-defer-timeout if that is more. Takes exit_lock for a moment. Any thread.
 */
int64_t channel_max_req_timeout(struct channel *c);

/* --- answers: a client's io_loop ---------------------------------------------------------------
 *
 * If not said otherwise 0, or -1 with err set: "ID not in flight", "client does not own message",
 * "exiting".
 */

/*
 * FinishMessage, for n of them, at most FINISH_BATCH: each is done, and its time since it was
 * published measured. why[i] is NULL, or the reason why ids[i] is not. Returns how many are.
 */
size_t channel_finish_messages(struct channel *c, int64_t client_id, const struct message_id *ids,
	size_t n, const char **why);
/* RequeueMessage: back into the queue, at once or after delay_ns. */
int channel_requeue_message(struct channel *c, int64_t client_id, struct message_id id,
	int64_t delay_ns, struct err *err);
/*
 * TouchMessage: its timeout starts anew, up to the channel's max_msg_timeout from delivery. 0: the
 * channel's own msg_timeout.
 */
int channel_touch_message(struct channel *c, int64_t client_id, struct message_id id,
	int64_t timeout_ns, struct err *err);

/* --- time: the scan loop and its workers ------------------------------------------------------ */

/* The most messages that one call of the next two requeues: FINs wait for their lock. */
#define DUE_BATCH 128

/*
 * processInFlightQueue, processDeferredQueue: requeue up to DUE_BATCH messages that are due at
 * now_ns (monotonic), the earliest first. True: there were some, and there may be more.
 */
bool channel_process_in_flight_queue(struct channel *c, int64_t now_ns);
bool channel_process_deferred_queue(struct channel *c, int64_t now_ns);
/*
 * The same for what waits in the topic's log, whose due time the queue knows. Reads it, and so blocks on
 * the disk. True: there were some.
 */
bool channel_process_waiting(struct channel *c);
/* Leaves it to a thread of the queue's own, without blocking. */
void channel_leave_waiting(struct channel *c);
/* The wall clock was set: has that written anew until when the messages wait. Does not block. */
void channel_clock_was_set(struct channel *c);
/* Is something of it due? Takes no lock. */
static inline bool channel_has_due_waiting(const struct channel *c, int64_t now_ns)
{
	return atomic_load(&c->next_waiting) <= now_ns;
}
/*
 * Gives back what the queues have not needed since the last call, and has tried again what had no thread;
 * does not block.
 */
void channel_trim(struct channel *c);
/*
 * The earliest deadline of both queues (monotonic, ns); INT64_MAX for none, and once the channel is
 * exiting. Takes no lock.
 */
int64_t channel_next_deadline(const struct channel *c);
/* Has the scan loop look at c when its next deadline is due. Takes a leaf lock. Any thread. */
void channel_await_deadline(struct channel *c);

/* --- consumers ------------------------------------------------------------------------------ */

/* AddClient: -1 with err set: "exiting", or too many consumers. */
int channel_add_client(struct channel *c, struct consumer *client, struct err *err);
/*
 * RemoveClient: after this the channel does not know the client any more. Deletes an ephemeral
 * channel that has lost its last one (and then blocks until its pump has ended).
 */
void channel_remove_client(struct channel *c, struct consumer *client);
/*
 * A client has left, and its pump has ended: what it had in flight comes back at once, if it is so
 * set (requeue_on_disconnect). Others' FINs wait no longer than for a slice of it. Any thread without
 * locks. May it block on the disk, or take longer than a poller has time for? A guess.
 */
bool channel_requeues_on_disconnect(struct channel *c);
bool channel_requeue_of_client_may_block(struct channel *c);
void channel_requeue_of_client(struct channel *c, int64_t client_id);
/*
 * May that have to wait for a disk, since the channel is ephemeral, or the pump has a batch to put
 * back? A guess that errs on the safe side. Does not block.
 */
bool channel_removal_may_block(struct channel *c);

/* --- operators ------------------------------------------------------------------------------ */

/* Depth: messages in memory, in the pump's batch, in the backend, and kept since that refuses. */
int64_t channel_depth(struct channel *c);
int64_t channel_backend_depth(struct channel *c);
/* The same, and what waits there for its time: that needs a log. */
int64_t channel_backend_holds(struct channel *c);
size_t channel_in_flight_count(struct channel *c);
size_t channel_deferred_count(struct channel *c);
/*
 * How long messages have waited for their first delivery, since they were published; and for FIN,
 * since their last one. Takes in_flight_lock for a moment.
 */
void channel_latencies(
	struct channel *c, struct latency *publish_to_deliver, struct latency *deliver_to_finish);
void channel_pause(struct channel *c);
void channel_unpause(struct channel *c);
static inline bool channel_is_paused(const struct channel *c)
{
	return atomic_load(&c->paused);
}
/* Empty: throws away everything, in flight and deferred included. May block on the disk. */
int channel_empty(struct channel *c, struct err *err);
/*
 * What is set for it has changed in the store: fetches its snapshot. Waits for the puts that are
 * under way. The pump goes on with the old ones until channel_pump_fetches_settings, which blocks as
 * channel_pause does.
 */
void channel_fetch_settings(struct channel *c);
void channel_pump_fetches_settings(struct channel *c);
/*
 * Delete: with its files. Close: writes everything to the backend. Both disconnect the consumers,
 * and block until the pump has ended. For the topic (see topic_delete_channel): unless another
 * thread has begun it, the topic takes the channel out of its map and closes gone_chan.
 */
enum exit_result channel_delete(struct channel *c, struct err *err);
enum exit_result channel_close(struct channel *c, struct err *err);
/*
 * Has it had no consumer for as long as channel_expire says? Takes no lock; any thread. Never for an
 * ephemeral one.
 */
bool channel_has_expired(const struct channel *c, int64_t now_ns);
/*
 * The same as channel_delete, if it has expired, and not exited; else EXIT_ELSEWHERE. A consumer that
 * comes at the same moment either keeps it, or is told "exiting"; then c->exit_unused says why.
 */
enum exit_result channel_expire(struct channel *c, struct err *err);

/* --- limits: the topic, its pump --------------------------------------------------------------- */

/*
 * Messages that wait here, the deferred ones among them; and the bytes of their bodies, if they are
 * counted. The caller knows that the channel's backend is open. Both take deferred_lock, and leaf
 * locks.
 */
int64_t channel_waiting(struct channel *c);
int64_t channel_waiting_bytes(struct channel *c);
/*
 * Waits while the channel holds more than a batch too much, and drops it; a moment at most. The
 * caller holds no lock.
 */
void channel_await_drops(struct channel *c);

#endif
