/* SPDX-License-Identifier: MIT */
/* nsqd/core/dead_letter_name: patterns, and the names that they give. */
#include "test/unit/helper.h"

#include <string.h>

#include "nsqd/core/dead_letter_name.h"

#define A10 "aaaaaaaaaa"
#define A60 A10 A10 A10 A10 A10 A10

static void expect(const char *pattern, const char *topic, const char *channel, const char *name)
{
	char out[NAME_SIZE];
	assert_true(dead_letter_pattern_ok(pattern));
	assert_string_equal(dead_letter_name(pattern, topic, channel, out), name);
	assert_true(is_valid_topic_name(out, strlen(out)));
}

static void test_names(void **state)
{
	expect("dead", "t", "c", "dead");
	expect("{topic}.dead", "orders", "mail", "orders.dead");
	expect("{topic}.{channel}.dead", "orders", "mail", "orders.mail.dead");
	expect("{channel}{channel}", "t", "c", "cc");
	expect("{topic}.dead", "t#ephemeral", "c", "t.dead");
	expect("{topic}.{channel}", "t#ephemeral", "c#ephemeral", "t.c");
	expect("{topic}#ephemeral", "t#ephemeral", "c", "t#ephemeral");
	expect("dead#ephemeral", "t", "c", "dead#ephemeral");
}

/* 64 bytes are a name; more are cut, and end with the checksum of all. */
static void test_a_long_name_is_cut_and_stays_another(void **state)
{
	char out[NAME_SIZE], other[NAME_SIZE];
	expect("{topic}dead", A60, "c", A60 "dead");
	dead_letter_name("{topic}.dead", A60, "c", out);
	assert_int_equal(strlen(out), NAME_MAX_LENGTH);
	assert_memory_equal(out, A60, 55);
	assert_int_equal(out[55], '-');
	assert_int_equal(strspn(out + 56, "0123456789abcdef"), 8);
	dead_letter_name("{topic}.{channel}", A60, "d", other);
	assert_string_not_equal(out, other);
	assert_string_equal(dead_letter_name("{topic}.dead", A60, "x", other), out);
	dead_letter_name("{topic}.dead#ephemeral", A60, "c", out);
	assert_int_equal(strlen(out), NAME_MAX_LENGTH);
	assert_true(is_ephemeral_name(out));
	assert_true(is_valid_topic_name(out, strlen(out)));
	dead_letter_name("{topic}#ephemeral", "b" A60, "c", out);
	assert_true(is_valid_topic_name(out, strlen(out)));
}

static void test_the_longest_pattern_is_cut(void **state)
{
	char pattern[PATTERN_SIZE + 1], out[NAME_SIZE];
	memset(pattern, 'p', sizeof(pattern));
	pattern[PATTERN_SIZE] = '\0';
	assert_false(dead_letter_pattern_ok(pattern));
	pattern[PATTERN_SIZE - 1] = '\0';
	assert_true(dead_letter_pattern_ok(pattern));
	dead_letter_name(pattern, "t", "c", out);
	assert_true(is_valid_topic_name(out, strlen(out)));
}

static void test_what_is_no_pattern(void **state)
{
	static const char *const bad[] = {"", "a b", "a/b", "{", "}", "{topic", "{Topic}", "{}",
		"#ephemeral", "a#", "a#ephemeral.dead", "{topic}#ephemeral#ephemeral", "a\n",
		"\xc3\xa9", "a:b"};
	for (size_t i = 0; i < COUNT(bad); i++) {
		if (dead_letter_pattern_ok(bad[i]))
			fail_msg("taken: %s", bad[i]);
	}
}

/* As a topic is asked, before it has a channel. */
static void test_an_empty_channel(void **state)
{
	char out[NAME_SIZE];
	dead_letter_name("{channel}", "t", "", out);
	assert_true(is_valid_topic_name(out, strlen(out)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_a_long_name_is_cut_and_stays_another),
		cmocka_unit_test(test_the_longest_pattern_is_cut),
		cmocka_unit_test(test_what_is_no_pattern),
		cmocka_unit_test(test_an_empty_channel),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
