/* SPDX-License-Identifier: MIT */
/*
 * Scenarios of the model of how topics and channels end (delete.c): messages on their way, those in
 * flight, and threads that use what is being deleted.
 */
#include <stdlib.h>
#include <string.h>

#include "nsqd/queue/channel.h"
#include "nsqd/queue/topic.h"
#include "nsqd/queue/topics.h"
#include "test/model/delete.h"
#include "test/model/delete_stubs.h"
#include "test/model/mc.h"

/* --- the way of a message --------------------------------------------------------------------- */

static void publish_deferred(void)
{
	struct err err;
	struct topic *t = nsqd_get_topic(&topics, topic_name, &err);
	if (t && topic_put_message_deferred(t, body_of(1), 1000, &err) == 0)
		acked[1]++;
	topic_unref(t);
}

void setup_put_exit(void)
{
	begin("t", "c", mc_param("channels", 1));
	go("publish", mc_param("deferred", 0) ? publish_deferred : publish_1);
	if (mc_param("two", 0))
		go("publish 2", publish_2);
}

/* Once in each channel; without one, in the topic. */
void end_all_there(void)
{
	int channels = mc_param("channels", 1);
	end_clean();
	for (int i = 0; i < MESSAGES; i++) {
		int waits = in_file("t", i);
		MC_CHECK(channels < 1 || in_file("t:c", i) + waits == acked[i]);
		MC_CHECK(channels < 2 || in_file("t:d", i) + waits == acked[i]);
		MC_CHECK(channels > 0 || waits == acked[i]);
	}
}

/* The channel d stays, and misses nothing. */
void setup_put_channel(void)
{
	begin("t", "c", 2);
	go("publish", mc_param("deferred", 0) ? publish_deferred : publish_1);
	go("delete", delete_channel);
}

void end_put_channel(void)
{
	end_clean();
	MC_CHECK(acked[1] == 1 && in_file("t:d", 1) + in_file("t", 1) == 1);
	MC_CHECK(in_file("t:c", 1) == 0);
}

/* The topic's last channel goes: what comes after that waits in the topic. */
static bool channel_exits(void *arg)
{
	return channel_exiting(arg);
}

/* It knows that the channel is being deleted, and so does the topic's pump. */
static void publish_told(void)
{
	struct topic *t = nsqd_get_existing_topic(&topics, topic_name);
	struct channel *c = topic_get_existing_channel(t, channel_name);
	if (c) {
		mc_wait(channel_exits, c);
		topic_update_channels(t);
	}
	made_after = true;
	if (mc_param("deferred", 0))
		publish_deferred();
	else
		publish_to(t, 1);
	channel_unref(c);
	topic_unref(t);
}

void setup_put_last(void)
{
	begin("t", "c", 1);
	go("publish", mc_param("told", 0) ? publish_told : publish_1);
	go("delete", delete_channel);
}

void end_put_last(void)
{
	end_clean();
	MC_CHECK(acked[1] == 1 && in_file("t:c", 1) == 0 && in_file("t", 1) <= 1);
	MC_CHECK(!made_after || in_file("t", 1) == 1);
}

void setup_put_topic(void)
{
	begin(mc_param("ephemeral", 0) ? "t#ephemeral" : "t", "c", mc_param("channels", 1));
	if (mc_param("channel", 0))
		go("del channel", delete_channel);
	go("publish", mc_param("deferred", 0) ? publish_deferred : publish_1);
	go("delete", delete_topic);
	may_be_new = true;
}

/* Channel c is new. A thread that has got it, and then publishes, finds the message there. */
static void get_c(bool publishes)
{
	struct err err;
	struct topic *t = nsqd_get_topic(&topics, topic_name, &err);
	struct channel *c = t ? topic_get_channel(t, "c", &err) : NULL;
	if (c && publishes)
		publish_to(t, 1);
	channel_unref(c);
	topic_unref(t);
}

static void get_and_publish(void)
{
	get_c(true);
}

static void get_c_only(void)
{
	get_c(false);
}

