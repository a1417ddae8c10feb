/* SPDX-License-Identifier: MIT */
/*
 * Looking into a channel, and one message by its id, wherever it is: in the pump's batch, in
 * memory, kept since the disk refuses it, on disk, in flight, deferred. And the ends of channels.
 */
#include "test/unit/nsqd_test.h"

#include "nsqd/queue/channel_inspect.h"
#include "nsqd/queue/channel_internal.h"

/* What is seen in that state: n messages, for message_views_free. */
static struct message_views look(struct channel *c, enum channel_state state, size_t n)
{
	struct message_views seen;
	struct err err;
	message_views_init(&seen, PEEK_MAX, 4);
	assert_true(channel_peek(c, state, true, true, &seen, &err));
	assert_string_equal(err.msg, "");
	assert_int_equal(seen.n, n);
	return seen;
}

static uint32_t seen_seq(const struct message_view *m)
{
	uint32_t seq;
	assert_int_equal(m->body_len, sizeof(seq));
	memcpy(&seq, m->body->data, sizeof(seq));
	return seq;
}

/* The message with that number, which is in that place. */
static struct message_id find_seq(struct channel *c, uint32_t seq, enum message_place place)
{
	struct message_views seen;
	struct err err;
	size_t i = 0;
	message_views_init(&seen, PEEK_MAX, 4);
	assert_true(channel_peek(c, CHANNEL_READY, true, true, &seen, &err));
	while (i < seen.n && seen_seq(&seen.v[i]) != seq)
		i++;
	assert_true(i < seen.n);
	assert_int_equal(seen.v[i].place, place);
	struct message_id id = seen.v[i].id;
	message_views_free(&seen);
	return id;
}

static void expect_places(struct channel *c, const enum message_place *places, size_t n)
{
	struct message_views seen = look(c, CHANNEL_READY, n);
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(seen.v[i].place, places[i]);
		assert_int_equal(seen_seq(&seen.v[i]), i);
	}
	message_views_free(&seen);
}

static void test_the_pumps_batch_comes_first_then_memory_then_disk(struct fixture *f)
{
	struct channel *c = f->channel;
	ask_and_turn_away(c, 2);
	put(f->topic, 0, 6);
	wait_for(channel_depth(c) == 6 && c->batch_len > 0);
	size_t batch = c->batch_len, memory = chan_len(c->memory_msg_chan);
	struct message_views seen = look(c, CHANNEL_READY, 6);
	for (size_t i = 0; i < 6; i++)
		assert_int_equal(seen.v[i].place, i < batch            ? PLACE_BATCH
						  : i < batch + memory ? PLACE_MEMORY
								       : PLACE_DISK);
	message_views_free(&seen);
	assert_int_equal(channel_depth(c), 6);
	assert_int_equal(c->batch_len, batch);
	expect_each_once(c, 0, 6);
}

static void test_one_of_the_batch_is_finished_or_comes_back(struct fixture *f)
{
	struct channel *c = f->channel;
	ask_and_turn_away(c, 5);
	put(f->topic, 0, 8);
	wait_for(channel_depth(c) == 8 && c->batch_len > 0);
	uint32_t last = (uint32_t)c->batch_len - 1;
	struct message_id first_id = find_seq(c, 0, PLACE_BATCH);
	assert_int_equal(channel_finish_by_id(c, find_seq(c, last, PLACE_BATCH)), BY_ID_DONE);
	assert_int_equal(channel_depth(c), 7);
	if (last > 0) {
		assert_int_equal(channel_requeue_by_id(c, first_id, 0), BY_ID_DONE);
		assert_int_equal(channel_depth(c), 7);
	}
	/* Each of the others once; the order of memory and batch is as before. */
	bool seen[8] = {false};
	for (int i = 0; i < 7; i++) {
		uint32_t seq = take_seq(c);
		assert_true(seq < 8 && seq != last && !seen[seq]);
		seen[seq] = true;
	}
	expect_nothing(c);
}

