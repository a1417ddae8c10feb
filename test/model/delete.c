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
 *
 * Here are main, the actors, and the list of scenarios. These are in delete_names.c,
 * delete_messages.c and delete_consumers.c.
 */
#include "nsqd/queue/channel.h"
#include "nsqd/queue/topic.h"
#include "nsqd/queue/topics.h"
#include "test/model/delete.h"
#include "test/model/delete_stubs.h"
#include "test/model/mc.h"
#include "test/model/mc_stubs.h"
#include "test/model/mc_weak.h"

struct topics topics;
MC_GHOST const char *topic_name, *channel_name;
MC_GHOST int n_topics_left, n_channels_left;

MC_GHOST struct channel *paused_channel;
MC_GHOST size_t paused_batch_len;
MC_GHOST struct channel *waits_for_topic;

/* What is paused hands nothing out. */
void mc_always(void)
{
	if (paused_channel)
		MC_CHECK(paused_channel->batch_len == paused_batch_len);
	if (waits_for_topic)
		MC_CHECK(waits_for_topic->message_count == 0);
}

int in_file(const char *name, int number)
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

void go(const char *name, void (*fn)(void))
{
	n_actors++;
	mc_go(name, be_actor, (void *)fn);
}

void go_other(const char *name, void (*fn)(void))
{
	n_others++;
	mc_go(name, be_other, (void *)fn);
}

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

void begin(const char *topic, const char *channel, int n_channels)
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

void go_first(const char *name, void (*fn)(void))
{
	begun = false;
	go(name, fn);
	mc_settle();
	begun = true;
}

void end_clean(void)
{
	size_t leaked = mc_leaked();
	if (leaked > 0)
		mc_fail("%zu bytes are nobody's", leaked);
	for (int i = 0; i < FILES; i++)
		MC_CHECK(!files[i].open);
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
	{"pause", setup_pause, end_all_there},
	{"use", setup_use, end_clean},
	{"answer", setup_answer, end_answer},
	{"ephemeral", setup_ephemeral, end_ephemeral},
	{"consume", setup_consume, end_consume},
	{"ephemeral-last", setup_ephemeral_last, end_ephemeral_last},
	{NULL, NULL, NULL},
};
