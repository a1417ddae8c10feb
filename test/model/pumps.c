/* SPDX-License-Identifier: MIT */
/*
 * The model of the pumps: a channel, its pump, and the pumps of its consumers, all of them the
 * daemon's own. Threads publish, finish messages, pause, and leave. Each message is delivered once.
 * A consumer has no more in flight than it is ready for. No message waits while a consumer does.
 */
#include <stdlib.h>
#include <string.h>

#include "common/gothread.h"
#include "common/runnext.h"
#include "nsqd/client/client_consumer.h"
#include "nsqd/client/client_v2.h"
#include "nsqd/client/protocol_v2_pump.h"
#include "nsqd/queue/channel.h"
#include "protocol/frame.h"
#include "test/model/mc.h"
#include "test/model/mc_stubs.h"
#include "test/model/pump_stubs.h"

/* What the one that leaves has in flight is timed out when it has left. */
#define LEAVER_TIMEOUT_NS 1000
#define TIMEOUT_NS 1000000

static struct context ctx;
static struct options opts;
static struct wait_group pump_threads;
static struct protocol_v2 protocol = {
	.ctx = &ctx, .pump_threads = &pump_threads, .consumer_ops = &client_consumer_ops};
static MC_GHOST struct channel *channel;

/* A client, and what its io_loop knows of it. */
struct side {
	struct client_v2 *client; /* NULL: it has left */
	struct peer *peer;
	int n_read; /* frames that its peer has read */
	bool leaves;
	int rdy_after;  /* RDY 0, and then RDY again, after so many messages; 0: never */
	int looks;      /* so many times the pump is told to look, for nothing */
	int answers;    /* so many commands come that are answered, at once */
	int n_answered; /* so many answers the peer has got */
	bool retries;   /* netpoll_set_deadline: io_loop is to look after the pump */
	bool reads_later;
};
static MC_GHOST struct side sides[PEERS];
static MC_GHOST int n_clients, n_messages, rdy;
static MC_GHOST int64_t began_ns;
static MC_GHOST struct message *messages[MESSAGES + 1]; /* by number, as are the next */

static MC_GHOST int times_finished[MESSAGES + 1];
static MC_GHOST int n_finished, n_over, n_put, n_read_from_disk, last_arrived;

static MC_GHOST bool is_paused; /* and the one that paused it has been told so */
/* From this number on what is published waits for the end of the pause; 0: nothing does. */
static MC_GHOST int waits_from;

/* In these frames, from the first one on: messages that are not finished. */
static int count_unfinished(const struct frames *f)
{
	int n = 0;
	for (int i = 0; i < f->n; i++)
		n += f->v[i] != ANSWER && times_finished[f->v[i]] == 0;
	return n;
}

static void check_that_it_waits(const struct frames *f)
{
	for (int i = 0; i < f->n; i++) {
		if (f->v[i] >= waits_from)
			mc_fail("message %d is sent, and the channel is paused", f->v[i]);
	}
}

/*
 * A client has been sent no more than RDY messages that it has not finished. (Those that have timed
 * out are not counted by the daemon.) While the channel is paused nothing is in hand, or sent.
 */
void mc_always(void)
{
	if (is_paused && channel->batch_len > 0)
		mc_fail("%zu messages in hand, and the channel is paused", channel->batch_len);
	for (int i = 0; i < n_clients; i++) {
		const struct peer *p = &peers[i];
		int n = count_unfinished(&p->buffered) + count_unfinished(&p->arrived);
		if (sides[i].client && n > rdy && mc_param("scan", 0) == 0)
			mc_fail("%d are sent and not finished, with RDY %d", n, rdy);
		if (is_paused && waits_from > 0) {
			check_that_it_waits(&p->buffered);
			check_that_it_waits(&p->arrived);
		}
	}
}

/* --- a client: its io_loop, and its peer, which finishes what it gets ------------------------- */

static bool is_to_look(const struct side *s)
{
	return s->looks > 0 && s->n_read >= mc_param("after", 0);
}

