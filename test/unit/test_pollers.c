/* SPDX-License-Identifier: MIT */
/* netpoll: input, turns, events that come late, and the life of pollers. */
#include "test/unit/poller_test.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/resource.h>

/* --- input ------------------------------------------------------------------------------------ */

static void test_a_connection_begins_with_a_step(void **state)
{
	struct netpoll *np = start();
	struct conn c = {0};
	open_conn(np, &c);
	stays(c.steps == 0);
	netpoll_begin(c.pd);
	wait_for(c.steps == 1);
	stays(c.steps == 1);
	hang_up(&c);
	stop(np);
}

static void test_input_gives_a_step_and_none_gives_none(void **state)
{
	struct netpoll *np = start();
	struct conn c = {0}, silent = {0};
	begin_and_wait(np, &silent);
	begin_and_wait(np, &c);
	for (int i = 1; i <= ROUNDS(1000); i++) {
		say(&c);
		wait_for(c.got == i);
	}
	assert_int_equal(silent.steps, 1);
	hang_up(&silent);
	hang_up(&c);
	stop(np);
}

static void test_what_came_before_the_beginning_is_seen(void **state)
{
	struct netpoll *np = start();
	struct conn c = {0};
	open_conn(np, &c);
	say(&c);
	netpoll_begin(c.pd);
	wait_for(c.got == 1);
	hang_up(&c);
	stop(np);
}

static void test_a_peer_that_is_gone_at_the_beginning_is_seen(void **state)
{
	struct netpoll *np = start();
	struct conn c = {0};
	open_conn(np, &c);
	close(c.peer);
	netpoll_begin(c.pd);
	wait_for(c.over);
	stop(np);
}

static enum netpoll_next end_when_told(struct conn *c)
{
	return c->more ? close_conn(c) : NETPOLL_WAIT;
}

static void test_what_a_step_leaves_unread_is_not_told_again(void **state)
{
	struct netpoll *np = start();
	struct conn c = {.on_step = end_when_told, .reads_nothing = true};
	begin_and_wait(np, &c);
	say(&c);
	wait_for(c.steps == 2);
	stays(c.steps == 2);
	c.more = &c;
	say(&c);
	wait_for(c.over);
	close(c.peer);
	stop(np);
}

/* A step that has read all already when the next byte comes. */
static void test_input_during_a_step_is_not_lost(void **state)
{
	struct netpoll *np = start();
	struct conn c;
	holder_init(np, &c);
	for (int i = 0; i < ROUNDS(1000); i++) {
		hold(&c);
		say(&c);
		let_go(&c);
		/* The second byte gives a second step, in which it is held again. */
		wait_held(&c);
		let_go(&c);
	}
	assert_true(c.steps >= 1 + 2 * ROUNDS(1000));
	hang_up(&c);
	stop(np);
}

static void test_the_end_during_a_step_is_not_lost(void **state)
{
	struct netpoll *np = start();
	struct conn c;
	holder_init(np, &c);
	hold(&c);
	close(c.peer);
	let_go(&c);
	wait_for(c.over);
	stop(np);
}

/* A step that reads once may have read all, but not the end. */
static void test_the_end_right_behind_the_input_is_not_lost(void **state)
{
	struct netpoll *np = start();
	struct conn c = {.reads_short = true};
	begin_and_wait(np, &c);
	struct held held = hold_all_but(np, 0);
	/* Nobody looks: both are one event. */
	say(&c);
	assert_int_equal(shutdown(c.peer, SHUT_WR), 0);
	free_held(&held);
	wait_for(c.over);
	assert_int_equal(c.got, 1);
	close(c.peer);
	stop(np);
}

static void test_hanging_up_is_told(void **state)
{
	struct netpoll *np = start();
	struct conn c = {0};
	begin_and_wait(np, &c);
	say(&c);
	wait_for(c.got == 1);
	assert_int_equal(c.hung_up, 0);
	hang_up(&c);
	assert_true(c.hung_up > 0);
	/* The next one that has its place has not. */
	c = (struct conn){0};
	begin_and_wait(np, &c);
	say(&c);
	wait_for(c.got == 1);
	assert_int_equal(c.hung_up, 0);
	hang_up(&c);
	stop(np);
}

