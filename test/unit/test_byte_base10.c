/* SPDX-License-Identifier: MIT */
/* byte_base10: decimal numbers in commands, with stock's two oddities. */
#include "test/unit/helper.h"

#include "protocol/byte_base10.h"

static uint64_t number(const char *s)
{
	uint64_t n = 77;
	assert_true(byte_to_base10(s, strlen(s), &n));
	return n;
}

static void test_byte_to_base10(void **state)
{
	assert_int_equal(number("0"), 0);
	assert_int_equal(number("1"), 1);
	assert_int_equal(number("12345"), 12345);
	assert_int_equal(number("00012"), 12);
	assert_int_equal(number("1234567890"), 1234567890);
	assert_true(number("9223372036854775807") == INT64_MAX);
	assert_true(number("18446744073709551615") == UINT64_MAX);
}

static void test_the_empty_string_is_0_as_in_stock(void **state)
{
	assert_int_equal(number(""), 0);
}

static void test_what_exceeds_64_bits_wraps_as_in_stock(void **state)
{
	assert_true(number("18446744073709551616") == 0);
	assert_true(number("18446744073709551621") == 5);
	assert_true(number("99999999999999999999") == 7766279631452241919u);
}

static void test_anything_but_a_digit_is_refused_and_sets_nothing(void **state)
{
	static const char *const bad[] = {"-1", "+1", " 1", "1 ", "1.0", "0x1", "a", "1e3", "1\r"};
	uint64_t n = 77;
	for (size_t i = 0; i < COUNT(bad); i++)
		assert_false(byte_to_base10(bad[i], strlen(bad[i]), &n));
	for (int ch = 0; ch < 256; ch++) {
		char s[2] = {'1', (char)ch};
		uint64_t ignored;
		assert_int_equal(byte_to_base10(s, 2, &ignored), ch >= '0' && ch <= '9');
	}
	assert_int_equal(n, 77);
}

static void test_only_len_bytes_are_read(void **state)
{
	uint64_t n;
	assert_true(byte_to_base10("123x", 3, &n));
	assert_int_equal(n, 123);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_byte_to_base10),
		cmocka_unit_test(test_the_empty_string_is_0_as_in_stock),
		cmocka_unit_test(test_what_exceeds_64_bits_wraps_as_in_stock),
		cmocka_unit_test(test_anything_but_a_digit_is_refused_and_sets_nothing),
		cmocka_unit_test(test_only_len_bytes_are_read),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
