/* SPDX-License-Identifier: MIT */
/* netpoll: connections that get a thread, and back; kicks; and what happens without threads. */
#include "test/unit/poller_test.h"

/* --- threads ---------------------------------------------------------------------------------- */

static void test_what_may_block_gets_a_thread_and_comes_back(void **state)
{
	struct netpoll *np = start();
	struct conn c = {.on_step = to_thread};
	begin_and_wait(np, &c);
	for (int i = 1; i <= ROUNDS(500); i++) {
		char name[32];
		int steps = c.steps;
		say(&c);
		wait_for(c.runs == i);
		wait_for(!c.busy);
		snprintf(name, sizeof(name), "conn:%d", c.fd);
		assert_string_equal(c.ran_in, name);
		assert_true(c.steps > steps);
	}
	/* It has no thread any more. */
	wait_for(gothread_count() == (size_t)n_pollers());
	hang_up(&c);
	stop(np);
}

static void test_input_during_a_threads_time_gives_no_step_and_is_not_lost(void **state)
{
	struct netpoll *np = start();
	struct conn c;
	away_init(np, &c);
	for (int i = 1; i <= ROUNDS(500); i++) {
		hold(&c);
		int steps = c.steps;
		c.runs = 1000000; /* the next byte does not ask for a thread */
		say(&c);
		if (i < 10)
			stays(c.steps == steps);
		let_go(&c);
		wait_for(c.got == 2 * i);
		wait_for(!c.busy);
		c.runs = c.got;
	}
	hang_up(&c);
	stop(np);
}

/* Does an epoll instance of this process watch fd? */
static bool is_watched(int fd)
{
	char path[64], what[64], line[128];
	bool found = false;
	for (int e = 0; e < 64; e++) {
		int watched;
		snprintf(path, sizeof(path), "/proc/self/fd/%d", e);
		ssize_t n = readlink(path, what, sizeof(what) - 1);
		what[n > 0 ? n : 0] = '\0';
		if (strcmp(what, "anon_inode:[eventpoll]") != 0)
			continue;
		snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", e);
		FILE *f = fopen(path, "re");
		while (f && fgets(line, sizeof(line), f))
			found |= sscanf(line, "tfd: %d", &watched) == 1 && watched == fd;
		fclose(f);
	}
	return found;
}

static void test_what_comes_during_a_threads_time_disturbs_no_poller(void **state)
{
	struct netpoll *np = start();
	struct conn c;
	away_init(np, &c);
	wait_for(is_watched(c.fd));
	hold(&c);
	assert_false(is_watched(c.fd));
	let_go(&c);
	wait_for(is_watched(c.fd));
	hang_up(&c);
	stop(np);
}

static void test_the_end_during_a_threads_time_is_not_lost(void **state)
{
	struct netpoll *np = start();
	struct conn c;
	away_init(np, &c);
	hold(&c);
	close(c.peer);
	let_go(&c);
	wait_for(c.over);
	stop(np);
}

static void test_a_thread_may_be_wanted_again_at_once(void **state)
{
	struct netpoll *np = start();
	struct conn c;
	away_init(np, &c);
	hold(&c);
	for (int i = 0; i < ROUNDS(500); i++) {
		say(&c); /* is found on the way back */
		let_go(&c);
		wait_held(&c);
	}
	let_go(&c);
	hang_up(&c);
	stop(np);
}

static enum netpoll_next run_to_the_end(struct conn *c)
{
	char byte;
	/* As a thread may, it waits. */
	while (recv(c->fd, &byte, 1, 0) != 0)
		sleep_ns(NSEC_PER_MSEC / 10);
	return close_conn(c);
}

static void test_a_connection_may_end_in_its_thread(void **state)
{
	struct netpoll *np = start();
	struct conn c = {.on_step = to_thread, .on_run = run_to_the_end};
	for (int i = 0; i < 3; i++) {
		c.over = false;
		c.got = c.runs = c.steps = 0;
		begin_and_wait(np, &c);
		say(&c);
		wait_for(c.runs == 1);
		hang_up(&c);
	}
	stop(np);
}

