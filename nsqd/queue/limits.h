/* SPDX-License-Identifier: MIT */
/*
 * How much may wait: max_depth, max_bytes, overflow and no_channel of a topic and its channels, and
 * the limits of the host. Stock has none of these; there is no Go file.
 *
 * What waits for a channel is what its queues hold, what is deferred there, and all that is still in
 * its topic. A publisher is admitted before its messages are made: one publisher at a time adds up
 * what waits, and reserves room. So several never go beyond a limit together. The sum begins at the
 * topic and goes on to the channels, as messages do. One that moves meanwhile is counted twice
 * perhaps, but never not at all. A sum that is too large for that reason is made again.
 *
 * Of the topic's messages, those on disk are counted by the disk queue. Those in memory, and in the
 * hand of the pump, are counted here, as long as some limit is on. The pump switches that on and off
 * between two of its steps, with topic.lock held for writing: then nothing moves.
 */
#ifndef NSQD_LIMITS_H
#define NSQD_LIMITS_H

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/lock.h"

struct channel;

/* Why messages of a topic are refused. */
enum refusal {
	REFUSED_TOPIC,   /* the topic is full */
	REFUSED_CHANNEL, /* one of its channels is */
	REFUSED_NO_CHANNEL,
	REFUSED_MEMORY, /* the host's limits */
	REFUSED_DISK,
	N_REFUSALS,
};
/* As label of a metric: "topic", "channel", "no_channel", "memory", "disk". */
extern const char *const refusal_names[N_REFUSALS];

/*
 * The code of an error that says which limit is reached. No call that we make fails with it. (But with
 * EDQUOT, say: that is a limit of the disk's.)
 */
#define ERR_FULL EXFULL

/* A channel that makes its topic full. */
struct limited_channel {
	struct channel *channel; /* borrowed: the topic's pump has a reference */
	int64_t max_depth, max_bytes;
};

/* What a topic has of it. */
struct limits {
	/* Some limit of the topic or its channels is on. The pump writes it, under topic.lock. */
	_Atomic bool on;
	bool bytes;         /* some max_bytes is on; as `on`, and read under topic.lock */
	_Atomic bool share; /* the topic has a max_bytes of its own: host_limits.h; as `on` */
	struct limited_channel *channels; /* guarded by topic.lock; owned; of those that reject */
	size_t n_channels;                /* the pump writes it, under topic.lock */

	struct mutex lock;              /* one publisher at a time is admitted */
	_Atomic int64_t reserved;       /* atomic: messages admitted, and not put yet */
	_Atomic int64_t reserved_bytes; /* atomic; of their bodies */
	_Atomic int64_t in_memory;      /* atomic: put, or being put, into memory, till dealt out */
	_Atomic int64_t in_memory_bytes; /* atomic; of their bodies */
	_Atomic int64_t from_disk_bytes; /* atomic: dealt out in all, from the backend, of bodies */
	_Atomic int moving;              /* atomic: threads at work that make a sum too large */
	_Atomic uint64_t moves;          /* atomic: how often one has ended that */

	_Atomic uint64_t rejected[N_REFUSALS]; /* atomic: messages */
	_Atomic uint64_t dropped; /* atomic: messages, drop-head or no_channel = drop */
};

#endif
