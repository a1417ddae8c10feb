/* SPDX-License-Identifier: MIT */
/*
 * A connected client: what IDENTIFY set, what it is subscribed to, what it has in flight, its
 * reader and writer (nsqd/client_v2.go).
 *
 * In Go two goroutines run for it: IOLoop and messagePump. Here both are no threads, as long as
 * nothing blocks. io_loop (protocol_v2.c) runs in steps of the pollers, or in a thread "io:ADDR";
 * the one that does is "the owner" below, and frees the client in the end. The message pump
 * (protocol_v2_pump.c) is a task, and gets an owner of its own, "pump:ADDR", when a step may block.
 * "The pump" below is the thread that takes its step. Other threads reach the client through
 * channel.clients and tcp_server.conns, with the lock of one of these held.
 */
#ifndef NSQD_CLIENT_V2_H
#define NSQD_CLIENT_V2_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <uthash.h>

#include "common/chan.h"
#include "common/clock.h"
#include "common/err.h"
#include "common/gothread.h"
#include "common/lock.h"
#include "common/netpoll.h"
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

/*
 * Where a client stands, at the pollers or in a thread. tcp.c has the picture.
 */
enum client_stage {
	STAGE_ACCEPTED, /* nothing has come yet */
	STAGE_MAGIC,    /* the version of its protocol is awaited */
	STAGE_COMMANDS, /* commands are read and executed */
	STAGE_LEAVING,  /* no more commands: its pump ends, its channel forgets it */
	STAGE_OVER,
};

/* After so long without input a client gives up its thread, and waits at the pollers. */
#ifndef SILENCE_NS /* tests make it short: see docs/testing.md */
#define SILENCE_NS (250 * NSEC_PER_MSEC)
#endif
/* So long a client waits for a thread, for itself or for a topic or channel, before it is refused. */
#define THREAD_WAIT_NS NSEC_PER_SEC

enum client_state {
	STATE_INIT,
	STATE_DISCONNECTED,
	STATE_CONNECTED,
	STATE_SUBSCRIBED,
	STATE_CLOSING,
};

/* How fast steps follow each other: so many since then. */
struct pace {
	unsigned n_steps;
	int64_t since_ns; /* monotonic */
};

/* What the pump must know of an IDENTIFY. */
struct identify_event {
	int64_t output_buffer_timeout; /* ns; 0: never flush by time */
	int64_t heartbeat_interval;    /* ns; 0: off */
	int32_t sample_rate;           /* percent; 0: all */
	int64_t msg_timeout;           /* ns; 0: the channel's */
	struct topology topology;
};

/* The state of a client's message pump: the pump's from its start to its end, before it the owner's. */
struct message_pump {
	struct client_v2 *client;    /* NULL: has not been started yet */
	struct channel *sub_channel; /* borrowed: the client keeps it until the pump is joined */
	bool identified;             /* it has seen IDENTIFY */
	struct ticker output_buffer_ticker;
	struct ticker heartbeat_ticker;
	int64_t msg_timeout; /* ns; 0: the channel's */
	int32_t sample_rate;
	struct topology topology;
	bool flushed;   /* no message waits in the writer */
	bool flush_now; /* what is in the writer is to go out, whatever it is */
};

/*
 * What io_loop tells the pump, beside what the counts say. Go has a chan for each: IdentifyEventChan,
 * SubEventChan, ExitChan. A select of few chans is a cheap one, and each of these would be used once.
 * So io_loop writes here, and ready_state_chan says "look".
 */
struct pump_orders {
	struct identify_event identify; /* of the first IDENTIFY; set before the next */
	_Atomic bool identified;
	_Atomic(struct channel *) sub_channel; /* set once, by SUB */
	_Atomic bool flush;                    /* what is in the writer is to go out */
	_Atomic bool exit;                     /* the client leaves: the pump is to end */
};

