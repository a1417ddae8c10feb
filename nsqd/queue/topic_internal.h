/* SPDX-License-Identifier: MIT */
/*
 * What the parts of a topic share: topic.c, topic_put.c, topic_exit.c, topic_durability.c, its pump,
 * topic_pump.c, and its limits, admission.c. settings_change.c frees lists. For no other file.
 */
#ifndef NSQD_TOPIC_INTERNAL_H
#define NSQD_TOPIC_INTERNAL_H

#include "nsqd/queue/drop_plan.h"
#include "nsqd/queue/topic.h"

/* The most messages that the pump takes at once, and that are made at once. */
#define TOPIC_BATCH 256

/* --- channels: topic.c ------------------------------------------------------------------------- */

/* Drops a reference to each of n channels, and frees the list. */
void topic_free_channels(struct channel **list, size_t n);
/*
 * The end of an exit that this thread has begun, with that result: the channel's name is free, and the
 * threads that wait are told. Drops the map's reference. Returns how many channels are left. Takes
 * topic.lock for writing.
 */
size_t topic_channel_is_gone(struct topic *t, struct channel *c, enum exit_result res);

/* --- the log: topic_durability.c --------------------------------------------------------------- */

/*
 * Opens the backend of a new topic with its settings, and its log if it is durable. Nobody else knows
 * the topic yet. -1 with err set: it can only be freed. Blocks on the disk.
 */
int topic_open_backend(struct topic *t, const struct options *o, struct err *err);
/*
 * That enum durability is set for it now. Between process and disk the log changes at once. To get a
 * log, or to lose it, a topic has to be opened anew. Takes topic.lock for reading; waits for the disk.
 */
void topic_change_durability(struct topic *t, int durability);
/*
 * With a log: what was handed out, finished or emptied before is safe from kill -9 then. Nothing once
 * the topic is exiting. Takes topic.lock for reading, and blocks on the disk without it. A failure is
 * logged.
 */
void topic_flush_log(struct topic *t);
/*
 * Of the exit, when nothing uses the log any more: closes it, or deletes it. -1 with err set. Takes
 * topic.lock for writing, and blocks on the disk without it.
 */
int topic_end_log(struct topic *t, bool deleted, struct err *err);

/* --- the pump: topic_pump.c -------------------------------------------------------------------- */

/* The thread; arg is the topic. It ends when exit_chan is closed. */
void topic_message_pump(void *arg);
/*
 * The backend may forget the messages that the pump has received, since the channels have them.
 * While all of these only keep them in memory, a crash had better bring them again. The pump;
 * then exit.
 */
void topic_settle(struct topic *t);

/* --- limits: admission.c ----------------------------------------------------------------------- */

/* For a new topic with its settings, before anybody else knows it. */
void limits_init(struct topic *t);
void limits_destroy(struct topic *t);

/* --- publishers ------------------------------------------------------------------------------- */

/* Is there any limit to look at? Else nothing here is to be called. Takes no lock. */
bool limits_are_on(struct topic *t);
/*
 * How many of n messages with these bodies may be put: the first ones; or (whole) all or none.
 * Fewer than n with err set: ERR_FULL, and what is full. For those room is reserved, which
 * limits_begin_put or limits_release gives back. *drops: there is no channel, so they are to be
 * dropped, and nothing is reserved. Takes topic.lock for reading. Does not block.
 */
size_t limits_admit(struct topic *t, struct message_body *const *bodies, size_t n, bool whole,
	bool *drops, struct err *err);
/*
 * The same for n <= TOPIC_BATCH messages that are made, the first ones, by the limits of the topic and
 * its channels alone. Refused ones are not counted: they are tried again.
 */
size_t limits_admit_made(struct topic *t, struct message *const *msgs, size_t n, struct err *err);
/* The rest of what was admitted will not be put. */
void limits_release(struct topic *t, struct message_body *const *bodies, size_t n);
/* n messages are dropped, and have not been put. */
void limits_count_dropped(struct topic *t, size_t n);

/* A put under way: begin and end under the same topic.lock. */
struct limits_put {
	bool counted; /* the limits are on */
	size_t n;
	const uint32_t *lens; /* borrowed: of the bodies */
};
/* n messages are about to be put. admitted: their reservation ends here. */
void limits_begin_put(
	struct topic *t, struct limits_put *p, const uint32_t *lens, size_t n, bool admitted);
/* The first in_memory of them have gone into memory, others elsewhere or nowhere. */
void limits_end_put(struct topic *t, const struct limits_put *p, size_t in_memory);
/*
 * Messages have been put, and no lock is held. With drop-head: if the topic holds too many, its pump
 * is told; and if these are more than a batch, waited for, a moment at most.
 */
void limits_after_put(struct topic *t);
/* Of that the telling, without the waiting. True: these are more than a batch. */
bool limits_tell_over(struct topic *t);
/*
 * Is limits_after_put going to wait, if n messages are put? A guess. Called with topic.lock held.
 */
bool limits_may_wait(struct topic *t, size_t n);
/* n messages of the memory queue have been thrown away. Called with topic.lock held. */
void limits_emptied(struct topic *t, size_t n, int64_t bytes);

/* --- the topic's pump ------------------------------------------------------------------------- */

/* Is there a limit, of the topic or of a channel? Takes topic.lock and their exit_lock for reading. */
bool limits_are_set(struct topic *t);
/* Does the channel make its topic full? Takes its exit_lock for reading. */
bool limits_of_channel(struct channel *c);
/*
 * The settings or the channels have changed: these are the channels of now. Takes topic.lock for
 * writing, if there is or was a limit; their exit_lock for reading. The caller holds no message.
 */
void limits_refresh(struct topic *t, struct channel *const *channels, size_t n);
/* Around the dealing out of n messages from memory (or not), with so many bytes if they count. */
int64_t limits_begin_deal(struct topic *t, struct message *const *msgs, size_t n, bool memory);
void limits_end_deal(struct topic *t, size_t n, int64_t bytes, bool memory);

/*
 * Of what the topic holds, while it hands out nothing. received: how many messages the pump has got
 * from the backend in all.
 */
struct drop_plan limits_plan_topic(struct topic *t, int64_t received);
/* Drops n messages that were received from memory (or not). Takes them over. */
void limits_drop(struct topic *t, struct message **take_msgs, size_t n, bool memory);

#endif
