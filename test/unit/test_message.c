/* SPDX-License-Identifier: MIT */
/* message: references, copies that share a body, and the form on the wire and on disk. */
#include "test/unit/helper.h"

#include "nsqd/core/message.h"

static const struct message_id an_id = {
	.hex = {'0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'}};

static struct message *new_message(const char *body)
{
	struct message_body *b = message_body_new(strlen(body));
	memcpy(b->data, body, strlen(body));
	return message_new(an_id, b, 0x0102030405060708);
}

static void test_a_new_message_has_one_reference_and_no_attempts(void **state)
{
	struct message *m = new_message("test");
	assert_int_equal(m->refs, 1);
	assert_int_equal(m->body->refs, 1);
	assert_int_equal(m->body->len, 4);
	assert_int_equal(m->attempts, 0);
	assert_int_equal(m->deferred_ns, 0);
	message_unref(m);
}

/* There may be millions: docs/operating.md says what each costs. */
static void test_a_record_does_not_grow(void **state)
{
	if (sizeof(void *) == 8)
		assert_int_equal(sizeof(struct message), 104);
}

static void test_a_message_lives_until_its_last_reference_is_gone(void **state)
{
	struct message *m = new_message("test");
	assert_ptr_equal(message_ref(m), m);
	assert_int_equal(m->refs, 2);
	message_unref(m);
	assert_int_equal(m->refs, 1);
	assert_memory_equal(m->body->data, "test", 4);
	message_unref(m);
	message_unref(NULL);
}

static void test_a_copy_shares_the_body_and_outlives_the_original(void **state)
{
	struct message *m = new_message("test"), *copy;
	m->attempts = 7;
	m->deferred_ns = 8;
	copy = message_copy(m);
	assert_ptr_equal(copy->body, m->body);
	assert_int_equal(m->body->refs, 2);
	assert_memory_equal(copy->id.hex, an_id.hex, MSG_ID_LENGTH);
	assert_int_equal(copy->timestamp, m->timestamp);
	assert_int_equal(copy->deferred_ns, 8);
	assert_int_equal(copy->attempts, 0);
	assert_int_equal(copy->refs, 1);
	message_unref(m);
	assert_int_equal(copy->body->refs, 1);
	assert_memory_equal(copy->body->data, "test", 4);
	message_unref(copy);
}

static void test_the_header_is_big_endian_timestamp_attempts_and_id(void **state)
{
	unsigned char head[MSG_HEADER_LENGTH];
	struct message *m = new_message("test");
	m->attempts = 0x090a;
	message_write_header(m, head);
	assert_memory_equal(head, "\1\2\3\4\5\6\7\x8\x9\xa", 10);
	assert_memory_equal(head + 10, an_id.hex, MSG_ID_LENGTH);
	message_unref(m);
}

static void test_what_was_written_is_decoded_again(void **state)
{
	char buf[MSG_HEADER_LENGTH + 4] = {0};
	struct message *m = new_message("test"), *back;
	struct err err;
	m->attempts = 65535;
	message_write_header(m, (unsigned char *)buf);
	memcpy(buf + MSG_HEADER_LENGTH, "test", 4);
	back = message_decode(buf, sizeof(buf), &err);
	assert_non_null(back);
	memset(buf, 'x', sizeof(buf)); /* it has copied what it needs */
	assert_memory_equal(back->id.hex, an_id.hex, MSG_ID_LENGTH);
	assert_int_equal(back->timestamp, m->timestamp);
	assert_int_equal(back->attempts, 65535);
	assert_int_equal(back->body->len, 4);
	assert_memory_equal(back->body->data, "test", 4);
	message_unref(back);
	message_unref(m);
}

static void test_a_header_alone_is_a_message_without_body(void **state)
{
	char buf[MSG_HEADER_LENGTH] = {0};
	struct err err;
	struct message *m = message_decode(buf, sizeof(buf), &err);
	assert_non_null(m);
	assert_int_equal(m->body->len, 0);
	message_unref(m);
}

static void test_less_than_a_header_is_an_error(void **state)
{
	struct err err;
	for (size_t n = 0; n < MIN_VALID_MSG_LENGTH; n++) {
		char *buf = calloc(1, n + 1), want[64];
		assert_null(message_decode(buf, n, &err));
		snprintf(want, sizeof(want), "invalid message buffer size (%zu)", n);
		assert_string_equal(err.msg, want);
		free(buf);
	}
}

struct sharing {
	struct message *m;
	struct message_body *body;
	struct chan *go;
};

static void ref_and_unref(void *arg)
{
	struct sharing *s = arg;
	chan_recv(s->go, NULL);
	for (int i = 0; i < ROUNDS(20000); i++) {
		message_unref(message_ref(s->m));
		message_body_unref(message_body_ref(s->body));
	}
	message_unref(s->m);
	message_body_unref(s->body);
}

static void test_references_are_counted_under_many_threads(void **state)
{
	struct sharing s = {.m = new_message("test"), .go = chan_new(0, 0)};
	struct wait_group wg;
	s.body = message_body_ref(s.m->body);
	wait_group_init(&wg);
	for (int i = 0; i < 4; i++) {
		message_ref(s.m);
		message_body_ref(s.body);
		go(&wg, ref_and_unref, &s);
	}
	message_unref(s.m);
	message_body_unref(s.body);
	chan_close(s.go);
	join(&wg);
	chan_free(s.go); /* a reference too few or too many is for the sanitizers to find */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_new_message_has_one_reference_and_no_attempts),
		cmocka_unit_test(test_a_record_does_not_grow),
		cmocka_unit_test(test_a_message_lives_until_its_last_reference_is_gone),
		cmocka_unit_test(test_a_copy_shares_the_body_and_outlives_the_original),
		cmocka_unit_test(test_the_header_is_big_endian_timestamp_attempts_and_id),
		cmocka_unit_test(test_what_was_written_is_decoded_again),
		cmocka_unit_test(test_a_header_alone_is_a_message_without_body),
		cmocka_unit_test(test_less_than_a_header_is_an_error),
		cmocka_unit_test(test_references_are_counted_under_many_threads),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
