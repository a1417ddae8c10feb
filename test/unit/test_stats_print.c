/* SPDX-License-Identifier: MIT */
/* /stats as stock prints it. The texts are stock's, taken from its answers. */
#include "test/unit/helper.h"

#include <time.h>

#include "common/clock.h"
#include "common/version.h"
#include "nsqd/stats/stats_print.h"

#define TEXT(str)                                                                                  \
	{                                                                                          \
		.s = (char *)str, .len = sizeof(str) - 1                                           \
	}
#define START (1795364524 * NSEC_PER_SEC)

static struct client_v2_stats consumer = {
	.client_id = TEXT("c"),
	.hostname = TEXT("h\xc3\xa9.example"),
	.user_agent = TEXT("ua/1"),
	.remote_address = "127.0.0.1:50000",
	.state = 3,
	.ready_count = 2,
	.in_flight_count = 1,
	.message_count = 5,
	.finish_count = 4,
	.requeue_count = 0,
	.connect_ts = 1795364524,
};

static struct client_v2_stats producer = {
	.client_id = TEXT("p"),
	.hostname = TEXT("h"),
	.user_agent = TEXT(""),
	.remote_address = "@",
	.state = 2,
	.message_count = 0,
	.connect_ts = 1795364524,
	.pub_topic = "t",
	.pub_count = 7,
};

static struct quantile_point percentiles[] = {{0.99, 1234567}, {0.5, 999}};

static struct channel_stats channel = {
	.channel_name = "ch",
	.depth = 1,
	.in_flight_count = 1,
	.message_count = 6,
	.client_count = 1,
	.clients = &consumer,
	.e2e_processing_latency = {.count = 6, .points = percentiles, .n = 2},
};

static struct topic_stats topic = {
	.topic_name = "t",
	.channels = &channel,
	.n_channels = 1,
	.message_count = 6,
	.message_bytes = 60,
	.paused = true,
};

static struct stats stats = {
	.topics = &topic,
	.n_topics = 1,
	.include_clients = true,
	.producers = &producer,
	.n_producers = 1,
};

static void test_json_looks_like_stocks(void **state)
{
	struct strbuf out = STRBUF_INIT;
	struct stats_page page = {.stats = &stats, .health = "OK", .start_time_ns = START};
	stats_print_json(&out, &page);
	assert_string_equal(out.data,
		"{\"version\":\"1.3.0\",\"health\":\"OK\",\"start_time\":1795364524,\"topics\":["
		"{\"topic_name\":\"t\",\"channels\":[{\"channel_name\":\"ch\",\"depth\":1,"
		"\"backend_depth\":0,\"in_flight_count\":1,\"deferred_count\":0,"
		"\"message_count\":6,\"requeue_count\":0,\"timeout_count\":0,\"client_count\":1,"
		"\"clients\":[{\"client_id\":\"c\",\"hostname\":\"h\xc3\xa9.example\","
		"\"version\":\"V2\",\"remote_address\":\"127.0.0.1:50000\",\"state\":3,"
		"\"ready_count\":2,\"in_flight_count\":1,\"message_count\":5,\"finish_count\":4,"
		"\"requeue_count\":0,\"connect_ts\":1795364524,\"sample_rate\":0,"
		"\"deflate\":false,\"snappy\":false,\"user_agent\":\"ua/1\",\"tls\":false,"
		"\"tls_cipher_suite\":\"\",\"tls_version\":\"\",\"tls_negotiated_protocol\":\"\","
		"\"tls_negotiated_protocol_is_mutual\":false}],\"paused\":false,"
		"\"e2e_processing_latency\":{\"count\":6,\"percentiles\":["
		"{\"quantile\":0.99,\"value\":1234567},{\"quantile\":0.5,\"value\":999}]}}],"
		"\"depth\":0,\"backend_depth\":0,\"message_count\":6,\"message_bytes\":60,"
		"\"paused\":true,\"e2e_processing_latency\":{\"count\":0,\"percentiles\":null}}],"
		"\"producers\":[{\"client_id\":\"p\",\"hostname\":\"h\",\"version\":\"V2\","
		"\"remote_address\":\"@\",\"state\":2,\"ready_count\":0,\"in_flight_count\":0,"
		"\"message_count\":0,\"finish_count\":0,\"requeue_count\":0,"
		"\"connect_ts\":1795364524,\"sample_rate\":0,\"deflate\":false,\"snappy\":false,"
		"\"user_agent\":\"\",\"pub_counts\":[{\"topic\":\"t\",\"count\":7}],\"tls\":false,"
		"\"tls_cipher_suite\":\"\",\"tls_version\":\"\",\"tls_negotiated_protocol\":\"\","
		"\"tls_negotiated_protocol_is_mutual\":false}]}");
	strbuf_free(&out);
}

