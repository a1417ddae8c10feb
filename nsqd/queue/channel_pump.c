/* SPDX-License-Identifier: MIT */
/*
 * The channel's message pump: memory queue or backend -> client_msg_chans, the
 * only chans that clients see. It is the Channel.messagePump of NSQ before 1.0
 * (and of the walk-through); in 1.3.0 each client's pump selects over the
 * channel's memory queue and backend by itself. Thread "c:TOPIC/NAME".
 *
 * Note on demand. A pump that took messages ahead of time would change what
 * operators see: the depth, what spills to disk, what a #ephemeral channel
 * drops. So it takes only while a consumer is parked on one of them, and only as
 * many as those have room for; otherwise its sources are NULL and it waits for
 * demand. (A consumer that is parked counts as one that waits, and is called
 * when there is something for it; see netpoll.h.) What it holds ("in hand") counts as depth, and goes back to the queue
 * when the channel is paused or the consumer that asked has left.
 */
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/compiler.h"
#include "common/xalloc.h"
#include "nsqd/queue/channel_internal.h"
#include "nsqd/core/message.h"
#include "protocol/frame.h"

/*
 * What the nearest of the consumers that wait have room for, as far as it matters:
 * the hand does not hold more. The others are not asked before.
 */
static size_t demand(struct channel *c)
{
	for (int i = 0; i < N_CLOSENESS; i++) {
		struct chan *client = c->client_msg_chans[i];
		size_t n = client ? chan_demand(client, CHANNEL_BATCH) : 0;
		if (n > 0)
			return n;
	}
	return 0;
}

/* How much to take now: what the parked consumers have room for, within the hand's size. */
static size_t room_of_consumers(struct channel *c)
{
	if (channel_is_paused(c))
		return 0;
	size_t room = demand(c), parked = atomic_load(&c->dormant_ready);
	return parked < CHANNEL_BATCH - room ? room + parked : CHANNEL_BATCH;
}

/* Any of the consumers will do to wake those that are dormant: they are consumers as well. */
static void wake_dormant(struct channel *c, size_t ready)
{
	rwlock_rdlock(&c->lock);
	if (c->clients)
		c->clients->ops->wake_dormant(c->clients, c, ready);
	rwlock_unlock(&c->lock);
}

/*
 * Calls parked consumers for what is in hand and those that wait have no room
 * for; at least for so many messages: so that each batch makes one more wait,
 * and the busiest do not get everything.
 */
static void call_parked(struct channel *c, size_t least)
{
	if (atomic_load(&c->dormant_ready) == 0 || c->hand_count == 0 || channel_is_paused(c))
		return;
	/* Who has been called counts until it waits itself: else each that comes, and takes its
	 * share, would have all that is left in hand called for once more. */
	size_t waiting = demand(c) + atomic_load(&c->waking_ready);
	size_t missing = c->hand_count > waiting ? c->hand_count - waiting : 0;
	wake_dormant(c, missing > least ? missing : least);
}

/* The first n messages have left the hand. */
static void hand_out(struct channel *c, size_t n)
{
	size_t left = c->hand_count - n;
	if (n == 0)
		return;
	/* In flight, or back in the queue: a crash need not bring them again. */
	if (c->hand_is_backends)
		c->backend->ops->done(c->backend, n);
	memmove(c->hand, c->hand + n, left * sizeof(*c->hand));
	atomic_store(&c->hand_count, left);
}

static void drop_hand(struct channel *c)
{
	for (size_t i = 0; i < c->hand_count; i++)
		message_unref(c->hand[i]);
	hand_out(c, c->hand_count);
}

/* Back into the queue; what the disk refuses stays in hand. */
static void put_hand_back(struct channel *c)
{
	struct err err;
	rwlock_rdlock(&c->exit_lock);
	if (c->hand_count > 0 && !channel_exiting(c))
		hand_out(c, channel_put_locked(c, c->hand, c->hand_count, &err));
	rwlock_unlock(&c->exit_lock);
}

static void obey(struct channel *c, enum channel_update what)
{
	switch (what) {
	case CHANNEL_PAUSED:
		if (channel_is_paused(c))
			put_hand_back(c);
		break;
	case CHANNEL_EMPTIED:
		drop_hand(c);
		kept_clear(&c->kept);
		channel_kept_less(c);
		break;
	case CHANNEL_CLIENT_LEFT:
		if (demand(c) == 0)
			put_hand_back(c);
		if (c->hand_count == 0) {
			free(c->hand);
			c->hand = NULL;
		}
		break;
	}
	struct chan_case cases[] = {
		chan_case_send(c->updated_chan, NULL), chan_case_recv(c->exit_chan, NULL)};
	chan_select(cases, 2);
}

