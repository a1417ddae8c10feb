/* SPDX-License-Identifier: MIT */
/*
 * The client's message pump: from one of client_msg_chans to the socket, with
 * heartbeats and the flush timer. Mirrors protocolV2.messagePump of
 * nsqd/protocol_v2.go. Thread "pump:ADDR".
 *
 * Differences: its state is derived from the client's before its thread starts,
 * so there is no messagePumpStartedChan; it takes what the client has room for in one go, up to a batch,
 * and puts a batch back that it got for a client that has just left;
 * after an error it ends the connection at once, where stock's io_loop finds
 * out by a read that times out.
 *
 * Note on filling. A consumer with a small RDY has it in flight nearly always.
 * Then each FIN woke the pump, which asked the channel's pump, which woke it
 * again: three switches between threads for one message, where goroutines pay
 * next to nothing. So others, who are awake, do what they can on its behalf:
 *  - io_loop, with a FIN, looks itself for messages that are waiting, and writes
 *    them as the pump would (protocol_v2_fill), but for large ones;
 *  - where there are none it gives the pump, which sleeps in its select without
 *    room, the room that there is now (chan_give_room): so the pump stands in
 *    line for the next message without having been awake;
 *  - the channel's pump, when the message comes, takes that room back from the
 *    first in line (chan_take_room), and writes it (protocol_v2_serve): only to a
 *    plain socket, only what is small and is all that the client has room for (so
 *    that the pump would flush at once).
 * Neither waits for the peer: what the socket does not take at once is left to the
 * pump (STREAM_NOW, client_v2.unsent).
 * Whoever writes has the right to fill (client_v2.filling). A pump that stands in
 * line has it; it goes with the room that is given and taken, so the pump sees
 * by its room, when its select returns, whether it has it. Who wants it and does
 * not get it may go: who gives it back looks at the room once more after that.
 *
 * The channel's pump holds channel.lock meanwhile, and takes only from a pump that
 * sleeps. io_loop closes exit_chan, which wakes its pump for good, before it takes
 * the client from the channel's with that lock; so the client is still there.
 */
#include "nsqd/client/protocol_v2_pump.h"

#include "common/clock.h"
#include "common/compiler.h"
#include "common/rand.h"
#include "nsqd/queue/channel.h"
#include "nsqd/client/client_v2.h"
#include "nsqd/client/netpoll.h"
#include "protocol/frame.h"

/* The most messages for one client at a time: so much its fellow consumers may have to wait. */
#define CLIENT_BATCH 256

/*
 * The most messages that io_loop writes, and the largest RDY for which it does: with a large
 * one it is better that one thread reads while another writes. So it is with large messages, above
 * this size on average.
 */
#define FILL_BATCH 16
#define FILL_READY_MAX 64
#define FILL_SIZE_MAX ((size_t)64 * 1024)

/* What goes before the body of a message: the frame's header and the message's. */
#define PREFIX_LENGTH (FRAME_HEADER_LENGTH + MSG_HEADER_LENGTH)

static const char heartbeat_bytes[] = "_heartbeat_";

int protocol_v2_send_heartbeat(struct client_v2 *c, struct err *err)
{
	return client_v2_send(
		c, FRAME_TYPE_RESPONSE, heartbeat_bytes, sizeof(heartbeat_bytes) - 1, true, err);
}

static void identify(struct message_pump *p, const struct identify_event *e)
{
	ticker_stop(&p->output_buffer_ticker);
	if (e->output_buffer_timeout > 0)
		ticker_start(&p->output_buffer_ticker, e->output_buffer_timeout);
	ticker_stop(&p->heartbeat_ticker);
	if (e->heartbeat_interval > 0)
		ticker_start(&p->heartbeat_ticker, e->heartbeat_interval);
	if (e->sample_rate > 0)
		p->sample_rate = e->sample_rate;
	p->msg_timeout = e->msg_timeout;
	p->topology = e->topology;
}

/*
 * Keeps about sample_rate percent of the n messages; the others are done with. Returns how many are
 * left.
 */
static size_t sample(int32_t sample_rate, struct message **msgs, size_t n)
{
	size_t kept = 0;
	if (sample_rate == 0)
		return n;
	for (size_t i = 0; i < n; i++) {
		if ((int32_t)rand_below(100) > sample_rate)
			message_unref(msgs[i]);
		else
			msgs[kept++] = msgs[i];
	}
	return kept;
}

