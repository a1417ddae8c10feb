/* SPDX-License-Identifier: MIT */
/*
 * queue_scan: what is due is found soon, in however many channels, by as many workers as are right.
 */
#include "test/unit/nsqd_test.h"

#include <errno.h>

#include "common/gothread_internal.h"
#include "nsqd/queue/queue_scan.h"

/* A daemon whose loops run, and whose scan loop is in a hurry. */
static struct nsqd *scanning_nsqd(int64_t interval_ns, int pool_max)
{
	struct options *o = quiet_options();
	struct nsqd *n;
	struct err err = {0};

	o->mem_queue_size = 100;
	o->queue_scan_interval = interval_ns;
	o->queue_scan_refresh_interval = 3600 * NSEC_PER_SEC; /* it must hear of changes itself */
	o->queue_scan_worker_pool_max = pool_max;
	n = new_nsqd(o);
	if (nsqd_main(n, &err) != 0)
		fail_msg("nsqd_main: %s", err.msg);
	return n;
}

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

static void test_a_message_times_out_after_its_timeout_and_not_before(void **state)
{
	struct nsqd *n = scanning_nsqd(NSEC_PER_MSEC, 4);
	struct channel *c = get_channel(get_topic(n, "test"), "ch");
	int64_t deadline = clock_mono_ns() + 30 * NSEC_PER_MSEC;

	put_in_flight(c, 0, 10, 1, 30 * NSEC_PER_MSEC);
	wait_for(c->timeout_count > 0);
	assert_true(clock_mono_ns() >= deadline);
	wait_for(c->timeout_count == 10);
	expect_each_once(c, 0, 10);
	exit_nsqd(n);
}

static void test_a_deferred_message_comes_after_its_delay(void **state)
{
	struct nsqd *n = scanning_nsqd(NSEC_PER_MSEC, 4);
	struct channel *c = get_channel(get_topic(n, "test"), "ch");
	int64_t deadline = clock_mono_ns() + 30 * NSEC_PER_MSEC;

	channel_put_message_deferred(c, new_message(0), 30 * NSEC_PER_MSEC);
	expect_in_order(c, 0, 1);
	assert_true(clock_mono_ns() >= deadline);
	assert_int_equal(channel_deferred_count(c), 0);
	assert_int_equal(c->timeout_count, 0);
	exit_nsqd(n);
}

static void test_a_channel_that_is_made_later_is_scanned_as_well(void **state)
{
	struct nsqd *n = scanning_nsqd(NSEC_PER_MSEC, 4);
	struct topic *t = get_topic(n, "test");

	for (int i = 0; i < 5; i++) {
		char name[32];
		struct channel *c;

		snprintf(name, sizeof(name), "ch%d", i);
		c = get_channel(t, name);
		put_in_flight(c, 0, 1, 1, 1);
		wait_for(c->timeout_count == 1);
	}
	exit_nsqd(n);
}

static void test_one_due_message_among_many_quiet_channels_does_not_wait_for_luck(void **state)
{
	struct nsqd *n = scanning_nsqd(20 * NSEC_PER_MSEC, 4);
	struct topic *t = get_topic(n, "test");
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
	exit_nsqd(n);
}

static void test_all_of_many_channels_get_their_turn(void **state)
{
	struct nsqd *n = scanning_nsqd(NSEC_PER_MSEC, 4);
	struct topic *t = get_topic(n, "test");
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
	exit_nsqd(n);
}

