/* SPDX-License-Identifier: MIT */
/* gothread: names, waiting, signals, stacks, a thread that can not be created, and kept threads. */
#include "test/unit/child_test.h"

#include <dirent.h>
#include <errno.h>
#include <malloc.h>
#include <netdb.h>
#include <sched.h>

#include "common/check.h"
#include "common/gothread_internal.h"
#include "common/lock.h"
#include "common/park.h"
#include "common/rand.h"
#include "common/runnext.h"
#include "common/sanitize.h"
#include "common/thread_name.h"

static int count_tasks(void)
{
	DIR *dir = opendir("/proc/self/task");
	int n = 0;
	while (readdir(dir))
		n++;
	closedir(dir);
	return n - 2;
}

/* main, and ThreadSanitizer's or the emulator's own thread. */
#define OWN_TASKS (1 + SANITIZE_THREAD + EMULATED)

/* Each test begins without kept threads; one that is kept stays. */
static int setup(void **state)
{
	gothread_kept_ns = 2 * PATIENCE;
	gothread_drain();
	/* The kernel forgets those that have ended a moment later. */
	wait_for(count_tasks() <= OWN_TASKS);
	return 0;
}

static int teardown(void **state)
{
	gothread_create = pthread_create;
	gothread_kept_max = GOTHREAD_KEPT_MAX;
	return 0;
}

#define gothread_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

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
	assert_int_equal(gothread_kept(), 0);
	chan_close(go_on);
	wait_group_wait(&wg);
	assert_int_equal(gothread_count(), 0);
	assert_int_equal(gothread_kept(), 5);
	l = (struct listed){0, 0, 0};
	gothread_each(list_one, &l);
	assert_int_equal(l.named, 0);
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

static void test_wait_waits_for_all_and_the_group_can_be_used_again(void **state)
{
	_Atomic int n = 0;
	struct wait_group wg;
	wait_group_init(&wg);
	wait_group_wait(&wg);
	for (int round = 1; round <= 5; round++) {
		for (int i = 0; i < 50; i++)
			start(&wg, "bump", bump, &n);
		wait_group_wait(&wg);
		assert_int_equal(n, 50 * round);
		assert_int_equal(gothread_count(), 0);
	}
	wait_group_destroy(&wg);
}

/* Of this process, in pages. */
static long address_space(void)
{
	char line[128];
	FILE *f = fopen("/proc/self/statm", "r");
	assert_non_null(fgets(line, sizeof(line), f));
	fclose(f);
	return atol(line);
}

static void bump_one_after_the_other(struct wait_group *wg, int times)
{
	_Atomic int n = 0;
	for (int i = 0; i < times; i++) {
		start(wg, "bump", bump, &n);
		while (n <= i)
			sched_yield();
	}
	wait_group_wait(wg);
}

/* With new threads, and with the one that is kept. */
static void assert_threads_do_not_pile_up(void)
{
	struct wait_group wg;
	int times = ROUNDS(4000) / 2;
	long leaked = times * (long)gothread_stack_size() / sysconf(_SC_PAGESIZE);
	wait_group_init(&wg);
	bump_one_after_the_other(&wg, times);
	long before = address_space();
	bump_one_after_the_other(&wg, times);
	/*
	 * Not near what the stacks of the second half would be. But some: 40 MB of stacks that libc
	 * keeps for the next, and for a moment those of threads that have counted and not yet ended.
	 */
	wait_for(address_space() - before < leaked / 2);
	wait_group_destroy(&wg);
}

