/* SPDX-License-Identifier: MIT */
/*
 * A put that io_loop has left with its topic's log, so that no thread waits for the disk. Until it
 * has ended the client's next commands wait, as they do behind any put. Runs in io_loop, but for the
 * one function that says that it has ended: that is called by the log's thread. No Go file.
 */
#ifndef NSQD_PROTOCOL_V2_PUT_H
#define NSQD_PROTOCOL_V2_PUT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "nsqd/client/io_loop.h"
#include "nsqd/queue/topic.h"
#include "protocol/errors.h"

/* What io_loop has met behind it, and is to go on with. */
enum behind {
	BEHIND_COMMANDS,
	BEHIND_ERROR,   /* a command was in error, as error says */
	BEHIND_END,     /* there will be no more commands */
	BEHIND_FAILURE, /* the connection is over, as failure says */
};

/* Of that the last two. */
struct put_aside {
	struct protocol_err error;
	struct err failure;
	bool send_failed; /* io_loop.send_failed */
};

struct pending_put {
	struct topic_put put;
	struct poll_desc *pd; /* borrowed: the client's */
	_Atomic bool ended;   /* put is io_loop's again */
	const char *command;  /* "PUB", "DPUB" or "MPUB" */
	size_t n;             /* how many messages it has */
	enum behind behind;
	struct put_aside *aside; /* owned; NULL: not needed */
	/*
	 * It has not begun, nor can its PUBs stay, as the command behind them is used up: a thread puts
	 * them. Then put is unused, and these are owned, references included.
	 */
	bool needs_thread;
	struct message_body **bodies;
	char topic_name[NAME_SIZE];
};

/*
 * Begins a put of n messages; topic is borrowed, the bodies are taken over. True: l->client->put is it,
 * and the client is to wait for the step that follows its end. False: nothing is
 * taken, as it would have to wait.
 */
bool protocol_v2_begin_put(struct io_loop *l, const char *command, struct topic *t,
	struct message_body *const *take_bodies, size_t n, int64_t deferred_ns);
/* The same for PUBs that can neither begin nor stay: a thread is to put them. */
void protocol_v2_keep_for_thread(struct io_loop *l);
/* That thread: they are gathered again, and no more p's. */
void protocol_v2_take_from_keep(struct io_loop *l, struct pending_put *p);
/* p->aside, which is made if it is not there. */
struct put_aside *protocol_v2_put_aside(struct pending_put *p);
/* Has the client's put ended? If it takes long the log of the daemon says so. */
bool protocol_v2_put_has_ended(struct client_v2 *c);
/* When that is to be asked again, at the latest (monotonic). */
int64_t protocol_v2_put_deadline(void);
/* Frees it. It has ended. NULL is fine. */
void protocol_v2_free_put(struct pending_put *p);

#endif
