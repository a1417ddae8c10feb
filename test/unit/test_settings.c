/* SPDX-License-Identifier: MIT */
/* nsqd/core/settings: which values are taken, what a refusal says, and that it changes nothing. */
#include "test/unit/helper.h"

#include <errno.h>

#include "common/clock.h"
#include "nsqd/core/settings.h"

static int set(struct settings_patch *p, const char *json, int scope, struct err *err)
{
	if (!json_valid(json, strlen(json)))
		fail_msg("no JSON: %s", json);
	return settings_patch_set_json(p, json_root(json, strlen(json)), scope, err);
}

static char *text_of(const struct settings_patch *p)
{
	struct strbuf sb = STRBUF_INIT;
	settings_patch_add_json(&sb, p);
	return strbuf_detach(&sb);
}

/* Taken; and shown as shown. */
static void expect_taken(const char *json, const char *shown)
{
	struct settings_patch p = {0};
	struct err err = {0};
	if (set(&p, json, SETTING_TOPIC, &err) != 0)
		fail_msg("%s: %s", json, err.msg);
	char *text = text_of(&p);
	assert_string_equal(text, shown);
	free(text);
}

/* Refused, with this text; what was set before is as it was. */
static void expect_refused_of(int scope, const char *json, const char *why)
{
	struct settings_patch p = {0};
	struct err err = {0};
	assert_int_equal(set(&p, "{\"rate\":7,\"backoff\":[\"1s\"]}", scope, &err), 0);
	if (set(&p, json, scope, &err) == 0)
		fail_msg("taken: %s", json);
	assert_int_equal(err.code, EINVAL);
	assert_string_equal(err.msg, why);
	char *text = text_of(&p);
	assert_string_equal(text, "\"backoff\":[\"1s\"],\"rate\":7");
	free(text);
}

static void expect_refused(const char *json, const char *why)
{
	expect_refused_of(SETTING_TOPIC, json, why);
}

static void test_each_type_is_taken_and_shown_as_it_can_be_set(void **state)
{
	expect_taken("{}", "");
	expect_taken("{\"max_depth\":1000}", "\"max_depth\":1000");
	expect_taken("{\"max_depth\":-0}", "\"max_depth\":0");
	expect_taken("{\"max_depth\":4611686018427387903}", "\"max_depth\":4611686018427387903");
	expect_taken("{\"max_attempts\":65535}", "\"max_attempts\":65535");
	expect_taken("{\"message_ttl\":\"90m\"}", "\"message_ttl\":\"1h30m0s\"");
	expect_taken("{\"message_ttl\":\"0\"}", "\"message_ttl\":\"0s\"");
	expect_taken("{\"overflow\":\"drop-head\"}", "\"overflow\":\"drop-head\"");
	expect_taken("{\"no_channel\":\"reject\"}", "\"no_channel\":\"reject\"");
	expect_taken("{\"requeue_on_disconnect\":true}", "\"requeue_on_disconnect\":true");
	expect_taken("{\"backoff\":[\"1s\",\"5s\"]}", "\"backoff\":[\"1s\",\"5s\"]");
	expect_taken("{\"backoff\":[]}", "\"backoff\":[]");
	expect_taken("{\"dead_letter_topic\":\"{topic}.dead\"}",
		"\"dead_letter_topic\":\"{topic}.dead\"");
	expect_taken("{\"dead_letter_topic\":\"\"}", "\"dead_letter_topic\":\"\"");
	expect_taken("{\"max\\u005fdepth\":3}", "\"max_depth\":3");
}

#define DURATIONS " from 0s to 1281023h53m38.427387903s is wanted, such as \"30s\""
#define DEPTHS "max_depth: an integer from 0 to 4611686018427387903 is wanted"

