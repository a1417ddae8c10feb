/* SPDX-License-Identifier: MIT */
/*
 * The lock order of the daemon: a thread takes locks downwards in this list only, and never two of
 * one rank. docs/architecture.md has the same list, in the same words; `make docs` compares the
 * two. (common/ knows nothing of NSQ; this one list of names is the exception, since the order only
 * makes sense as a whole. The locks of chans come after all of these and are not listed. Under them
 * only the plain lock of timerproc.c is taken, and under that nothing.)
 */
#ifndef COMMON_LOCK_RANK_H
#define COMMON_LOCK_RANK_H

/* X(constant, name). The comment above each says what the lock guards. */
#define LOCK_RANKS(X)                                                                              \
	/* a change of settings, and the writing of their file: one thread at a time */            \
	X(RANK_SETTINGS, "settings_store.change_lock")                                             \
	/* the writing of nsqd.dat: one thread at a time */                                        \
	X(RANK_METADATA, "metadata.lock")                                                          \
	/* the origins of a topic's dead letters, and the put that they tell of */                 \
	X(RANK_DEAD_LETTERS, "dead_target.lock")                                                   \
	/* topic_map */                                                                            \
	X(RANK_TOPICS, "topics.lock")                                                              \
	/* channel_map; a put holds it for reading, the exit sets its flag under it for writing */ \
	X(RANK_TOPIC, "topic.lock")                                                                \
	/* one publisher at a time is admitted to a topic that has limits */                       \
	X(RANK_LIMITS, "limits.lock")                                                              \
	/* a put holds it for reading, the exit sets its flag under it for writing */              \
	X(RANK_CHANNEL_EXIT, "channel.exit_lock")                                                  \
	/* clients */                                                                              \
	X(RANK_CHANNEL, "channel.lock")                                                            \
	/* the writer, and what IDENTIFY sets for it */                                            \
	X(RANK_CLIENT_WRITE, "client_v2.write_lock")                                               \
	/* the channels' cursors of a topic with a log, for those that go through them */          \
	X(RANK_TOPIC_MEMBERS, "topic_log_members.lock")                                            \
	/* the messages in flight */                                                               \
	X(RANK_IN_FLIGHT, "channel.in_flight_lock")                                                \
	/* the deferred messages */                                                                \
	X(RANK_DEFERRED, "channel.deferred_lock")                                                  \
	/* the clients that are connected */                                                       \
	X(RANK_TCP_CONNS, "tcp_server.lock")                                                       \
	/* the keys of TLS, while a thread decrypts a record */                                    \
	X(RANK_TLS_READ, "stream_tls.read_lock")                                                   \
	/* the keys of TLS, while a thread makes a record and sends it */                          \
	X(RANK_TLS_WRITE, "stream_tls.write_lock")                                                 \
	/* names, publish counts, what the auth server said */                                     \
	X(RANK_CLIENT_META, "client_v2.meta_lock")                                                 \
	/* whether dq_io_loop runs, and how many requests it must still answer */                  \
	X(RANK_DISKQUEUE, "diskqueue.lock")                                                        \
	/* what of a topic's log its channels have got, and the list of their cursors */           \
	X(RANK_TOPIC_LOG, "topic_log.lock")                                                        \
	/* how far a log has come, its segments and readers, and whether its thread runs */        \
	X(RANK_LOG, "log.lock")                                                                    \
	/* the error that /ping answers with */                                                    \
	X(RANK_HEALTH, "context.health_lock")                                                      \
	/* one stream of latencies */                                                              \
	X(RANK_QUANTILE, "quantile.lock")                                                          \
	/* lists that a thread changes in a few instructions, such as the lines of the log */      \
	X(RANK_LEAF, "leaf lock")

enum lock_rank {
	RANK_NONE, /* not a rank: that of a lock without mutex_init or rwlock_init */
#define LOCK_RANK_CONSTANT(rank, name) rank,
	LOCK_RANKS(LOCK_RANK_CONSTANT)
#undef LOCK_RANK_CONSTANT
		RANK_COUNT
};

/* "topics.lock" for RANK_TOPICS and so on. */
const char *lock_rank_name(enum lock_rank rank);

#endif
