/* SPDX-License-Identifier: MIT */
/* What channel.c and its pump, channel_pump.c, share; for no other file. */
#ifndef NSQD_CHANNEL_INTERNAL_H
#define NSQD_CHANNEL_INTERNAL_H

#include "nsqd/queue/channel.h"

/* What has changed, as told to the pump. */
enum channel_update {
	CHANNEL_PAUSED,      /* or unpaused */
	CHANNEL_EMPTIED,     /* the batch is to be dropped as well */
	CHANNEL_SETTINGS,    /* it is to fetch them */
	CHANNEL_CLIENT_LEFT, /* perhaps the one that asked for the batch */
	CHANNEL_VISITED, /* another thread has something to look at, or to do, where the pump is */
};

/* What runs in the pump, between two of its steps. */
struct pump_visit {
	void (*visit)(struct channel *c, void *arg);
	void *arg;
	struct chan *done_chan; /* capacity 1 */
};

/* An element of update_chan. */
struct pump_update {
	enum channel_update what;
	struct pump_visit *visit; /* CHANNEL_VISITED; else NULL */
};

/* The thread; arg is the channel. It ends when exit_chan is closed. */
void channel_message_pump(void *arg);
/* Blocks until the pump has handled the update, or has exited. */
void channel_update_pump(struct channel *c, enum channel_update what);
/*
 * Has the pump call visit(c, arg): there batch and kept do not change. Blocks until it has, and so
 * perhaps on the disk, as the pump does; the caller holds no lock that the pump wants, exit_lock
 * included. False: the pump has ended, or is about to, and has not called it.
 */
bool channel_visit_pump(struct channel *c, void (*visit)(struct channel *c, void *arg), void *arg);
/*
 * The next two in a visit only. The message of that id becomes the first of the batch, where it
 * stays until the other is called: then it is in another queue, or finished. NULL: it is not there.
 */
struct message *channel_first_in_batch(struct channel *c, struct message_id id);
void channel_drop_first_of_batch(struct channel *c);
/* put of messages that come back; the caller holds exit_lock. What the disk refuses is deferred. */
void channel_put_back_locked(struct channel *c, struct message *const *take_msgs, size_t n);
/*
 * Takes a message out of the queue of those in flight, or deferred, whoever has it; the caller gets
 * the queue's reference. NULL: it is not there.
 */
struct message *channel_pop_in_flight(struct channel *c, struct message_id id);
struct message *channel_pop_deferred(struct channel *c, struct message_id id);
/* The consumers that had these have so many less in flight, if they are still there. */
void channel_tell_timed_out(struct channel *c, struct message *const *msgs, size_t n);

/*
 * put: queues n messages in memory or backend; returns how many it took over, fewer with err set.
 */
size_t channel_put_locked(
	struct channel *c, struct message *const *msgs, size_t n, struct err *err);
/* Less is kept: logs what was dropped; if nothing is any more, the topic's pump may go on. */
void channel_kept_less(struct channel *c);
/* StartDeferredTimeout. Takes m over. */
void channel_start_deferred_timeout(struct channel *c, struct message *take_m, int64_t delay_ns);

#endif
