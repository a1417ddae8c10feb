/* SPDX-License-Identifier: MIT */
/*
 * queue_scan: what is due is found in time, in however many channels, by as many workers as are
 * right, and without a look too many.
 */
#include "test/unit/nsqd_test.h"

#include <errno.h>
#include <inttypes.h>

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

/* What the loop does not hear of comes when no test waits any more. */
static void scan_never(struct options *o)
{
	scan_every(o, 3600 * NSEC_PER_SEC);
}

static void scan_never_and_select_one(struct options *o)
{
	scan_never(o);
	o->queue_scan_selection_count = 1;
}

/* Memory is too small for the loop: the workers have to do all. */
#define scan_test(f, how) channel_test_with(f, .mem_queue_size = 100, .adjust = how, .runs = true)
/* What is quick the loop does itself. */
#define quick_test(f, how)                                                                         \
	channel_test_with(f, .mem_queue_size = 4 * DUE_BATCH, .adjust = how, .runs = true)

/* Ten messages time out, when they are due. */
static void expect_timeouts(struct channel *c)
{
	int64_t deadline = clock_mono_ns() + 30 * NSEC_PER_MSEC;
	put_in_flight(c, 0, 10, 1, 30 * NSEC_PER_MSEC);
	wait_for(c->timeout_count > 0);
	assert_true(clock_mono_ns() >= deadline);
	wait_for(c->timeout_count == 10);
	expect_each_once(c, 0, 10);
}