struct auth_state;
struct channel;
struct pending_put;
struct tcp_server;
struct tls_config;
struct tls_current;
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
	struct tls_current *tls; /* NULL: no certificate */
	struct netpoll *netpoll;
	struct wait_group *pump_threads;
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
	_Atomic uint64_t message_count;
	_Atomic uint64_t finish_count;
	_Atomic uint64_t requeue_count;
	_Atomic int32_t state; /* enum client_state; io_loop writes */
	_Atomic int32_t sample_rate;
	_Atomic bool tls;
	_Atomic bool deflate;
	_Atomic bool snappy;
	_Atomic bool closing; /* client_v2_close has been called */

	/* Set before tls is, and then immutable; borrowed from stream. */
	const struct stream_tls_info *tls_info;
	struct tls_config *tls_config; /* the stream's; a reference; NULL: no TLS. The owner's */
	struct stream *base; /* immutable; the socket: to shut down all that is on top of it */
	/* The top, owned with all below; io_loop changes it under write_lock. */
	struct stream *stream;
	struct bufio_reader reader; /* the owner's */

	struct mutex write_lock;
	struct bufio_writer writer; /* guarded by write_lock */
	/* The next four: io_loop writes them under write_lock, and reads them without. */
	int64_t heartbeat_interval;    /* ns; 0: off */
	int64_t output_buffer_timeout; /* ns; 0: never flush by time */
	int64_t msg_timeout;           /* ns; 0: it has asked for none, the channel's holds */
	int output_buffer_size;        /* bytes */
	struct mutex meta_lock;
	struct text client_id;       /* guarded by meta_lock; owned, as are the next four */
	struct text hostname;        /* guarded by meta_lock */
	struct text user_agent;      /* guarded by meta_lock */
	struct text topology_region; /* guarded by meta_lock; as IDENTIFY says, "" for none */
	struct text topology_zone;   /* likewise */
	/*
	 * What the auth server said, NULL before AUTH. Owned. io_loop writes it under meta_lock,
	 * and reads it without; it alone asks for permission.
	 */
	struct auth_state *auth_state;
	struct strbuf auth_secret;    /* io_loop only */
	struct pub_count *pub_counts; /* guarded by meta_lock; uthash, in order of first use */

	struct channel *channel; /* a reference; the owner's; the pump has it from pump_orders */
	/*
	 * Immutable; capacity 1: a state update is never lost. The pump is to look: at RDY, in flight,
	 * paused, and at its orders.
	 */
	struct chan *ready_state_chan;
	struct pump_orders pump_orders;
	struct wait_group wait_group; /* the message pump, from its start to its end */
	struct message_pump pump;     /* see there */
	struct pump *pump_task;       /* owned; NULL: the pump has not been started. The owner's */
	_Atomic bool pump_waits;      /* the pump needs a thread, and there was none */
	int64_t pump_waits_until_ns; /* then the client is closed; the pump's, while pump_waits the owner's */

	/* The next are the owner's. */
	struct poll_desc *pd; /* from tcp.c; open as long as the client is */
	enum client_stage stage;
	bool announced;    /* the log knows of it */
	bool polled;       /* a poller runs it, and must not block */
	bool has_requeued; /* what it had in flight is back in the channel */
	bool lingers; /* an error ends the connection, and the client may not have heard of it yet */
	bool has_said_bye;
	int64_t linger_until_ns;    /* so long it may be silent, before the close */
	int64_t linger_end_ns;      /* so long it may go on sending */
	bool has_left;              /* its channel has forgotten it, and its pump is to end */
	bool peer_ended;            /* its last byte has been read, and it has said that it is */
	bool does_without;          /* there is no thread: a step takes longer than it should */
	int64_t pump_until_ns;      /* until when a step waits for the pump's end; 0: not yet */
	int64_t give_up_ns;         /* until when it waits for a thread; 0: it does not */
	struct command_input input; /* how much of a command is here */
	struct strbuf late_answers; /* frames that could not be written by a poller */
	bool answers_left;          /* the last answers were left to the pump to be flushed */
	struct pace steps;          /* at the pollers: those that brought commands */
	struct pace bulk_steps;     /* and those that brought many */
	int busy_reads;          /* steps in a row that could not read, as another thread writes */
	struct pending_put *put; /* owned; NULL: none (protocol_v2_put.h) */

	struct consumer consumer; /* as its channel knows it; with its id */
	UT_hash_handle hh_conns;  /* tcp_server.conns, by id; guarded by tcp_server.lock */
};