static void no_memory_queue(struct options *o)
{
	o->sync_every = 1;
}

static void test_a_batch_from_disk_is_done_when_all_of_it_is(struct fixture *f)
{
	struct channel *c = f->channel;
	struct message *m[3];
	struct err err;
	put(f->topic, 0, 10);
	wait_for(channel_depth(c) == 10);
	/* One by one, as the disk queue begins; then a batch waits in the pump for us. */
	struct message_id on_disk = find_seq(c, 9, PLACE_DISK);
	assert_int_equal(channel_finish_by_id(c, on_disk), BY_ID_ON_DISK);
	assert_int_equal(channel_requeue_by_id(c, on_disk, 0), BY_ID_ON_DISK);
	assert_int_equal(channel_finish_by_id(c, id_of(77)), BY_ID_NOT_FOUND);
	for (size_t i = 0; i < 3; i++) {
		m[i] = take_one(c);
		assert_int_equal(seq_of(m[i]), i);
	}
	channel_start_in_flight_timeout(c, m, 3, 1, NSEC_PER_SEC);
	assert_int_equal(channel_finish_by_id(c, m[1]->id), BY_ID_DONE);
	assert_int_equal(channel_in_flight_count(c), 2);
	assert_int_equal(topic_delete_existing_channel(f->topic, "ch", &err), 0);
}

static void test_what_is_kept_is_seen_and_dealt_with(struct fixture *f)
{
	static const enum message_place places[] = {
		PLACE_MEMORY, PLACE_MEMORY, PLACE_KEPT, PLACE_KEPT, PLACE_KEPT, PLACE_KEPT};
	struct channel *c = f->channel;
	struct faulty_queue *disk = make_channel_faulty(c);
	struct message *m[6];
	struct err err;
	disk->allow = 0;
	for (uint32_t i = 0; i < COUNT(m); i++)
		m[i] = new_message(i);
	assert_int_equal(channel_put_messages(c, m, COUNT(m), &err), COUNT(m));
	assert_int_equal(kept_count(&c->kept), 4);
	expect_places(c, places, COUNT(places));
	assert_true(channel_oldest_timestamp(c) > 0);
	assert_int_equal(channel_finish_by_id(c, id_of(3)), BY_ID_DONE);
	assert_int_equal(channel_finish_by_id(c, id_of(3)), BY_ID_NOT_FOUND);
	assert_int_equal(channel_requeue_by_id(c, id_of(4), NSEC_PER_SEC), BY_ID_DONE);
	assert_int_equal(channel_deferred_count(c), 1);
	assert_int_equal(channel_depth(c), 4);
	/* The disk refuses it once more: it is deferred. */
	assert_int_equal(channel_requeue_by_id(c, id_of(5), 0), BY_ID_DONE);
	assert_int_equal(channel_deferred_count(c), 2);
	expect_each_once(c, 0, 3);
	disk->allow = -1;
	assert_int_equal(channel_finish_by_id(c, id_of(4)), BY_ID_DONE);
	assert_int_equal(channel_finish_by_id(c, id_of(5)), BY_ID_DONE);
	assert_int_equal(channel_deferred_count(c), 0);
}

static void test_in_flight_and_deferred_by_deadline(struct fixture *f)
{
	struct channel *c = f->channel;
	put_in_flight(c, 0, 3, 7, 300 * NSEC_PER_SEC);
	put_in_flight(c, 3, 3, 8, 100 * NSEC_PER_SEC);
	struct message_views seen = look(c, CHANNEL_IN_FLIGHT, 6);
	for (size_t i = 0; i < 6; i++) {
		assert_int_equal(seen_seq(&seen.v[i]), (i + 3) % 6);
		assert_int_equal(seen.v[i].client_id, i < 3 ? 8 : 7);
		assert_true(seen.v[i].due_ns > clock_mono_ns());
	}
	message_views_free(&seen);
	/* One requeued with a delay is seen there, and no more here. */
	assert_int_equal(channel_requeue_by_id(c, id_of(4), NSEC_PER_SEC), BY_ID_DONE);
	assert_int_equal(c->requeue_count, 1);
	seen = look(c, CHANNEL_IN_FLIGHT, 5);
	message_views_free(&seen);
	seen = look(c, CHANNEL_DEFERRED, 1);
	assert_int_equal(seen_seq(&seen.v[0]), 4);
	message_views_free(&seen);
	seen = look(c, CHANNEL_READY, 0);
	message_views_free(&seen);
}

