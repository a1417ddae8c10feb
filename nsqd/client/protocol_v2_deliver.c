/* SPDX-License-Identifier: MIT */
/*
 * Delivery on behalf of the client's pump: protocol_v2_deliver.h has the idea and the table. No Go
 * file; it does what messagePump of nsqd/protocol_v2.go does. Runs in the threads "io:ADDR"
 * (deliver_inline) and "c:TOPIC/CHANNEL" (deliver_for_pump).
 */
#include "nsqd/client/protocol_v2_deliver.h"

#include "common/compiler.h"
#include "nsqd/client/client_v2.h"
#include "nsqd/client/protocol_v2_send.h"
#include "nsqd/queue/channel.h"

/*
 * The most messages that io_loop writes, and the largest RDY for which it does: with a large RDY it
 * is better that one thread reads while another writes. So it is with large messages.
 */
#define INLINE_BATCH 16
#define INLINE_READY_MAX 64

/* --- handing the token on -------------------------------------------------------------------- */

/*
 * Gives the sleeping pump the room that there is, and the token, which was the caller's. False also
 * where the pump is awake, or not yet asleep: then it is to be told. Messages cannot make the room
 * less meanwhile, since that takes the token. RDY and pause can, and wake the pump for it. But that
 * may have been before the pump stood in line: then it saw that it had no token, and slept again.
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

/* The holder has delivered, and gives the token back, with the room that is left. */
static void hand_back_delivery(struct client_v2 *c, struct channel *ch)
{
	if (give_room(c, ch))
		return;
	client_v2_release_delivery(c);
	/* Looked at once more: a thread that made room while we held the token relies on us. */
	if (client_v2_ready_for_messages(c, ch) > 0)
		client_v2_try_update_ready_state(c);
	else /* The pump may have given way to us just when it would have told. */
		channel_consumer_is_full(ch);
}

/* --- io_loop ---------------------------------------------------------------------------------- */

/* Takes and writes what is there. The caller holds the token, and flushes. */
static int deliver_locked(struct client_v2 *c, struct err *err)
{
	struct message *msgs[INLINE_BATCH] UNINITIALIZED;
	message_prefix prefixes[INLINE_BATCH] UNINITIALIZED;
	struct iovec parts[2 * INLINE_BATCH] UNINITIALIZED;
	mutex_assert_held(&c->write_lock);
	int64_t room = client_v2_ready_for_messages(c, c->channel);
	if (room > INLINE_BATCH)
		room = INLINE_BATCH;
	size_t n = room > 0 ? channel_take_messages(c->channel, msgs, (size_t)room) : 0;
	n = protocol_v2_sample(c->deliver_sample_rate, msgs, n);
	if (n == 0)
		return 0;
	protocol_v2_start_sending(c, c->channel, c->deliver_msg_timeout, msgs, n, prefixes);
	c->large = protocol_v2_size_of(msgs, n) > LARGE_MESSAGE * n;
	protocol_v2_frame_parts(parts, msgs, n, prefixes);
	int rc = bufio_writev(&c->writer, parts, (int)(2 * n), STREAM_NOW, err);
	message_unref_all(msgs, n);
	return rc;
}

/*
 * Not where another thread writes, which may wait for the peer, nor behind what the peer has not
 * taken yet. Nor large messages, of which much would have to be kept. Then the room is the pump's,
 * which may wait.
 */
static int deliver(struct client_v2 *c, bool *unflushed, struct err *err)
{
	int rc = 0;
	if (c->large || !mutex_trylock(&c->write_lock))
		return 0;
	if (!c->writer.below) {
		rc = deliver_locked(c, err);
		*unflushed = *unflushed || c->writer.unflushed;
	}
	mutex_unlock(&c->write_lock);
	return rc;
}

int protocol_v2_deliver_inline(struct client_v2 *c, bool *unflushed, struct err *err)
{
	int rc = 0;
	if (atomic_load(&c->ready_count) > INLINE_READY_MAX) {
		client_v2_try_update_ready_state(c);
	} else if (client_v2_try_claim_delivery(c)) {
		rc = deliver(c, unflushed, err);
		hand_back_delivery(c, c->channel);
	}
	return rc;
}

/* --- the channel's pump ----------------------------------------------------------------------- */

bool protocol_v2_may_deliver_for_pump(const struct client_v2 *c, const struct channel *ch)
{
	return c->stream == c->base && c->output_buffer_size >= CONSUMER_DELIVER_MAX &&
	       c->deliver_sample_rate == 0 && !ch->topology_aware;
}

/* Writes m, if all of it fits into the client's buffer, which is empty. False: nothing was done. */
static bool deliver_one_locked(struct client_v2 *c, struct channel *ch, struct message *m)
{
	message_prefix prefix;
	struct err err UNINITIALIZED;
	mutex_assert_held(&c->write_lock);
	if (!bufio_writer_is_free(&c->writer, MSG_PREFIX_LENGTH + m->body->len))
		return false;
	protocol_v2_start_sending(c, ch, c->deliver_msg_timeout, &m, 1, &prefix);
	const struct iovec parts[] = {{.iov_base = prefix, .iov_len = MSG_PREFIX_LENGTH},
		{.iov_base = m->body->data, .iov_len = m->body->len}};
	(void)bufio_writev(&c->writer, parts, 2, STREAM_NOW, &err);
	message_unref(m);
	(void)client_v2_try_flush_locked(c, &err);
	return true;
}

bool protocol_v2_deliver_for_pump(struct client_v2 *c, struct channel *ch, struct message *m)
{
	bool delivered = false;
	if (!client_v2_has_left(c) && client_v2_ready_for_messages(c, ch) > 0 &&
		mutex_trylock(&c->write_lock)) {
		delivered = deliver_one_locked(c, ch, m);
		mutex_unlock(&c->write_lock);
	}
	hand_back_delivery(c, ch);
	if (atomic_load(&c->unsent))
		client_v2_try_update_ready_state(c);
	return delivered;
}
