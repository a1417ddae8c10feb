/* SPDX-License-Identifier: MIT */
/*
 * topic: the tests of stock under their names, and what its pump, its end and a disk that refuses
 * must never do: lose, double or hold back a message.
 */
#include "test/unit/nsqd_test.h"

#include "common/json.h"
#include "common/rand.h"
#include "nsqd/queue/settings_change.h"

static void test_get_topic(struct fixture *f)
{
	struct topic *a = f->topic;
	assert_string_equal(a->name, "test");
	assert_ptr_equal(get_topic(f->nsqd, "test"), a);
	assert_ptr_not_equal(get_topic(f->nsqd, "test2"), a);
	assert_null(nsqd_get_existing_topic(&f->nsqd->topics, "test3"));
	assert_int_equal(topic_count(f->nsqd), 2);
}

static void test_get_channel(struct fixture *f)
{
	struct topic *t = f->topic;
	struct channel *a = get_channel(t, "ch1"), *b = get_channel(t, "ch2");
	assert_string_equal(a->name, "ch1");
	assert_ptr_equal(get_channel(t, "ch1"), a);
	assert_ptr_equal(get_channel(t, "ch2"), b);
	assert_null(topic_get_existing_channel(t, "ch3"));
	assert_int_equal(channel_count(t), 2);
}

static void test_topics_and_channels_are_listed_by_name(struct fixture *f)
{
	static const char *const names[] = {"b", "a", "c-1", "c"};
	size_t count;
	for (size_t i = 0; i < COUNT(names); i++)
		get_topic(f->nsqd, names[i]);
	for (size_t i = 0; i < COUNT(names); i++)
		get_channel(get_topic(f->nsqd, "a"), names[i]);
	struct topic **topics = nsqd_topics(&f->nsqd->topics, &count);
	assert_int_equal(count, 4);
	for (size_t i = 0; i < count; i++) {
		assert_true(i == 0 || strcmp(topics[i - 1]->name, topics[i]->name) < 0);
		topic_unref(topics[i]);
	}
	free(topics);
	struct channel **channels = topic_channels(get_topic(f->nsqd, "a"), &count);
	assert_int_equal(count, 4);
	for (size_t i = 0; i < count; i++) {
		assert_true(i == 0 || strcmp(channels[i - 1]->name, channels[i]->name) < 0);
		channel_unref(channels[i]);
	}
	free(channels);
}

/* --- from the topic to its channels ----------------------------------------------------------- */

static void test_put_message(struct fixture *f)
{
	struct topic *t = f->topic;
	struct channel *c = f->channel;
	int64_t before = clock_wall_ns();
	put(t, 7, 1);
	struct message *m = take_one(c);
	assert_int_equal(seq_of(m), 7);
	assert_in_range(m->timestamp, before, clock_wall_ns());
	assert_int_equal(m->attempts, 0); /* the client's pump counts */
	message_unref(m);
	assert_int_equal(t->message_count, 1);
	assert_int_equal(t->message_bytes, 4);
	wait_for(c->message_count == 1); /* counted once it is queued, as in stock */
}

static void test_put_message_2chan(struct fixture *f)
{
	struct topic *t = f->topic;
	struct channel *a = get_channel(t, "ch1"), *b = get_channel(t, "ch2");
	put(t, 7, 1);
	struct message *ma = take_one(a);
	struct message *mb = take_one(b);
	assert_ptr_not_equal(ma, mb);
	assert_ptr_equal(ma->body, mb->body);
	assert_int_equal(ma->body->refs, 2);
	assert_memory_equal(ma->id.hex, mb->id.hex, MSG_ID_LENGTH);
	assert_int_equal(ma->timestamp, mb->timestamp);
	message_unref(ma);
	assert_int_equal(seq_of(mb), 7);
	message_unref(mb);
}

static void test_the_order_is_kept_through_a_long_batch(struct fixture *f)
{
	struct topic *t = f->topic;
	struct channel *a = get_channel(t, "ch1"), *b = get_channel(t, "ch2");
	char last[MSG_ID_LENGTH] = {0};
	put(t, 0, 1000);
	assert_int_equal(t->message_count, 1000);
	assert_int_equal(t->message_bytes, 4000);
	for (uint32_t i = 0; i < 1000; i++) {
		struct message *m = take_one(a);
		assert_int_equal(seq_of(m), i);
		assert_true(memcmp(m->id.hex, last, MSG_ID_LENGTH) > 0);
		memcpy(last, m->id.hex, MSG_ID_LENGTH);
		message_unref(m);
	}
	expect_in_order(b, 0, 1000);
}

static void test_without_memory_all_goes_through_the_disk_in_order(struct fixture *f)
{
	struct topic *t = f->topic;
	put(t, 0, 500);
	assert_int_equal(topic_backend_depth(t), 500);
	expect_in_order(get_channel(t, "ch"), 0, 500);
}

static void test_what_does_not_fit_into_memory_goes_to_the_disk(struct fixture *f)
{
	struct topic *t = f->topic;
	put(t, 0, 500);
	assert_int_equal(topic_depth(t), 500);
	assert_int_equal(topic_backend_depth(t), 490);
	expect_each_once(get_channel(t, "ch"), 0, 500);
}