/* So many that they are seen in slices, and many with one deadline, across the ends of these. */
static void test_many_in_flight_are_each_seen_once(struct fixture *f)
{
	static const size_t sizes[] = {1, 127, 128, 1, 300, 64, 700, 400};
	struct channel *c = f->channel;
	struct message *m[700];
	uint32_t seq = 0;
	for (size_t k = 0; k < COUNT(sizes); k++) {
		for (size_t i = 0; i < sizes[k]; i++)
			m[i] = new_message(seq++);
		channel_start_in_flight_timeout(
			c, m, sizes[k], 1, (int64_t)(1000 - k % 3 * 100) * NSEC_PER_SEC);
	}
	for (size_t max = 0; max <= PEEK_MAX; max += 125) {
		struct message_views seen;
		struct err err;
		message_views_init(&seen, max, 4);
		assert_true(channel_peek(c, CHANNEL_IN_FLIGHT, true, true, &seen, &err));
		assert_int_equal(seen.n, max);
		for (size_t i = 0; i < max; i++) {
			assert_int_equal(message_views_find(&seen, seen.v[i].id, max), i);
			assert_true(i == 0 || seen.v[i].due_ns >= seen.v[i - 1].due_ns);
		}
		message_views_free(&seen);
	}
}

static void test_a_body_outlives_its_message(struct fixture *f)
{
	struct channel *c = f->channel;
	struct err err;
	put(f->topic, 0, 5);
	wait_for(channel_depth(c) == 5);
	struct message_views seen = look(c, CHANNEL_READY, 5);
	assert_int_equal(channel_empty(c, &err), 0);
	for (size_t i = 0; i < 5; i++)
		assert_int_equal(seen_seq(&seen.v[i]), i);
	message_views_free(&seen);
}

static void test_an_exit_ends_it(struct fixture *f)
{
	struct channel *c = channel_ref(f->channel);
	struct message_views seen;
	struct err err;
	put(f->topic, 0, 3);
	wait_for(channel_depth(c) == 3);
	assert_int_equal(topic_delete_existing_channel(f->topic, "ch", &err), 0);
	message_views_init(&seen, 10, 4);
	assert_false(channel_peek(c, CHANNEL_READY, true, true, &seen, &err));
	assert_false(channel_peek(c, CHANNEL_IN_FLIGHT, true, true, &seen, &err));
	assert_int_equal(channel_finish_by_id(c, id_of(0)), BY_ID_EXITING);
	assert_int_equal(channel_requeue_by_id(c, id_of(0), 0), BY_ID_EXITING);
	assert_true(channel_oldest_timestamp(c) == 0);
	message_views_free(&seen);
	channel_unref(c);
}

static struct gate pump_gate;

static void hold_pump(struct channel *c, void *arg)
{
	pump_gate.arrived++;
	chan_recv(pump_gate.open, NULL);
}

static void visit_and_hold(void *arg)
{
	CHECK(channel_visit_pump(arg, hold_pump, NULL));
}

struct ready_look {
	struct channel *c;
	_Atomic bool ended;
};

static void look_at_ready(void *arg)
{
	struct ready_look *r = arg;
	struct message_views seen = look(r->c, CHANNEL_READY, 4);
	message_views_free(&seen);
	r->ended = true;
}

