/* SPDX-License-Identifier: MIT */
/* deadlines: what is due next is known, and the waiter is woken for that alone. */
#include "test/unit/helper.h"

#include <sched.h>

#include "common/deadlines.h"
#include "common/rand.h"

#define MS NSEC_PER_MSEC
#define HORIZON (1000 * MS)

/* A queue with that horizon. Times are the test's own: the module reads no clock. */
static void begin(struct deadlines *q)
{
	deadlines_init(q);
	deadlines_set_horizon(q, HORIZON);
}

/* Ends the queue, with all that is in it. */
static void end(struct deadlines *q)
{
	struct deadline *d;
	deadlines_set_horizon(q, INT64_MIN);
	while (deadlines_take(q, INT64_MAX, &d, 1) == 1)
		assert_false(deadlines_put_back(q, d, INT64_MAX));
	deadlines_destroy(q);
}

/* The waiter was told to look; it is told no more. */
static bool is_told(struct deadlines *q)
{
	return chan_try_recv_n(q->earlier_chan, NULL, 1, NULL) == 1;
}

static void test_what_is_due_is_taken_the_earliest_first(void **state)
{
	struct deadlines q;
	struct deadline d[5] = {0}, *v[5];
	static const int64_t due[] = {30 * MS, 10 * MS, 50 * MS, 20 * MS, 40 * MS};
	begin(&q);
	for (size_t i = 0; i < COUNT(d); i++)
		assert_true(deadlines_add(&q, &d[i], due[i]));
	assert_int_equal(deadlines_take(&q, 10 * MS - 1, v, COUNT(v)), 0);
	assert_int_equal(deadlines_take(&q, 45 * MS, v, 3), 3);
	assert_ptr_equal(v[0], &d[1]);
	assert_ptr_equal(v[1], &d[3]);
	assert_ptr_equal(v[2], &d[0]);
	/* There are more, so it takes them at once. */
	assert_int_equal(deadlines_take(&q, 45 * MS, v, 3), 1);
	assert_ptr_equal(v[0], &d[4]);
	assert_int_equal(deadlines_take(&q, 60 * MS, v, 3), 1);
	assert_ptr_equal(v[0], &d[2]);
	end(&q);
}

static void test_what_is_due_after_the_horizon_is_not_added(void **state)
{
	struct deadlines q;
	struct deadline d = {0}, *v;
	deadlines_init(&q);
	assert_false(deadlines_concern(&q, 0)); /* nobody waits yet */
	assert_false(deadlines_add(&q, &d, 0));
	deadlines_set_horizon(&q, HORIZON);
	assert_false(deadlines_concern(&q, HORIZON));
	assert_false(deadlines_add(&q, &d, HORIZON));
	assert_false(deadlines_add(&q, &d, INT64_MAX));
	assert_int_equal(deadlines_await(&q), HORIZON);
	assert_true(deadlines_concern(&q, HORIZON - 1));
	assert_true(deadlines_add(&q, &d, HORIZON - 1));
	assert_int_equal(deadlines_await(&q), HORIZON - 1);
	assert_int_equal(deadlines_take(&q, HORIZON, &v, 1), 1);
	end(&q);
}

static void test_of_two_deadlines_of_one_thing_the_earlier_counts(void **state)
{
	struct deadlines q;
	struct deadline d = {0}, *v;
	begin(&q);
	assert_true(deadlines_add(&q, &d, 50 * MS));
	assert_false(deadlines_add(&q, &d, 60 * MS)); /* it is there already */
	assert_int_equal(deadlines_await(&q), 50 * MS);
	assert_false(deadlines_add(&q, &d, 40 * MS));
	assert_int_equal(deadlines_await(&q), 40 * MS);
	assert_int_equal(deadlines_take(&q, 40 * MS, &v, 1), 1);
	assert_int_equal(deadlines_take(&q, 500 * MS, &v, 1), 0);
	end(&q);
}

static void test_what_is_put_back_comes_when_it_is_due_next(void **state)
{
	struct deadlines q;
	struct deadline d = {0}, *v;
	begin(&q);
	assert_true(deadlines_add(&q, &d, 10 * MS));
	assert_int_equal(deadlines_take(&q, 10 * MS, &v, 1), 1);
	assert_true(deadlines_put_back(&q, &d, 30 * MS));
	assert_int_equal(deadlines_await(&q), 30 * MS);
	assert_int_equal(deadlines_take(&q, 30 * MS, &v, 1), 1);
	/* Never again, or after the horizon: then it is the caller's, and may be added anew. */
	assert_false(deadlines_put_back(&q, &d, INT64_MAX));
	assert_true(deadlines_add(&q, &d, 50 * MS));
	assert_int_equal(deadlines_take(&q, 50 * MS, &v, 1), 1);
	assert_false(deadlines_put_back(&q, &d, HORIZON));
	assert_int_equal(q.queue.len, 0);
	end(&q);
}

