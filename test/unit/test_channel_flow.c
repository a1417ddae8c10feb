/* SPDX-License-Identifier: MIT */
/* channel_flow: how many messages leave a channel, by rate and by max_in_flight. */
#include "test/unit/nsqd_test.h"

#include "common/json.h"
#include "common/rand.h"
#include "nsqd/queue/channel_flow.h"
#include "nsqd/queue/settings_change.h"

#define HOUR (3600 * NSEC_PER_SEC)

static void set(struct fixture *f, const char *object)
{
	struct err err = {0};
	struct context *ctx = &f->nsqd->ctx;
	if (!ctx->settings.path)
		assert_int_equal(
			settings_store_load(&ctx->settings, ".", ctx->data_dir_fd, &err), 0);
	assert_true(json_valid(object, strlen(object)));
	if (nsqd_set_settings(f->topic, f->channel, json_root(object, strlen(object)), &err) != 0)
		fail_msg("%s: %s", object, err.msg);
}

/* --- rate ------------------------------------------------------------------------------------- */

static void test_a_burst_is_a_tenth_of_a_second_and_one_message_at_least(void **state)
{
	static const struct {
		int64_t rate;
		size_t burst;
	} cases[] = {{1, 1}, {9, 1}, {19, 1}, {20, 2}, {1000, 100}, {1000000000, 100000000}};
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct channel_flow f = {0};
		assert_int_equal(channel_flow_tokens(&f, cases[i].rate, SIZE_MAX), cases[i].burst);
		assert_int_equal(channel_flow_tokens(&f, cases[i].rate, 1), 1);
		assert_int_equal(f.more.next_ns, 0);
		/* Years without a message do not make it more. */
		f.credited_ns = -HOUR * 24 * 365 * 50;
		assert_int_equal(channel_flow_tokens(&f, cases[i].rate, SIZE_MAX), cases[i].burst);
	}
}

static void test_without_a_token_it_says_when_there_is_one(void **state)
{
	struct channel_flow f = {0};
	assert_int_equal(channel_flow_tokens(&f, 4, 10), 1);
	channel_flow_handed(&f, 4, 1);
	int64_t before = clock_mono_ns();
	assert_int_equal(channel_flow_tokens(&f, 4, 10), 0);
	/* A token is a quarter of a second, some of which has passed. */
	assert_true(f.more.next_ns <= clock_mono_ns() + NSEC_PER_SEC / 4);
	assert_true(f.more.next_ns > before);
	/* At that moment it is there. */
	f.credited_ns -= f.more.next_ns - f.credited_ns;
	assert_int_equal(channel_flow_tokens(&f, 4, 10), 1);
	assert_int_equal(f.more.next_ns, 0);
}

static void test_a_high_rate_wakes_a_thousand_times_a_second_at_most(void **state)
{
	/* So much in debt that what it earns meanwhile does not matter: a second's worth. */
	struct channel_flow f = {.credited_ns = clock_mono_ns(), .credit = -100000 * NSEC_PER_SEC};
	int64_t before = clock_mono_ns();
	assert_int_equal(channel_flow_tokens(&f, 100000, SIZE_MAX), 0);
	/* It waits for a hundred tokens, not for one. */
	int64_t missing = 100 * NSEC_PER_SEC - f.credit;
	assert_in_range(
		f.more.next_ns, before + missing / 100000, clock_mono_ns() + missing / 100000 + 1);
}

static void test_no_message_is_won_or_lost_by_rounding(void **state)
{
	static const int64_t rates[] = {1, 3, 7, 999, 1001, 99999999, 1000000000};
	for (size_t i = 0; i < COUNT(rates); i++) {
		struct channel_flow f = {.credit = 0, .credited_ns = clock_mono_ns()};
		int64_t start = f.credited_ns, handed = 0;
		while (clock_mono_ns() < start + 20 * NSEC_PER_MSEC) {
			size_t n = channel_flow_tokens(&f, rates[i], 1 + rand_below(1000));
			channel_flow_handed(&f, rates[i], n);
			handed += (int64_t)n;
			/* All that there has ever been: what is left, and what was handed out. */
			int64_t all = f.credit / NSEC_PER_SEC + handed;
			assert_true(all <= (f.credited_ns - start) * (double)rates[i] / 1e9 + 1e-3);
		}
	}
}

