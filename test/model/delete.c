/* SPDX-License-Identifier: MIT */
/*
 * The model of how topics and channels end. Threads make them, find them, use them and delete them,
 * at the same time; then the daemon exits. What is deleted is freed once, with its files. A name
 * has one owner at a time. No acknowledged message is lost that was not deleted. No thread waits
 * for ever.
 *
 * Each scenario has a few *actors*: threads of operators, clients and others. "main" makes what
 * they begin with, and exits. With early=1 it does not wait for the actors: as if they were threads
 * that the exit does not end first. The program is coarse, see mc_coarse.c.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/gothread.h"
#include "common/runnext.h"
#include "nsqd/queue/channel.h"
#include "nsqd/queue/topic.h"
#include "nsqd/queue/topics.h"
#include "test/model/delete_stubs.h"
#include "test/model/mc.h"
#include "test/model/mc_stubs.h"
#include "test/model/mc_weak.h"

static struct topics topics;
static MC_GHOST const char *topic_name, *channel_name;
static MC_GHOST int n_topics_left;   /* when the exit begins to close them */
static MC_GHOST int n_channels_left; /* -1: it is not known */

static MC_GHOST struct channel *paused_channel; /* NULL: none is */

/* What is paused hands nothing out. */
void mc_always(void)
{
	if (paused_channel)
		MC_CHECK(paused_channel->batch_len == 0);
}

static int in_file(const char *name, int number)
{
	return file_of(name)->stored[number];
}

/* --- actors ----------------------------------------------------------------------------------- */

static MC_GHOST int n_actors, n_over;
static MC_GHOST int n_others, n_others_over; /* for which the exit does not wait */

static bool all_over(void *arg)
{
	(void)arg;
	return n_over == n_actors;
}

static bool others_over(void *arg)
{
	(void)arg;
	return n_others_over == n_others;
}

/* What an actor has done comes before what main, or an actor that begins later, does. */
static void be_actor(void *arg)
{
	void (*fn)(void) = (void (*)(void))arg;
	mc_weak_acquire(&n_over);
	fn();
	mc_weak_release(&n_over);
	n_over++;
	/* Its parker is not for another thread, which would make two states of one. */
	mc_wait(all_over, NULL);
}

static void be_other(void *arg)
{
	void (*fn)(void) = (void (*)(void))arg;
	fn();
	mc_weak_release(&n_over);
	n_others_over++;
	mc_wait(all_over, NULL);
}

static void go(const char *name, void (*fn)(void))
{
	n_actors++;
	mc_go(name, be_actor, (void *)fn);
}

static void end_clients(void);

/* --- main ------------------------------------------------------------------------------------- */

static MC_GHOST bool begun;

static bool has_begun(void *arg)
{
	(void)arg;
	return begun;
}

static void wait_for_actors(void)
{
	mc_wait(all_over, NULL);
	mc_weak_acquire(&n_over);
}

static unsigned n_topics(void)
{
	rwlock_rdlock(&topics.lock);
	unsigned n = HASH_COUNT(topics.topic_map);
	rwlock_unlock(&topics.lock);
	return n;
}

/* Of all topics. No thread changes them any more. */
static unsigned n_channels(void)
{
	const struct topic *t, *tmp;
	unsigned n = 0;
	HASH_ITER (hh, topics.topic_map, t, tmp)
		n += HASH_COUNT(t->channel_map);
	return n;
}

static void do_exit(void)
{
	int early = mc_param("early", 0);
	if (!early)
		wait_for_actors();
	n_topics_left = (int)n_topics();
	n_channels_left = early ? -1 : (int)n_channels();
	if (!mc_param("sick", 0))
		disk_refusals = 0;
	context_begin_exit(&ctx);
	end_clients();
	topics_close(&topics);
	MC_CHECK(n_topics() == 0);
	for (int i = 0; i < FILES; i++)
		MC_CHECK(!files[i].open);
	wait_for_actors();
	mc_wait(others_over, NULL);
	mc_weak_acquire(&n_over);
	topics_destroy(&topics);
	context_end();
}

/* So many channels are there before the actors begin; -1: no topic either. */
static void make(int n_channels)
{
	struct err err;
	if (n_channels < 0)
		return;
	struct topic *t = nsqd_get_topic(&topics, topic_name, &err);
	if (n_channels > 0)
		channel_unref(topic_get_channel(t, channel_name, &err));
	if (n_channels > 1)
		channel_unref(topic_get_channel(t, "d", &err));
	topic_unref(t);
}

static void be_main(void *arg)
{
	make((int)(intptr_t)arg);
	mc_wait(has_begun, NULL);
	do_exit();
}

