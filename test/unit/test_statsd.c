/* SPDX-License-Identifier: MIT */
/* statsd: the lines of one push. */
#include "test/unit/helper.h"

#include "nsqd/stats/statsd.h"

static struct quantile_point percentiles[] = {{0.999, 1500.7}, {0.95, 20}, {0.5, 3}};

/* The lines, as one string. */
static char *lines(bool exclude_ephemeral, const struct stats *now, const struct stats *last)
{
	struct options *opts = options_new();
	struct statsd_client client;
	opts->statsd_exclude_ephemeral = exclude_ephemeral;
	statsd_client_init(&client, "p.", 65536);
	statsd_add_stats(&client, opts, now, last);
	char *text = client.n > 0 ? strbuf_detach(&client.datagrams[0]) : strdup("");
	statsd_client_destroy(&client);
	options_free(opts);
	return text;
}

static void test_counters_are_differences_by_name(void **state)
{
	struct channel_stats old_channels[] = {{.channel_name = "a", .message_count = 5},
		{.channel_name = "c", .message_count = 10, .requeue_count = 3, .timeout_count = 2}};
	struct topic_stats old_topics[] = {
		{.topic_name = "gone", .message_count = 77}, {.topic_name = "t",
								     .message_count = 100,
								     .message_bytes = 1000,
								     .channels = old_channels,
								     .n_channels = 2}};
	struct channel_stats channels[] = {{.channel_name = "c",
		.message_count = 14,
		.depth = 1,
		.backend_depth = 2,
		.in_flight_count = 3,
		.deferred_count = 4,
		.requeue_count = 3,
		.timeout_count = 9,
		.client_count = 5}};
	struct topic_stats topics[] = {{.topic_name = "t",
		.message_count = 101,
		.message_bytes = 1010,
		.depth = 7,
		.backend_depth = 6,
		.channels = channels,
		.n_channels = 1}};
	struct stats last = {.topics = old_topics, .n_topics = 2};
	struct stats now = {.topics = topics, .n_topics = 1};
	char *text = lines(false, &now, &last);
	assert_string_equal(text, "p.topic.t.message_count:1|c\n"
				  "p.topic.t.message_bytes:10|c\n"
				  "p.topic.t.depth:7|g\n"
				  "p.topic.t.backend_depth:6|g\n"
				  "p.topic.t.channel.c.message_count:4|c\n"
				  "p.topic.t.channel.c.depth:1|g\n"
				  "p.topic.t.channel.c.backend_depth:2|g\n"
				  "p.topic.t.channel.c.in_flight_count:3|g\n"
				  "p.topic.t.channel.c.deferred_count:4|g\n"
				  "p.topic.t.channel.c.requeue_count:0|c\n"
				  "p.topic.t.channel.c.timeout_count:7|c\n"
				  "p.topic.t.channel.c.clients:5|g\n");
	free(text);
}

static void test_the_first_push_has_nothing_to_subtract(void **state)
{
	struct topic_stats topics[] = {{.topic_name = "t", .message_count = 3}};
	struct stats now = {.topics = topics, .n_topics = 1}, last = {0};
	char *text = lines(false, &now, &last);
	assert_non_null(strstr(text, "p.topic.t.message_count:3|c\n"));
	free(text);
}

static void test_percentiles_are_named_in_percent(void **state)
{
	struct topic_stats topics[] = {{.topic_name = "t",
		.e2e_processing_latency = {.count = 1, .points = percentiles, .n = 3}}};
	struct stats now = {.topics = topics, .n_topics = 1}, last = {0};
	char *text = lines(false, &now, &last);
	/* 99.9 is rounded, as stock does. */
	assert_non_null(strstr(text, "p.topic.t.e2e_processing_latency_100:1500|g\n"
				     "p.topic.t.e2e_processing_latency_95:20|g\n"
				     "p.topic.t.e2e_processing_latency_50:3|g\n"));
	free(text);
}

static void test_ephemeral_ones_can_be_left_out(void **state)
{
	struct channel_stats channels[] = {{.channel_name = "c#ephemeral"}, {.channel_name = "d"}};
	struct topic_stats topics[] = {
		{.topic_name = "e#ephemeral"},
		{.topic_name = "t", .channels = channels, .n_channels = 2},
	};
	struct stats now = {.topics = topics, .n_topics = 2}, last = {0};
	char *text = lines(true, &now, &last);
	assert_null(strstr(text, "ephemeral"));
	assert_non_null(strstr(text, "topic.t.channel.d.depth"));
	free(text);
	text = lines(false, &now, &last);
	assert_non_null(strstr(text, "topic.e#ephemeral.depth"));
	assert_non_null(strstr(text, "topic.t.channel.c#ephemeral.depth"));
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_counters_are_differences_by_name),
		cmocka_unit_test(test_the_first_push_has_nothing_to_subtract),
		cmocka_unit_test(test_percentiles_are_named_in_percent),
		cmocka_unit_test(test_ephemeral_ones_can_be_left_out),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
