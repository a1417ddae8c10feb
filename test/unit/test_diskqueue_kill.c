/* SPDX-License-Identifier: MIT */
/*
 * kill -9 at random moments. A child publishes with --sync-every=1 and tells through a pipe what
 * was acknowledged; the parent kills it, opens the queue and counts. Everything acknowledged and
 * not received is there, in order, once, and nothing else. Every other child is also a consumer,
 * and takes a part: what it had received may come again (at most since the last sync), never be
 * missed.
 */
#include "test/unit/dq_test.h"

#include <signal.h>
#include <sys/wait.h>

#include "common/rand.h"

#define KILLS 60
#define BUDGET (10 * NSEC_PER_SEC)

static struct diskqueue_opts kill_opts(int round)
{
	struct diskqueue_opts o = test_opts(round % 3 == 0 ? 700 : 20000);
	o.sync_every = 1;
	return o;
}

/* What the child tells: numbers below acked are stored; below taken, received. */
struct report {
	int64_t acked;
	int64_t taken;
};

static _Noreturn void child(int round, int64_t first, int64_t next, int fd)
{
	struct diskqueue_opts o = kill_opts(round);
	struct backend_queue *q = open_queue(&o);
	struct report r = {.acked = next, .taken = first};
	for (;;) {
		size_t n = 1 + rand_below(20);
		if (try_put(q, r.acked, n, rand_below(400), NULL) != n)
			_exit(1);
		r.acked += (int64_t)n;
		if (write(fd, &r, sizeof(r)) != sizeof(r))
			_exit(2);
		if (round % 2 == 0)
			continue;
		/* Announced before it is received: the report is an upper bound. */
		n = rand_below(20);
		for (size_t i = 0; i < n && r.taken < r.acked; i++) {
			r.taken++;
			if (write(fd, &r, sizeof(r)) != sizeof(r))
				_exit(2);
			if (get_seq_within(q, PATIENCE) != r.taken - 1)
				_exit(3);
		}
	}
}

/* Lets a child work for a moment, kills it; the last it said. */
static struct report run_child(int round, int64_t first, int64_t next)
{
	struct report r = {.acked = next, .taken = first}, x;
	int fds[2], status;
	struct ticker t;
	struct chan_case c = chan_case_tick(&t);
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	fflush(NULL);
	pid_t pid = fork_alone();
	assert_true(pid >= 0);
	if (pid == 0) {
		close(fds[0]);
		child(round, first, next, fds[1]);
	}
	close(fds[1]);
	ticker_after(&t, (int64_t)rand_below(100) * NSEC_PER_MSEC);
	chan_select(&c, 1);
	kill(pid, SIGKILL);
	while (read(fds[0], &x, sizeof(x)) == sizeof(x))
		r = x;
	close(fds[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (!WIFSIGNALED(status))
		fail_msg("round %d: child ended with %d", round, WEXITSTATUS(status));
	return r;
}

static void test_kill_9_loses_nothing_that_was_acknowledged(void **state)
{
	int64_t end = clock_mono_ns() + BUDGET, first = 0, next = 0, total = 0;
	int round;
	for (round = 0; round < KILLS && clock_mono_ns() < end; round++) {
		struct report r = run_child(round, first, next);
		struct diskqueue_opts o = kill_opts(round);
		struct backend_queue *q = open_queue(&o);
		int64_t left = q->ops->depth(q), seq = -1;
		/* Some of the last put, that was not acknowledged, may be there as well. */
		for (int64_t i = 0; i < left; i++) {
			int64_t s = get_seq_within(q, PATIENCE);
			if (i == 0 ? s < first || s > r.taken : s != seq + 1)
				fail_msg("round %d: message %lld after %lld; acknowledged %lld, "
					 "received %lld..%lld",
					round, (long long)s, (long long)seq, (long long)r.acked,
					(long long)first, (long long)r.taken);
			seq = s;
		}
		expect_drained(q);
		if (left > 0 ? seq + 1 < r.acked || seq >= r.acked + 20 : r.taken < r.acked)
			fail_msg("round %d: last message %lld, acknowledged %lld", round,
				(long long)seq, (long long)r.acked);
		total += left;
		first = next = (seq + 1 > r.acked ? seq + 1 : r.acked);
		close_queue(q);
	}
	print_message("%d kills, %lld messages\n", round, (long long)total);
	/* The signal may end a write behind any page: a torn last record, not acknowledged, is skipped. */
	assert_int_equal(logged("ERROR"), logged("damaged record"));
	assert_true(logged("damaged record") <= round);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		dq_test(test_kill_9_loses_nothing_that_was_acknowledged),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
