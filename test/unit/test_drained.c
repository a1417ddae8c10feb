/* SPDX-License-Identifier: MIT */
/*
 * What a drain wants to know: the count of records over threads that come and go, what is empty,
 * what is left on its way, and the state that operators and main change.
 */
#include "test/unit/nsqd_test.h"

#include "nsqd/core/drain.h"
#include "nsqd/core/message_count.h"
#include "nsqd/life/draining.h"
#include "nsqd/queue/drained.h"

static uint64_t records(void)
{
	uint64_t freed = message_count_freed();
	return message_count_made() - freed;
}

/* --- the count ------------------------------------------------------------------------------ */

static void make_one(void *arg)
{
	*(struct message **)arg = new_message(1);
}

static void free_one(void *arg)
{
	message_unref(arg);
}

static void in_a_thread(void (*fn)(void *), void *arg)
{
	struct wait_group group;
	wait_group_init(&group);
	go(&group, fn, arg);
	join(&group);
	wait_group_destroy(&group);
	gothread_drain(); /* the thread ends, and its counts with it */
}

static void test_records_are_counted_over_threads(void **state)
{
	uint64_t before = records();
	struct message *m;
	in_a_thread(make_one, &m);
	assert_int_equal(records(), before + 1);
	struct message *copy = message_copy(m);
	message_ref(m);
	assert_int_equal(records(), before + 2);
	message_unref(m);
	assert_int_equal(records(), before + 2);
	in_a_thread(free_one, m);
	assert_int_equal(records(), before + 1);
	message_unref(copy);
	assert_int_equal(records(), before);
	message_body_unref(body_of(1)); /* a body without a record is no message yet */
	assert_int_equal(records(), before);
}

/* --- the state ------------------------------------------------------------------------------ */

static void test_the_state_of_a_drain(void **state)
{
	struct drain d;
	drain_init(&d);
	assert_false(drain_is_on(&d));
	assert_true(drain_request(&d, false));
	assert_int_equal(chan_len(d.changed_chan), 0); /* nothing has changed */
	assert_true(drain_request(&d, true));
	assert_int_equal(chan_len(d.changed_chan), 1);
	assert_true(drain_is_on(&d));
	uint64_t seen = atomic_load(&d.word);
	assert_true(drain_request(&d, true));
	assert_int_equal(atomic_load(&d.word), seen);
	/* Called off and begun anew is another one. */
	assert_true(drain_request(&d, false));
	assert_true(drain_request(&d, true));
	assert_false(drain_to_exit_from(&d, seen));
	assert_int_equal(drain_state_of(atomic_load(&d.word)), DRAIN_ON);
	assert_true(drain_to_exit_from(&d, atomic_load(&d.word)));
	assert_false(drain_request(&d, false));
	assert_true(drain_request(&d, true));
	assert_int_equal(drain_state_of(atomic_load(&d.word)), DRAIN_TO_EXIT);
	drain_destroy(&d);
}

/* --- what is left --------------------------------------------------------------------------- */

static struct drain_left look(struct fixture *f)
{
	struct drain_left left;
	drained_announce(&f->nsqd->topics, &left);
	return left;
}

/* Follows one message; wherever it is, the daemon has not been drained. */
static void test_a_message_is_seen_wherever_it_is(struct fixture *f)
{
	struct topics *ts = &f->nsqd->topics;
	assert_true(drained_all(ts));
	assert_int_equal(look(f).topics, 0);
	put(f->topic, 1, 1);
	assert_false(drained_all(ts));
	/* In nobody's queue: a consumer has it, and it is not in flight yet. */
	struct message *m = take_one(f->channel);
	wait_for(look(f).messages == 0);
	assert_false(drained_all(ts));
	struct message_id id = m->id;
	channel_start_in_flight_timeout(f->channel, &m, 1, 1, PATIENCE);
	assert_int_equal(look(f).messages, 1);
	assert_int_equal(look(f).topics, 1);
	assert_false(drained_all(ts));
	struct err err;
	assert_int_equal(channel_requeue_message(f->channel, 1, id, PATIENCE, &err), 0);
	assert_int_equal(look(f).messages, 1);
	assert_false(drained_all(ts));
	assert_int_equal(channel_empty(f->channel, &err), 0);
	assert_int_equal(look(f).messages, 0);
	assert_true(drained_all(ts));
}

/* On disk there is no record of it. */
static void test_a_message_on_disk_is_seen(struct fixture *f)
{
	put(f->topic, 1, 3);
	wait_for(channel_backend_depth(f->channel) == 3);
	wait_for(records() <= 1); /* the one that is read ahead */
	assert_false(drained_all(&f->nsqd->topics));
	wait_for(look(f).messages == 3); /* a look may be a moment old */
	expect_in_order(f->channel, 1, 3);
	wait_for(drained_all(&f->nsqd->topics));
}