static void test_the_pool_is_a_quarter_of_the_channels_within_its_bounds(void **state)
{
	static const struct {
		int pool_max;
		size_t channels, want;
	} cases[] = {{4, 0, 1}, {4, 7, 1}, {4, 8, 2}, {4, 12, 3}, {4, 40, 4}, {1, 40, 1}};

	for (size_t i = 0; i < COUNT(cases); i++) {
		struct nsqd *n = scanning_nsqd(NSEC_PER_MSEC, cases[i].pool_max);
		struct topic *t = get_topic(n, "test");

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
		assert_int_equal(nsqd_delete_existing_topic(&n->topics, "test", &err), 0);
		get_channel(get_topic(n, "other"), "ch");
		wait_for(workers() == 1);
		exit_nsqd(n);
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

static void test_without_a_thread_for_a_worker_the_loop_does_the_work(void **state)
{
	struct options *o = quiet_options();
	struct nsqd *n;
	struct channel *c;
	struct wait_group wg;

	o->queue_scan_interval = NSEC_PER_MSEC;
	n = new_nsqd(o);
	c = get_channel(get_topic(n, "test"), "ch");
	gothread_create = create_unless;
	wait_group_init(&wg);
	go(&wg, scan_without_threads, n); /* just the loop */
	put_in_flight(c, 0, 3, 1, 1);
	channel_put_message_deferred(c, new_message(3), 1);
	wait_for(channel_depth(c) == 4);
	assert_int_equal(workers(), 0);
	nsqd_exit(n);
	join(&wg);
	nsqd_free(n);
	no_threads = false;
	gothread_create = pthread_create;
}

static void test_a_channel_may_be_deleted_while_it_is_scanned(void **state)
{
	struct nsqd *n = scanning_nsqd(NSEC_PER_MSEC / 10, 4);
	struct topic *t = get_topic(n, "test");
	struct err err;

	for (int i = 0; i < ROUNDS(100); i++) {
		struct channel *c = get_channel(t, "ch");

		put_in_flight(c, 0, 50, 1, 1);
		channel_put_message_deferred(c, new_message(50), 1);
		if (i % 2)
			wait_for(c->timeout_count > 0);
		assert_int_equal(topic_delete_existing_channel(t, "ch", &err), 0);
	}
	exit_nsqd(n);
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

static void test_a_burst_costs_no_memory_for_ever(void **state)
{
	struct options *o = quiet_options();
	struct nsqd *n;
	struct channel *c;
	struct err err;

	o->mem_queue_size = 1000;
	o->queue_scan_interval = NSEC_PER_MSEC;
	o->queue_scan_refresh_interval = 5 * NSEC_PER_MSEC;
	n = new_nsqd(o);
	c = get_channel(get_topic(n, "test"), "ch");
	put_in_flight(c, 0, 500, 1, NSEC_PER_MSEC);
	for (uint32_t i = 500; i < 1000; i++)
		channel_put_message_deferred(c, new_message(i), NSEC_PER_MSEC);
	assert_true(buckets_of(c) >= 1000);
	assert_int_equal(nsqd_main(n, &err), 0);
	wait_for(buckets_of(c) == 0);
	assert_int_equal(channel_depth(c), 1000);
	exit_nsqd(n);
}

static void test_at_exit_nothing_that_times_out_is_lost(void **state)
{
	for (int i = 0; i < ROUNDS(20) + 1; i++) {
		struct nsqd *n = scanning_nsqd(NSEC_PER_MSEC / 10, 4);
		struct channel *c = get_channel(get_topic(n, "test"), "ch");
		struct err err;

		put_in_flight(c, 0, 200, 1, NSEC_PER_MSEC);
		for (uint32_t k = 200; k < 300; k++)
			channel_put_message_deferred(c, new_message(k), NSEC_PER_MSEC);
		sleep_ns(NSEC_PER_MSEC * (i % 3));
		exit_nsqd(n);

		n = idle_nsqd(100);
		assert_int_equal(nsqd_load_metadata(&n->metadata, &err), 0);
		c = get_channel(get_topic(n, "test"), "ch");
		assert_int_equal(channel_depth(c), 300);
		expect_each_once(c, 0, 300);
		exit_nsqd(n);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		nsqd_test(test_a_message_times_out_after_its_timeout_and_not_before),
		nsqd_test(test_a_deferred_message_comes_after_its_delay),
		nsqd_test(test_a_channel_that_is_made_later_is_scanned_as_well),
		nsqd_test(test_one_due_message_among_many_quiet_channels_does_not_wait_for_luck),
		nsqd_test(test_all_of_many_channels_get_their_turn),
		nsqd_test(test_the_pool_is_a_quarter_of_the_channels_within_its_bounds),
		nsqd_test(test_without_a_thread_for_a_worker_the_loop_does_the_work),
		nsqd_test(test_a_channel_may_be_deleted_while_it_is_scanned),
		nsqd_test(test_a_burst_costs_no_memory_for_ever),
		nsqd_test(test_at_exit_nothing_that_times_out_is_lost),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
