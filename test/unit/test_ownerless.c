/* SPDX-License-Identifier: MIT */
/* Tests of tasks without a thread, of how they get one, and of how it leaves. */
#include "test/unit/task_harness.h"

/* --- without an owner ------------------------------------------------------------------------- */

static void test_a_task_begins_without_an_owner_and_others_take_its_steps(void **state)
{
	enum { TIMES = 50 };
	struct worker *w = worker_start_ownerless(NULL, 1);
	assert_int_equal(w->n_prepared, 1);
	for (uint64_t i = 1; i <= TIMES; i++) {
		give_here(w, i);
		assert_int_equal(w->n_steps, i);
		assert_int_equal(w->ran_by, gettid());
	}
	assert_int_equal(w->sum, TIMES * (TIMES + 1) / 2);
	assert_int_equal(w->n_gone, 0);
	worker_stop_ownerless(w);
}

/* There is one per client. */
static void test_a_task_of_four_cases_is_small(void **state)
{
	assert_in_range(
		sizeof(struct task) + 4 * sizeof(struct chan_case) + 4 * sizeof(struct waiter), 1,
		800);
}

static void test_what_is_ready_before_it_begins_is_run_at_once(void **state)
{
	struct worker *w = worker_new_ownerless(NULL, 1);
	give(w, 5);
	worker_begin(w);
	assert_int_equal(w->sum, 5);
	assert_int_equal(w->ran_by, gettid());
	assert_true(is_ownerless(w));
	worker_stop_ownerless(w);
}

/* Its first step wakes another. */
static int prepare_and_wake(struct worker *w, bool owner)
{
	if (w->arg)
		give(w->arg, 1);
	w->arg = NULL;
	return MORE;
}

static void test_a_thread_that_begins_a_task_takes_the_steps_of_what_that_wakes(void **state)
{
	static const struct worker_ops ops = {.prepare = prepare_and_wake};
	struct worker *other = worker_start_ownerless(NULL, 1);
	struct worker *w = worker_new_ownerless(&ops, 1);
	w->arg = other;
	worker_begin(w);
	assert_int_equal(other->n_steps, 1);
	assert_int_equal(other->ran_by, gettid());
	assert_false(runnext_keeps());
	/* And it keeps nothing from now on. */
	give(other, 1);
	wait_for(other->n_steps == 2);
	assert_int_equal(other->n_gone, 1);
	worker_stop_ownerless(w);
	worker_stop_ownerless(other);
}

static void test_in_a_thread_that_keeps_tasks_it_begins_with_their_steps(void **state)
{
	struct worker *w[PARK_KEPT_MAX + 1];
	runnext_begin();
	for (size_t i = 0; i < COUNT(w); i++) {
		w[i] = worker_new_ownerless(NULL, 1);
		assert_int_equal(w[0]->n_prepared, 0);
		worker_begin(w[i]);
	}
	/* One more than a thread keeps: the first of them has got an owner, and that the others. */
	for (size_t i = 0; i < PARK_KEPT_MAX; i++)
		wait_for(w[i]->n_prepared == 1);
	assert_int_equal(w[0]->n_gone, 1);
	stays(w[PARK_KEPT_MAX]->n_prepared == 0);
	runnext_end();
	assert_int_equal(w[PARK_KEPT_MAX]->n_prepared, 1);
	assert_true(is_ownerless(w[PARK_KEPT_MAX]));
	for (size_t i = 0; i < COUNT(w); i++) {
		assert_int_equal(w[i]->n_gone, i == 0);
		worker_stop_ownerless(w[i]);
	}
}

/* --- an owner comes --------------------------------------------------------------------------- */

static void test_a_thread_that_keeps_no_tasks_has_an_owner_started(void **state)
{
	struct worker *w = worker_start_ownerless(NULL, 1);
	give(w, 1);
	wait_for(w->n_steps == 1);
	assert_int_equal(w->n_gone, 1);
	assert_int_equal(w->n_by_owner, 1);
	/* From now on it is a task with an owner. */
	await_asleep(w);
	give_here(w, 2);
	assert_int_equal(w->ran_by, gettid());
	await_asleep(w);
	give(w, 3);
	wait_for(w->n_steps == 3);
	assert_int_equal(w->ran_by, w->tid);
	assert_int_equal(w->n_gone, 1);
	assert_int_equal(w->n_left, 0);
	worker_stop_ownerless(w);
}

/* In each of the ways in which a step is the owner's: the values are not lost, and not doubled. */
enum way { MAY_RUN, ACT, PREPARE, MANY, N_WAYS };

struct refusal {
	enum way way;
	_Atomic bool on;
	_Atomic size_t by_owner; /* prepared */
};

static bool may_run_not(struct worker *w, int chosen, size_t n)
{
	struct refusal *r = w->arg;
	return !r->on || r->way != MAY_RUN;
}

static enum task_result act_not(struct worker *w, int chosen, size_t n, bool owner)
{
	struct refusal *r = w->arg;
	return r->on && r->way == ACT && !owner ? TASK_NOT_DONE : TASK_ON;
}

static int prepare_not(struct worker *w, bool owner)
{
	struct refusal *r = w->arg;
	if (r->on && r->way == PREPARE && !owner)
		return -1;
	r->by_owner += owner;
	return MORE;
}

static const struct worker_ops refusing = {
	.prepare = prepare_not, .may_run = may_run_not, .act = act_not};