static void test_what_is_empty_is_unregistered(struct fixture *f)
{
	struct channel *other = get_channel(f->topic, "other");
	struct topic *empty = get_topic(f->nsqd, "empty");
	assert_false(f->topic->unregistered);
	put(f->topic, 1, 1);
	assert_int_equal(take_seq(other), 1);
	wait_for(channel_depth(f->channel) == 1);
	wait_for(look(f).messages == 1);
	assert_true(empty->unregistered);
	assert_true(other->unregistered);
	assert_false(f->channel->unregistered);
	assert_false(f->topic->unregistered);
	/* One that comes back, or in: it is to be found. */
	put_in_flight(other, 2, 1, 1, PATIENCE);
	look(f);
	assert_false(other->unregistered);
	put(empty, 1, 1);
	look(f);
	assert_false(empty->unregistered);
	struct err err;
	assert_int_equal(topic_empty(empty, &err), 0);
	assert_int_equal(channel_empty(other, &err), 0);
	assert_int_equal(channel_empty(f->channel, &err), 0);
	wait_for(look(f).topics == 0);
	assert_true(f->topic->unregistered && f->channel->unregistered && other->unregistered);
	drained_announce_all(&f->nsqd->topics);
	assert_false(f->topic->unregistered || f->channel->unregistered);
	assert_false(other->unregistered || empty->unregistered);
}

/* --- main ----------------------------------------------------------------------------------- */

/* What main has not seen counts: a drain that is called off and begun anew has all its time again. */
static void test_each_drain_has_its_own_time(struct fixture *f)
{
	struct draining d;
	struct drain *state = &f->nsqd->ctx.drain;
	draining_init(&d, &f->nsqd->ctx, &f->nsqd->topics);
	put(f->topic, 1, 1);
	drain_request(state, true);
	draining_changed(&d);
	assert_false(draining_look(&d));
	d.begun_ns -= 3600 * NSEC_PER_SEC;
	drain_request(state, false);
	drain_request(state, true);
	draining_changed(&d);
	assert_false(draining_look(&d));
	/* SIGTERM makes it final, and no longer. */
	d.begun_ns -= 3600 * NSEC_PER_SEC;
	drain_to_exit(state);
	draining_changed(&d);
	assert_true(draining_look(&d));
}

/* --- puts ----------------------------------------------------------------------------------- */

static void test_no_message_is_taken(struct fixture *f)
{
	struct err err;
	assert_true(drain_request(&f->nsqd->ctx.drain, true));
	assert_int_equal(try_put(f->topic, 1, 3, &err), 0);
	assert_string_equal(err.msg, "draining");
	assert_int_equal(err.code, ERR_DRAINING);
	assert_int_equal(try_put(f->topic, 1, 600, &err), 0);
	assert_int_equal(topic_put_message_deferred(f->topic, body_of(1), PATIENCE, &err), -1);
	assert_string_equal(err.msg, "draining");
	assert_int_equal(err.code, ERR_DRAINING);
	assert_null(nsqd_get_topic(&f->nsqd->topics, "new", &err));
	assert_string_equal(err.msg, "draining");
	assert_int_equal(err.code, ERR_DRAINING);
	assert_true(drained_all(&f->nsqd->topics));
	assert_true(drain_request(&f->nsqd->ctx.drain, false));
	put(f->topic, 1, 1);
}

/* A list of which a part is queued, at a disk that waits. */
struct list {
	struct fixture *f;
	size_t done;
	struct err err;
	_Atomic bool ended;
};

static void put_list(void *arg)
{
	struct list *l = arg;
	l->done = try_put(l->f->topic, 1, 600, &l->err);
	l->ended = true;
}

static void await_puts(void *arg)
{
	struct list *l = arg;
	drained_await_puts(&l->f->nsqd->topics);
	l->ended = true;
}

static void test_a_list_that_is_begun_is_taken_whole(struct fixture *f)
{
	struct gate gate;
	struct list put = {.f = f}, wait = {.f = f};
	struct wait_group group, waiting;
	gate_init(&gate);
	struct faulty_queue *slow = make_topic_faulty(f->topic);
	topic_pause(f->topic);
	slow->put_gate = &gate;
	wait_group_init(&group);
	wait_group_init(&waiting);
	go(&group, put_list, &put);
	wait_for(gate.arrived == 1);
	assert_true(drain_request(&f->nsqd->ctx.drain, true));
	/* A drain is not at its end, whatever becomes of the first part; and it waits for the rest. */
	assert_false(drained_all(&f->nsqd->topics));
	go(&waiting, await_puts, &wait);
	assert_false(wait.ended);
	chan_close(gate.open);
	join(&group);
	join(&waiting);
	assert_int_equal(put.done, 600);
	assert_int_equal(topic_depth(f->topic), 600);
	slow->put_gate = NULL;
	chan_free(gate.open);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_records_are_counted_over_threads),
		cmocka_unit_test(test_the_state_of_a_drain),
		channel_test_with(
			test_a_message_is_seen_wherever_it_is, .mem_queue_size = 10, .polls = true),
		channel_test_with(test_a_message_on_disk_is_seen, .mem_queue_size = 0),
		channel_test(test_what_is_empty_is_unregistered),
		channel_test(test_each_drain_has_its_own_time),
		channel_test(test_no_message_is_taken),
		topic_test_with(test_a_list_that_is_begun_is_taken_whole, .mem_queue_size = 0),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