static void test_a_topic_without_channels_keeps_its_messages_for_the_first(struct fixture *f)
{
	struct topic *t = f->topic;
	put(t, 0, 5);
	stays(topic_depth(t) == 5);
	expect_in_order(get_channel(t, "ch"), 0, 5);
	assert_int_equal(topic_depth(t), 0);
}

static void test_nothing_moves_before_the_start(struct fixture *f)
{
	f->nsqd->ctx.phase = PHASE_LOADING;
	struct topic *t = get_topic(f->nsqd, "test");
	struct channel *c = get_channel(t, "ch"); /* and this does not block */
	topic_pause(t);
	topic_unpause(t);
	put(t, 0, 5);
	expect_nothing(c);
	assert_int_equal(topic_depth(t), 5);
	f->nsqd->ctx.phase = PHASE_RUNNING;
	topic_start(t);
	topic_start(t);
	expect_in_order(c, 0, 5);
}

static void set(struct topic *t, struct channel *c, const char *settings)
{
	struct err err = {0};
	assert_true(json_valid(settings, strlen(settings)));
	struct json_value object = json_root(settings, strlen(settings));
	assert_int_equal(nsqd_set_settings(t, c, object, &err), 0);
}

/* A pump that has not begun yet is the one that switches limits on. */
static void test_limits_hold_before_the_start(struct fixture *f)
{
	struct context *ctx = &f->nsqd->ctx;
	struct err err = {0};
	assert_int_equal(settings_store_load(&ctx->settings, ".", ctx->data_dir_fd, &err), 0);
	ctx->phase = PHASE_LOADING;
	for (int of_channel = 0; of_channel < 2; of_channel++) {
		struct topic *t = get_topic(f->nsqd, of_channel ? "other" : "test");
		struct channel *c = get_channel(t, "ch");
		set(t, of_channel ? c : NULL, "{\"max_depth\":5}");
		put(t, 0, 5);
		assert_int_equal(try_put(t, 5, 1, &err), 0);
		assert_string_equal(err.msg, of_channel ? "channel ch is full: max_depth 5"
							: "topic is full: max_depth 5");
		if (!of_channel)
			set(t, NULL, "{\"max_depth\":6}");
		else
			assert_int_equal(topic_delete_existing_channel(t, "ch", &err), 0);
		put(t, 5, 1);
		c = get_channel(t, "ch");
		topic_start(t);
		expect_in_order(c, 0, 6);
	}
	ctx->phase = PHASE_RUNNING;
}

static void store(struct context *ctx, const char *topic, const char *channel, const char *settings)
{
	struct settings_store *s = &ctx->settings;
	struct err err = {0};
	assert_true(json_valid(settings, strlen(settings)));
	mutex_lock(&s->change_lock);
	int rc = settings_store_set_locked(
		s, topic, channel, json_root(settings, strlen(settings)), &err);
	mutex_unlock(&s->change_lock);
	assert_int_equal(rc, 0);
}

/*
 * Those of a topic that is loaded, and of one that gets its first channel. The next publisher is
 * refused, although the pump may not have looked at the channels by then.
 */
static void test_limits_of_channels_hold_from_the_start_on(struct fixture *f)
{
	struct context *ctx = &f->nsqd->ctx;
	struct err err = {0};
	assert_int_equal(settings_store_load(&ctx->settings, ".", ctx->data_dir_fd, &err), 0);
	for (int i = 0; i < ROUNDS(200); i++) {
		bool loading = i % 2;
		store(ctx, "other", "ch", "{\"max_depth\":5}");
		ctx->phase = loading ? PHASE_LOADING : PHASE_RUNNING;
		struct topic *t = get_topic(f->nsqd, "other");
		put(t, 0, 5);
		get_channel(t, "ch");
		ctx->phase = PHASE_RUNNING;
		if (loading)
			topic_start(t);
		assert_int_equal(try_put(t, 5, 1, &err), 0);
		assert_string_equal(err.msg, "channel ch is full: max_depth 5");
		assert_int_equal(nsqd_delete_existing_topic(&f->nsqd->topics, "other", &err), 0);
	}
}

static void test_a_deferred_message_is_deferred_by_every_channel(struct fixture *f)
{
	struct topic *t = f->topic;
	struct channel *a = get_channel(t, "ch1"), *b = get_channel(t, "ch2");
	struct err err;
	int64_t now = clock_mono_ns();
	put(t, 0, 1);
	assert_int_equal(topic_put_message_deferred(t, body_of(1), 3600 * NSEC_PER_SEC, &err), 0);
	put(t, 2, 1);
	expect_in_order(a, 0, 1);
	expect_in_order(a, 2, 1);
	expect_in_order(b, 0, 1);
	expect_in_order(b, 2, 1);
	assert_int_equal(channel_deferred_count(a), 1);
	assert_int_equal(channel_deferred_count(b), 1);
	assert_int_equal(t->message_count, 3);
	wait_for(a->message_count == 3);
	assert_true(channel_next_deadline(a) >= now + 3600 * NSEC_PER_SEC);
	assert_true(channel_process_deferred_queue(a, INT64_MAX));
	expect_in_order(a, 1, 1);
	expect_nothing(b);
}

/* Puts deferred messages 0 to n - 1, each when the one before has been accepted. */
struct deferring {
	struct topic *t;
	uint32_t n;
	_Atomic uint32_t accepted;
};

static void put_deferred(void *arg)
{
	struct deferring *d = arg;
	struct err err;
	for (uint32_t i = 0; i < d->n; i++)
		d->accepted += topic_put_message_deferred(
				       d->t, body_of(i), 3600 * NSEC_PER_SEC, &err) == 0;
}

