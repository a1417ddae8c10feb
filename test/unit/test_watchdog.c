/* SPDX-License-Identifier: MIT */
/* watchdog: a sign of life only while the scan loop and the pollers answer. */
#include "test/unit/nsqd_test.h"

#include "common/sd_daemon.h"
#include "nsqd/core/watchdog.h"
#include "nsqd/queue/queue_scan.h"

#define PERIOD (20 * NSEC_PER_MSEC)

/* A daemon without loops, a manager, and the test in the place of the scan loop. */
struct scene {
	struct nsqd *nsqd;
	struct sd_daemon sd;
	int manager;
};

static void start(struct scene *s, struct fixture *f, bool with_pollers)
{
	struct err err;
	int fds[2];
	start_nsqd(f, 10);
	struct nsqd *n = f->nsqd;
	/* The address of the datagrams is none: they go to the other end. */
	assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM, 0, fds), 0);
	*s = (struct scene){.nsqd = n,
		.sd = {.notify_fd = fds[1], .watchdog_ns = PERIOD, .sockets = {-1, -1, -1}},
		.manager = fds[0]};
	if (with_pollers)
		assert_int_equal(netpoll_start(n->netpoll, &err), 0);
	assert_int_equal(watchdog_start(&n->watchdog, &n->ctx, n->netpoll, &s->sd, &err), 0);
}

static void free_all(struct scene *s, struct fixture *f)
{
	nsqd_free(f->nsqd);
	f->nsqd = NULL;
	sd_daemon_close(&s->sd);
	close(s->manager);
}

static void end(struct scene *s, struct fixture *f)
{
	nsqd_exit(f->nsqd);
	free_all(s, f);
}

/* The number of signs of life since the last call. */
static int told(struct scene *s)
{
	char buf[64];
	int count = 0;
	ssize_t n;
	while ((n = recv(s->manager, buf, sizeof(buf), MSG_DONTWAIT)) > 0) {
		assert_int_equal(n, strlen("WATCHDOG=1"));
		assert_memory_equal(buf, "WATCHDOG=1", n);
		count++;
	}
	return count;
}

static bool scan_is_asked(struct scene *s)
{
	return chan_try_recv_n(s->nsqd->ctx.alive_chan, NULL, 1, NULL) == 1;
}

static void test_the_scan_loop_must_answer_each_time(struct fixture *f)
{
	struct scene s;
	start(&s, f, true);
	for (int i = 0; i < 5; i++) {
		/* The pollers answer; the test does not. */
		stays(told(&s) == 0);
		wait_for(scan_is_asked(&s));
		wait_for(told(&s) == 1);
	}
	end(&s, f);
}

static void scan_never(struct options *o)
{
	o->queue_scan_interval = o->queue_scan_refresh_interval = 3600 * NSEC_PER_SEC;
}

/* The daemon's own loops, the scan loop with nothing to do for an hour. */
static void test_a_scan_loop_that_sleeps_answers(struct fixture *f)
{
	struct scene s;
	struct err err;
	start(&s, f, true);
	assert_int_equal(wait_group_wrap(&s.nsqd->wait_group, "scan", nsqd_queue_scan_loop,
				 &s.nsqd->topics, &err),
		0);
	for (int i = 0; i < 5; i++)
		wait_for(told(&s) > 0);
	end(&s, f);
}

static void test_a_poller_must_answer(struct fixture *f)
{
	struct scene s;
	struct err err;
	start(&s, f, false);
	wait_for(scan_is_asked(&s));
	stays(told(&s) == 0 && !scan_is_asked(&s));
	assert_int_equal(netpoll_start(s.nsqd->netpoll, &err), 0);
	wait_for(told(&s) == 1);
	end(&s, f);
}

/* How long that takes is a matter of the manager's other limits. */
static void test_an_exit_needs_no_answers(struct fixture *f)
{
	struct scene s;
	start(&s, f, true);
	nsqd_exit(f->nsqd);
	for (int i = 0; i < 5; i++)
		wait_for(told(&s) > 0);
	free_all(&s, f);
}

/* Until all clients are gone the two go on, and are asked; a handler may hold up the exit here. */
static void test_the_first_part_of_an_exit_is_watched(struct fixture *f)
{
	struct scene s;
	start(&s, f, true);
	atomic_store(&f->nsqd->ctx.phase, PHASE_EXITING);
	for (int i = 0; i < 5; i++) {
		wait_for(scan_is_asked(&s));
		wait_for(told(&s) == 1);
	}
	end(&s, f);
}

static void test_a_manager_that_takes_nothing_stops_nobody(struct fixture *f)
{
	struct scene s;
	start(&s, f, true);
	while (send(s.sd.notify_fd, "x", 1, MSG_DONTWAIT) == 1)
		;
	for (int i = 0; i < 5; i++)
		wait_for(scan_is_asked(&s));
	end(&s, f);
}

static void test_without_a_watchdog_there_is_no_thread(struct fixture *f)
{
	struct watchdog *w;
	struct err err;
	struct sd_daemon sd = {.notify_fd = -1};
	start_nsqd(f, 10);
	size_t threads = gothread_count();
	int descriptors = count_descriptors();
	assert_int_equal(watchdog_start(&w, &f->nsqd->ctx, f->nsqd->netpoll, &sd, &err), 0);
	assert_null(w);
	assert_int_equal(watchdog_start(&w, &f->nsqd->ctx, f->nsqd->netpoll, NULL, &err), 0);
	assert_null(w);
	assert_int_equal(gothread_count(), threads);
	assert_int_equal(count_descriptors(), descriptors);
	watchdog_leave_pollers(w);
	watchdog_stop(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		dir_test(test_the_scan_loop_must_answer_each_time),
		fixture_test(test_a_scan_loop_that_sleeps_answers, fixture_setup, fixture_teardown,
			.wants = A_DIRECTORY, .adjust = scan_never),
		dir_test(test_a_poller_must_answer),
		dir_test(test_an_exit_needs_no_answers),
		dir_test(test_the_first_part_of_an_exit_is_watched),
		dir_test(test_a_manager_that_takes_nothing_stops_nobody),
		dir_test(test_without_a_watchdog_there_is_no_thread),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
