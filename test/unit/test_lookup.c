/* SPDX-License-Identifier: MIT */
/* lookup_peer, http_client: what of them needs no network. */
#include "test/unit/helper.h"

#include "common/http_client.h"
#include "nsqd/cluster/lookup_peer.h"

static int decode(struct peer_info *info, const char *json)
{
	return peer_info_decode(info, json, strlen(json));
}

static void test_peer_info_is_decoded_as_go_does(void **state)
{
	struct peer_info info = {.version = strdup(""), .broadcast_address = strdup("")};
	assert_int_equal(
		decode(&info, "{\"tcp_port\":4160,\"http_port\":4161,\"version\":\"1.3.0\","
			      "\"broadcast_address\":\"h\",\"hostname\":\"x\"}"),
		0);
	assert_int_equal(info.tcp_port, 4160);
	assert_int_equal(info.http_port, 4161);
	assert_string_equal(info.version, "1.3.0");
	assert_string_equal(info.broadcast_address, "h");
	/* What is not there keeps its value. */
	assert_int_equal(decode(&info, "{\"version\":null}"), 0);
	assert_int_equal(decode(&info, "null"), 0);
	assert_string_equal(info.version, "1.3.0");
	assert_int_equal(decode(&info, "OK"), -1);
	assert_int_equal(decode(&info, ""), -1);
	assert_int_equal(decode(&info, "[]"), -1);
	assert_int_equal(decode(&info, "{\"tcp_port\":\"4160\"}"), -1);
	assert_int_equal(decode(&info, "{\"tcp_port\":1.5}"), -1);
	assert_int_equal(decode(&info, "{\"broadcast_address\":1}"), -1);
	free(info.version);
	free(info.broadcast_address);
}

static void test_query_escape_is_gos(void **state)
{
	struct strbuf sb = STRBUF_INIT;
	http_client_query_escape(&sb, "aZ0-_.~ #&=+%/\xc3\xa9\0x", 18);
	assert_string_equal(sb.data, "aZ0-_.~+%23%26%3D%2B%25%2F%C3%A9%00x");
	strbuf_free(&sb);
}

static void test_dial_takes_addresses_as_go_does(void **state)
{
	static const struct {
		const char *address, *text;
	} cases[] = {
		{"", "dial tcp: missing address"},
		{"host", "dial tcp: address host: missing port in address"},
		{"[::1]", "dial tcp: address [::1]: missing port in address"},
		{"::1:1", "dial tcp: address ::1:1: too many colons in address"},
		{"[a:1", "dial tcp: address [a:1: missing ']' in address"},
		{"127.0.0.1:", "dial tcp 127.0.0.1:0: connect: connection refused"},
		/* Port 1 of this host: nobody listens there. */
		{"127.0.0.1:1", "dial tcp 127.0.0.1:1: connect: connection refused"},
		{"[127.0.0.1]:1", "dial tcp 127.0.0.1:1: connect: connection refused"},
		{":1", "dial tcp :1: connect: connection refused"},
		{"user@127.0.0.1:1", "dial tcp: lookup user@127.0.0.1: no such host"},
		{"127.0.0.1:1/x", "dial tcp: lookup tcp/1/x: unknown port"},
		{"127.0.0.1:1?x", "dial tcp: lookup tcp/1?x: unknown port"},
		{"127.0.0.1:1#x", "dial tcp: lookup tcp/1#x: unknown port"},
		{"127.0.1:1", "dial tcp: lookup 127.0.1: no such host"},
		{"127.0.0.01:1", "dial tcp: lookup 127.0.0.01: no such host"},
		{"0x7f.1:1", "dial tcp: lookup 0x7f.1: no such host"},
		{"2130706433:1", "dial tcp: lookup 2130706433: no such host"},
		{"127.0.0.1:65536", "dial tcp: address 65536: invalid port"},
		{"a b:1", "dial tcp: lookup a b: no such host"},
		{"\xff:1", "dial tcp: lookup \xff: no such host"},
	};
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct err err;
		int fd = http_client_dial(cases[i].address, 1000000000, -1, &err);
		assert_int_equal(fd, -1);
		assert_string_equal(err.msg, cases[i].text);
	}
}

/* What libcurl does not take is an error of this call, and nothing else. */
static void test_nothing_that_a_call_has_ends_the_process(void **state)
{
	struct strbuf url = STRBUF_INIT;
	struct err err;
	strbuf_adds(&url, "http://127.0.0.1:1/?");
	while (url.len < 8100000)
		strbuf_adds(&url, "secretsecretsecretsecretsecretsecretsecretsecretsecret");
	const char *const urls[] = {url.data, "", "nonsense", "http://", "http://a b/", "ftp://x/",
		"http://[::1", "http://127.0.0.1:99999/", "http://\x01/"};
	static const int64_t times[] = {INT64_MIN, -1, 0, 1, INT64_MAX};
	for (size_t i = 0; i < COUNT(urls); i++) {
		for (size_t k = 0; k < COUNT(times); k++) {
			struct http_client c = {.connect_timeout_ns = times[k],
				.request_timeout_ns = times[k],
				.cancel_fd = -1};
			struct http_client_call call = {.url = urls[i]};
			http_client_do(&c, &call, 1);
			assert_false(call.ok);
			assert_true(*call.err.msg != '\0');
			assert_null(strstr(call.err.msg, "secret"));
			strbuf_free(&call.body);
		}
	}
	strbuf_adds(&url, ":1");
	assert_int_equal(http_client_dial(url.data, 1000000000, -1, &err), -1);
	assert_int_equal(http_client_dial("127.0.0.1:1", INT64_MAX, -1, &err), -1);
	assert_int_equal(http_client_dial("127.0.0.1:1", INT64_MIN, -1, &err), -1);
	strbuf_free(&url);
}

int main(void)
{
	assert_int_equal(http_client_global_init(NULL), 0);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_peer_info_is_decoded_as_go_does),
		cmocka_unit_test(test_query_escape_is_gos),
		cmocka_unit_test(test_dial_takes_addresses_as_go_does),
		cmocka_unit_test(test_nothing_that_a_call_has_ends_the_process),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
