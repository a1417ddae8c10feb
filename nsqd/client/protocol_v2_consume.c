/* SPDX-License-Identifier: MIT */
/*
 * The commands of consumers: SUB, RDY, FIN, REQ, TOUCH, CLS, NOP. Mirrors them in
 * nsqd/protocol_v2.go. Runs in the thread of io_loop: a poller, or "io:ADDR".
 */
#include "nsqd/client/protocol_v2_consume.h"

#include <inttypes.h>
#include <string.h>

#include "common/clock.h"
#include "common/compiler.h"
#include "nsqd/client/protocol_v2_params.h"
#include "nsqd/client/protocol_v2_pump.h"
#include "nsqd/client/protocol_v2_reply.h"
#include "nsqd/queue/channel.h"
#include "nsqd/queue/topic.h"
#include "nsqd/queue/topics.h"
#include "protocol/byte_base10.h"

/* How long a SUB waits at most for the end of an ephemeral channel that is just being deleted. */
#define SUB_PATIENCE_NS (100 * NSEC_PER_MSEC)
/* So often a SUB tries at most, if channels expire under its hands. */
#define SUB_TRIES 8

/* --- SUB ------------------------------------------------------------------------------------- */

enum sub_result { SUB_OK, SUB_ERR, SUB_AGAIN, SUB_EXPIRED };

/*
 * One attempt to join the channel. SUB_OK: client->channel is set. SUB_AGAIN, and err says so: the
 * last client has left an ephemeral channel (or topic) between our finding it and joining it. So it
 * is being deleted, and this has waited for its end, up to patience_ns. SUB_EXPIRED: likewise, the
 * channel has just expired, and this has waited however long it took, unless patience_ns is 0.
 */
static enum sub_result try_sub(struct io_loop *l, const char *topic_name, const char *channel_name,
	int64_t patience_ns, struct err *err)
{
	enum sub_result res = SUB_ERR;
	struct channel *ch = NULL;
	struct topic *t = nsqd_get_topic(l->protocol->topics, topic_name, err);
	if (!t)
		return SUB_ERR;
	ch = topic_get_channel(t, channel_name, err);
	if (ch && channel_add_client(ch, &l->client->consumer, err) == 0) {
		l->client->channel = channel_ref(ch);
		res = SUB_OK;
	} else if (ch && channel_exiting(ch) && atomic_load(&ch->exit_unused)) {
		if (patience_ns > 0)
			(void)gone_wait(l->ctx, ch->gone_chan, INT64_MAX);
		err_set(err, 0, "to deleted topic/channel");
		res = SUB_EXPIRED;
	} else if ((t->ephemeral && topic_exiting(t)) ||
		   (ch && ch->ephemeral && channel_exiting(ch))) {
		(void)gone_wait(
			l->ctx, topic_exiting(t) ? t->gone_chan : ch->gone_chan, patience_ns);
		err_set(err, 0, "to deleted topic/channel");
		res = SUB_AGAIN;
	}
	channel_unref(ch);
	topic_unref(t);
	return res;
}

/* Joins the channel, and makes it anew if it is just being deleted. Polled: it tries once. */
static enum sub_result sub_patiently(
	struct io_loop *l, const char *topic_name, const char *channel_name, struct err *err)
{
	int64_t patience = l->polled ? 0 : SUB_PATIENCE_NS;
	enum sub_result res = try_sub(l, topic_name, channel_name, patience, err);
	if (l->polled)
		return res;
	for (int i = 1; i < SUB_TRIES && res == SUB_EXPIRED; i++)
		res = try_sub(l, topic_name, channel_name, patience, err);
	if (res == SUB_AGAIN)
		res = try_sub(l, topic_name, channel_name, 0, err);
	return res;
}