/* Behind a message that the pump is busy with. */
static void put_deferred_behind_another(void *arg)
{
	struct deferring *d = arg;
	put(d->t, d->n, 1);
	put_deferred(d);
}

static void test_a_delay_does_not_depend_on_a_pump_that_is_busy(struct fixture *f)
{
	static const int64_t mem_queue_sizes[] = {0, 1, 10000};
	for (size_t i = 0; i < COUNT(mem_queue_sizes); i++) {
		start_nsqd(f, mem_queue_sizes[i]);
		struct topic *t = get_topic(f->nsqd, "test");
		struct channel *a = get_channel(t, "a"), *b = get_channel(t, "b");
		struct deferring d = {.t = t, .n = 1000};
		struct wait_group wg;
		struct err err;
		wait_group_init(&wg);
		rwlock_wrlock(&a->exit_lock); /* the pump gets no further than this channel */
		go(&wg, put_deferred_behind_another, &d);
		join(&wg);
		rwlock_unlock(&a->exit_lock);
		assert_int_equal(d.accepted, d.n);
		expect_in_order(a, d.n, 1);
		expect_in_order(b, d.n, 1);
		assert_int_equal(channel_deferred_count(a), d.n);
		assert_int_equal(channel_deferred_count(b), d.n);
		assert_int_equal(topic_backend_depth(t), 0);
		assert_int_equal(nsqd_delete_existing_topic(&f->nsqd->topics, "test", &err), 0);
		end_nsqd(f);
	}
}

static void test_a_delay_waits_in_memory_for_a_channel_the_start_and_the_end_of_a_pause(
	struct fixture *f)
{
	struct deferring d = {.n = 5};
	f->nsqd->ctx.phase = PHASE_LOADING; /* what nsqlookupd knows of is still to come */
	d.t = get_topic(f->nsqd, "test");
	struct channel *c = get_channel(d.t, "ch");
	put_deferred(&d);
	stays(topic_depth(d.t) == 5 && channel_deferred_count(c) == 0);
	f->nsqd->ctx.phase = PHASE_RUNNING;
	topic_start(d.t);
	wait_for(channel_deferred_count(c) == 5);

	d.t = get_topic(f->nsqd, "other");
	put_deferred(&d);
	stays(topic_depth(d.t) == 5);
	c = get_channel(d.t, "ch");
	wait_for(channel_deferred_count(c) == 5);
	topic_pause(d.t);
	put_deferred(&d);
	stays(topic_depth(d.t) == 5 && channel_deferred_count(c) == 5);
	topic_unpause(d.t);
	wait_for(channel_deferred_count(c) == 10);
}

static void test_a_delay_does_not_go_with_a_channel_that_is_being_deleted(struct fixture *f)
{
	struct deferring d = {.t = f->topic, .n = 5};
	struct channel *a = get_channel(d.t, "a"), *b;
	a->exit_flag = true; /* its deletion has begun, and takes a while */
	topic_update_channels(d.t);
	put_deferred(&d);
	stays(topic_depth(d.t) == 5 && channel_deferred_count(a) == 0);
	b = get_channel(d.t, "b");
	wait_for(channel_deferred_count(b) == 5);
	put_deferred(&d);
	assert_int_equal(channel_deferred_count(b), 10);
	assert_int_equal(channel_deferred_count(a), 0);
	a->exit_flag = false;
}

static void test_a_delay_is_lost_with_what_has_to_wait_on_disk(struct fixture *f)
{
	struct deferring d = {.t = f->topic, .n = 5};
	put_deferred(&d);
	assert_int_equal(topic_backend_depth(d.t), 3);
	struct channel *c = get_channel(d.t, "ch");
	expect_each_once(c, 2, 3);
	wait_for(channel_deferred_count(c) == 2);
}

static void test_a_delay_of_0_is_no_delay(struct fixture *f)
{
	struct topic *t = f->topic;
	struct channel *c = f->channel;
	struct err err;
	assert_int_equal(topic_put_message_deferred(t, body_of(1), 0, &err), 0);
	expect_in_order(c, 1, 1);
	assert_int_equal(channel_deferred_count(c), 0);
}

/* --- operators -------------------------------------------------------------------------------- */

static void test_pause(struct fixture *f)
{
	struct topic *t = f->topic;
	topic_pause(t);
	assert_true(topic_is_paused(t));
	struct channel *c = get_channel(t, "ch1");
	put(t, 0, 1);
	stays(topic_depth(t) == 1 && channel_depth(c) == 0);
	topic_unpause(t);
	wait_for(channel_depth(c) == 1);
	assert_int_equal(topic_depth(t), 0);
	/* What comes after a pause has returned stays. */
	topic_pause(t);
	put(t, 1, 20);
	stays(topic_depth(t) == 20);
}

static void test_empty_throws_away_memory_and_disk_but_not_the_channels(struct fixture *f)
{
	struct topic *t = f->topic;
	struct channel *c = f->channel;
	struct err err;
	put(t, 0, 5);
	wait_for(channel_depth(c) == 5);
	topic_pause(t);
	put(t, 5, 50);
	assert_int_equal(topic_depth(t), 50);
	assert_int_equal(topic_empty(t, &err), 0);
	assert_int_equal(topic_depth(t), 0);
	topic_unpause(t);
	put(t, 55, 5);
	expect_in_order(c, 0, 5);
	expect_in_order(c, 55, 5);
}

