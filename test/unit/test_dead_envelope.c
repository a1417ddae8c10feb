/* SPDX-License-Identifier: MIT */
/* dead_envelope: there and back, byte by byte, and what is no envelope. */
#include "test/unit/helper.h"

#include <string.h>

#include "nsqd/queue/dead_envelope.h"

static struct message_body *body_of(const void *data, size_t len)
{
	struct message_body *b = message_body_new(len);
	memcpy(b->data, data, len);
	return b;
}

static struct dead_letter origin(void)
{
	struct dead_letter d = {.topic = "orders",
		.channel = "mail",
		.timestamp = 17,
		.attempts = 5,
		.reason = DEAD_EXPIRED,
		.time = 18};
	memcpy(d.id.hex, "0123456789abcdef", MSG_ID_LENGTH);
	return d;
}

static void test_it_says_what_it_is(void **state)
{
	struct dead_letter d = origin();
	struct message_body *b = body_of("hello", 5);
	struct message_body *e = dead_envelope_new(&d, b, 1000);
	static const char wanted[] =
		"{\"topic\":\"orders\",\"channel\":\"mail\",\"id\":\"0123456789abcdef\","
		"\"timestamp\":17,\"attempts\":5,\"reason\":\"expired\",\"time\":18,"
		"\"body\":\"aGVsbG8=\"}";
	assert_int_equal(e->len, sizeof(wanted) - 1);
	assert_memory_equal(e->data, wanted, e->len);
	assert_null(dead_envelope_new(&d, b, e->len - 1));
	message_body_unref(e);
	message_body_unref(b);
}

static void test_each_body_comes_back(void **state)
{
	struct dead_letter d = origin();
	unsigned char data[300];
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (unsigned char)(i * 7);
	for (size_t len = 0; len <= sizeof(data); len++) {
		struct message_body *b = body_of(data, len);
		struct message_body *e = dead_envelope_new(&d, b, 10000);
		struct message_body *again = dead_envelope_open(e);
		assert_non_null(again);
		assert_int_equal(again->len, len);
		assert_memory_equal(again->data, data, len);
		message_body_unref(again);
		message_body_unref(e);
		message_body_unref(b);
	}
}

static void test_what_is_none(void **state)
{
	static const char *const texts[] = {"", "x", "[]", "{}", "{\"body\":1}", "{\"body\":\"a\"}",
		"{\"body\":\"a===\"}", "{\"body\":\"!!!!\"}", "{\"body\":\"=aaa\"}",
		"{\"body\":\"==\"}"};
	for (size_t i = 0; i < COUNT(texts); i++) {
		struct message_body *b = body_of(texts[i], strlen(texts[i]));
		assert_null(dead_envelope_open(b));
		message_body_unref(b);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_it_says_what_it_is),
		cmocka_unit_test(test_each_body_comes_back),
		cmocka_unit_test(test_what_is_none),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
