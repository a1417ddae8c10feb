/* SPDX-License-Identifier: MIT */
/*
 * A channel's consumer, as the channel sees it: Go's interface Consumer (nsqd/channel.go). What
 * implements it is client_v2, which is above the channel and embeds struct consumer.
 */
#ifndef NSQD_CONSUMER_H
#define NSQD_CONSUMER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <uthash.h>

struct consumer;
struct message;
struct client_v2_stats;

/* All may be called with channel.lock held for reading, by any thread; none blocks. */
struct consumer_ops {
	/* Close: it is disconnected, when it has been answered what it has sent. */
	void (*close)(struct consumer *c);
	/* Empty: nothing is in flight any more. */
	void (*empty)(struct consumer *c);
	/* TimedOutMessage, for n of them: so many less in flight. */
	void (*timed_out_messages)(struct consumer *c, size_t n);
	/* Pause, UnPause: it is to look at its channel again. */
	void (*ready_changed)(struct consumer *c);
	/* Stats(topic): a snapshot into *out, for client_v2_stats_free. */
	void (*stats)(struct consumer *c, const char *topic, struct client_v2_stats *out);
};

struct consumer {
	const struct consumer_ops *ops; /* immutable */
	int64_t id;                     /* immutable */
	UT_hash_handle hh;              /* channel.clients, by id; guarded by channel.lock */
};

#endif
