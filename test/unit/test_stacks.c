/* SPDX-License-Identifier: MIT */
/* stacks: every thread is shown, and none holds up the others. Each test prints in a child. */
#include "test/unit/helper.h"

#include <sys/wait.h>

#include "common/chan.h"
#include "common/clock.h"
#include "common/gothread.h"
#include "common/gothread_internal.h"
#include "common/sanitize.h"
#include "common/stacks.h"
#include "common/strbuf.h"

static struct wait_group wg;
static struct chan *ready_chan, *never_chan;
static pthread_mutex_t held = PTHREAD_MUTEX_INITIALIZER;

/* Behind a call, so that it is no jump and its caller stays on the stack. */
#define STAY_ON_THE_STACK() __asm__ volatile("")

__attribute__((noinline)) static void the_place_where_it_waits(void)
{
	chan_send(ready_chan, NULL);
	chan_recv(never_chan, NULL);
	STAY_ON_THE_STACK();
}

static void waits(void *arg)
{
	the_place_where_it_waits();
	STAY_ON_THE_STACK();
}

static void computes(void *arg)
{
	chan_send(ready_chan, NULL);
	for (volatile unsigned i = 0;; i++)
		;
}

static void holds_a_lock(void *arg)
{
	pthread_mutex_lock(&held);
	the_place_where_it_waits();
	pthread_mutex_unlock(&held);
}

static void wants_that_lock(void *arg)
{
	chan_send(ready_chan, NULL);
	pthread_mutex_lock(&held);
	pthread_mutex_unlock(&held);
}

/* As one that hangs in the kernel: no signal reaches it. */
static void is_deaf(void *arg)
{
	sigset_t all;
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, NULL);
	the_place_where_it_waits();
	STAY_ON_THE_STACK();
}

static void start(const char *name, void (*fn)(void *))
{
	if (wait_group_wrap(&wg, name, fn, NULL, NULL) != 0)
		_exit(3);
	chan_recv(ready_chan, NULL);
}

/* Runs fn in a child, whose descriptor for printing is fd. */
static pid_t run_child(void (*fn)(int fd), int fd)
{
	fflush(NULL);
	pid_t pid = fork_alone();
	assert_true(pid >= 0);
	if (pid > 0)
		return pid;
	gothread_adopt("main");
	wait_group_init(&wg);
	ready_chan = chan_new(0, 0);
	never_chan = chan_new(0, 0);
	fn(fd);
	_exit(0);
}