static void test_deletes(struct fixture *f)
{
	struct topic *t = f->topic;
	struct err err;
	get_channel(t, "ch1");
	assert_int_equal(topic_delete_existing_channel(t, "ch1", &err), 0);
	assert_int_equal(channel_count(t), 0);
	assert_int_equal(topic_delete_existing_channel(t, "ch1", &err), -1);
	assert_string_equal(err.msg, "channel does not exist");
	get_channel(t, "ch2");
	assert_int_equal(nsqd_delete_existing_topic(&f->nsqd->topics, "test", &err), 0);
	assert_int_equal(topic_count(f->nsqd), 0);
	assert_int_equal(nsqd_delete_existing_topic(&f->nsqd->topics, "test", &err), -1);
	assert_string_equal(err.msg, "topic does not exist");
}

static void test_delete_last(struct fixture *f)
{
	struct topic *t = f->topic;
	struct err err;
	get_channel(t, "ch1");
	assert_int_equal(topic_delete_existing_channel(t, "ch1", &err), 0);
	put(t, 0, 1);
	stays(topic_depth(t) == 1);
}

static void test_a_deleted_topic_leaves_no_file_and_a_new_one_is_empty(struct fixture *f)
{
	struct topic *t = f->topic;
	struct err err;
	get_channel(t, "ch");
	put(t, 0, 100);
	wait_for(topic_depth(t) == 0);
	topic_pause(t);
	put(t, 0, 100);
	assert_true(files_of("test") > 0);
	assert_int_equal(nsqd_delete_existing_topic(&f->nsqd->topics, "test", &err), 0);
	assert_int_equal(files_of("test"), 0);
	t = get_topic(f->nsqd, "test");
	assert_int_equal(topic_depth(t), 0);
	assert_false(topic_is_paused(t));
	assert_int_equal(channel_depth(get_channel(t, "ch")), 0);
}

static void test_a_holder_of_a_deleted_topic_is_told_so(struct fixture *f)
{
	struct err err = {0};
	struct topic *t = nsqd_get_topic(&f->nsqd->topics, "test", &err);
	get_channel(t, "ch");
	assert_int_equal(nsqd_delete_existing_topic(&f->nsqd->topics, "test", &err), 0);
	assert_int_equal(try_put(t, 0, 300, &err), 0);
	assert_string_equal(err.msg, "exiting");
	assert_int_equal(topic_put_message_deferred(t, body_of(1), 1, &err), -1);
	assert_string_equal(err.msg, "exiting");
	assert_null(topic_get_channel(t, "ch", &err));
	assert_string_equal(err.msg, "exiting");
	assert_int_equal(topic_delete(t, &err), EXIT_ELSEWHERE);
	assert_string_equal(err.msg, "exiting");
	assert_int_equal(topic_close(t, &err), EXIT_ELSEWHERE);
	assert_int_equal(topic_empty(t, &err), 0);
	assert_int_equal(topic_depth(t), 0);
	topic_pause(t); /* neither of these waits for a pump that is gone */
	topic_unpause(t);
	topic_unref(t);
}

/* Its backend is gone, and what asks how much waits there must not look. */
static void test_so_is_one_of_a_deleted_topic_with_limits(struct fixture *f)
{
	static const char *const limits[] = {"{\"max_depth\":1,\"max_bytes\":1}",
		"{\"max_depth\":1,\"max_bytes\":1,\"overflow\":\"drop-head\"}"};
	struct context *ctx = &f->nsqd->ctx;
	struct err err = {0};
	assert_int_equal(settings_store_load(&ctx->settings, ".", ctx->data_dir_fd, &err), 0);
	for (size_t i = 0; i < COUNT(limits); i++) {
		struct topic *t = nsqd_get_topic(&f->nsqd->topics, "test", &err);
		get_channel(t, "ch");
		set(t, NULL, limits[i]);
		assert_int_equal(nsqd_delete_existing_topic(&f->nsqd->topics, "test", &err), 0);
		topic_put_way(t, 1);
		assert_int_equal(try_put(t, 0, 300, &err), 0);
		assert_string_equal(err.msg, "exiting");
		assert_int_equal(topic_put_message_deferred(t, body_of(1), 1, &err), -1);
		struct message *m = new_message(1);
		assert_int_equal(topic_put_made_messages(t, &m, 1, &err), 0);
		assert_string_equal(err.msg, "exiting");
		topic_unref(t);
	}
}

static void test_a_disk_that_cannot_delete_does_not_keep_the_name(struct fixture *f)
{
	struct topic *t = f->topic;
	struct channel *c = f->channel;
	struct err err;
	make_channel_faulty(c)->fail_delete = true;
	assert_int_equal(topic_delete_existing_channel(t, "ch", &err), -1);
	assert_int_equal(err.code, EIO);
	assert_int_equal(channel_count(t), 0);
	c = get_channel(t, "ch");
	assert_false(channel_exiting(c));

	/* Its own files, or those of a channel. */
	make_topic_faulty(t)->fail_delete = true;
	assert_int_equal(nsqd_delete_existing_topic(&f->nsqd->topics, "test", &err), -1);
	assert_int_equal(err.code, EIO);
	assert_int_equal(topic_count(f->nsqd), 0);
	t = get_topic(f->nsqd, "test");
	assert_false(topic_exiting(t));
	make_channel_faulty(get_channel(t, "ch"))->fail_delete = true;
	assert_int_equal(nsqd_delete_existing_topic(&f->nsqd->topics, "test", &err), -1);
	assert_int_equal(err.code, EIO);
	assert_int_equal(topic_count(f->nsqd), 0);
}

