/* SPDX-License-Identifier: MIT */
/* CMOCKA_TEST_FILTER in the environment: the tests to run, with * and ? in their names. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

/* cmocka has the filter, but leaves it to the program to set it. This is linked to each. */
static __attribute__((constructor)) void set_filter(void)
{
	cmocka_set_test_filter(getenv("CMOCKA_TEST_FILTER"));
}
