/* SPDX-License-Identifier: MIT */
/* nsqd/core/policies: the [[policy]] tables, what they match, and what is wrong with one. */
#include "test/unit/helper.h"

#include <string.h>

#include "common/clock.h"
#include "nsqd/core/policies.h"

static struct policies *parse(const char *text, struct err *err)
{
	struct toml t;
	struct policies *p;
	if (toml_parse(&t, text, strlen(text), err) != 0)
		fail_msg("%s", err->msg);
	int rc = policies_parse(&t, &p, err);
	toml_free(&t);
	assert_int_equal(rc, p ? 0 : -1);
	return p;
}

static struct policies *must_parse(const char *text)
{
	struct err err = {0};
	struct policies *p = parse(text, &err);
	if (!p)
		fail_msg("%s", err.msg);
	return p;
}

static void expect_refused(const char *text, const char *why)
{
	struct err err = {0};
	if (parse(text, &err))
		fail_msg("taken: %s", text);
	assert_string_equal(err.msg, why);
}

static void test_tables_in_the_order_of_the_file(void **state)
{
	struct policies *p = must_parse("max_rdy_count = 5\n"
					"[[policy]]\nmatch = \"a\"\nrate = 1\n"
					"[[policy]]\nmax_depth = 7\nmatch = \"b/c\"\n"
					"[[other]]\nmatch = 5\n");
	assert_int_equal(p->n, 2);
	assert_string_equal(p->v[0].match, "a");
	assert_string_equal(p->v[0].topic, "a");
	assert_null(p->v[0].channel);
	assert_int_equal(p->v[0].patch.v.rate, 1);
	assert_int_equal(p->v[0].line, 2);
	assert_string_equal(p->v[1].topic, "b");
	assert_string_equal(p->v[1].channel, "c");
	assert_int_equal(p->v[1].patch.v.max_depth, 7);
	policies_unref(p);
	policies_unref(must_parse(""));
	policies_unref(NULL);
}

static bool matches(const char *pattern, const char *topic, const char *channel)
{
	char text[200];
	snprintf(text, sizeof(text), "[[policy]]\nmatch = '%s'\n", pattern);
	struct policies *p = must_parse(text);
	bool does = policy_matches(&p->v[0], topic, channel);
	policies_unref(p);
	return does;
}

static void test_what_a_pattern_matches(void **state)
{
	assert_true(matches("*", "a", NULL));
	assert_true(matches("*", ".a", "c"));
	assert_true(matches("*", "a#ephemeral", NULL));
	assert_true(matches("orders.*", "orders.eu", "mail"));
	assert_false(matches("orders.*", "orders", NULL));
	assert_false(matches("orders.*", "ordersXeu", NULL));
	assert_false(matches("ORDERS.*", "orders.eu", NULL));
	assert_true(matches("orders.?", "orders.1", NULL));
	assert_false(matches("orders.?", "orders.12", NULL));
	assert_true(matches("[a-c]-x", "b-x", NULL));
	assert_false(matches("[!a-c]-x", "b-x", NULL));
	assert_true(matches("*#ephemeral", "a#ephemeral", NULL));
	assert_true(matches("a/*", "a", "c"));
	assert_false(matches("a/*", "a", NULL));
	assert_false(matches("a/b", "a", "c"));
	assert_true(matches("*/mail-[0-9]", "a.b", "mail-3"));
}

/* A few stars, and a name of a client's choice: no more than a moment. */
static void test_many_stars_take_no_time(void **state)
{
	int64_t start = clock_mono_ns();
	for (int i = 0; i < 100; i++)
		assert_false(matches("*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*b",
			"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", NULL));
	assert_true(clock_mono_ns() - start < 10 * NSEC_PER_SEC);
}

#define NO_MATCH                                                                                   \
	"match: a pattern for topics is wanted, or for \"topic/channel\", such as \"orders.*\""

static void test_a_match_that_no_name_can_have_is_refused_with_its_line(void **state)
{
	static const char *const bad[] = {"''", "'/'", "'a/'", "'/a'", "'a/b/c'", "'a//b'", "'[a'",
		"'a b'", "'a\\b'", "'{a,b}'", "'a,b'", "'é'", "'[]'", "'[!]'", "5", "['a']", "true",
		"'a]'"};
	for (size_t i = 0; i < COUNT(bad); i++) {
		char text[100];
		snprintf(text, sizeof(text), "\n[[policy]]\nrate = 1\nmatch = %s\n", bad[i]);
		expect_refused(text, "line 4: " NO_MATCH);
	}
}

