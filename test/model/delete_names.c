/* SPDX-License-Identifier: MIT */
/*
 * Scenarios of the model of how topics and channels end (delete.c): names that are deleted, by
 * several threads, and made anew.
 */
#include <errno.h>

#include "common/runnext.h"
#include "nsqd/queue/channel.h"
#include "nsqd/queue/topic.h"
#include "nsqd/queue/topics.h"
#include "test/model/delete.h"
#include "test/model/delete_stubs.h"
#include "test/model/mc.h"

/* --- deleting --------------------------------------------------------------------------------- */

static MC_GHOST int n_deleted; /* so many deletions were answered with success */
MC_GHOST bool may_be_new;

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

void delete_topic(void)
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

void delete_channel(void)
{
	delete_channel_of_name(channel_name, "t:c");
}

static void delete_d(void)
{
	delete_channel_of_name("d", "t:d");
}

void setup_topic_twice(void)
{
	begin("t", "c", mc_param("channels", 1));
	go("delete 1", delete_topic);
	go("delete 2", delete_topic);
}

void end_deleted(void)
{
	MC_CHECK(n_deleted > 0 || mc_param("early", 0) || disk_keeps_files);
	MC_CHECK(n_topics_left == 0 || mc_param("early", 0));
	end_clean();
}

void setup_channel_twice(void)
{
	begin("t", "c", 1);
	go("delete 1", delete_channel);
	go("delete 2", delete_channel);
}

void end_channel_deleted(void)
{
	MC_CHECK(n_deleted > 0 || mc_param("early", 0) || disk_keeps_files);
	end_clean();
}

void setup_channel_topic(void)
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
void setup_close(void)
{
	begin("t", "c", 0);
	go("get u", get_u);
}

void setup_topic_exit(void)
{
	begin("t", "c", mc_param("channels", 1));
	go("delete", delete_topic);
}

void setup_channel_exit(void)
{
	begin("t", "c", 1);
	go("delete", delete_channel);
}

/* --- making anew ------------------------------------------------------------------------------ */

MC_GHOST int acked[MESSAGES];
MC_GHOST bool made_after;

void publish_to(struct topic *t, int number)
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
void publish_1(void)
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

void publish_2(void)
{
	struct err err;
	struct topic *t = nsqd_get_topic(&topics, topic_name, &err);
	if (t)
		publish_to(t, 2);
	topic_unref(t);
}

void setup_topic_create(void)
{
	may_be_new = true;
	begin("t", "c", mc_param("channels", 1));
	go("delete", delete_topic);
	go("create", mc_param("publish", 0) ? publish_1 : create_topic);
}

/* The deletion of what was made later has not begun. */
void end_made_anew(void)
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

void setup_channel_create(void)
{
	may_be_new = true;
	begin("t", "c", mc_param("channels", 1));
	go("delete", mc_param("topic", 0) ? delete_topic : delete_channel);
	go("create", create_channel);
}

void end_channel_made_anew(void)
{
	end_clean();
	if (made_after && !mc_param("early", 0) && !mc_param("topic", 0) && mc_param("put", 1))
		MC_CHECK(acked[1] == 1 && in_file("t:c", 1) + in_file("t", 1) == 1);
	MC_CHECK(in_file("t", 1) + in_file("t:c", 1) <= acked[1]);
}

/* --- the last channel ------------------------------------------------------------------------- */

/* An ephemeral topic has two channels, and loses both. */
void setup_ephemeral_last(void)
{
	begin("t#ephemeral", "c#ephemeral", mc_param("one", 0) ? 1 : 2);
	go("delete c", delete_channel);
	if (mc_param("one", 0) == 0)
		go("delete d", delete_d);
	if (mc_param("topic", 0))
		go("delete topic", delete_topic);
	may_be_new = true;
}

void end_ephemeral_last(void)
{
	MC_CHECK(n_topics_left == 0 || mc_param("early", 0));
	end_clean();
}