static void test_threads_do_not_wait_for_each_other(void **state)
{
	struct netpoll *np = start();
	struct conn c[20];
	for (size_t i = 0; i < COUNT(c); i++) {
		away_init(np, &c[i]);
		hold(&c[i]);
	}
	for (size_t i = 0; i < COUNT(c); i++)
		let_go(&c[i]);
	for (size_t i = 0; i < COUNT(c); i++)
		hang_up(&c[i]);
	stop(np);
}

/* --- kicks ------------------------------------------------------------------------------------ */

static void test_a_kick_gives_a_step(void **state)
{
	struct netpoll *np = start();
	struct conn c = {0};
	begin_and_wait(np, &c);
	for (int i = 0; i < ROUNDS(1000); i++) {
		int steps = c.steps;
		netpoll_kick(c.pd);
		wait_for(c.steps > steps);
	}
	hang_up(&c);
	stop(np);
}

static void test_a_kick_before_the_beginning_does_no_harm(void **state)
{
	struct netpoll *np = start();
	struct conn c = {0};
	open_conn(np, &c);
	netpoll_kick(c.pd);
	stays(c.steps == 0);
	netpoll_begin(c.pd);
	wait_for(c.steps > 0);
	hang_up(&c);
	stop(np);
}

static void test_a_kick_during_a_step_gives_another(void **state)
{
	struct netpoll *np = start();
	struct conn c;
	holder_init(np, &c);
	for (int i = 0; i < ROUNDS(200); i++) {
		hold(&c);
		int steps = c.steps;
		netpoll_kick(c.pd);
		netpoll_kick(c.pd);
		let_go(&c);
		wait_for(c.steps > steps);
	}
	hang_up(&c);
	stop(np);
}

static void test_a_kick_during_a_threads_time_gives_a_step_after_it(void **state)
{
	struct netpoll *np = start();
	struct conn c;
	away_init(np, &c);
	for (int i = 0; i < ROUNDS(200); i++) {
		hold(&c);
		int steps = c.steps;
		netpoll_kick(c.pd);
		if (i < 5)
			stays(c.steps == steps);
		let_go(&c);
		wait_for(c.steps > steps);
	}
	hang_up(&c);
	stop(np);
}

static enum netpoll_next kick_another(struct conn *c)
{
	struct conn *other = c->more;
	if (c->got > 0)
		netpoll_kick(other->pd);
	return NETPOLL_WAIT;
}

static void test_a_step_may_kick_another_connection_and_itself(void **state)
{
	struct netpoll *np = start();
	struct conn c = {0}, kicker = {.on_step = kick_another, .more = &c};
	begin_and_wait(np, &c);
	begin_and_wait(np, &kicker);
	say(&kicker);
	wait_for(c.steps > 1);
	kicker.more = &kicker;
	say(&kicker);
	wait_for(kicker.steps > 20);
	kicker.more = &c;
	hang_up(&kicker);
	hang_up(&c);
	stop(np);
}

struct kicker {
	struct conn *conns;
	int n;
};

static void kick_all(void *arg)
{
	struct kicker *k = arg;
	for (int i = 0; i < k->n; i++)
		netpoll_kick(k->conns[i].pd);
}

static void test_kicks_of_several_threads_all_arrive(void **state)
{
	enum { N = 100 };
	struct netpoll *np = start();
	struct conn *c = calloc(N, sizeof(*c));
	for (int i = 0; i < N; i++)
		begin_and_wait(np, &c[i]);
	for (int round = 0; round < ROUNDS(100); round++) {
		struct kicker k = {c, N};
		struct wait_group wg;
		int steps[N];
		for (int i = 0; i < N; i++)
			steps[i] = c[i].steps;
		wait_group_init(&wg);
		go(&wg, kick_all, &k);
		go(&wg, kick_all, &k);
		for (int i = 0; i < N; i++)
			wait_for(c[i].steps > steps[i]);
		join(&wg);
	}
	for (int i = 0; i < N; i++)
		hang_up(&c[i]);
	free(c);
	stop(np);
}

/* --- no threads ------------------------------------------------------------------------------- */

static _Atomic bool no_threads;