/*
 * With so much a write has a deadline of its own (and the rest goes with the last). In stock each
 * message has one: one for a large batch would end the connections of consumers that are slow, but
 * not stuck.
 */
#define WRITE_SIZE ((size_t)256 * 1024)

static int write_parts(struct client_v2 *c, const struct iovec *parts, size_t n, struct err *err)
{
	mutex_lock(&c->write_lock);
	int rc = bufio_writev(&c->writer, parts, (int)n, client_v2_write_deadline_locked(c), err);
	mutex_unlock(&c->write_lock);
	return rc;
}

/* The frames of n messages, two parts each. */
static void fill_parts(struct iovec *parts, struct message *const *msgs, size_t n,
	unsigned char (*prefixes)[PREFIX_LENGTH])
{
	for (size_t i = 0; i < n; i++) {
		struct message_body *body = msgs[i]->body;
		parts[2 * i] = (struct iovec){.iov_base = prefixes[i], .iov_len = PREFIX_LENGTH};
		parts[2 * i + 1] = (struct iovec){.iov_base = body->data, .iov_len = body->len};
	}
}

static size_t size_of(struct message *const *msgs, size_t n)
{
	size_t size = 0;
	for (size_t i = 0; i < n; i++)
		size += msgs[i]->body->len;
	return size;
}

/* left: the size of all of them. */
static int write_messages(struct client_v2 *c, struct message *const *msgs, size_t n, size_t left,
	unsigned char (*prefixes)[PREFIX_LENGTH], struct err *err)
{
	struct iovec parts[2 * CLIENT_BATCH] UNINITIALIZED;
	int rc = 0;
	fill_parts(parts, msgs, n, prefixes);
	for (size_t i = 0, from = 0; i < n && rc == 0; from = i) {
		for (size_t size = 0; i < n && (size < WRITE_SIZE || left < WRITE_SIZE); i++) {
			size += msgs[i]->body->len;
			left -= msgs[i]->body->len;
		}
		rc = write_parts(c, parts + 2 * from, 2 * (i - from), err);
	}
	return rc;
}

/*
 * Before message i of n: another processor has written the records, and the
 * bodies, last, and they would be waited for one after the other. So records are
 * fetched some ahead, and bodies, to which they point, less so. (Inline, since
 * gcc drops calls of a function that does nothing but this.)
 */
static inline __attribute__((always_inline)) void fetch_ahead(
	struct message *const *msgs, size_t n, size_t i)
{
	enum { BODY_AHEAD = 4, RECORD_AHEAD = 2 * BODY_AHEAD, LINE = 64, BODY_LINES = 4 };
	if (i + RECORD_AHEAD < n) {
		const char *record = (const char *)msgs[i + RECORD_AHEAD];
		__builtin_prefetch(record, 1);
		__builtin_prefetch(record + LINE, 1);
	}
	if (i + BODY_AHEAD < n) {
		const struct message_body *body = msgs[i + BODY_AHEAD]->body;
		__builtin_prefetch(body);
		for (size_t k = 0; k < BODY_LINES; k++)
			__builtin_prefetch(body->data + k * LINE);
	}
}

/*
 * The first half of SendMessage, for n of them. A message is in flight before it
 * is written, so that its FIN, which may come as soon as it is written, finds it
 * there. From that moment a FIN or a timeout may drop it, or hand it to another
 * client that counts up its attempts: so the bytes that change are copied
 * before, to prefixes, and a reference more keeps the body: the caller's, until
 * it has written it.
 */
static void start_sending(struct client_v2 *c, struct channel *channel, int64_t msg_timeout,
	struct message *const *msgs, size_t n, unsigned char (*prefixes)[PREFIX_LENGTH])
{
	for (size_t i = 0; i < n; i++) {
		fetch_ahead(msgs, n, i);
		struct message *m = message_ref(msgs[i]);
		m->attempts++;
		frame_write_header(
			prefixes[i], FRAME_TYPE_MESSAGE, MSG_HEADER_LENGTH + m->body->len);
		message_write_header(m, prefixes[i] + FRAME_HEADER_LENGTH);
	}
	/* Counted first: a FIN must not find the count at 0. */
	client_v2_sending_messages(c, n);
	channel_start_in_flight_timeout(channel, msgs, n, c->consumer.id, msg_timeout);
}

