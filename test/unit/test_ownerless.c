/* SPDX-License-Identifier: MIT */
/* Tests of tasks without a thread, of how they get one, and of how it leaves. */
#include "test/unit/task_harness.h"

#include "common/lock.h"

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

static void test_an_owner_does_not_leave_while_another_thread_has_its_task(void **state)
{
	struct worker *w = worker_start_ownerless(NULL, 1);
	size_t left = 0, steps = 0;
	bool kept = false;
	w->patience_ns = A_WHILE / 8;
	while (!kept) {
		give(w, 1);
		wait_for(w->n_steps == steps + 1);
		wait_for(park_is_away(&w->task.parker) && !park_is_claimed(&w->task.parker));
		left = w->n_left;
		runnext_begin();
		give(w, 1);
		/* Its owner is there, and sleeps, unless this thread was away for so long. */
		kept = runnext_keeps() && !park_is_absent(&w->task.parker);
		if (kept)
			stays(w->n_left == left && w->n_steps == steps + 1);
		runnext_end();
		steps += 2;
		wait_for(w->n_steps == steps);
	}
	assert_int_equal(w->ran_by, gettid());
	/* It leaves, when it has slept for so long once more. */
	wait_for(w->n_left == left + 1 && is_ownerless(w));
	assert_int_equal(w->n_gone, w->n_left);
	worker_stop_ownerless(w);
}

/* What an owner that leaves writes down, and what is to follow. */
struct farewell {
	_Atomic int by;          /* the thread */
	size_t n_prepared;       /* until then */
	struct worker *other;    /* the step after that wakes it */
	_Atomic bool refuses;    /* the step after that is an owner's */
	_Atomic size_t by_owner; /* prepared */
};

static void note_leave(struct worker *w)
{
	struct farewell *f = w->arg;
	f->by = gettid();
	f->n_prepared = w->n_prepared;
}

static int prepare_after(struct worker *w, bool owner)
{
	struct farewell *f = w->arg;
	f->by_owner += owner;
	if (f->by != 0 && f->other) {
		give(f->other, 1);
		f->other = NULL;
	}
	if (f->by != 0 && f->refuses && !owner)
		return -1;
	f->refuses = f->refuses && !owner;
	return MORE;
}

static const struct worker_ops leaving = {.prepare = prepare_after, .leave = note_leave};

static void test_an_owner_that_leaves_takes_one_more_step_as_another_thread(void **state)
{
	struct worker *other = worker_start_ownerless(NULL, 1);
	struct worker *w = worker_new_ownerless(&leaving, 1);
	struct farewell f = {.other = other};
	w->patience_ns = NSEC_PER_MSEC;
	w->arg = &f;
	worker_begin(w);
	give(w, 1);
	wait_for(w->n_left == 1 && is_ownerless(w));
	assert_int_equal(w->n_prepared, f.n_prepared + 1);
	assert_int_equal(w->n_steps, 1);
	/* And the steps of what that wakes. */
	wait_for(other->n_steps == 1);
	assert_int_equal(other->ran_by, f.by);
	assert_int_equal(other->n_gone, 0);
	worker_stop_ownerless(w);
	worker_stop_ownerless(other);
}

static void test_the_step_after_an_owner_has_left_may_be_an_owners(void **state)
{
	struct farewell f = {.refuses = true};
	struct worker *w = worker_new_ownerless(&leaving, 1);
	w->patience_ns = NSEC_PER_MSEC;
	w->arg = &f;
	worker_begin(w);
	give(w, 1);
	wait_for(w->n_left == 2 && is_ownerless(w));
	assert_int_equal(w->n_gone, 2);
	assert_int_equal(w->n_steps, 1);
	assert_int_equal(f.by_owner, 1);
	give_here(w, 1);
	assert_int_equal(w->ran_by, gettid());
	worker_stop_ownerless(w);
}

/* Takes nothing before an owner has left. */
static int prepare_at_last(struct worker *w, bool owner)
{
	w->cases[IN].max = w->n_left;
	return MORE;
}

static bool may_run_but_ticks(struct worker *w, int chosen, size_t n)
{
	return chosen != TICK;
}

