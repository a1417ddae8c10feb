/* SPDX-License-Identifier: MIT */
/*
 * A connected client: what IDENTIFY set, what it is subscribed to, what it has
 * in flight, its reader and writer (nsqd/client_v2.go). Two threads run for it:
 * io_loop (protocol_v2.c), which owns and frees it, and message_pump
 * (protocol_v2_pump.c), which io_loop joins. Other threads reach it through
 * channel.clients and tcp_server, under the locks of those; the channel's pump
 * also where it stands in line for messages, under channel.lock.
 */
#ifndef NSQD_CLIENT_V2_H
#define NSQD_CLIENT_V2_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <uthash.h>

#include "common/chan.h"
#include "common/err.h"
#include "common/gothread.h"
#include "common/heap.h"
#include "common/lock.h"
#include "common/strbuf.h"
#include "nsqd/client/command_input.h"
#include "nsqd/queue/consumer.h"
#include "nsqd/core/context.h"
#include "nsqd/core/topology.h"
#include "protocol/bufio.h"
#include "protocol/identify.h"
#include "protocol/names.h"
#include "protocol/stream.h"

#define DEFAULT_BUFFER_SIZE (16 * 1024)
/* Of the protocol's version, which comes first. */
#define MAGIC_LENGTH 4

enum client_state {
	STATE_INIT,
	STATE_DISCONNECTED,
	STATE_CONNECTED,
	STATE_SUBSCRIBED,
	STATE_CLOSING,
};

/* What the pump must know of an IDENTIFY. */
struct identify_event {
	int64_t output_buffer_timeout; /* ns; 0: never flush by time */
	int64_t heartbeat_interval;    /* ns; 0: off */
	int32_t sample_rate;           /* percent; 0: all */
	int64_t msg_timeout;           /* ns */
	struct topology topology;
};

/*
 * The state of a client's message pump. The pump's own while it has a thread;
 * while the client is parked (netpoll.h), netpoll's.
 */
struct message_pump {
	struct client_v2 *client;    /* NULL: has not been started yet */
	struct channel *sub_channel; /* borrowed: the client keeps it until the pump is joined */
	struct chan *sub_event_chan; /* NULL once used, as is the next */
	struct chan *identify_event_chan;
	struct ticker output_buffer_ticker;
	struct ticker heartbeat_ticker;
	int64_t msg_timeout;
	int32_t sample_rate;
	struct topology topology;
	bool flushed;
};

/* Where netpoll keeps a client that is parked. All guarded by netpoll.lock. */
struct parked {
	UT_hash_handle hh;             /* netpoll.parked, by id */
	int64_t deadline_ns;           /* heartbeat, or end of its patience; 0: none */
	struct heap_node heap_node;    /* in netpoll.deadlines, if it has a deadline */
	struct client_v2 *prev, *next; /* in channel.parked, netpoll.called or netpoll.failed */
	size_t room;                   /* its RDY while it is in channel.parked, else 0 */
	bool called;                   /* it is in netpoll.called */
	/* Its part of channel.called_room; whose the client is, while it is not parked. */
	size_t promised;
	bool starting;      /* it counts in netpoll.starting. Whose the client is */
	bool served;        /* it has had both threads. Whose the client is, as the next */
	int64_t give_up_ns; /* until when it waits for the first ones; 0: it does not */
	bool failed;        /* there was no thread for it; the deadline is for the next try */
	bool retried;       /* that has been logged. Whose the client is */
};

struct auth_state;
struct channel;
struct netpoll;
struct tcp_server;
struct tls_config;
struct topics;

struct pub_count {
	char topic[NAME_SIZE];
	uint64_t count;
	UT_hash_handle hh;
};

/*
 * What all clients share: their way to the rest of the daemon (type protocolV2 of
 * nsqd/protocol_v2.go, which holds *NSQD). All of it is immutable, borrowed, and outlives the
 * clients.
 */