void setup_known(void)
{
	begin("t", "d", mc_param("begin", 1));
	go("get 1", get_and_publish);
	go("get 2", get_c_only);
}

void end_known(void)
{
	end_clean();
	MC_CHECK(acked[1] == 1 && in_file("t:c", 1) + in_file("t", 1) == 1);
}

/* The topic begins with a channel: no message gets past it. */
static void prepare(void *arg, struct topic *t)
{
	struct err err;
	(void)arg;
	channel_unref(topic_get_channel(t, "c", &err));
	if (mc_param("channels", 1) > 1)
		channel_unref(topic_get_channel(t, "d", &err));
}

static void get_only(void)
{
	struct err err;
	topic_unref(nsqd_get_topic(&topics, topic_name, &err));
}

void setup_prepared(void)
{
	begin("t", "c", -1);
	topics.prepare = prepare;
	go("publish 1", mc_param("deferred", 0) ? publish_deferred : publish_1);
	go("get 2", get_only);
	if (mc_param("delete", 0))
		go("delete", delete_topic);
	may_be_new = true;
}

void end_prepared(void)
{
	end_clean();
	for (int i = 1; i <= 2 && mc_param("delete", 0) == 0; i++) {
		MC_CHECK(in_file("t:c", i) + in_file("t", i) == acked[i]);
		MC_CHECK(mc_param("channels", 1) < 2 || in_file("t:d", i) == in_file("t:c", i));
	}
}

/* Message 1 is on disk when the daemon starts. */
void setup_disk(void)
{
	file_of("t")->stored[1] = 1;
	acked[1] = 1;
	begin("t", "c", -1);
	topics.prepare = prepare;
	go("get", get_only);
	if (mc_param("delete", 0))
		go("delete", mc_param("delete", 0) > 1 ? delete_channel : delete_topic);
	may_be_new = true;
}

/* --- a topic is paused ------------------------------------------------------------------------ */

static MC_GHOST struct topic *its_topic;
static MC_GHOST struct channel *its_channel;

static void pause_topic(void)
{
	its_topic = nsqd_get_existing_topic(&topics, topic_name);
	its_channel = topic_get_existing_channel(its_topic, channel_name);
	/* What has come before waits for nothing. */
	topic_pause(its_topic);
	if (its_channel->message_count == 0)
		waits_for_topic = its_channel;
}

static bool has_come(void *arg)
{
	return ((const struct channel *)arg)->message_count == 1;
}

/* When the pause is over, the channel gets the message, though no other comes. */
static void unpause_topic(void)
{
	mc_yield();
	waits_for_topic = NULL;
	topic_unpause(its_topic);
	mc_wait(has_come, its_channel);
	channel_unref(its_channel);
	topic_unref(its_topic);
}

static void pause_and_unpause(void)
{
	pause_topic();
	unpause_topic();
}

/* first: all know of the pause before a message comes. */
void setup_pause(void)
{
	begin("t", "c", 1);
	if (mc_param("first", 0)) {
		go_first("pause", pause_topic);
		go("unpause", unpause_topic);
	} else {
		go("pause", pause_and_unpause);
	}
	go("publish", mc_param("deferred", 0) ? publish_deferred : publish_1);
}

/* --- users ------------------------------------------------------------------------------------ */

/* Calls fn with the channel, if it is there. */
static void with_channel(void (*fn)(struct topic *t, struct channel *c))
{
	struct topic *t = nsqd_get_existing_topic(&topics, topic_name);
	struct channel *c = t ? topic_get_existing_channel(t, channel_name) : NULL;
	if (c)
		fn(t, c);
	channel_unref(c);
	topic_unref(t);
}

static void pause_both(struct topic *t, struct channel *c)
{
	if (mc_param("topic", 1))
		topic_pause(t);
	else
		channel_pause(c);
	if (mc_param("topic", 1))
		topic_unpause(t);
	else
		channel_unpause(c);
}

static void empty_both(struct topic *t, struct channel *c)
{
	struct err err;
	if (mc_param("topic", 1)) {
		topic_empty(t, &err);
		MC_CHECK(topic_depth(t) >= 0);
	} else {
		channel_empty(c, &err);
		MC_CHECK(channel_depth(c) >= 0);
	}
}

