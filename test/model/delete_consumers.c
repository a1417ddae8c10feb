/* SPDX-License-Identifier: MIT */
/*
 * Scenarios of the model of how topics and channels end (delete.c): consumers that come, take
 * messages, and leave, and the end of an ephemeral channel.
 */
#include <stdlib.h>

#include "nsqd/queue/channel.h"
#include "nsqd/queue/topic.h"
#include "nsqd/queue/topics.h"
#include "test/model/delete.h"
#include "test/model/delete_stubs.h"
#include "test/model/mc.h"

/* --- consumers -------------------------------------------------------------------------------- */

struct subscriber {
	struct consumer consumer;
	struct channel *channel;
	bool is_closed;
};

static struct subscriber subscribers[3];

static void consumer_close(struct consumer *c)
{
	((struct subscriber *)c)->is_closed = true;
}

static void consumer_nothing(struct consumer *c)
{
	(void)c;
}

static void consumer_timed_out(struct consumer *c, size_t n)
{
	(void)c, (void)n;
}

static const struct consumer_ops consumer_ops = {.close = consumer_close,
	.empty = consumer_nothing,
	.timed_out_messages = consumer_timed_out,
	.ready_changed = consumer_nothing};

/* As try_sub of protocol_v2_consume.c. 1: it is to try again. */
static int try_sub(struct subscriber *s)
{
	struct err err;
	int res = -1;
	struct topic *t = nsqd_get_topic(&topics, topic_name, &err);
	struct channel *c = t ? topic_get_channel(t, channel_name, &err) : NULL;
	if (c && channel_add_client(c, &s->consumer, &err) == 0) {
		s->channel = channel_ref(c);
		res = 0;
	} else if (t && ((t->ephemeral && topic_exiting(t)) ||
				(c && c->ephemeral && channel_exiting(c)))) {
		(void)gone_wait(&ctx, topic_exiting(t) ? t->gone_chan : c->gone_chan, INT64_MAX);
		res = 1;
	}
	channel_unref(c);
	topic_unref(t);
	return res;
}

static void subscribe(struct subscriber *s)
{
	s->consumer.ops = &consumer_ops;
	s->consumer.id = s - subscribers;
	int res = try_sub(s);
	if (res == 1 && mc_param("again", 1))
		(void)try_sub(s);
}

static void leave(struct subscriber *s)
{
	struct channel *c = s->channel;
	if (!c)
		return;
	channel_remove_client(c, &s->consumer);
	s->channel = NULL;
	channel_unref(c);
}

static void be_first(void)
{
	leave(&subscribers[0]);
}

static void sub_first(void)
{
	subscribe(&subscribers[0]);
}

static bool is_closed(void *arg)
{
	return ((struct subscriber *)arg)->is_closed;
}

/* Is its channel being deleted? Then it is told so. */
static void check_channel(struct subscriber *s)
{
	if (s->channel && channel_exiting(s->channel))
		mc_wait(is_closed, s);
}

static void sub_1(void)
{
	subscribe(&subscribers[1]);
	check_channel(&subscribers[1]);
	if (mc_param("leave", 0))
		leave(&subscribers[1]);
}

static void sub_2(void)
{
	subscribe(&subscribers[2]);
	check_channel(&subscribers[2]);
	if (mc_param("leave", 0))
		leave(&subscribers[2]);
}

/* The exit does so first. */
void end_clients(void)
{
	for (int i = 0; i < 3; i++)
		leave(&subscribers[i]);
}

void setup_ephemeral(void)
{
	bool topic = mc_param("topic", 0);
	begin(topic ? "t#ephemeral" : "t", "c#ephemeral", 1);
	go_first("subscribe", sub_first);
	go("leave", be_first);
	if (mc_param("subs", 1) > 0)
		go("sub 1", sub_1);
	if (mc_param("subs", 1) > 1)
		go("sub 2", sub_2);
	if (mc_param("delete", 0))
		go("delete", delete_channel);
	if (mc_param("delete-topic", 0))
		go("delete topic", delete_topic);
	may_be_new = true;
}

static MC_GHOST struct chan *quit;
static MC_GHOST bool has_consumed, has_paused, is_in_line;

/* The consumer has got a message. Its client may finish it. */
static void start(struct subscriber *s, struct message *m)
{
	const char *why;
	struct message_id id = m->id;
	int number = m->body->data[0];
	MC_CHECK(!paused_channel);
	channel_start_in_flight_timeout(s->channel, &m, 1, 0, 1000);
	if (mc_choose(2) && channel_finish_messages(s->channel, 0, &id, 1, &why) == 1)
		acked[number]--;
}

