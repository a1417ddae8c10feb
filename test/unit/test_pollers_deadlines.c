/* SPDX-License-Identifier: MIT */
/* netpoll: deadlines. */
#include "test/unit/poller_test.h"

/* --- deadlines -------------------------------------------------------------------------------- */

/* In which no test would wait for it. */
#define HOUR (3600 * NSEC_PER_SEC)

/* What a step is to set; it keeps the deadline that it has while this is negative. */
struct timed {
	struct conn c;
	_Atomic int64_t set_ns;
};

static enum netpoll_next set_deadline(struct conn *c)
{
	struct timed *t = (struct timed *)c;
	int64_t ns = atomic_exchange(&t->set_ns, -1);
	if (ns >= 0)
		netpoll_set_deadline(c->pd, ns);
	return NETPOLL_WAIT;
}

/* Begins it with a deadline in so long (ns). The step at the deadline sets none. Returns when. */
static int64_t begin_timed(struct netpoll *np, struct timed *t, int64_t in_ns)
{
	int64_t at = clock_mono_ns() + in_ns;
	*t = (struct timed){{.on_step = set_deadline, .first_deadline_ns = at}, .set_ns = -1};
	begin_and_wait(np, &t->c);
	t->set_ns = 0;
	return at;
}

/* A step in which it sets its deadline to that. */
static void change_deadline(struct timed *t, int64_t ns)
{
	int steps = t->c.steps;
	t->set_ns = ns;
	say(&t->c);
	wait_for(t->c.steps > steps && t->set_ns == -1);
	t->set_ns = 0;
}

static void test_a_step_comes_at_the_deadline_and_not_before(void **state)
{
	struct netpoll *np = start();
	struct timed t;
	for (int i = 0; i < 20; i++) {
		int64_t at = begin_timed(np, &t, 2 * NSEC_PER_MSEC);
		wait_for(t.set_ns == -1);
		assert_true(t.c.last_step_ns >= at);
		int steps = t.c.steps;
		if (i == 0)
			stays(t.c.steps == steps);
		hang_up(&t.c);
	}
	stop(np);
}

static void test_a_deadline_that_has_passed_gives_a_step_at_once(void **state)
{
	struct netpoll *np = start();
	struct timed t;
	begin_timed(np, &t, -HOUR);
	wait_for(t.set_ns == -1);
	change_deadline(&t, 1);
	wait_for(t.set_ns == -1);
	hang_up(&t.c);
	stop(np);
}

static void test_a_deadline_may_move_nearer(void **state)
{
	struct netpoll *np = start();
	struct timed t;
	begin_timed(np, &t, HOUR);
	int64_t at = clock_mono_ns() + 2 * NSEC_PER_MSEC;
	change_deadline(&t, at);
	wait_for(t.set_ns == -1);
	assert_true(t.c.last_step_ns >= at);
	hang_up(&t.c);
	stop(np);
}

static void test_a_deadline_may_move_farther(void **state)
{
	struct netpoll *np = start();
	struct timed t;
	for (int i = 0; i < 10; i++) {
		begin_timed(np, &t, 5 * NSEC_PER_MSEC);
		int64_t at = clock_mono_ns() + 10 * NSEC_PER_MSEC;
		change_deadline(&t, at);
		wait_for(t.set_ns == -1);
		assert_true(t.c.last_step_ns >= at);
		hang_up(&t.c);
	}
	begin_timed(np, &t, 5 * NSEC_PER_MSEC);
	change_deadline(&t, clock_mono_ns() + HOUR);
	int steps = t.c.steps;
	stays(t.c.steps == steps);
	hang_up(&t.c);
	stop(np);
}

static void test_a_deadline_may_be_taken_back(void **state)
{
	struct netpoll *np = start();
	struct timed t;
	begin_timed(np, &t, 5 * NSEC_PER_MSEC);
	change_deadline(&t, 0);
	int steps = t.c.steps;
	stays(t.c.steps == steps);
	hang_up(&t.c);
	stop(np);
}