void channel_update_pump(struct channel *c, enum channel_update what)
{
	struct chan_case tell[] = {
		chan_case_send(c->update_chan, &what), chan_case_recv(c->exit_chan, NULL)};
	if (chan_select(tell, 2) != 0)
		return;
	struct chan_case wait[] = {
		chan_case_recv(c->updated_chan, NULL), chan_case_recv(c->exit_chan, NULL)};
	chan_select(wait, 2);
}

size_t channel_take_messages(struct channel *c, struct message **msgs, size_t max)
{
	size_t n = 0;
	if (!c->memory_msg_chan || c->topology_aware || channel_is_paused(c))
		return 0;
	/*
	 * What is being served is for those who have waited, while others come back; they need not
	 * queue up behind one thread. (But one alone gets its messages in order.)
	 */
	if (atomic_load(&c->hand_count) > 0 &&
		(!atomic_load(&c->serving) || atomic_load(&c->client_count) == 1))
		return 0;
	/* The caller holds a client's write_lock, which comes after this one. */
	if (!rwlock_tryrdlock(&c->exit_lock))
		return 0;
	/* With messages in both, the pump's select is what is fair to those on disk. */
	if (!channel_exiting(c) && c->backend->ops->depth(c->backend) == 0)
		n = chan_try_recv_n(c->memory_msg_chan, msgs, max, NULL);
	rwlock_unlock(&c->exit_lock);
	return n;
}

/*
 * Has m written to the consumer that has waited for the longest, on its pump's behalf. The lock
 * keeps that consumer: its io_loop needs it for writing to take the consumer from the channel.
 */
static bool deliver(struct channel *c, struct message *m)
{
	bool delivered = false;
	if (FRAME_HEADER_LENGTH + MSG_HEADER_LENGTH + m->body->len > CONSUMER_DELIVER_MAX)
		return false;
	rwlock_rdlock(&c->lock);
	struct consumer *client = chan_take_room(c->client_msg_chans[GLOBAL], 1);
	if (client)
		delivered = client->ops->deliver(client, c, m);
	rwlock_unlock(&c->lock);
	return delivered;
}

/*
 * Hands out to those who have waited for the longest, as far as they can be
 * served without waking them (protocol_v2_pump.c, note on filling): where there
 * is no backlog, a consumer with RDY 1 would wake to send one message and sleep.
 */
static void serve(struct channel *c)
{
	if (c->topology_aware || channel_is_paused(c))
		return;
	atomic_store(&c->serving, true);
	while (c->hand_count > 0 && deliver(c, c->hand[0]))
		hand_out(c, 1);
	atomic_store(&c->serving, false);
}

/*
 * --- what the disk refuses ---------------------------------------------------------------------
 */

/* How long the pump waits until it tries again, at first and at last. */
#define PATIENCE_MIN_NS (250 * NSEC_PER_MSEC)
#define PATIENCE_MAX_NS NSEC_PER_SEC

/* When to try to queue what is kept; NULL: there is nothing. */
static struct ticker *await_retry(struct channel *c)
{
	if (!channel_is_stuck(c)) {
		c->kept_patience_ns = 0;
		return NULL;
	}
	if (c->kept_patience_ns == 0) {
		c->kept_patience_ns = PATIENCE_MIN_NS;
		ticker_after(&c->kept_retry, c->kept_patience_ns);
	}
	return &c->kept_retry;
}

/*
 * Queues what is kept, as far as memory and disk have room by now. (Not inlined: a pump that waits
 * has no need of the batch on its stack.)
 */
static __attribute__((noinline)) void queue_kept(struct channel *c)
{
	struct message *msgs[CHANNEL_BATCH] UNINITIALIZED;
	struct err err;
	size_t n = kept_take(&c->kept, msgs, CHANNEL_BATCH), done = 0;
	rwlock_rdlock(&c->exit_lock);
	if (!channel_exiting(c))
		done = channel_put_locked(c, msgs, n, &err);
	rwlock_unlock(&c->exit_lock);
	kept_settle(&c->kept, msgs + done, n - done);
	channel_kept_less(c);
	if (done == n) {
		/* There is room: on with the next, but let others have their turn in between. */
		c->kept_patience_ns = PATIENCE_MIN_NS;
		ticker_after(&c->kept_retry, 0);
	} else {
		c->kept_patience_ns = 2 * c->kept_patience_ns < PATIENCE_MAX_NS
					      ? 2 * c->kept_patience_ns
					      : PATIENCE_MAX_NS;
		ticker_after(&c->kept_retry, c->kept_patience_ns);
	}
}