static int create_unless(pthread_t *id, const pthread_attr_t *attr, void *(*fn)(void *), void *arg)
{
	return no_threads ? EAGAIN : pthread_create(id, attr, fn, arg);
}

static int without_threads(void **state)
{
	gothread_kept_max = 0;
	gothread_drain();
	gothread_create = create_unless;
	gothread_learns_limit = false;
	return 0;
}

static int with_threads(void **state)
{
	no_threads = false;
	gothread_create = pthread_create;
	gothread_kept_max = GOTHREAD_KEPT_MAX;
	gothread_learns_limit = true;
	return 0;
}

/* Threads can be made to fail. */
#define no_thread_test(f) cmocka_unit_test_setup_teardown(f, without_threads, with_threads)

static void test_without_a_thread_another_try_follows(void **state)
{
	struct netpoll *np = start();
	struct conn c = {.on_step = to_thread};
	begin_and_wait(np, &c);
	assert_false(netpoll_is_short_of_threads(np));
	no_threads = true;
	say(&c);
	wait_for(c.no_threads >= 3);
	wait_for(netpoll_is_short_of_threads(np));
	int steps = c.steps;
	/* What comes meanwhile is for the thread. */
	say(&c);
	stays(c.steps == steps && c.runs == 0);
	no_threads = false;
	wait_for(c.runs == 2);
	assert_int_equal(c.got, 2);
	assert_false(netpoll_is_short_of_threads(np));
	hang_up(&c);
	stop(np);
}

static void test_of_many_that_wait_for_a_thread_each_gets_one(void **state)
{
	struct netpoll *np = start();
	struct conn c[50];
	no_threads = true;
	for (size_t i = 0; i < COUNT(c); i++) {
		c[i] = (struct conn){.on_step = to_thread};
		begin_and_wait(np, &c[i]);
		say(&c[i]);
	}
	for (size_t i = 0; i < COUNT(c); i++)
		wait_for(c[i].no_threads > 1);
	no_threads = false;
	for (size_t i = 0; i < COUNT(c); i++)
		wait_for(c[i].runs == 1);
	wait_for(!netpoll_is_short_of_threads(np));
	for (size_t i = 0; i < COUNT(c); i++)
		hang_up(&c[i]);
	stop(np);
}

static enum netpoll_next try_ten_times(struct conn *c, const struct err *why)
{
	return c->no_threads < 10 ? NETPOLL_WAIT : close_conn(c);
}