/* --- max_in_flight ---------------------------------------------------------------------------- */

static void test_what_is_on_its_way_counts(void **state)
{
	struct channel_flow f = {0};
	assert_int_equal(channel_flow_room_locked(&f, 10, 0), 10);
	channel_flow_handed(&f, 0, 4);
	assert_int_equal(channel_flow_room_locked(&f, 10, 0), 6);
	f.arrived = 3;
	assert_int_equal(channel_flow_room_locked(&f, 10, 3), 6);
	assert_int_equal(channel_flow_room_locked(&f, 10, 0), 9);
	assert_int_equal(channel_flow_room_locked(&f, 2, 3), -2);
	assert_true(channel_flow_room_locked(&f, 0, 3) == INT64_MAX);
}

/* As a consumer's pump: the messages are in flight. */
static void start(struct channel *c, struct message **m, size_t n)
{
	channel_start_in_flight_timeout(c, m, n, 1, HOUR);
}

static void finish(struct channel *c, struct message_id id)
{
	const char *why;
	assert_int_equal(channel_finish_messages(c, 1, &id, 1, &why), 1);
}

static void test_messages_count_from_the_moment_that_a_consumer_has_them(struct fixture *f)
{
	struct channel *c = f->channel;
	struct message *m[10], *one;
	set(f, "{\"max_in_flight\":3}");
	put(f->topic, 0, 10);
	size_t n = 0;
	while (n < 3)
		n += take_within(c, m + n, 10 - n, PATIENCE);
	assert_int_equal(n, 3);
	expect_nothing(c);
	/* In flight they are as many as before. */
	struct message_id ids[] = {m[0]->id, m[1]->id, m[2]->id};
	start(c, m, 3);
	expect_nothing(c);
	finish(c, ids[0]);
	one = take_one(c);
	expect_nothing(c);
	/* It goes back: it, or another, may be had. */
	channel_return_messages(c, &one, 1);
	one = take_one(c);
	expect_nothing(c);
	/* A sample rate leaves it out. */
	message_unref(one);
	channel_left_out(c, 1);
	message_unref(take_one(c));
	expect_nothing(c);
	channel_left_out(c, 1);
}

static void test_what_was_handed_out_before_the_limit_counts(struct fixture *f)
{
	struct channel *c = f->channel;
	struct message *m[10];
	put(f->topic, 0, 10);
	size_t n = 0;
	while (n < 5)
		n += take_within(c, m + n, 5 - n, PATIENCE);
	set(f, "{\"max_in_flight\":3}");
	expect_nothing(c);
	struct message_id ids[] = {m[0]->id, m[1]->id, m[2]->id};
	start(c, m, 5);
	expect_nothing(c);
	finish(c, ids[0]);
	finish(c, ids[1]);
	expect_nothing(c);
	finish(c, ids[2]);
	struct message *one = take_one(c);
	expect_nothing(c);
	/* Lifted, it is gone at once. */
	set(f, "{\"max_in_flight\":null}");
	n = 0;
	while (n < 4)
		n += take_within(c, m + n, 4 - n, PATIENCE);
	message_unref(one);
	message_unref_all(m, n);
}

static void test_nobody_takes_past_the_pump_that_is_limited(struct fixture *f)
{
	struct channel *c = f->channel;
	struct message *m[4];
	put(f->topic, 0, 4);
	wait_for(channel_depth(c) == 4);
	assert_int_equal(channel_take_messages(c, m, 1), 1);
	message_unref(m[0]);
	channel_left_out(c, 1);
	set(f, "{\"max_in_flight\":1}");
	assert_int_equal(channel_take_messages(c, m, 4), 0);
	set(f, "{\"max_in_flight\":null,\"rate\":1000000}");
	assert_int_equal(channel_take_messages(c, m, 4), 0);
	set(f, "{\"rate\":0}");
	assert_int_equal(channel_take_messages(c, m, 4), 3);
	message_unref_all(m, 3);
}

static void test_emptying_makes_room(struct fixture *f)
{
	struct channel *c = f->channel;
	struct message *m[2];
	struct err err;
	set(f, "{\"max_in_flight\":1}");
	put(f->topic, 0, 2);
	m[0] = take_one(c);
	start(c, m, 1);
	expect_nothing(c);
	assert_int_equal(channel_empty(c, &err), 0);
	put(f->topic, 9, 1);
	assert_int_equal(take_seq(c), 9);
}

