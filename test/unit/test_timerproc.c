/* SPDX-License-Identifier: MIT */
/* Tests of the tickers of tasks: whichever thread takes a step, its deadline holds for the next. */
#include "test/unit/task_harness.h"

#define FAR (3600 * NSEC_PER_SEC)
/* No machine is so busy that a tick comes so late. */
#define TOO_LATE (20 * NSEC_PER_SEC)

/* A worker to which each number is a delay (ns), after which its ticker is due. */
struct clock {
	_Atomic int64_t due_ns;
	_Atomic size_t n_set, n_replaced, n_fired;
	int64_t latest_ns;
};

static void fired(struct clock *c)
{
	int64_t late = clock_mono_ns() - c->due_ns;
	CHECK(late >= 0);
	c->latest_ns = late > c->latest_ns ? late : c->latest_ns;
	atomic_fetch_add(&c->n_fired, 1);
}

static void set_clock(struct worker *w, uint64_t delay_ns)
{
	struct clock *c = w->arg;
	if (w->ticker.next_ns != 0)
		atomic_fetch_add(&c->n_replaced, 1);
	ticker_after(&w->ticker, (int64_t)delay_ns);
	c->due_ns = w->ticker.next_ns;
	atomic_fetch_add(&c->n_set, 1);
}

static enum task_result tick_or_set(struct worker *w, int chosen, size_t n, bool owner)
{
	if (chosen == TICK)
		fired(w->arg);
	for (size_t i = 0; chosen == IN && i < n; i++)
		set_clock(w, w->values[i]);
	return TASK_ON;
}

static const struct worker_ops clock_ops = {.act = tick_or_set};

static struct worker *clock_new(struct clock *c)
{
	struct worker *w = worker_new(&clock_ops, 4);
	*c = (struct clock){0};
	w->arg = c;
	return w;
}

/* Has every deadline that was set, and not replaced, come, after n were asked for in all? */
static bool is_over(struct clock *c, size_t n)
{
	return c->n_set == n && c->n_replaced + c->n_fired == n;
}

static void test_a_deadline_set_by_another_thread_is_kept_and_the_owner_sleeps_on(void **state)
{
	struct clock c;
	struct worker *w = clock_new(&c);
	worker_go(w);
	long before = sleeps_of(w);
	for (size_t i = 1; i <= 5; i++) {
		give_here(w, 2 * NSEC_PER_MSEC);
		wait_for(c.n_fired == i);
		assert_int_equal(w->n_by_owner, 0);
	}
	assert_int_equal(sleeps_of(w), before);
	assert_in_range(c.latest_ns, 0, TOO_LATE);
	worker_stop(w);
}

static void test_a_deadline_of_the_owner_is_kept(void **state)
{
	struct clock c;
	struct worker *w = clock_new(&c);
	set_clock(w, 5 * NSEC_PER_MSEC);
	go(&w->wg, worker_run, w);
	wait_for(c.n_fired == 1);
	assert_in_range(c.latest_ns, 0, TOO_LATE);
	worker_stop(w);
}

static void test_a_nearer_deadline_is_seen(void **state)
{
	struct clock far, c;
	struct worker *other = clock_new(&far), *w = clock_new(&c);
	set_clock(other, FAR / 2);
	set_clock(w, FAR);
	worker_go(other);
	worker_go(w);
	give_here(w, FAR / 4);
	assert_int_equal(c.n_set, 2);
	stays(c.n_fired == 0);
	give_here(w, 5 * NSEC_PER_MSEC);
	wait_for(c.n_fired == 1);
	assert_int_equal(c.n_replaced, 2);
	assert_int_equal(far.n_fired, 0);
	worker_stop(w);
	worker_stop(other);
}

/* The look that was planned for the first is in vain, unless this thread is away for so long. */
static void test_a_deadline_that_has_moved_is_not_early_and_not_lost(void **state)
{
	struct clock c;
	struct worker *w = clock_new(&c);
	size_t set = 0;
	worker_go(w);
	do {
		give_here(w, 20 * NSEC_PER_MSEC);
		give_here(w, 60 * NSEC_PER_MSEC);
		set += 2;
		wait_for(is_over(&c, set));
	} while (c.n_replaced == 0);
	worker_stop(w);
}

static void test_one_that_is_far_away_by_now_is_not_fired(void **state)
{
	struct clock c;
	struct worker *w = clock_new(&c);
	worker_go(w);
	give_here(w, 10 * NSEC_PER_MSEC);
	give_here(w, FAR);
	wait_for(c.n_set == 2);
	size_t fired = c.n_fired;
	assert_in_range(fired, 0, 1);
	/* The look that was planned for the first has been. */
	wait_for(atomic_load(&w->task.timer.when_ns) > c.due_ns - FAR / 2);
	stays(c.n_fired == fired);
	worker_stop(w);
}

/* A step during which the planned look comes, and finds the task claimed. */
static enum task_result step_over_the_look(struct worker *w, int chosen, size_t n, bool owner)
{
	if (chosen == IN)
		wait_for(atomic_load(&w->task.timer.when_ns) == INT64_MAX);
	return tick_or_set(w, chosen, n, owner);
}

