/* SPDX-License-Identifier: MIT */
/*
 * channel: the tests of stock under their names; what is in flight, deferred and in the pump's
 * batch; consumers that come and go. Through all of this, and a disk that refuses, no message is
 * lost or delivered twice.
 */
#include "test/unit/nsqd_test.h"

#include <sys/stat.h>

#include "common/rand.h"

#define HOUR (3600 * NSEC_PER_SEC)

static void expect_fails(int rc, const struct err *err, const char *want)
{
	assert_int_equal(rc, -1);
	assert_string_equal(err->msg, want);
}

/* One FIN, as a batch of one. */
static int finish_message(
	struct channel *c, int64_t client_id, struct message_id id, struct err *err)
{
	const char *why;
	if (channel_finish_messages(c, client_id, &id, 1, &why) == 1) {
		assert_null(why);
		return 0;
	}
	return err_set(err, 0, "%s", why);
}

/* --- in flight -------------------------------------------------------------------------------- */

/* Each FIN has a fate of its own. */
static void test_each_fin_of_a_batch_has_its_own_fate(struct fixture *f)
{
	struct channel *c = f->channel;
	const struct message_id ids[] = {id_of(0), id_of(7), id_of(3), id_of(0), id_of(2)};
	const char *why[COUNT(ids)];
	put_in_flight(c, 0, 3, 1, HOUR);
	put_in_flight(c, 3, 1, 2, HOUR);
	assert_int_equal(channel_finish_messages(c, 1, ids, COUNT(ids), why), 2);
	assert_null(why[0]);
	assert_string_equal(why[1], "ID not in flight");
	assert_string_equal(why[2], "client does not own message");
	assert_string_equal(why[3], "ID not in flight");
	assert_null(why[4]);
	assert_int_equal(channel_in_flight_count(c), 2);
}

static void test_a_finished_message_is_gone(struct fixture *f)
{
	struct channel *c = f->channel;
	struct err err = {0};
	put_in_flight(c, 0, 3, 1, HOUR);
	assert_int_equal(channel_in_flight_count(c), 3);
	assert_int_equal(finish_message(c, 1, id_of(1), &err), 0);
	assert_int_equal(channel_in_flight_count(c), 2);
	expect_fails(finish_message(c, 1, id_of(1), &err), &err, "ID not in flight");
	assert_int_equal(channel_depth(c), 0);
}

static void test_a_client_answers_for_its_own_messages_only(struct fixture *f)
{
	struct channel *c = f->channel;
	struct err err = {0};
	put_in_flight(c, 0, 1, 1, HOUR);
	expect_fails(finish_message(c, 2, id_of(0), &err), &err, "client does not own message");
	expect_fails(channel_requeue_message(c, 2, id_of(0), 0, &err), &err,
		"client does not own message");
	expect_fails(channel_touch_message(c, 2, id_of(0), HOUR, &err), &err,
		"client does not own message");
	assert_int_equal(channel_in_flight_count(c), 1);
	assert_int_equal(c->requeue_count, 0);
}

static void test_what_is_not_in_flight_cannot_be_answered(struct fixture *f)
{
	struct channel *c = f->channel;
	struct err err = {0};
	expect_fails(finish_message(c, 1, id_of(0), &err), &err, "ID not in flight");
	expect_fails(channel_requeue_message(c, 1, id_of(0), 0, &err), &err, "ID not in flight");
	expect_fails(channel_requeue_message(c, 1, id_of(0), 1, &err), &err, "ID not in flight");
	expect_fails(channel_touch_message(c, 1, id_of(0), 1, &err), &err, "ID not in flight");
}

static void test_in_flight_worker(struct fixture *f)
{
	struct channel *c = f->channel;
	int64_t first = clock_mono_ns() + HOUR;
	put_in_flight(c, 0, 250, 0, HOUR);
	int64_t last = clock_mono_ns() + HOUR;
	assert_int_equal(channel_in_flight_count(c), 250);
	assert_in_range(channel_next_deadline(c), first, last);
	/* Never early. */
	assert_false(channel_process_in_flight_queue(c, first - 1));
	assert_int_equal(channel_in_flight_count(c), 250);
	while (channel_process_in_flight_queue(c, last))
		;
	assert_int_equal(channel_in_flight_count(c), 0);
	assert_int_equal(c->timeout_count, 250);
	assert_int_equal(c->requeue_count, 0);
	assert_true(channel_next_deadline(c) == INT64_MAX);
	assert_int_equal(channel_depth(c), 250);
	expect_each_once(c, 0, 250);
}

static void test_a_requeued_message_comes_back_at_once(struct fixture *f)
{
	struct channel *c = f->channel;
	struct err err;
	put_in_flight(c, 0, 1, 1, HOUR);
	assert_int_equal(channel_requeue_message(c, 1, id_of(0), 0, &err), 0);
	assert_int_equal(channel_in_flight_count(c), 0);
	assert_int_equal(channel_deferred_count(c), 0);
	assert_int_equal(c->requeue_count, 1);
	expect_in_order(c, 0, 1);
	assert_int_equal(c->message_count, 0); /* it is not a new one */
}

static void test_a_requeue_with_a_delay_waits_for_it(struct fixture *f)
{
	struct channel *c = f->channel;
	struct err err;
	put_in_flight(c, 0, 1, 1, HOUR);
	int64_t before = clock_mono_ns();
	assert_int_equal(channel_requeue_message(c, 1, id_of(0), HOUR / 2, &err), 0);
	int64_t after = clock_mono_ns();
	assert_int_equal(channel_in_flight_count(c), 0);
	assert_int_equal(channel_deferred_count(c), 1);
	assert_int_equal(c->requeue_count, 1);
	assert_in_range(channel_next_deadline(c), before + HOUR / 2, after + HOUR / 2);
	assert_false(channel_process_deferred_queue(c, before + HOUR / 2 - 1));
	expect_nothing(c);
	assert_true(channel_process_deferred_queue(c, after + HOUR / 2));
	expect_in_order(c, 0, 1);
}

static void set_timeouts_without_end(struct options *o)
{
	o->max_msg_timeout = INT64_MAX;
}

static void test_a_delay_beyond_the_end_of_time_is_never_due(struct fixture *f)
{
	struct channel *c = f->channel;
	put_in_flight(c, 0, 1, 1, INT64_MAX);
	channel_put_message_deferred(c, new_message(1), INT64_MAX);
	assert_false(channel_process_in_flight_queue(c, INT64_MAX - 1));
	assert_false(channel_process_deferred_queue(c, INT64_MAX - 1));
}

static void test_a_touch_begins_the_timeout_anew(struct fixture *f)
{
	struct channel *c = f->channel;
	int64_t minute = 60 * NSEC_PER_SEC, before;
	struct err err;
	put_in_flight(c, 0, 1, 1, NSEC_PER_SEC);
	put_in_flight(c, 1, 1, 1, 2 * minute);
	before = clock_mono_ns();
	assert_int_equal(channel_touch_message(c, 1, id_of(0), minute, &err), 0);
	assert_in_range(channel_next_deadline(c), before + minute, clock_mono_ns() + minute);
	assert_false(channel_process_in_flight_queue(c, before + minute - 1));
	/* It may be touched again, and now the other one is the next. */
	assert_int_equal(channel_touch_message(c, 1, id_of(0), 3 * minute, &err), 0);
	assert_true(channel_next_deadline(c) <= clock_mono_ns() + 2 * minute);
	assert_int_equal(channel_in_flight_count(c), 2);
}