static void test_a_look_waits_for_the_pump_where_it_needs_it(struct fixture *f)
{
	struct channel *c = f->channel;
	struct wait_group group;
	struct ready_look r = {.c = c};
	struct message_views seen;
	struct err err;
	put(f->topic, 0, 4);
	wait_for(channel_depth(c) == 4);
	gate_init(&pump_gate);
	wait_group_init(&group);
	go(&group, visit_and_hold, c);
	wait_for(pump_gate.arrived == 1);
	go(&group, look_at_ready, &r);
	/* What needs no pump goes on. */
	put_in_flight(c, 10, 1, 1, NSEC_PER_SEC);
	seen = look(c, CHANNEL_IN_FLIGHT, 1);
	message_views_free(&seen);
	message_views_init(&seen, 10, 4);
	assert_true(channel_peek(c, CHANNEL_READY, false, true, &seen, &err));
	message_views_free(&seen);
	stays(!r.ended);
	chan_close(pump_gate.open);
	join(&group);
	assert_true(r.ended);
	wait_group_destroy(&group);
	chan_free(pump_gate.open);
}

/* The pump may be told to end while others come to it: each gets an answer. */
static void test_looks_while_channels_end(struct fixture *f)
{
	for (int i = 0; i < 50; i++) {
		struct channel *c = channel_ref(get_channel(f->topic, "short"));
		struct wait_group group;
		struct err err;
		gate_init(&pump_gate);
		wait_group_init(&group);
		go(&group, visit_and_hold, c);
		wait_for(pump_gate.arrived == 1);
		chan_close(pump_gate.open);
		assert_int_equal(topic_delete_existing_channel(f->topic, "short", &err), 0);
		assert_false(channel_visit_pump(c, hold_pump, NULL));
		join(&group);
		wait_group_destroy(&group);
		chan_free(pump_gate.open);
		channel_unref(c);
	}
}

static void take_all(void *arg)
{
	struct channel *c = arg;
	struct message *m[16];
	for (size_t n = 0, k; n < 2000; n += k) {
		k = take_within(c, m, COUNT(m), PATIENCE);
		CHECK(k > 0);
		channel_start_in_flight_timeout(c, m, k, 1, 60 * NSEC_PER_SEC);
	}
}

/* Nothing is seen twice, and all is there at the end. */
static void test_looks_while_messages_go_their_way(struct fixture *f)
{
	struct channel *c = f->channel;
	struct wait_group group;
	wait_group_init(&group);
	go(&group, take_all, c);
	for (uint32_t i = 0; i < 2000; i += 50) {
		put(f->topic, i, 50);
		for (int state = CHANNEL_READY; state <= CHANNEL_DEFERRED; state++) {
			struct message_views seen;
			struct err err;
			message_views_init(&seen, 300, 4);
			assert_true(channel_peek(
				c, (enum channel_state)state, true, true, &seen, &err));
			for (size_t k = 0; k < seen.n; k++)
				assert_int_equal(
					message_views_find(&seen, seen.v[k].id, seen.n), k);
			message_views_free(&seen);
		}
	}
	join(&group);
	assert_int_equal(channel_in_flight_count(c), 2000);
	wait_for(
		channel_depth(c) == 0); /* the disk queue learns a little later what was received */
	wait_group_destroy(&group);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		channel_test_with(test_the_pumps_batch_comes_first_then_memory_then_disk,
			.mem_queue_size = 2),
		channel_test(test_one_of_the_batch_is_finished_or_comes_back),
		channel_test_with(test_a_batch_from_disk_is_done_when_all_of_it_is,
			.mem_queue_size = 0, .adjust = no_memory_queue),
		channel_test_with(test_what_is_kept_is_seen_and_dealt_with, .mem_queue_size = 2),
		channel_test(test_in_flight_and_deferred_by_deadline),
		channel_test(test_many_in_flight_are_each_seen_once),
		channel_test(test_a_body_outlives_its_message),
		channel_test(test_an_exit_ends_it),
		channel_test(test_a_look_waits_for_the_pump_where_it_needs_it),
		channel_test(test_looks_while_channels_end),
		channel_test_with(test_looks_while_messages_go_their_way, .mem_queue_size = 20),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