static void test_what_was_added_while_it_was_taken_counts_when_it_is_put_back(void **state)
{
	struct deadlines q;
	struct deadline d = {0}, *v;
	begin(&q);
	assert_true(deadlines_add(&q, &d, 10 * MS));
	assert_int_equal(deadlines_take(&q, 10 * MS, &v, 1), 1);
	assert_false(deadlines_add(&q, &d, 80 * MS));
	assert_false(deadlines_add(&q, &d, 70 * MS));
	assert_false(deadlines_add(&q, &d, 90 * MS));
	/* It is not in the queue twice. */
	assert_int_equal(deadlines_take(&q, 100 * MS, &v, 1), 0);
	assert_true(deadlines_put_back(&q, &d, INT64_MAX));
	assert_int_equal(deadlines_await(&q), 100 * MS + DEADLINES_GRAIN); /* it rests */
	assert_int_equal(deadlines_take(&q, 110 * MS, &v, 1), 1);
	/* What was added belongs to the take before. */
	assert_false(deadlines_put_back(&q, &d, INT64_MAX));
	end(&q);
}

static void test_the_waiter_is_told_of_what_is_due_before_it_would_wake(void **state)
{
	struct deadlines q;
	struct deadline d[4] = {0};
	begin(&q);
	assert_int_equal(deadlines_await(&q), HORIZON);
	deadlines_add(&q, &d[0], 500 * MS);
	assert_true(is_told(&q));
	/* On its way it will see what is due later. */
	deadlines_add(&q, &d[1], 600 * MS);
	assert_false(is_told(&q));
	deadlines_add(&q, &d[2], 400 * MS);
	assert_true(is_told(&q));
	assert_int_equal(deadlines_await(&q), 400 * MS);
	deadlines_add(&q, &d[3], 450 * MS);
	assert_false(is_told(&q));
	/* What is in the queue, and becomes due earlier. */
	deadlines_add(&q, &d[3], 350 * MS);
	assert_true(is_told(&q));
	end(&q);
}

static void test_the_waiter_is_not_told_of_what_may_wait_for_its_next_look(void **state)
{
	struct deadlines q;
	struct deadline d[3] = {0}, *v;
	begin(&q);
	deadlines_add(&q, &d[0], 100 * MS);
	assert_int_equal(deadlines_await(&q), 100 * MS);
	deadlines_add(&q, &d[1], 100 * MS - DEADLINES_GRAIN);
	assert_false(is_told(&q));
	/* Nor while it is awake, or rests. */
	assert_int_equal(deadlines_take(&q, 100 * MS, &v, 1), 1);
	deadlines_add(&q, &d[2], 100 * MS);
	assert_false(is_told(&q));
	assert_int_equal(deadlines_take(&q, 100 * MS, &v, 1), 1);
	assert_int_equal(deadlines_take(&q, 100 * MS, &v, 1), 1);
	assert_int_equal(deadlines_take(&q, 100 * MS, &v, 1), 0);
	deadlines_put_back(&q, &d[0], 100 * MS);
	assert_int_equal(deadlines_await(&q), 100 * MS + DEADLINES_GRAIN);
	deadlines_put_back(&q, &d[1], 100 * MS);
	assert_false(is_told(&q));
	end(&q);
}

static void test_the_waiter_is_told_of_what_is_put_back_and_due_before_it_would_wake(void **state)
{
	struct deadlines q;
	struct deadline d = {0}, *v;
	begin(&q);
	deadlines_add(&q, &d, 100 * MS);
	assert_int_equal(deadlines_take(&q, 100 * MS, &v, 1), 1);
	assert_int_equal(deadlines_await(&q), HORIZON);
	deadlines_put_back(&q, &d, 200 * MS);
	assert_true(is_told(&q));
	assert_int_equal(deadlines_await(&q), 200 * MS);
	end(&q);
}