/* The consumer stands in line. It gets one message, or quits before. */
static void stand_in_line(struct subscriber *s)
{
	struct message *m;
	int closeness = mc_param("near", 0) ? ZONE_LOCAL : GLOBAL;
	struct chan_case cases[] = {chan_case_recv(s->channel->client_msg_chans[closeness], &m),
		chan_case_recv(quit, NULL)};
	if (chan_select(cases, 2) == 0)
		start(s, m);
}

static bool was_paused(void *arg)
{
	(void)arg;
	return has_paused;
}

/* It waits in line also during a pause. */
static void consume(void)
{
	struct subscriber *s = &subscribers[0];
	stand_in_line(s);
	has_consumed = true;
	if (mc_param("held", 0)) {
		mc_wait(was_paused, NULL);
		is_in_line = true;
		stand_in_line(s);
	}
	if (mc_param("leave", 0))
		leave(s);
}

static void stop_consuming(void)
{
	chan_signal(quit);
}

static void pause_early(void)
{
	struct channel *c = subscribers[0].channel;
	channel_pause(c);
	paused_channel = c;
}

static void unpause(void)
{
	struct channel *c = paused_channel;
	mc_yield();
	paused_channel = NULL;
	channel_unpause(c);
}

static bool has_left_the_line(void *arg)
{
	const struct channel *c = arg;
	return has_consumed && c->message_count == 1;
}

static bool stands_in_line(void *arg)
{
	(void)arg;
	return is_in_line;
}

static bool has_both(void *arg)
{
	const struct channel *c = arg;
	return c->message_count == 2;
}

/*
 * The consumer may have left the line when the pump had a message for it in hand. The next message
 * is in memory, which is full. So the pause begins with a batch that the disk refuses to take back.
 * The second pause has the pump look again.
 */
static void pause_with_batch(void)
{
	struct channel *c = subscribers[0].channel;
	mc_wait(has_left_the_line, c);
	publish_2();
	mc_wait(has_both, c);
	channel_pause(c);
	paused_batch_len = c->batch_len;
	paused_channel = c;
	has_paused = true;
	mc_wait(stands_in_line, NULL);
	channel_pause(c);
	unpause();
}

/* The consumer has had its message, or will have none; and all are in the channel. */
static bool is_to_be_emptied(void *arg)
{
	const struct channel *c = arg;
	return has_consumed && c->message_count == 1 + (unsigned)mc_param("two", 0);
}

/* Each message was put before it begins: then nothing is left of it. */
static void empty_it(void)
{
	struct err err;
	struct channel *c = subscribers[0].channel;
	mc_wait(is_to_be_emptied, c);
	MC_CHECK(channel_empty(c, &err) == 0);
	MC_CHECK(channel_depth(c) == 0 && channel_in_flight_count(c) == 0);
	acked[1] = acked[2] = 0;
}

static void publish_both(void)
{
	publish_1();
	publish_2();
}

void setup_consume(void)
{
	quit = chan_new(0, 1);
	begin("t", "c", 1);
	go_first("subscribe", sub_first);
	has_consumed = !mc_param("waits", 1);
	if (!has_consumed)
		go_first("consume", consume);
	if (mc_param("held", 0)) {
		go("pause", pause_with_batch);
		go("quit", stop_consuming);
	} else if (mc_param("pauses", 0)) {
		go_first("pause", pause_early);
		go("unpause", unpause);
	} else if (!has_consumed) {
		go("quit", stop_consuming);
	}
	go("publish", mc_param("two", 0) ? publish_both : publish_1);
	if (mc_param("delete", 0))
		go("delete", delete_channel);
	if (mc_param("empties", 0))
		go("empty", empty_it);
}

void end_consume(void)
{
	chan_free(quit);
	quit = NULL;
	end_clean();
	for (int i = 1; i <= 2; i++)
		MC_CHECK(mc_param("delete", 0) || in_file("t:c", i) + in_file("t", i) == acked[i]);
}

/* When all consumers have gone, the channel is gone, and with it the ephemeral topic. */
void end_ephemeral(void)
{
	for (int i = 0; i < 3; i++)
		MC_CHECK(!subscribers[i].channel);
	if (mc_param("leave", 0) || mc_param("subs", 1) == 0) {
		MC_CHECK(n_channels_left <= 0);
		MC_CHECK(n_topics_left == 0 || !mc_param("topic", 0) || mc_param("early", 0));
	}
	end_clean();
}