/* Also where it has input, for which there were steps else. */
static void test_the_tries_are_not_many(void **state)
{
	struct netpoll *np = start();
	struct conn c = {.on_step = to_thread, .on_no_thread = try_ten_times};
	begin_and_wait(np, &c);
	no_threads = true;
	int64_t begin = clock_mono_ns();
	say(&c);
	while (!c.over) {
		(void)send(c.peer, "x", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
		sleep_ns(NSEC_PER_MSEC);
	}
	assert_true(clock_mono_ns() - begin >= 9 * 20 * NSEC_PER_MSEC);
	close(c.peer);
	stop(np);
}

static enum netpoll_next give_up(struct conn *c, const struct err *why)
{
	return c->no_threads < 2 ? NETPOLL_WAIT : close_conn(c);
}

static void test_without_a_thread_it_may_be_given_up(void **state)
{
	struct netpoll *np = start();
	struct conn c = {.on_step = to_thread, .on_no_thread = give_up};
	begin_and_wait(np, &c);
	no_threads = true;
	say(&c);
	wait_for(c.over);
	wait_for(!netpoll_is_short_of_threads(np));
	assert_int_equal(c.runs, 0);
	close(c.peer);
	stop(np);
}

static enum netpoll_next run_here(struct conn *c, const struct err *why)
{
	return NETPOLL_THREAD;
}

static void test_without_a_thread_a_poller_may_run_it(void **state)
{
	struct netpoll *np = start();
	struct conn c = {.on_step = to_thread, .on_no_thread = run_here};
	begin_and_wait(np, &c);
	no_threads = true;
	for (int i = 1; i <= 10; i++) {
		say(&c);
		wait_for(c.runs == i);
		wait_for(!c.busy);
		assert_string_equal(c.ran_in, "poller");
	}
	/* It is back at the pollers. */
	c.runs = 1000000;
	say(&c);
	wait_for(c.got == 11);
	hang_up(&c);
	/* And may end there. */
	c = (struct conn){.on_step = to_thread, .on_run = run_to_the_end, .on_no_thread = run_here};
	begin_and_wait(np, &c);
	say(&c);
	wait_for(c.runs == 1);
	hang_up(&c);
	stop(np);
}

static enum netpoll_next step_instead(struct conn *c, const struct err *why)
{
	c->runs = 1000000; /* that needs no thread */
	return NETPOLL_YIELD;
}

static void test_without_a_thread_it_may_take_a_step_instead(void **state)
{
	struct netpoll *np = start();
	struct conn c = {.on_step = to_thread, .on_no_thread = step_instead};
	begin_and_wait(np, &c);
	no_threads = true;
	say(&c);
	wait_for(c.steps >= 3);
	assert_int_equal(c.no_threads, 1);
	assert_false(netpoll_is_short_of_threads(np));
	say(&c);
	wait_for(c.got == 2);
	hang_up(&c);
	stop(np);
}

/* False: the pollers were too late, and it got a thread. */
static bool gets_no_thread(struct netpoll *np)
{
	struct conn c = {.on_step = to_thread, .on_no_thread = give_up};
	struct wait_group wg;
	begin_and_wait(np, &c);
	/* A failure teaches how many there may be. */
	int64_t begin = clock_mono_ns();
	no_threads = true;
	wait_group_init(&wg);
	assert_int_equal(wait_group_wrap(&wg, "x", kick_all, NULL, NULL), -1);
	wait_group_destroy(&wg);
	no_threads = false;
	say(&c);
	wait_for(c.over || c.runs > 0);
	bool late = c.runs > 0;
	if (late) {
		assert_true(clock_mono_ns() - begin >= CEILING_NS);
		hang_up(&c);
	} else {
		close(c.peer);
	}
	return !late;
}

static void test_the_last_threads_are_not_for_connections(void **state)
{
	struct netpoll *np = start();
	gothread_learns_limit = true;
	while (!gets_no_thread(np))
		;
	stop(np);
}

static void test_pollers_that_cannot_start_are_an_error(void **state)
{
	struct err err = {0};
	struct netpoll *np = netpoll_new(&err);
	no_threads = true;
	assert_int_equal(netpoll_start(np, &err), -1);
	assert_int_equal(err.code, EAGAIN);
	assert_int_equal(gothread_count(), 0);
	netpoll_stop(np);
	netpoll_free(np);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_may_block_gets_a_thread_and_comes_back),
		cmocka_unit_test(test_input_during_a_threads_time_gives_no_step_and_is_not_lost),
		cmocka_unit_test(test_what_comes_during_a_threads_time_disturbs_no_poller),
		cmocka_unit_test(test_the_end_during_a_threads_time_is_not_lost),
		cmocka_unit_test(test_a_thread_may_be_wanted_again_at_once),
		cmocka_unit_test(test_a_connection_may_end_in_its_thread),
		cmocka_unit_test(test_threads_do_not_wait_for_each_other),
		cmocka_unit_test(test_a_kick_gives_a_step),
		cmocka_unit_test(test_a_kick_before_the_beginning_does_no_harm),
		cmocka_unit_test(test_a_kick_during_a_step_gives_another),
		cmocka_unit_test(test_a_kick_during_a_threads_time_gives_a_step_after_it),
		cmocka_unit_test(test_a_step_may_kick_another_connection_and_itself),
		cmocka_unit_test(test_kicks_of_several_threads_all_arrive),
		no_thread_test(test_without_a_thread_another_try_follows),
		no_thread_test(test_of_many_that_wait_for_a_thread_each_gets_one),
		no_thread_test(test_the_tries_are_not_many),
		no_thread_test(test_without_a_thread_it_may_be_given_up),
		no_thread_test(test_without_a_thread_a_poller_may_run_it),
		no_thread_test(test_without_a_thread_it_may_take_a_step_instead),
		no_thread_test(test_the_last_threads_are_not_for_connections),
		no_thread_test(test_pollers_that_cannot_start_are_an_error),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
