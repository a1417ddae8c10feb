/* SPDX-License-Identifier: MIT */
/*
 * The backend queue of a topic that has a log, and of its channels. It stores nothing: the messages
 * are in the log, and what has become of them is in the cursors. It reads what had no room in memory,
 * and what waits until it is due. No Go file: stock has no log.
 *
 * A queue is *behind* while there is something in the log that it has to read. Then nothing goes into
 * memory, whether it is new or comes back, and what is read is offered only when memory has run
 * empty. So the order is that of the log, but for what comes back or was waiting.
 *
 * The owner's lock guards what the queue knows, and the cursor: channel.in_flight_lock; that of a
 * topic is topic_log.lock. So a message goes into memory, or is left to the reader, at one moment.
 *
 * The thread lq:NAME exists while there is something to read. What waits needs none: the queue tells
 * its owner when the first of it is due, and the owner calls log_queue_take_due then.
 */
#ifndef NSQD_LOG_QUEUE_H
#define NSQD_LOG_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/chan.h"
#include "common/err.h"
#include "common/lock.h"
#include "nsqd/core/message.h"
#include "nsqd/disk/backend_queue.h"
#include "nsqd/log/topic_log.h"

/*
 * The queue of the topic, before topic_log_start. memory: the topic's memory_msg_chan, or NULL;
 * borrowed, outlives the queue. Nobody but the queue sends to it. Its owner's lock is
 * topic_log_lock. Never NULL. Does not block.
 */
struct backend_queue *log_queue_new_topic(struct topic_log *tl, struct chan *memory);
/*
 * The queue of a channel, whose name is copied. lock: its owner's, borrowed, outlives the queue, as
 * memory does. Before topic_log_start it goes on where its cursor is; afterwards it begins with the
 * next message that the topic hands out. NULL with err set. Blocks on the disk.
 *
 * Its channel is there when log_queue_on_due is called. If it is closed before, a new one leaves
 * nothing.
 */
struct backend_queue *log_queue_new_channel(struct topic_log *tl, const char *channel,
	struct mutex *lock, struct chan *memory, struct err *err);

/*
 * Of a topic: from now on nothing new goes into memory, but is read later; or it may again. Takes
 * topic_log_lock.
 */
void log_queue_hold(struct backend_queue *q, bool hold);

/* --- what happens to a channel's messages --------------------------------------------------------- */

/*
 * n messages are handed out to a consumer; attempts has been counted up. Those that are in no log
 * (seq 0) are passed over, here and below. With the owner's lock held, as for those that end in
 * _locked. Never blocks. The caller calls log_queue_touch before it unlocks.
 */
void log_queue_taken_locked(struct backend_queue *q, struct message *const *msgs, size_t n);
/* m is finished, for good. */
void log_queue_finished_locked(struct backend_queue *q, const struct message *m);
/*
 * What was told to the cursor is to be written in time. With the owner's lock held. Never blocks, and
 * starts no thread: where one is needed, log_queue_take_due is wanted at once.
 */
void log_queue_touch(struct backend_queue *q);

/*
 * Now and then: has the thread tried again that could not be started. It starts that of the topic's queue,
 * which has nobody else. With the owner's lock held. Never blocks.
 */
void log_queue_try_again(struct backend_queue *q);

/* --- what is left ---------------------------------------------------------------------------------- */

/*
 * All that is left was read, and nobody takes it: may it go into memory, so that no thread need hold
 * it? fn says so with log_queue_give_rest, or not. It is called by lq:NAME, without locks, now and
 * then, and must not block.
 */
void log_queue_on_rest(struct backend_queue *q, void (*fn)(void *arg), void *arg);
/*
 * What lq:NAME has read goes into memory, if that is all and there is room. For log_queue_on_rest's fn.
 * Before that `into` is called, with the owner's lock held: it must not block, nor call the queue.
 */
void log_queue_give_rest(struct backend_queue *q,
	void (*into)(void *arg, struct message *const *msgs, size_t n), void *arg);

/* --- what waits ------------------------------------------------------------------------------------ */

/*
 * Has the owner told of each change of when log_queue_take_due is to be called: at_ns (monotonic),
 * INT64_MAX: never. With the owner's lock held, so fn must not block, nor call the queue. It is
 * called at once, and not before the owner is ready for that: the queue of a channel has nobody else
 * to wake it. Takes the owner's lock.
 */
void log_queue_on_due(struct backend_queue *q, void (*fn)(void *arg, int64_t at_ns), void *arg);
/*
 * Takes up to max messages that are due by now, the earliest first, and reads them. The caller puts
 * them back at once (put_messages), and then calls log_queue_due_done for all of them. 0: none is due.
 * Or there is no room in memory, and lq:NAME sees to them. Takes the owner's lock. Blocks on
 * the disk; several threads may.
 */
size_t log_queue_take_due(struct backend_queue *q, struct message **msgs, size_t max);
/*
 * What is due is lq:NAME's business, which is started for that if need be. For a caller that has no
 * thread that may wait for the disk. Takes the owner's lock. Never blocks on the disk.
 */
