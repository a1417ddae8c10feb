/* SPDX-License-Identifier: MIT */
/* xalloc: memory, or a message and exit code 2. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/xalloc.h"

/* The sanitizers end the process themselves on a size that they do not like, unless told not to. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
	return "allocator_may_return_null=1";
}

const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
	return "allocator_may_return_null=1";
}

static volatile size_t huge = SIZE_MAX / 4; /* volatile: or the compiler warns about the size */

static void ask_for_too_much(void)
{
	xmalloc(huge);
}

static void ask_for_an_overflow(void)
{
	xcalloc(huge, 8);
}

/* Runs fn in a child; its stderr into out, its exit code back (-1: a signal). */
static int run_child(void (*fn)(void), char *out, size_t size)
{
	int p[2];
	assert_int_equal(pipe(p), 0);
	fflush(NULL);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		dup2(p[1], STDERR_FILENO);
		fn();
		_exit(0);
	}
	close(p[1]);
	size_t n = 0;
	for (ssize_t got; (got = read(p[0], out + n, size - 1 - n)) > 0;)
		n += (size_t)got;
	out[n] = '\0';
	close(p[0]);
	int status;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void test_out_of_memory_names_the_size_and_exits_2(void **state)
{
	char out[8192], want[64];
	assert_int_equal(run_child(ask_for_too_much, out, sizeof(out)), 2);
	snprintf(want, sizeof(want), "out of memory: cannot allocate %zu bytes", huge);
	assert_non_null(strstr(out, want));
}

static void test_a_product_that_overflows_is_out_of_memory(void **state)
{
	char out[8192];
	assert_int_equal(run_child(ask_for_an_overflow, out, sizeof(out)), 2);
	assert_non_null(strstr(out, "out of memory"));
}

static void test_sizes_of_zero_give_memory(void **state)
{
	void *p = xmalloc(0), *q = xcalloc(0, 8);
	assert_non_null(p);
	assert_non_null(q);
	p = xrealloc(p, 0);
	q = xreallocarray(q, 0, 4);
	assert_non_null(p);
	assert_non_null(q);
	free(p);
	free(q);
}

static void test_calloc_gives_zeros(void **state)
{
	unsigned char *p = xcalloc(10, 10);
	for (int i = 0; i < 100; i++)
		assert_int_equal(p[i], 0);
	free(p);
}

static void test_strings(void **state)
{
	char *a = xstrdup("abc"), *b = xstrndup("abcdef", 3), *c = xstrndup("ab", 100);
	char *d = xasprintf("%s-%d", "x", 7);
	assert_string_equal(a, "abc");
	assert_string_equal(b, "abc");
	assert_string_equal(c, "ab");
	assert_string_equal(d, "x-7");
	free(a);
	free(b);
	free(c);
	free(d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_out_of_memory_names_the_size_and_exits_2),
		cmocka_unit_test(test_a_product_that_overflows_is_out_of_memory),
		cmocka_unit_test(test_sizes_of_zero_give_memory),
		cmocka_unit_test(test_calloc_gives_zeros),
		cmocka_unit_test(test_strings),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