static enum task_result end_of_task(struct worker *w, int chosen, size_t n, bool owner)
{
	return chosen == IN ? TASK_END : TASK_ON;
}

static void test_the_step_after_an_owner_has_left_may_end_the_task(void **state)
{
	static const struct worker_ops ops = {
		.prepare = prepare_at_last, .may_run = may_run_but_ticks, .act = end_of_task};
	struct worker *w = worker_new_ownerless(&ops, 1);
	w->patience_ns = NSEC_PER_MSEC;
	ticker_after(&w->ticker, 1);
	give(w, 1);
	worker_begin(w);
	wait_for(w->n_ended == 1);
	assert_int_equal(w->n_gone, 1);
	assert_int_equal(w->n_left, 1);
	assert_int_not_equal(w->ended_by, gettid());
	worker_free_ownerless(w);
}

static void test_an_owner_may_leave_without_a_word(void **state)
{
	static const struct task_ops ops = {.prepare = worker_prepare,
		.may_run = worker_may_run,
		.act = worker_act,
		.go = worker_get_owner,
		.ended = worker_ended};
	struct worker *w = worker_new_ownerless(NULL, 1);
	w->patience_ns = NSEC_PER_MSEC;
	task_start(&w->task, &ops);
	for (size_t i = 1; i <= 2; i++) {
		give(w, 1);
		wait_for(w->n_steps == i && is_ownerless(w));
		assert_int_equal(w->n_gone, i);
	}
	worker_stop_ownerless(w);
}

/* --- several tasks in one list ---------------------------------------------------------------- */

static void test_ownerless_tasks_that_are_handed_on_get_one_owner_for_all(void **state)
{
	struct worker *w[5];
	for (size_t i = 0; i < COUNT(w); i++)
		w[i] = worker_start_ownerless(NULL, 1);
	runnext_begin();
	for (size_t i = 0; i < COUNT(w); i++)
		give(w[i], 1);
	runnext_handoff();
	for (size_t i = 0; i < COUNT(w); i++) {
		wait_for(w[i]->n_steps == 1);
		assert_int_equal(w[i]->ran_by, w[0]->tid);
		assert_int_equal(w[i]->n_gone, i == 0);
	}
	runnext_end();
	for (size_t i = 0; i < COUNT(w); i++)
		worker_stop_ownerless(w[i]);
}

static void test_they_are_handed_to_an_owner_if_there_is_one(void **state)
{
	struct worker *w[5];
	for (size_t at = 0; at < COUNT(w); at++) {
		for (size_t i = 0; i < COUNT(w); i++)
			w[i] = i == at ? worker_start(NULL, 1) : worker_start_ownerless(NULL, 1);
		runnext_begin();
		for (size_t i = 0; i < COUNT(w); i++)
			give(w[i], 1);
		runnext_handoff();
		for (size_t i = 0; i < COUNT(w); i++) {
			wait_for(w[i]->n_steps == 1);
			assert_int_equal(w[i]->ran_by, w[at]->tid);
			assert_int_equal(w[i]->n_gone, 0);
		}
		runnext_end();
		for (size_t i = 0; i < COUNT(w); i++)
			if (i == at)
				worker_stop(w[i]);
			else
				worker_stop_ownerless(w[i]);
	}
}

static void test_those_that_are_handed_to_an_owner_that_comes_late_may_wait_with_it(void **state)
{
	struct worker *w[3];
	for (size_t i = 0; i < COUNT(w); i++)
		w[i] = worker_start_ownerless(i == 0 ? &late : NULL, 1);
	runnext_begin();
	for (size_t i = 0; i < COUNT(w); i++)
		give(w[i], 1);
	runnext_handoff();
	stays(w[0]->n_steps + w[1]->n_steps + w[2]->n_steps == 0);
	runnext_end();
	assert_int_equal(w[0]->n_gone, 1);
	go(&owners, worker_own, w[0]);
	for (size_t i = 0; i < COUNT(w); i++) {
		wait_for(w[i]->n_steps == 1);
		assert_int_equal(w[i]->ran_by, w[0]->tid);
	}
	for (size_t i = 0; i < COUNT(w); i++)
		worker_stop_ownerless(w[i]);
}

