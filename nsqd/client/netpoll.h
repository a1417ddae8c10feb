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
 *  - a command that is whole, or at fault, or the end of the connection;
 *  - the end of the client's patience, or a peer that does not read;
 *  - messages: a parked consumer counts as demand in its channel, whose pump
 *    calls it (netpoll_call) when it has taken something.
 *
 * Idle is who has sent nothing for some time, has nothing in flight, and whose
 * pump waits in its select with everything flushed; on a channel that does not
 * look at topology.
 *
 * A client that has sent a part of a command, and not the rest, is parked after a
 * moment, and what it sends is gathered here, in as much memory as has come, until
 * there is something to do (command_input.h): half commands cost no thread, however
 * many they are, and however slowly the rest drips in. The same before the magic.
 *
 * A new connection for which there is no thread waits here, too, for a second. Idle
 * clients that still have threads give them up at once then (netpoll_wait).
 */
#ifndef NSQD_NETPOLL_H
#define NSQD_NETPOLL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/clock.h"
#include "common/err.h"

struct context;
struct netpoll;
struct client_v2;
struct channel;

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

/* What netpoll does with a client by way of those above it. */
struct netpoll_handlers {
	/* What a resumed client's thread runs; the argument is the client, which it takes over. */
	void (*resume)(void *client);
	/*
	 * Ends a client that has nothing more to say, or has waited for its first threads in vain,
	 * and frees it. netpoll's thread.
	 */
	void (*end)(struct client_v2 *c);
	/* One heartbeat, flushed; -1 with err set. netpoll's thread. */
	int (*send_heartbeat)(struct client_v2 *c, struct err *err);
};

/* NULL with err set. */
struct netpoll *netpoll_new(
	struct context *ctx, const struct netpoll_handlers *handlers, struct err *err);
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

enum netpoll_wait_result {
	NETPOLL_INPUT, /* or the end: there is something to be read */
	NETPOLL_TIME,
	NETPOLL_HURRY, /* there are no threads for others: who can be parked should be, now */
};

/*
 * Waits for input, after a read that timed out (so that no layer of the stream holds any), until
 * deadline_ns; not beyond the moment when others need threads, if may_hurry. io_loop.
 */
enum netpoll_wait_result netpoll_wait(
	struct netpoll *np, const struct client_v2 *c, int64_t deadline_ns, bool may_hurry);
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
 * caller's: netpoll's from now on, which tries again, sooner where fewer wait, and
 * at least once a second. Its heartbeats go on. Logs why, the first time. A client that has
 * not been served yet is refused when it has waited for a second. False if the
 * daemon ends: it stays the caller's. Takes netpoll's lock; does not block.
 */
bool netpoll_retry(struct netpoll *np, struct client_v2 *c, const struct err *why);
/* The client's pump has been started, or never will be. Takes no lock. io_loop. */
void netpoll_has_started(struct netpoll *np, struct client_v2 *c);
/*
 * How long a read of a client waits at a time, in ns: MOMENT_NS, or less while there are no threads
 * for others. Takes netpoll's lock. io_loop, when it begins.
 */
int64_t netpoll_moment(struct netpoll *np);
/*
 * The client's pump goes on: if it was called, it is no longer
 * one on whom the channel's pump waits. Takes no lock. The pump, first of all.
 */
void netpoll_has_come(struct client_v2 *c);

#endif
