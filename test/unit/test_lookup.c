/* SPDX-License-Identifier: MIT */
/* lookup, lookup_peer, http_client: what of them needs no network. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/http_client.h"
#include "nsqd/lookup_peer.h"
#include "nsqd/nsqd.h"

static void test_events_of_one_name_merge(void **state)
{
	(void)state;
	struct nsqd n;
	lookup_init(&n.lookup);
	for (int i = 0; i < 100; i++) {
		lookup_notify(&n, "t", NULL, false);
		lookup_notify(&n, "t", "c", false);
		lookup_notify(&n, "t", "d", false);
	}
	lookup_notify(&n, "t", "c", false);
	assert_int_equal(HASH_COUNT(n.lookup.events), 3);
	assert_false(n.lookup.overflow);
	/* In the order of their last arrival. */
	struct lookup_event *e = n.lookup.events;
	assert_string_equal(e->name, "t");
	e = e->hh.next;
	assert_string_equal(e->name, "t d");
	e = e->hh.next;
	assert_string_equal(e->name, "t c");
	assert_int_equal(chan_len(n.lookup.notify_chan), 1);
	lookup_destroy(&n.lookup);
}

static void test_a_deletion_outlives_the_merge(void **state)
{
	(void)state;
	struct nsqd n;
	lookup_init(&n.lookup);
	lookup_notify(&n, "t", NULL, true);
	lookup_notify(&n, "t", "c", false);
	lookup_notify(&n, "t", NULL, false);
	lookup_notify(&n, "t", NULL, false);
	struct lookup_event *c = n.lookup.events, *t = c->hh.next;
	assert_string_equal(c->name, "t c");
	assert_false(c->gone);
	assert_string_equal(t->name, "t");
	assert_true(t->gone);
	lookup_destroy(&n.lookup);
}

static void test_there_are_never_more_events_than_a_limit(void **state)
{
	(void)state;
	struct nsqd n;
	char name[65];
	lookup_init(&n.lookup);
	for (int i = 0; i < LOOKUP_MAX_EVENTS; i++) {
		snprintf(name, sizeof(name), "t%d", i);
		lookup_notify(&n, name, NULL, false);
	}
	assert_int_equal(HASH_COUNT(n.lookup.events), LOOKUP_MAX_EVENTS);
	assert_false(n.lookup.overflow);
	lookup_notify(&n, "t0", NULL, false);
	assert_false(n.lookup.overflow);
	lookup_notify(&n, "one too many", NULL, false);
	assert_true(n.lookup.overflow);
	assert_int_equal(HASH_COUNT(n.lookup.events), 1);
	lookup_destroy(&n.lookup);
}

static int decode(struct peer_info *info, const char *json)
{
	return peer_info_decode(info, json, strlen(json));
}

static void test_peer_info_is_decoded_as_go_does(void **state)
{
	(void)state;
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
	(void)state;
	struct strbuf sb = STRBUF_INIT;
	http_client_query_escape(&sb, "aZ0-_.~ #&=+%/\xc3\xa9\0x", 18);
	assert_string_equal(sb.data, "aZ0-_.~+%23%26%3D%2B%25%2F%C3%A9%00x");
	strbuf_free(&sb);
}

static void test_dial_wants_a_port(void **state)
{
	(void)state;
	struct err err;
	static const char *const bad[] = {"host", "", "[::1]", "host:", NULL};
	for (size_t i = 0; bad[i]; i++) {
		assert_int_equal(http_client_dial(bad[i], 1000000, -1, &err), -1);
		assert_non_null(strstr(err.msg, "missing port in address"));
	}
	/* Port 1 of this host: nobody listens there. */
	assert_int_equal(http_client_dial("127.0.0.1:1", 1000000000, -1, &err), -1);
	assert_string_equal(err.msg, "dial tcp 127.0.0.1:1: connect: connection refused");
}

int main(void)
{
	http_client_global_init();
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_events_of_one_name_merge),
		cmocka_unit_test(test_a_deletion_outlives_the_merge),
		cmocka_unit_test(test_there_are_never_more_events_than_a_limit),
		cmocka_unit_test(test_peer_info_is_decoded_as_go_does),
		cmocka_unit_test(test_query_escape_is_gos),
		cmocka_unit_test(test_dial_wants_a_port),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
