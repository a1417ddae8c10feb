/* SPDX-License-Identifier: MIT */
/* strbuf: the buffer, and Go's two ways to quote (checked against encoding/json and strconv). */
#include "test/unit/helper.h"

#include "common/strbuf.h"

static void test_a_new_buffer_has_no_memory(void **state)
{
	struct strbuf sb = STRBUF_INIT;
	assert_null(sb.data);
	strbuf_reset(&sb);
	strbuf_free(&sb);
	assert_null(sb.data);
}

static void test_it_grows_and_stays_terminated(void **state)
{
	struct strbuf sb = STRBUF_INIT;
	for (int i = 0; i < 1000; i++) {
		strbuf_addc(&sb, (char)('a' + i % 26));
		assert_int_equal(sb.len, i + 1);
		assert_int_equal(sb.data[sb.len], 0);
	}
	strbuf_reset(&sb);
	assert_int_equal(sb.len, 0);
	assert_string_equal(sb.data, "");
	assert_true(sb.cap > 1000);
	strbuf_free(&sb);
}

static void test_adding_nothing_is_fine(void **state)
{
	struct strbuf sb = STRBUF_INIT;
	strbuf_add(&sb, NULL, 0);
	strbuf_adds(&sb, "");
	assert_string_equal(sb.data, "");
	strbuf_free(&sb);
}

static void test_bytes_may_be_zero(void **state)
{
	struct strbuf sb = STRBUF_INIT;
	strbuf_add(&sb, "a\0b", 3);
	strbuf_adds(&sb, "c");
	assert_int_equal(sb.len, 4);
	assert_memory_equal(sb.data, "a\0bc", 5);
	strbuf_free(&sb);
}

