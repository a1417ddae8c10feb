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

/* X(constant, name) */
#define LOCK_RANKS(X)                                                                              \
	X(RANK_METADATA, "nsqd.metadata_lock")       /* one writer of nsqd.dat at a time */        \
	X(RANK_NSQD, "nsqd.lock")                    /* topic_map */                               \
	X(RANK_TOPIC, "topic.lock")                  /* channel_map; its life against exit */      \
	X(RANK_CHANNEL_EXIT, "channel.exit_lock")    /* a put against exit */                      \
	X(RANK_CHANNEL, "channel.lock")              /* clients */                                 \
	X(RANK_CLIENT_WRITE, "client_v2.write_lock") /* the writer and what IDENTIFY sets */       \
	X(RANK_IN_FLIGHT, "channel.in_flight_lock")  /* messages and their heap */                 \
	X(RANK_DEFERRED, "channel.deferred_lock")    /* messages and their heap */                 \
	X(RANK_TCP_CONNS, "tcp_server.lock")         /* who is connected */                        \
	X(RANK_TLS_READ, "stream_tls.read_lock")     /* a record that came in */                   \
	X(RANK_TLS_WRITE, "stream_tls.write_lock")   /* a record that goes out */                  \
	X(RANK_CLIENT_META, "client_v2.meta_lock")   /* names, pub_counts, auth state */           \
	X(RANK_DISKQUEUE, "diskqueue.lock")          /* its files' positions */                    \
	X(RANK_HEALTH, "nsqd.health_lock")           /* the last error */                          \
	X(RANK_QUANTILE, "quantile.lock")            /* one quantile's windows */                  \
	X(RANK_LEAF, "leaf lock")                    /* for a few instructions: lists, the log */

enum lock_rank {
	RANK_NONE, /* not a rank: what a lock that nobody initialised has */
#define LOCK_RANK_CONSTANT(rank, name) rank,
	LOCK_RANKS(LOCK_RANK_CONSTANT)
#undef LOCK_RANK_CONSTANT
		RANK_COUNT
};

/* "nsqd.lock" for RANK_NSQD and so on. */
const char *lock_rank_name(enum lock_rank rank);

#endif
