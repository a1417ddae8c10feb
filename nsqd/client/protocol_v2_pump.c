/* SPDX-License-Identifier: MIT */
/*
 * The client's message pump: from one of client_msg_chans to the socket, with heartbeats and the
 * flush timer. Mirrors protocolV2.messagePump of nsqd/protocol_v2.go. It is a task without a thread:
 * the threads that wake it take its steps (common/runnext.h). For a step that may block it gets the
 * thread "pump:ADDR", which leaves when it has slept for a while.
 *
 * Differences: its state is derived from the client's before it starts, so there is no
 * messagePumpStartedChan. It starts when there is something for it: with SUB, or the first heartbeat.
 * It takes what the client has room for in one go, up to a batch. A batch that it got for a client
 * that has just left goes back. After an error it ends the connection at once, where stock's io_loop
 * finds out by a read that times out.
 *
 * Lessons in docs/course/: 07-nil-chan, 09-ticker.
 */
#include "nsqd/client/protocol_v2_pump.h"

#include <stdio.h>

#include "common/clock.h"
#include "common/compiler.h"
#include "common/runnext.h"
#include "common/xalloc.h"
#include "nsqd/queue/channel.h"
#include "nsqd/client/client_v2.h"
#include "nsqd/client/protocol_v2_send.h"

static void identify(struct message_pump *p, const struct identify_event *e)
{
	ticker_stop(&p->output_buffer_ticker);
	if (e->output_buffer_timeout > 0)
		ticker_start_in_step(&p->output_buffer_ticker, e->output_buffer_timeout);
	ticker_stop(&p->heartbeat_ticker);
	if (e->heartbeat_interval > 0)
		ticker_start(&p->heartbeat_ticker, e->heartbeat_interval);
	if (e->sample_rate > 0)
		p->sample_rate = e->sample_rate;
	p->msg_timeout = e->msg_timeout;
	p->topology = e->topology;
}

/* Up to this RDY a client gets messages from the channel's memory: see take_from_memory. */
#define SMALL_READY 64

/* How long a pump's thread sleeps before it leaves. */
#define OWNER_PATIENCE_NS SILENCE_NS
/* Without a thread for it: when to try again, and how long. */
#define RETRY_NS (20 * NSEC_PER_MSEC)
#define PUMP_WAIT_NS (5 * NSEC_PER_SEC)

enum pump_result { PUMP_ON, PUMP_EXIT, PUMP_ERR };

enum { FLUSHER, READY_STATE, HEARTBEAT, MESSAGE, N_CASES };

/* What a pump with a thread of its own has beside, on that thread's stack. */
struct owner {
	struct err err; /* set with PUMP_ERR */
	struct message *msgs[CLIENT_BATCH];
};

/* The pump's task: what its selects and steps need beside the pump's state. */
struct pump {
	struct task task;
	struct chan_case cases[N_CASES];
	struct waiter waiters[N_CASES];
	struct message_pump *p;
	struct owner *owner;     /* NULL: it has no thread */
	enum pump_result result; /* of the last step */
	size_t room;    /* for how many messages the client is ready, as the select began */
	size_t n_taken; /* messages in few, from the channel's memory, to be delivered */
	struct message *few[SHORT_WRITE]; /* those that come while it has no thread, or are taken */
};

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

/* Leaves out what the sample rate does not want. Returns how many are left; they come first. */
static size_t sample(struct message_pump *p, struct message **msgs, size_t n)
{
	size_t left = protocol_v2_sample(p->sample_rate, msgs, n);
	if (left < n)
		channel_left_out(p->sub_channel, n - left);
	return left;
}

/* Not inlined: a pump that waits has no need of the prefixes on its stack. */
static __attribute__((noinline)) enum pump_result write_batch(
	struct pump *q, struct message **msgs, size_t n)
{
	struct message_pump *p = q->p;
	message_prefix prefixes[CLIENT_BATCH] UNINITIALIZED;
	protocol_v2_start_sending(p->client, p->sub_channel, p->msg_timeout, msgs, n, prefixes);
	size_t size = protocol_v2_size_of(msgs, n);
	int rc = protocol_v2_write_messages(p->client, msgs, n, size, prefixes, &q->owner->err);
	return rc == 0 ? PUMP_ON : PUMP_ERR;
}