static bool has_work(void *arg)
{
	struct side *s = arg;
	return s->peer->kicked || s->retries ||
	       (s->peer->arrived.n > s->n_read && !s->reads_later) || s->answers > 0 ||
	       is_to_look(s) || client_v2_has_late_answers(s->client) || s->leaves || s->peer->shut;
}

static void finish(struct client_v2 *c, int number)
{
	struct message_id id = id_of(number);
	const char *why = NULL;
	(void)channel_finish_messages(c->channel, c->consumer.id, &id, 1, &why);
	if (why && (channel_exiting(channel) || mc_param("scan", 0)))
		return; /* it has been thrown away; or has timed out, and comes again */
	if (why)
		mc_fail("FIN of message %d: %s", number, why);
	MC_CHECK(times_finished[number]++ == 0);
	n_finished++;
	if (client_v2_finished_messages(c, 1))
		client_v2_try_update_ready_state(c);
}

static int times_in(const struct frames *f, int number)
{
	int n = 0;
	for (int i = 0; i < f->n; i++)
		n += f->v[i] == number;
	return n;
}

/* It has been sent once, to a client that is there. A scan may have sent it again. */
static void check_that_it_is_new(int number)
{
	int n = 0;
	for (int i = 0; i < n_clients; i++) {
		if (sides[i].client)
			n += times_in(&peers[i].buffered, number) +
			     times_in(&peers[i].arrived, number);
	}
	MC_CHECK(n <= 1 + mc_param("scan", 0));
}

static void read_frame(struct side *s)
{
	int number = s->peer->arrived.v[s->n_read++];
	if (number == ANSWER) {
		s->n_answered++;
		return;
	}
	check_that_it_is_new(number);
	if (mc_param("pauses", 0) == 3 && mc_now() > began_ns)
		mc_fail("message %d waits in the writer, and the channel is paused", number);
	if (mc_param("ordered", 0))
		MC_CHECK(number == ++last_arrived);
	if (s->rdy_after == s->n_read) {
		client_v2_set_ready_count(s->client, 0);
		client_v2_set_ready_count(s->client, rdy);
	}
	finish(s->client, number);
}

/* The answers to all commands that have come, as by io_loop_send_frame and io_loop_flush. */
static void answer(struct side *s)
{
	struct client_v2 *c = s->client;
	struct err err;
	unsigned char header[FRAME_HEADER_LENGTH];
	struct iovec parts[] = {{header, sizeof(header)}, {(void *)"OK", 2}};
	bool unflushed = s->answers > 0 || client_v2_has_late_answers(c);
	/* For the late ones it has got a thread. */
	c->polled = !client_v2_has_late_answers(c);
	MC_CHECK(client_v2_send_late_answers(c, &err) == 0);
	for (; s->answers > 0; s->answers--) {
		frame_write_header(header, FRAME_TYPE_RESPONSE, 2);
		MC_CHECK(client_v2_answer(c, parts, 2, &err) == 0);
	}
	if (unflushed)
		MC_CHECK(client_v2_flush_answers(c, &err) == 0);
	c->polled = true;
}

/* One step of its poller. */
static void io_step(struct side *s)
{
	bool looks = is_to_look(s);
	s->peer->kicked = false;
	s->retries = false;
	protocol_v2_retry_pump(s->client);
	runnext_begin();
	while (s->peer->arrived.n > s->n_read)
		read_frame(s);
	answer(s);
	if (looks) {
		s->looks--;
		client_v2_try_update_ready_state(s->client);
	}
	runnext_end();
	s->retries = atomic_load(&s->client->pump_waits);
}

/* What it had in flight goes to others, as by the scan loop. */
static void give_back(struct channel *c)
{
	runnext_begin();
	channel_process_in_flight_queue(c, mc_now() + LEAVER_TIMEOUT_NS);
	runnext_end();
}

static bool has_no_pump_or_kicked(void *arg)
{
	struct side *s = arg;
	return s->client->wait_group.running == 0 || s->peer->kicked;
}