/* --- ephemeral -------------------------------------------------------------------------------- */

static void test_an_ephemeral_topic_drops_what_exceeds_its_memory(struct fixture *f)
{
	struct topic *t = get_topic(f->nsqd, "test#ephemeral");
	assert_true(t->ephemeral);
	put(t, 0, 50);
	assert_int_equal(topic_depth(t), 10);
	expect_in_order(get_channel(t, "ch#ephemeral"), 0, 10);
	end_nsqd(f);
	assert_int_equal(files_of("test"), 0);
}

static void test_an_ephemeral_topic_goes_with_its_last_channel(struct fixture *f)
{
	struct topic *t = get_topic(f->nsqd, "test#ephemeral");
	struct err err;
	get_channel(t, "a");
	get_channel(t, "b");
	assert_int_equal(topic_delete_existing_channel(t, "a", &err), 0);
	assert_int_equal(topic_count(f->nsqd), 1);
	topic_ref(t);
	assert_int_equal(topic_delete_existing_channel(t, "b", &err), 0);
	wait_for(topic_count(f->nsqd) == 0);
	assert_true(topic_exiting(t));
	topic_unref(t);
}

/* --- the end ---------------------------------------------------------------------------------- */

static void test_close_writes_everything_to_disk_and_a_new_daemon_has_it(struct fixture *f)
{
	struct topic *t = f->topic;
	struct err err;
	put(t, 0, 300); /* stays in the topic: it has no channel */
	end_nsqd(f);
	assert_true(files_of("test") > 0);

	start_nsqd(f, 1000);
	assert_int_equal(nsqd_load_metadata(&f->nsqd->metadata, &err), 0);
	assert_int_equal(topic_count(f->nsqd), 1);
	t = get_topic(f->nsqd, "test");
	assert_int_equal(topic_depth(t), 300);
	struct channel *c = get_channel(t, "ch");
	wait_for(channel_depth(c) == 300);
	put(t, 300, 100);
	expect_each_once(c, 0, 400);
}

static void test_close_waits_a_moment_for_a_disk_that_recovers(struct fixture *f)
{
	struct faulty_queue *disk = make_topic_faulty(f->topic);
	struct err err;
	put(f->topic, 0, 8);
	disk->allow = 5;
	disk->recovers = 3;
	f->nsqd->ctx.flush_patience.ns = 3600 * NSEC_PER_SEC;
	end_nsqd(f);

	start_nsqd(f, 10);
	assert_int_equal(nsqd_load_metadata(&f->nsqd->metadata, &err), 0);
	assert_int_equal(topic_depth(get_topic(f->nsqd, "test")), 8);
}

/* What a start has moved from the topic's disk into the channel's memory, it writes back. */
static void test_a_start_that_fails_after_loading_loses_nothing(struct fixture *f)
{
	struct err err;
	topic_pause(f->topic);
	get_channel(f->topic, "ch");
	put(f->topic, 0, 300);
	end_nsqd(f);

	start_nsqd(f, 1000);
	assert_int_equal(nsqd_load_metadata(&f->nsqd->metadata, &err), 0);
	struct topic *t = get_topic(f->nsqd, "test");
	struct channel *c = get_channel(t, "ch");
	topic_unpause(t);
	wait_for(channel_depth(c) == 300);
	nsqd_give_up(f->nsqd);
	free_nsqd(f);

	start_nsqd(f, 1000);
	assert_int_equal(nsqd_load_metadata(&f->nsqd->metadata, &err), 0);
	t = get_topic(f->nsqd, "test");
	assert_true(topic_is_paused(t)); /* nsqd.dat is as it was */
	expect_each_once(get_channel(t, "ch"), 0, 300);
}

static void test_close_counts_as_exit_for_late_callers(struct fixture *f)
{
	struct nsqd *n = f->nsqd;
	struct err err = {0};
	struct topic *t = nsqd_get_topic(&n->topics, "test", &err);
	n->ctx.phase = PHASE_EXITING;
	assert_null(nsqd_get_topic(&n->topics, "other", &err));
	assert_string_equal(err.msg, "exiting");
	nsqd_exit(n);
	assert_int_equal(try_put(t, 0, 1, &err), 0);
	assert_string_equal(err.msg, "exiting");
	topic_unref(t);
	free_nsqd(f);
}

/* --- a disk that refuses ---------------------------------------------------------------------- */

static void expect_health(struct nsqd *n, const char *want)
{
	char buf[256];
	assert_string_equal(nsqd_get_health(&n->ctx, buf, sizeof(buf)), want);
	assert_int_equal(nsqd_is_healthy(&n->ctx), strcmp(want, "OK") == 0);
}