static void test_many_deadlines_close_together_cost_few_looks(void **state)
{
	enum { N = 1000 };
	struct deadlines q;
	struct deadline *d = calloc(N, sizeof(*d)), *v[N];
	int64_t now = 0;
	size_t looks = 0, taken = 0;
	begin(&q);
	for (int64_t i = 0; i < N; i++)
		deadlines_add(&q, &d[i], 100 * MS + i * MS / 100); /* in 10 ms */
	while (taken < N) {
		now = deadlines_await(&q);
		size_t n = deadlines_take(&q, now, v, N);
		for (size_t i = 0; i < n; i++)
			assert_true(now - (100 * MS + (v[i] - d) * MS / 100) <= DEADLINES_GRAIN);
		taken += n;
		looks++;
	}
	assert_in_range(looks, 5, 6);
	end(&q);
	free(d);
}

static void test_a_horizon_that_comes_ends_the_rest(void **state)
{
	struct deadlines q;
	struct deadline d = {0}, *v;
	begin(&q);
	assert_int_equal(deadlines_take(&q, HORIZON - 1, &v, 1), 0);
	deadlines_add(&q, &d, HORIZON - 1);
	assert_int_equal(deadlines_await(&q), HORIZON);
	assert_int_equal(deadlines_take(&q, HORIZON, &v, 1), 0);
	deadlines_set_horizon(&q, 2 * HORIZON);
	assert_int_equal(deadlines_take(&q, HORIZON, &v, 1), 1);
	end(&q);
}

static void test_after_the_end_nothing_is_added_and_all_can_be_taken(void **state)
{
	struct deadlines q;
	struct deadline d[3] = {0}, *v[3];
	begin(&q);
	deadlines_add(&q, &d[0], 10 * MS);
	assert_int_equal(deadlines_take(&q, 10 * MS, v, 1), 1);
	deadlines_add(&q, &d[1], 20 * MS);
	deadlines_set_horizon(&q, INT64_MIN);
	assert_false(deadlines_put_back(&q, &d[0], 20 * MS));
	assert_false(deadlines_add(&q, &d[2], 20 * MS));
	assert_int_equal(deadlines_take(&q, INT64_MAX, v, 3), 1);
	assert_ptr_equal(v[0], &d[1]);
	end(&q);
}

/* --- races ---------------------------------------------------------------------------------- */

/* A thing whose deadline a thread makes earlier, while the waiter moves the horizon beyond it. */
struct thing {
	struct deadlines q;
	struct deadline d;
	_Alignas(64) _Atomic int64_t due_ns;   /* alone in its line: a store to it takes its time */
	_Alignas(64) _Atomic unsigned arrived; /* of both: so often */
	_Atomic unsigned ended;
};

#define RACES ROUNDS(200000)

/* Spins, so that both go on at the same moment; gives way on a machine that has no time for it. */
static void spin_until(_Atomic unsigned *count, unsigned wanted)
{
	for (unsigned i = 1; atomic_load(count) < wanted; i++) {
		if (i % 1000 == 0)
			sched_yield();
	}
}

static void meet(struct thing *t, unsigned round)
{
	atomic_fetch_add(&t->arrived, 1);
	spin_until(&t->arrived, 2 * round + 2);
}

static void make_earlier(void *arg)
{
	struct thing *t = arg;
	for (unsigned i = 0; i < RACES; i++) {
		meet(t, i);
		/* At different times; and the old horizon is in this processor's cache. */
		for (unsigned late = i % 64; late > 0; late--)
			(void)deadlines_concern(&t->q, 10 * MS);
		atomic_store(&t->due_ns, 10 * MS);
		if (deadlines_concern(&t->q, 10 * MS))
			(void)deadlines_add(&t->q, &t->d, 10 * MS);
		atomic_fetch_add(&t->ended, 1);
	}
}

static void test_a_deadline_and_a_horizon_that_cross_do_not_miss_each_other(void **state)
{
	struct thing t = {.due_ns = INT64_MAX};
	struct wait_group wg;
	struct deadline *v;
	deadlines_init(&t.q);
	wait_group_init(&wg);
	go(&wg, make_earlier, &t);
	for (unsigned i = 0; i < RACES; i++) {
		meet(&t, i);
		deadlines_set_horizon(&t.q, HORIZON);
		int64_t due = atomic_load(&t.due_ns);
		if (due < HORIZON)
			(void)deadlines_add(&t.q, &t.d, due);
		spin_until(&t.ended, i + 1);
		assert_int_equal(t.q.queue.len, 1);
		assert_int_equal(deadlines_take(&t.q, 10 * MS, &v, 1), 1);
		deadlines_set_horizon(&t.q, INT64_MIN);
		assert_false(deadlines_put_back(&t.q, v, INT64_MAX));
		atomic_store(&t.due_ns, INT64_MAX);
	}
	join(&wg);
	deadlines_destroy(&t.q);
}

