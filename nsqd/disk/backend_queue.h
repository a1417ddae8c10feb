/* SPDX-License-Identifier: MIT */
/*
 * The secondary message storage of a topic or channel (nsqd/backend_queue.go): diskqueue.c, or
 * dummy_backend_queue.c for #ephemeral ones. It stores byte records, and offers messages to read.
 * So a record is copied only once, from the block that was read into the message's body.
 */
#ifndef NSQD_BACKEND_QUEUE_H
#define NSQD_BACKEND_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/chan.h"
#include "common/err.h"
#include "nsqd/core/message.h"
#include "nsqd/core/message_view.h"

/* One record to store, in two parts (a message's header and its body). Borrowed for the call. */
struct backend_record {
	const void *head;
	size_t head_len;
	const void *body;
	size_t body_len;
};

struct backend_queue;

/*
 * What was stored at a moment, to be looked at without the queue, which may be read, emptied or
 * freed meanwhile. One thread's own.
 */
struct backend_look {
	/*
	 * Adds the first messages to out, as long as there is room. 0: all, or as many as there is
	 * room for. 1: a reader has come by, what is to be seen has gone: look anew. -1 with err
	 * set: some may be there that could not be seen. Blocks on the disk.
	 */
	int (*read)(struct backend_look *l, struct message_views *out, struct err *err);
	void (*free)(struct backend_look *l);
};

struct backend_queue_ops {
	/*
	 * Appends n records in order. Returns how many are stored. Fewer than n: err is set, and
	 * nothing of records [ret, n) is there, not even torn. May block on the disk. Any thread.
	 */
	size_t (*put)(struct backend_queue *q, const struct backend_record *recs, size_t n,
		struct err *err);
	/*
	 * An unbuffered chan of struct message *, to receive from (vectored or not): a message that
	 * was received is the receiver's, and gone from the queue. The chan is borrowed, and the
	 * same for the life of the queue (but see stock_first.h). NULL: there is never anything to
	 * read.
	 */
	struct chan *(*read_chan)(struct backend_queue *q);
	/*
	 * NULL: none is called. Else the receiver says at once what it has received, n > 0 messages of
	 * one call of chan_recv and its like. Any thread, never blocks.
	 */
	void (*took)(struct backend_queue *q, struct message *const *msgs, size_t n);
	/*
	 * The receiver has dealt with n more of the messages that it received, in their order. Only
	 * then may a queue that was made to wait for this forget them. After a crash the others
	 * come again. Any thread, never blocks.
	 */
	void (*done)(struct backend_queue *q, size_t n);
	/*
	 * Shall a crash forget what was received, done or not? Only a queue that was made so does;
	 * with false it forgets no more than what is done. Any thread, never blocks.
	 */
	void (*forget)(struct backend_queue *q, bool at_once);
	/*
	 * Syncs, stops the queue's thread and frees the queue; the stored messages stay on disk. -1
	 * with err set. Blocks on the disk. No thread may use the queue after that.
	 */
	int (*close)(struct backend_queue *q, struct err *err);
	/* As close, and removes the files. (go-diskqueue's Delete leaves that to Empty.) */
	int (*delete)(struct backend_queue *q, struct err *err);
	/* Messages stored and not yet received. Any thread, never blocks. */
	int64_t (*depth)(struct backend_queue *q);
	/* The bytes of the bodies of these. Any thread, never blocks. */
	int64_t (*body_bytes)(struct backend_queue *q);
	/*
	 * Messages that were received, and not reported as done. One that moves from depth to here
	 * is counted twice for a moment, and never not at all, if depth is read first. It may be
	 * below 0: these are done, and still in depth. Any thread, never blocks.
	 */
	int64_t (*undone)(struct backend_queue *q);
	/*
	 * How many messages have been received in all, as depth and body_bytes know of it: that may
	 * be a moment later than their receiver does. Any thread, never blocks.
	 */
	int64_t (*received)(struct backend_queue *q);
	/*
	 * The bytes of the bodies of these. Where body_bytes has not got less yet, this has got more.
	 * Any thread, never blocks.
	 */
	int64_t (*received_bytes)(struct backend_queue *q);
	/*
	 * How many messages have been read, and can be received at once; the timestamps of the first
	 * and the last of them. Any thread, never blocks.
	 */
	size_t (*ahead)(struct backend_queue *q, int64_t *first, int64_t *last);
	/* Throws the stored messages away. -1 with err set. May block on the disk. */
	int (*empty)(struct backend_queue *q, struct err *err);
	/*
	 * What is stored and not yet received, as it was a moment ago; the caller frees it. NULL:
	 * nothing. Any thread, never blocks.
	 */
	struct backend_look *(*look)(struct backend_queue *q);
	/*
	 * The timestamp of the first message that look would show (ns); 0: none, or it has not been
	 * read yet. Any thread, never blocks.
	 */
	int64_t (*first_timestamp)(struct backend_queue *q);
	/*
	 * NULL: the queue stores records, and the caller of put decides what goes into memory. Else the
	 * messages (whose seq is not 0) are in a log already, and nothing is to be stored. The queue
	 * decides at one moment which of them go into memory (NULL: none may). The others it will read
	 * again when there is room. Returns how many, the first ones, are in memory; those are not the
	 * caller's any more. The others are still the caller's to unref, and no longer in its care. So
	 * nobody else may send to that chan. fresh: the topic hands them out, in their order; else they
	 * come back. Never fails, never blocks; any thread.
	 */
	size_t (*put_messages)(struct backend_queue *q, struct chan *memory,
		struct message *const *msgs, size_t n, bool fresh);
};

/* The head of every implementation. */
struct backend_queue {
	const struct backend_queue_ops *ops; /* immutable */
};

static inline void backend_queue_took(
	struct backend_queue *q, struct message *const *msgs, size_t n)
{
	if (q->ops->took)
		q->ops->took(q, msgs, n);
}

/*
 * writeMessageToBackend for n messages: builds their records and stores them in as few calls as
 * possible. Returns how many are stored (and are still the caller's to unref); fewer than n only
 * with err set. Those of a log are left to be read again.
 */
size_t backend_queue_put_messages(
	struct backend_queue *q, struct message *const *msgs, size_t n, struct err *err);

#endif
