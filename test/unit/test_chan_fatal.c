/* SPDX-License-Identifier: MIT */
/* chan: misuse stops the process with a message that names the chan and the thread. */
#include "test/unit/chan_harness.h"
#include "test/unit/child_test.h"

static struct chan *c;
static int values[10];

/* fn in a thread named "culprit", then what main does once the culprit sleeps. */
static void in_culprit(void (*fn)(void *))
{
	static struct wait_group wg;
	wait_group_init(&wg);
	if (wait_group_wrap(&wg, "culprit", fn, NULL, NULL))
		_exit(1);
}

static void send_it(void *arg)
{
	chan_send(c, values);
}

static void send_all(void *arg)
{
	chan_send_n(c, values, 10);
}

static void select_send_it(void *arg)
{
	struct chan *other = chan_new(0, 0);
	struct chan_case cases[] = {chan_case_recv(other, NULL), chan_case_send(c, values)};
	chan_select(cases, 2);
}

static void recv_it(void *arg)
{
	chan_recv(c, NULL);
}

static void make_closed(void)
{
	c = chan_new(sizeof(int), 3);
	chan_close(c);
}

static void send_on_closed(void)
{
	make_closed();
	send_it(NULL);
}

static void try_send_on_closed(void)
{
	make_closed();
	chan_try_send_n(c, values, 2);
}

static void select_send_on_closed(void)
{
	make_closed();
	select_send_it(NULL);
}

static void try_select_send_on_closed(void)
{
	make_closed();
	struct chan_case cc = chan_case_send(c, values);
	chan_try_select(&cc, 1);
}

static void sender_asleep(void (*fn)(void *), size_t take)
{
	c = chan_new(sizeof(int), 0);
	in_culprit(fn);
	await_waiters(c, CHAN_SEND, 1);
	if (take)
		chan_recv_n(c, values, take);
	chan_close(c);
	pause();
}

static void close_under_sender(void)
{
	sender_asleep(send_it, 0);
}

static void close_under_select(void)
{
	sender_asleep(select_send_it, 0);
}

static void close_under_part_served_batch(void)
{
	sender_asleep(send_all, 4);
}

static void close_twice(void)
{
	make_closed();
	chan_close(c);
}

static void close_null(void)
{
	chan_close(NULL);
}

static void send_null(void)
{
	chan_send(NULL, values);
}

static void recv_null(void)
{
	chan_recv(NULL, values);
}

static void free_with_waiter(void)
{
	c = chan_new(sizeof(int), 0);
	in_culprit(recv_it);
	await_waiters(c, CHAN_RECV, 1);
	chan_free(c);
}

static void too_many_cases(void)
{
	static struct chan_case cases[CHAN_SELECT_MAX + 1];
	chan_try_select(cases, CHAN_SELECT_MAX + 1);
}

static void not_a_chan(void)
{
	static char zeroes[512] __attribute__((aligned(64)));
	chan_recv((struct chan *)zeroes, NULL);
}

static void huge(void)
{
	chan_new(SIZE_MAX / 2, 3);
}

static void receive_into_nothing(void)
{
	make_closed();
	chan_recv_n(c, values, 0);
}

static void test_send_on_closed_aborts(void **state)
{
	expect_abort(send_on_closed, "send on closed chan", "capacity 3", "4 bytes",
		"in thread main", NULL);
	expect_abort(try_send_on_closed, "send on closed chan", "in thread main", NULL);
	expect_abort(select_send_on_closed, "send on closed chan", "in thread main", NULL);
	expect_abort(try_select_send_on_closed, "send on closed chan", "in thread main", NULL);
}

static void test_close_under_a_sleeping_sender_aborts_in_the_sender(void **state)
{
	expect_abort(close_under_sender, "send on closed chan", "in thread culprit", NULL);
	expect_abort(close_under_select, "send on closed chan", "in thread culprit", NULL);
	expect_abort(
		close_under_part_served_batch, "send on closed chan", "in thread culprit", NULL);
}

static void test_bad_close_aborts(void **state)
{
	expect_abort(close_twice, "close of closed chan", "in thread main", NULL);
	expect_abort(close_null, "close", "the chan is NULL", "in thread main", NULL);
}

static void test_null_outside_of_select_aborts(void **state)
{
	expect_abort(send_null, "send", "the chan is NULL", NULL);
	expect_abort(recv_null, "receive", "the chan is NULL", NULL);
}

static void test_free_under_waiters_aborts(void **state)
{
	expect_abort(free_with_waiter, "threads wait", "in thread main", NULL);
}

static void test_other_misuse_aborts(void **state)
{
	expect_abort(too_many_cases, "CHAN_SELECT_MAX", NULL);
	expect_abort(not_a_chan, "not a chan", NULL);
	expect_abort(huge, "check failed", NULL);
	expect_abort(receive_into_nothing, "max > 0", NULL);
}

#if defined(DEBUG_LOCKS) || defined(CHAN_PERTURB)
static void send_without_the_lock(void)
{
	struct wake_list wakes = {NULL, NULL, 0};
	c = chan_new(sizeof(int), 3);
	chan_send_locked(c, (const char *)values, 1, &wakes);
}

static void test_what_needs_the_lock_says_so(void **state)
{
	expect_abort(send_without_the_lock, "not locked", "capacity 3", "in thread main", NULL);
}
#endif

static void select_nothing(void *arg)
{
	chan_select(NULL, 0);
}

/* select {} blocks for ever: nothing can wake it, so it can only be killed. */
static void test_select_without_cases_blocks(void **state)
{
	pid_t pid = fork_alone();
	int status;
	if (pid == 0) {
		select_nothing(NULL);
		_exit(0);
	}
	sleep_ns(100 * NSEC_PER_MSEC);
	assert_int_equal(waitpid(pid, &status, WNOHANG), 0);
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, &status, 0), pid);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_send_on_closed_aborts),
		cmocka_unit_test(test_close_under_a_sleeping_sender_aborts_in_the_sender),
		cmocka_unit_test(test_bad_close_aborts),
		cmocka_unit_test(test_null_outside_of_select_aborts),
		cmocka_unit_test(test_free_under_waiters_aborts),
		cmocka_unit_test(test_other_misuse_aborts),
#if defined(DEBUG_LOCKS) || defined(CHAN_PERTURB)
		cmocka_unit_test(test_what_needs_the_lock_says_so),
#endif
		cmocka_unit_test(test_select_without_cases_blocks),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