/* Behind start_sending and the write. */
static void unref_all(struct message *const *msgs, size_t n)
{
	for (size_t i = 0; i < n; i++)
		message_unref(msgs[i]);
}

static int flush(struct message_pump *p, struct err *err)
{
	p->flushed = true;
	return client_v2_flush(p->client, err);
}

static bool client_has_left(struct client_v2 *c)
{
	bool closed;
	chan_try_recv_n(c->exit_chan, NULL, 1, &closed);
	return closed;
}

enum pump_result { PUMP_ON, PUMP_EXIT, PUMP_ERR, PUMP_PARKED };

/* Where the channel serves consumers as near as this one. */
static struct chan *client_msg_chan(const struct message_pump *p)
{
	return p->sub_channel->client_msg_chans[p->topology.served_as];
}

/* As in stock, before any are left out by the sample rate. */
static void count_delivered(struct message_pump *p, size_t n)
{
	struct channel *c = p->sub_channel;
	if (c->topology_aware)
		atomic_fetch_add_explicit(
			&c->delivered_counts[p->topology.counted_as], n, memory_order_relaxed);
}

/* The channel's data. (Not inlined: a pump that waits has no need of the prefixes on its stack.) */
static __attribute__((noinline)) enum pump_result deliver(
	struct message_pump *p, struct message **msgs, size_t n, struct err *err)
{
	unsigned char prefixes[CLIENT_BATCH][PREFIX_LENGTH] UNINITIALIZED;
	/* The choice was random: a batch for a client that has left would wait out its timeout. */
	if (client_has_left(p->client)) {
		channel_return_messages(p->sub_channel, msgs, n);
		return PUMP_EXIT;
	}
	count_delivered(p, n);
	n = sample(p->sample_rate, msgs, n);
	if (n == 0)
		return PUMP_ON;
	p->flushed = false;
	start_sending(p->client, p->sub_channel, p->msg_timeout, msgs, n, prefixes);
	size_t size = size_of(msgs, n);
	p->client->large = size > FILL_SIZE_MAX * n;
	int rc = write_messages(p->client, msgs, n, size, prefixes, err);
	unref_all(msgs, n);
	return rc == 0 ? PUMP_ON : PUMP_ERR;
}

/*
 * What io_loop can take now, and the socket at once; the rest is for the pump to flush. The right to
 * fill the client is the caller's.
 */
static int fill_locked(struct client_v2 *c, struct err *err)
{
	struct message *msgs[FILL_BATCH] UNINITIALIZED;
	unsigned char prefixes[FILL_BATCH][PREFIX_LENGTH] UNINITIALIZED;
	struct iovec parts[2 * FILL_BATCH] UNINITIALIZED;
	mutex_assert_held(&c->write_lock);
	int64_t room = client_v2_ready_for_messages(c, c->channel);
	if (room > FILL_BATCH)
		room = FILL_BATCH;
	size_t n = room > 0 ? channel_take_messages(c->channel, msgs, (size_t)room) : 0;
	n = sample(c->fill_sample_rate, msgs, n);
	if (n == 0)
		return 0;
	start_sending(c, c->channel, c->fill_msg_timeout, msgs, n, prefixes);
	c->large = size_of(msgs, n) > FILL_SIZE_MAX * n;
	fill_parts(parts, msgs, n, prefixes);
	int rc = bufio_writev(&c->writer, parts, (int)(2 * n), STREAM_NOW, err);
	unref_all(msgs, n);
	return rc;
}

/*
 * Not where another thread writes, which may wait for the peer, nor behind what the peer has not
 * taken yet, nor large messages, of which much would have to be kept: then the room is the pump's,
 * which may wait.
 */
static int fill(struct client_v2 *c, bool *unflushed, struct err *err)
{
	int rc = 0;
	if (c->large || !mutex_trylock(&c->write_lock))
		return 0;
	if (!c->writer.below) {
		rc = fill_locked(c, err);
		*unflushed = *unflushed || c->writer.unflushed;
	}
	mutex_unlock(&c->write_lock);
	return rc;
}

/*
 * True: the pump stands in line, and has the right to fill, which was the
 * caller's. False also where it is awake, or not yet asleep: then it is told.
 * Messages can not make the room less meanwhile, since that takes the right. RDY
 * and pause can, and wake the pump for it; but before it stood in line, perhaps,
 * and then it has seen that it has no right, and slept again.
 */