static void test_a_batch_that_was_taken_before_is_held_up_too(struct fixture *f)
{
	struct channel *c = f->channel;
	struct message *m[8];
	ask_and_turn_away(c, 8);
	put(f->topic, 0, 8);
	wait_for(channel_depth(c) == 8);
	set(f, "{\"max_in_flight\":2}");
	size_t n = 0;
	while (n < 2)
		n += take_within(c, m + n, 8 - n, PATIENCE);
	assert_int_equal(n, 2);
	expect_nothing(c);
	/* The pump may have its turn later than we have what it offered. */
	wait_for(channel_depth(c) == 6);
	message_unref_all(m, 2);
}

/* --- many consumers --------------------------------------------------------------------------- */

#define LIMIT 5

struct crowd {
	struct channel *channel;
	size_t total;
	_Atomic size_t finished;
	_Atomic int64_t next_id;
	_Atomic int held; /* by all of them: less at once than the channel knows */
};

static void consume(void *arg)
{
	struct crowd *s = arg;
	struct channel *c = s->channel;
	int64_t id = ++s->next_id;
	while (s->finished < s->total) {
		struct message *m[20];
		struct err err;
		const char *why;
		size_t n = take_within(c, m, 1 + rand_below(20), NSEC_PER_MSEC);
		if (n == 0)
			continue;
		CHECK(atomic_fetch_add(&s->held, (int)n) + (int)n <= LIMIT);
		if (rand_below(4) == 0) {
			atomic_fetch_sub(&s->held, (int)n);
			channel_return_messages(c, m, n);
			continue;
		}
		struct message_id ids[20];
		for (size_t i = 0; i < n; i++)
			ids[i] = m[i]->id;
		channel_start_in_flight_timeout(c, m, n, id, HOUR);
		for (size_t i = 0; i < n; i++) {
			atomic_fetch_sub(&s->held, 1);
			if (rand_below(4) == 0)
				CHECK(channel_requeue_message(c, id, ids[i], 0, &err) == 0);
			else
				s->finished += channel_finish_messages(c, id, &ids[i], 1, &why);
		}
	}
}

static void test_many_consumers_never_exceed_it_and_none_waits_for_ever(struct fixture *f)
{
	struct crowd s = {.channel = f->channel, .total = 20 * ROUNDS(1000)};
	struct wait_group wg;
	struct err err;
	set(f, "{\"max_in_flight\":5}");
	wait_group_init(&wg);
	for (int i = 0; i < 4; i++)
		assert_int_equal(wait_group_wrap(&wg, "consumer", consume, &s, &err), 0);
	for (size_t i = 0; i < s.total; i += 20)
		put(f->topic, (uint32_t)i, 20);
	wait_group_wait(&wg);
	wait_group_destroy(&wg);
	/* The pump may still have to count what it has handed out last. */
	wait_for(channel_depth(f->channel) + channel_in_flight_count(f->channel) == 0);
	wait_for(f->channel->flow.handed == f->channel->flow.arrived);
}

/* --- timeouts --------------------------------------------------------------------------------- */

static void test_a_timeout_is_the_channels_or_the_one_asked_for_up_to_a_bound(struct fixture *f)
{
	static const struct {
		int64_t asked, expected;
	} cases[] = {{0, 2}, {1, 1}, {3, 3}, {9, 5}};
	struct channel *c = f->channel;
	set(f, "{\"msg_timeout\":\"2s\",\"max_msg_timeout\":\"5s\"}");
	for (uint32_t i = 0; i < COUNT(cases); i++) {
		int64_t before = clock_mono_ns(), expected = cases[i].expected * NSEC_PER_SEC;
		put_in_flight(c, i, 1, 1, cases[i].asked * NSEC_PER_SEC);
		assert_in_range(
			channel_next_deadline(c), before + expected, clock_mono_ns() + expected);
		finish(c, id_of(i));
	}
}

/* --- expiry ----------------------------------------------------------------------------------- */

static void ignore_client(struct consumer *c)
{
	(void)c;
}

static const struct consumer_ops consumer_ops = {
	.close = ignore_client, .ready_changed = ignore_client, .empty = ignore_client};

