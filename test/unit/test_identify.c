/* SPDX-License-Identifier: MIT */
/* identify: the body of IDENTIFY, decoded by the rules of encoding/json. */
#include "test/unit/helper.h"

#include "common/check.h"
#include "protocol/identify.h"

static struct identify_data_v2 decoded(const char *json)
{
	struct identify_data_v2 d;
	struct err err = {0};
	if (identify_decode(&d, json, strlen(json), &err) != 0)
		fail_msg("%s: %s", json, err.msg);
	return d;
}

static void expect_refused(const char *json)
{
	struct identify_data_v2 d;
	struct err err = {0};
	if (identify_decode(&d, json, strlen(json), &err) == 0)
		fail_msg("taken: %s", json);
	assert_true(err.msg[0] != '\0');
}

static void test_every_field_is_read(void **state)
{
	struct identify_data_v2 d = decoded(
		"{\"client_id\":\"id\",\"hostname\":\"host\",\"user_agent\":\"agent/1\","
		"\"heartbeat_interval\":1,\"output_buffer_size\":2,\"output_buffer_timeout\":3,"
		"\"feature_negotiation\":true,\"tls_v1\":true,\"deflate\":true,\"deflate_level\":4,"
		"\"snappy\":true,\"sample_rate\":5,\"msg_timeout\":6}");
	assert_string_equal(d.client_id.s, "id");
	assert_string_equal(d.hostname.s, "host");
	assert_string_equal(d.user_agent.s, "agent/1");
	assert_int_equal(d.heartbeat_interval, 1);
	assert_int_equal(d.output_buffer_size, 2);
	assert_int_equal(d.output_buffer_timeout, 3);
	assert_true(d.feature_negotiation && d.tls_v1 && d.deflate && d.snappy);
	assert_int_equal(d.deflate_level, 4);
	assert_int_equal(d.sample_rate, 5);
	assert_int_equal(d.msg_timeout, 6);
	identify_free(&d);
}

static void expect_zero(const char *json)
{
	struct identify_data_v2 d = decoded(json);
	assert_string_equal(d.client_id.s, "");
	assert_string_equal(d.hostname.s, "");
	assert_string_equal(d.user_agent.s, "");
	assert_int_equal(d.heartbeat_interval | d.output_buffer_size | d.output_buffer_timeout |
				 d.deflate_level | d.sample_rate | d.msg_timeout,
		0);
	assert_false(d.feature_negotiation || d.tls_v1 || d.deflate || d.snappy);
	identify_free(&d);
}

static void test_what_is_missing_is_zero(void **state)
{
	expect_zero("{}");
	expect_zero(" {\t}\r\n");
}

static void test_null_changes_nothing(void **state)
{
	expect_zero("null");
	expect_zero("{\"client_id\":null,\"heartbeat_interval\":null,\"snappy\":null}");
}

static void test_unknown_fields_are_skipped(void **state)
{
	expect_zero(
		"{\"short_id\":\"x\",\"long_id\":7,\"x\":{\"heartbeat_interval\":3},\"y\":[1]}");
}

static void test_names_match_in_any_case(void **state)
{
	struct identify_data_v2 d = decoded("{\"Client_ID\":\"a\",\"HEARTBEAT_INTERVAL\":-1}");
	assert_string_equal(d.client_id.s, "a");
	assert_int_equal(d.heartbeat_interval, -1);
	identify_free(&d);
}

static void test_the_last_of_two_wins(void **state)
{
	struct identify_data_v2 d = decoded("{\"client_id\":\"a\",\"CLIENT_ID\":\"b\","
					    "\"msg_timeout\":1,\"msg_timeout\":2}");
	assert_string_equal(d.client_id.s, "b");
	assert_int_equal(d.msg_timeout, 2);
	identify_free(&d);
}

static void test_a_value_of_the_wrong_type_is_an_error(void **state)
{
	static const char *const bad[] = {
		"{\"client_id\":1}",
		"{\"client_id\":[]}",
		"{\"hostname\":true}",
		"{\"heartbeat_interval\":\"1\"}",
		"{\"heartbeat_interval\":true}",
		"{\"heartbeat_interval\":1.5}",
		"{\"heartbeat_interval\":1.0}",
		"{\"heartbeat_interval\":1e3}",
		"{\"heartbeat_interval\":{}}",
		"{\"feature_negotiation\":1}",
		"{\"feature_negotiation\":\"true\"}",
		"{\"client_id\":\"good\",\"snappy\":0}",
	};
	for (size_t i = 0; i < COUNT(bad); i++)
		expect_refused(bad[i]);
}

static void test_what_is_no_object_is_an_error(void **state)
{
	expect_refused("[]");
	expect_refused("1");
	expect_refused("\"x\"");
	expect_refused("true");
}

static void test_what_is_no_json_is_an_error(void **state)
{
	static const char *const bad[] = {"", " ", "{", "{\"client_id\"", "{\"client_id\":}",
		"{\"client_id\":\"a}", "{'client_id':1}", "{} x", "{}{}", "nul",
		"{\"heartbeat_interval\":1,}", "{\"heartbeat_interval\":+1}",
		"{\"heartbeat_interval\":01}", "{\"heartbeat_interval\":.5}",
		"{\"client_id\":\"a\nb\"}", "\xef\xbb\xbf{}", "{\"client_id\":\"\\x\"}"};
	for (size_t i = 0; i < COUNT(bad); i++)
		expect_refused(bad[i]);
}