/* Takes up to room of what is kept into the hand, for consumers that ask. */
static void take_kept(struct channel *c, size_t room)
{
	c->hand_is_backends = false;
	atomic_store(&c->hand_count, kept_take(&c->kept, c->hand, room));
	kept_settle(&c->kept, NULL, 0);
	channel_kept_less(c);
	call_parked(c, 1);
	serve(c);
}

/*
 * Whether what is kept comes next, along with what is on disk: what is in memory is older. It comes
 * by way of a ticker that is due, so that select is fair to all.
 */
static bool kept_is_next(struct channel *c, struct ticker *due)
{
	if (!channel_is_stuck(c) || (c->memory_msg_chan && chan_len(c->memory_msg_chan) > 0))
		return false;
	ticker_after(due, 0);
	return true;
}

/* To near consumers that wait; somebody nearer than who asked may have come meanwhile. */
static bool hand_to_near(struct channel *c)
{
	for (int i = 0; c->hand_count > 0 && i < GLOBAL; i++) {
		struct chan *near = c->client_msg_chans[i];
		size_t n = near ? chan_try_send_n(near, c->hand, c->hand_count) : 0;
		if (n > 0) {
			hand_out(c, n);
			return true;
		}
	}
	return false;
}

/* The next select: what is in hand is offered; else, with demand, more is taken. False: exit. */
static bool pump_once(struct channel *c)
{
	enum { MEMORY, BACKEND, UPDATE, PARKED, KEPT, EXIT, CLIENTS };
	enum channel_update update;
	if (c->topology_aware && !channel_is_paused(c) && hand_to_near(c))
		return true;
	size_t held = c->hand_count;
	size_t room = held ? 0 : room_of_consumers(c);
	if (room && !c->hand)
		c->hand = xreallocarray(NULL, CHANNEL_BATCH, sizeof(*c->hand));
	struct ticker due;
	bool kept_next = room && kept_is_next(c, &due);
	struct ticker *kept = kept_next ? &due : await_retry(c);
	struct chan *memory = room ? c->memory_msg_chan : NULL;
	struct chan *backend = room ? c->backend->ops->read_chan(c->backend) : NULL;
	int n_cases = CLIENTS;

	struct chan_case cases[CLIENTS + N_CLOSENESS];
	cases[MEMORY] = chan_case_recv_n(memory, c->hand, room);
	cases[BACKEND] = chan_case_recv_n(backend, c->hand, room);
	cases[UPDATE] = chan_case_recv(c->update_chan, &update);
	cases[PARKED] = chan_case_recv(c->dormant_chan, NULL);
	cases[KEPT] = chan_case_tick(kept);
	cases[EXIT] = chan_case_recv(c->exit_chan, NULL);
	/* Held while paused is only what the disk refuses to take back. */
	for (int i = 0; i < N_CLOSENESS && !room && !channel_is_paused(c); i++) {
		struct chan *client = c->client_msg_chans[i];
		if (!client)
			continue;
		cases[n_cases] =
			held ? chan_case_send_n(client, c->hand, held) : chan_case_demand(client);
		if (!held)
			cases[n_cases].max = 1; /* how much it is is asked anew */
		n_cases++;
	}
	int chosen = chan_select(cases, n_cases);
	switch (chosen) {
	case MEMORY:
	case BACKEND:
		c->hand_is_backends = chosen == BACKEND;
		atomic_store(&c->hand_count, cases[chosen].n);
		call_parked(c, 1);
		serve(c);
		break;
	case UPDATE:
		obey(c, update);
		call_parked(c, 0);
		break;
	case PARKED:
		call_parked(c, 0);
		break;
	case KEPT:
		kept_next ? take_kept(c, room) : queue_kept(c);
		break;
	case EXIT:
		return false;
	default:
		if (held)
			hand_out(c, cases[chosen].n);
	}
	return true;
}

void channel_message_pump(void *arg)
{
	struct channel *c = arg;
	while (pump_once(c))
		;
	nsqd_logf(c->ctx, LG_INFO, "CHANNEL(%s): closing ... messagePump", c->name);
}
