/* SPDX-License-Identifier: MIT */
/* What is around the pumps in their model: peers, a disk, a topic. See pump_stubs.c. */
#ifndef TEST_MODEL_PUMP_STUBS_H
#define TEST_MODEL_PUMP_STUBS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "nsqd/client/client_v2.h"
#include "nsqd/disk/backend_queue.h"

#define PEERS 2
#define MESSAGES 4
/* A frame that is no message. */
#define ANSWER (-1)

/* What a client has been sent: the numbers of messages, in order. */
struct frames {
	int n;
	int v[2 * MESSAGES];
};

/* The other end of a client's connection. */
struct peer {
	struct stream stream;   /* the client's, which is at its end only */
	struct frames buffered; /* what the writer and the layers below have */
	struct frames arrived;
	int errors;  /* so many writes may fail */
	bool shut;   /* client_v2_abort */
	bool kicked; /* netpoll_kick */
};

/* By the client's id. What may happen is set by the scenario; the rest is only to be looked at. */
extern struct peer peers[PEERS];
/* So many times a socket takes not all that it could, or nothing. */
extern int stalls;

/* The number of a message, by its id; and the other way round. */
int number_of(struct message_id id);
struct message_id id_of(int number);

/* The only disk queue: messages that it offers, and those that are put there. */
struct disk {
	struct backend_queue queue;
	struct chan *read_chan;
	_Atomic int64_t depth;
	int n_done;               /* taken, and dealt with */
	int stored[MESSAGES + 1]; /* how often, by number */
	bool closed;
};
extern struct disk disk;

#endif