static void test_health(struct fixture *f)
{
	struct topic *t = f->topic;
	struct faulty_queue *disk = make_topic_faulty(t);
	struct err err = {0};
	disk->allow = 0;
	put(t, 0, 1);
	put(t, 1, 1);
	expect_health(f->nsqd, "OK");
	assert_int_equal(try_put(t, 2, 1, &err), 0);
	assert_string_equal(err.msg, "never gonna happen");
	expect_health(f->nsqd, "NOK - never gonna happen");
	assert_int_equal(try_put(t, 2, 300, &err), 0);
	disk->allow = -1;
	put(t, 2, 1);
	expect_health(f->nsqd, "OK");
	assert_int_equal(t->message_count, 3);
	expect_each_once(get_channel(t, "ch"), 0, 3);
}

static void test_what_is_refused_in_the_middle_is_told_and_the_rest_is_kept(struct fixture *f)
{
	/* In memory; at, within and between the batches that a put is made of. */
	static const int64_t allow[] = {0, 1, 63, 64, 65, 117, 118, 119, 246, 489};
	for (size_t i = 0; i < COUNT(allow); i++) {
		start_nsqd(f, 10);
		struct topic *t = get_topic(f->nsqd, "test");
		struct faulty_queue *disk = make_topic_faulty(t);
		struct err err = {0};
		size_t want = 10 + (size_t)allow[i];
		disk->allow = allow[i];
		assert_int_equal(try_put(t, 0, 500, &err), want);
		assert_string_equal(err.msg, "never gonna happen");
		assert_int_equal(t->message_count, want);
		assert_int_equal(t->message_bytes, 4 * want);
		assert_int_equal(topic_depth(t), want);
		expect_each_once(get_channel(t, "ch"), 0, want);
		assert_int_equal(nsqd_delete_existing_topic(&f->nsqd->topics, "test", &err), 0);
		end_nsqd(f);
	}
}

static void test_a_channel_that_its_disk_refuses_stops_no_other(struct fixture *f)
{
	struct topic *t = f->topic;
	struct channel *a = get_channel(t, "a"), *b = get_channel(t, "b");
	struct faulty_queue *disk = make_channel_faulty(a);
	disk->allow = 3;
	put(t, 0, 4); /* fills the channels' memory */
	wait_for(channel_depth(a) == 4 && channel_depth(b) == 4);
	expect_in_order(b, 0, 4);
	for (uint32_t i = 4; i < 24; i++) {
		put(t, i, 1);
		expect_in_order(b, i, 1);
	}
	assert_true(disk->refused > 0);
	assert_false(nsqd_is_healthy(&f->nsqd->ctx));
	/* All is where an operator looks for it. */
	wait_for(channel_depth(a) == 24 && topic_depth(t) == 0 && a->message_count == 24);
	disk->allow = -1;
	wait_for(nsqd_is_healthy(&f->nsqd->ctx));
	expect_each_once(a, 0, 24);
	expect_nothing(b);
}

static void test_a_topic_pushes_back_while_all_its_channels_are_refused(struct fixture *f)
{
	struct topic *t = f->topic;
	struct channel *a = get_channel(t, "a"), *b = get_channel(t, "b"), *c;
	struct faulty_queue *fa = make_channel_faulty(a), *fb = make_channel_faulty(b);
	struct faulty_queue *ft = make_topic_faulty(t);
	struct err err = {0};
	uint32_t next = 4, end = 109;
	fa->allow = fb->allow = ft->allow = 0;
	put(t, 0, 4);
	wait_for(channel_depth(a) == 4 && channel_depth(b) == 4);
	put(t, next++, 1);
	wait_for(channel_is_stuck(a) && channel_is_stuck(b));
	while (try_put(t, next, 1, &err) == 1)
		next++;
	assert_string_equal(err.msg, "never gonna happen");
	assert_int_equal(next, 9);
	stays(topic_depth(t) == 4 && channel_depth(a) == next - 4 && channel_depth(b) == next - 4);
	assert_int_equal(a->dropped + b->dropped, 0);
	/* It answers meanwhile. */
	topic_pause(t);
	topic_unpause(t);
	/* One that is not refused, and it goes on. */
	c = get_channel(t, "c");
	expect_in_order(c, next - 4, 4);
	for (; next < end; next++) {
		put(t, next, 1);
		expect_in_order(c, next, 1);
	}
	assert_int_equal(topic_delete_existing_channel(t, "c", &err), 0);
	/* Nor do they have to wait for the disk, where a consumer makes room. */
	expect_in_order(a, 0, end);
	put(t, end, 1);
	expect_in_order(a, end, 1);
	fb->allow = -1;
	expect_each_once(b, 0, end + 1);
}

static void test_a_topic_goes_on_without_a_channel_that_its_disk_refuses_and_that_is_deleted(
	struct fixture *f)
{
	struct topic *t = f->topic;
	struct channel *a = get_channel(t, "a"), *b = get_channel(t, "b");
	struct faulty_queue *disk = make_channel_faulty(a);
	struct err err;
	disk->allow = 0;
	put(t, 0, 24);
	wait_for(disk->refused > 0);
	assert_int_equal(topic_delete_existing_channel(t, "a", &err), 0);
	wait_for(channel_depth(b) == 24);
	expect_each_once(b, 0, 24);
}

static void test_at_exit_what_a_channels_disk_refused_is_flushed_with_the_channel(struct fixture *f)
{
	struct topic *t = f->topic;
	struct channel *c = f->channel;
	struct faulty_queue *disk = make_channel_faulty(c);
	struct err err;
	disk->allow = 0;
	put(t, 0, 4);
	wait_for(channel_depth(c) == 4);
	put(t, 4, 40);
	wait_for(disk->refused > 0);
	disk->allow = -1; /* the pump does not know yet, in all likelihood */
	end_nsqd(f);

	start_nsqd(f, 4);
	assert_int_equal(nsqd_load_metadata(&f->nsqd->metadata, &err), 0);
	c = get_channel(get_topic(f->nsqd, "test"), "ch");
	expect_each_once(c, 0, 44);
}

