/* SPDX-License-Identifier: MIT */
/*
 * Statsd over UDP (internal/statsd, internal/writers): it packs lines into datagrams up to a size,
 * and sends the datagrams one by one, spread over an interval. A client is for one push: init,
 * lines, flush, free. One thread.
 */
#ifndef COMMON_STATSD_CLIENT_H
#define COMMON_STATSD_CLIENT_H

#include <stddef.h>
#include <stdint.h>

#include "common/chan.h"
#include "common/err.h"
#include "common/strbuf.h"

struct statsd_client {
	char *prefix;             /* owned; stands in front of every name */
	size_t packet_size;       /* the most bytes in a datagram, unless one line is longer */
	struct strbuf *datagrams; /* owned; packed so far */
	size_t n;
};

/*
 * NewClient over NewBoundaryBufferedWriter. Copies prefix. A packet_size of 0 or less is 4096, as
 * in package bufio.
 */
void statsd_client_init(struct statsd_client *c, const char *prefix, int packet_size);
void statsd_client_destroy(struct statsd_client *c);

/* Incr and Gauge: adds the line "<prefix><name>:<value>|c" (or "|g"); fmt makes the name. */
void statsd_client_incr(struct statsd_client *c, int64_t count, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void statsd_client_gauge(struct statsd_client *c, int64_t value, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/*
 * net.Dial("udp", address), "host:port": a connected descriptor, or -1 with err set. May block on a
 * name server.
 */
int statsd_client_dial(const char *address, struct err *err);
/*
 * SpreadWriter.Flush: sends the packed datagrams, with equal pauses that add up to interval_ns.
 * With nothing to send it only waits. When exit_chan is closed it sends the rest at once. Drops
 * datagrams that cannot be sent; returns how many. If there are any, err says why of the last one.
 */
size_t statsd_client_flush(struct statsd_client *c, int fd, int64_t interval_ns,
	struct chan *exit_chan, struct err *err);

#endif