static void test_touches_end_at_the_longest_timeout_since_delivery(struct fixture *f)
{
	struct channel *c = f->channel;
	int64_t max = nsqd_get_opts(&f->nsqd->ctx)->max_msg_timeout, before = clock_mono_ns(),
		after;
	struct err err;
	put_in_flight(c, 0, 1, 1, NSEC_PER_SEC);
	after = clock_mono_ns();
	assert_int_equal(channel_touch_message(c, 1, id_of(0), max + HOUR, &err), 0);
	assert_in_range(channel_next_deadline(c), before + max, after + max);
	assert_int_equal(channel_touch_message(c, 1, id_of(0), max, &err), 0);
	assert_in_range(channel_next_deadline(c), before + max, after + max);
}

static void test_two_messages_of_one_id_are_both_kept(struct fixture *f)
{
	struct channel *c = f->channel;
	struct err err = {0};
	put_in_flight(c, 0, 1, 1, HOUR);
	put_in_flight(c, 0, 1, 1, HOUR);
	assert_int_equal(channel_in_flight_count(c), 2);
	assert_int_equal(finish_message(c, 1, id_of(0), &err), 0);
	assert_int_equal(finish_message(c, 1, id_of(0), &err), 0);
	expect_fails(finish_message(c, 1, id_of(0), &err), &err, "ID not in flight");
}

/* --- the pump --------------------------------------------------------------------------------- */

static void test_nothing_leaves_the_queue_while_nobody_asks(struct fixture *f)
{
	struct topic *t = f->topic;
	struct channel *c = f->channel;
	put(t, 0, 30);
	wait_for(channel_depth(c) == 30);
	assert_int_equal(chan_len(c->memory_msg_chan), 10);
	assert_int_equal(channel_backend_depth(c), 20);
	stays(chan_len(c->memory_msg_chan) == 10 && c->batch_len == 0);
}

static void test_a_consumer_gets_no_more_than_it_has_room_for(struct fixture *f)
{
	struct topic *t = f->topic;
	struct channel *c = f->channel;
	struct message *m[5];
	size_t got = 0;
	put(t, 0, 50);
	wait_for(channel_depth(c) == 50);
	while (got < 5) {
		size_t k = take_within(c, m + got, 5 - got, PATIENCE);
		assert_in_range(k, 1, 5 - got);
		got += k;
	}
	wait_for(channel_depth(c) == 45);
	for (size_t i = 0; i < 5; i++) {
		assert_int_equal(seq_of(m[i]), i);
		message_unref(m[i]);
	}
	stays(chan_len(c->memory_msg_chan) + c->batch_len == 45);
}

static void test_a_channel_has_room_for_what_fits_into_memory(struct fixture *f)
{
	struct topic *t = f->topic;
	struct channel *c = f->channel;
	assert_true(channel_has_room(c, 10));
	assert_false(channel_has_room(c, 11));
	put(t, 0, 9);
	wait_for(channel_depth(c) == 9);
	assert_true(channel_has_room(c, 1));
	assert_false(channel_has_room(c, 2));
	put(t, 9, 3);
	wait_for(channel_depth(c) == 12);
	assert_false(channel_has_room(c, 1));
	expect_each_once(c, 0, 12);
	wait_for(channel_has_room(c, 10));
}

static void test_without_a_memory_queue_a_channel_has_no_room(struct fixture *f)
{
	assert_false(channel_has_room(f->channel, 1));
}

static void test_what_the_pump_holds_counts_as_depth(struct fixture *f)
{
	struct topic *t = f->topic;
	struct channel *c = f->channel;
	ask_and_turn_away(c, 5);
	put(t, 0, 20);
	wait_for(c->batch_len > 0);
	wait_for(channel_depth(c) == 20);
	assert_in_range(c->batch_len, 1, 5);
	assert_int_equal(chan_len(c->memory_msg_chan) + c->batch_len, 20);
	/* The next consumer that asks gets those first: the order is kept. */
	expect_in_order(c, 0, 20);
}

static void test_pause_puts_back_what_the_pump_holds(struct fixture *f)
{
	struct topic *t = f->topic;
	struct channel *c = f->channel;
	ask_and_turn_away(c, 5);
	put(t, 0, 20);
	wait_for(c->batch_len > 0 && channel_depth(c) == 20);
	channel_pause(c);
	assert_true(channel_is_paused(c));
	assert_int_equal(c->batch_len, 0);
	assert_int_equal(channel_depth(c), 20);
	expect_nothing(c);
	put(t, 20, 5);
	expect_nothing(c);
	channel_unpause(c);
	expect_each_once(c, 0, 25);
	wait_for(c->message_count == 25); /* counted once it is queued */
	stays(c->message_count == 25);    /* what was put back is not counted again */
}

static void test_a_paused_channel_takes_messages_and_gives_none(struct fixture *f)
{
	struct topic *t = f->topic;
	struct channel *c = f->channel;
	channel_pause(c);
	channel_pause(c);
	put(t, 0, 30);
	wait_for(channel_depth(c) == 30);
	expect_nothing(c);
	channel_unpause(c);
	channel_unpause(c);
	expect_each_once(c, 0, 30);
}

static void test_without_memory_all_goes_through_the_disk_in_order(struct fixture *f)
{
	struct topic *t = f->topic;
	struct channel *c = f->channel;
	struct err err;
	assert_null(c->memory_msg_chan);
	put(t, 0, 300);
	wait_for(channel_backend_depth(c) == 300);
	expect_in_order(c, 0, 300);
	put_in_flight(c, 300, 1, 1, HOUR);
	assert_int_equal(channel_requeue_message(c, 1, id_of(300), 0, &err), 0);
	expect_in_order(c, 300, 1);
	put(t, 0, 3);
	wait_for(channel_depth(c) == 3);
	assert_int_equal(channel_empty(c, &err), 0);
	assert_int_equal(channel_depth(c), 0);
}

/* --- operators -------------------------------------------------------------------------------- */

static void test_channel_empty(struct fixture *f)
{
	struct topic *t = f->topic;
	struct channel *c = f->channel;
	struct err err;
	put_in_flight(c, 1000, 25, 0, HOUR);
	assert_int_equal(channel_requeue_message(c, 0, id_of(1024), HOUR, &err), 0);
	ask_and_turn_away(c, 5);
	put(t, 0, 40);
	wait_for(c->batch_len > 0 && channel_depth(c) == 40);
	assert_int_equal(channel_in_flight_count(c), 24);
	assert_int_equal(channel_deferred_count(c), 1);

	assert_int_equal(channel_empty(c, &err), 0);
	assert_int_equal(channel_in_flight_count(c), 0);
	assert_int_equal(channel_deferred_count(c), 0);
	assert_int_equal(c->batch_len, 0);
	assert_int_equal(channel_depth(c), 0);
	assert_true(channel_next_deadline(c) == INT64_MAX);
	put(t, 40, 3);
	expect_in_order(c, 40, 3);
}