/* First of all; then the actors. */
static void begin(const char *topic, const char *channel, int n_channels)
{
	topic_name = topic;
	channel_name = channel;
	context_make(mc_param("mem", 2));
	topics_init(&topics, &ctx);
	mc_go("main", be_main, (void *)(intptr_t)n_channels);
	mc_settle();
	disk_refusals = mc_param("refusals", 0);
	disk_keeps_files = mc_param("keeps", 0);
	if (mc_param("switches", -1) >= 0)
		mc_set_switches((unsigned)mc_param("switches", -1));
	mc_draws = mc_param("draws", -1);
	begun = true;
}

/* An actor that is over, or waits, before the search begins. After begin(). */
static void go_first(const char *name, void (*fn)(void))
{
	begun = false;
	go(name, fn);
	mc_settle();
	begun = true;
}

static void end_clean(void)
{
	size_t leaked = mc_leaked();
	if (leaked > 0)
		mc_fail("%zu bytes are nobody's", leaked);
	for (int i = 0; i < FILES; i++)
		MC_CHECK(!files[i].open);
}

/* --- deleting --------------------------------------------------------------------------------- */

static MC_GHOST int n_deleted;   /* so many deletions were answered with success */
static MC_GHOST bool may_be_new; /* some thread makes it anew */

static void check_answer(int rc, const struct err *err)
{
	MC_CHECK(rc != 0 || !disk_keeps_files);
	if (rc == 0)
		n_deleted++;
	else if (err->code == ECANCELED)
		MC_CHECK(context_is_exiting(&ctx));
	else
		MC_CHECK(err->code == ENOENT || (err->code == EIO && disk_keeps_files));
}

/* After the answer the files are gone, and the name is free. */
static void check_gone(const char *file)
{
	if (may_be_new)
		return;
	MC_CHECK(!file_of(file)->open);
	/* Unless the exit has closed it, which no handler lives to see. */
	MC_CHECK(!file_of(file)->there || mc_param("early", 0));
}

static void delete_topic(void)
{
	struct err err;
	int rc = nsqd_delete_existing_topic(&topics, topic_name, &err);
	check_answer(rc, &err);
	if (rc != 0)
		return;
	check_gone("t");
	check_gone("t:c");
	MC_CHECK(may_be_new || !nsqd_get_existing_topic(&topics, topic_name));
}

static void delete_channel_of_name(const char *name, const char *file)
{
	struct err err;
	struct topic *t = nsqd_get_existing_topic(&topics, topic_name);
	if (!t)
		return;
	int rc = topic_delete_existing_channel(t, name, &err);
	check_answer(rc, &err);
	if (rc == 0)
		check_gone(file);
	MC_CHECK(rc != 0 || may_be_new || !topic_get_existing_channel(t, name));
	topic_unref(t);
}

static void delete_channel(void)
{
	delete_channel_of_name(channel_name, "t:c");
}

static void delete_d(void)
{
	delete_channel_of_name("d", "t:d");
}

static void setup_topic_twice(void)
{
	begin("t", "c", mc_param("channels", 1));
	go("delete 1", delete_topic);
	go("delete 2", delete_topic);
}

static void end_deleted(void)
{
	MC_CHECK(n_deleted > 0 || mc_param("early", 0) || disk_keeps_files);
	MC_CHECK(n_topics_left == 0 || mc_param("early", 0));
	end_clean();
}

static void setup_channel_twice(void)
{
	begin("t", "c", 1);
	go("delete 1", delete_channel);
	go("delete 2", delete_channel);
}

static void end_channel_deleted(void)
{
	MC_CHECK(n_deleted > 0 || mc_param("early", 0) || disk_keeps_files);
	end_clean();
}

static void setup_channel_topic(void)
{
	begin("t", "c", mc_param("channels", 1));
	go("del channel", delete_channel);
	go("del topic", delete_topic);
}

static void get_u(void)
{
	struct err err;
	topic_unref(nsqd_get_topic(&topics, "u", &err));
}

/* Two topics are closed by two threads. */
static void setup_close(void)
{
	begin("t", "c", 0);
	go("get u", get_u);
}

static void setup_topic_exit(void)
{
	begin("t", "c", mc_param("channels", 1));
	go("delete", delete_topic);
}

static void setup_channel_exit(void)
{
	begin("t", "c", 1);
	go("delete", delete_channel);
}

/* --- making anew ------------------------------------------------------------------------------ */

static MC_GHOST int acked[MESSAGES];
static MC_GHOST bool made_after; /* the deletion had been answered */

static void publish_to(struct topic *t, int number)
{
	struct err err;
	struct message_body *b = body_of(number);
	if (topic_put_messages(t, &b, 1, &err) == 1)
		acked[number]++;
}

/* The one that is being deleted now, only to be compared with. */
static const struct topic *exiting_topic(void)
{
	struct topic *t = nsqd_get_existing_topic(&topics, topic_name);
	bool is_exiting = t && topic_exiting(t);
	topic_unref(t);
	return is_exiting ? t : NULL;
}