/* Things of several threads, each of which waits until the waiter has seen its deadline. */
struct crowd {
	struct deadlines q;
	struct chan *exit_chan;
	struct member {
		struct deadline d;
		_Atomic int64_t due_ns; /* INT64_MAX: it has been seen */
		struct crowd *crowd;
	} members[4];
};

enum { APPOINTMENTS = 500 };

static void keep_appointments(void *arg)
{
	struct member *m = arg;
	for (int i = 0; i < ROUNDS(APPOINTMENTS); i++) {
		int64_t due = clock_mono_ns() + rand_below(1000) * NSEC_PER_USEC;
		atomic_store(&m->due_ns, due);
		if (deadlines_concern(&m->crowd->q, due))
			(void)deadlines_add(&m->crowd->q, &m->d, due);
		wait_for(atomic_load(&m->due_ns) == INT64_MAX);
		assert_true(clock_mono_ns() >= due);
	}
}

static void wait_for_members(void *arg)
{
	struct crowd *c = arg;
	struct ticker t;
	struct chan_case cases[] = {chan_case_tick(&t), chan_case_recv(c->q.earlier_chan, NULL),
		chan_case_recv(c->exit_chan, NULL)};
	do {
		struct deadline *v[COUNT(c->members)];
		int64_t now = clock_mono_ns();
		size_t n = deadlines_take(&c->q, now, v, COUNT(v));
		for (size_t i = 0; i < n; i++) {
			struct member *m = (struct member *)v[i]; /* its first field */
			int64_t due = atomic_load(&m->due_ns);
			if (due <= now) {
				atomic_store(&m->due_ns, INT64_MAX);
				due = INT64_MAX;
			}
			(void)deadlines_put_back(&c->q, &m->d, due);
		}
		ticker_after(&t, deadlines_await(&c->q) - clock_mono_ns());
	} while (chan_select(cases, 3) != 2);
}

static void test_a_waiter_that_sleeps_is_woken_for_every_deadline_in_time(void **state)
{
	struct crowd c = {.exit_chan = chan_new(0, 0)};
	struct wait_group members, waiter;
	deadlines_init(&c.q);
	/* What is missed comes in an hour. */
	deadlines_set_horizon(&c.q, clock_mono_ns() + 3600 * NSEC_PER_SEC);
	wait_group_init(&members);
	wait_group_init(&waiter);
	go(&waiter, wait_for_members, &c);
	for (size_t i = 0; i < COUNT(c.members); i++) {
		c.members[i].crowd = &c;
		atomic_init(&c.members[i].due_ns, INT64_MAX);
		go(&members, keep_appointments, &c.members[i]);
	}
	join(&members);
	chan_close(c.exit_chan);
	join(&waiter);
	chan_free(c.exit_chan);
	end(&c.q);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_is_due_is_taken_the_earliest_first),
		cmocka_unit_test(test_what_is_due_after_the_horizon_is_not_added),
		cmocka_unit_test(test_of_two_deadlines_of_one_thing_the_earlier_counts),
		cmocka_unit_test(test_what_is_put_back_comes_when_it_is_due_next),
		cmocka_unit_test(test_what_was_added_while_it_was_taken_counts_when_it_is_put_back),
		cmocka_unit_test(test_the_waiter_is_told_of_what_is_due_before_it_would_wake),
		cmocka_unit_test(test_the_waiter_is_not_told_of_what_may_wait_for_its_next_look),
		cmocka_unit_test(
			test_the_waiter_is_told_of_what_is_put_back_and_due_before_it_would_wake),
		cmocka_unit_test(test_many_deadlines_close_together_cost_few_looks),
		cmocka_unit_test(test_a_horizon_that_comes_ends_the_rest),
		cmocka_unit_test(test_after_the_end_nothing_is_added_and_all_can_be_taken),
		cmocka_unit_test(test_a_deadline_and_a_horizon_that_cross_do_not_miss_each_other),
		cmocka_unit_test(test_a_waiter_that_sleeps_is_woken_for_every_deadline_in_time),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