/* The channel's data. */
static enum pump_result deliver(struct pump *q, struct message **msgs, size_t n)
{
	struct message_pump *p = q->p;
	enum pump_result res = PUMP_ON;
	/* The choice was random: a batch for a client that has left would wait out its timeout. */
	if (client_v2_has_left(p->client)) {
		channel_return_messages(p->sub_channel, msgs, n);
		return PUMP_EXIT;
	}
	count_delivered(p, n);
	n = sample(p, msgs, n);
	if (n == 0)
		return PUMP_ON;
	p->flushed = false;
	res = write_batch(q, msgs, n);
	message_unref_all(msgs, n);
	return res;
}

/* A few small ones: another thread than the pump's may write them. */
static bool is_short(struct message *const *msgs, size_t n)
{
	return n <= SHORT_WRITE && protocol_v2_size_of(msgs, n) <= SHORT_WRITE_SIZE;
}

/* deliver, for a thread that must not wait; false, and nothing done: that is not possible now. */
static bool try_deliver(struct pump *q, struct message **msgs, size_t n)
{
	struct message_pump *p = q->p;
	struct client_v2 *c = p->client;
	if (!is_short(msgs, n) || client_v2_has_left(c) || !client_v2_begin_try_write(c))
		return false;
	count_delivered(p, n);
	n = sample(p, msgs, n);
	if (n > 0) {
		protocol_v2_write_messages_locked(c, p->sub_channel, p->msg_timeout, msgs, n);
		p->flushed = false;
		/* What the peer does not take, and an error, is for the pump's own thread. */
		p->flush_now = p->flush_now || c->writer.below || c->writer.failed;
	}
	mutex_unlock(&c->write_lock);
	message_unref_all(msgs, n);
	return true;
}

/* False, and nothing done: the pump's own thread is to do it. */
static bool deliver_as(struct pump *q, struct message **msgs, size_t n, bool owner)
{
	if (!owner)
		return try_deliver(q, msgs, n);
	q->result = deliver(q, msgs, n);
	return true;
}

/*
 * A client that has room again, since it has finished a message, gets the next ones from the
 * channel's memory, as in stock. It stands in line only where there is none. So with a backlog, and
 * a small RDY, consumers need not wait for the channel's pump. (With a large RDY it is better that
 * one thread reads while another writes.)
 */
static size_t take_from_memory(struct pump *q)
{
	struct message_pump *p = q->p;
	struct client_v2 *c = p->client;
	if (!p->sub_channel || atomic_load(&c->ready_count) > SMALL_READY)
		return 0;
	size_t room = (size_t)client_v2_ready_for_messages(c, p->sub_channel);
	return channel_take_messages(
		p->sub_channel, q->few, room < SHORT_WRITE ? room : SHORT_WRITE);
}

/* IsReadyForMessages. */
static size_t room_of(struct message_pump *p)
{
	struct channel *ch = p->sub_channel;
	return ch ? (size_t)client_v2_ready_for_messages(p->client, ch) : 0;
}

/* True: what was to be flushed is flushed. False: by the owner; or it fails, and the error is set. */
static bool flush(struct pump *q, bool owner)
{
	struct message_pump *p = q->p;
	bool ok = owner ? client_v2_flush(p->client, &q->owner->err) == 0
			: client_v2_try_flush(p->client);
	if (ok) {
		p->flushed = true;
		p->flush_now = false;
	}
	return ok;
}

static struct pump *pump_of(struct task *task)
{
	return (struct pump *)task;
}

static int prepare(struct task *task, bool owner)
{
	struct pump *q = pump_of(task);
	struct message_pump *p = q->p;
	struct client_v2 *c = p->client;
	size_t room = q->room = room_of(p);
	/* the client is not ready to receive messages... force flush */
	bool force = room == 0 && !p->flushed;
	if ((force || p->flush_now) && !flush(q, owner)) {
		q->result = PUMP_ERR;
		return -1;
	}
	/* last iteration we flushed: do not select on the flusher ticker. Else we're
	 * buffered (if there isn't any more data we should flush): select on it, too */
	struct ticker *flusher = room > 0 && !p->flushed ? &p->output_buffer_ticker : NULL;
	struct chan *msg_chan = room > 0 ? client_msg_chan(p) : NULL;
	/* Many messages are for a thread, which also has a place for them. */
	size_t most = q->owner ? CLIENT_BATCH : SHORT_WRITE;
	struct message **msgs = q->owner ? q->owner->msgs : q->few;
	struct chan_case *cases = q->cases;
	cases[FLUSHER] = chan_case_tick(flusher);
	cases[READY_STATE] = chan_case_recv(c->ready_state_chan, NULL);
	cases[HEARTBEAT] = chan_case_tick(&p->heartbeat_ticker);
	cases[MESSAGE] = chan_case_recv_n(msg_chan, msgs, room < most ? room : most);
	return N_CASES;
}

