/* SPDX-License-Identifier: MIT */
/* names: which topic and channel names are valid, and which are ephemeral. */
#include "test/unit/helper.h"

#include "protocol/names.h"

static bool valid(const char *name)
{
	bool topic = is_valid_topic_name(name, strlen(name));
	assert_int_equal(topic, is_valid_channel_name(name, strlen(name)));
	return topic;
}

static void test_letters_digits_dot_underscore_and_dash_are_valid(void **state)
{
	assert_true(valid("test"));
	assert_true(valid("a"));
	assert_true(valid("A-Z_0.9"));
	assert_true(valid("."));
	assert_true(valid("-"));
	assert_true(valid("test-with_period."));
}

static void test_exactly_those_bytes_are_valid(void **state)
{
	for (int ch = 0; ch < 256; ch++) {
		char name[3] = {'a', (char)ch, 'b'};
		bool want = (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') ||
			    (ch >= '0' && ch <= '9') || ch == '.' || ch == '_' || ch == '-';
		assert_int_equal(is_valid_topic_name(name, 3), want);
		assert_int_equal(is_valid_channel_name(name, 3), want);
	}
}

static void test_nothing_is_not_a_name(void **state)
{
	assert_false(valid(""));
}

static void test_64_bytes_are_valid_and_65_are_not(void **state)
{
	char name[66];
	memset(name, 'x', sizeof(name));
	assert_true(is_valid_topic_name(name, 64));
	assert_false(is_valid_topic_name(name, 65));
	/* The suffix counts. */
	memcpy(name + 54, "#ephemeral", 10);
	assert_true(is_valid_channel_name(name, 64));
	memcpy(name + 55, "#ephemeral", 10);
	assert_false(is_valid_channel_name(name, 65));
}

static void test_one_ephemeral_suffix_is_valid(void **state)
{
	assert_true(valid("test#ephemeral"));
	assert_true(valid("test:ephemeral") == false);
	assert_false(valid("#ephemeral"));
	assert_false(valid("test#ephemeral#ephemeral"));
	assert_false(valid("test#"));
	assert_false(valid("test#ephemera"));
	assert_false(valid("test#Ephemeral"));
	assert_false(valid("test#ephemeral "));
	assert_false(valid("#ephemeraltest"));
}

static void test_a_name_with_a_newline_at_its_end_is_not_valid(void **state)
{
	assert_false(valid("test\n"));
	assert_false(valid("test#ephemeral\n"));
}

static void test_a_name_needs_no_terminator(void **state)
{
	assert_true(is_valid_topic_name("good bad", 4));
	assert_false(is_valid_topic_name("go\0d", 4));
}

static void test_a_name_that_ends_in_ephemeral_is_ephemeral(void **state)
{
	assert_true(is_ephemeral_name("test#ephemeral"));
	assert_true(is_ephemeral_name("#ephemeral"));
	assert_false(is_ephemeral_name("test"));
	assert_false(is_ephemeral_name(""));
	assert_false(is_ephemeral_name("test#ephemeral2"));
	assert_false(is_ephemeral_name("ephemeral"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_letters_digits_dot_underscore_and_dash_are_valid),
		cmocka_unit_test(test_exactly_those_bytes_are_valid),
		cmocka_unit_test(test_nothing_is_not_a_name),
		cmocka_unit_test(test_64_bytes_are_valid_and_65_are_not),
		cmocka_unit_test(test_one_ephemeral_suffix_is_valid),
		cmocka_unit_test(test_a_name_with_a_newline_at_its_end_is_not_valid),
		cmocka_unit_test(test_a_name_needs_no_terminator),
		cmocka_unit_test(test_a_name_that_ends_in_ephemeral_is_ephemeral),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
