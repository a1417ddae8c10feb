/* SPDX-License-Identifier: MIT */
/* gothread: names, joins, signals, stacks, and a thread that can not be created. */
#include "test/unit/child_test.h"

#include <dirent.h>
#include <errno.h>
#include <malloc.h>
#include <netdb.h>
#include <sched.h>

#include "common/check.h"
#include "common/gothread_internal.h"
#include "common/thread_name.h"

struct seen {
	struct chan *ready, *go_on;
	char name[64], kernel[16];
	sigset_t mask;
	size_t stack;
};

static void look(void *arg)
{
	struct seen *s = arg;
	pthread_attr_t attr;
	snprintf(s->name, sizeof(s->name), "%s", thread_name());
	pthread_getname_np(pthread_self(), s->kernel, sizeof(s->kernel));
	pthread_sigmask(SIG_SETMASK, NULL, &s->mask);
	pthread_getattr_np(pthread_self(), &attr);
	pthread_attr_getstacksize(&attr, &s->stack);
	pthread_attr_destroy(&attr);
	if (s->ready) {
		chan_send(s->ready, NULL);
		chan_recv(s->go_on, NULL);
	}
}

static void start(struct wait_group *wg, const char *name, void (*fn)(void *), void *arg)
{
	assert_int_equal(wait_group_wrap(wg, name, fn, arg, NULL), 0);
}

static void test_full_name_here_and_15_bytes_in_the_kernel(void **state)
{
	struct seen s = {.ready = NULL};
	struct wait_group wg;
	wait_group_init(&wg);
	start(&wg, "channel:orders/mail#ephemeral", look, &s);
	join(&wg);
	assert_string_equal(s.name, "channel:orders/mail#ephemeral");
	assert_string_equal(s.kernel, "channel:orders/");
	assert_string_equal(thread_name(), "main");
}

static void test_signals_are_blocked(void **state)
{
	struct seen s = {.ready = NULL};
	struct wait_group wg;
	sigset_t here;
	wait_group_init(&wg);
	start(&wg, "x", look, &s);
	join(&wg);
	assert_true(sigismember(&s.mask, SIGTERM));
	assert_true(sigismember(&s.mask, SIGINT));
	assert_true(sigismember(&s.mask, SIGHUP));
	/* And ours are as they were. */
	pthread_sigmask(SIG_SETMASK, NULL, &here);
	assert_false(sigismember(&here, SIGTERM));
}

static void test_stack_has_the_size_we_say(void **state)
{
	struct seen s = {.ready = NULL};
	struct wait_group wg;
	wait_group_init(&wg);
	start(&wg, "x", look, &s);
	join(&wg);
	assert_true(s.stack >= gothread_stack_size());
	assert_true(s.stack < 2 * gothread_stack_size());
}

static void heavy_libc(void *arg)
{
	char buf[4096];
	struct addrinfo *ai = NULL, hints = {.ai_socktype = SOCK_STREAM};
	snprintf(buf, sizeof(buf), "%.300f %s", 1e300, "x");
	if (getaddrinfo("localhost", "4150", &hints, &ai) == 0)
		freeaddrinfo(ai);
	/* Does not exist, and asks all that the system has for names. */
	if (getaddrinfo("nobody.invalid", "4150", &hints, &ai) == 0)
		freeaddrinfo(ai);
}

static void test_stack_is_enough_for_what_libc_does(void **state)
{
	struct wait_group wg;
	wait_group_init(&wg);
	start(&wg, "x", heavy_libc, NULL);
	join(&wg);
}

struct listed {
	int named, tids;
	int own_tid;
};

static void list_one(void *arg, const char *name, int tid)
{
	struct listed *l = arg;
	if (strncmp(name, "listed", 6) == 0) {
		l->named++;
		l->tids += tid > 0;
	}
	if (strcmp(name, "adopted") == 0)
		l->own_tid = tid;
}

static void test_live_threads_are_listed(void **state)
{
	struct chan *ready = chan_new(0, 0), *go_on = chan_new(0, 0);
	struct seen s[5];
	struct listed l = {0, 0, 0};
	struct wait_group wg;
	assert_int_equal(gothread_count(), 0);
	wait_group_init(&wg);
	for (int i = 0; i < 5; i++) {
		s[i] = (struct seen){.ready = ready, .go_on = go_on};
		start(&wg, "listed", look, &s[i]);
	}
	assert_int_equal(gothread_count(), 5);
	for (int i = 0; i < 5; i++)
		chan_recv(ready, NULL);
	gothread_each(list_one, &l);
	assert_int_equal(l.named, 5);
	assert_int_equal(l.tids, 5);
	chan_close(go_on);
	wait_group_wait(&wg);
	assert_int_equal(gothread_count(), 0);
	wait_group_destroy(&wg);
	chan_free(ready);
	chan_free(go_on);
}