/* Of messages a few that are small, unless there seem to be more of them: a thread sends those. */
static bool may_run(struct task *task, int chosen, size_t n)
{
	struct pump *q = pump_of(task);
	if (chosen != MESSAGE)
		return true;
	return (n < SHORT_WRITE || q->room == n) && is_short(q->cases[MESSAGE].v, n);
}

/* What the first IDENTIFY has said. The pump; before its start io_loop. */
static void note_identified(struct message_pump *p)
{
	struct pump_orders *o = &p->client->pump_orders;
	if (p->identified || !atomic_load(&o->identified))
		return;
	p->identified = true;
	identify(p, &o->identify);
}

/* Something has changed: the counts, which prepare looks at, or what io_loop has to say. */
static enum pump_result look(struct message_pump *p)
{
	struct pump_orders *o = &p->client->pump_orders;
	note_identified(p);
	if (!p->sub_channel)
		p->sub_channel = atomic_load(&o->sub_channel);
	if (atomic_load(&o->exit))
		return PUMP_EXIT;
	if (atomic_exchange(&o->flush, false))
		p->flush_now = true;
	return PUMP_ON;
}

/* False: messages were taken, and it is the pump's own thread that is to deliver them. */
static bool look_and_deliver(struct pump *q, bool owner)
{
	if (q->n_taken == 0) {
		q->result = look(q->p);
		if (q->result == PUMP_ON)
			q->n_taken = take_from_memory(q);
	}
	if (q->n_taken > 0 && !deliver_as(q, q->few, q->n_taken, owner))
		return false;
	q->n_taken = 0;
	return true;
}

static bool heartbeat(struct pump *q, bool owner)
{
	struct message_pump *p = q->p;
	struct client_v2 *c = p->client;
	bool left;
	if (!owner && protocol_v2_try_send_heartbeat(c, &left)) {
		p->flush_now = left;
		p->flushed = !left;
		return true;
	}
	if (owner && protocol_v2_send_heartbeat(c, &q->owner->err) != 0)
		q->result = PUMP_ERR;
	return owner;
}

static enum task_result act(struct task *task, int chosen, bool owner)
{
	struct pump *q = pump_of(task);
	struct message_pump *p = q->p;
	bool done = true;
	q->result = PUMP_ON;
	switch (chosen) {
	case FLUSHER:
		/* if this case wins, we're either starved or we won the race between
		 * other chans... in either case, force flush */
		p->flush_now = true;
		break;
	case READY_STATE:
		done = look_and_deliver(q, owner);
		break;
	case HEARTBEAT:
		done = heartbeat(q, owner);
		break;
	case MESSAGE:
		done = deliver_as(q, q->cases[MESSAGE].v, q->cases[MESSAGE].n, owner);
		break;
	}
	if (!done)
		return TASK_NOT_DONE;
	return q->result == PUMP_ON ? TASK_ON : TASK_END;
}

/* --- the pump's thread ------------------------------------------------------------------------ */

/* task_ops.leave */
static void leave(struct task *task)
{
	struct pump *q = pump_of(task);
	q->owner = NULL;
	client_v2_give_writer_back(q->p->client);
}

/* The thread "pump:ADDR", or one that is lent. */
static void own(void *arg)
{
	struct client_v2 *c = arg;
	struct owner o UNINITIALIZED;
	/* The task waits for this thread, so it is ours. */
	c->pump_task->owner = &o;
	task_own(&c->pump_task->task, OWNER_PATIENCE_NS);
}

/* False with err set: there is no thread. */
static bool start_thread(struct client_v2 *c, struct err *err)
{
	char name[160];
	snprintf(name, sizeof(name), "pump:%s", c->remote_addr);
	return !gothread_is_scarce(1, err) &&
	       wait_group_wrap(c->protocol->pump_threads, name, own, c, err) == 0;
}