/* A thread that has ended waits to be joined, but never thousands of them. */
static void test_ended_threads_do_not_pile_up(void **state)
{
	assert_threads_do_not_pile_up();
	gothread_kept_max = 0;
	gothread_drain();
	assert_threads_do_not_pile_up();
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

/* False: the test was too late for an answer. */
static bool are_the_last_spared(void)
{
	struct chan *end = chan_new(0, 0);
	struct wait_group wg;
	struct err err = {0};
	wait_group_init(&wg);
	for (int i = 0; i < 32; i++)
		start(&wg, "x", wait_for_end, end);
	gothread_create = no_threads;
	int64_t begin = clock_mono_ns();
	assert_int_equal(wait_group_wrap(&wg, "x", wait_for_end, end, NULL), -1);
	bool scarce = gothread_is_scarce(1, &err);
	int code = err.code;
	scarce = gothread_is_scarce(0, &err) && scarce;
	/* When some end they are kept, and those but an eighth of all may be had again. */
	size_t most = gothread_count(), spare = most / 8;
	for (int i = 0; i < 16; i++)
		chan_send(end, NULL);
	while (gothread_count() > most - 16)
		sched_yield();
	assert_false(gothread_is_scarce(16 - spare, &err));
	scarce = gothread_is_scarce(16 - spare + 1, &err) && scarce;
	bool in_time = clock_mono_ns() - begin < CEILING_NS;
	chan_close(end);
	wait_group_wait(&wg);
	wait_group_destroy(&wg);
	chan_free(end);
	gothread_create = pthread_create;
	if (in_time) {
		assert_true(scarce);
		assert_int_equal(code, EAGAIN);
	}
	return in_time;
}

static void test_when_threads_have_run_out_the_last_are_spared(void **state)
{
	while (!are_the_last_spared())
		gothread_drain();
}

/* --- counting --------------------------------------------------------------------------------- */

static void done_at_last(void *arg)
{
	sleep_ns(A_WHILE);
	wait_group_done(arg);
}

static void test_a_group_counts_what_is_no_thread_as_well(void **state)
{
	struct wait_group wg, others;
	wait_group_init(&wg);
	wait_group_init(&others);
	wait_group_add(&wg);
	wait_group_add(&wg);
	assert_false(wait_group_wait_until(&wg, clock_mono_ns()));
	wait_group_done(&wg);
	assert_false(wait_group_wait_until(&wg, clock_mono_ns()));
	int64_t begin = clock_mono_ns();
	start(&others, "other", done_at_last, &wg);
	join(&wg);
	assert_true(clock_mono_ns() - begin >= A_WHILE);
	join(&others);
}

static void done_without_add(void)
{
	struct wait_group wg;
	wait_group_init(&wg);
	wait_group_done(&wg);
}

static void test_what_was_not_added_cannot_be_done(void **state)
{
	expect_abort(done_without_add, "check failed: wg->running > 0", NULL);
}

/* --- kept threads ----------------------------------------------------------------------------- */

static void tell_tid(void *arg)
{
	*(pid_t *)arg = gettid();
}

/* The thread in which a function has run, and ended. */
static pid_t run_one(void)
{
	struct wait_group wg;
	pid_t tid = 0;
	wait_group_init(&wg);
	start(&wg, "one", tell_tid, &tid);
	join(&wg);
	return tid;
}

static void test_a_function_gets_the_thread_of_the_last(void **state)
{
	int before = count_tasks();
	pid_t tid = run_one();
	for (int i = 0; i < ROUNDS(1000); i++)
		assert_int_equal(run_one(), tid);
	assert_int_equal(gothread_kept(), 1);
	assert_int_equal(count_tasks(), before + 1);
}

struct held {
	struct wait_group wg;
	struct chan *end;
	_Atomic pid_t tid;
};

static void hold(void *arg)
{
	struct held *h = arg;
	h->tid = gettid();
	chan_recv(h->end, NULL);
}

/* Functions that run until release. */
static void hold_all(struct held *h, int n)
{
	for (int i = 0; i < n; i++) {
		wait_group_init(&h[i].wg);
		h[i].end = chan_new(0, 0);
		h[i].tid = 0;
		start(&h[i].wg, "held", hold, &h[i]);
	}
	for (int i = 0; i < n; i++)
		wait_for(h[i].tid != 0);
}

static void release(struct held *h)
{
	chan_close(h->end);
	join(&h->wg);
	chan_free(h->end);
}

static void test_the_thread_that_ended_last_is_used_first(void **state)
{
	struct held first[5], then[5];
	hold_all(first, 5);
	for (int i = 0; i < 5; i++) {
		release(&first[i]);
		assert_int_equal(gothread_kept(), i + 1);
	}
	hold_all(then, 5);
	assert_int_equal(gothread_kept(), 0);
	for (int i = 0; i < 5; i++) {
		assert_int_equal(then[i].tid, first[4 - i].tid);
		release(&then[i]);
	}
}

static void test_no_more_threads_than_64_are_kept(void **state)
{
	enum { N = GOTHREAD_KEPT_MAX + 20 };
	struct held h[N];
	int before = count_tasks();
	assert_int_equal(GOTHREAD_KEPT_MAX, 64);
	hold_all(h, N);
	for (int i = 0; i < N; i++) {
		release(&h[i]);
		assert_int_equal(
			gothread_kept(), i < GOTHREAD_KEPT_MAX ? i + 1 : GOTHREAD_KEPT_MAX);
	}
	/* The others have ended. */
	wait_for(count_tasks() == before + GOTHREAD_KEPT_MAX);
}

static void test_no_thread_is_kept_for_longer_than_it_may_be(void **state)
{
	struct held h[5];
	int before = count_tasks();
	assert_int_equal(GOTHREAD_KEPT_NS, NSEC_PER_SEC);
	gothread_kept_ns = A_WHILE;
	hold_all(h, 5);
	int64_t begin = clock_mono_ns();
	for (int i = 0; i < 5; i++)
		release(&h[i]);
	wait_for(gothread_kept() == 0);
	assert_true(clock_mono_ns() - begin >= A_WHILE);
	wait_for(count_tasks() == before);
}

static void test_those_that_nobody_needs_end_while_others_are_used(void **state)
{
	struct held h[3];
	gothread_kept_ns = A_WHILE;
	hold_all(h, 3);
	for (int i = 0; i < 3; i++)
		release(&h[i]);
	wait_for((run_one(), gothread_kept() <= 1));
}

static void test_drain_ends_and_joins_all_that_are_kept(void **state)
{
	struct held h[10];
	int before = count_tasks();
	hold_all(h, 10);
	for (int i = 0; i < 9; i++)
		release(&h[i]);
	assert_int_equal(gothread_kept(), 9);
	gothread_drain();
	assert_int_equal(gothread_kept(), 0);
	assert_int_equal(gothread_count(), 1); /* it was left alone */
	wait_for(count_tasks() == before + 1); /* the kernel forgets them a moment later */
	release(&h[9]);
	gothread_drain();
	gothread_drain();
	wait_for(count_tasks() == before);
	assert_true(run_one() != 0);
}

static void test_a_kept_thread_is_there_where_none_can_be_created(void **state)
{
	struct held h;
	struct wait_group wg;
	struct err err;
	pid_t tid = run_one();
	gothread_create = no_threads;
	hold_all(&h, 1);
	assert_int_equal(h.tid, tid);
	wait_group_init(&wg);
	assert_int_equal(wait_group_wrap(&wg, "more", never, NULL, &err), -1);
	assert_int_equal(err.code, EAGAIN);
	join(&wg);
	release(&h);
	assert_int_equal(run_one(), tid);
}

static int kept_meanwhile(pthread_t *id, const pthread_attr_t *attr, void *(*fn)(void *), void *arg)
{
	gothread_create = pthread_create;
	run_one();
	return EAGAIN;
}

static void test_one_that_is_kept_while_none_can_be_created_is_used(void **state)
{
	gothread_create = kept_meanwhile;
	assert_true(run_one() != 0);
	assert_int_equal(gothread_kept(), 1);
}

static void read_name(pid_t tid, char *name, size_t size)
{
	char path[64];
	snprintf(path, sizeof(path), "/proc/self/task/%d/comm", (int)tid);
	FILE *f = fopen(path, "r");
	assert_non_null(f);
	assert_non_null(fgets(name, (int)size, f));
	fclose(f);
}

static void test_a_kept_thread_has_not_the_name_of_its_last_function(void **state)
{
	struct seen s = {.ready = NULL};
	struct wait_group wg;
	char name[64];
	pid_t tid = run_one();
	read_name(tid, name, sizeof(name));
	assert_string_equal(name, "kept\n");
	wait_group_init(&wg);
	start(&wg, "another:one/with-a-name", look, &s);
	join(&wg);
	assert_string_equal(s.name, "another:one/with-a-name");
	assert_string_equal(s.kernel, "another:one/wit");
	read_name(tid, name, sizeof(name));
	assert_string_equal(name, "kept\n");
}

static void take_another_name(void *arg)
{
	gothread_adopt("adopted");
	gothread_each(list_one, arg);
}

static void test_a_function_may_take_another_name(void **state)
{
	struct listed l = {0, 0, 0};
	struct wait_group wg;
	pid_t tid = run_one();
	wait_group_init(&wg);
	start(&wg, "listed", take_another_name, &l);
	join(&wg);
	assert_int_equal(l.named, 0);
	assert_int_equal(l.own_tid, tid);
	assert_int_equal(run_one(), tid);
}

static void spin_long(void *arg)
{
	struct parker *p = park_self();
	p->spin_limit = 1000;
	p->probe_interval = 1;
	p->parks = 5;
}

static void see_parker(void *arg)
{
	*(struct parker *)arg = *park_self();
}

static void test_the_next_function_does_not_spin_as_the_last_has_learned_to(void **state)
{
	struct parker fresh, p;
	struct wait_group wg;
	wait_group_init(&wg);
	start(&wg, "x", see_parker, &fresh);
	wait_group_wait(&wg);
	start(&wg, "x", spin_long, NULL);
	wait_group_wait(&wg);
	start(&wg, "x", see_parker, &p);
	join(&wg);
	assert_int_equal(gothread_kept(), 1);
	assert_int_equal(p.spin_limit, fresh.spin_limit);
	assert_int_equal(p.probe_interval, fresh.probe_interval);
	assert_int_equal(p.parks, fresh.parks);
}

static void run_in_thread(void (*fn)(void *))
{
	struct wait_group wg;
	wait_group_init(&wg);
	start(&wg, "careless", fn, NULL);
	wait_group_wait(&wg);
}

static void begin_keeping(void *arg)
{
	runnext_begin();
}

static void leave_keeping(void)
{
	run_in_thread(begin_keeping);
}

#ifdef DEBUG_LOCKS
static void take_lock(void *arg)
{
	static struct mutex m;
	mutex_init(&m, RANK_TOPIC);
	mutex_lock(&m);
}

static void leave_locked(void)
{
	run_in_thread(take_lock);
}
#endif

static void test_a_function_that_leaves_something_behind_aborts(void **state)
{
	expect_abort(leave_keeping, "in thread careless: check failed: !kept_list", NULL);
#ifdef DEBUG_LOCKS
	expect_abort(leave_locked, "in thread careless: the thread's function has left ", NULL);
#endif
}

static void test_a_kept_thread_blocks_the_signals_still(void **state)
{
	for (int i = 0; i < 2; i++)
		test_signals_are_blocked(state);
	assert_int_equal(gothread_kept(), 1);
}

/* --- all at once ------------------------------------------------------------------------------ */

enum { STARTERS = 4 };

static void start_and_wait(void *arg)
{
	struct wait_group wg;
	wait_group_init(&wg);
	for (int i = 0; i < ROUNDS(2000); i++) {
		for (int k = 0; k < 3; k++)
			CHECK(wait_group_wrap(&wg, "bump", bump, arg, NULL) == 0);
		wait_group_wait(&wg);
	}
	wait_group_destroy(&wg);
}

/* Functions come just when threads have been kept for long enough, or are drained. */
static void test_no_function_is_lost_between_a_start_and_an_end(void **state)
{
	_Atomic int n = 0;
	struct wait_group wg;
	int before = count_tasks();
	gothread_kept_ns = NSEC_PER_MSEC / 50;
	gothread_kept_max = 5;
	wait_group_init(&wg);
	for (int i = 0; i < STARTERS; i++)
		start(&wg, "starter", start_and_wait, &n);
	while (!wait_group_wait_until(&wg, clock_mono_ns() + NSEC_PER_MSEC)) {
		gothread_drain();
		gothread_kept_ns = (int64_t)rand_below(100) * NSEC_PER_MSEC / 1000;
	}
	wait_group_destroy(&wg);
	assert_int_equal(n, STARTERS * ROUNDS(2000) * 3);
	gothread_drain();
	wait_for(count_tasks() == before);
}

int main(void)
{
	/*
	 * An arena for a thread that happens to find the others in use would be as large as 500
	 * stacks. libc looks at this once, when it makes its first one.
	 */
#ifdef __GLIBC__
	mallopt(M_ARENA_MAX, 1);
#endif
	const struct CMUnitTest tests[] = {
		gothread_test(test_full_name_here_and_15_bytes_in_the_kernel),
		gothread_test(test_signals_are_blocked),
		gothread_test(test_stack_has_the_size_we_say),
		gothread_test(test_stack_is_enough_for_what_libc_does),
		gothread_test(test_live_threads_are_listed),
		gothread_test(test_foreign_threads_can_be_adopted_and_leave_by_themselves),
		gothread_test(test_a_thread_that_cannot_start_is_an_error),
		gothread_test(test_wait_waits_for_all_and_the_group_can_be_used_again),
		gothread_test(test_ended_threads_do_not_pile_up),
		gothread_test(test_waiting_may_have_an_end),
		gothread_test(test_threads_may_start_others_in_their_group),
		gothread_test(test_when_threads_have_run_out_the_last_are_spared),
		gothread_test(test_misuse_aborts),
		gothread_test(test_check_names_place_thread_and_condition),
		gothread_test(test_a_group_counts_what_is_no_thread_as_well),
		gothread_test(test_what_was_not_added_cannot_be_done),
		gothread_test(test_a_function_gets_the_thread_of_the_last),
		gothread_test(test_the_thread_that_ended_last_is_used_first),
		gothread_test(test_no_more_threads_than_64_are_kept),
		gothread_test(test_no_thread_is_kept_for_longer_than_it_may_be),
		gothread_test(test_those_that_nobody_needs_end_while_others_are_used),
		gothread_test(test_drain_ends_and_joins_all_that_are_kept),
		gothread_test(test_a_kept_thread_is_there_where_none_can_be_created),
		gothread_test(test_one_that_is_kept_while_none_can_be_created_is_used),
		gothread_test(test_a_kept_thread_has_not_the_name_of_its_last_function),
		gothread_test(test_a_function_may_take_another_name),
		gothread_test(test_the_next_function_does_not_spin_as_the_last_has_learned_to),
		gothread_test(test_a_function_that_leaves_something_behind_aborts),
		gothread_test(test_a_kept_thread_blocks_the_signals_still),
		gothread_test(test_no_function_is_lost_between_a_start_and_an_end),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