static void test_channel_empty_consumer(struct fixture *f)
{
	struct channel *c = f->channel;
	struct client_v2_stats stats;
	struct err err;
	int peer;
	struct client_v2 *client = new_client(f->nsqd, &peer);
	client_v2_set_ready_count(client, 25);
	assert_int_equal(channel_add_client(c, &client->consumer, &err), 0);
	put_in_flight(c, 0, 25, client->consumer.id, HOUR);
	client_v2_sending_messages(client, 25);
	assert_int_equal(client_v2_ready_for_messages(client, c), 0);
	client_v2_stats(client, "", &stats);
	assert_int_equal(stats.in_flight_count, 25);
	client_v2_stats_free(&stats);

	assert_int_equal(channel_empty(c, &err), 0);
	client_v2_stats(client, "", &stats);
	assert_int_equal(stats.in_flight_count, 0);
	client_v2_stats_free(&stats);
	assert_int_equal(client_v2_ready_for_messages(client, c), 25);
	channel_remove_client(c, &client->consumer);
	free_client(client, peer);
}

/*
 * A FIN, a REQ or a timeout that has taken its message when the channel is emptied counts down
 * after it.
 */
static void test_an_answer_that_crosses_an_empty_does_not_raise_rdy(struct fixture *f)
{
	struct channel *c = f->channel;
	struct err err;
	int peer;
	struct client_v2 *client = new_client(f->nsqd, &peer);
	client_v2_set_ready_count(client, 5);
	assert_int_equal(channel_add_client(c, &client->consumer, &err), 0);
	put_in_flight(c, 0, 3, client->consumer.id, HOUR);
	client_v2_sending_messages(client, 3);
	for (uint32_t i = 0; i < 3; i++)
		assert_int_equal(finish_message(c, client->consumer.id, id_of(i), &err), 0);
	assert_int_equal(channel_empty(c, &err), 0);
	client_v2_finished_messages(client, 1);
	client_v2_requeued_message(client);
	client_v2_timed_out_messages(client, 1);
	assert_int_equal(client->in_flight_count, 0);
	assert_int_equal(client_v2_ready_for_messages(client, c), 5);
	channel_remove_client(c, &client->consumer);
	free_client(client, peer);
}

static void test_a_holder_of_a_deleted_channel_is_told_so(struct fixture *f)
{
	struct topic *t = f->topic;
	struct channel *c = channel_ref(f->channel);
	struct message *m = new_message(1);
	struct err err = {0};
	int peer;
	struct client_v2 *client = new_client(f->nsqd, &peer);
	put_in_flight(c, 0, 1, 1, HOUR);
	assert_int_equal(topic_delete_existing_channel(t, "ch", &err), 0);
	assert_true(channel_exiting(c));
	assert_int_equal(channel_put_messages(c, &m, 1, &err), 0);
	assert_string_equal(err.msg, "exiting");
	message_unref(m);
	expect_fails(channel_add_client(c, &client->consumer, &err), &err, "exiting");
	assert_int_equal(channel_delete(c, &err), EXIT_ELSEWHERE);
	assert_string_equal(err.msg, "exiting");
	assert_int_equal(channel_close(c, &err), EXIT_ELSEWHERE);
	expect_fails(finish_message(c, 1, id_of(0), &err), &err, "ID not in flight");
	expect_fails(channel_requeue_message(c, 1, id_of(0), 0, &err), &err, "exiting");
	assert_false(channel_process_in_flight_queue(c, INT64_MAX));
	assert_false(channel_process_deferred_queue(c, INT64_MAX));
	assert_int_equal(channel_depth(c), 0);
	/* None of these waits for a pump that is gone. */
	channel_pause(c);
	channel_unpause(c);
	assert_int_equal(channel_empty(c, &err), 0);
	/* A client's pump that had a message in its hands may still come with it. */
	put_in_flight(c, 2, 1, 1, HOUR);
	channel_put_message_deferred(c, new_message(3), HOUR);
	channel_unref(c);
	free_client(client, peer);
}

static void test_a_deleted_channel_leaves_no_file_and_disconnects_its_consumers(struct fixture *f)
{
	struct topic *t = f->topic;
	struct channel *c = f->channel;
	struct err err;
	int peer;
	struct client_v2 *client = new_client(f->nsqd, &peer);
	char buf[1];
	assert_int_equal(channel_add_client(c, &client->consumer, &err), 0);
	put(t, 0, 100);
	wait_for(channel_depth(c) == 100);
	assert_true(files_of("test:ch") > 0);
	channel_ref(c);
	assert_int_equal(topic_delete_existing_channel(t, "ch", &err), 0);
	assert_int_equal(files_of("test:ch"), 0);
	/* Its io_loop reads the end, and does the rest. */
	assert_int_equal(client->base->ops->read(client->base, buf, 1, 0, &err), 0);
	channel_remove_client(c, &client->consumer);
	free_client(client, peer);
	channel_unref(c);
	assert_int_equal(channel_depth(get_channel(t, "ch")), 0);
}

/* --- consumers -------------------------------------------------------------------------------- */

static void allow_one_consumer(struct options *o)
{
	o->max_channel_consumers = 1;
}

static void test_max_channel_consumers(struct fixture *f)
{
	struct channel *c = f->channel;
	int peer_a, peer_b;
	struct client_v2 *a = new_client(f->nsqd, &peer_a), *b = new_client(f->nsqd, &peer_b);
	struct err err;
	assert_int_equal(channel_add_client(c, &a->consumer, &err), 0);
	expect_fails(channel_add_client(c, &b->consumer, &err), &err,
		"consumers for test:ch exceeds limit of 1");
	channel_remove_client(c, &a->consumer);
	assert_int_equal(channel_add_client(c, &b->consumer, &err), 0);
	assert_int_equal(c->client_count, 1);
	channel_remove_client(c, &b->consumer);
	assert_int_equal(c->client_count, 0);
	free_client(a, peer_a);
	free_client(b, peer_b);
}

static void test_what_the_pump_took_for_a_consumer_that_leaves_goes_back(struct fixture *f)
{
	struct topic *t = f->topic;
	struct channel *c = f->channel;
	struct err err;
	int peer;
	struct client_v2 *client = new_client(f->nsqd, &peer);
	assert_int_equal(channel_add_client(c, &client->consumer, &err), 0);
	ask_and_turn_away(c, 5);
	put(t, 0, 3);
	wait_for(c->batch_len > 0 && channel_depth(c) == 3);
	channel_remove_client(c, &client->consumer);
	assert_int_equal(c->batch_len, 0);
	assert_int_equal(channel_depth(c), 3);
	expect_each_once(c, 0, 3);
	free_client(client, peer);
}