static void test_a_step_that_is_the_owners_waits_for_one(void **state)
{
	uint64_t values[RUNNEXT_VALUES + 1];
	for (size_t i = 0; i < COUNT(values); i++)
		values[i] = i + 1;
	for (enum way way = MAY_RUN; way < N_WAYS; way++) {
		struct refusal r = {.way = way};
		size_t n = way == MANY ? COUNT(values) : 3;
		struct worker *w = worker_new_ownerless(&refusing, COUNT(values));
		w->arg = &r;
		worker_begin(w);
		r.on = true;
		runnext_begin();
		assert_int_equal(chan_try_send_n(w->in, values, n), n);
		runnext_end();
		wait_for(w->n_gone == 1 && w->n_steps == 1);
		await_asleep(w);
		assert_int_equal(w->n_steps, 1);
		assert_int_equal(w->sum, n * (n + 1) / 2);
		assert_int_equal(w->n_by_owner, way == PREPARE ? 0 : 1);
		assert_int_equal(r.by_owner, way == PREPARE ? 1 : 0);
		r.on = false;
		worker_stop_ownerless(w);
	}
}

static void test_the_first_select_may_be_the_owners(void **state)
{
	struct refusal r = {.way = PREPARE, .on = true};
	struct worker *w = worker_new_ownerless(&refusing, 1);
	w->arg = &r;
	worker_begin(w);
	wait_for(w->n_gone == 1);
	await_asleep(w);
	assert_int_equal(r.by_owner, 1);
	r.on = false;
	worker_stop_ownerless(w);
}

static void not_now(struct worker *w)
{
}

static const struct worker_ops late = {.go = not_now};

static void test_an_owner_may_come_late_and_nobody_runs_the_task_till_then(void **state)
{
	struct worker *w = worker_start_ownerless(&late, 4);
	ticker_start(&w->ticker, NSEC_PER_MSEC);
	give(w, 1);
	assert_int_equal(w->n_gone, 1);
	give_here(w, 2);
	give(w, 3);
	stays(w->n_steps == 0 && w->n_gone == 1);
	ticker_stop(&w->ticker);
	go(&owners, worker_own, w);
	wait_for(w->sum == 6);
	assert_int_equal(w->n_by_owner, w->n_steps);
	assert_int_equal(w->n_gone, 1);
	worker_stop_ownerless(w);
}

/* --- and leaves ------------------------------------------------------------------------------- */

static void test_an_owner_that_has_slept_for_its_patience_leaves(void **state)
{
	struct worker *w = worker_start_ownerless(NULL, 1);
	w->patience_ns = NSEC_PER_MSEC;
	for (size_t i = 1; i <= 5; i++) {
		give(w, 1);
		wait_for(w->n_left == i);
		wait_for(is_ownerless(w));
		assert_int_equal(w->n_gone, i);
		assert_int_equal(w->tid, 0);
		/* A step that needs none: as before the first. */
		give_here(w, 1);
		assert_int_equal(w->n_steps, 2 * i);
		assert_int_equal(w->ran_by, gettid());
	}
	assert_int_equal(w->n_by_owner, 5);
	worker_stop_ownerless(w);
	assert_true(wait_group_wait_until(&owners, clock_mono_ns() + PATIENCE));
}

/* --- the end ---------------------------------------------------------------------------------- */

static void test_a_step_that_ends_an_ownerless_task_wakes_nobody(void **state)
{
	struct worker *w = worker_start_ownerless(NULL, 1);
	runnext_begin();
	chan_signal(w->quit);
	runnext_end();
	assert_int_equal(w->n_ended, 1);
	assert_int_equal(w->ended_by, gettid());
	assert_int_equal(w->n_gone, 0);
	worker_free_ownerless(w);
}

static void test_an_owner_ends_its_task_itself(void **state)
{
	struct worker *w = worker_start_ownerless(NULL, 1);
	give(w, 1);
	wait_for(w->n_steps == 1);
	await_asleep(w);
	int owner = w->tid;
	runnext_begin();
	chan_signal(w->quit);
	runnext_end();
	wait_for(w->n_ended == 1);
	assert_int_equal(w->ended_by, owner);
	assert_int_equal(w->n_left, 0);
	worker_free_ownerless(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_task_begins_without_an_owner_and_others_take_its_steps),
		cmocka_unit_test(test_a_task_of_four_cases_is_small),
		cmocka_unit_test(test_what_is_ready_before_it_begins_is_run_at_once),
		cmocka_unit_test(
			test_a_thread_that_begins_a_task_takes_the_steps_of_what_that_wakes),
		cmocka_unit_test(test_in_a_thread_that_keeps_tasks_it_begins_with_their_steps),
		cmocka_unit_test(test_a_thread_that_keeps_no_tasks_has_an_owner_started),
		cmocka_unit_test(test_a_step_that_is_the_owners_waits_for_one),
		cmocka_unit_test(test_the_first_select_may_be_the_owners),
		cmocka_unit_test(test_an_owner_may_come_late_and_nobody_runs_the_task_till_then),
		cmocka_unit_test(test_an_owner_that_has_slept_for_its_patience_leaves),
		cmocka_unit_test(test_a_step_that_ends_an_ownerless_task_wakes_nobody),
		cmocka_unit_test(test_an_owner_ends_its_task_itself),
	};
	return cmocka_run_group_tests(tests, start_runnext, stop_runnext);
}
