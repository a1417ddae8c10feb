/* SPDX-License-Identifier: MIT */
/* errors: protocol errors, fatal or not, with any bytes in their text. */
#include "test/unit/helper.h"

#include "protocol/errors.h"

static void test_a_client_error_has_code_and_description_and_is_not_fatal(void **state)
{
	struct protocol_err e = {0};
	assert_int_equal(client_err(&e, NULL, "E_FIN_FAILED", "FIN %d failed %s", 7, "x"), -1);
	assert_false(e.fatal);
	assert_string_equal(e.text.data, "E_FIN_FAILED FIN 7 failed x");
	assert_int_equal(e.text.len, strlen("E_FIN_FAILED FIN 7 failed x"));
	assert_string_equal(e.parent, "");
	strbuf_free(&e.text);
}

static void test_a_fatal_error_is_fatal_and_knows_its_reason(void **state)
{
	struct protocol_err e = {0};
	assert_int_equal(fatal_client_err(&e, "EOF", "E_BAD_BODY", "no body"), -1);
	assert_true(e.fatal);
	assert_string_equal(e.text.data, "E_BAD_BODY no body");
	assert_string_equal(e.parent, "EOF");
	strbuf_free(&e.text);
}

static void test_a_new_error_replaces_the_old_one(void **state)
{
	struct protocol_err e = {0};
	fatal_client_err(&e, "reason", "E_INVALID", "a long description of something");
	client_err(&e, NULL, "E_X", "y");
	assert_false(e.fatal);
	assert_string_equal(e.text.data, "E_X y");
	assert_string_equal(e.parent, "");
	strbuf_free(&e.text);
}

static void test_zero_bytes_can_be_appended(void **state)
{
	struct protocol_err e = {0};
	fatal_client_err(&e, NULL, "E_INVALID", "invalid command ");
	strbuf_add(&e.text, "a\0b", 3);
	assert_int_equal(e.text.len, strlen("E_INVALID invalid command ") + 3);
	assert_memory_equal(e.text.data, "E_INVALID invalid command a\0b", e.text.len + 1);
	strbuf_free(&e.text);
}

static void test_a_long_reason_is_cut_off_and_a_long_text_is_not(void **state)
{
	struct protocol_err e = {0};
	char *big = malloc(100000);
	memset(big, 'x', 99999);
	big[99999] = '\0';
	client_err(&e, big, "E_X", "%s", big);
	assert_int_equal(strlen(e.parent), sizeof(e.parent) - 1);
	assert_int_equal(e.text.len, 4 + 99999);
	strbuf_free(&e.text);
	free(big);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_client_error_has_code_and_description_and_is_not_fatal),
		cmocka_unit_test(test_a_fatal_error_is_fatal_and_knows_its_reason),
		cmocka_unit_test(test_a_new_error_replaces_the_old_one),
		cmocka_unit_test(test_zero_bytes_can_be_appended),
		cmocka_unit_test(test_a_long_reason_is_cut_off_and_a_long_text_is_not),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