static bool give_room(struct client_v2 *c, struct channel *ch)
{
	int64_t ready = atomic_load(&c->ready_count);
	int64_t room = client_v2_ready_for_messages(c, ch);
	if (room == 0 || ch->topology_aware ||
		!chan_give_room(ch->client_msg_chans[GLOBAL], &c->room, (size_t)room))
		return false;
	if (atomic_load(&c->ready_count) != ready || channel_is_paused(ch))
		client_v2_try_update_ready_state(c);
	return true;
}

/* Who has filled the client on its pump's behalf gives the right back, and what room is left. */
static void hand_back_filling(struct client_v2 *c, struct channel *ch)
{
	if (give_room(c, ch))
		return;
	client_v2_end_filling(c);
	/* Looked at after that: who made room while we had the right has left it to us. */
	if (client_v2_ready_for_messages(c, ch) > 0)
		client_v2_try_update_ready_state(c);
	else /* The pump may have given way to us just when it would have told. */
		channel_consumer_is_full(ch);
}

int protocol_v2_fill(struct client_v2 *c, bool *unflushed, struct err *err)
{
	int rc = 0;
	if (atomic_load(&c->ready_count) > FILL_READY_MAX) {
		client_v2_try_update_ready_state(c);
	} else if (client_v2_begin_filling(c)) {
		rc = fill(c, unflushed, err);
		hand_back_filling(c, c->channel);
	}
	return rc;
}

/* Writes m, if all of it fits into the client's buffer, which is empty. False: nothing was done. */
static bool serve_locked(struct client_v2 *c, struct channel *ch, struct message *m)
{
	unsigned char prefix[PREFIX_LENGTH];
	struct err err UNINITIALIZED;
	mutex_assert_held(&c->write_lock);
	if (!bufio_writer_is_free(&c->writer, PREFIX_LENGTH + m->body->len))
		return false;
	start_sending(c, ch, c->fill_msg_timeout, &m, 1, &prefix);
	const struct iovec parts[] = {{.iov_base = prefix, .iov_len = PREFIX_LENGTH},
		{.iov_base = m->body->data, .iov_len = m->body->len}};
	(void)bufio_writev(&c->writer, parts, 2, STREAM_NOW, &err);
	message_unref(m);
	(void)client_v2_try_flush_locked(c, &err);
	return true;
}

bool protocol_v2_serve(struct client_v2 *c, struct channel *ch, struct message *m)
{
	bool served = false;
	if (!client_has_left(c) && client_v2_ready_for_messages(c, ch) > 0 &&
		mutex_trylock(&c->write_lock)) {
		served = serve_locked(c, ch, m);
		mutex_unlock(&c->write_lock);
	}
	hand_back_filling(c, ch);
	if (atomic_load(&c->unsent))
		client_v2_try_update_ready_state(c);
	return served;
}

/*
 * IsReadyForMessages: how many it may wait for now. If there is room for any,
 * the pump has the right to fill the client; else io_loop may have it, which
 * tells if it leaves some room.
 */
static int64_t begin_waiting(struct message_pump *p)
{
	struct client_v2 *c = p->client;
	while (p->sub_channel && client_v2_begin_filling(c)) {
		int64_t room = client_v2_ready_for_messages(c, p->sub_channel);
		if (room > 0)
			return room < CLIENT_BATCH ? room : CLIENT_BATCH;
		client_v2_end_filling(c);
		if (client_v2_ready_for_messages(c, p->sub_channel) == 0) {
			channel_consumer_is_full(p->sub_channel);
			break;
		}
	}
	return 0;
}

/* By the channel's pump: it does not encrypt, nor throw dice. From SUB on none of this changes. */
static bool may_be_served(const struct message_pump *p)
{
	const struct client_v2 *c = p->client;
	return c->stream == c->base && c->output_buffer_size >= CONSUMER_DELIVER_MAX &&
	       c->fill_sample_rate == 0 && !p->sub_channel->topology_aware;
}