static void test_but_they_need_not_wait(void **state)
{
	struct worker *w[PARK_KEPT_MAX];
	for (int keeping = 0; keeping <= 1; keeping++) {
		for (size_t i = 0; i < COUNT(w); i++)
			w[i] = worker_start_ownerless(i == 0 ? &late : NULL, 1);
		runnext_begin();
		for (size_t i = 0; i < COUNT(w); i++)
			give(w[i], 1);
		runnext_handoff();
		runnext_end();
		if (keeping)
			runnext_begin();
		task_relieve(&w[0]->task);
		if (keeping) {
			stays(w[1]->n_steps == 0);
			runnext_end();
		}
		for (size_t i = 1; i < COUNT(w); i++) {
			assert_int_equal(w[i]->n_steps, 1);
			assert_int_equal(w[i]->ran_by, gettid());
			assert_int_equal(w[i]->n_gone, 0);
		}
		assert_int_equal(w[0]->n_steps, 0);
		task_relieve(&w[0]->task); /* of nothing */
		go(&owners, worker_own, w[0]);
		wait_for(w[0]->n_steps == 1);
		for (size_t i = 0; i < COUNT(w); i++)
			worker_stop_ownerless(w[i]);
	}
}

/* Values must come in order, whichever thread takes them. */
static enum task_result expect_order(struct worker *w, int chosen, size_t n, bool owner)
{
	for (size_t i = 0; chosen == IN && i < n; i++)
		CHECK(w->values[i] == atomic_load(&w->n_steps) + i);
	return TASK_ON;
}

static void test_steps_without_end_get_an_owner_after_some(void **state)
{
	enum { ALWAYS = 2000 };
	static const struct worker_ops ops = {.act = expect_order};
	struct worker *w = worker_new_ownerless(&ops, ALWAYS);
	w->max = 1;
	worker_begin(w);
	runnext_begin();
	for (uint64_t i = 0; i < ALWAYS; i++)
		give(w, i);
	runnext_end();
	wait_for(w->n_steps == ALWAYS);
	assert_int_equal(w->n_gone, 1);
	assert_in_range(w->n_by_owner, ALWAYS / 2, ALWAYS - 1);
	worker_stop_ownerless(w);
}

/* The next in the chain. */
static enum task_result begin_next(struct worker *w, int chosen, size_t n, bool owner)
{
	struct worker *next = w->arg;
	if (chosen == IN)
		w->values[0] = (uintptr_t)__builtin_frame_address(0);
	if (chosen == IN && next) {
		give(next, 0);
		worker_begin(next);
	}
	return TASK_ON;
}

static void test_tasks_that_begin_others_do_so_without_recursion(void **state)
{
	enum { LENGTH = RUNNEXT_STEPS };
	static const struct worker_ops ops = {.act = begin_next};
	struct worker *w[LENGTH];
	uintptr_t low = UINTPTR_MAX, high = 0;
	for (int i = LENGTH - 1; i >= 0; i--) {
		w[i] = worker_new_ownerless(&ops, 1);
		w[i]->arg = i + 1 < LENGTH ? w[i + 1] : NULL;
	}
	give(w[0], 0);
	worker_begin(w[0]);
	for (int i = 0; i < LENGTH; i++) {
		assert_int_equal(w[i]->ran_by, gettid());
		low = w[i]->sum < low ? w[i]->sum : low;
		high = w[i]->sum > high ? w[i]->sum : high;
	}
	assert_in_range(high - low, 0, 1024);
	for (int i = 0; i < LENGTH; i++)
		worker_stop_ownerless(w[i]);
}

static void test_a_wake_up_may_hold_locks(void **state)
{
	struct worker *w = worker_start_ownerless(NULL, 1);
	struct mutex m;
	mutex_init(&m, RANK_CLIENT_META);
	mutex_lock(&m);
	give(w, 1);
	mutex_unlock(&m);
	wait_for(w->n_steps == 1);
	assert_int_equal(w->n_gone, 1);
	worker_stop_ownerless(w);
	mutex_destroy(&m);
}

/* --- tickers ---------------------------------------------------------------------------------- */

