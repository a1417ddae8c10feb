/* SPDX-License-Identifier: MIT */
/* Protocol V2 (nsqd/protocol_v2.go): a client's two threads. */
#ifndef NSQD_PROTOCOL_V2_H
#define NSQD_PROTOCOL_V2_H

#include "common/clock.h"
#include "common/err.h"

struct client_v2;

/*
 * After so long without input a client is parked: long enough that one which
 * does something every second keeps its threads. Where that was not possible the
 * next attempt comes after twice the time, up to the maximum.
 */
#ifndef PARK_AFTER_NS /* tests make it short: see docs/testing.md */
#define PARK_AFTER_NS (2 * NSEC_PER_SEC)
#endif
/* A read waits for so long at a time; a client that has sent a part of a command is parked then. */
#define MOMENT_NS (PARK_AFTER_NS / 8)
/* A client whose command drips in is parked after this time. */
#define WHOLE_NS (4 * MOMENT_NS)

/*
 * IOLoop: starts the client's message pump, reads and executes its commands
 * until it leaves or errs, stops the pump. When it returns, no channel knows the
 * client any more, and its pump has ended; freeing it is the caller's. 0, or -1
 * with err set to the reason for the log. Runs in the connection's own thread.
 * 1: the client has been parked and is netpoll's, which will call again; nothing
 * of it may be touched.
 */
int protocol_v2_io_loop(struct client_v2 *client, struct err *err);
/*
 * The end of a client that is parked and has nothing more to say: what io_loop would do at the end
 * of its input. The caller has it from netpoll.
 */
void protocol_v2_end_parked(struct client_v2 *client);

#endif