/* --- many threads ----------------------------------------------------------------------------- */

struct putters {
	struct nsqd *n;
	int rounds;
	_Atomic uint32_t next, stored, refused;
	_Atomic bool stop;
};

static void put_until_stopped(void *arg)
{
	struct putters *p = arg;
	while (!p->stop) {
		struct err err = {0};
		struct topic *t = nsqd_get_topic(&p->n->topics, "test", &err);
		CHECK(t);
		size_t done = try_put(t, p->next++, 3, &err);
		p->stored += done;
		p->refused += 3 - done;
		CHECK(done == 3 || strcmp(err.msg, "exiting") == 0);
		topic_unref(t);
	}
}

static void make_channels_until_stopped(void *arg)
{
	struct putters *p = arg;
	while (!p->stop) {
		struct err err = {0};
		struct topic *t = nsqd_get_topic(&p->n->topics, "test", &err);
		struct channel *c = topic_get_channel(t, "ch", &err);
		if (c) {
			struct message *m[16];
			size_t got = chan_try_recv_n(c->client_msg_chans[GLOBAL], m, 16, NULL);
			for (size_t i = 0; i < got; i++)
				message_unref(m[i]);
			if (p->next % 3 == 0)
				(void)topic_delete_existing_channel(t, "ch", &err);
			if (p->next % 5 == 0)
				(void)topic_empty(t, &err);
		}
		channel_unref(c);
		topic_unref(t);
	}
}

static void test_delete_while_others_put(struct fixture *f)
{
	struct putters p = {.n = f->nsqd};
	struct wait_group wg;
	int deleted = 0;
	wait_group_init(&wg);
	go(&wg, put_until_stopped, &p);
	go(&wg, put_until_stopped, &p);
	go(&wg, make_channels_until_stopped, &p);
	while (deleted < ROUNDS(100)) {
		struct err err;
		uint32_t before = p.next;
		deleted += nsqd_delete_existing_topic(&p.n->topics, "test", &err) == 0;
		wait_for(p.next > before);
	}
	p.stop = true;
	join(&wg);
	assert_true(p.stored > 0);
}

static void delete_until_stopped(void *arg)
{
	struct putters *p = arg;
	while (!p->stop) {
		struct err err;
		p->next++;
		(void)nsqd_delete_existing_topic(&p->n->topics, "test", &err);
	}
}

/* Whether what is put into t comes out of a channel again, unless it is deleted meanwhile. */
static bool holds_what_is_put(struct topic *t)
{
	struct err err = {0};
	struct message *m[8];
	size_t got = 0, done = try_put(t, 0, 2, &err);
	struct channel *c = topic_get_channel(t, "ch", &err);
	int64_t end = clock_mono_ns() + PATIENCE;
	while (c && done == 2 && got == 0 && !channel_exiting(c) && clock_mono_ns() < end)
		got = take_within(c, m, COUNT(m), NSEC_PER_MSEC);
	for (size_t i = 0; i < got; i++)
		message_unref(m[i]);
	channel_unref(c);
	return got > 0 || topic_exiting(t);
}

static void test_a_topic_that_two_delete_at_once_is_made_anew_only_when_it_is_gone(
	struct fixture *f)
{
	struct putters p = {.n = f->nsqd};
	struct wait_group wg;
	bool ok = true;
	wait_group_init(&wg);
	go(&wg, delete_until_stopped, &p);
	go(&wg, delete_until_stopped, &p);
	/* With two of one name at a time, one would delete the other's files. */
	for (int i = 0; i < ROUNDS(300) && ok; i++) {
		struct err err = {0};
		struct topic *t = nsqd_get_topic(&p.n->topics, "test", &err);
		ok = t && holds_what_is_put(t);
		topic_unref(t);
	}
	p.stop = true;
	join(&wg);
	assert_true(ok);
}

static void put_some(void *arg)
{
	struct putters *p = arg;
	for (int i = 0; i < p->rounds; i++) {
		struct err err = {0};
		struct topic *t = nsqd_get_topic(&p->n->topics, "test", &err);
		uint32_t first = atomic_fetch_add(&p->next, 5);
		CHECK(try_put(t, first, 5, &err) == 5);
		topic_unref(t);
	}
}

static void test_everything_that_many_put_arrives_at_every_channel_once(struct fixture *f)
{
	struct putters p = {.n = f->nsqd, .rounds = ROUNDS(2000)};
	struct topic *t = f->topic;
	struct channel *a = get_channel(t, "a"), *b = get_channel(t, "b");
	struct wait_group wg;
	size_t total = 3 * 5 * (size_t)p.rounds;
	wait_group_init(&wg);
	for (int i = 0; i < 3; i++)
		go(&wg, put_some, &p);
	expect_each_once(a, 0, total);
	join(&wg);
	expect_each_once(b, 0, total);
	expect_nothing(a);
	expect_nothing(b);
}

struct weather {
	struct faulty_queue *disk;
	struct channel *c;
	_Atomic bool stop;
};

