/* SPDX-License-Identifier: MIT */
/*
 * The state of one io_loop, as the parts of the protocol share it. Types only: each part declares
 * its functions in a header of its own. From top to bottom:
 *
 *   protocol_v2.c            the loop, and the table of commands
 *   protocol_v2_identify.c   IDENTIFY, AUTH
 *   protocol_v2_publish.c    PUB, DPUB, MPUB
 *   protocol_v2_consume.c    SUB, RDY, FIN, REQ, TOUCH, CLS, NOP
 *   protocol_v2_params.c     the parameters and bodies of commands, and what is checked of them
 *   protocol_v2_reply.c      answers and errors, and the PUBs and FINs that wait for their fellows
 *
 * All of it belongs to the thread that runs the loop: a poller for a step, or "io:ADDR".
 */
#ifndef NSQD_IO_LOOP_H
#define NSQD_IO_LOOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "nsqd/client/client_v2.h"
#include "nsqd/core/message.h"
#include "nsqd/queue/channel.h"
#include "protocol/errors.h"
#include "protocol/names.h"

/* The most PUBs that are queued together, or DPUBs with the same delay. */
#define PUB_BATCH 64
/* The most FINs that are executed together. */
#define FIN_BATCH FINISH_BATCH
/* No command has more parameters than it looks at; the others are only counted. */
#define MAX_PARAMS 4

struct param {
	const char *s; /* borrowed from the reader's buffer; not terminated */
	size_t len;
};

struct params {
	struct param v[MAX_PARAMS];
	size_t n; /* as many as the line had, also beyond MAX_PARAMS */
};

struct io_loop {
	struct client_v2 *client;
	const struct protocol_v2 *protocol; /* client->protocol */
	struct context *ctx;                /* client->ctx */

	struct protocol_err error; /* of the command that is being executed */
	struct err failure;        /* why the connection is over, where no error says it */
	bool send_failed; /* failure is that an answer could not be sent: it says so already */
	const struct protocol_err *ended_by; /* error or pub_error that has ended the connection */

	bool polled;        /* a poller runs it, which must not block */
	bool unflushed;     /* answers wait in the writer */
	bool ready_changed; /* the client has room again: its pump is to be told */

	bool goes_on; /* this is not its first command: the time for that goes on */
	bool begun;   /* the next command is one that waited, and has been logged: once more */
	bool waiting; /* the present one waits for its body; all that was read is put back */
	bool blocks; /* the PUBs that wait may block, or a thread is missing: they stay, or are put back */
	bool last_try; /* the command behind the PUBs is used up, so they cannot stay */
	bool gathers;  /* a part of a command is here, and is not begun again before it is whole */
	size_t n_commands; /* that have been executed; and when a thread last read: */
	size_t n_commands_read;
	size_t lonely_reads; /* of a thread, in a row, that brought few commands; since then: */
	int64_t lonely_since_ns;

	size_t n_pubs;   /* PUBs or DPUBs that wait to be queued */
	bool pub_failed; /* pub_error is to be sent; the connection is over */
	struct protocol_err pub_error;
	size_t n_fins;                 /* that wait to be executed; never while PUBs wait */
	struct protocol_err fin_error; /* of the one that is being answered */

	/* From here on nothing is set before it is used. */
	char pub_topic[NAME_SIZE];            /* of all of them */
	const char *pub_command;              /* likewise: "PUB" or "DPUB" */
	int64_t pub_deferred_ns;              /* likewise: the delay of the DPUBs; 0: none */
	struct message_body *pubs[PUB_BATCH]; /* owned, a reference each */
	struct message_id fins[FIN_BATCH];
};

#endif
