/* SPDX-License-Identifier: MIT */
/* netpoll: deadlines. */
#include "test/unit/poller_test.h"

/* --- deadlines -------------------------------------------------------------------------------- */

/* In which no test would wait for it. */
#define HOUR (3600 * NSEC_PER_SEC)

/*
 * A step with input sets the deadline that the test wants. One without is there for the deadline,
 * which it takes back, or it is early. (A look at an old deadline that falls into a step gives
 * another one, so now and then a step may be early where a deadline has moved.)
 */
struct timed {
	struct conn c;
	_Atomic int64_t wanted_ns;
	_Atomic int set, rang, early;
	int seen;            /* the step's: how much input it has had */
	int64_t deadline_ns; /* the step's */
};

static enum netpoll_next timed_step(struct conn *c)
{
	struct timed *t = (struct timed *)c;
	if (c->got > t->seen) {
		t->seen = c->got;
		t->deadline_ns = t->wanted_ns;
		t->set++;
	} else if (t->deadline_ns != 0 && clock_mono_ns() >= t->deadline_ns && c->steps > 1) {
		t->deadline_ns = 0;
		t->rang++;
	} else {
		t->early += c->steps > 1;
	}
	netpoll_set_deadline(c->pd, t->deadline_ns);
	return NETPOLL_WAIT;
}

/* Begins it with that deadline. */
static void begin_timed(struct netpoll *np, struct timed *t, int64_t deadline_ns)
{
	*t = (struct timed){.c = {.on_step = timed_step, .first_deadline_ns = deadline_ns},
		.deadline_ns = deadline_ns};
	begin_and_wait(np, &t->c);
}

/* In so long. */
static int64_t in(int64_t ns)
{
	return clock_mono_ns() + ns;
}

static void change_deadline(struct timed *t, int64_t deadline_ns)
{
	int set = t->set;
	t->wanted_ns = deadline_ns;
	say(&t->c);
	wait_for(t->set > set);
}

static void test_a_step_comes_at_the_deadline_and_not_before(void **state)
{
	struct netpoll *np = start();
	struct timed t;
	for (int i = 0; i < 20; i++) {
		begin_timed(np, &t, in(2 * NSEC_PER_MSEC));
		wait_for(t.rang == 1);
		if (i == 0)
			stays(t.c.steps == 2);
		assert_int_equal(t.early, 0);
		hang_up(&t.c);
	}
	stop(np);
}

static void test_a_deadline_that_has_passed_gives_a_step_at_once(void **state)
{
	struct netpoll *np = start();
	struct timed t;
	begin_timed(np, &t, in(-HOUR));
	wait_for(t.rang == 1);
	change_deadline(&t, 1);
	wait_for(t.rang == 2);
	hang_up(&t.c);
	stop(np);
}

static void test_a_deadline_may_move_nearer(void **state)
{
	struct netpoll *np = start();
	struct timed t;
	begin_timed(np, &t, in(HOUR));
	change_deadline(&t, in(2 * NSEC_PER_MSEC));
	wait_for(t.rang == 1);
	hang_up(&t.c);
	stop(np);
}

/* The old deadline gives no step, though the heap still has it. */
static void test_a_deadline_may_move_farther(void **state)
{
	enum { N = 10 };
	struct netpoll *np = start();
	struct timed t;
	int early = 0;
	for (int i = 0; i < N; i++) {
		begin_timed(np, &t, in(5 * NSEC_PER_MSEC));
		int rang = t.rang;
		change_deadline(&t, in(10 * NSEC_PER_MSEC));
		wait_for(t.rang > rang);
		early += t.early;
		hang_up(&t.c);
	}
	assert_true(early < N);
	stop(np);
}

static void test_a_deadline_may_be_taken_back(void **state)
{
	enum { N = 10 };
	struct netpoll *np = start();
	struct timed t[N];
	int64_t at = in(20 * NSEC_PER_MSEC);
	int early = 0;
	for (int i = 0; i < N; i++) {
		begin_timed(np, &t[i], at);
		change_deadline(&t[i], 0);
	}
	wait_for(clock_mono_ns() > at + A_WHILE);
	for (int i = 0; i < N; i++) {
		early += t[i].early;
		hang_up(&t[i].c);
	}
	assert_true(early < N);
	stop(np);
}

static void test_a_closed_connections_deadline_is_not_the_next_ones(void **state)
{
	struct netpoll *np = start();
	struct timed t;
	struct conn c = {0};
	begin_timed(np, &t, in(5 * NSEC_PER_MSEC));
	hang_up(&t.c);
	begin_and_wait(np, &c);
	assert_ptr_equal(c.pd, t.c.pd);
	stays(c.steps == 1);
	hang_up(&c);
	/* Nor is it kept until it comes: netpoll_free would find it. */
	begin_timed(np, &t, in(HOUR));
	hang_up(&t.c);
	stop(np);
}

static void test_all_deadlines_are_kept_in_whatever_order_they_are_set(void **state)
{
	enum { N = 200 };
	struct netpoll *np = start();
	struct timed *t = calloc(N, sizeof(*t));
	for (int i = 0; i < N; i++)
		begin_timed(np, &t[i], in((i * 37 % N) * NSEC_PER_MSEC / 10));
	for (int i = 0; i < N; i++) {
		wait_for(t[i].rang == 1);
		assert_int_equal(t[i].early, 0);
	}
	/* And all at once: more than one poller takes in one go. */
	int64_t same = in(20 * NSEC_PER_MSEC);
	for (int i = 0; i < N; i++)
		change_deadline(&t[i], same);
	for (int i = 0; i < N; i++) {
		wait_for(t[i].rang == 2);
		hang_up(&t[i].c);
	}
	free(t);
	stop(np);
}

static void test_one_deadline_after_the_other(void **state)
{
	struct netpoll *np = start();
	struct timed t;
	begin_timed(np, &t, in(NSEC_PER_MSEC));
	for (int i = 1; i <= ROUNDS(200); i++) {
		wait_for(t.rang == i);
		change_deadline(&t, in(NSEC_PER_MSEC / 10));
	}
	wait_for(t.rang == ROUNDS(200) + 1);
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