static void make_weather(void *arg)
{
	struct weather *w = arg;
	while (!w->stop) {
		w->disk->allow = rand_below(3) == 0 ? -1 : 0;
		if (rand_below(4) == 0) {
			channel_pause(w->c);
			channel_unpause(w->c);
		}
		sleep_ns(NSEC_PER_MSEC);
	}
	w->disk->allow = -1;
}

static void test_nothing_is_lost_or_doubled_while_a_disk_comes_and_goes(struct fixture *f)
{
	static const int64_t mem_queue_sizes[] = {0, 1, 100};
	const int rounds = ROUNDS(600);
	const size_t total = 3 * 5 * (size_t)rounds; /* no more than may be kept */
	for (size_t i = 0; i < COUNT(mem_queue_sizes); i++) {
		start_nsqd(f, mem_queue_sizes[i]);
		struct putters p = {.n = f->nsqd, .rounds = rounds};
		struct topic *t = get_topic(p.n, "test");
		struct channel *a = get_channel(t, "a"), *b = get_channel(t, "b");
		struct weather w = {.disk = make_channel_faulty(a), .c = a};
		struct wait_group wg, weather;
		struct err err;
		wait_group_init(&wg);
		wait_group_init(&weather);
		go(&weather, make_weather, &w);
		for (int k = 0; k < 3; k++)
			go(&wg, put_some, &p);
		expect_each_once(a, 0, total);
		join(&wg);
		w.stop = true;
		join(&weather);
		expect_each_once(b, 0, total);
		expect_nothing(a);
		expect_nothing(b);
		assert_int_equal(a->dropped, 0);
		wait_for(p.n->ctx.kept_bytes == 0);
		assert_int_equal(nsqd_delete_existing_topic(&p.n->topics, "test", &err), 0);
		end_nsqd(f);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		topic_test(test_get_topic),
		topic_test(test_get_channel),
		nsqd_test(test_topics_and_channels_are_listed_by_name),
		channel_test(test_put_message),
		topic_test(test_put_message_2chan),
		topic_test_with(
			test_the_order_is_kept_through_a_long_batch, .mem_queue_size = 10000),
		topic_test_with(test_without_memory_all_goes_through_the_disk_in_order,
			.mem_queue_size = 0),
		topic_test(test_what_does_not_fit_into_memory_goes_to_the_disk),
		topic_test(test_a_topic_without_channels_keeps_its_messages_for_the_first),
		nsqd_test(test_nothing_moves_before_the_start),
		nsqd_test(test_limits_hold_before_the_start),
		nsqd_test(test_limits_of_channels_hold_from_the_start_on),
		topic_test(test_a_deferred_message_is_deferred_by_every_channel),
		dir_test(test_a_delay_does_not_depend_on_a_pump_that_is_busy),
		nsqd_test(
			test_a_delay_waits_in_memory_for_a_channel_the_start_and_the_end_of_a_pause),
		topic_test(test_a_delay_does_not_go_with_a_channel_that_is_being_deleted),
		topic_test_with(
			test_a_delay_is_lost_with_what_has_to_wait_on_disk, .mem_queue_size = 2),
		channel_test(test_a_delay_of_0_is_no_delay),
		topic_test(test_pause),
		channel_test(test_empty_throws_away_memory_and_disk_but_not_the_channels),
		topic_test(test_deletes),
		topic_test(test_delete_last),
		topic_test_with(test_a_deleted_topic_leaves_no_file_and_a_new_one_is_empty,
			.mem_queue_size = 0),
		nsqd_test(test_a_holder_of_a_deleted_topic_is_told_so),
		nsqd_test(test_so_is_one_of_a_deleted_topic_with_limits),
		channel_test(test_a_disk_that_cannot_delete_does_not_keep_the_name),
		nsqd_test(test_an_ephemeral_topic_drops_what_exceeds_its_memory),
		nsqd_test(test_an_ephemeral_topic_goes_with_its_last_channel),
		topic_test_with(test_close_writes_everything_to_disk_and_a_new_daemon_has_it,
			.mem_queue_size = 1000),
		topic_test(test_close_waits_a_moment_for_a_disk_that_recovers),
		topic_test(test_a_start_that_fails_after_loading_loses_nothing),
		nsqd_test(test_close_counts_as_exit_for_late_callers),
		topic_test_with(test_health, .mem_queue_size = 2),
		dir_test(test_what_is_refused_in_the_middle_is_told_and_the_rest_is_kept),
		topic_test_with(
			test_a_channel_that_its_disk_refuses_stops_no_other, .mem_queue_size = 4),
		topic_test_with(test_a_topic_pushes_back_while_all_its_channels_are_refused,
			.mem_queue_size = 4),
		topic_test_with(
			test_a_topic_goes_on_without_a_channel_that_its_disk_refuses_and_that_is_deleted,
			.mem_queue_size = 4),
		channel_test_with(
			test_at_exit_what_a_channels_disk_refused_is_flushed_with_the_channel,
			.mem_queue_size = 4),
		nsqd_test(test_delete_while_others_put),
		nsqd_test_with(
			test_a_topic_that_two_delete_at_once_is_made_anew_only_when_it_is_gone,
			.mem_queue_size = 0),
		topic_test_with(test_everything_that_many_put_arrives_at_every_channel_once,
			.mem_queue_size = 100),
		dir_test(test_nothing_is_lost_or_doubled_while_a_disk_comes_and_goes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