static void leave(struct side *s)
{
	struct client_v2 *c = s->client;
	runnext_begin();
	client_v2_end_pump(c);
	runnext_end();
	channel_remove_client(c->channel, &c->consumer);
	for (;;) {
		mc_wait(has_no_pump_or_kicked, s);
		if (!s->peer->kicked)
			break;
		s->peer->kicked = false;
		protocol_v2_lend_thread(c);
	}
	wait_group_wait(&c->wait_group);
	s->client = NULL;
	if (!channel_exiting(channel))
		give_back(channel);
	client_v2_free(c);
}

static void io_loop(void *arg)
{
	struct side *s = arg;
	struct client_v2 *c = s->client;
	runnext_begin();
	client_v2_subscribed(c);
	protocol_v2_start_message_pump(c);
	runnext_end();
	runnext_begin();
	client_v2_set_ready_count(c, rdy);
	runnext_end();
	for (;;) {
		mc_wait(has_work, s);
		if (s->leaves || s->peer->shut)
			break;
		io_step(s);
	}
	leave(s);
	n_over++;
}

/* --- the others ------------------------------------------------------------------------------- */

static void publish_up_to(int last)
{
	int keeps = mc_param("keeps", 1);
	while (n_put < last) {
		struct err err;
		struct message *m = messages[++n_put];
		messages[n_put] = NULL;
		if (keeps)
			runnext_begin();
		if (channel_put_messages(channel, &m, 1, &err) == 0)
			message_unref(m);
		if (keeps)
			runnext_end();
	}
}

/* What the topic's pump does in the thread of a publisher. */
static void publish(void *arg)
{
	(void)arg;
	publish_up_to(n_messages - mc_param("disk", 0));
	n_over++;
}

/* Before the search begins. */
static void publish_early(void *arg)
{
	(void)arg;
	publish_up_to(mc_param("early", 0));
}

static void pause_early(void *arg)
{
	(void)arg;
	channel_pause(channel);
	is_paused = true;
	waits_from = n_put + 1;
}

/* pauses=1: for a while; 2: it has been paused before; 3: for ever. */
static void pause_it(void *arg)
{
	int pauses = mc_param("pauses", 0);
	(void)arg;
	if (pauses != 2) {
		channel_pause(channel);
		is_paused = true;
	}
	mc_yield();
	if (pauses == 3)
		return;
	is_paused = false;
	channel_unpause(channel);
}

/* The last message is on disk. */
static void read_disk(void *arg)
{
	(void)arg;
	struct message *m = messages[n_messages];
	messages[n_messages] = NULL;
	chan_send(disk.read_chan, &m);
	atomic_store(&disk.depth, 0);
	n_read_from_disk++;
}

/* A worker of the scan loop finds that all that is in flight has timed out. */
static void scan(void *arg)
{
	(void)arg;
	runnext_begin();
	channel_process_in_flight_queue(channel, mc_now() + 2 * TIMEOUT_NS);
	runnext_end();
}

/* --- what there is ---------------------------------------------------------------------------- */

static void no_topic(struct topic *t)
{
	(void)t;
}

static const struct channel_topic_ops topic_ops = {
	.update_channels = no_topic, .unstuck = no_topic, .unref = no_topic};

static void end_stream(struct stream *s)
{
	((struct peer *)s)->shut = true;
}

static void free_stream(struct stream *s)
{
	(void)s;
}

static const struct stream_ops stream_ops = {.shutdown = end_stream, .free = free_stream};

static void no_point_without(const char *param, const void *at)
{
	if (mc_param(param, 0) == 0)
		mc_no_point(at);
}