static void *foreign(void *arg)
{
	struct listed *l = arg;
	CHECK(strcmp(thread_name(), "?") == 0);
	gothread_adopt("first name");
	gothread_adopt("adopted");
	CHECK(strcmp(thread_name(), "adopted") == 0);
	gothread_each(list_one, l);
	CHECK(l->own_tid == gettid());
	CHECK(gothread_count() == 1);
	return NULL;
}

static void test_foreign_threads_can_be_adopted_and_leave_by_themselves(void **state)
{
	struct listed l = {0, 0, 0};
	pthread_t t;
	assert_int_equal(pthread_create(&t, NULL, foreign, &l), 0);
	assert_int_equal(pthread_join(t, NULL), 0);
	assert_int_equal(gothread_count(), 0);
}

static int no_threads(pthread_t *id, const pthread_attr_t *attr, void *(*fn)(void *), void *arg)
{
	(void)id, (void)attr, (void)fn, (void)arg;
	return EAGAIN;
}

static void never(void *arg)
{
	CHECK(!"runs");
}

static void test_a_thread_that_cannot_start_is_an_error(void **state)
{
	struct wait_group wg;
	struct err err;
	wait_group_init(&wg);
	gothread_create = no_threads;
	assert_int_equal(wait_group_wrap(&wg, "topic:orders", never, NULL, &err), -1);
	assert_int_equal(wait_group_wrap(&wg, "topic:orders", never, NULL, NULL), -1);
	gothread_create = pthread_create;
	assert_int_equal(err.code, EAGAIN);
	assert_string_equal(
		err.msg, "could not start thread topic:orders: resource temporarily unavailable");
	assert_int_equal(gothread_count(), 0);
	wait_group_wait(&wg); /* does not wait for them */
	wait_group_destroy(&wg);
}

static void bump(void *arg)
{
	++*(_Atomic int *)arg;
}

static int count_tasks(void)
{
	DIR *dir = opendir("/proc/self/task");
	int n = 0;
	while (readdir(dir))
		n++;
	closedir(dir);
	return n - 2;
}

static void test_wait_joins_all_and_the_group_can_be_used_again(void **state)
{
	_Atomic int n = 0;
	struct wait_group wg;
	int before = count_tasks();
	wait_group_init(&wg);
	wait_group_wait(&wg);
	for (int round = 1; round <= 5; round++) {
		for (int i = 0; i < 50; i++)
			start(&wg, "bump", bump, &n);
		wait_group_wait(&wg);
		assert_int_equal(n, 50 * round);
		assert_int_equal(count_tasks(), before);
	}
	wait_group_destroy(&wg);
}

/* A group that lives for ever keeps one ended thread, not thousands. */
static void test_ended_threads_do_not_pile_up(void **state)
{
	_Atomic int n = 0;
	struct wait_group wg;
	long pages[2] = {0, 0};
	long leaked = ROUNDS(4000) / 2 * (long)gothread_stack_size() / sysconf(_SC_PAGESIZE);
	/*
	 * An arena for a thread that happens to find the others in use would be as large as 500
	 * stacks.
	 */
	mallopt(M_ARENA_MAX, 1);
	wait_group_init(&wg);
	for (int i = 0; i < ROUNDS(4000); i++) {
		char line[128];
		start(&wg, "bump", bump, &n);
		while (n <= i)
			sched_yield();
		if (i != ROUNDS(4000) / 2 && i != ROUNDS(4000) - 1)
			continue;
		FILE *f = fopen("/proc/self/statm", "r");
		assert_non_null(fgets(line, sizeof(line), f));
		fclose(f);
		pages[i == ROUNDS(4000) - 1] = atol(line); /* address space */
	}
	/*
	 * Not near what the stacks of the second half would be. But some: threads that have counted
	 * and not yet ended, and 40 MB of stacks that libc keeps for the next.
	 */
	assert_true(pages[1] - pages[0] < leaked / 2);
	wait_group_wait(&wg);
	wait_group_destroy(&wg);
}

struct nest {
	struct wait_group *wg;
	_Atomic int *n;
	int depth;
};

static void spawn_more(void *arg)
{
	struct nest *p = arg;
	++*p->n;
	if (p->depth > 0)
		for (int i = 0; i < 2; i++) {
			struct nest *child = malloc(sizeof(*child));
			*child = (struct nest){p->wg, p->n, p->depth - 1};
			CHECK(wait_group_wrap(p->wg, "more", spawn_more, child, NULL) == 0);
		}
	free(p);
}