static const struct channel *exiting_channel(struct topic *t)
{
	struct channel *c = topic_get_existing_channel(t, channel_name);
	bool is_exiting = c && channel_exiting(c);
	channel_unref(c);
	return is_exiting ? c : NULL;
}

static void create_topic(void)
{
	struct err err;
	made_after = n_deleted > 0;
	const struct topic *old = exiting_topic();
	struct topic *t = nsqd_create_topic(&topics, topic_name, &err);
	MC_CHECK(t || context_is_exiting(&ctx));
	MC_CHECK(!t || t != old);
	if (t)
		publish_to(t, 1);
	topic_unref(t);
}

/* A publisher does so, too, but is told that the topic exits. */
static void publish_1(void)
{
	struct err err;
	made_after = n_deleted > 0;
	runnext_begin();
	struct topic *t = nsqd_get_topic(&topics, topic_name, &err);
	if (t)
		publish_to(t, 1);
	topic_unref(t);
	runnext_end();
}

static void setup_topic_create(void)
{
	may_be_new = true;
	begin("t", "c", mc_param("channels", 1));
	go("delete", delete_topic);
	go("create", mc_param("publish", 0) ? publish_1 : create_topic);
}

/* The deletion of what was made later has not begun. */
static void end_made_anew(void)
{
	end_clean();
	if (made_after && !mc_param("early", 0))
		MC_CHECK(acked[1] > 0 && in_file("t", 1) == acked[1]);
	MC_CHECK(in_file("t", 1) + in_file("t:c", 1) <= acked[1]);
}

/* By an operator, and then something is published. */
static void create_channel(void)
{
	struct err err;
	made_after = n_deleted > 0;
	struct topic *t = nsqd_get_existing_topic(&topics, topic_name);
	if (!t)
		return;
	const struct channel *old = exiting_channel(t);
	struct channel *c = topic_create_channel(t, channel_name, &err);
	MC_CHECK(!c || c != old);
	MC_CHECK(c || topic_exiting(t) || context_is_exiting(&ctx));
	if (c && mc_param("put", 1))
		publish_to(t, 1);
	channel_unref(c);
	topic_unref(t);
}

static void setup_channel_create(void)
{
	may_be_new = true;
	begin("t", "c", mc_param("channels", 1));
	go("delete", mc_param("topic", 0) ? delete_topic : delete_channel);
	go("create", create_channel);
}

static void end_channel_made_anew(void)
{
	end_clean();
	if (made_after && !mc_param("early", 0) && !mc_param("topic", 0) && mc_param("put", 1))
		MC_CHECK(acked[1] == 1 && in_file("t:c", 1) + in_file("t", 1) == 1);
	MC_CHECK(in_file("t", 1) + in_file("t:c", 1) <= acked[1]);
}

/* --- the way of a message --------------------------------------------------------------------- */

static void publish_2(void)
{
	struct err err;
	struct topic *t = nsqd_get_topic(&topics, topic_name, &err);
	if (t)
		publish_to(t, 2);
	topic_unref(t);
}

static void publish_deferred(void)
{
	struct err err;
	struct topic *t = nsqd_get_topic(&topics, topic_name, &err);
	if (t && topic_put_message_deferred(t, body_of(1), 1000, &err) == 0)
		acked[1]++;
	topic_unref(t);
}

static void setup_put_exit(void)
{
	begin("t", "c", mc_param("channels", 1));
	go("publish", mc_param("deferred", 0) ? publish_deferred : publish_1);
	if (mc_param("two", 0))
		go("publish 2", publish_2);
}

/* Once in each channel; without one, in the topic. */
static void end_all_there(void)
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
static void setup_put_channel(void)
{
	begin("t", "c", 2);
	go("publish", mc_param("deferred", 0) ? publish_deferred : publish_1);
	go("delete", delete_channel);
}

static void end_put_channel(void)
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

static void setup_put_last(void)
{
	begin("t", "c", 1);
	go("publish", mc_param("told", 0) ? publish_told : publish_1);
	go("delete", delete_channel);
}

static void end_put_last(void)
{
	end_clean();
	MC_CHECK(acked[1] == 1 && in_file("t:c", 1) == 0 && in_file("t", 1) <= 1);
	MC_CHECK(!made_after || in_file("t", 1) == 1);
}

static void setup_put_topic(void)
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

static void setup_known(void)
{
	begin("t", "d", mc_param("begin", 1));
	go("get 1", get_and_publish);
	go("get 2", get_c_only);
}

static void end_known(void)
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

