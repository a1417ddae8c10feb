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
struct channel;
struct message;
struct client_v2_stats;

/* The longest frame that deliver writes: many processors copy a longer one better. */
#define CONSUMER_DELIVER_MAX 4096

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
	/*
	 * Writes m to the consumer on its pump's behalf, if that can be done at once. The caller
	 * has taken the pump's room (chan_take_room), which deliver gives back. True: m is in
	 * flight (takes over the caller's reference). The channel's pump. Takes write_lock and what
	 * channel_start_in_flight_timeout takes.
	 */
	bool (*deliver)(struct consumer *c, struct channel *ch, struct message *m);
	/*
	 * Wakes dormant consumers of ch, of which c is any, until they are ready for that many
	 * messages. The channel's pump.
	 */
	void (*wake_dormant)(struct consumer *c, struct channel *ch, size_t ready);
};

struct consumer {
	const struct consumer_ops *ops; /* immutable */
	int64_t id;                     /* immutable */
	UT_hash_handle hh;              /* channel.clients, by id; guarded by channel.lock */
};

#endif
