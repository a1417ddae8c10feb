/* SPDX-License-Identifier: MIT */
/* The client's message pump (protocolV2.messagePump); for protocol_v2.c. */
#ifndef NSQD_PROTOCOL_V2_PUMP_H
#define NSQD_PROTOCOL_V2_PUMP_H

#include <stdint.h>

struct client_v2;

/* The pump's state, derived from client attributes. io_loop, before its first command. */
void protocol_v2_init_message_pump(struct client_v2 *c);
/*
 * Starts the pump, if it does not run yet. It has no thread, but gets one whenever a step of it may
 * block. Counted in c->wait_group until its end. io_loop, as are the next; takes the pump's first
 * steps.
 */
void protocol_v2_start_message_pump(struct client_v2 *c);
/*
 * When io_loop is to look after the pump, at the latest (monotonic; 0: never): a pump that has not
 * been started is when its first heartbeat is due. If that is now this starts it.
 */
int64_t protocol_v2_pump_deadline(struct client_v2 *c);
/*
 * There may have been no thread for the pump: tries once more. The pumps that wait with it go on in
 * any case. Does not block.
 */
void protocol_v2_retry_pump(struct client_v2 *c);
/* The same at the end, where the calling thread will do: it runs the pump, which is to end. Blocks. */
void protocol_v2_lend_thread(struct client_v2 *c);

#endif