struct protocol_v2 {
	struct context *ctx;
	struct topics *topics;
	const struct tls_config *tls_config; /* NULL: no certificate */
	struct netpoll *netpoll;
	struct tcp_server *server;
	const struct consumer_ops *consumer_ops;
};

struct client_v2 {
	const struct protocol_v2 *protocol; /* immutable */
	struct context *ctx;                /* immutable; protocol->ctx */
	char remote_addr[128];              /* immutable; Go's form, as in logs and stats */
	int64_t connect_time_ns;            /* immutable; wall clock */

	_Atomic int64_t ready_count;
	_Atomic int64_t in_flight_count;
	/*
	 * Its RDY is being filled, or waits to be: by its pump, or on its behalf by io_loop or the
	 * channel's pump. Who sets it looks at the room only then, so that together they never
	 * send more than RDY.
	 */
	_Atomic bool filling;
	_Atomic uint64_t message_count;
	_Atomic uint64_t finish_count;
	_Atomic uint64_t requeue_count;
	_Atomic int32_t state; /* enum client_state; io_loop writes */
	_Atomic int32_t sample_rate;
	_Atomic bool tls;
	_Atomic bool deflate;
	_Atomic bool snappy;
	_Atomic bool closing; /* client_v2_close has been called */

	const struct stream_tls_info
		*tls_info;   /* set before tls is; then immutable; borrowed from stream */
	struct stream *base; /* immutable; the socket: what shuts down whatever is on top of it */
	struct stream
		*stream; /* the top, owned with all below; io_loop changes it under write_lock */
	struct bufio_reader reader; /* io_loop only */

	struct mutex write_lock;
	struct bufio_writer writer; /* guarded by write_lock */
	int64_t heartbeat_interval; /* ns; written by io_loop under write_lock; io_loop may read without */
	int64_t output_buffer_timeout; /* likewise */
	int64_t msg_timeout;           /* likewise */
	int output_buffer_size;        /* likewise */
	/*
	 * What the pump has from the first IDENTIFY, for those who write on its behalf; later ones
	 * are only shown. io_loop's; immutable from SUB on, as are the next two.
	 */
	bool identified;
	int64_t fill_msg_timeout; /* ns */
	int32_t fill_sample_rate; /* percent; 0: all */

	struct mutex meta_lock;
	struct text client_id;       /* guarded by meta_lock; owned, as are the next four */
	struct text hostname;        /* guarded by meta_lock */
	struct text user_agent;      /* guarded by meta_lock */
	struct text topology_region; /* guarded by meta_lock; as IDENTIFY says, "" for none */
	struct text topology_zone;   /* likewise */
	/*
	 * What the auth server said, NULL before AUTH; written by io_loop under meta_lock; io_loop
	 * may read without, and it alone asks it for permission. Owned.
	 */
	struct auth_state *auth_state;
	struct strbuf auth_secret; /* io_loop only */
	struct pub_count
		*pub_counts; /* guarded by meta_lock; uthash by topic, in order of first use */

	struct channel
		*channel; /* io_loop only (the pump has it from sub_event_chan); a reference */
	struct chan *ready_state_chan;    /* immutable; capacity 1: a state update is never lost */
	struct chan *exit_chan;           /* immutable; closed by io_loop */
	struct chan *identify_event_chan; /* immutable; of struct identify_event, capacity 1 */
	struct chan *sub_event_chan;      /* immutable; of struct channel *, capacity 1 */
	struct chan *park_chan;           /* immutable; io_loop asks the pump to end for now */
	struct wait_group wait_group;     /* the message pump */
	struct message_pump pump;         /* see there */
	bool has_magic;                   /* it has said its protocol; whose the client is */
	struct command_input input;       /* what has come while it was parked; likewise */
	/*
	 * For how many messages the pump waits. Others may give it room, or take it, and with it
	 * the right to fill (see protocol_v2_pump.c). The pump's, but as chan.h says.
	 */
	struct chan_room room;
	_Atomic bool unsent; /* somebody has written what the pump is to flush */
	bool large; /* the last messages were; goes with the right to fill (protocol_v2_pump.c) */
	struct parked parked; /* see there */