static void test_timerproc_takes_the_steps_of_ownerless_tasks(void **state)
{
	struct worker *w = worker_new_ownerless(NULL, 1);
	ticker_start(&w->ticker, NSEC_PER_MSEC);
	worker_begin(w);
	wait_for(w->n_steps >= 5);
	assert_int_equal(w->n_gone, 0);
	assert_int_not_equal(w->ran_by, gettid());
	worker_stop_ownerless(w);
}

static void test_a_tick_that_is_an_owners_gets_one(void **state)
{
	static const struct worker_ops ops = {.may_run = may_run_but_ticks};
	struct worker *w = worker_new_ownerless(&ops, 1);
	w->patience_ns = NSEC_PER_MSEC;
	ticker_start(&w->ticker, 20 * NSEC_PER_MSEC);
	worker_begin(w);
	wait_for(w->n_left >= 3);
	chan_signal(w->quit);
	wait_for(w->n_ended == 1);
	assert_int_equal(w->n_by_owner, w->n_steps);
	worker_free_ownerless(w);
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

static void test_the_first_step_may_be_the_last(void **state)
{
	static const struct worker_ops ops = {.act = end_of_task};
	struct worker *w = worker_new_ownerless(&ops, 1);
	give(w, 1);
	worker_begin(w);
	assert_int_equal(w->n_ended, 1);
	assert_int_equal(w->n_gone, 0);
	worker_free_ownerless(w);
}

/* Its owner sleeps. */
static struct worker *worker_start_owned(const struct worker_ops *ops)
{
	struct worker *w = worker_start_ownerless(ops, 1);
	give(w, 0);
	wait_for(w->n_steps == 1);
	await_asleep(w);
	return w;
}

static void test_an_owner_ends_its_task_itself(void **state)
{
	for (int here = 0; here <= 1; here++) {
		struct worker *w = worker_start_owned(NULL);
		int owner = w->tid;
		if (here)
			runnext_begin();
		chan_signal(w->quit);
		if (here)
			runnext_end();
		wait_for(w->n_ended == 1);
		assert_int_equal(w->ended_by, owner);
		assert_int_equal(w->n_gone, 1);
		assert_int_equal(w->n_left, 0);
		worker_free_ownerless(w);
	}
}

static int prepare_to_end(struct worker *w, bool owner)
{
	return atomic_load(&w->sum) > 0 ? -1 : MORE;
}

static void test_without_a_next_select_an_owner_ends_it(void **state)
{
	static const struct worker_ops ops = {.prepare = prepare_to_end};
	struct worker *w = worker_start_ownerless(&ops, 1);
	give_here(w, 1);
	wait_for(w->n_ended == 1);
	assert_int_equal(w->n_gone, 1);
	assert_int_equal(w->ran_by, gettid());
	assert_int_not_equal(w->ended_by, gettid());
	worker_free_ownerless(w);
}

static enum task_result end_when_closed(struct worker *w, int chosen, size_t n, bool owner)
{
	return chosen == IN && !w->cases[IN].ok ? TASK_END : TASK_ON;
}

static void test_close_reaches_an_ownerless_task(void **state)
{
	static const struct worker_ops ops = {.act = end_when_closed};
	for (int here = 0; here <= 1; here++) {
		struct worker *w = worker_start_ownerless(&ops, 1);
		if (here)
			runnext_begin();
		chan_close(w->in);
		if (here)
			runnext_end();
		wait_for(w->n_ended == 1);
		assert_int_equal(w->n_gone, !here);
		worker_free_ownerless(w);
	}
}

static void wake_at_the_end(struct worker *w)
{
	give(w->arg, 1);
	atomic_fetch_add(&w->n_ended, 1);
}

static void test_what_the_end_of_a_task_wakes_is_run_by_the_same_thread(void **state)
{
	static const struct worker_ops ops = {.ended = wake_at_the_end};
	for (int owned = 0; owned <= 1; owned++) {
		struct worker *other = worker_start_ownerless(NULL, 1);
		struct worker *w =
			owned ? worker_start_owned(&ops) : worker_start_ownerless(&ops, 1);
		w->arg = other;
		runnext_begin();
		chan_signal(w->quit);
		runnext_end();
		wait_for(other->n_steps == 1);
		assert_int_equal(other->ran_by, w->ended_by);
		assert_int_equal(other->n_gone, 0);
		worker_free_ownerless(w);
		worker_stop_ownerless(other);
	}
}

/* --- several tasks, several threads ----------------------------------------------------------- */

/*
 * The stress: clerks sit in offices, and senders give them numbers. Each clerk retires after some;
 * the thread that ends it frees it, and begins the next one in that office. A clerk refuses now and
 * then, in each of the ways, what another thread wants to do for it. Its owner, if any, has a tray
 * on its stack, and no patience. Not every time that an owner is wanted there is one at once. Each
 * number arrives once, and in the order of its sender and office.
 */
enum { SENDERS = 3, OFFICES = 8, PER_SENDER = 50000, TRAY = 8 };

struct office {
	struct worker *clerk; /* the claim's, as the rest */
	uint64_t next[SENDERS];
	uint64_t random;
	size_t to_do;   /* numbers, until the clerk retires */
	uint64_t *tray; /* the owner's; NULL: there is none */
	struct chan *in, *quit;
	bool closes;
	_Atomic bool closed;
};

/* Offices that wait for an owner, and what has happened. */
static struct {
	pthread_mutex_t lock;
	struct office *waiting[OFFICES]; /* guarded by lock */
	size_t n_waiting;                /* guarded by lock */
	_Atomic bool over;
	_Atomic size_t n_filed, n_got, n_late, n_left, n_retired, n_retired_with_owner;
} labour = {.lock = PTHREAD_MUTEX_INITIALIZER};

static struct office offices[OFFICES];

static uint32_t draw(struct office *o, uint32_t n)
{
	o->random = o->random * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(o->random >> 33) % n;
}

static int prepare_clerk(struct worker *w, bool owner)
{
	struct office *o = w->arg;
	if (!owner && draw(o, 16) == 0)
		return -1;
	w->cases[IN] = o->tray ? chan_case_recv_n(o->in, o->tray, 1 + draw(o, TRAY))
			       : chan_case_recv_n(o->in, w->values, 1 + draw(o, 3));
	w->cases[QUIT] = chan_case_recv(o->quit, NULL);
	if (draw(o, 4) == 0)
		ticker_after(&w->ticker, draw(o, 100) * NSEC_PER_USEC);
	return MORE;
}

static bool may_run_clerk(struct worker *w, int chosen, size_t n)
{
	return draw(w->arg, 16) != 0;
}

static void file(struct office *o, uint64_t value)
{
	uint64_t from = value >> 48;
	CHECK(from < SENDERS);
	CHECK((value & 0xffffffff) == o->next[from]++);
}

static enum task_result act_clerk(struct worker *w, int chosen, size_t n, bool owner)
{
	struct office *o = w->arg;
	const uint64_t *values = w->cases[IN].v;
	if (chosen == QUIT)
		o->closes = true;
	else if (!owner && draw(o, 16) == 0)
		return TASK_NOT_DONE;
	if (chosen != IN)
		return TASK_ON;
	for (size_t i = 0; i < n; i++)
		file(o, values[i]);
	labour.n_filed += n;
	o->to_do -= n < o->to_do ? n : o->to_do;
	return o->to_do == 0 ? TASK_END : TASK_ON;
}

static void own_clerk(void *arg)
{
	struct office *o = arg;
	struct worker *w = o->clerk;
	uint64_t tray[TRAY];
	int64_t patience_ns = 1 + draw(o, 100) * NSEC_PER_USEC;
	o->tray = tray;
	w->tid = gettid();
	task_own(&w->task, patience_ns);
	memset(tray, 0xdd, sizeof(tray));
	__asm__ volatile("" ::"r"(tray) : "memory");
}

static void get_owner(struct worker *w)
{
	struct office *o = w->arg;
	bool is_late = draw(o, 4) == 0;
	labour.n_got++;
	if (!is_late) {
		go(&owners, own_clerk, o);
		return;
	}
	labour.n_late++;
	PT_OK(pthread_mutex_lock(&labour.lock));
	CHECK(labour.n_waiting < OFFICES);
	labour.waiting[labour.n_waiting++] = o;
	PT_OK(pthread_mutex_unlock(&labour.lock));
}

static struct office *next_waiting(void)
{
	PT_OK(pthread_mutex_lock(&labour.lock));
	struct office *o = labour.n_waiting > 0 ? labour.waiting[--labour.n_waiting] : NULL;
	PT_OK(pthread_mutex_unlock(&labour.lock));
	return o;
}

static void give_late_owners(void *arg)
{
	while (!labour.over) {
		struct office *o = next_waiting();
		if (o && rand_below(2) == 0)
			task_relieve(&o->clerk->task);
		if (o)
			go(&owners, own_clerk, o);
		else
			sleep_ns(NSEC_PER_MSEC / 10);
	}
}

static void leave_tray(struct worker *w)
{
	struct office *o = w->arg;
	CHECK(o->tray);
	o->tray = NULL;
	labour.n_left++;
}

static void begin_clerk(struct office *o);

static void retire(struct worker *w)
{
	struct office *o = w->arg;
	labour.n_retired++;
	labour.n_retired_with_owner += o->tray != NULL;
	o->tray = NULL;
	chan_free(w->in);
	chan_free(w->quit);
	wait_group_destroy(&w->wg);
	memset(w, 0xdd, sizeof(*w));
	free(w);
	if (o->closes)
		o->closed = true;
	else
		begin_clerk(o);
}

static void begin_clerk(struct office *o)
{
	static const struct worker_ops ops = {.prepare = prepare_clerk,
		.may_run = may_run_clerk,
		.act = act_clerk,
		.go = get_owner,
		.leave = leave_tray,
		.ended = retire};
	o->clerk = worker_new(&ops, 1);
	o->clerk->arg = o;
	o->to_do = 1 + draw(o, 200);
	worker_begin(o->clerk);
}

static void send_some(uint64_t id, uint64_t *next, int n)
{
	while (n-- > 0) {
		uint64_t to = rand_below(OFFICES), value = id << 48 | next[to]++;
		if (rand_below(8) == 0 || chan_try_send_n(offices[to].in, &value, 1) == 0)
			chan_send(offices[to].in, &value);
	}
}

static void send_all(void *arg)
{
	uint64_t next[OFFICES] = {0};
	for (int left = ROUNDS(PER_SENDER); left > 0;) {
		int n = 1 + (int)rand_below(8);
		bool keeping = rand_below(4) != 0;
		if (n > left)
			n = left;
		if (keeping)
			runnext_begin();
		send_some((uintptr_t)arg, next, n);
		if (keeping && rand_below(8) == 0)
			runnext_handoff();
		if (keeping)
			runnext_end();
		left -= n;
	}
}

static void open_offices(void)
{
	memset(offices, 0, sizeof(offices));
	labour.over = false;
	labour.n_filed = labour.n_got = labour.n_late = labour.n_left = 0;
	labour.n_retired = labour.n_retired_with_owner = 0;
	for (size_t i = 0; i < OFFICES; i++) {
		struct office *o = &offices[i];
		o->random = rand_u64();
		o->in = chan_new(sizeof(uint64_t), i % 3 * 4);
		o->quit = chan_new(0, 1);
		begin_clerk(o);
	}
}

static void close_offices(void)
{
	for (size_t i = 0; i < OFFICES; i++) {
		chan_signal(offices[i].quit);
		wait_for(offices[i].closed);
		chan_free(offices[i].in);
		chan_free(offices[i].quit);
	}
}

static void test_owners_come_and_go_tasks_end_and_begin_and_nothing_is_lost(void **state)
{
	struct wait_group senders, starter;
	wait_group_init(&senders);
	wait_group_init(&starter);
	open_offices();
	go(&starter, give_late_owners, NULL);
	for (uintptr_t i = 0; i < SENDERS; i++)
		go(&senders, send_all, (void *)i);
	join(&senders);
	wait_for(labour.n_filed == SENDERS * ROUNDS(PER_SENDER));
	close_offices();
	labour.over = true;
	join(&starter);
	assert_true(labour.n_late > 0 && labour.n_late < labour.n_got);
	assert_true(labour.n_left > 0);
	assert_in_range(labour.n_retired_with_owner, 1, labour.n_retired - 1);
}

/* --- threads that keep no tasks ---------------------------------------------------------------- */

/* As in the daemon. The other tests want an owner for a step that such a thread has woken. */
static int with_steps_taker(void **state)
{
	park_set_steps_taker(timerproc_give);
	return 0;
}

static int without_steps_taker(void **state)
{
	park_set_steps_taker(NULL);
	return 0;
}

static int start_without_steps_taker(void **state)
{
	return start_runnext(state) != 0 ? -1 : without_steps_taker(state);
}

static void test_many_tasks_that_a_thread_wakes_at_once_get_no_thread_each(void **state)
{
	enum { TASKS = 500 };
	static struct worker *w[TASKS];
	struct wake_list none = {NULL, NULL, 0};
	timerproc_give(&none);
	for (size_t i = 0; i < TASKS; i++)
		w[i] = worker_start_ownerless(NULL, 1);
	for (uint64_t round = 1; round <= 3; round++) {
		for (size_t i = 0; i < TASKS; i++)
			give(w[i], round);
		for (size_t i = 0; i < TASKS; i++)
			wait_for(w[i]->n_steps == round);
	}
	for (size_t i = 0; i < TASKS; i++) {
		assert_int_equal(w[i]->sum, 1 + 2 + 3);
		assert_int_equal(w[i]->n_gone, 0);
		assert_true(is_ownerless(w[i]));
		worker_stop_ownerless(w[i]);
	}
}

static void test_but_a_step_that_is_an_owners_gets_one(void **state)
{
	for (enum way way = MAY_RUN; way < MANY; way++) {
		struct refusal r = {.way = way};
		struct worker *w = worker_new_ownerless(&refusing, 1);
		w->arg = &r;
		worker_begin(w);
		r.on = true;
		give(w, 7);
		wait_for(w->n_gone == 1 && w->n_steps == 1);
		assert_int_equal(w->sum, 7);
		r.on = false;
		worker_stop_ownerless(w);
	}
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
		cmocka_unit_test(test_an_owner_does_not_leave_while_another_thread_has_its_task),
		cmocka_unit_test(test_an_owner_that_leaves_takes_one_more_step_as_another_thread),
		cmocka_unit_test(test_the_step_after_an_owner_has_left_may_be_an_owners),
		cmocka_unit_test(test_the_step_after_an_owner_has_left_may_end_the_task),
		cmocka_unit_test(test_an_owner_may_leave_without_a_word),
		cmocka_unit_test(test_ownerless_tasks_that_are_handed_on_get_one_owner_for_all),
		cmocka_unit_test(test_they_are_handed_to_an_owner_if_there_is_one),
		cmocka_unit_test(
			test_those_that_are_handed_to_an_owner_that_comes_late_may_wait_with_it),
		cmocka_unit_test(test_but_they_need_not_wait),
		cmocka_unit_test(test_steps_without_end_get_an_owner_after_some),
		cmocka_unit_test(test_tasks_that_begin_others_do_so_without_recursion),
		cmocka_unit_test(test_a_wake_up_may_hold_locks),
		cmocka_unit_test(test_timerproc_takes_the_steps_of_ownerless_tasks),
		cmocka_unit_test(test_a_tick_that_is_an_owners_gets_one),
		cmocka_unit_test(test_a_step_that_ends_an_ownerless_task_wakes_nobody),
		cmocka_unit_test(test_the_first_step_may_be_the_last),
		cmocka_unit_test(test_an_owner_ends_its_task_itself),
		cmocka_unit_test(test_without_a_next_select_an_owner_ends_it),
		cmocka_unit_test(test_close_reaches_an_ownerless_task),
		cmocka_unit_test(test_what_the_end_of_a_task_wakes_is_run_by_the_same_thread),
		cmocka_unit_test_setup_teardown(
			test_many_tasks_that_a_thread_wakes_at_once_get_no_thread_each,
			with_steps_taker, without_steps_taker),
		cmocka_unit_test_setup_teardown(test_but_a_step_that_is_an_owners_gets_one,
			with_steps_taker, without_steps_taker),
		cmocka_unit_test(test_owners_come_and_go_tasks_end_and_begin_and_nothing_is_lost),
		cmocka_unit_test_setup_teardown(
			test_owners_come_and_go_tasks_end_and_begin_and_nothing_is_lost,
			with_steps_taker, without_steps_taker),
	};
	return cmocka_run_group_tests(tests, start_without_steps_taker, stop_runnext);
}