void log_queue_leave_due(struct backend_queue *q);
/* n of them, whose bodies have so many bytes, are elsewhere now. Never blocks. */
void log_queue_due_done(struct backend_queue *q, size_t n, int64_t bytes);
/*
 * A message that was taken comes back in delay ns, and until then it is not in memory: still the
 * caller's to unref. Takes the owner's lock. Never blocks on the disk.
 */
void log_queue_wait_for(struct backend_queue *q, const struct message *m, int64_t delay_ns);
/*
 * Takes out up to max messages that wait for their time, the earliest first: so many at least (wanted),
 * and so many bytes. They are the caller's, as if they had been received. Blocks on the
 * disk; takes the owner's lock.
 */
size_t log_queue_take_first(struct backend_queue *q, struct message **msgs, size_t max,
	int64_t wanted, int64_t wanted_bytes);
/*
 * Appends n > 0 messages that are new to the log for this channel alone, all or none, and blocks until
 * they are kept. They are due at once, and still the caller's to unref. -1 with err set.
 */
int log_queue_append_alone(
	struct backend_queue *q, struct message *const *msgs, size_t n, struct err *err);
/* A message that was received, and of which nobody holds the body any more. */
struct log_queue_place {
	uint64_t seq;
	uint32_t offset, len; /* len: of its body */
	uint16_t attempts;
};
/* These n come back, and are due at once. Takes the owner's lock. Never blocks. */
void log_queue_put_back(struct backend_queue *q, const struct log_queue_place *places, size_t n);
/* How many messages wait for a time that was asked for, by DPUB or REQ. Takes the owner's lock. */
size_t log_queue_deferred(struct backend_queue *q);
/*
 * How many messages the queue holds, those that wait for their time included, and the bytes of their
 * bodies. None that goes from there to here meanwhile is missed, or counted twice. The bytes of what
 * was there before the last start are an estimate. Takes the owner's lock.
 */
int64_t log_queue_waiting(struct backend_queue *q, int64_t *bytes);
/*
 * The messages before upto will not be put: the topic has dropped them. Those that were put before
 * are what they are. Takes the owner's lock.
 */
void log_queue_pass_over(struct backend_queue *q, uint64_t upto);
/* What the cursor holds back. Takes log.lock. */
void log_queue_stats_locked(struct backend_queue *q, struct topic_log_cursor_stats *out);
/* --- one message, and those that wait for their time (log_queue_find.c) --------------------------- */

/*
 * Those that wait for their time, max of them, which are due first: to be looked at without the queue
 * (backend_look; they are added in the order of their due times). NULL: there are none. Any thread;
 * takes the owner's lock for a moment at a time, as often as it takes.
 */
struct backend_look *log_queue_look_waiting(struct backend_queue *q, size_t max);
/*
 * Adds to out what lq:NAME has read of messages that have waited, and not handed out. Waits for that
 * thread, but no longer than half a second: the disk may hold it up. Any thread, without locks but
 * that which keeps the queue.
 */
void log_queue_see_batch(struct backend_queue *q, struct message_views *out);
/*
 * Takes the message of that id out of what lq:NAME has read and not handed out. It is the caller's, as
 * if it had been received. NULL: it is not there. Waits as log_queue_see_batch.
 */
struct message *log_queue_take_read(struct backend_queue *q, struct message_id id);

/* A search for a message that is in the log, and not in memory. One thread's own. */
struct log_find;
enum log_found_by_id {
	FOUND_BY_ID,   /* it is in the log; log_queue_settle knows whether it still waits there */
	NOT_BY_ID,     /* there is no such message */
	GONE_BY_ID,    /* none waits; one that has just ceased to was not looked for */
	UNKNOWN_BY_ID, /* it may be one of those that were not looked at, or could not be read */
};
/* What there is to be looked at. Never NULL. As log_queue_look_waiting. */
struct log_find *log_queue_find(struct backend_queue *q);
/*
 * Reads it, without the queue. FOUND_BY_ID: *m is the caller's. Looks at the LOG_FIND_WAITING that are
 * due first; and at the segments in which a message of that id would be, three of them at most. Blocks on the
 * disk, without locks.
 */
enum log_found_by_id log_find_read(struct log_find *f, struct message_id id, struct message **m);
void log_find_free(struct log_find *f);
#define LOG_FIND_WAITING 4096

enum log_settled {
	LOG_SETTLED,
	LOG_OVER,      /* it is finished, or the topic has not handed it out yet */
	LOG_ELSEWHERE, /* it is in memory, or on its way */
};
/*
 * A message that log_find_read has found is finished, or (delay_ns >= 0) waits so long, if it still
 * waits in the cursor, or is to be read. Any thread; takes the owner's lock for a moment at a time.
 */
enum log_settled log_queue_settle(struct backend_queue *q, struct message *m, int64_t delay_ns);
/*
 * What was told to the cursor is written when it returns: it does not come again after kill -9. If the
 * disk refuses, it is tried again later, and the log says so. Blocks on the disk.
 */
void log_queue_flush(struct backend_queue *q);

/* The cursor; with the owner's lock held, and only to look. */
struct cursor *log_queue_cursor(struct backend_queue *q);

#endif
