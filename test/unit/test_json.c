/* SPDX-License-Identifier: MIT */
/* common/json: what encoding/json takes and refuses, and the walk over an object's members. */
#include "test/unit/helper.h"

#include "common/json.h"
#include "common/strbuf.h"

static bool valid(const char *s)
{
	return json_valid(s, strlen(s));
}

static void test_what_go_takes_is_valid(void **state)
{
	static const char *const docs[] = {"null", " true ", "false", "0", "-0", "-12.5e+3", "1E9",
		"\"\"", "\"\\u00e9\\n\\\\\"", "\"\xff\"", "[]", "[ ]", "[1,[2],{}]", "{}", "{ }",
		"{\"a\":1,\"a\":[{\"b\":null}]}", "\t\r\n{\"a\" : 1 }\n"};
	for (size_t i = 0; i < COUNT(docs); i++) {
		if (!valid(docs[i]))
			fail_msg("refused: %s", docs[i]);
	}
}

static void test_what_go_refuses_is_not_valid(void **state)
{
	static const char *const docs[] = {"", " ", "nul", "nulll", "True", "01", "1.", ".5", "+1",
		"-", "1e", "1e+", "0x1", "\"", "\"\\x\"", "\"\\u12g4\"", "\"a\nb\"", "\"\x01\"",
		"[", "]", "[1,]", "[,1]", "[1 2]", "{", "}", "{1:2}", "{\"a\"}", "{\"a\":}",
		"{\"a\":1,}", "{\"a\" 1}", "{\"a\":1]", "[1}", "1 2", "{}x", "\xef\xbb\xbf{}",
		"'a'"};
	for (size_t i = 0; i < COUNT(docs); i++) {
		if (valid(docs[i]))
			fail_msg("taken: %s", docs[i]);
	}
	assert_false(json_valid(NULL, 0));
	assert_false(json_valid("1\0", 2));
	assert_false(json_valid("\"a\0b\"", 5));
}

static void test_every_cut_of_a_document_is_refused(void **state)
{
	static const char doc[] = "{\"a\":[1.5e3,true,null,{\"b\":\"\\u00e9\"}]}";
	assert_true(valid(doc));
	for (size_t len = 0; len < sizeof(doc) - 1; len++) {
		/* A copy of its own, so that AddressSanitizer sees a step too far. */
		char *cut = malloc(len ? len : 1);
		memcpy(cut, doc, len);
		assert_false(json_valid(cut, len));
		free(cut);
	}
}

static void test_ten_thousand_levels_are_taken_and_no_more(void **state)
{
	enum { MAX = 10000 };
	char *doc = malloc(2 * (MAX + 1));
	for (size_t depth = MAX; depth <= MAX + 1; depth++) {
		memset(doc, '[', depth);
		memset(doc + depth, ']', depth);
		assert_int_equal(json_valid(doc, 2 * depth), depth == MAX);
	}
	free(doc);
}

static void test_the_walk_yields_each_member_with_its_spelling(void **state)
{
	static const char doc[] = " { \"a\" : 01e0 , \"b\":{\"c\":[1]},\"d\":\"x\" } ";
	static const char good[] = " { \"a\" : 10e0 , \"b\":{\"c\":[1]},\"d\":\"x\" } ";
	static const char *const values[] = {"10e0", "{\"c\":[1]}", "\"x\""};
	struct json_value key, value;
	size_t pos = 0, n = 0;
	assert_false(valid(doc));
	assert_true(valid(good));
	struct json_value root = json_root(good, sizeof(good) - 1);
	while (json_next_member(root, &pos, &key, &value)) {
		assert_true(n < 3);
		assert_int_equal(value.len, strlen(values[n]));
		assert_memory_equal(value.p, values[n], value.len);
		n++;
	}
	assert_int_equal(n, 3);
}