static void test_a_timeout_is_told_to_the_client_that_had_the_message(struct fixture *f)
{
	struct channel *c = f->channel;
	struct err err;
	int peer_a, peer_b;
	struct client_v2 *a = new_client(f->nsqd, &peer_a), *b = new_client(f->nsqd, &peer_b);
	assert_int_equal(channel_add_client(c, &a->consumer, &err), 0);
	assert_int_equal(channel_add_client(c, &b->consumer, &err), 0);
	put_in_flight(c, 0, 2, a->consumer.id, HOUR);
	put_in_flight(c, 2, 1, b->consumer.id, HOUR);
	client_v2_sending_messages(a, 2);
	client_v2_sending_messages(b, 1);
	channel_remove_client(c, &b->consumer); /* a client that has left is not told */
	assert_true(channel_process_in_flight_queue(c, INT64_MAX));
	assert_int_equal(a->in_flight_count, 0);
	assert_int_equal(b->in_flight_count, 1);
	assert_int_equal(c->timeout_count, 3);
	channel_remove_client(c, &a->consumer);
	free_client(a, peer_a);
	free_client(b, peer_b);
}

static void test_many_that_time_out_at_once_come_back_in_order_and_each_is_counted(
	struct fixture *f)
{
	enum { N = 3 * DUE_BATCH };
	struct channel *c = f->channel;
	struct err err;
	int peer_a, peer_b;
	struct client_v2 *a = new_client(f->nsqd, &peer_a), *b = new_client(f->nsqd, &peer_b);
	assert_int_equal(channel_add_client(c, &a->consumer, &err), 0);
	assert_int_equal(channel_add_client(c, &b->consumer, &err), 0);
	/* Two of three are a's; b has more in flight, which does not time out. */
	for (uint32_t i = 0; i < N; i++)
		put_in_flight(c, i, 1, i % 3 != 0 ? a->consumer.id : b->consumer.id, HOUR);
	client_v2_sending_messages(a, 2 * N / 3);
	client_v2_sending_messages(b, N / 3 + 5);
	/* One call leaves its lock after some of them. */
	assert_true(channel_process_in_flight_queue(c, INT64_MAX));
	assert_int_equal(channel_in_flight_count(c), N - DUE_BATCH);
	while (channel_process_in_flight_queue(c, INT64_MAX))
		;
	assert_int_equal(a->in_flight_count, 0);
	assert_int_equal(b->in_flight_count, 5);
	assert_int_equal(c->timeout_count, N);
	expect_in_order(c, 0, N);
	channel_remove_client(c, &a->consumer);
	channel_remove_client(c, &b->consumer);
	free_client(a, peer_a);
	free_client(b, peer_b);
}

static void test_many_that_come_back_and_of_which_the_disk_takes_some_are_all_kept(
	struct fixture *f)
{
	enum { N = 50, TAKEN = 10 + 20 };
	struct channel *c = f->channel;
	make_channel_faulty(c)->allow = 20; /* and memory has room for 10 */
	put_in_flight(c, 0, N, 1, HOUR);
	int64_t before = clock_mono_ns();
	assert_true(channel_process_in_flight_queue(c, INT64_MAX));
	assert_int_equal(c->timeout_count, N);
	assert_int_equal(channel_in_flight_count(c), 0);
	assert_int_equal(channel_depth(c), TAKEN);
	assert_int_equal(channel_deferred_count(c), N - TAKEN);
	assert_true(channel_next_deadline(c) >= before + NSEC_PER_SEC);
	((struct faulty_queue *)c->backend)->allow = -1;
	assert_true(channel_process_deferred_queue(c, clock_mono_ns() + HOUR));
	assert_int_equal(channel_depth(c), N);
	expect_each_once(c, 0, N);
}

static void test_an_ephemeral_channel_goes_with_its_last_consumer(struct fixture *f)
{
	struct nsqd *n = f->nsqd;
	struct topic *t = f->topic;
	struct channel *c = get_channel(t, "ch#ephemeral");
	struct err err;
	int peer_a, peer_b;
	struct client_v2 *a = new_client(n, &peer_a), *b = new_client(n, &peer_b);
	assert_int_equal(channel_add_client(c, &a->consumer, &err), 0);
	assert_int_equal(channel_add_client(c, &b->consumer, &err), 0);
	channel_remove_client(c, &a->consumer);
	assert_int_equal(channel_count(t), 1);
	channel_remove_client(c, &b->consumer);
	wait_for(channel_count(t) == 0);
	assert_int_equal(topic_count(n), 1); /* its topic is not ephemeral */
	free_client(a, peer_a);
	free_client(b, peer_b);
	end_nsqd(f);
	assert_int_equal(files_of("test:"), 0);
}

static void test_an_ephemeral_topic_goes_with_the_last_consumer_of_its_last_channel(
	struct fixture *f)
{
	struct topic *t = get_topic(f->nsqd, "test#ephemeral");
	struct channel *c = get_channel(t, "ch#ephemeral");
	struct err err;
	int peer;
	struct client_v2 *client = new_client(f->nsqd, &peer);
	assert_int_equal(channel_add_client(c, &client->consumer, &err), 0);
	channel_remove_client(c, &client->consumer);
	wait_for(topic_count(f->nsqd) == 0);
	free_client(client, peer);
}

static void test_only_the_channel_that_was_left_is_deleted_not_its_successor(struct fixture *f)
{
	struct topic *t = f->topic, *u;
	struct channel *old = channel_ref(get_channel(t, "ch#ephemeral")), *successor;
	struct err err;
	assert_int_equal(topic_delete_existing_channel(t, "ch#ephemeral", &err), 0);
	successor = get_channel(t, "ch#ephemeral");
	assert_int_equal(topic_delete_channel(t, old, &err), 0);
	assert_ptr_equal(get_channel(t, "ch#ephemeral"), successor);
	assert_false(channel_exiting(successor));
	channel_unref(old);

	topic_ref(t);
	assert_int_equal(nsqd_delete_existing_topic(&f->nsqd->topics, "test", &err), 0);
	u = get_topic(f->nsqd, "test");
	assert_int_equal(nsqd_delete_topic(&f->nsqd->topics, t, &err), 0);
	assert_ptr_equal(get_topic(f->nsqd, "test"), u);
	assert_false(topic_exiting(u));
	topic_unref(t);
}

static void test_an_ephemeral_channel_drops_what_exceeds_its_memory(struct fixture *f)
{
	struct topic *t = f->topic;
	struct channel *c = get_channel(t, "ch#ephemeral");
	put(t, 0, 10);
	wait_for(channel_depth(c) == 10);
	put(t, 10, 10);
	wait_for(topic_depth(t) == 0 && c->message_count == 20);
	assert_int_equal(channel_depth(c), 10);
	expect_in_order(c, 0, 10);
}

/* --- the end ---------------------------------------------------------------------------------- */

