/* SPDX-License-Identifier: MIT */
/*
 * queue_scan: what is due is found soon, in however many channels, by as many workers as are right.
 */
#include "test/unit/nsqd_test.h"

#include <errno.h>

#include "common/gothread_internal.h"
#include "nsqd/queue/queue_scan.h"

static void scan_every(struct options *o, int64_t interval_ns)
{
	o->queue_scan_interval = interval_ns;
	o->queue_scan_refresh_interval = 3600 * NSEC_PER_SEC; /* it must hear of changes itself */
	o->queue_scan_worker_pool_max = 4;
}

static void scan_often(struct options *o)
{
	scan_every(o, NSEC_PER_MSEC);
}

static void scan_very_often(struct options *o)
{
	scan_every(o, NSEC_PER_MSEC / 10);
}

static void scan_seldom(struct options *o)
{
	scan_every(o, 20 * NSEC_PER_MSEC);
}

#define scan_test(f, how) channel_test_with(f, .mem_queue_size = 100, .adjust = how, .runs = true)

static void count_worker(void *arg, const char *name, int tid)
{
	*(size_t *)arg += strcmp(name, "scan-worker") == 0;
}

static size_t workers(void)
{
	size_t n = 0;
	gothread_each(count_worker, &n);
	return n;
}

static void test_a_message_times_out_after_its_timeout_and_not_before(struct fixture *f)
{
	struct channel *c = f->channel;
	int64_t deadline = clock_mono_ns() + 30 * NSEC_PER_MSEC;
	put_in_flight(c, 0, 10, 1, 30 * NSEC_PER_MSEC);
	wait_for(c->timeout_count > 0);
	assert_true(clock_mono_ns() >= deadline);
	wait_for(c->timeout_count == 10);
	expect_each_once(c, 0, 10);
}

static void test_a_deferred_message_comes_after_its_delay(struct fixture *f)
{
	struct channel *c = f->channel;
	int64_t deadline = clock_mono_ns() + 30 * NSEC_PER_MSEC;
	channel_put_message_deferred(c, new_message(0), 30 * NSEC_PER_MSEC);
	expect_in_order(c, 0, 1);
	assert_true(clock_mono_ns() >= deadline);
	assert_int_equal(channel_deferred_count(c), 0);
	assert_int_equal(c->timeout_count, 0);
}

static void test_a_channel_that_is_made_later_is_scanned_as_well(struct fixture *f)
{
	struct topic *t = f->topic;
	for (int i = 0; i < 5; i++) {
		char name[32];
		snprintf(name, sizeof(name), "ch%d", i);
		struct channel *c = get_channel(t, name);
		put_in_flight(c, 0, 1, 1, 1);
		wait_for(c->timeout_count == 1);
	}
}

static void test_one_due_message_among_many_quiet_channels_does_not_wait_for_luck(struct fixture *f)
{
	struct topic *t = f->topic;
	struct channel *c = NULL;
	for (int i = 0; i < ROUNDS(200); i++) {
		char name[32];
		snprintf(name, sizeof(name), "ch%d#ephemeral", i);
		c = get_channel(t, name);
	}
	/* By dice, 20 of 200, each would take ten turns of 20 ms: 2 s for all of them. */
	for (int i = 0; i < 10; i++) {
		put_in_flight(c, 0, 1, 1, 1);
		wait_for(c->timeout_count == (uint64_t)i + 1);
	}
}

static void test_all_of_many_channels_get_their_turn(struct fixture *f)
{
	struct topic *t = f->topic;
	struct channel *c[60];
	for (size_t i = 0; i < COUNT(c); i++) {
		char name[32];
		snprintf(name, sizeof(name), "ch%zu#ephemeral", i);
		c[i] = get_channel(t, name);
		put_in_flight(c[i], 0, 5, 1, NSEC_PER_MSEC);
		channel_put_message_deferred(c[i], new_message(5), NSEC_PER_MSEC);
	}
	for (size_t i = 0; i < COUNT(c); i++)
		wait_for(channel_depth(c[i]) == 6 && c[i]->timeout_count == 5);
}

static void test_the_pool_is_a_quarter_of_the_channels_within_its_bounds(struct fixture *f)
{
	static const struct {
		int pool_max;
		size_t channels, want;
	} cases[] = {{4, 0, 1}, {4, 7, 1}, {4, 8, 2}, {4, 12, 3}, {4, 40, 4}, {1, 40, 1}};

	for (size_t i = 0; i < COUNT(cases); i++) {
		struct options *o = quiet_options();
		scan_often(o);
		o->mem_queue_size = 100;
		o->queue_scan_worker_pool_max = cases[i].pool_max;
		start_nsqd_with(f, o);
		run_nsqd(f);
		struct topic *t = get_topic(f->nsqd, "test");
		for (size_t k = 0; k < cases[i].channels; k++) {
			char name[32];
			snprintf(name, sizeof(name), "ch%zu", k);
			get_channel(t, name);
		}
		wait_for(workers() == cases[i].want);
		/*
		 * It shrinks again. A deletion is heard of when it begins, so it takes one more
		 * change.
		 */
		struct err err;
		assert_int_equal(nsqd_delete_existing_topic(&f->nsqd->topics, "test", &err), 0);
		get_channel(get_topic(f->nsqd, "other"), "ch");
		wait_for(workers() == 1);
		end_nsqd(f);
		assert_int_equal(workers(), 0);
	}
}