/* task_ops.go: without a thread now, io_loop tries again. It goes on when the pollers kick it. */
static void go(struct task *task)
{
	struct client_v2 *c = pump_of(task)->p->client;
	struct err err;
	if (start_thread(c, &err))
		return;
	struct poll_desc *pd = c->pd;
	c->pump_waits_until_ns = clock_mono_ns() + PUMP_WAIT_NS;
	atomic_store(&c->pump_waits, true);
	/* From now on io_loop may run the pump to its end. Then the kick is a step for nothing, of whatever
	 * connection pd is by then. */
	netpoll_kick(pd);
}

/* task_ops.ended */
static void ended(struct task *task)
{
	struct pump *q = pump_of(task);
	struct client_v2 *c = q->p->client;
	nsqd_logf(c->ctx, LG_INFO, "PROTOCOL(V2): [%s] exiting messagePump", c->remote_addr);
	if (q->result == PUMP_ERR) {
		nsqd_logf(c->ctx, LG_ERROR, "PROTOCOL(V2): [%s] messagePump error - %s",
			c->remote_addr, q->owner->err.msg);
		client_v2_abort(c);
	}
	wait_group_done(&c->wait_group);
}

/* What its pump holds is to go to another consumer. The next read finds the end. */
static void give_up(struct client_v2 *c, const struct err *why)
{
	nsqd_logf(c->ctx, LG_ERROR,
		"PROTOCOL(V2): [%s] closing client, no thread for its pump - %s", c->remote_addr,
		why->msg);
	c->pump_waits_until_ns = INT64_MAX;
	client_v2_abort(c);
}

void protocol_v2_retry_pump(struct client_v2 *c)
{
	struct err err;
	if (!atomic_load_explicit(&c->pump_waits, memory_order_relaxed) ||
		!atomic_exchange(&c->pump_waits, false))
		return;
	/* After give_up what the pump holds is no more for this client, which has not left yet. */
	bool given_up = c->pump_waits_until_ns == INT64_MAX && !client_v2_has_left(c);
	if (!given_up && start_thread(c, &err))
		return;
	task_relieve(&c->pump_task->task);
	if (clock_mono_ns() >= c->pump_waits_until_ns)
		give_up(c, &err);
	atomic_store(&c->pump_waits, true);
}

void protocol_v2_lend_thread(struct client_v2 *c)
{
	if (atomic_exchange(&c->pump_waits, false))
		own(c);
}

int64_t protocol_v2_pump_deadline(struct client_v2 *c)
{
	if (c->pump_task)
		return atomic_load(&c->pump_waits) ? clock_mono_ns() + RETRY_NS : 0;
	/* The pump's state is io_loop's until it starts. */
	note_identified(&c->pump);
	int64_t heartbeat = c->pump.heartbeat_ticker.next_ns;
	if (heartbeat == 0 || heartbeat > clock_mono_ns())
		return heartbeat;
	protocol_v2_start_message_pump(c);
	return protocol_v2_pump_deadline(c);
}

/* --- life ------------------------------------------------------------------------------------- */

/* messagePump: selects over the channel's messages and all that a client has to be told. */
static const struct task_ops pump_ops = {.prepare = prepare,
	.may_run = may_run,
	.act = act,
	.go = go,
	.ended = ended,
	.leave = leave};

void protocol_v2_init_message_pump(struct client_v2 *c)
{
	c->pump = (struct message_pump){
		.client = c,
		.msg_timeout = c->msg_timeout,
		.topology = {.counted_as = GLOBAL, .served_as = GLOBAL},
		.flushed = true,
	};
	ticker_start_in_step(&c->pump.output_buffer_ticker, c->output_buffer_timeout);
	ticker_start(&c->pump.heartbeat_ticker, c->heartbeat_interval);
}

void protocol_v2_start_message_pump(struct client_v2 *c)
{
	if (c->pump_task)
		return;
	struct pump *q = xcalloc_aligned(_Alignof(struct pump), sizeof(*q));
	task_init(&q->task, q->cases, q->waiters, N_CASES);
	q->p = &c->pump;
	c->pump_task = q;
	wait_group_add(&c->wait_group);
	/* There may be orders already. */
	client_v2_try_update_ready_state(c);
	task_start(&q->task, &pump_ops);
}