static void test_close_writes_everything_to_disk_and_a_new_daemon_has_it(struct fixture *f)
{
	struct channel *c = f->channel;
	struct err err;
	/*
	 * In the batch, in memory, on disk, in flight (with its attempts), deferred by REQ and by
	 * DPUB.
	 */
	ask_and_turn_away(c, 5);
	put(f->topic, 0, 150);
	wait_for(c->batch_len > 0 && channel_depth(c) == 150);
	assert_true(channel_backend_depth(c) > 0);
	put_in_flight(c, 150, 300, 1, HOUR);
	assert_int_equal(channel_requeue_message(c, 1, id_of(449), HOUR, &err), 0);
	channel_put_message_deferred(c, new_message(450), HOUR);
	struct message *m = new_message(451);
	m->attempts = 7;
	channel_start_in_flight_timeout(c, &m, 1, 1, HOUR);
	end_nsqd(f);

	start_nsqd(f, 100);
	assert_int_equal(nsqd_load_metadata(&f->nsqd->metadata, &err), 0);
	c = topic_get_existing_channel(get_topic(f->nsqd, "test"), "ch");
	assert_non_null(c);
	channel_unref(c);
	assert_int_equal(channel_depth(c), 452);
	assert_int_equal(channel_in_flight_count(c), 0);
	assert_int_equal(channel_deferred_count(c), 0);
	bool seen[452] = {false};
	for (size_t i = 0; i < COUNT(seen); i++) {
		m = take_one(c);
		assert_true(seq_of(m) < COUNT(seen) && !seen[seq_of(m)]);
		assert_int_equal(m->attempts, seq_of(m) == 451 ? 7 : 0);
		seen[seq_of(m)] = true;
		message_unref(m);
	}
	expect_nothing(c);
}

/* --- a disk that refuses ---------------------------------------------------------------------- */

static void expect_health(struct nsqd *n, const char *want)
{
	char buf[256];
	assert_string_equal(nsqd_get_health(&n->ctx, buf, sizeof(buf)), want);
}

static void test_channel_health(struct fixture *f)
{
	struct channel *c = f->channel;
	struct faulty_queue *disk = make_channel_faulty(c);
	struct message *m[3] = {new_message(0), new_message(1), new_message(2)};
	struct err err = {0};
	disk->allow = 0;
	assert_int_equal(channel_put_messages(c, m, 2, &err), 2);
	expect_health(f->nsqd, "OK");
	assert_int_equal(channel_put_messages(c, m + 2, 1, &err), 1); /* it is kept */
	expect_health(f->nsqd, "NOK - never gonna happen");
	assert_int_equal(c->message_count, 3);
	disk->allow = -1;
	wait_for(nsqd_is_healthy(&f->nsqd->ctx));
	assert_int_equal(channel_backend_depth(c), 1);
	expect_each_once(c, 0, 3);
}

static void test_what_comes_back_and_is_refused_waits_and_is_tried_again(struct fixture *f)
{
	struct topic *t = f->topic;
	struct channel *c = f->channel;
	struct faulty_queue *disk = make_channel_faulty(c);
	struct err err = {0};
	put(t, 0, 2);
	wait_for(channel_depth(c) == 2);
	disk->allow = 0;
	put_in_flight(c, 2, 5, 1, HOUR);
	channel_put_message_deferred(c, new_message(7), HOUR);
	/* By a REQ, a timeout, and the end of a delay. */
	int64_t before = clock_mono_ns();
	assert_int_equal(channel_requeue_message(c, 1, id_of(2), 0, &err), 0);
	int64_t now = clock_mono_ns() + HOUR;
	assert_true(channel_process_in_flight_queue(c, now));
	assert_true(channel_process_deferred_queue(c, now));
	assert_int_equal(channel_in_flight_count(c), 0);
	assert_int_equal(channel_deferred_count(c), 6);
	assert_false(nsqd_is_healthy(&f->nsqd->ctx));
	assert_int_equal(c->timeout_count, 4);
	assert_int_equal(c->requeue_count, 1);
	/* Not at once again. */
	assert_true(channel_next_deadline(c) >= before + NSEC_PER_SEC);
	disk->allow = -1;
	assert_true(channel_process_deferred_queue(c, now));
	assert_int_equal(channel_deferred_count(c), 0);
	assert_true(nsqd_is_healthy(&f->nsqd->ctx));
	expect_each_once(c, 0, 8);
}

static void test_what_cannot_be_put_back_at_a_pause_stays_in_the_batch(struct fixture *f)
{
	struct topic *t = f->topic;
	struct channel *c = f->channel;
	struct faulty_queue *disk = make_channel_faulty(c);
	struct message *m;
	ask_and_turn_away(c, 2);
	put(t, 0, 2);
	wait_for(c->batch_len == 2 || chan_len(c->memory_msg_chan) > 0);
	put(t, 2, 3);
	wait_for(channel_depth(c) == 5);
	disk->allow = 0;
	channel_pause(c);
	assert_int_equal(channel_depth(c), 5);
	/* Paused is paused, though it is in the pump's hand. */
	assert_int_equal(take_within(c, &m, 1, A_WHILE), 0);
	disk->allow = -1;
	channel_unpause(c);
	expect_each_once(c, 0, 5);
}

/* As the topic's pump does, one batch after the other. */
static void put_into(struct channel *c, uint32_t first, size_t n)
{
	while (n > 0) {
		struct message *m[256];
		size_t k = n < COUNT(m) ? n : COUNT(m);
		struct err err;
		for (size_t i = 0; i < k; i++)
			m[i] = new_message(first++);
		assert_int_equal(channel_put_messages(c, m, k, &err), k);
		n -= k;
	}
}

/* The channel's memory becomes full, its disk refuses everything, and it keeps n messages more. */
static struct faulty_queue *refuse_and_keep(struct channel *c, uint32_t n)
{
	uint32_t memory = (uint32_t)chan_cap(c->memory_msg_chan);
	struct faulty_queue *disk = make_channel_faulty(c);
	disk->allow = 0;
	put_into(c, 0, memory + n);
	assert_int_equal(kept_count(&c->kept), n);
	assert_int_equal(channel_depth(c), memory + n);
	assert_int_equal(c->message_count, memory + n);
	return disk;
}

static void test_what_is_kept_goes_to_the_consumer_in_order_while_the_disk_refuses(
	struct fixture *f)
{
	static const int64_t mem_queue_sizes[] = {1, 2, 100};
	for (size_t i = 0; i < COUNT(mem_queue_sizes); i++) {
		start_nsqd(f, mem_queue_sizes[i]);
		struct channel *c = get_channel(get_topic(f->nsqd, "test"), "ch");
		uint32_t all = 600 + (uint32_t)mem_queue_sizes[i];
		struct err err;
		refuse_and_keep(c, 600);

		expect_in_order(c, 0, all);
		expect_nothing(c);
		/* The last one is in the pump's hand for a moment longer. */
		wait_for(channel_depth(c) == 0 && f->nsqd->ctx.kept_bytes == 0);
		/* And now memory is what it was before. */
		put_into(c, all, 1);
		assert_false(channel_is_stuck(c));
		expect_in_order(c, all, 1);
		assert_int_equal(nsqd_delete_existing_topic(&f->nsqd->topics, "test", &err), 0);
		end_nsqd(f);
	}
}