/* The select, with room for so many messages, and what follows from it. */
static enum pump_result wait_and_act(struct message_pump *p, int64_t room, struct err *err)
{
	struct client_v2 *c = p->client;
	struct message *msgs[CLIENT_BATCH] UNINITIALIZED;
	struct channel *sub_channel;
	struct identify_event event;
	/* last iteration we flushed: do not select on the flusher ticker. Else we're
	 * buffered (if there isn't any more data we should flush): select on it, too */
	struct ticker *flusher = room > 0 && !p->flushed ? &p->output_buffer_ticker : NULL;
	/* Without room: perhaps io_loop, which does not know where near consumers wait, gives it. */
	bool may_get = p->sub_channel && (room > 0 || !p->sub_channel->topology_aware);
	struct chan *msg_chan = may_get ? client_msg_chan(p) : NULL;

	enum { FLUSHER, READY_STATE, SUB_EVENT, IDENTIFY_EVENT, HEARTBEAT, MESSAGE, PARK, EXIT };
	struct chan_case cases[] = {
		[FLUSHER] = chan_case_tick(flusher),
		[READY_STATE] = chan_case_recv(c->ready_state_chan, NULL),
		[SUB_EVENT] = chan_case_recv(p->sub_event_chan, &sub_channel),
		[IDENTIFY_EVENT] = chan_case_recv(p->identify_event_chan, &event),
		[HEARTBEAT] = chan_case_tick(&p->heartbeat_ticker),
		[MESSAGE] = chan_case_recv_room(msg_chan, msgs, CLIENT_BATCH, &c->room),
		[PARK] = chan_case_recv(p->flushed ? c->park_chan : NULL, NULL),
		[EXIT] = chan_case_recv(c->exit_chan, NULL),
	};
	int rc = 0;
	switch (chan_select(cases, 8)) {
	case FLUSHER:
		/* if this case wins, we're either starved or we won the race between
		 * other chans... in either case, force flush */
		rc = flush(p, err);
		break;
	case SUB_EVENT:
		/* you can't SUB anymore */
		p->sub_channel = sub_channel;
		c->room.owner = may_be_served(p) ? &c->consumer : NULL;
		p->sub_event_chan = NULL;
		break;
	case IDENTIFY_EVENT:
		/* you can't IDENTIFY anymore */
		identify(p, &event);
		p->identify_event_chan = NULL;
		break;
	case HEARTBEAT:
		rc = protocol_v2_send_heartbeat(c, err);
		break;
	case MESSAGE:
		return deliver(p, msgs, cases[MESSAGE].n, err);
	case PARK:
		return PUMP_PARKED;
	case EXIT:
		return PUMP_EXIT;
	}
	return rc == 0 ? PUMP_ON : PUMP_ERR;
}

/* One turn of the loop. */
static enum pump_result pump_once(struct message_pump *p, struct err *err)
{
	int64_t room = begin_waiting(p);
	bool unsent = atomic_exchange(&p->client->unsent, false);
	p->client->room.n = (size_t)room;
	/* the client is not ready to receive messages... force flush */
	int rc = room == 0 || unsent ? flush(p, err) : 0;
	enum pump_result res = rc == 0 ? wait_and_act(p, room, err) : PUMP_ERR;
	/* Room that it has been given meanwhile came with the right to fill. */
	if (p->client->room.n > 0)
		client_v2_end_filling(p->client);
	return res;
}

void protocol_v2_init_message_pump(struct client_v2 *c)
{
	c->pump = (struct message_pump){
		.client = c,
		.sub_event_chan = c->sub_event_chan,
		.identify_event_chan = c->identify_event_chan,
		.msg_timeout = c->msg_timeout,
		.topology = {.counted_as = GLOBAL, .served_as = GLOBAL},
		.flushed = true,
	};
	ticker_start(&c->pump.output_buffer_ticker, c->output_buffer_timeout);
	ticker_start(&c->pump.heartbeat_ticker, c->heartbeat_interval);
}

void protocol_v2_message_pump(void *arg)
{
	struct client_v2 *c = arg;
	struct err err;
	enum pump_result res;
	netpoll_has_come(c);
	while ((res = pump_once(&c->pump, &err)) == PUMP_ON)
		;
	if (res == PUMP_PARKED)
		return;
	nsqd_logf(c->ctx, LG_INFO, "PROTOCOL(V2): [%s] exiting messagePump", c->remote_addr);
	if (res == PUMP_ERR) {
		nsqd_logf(c->ctx, LG_ERROR, "PROTOCOL(V2): [%s] messagePump error - %s",
			c->remote_addr, err.msg);
		client_v2_abort(c);
	}
}
