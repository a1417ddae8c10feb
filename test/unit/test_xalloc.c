/* SPDX-License-Identifier: MIT */
/* xalloc: memory, or a message and exit code 2. */
#include "test/unit/child_test.h"

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

/* fn must exit with this code, after it has printed text. */
static void expect_exit(void (*fn)(void), int code, const char *text)
{
	char out[8192];
	int status = run_in_child(fn, out, sizeof(out));
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), code);
	if (!strstr(out, text))
		fail_msg("no \"%s\" in: %s", text, out);
}

static void test_out_of_memory_names_the_size_and_exits_2(void **state)
{
	char want[64];
	snprintf(want, sizeof(want), "out of memory: cannot allocate %zu bytes", huge);
	expect_exit(ask_for_too_much, 2, want);
}

static void test_a_product_that_overflows_is_out_of_memory(void **state)
{
	expect_exit(ask_for_an_overflow, 2, "out of memory");
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

static void test_aligned_memory_is_aligned_and_zeros(void **state)
{
	for (size_t size = 1; size < 200; size += 33) {
		unsigned char *p = xcalloc_aligned(64, size);
		assert_int_equal((uintptr_t)p % 64, 0);
		for (size_t i = 0; i < size; i++)
			assert_int_equal(p[i], 0);
		memset(p, 0xdd, size);
		free(p);
	}
}

static void test_strings_are_copied(void **state)
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
		cmocka_unit_test(test_aligned_memory_is_aligned_and_zeros),
		cmocka_unit_test(test_strings_are_copied),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