static void test_a_value_that_cannot_be_is_refused_by_name_with_its_range(void **state)
{
	static const char *const depths[] = {"-1", "1.0", "1e3", "4611686018427387904",
		"9223372036854775808", "99999999999999999999999999999999999999", "\"5\"", "true",
		"{}", "[1]", "[[[1]]]"};
	for (size_t i = 0; i < COUNT(depths); i++) {
		char json[100];
		snprintf(json, sizeof(json), "{\"max_depth\":%s}", depths[i]);
		expect_refused(json, DEPTHS);
	}
	expect_refused(
		"{\"max_attempts\":65536}", "max_attempts: an integer from 0 to 65535 is wanted");
	expect_refused("{\"max_in_flight\":2147483648}",
		"max_in_flight: an integer from 0 to 2147483647 is wanted");
	expect_refused("{\"message_ttl\":\"-1s\"}", "message_ttl: a duration" DURATIONS);
	expect_refused("{\"message_ttl\":\"9999999h\"}", "message_ttl: a duration" DURATIONS);
	expect_refused("{\"message_ttl\":\"1 h\"}", "message_ttl: a duration" DURATIONS);
	expect_refused("{\"message_ttl\":5}", "message_ttl: a duration" DURATIONS);
	expect_refused("{\"msg_timeout\":\"0\"}",
		"msg_timeout: a duration from 1ms to 1281023h53m38.427387903s is wanted, such as "
		"\"30s\"");
	expect_refused("{\"backoff\":[\"1s\",\"x\"]}", "backoff: a list of durations" DURATIONS);
	expect_refused(
		"{\"backoff\":[\"1s\",null]}", "backoff: a list of at most 32 durations is wanted");
	expect_refused("{\"backoff\":\"1s\"}", "backoff: a list of at most 32 durations is wanted");
	expect_refused(
		"{\"overflow\":\"drop\"}", "overflow: one of \"reject\", \"drop-head\" is wanted");
	expect_refused("{\"overflow\":0}", "overflow: one of \"reject\", \"drop-head\" is wanted");
	expect_refused(
		"{\"requeue_on_disconnect\":1}", "requeue_on_disconnect: true or false is wanted");
}

static void test_names_of_dead_letter_topics(void **state)
{
	static const char *const bad[] = {
		"a/b", "a b", "{topics}", "{", "#ephemeral", "a\\u0000b", "a#b", "\\u00e9"};
	for (size_t i = 0; i < COUNT(bad); i++) {
		char json[100];
		snprintf(json, sizeof(json), "{\"dead_letter_topic\":\"%s\"}", bad[i]);
		expect_refused(json,
			"dead_letter_topic: the name of a topic is wanted, in which {topic} and "
			"{channel} may stand, shorter than 160 bytes");
	}
	for (size_t len = 159; len <= 160; len++) {
		char name[161] = "", json[200];
		struct settings_patch p = {0};
		struct err err;
		memset(name, 'a', len);
		snprintf(json, sizeof(json), "{\"dead_letter_topic\":\"%s\"}", name);
		assert_int_equal(set(&p, json, SETTING_TOPIC, &err) == 0, len < 160);
	}
}

static void test_lists_have_an_end(void **state)
{
	for (size_t n = BACKOFF_MAX; n <= 1000; n += 968) {
		struct strbuf sb = STRBUF_INIT;
		struct settings_patch p = {0};
		struct err err;
		strbuf_adds(&sb, "{\"backoff\":[\"0\"");
		for (size_t i = 1; i < n; i++)
			strbuf_adds(&sb, ",\"1ms\"");
		strbuf_adds(&sb, "]}");
		assert_int_equal(set(&p, sb.data, SETTING_CHANNEL, &err) == 0, n == BACKOFF_MAX);
		strbuf_free(&sb);
	}
}

