/* SPDX-License-Identifier: MIT */
/*
 * Idle clients, without threads (runtime/netpoll.go).
 *
 * A goroutine that waits for the network costs Go a few kilobytes. Two threads
 * cost some 20 KB in the kernel alone, more than all that stock spends on a
 * connection. So a client that has been idle for some seconds is parked: its
 * message pump and its io_loop end, in this order, their buffers are given back,
 * and what is left is the struct. One thread, "netpoll", waits for all of them.
 * It sends their heartbeats and takes the NOPs that answer them; anything else
 * resumes the client, that is: io_loop gets a new thread, starts the pump, and
 * both go on where they were:
 *  - input, or the end of the connection;
 *  - the end of the client's patience, or a peer that does not read;
 *  - messages: a parked consumer counts as demand in its channel, whose pump
 *    calls it (netpoll_call) when it has taken something.
 *
 * Idle is who has sent nothing for some time, has nothing in flight, and whose
 * pump waits in its select with everything flushed; over a plain socket, on a
 * channel that does not look at topology.
 */
#ifndef NSQD_NETPOLL_H
#define NSQD_NETPOLL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

struct nsqd;
struct netpoll;
struct client_v2;
struct channel;

/*
 * resume is what a resumed client's thread runs: its argument is the client. end ends one that has
 * nothing more to say, in netpoll's thread, and frees it. NULL with err set.
 */
struct netpoll *netpoll_new(struct nsqd *n, void (*resume)(void *client),
	void (*end)(struct client_v2 *c), struct err *err);
/* Nobody may be parked any more. NULL is fine. */
void netpoll_free(struct netpoll *np);
/* Starts the thread; without it nobody is parked. 0, or -1 with err set. */
int netpoll_start(struct netpoll *np, struct err *err);
/*
 * From now on nobody is parked. Blocks until all who were have ended: the caller
 * has shut their connections down. A client that has sent something is resumed
 * for that. Also if never started.
 */
void netpoll_stop(struct netpoll *np);
/*
 * The same, but not beyond deadline_ns (monotonic). False: some are still there; then it is called
 * again.
 */
bool netpoll_stop_until(struct netpoll *np, int64_t deadline_ns);

/*
 * io_loop, when its client is idle, its pump has ended and its buffers are given
 * back: true if the client is now netpoll's, and not to be touched any more.
 * Takes netpoll's lock; does not block.
 */
bool netpoll_park(struct netpoll *np, struct client_v2 *c);
/*
 * The pump of channel ch: resumes parked consumers, the longest parked first,
 * until they have room for so many messages. Takes netpoll's lock; does not block.
 */
void netpoll_call(struct netpoll *np, struct channel *ch, size_t room);
/*
 * There is no thread for this client, which is idle (no pump, no buffers) and the
 * caller's: netpoll's from now on, which tries again after 0.1 s, and later each
 * time, up to 1 s. Its heartbeats go on. Logs why, the first time. False if the
 * daemon ends: it stays the caller's. Takes netpoll's lock; does not block.
 */
bool netpoll_retry(struct netpoll *np, struct client_v2 *c, const struct err *why);
/*
 * The client's pump goes on: if it was called, it is no longer
 * one on whom the channel's pump waits. Takes no lock. The pump, first of all.
 */
void netpoll_has_come(struct client_v2 *c);

#endif
