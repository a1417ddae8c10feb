/* SPDX-License-Identifier: MIT */
/* The client's message pump (protocolV2.messagePump); for protocol_v2.c. */
#ifndef NSQD_PROTOCOL_V2_PUMP_H
#define NSQD_PROTOCOL_V2_PUMP_H

#include <stdbool.h>

#include "common/err.h"

struct channel;
struct client_v2;
struct message;

/*
 * What the pump starts with: initializes state derived from client attributes. io_loop, before the
 * first start.
 */
void protocol_v2_init_message_pump(struct client_v2 *c);
/*
 * The thread; arg is the client. It ends when exit_chan is closed, after an
 * error, or when io_loop asks by park_chan: then another one may go on later.
 */
void protocol_v2_message_pump(void *arg);
/*
 * One heartbeat, flushed. Blocks as client_v2_send does. The pump; or netpoll, for a parked client.
 */
int protocol_v2_send_heartbeat(struct client_v2 *c, struct err *err);

/*
 * io_loop, after FINs or REQs have made a client ready that was not: writes
 * messages that are waiting in its channel's memory on the pump's behalf
 * (*unflushed: io_loop is to flush them, with client_v2_try_flush), and if room is left gives it
 * to the pump or, where that does not sleep, tells it. Never waits for the peer, nor for a thread that does.
 * -1 with err set: they cannot be written.
 */
int protocol_v2_fill(struct client_v2 *c, bool *unflushed, struct err *err);

/*
 * consumer_ops.deliver: writes m to a consumer, on its pump's behalf, if that can be done at once.
 * The channel's pump, which has taken the room of the client's pump: with it, the right to fill,
 * which is given back here. It holds ch->lock for reading. True: m is in flight (takes over the
 * caller's reference). Never blocks on the consumer. Takes write_lock and what
 * channel_start_in_flight_timeout takes.
 */
bool protocol_v2_serve(struct client_v2 *c, struct channel *ch, struct message *m);

#endif