static _Atomic bool no_threads;

static int create_unless(pthread_t *t, const pthread_attr_t *a, void *(*fn)(void *), void *arg)
{
	return no_threads ? EAGAIN : pthread_create(t, a, fn, arg);
}

static void scan_without_threads(void *arg)
{
	no_threads = true;
	nsqd_queue_scan_loop(&((struct nsqd *)arg)->topics);
}

static void scan_every_ms(struct options *o)
{
	o->queue_scan_interval = NSEC_PER_MSEC;
}

static void test_without_a_thread_for_a_worker_the_loop_does_the_work(struct fixture *f)
{
	struct nsqd *n = f->nsqd;
	struct channel *c = f->channel;
	struct wait_group wg;
	gothread_create = create_unless;
	wait_group_init(&wg);
	go(&wg, scan_without_threads, n); /* just the loop */
	put_in_flight(c, 0, 3, 1, 1);
	channel_put_message_deferred(c, new_message(3), 1);
	wait_for(channel_depth(c) == 4);
	assert_int_equal(workers(), 0);
	nsqd_exit(n);
	join(&wg);
	free_nsqd(f);
	no_threads = false;
	gothread_create = pthread_create;
}

static void test_a_channel_may_be_deleted_while_it_is_scanned(struct fixture *f)
{
	struct topic *t = f->topic;
	struct err err;
	for (int i = 0; i < ROUNDS(100); i++) {
		struct channel *c = get_channel(t, "ch");
		put_in_flight(c, 0, 50, 1, 1);
		channel_put_message_deferred(c, new_message(50), 1);
		if (i % 2 != 0)
			wait_for(c->timeout_count > 0);
		assert_int_equal(topic_delete_existing_channel(t, "ch", &err), 0);
	}
}

static size_t buckets_of(struct channel *c)
{
	mutex_lock(&c->in_flight_lock);
	mutex_lock(&c->deferred_lock);
	size_t n = c->in_flight.n_buckets + c->deferred.n_buckets;
	mutex_unlock(&c->deferred_lock);
	mutex_unlock(&c->in_flight_lock);
	return n;
}

static void refresh_often(struct options *o)
{
	o->queue_scan_interval = NSEC_PER_MSEC;
	o->queue_scan_refresh_interval = 5 * NSEC_PER_MSEC;
}

static void test_a_burst_costs_no_memory_for_ever(struct fixture *f)
{
	struct channel *c = f->channel;
	put_in_flight(c, 0, 500, 1, NSEC_PER_MSEC);
	for (uint32_t i = 500; i < 1000; i++)
		channel_put_message_deferred(c, new_message(i), NSEC_PER_MSEC);
	assert_true(buckets_of(c) >= 1000);
	run_nsqd(f);
	wait_for(buckets_of(c) == 0);
	assert_int_equal(channel_depth(c), 1000);
}

static void test_at_exit_nothing_that_times_out_is_lost(struct fixture *f)
{
	for (int i = 0; i < ROUNDS(20) + 1; i++) {
		struct options *o = quiet_options();
		scan_very_often(o);
		o->mem_queue_size = 100;
		start_nsqd_with(f, o);
		run_nsqd(f);
		struct channel *c = get_channel(get_topic(f->nsqd, "test"), "ch");
		struct err err;
		put_in_flight(c, 0, 200, 1, NSEC_PER_MSEC);
		for (uint32_t k = 200; k < 300; k++)
			channel_put_message_deferred(c, new_message(k), NSEC_PER_MSEC);
		sleep_ns(NSEC_PER_MSEC * (i % 3));
		end_nsqd(f);

		start_nsqd(f, 100);
		assert_int_equal(nsqd_load_metadata(&f->nsqd->metadata, &err), 0);
		c = get_channel(get_topic(f->nsqd, "test"), "ch");
		assert_int_equal(channel_depth(c), 300);
		expect_each_once(c, 0, 300);
		end_nsqd(f);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		scan_test(test_a_message_times_out_after_its_timeout_and_not_before, scan_often),
		scan_test(test_a_deferred_message_comes_after_its_delay, scan_often),
		scan_test(test_a_channel_that_is_made_later_is_scanned_as_well, scan_often),
		scan_test(test_one_due_message_among_many_quiet_channels_does_not_wait_for_luck,
			scan_seldom),
		scan_test(test_all_of_many_channels_get_their_turn, scan_often),
		dir_test(test_the_pool_is_a_quarter_of_the_channels_within_its_bounds),
		channel_test_with(test_without_a_thread_for_a_worker_the_loop_does_the_work,
			.mem_queue_size = 100, .adjust = scan_every_ms),
		scan_test(test_a_channel_may_be_deleted_while_it_is_scanned, scan_very_often),
		channel_test_with(test_a_burst_costs_no_memory_for_ever, .mem_queue_size = 1000,
			.adjust = refresh_often),
		dir_test(test_at_exit_nothing_that_times_out_is_lost),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