static void test_a_look_that_comes_during_a_step_is_planned_anew(void **state)
{
	static const struct worker_ops ops = {.act = step_over_the_look};
	struct clock c;
	struct worker *w = clock_new(&c);
	w->ops = &ops;
	set_clock(w, 30 * NSEC_PER_MSEC);
	worker_go(w);
	give_here(w, 5 * NSEC_PER_MSEC);
	wait_for(is_over(&c, 2));
	worker_stop(w);
}

static bool not_the_tick(struct worker *w, int chosen, size_t n)
{
	return chosen != TICK;
}

static void test_owners_have_their_heartbeats_while_others_take_their_steps(void **state)
{
	static const struct worker_ops ops = {.may_run = not_the_tick};
	struct worker *w = worker_new(&ops, 4);
	ticker_start(&w->ticker, NSEC_PER_MSEC);
	go(&w->wg, worker_run, w);
	size_t given = 0;
	int64_t end = clock_mono_ns() + PATIENCE;
	while (w->n_by_owner < 20 && clock_mono_ns() < end) {
		runnext_begin();
		uint64_t one = 1;
		given += chan_try_send_n(w->in, &one, 1);
		runnext_end();
		sleep_ns(NSEC_PER_MSEC / 4);
	}
	wait_for(w->sum == given);
	assert_in_range(w->n_by_owner, 20, SIZE_MAX);
	worker_stop(w);
}

static void test_all_that_are_due_at_once_are_fired(void **state)
{
	enum { MANY = 50 };
	struct clock c[MANY];
	struct worker *w[MANY];
	int64_t due = clock_mono_ns() + 20 * NSEC_PER_MSEC;
	for (int i = 0; i < MANY; i++) {
		w[i] = clock_new(&c[i]);
		set_clock(w[i], 1);
		c[i].due_ns = due;
		w[i]->ticker.next_ns = due;
		go(&w[i]->wg, worker_run, w[i]);
	}
	for (int i = 0; i < MANY; i++) {
		wait_for(c[i].n_fired == 1);
		assert_in_range(c[i].latest_ns, 0, TOO_LATE);
		worker_stop(w[i]);
	}
}

static void test_a_task_that_ends_takes_its_deadline_along(void **state)
{
	for (int i = 0; i < ROUNDS(400); i++) {
		struct clock c;
		struct worker *w = clock_new(&c);
		set_clock(w, rand_below(200) * NSEC_PER_USEC);
		go(&w->wg, worker_run, w);
		worker_stop(w);
	}
}

/* Each thread has clocks of its own, and waits for each deadline that it has set. */
enum { CLOCKS = 16, DRIVERS = 2 };

static void drive(void *arg)
{
	struct clock c[CLOCKS];
	struct worker *w[CLOCKS];
	size_t set[CLOCKS] = {0};
	for (int i = 0; i < CLOCKS; i++) {
		w[i] = clock_new(&c[i]);
		go(&w[i]->wg, worker_run, w[i]);
	}
	for (int round = 0; round < ROUNDS(1500); round++) {
		for (unsigned n = rand_below(4 * CLOCKS); n > 0; n--) {
			uint32_t i = rand_below(CLOCKS);
			uint64_t delay = rand_below(1 << rand_below(20)); /* up to a millisecond */
			runnext_begin();
			chan_send(w[i]->in, &delay);
			set[i]++;
			runnext_end();
		}
		for (int i = 0; i < CLOCKS; i++)
			wait_for(is_over(&c[i], set[i]));
	}
	for (int i = 0; i < CLOCKS; i++) {
		CHECK(c[i].latest_ns < TOO_LATE);
		worker_stop(w[i]);
	}
}

static void test_of_many_random_deadlines_none_is_lost_or_early(void **state)
{
	struct wait_group wg;
	wait_group_init(&wg);
	for (int i = 0; i < DRIVERS; i++)
		go(&wg, drive, NULL);
	join(&wg);
}

/* At any moment of its loop. */
static void test_it_can_be_stopped_and_started_again(void **state)
{
	for (int i = 0; i < ROUNDS(300); i++) {
		struct err err = {0};
		runnext_stop();
		assert_int_equal(runnext_start(&err), 0);
		for (unsigned turns = rand_below(2000); turns > 0; turns--)
			cpu_relax();
	}
	test_a_deadline_of_the_owner_is_kept(state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			test_a_deadline_set_by_another_thread_is_kept_and_the_owner_sleeps_on),
		cmocka_unit_test(test_a_deadline_of_the_owner_is_kept),
		cmocka_unit_test(test_a_nearer_deadline_is_seen),
		cmocka_unit_test(test_a_deadline_that_has_moved_is_not_early_and_not_lost),
		cmocka_unit_test(test_one_that_is_far_away_by_now_is_not_fired),
		cmocka_unit_test(test_a_look_that_comes_during_a_step_is_planned_anew),
		cmocka_unit_test(test_owners_have_their_heartbeats_while_others_take_their_steps),
		cmocka_unit_test(test_all_that_are_due_at_once_are_fired),
		cmocka_unit_test(test_a_task_that_ends_takes_its_deadline_along),
		cmocka_unit_test(test_of_many_random_deadlines_none_is_lost_or_early),
		cmocka_unit_test(test_it_can_be_stopped_and_started_again),
	};
	return cmocka_run_group_tests(tests, start_runnext, stop_runnext);
}