/* --- turns ------------------------------------------------------------------------------------ */

/* What the connections of a test did, in order. */
struct journal {
	pthread_mutex_t lock;
	char text[256];
};

static void note(struct journal *j, char what)
{
	pthread_mutex_lock(&j->lock);
	size_t len = strlen(j->text);
	CHECK(len + 1 < sizeof(j->text));
	j->text[len] = what;
	pthread_mutex_unlock(&j->lock);
}

struct yielder {
	struct conn c;
	struct journal *j;
	char letter;
	int turns;
};

static enum netpoll_next yield_some(struct conn *c)
{
	struct yielder *y = (struct yielder *)c;
	note(y->j, y->letter);
	return --y->turns > 0 ? NETPOLL_YIELD : NETPOLL_WAIT;
}

/* Begins others, from a step: they are the same poller's. */
static enum netpoll_next begin_others(struct conn *c)
{
	struct yielder *others = c->more;
	for (int i = 0; i < 3; i++)
		begin_conn(c->np, &others[i].c);
	return NETPOLL_WAIT;
}

static void test_those_that_yield_have_turns_with_the_others(void **state)
{
	struct netpoll *np = start();
	struct journal j = {.lock = PTHREAD_MUTEX_INITIALIZER};
	struct yielder y[3];
	for (int i = 0; i < 3; i++)
		y[i] = (struct yielder){{.on_step = yield_some}, &j, (char)('a' + i), 3};
	struct conn first = {.on_step = begin_others, .more = y};
	begin_and_wait(np, &first);
	for (int i = 0; i < 3; i++)
		wait_for(y[i].c.steps == 3 && !y[i].c.busy);
	assert_string_equal(j.text, "abcabcabc");
	for (int i = 0; i < 3; i++)
		hang_up(&y[i].c);
	first.on_step = NULL;
	hang_up(&first);
	stop(np);
}

static _Atomic bool keep_yielding;

static enum netpoll_next yield_on(struct conn *c)
{
	(void)c;
	return keep_yielding ? NETPOLL_YIELD : NETPOLL_WAIT;
}

static void test_those_that_always_yield_do_not_keep_out_the_others(void **state)
{
	struct netpoll *np = start();
	struct conn busy[16], c = {0};
	keep_yielding = true;
	for (size_t i = 0; i < COUNT(busy); i++) {
		busy[i] = (struct conn){.on_step = yield_on};
		begin_conn(np, &busy[i]);
	}
	begin_and_wait(np, &c);
	for (int i = 1; i <= 100; i++) {
		say(&c);
		wait_for(c.got == i);
	}
	/* And the busy ones hear of their input as well. */
	for (size_t i = 0; i < COUNT(busy); i++)
		say(&busy[i]);
	for (size_t i = 0; i < COUNT(busy); i++)
		wait_for(busy[i].got == 1);
	keep_yielding = false;
	for (size_t i = 0; i < COUNT(busy); i++)
		hang_up(&busy[i]);
	hang_up(&c);
	stop(np);
}

/* --- slow steps ------------------------------------------------------------------------------- */

/* All pollers but one are in steps that do not end: by the order of events, not by time. */
static void test_a_slow_step_does_not_delay_the_others(void **state)
{
	struct netpoll *np = start();
	struct conn others[50];
	for (size_t i = 0; i < COUNT(others); i++) {
		others[i] = (struct conn){0};
		begin_and_wait(np, &others[i]);
	}
	struct held held = hold_all_but(np, 1);
	assert_true(held.n > 0);
	for (int round = 1; round <= 10; round++) {
		for (size_t i = 0; i < COUNT(others); i++)
			say(&others[i]);
		for (size_t i = 0; i < COUNT(others); i++)
			wait_for(others[i].got == round);
	}
	for (int i = 0; i < held.n; i++)
		assert_int_equal(held.conns[i].steps, 2);
	free_held(&held);
	for (size_t i = 0; i < COUNT(others); i++)
		hang_up(&others[i]);
	stop(np);
}