static void assert_ends_well(pid_t pid)
{
	int status;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* What it prints; the caller frees it. */
static struct strbuf printed_by(void (*fn)(int fd))
{
	struct strbuf text = STRBUF_INIT;
	char buf[65536];
	int p[2];
	assert_int_equal(pipe(p), 0);
	pid_t pid = run_child(fn, p[1]);
	close(p[1]);
	for (ssize_t n; (n = read(p[0], buf, sizeof(buf))) > 0;)
		strbuf_add(&text, buf, (size_t)n);
	close(p[0]);
	assert_ends_well(pid);
	return text;
}

/*
 * The same. A thread has a second to answer, and may be late on a busy machine: then it is printed
 * once more. n_deaf threads never answer. (Nor do all under ThreadSanitizer.)
 */
static struct strbuf printed_in_time_by(void (*fn)(int fd), int n_deaf)
{
	for (int64_t end = clock_mono_ns() + PATIENCE;;) {
		struct strbuf text = printed_by(fn);
		int n = 0;
		for (const char *p = text.data; (p = strstr(p, "does not answer")); p++)
			n++;
		if (n <= n_deaf || SANITIZE_THREAD || clock_mono_ns() > end)
			return text;
		strbuf_free(&text);
	}
}

/* The part of text that is about the thread name, up to the next; the caller frees it. */
static char *about(const struct strbuf *text, const char *name)
{
	char *head;
	assert_true(asprintf(&head, " [%s]:\n", name) > 0);
	const char *begin = strstr(text->data, head);
	if (!begin)
		print_message("%s\n", text->data);
	assert_non_null(begin);
	free(head);
	const char *end = strstr(begin, "\n\n");
	return end ? strndup(begin, (size_t)(end - begin)) : strdup(begin);
}

/* Handlers run late under ThreadSanitizer, in a thread that sleeps never: it is named only. */
static void assert_stands_in(const struct strbuf *text, const char *name, const char *function)
{
	char *part = about(text, name), *call;
	assert_true(asprintf(&call, "\t%s+0x", function) > 0);
	if (!SANITIZE_THREAD && !strstr(part, call))
		print_message("%s\n", part);
	assert_true(SANITIZE_THREAD || strstr(part, call));
	free(call);
	free(part);
}

static void assert_says(const struct strbuf *text, const char *name, const char *what)
{
	char *part = about(text, name);
	if (!strstr(part, what))
		print_message("%s\n", part);
	assert_non_null(strstr(part, what));
	free(part);
}

static void ends(void *arg)
{
	chan_send(ready_chan, NULL);
}

__attribute__((noinline)) static void print_some(int fd)
{
	start("waits for ever, and its name is long", waits);
	start("computes", computes);
	start("holds", holds_a_lock);
	start("wants", wants_that_lock);
	gothread_kept_ns = PATIENCE;
	start("ends", ends);
	wait_for(gothread_kept() == 1);
	stacks_print(fd, "the title", clock_mono_ns() + PATIENCE);
	STAY_ON_THE_STACK();
}

static void test_each_thread_is_shown_with_its_name_and_where_it_is(void **state)
{
	struct strbuf text = printed_in_time_by(print_some, 0);
	assert_memory_equal(text.data, "the title\n\nthread ", 18);
	assert_says(&text, "main", "\tprint_some+0x");
	assert_stands_in(&text, "waits for ever, and its name is long", "the_place_where_it_waits");
	assert_stands_in(&text, "waits for ever, and its name is long", "waits");
	assert_says(&text, "main", " test_stacks+0x");
	assert_stands_in(&text, "holds", "holds_a_lock");
	assert_stands_in(&text, "wants", "wants_that_lock");
	assert_stands_in(&text, "computes", "computes");
	assert_stands_in(&text, "kept", "gothread_main");
	assert_null(strstr(text.data, "[ends]"));
	strbuf_free(&text);
}

static void print_with_deaf(int fd)
{
	start("deaf", is_deaf);
	start("waits", waits);
	int64_t begin = clock_mono_ns();
	stacks_print(fd, "the title", begin + PATIENCE);
	if (clock_mono_ns() - begin > PATIENCE / 2)
		_exit(4);
}

static void test_a_thread_that_does_not_answer_is_named_and_holds_up_nobody(void **state)
{
	struct strbuf text = printed_in_time_by(print_with_deaf, 1);
	assert_says(&text, "deaf", "\tdoes not answer; its state is ");
	assert_stands_in(&text, "waits", "the_place_where_it_waits");
	strbuf_free(&text);
}

static void print_many(int fd)
{
	for (int i = 0; i < 300; i++)
		start("one of many", waits);
	stacks_print(fd, "the title", clock_mono_ns() + PATIENCE);
}

static void test_many_threads_are_all_shown(void **state)
{
	struct strbuf text = printed_by(print_many);
	int n = 0;
	for (const char *p = text.data; (p = strstr(p, " [one of many]:\n")); p++)
		n++;
	assert_int_equal(n, 300);
	strbuf_free(&text);
}

static void print_in_vain(int fd)
{
	for (int i = 0; i < 300; i++)
		start("one of many", waits);
	int64_t begin = clock_mono_ns();
	stacks_print(fd, "the title", begin + NSEC_PER_SEC / 10);
	if (clock_mono_ns() - begin > PATIENCE / 2)
		_exit(4);
}

static void test_a_descriptor_that_nobody_reads_does_not_hold_it_up(void **state)
{
	int p[2];
	assert_int_equal(pipe(p), 0);
	assert_ends_well(run_child(print_in_vain, p[1]));
	close(p[0]);
	close(p[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_thread_is_shown_with_its_name_and_where_it_is),
		cmocka_unit_test(test_a_thread_that_does_not_answer_is_named_and_holds_up_nobody),
		cmocka_unit_test(test_many_threads_are_all_shown),
		cmocka_unit_test(test_a_descriptor_that_nobody_reads_does_not_hold_it_up),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
