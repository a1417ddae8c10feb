/* SPDX-License-Identifier: MIT */
/* The client's message pump (protocolV2.messagePump); for protocol_v2.c. */
#ifndef NSQD_PROTOCOL_V2_PUMP_H
#define NSQD_PROTOCOL_V2_PUMP_H

#include <stdbool.h>

#include "common/err.h"

struct client_v2;
struct chan;

struct message_pump_args {
	struct client_v2 *client;
	struct chan *started_chan; /* closed once the pump has read the client's attributes */
};

/* The thread; arg is a struct message_pump_args, used until started_chan is closed. */
void protocol_v2_message_pump(void *arg);

/*
 * io_loop, after FINs or REQs have made a client ready that was not: writes
 * messages that are waiting in its channel's memory on the pump's behalf
 * (*unflushed: io_loop is to flush them), and tells the pump if room is left.
 * -1 with err set: they cannot be written.
 */
int protocol_v2_fill(struct client_v2 *c, bool *unflushed, struct err *err);

#endif