/* The stats. */
static void list_all(struct topic *t, struct channel *c)
{
	size_t n;
	(void)t, (void)c;
	struct channel **all = nsqd_channels(&topics, &n);
	for (size_t i = 0; i < n; i++) {
		MC_CHECK(channel_depth(all[i]) >= 0);
		channel_unref(all[i]);
	}
	free(all);
}

/* The guesses of pollers. */
static void ask(struct topic *t, struct channel *c)
{
	(void)t, (void)c;
	(void)nsqd_put_way(&topics, topic_name, 1);
	(void)nsqd_sub_may_block(&topics, topic_name, channel_name);
}

/* A client's pump takes from memory. */
static void take(struct topic *t, struct channel *c)
{
	struct message *m;
	bool paused = mc_param("pauses", 0);
	(void)t;
	if (paused)
		channel_pause(c);
	if (channel_take_messages(c, &m, 1) == 1) {
		MC_CHECK(!paused);
		channel_return_messages(c, &m, 1);
	}
}

/* It has received a message, and does not send it. */
static void give_back(struct topic *t, struct channel *c)
{
	struct message_id id = {"a message of old"};
	struct message *m = message_new(id, body_of(3), 0);
	(void)t;
	channel_return_messages(c, &m, 1);
}

static void use(void)
{
	static void (*const all[])(struct topic * t, struct channel * c) = {
		pause_both, empty_both, list_all, ask, take, give_back};
	with_channel(all[mc_param("use", 0)]);
}

void setup_use(void)
{
	begin("t", "c", 1);
	go("use", use);
	if (mc_param("early", 0) == 0)
		go("delete", mc_param("topic", 1) ? delete_topic : delete_channel);
	if (mc_param("put", 0))
		go("publish", publish_2);
	may_be_new = mc_param("put", 0);
}

/* --- messages in flight ----------------------------------------------------------------------- */

static MC_GHOST struct message_id in_flight_id;

/* Message 3 is in flight with client 7. */
static void put_in_flight(void)
{
	struct err err;
	struct topic *t = nsqd_get_topic(&topics, topic_name, &err);
	struct channel *c = topic_get_channel(t, channel_name, &err);
	memcpy(in_flight_id.hex, "a message of old", MSG_ID_LENGTH);
	struct message *m = message_new(in_flight_id, body_of(3), 0);
	channel_start_in_flight_timeout(c, &m, 1, 7, 1000);
	acked[3] = 1;
	channel_unref(c);
	topic_unref(t);
}

static void requeue(struct topic *t, struct channel *c)
{
	struct err err;
	(void)t;
	channel_requeue_message(c, 7, in_flight_id, mc_param("delay", 0), &err);
}

static void time_out(struct topic *t, struct channel *c)
{
	(void)t;
	channel_process_in_flight_queue(c, INT64_MAX - 1);
	channel_process_deferred_queue(c, INT64_MAX - 1);
}

static void finish(struct topic *t, struct channel *c)
{
	const char *why;
	(void)t;
	if (channel_finish_messages(c, 7, &in_flight_id, 1, &why) == 1)
		acked[3]--;
}

static void touch(struct topic *t, struct channel *c)
{
	struct err err;
	(void)t;
	channel_touch_message(c, 7, in_flight_id, 1000, &err);
}

static void answer(void)
{
	static void (*const all[])(struct topic * t, struct channel * c) = {requeue, finish, touch};
	with_channel(all[mc_param("answer", 0)]);
}

static void scan(void)
{
	with_channel(time_out);
}

void setup_answer(void)
{
	begin("t", "c", 1);
	go_first("in flight", put_in_flight);
	go("answer", answer);
	if (mc_param("scan", 1)) {
		go_other("scan", scan);
	}
	if (mc_param("delete", 0))
		go("delete", delete_channel);
}

void end_answer(void)
{
	end_clean();
	MC_CHECK(in_file("t:c", 3) == (mc_param("delete", 0) ? 0 : acked[3]));
}
