/* SPDX-License-Identifier: MIT */
/* The client's message pump (protocolV2.messagePump); for protocol_v2.c. */
#ifndef NSQD_PROTOCOL_V2_PUMP_H
#define NSQD_PROTOCOL_V2_PUMP_H

struct client_v2;

/* The pump's state, derived from client attributes. io_loop, before the first start. */
void protocol_v2_init_message_pump(struct client_v2 *c);
/*
 * The thread; arg is the client. It ends when io_loop tells it to, for good or for now (struct
 * pump_orders), or after an error.
 */
void protocol_v2_message_pump(void *arg);

#endif