/* Counts that are shown only, and what does not change in this scenario. */
static void no_points_at_counts(void)
{
	mc_no_point(&ctx.lg.level);
	mc_no_point(&ctx.phase);
	mc_no_point(&ctx.deadlines.horizon_ns);
	mc_no_point(&channel->next_in_flight);
	mc_no_point(&channel->refs);
	mc_no_point(&channel->kept.count);
	no_point_without("pauses", &channel->paused);
	no_point_without("exits", &channel->exit_flag);
	no_point_without("exits", &channel->exit_lock);
	no_point_without("leaves", &channel->lock);
	if (n_clients > 1)
		no_point_without("leaves", &channel->may_take);
	no_point_without("leaves", &channel->client_count);
	no_point_without("disk", &disk.depth);
	for (int i = 0; i < n_clients; i++) {
		struct client_v2 *c = sides[i].client;
		mc_no_point(&c->pump_orders.identified);
		if (mc_param("begun", 1))
			no_point_without("dance", &c->ready_count);
		no_point_without("leaves", &c->pump_orders.exit);
		no_point_without("answers", &c->pump_orders.flush);
		no_point_without("answers", &c->write_lock);
		if (mc_param("answers", 0))
			mc_tried(&c->write_lock);
		no_point_without("failures", &c->pump_waits);
	}
}

static void make_client(int i)
{
	struct err err;
	struct side *s = &sides[i];
	s->peer = &peers[i];
	s->peer->stream.ops = &stream_ops;
	struct client_v2 *c = s->client = client_v2_new(&protocol, i, &s->peer->stream, "a:1");
	c->pd = (struct poll_desc *)s->peer;
	c->channel = channel_ref(channel);
	c->polled = true;
	MC_CHECK(channel_add_client(channel, &c->consumer, &err) == 0);
	c->msg_timeout = i == 0 && mc_param("leaves", 0) ? LEAVER_TIMEOUT_NS : TIMEOUT_NS;
	protocol_v2_init_message_pump(c);
	/* The first client is in this node's zone, and the other one is far. */
	if (i == 0 && mc_param("near", 0))
		c->pump.topology = (struct topology){ZONE_LOCAL, ZONE_LOCAL};
}

/* Some messages have come, and are not read yet; and the channel may be paused, as all know. */
static void begin_early(void)
{
	if (mc_param("early", 0) == 0)
		return;
	for (int i = 0; i < n_clients; i++)
		sides[i].reads_later = true;
	mc_go("early", publish_early, NULL);
	mc_settle();
	if (mc_param("pauses", 0) == 2)
		mc_go("pause early", pause_early, NULL);
	mc_settle();
	for (int i = 0; i < n_clients; i++)
		sides[i].reads_later = false;
}

static void make(void)
{
	struct err err;
	n_clients = mc_param("clients", 1);
	n_messages = mc_param("msgs", 2);
	rdy = mc_param("rdy", 1);
	stalls = mc_param("stalls", 0);
	if (mc_param("disk", 0)) {
		disk.read_chan = chan_new(sizeof(struct message *), 0);
		disk.depth = 1;
	}
	opts.topology_zone = (char *)(mc_param("near", 0) ? "here" : "");
	opts.topology_region = opts.topology_zone;
	ctx.opts = &opts;
	ctx.lg.level = LG_FATAL;
	opts.mem_queue_size = MESSAGES;
	opts.output_buffer_timeout = mc_param("buffers", 0);
	MC_CHECK(runnext_start(&err) == 0);
	channel = channel_new(&ctx, "t", "c", &topic_ops, NULL, &err);
	MC_CHECK(channel);
	for (int i = 0; i < n_clients; i++)
		make_client(i);
	for (int i = 1; i <= n_messages; i++)
		messages[i] = message_new(id_of(i), message_body_new(1), 0);
	peers[0].errors = mc_param("errors", 0);
	sides[0].rdy_after = mc_param("dance", 0);
	no_points_at_counts();
	for (int i = 0; i < n_clients; i++)
		mc_go(i == 0 ? "io 0" : "io 1", io_loop, &sides[i]);
	if (mc_param("begun", 1))
		mc_settle();
	begin_early();
	began_ns = mc_now();
	mc_set_timeouts((unsigned)mc_param("timeouts", 0));
	if (mc_param("switches", -1) >= 0)
		mc_set_switches((unsigned)mc_param("switches", -1));
	mc_draws = mc_param("draws", -1);
	mc_thread_failures = mc_param("failures", 0);
	sides[0].leaves = mc_param("leaves", 0) == 1; /* 2: when it is told to */
	sides[0].answers = mc_param("answers", 0);
	sides[0].looks = mc_param("looks", 0);
}