static void test_what_is_wrong_is_said_with_its_line(void **state)
{
	expect_refused("[[policy]]\nrate = 1\n", "line 1: a policy without match");
	expect_refused("[[policy]]\nrate = 1\n[[policy]]\nmatch = 'a'\n",
		"line 1: a policy without match");
	expect_refused("[[policy]]\nmatch = 'a'\nrat = 1\n", "line 3: there is no setting rat");
	expect_refused(
		"[[policy]]\nmatch = 'a'\nrate.x = 1\n", "line 3: there is no setting rate.x");
	expect_refused("[[policy]]\nmatch = 'a'\nrate = 1.0\n",
		"line 3: rate: an integer from 0 to 1000000000 is wanted");
	expect_refused("[[policy]]\nmatch = 'a'\nbackoff = ['1s', 2]\n",
		"line 3: backoff: a list of durations from 0s to 1281023h53m38.427387903s is "
		"wanted, such as \"30s\"");
	expect_refused("[[policy]]\nno_channel = 'drop'\nmatch = 'a/b'\n[[policy]]\nmatch='c'\n",
		"line 1: policy a/b: no_channel: not of a channel");
}

static void test_a_timeout_that_no_policy_allows_is_refused(void **state)
{
	const struct setting_values defaults = {
		.msg_timeout = 60 * NSEC_PER_SEC, .max_msg_timeout = 900 * NSEC_PER_SEC};
	struct err err;
	struct policies *p = must_parse("[[policy]]\nmatch = 'a'\nmsg_timeout = '1h'\n");
	assert_int_equal(policies_check(p, &defaults, &err), -1);
	assert_string_equal(err.msg,
		"line 1: policy a: msg_timeout: 1h0m0s is more than max_msg_timeout, 15m0s");
	policies_unref(p);
	/* Another one may match as well. */
	p = must_parse("[[policy]]\nmatch = 'a'\nmsg_timeout = '1h'\n"
		       "[[policy]]\nmatch = '*'\nmax_msg_timeout = '2h'\n");
	assert_int_equal(policies_check(p, &defaults, &err), 0);
	policies_unref(p);
	p = must_parse("[[policy]]\nmatch = 'a'\nmsg_timeout = '10s'\nmax_msg_timeout = '5s'\n");
	assert_int_equal(policies_check(p, &defaults, &err), -1);
	policies_unref(p);
	/* The default is bounded. */
	p = must_parse("[[policy]]\nmatch = 'a'\nmax_msg_timeout = '5s'\n");
	assert_int_equal(policies_check(p, &defaults, &err), 0);
	policies_unref(p);
}

static void test_which_are_equal(void **state)
{
	static const char *const texts[] = {"", "[[policy]]\nmatch = 'a'\n",
		"[[policy]]\nmatch = 'a'\nrate = 1\n", "[[policy]]\nmatch = 'a'\nrate = 2\n",
		"[[policy]]\nmatch = 'b'\nrate = 2\n",
		"[[policy]]\nmatch = 'a'\nrate = 2\n[[policy]]\nmatch = 'b'\nrate = 2\n",
		"[[policy]]\nmatch = 'b'\nrate = 2\n[[policy]]\nmatch = 'a'\nrate = 2\n"};
	for (size_t i = 0; i < COUNT(texts); i++) {
		for (size_t j = 0; j < COUNT(texts); j++) {
			struct policies *a = must_parse(texts[i]), *b = must_parse(texts[j]);
			assert_int_equal(policies_equal(a, b), i == j);
			policies_unref(a);
			policies_unref(b);
		}
	}
	/* Other lines, another order of keys, another spelling. */
	struct policies *a = must_parse("[[policy]]\nmatch = 'a'\nmessage_ttl = '60s'\n");
	struct policies *b = must_parse("#\n\n[[policy]]\nmessage_ttl = '1m'\nmatch = \"a\"\n");
	assert_true(policies_equal(a, b));
	policies_unref(a);
	policies_unref(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tables_in_the_order_of_the_file),
		cmocka_unit_test(test_what_a_pattern_matches),
		cmocka_unit_test(test_many_stars_take_no_time),
		cmocka_unit_test(test_a_match_that_no_name_can_have_is_refused_with_its_line),
		cmocka_unit_test(test_what_is_wrong_is_said_with_its_line),
		cmocka_unit_test(test_a_timeout_that_no_policy_allows_is_refused),
		cmocka_unit_test(test_which_are_equal),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