/* The channel is there, and no thread makes or deletes it or its topic. */
bool protocol_v2_sub_may_block(struct io_loop *l, const struct params *p)
{
	char topic_name[NAME_SIZE], channel_name[NAME_SIZE];
	if (io_loop_auth_may_block(l))
		return true;
	if (p->n < 3 || !is_valid_topic_name(p->v[1].s, p->v[1].len) ||
		!is_valid_channel_name(p->v[2].s, p->v[2].len))
		return false;
	io_loop_copy_name(topic_name, p->v[1]);
	io_loop_copy_name(channel_name, p->v[2]);
	return nsqd_sub_may_block(l->protocol->topics, topic_name, channel_name);
}

int protocol_v2_sub(struct io_loop *l, const struct params *p, const char **response)
{
	struct client_v2 *c = l->client;
	if (atomic_load(&c->state) != STATE_INIT)
		return io_loop_bad_state(l, "SUB");
	if (c->heartbeat_interval <= 0)
		return fatal_client_err(
			&l->error, NULL, "E_INVALID", "cannot SUB with heartbeats disabled");
	if (p->n < 3)
		return fatal_client_err(
			&l->error, NULL, "E_INVALID", "SUB insufficient number of parameters");
	if (io_loop_check_topic_name(l, "SUB", p->v[1]) != 0)
		return -1;
	if (!is_valid_channel_name(p->v[2].s, p->v[2].len))
		return io_loop_bad_name(l, "E_BAD_CHANNEL", "SUB", "channel", p->v[2]);

	char topic_name[NAME_SIZE], channel_name[NAME_SIZE];
	io_loop_copy_name(topic_name, p->v[1]);
	io_loop_copy_name(channel_name, p->v[2]);
	if (io_loop_check_auth(l, "SUB", topic_name, channel_name) != 0)
		return -1;
	struct err err;
	enum sub_result res = sub_patiently(l, topic_name, channel_name, &err);
	l->blocks = (res == SUB_AGAIN || res == SUB_EXPIRED) && l->polled;
	if (l->blocks)
		return -1;
	if (res == SUB_ERR && io_loop_awaits_thread(l, &err))
		return -1;
	if (res != SUB_OK)
		return fatal_client_err(
			&l->error, err.msg, "E_SUB_FAILED", "SUB failed %s", err.msg);
	atomic_store(&c->state, STATE_SUBSCRIBED);
	/* update message pump */
	client_v2_subscribed(c);
	protocol_v2_start_message_pump(c);
	*response = "OK";
	return 0;
}

/* --- RDY, and the answers to messages --------------------------------------------------------- */

static bool may_answer_messages(const struct io_loop *l)
{
	int32_t state = atomic_load(&l->client->state);
	return state == STATE_SUBSCRIBED || state == STATE_CLOSING;
}

static int get_message_id(struct io_loop *l, struct param p, struct message_id *id)
{
	if (p.len != MSG_ID_LENGTH) {
		fatal_client_err(&l->error, NULL, "E_INVALID", "invalid message ID");
		return -1;
	}
	memcpy(id->hex, p.s, MSG_ID_LENGTH);
	return 0;
}

int protocol_v2_rdy(struct io_loop *l, const struct params *p, const char **response)
{
	(void)response;
	int64_t max = nsqd_get_opts(l->ctx)->max_rdy_count;
	int32_t state = atomic_load(&l->client->state);
	if (state == STATE_CLOSING) {
		/* just ignore ready changes on a closing channel */
		nsqd_logf(l->ctx, LG_INFO,
			"PROTOCOL(V2): [%s] ignoring RDY after CLS in state ClientStateV2Closing",
			l->client->remote_addr);
		return 0;
	}
	if (state != STATE_SUBSCRIBED)
		return io_loop_bad_state(l, "RDY");
	uint64_t b10 = 1;
	if (p->n > 1 && !byte_to_base10(p->v[1].s, p->v[1].len, &b10))
		return io_loop_bad_param(l, "failed to convert to Base10", "E_INVALID",
			"RDY could not parse count ", p->v[1]);
	int64_t count = (int64_t)b10;
	/* this needs to be a fatal error otherwise clients would have inconsistent state */
	if (count < 0 || count > max)
		return fatal_client_err(&l->error, NULL, "E_INVALID",
			"RDY count %" PRId64 " out of range 0-%" PRId64, count, max);
	client_v2_set_ready_count(l->client, count);
	return 0;
}

