/* SPDX-License-Identifier: MIT */
/* Protocol V2 (nsqd/protocol_v2.go): a client's io_loop. */
#ifndef NSQD_PROTOCOL_V2_H
#define NSQD_PROTOCOL_V2_H

#include "common/netpoll.h"

struct client_v2;

/* A step of the client begins, by a poller: its reads do not wait, until io_loop has ended. */
void protocol_v2_begin_step(struct client_v2 *c);
/*
 * IOLoop: reads and executes the client's commands. At a poller (c->polled) as far as that goes
 * without blocking: NETPOLL_WAIT, YIELD or THREAD, as a step. In a thread until the client has been
 * silent for a moment (SILENCE_NS): NETPOLL_WAIT. When there will be no more commands the stage is
 * STAGE_LEAVING, and the reason is in the log. The owner.
 */
enum netpoll_next protocol_v2_io_loop(struct client_v2 *c);
/*
 * The client leaves: its pump is told to end, its channel forgets it, and when the pump has ended,
 * it says goodbye. Then the stage is STAGE_OVER, and freeing it is the caller's. At a poller also
 * NETPOLL_WAIT: the pump will end in a moment; or NETPOLL_THREAD: the rest may block. In a thread it
 * blocks for the pump, for half a second and more. NETPOLL_WAIT and NETPOLL_YIELD as well: an error
 * ends the connection, and what the client still sends is read. The owner.
 */
enum netpoll_next protocol_v2_leave(struct client_v2 *c);

#endif