static void test_without_a_memory_queue_what_is_kept_takes_turns_with_the_disk(struct fixture *f)
{
	struct channel *c = f->channel;
	struct faulty_queue *disk = make_channel_faulty(c);
	bool from_disk = false, from_memory = false;
	put_into(c, 0, 500);
	assert_int_equal(channel_backend_depth(c), 500);
	assert_int_equal(take_seq(c), 0); /* from now on the disk has some at hand */
	await_waiters(disk->real->ops->read_chan(disk->real), CHAN_SEND, 1);
	disk->allow = 0;
	put_into(c, 500, 500);
	assert_int_equal(kept_count(&c->kept), 500);
	for (int i = 0; i < 100; i++) {
		if (take_seq(c) < 500)
			from_disk = true;
		else
			from_memory = true;
	}
	assert_true(from_disk && from_memory);
	disk->allow = -1;
	wait_for(nsqd_is_healthy(&f->nsqd->ctx) && !channel_is_stuck(c));
	wait_for(channel_depth(c) == 899);
}

static void test_what_is_kept_goes_to_disk_as_soon_as_that_has_room(struct fixture *f)
{
	struct channel *c = f->channel;
	struct faulty_queue *disk = refuse_and_keep(c, 3000);
	stays(channel_depth(c) == 3002 && channel_is_stuck(c));
	disk->allow = 500; /* a little room comes, and is gone again */
	wait_for(channel_backend_depth(c) == 500 && channel_depth(c) == 3002);
	disk->allow = -1;
	wait_for(channel_backend_depth(c) == 3000 && !channel_is_stuck(c));
	assert_int_equal(f->nsqd->ctx.kept_bytes, 0);
	assert_true(nsqd_is_healthy(&f->nsqd->ctx));
	expect_each_once(c, 0, 3002);
}

static void test_what_is_kept_goes_to_memory_that_becomes_free(struct fixture *f)
{
	struct channel *c = f->channel;
	struct message *m[4];
	refuse_and_keep(c, 6);
	/* Not by way of the pump, so that it does not hear of it. */
	assert_int_equal(chan_try_recv_n(c->memory_msg_chan, m, 4, NULL), 4);
	wait_for(chan_len(c->memory_msg_chan) == 4 && kept_count(&c->kept) == 2);
	channel_return_messages(c, m, 4); /* deferred, for want of a place */
	assert_int_equal(channel_deferred_count(c), 4);
	expect_in_order(c, 4, 6);
}

/* Also where consumers have made some: what is kept is older. */
static void test_a_channel_has_no_room_while_it_keeps_what_the_disk_refuses(struct fixture *f)
{
	struct channel *c = f->channel;
	refuse_and_keep(c, 600);
	expect_in_order(c, 0, 5);
	assert_true(channel_is_stuck(c));
	assert_false(channel_has_room(c, 1));
}

static void test_what_is_kept_stays_while_the_channel_is_paused(struct fixture *f)
{
	struct channel *c = f->channel;
	refuse_and_keep(c, 10);
	channel_pause(c);
	expect_nothing(c);
	put_into(c, 12, 5);
	assert_int_equal(channel_depth(c), 17);
	channel_unpause(c);
	expect_in_order(c, 0, 17);
}

static void test_what_is_kept_is_thrown_away_with_the_rest(struct fixture *f)
{
	struct channel *c = f->channel;
	struct err err;
	refuse_and_keep(c, 10);
	assert_int_equal(channel_empty(c, &err), 0);
	assert_int_equal(channel_depth(c), 0);
	assert_int_equal(f->nsqd->ctx.kept_bytes, 0);
	put_into(c, 100, 8);
	expect_in_order(c, 100, 8);
	put_into(c, 108, 8);
	assert_int_equal(topic_delete_existing_channel(c->topic, "ch", &err), 0);
	assert_int_equal(f->nsqd->ctx.kept_bytes, 0);
}

static void test_an_exit_tries_to_write_what_is_kept_and_counts_what_is_lost(struct fixture *f)
{
	static const int64_t allow[] = {-1, 0, 1000};
	for (size_t i = 0; i < COUNT(allow); i++) {
		start_nsqd(f, 2);
		struct channel *c = channel_ref(get_channel(get_topic(f->nsqd, "test"), "ch"));
		struct faulty_queue *disk = refuse_and_keep(c, 2000);
		size_t stored = allow[i] < 0 ? 2002 : (size_t)allow[i];
		struct err err;
		disk->allow = 0;
		channel_pause(c);
		disk->allow = allow[i];
		nsqd_exit(f->nsqd);
		assert_int_equal(c->lost, 2002 - stored);
		channel_unref(c);
		free_nsqd(f);

		start_nsqd(f, 2);
		assert_int_equal(nsqd_load_metadata(&f->nsqd->metadata, &err), 0);
		c = get_channel(get_topic(f->nsqd, "test"), "ch");
		assert_int_equal(channel_depth(c), stored);
		assert_int_equal(nsqd_delete_existing_topic(&f->nsqd->topics, "test", &err), 0);
		end_nsqd(f);
	}
}

static void test_an_exit_waits_a_moment_for_a_disk_that_recovers(struct fixture *f)
{
	struct channel *c = channel_ref(f->channel);
	struct faulty_queue *disk = make_channel_faulty(c);
	struct err err;
	put_into(c, 0, 8);
	put_in_flight(c, 8, 3, 1, HOUR);
	disk->allow = 5;
	disk->recovers = 3;
	f->nsqd->ctx.flush_patience.ns = HOUR;
	nsqd_exit(f->nsqd);
	assert_int_equal(c->lost, 0);
	channel_unref(c);
	free_nsqd(f);

	start_nsqd(f, 10);
	assert_int_equal(nsqd_load_metadata(&f->nsqd->metadata, &err), 0);
	expect_each_once(get_channel(get_topic(f->nsqd, "test"), "ch"), 0, 11);
}

/* nsqd.dat has a patience of its own, which ends first. */
static void test_an_exit_that_cannot_write_nsqd_dat_waits_for_the_messages_disk(struct fixture *f)
{
	struct channel *c = channel_ref(f->channel);
	struct faulty_queue *disk = make_channel_faulty(c);
	assert_int_equal(mkdir("nsqd.dat", 0700), 0);
	put_into(c, 0, 8);
	disk->allow = 0;
	disk->recovers = 3;
	f->nsqd->ctx.metadata_patience.ns = 50 * NSEC_PER_MSEC;
	f->nsqd->ctx.flush_patience.ns = HOUR;
	nsqd_exit(f->nsqd);
	assert_int_equal(c->lost, 0);
	channel_unref(c);
	free_nsqd(f);
	assert_int_equal(rmdir("nsqd.dat"), 0);

	start_nsqd(f, 10);
	assert_int_equal(channel_depth(get_channel(get_topic(f->nsqd, "test"), "ch")), 8);
}

static void run_exit(void *arg)
{
	nsqd_exit(arg);
}