/* The message waits for its fellows; io_loop_flush_gathered() is the rest. */
int protocol_v2_fin(struct io_loop *l, const struct params *p, const char **response)
{
	(void)response;
	if (!may_answer_messages(l))
		return io_loop_bad_state(l, "FIN");
	if (p->n < 2)
		return fatal_client_err(
			&l->error, NULL, "E_INVALID", "FIN insufficient number of params");
	if (get_message_id(l, p->v[1], &l->fins[l->n_fins]) != 0)
		return -1;
	return ++l->n_fins < FIN_BATCH ? 0 : io_loop_flush_gathered(l, GATHERED_PUBS);
}

/* The range of REQ's delay: what is outside is set to the nearest end, and logged. */
static int64_t clamp_req_timeout(struct io_loop *l, int64_t timeout)
{
	if (timeout == 0)
		return 0;
	int64_t max = channel_max_req_timeout(l->client->channel);
	int64_t clamped = timeout < 0 ? 0 : timeout > max ? max : timeout;
	if (clamped != timeout)
		nsqd_logf(l->ctx, LG_INFO,
			"PROTOCOL(V2): [%s] REQ timeout %" PRId64 " out of range 0-%" PRId64
			". Setting to %" PRId64,
			l->client->remote_addr, timeout, max, clamped);
	return clamped;
}

/* Without a delay the message goes back into the queue, be that on disk. */
bool protocol_v2_req_may_block(struct io_loop *l, const struct params *p)
{
	(void)p;
	struct channel *ch = l->client->channel;
	return ch && !channel_has_room(ch, PUT_MARGIN);
}

int protocol_v2_req(struct io_loop *l, const struct params *p, const char **response)
{
	(void)response;
	struct message_id id;
	struct err err UNINITIALIZED;
	uint64_t ms;
	int64_t timeout;
	if (!may_answer_messages(l))
		return io_loop_bad_state(l, "REQ");
	if (p->n < 3)
		return fatal_client_err(
			&l->error, NULL, "E_INVALID", "REQ insufficient number of params");
	if (get_message_id(l, p->v[1], &id) != 0)
		return -1;
	if (!io_loop_parse_ms(p->v[2], &ms, &timeout))
		return io_loop_bad_param(l, "failed to convert to Base10", "E_INVALID",
			"REQ could not parse timeout ", p->v[2]);
	timeout = clamp_req_timeout(l, timeout);
	if (channel_requeue_message(
		    l->client->channel, l->client->consumer.id, id, timeout, &err) != 0)
		return io_loop_message_failed(&l->error, "REQ", id, err.msg);
	if (client_v2_requeued_message(l->client))
		l->ready_changed = true;
	return 0;
}

int protocol_v2_touch(struct io_loop *l, const struct params *p, const char **response)
{
	(void)response;
	struct client_v2 *c = l->client;
	struct message_id id;
	struct err err UNINITIALIZED;
	if (!may_answer_messages(l))
		return io_loop_bad_state(l, "TOUCH");
	if (p->n < 2)
		return fatal_client_err(
			&l->error, NULL, "E_INVALID", "TOUCH insufficient number of params");
	if (get_message_id(l, p->v[1], &id) != 0)
		return -1;
	if (channel_touch_message(c->channel, c->consumer.id, id, c->msg_timeout, &err) != 0)
		return io_loop_message_failed(&l->error, "TOUCH", id, err.msg);
	return 0;
}

int protocol_v2_cls(struct io_loop *l, const struct params *p, const char **response)
{
	(void)p;
	if (atomic_load(&l->client->state) != STATE_SUBSCRIBED)
		return io_loop_bad_state(l, "CLS");
	client_v2_start_close(l->client);
	*response = "CLOSE_WAIT";
	return 0;
}

int protocol_v2_nop(struct io_loop *l, const struct params *p, const char **response)
{
	(void)l;
	(void)p;
	(void)response;
	return 0;
}