	struct consumer consumer; /* as its channel knows it; with its id */
	UT_hash_handle hh_conns;  /* tcp_server.conns, by id; guarded by tcp_server.lock */
};

/* What stats show of a client: a snapshot whose strings are its own. client_v2_stats_free. */
struct client_v2_stats {
	struct text client_id;
	struct text hostname;
	struct text user_agent;
	bool authed;
	struct strbuf auth_identity; /* empty for none, as the next */
	struct strbuf auth_identity_url;
	struct text topology_region; /* NULL, as is the next, unless the experiment is on */
	struct text topology_zone;
	char remote_address[128];
	int32_t state;
	int64_t ready_count;
	int64_t in_flight_count;
	uint64_t message_count;
	uint64_t finish_count;
	uint64_t requeue_count;
	int64_t connect_ts; /* unix seconds */
	int32_t sample_rate;
	bool deflate;
	bool snappy;
	bool tls;
	char tls_cipher_suite[48]; /* "" without TLS, as the next */
	char tls_version[16];
	/* As stock: at most one topic (the asked one, if any); pub_topic "" for none. */
	char pub_topic[NAME_SIZE];
	uint64_t pub_count;
};

/* What IDENTIFY has agreed on for the connection. */
struct client_v2_upgrade {
	bool tls_v1;
	bool snappy; /* at most one of snappy and deflate */
	bool deflate;
	int deflate_level; /* 1 to 9 */
};

/* newClientV2: takes over the stream. id: above 0, no other's. io_loop's thread, or "tcp". */
struct client_v2 *client_v2_new(const struct protocol_v2 *protocol, int64_t id,
	struct stream *take_stream, const char *remote_addr);
/* The client whose role as a consumer this is. */
static inline struct client_v2 *client_v2_of(struct consumer *c)
{
	return (struct client_v2 *)((char *)c - offsetof(struct client_v2, consumer));
}
/* Nobody may know it any more: not in a channel, not in tcp_server, pump joined. */
void client_v2_free(struct client_v2 *c);

/*
 * Identify: applies it, field by field in stock's order; -1 with stock's text at the first that is
 * out of range. Tells the pump. io_loop.
 */
int client_v2_identify(struct client_v2 *c, const struct identify_data_v2 *data, struct err *err);

/* Has it been upgraded to TLS? To snappy or deflate? io_loop. */
bool client_v2_is_tls(const struct client_v2 *c);
bool client_v2_is_compressed(const struct client_v2 *c);
/*
 * The response to IDENTIFY, and then UpgradeTLS, and UpgradeSnappy or
 * UpgradeDeflate, each with an OK through the new layer. All under write_lock, so
 * that no heartbeat comes in between, which the client could not read. What was
 * read beyond IDENTIFY is the new layer's first input. Blocks for the TLS
 * handshake, up to 5 s. -1 with err set: errors still go through the layers that
 * there were. io_loop.
 */
int client_v2_upgrade(struct client_v2 *c, const struct client_v2_upgrade *u, const void *response,
	size_t len, struct err *err);

/*
 * Auth: asks the auth servers what a client with this secret may do, and keeps
 * both. Blocks as auth_query_any does (auth.h). -1: no server had an answer; the
 * reasons are appended to why. io_loop, as are the next two.
 */
int client_v2_auth(struct client_v2 *c, const char *secret, size_t len, struct strbuf *why);
/*
 * IsAuthorized: 1 or 0; asks again (and blocks) where the answer has expired: -1 as above. channel
 * "": to publish.
 */
int client_v2_is_authorized(
	struct client_v2 *c, const char *topic, const char *channel, struct strbuf *why);
/* HasAuthorizations */
bool client_v2_has_authorizations(const struct client_v2 *c);

/*
 * IsReadyForMessages: how many more it may get now; 0: not ready, or the channel is paused. Who
 * has the right to fill it; others for a look.
 */