static void test_an_exit_holds_no_lock_of_a_channel_while_it_waits_for_the_disk(struct fixture *f)
{
	struct channel *c = channel_ref(f->channel);
	struct faulty_queue *disk = make_channel_faulty(c);
	struct wait_group group;
	struct gate gate;
	gate_init(&gate);
	put_in_flight(c, 0, 3, 1, HOUR);
	channel_put_message_deferred(c, new_message(3), HOUR);
	disk->put_gate = &gate;
	wait_group_init(&group);
	go(&group, run_exit, f->nsqd);
	wait_for(gate.arrived == 1);
	channel_trim(c);                                 /* both locks are free */
	assert_int_equal(channel_in_flight_count(c), 0); /* none can be taken out twice */
	assert_int_equal(channel_deferred_count(c), 1);
	chan_close(gate.open);
	join(&group);
	channel_unref(c);
	chan_free(gate.open);
	free_nsqd(f);

	start_nsqd(f, 10);
	expect_each_once(get_channel(get_topic(f->nsqd, "test"), "ch"), 0, 4);
}

static void test_once_the_exit_has_begun_no_message_is_requeued(struct fixture *f)
{
	static const int64_t delays[] = {0, HOUR};
	struct channel *c = f->channel;
	put_in_flight(c, 0, 1, 1, HOUR);
	for (size_t i = 0; i < COUNT(delays); i++) {
		struct err err = {0};
		c->exit_flag = true;
		assert_int_equal(channel_requeue_message(c, 1, id_of(0), delays[i], &err), -1);
		assert_string_equal(err.msg, "exiting");
		c->exit_flag = false;
	}
	assert_int_equal(channel_in_flight_count(c), 1);
	assert_int_equal(channel_deferred_count(c), 0);
}

static void test_more_than_may_be_kept_is_dropped_and_counted(struct fixture *f)
{
	const uint32_t total = KEPT_MSGS_MAX + 5000;
	struct channel *c = f->channel;
	refuse_and_keep(c, 10);
	put_into(c, 12, total - 12);
	uint64_t taken = c->message_count;
	assert_int_equal(taken + c->dropped, total);
	assert_in_range(taken, KEPT_MSGS_MAX + 2, KEPT_MSGS_MAX + 2 + 256);
	assert_int_equal(channel_depth(c), taken);
	expect_in_order(c, 0, taken); /* the newest are dropped, as in stock */
	put_into(c, total, 1);
	expect_in_order(c, total, 1);
}

static void test_the_bytes_that_are_kept_are_bounded_and_one_batch_always_is(struct fixture *f)
{
	struct topic *t = f->topic;
	struct channel *c[6];
	struct err err;
	uint64_t kept = 0, dropped = 0;
	for (size_t i = 0; i < COUNT(c); i++) {
		char name[8];
		snprintf(name, sizeof(name), "c%zu", i);
		c[i] = get_channel(t, name);
		make_channel_faulty(c[i])->allow = 0;
		/* The body is counted for each, though they share it. */
		for (int k = 0; k < 10; k++) {
			struct message *m = message_new(id_of(1), message_body_new(20 << 20), 1);
			assert_int_equal(channel_put_messages(c[i], &m, 1, &err), 1);
		}
		kept += kept_count(&c[i]->kept);
		dropped += c[i]->dropped;
	}
	assert_int_equal(kept_count(&c[0]->kept), 4); /* 60 MiB are less than may be */
	assert_int_equal(kept_count(&c[5]->kept), 1); /* the daemon keeps as much as it may */
	assert_int_equal(kept + dropped, 10 * COUNT(c));
	assert_in_range(f->nsqd->ctx.kept_bytes, KEPT_TOTAL_BYTES_MAX,
		KEPT_TOTAL_BYTES_MAX + 2 * (KEPT_TOTAL_BYTES_MAX / 10));
	assert_int_equal(nsqd_delete_existing_topic(&f->nsqd->topics, "test", &err), 0);
	assert_int_equal(f->nsqd->ctx.kept_bytes, 0);
}

/* --- many threads ----------------------------------------------------------------------------- */

/*
 * Consumers that finish, requeue, touch and forget, while time passes quickly and operators meddle.
 */
struct stress {
	struct nsqd *n;
	struct topic *t;
	struct channel *c;
	struct chan *done; /* closed when all are finished */
	size_t total;
	_Atomic size_t finished;
	_Atomic uint8_t *seen; /* how often each was finished */
	_Atomic int64_t next_client;
};

static bool over(struct stress *s)
{
	return s->finished == s->total;
}

static void consume(void *arg)
{
	struct stress *s = arg;
	int64_t id = ++s->next_client;
	while (!over(s)) {
		struct message *m[20];
		size_t n = take_within(s->c, m, 1 + rand_below(20), NSEC_PER_MSEC);
		struct message_id ids[20];
		uint32_t seqs[20];
		struct err err;
		for (size_t i = 0; i < n; i++) {
			ids[i] = m[i]->id;
			seqs[i] = seq_of(m[i]);
		}
		if (n > 0)
			channel_start_in_flight_timeout(s->c, m, n, id, 5 * NSEC_PER_MSEC);
		for (size_t i = 0; i < n; i++) {
			switch (rand_below(8)) {
			case 0: /* forgets it */
				break;
			case 1:
				(void)channel_requeue_message(s->c, id, ids[i], 0, &err);
				break;
			case 2:
				(void)channel_requeue_message(
					s->c, id, ids[i], NSEC_PER_MSEC, &err);
				break;
			case 3:
				(void)channel_touch_message(s->c, id, ids[i], NSEC_PER_MSEC, &err);
				break;
			default:
				if (finish_message(s->c, id, ids[i], &err) == 0) {
					s->seen[seqs[i]]++;
					s->finished++;
				}
			}
		}
	}
}

static void let_time_pass(void *arg)
{
	struct stress *s = arg;
	while (!over(s)) {
		channel_process_in_flight_queue(s->c, clock_mono_ns());
		channel_process_deferred_queue(s->c, clock_mono_ns());
		sleep_ns(NSEC_PER_MSEC / 2);
	}
}

static void meddle(void *arg)
{
	struct stress *s = arg;
	while (!over(s)) {
		struct err err;
		int peer;
		channel_pause(s->c);
		topic_pause(s->t);
		(void)channel_depth(s->c);
		channel_unpause(s->c);
		topic_unpause(s->t);
		struct client_v2 *client = new_client(s->n, &peer);
		CHECK(channel_add_client(s->c, &client->consumer, &err) == 0);
		channel_remove_client(s->c, &client->consumer);
		client_v2_free(client);
		close(peer);
		sleep_ns(NSEC_PER_MSEC);
	}
}

static void run_stress(struct fixture *f)
{
	struct stress s = {
		.n = f->nsqd, .t = f->topic, .c = f->channel, .total = (size_t)ROUNDS(10000)};
	struct wait_group wg;
	s.seen = xcalloc(s.total, sizeof(*s.seen));
	wait_group_init(&wg);
	for (int i = 0; i < 3; i++)
		go(&wg, consume, &s);
	go(&wg, let_time_pass, &s);
	go(&wg, meddle, &s);
	for (size_t i = 0; i < s.total; i += 100)
		put(s.t, (uint32_t)i, 100);
	/* However slow it is: as long as some are finished. */
	for (size_t before = s.finished; !over(&s); before = s.finished)
		wait_for(s.finished > before || over(&s));
	join(&wg);
	for (size_t i = 0; i < s.total; i++)
		assert_int_equal(s.seen[i], 1);
	/* What the pump has just handed out is in its hand for a moment longer. */
	wait_for(channel_depth(s.c) == 0);
	assert_int_equal(channel_in_flight_count(s.c), 0);
	assert_int_equal(channel_deferred_count(s.c), 0);
	wait_for(s.c->message_count == s.total); /* counted once they are queued */
	free((void *)s.seen);
}

