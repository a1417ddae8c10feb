/* SPDX-License-Identifier: MIT */
/* auth: what an auth server's answer allows. The expectations are those of encoding/json. */
#include "test/unit/helper.h"

#include "nsqd/client/auth.h"

static struct auth_state *decode(const char *json, struct err *err)
{
	return auth_state_decode(json, strlen(json), err);
}

static void test_the_last_of_two_keys_wins(void **state)
{
	static const struct {
		const char *json;
		bool t, u;
	} cases[] = {
		{"{\"ttl\":0,\"ttl\":5,\"authorizations\":[]}", false, false},
		{"{\"ttl\":5,\"ttl\":null,\"authorizations\":[{\"topic\":\"t\",\"topic\":\"u\","
		 "\"channels\":[\"\"],\"permissions\":[\"publish\"]}]}",
			false, true},
		{"{\"TTL\":5,\"Authorizations\":[{\"channels\":[\"x\"],\"CHANNELS\":[\".*\"],"
		 "\"topic\":\"t\",\"permissions\":[\"subscribe\"],\"permissions\":[\"publish\"]}]}",
			true, false},
		{"{\"ttl\":5,\"authorizations\":[{\"topic\":\"t\",\"channels\":[\"\"],"
		 "\"permissions\":[\"what\"],\"permissions\":[\"publish\",\"publish\"]}]}",
			true, false},
		{"{\"ttl\":5,\"authorizations\":[{\"topic\":\"t\",\"channels\":[\"\"],"
		 "\"permissions\":[\"publish\"]}],\"authorizations\":[]}",
			false, false},
		{"{\"ttl\":5,\"authorizations\":[null,{\"topic\":null,\"channels\":[null],"
		 "\"permissions\":[\"publish\"]}]}",
			true, true},
	};
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct err err;
		struct auth_state *s = decode(cases[i].json, &err);
		if (!s)
			fail_msg("%s: %s", cases[i].json, err.msg);
		assert_int_equal(auth_is_allowed(s, "t", ""), cases[i].t);
		assert_int_equal(auth_is_allowed(s, "u", ""), cases[i].u);
		auth_state_free(s);
	}
}

static void test_a_wrong_type_is_an_error_also_where_it_does_not_win(void **state)
{
	static const char *const bad[] = {"", "[]", "5", "{\"ttl\":5.0,\"authorizations\":[]}",
		"{\"ttl\":1e3}", "{\"ttl\":9223372036854775808}", "{\"ttl\":\"5\",\"ttl\":5}",
		"{\"ttl\":5,\"identity\":5,\"identity\":\"\"}",
		"{\"ttl\":5,\"authorizations\":{},\"authorizations\":[]}",
		"{\"ttl\":5,\"authorizations\":[5]}",
		"{\"ttl\":5,\"authorizations\":[{\"topic\":[]}]}",
		"{\"ttl\":5,\"authorizations\":[{\"channels\":\"x\"}]}",
		"{\"ttl\":5,\"authorizations\":[{\"channels\":[5],\"channels\":[]}]}",
		"{\"ttl\":5,\"authorizations\":[{\"permissions\":[5],\"permissions\":[]}]}",
		"{\"ttl\":5,\"authorizations\":[{\"permissions\":[null]}]}",
		"{\"ttl\":5,\"authorizations\":[{\"permissions\":[\"publish\\u0000\"]}]}",
		"{\"ttl\":5} x", "{\"ttl\":-1}", "null", NULL};
	for (size_t i = 0; bad[i]; i++) {
		struct err err;
		if (decode(bad[i], &err))
			fail_msg("%s is accepted", bad[i]);
		assert_true(*err.msg != '\0');
	}
}

static void test_zeroes_are_characters(void **state)
{
	struct err err;
	struct auth_state *s = decode(
		"{\"ttl\":5,\"identity\":\"a\\u0000b\",\"authorizations\":["
		"{\"topic\":\"^orders\\u0000nothing\",\"channels\":[\"\"],"
		"\"permissions\":[\"publish\"]},"
		"{\"topic\":\"^t$\",\"channels\":[\"\\u0000\"],\"permissions\":[\"subscribe\"]}]}",
		&err);
	assert_non_null(s);
	assert_int_equal(s->identity.len, 3);
	assert_memory_equal(s->identity.data, "a\0b", 3);
	assert_false(auth_is_allowed(s, "orders", ""));
	assert_false(auth_is_allowed(s, "t", "c"));
	auth_state_free(s);
}

static void test_what_is_remembered_is_what_was_decided(void **state)
{
	struct err err;
	struct auth_state *s = decode("{\"ttl\":5,\"authorizations\":[{\"topic\":\"7$\","
				      "\"channels\":[\"\"],\"permissions\":[\"publish\"]}]}",
		&err);
	assert_non_null(s);
	/* Many more than are remembered, and each more than once. */
	for (int i = 0; i < 3 * 10 * AUTH_DECISIONS; i++) {
		char topic[16];
		snprintf(topic, sizeof(topic), "t%d", i / 3);
		assert_int_equal(auth_is_allowed(s, topic, ""), i / 3 % 10 == 7);
		assert_false(auth_is_allowed(s, topic, "c"));
	}
	auth_state_free(s);
}

static void test_depth_and_size_are_bounded(void **state)
{
	static const char *const openings[] = {"[", "{\"a\":", "{\"authorizations\":[{\"topic\":"};
	for (size_t i = 0; i < COUNT(openings); i++) {
		struct strbuf sb = STRBUF_INIT;
		struct err err;
		for (int k = 0; k < 100000; k++)
			strbuf_adds(&sb, openings[i]);
		assert_null(auth_state_decode(sb.data, sb.len, &err));
		strbuf_free(&sb);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_last_of_two_keys_wins),
		cmocka_unit_test(test_a_wrong_type_is_an_error_also_where_it_does_not_win),
		cmocka_unit_test(test_zeroes_are_characters),
		cmocka_unit_test(test_what_is_remembered_is_what_was_decided),
		cmocka_unit_test(test_depth_and_size_are_bounded),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