static void test_a_closed_connections_deadline_is_not_the_next_ones(void **state)
{
	struct netpoll *np = start();
	struct timed t;
	struct conn c = {0};
	begin_timed(np, &t, 5 * NSEC_PER_MSEC);
	hang_up(&t.c);
	begin_and_wait(np, &c);
	assert_ptr_equal(c.pd, t.c.pd);
	stays(c.steps == 1);
	hang_up(&c);
	stop(np);
}

static void test_all_deadlines_are_kept_in_whatever_order_they_are_set(void **state)
{
	enum { N = 200 };
	struct netpoll *np = start();
	struct timed *t = calloc(N, sizeof(*t));
	int64_t at[N], same = clock_mono_ns() + 10 * NSEC_PER_MSEC;
	for (int i = 0; i < N; i++)
		at[i] = begin_timed(np, &t[i], (i * 37 % N) * NSEC_PER_MSEC / 10);
	for (int i = 0; i < N; i++) {
		wait_for(t[i].set_ns == -1);
		assert_true(t[i].c.last_step_ns >= at[i]);
	}
	/* And all at once: more than one poller takes in one go. */
	for (int i = 0; i < N; i++)
		change_deadline(&t[i], same);
	for (int i = 0; i < N; i++) {
		wait_for(t[i].set_ns == -1);
		assert_true(t[i].c.last_step_ns >= same);
		hang_up(&t[i].c);
	}
	free(t);
	stop(np);
}

static void test_one_deadline_after_the_other(void **state)
{
	struct netpoll *np = start();
	struct timed t;
	begin_timed(np, &t, NSEC_PER_MSEC);
	for (int i = 0; i < ROUNDS(200); i++) {
		wait_for(t.set_ns == -1);
		change_deadline(&t, clock_mono_ns() + NSEC_PER_MSEC / 10);
	}
	wait_for(t.set_ns == -1);
	hang_up(&t.c);
	stop(np);
}

/* A step that is held, and sets a deadline that passes meanwhile. */
static enum netpoll_next held_step_with_deadline(struct conn *c)
{
	netpoll_set_deadline(c->pd, c->got > 0 ? clock_mono_ns() : 0);
	return held_step(c);
}

static void test_a_deadline_that_passes_during_a_step_gives_another(void **state)
{
	struct netpoll *np = start();
	struct conn c;
	holder_init(np, &c);
	c.on_step = held_step_with_deadline;
	hold(&c);
	int steps = c.steps;
	let_go(&c);
	wait_for(c.steps > steps);
	hang_up(&c);
	stop(np);
}

static enum netpoll_next run_with_deadline(struct conn *c)
{
	netpoll_set_deadline(c->pd, clock_mono_ns() + NSEC_PER_MSEC);
	return held_run(c);
}

static void test_a_deadline_gives_no_step_during_a_threads_time_but_after_it(void **state)
{
	struct netpoll *np = start();
	struct conn c;
	away_init(np, &c);
	c.on_run = run_with_deadline;
	for (int i = 0; i < 3; i++) {
		hold(&c);
		int steps = c.steps;
		stays(c.steps == steps);
		let_go(&c);
		/* As the deadline stays as it is, one step follows the other. */
		wait_for(c.steps > steps + 2);
	}
	hang_up(&c);
	stop(np);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_step_comes_at_the_deadline_and_not_before),
		cmocka_unit_test(test_a_deadline_that_has_passed_gives_a_step_at_once),
		cmocka_unit_test(test_a_deadline_may_move_nearer),
		cmocka_unit_test(test_a_deadline_may_move_farther),
		cmocka_unit_test(test_a_deadline_may_be_taken_back),
		cmocka_unit_test(test_a_closed_connections_deadline_is_not_the_next_ones),
		cmocka_unit_test(test_all_deadlines_are_kept_in_whatever_order_they_are_set),
		cmocka_unit_test(test_one_deadline_after_the_other),
		cmocka_unit_test(test_a_deadline_that_passes_during_a_step_gives_another),
		cmocka_unit_test(test_a_deadline_gives_no_step_during_a_threads_time_but_after_it),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
