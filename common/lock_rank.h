/* SPDX-License-Identifier: MIT */
/*
 * The lock order of the daemon: a thread takes locks downwards in this list
 * only, and never two of one rank. docs/architecture.md explains each; a test
 * compares the two. (common/ knows nothing of NSQ; this one list of names is
 * the exception, since the order only makes sense as a whole. The locks of
 * chans come after all of these and are not listed: under them nothing is
 * taken.)
 */
#ifndef COMMON_LOCK_RANK_H
#define COMMON_LOCK_RANK_H

enum lock_rank {
	RANK_NONE,
	RANK_METADATA,       /* nsqd.metadata_lock: one writer of nsqd.dat at a time */
	RANK_NSQD,           /* nsqd.lock: topic_map */
	RANK_TOPIC,          /* topic.lock: channel_map, and the topic's life against exit */
	RANK_CHANNEL_EXIT,   /* channel.exit_lock: a put against exit */
	RANK_CHANNEL,        /* channel.lock: clients */
	RANK_IN_FLIGHT,      /* channel.in_flight_lock */
	RANK_DEFERRED,       /* channel.deferred_lock */
	RANK_TCP_CONNS,      /* tcp_server.lock: who is connected */
	RANK_CLIENT_WRITE,   /* client_v2.write_lock: the writer and what IDENTIFY sets */
	RANK_CLIENT_META,    /* client_v2.meta_lock: names, pub_counts, auth state */
	RANK_DISKQUEUE,      /* diskqueue.lock */
	RANK_HEALTH,         /* nsqd.health_lock */
	RANK_QUANTILE,       /* quantile.lock */
	RANK_LEAF,           /* taken for a few instructions, nothing under it (thread list, log) */
	RANK_COUNT
};

/* "nsqd.lock" for RANK_NSQD and so on, as in the comments above. */
const char *lock_rank_name(enum lock_rank rank);

#endif