static void test_a_message_times_out_after_its_timeout_and_not_before(struct fixture *f)
{
	expect_timeouts(f->channel);
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
	gothread_kept_max = 0;
	gothread_drain();
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
	gothread_kept_max = GOTHREAD_KEPT_MAX;
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

/* --- exact, whatever the interval ----------------------------------------------------------- */

static void test_the_loop_waits_for_a_timeout_and_not_for_its_interval(struct fixture *f)
{
	expect_timeouts(f->channel);
}

static void test_the_loop_waits_for_a_delay_and_not_for_its_interval(struct fixture *f)
{
	struct channel *c = f->channel;
	struct err err;
	int64_t deadline = clock_mono_ns() + 10 * NSEC_PER_MSEC;
	channel_put_message_deferred(c, new_message(0), 10 * NSEC_PER_MSEC);
	expect_in_order(c, 0, 1);
	assert_true(clock_mono_ns() >= deadline);
	/* A REQ. */
	put_in_flight(c, 1, 1, 1, 3600 * NSEC_PER_SEC);
	deadline = clock_mono_ns() + 10 * NSEC_PER_MSEC;
	assert_int_equal(channel_requeue_message(c, 1, id_of(1), 10 * NSEC_PER_MSEC, &err), 0);
	expect_in_order(c, 1, 1);
	assert_true(clock_mono_ns() >= deadline);
}

static void test_what_is_due_earlier_than_the_loop_waits_for_is_heard_of(struct fixture *f)
{
	struct channel *c = f->channel, *other = get_channel(f->topic, "other");
	channel_put_message_deferred(c, new_message(9), 1800 * NSEC_PER_SEC);
	for (uint32_t i = 0; i < 20; i++) {
		channel_put_message_deferred(other, new_message(i), 1700 * NSEC_PER_SEC);
		/* In a channel that is queued, and in one that would be due later. */
		channel_put_message_deferred(c, new_message(i), i * NSEC_PER_MSEC / 10);
		expect_in_order(c, i, 1);
		channel_put_message_deferred(other, new_message(1000 + i), i * NSEC_PER_MSEC / 10);
		expect_in_order(other, 1000 + i, 1);
	}
	assert_int_equal(channel_deferred_count(c), 1);
	assert_int_equal(channel_deferred_count(other), 20);
}

static void test_when_the_first_is_answered_in_time_the_loop_waits_for_the_next(struct fixture *f)
{
	struct channel *c = f->channel;
	const char *why;
	struct message_id id = id_of(0);
	int64_t deadline = clock_mono_ns() + 40 * NSEC_PER_MSEC;
	put_in_flight(c, 0, 1, 1, 20 * NSEC_PER_MSEC);
	put_in_flight(c, 1, 1, 1, 40 * NSEC_PER_MSEC);
	size_t answered = channel_finish_messages(c, 1, &id, 1, &why);
	wait_for(c->timeout_count == 2 - answered);
	assert_true(clock_mono_ns() >= deadline);
}

static void test_many_channels_that_are_due_at_once_are_all_looked_at(struct fixture *f)
{
	struct channel *c[30];
	for (size_t i = 0; i < COUNT(c); i++) {
		char name[32];
		snprintf(name, sizeof(name), "ch%zu#ephemeral", i);
		c[i] = get_channel(f->topic, name);
	}
	/* Again and again: the loop has nothing else that would wake it. */
	for (uint64_t round = 1; round <= 5; round++) {
		for (size_t i = 0; i < COUNT(c); i++)
			put_in_flight(c[i], (uint32_t)round, 1, 1, 5 * NSEC_PER_MSEC);
		for (size_t i = 0; i < COUNT(c); i++)
			wait_for(c[i]->timeout_count == round);
	}
}

/* --- and no look too many --------------------------------------------------------------------- */

/* What a thread has cost so far: how often it has gone to sleep, and its processor time. */
struct cost {
	const char *name; /* of the thread */
	int tid;
	int64_t at_ns;
	long sleeps;
	int64_t cpu_ns;
};

static void find_thread(void *arg, const char *name, int tid)
{
	struct cost *c = arg;
	if (strcmp(name, c->name) == 0)
		c->tid = tid;
}

static FILE *open_of_thread(const struct cost *c, const char *what)
{
	char path[128];
	snprintf(path, sizeof(path), "/proc/self/task/%d/%s", c->tid, what);
	FILE *file = fopen(path, "r");
	assert_non_null(file);
	return file;
}

static struct cost cost_of(const char *name)
{
	struct cost c = {.name = name, .at_ns = clock_mono_ns(), .sleeps = -1};
	char line[128];
	wait_for((gothread_each(find_thread, &c), c.tid != 0));
	FILE *file = open_of_thread(&c, "status");
	while (fgets(line, sizeof(line), file))
		(void)sscanf(line, "voluntary_ctxt_switches: %ld", &c.sleeps);
	fclose(file);
	assert_true(c.sleeps >= 0);
	file = open_of_thread(&c, "schedstat");
	assert_int_equal(fscanf(file, "%" SCNd64, &c.cpu_ns), 1);
	fclose(file);
	return c;
}

/* It may have heard of channels that came, and it may find a lock taken. */
enum { FEW = 10 };

/* Since then the thread has slept, but for so many moments. */
static void expect_cheap(struct cost before, int64_t moments)
{
	struct cost after = cost_of(before.name);
	assert_in_range(after.sleeps - before.sleeps, 0, moments);
	/* One that does not sleep at all takes all that the machine gives. */
	assert_true(after.cpu_ns - before.cpu_ns <= (after.at_ns - before.at_ns) / 2);
}

static void sleeps_on(int64_t ns)
{
	struct cost before = cost_of("scan");
	sleep_ns(ns);
	expect_cheap(before, FEW);
}

static void test_a_loop_with_nothing_due_sleeps(struct fixture *f)
{
	struct channel *c = f->channel;
	sleeps_on(A_WHILE);
	put_in_flight(c, 0, 1, 1, 1800 * NSEC_PER_SEC);
	put_in_flight(c, 1, 1, 1, INT64_MAX); /* beyond the end of time */
	channel_put_message_deferred(c, new_message(2), INT64_MAX);
	sleeps_on(A_WHILE);
}

static void test_a_touch_costs_the_loop_one_look(struct fixture *f)
{
	struct channel *c = f->channel;
	struct err err;
	put_in_flight(c, 0, 1, 1, 10 * NSEC_PER_MSEC);
	if (channel_touch_message(c, 1, id_of(0), 600 * NSEC_PER_SEC, &err) != 0)
		return; /* on a machine that has no time: it has come back already */
	sleeps_on(10 * NSEC_PER_MSEC + A_WHILE);
	assert_int_equal(c->timeout_count, 0);
	assert_int_equal(channel_in_flight_count(c), 1);
}

static void test_messages_that_are_answered_in_time_cost_the_loop_nothing(struct fixture *f)
{
	struct channel *c = f->channel;
	const char *why;
	put_in_flight(c, 0, 1, 1, 1000 * NSEC_PER_SEC); /* the loop waits for this one */
	wait_for(c->deadline.state == DEADLINE_QUEUED);
	sleep_ns(A_WHILE);
	struct cost before = cost_of("scan");
	for (uint32_t i = 1; i < 1000; i++) {
		struct message_id id = id_of(i);
		put_in_flight(c, i, 1, 1, 1000 * NSEC_PER_SEC);
		assert_int_equal(channel_finish_messages(c, 1, &id, 1, &why), 1);
	}
	expect_cheap(before, FEW);
}

static void test_messages_that_are_due_close_together_share_a_look(struct fixture *f)
{
	enum { CHANNELS = 20, N = 2000 };
	struct channel *c[CHANNELS];
	for (size_t i = 0; i < CHANNELS; i++) {
		char name[32];
		snprintf(name, sizeof(name), "ch%zu#ephemeral", i);
		c[i] = get_channel(f->topic, name);
	}
	struct cost before = cost_of("scan");
	for (uint32_t i = 0; i < N; i++)
		channel_put_message_deferred(c[i % CHANNELS], new_message(i),
			10 * NSEC_PER_MSEC + i * 10 * NSEC_PER_USEC);
	for (size_t i = 0; i < CHANNELS; i++)
		wait_for(channel_deferred_count(c[i]) == 0);
	/* It looks, and it rests. */
	expect_cheap(before, FEW + 2 * (clock_mono_ns() - before.at_ns) / DEADLINES_GRAIN);
}

static void test_a_message_alone_wakes_no_worker(struct fixture *f)
{
	struct channel *c = f->channel;
	struct cost before = cost_of("scan-worker");
	for (uint32_t i = 0; i < 50; i++) {
		put_in_flight(c, i, 1, 1, NSEC_PER_MSEC);
		wait_for(c->timeout_count == i + 1);
		channel_put_message_deferred(c, new_message(100 + i), NSEC_PER_MSEC);
		wait_for(channel_deferred_count(c) == 0);
	}
	/* It may just have been started. */
	expect_cheap(before, 2);
	/* The last one may be on its way. */
	wait_for(channel_depth(c) == 100);
}

static void test_many_messages_go_to_a_worker(struct fixture *f)
{
	struct channel *c = f->channel;
	struct cost before = cost_of("scan-worker");
	struct message *m[500];
	for (uint32_t i = 0; i < COUNT(m); i++)
		m[i] = new_message(i);
	/* All of one deadline. */
	channel_start_in_flight_timeout(c, m, COUNT(m), 1, 100 * NSEC_PER_MSEC);
	wait_for(c->timeout_count == COUNT(m));
	wait_for(cost_of("scan-worker").sleeps > before.sleeps);
	expect_in_order(c, 0, COUNT(m));
}

/* --- disks that are slow, or refuse ------------------------------------------------------- */

static void test_a_channel_whose_disk_is_slow_does_not_hold_up_the_others(struct fixture *f)
{
	struct gate g;
	struct channel *c[8]; /* two workers */
	gate_init(&g);
	for (size_t i = 0; i < COUNT(c); i++) {
		char name[32];
		snprintf(name, sizeof(name), "ch%zu", i);
		c[i] = get_channel(f->topic, name);
	}
	wait_for(workers() == 2);
	make_channel_faulty(c[0])->put_gate = &g;
	put_in_flight(c[0], 0, 1, 1, 1);
	wait_for(g.arrived == 1);
	for (size_t i = 1; i < COUNT(c); i++) {
		put_in_flight(c[i], 0, 1, 1, 1);
		wait_for(c[i]->timeout_count == 1);
	}
	assert_int_equal(g.arrived, 1);
	chan_close(g.open);
	wait_for(channel_depth(c[0]) == 1);
	end_nsqd(f);
	chan_free(g.open);
}

/* c has been taken, and the loop sleeps again: so c waits for a worker, or has one. */
static bool is_handed_out(struct channel *c)
{
	struct deadlines *d = &c->ctx->deadlines;
	mutex_lock(&d->lock);
	bool res = c->deadline.state == DEADLINE_TAKEN && d->earlier_than_ns != INT64_MIN;
	mutex_unlock(&d->lock);
	return res;
}

static void test_a_channel_with_much_to_do_lets_others_pass(struct fixture *f)
{
	struct channel *c = f->channel, *other = get_channel(f->topic, "other");
	struct gate g, other_gate;
	gate_init(&g);
	gate_init(&other_gate);
	make_channel_faulty(c)->put_gate = &g;
	make_channel_faulty(other)->put_gate = &other_gate;
	for (uint32_t i = 0; i < 10 * DUE_BATCH; i++)
		channel_put_message_deferred(c, new_message(i), 20 * NSEC_PER_MSEC);
	/* The only worker has the first of them. */
	wait_for(g.arrived == 1);
	channel_put_message_deferred(other, new_message(0), 1);
	wait_for(is_handed_out(other));
	chan_close(g.open);
	wait_for(other_gate.arrived == 1);
	assert_int_equal(g.arrived, 1);
	chan_close(other_gate.open);
	wait_for(channel_depth(c) == 10 * DUE_BATCH && channel_depth(other) == 1);
	end_nsqd(f);
	chan_free(g.open);
	chan_free(other_gate.open);
}

static void test_what_the_disk_refuses_is_not_tried_without_a_pause(struct fixture *f)
{
	struct channel *c = f->channel;
	struct faulty_queue *disk = make_channel_faulty(c);
	disk->allow = 0;
	int64_t start = clock_mono_ns();
	for (uint32_t i = 0; i < 3; i++)
		channel_put_message_deferred(c, new_message(i), NSEC_PER_MSEC);
	wait_for(disk->refused > 0);
	sleeps_on(A_WHILE);
	int refused = disk->refused;
	/* Each of the three at most once a second. */
	assert_in_range(refused, 1, 3 * (1 + (clock_mono_ns() - start) / NSEC_PER_SEC));
	/* (While one is tried it is neither here nor there.) */
	wait_for(channel_deferred_count(c) == 3);
	disk->allow = -1;
	wait_for(channel_depth(c) == 3);
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
	/* The last of them have left these queues, and may be on their way. */
	wait_for(channel_depth(c) == 1000);
}

static void test_what_is_due_after_the_exit_keeps_nothing_alive(struct fixture *f)
{
	struct err err;
	struct channel *gone = get_channel(f->topic, "gone");
	channel_put_message_deferred(f->channel, new_message(0), 1800 * NSEC_PER_SEC);
	channel_put_message_deferred(gone, new_message(1), 1800 * NSEC_PER_SEC);
	assert_int_equal(topic_delete_existing_channel(f->topic, "gone", &err), 0);
	end_nsqd(f); /* it frees all memory, or the sanitizer says what is left */
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
		scan_test(test_a_channel_may_be_deleted_while_it_is_scanned, scan_never),
		quick_test(test_a_channel_may_be_deleted_while_it_is_scanned, scan_never),
		channel_test_with(test_a_burst_costs_no_memory_for_ever, .mem_queue_size = 1000,
			.adjust = refresh_often),
		scan_test(test_the_loop_waits_for_a_timeout_and_not_for_its_interval, scan_never),
		scan_test(test_the_loop_waits_for_a_delay_and_not_for_its_interval, scan_never),
		scan_test(test_what_is_due_earlier_than_the_loop_waits_for_is_heard_of, scan_never),
		scan_test(test_when_the_first_is_answered_in_time_the_loop_waits_for_the_next,
			scan_never),
		scan_test(test_many_channels_that_are_due_at_once_are_all_looked_at, scan_never),
		scan_test(test_many_channels_that_are_due_at_once_are_all_looked_at,
			scan_never_and_select_one),
		scan_test(test_a_loop_with_nothing_due_sleeps, scan_never),
		scan_test(test_a_touch_costs_the_loop_one_look, scan_never),
		quick_test(test_the_loop_waits_for_a_timeout_and_not_for_its_interval, scan_never),
		quick_test(test_the_loop_waits_for_a_delay_and_not_for_its_interval, scan_never),
		quick_test(
			test_what_is_due_earlier_than_the_loop_waits_for_is_heard_of, scan_never),
		quick_test(test_when_the_first_is_answered_in_time_the_loop_waits_for_the_next,
			scan_never),
		quick_test(test_many_channels_that_are_due_at_once_are_all_looked_at, scan_never),
		quick_test(test_many_channels_that_are_due_at_once_are_all_looked_at,
			scan_never_and_select_one),
		quick_test(test_messages_that_are_due_close_together_share_a_look, scan_never),
		quick_test(test_a_message_alone_wakes_no_worker, scan_never),
		quick_test(test_many_messages_go_to_a_worker, scan_never),
		scan_test(
			test_messages_that_are_answered_in_time_cost_the_loop_nothing, scan_never),
		scan_test(test_messages_that_are_due_close_together_share_a_look, scan_never),
		channel_test_with(test_a_channel_whose_disk_is_slow_does_not_hold_up_the_others,
			.mem_queue_size = 0, .adjust = scan_never, .runs = true),
		channel_test_with(test_a_channel_with_much_to_do_lets_others_pass,
			.mem_queue_size = 0, .adjust = scan_never, .runs = true),
		channel_test_with(test_what_the_disk_refuses_is_not_tried_without_a_pause,
			.mem_queue_size = 0, .adjust = scan_never, .runs = true),
		scan_test(test_what_is_due_after_the_exit_keeps_nothing_alive, scan_never),
		dir_test(test_at_exit_nothing_that_times_out_is_lost),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