static void test_formats_of_any_length_fit(void **state)
{
	struct strbuf sb = STRBUF_INIT;
	char longer[500];
	memset(longer, 'x', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	for (size_t i = 0; i < sizeof(longer); i++) {
		strbuf_reset(&sb);
		strbuf_addf(&sb, "%d:%s;", 7, longer + i);
		assert_int_equal(sb.len, sizeof(longer) - 1 - i + 3);
		assert_int_equal(sb.data[sb.len - 1], ';');
		strbuf_free(&sb);
	}
}

static void test_detach_gives_the_memory_away(void **state)
{
	struct strbuf sb = STRBUF_INIT;
	char *s = strbuf_detach(&sb);
	assert_string_equal(s, "");
	free(s);
	strbuf_adds(&sb, "abc");
	s = strbuf_detach(&sb);
	assert_string_equal(s, "abc");
	assert_null(sb.data);
	assert_int_equal(sb.len, 0);
	free(s);
}

struct quote_case {
	const char *in;
	size_t n;
	const char *out;
};
#define CASE(in, out)                                                                              \
	{                                                                                          \
		in, sizeof(in) - 1, out                                                            \
	}

static void check(void (*add)(struct strbuf *, const char *, size_t),
	const struct quote_case *cases, size_t n)
{
	struct strbuf sb = STRBUF_INIT;
	for (size_t i = 0; i < n; i++) {
		strbuf_reset(&sb);
		/* An exact copy, so that a read beyond the end is seen by the sanitizer. */
		char *copy = malloc(cases[i].n ? cases[i].n : 1);
		memcpy(copy, cases[i].in, cases[i].n);
		add(&sb, copy, cases[i].n);
		free(copy);
		assert_string_equal(sb.data, cases[i].out);
		assert_int_equal(sb.len, strlen(cases[i].out));
	}
	strbuf_free(&sb);
}

static void test_json_is_escaped_as_by_go(void **state)
{
	static const struct quote_case cases[] = {
		CASE("", "\"\""),
		CASE("plain", "\"plain\""),
		CASE("a\"b\\c/d", "\"a\\\"b\\\\c/d\""),
		CASE("<a href='x'>&", "\"\\u003ca href='x'\\u003e\\u0026\""),
		CASE("\n\r\t", "\"\\n\\r\\t\""),
		CASE("\b\f\v\x1f\x7f", "\"\\u0008\\u000c\\u000b\\u001f\x7f\""),
		CASE("a\0b", "\"a\\u0000b\""),
		CASE("\xe2\x80\xa8\xe2\x80\xa9", "\"\\u2028\\u2029\""),
		CASE("gr\xc3\xbc\xc3\x9f\xe2\x82\xac\xf0\x9f\x98\x80",
			"\"gr\xc3\xbc\xc3\x9f\xe2\x82\xac\xf0\x9f\x98\x80\""),
		CASE("\xef\xbf\xbd", "\"\xef\xbf\xbd\""), /* a real U+FFFD stays */
		CASE("\xff", "\"\\ufffd\""),
		CASE("a\x80z", "\"a\\ufffdz\""),
		CASE("\xc3", "\"\\ufffd\""),                       /* cut off */
		CASE("\xe2\x82", "\"\\ufffd\\ufffd\""),            /* cut off: one per byte */
		CASE("\xc0\x80", "\"\\ufffd\\ufffd\""),            /* overlong */
		CASE("\xed\xa0\x80", "\"\\ufffd\\ufffd\\ufffd\""), /* surrogate */
		CASE("\xf4\x90\x80\x80", "\"\\ufffd\\ufffd\\ufffd\\ufffd\""), /* beyond U+10FFFF */
		CASE("\xf4\x8f\xbf\xbf", "\"\xf4\x8f\xbf\xbf\""),
	};
	check(strbuf_add_json, cases, COUNT(cases));
}

static void test_q_is_escaped_as_by_go(void **state)
{
	static const struct quote_case cases[] = {
		CASE("", "\"\""),
		CASE("a b<>&'", "\"a b<>&'\""),
		CASE("\"\\", "\"\\\"\\\\\""),
		CASE("\a\b\f\n\r\t\v", "\"\\a\\b\\f\\n\\r\\t\\v\""),
		CASE("\0\x01\x1f\x7f", "\"\\x00\\x01\\x1f\\x7f\""),
		CASE("\xff\x80", "\"\\xff\\x80\""),
		CASE("\xc3(", "\"\\xc3(\""),
		CASE("gr\xc3\xbc\xc3\x9f\xf0\x9f\x98\x80",
			"\"gr\xc3\xbc\xc3\x9f\xf0\x9f\x98\x80\""),
		CASE("\xc2\xa0\xc2\xad", "\"\\u00a0\\u00ad\""), /* no-break space, soft hyphen */
		CASE("\xe2\x80\xa8", "\"\\u2028\""),
		CASE("\xef\xbb\xbf", "\"\\ufeff\""),
		CASE("\xef\xbf\xbd", "\"\xef\xbf\xbd\""),
		CASE("\xf3\xa0\x80\x81", "\"\\U000e0001\""),
	};
	check(strbuf_addq, cases, COUNT(cases));
}

static void test_json_numbers_are_those_of_go(void **state)
{
	static const struct {
		double d;
		const char *text;
	} cases[] = {
		{0, "0"},
		{-0.0, "-0"},
		{1, "1"},
		{-1.5, "-1.5"},
		{0.99, "0.99"},
		{1.0 / 3, "0.3333333333333333"},
		{0.1 + 0.2, "0.30000000000000004"},
		{1e-6, "0.000001"},
		{1e-7, "1e-7"},
		{1.5e-10, "1.5e-10"},
		{123456789, "123456789"},
		{1e20, "100000000000000000000"},
		{1e21, "1e+21"},
		{1.25e100, "1.25e+100"},
		{123456789012345678901.0, "123456789012345680000"},
		{1.7976931348623157e308, "1.7976931348623157e+308"},
		{5e-324, "5e-324"},
	};
	struct strbuf sb = STRBUF_INIT;
	for (size_t i = 0; i < COUNT(cases); i++) {
		strbuf_reset(&sb);
		strbuf_add_json_double(&sb, cases[i].d);
		assert_string_equal(sb.data, cases[i].text);
	}
	strbuf_free(&sb);
}

static void test_the_length_of_a_utf8_character_is_known(void **state)
{
	assert_int_equal(strbuf_utf8_len("a", 1), 1);
	assert_int_equal(strbuf_utf8_len("\xc3\xbcx", 3), 2);
	assert_int_equal(strbuf_utf8_len("\xf0\x9f\x98\x80", 4), 4);
	assert_int_equal(strbuf_utf8_len("\xf0\x9f\x98\x80", 3), 0);
	assert_int_equal(strbuf_utf8_len("\x80", 1), 0);
	assert_int_equal(strbuf_utf8_len("\0", 1), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_new_buffer_has_no_memory),
		cmocka_unit_test(test_it_grows_and_stays_terminated),
		cmocka_unit_test(test_adding_nothing_is_fine),
		cmocka_unit_test(test_bytes_may_be_zero),
		cmocka_unit_test(test_formats_of_any_length_fit),
		cmocka_unit_test(test_detach_gives_the_memory_away),
		cmocka_unit_test(test_json_is_escaped_as_by_go),
		cmocka_unit_test(test_q_is_escaped_as_by_go),
		cmocka_unit_test(test_json_numbers_are_those_of_go),
		cmocka_unit_test(test_the_length_of_a_utf8_character_is_known),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