/* Only those that the poller has fetched together with it. */
static void test_a_slow_step_delays_few(void **state)
{
	enum { DELAYED = NETPOLL_EVENTS - 1 };
	struct netpoll *np = start();
	struct conn slow, others[50];
	holder_init(np, &slow);
	for (size_t i = 0; i < COUNT(others); i++) {
		others[i] = (struct conn){0};
		begin_and_wait(np, &others[i]);
	}
	struct held held = hold_all_but(np, 0);
	/* It is the first of 51 that one poller finds. */
	say(&slow);
	for (size_t i = 0; i < COUNT(others); i++)
		say(&others[i]);
	let_go(&held.conns[0]);
	wait_held(&slow);
	let_go(&held.conns[1]);
	for (size_t i = DELAYED; i < COUNT(others); i++)
		wait_for(others[i].got == 1);
	let_go(&slow);
	for (int i = 2; i < held.n; i++)
		let_go(&held.conns[i]);
	for (size_t i = 0; i < COUNT(others); i++) {
		wait_for(others[i].got == 1);
		hang_up(&others[i]);
	}
	hang_up(&slow);
	end_held(&held);
	stop(np);
}

/* A first step that is held. */
static enum netpoll_next held_begin(struct conn *c)
{
	if (c->steps == 1)
		be_held(c);
	return NETPOLL_WAIT;
}

static size_t begun(struct conn *conns, size_t n)
{
	size_t sum = 0;
	for (size_t i = 0; i < n; i++)
		sum += conns[i].steps > 0;
	return sum;
}

/* Those that other threads give to the pollers are not all one poller's. */
static void test_a_slow_beginning_delays_few(void **state)
{
	struct netpoll *np = start();
	struct conn others[50], slow = {.on_step = held_begin};
	struct held held = hold_all_but(np, 0);
	for (size_t i = 0; i < COUNT(others); i++) {
		if (i == COUNT(others) / 2)
			begin_conn(np, &slow);
		others[i] = (struct conn){0};
		begin_conn(np, &others[i]);
	}
	let_go(&held.conns[0]);
	wait_held(&slow);
	let_go(&held.conns[1]);
	wait_for(begun(others, COUNT(others)) >= COUNT(others) - (NETPOLL_EVENTS - 1));
	let_go(&slow);
	for (int i = 2; i < held.n; i++)
		let_go(&held.conns[i]);
	for (size_t i = 0; i < COUNT(others); i++) {
		wait_for(others[i].steps == 1);
		hang_up(&others[i]);
	}
	hang_up(&slow);
	end_held(&held);
	stop(np);
}

/* --- stale events ----------------------------------------------------------------------------- */

/*
 * One poller has fetched an event of old, and is held before it looks at it. Meanwhile another ends
 * old, and a new connection gets its place. The event is not the new one's.
 */
static void test_an_event_of_a_closed_connection_is_not_the_next_ones(void **state)
{
	struct netpoll *np = start();
	struct conn slow, old = {0}, new = {0};
	holder_init(np, &slow);
	begin_and_wait(np, &old);
	struct held held = hold_all_but(np, 0);
	say(&slow);
	say(&old);
	let_go(&held.conns[0]);
	wait_held(&slow);
	let_go(&held.conns[1]);
	hang_up(&old);
	begin_and_wait(np, &new);
	assert_ptr_equal(new.pd, old.pd);
	let_go(&slow);
	for (int i = 2; i < held.n; i++)
		let_go(&held.conns[i]);
	end_held(&held);
	flush_pollers(np);
	assert_int_equal(new.steps, 1);
	say(&new);
	wait_for(new.got == 1);
	hang_up(&new);
	hang_up(&slow);
	stop(np);
}

/* --- what epoll does not take ------------------------------------------------------------------ */

/* A file cannot be watched. Nor can a socket while the kernel has no memory. */
static void test_what_cannot_be_watched_is_looked_at_now_and_then(void **state)
{
	struct netpoll *np = start();
	struct conn c = {.on_step = end_when_told};
	int64_t begin = clock_mono_ns();
	c.np = np;
	c.fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	assert_true(c.fd >= 0);
	c.pd = netpoll_open(np, c.fd, &conn_ops, &c);
	netpoll_begin(c.pd);
	wait_for(c.steps >= 10);
	assert_true(clock_mono_ns() - begin >= 9 * 20 * NSEC_PER_MSEC);
	assert_int_equal(c.runs, 0);
	c.more = &c;
	wait_for(c.over);
	stop(np);
}