static void wait_on_chan(void *arg)
{
	chan_recv(arg, NULL);
}

static void test_waiting_may_have_an_end(void **state)
{
	struct wait_group wg;
	struct err err;
	struct chan *stop = chan_new(0, 0);
	int64_t start = clock_mono_ns();
	wait_group_init(&wg);
	assert_true(wait_group_wait_until(&wg, start));
	assert_int_equal(wait_group_wrap(&wg, "test", wait_on_chan, stop, &err), 0);
	assert_false(wait_group_wait_until(&wg, start));
	start = clock_mono_ns();
	assert_false(wait_group_wait_until(&wg, start + 20 * NSEC_PER_MSEC));
	assert_true(clock_mono_ns() - start >= 20 * NSEC_PER_MSEC);
	chan_close(stop);
	assert_true(wait_group_wait_until(&wg, clock_mono_ns() + 20 * NSEC_PER_SEC));
	wait_group_destroy(&wg);
	chan_free(stop);
}

static void test_threads_may_start_others_in_their_group(void **state)
{
	_Atomic int n = 0;
	struct wait_group wg;
	struct nest *root = malloc(sizeof(*root));
	wait_group_init(&wg);
	*root = (struct nest){&wg, &n, 6};
	start(&wg, "more", spawn_more, root);
	join(&wg);
	assert_int_equal(n, 127);
}

static void destroy_while_running(void)
{
	struct wait_group wg;
	struct seen s = {.ready = chan_new(0, 0), .go_on = chan_new(0, 0)};
	wait_group_init(&wg);
	start(&wg, "x", look, &s);
	chan_recv(s.ready, NULL);
	wait_group_destroy(&wg);
}

static void fail_in_thread(void *arg)
{
	CHECK(1 + 1 == 3);
}

static void check_in_thread(void)
{
	struct wait_group wg;
	wait_group_init(&wg);
	start(&wg, "client:127.0.0.1:4150", fail_in_thread, NULL);
	wait_group_wait(&wg);
}

static void test_misuse_aborts(void **state)
{
	expect_abort(destroy_while_running, "check failed: wg->running == 0", NULL);
}

static void test_check_names_place_thread_and_condition(void **state)
{
	expect_abort(check_in_thread, "test_gothread.c:", "in thread client:127.0.0.1:4150",
		"check failed: 1 + 1 == 3\n", NULL);
}

static void wait_for_end(void *arg)
{
	chan_recv(arg, NULL);
}

static void test_when_threads_have_run_out_the_last_are_spared(void **state)
{
	struct chan *end = chan_new(0, 0);
	struct wait_group wg;
	struct err err = {0};
	wait_group_init(&wg);
	for (int i = 0; i < 32; i++)
		start(&wg, "x", wait_for_end, end);
	gothread_create = no_threads;
	assert_int_equal(wait_group_wrap(&wg, "x", wait_for_end, end, NULL), -1);
	gothread_create = pthread_create;
	assert_true(gothread_is_scarce(1, &err));
	assert_int_equal(err.code, EAGAIN);
	assert_true(gothread_is_scarce(0, &err));
	/* When some end, those but an eighth of all may be had again. */
	size_t most = gothread_count(), spare = most / 8;
	for (int i = 0; i < 16; i++)
		chan_send(end, NULL);
	while (gothread_count() > most - 16)
		sched_yield();
	assert_false(gothread_is_scarce(16 - spare, &err));
	assert_true(gothread_is_scarce(16 - spare + 1, &err));
	chan_close(end);
	wait_group_wait(&wg);
	wait_group_destroy(&wg);
	chan_free(end);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_full_name_here_and_15_bytes_in_the_kernel),
		cmocka_unit_test(test_signals_are_blocked),
		cmocka_unit_test(test_stack_has_the_size_we_say),
		cmocka_unit_test(test_stack_is_enough_for_what_libc_does),
		cmocka_unit_test(test_live_threads_are_listed),
		cmocka_unit_test(test_foreign_threads_can_be_adopted_and_leave_by_themselves),
		cmocka_unit_test(test_a_thread_that_cannot_start_is_an_error),
		cmocka_unit_test(test_wait_joins_all_and_the_group_can_be_used_again),
		cmocka_unit_test(test_ended_threads_do_not_pile_up),
		cmocka_unit_test(test_waiting_may_have_an_end),
		cmocka_unit_test(test_threads_may_start_others_in_their_group),
		cmocka_unit_test(test_when_threads_have_run_out_the_last_are_spared),
		cmocka_unit_test(test_misuse_aborts),
		cmocka_unit_test(test_check_names_place_thread_and_condition),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
