/* SPDX-License-Identifier: MIT */
/* Protocol V2 (nsqd/protocol_v2.go): a client's io_loop. */
#ifndef NSQD_PROTOCOL_V2_H
#define NSQD_PROTOCOL_V2_H

#include "common/err.h"

struct client_v2;

/*
 * IOLoop: starts the client's message pump, reads and executes its commands until it leaves or
 * errs, stops the pump. Then no channel knows the client any more, and its pump has ended; freeing
 * it is the caller's. 0, or -1 with err set to the reason for the log. Runs in the connection's own
 * thread. 1: the client is dormant, or waits for a thread; it is netpoll's, which resumes it. The
 * caller touches nothing of it.
 */
int protocol_v2_io_loop(struct client_v2 *client, struct err *err);
/*
 * The end of a dormant client that has nothing more to say: what io_loop would do at the end of its
 * input. The caller has it from netpoll.
 */
void protocol_v2_end_dormant(struct client_v2 *client);

#endif