/* --- life ------------------------------------------------------------------------------------- */

static void test_it_may_end_without_a_start(void **state)
{
	struct err err;
	struct netpoll *np = netpoll_new(&err);
	netpoll_stop(np);
	netpoll_free(np);
	netpoll_free(NULL);
	stop(start());
}

static void test_there_are_two_pollers_at_least(void **state)
{
	cpu_set_t all, one;
	assert_int_equal(sched_getaffinity(0, sizeof(all), &all), 0);
	CPU_ZERO(&one);
	for (int i = 0; CPU_COUNT(&one) == 0; i++) {
		if (CPU_ISSET(i, &all))
			CPU_SET(i, &one);
	}
	assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
	struct netpoll *np = start();
	assert_int_equal(sched_setaffinity(0, sizeof(all), &all), 0);
	assert_int_equal(n_pollers(), 2);
	stop(np);
}

static void test_no_descriptor_is_left_behind(void **state)
{
	int before = count_descriptors();
	struct netpoll *np = start();
	struct conn c = {0};
	begin_and_wait(np, &c);
	hang_up(&c);
	stop(np);
	assert_int_equal(count_descriptors(), before);
}

static void test_without_descriptors_there_is_an_error(void **state)
{
	struct rlimit old, few;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	for (int left = 0; left < 3; left++) {
		struct err err = {0};
		int next = dup(0);
		close(next);
		few = old;
		few.rlim_cur = (rlim_t)(next + left);
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
		struct netpoll *np = netpoll_new(&err);
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
		assert_null(np);
		assert_int_equal(err.code, EMFILE);
	}
}

static void test_two_thousand_connections(void **state)
{
	enum { N = 2000 };
	struct rlimit old, many;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	many = old;
	many.rlim_cur = many.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &many), 0);
	struct netpoll *np = start();
	struct conn *c = calloc(N, sizeof(*c));
	for (int i = 0; i < N; i++)
		begin_conn(np, &c[i]);
	for (int round = 1; round <= 3; round++) {
		for (int i = 0; i < N; i++)
			say(&c[i]);
		for (int i = 0; i < N; i++)
			wait_for(c[i].got == round);
	}
	assert_int_equal(gothread_count(), n_pollers());
	for (int i = 0; i < N; i++)
		close(c[i].peer);
	for (int i = 0; i < N; i++)
		wait_for(c[i].over);
	free(c);
	stop(np);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_connection_begins_with_a_step),
		cmocka_unit_test(test_input_gives_a_step_and_none_gives_none),
		cmocka_unit_test(test_what_came_before_the_beginning_is_seen),
		cmocka_unit_test(test_a_peer_that_is_gone_at_the_beginning_is_seen),
		cmocka_unit_test(test_what_a_step_leaves_unread_is_not_told_again),
		cmocka_unit_test(test_input_during_a_step_is_not_lost),
		cmocka_unit_test(test_the_end_during_a_step_is_not_lost),
		cmocka_unit_test(test_the_end_right_behind_the_input_is_not_lost),
		cmocka_unit_test(test_hanging_up_is_told),
		cmocka_unit_test(test_those_that_yield_have_turns_with_the_others),
		cmocka_unit_test(test_those_that_always_yield_do_not_keep_out_the_others),
		cmocka_unit_test(test_a_slow_step_does_not_delay_the_others),
		cmocka_unit_test(test_a_slow_step_delays_few),
		cmocka_unit_test(test_a_slow_beginning_delays_few),
		cmocka_unit_test(test_an_event_of_a_closed_connection_is_not_the_next_ones),
		cmocka_unit_test(test_what_cannot_be_watched_is_looked_at_now_and_then),
		cmocka_unit_test(test_it_may_end_without_a_start),
		cmocka_unit_test(test_there_are_two_pollers_at_least),
		cmocka_unit_test(test_no_descriptor_is_left_behind),
		cmocka_unit_test(test_without_descriptors_there_is_an_error),
		cmocka_unit_test(test_two_thousand_connections),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