static void test_whatever_consumers_do_each_message_is_finished_once(struct fixture *f)
{
	run_stress(f);
}

static void test_without_memory_each_message_is_finished_once_too(struct fixture *f)
{
	run_stress(f);
}

static void empty_until_stopped(void *arg)
{
	struct stress *s = arg;
	while (!over(s)) {
		struct err err;
		CHECK(channel_empty(s->c, &err) == 0);
		s->finished++;
	}
}

static void test_empty_while_everybody_is_busy_leaves_nothing_behind(struct fixture *f)
{
	struct stress s = {
		.n = f->nsqd, .t = f->topic, .c = f->channel, .total = (size_t)ROUNDS(500)};
	struct wait_group wg;
	struct err err;
	s.seen = xcalloc(1 << 20, sizeof(*s.seen));
	wait_group_init(&wg);
	go(&wg, let_time_pass, &s);
	go(&wg, meddle, &s);
	go(&wg, empty_until_stopped, &s);
	for (uint32_t i = 0; !over(&s); i += 50)
		put(s.t, i % 1000, 50);
	join(&wg);
	wait_for(topic_depth(s.t) == 0);
	sleep_ns(A_WHILE);
	assert_int_equal(channel_empty(s.c, &err), 0);
	assert_int_equal(channel_depth(s.c), 0);
	free((void *)s.seen);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		channel_test(test_each_fin_of_a_batch_has_its_own_fate),
		channel_test(test_a_finished_message_is_gone),
		channel_test(test_a_client_answers_for_its_own_messages_only),
		channel_test(test_what_is_not_in_flight_cannot_be_answered),
		channel_test(test_in_flight_worker),
		channel_test(test_a_requeued_message_comes_back_at_once),
		channel_test(test_a_requeue_with_a_delay_waits_for_it),
		channel_test_with(test_a_delay_beyond_the_end_of_time_is_never_due,
			.mem_queue_size = 10, .adjust = set_timeouts_without_end),
		channel_test(test_a_touch_begins_the_timeout_anew),
		channel_test(test_touches_end_at_the_longest_timeout_since_delivery),
		channel_test(test_two_messages_of_one_id_are_both_kept),
		channel_test(test_nothing_leaves_the_queue_while_nobody_asks),
		channel_test_with(
			test_a_consumer_gets_no_more_than_it_has_room_for, .mem_queue_size = 100),
		channel_test_with(test_what_the_pump_holds_counts_as_depth, .mem_queue_size = 100),
		channel_test(test_a_channel_has_room_for_what_fits_into_memory),
		channel_test_with(
			test_without_a_memory_queue_a_channel_has_no_room, .mem_queue_size = 0),
		channel_test(test_a_channel_has_no_room_while_it_keeps_what_the_disk_refuses),
		channel_test_with(test_pause_puts_back_what_the_pump_holds, .mem_queue_size = 100),
		channel_test(test_a_paused_channel_takes_messages_and_gives_none),
		channel_test_with(test_without_memory_all_goes_through_the_disk_in_order,
			.mem_queue_size = 0),
		channel_test(test_channel_empty),
		channel_test(test_channel_empty_consumer),
		channel_test(test_an_answer_that_crosses_an_empty_does_not_raise_rdy),
		channel_test(test_a_holder_of_a_deleted_channel_is_told_so),
		channel_test_with(
			test_a_deleted_channel_leaves_no_file_and_disconnects_its_consumers,
			.mem_queue_size = 0),
		channel_test_with(test_max_channel_consumers, .mem_queue_size = 10,
			.adjust = allow_one_consumer),
		channel_test(test_what_the_pump_took_for_a_consumer_that_leaves_goes_back),
		channel_test(test_a_timeout_is_told_to_the_client_that_had_the_message),
		channel_test_with(
			test_many_that_time_out_at_once_come_back_in_order_and_each_is_counted,
			.mem_queue_size = 1000),
		channel_test(
			test_many_that_come_back_and_of_which_the_disk_takes_some_are_all_kept),
		topic_test(test_an_ephemeral_channel_goes_with_its_last_consumer),
		nsqd_test(test_an_ephemeral_topic_goes_with_the_last_consumer_of_its_last_channel),
		topic_test(test_only_the_channel_that_was_left_is_deleted_not_its_successor),
		topic_test(test_an_ephemeral_channel_drops_what_exceeds_its_memory),
		channel_test_with(test_close_writes_everything_to_disk_and_a_new_daemon_has_it,
			.mem_queue_size = 100),
		channel_test_with(test_channel_health, .mem_queue_size = 2),
		channel_test_with(test_what_comes_back_and_is_refused_waits_and_is_tried_again,
			.mem_queue_size = 2),
		channel_test_with(test_what_cannot_be_put_back_at_a_pause_stays_in_the_batch,
			.mem_queue_size = 3),
		dir_test(test_what_is_kept_goes_to_the_consumer_in_order_while_the_disk_refuses),
		channel_test_with(
			test_without_a_memory_queue_what_is_kept_takes_turns_with_the_disk,
			.mem_queue_size = 0),
		channel_test_with(test_what_is_kept_goes_to_disk_as_soon_as_that_has_room,
			.mem_queue_size = 2),
		channel_test_with(
			test_what_is_kept_goes_to_memory_that_becomes_free, .mem_queue_size = 4),
		channel_test_with(
			test_what_is_kept_stays_while_the_channel_is_paused, .mem_queue_size = 2),
		channel_test_with(
			test_what_is_kept_is_thrown_away_with_the_rest, .mem_queue_size = 2),
		channel_test(test_an_exit_waits_a_moment_for_a_disk_that_recovers),
		channel_test(test_an_exit_that_cannot_write_nsqd_dat_waits_for_the_messages_disk),
		channel_test(test_an_exit_holds_no_lock_of_a_channel_while_it_waits_for_the_disk),
		channel_test(test_once_the_exit_has_begun_no_message_is_requeued),
		dir_test(test_an_exit_tries_to_write_what_is_kept_and_counts_what_is_lost),
		channel_test_with(
			test_more_than_may_be_kept_is_dropped_and_counted, .mem_queue_size = 2),
		topic_test_with(test_the_bytes_that_are_kept_are_bounded_and_one_batch_always_is,
			.mem_queue_size = 0),
		channel_test_with(test_whatever_consumers_do_each_message_is_finished_once,
			.mem_queue_size = 100),
		channel_test_with(
			test_without_memory_each_message_is_finished_once_too, .mem_queue_size = 0),
		channel_test(test_empty_while_everybody_is_busy_leaves_nothing_behind),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
