/* SPDX-License-Identifier: MIT */
/*
 * Idle clients, without threads (runtime/netpoll.go).
 *
 * A goroutine that waits for the network costs Go a few kilobytes. Two threads cost some 20 KB in
 * the kernel alone, more than all that stock spends on a connection. So a client that has been idle
 * for some seconds becomes dormant: its message pump and its io_loop end, in this order, and give
 * their buffers back. What is left is the struct. One thread, "netpoll", waits for all of them. It
 * sends their heartbeats and takes the NOPs that answer them. Anything else resumes the client:
 * io_loop gets a new thread and starts the pump, and both go on where they were. That is
 *  - a command that is whole, or at fault, or the end of the connection;
 *  - the read deadline, or a peer that does not read;
 *  - messages: a dormant consumer counts as demand in its channel, whose pump wakes it
 *    (oldpoll_wake) when it has taken something.
 *
 * A client is idle if it has sent nothing for some time and has nothing in flight. Its pump waits
 * in its select with everything flushed, and its channel does not look at topology.
 *
 * A client that has sent a part of a command, and not the rest, becomes dormant after a moment.
 * netpoll gathers what it sends, in as much memory as has come, until there is something to do
 * (command_input.h). So half commands cost no thread, however many they are, and however slowly the
 * rest drips in. The same holds before the magic.
 *
 * A new connection for which there is no thread waits here, too, for a second. Idle clients that
 * still have threads give them up at once then (oldpoll_wait).
 */
#ifndef NSQD_OLDPOLL_H
#define NSQD_OLDPOLL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/clock.h"
#include "common/err.h"

struct context;
struct oldpoll;
struct client_v2;
struct channel;

/*
 * After so long without input a client becomes dormant: long enough that one which does something
 * every second keeps its threads. Where that was not possible the next attempt comes after twice
 * the time, up to the maximum.
 */
#ifndef DORMANT_AFTER_NS /* tests make it short: see docs/testing.md */
#define DORMANT_AFTER_NS (2 * NSEC_PER_SEC)
#endif
/* A read waits for so long at a time; then a client with half a command becomes dormant. */
#define MOMENT_NS (DORMANT_AFTER_NS / 8)
/* A client whose command drips in becomes dormant after this time. */
#define WHOLE_NS (4 * MOMENT_NS)

/* What netpoll does with a client by way of those above it. */
struct oldpoll_handlers {
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
struct oldpoll *oldpoll_new(
	struct context *ctx, const struct oldpoll_handlers *handlers, struct err *err);
/* No client is dormant any more. NULL is fine. */
void oldpoll_free(struct oldpoll *np);
/* Starts the thread; without it no client becomes dormant. 0, or -1 with err set. */
int oldpoll_start(struct oldpoll *np, struct err *err);
/*
 * From now on no client becomes dormant. Blocks until all that are have ended: the caller has shut
 * their connections down. A client that has sent something is resumed for that. Fine without start.
 */
void oldpoll_stop(struct oldpoll *np);
/*
 * The same, but not beyond deadline_ns (monotonic). False: some are still there; then it is called
 * again.
 */
bool oldpoll_stop_until(struct oldpoll *np, int64_t deadline_ns);

enum oldpoll_wait_result {
	OLDPOLL_INPUT, /* or the end: there is something to be read */
	OLDPOLL_TIME,
	OLDPOLL_HURRY, /* there are no threads for others: an idle client should give up its own */
};

/*
 * Waits for input, after a read that timed out (so that no layer of the stream holds any), until
 * deadline_ns; not beyond the moment when others need threads, if may_hurry. io_loop.
 */
enum oldpoll_wait_result oldpoll_wait(
	struct oldpoll *np, const struct client_v2 *c, int64_t deadline_ns, bool may_hurry);
/*
 * The client becomes dormant: it is idle, its pump has ended, its buffers are given back. True: it
 * is netpoll's now, and the caller does not touch it any more. io_loop. Takes netpoll's lock; does
 * not block.
 */
bool oldpoll_sleep(struct oldpoll *np, struct client_v2 *c);
/*
 * Wakes dormant consumers of ch, the longest dormant first, until they are ready for that many
 * messages. The pump of ch. Takes netpoll's lock; does not block.
 */
void oldpoll_wake(struct oldpoll *np, struct channel *ch, size_t ready);
/*
 * There is no thread for this client, which is the caller's and idle (no pump, no buffers). From
 * now on it is netpoll's, which tries again: sooner where fewer wait, and at least once a second.
 * Its heartbeats go on. Logs why, the first time. A client that has never had its threads is
 * refused after a second. False if the daemon ends: the client stays the caller's. Takes netpoll's
 * lock; does not block.
 */
bool oldpoll_retry(struct oldpoll *np, struct client_v2 *c, const struct err *why);
/* The client's pump has been started, or never will be. Takes no lock. io_loop. */
void oldpoll_has_started(struct oldpoll *np, struct client_v2 *c);
/*
 * How long a read of a client waits at a time, in ns: MOMENT_NS, or less while there are no threads
 * for others. Takes netpoll's lock. io_loop, when it begins.
 */
int64_t oldpoll_moment(struct oldpoll *np);
/*
 * The client's pump goes on: the channel's pump no longer counts it as waking. Takes no lock. The
 * client's pump, first of all.
 */
void oldpoll_woken(struct client_v2 *c);

#endif