static void test_json_tells_null_from_empty(void **state)
{
	struct strbuf out = STRBUF_INIT;
	struct channel_stats c = {.channel_name = "c", .client_count = 3};
	struct topic_stats t = {.topic_name = "t", .channels = &c, .n_channels = 1};
	struct stats s = {.topics = &t, .n_topics = 1};
	struct stats_page page = {.stats = &s, .health = "OK"};
	stats_print_json(&out, &page);
	assert_non_null(strstr(out.data, "\"client_count\":3,\"clients\":null,"));
	assert_non_null(strstr(out.data, "\"producers\":null}"));
	strbuf_reset(&out);
	s.n_topics = 0;
	stats_print_json(&out, &page);
	assert_non_null(strstr(out.data, "\"topics\":[],"));
	strbuf_reset(&out);
	s.unknown_topic = true;
	stats_print_json(&out, &page);
	assert_non_null(strstr(out.data, "\"topics\":null,"));
	strbuf_free(&out);
}

static void test_text_looks_like_stocks(void **state)
{
	struct strbuf out = STRBUF_INIT;
	struct mem_stats memory = {.heap_in_use_bytes = 5};
	struct stats_page page = {
		.stats = &stats,
		.memory = &memory,
		.health = "NOK - x",
		.start_time_ns = START,
		.now_ns = START + 61 * NSEC_PER_SEC + 500 * NSEC_PER_MSEC,
	};
	stats_print_text(&out, &page);
	assert_string_equal(out.data, VERSION_STRING
		"\nstart_time 2026-11-22T18:22:04+02:00\nuptime 1m1.5s\n\nHealth: NOK - x\n"
		"\nMemory:\n"
		"   heap_objects             \t0\n"
		"   heap_idle_bytes          \t0\n"
		"   heap_in_use_bytes        \t5\n"
		"   heap_released_bytes      \t0\n"
		"   gc_pause_usec_100        \t0\n"
		"   gc_pause_usec_99         \t0\n"
		"   gc_pause_usec_95         \t0\n"
		"   next_gc_bytes            \t0\n"
		"   gc_total_runs            \t0\n"
		"\nTopics:"
		"\n*P [t              ] depth: 0     be-depth: 0     msgs: 6        e2e%: \n"
		"      [ch                       ] depth: 1     be-depth: 0     inflt: 1    def: 0 "
		"   "
		"re-q: 0     timeout: 0     msgs: 6        e2e%: 1.2ms, 999.0ns\n"
		"        [V2 h\xc3\xa9.example:50000 ua/1] state: 3 inflt: 1    rdy: 2    fin: 4   "
		"     "
		"re-q: 0        msgs: 5        connected: 1m1s\n"
		"\nProducers:\n"
		"   [V2 h:                   ] msgs: 7        topics: t=7 connected: 1m1s\n");
	strbuf_free(&out);
}

static void test_text_without_topics_says_so(void **state)
{
	struct strbuf out = STRBUF_INIT;
	struct stats s = {0};
	struct stats_page page = {
		.stats = &s, .health = "OK", .start_time_ns = START, .now_ns = START};
	stats_print_text(&out, &page);
	assert_string_equal(out.data,
		VERSION_STRING "\nstart_time 2026-11-22T18:22:04+02:00\nuptime 0s\n\nHealth: OK\n"
			       "\nTopics: None\n\nProducers: None\n");
	strbuf_free(&out);
}

int main(void)
{
	setenv("TZ", "TST-2", 1);
	tzset();
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_json_looks_like_stocks),
		cmocka_unit_test(test_json_tells_null_from_empty),
		cmocka_unit_test(test_text_looks_like_stocks),
		cmocka_unit_test(test_text_without_topics_says_so),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