static void test_a_zero_byte_behind_the_object_is_an_error(void **state)
{
	struct identify_data_v2 d;
	struct err err;
	assert_int_equal(identify_decode(&d, "{}\0", 3, &err), -1);
}

static void test_only_len_bytes_are_read(void **state)
{
	/* On the heap, so that a sanitizer sees a step too far. */
	static const char json[] = "{\"client_id\":\"abc\"}";
	size_t len = sizeof(json) - 1;
	for (size_t n = 0; n <= len; n++) {
		char *copy = malloc(n ? n : 1);
		struct identify_data_v2 d;
		struct err err;
		memcpy(copy, json, n);
		int rc = identify_decode(&d, copy, n, &err);
		assert_int_equal(rc, n == len ? 0 : -1);
		if (rc == 0)
			identify_free(&d);
		free(copy);
	}
}

static void test_sample_rate_is_an_int32(void **state)
{
	struct identify_data_v2 d = decoded("{\"sample_rate\":2147483647}");
	assert_int_equal(d.sample_rate, INT32_MAX);
	identify_free(&d);
	d = decoded("{\"sample_rate\":-2147483648}");
	assert_int_equal(d.sample_rate, INT32_MIN);
	identify_free(&d);
	expect_refused("{\"sample_rate\":2147483648}");
	expect_refused("{\"sample_rate\":-2147483649}");
}

static void test_numbers_beyond_int64_are_refused(void **state)
{
	struct identify_data_v2 d = decoded("{\"msg_timeout\":9223372036854775807}");
	assert_true(d.msg_timeout == INT64_MAX);
	identify_free(&d);
	expect_refused("{\"msg_timeout\":9223372036854775808}");
	expect_refused("{\"msg_timeout\":1e400}");
	expect_refused("{\"msg_timeout\":-1e400}");
}

static void test_escapes_in_strings_are_resolved(void **state)
{
	struct identify_data_v2 d = decoded(
		"{\"client_id\":\"\\\"\\\\\\/\\n\\u00e9\",\"hostname\":\"\\ud83d\\ude00\"}");
	assert_string_equal(d.client_id.s, "\"\\/\n\xc3\xa9");
	assert_string_equal(d.hostname.s, "\xf0\x9f\x98\x80");
	identify_free(&d);
}

/* A parser that recurses must not use up the stack of an io_loop, which is small. */
static void decode_deep(void *arg)
{
	size_t depth = *(size_t *)arg, len = 0;
	char *json = calloc(depth, 6);
	struct identify_data_v2 d;
	struct err err;
	for (size_t i = 0; i < depth; i++, len += 6)
		memcpy(json + len, "{\"a\":[", 6);
	CHECK(identify_decode(&d, json, len, &err) == -1);
	memset(json, '[', depth);
	memset(json + depth, ']', depth);
	CHECK(identify_decode(&d, json, 2 * depth, &err) == -1);
	free(json);
}

static void test_deep_nesting_does_not_overflow_the_stack_of_a_thread(void **state)
{
	size_t depths[] = {10, 499, 999, 1000, 1001, 100000};
	for (size_t i = 0; i < COUNT(depths); i++) {
		struct wait_group wg;
		wait_group_init(&wg);
		go(&wg, decode_deep, &depths[i]);
		join(&wg);
	}
}

static void test_a_zero_is_a_character_like_any(void **state)
{
	struct identify_data_v2 d = decoded(
		"{\"client_id\":\"a\\u0000b\",\"snappy\\u0000x\":true,\"hostname\":\"\\u0000\"}");
	assert_int_equal(d.client_id.len, 3);
	assert_memory_equal(d.client_id.s, "a\0b", 4);
	assert_int_equal(d.hostname.len, 1);
	/* Another name, which begins like one. */
	assert_false(d.snappy);
	identify_free(&d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_field_is_read),
		cmocka_unit_test(test_what_is_missing_is_zero),
		cmocka_unit_test(test_null_changes_nothing),
		cmocka_unit_test(test_unknown_fields_are_skipped),
		cmocka_unit_test(test_names_match_in_any_case),
		cmocka_unit_test(test_the_last_of_two_wins),
		cmocka_unit_test(test_a_value_of_the_wrong_type_is_an_error),
		cmocka_unit_test(test_what_is_no_object_is_an_error),
		cmocka_unit_test(test_what_is_no_json_is_an_error),
		cmocka_unit_test(test_a_zero_byte_behind_the_object_is_an_error),
		cmocka_unit_test(test_only_len_bytes_are_read),
		cmocka_unit_test(test_sample_rate_is_an_int32),
		cmocka_unit_test(test_numbers_beyond_int64_are_refused),
		cmocka_unit_test(test_escapes_in_strings_are_resolved),
		cmocka_unit_test(test_deep_nesting_does_not_overflow_the_stack_of_a_thread),
		cmocka_unit_test(test_a_zero_is_a_character_like_any),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