/* Some messages, and consumers that get them. */
static void setup_deliver(void)
{
	make();
	mc_all_may_wait(); /* the threads of the daemon */
	mc_go("publish", publish, NULL);
	if (mc_param("pauses", 0))
		mc_go("pause", pause_it, NULL);
	if (mc_param("scan", 0))
		mc_go("scan", scan, NULL);
	if (mc_param("disk", 0))
		mc_go("disk", read_disk, NULL);
}

static void end_deliver(void)
{
	MC_CHECK(n_put + n_read_from_disk == n_messages);
	if (n_finished < n_messages)
		mc_fail("messages wait for ever, and so do consumers");
	for (int i = 1; i <= n_messages; i++)
		MC_CHECK(times_finished[i] == 1);
	for (int i = 0; i < n_clients; i++)
		MC_CHECK(!sides[i].client || sides[i].client->in_flight_count == 0);
	MC_CHECK(disk.n_done == mc_param("disk", 0));
	if (sides[0].n_answered != mc_param("answers", 0))
		mc_fail("answers wait for ever");
}

/* The only consumer leaves. What it has not finished is in the queue again, and not in hand. */
static void end_leave(void)
{
	MC_CHECK(n_over == 2 && channel->batch_len == 0);
	MC_CHECK(n_finished + (int)chan_len(channel->memory_msg_chan) == n_messages);
}

static bool others_are_over(void *arg)
{
	(void)arg;
	return n_over == 1 + n_clients;
}

/* The daemon's exit: first the clients, then the channel. */
static void close_channel(void *arg)
{
	struct err err;
	(void)arg;
	mc_wait(others_are_over, NULL);
	MC_CHECK(channel_close(channel, &err) == EXIT_DONE);
	chan_close(channel->gone_chan);
	channel_unref(channel);
	n_over++;
}

static void setup_exit(void)
{
	make();
	atomic_store(&ctx.phase, PHASE_EXITING);
	mc_all_may_wait();
	mc_go("publish", publish, NULL);
	mc_go("main", close_channel, NULL);
}

/* All threads of the scenario are over, and the channel is gone. */
static void check_leaks(void)
{
	size_t leaked = mc_leaked();
	if (leaked > 0)
		mc_fail("%zu bytes are nobody's", leaked);
}

/* Each message is finished, or on disk. */
static void end_exit(void)
{
	check_leaks();
	MC_CHECK(n_over == 2 + n_clients && disk.closed);
	for (int i = 1; i <= n_messages; i++)
		MC_CHECK(times_finished[i] + disk.stored[i] == 1);
}

/* An operator deletes the channel, under its consumers. */
static void delete_channel(void *arg)
{
	struct err err;
	(void)arg;
	MC_CHECK(channel_delete(channel, &err) == EXIT_DONE);
	chan_close(channel->gone_chan);
	mc_wait(others_are_over, NULL);
	channel_unref(channel);
	n_over++;
}

static void setup_delete(void)
{
	make();
	mc_all_may_wait();
	mc_go("publish", publish, NULL);
	mc_go("operator", delete_channel, NULL);
}

static void end_delete(void)
{
	check_leaks();
	MC_CHECK(n_over == 2 + n_clients && disk.closed);
}

const struct mc_scenario mc_scenarios[] = {
	{"deliver", setup_deliver, end_deliver},
	{"leave", setup_deliver, end_leave},
	{"exit", setup_exit, end_exit},
	{"delete", setup_delete, end_delete},
	{NULL, NULL, NULL},
};
