/* SPDX-License-Identifier: MIT */
/*
 * The client's message pump: from one of client_msg_chans to the socket, with heartbeats and the
 * flush timer. Mirrors protocolV2.messagePump of nsqd/protocol_v2.go. Thread "pump:ADDR".
 *
 * Differences: its state is derived from the client's before its thread starts, so there is no
 * messagePumpStartedChan. It takes what the client has room for in one go, up to a batch. A batch
 * that it got for a client that has just left goes back. After an error it ends the connection at
 * once, where stock's io_loop finds out by a read that times out. Other threads deliver on its
 * behalf where they can (protocol_v2_deliver.h).
 */
#include "nsqd/client/protocol_v2_pump.h"

#include "common/compiler.h"
#include "nsqd/queue/channel.h"
#include "nsqd/client/client_v2.h"
#include "nsqd/client/netpoll.h"
#include "nsqd/client/protocol_v2_deliver.h"
#include "nsqd/client/protocol_v2_send.h"

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

static int flush(struct message_pump *p, struct err *err)
{
	p->flushed = true;
	return client_v2_flush(p->client, err);
}

enum pump_result { PUMP_ON, PUMP_EXIT, PUMP_ERR, PUMP_SUSPENDED };

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
	message_prefix prefixes[CLIENT_BATCH] UNINITIALIZED;
	/* The choice was random: a batch for a client that has left would wait out its timeout. */
	if (client_v2_has_left(p->client)) {
		channel_return_messages(p->sub_channel, msgs, n);
		return PUMP_EXIT;
	}
	count_delivered(p, n);
	n = protocol_v2_sample(p->sample_rate, msgs, n);
	if (n == 0)
		return PUMP_ON;
	p->flushed = false;
	protocol_v2_start_sending(p->client, p->sub_channel, p->msg_timeout, msgs, n, prefixes);
	size_t size = protocol_v2_size_of(msgs, n);
	p->client->large = size > LARGE_MESSAGE * n;
	int rc = protocol_v2_write_messages(p->client, msgs, n, size, prefixes, err);
	message_unref_all(msgs, n);
	return rc == 0 ? PUMP_ON : PUMP_ERR;
}

/*
 * IsReadyForMessages: how many it may wait for now. If there is room for any, the pump holds the
 * delivery token. Else io_loop may hold it, which tells the pump if it leaves some room.
 */
static int64_t begin_waiting(struct message_pump *p)
{
	struct client_v2 *c = p->client;
	while (p->sub_channel && client_v2_try_claim_delivery(c)) {
		int64_t room = client_v2_ready_for_messages(c, p->sub_channel);
		if (room > 0)
			return room < CLIENT_BATCH ? room : CLIENT_BATCH;
		client_v2_release_delivery(c);
		if (client_v2_ready_for_messages(c, p->sub_channel) == 0) {
			channel_consumer_is_full(p->sub_channel);
			break;
		}
	}
	return 0;
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
	/* Without room: perhaps io_loop gives some, but it does not know where near ones wait. */
	bool may_get = p->sub_channel && (room > 0 || !p->sub_channel->topology_aware);
	struct chan *msg_chan = may_get ? client_msg_chan(p) : NULL;

	enum { FLUSHER, READY_STATE, SUB_EVENT, IDENTIFY_EVENT, HEARTBEAT, MESSAGE, SUSPEND, EXIT };
	struct chan_case cases[] = {
		[FLUSHER] = chan_case_tick(flusher),
		[READY_STATE] = chan_case_recv(c->ready_state_chan, NULL),
		[SUB_EVENT] = chan_case_recv(p->sub_event_chan, &sub_channel),
		[IDENTIFY_EVENT] = chan_case_recv(p->identify_event_chan, &event),
		[HEARTBEAT] = chan_case_tick(&p->heartbeat_ticker),
		[MESSAGE] = chan_case_recv_room(msg_chan, msgs, CLIENT_BATCH, &c->room),
		[SUSPEND] = chan_case_recv(p->flushed ? c->suspend_chan : NULL, NULL),
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
		c->room.owner =
			protocol_v2_may_deliver_for_pump(c, sub_channel) ? &c->consumer : NULL;
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
	case SUSPEND:
		return PUMP_SUSPENDED;
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
	/* With room, the token is the pump's: also with room that it was given while it slept. */
	if (p->client->room.n > 0)
		client_v2_release_delivery(p->client);
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
	netpoll_woken(c);
	while ((res = pump_once(&c->pump, &err)) == PUMP_ON)
		;
	if (res == PUMP_SUSPENDED)
		return;
	nsqd_logf(c->ctx, LG_INFO, "PROTOCOL(V2): [%s] exiting messagePump", c->remote_addr);
	if (res == PUMP_ERR) {
		nsqd_logf(c->ctx, LG_ERROR, "PROTOCOL(V2): [%s] messagePump error - %s",
			c->remote_addr, err.msg);
		client_v2_abort(c);
	}
}
