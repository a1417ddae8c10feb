/* SPDX-License-Identifier: MIT */
/*
 * The message record, its shared body, and its wire and disk form (nsqd/message.go). A record
 * belongs to exactly one queue at a time; passing its pointer through a chan passes it on. Go's
 * collector knows what uses a message; here references are counted. A record lives while its queue
 * holds one, or the client's pump that is writing it. A body lives while a record points to it, so
 * the channels of a topic share one copy.
 */
#ifndef NSQD_MESSAGE_H
#define NSQD_MESSAGE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "common/err.h"
#include "common/heap.h"

#define MSG_ID_LENGTH 16
/* Timestamp (8), attempts (2), id (16): the bytes in front of the body on the wire and on disk. */
#define MSG_HEADER_LENGTH 26
#define MIN_VALID_MSG_LENGTH MSG_HEADER_LENGTH

struct chan;

struct message_id {
	char hex[MSG_ID_LENGTH]; /* not terminated */
};

static inline bool message_id_equal(struct message_id a, struct message_id b)
{
	return memcmp(a.hex, b.hex, MSG_ID_LENGTH) == 0;
}

struct message {
	struct message_id id;       /* immutable */
	_Atomic uint16_t refs;      /* the owning queue, and a pump that still writes it */
	uint16_t attempts;          /* owner only; the pump that delivers it counts up */
	uint32_t offset;            /* immutable once in a log (nsqd/log): where, in its segment */
	struct heap_node heap_node; /* in in_flight_pqueue.runs, if first of its run */
	int64_t timestamp;          /* immutable; wall clock, ns */
	struct message_body *body;  /* immutable; one reference */
	uint64_t seq;               /* immutable once in a log: its number there; 0: in none */
	union {
		int64_t deferred_ns; /* immutable once put; DPUB's delay, 0 for none */
		/* While it is in flight: monotonic clock, when it was handed out. Then 0. */
		int64_t delivery_ns;
	};

	/* For in-flight and deferred handling; guarded by the lock of the queue that it is in. */
	int64_t client_id;         /* to whom */
	int64_t due_ns;            /* deadline on the monotonic clock: the order of the queue */
	struct message *hash_next; /* next in its bucket of the id table */
	struct message *run_prev;  /* neighbours in its run (see in_flight_pqueue.c), or NULL */
	struct message *run_next;
};

/*
 * The first record lies in front of its body: one piece of memory for both, since most messages
 * have one record only. That memory lives as long as the body.
 */
struct message_body {
	_Atomic uint32_t refs;
	uint32_t len;         /* immutable */
	struct message first; /* made by message_new */
	char data[];
};

/* A body with room for len bytes (uninitialised), one reference. No memory ends the process. */
struct message_body *message_body_new(size_t len);
struct message_body *message_body_ref(struct message_body *b);
void message_body_unref(struct message_body *b);

/*
 * NewMessage: the body's first record, with one reference; takes over the caller's reference to
 * body. Once for each body.
 */
struct message *message_new(
	struct message_id id, struct message_body *take_body, int64_t timestamp_ns);
/*
 * A record of its own for a further channel: same id, timestamp, delay; shares the body; no
 * attempts.
 */
struct message *message_copy(const struct message *m);
struct message *message_ref(struct message *m);
/* NULL is fine. */
void message_unref(struct message *m);
/* Of each of n messages. */
void message_unref_all(struct message *const *msgs, size_t n);

/* Drops the messages that a chan of struct message * holds; does not block. NULL is fine. */
void message_drain_chan(struct chan *c);

/* The MSG_HEADER_LENGTH bytes in front of the body: big-endian timestamp, attempts; id. */
void message_write_header(const struct message *m, unsigned char out[MSG_HEADER_LENGTH]);
/* decodeMessage: copies the body out of buf. NULL with err set: shorter than a header. */
struct message *message_decode(const void *buf, size_t len, struct err *err);

#endif