static void test_a_channel_expires_only_without_consumers(struct fixture *f)
{
	struct channel *c = f->channel;
	struct consumer consumer = {.id = 1, .ops = &consumer_ops};
	struct err err;
	int64_t now = clock_mono_ns();
	assert_false(channel_has_expired(c, INT64_MAX));
	set(f, "{\"channel_expire\":\"1h\"}");
	assert_false(channel_has_expired(c, now));
	assert_true(channel_has_expired(c, now + 2 * HOUR));
	assert_int_equal(channel_add_client(c, &consumer, &err), 0);
	assert_false(channel_has_expired(c, now + 2 * HOUR));
	channel_remove_client(c, &consumer);
	now = clock_mono_ns();
	assert_false(channel_has_expired(c, now + HOUR - NSEC_PER_SEC * 600));
	assert_true(channel_has_expired(c, now + HOUR));
	/* It has not yet. */
	topic_expire_channel(f->topic, c);
	assert_false(channel_exiting(c));
	assert_int_equal(channel_count(f->topic), 1);
	/* A consumer that comes between the look and the deletion keeps it. */
	set(f, "{\"channel_expire\":\"1ns\"}");
	assert_true(channel_has_expired(c, clock_mono_ns()));
	assert_int_equal(channel_add_client(c, &consumer, &err), 0);
	topic_expire_channel(f->topic, c);
	assert_false(channel_exiting(c));
	channel_remove_client(c, &consumer);
	/* One that comes later is told. */
	channel_ref(c);
	topic_expire_channel(f->topic, c);
	assert_int_equal(channel_count(f->topic), 0);
	assert_int_equal(channel_add_client(c, &consumer, &err), -1);
	assert_true(c->exit_unused);
	assert_int_equal(f->nsqd->ctx.expired_channels, 1);
	/* Once. */
	topic_expire_channel(f->topic, c);
	channel_unref(c);
}

/* --- too much --------------------------------------------------------------------------------- */

/* The channel's backend, which learns no more of what was received than this. */
static struct backend_queue_ops late_ops;
static const struct backend_queue_ops *real_ops;
static _Atomic int64_t known;

static int64_t late_received(struct backend_queue *q)
{
	int64_t received = real_ops->received(q), k = known;
	return received < k ? received : k;
}

static int64_t late_depth(struct backend_queue *q)
{
	return real_ops->depth(q) + real_ops->received(q) - late_received(q);
}

/*
 * The pump has taken all of them, to look how old they are, and the queue does not know yet: so they
 * seem to be there twice.
 */
static void test_what_the_queue_still_counts_is_not_dropped_for_that(struct fixture *f)
{
	struct channel *c = f->channel;
	known = 0;
	real_ops = c->backend->ops;
	late_ops = *real_ops;
	late_ops.received = late_received;
	late_ops.depth = late_depth;
	c->backend->ops = &late_ops;
	set(f, "{\"max_depth\":10,\"overflow\":\"drop-head\",\"message_ttl\":\"1h\"}");
	put(f->topic, 0, 50);
	wait_for(atomic_load(&c->batch_len) > 0 || c->overflow_count > 0);
	stays(c->overflow_count == 0);
	known = INT64_MAX;
	wait_for(c->overflow_count == 40 && channel_depth(c) == 10);
	stays(c->overflow_count == 40 && channel_depth(c) == 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_burst_is_a_tenth_of_a_second_and_one_message_at_least),
		cmocka_unit_test(test_without_a_token_it_says_when_there_is_one),
		cmocka_unit_test(test_a_high_rate_wakes_a_thousand_times_a_second_at_most),
		cmocka_unit_test(test_no_message_is_won_or_lost_by_rounding),
		cmocka_unit_test(test_what_is_on_its_way_counts),
		channel_test(test_messages_count_from_the_moment_that_a_consumer_has_them),
		channel_test(test_what_was_handed_out_before_the_limit_counts),
		channel_test(test_nobody_takes_past_the_pump_that_is_limited),
		channel_test(test_emptying_makes_room),
		channel_test(test_a_batch_that_was_taken_before_is_held_up_too),
		channel_test(test_many_consumers_never_exceed_it_and_none_waits_for_ever),
		channel_test(test_a_timeout_is_the_channels_or_the_one_asked_for_up_to_a_bound),
		channel_test(test_a_channel_expires_only_without_consumers),
		channel_test_with(test_what_the_queue_still_counts_is_not_dropped_for_that,
			.mem_queue_size = 0),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