/* What stats show of a client: a snapshot whose strings are its own. client_v2_stats_free. */
struct client_v2_stats {
	int64_t id; /* no other client of this process has it */
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

/* newClientV2: takes over the stream. id: above 0, no other's. A poller. */
struct client_v2 *client_v2_new(const struct protocol_v2 *protocol, int64_t id,
	struct stream *take_stream, const char *remote_addr);
/* The client whose role as a consumer this is. */
static inline struct client_v2 *client_v2_of(struct consumer *c)
{
	return (struct client_v2 *)((char *)c - offsetof(struct client_v2, consumer));
}
/* No thread may know it any more: it is in no channel, not in tcp_server, its pump is joined. */
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
 * The response to IDENTIFY, and then UpgradeTLS, and UpgradeSnappy or UpgradeDeflate, each with an
 * OK through the new layer. All under write_lock, so that no heartbeat comes in between, which the
 * client could not read. What was read beyond IDENTIFY is the new layer's first input. Blocks for
 * the TLS handshake, up to 5 s. -1 with err set: errors still go through the layers that there
 * were. io_loop.
 */
int client_v2_upgrade(struct client_v2 *c, const struct client_v2_upgrade *u, const void *response,
	size_t len, struct err *err);

/*
 * Auth: asks the auth servers what a client with this secret may do, and keeps both. Blocks as
 * auth_query_any does (auth.h). -1: no server had an answer; the reasons are appended to why.
 * io_loop, as are the next two.
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
 * IsReadyForMessages: how many more messages it may get now; 0: not ready, or the channel is
 * paused. The pump sends by it; other threads may look.
 */
int64_t client_v2_ready_for_messages(const struct client_v2 *c, const struct channel *ch);
void client_v2_set_ready_count(struct client_v2 *c, int64_t count);
/* Tells the pump to look at the counts again, and at its orders. Never blocks; any thread. */
void client_v2_try_update_ready_state(struct client_v2 *c);

/* Tells the pump of the channel that the client has joined (c->channel). io_loop. */
void client_v2_subscribed(struct client_v2 *c);
/* The client leaves: its pump is to end. io_loop. */
void client_v2_end_pump(struct client_v2 *c);
/* Has it been told to? The pump. */
static inline bool client_v2_has_left(const struct client_v2 *c)
{
	return atomic_load(&c->pump_orders.exit);
}
/* The messages' ways, seen from the client. All may be called with the channel's locks held. */
void client_v2_sending_messages(struct client_v2 *c, size_t n);
/*
 * The next two return true if the pump must be told (client_v2_try_update_ready_state); when is
 * io_loop's to decide, since the answers to a batch of messages come in batches as well.
 */
bool client_v2_finished_messages(struct client_v2 *c, size_t n);
bool client_v2_requeued_message(struct client_v2 *c);
void client_v2_timed_out_messages(struct client_v2 *c, size_t n);
void client_v2_published_message(struct client_v2 *c, const char *topic, uint64_t count);
void client_v2_empty(struct client_v2 *c);

/* StartClose: ready 0, state closing. */
void client_v2_start_close(struct client_v2 *c);
/*
 * Close: io_loop reads no more, and ends when it has answered what it has read. Any thread, also
 * more than once; does not block.
 */
void client_v2_close(struct client_v2 *c);
/*
 * Do we end it ourselves, since its channel or the daemon goes? From then on an error, such as a
 * read that ends in the middle, is our doing and no fault of the client. Any thread.
 */
bool client_v2_is_closing(const struct client_v2 *c);
/*
 * The same at once, whatever is still to be written: for peers that do not read. Any thread; does
 * not block.
 */
void client_v2_abort(struct client_v2 *c);
/*
 * The last thing that the peer gets: TLS' close-notify, the end of the stream. Blocks for half a
 * second at most. io_loop, when the pump has ended; takes write_lock.
 */
void client_v2_say_bye(struct client_v2 *c);

/* Stats forget that it has published: it is about to go. Takes meta_lock. */
void client_v2_forget_publications(struct client_v2 *c);
/* Type() == typeProducer: has it published? Takes meta_lock. */
bool client_v2_is_producer(struct client_v2 *c);
/* Stats(topic): topic NULL or "" for any. Takes meta_lock. */
void client_v2_stats(struct client_v2 *c, const char *topic, struct client_v2_stats *out);
void client_v2_stats_free(struct client_v2_stats *s);

/*
 * Gives the buffers back, as far as they are empty, until they are used again. io_loop. Does not
 * block: while another thread writes, the writer keeps its buffer.
 */
void client_v2_give_buffers_back(struct client_v2 *c);
/* The writer's alone. Any thread. */
void client_v2_give_writer_back(struct client_v2 *c);

/*
 * Buffered writing: append a frame; append frames that are complete already; flush. Block until the
 * write deadline (one heartbeat interval). 0, or -1 with err set. Take write_lock.
 */
int client_v2_send(struct client_v2 *c, int32_t frame_type, const void *data, size_t len,
	bool flush, struct err *err);
int client_v2_flush(struct client_v2 *c, struct err *err);
/*
 * Flushes what the socket takes at once, and leaves the rest to the pump; where another thread is
 * writing, all of it. Does not block. 0, or -1 with err set. io_loop.
 */
int client_v2_flush_answers(struct client_v2 *c, struct err *err);
/*
 * io_loop's answers: appends complete frames, made of n parts. In a thread as client_v2_send. At a
 * poller this does not block: what the socket does not take, the lowest layer keeps. While it does,
 * or another thread writes, the frames are late answers, for a thread to send. 0, or -1 with err set.
 */
int client_v2_answer(struct client_v2 *c, const struct iovec *parts, int n, struct err *err);
static inline bool client_v2_has_late_answers(const struct client_v2 *c)
{
	return c->late_answers.len > 0;
}
/*
 * Sends them, if there are any: in a thread it blocks for that, as client_v2_send does; at a poller
 * only if it can without. They are still to be flushed. 0, or -1 with err set. io_loop.
 */
int client_v2_send_late_answers(struct client_v2 *c, struct err *err);
/*
 * Might client_v2_say_bye block? Through a layer, behind answers, or behind what the socket has not
 * taken it may take a while. Does not block. io_loop, when the pump has ended.
 */
bool client_v2_bye_may_block(struct client_v2 *c);
/* Is nothing left to be written, and no thread about to? A guess; does not block. io_loop. */
bool client_v2_has_written_all(struct client_v2 *c);

/*
 * Writing without blocking, for a step of the pump that another thread takes. False, and nothing
 * done: another thread is writing, or the peer is slow, or the connection is broken. The pump's
 * thread is to go on, which may block, and will find the error. After true some bytes may still be
 * there to be flushed: *left says so.
 *
 * begin_try_write takes write_lock; the caller may then write with STREAM_NOW, and unlocks.
 */
bool client_v2_begin_try_write(struct client_v2 *c);
bool client_v2_try_send(
	struct client_v2 *c, int32_t frame_type, const void *data, size_t len, bool *left);
/* Likewise. False also if some bytes could not be flushed. */
bool client_v2_try_flush(struct client_v2 *c);
/* Takes write_lock for a write that may block. What this thread keeps is handed on if it waits. */
void client_v2_lock_for_writing(struct client_v2 *c);
/* Until when a write that starts now may take (monotonic; 0: for ever). */
int64_t client_v2_write_deadline_locked(const struct client_v2 *c);

#endif