static void setup_prepared(void)
{
	begin("t", "c", -1);
	topics.prepare = prepare;
	go("publish 1", mc_param("deferred", 0) ? publish_deferred : publish_1);
	go("get 2", get_only);
	if (mc_param("delete", 0))
		go("delete", delete_topic);
	may_be_new = true;
}

static void end_prepared(void)
{
	end_clean();
	for (int i = 1; i <= 2 && mc_param("delete", 0) == 0; i++) {
		MC_CHECK(in_file("t:c", i) + in_file("t", i) == acked[i]);
		MC_CHECK(mc_param("channels", 1) < 2 || in_file("t:d", i) == in_file("t:c", i));
	}
}

/* Message 1 is on disk when the daemon starts. */
static void setup_disk(void)
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
	(void)nsqd_put_may_block(&topics, topic_name, 1);
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

static void setup_use(void)
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

static void setup_answer(void)
{
	begin("t", "c", 1);
	go_first("in flight", put_in_flight);
	go("answer", answer);
	if (mc_param("scan", 1)) {
		n_others++;
		mc_go("scan", be_other, (void *)scan);
	}
	if (mc_param("delete", 0))
		go("delete", delete_channel);
}

static void end_answer(void)
{
	end_clean();
	MC_CHECK(in_file("t:c", 3) == (mc_param("delete", 0) ? 0 : acked[3]));
}

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
static void end_clients(void)
{
	for (int i = 0; i < 3; i++)
		leave(&subscribers[i]);
}

static void setup_ephemeral(void)
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
static MC_GHOST bool has_consumed;

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

/* A consumer gets one message, or quits before. It waits in line also during a pause. */
static void consume(void)
{
	struct subscriber *s = &subscribers[0];
	struct message *m;
	struct chan_case cases[] = {chan_case_recv(s->channel->client_msg_chans[GLOBAL], &m),
		chan_case_recv(quit, NULL)};
	if (chan_select(cases, 2) == 0)
		start(s, m);
	has_consumed = true;
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

static void setup_consume(void)
{
	quit = chan_new(0, 1);
	begin("t", "c", 1);
	go_first("subscribe", sub_first);
	has_consumed = !mc_param("waits", 1);
	if (!has_consumed)
		go_first("consume", consume);
	if (mc_param("pauses", 0)) {
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

static void end_consume(void)
{
	chan_free(quit);
	quit = NULL;
	end_clean();
	for (int i = 1; i <= 2; i++)
		MC_CHECK(mc_param("delete", 0) || in_file("t:c", i) + in_file("t", i) == acked[i]);
}

/* When all consumers have gone, the channel is gone, and with it the ephemeral topic. */
static void end_ephemeral(void)
{
	for (int i = 0; i < 3; i++)
		MC_CHECK(!subscribers[i].channel);
	if (mc_param("leave", 0) || mc_param("subs", 1) == 0) {
		MC_CHECK(n_channels_left <= 0);
		MC_CHECK(n_topics_left == 0 || !mc_param("topic", 0) || mc_param("early", 0));
	}
	end_clean();
}

/* An ephemeral topic has two channels, and loses both. */
static void setup_ephemeral_last(void)
{
	begin("t#ephemeral", "c#ephemeral", mc_param("one", 0) ? 1 : 2);
	go("delete c", delete_channel);
	if (mc_param("one", 0) == 0)
		go("delete d", delete_d);
	if (mc_param("topic", 0))
		go("delete topic", delete_topic);
	may_be_new = true;
}

static void end_ephemeral_last(void)
{
	MC_CHECK(n_topics_left == 0 || mc_param("early", 0));
	end_clean();
}

const struct mc_scenario mc_scenarios[] = {
	{"topic-twice", setup_topic_twice, end_deleted},
	{"close", setup_close, end_clean},
	{"topic-exit", setup_topic_exit, end_deleted},
	{"topic-create", setup_topic_create, end_made_anew},
	{"channel-twice", setup_channel_twice, end_channel_deleted},
	{"channel-topic", setup_channel_topic, end_deleted},
	{"channel-exit", setup_channel_exit, end_channel_deleted},
	{"channel-create", setup_channel_create, end_channel_made_anew},
	{"put-exit", setup_put_exit, end_all_there},
	{"put-channel", setup_put_channel, end_put_channel},
	{"put-last", setup_put_last, end_put_last},
	{"put-topic", setup_put_topic, end_clean},
	{"known", setup_known, end_known},
	{"prepared", setup_prepared, end_prepared},
	{"disk", setup_disk, end_prepared},
	{"use", setup_use, end_clean},
	{"answer", setup_answer, end_answer},
	{"ephemeral", setup_ephemeral, end_ephemeral},
	{"consume", setup_consume, end_consume},
	{"ephemeral-last", setup_ephemeral_last, end_ephemeral_last},
	{NULL, NULL, NULL},
};