static void expect_decoded(const char *json, const char *expected)
{
	assert_true(valid(json));
	char *s = json_string(json_root(json, strlen(json)));
	assert_string_equal(s, expected);
	free(s);
}

static void test_strings_are_decoded_as_go_does(void **state)
{
	expect_decoded("\"\"", "");
	expect_decoded("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\/\b\f\n\r\t");
	expect_decoded("\"\\u00e9\\u20ac\"", "\xc3\xa9\xe2\x82\xac");
	expect_decoded("\"\\ud83d\\ude00\"", "\xf0\x9f\x98\x80");
	expect_decoded("\"\\ud800\"", "\xef\xbf\xbd");
	expect_decoded("\"\\ud800\\u0041\"", "\xef\xbf\xbd"
					     "A");
	expect_decoded("\"\\udc00x\"", "\xef\xbf\xbdx");
	expect_decoded("\"a\xffz\"", "a\xef\xbf\xbdz");
}

static bool to_int(const char *json, int64_t min, int64_t max, int64_t *out)
{
	return json_int(json_root(json, strlen(json)), min, max, out);
}

static void test_integers_keep_their_range_and_spelling(void **state)
{
	int64_t n;
	assert_true(to_int("-9223372036854775808", INT64_MIN, INT64_MAX, &n) && n == INT64_MIN);
	assert_true(to_int("9223372036854775807", INT64_MIN, INT64_MAX, &n) && n == INT64_MAX);
	assert_false(to_int("9223372036854775808", INT64_MIN, INT64_MAX, &n));
	assert_false(to_int("1.0", INT64_MIN, INT64_MAX, &n));
	assert_false(to_int("1e3", INT64_MIN, INT64_MAX, &n));
	assert_false(to_int("\"1\"", INT64_MIN, INT64_MAX, &n));
	assert_false(to_int("100000000000000000000000000000000000000", INT64_MIN, INT64_MAX, &n));
	assert_true(to_int("-1", -1, 1, &n) && n == -1);
	assert_false(to_int("2", -1, 1, &n));
}

static void test_an_array_is_walked(void **state)
{
	static const char doc[] = " [ 1 , \"a\" ,[2,3], {} ]";
	static const enum json_type types[] = {JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT};
	struct json_value v;
	size_t pos = 0, n = 0;
	assert_true(valid(doc));
	struct json_value array = json_root(doc, strlen(doc));
	while (json_next_element(array, &pos, &v)) {
		assert_true(n < 4);
		assert_int_equal(v.type, types[n++]);
	}
	assert_int_equal(n, 4);
	pos = 0;
	assert_false(json_next_element(json_root("[ ]", 3), &pos, &v));
}

static void test_a_zero_does_not_end_a_string(void **state)
{
	struct strbuf sb = STRBUF_INIT;
	struct json_value v = json_root("\"a\\u0000b\"", 10);
	json_add_string(&sb, v);
	assert_int_equal(sb.len, 3);
	assert_memory_equal(sb.data, "a\0b", 4);
	char *text = json_string(v);
	assert_string_equal(text, "a\xef\xbf\xbd"
				  "b");
	free(text);
	strbuf_free(&sb);
	assert_true(json_key_is(json_root("\"TtL\"", 5), "ttl"));
	assert_false(json_key_is(json_root("\"ttl\\u0000\"", 11), "ttl"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_go_takes_is_valid),
		cmocka_unit_test(test_what_go_refuses_is_not_valid),
		cmocka_unit_test(test_every_cut_of_a_document_is_refused),
		cmocka_unit_test(test_ten_thousand_levels_are_taken_and_no_more),
		cmocka_unit_test(test_the_walk_yields_each_member_with_its_spelling),
		cmocka_unit_test(test_strings_are_decoded_as_go_does),
		cmocka_unit_test(test_integers_keep_their_range_and_spelling),
		cmocka_unit_test(test_an_array_is_walked),
		cmocka_unit_test(test_a_zero_does_not_end_a_string),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