int64_t client_v2_ready_for_messages(const struct client_v2 *c, const struct channel *ch);
/*
 * The right to fill the client's RDY: false if another thread has it. Its two threads; the
 * channel's pump takes it from the client's (protocol_v2_serve). Who gives it back
 * looks at the room once more after that: who made some meanwhile has left it to
 * him to see.
 */
bool client_v2_begin_filling(struct client_v2 *c);
void client_v2_end_filling(struct client_v2 *c);
void client_v2_set_ready_count(struct client_v2 *c, int64_t count);
/* Tells the pump to look at the counts again. Never blocks; any thread. */
void client_v2_try_update_ready_state(struct client_v2 *c);

/* The messages' ways, seen from the client. All may be called with the channel's locks held. */
void client_v2_sending_messages(struct client_v2 *c, size_t n);
/*
 * The next two return true if the pump must be told (client_v2_try_update_ready_state); when is
 * io_loop's to decide, since the answers to a batch of messages come in batches as well.
 */
bool client_v2_finished_messages(struct client_v2 *c, size_t n);
bool client_v2_requeued_message(struct client_v2 *c);
void client_v2_timed_out_message(struct client_v2 *c);
void client_v2_published_message(struct client_v2 *c, const char *topic, uint64_t count);
void client_v2_empty(struct client_v2 *c);

/* StartClose: ready 0, state closing. */
void client_v2_start_close(struct client_v2 *c);
/*
 * Close: io_loop reads no more, and ends when it has answered what it has read.
 * Any thread, also more than once; does not block.
 */
void client_v2_close(struct client_v2 *c);
/*
 * Do we end it ourselves, since its channel or the daemon goes? Whatever goes wrong from then on,
 * such as a read that ends in the middle, is our doing and no fault of the client. Any thread.
 */
bool client_v2_is_closing(const struct client_v2 *c);
/*
 * The same at once, whatever is still to be written: for peers that do not read. Any thread; does
 * not block.
 */
void client_v2_abort(struct client_v2 *c);
/*
 * The last thing that the peer gets: TLS' close-notify, the end of the stream.
 * Blocks for half a second at most. io_loop, when the pump has ended; takes
 * write_lock.
 */
void client_v2_say_bye(struct client_v2 *c);

/* Type() == typeProducer: has it published? Takes meta_lock. */
bool client_v2_is_producer(struct client_v2 *c);
/* Stats(topic): topic NULL or "" for any. Takes meta_lock. */
void client_v2_stats(struct client_v2 *c, const char *topic, struct client_v2_stats *out);
void client_v2_stats_free(struct client_v2_stats *s);

/*
 * Gives the buffers back, which must be empty, until they are used again. io_loop, netpoll. Takes
 * write_lock.
 */
void client_v2_give_buffers_back(struct client_v2 *c);

/*
 * Buffered writing: append a frame; append frames that are complete already; flush. Block until the
 * write deadline (one heartbeat interval). 0, or -1 with err set. Take write_lock.
 */
int client_v2_send(struct client_v2 *c, int32_t frame_type, const void *data, size_t len,
	bool flush, struct err *err);
int client_v2_write(struct client_v2 *c, const void *frames, size_t len, struct err *err);
int client_v2_flush(struct client_v2 *c, struct err *err);
/*
 * Flushes what the socket takes at once, and leaves the rest to the pump; as all of it, where
 * somebody else writes just now. Does not block. 0, or -1 with err set.
 */
int client_v2_try_flush(struct client_v2 *c, struct err *err);
/*
 * The same where the caller has write_lock, and tells the pump later, if unsent is set: with
 * client_v2_try_update_ready_state.
 */
int client_v2_try_flush_locked(struct client_v2 *c, struct err *err);
/* Until when a write that starts now may take (monotonic; 0: for ever). */
int64_t client_v2_write_deadline_locked(const struct client_v2 *c);

#endif