static void test_an_unknown_setting_refuses_all_of_them(void **state)
{
	expect_refused("{\"rate\":8,\"max_deep\":1}", "there is no setting max_deep");
	expect_refused("{\"rate\":8,\"\":1}", "there is no setting ");
	expect_refused("{\"RATE\":8}", "there is no setting RATE");
	expect_refused("{\"max_deep\":null}", "there is no setting max_deep");
	expect_refused("[]", "a JSON object of settings is wanted");
	expect_refused("null", "a JSON object of settings is wanted");
	char json[300] = "{\"",
	     name[] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
	for (int i = 0; i < 4; i++)
		strcat(json, name);
	strcat(json, "\":1}");
	expect_refused(json, "there is no setting "
			     "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
}

static void test_a_setting_that_comes_twice_is_refused(void **state)
{
	expect_refused("{\"rate\":8,\"rate\":9}", "rate: it comes twice");
	expect_refused("{\"rate\":8,\"rat\\u0065\":8}", "rate: it comes twice");
	expect_refused("{\"rate\":8,\"rate\":null}", "rate: it comes twice");
	expect_refused("{\"rate\":null,\"rate\":8}", "rate: it comes twice");
}

static void test_a_channel_has_its_own_alone_and_a_topic_all(void **state)
{
	expect_taken("{\"no_channel\":\"drop\",\"max_attempts\":5}",
		"\"max_attempts\":5,\"no_channel\":\"drop\"");
	expect_refused_of(
		SETTING_CHANNEL, "{\"no_channel\":\"drop\"}", "no_channel: not of a channel");
	expect_refused_of(SETTING_CHANNEL, "{\"no_channel\":null}", "no_channel: not of a channel");
}

static void test_null_takes_one_back(void **state)
{
	struct settings_patch p = {0};
	struct setting_values v = {.rate = 1, .max_depth = 2};
	struct err err;
	assert_int_equal(set(&p, "{\"rate\":7,\"max_depth\":8}", SETTING_TOPIC, &err), 0);
	assert_int_equal(set(&p, "{\"rate\":null,\"backoff\":null}", SETTING_TOPIC, &err), 0);
	settings_apply(&v, &p);
	assert_int_equal(v.rate, 1);
	assert_int_equal(v.max_depth, 8);
	assert_int_equal(set(&p, "{\"max_depth\":null}", SETTING_TOPIC, &err), 0);
	assert_int_equal(p.set, 0);
}

static void test_a_timeout_beyond_the_longest(void **state)
{
	struct setting_values v = {
		.msg_timeout = 2 * NSEC_PER_SEC, .max_msg_timeout = NSEC_PER_SEC};
	struct err err;
	assert_int_equal(settings_check(&v, &err), -1);
	assert_string_equal(err.msg, "msg_timeout: 2s is more than max_msg_timeout, 1s");
	settings_bound(&v);
	assert_int_equal(v.msg_timeout, NSEC_PER_SEC);
	assert_int_equal(settings_check(&v, &err), 0);
}

static void test_all_rows_have_a_name_and_a_scope(void **state)
{
	struct setting_values v = {0};
	struct strbuf all = STRBUF_INIT;
	for (size_t i = 0; i < settings_count(); i++) {
		int scope = settings_scope(i);
		assert_true(scope >= SETTING_TOPIC && scope <= (SETTING_TOPIC | SETTING_CHANNEL));
		for (size_t j = 0; j < i; j++)
			assert_string_not_equal(settings_name(i), settings_name(j));
		strbuf_addf(&all, "%s\"%s\":", i ? "," : "{", settings_name(i));
		settings_add_json(&all, i, &v);
	}
	strbuf_addc(&all, '}');
	assert_true(json_valid(all.data, all.len));
	strbuf_free(&all);
}

static void test_a_snapshot_lives_as_long_as_its_last_reference(void **state)
{
	struct setting_values v = {.rate = 3};
	struct settings *s = settings_new(&v), *other = settings_ref(s);
	settings_unref(s);
	assert_int_equal(other->v.rate, 3);
	settings_unref(other);
	settings_unref(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_type_is_taken_and_shown_as_it_can_be_set),
		cmocka_unit_test(test_a_value_that_cannot_be_is_refused_by_name_with_its_range),
		cmocka_unit_test(test_names_of_dead_letter_topics),
		cmocka_unit_test(test_lists_have_an_end),
		cmocka_unit_test(test_an_unknown_setting_refuses_all_of_them),
		cmocka_unit_test(test_a_setting_that_comes_twice_is_refused),
		cmocka_unit_test(test_a_channel_has_its_own_alone_and_a_topic_all),
		cmocka_unit_test(test_null_takes_one_back),
		cmocka_unit_test(test_a_timeout_beyond_the_longest),
		cmocka_unit_test(test_all_rows_have_a_name_and_a_scope),
		cmocka_unit_test(test_a_snapshot_lives_as_long_as_its_last_reference),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
