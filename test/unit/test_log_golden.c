/* SPDX-License-Identifier: MIT */
/*
 * The files of each version of the format, as they were when it was new: test/unit/golden/log-N has
 * them as hexadecimal digits, with comments behind "#". They must be read for ever. And what the
 * present program writes is, byte for byte, those of the present version.
 */
#include "test/unit/golden_test.h"
#include "test/unit/log_test.h"
#include "test/unit/sim_disk.h"

#define FILE_1 "00000000000000000001.seg"

static struct sim_disk *disk_with(const void *data, size_t n)
{
	struct sim_disk *d = sim_new();
	assert_int_equal(d->io.mkdir(&d->io, 0, "t.log"), 0);
	int dir = d->io.open_dir(&d->io, 0, "t.log");
	int fd = d->io.open(&d->io, dir, FILE_1, LOG_IO_CREATE);
	struct iovec iov = {(void *)data, n};
	assert_int_equal(d->io.pwritev(&d->io, fd, &iov, 1, 0), n);
	d->io.close(&d->io, fd);
	d->io.close(&d->io, dir);
	return d;
}

static struct message *text_message(const char *id, const char *text, int64_t timestamp)
{
	struct message_body *body = message_body_new(strlen(text));
	struct message_id mid;
	memcpy(mid.hex, id, sizeof(mid.hex));
	memcpy(body->data, text, body->len);
	return message_new(mid, body, timestamp);
}

static void commit_messages(
	struct log *l, const char *channel, struct message **msgs, const size_t *sizes, size_t n)
{
	struct log_request *reqs[LOG_REQS_MAX] = {NULL};
	struct err err;
	size_t at = 0;
	for (size_t i = 0; i < n; i++) {
		reqs[i] = log_request_new();
		assert_int_equal(
			log_request_prepare(reqs[i], channel, msgs + at, sizes[i], &err), 0);
		at += sizes[i];
	}
	log_commit(l, reqs, n);
	at = 0;
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(reqs[i]->rc, 0);
		at += sizes[i];
		log_request_free(reqs[i]);
	}
}

/* What is in the file of version 1. */
static void write_version_1(struct log *l)
{
	struct message *m[4] = {
		text_message("0123456789abcdef", "hello", 1700000000000000001),
		text_message("fedcba9876543210", "a", 1700000000000000002),
		text_message("00000000000000aa", "", 1700000000000000003),
		text_message("00000000000000bb", "second", 1700000000000000004),
	};
	m[1]->deferred_ns = 1500 * NSEC_PER_MSEC;
	commit_messages(l, NULL, m, (size_t[]){1}, 1);
	commit_messages(l, NULL, m + 1, (size_t[]){2, 1}, 2);
	m[0]->attempts = 3;
	commit_messages(l, "orders", m, (size_t[]){1}, 1);
	message_unref_all(m, 4);
	log_rest(l);
}

static void print_hex(const struct sim_bytes *b)
{
	for (size_t i = 0; i < b->size; i++)
		fprintf(stderr, "%02x%s", b->data[i],
			i % 32 == 31 || i + 1 == b->size ? "\n" : " ");
}

static void test_version_1_is_written(void **state)
{
	struct strbuf golden = read_golden("log-1/" FILE_1 ".hex");
	assert_true(golden.len > LOG_HEAD_SIZE);
	struct sim_disk *d = disk_with(golden.data, LOG_HEAD_SIZE);
	struct log *l = open_log(&d->io, 0, false, 0);
	write_version_1(l);
	log_close(l);
	struct sim_bytes *now = &sim_file(d, "t.log", FILE_1)->now;
	if (now->size != golden.len || memcmp(now->data, golden.data, now->size) != 0) {
		print_hex(now);
		fail_msg("these are not the bytes of version 1");
	}
	sim_free(d);
	strbuf_free(&golden);
}

static void expect_message(struct log_reader *r, const char *id, const char *text,
	int64_t timestamp, int64_t deferred, uint16_t attempts, uint64_t origin,
	const char *channel)
{
	struct log_item item;
	struct err err = {0};
	if (log_reader_next(r, &item, &err) != LOG_READ_MESSAGE)
		fail_msg("%s: %s", id, err.msg);
	struct message *m = item.msg;
	assert_memory_equal(m->id.hex, id, MSG_ID_LENGTH);
	assert_int_equal(m->body->len, strlen(text));
	assert_memory_equal(m->body->data, text, m->body->len);
	assert_true(m->timestamp == timestamp && m->deferred_ns == deferred &&
		    m->attempts == attempts && item.origin == origin);
	if (channel)
		assert_string_equal(item.channel, channel);
	else
		assert_null(item.channel);
	message_unref(m);
}

static void test_version_1_is_read(void **state)
{
	struct strbuf golden = read_golden("log-1/" FILE_1 ".hex");
	struct log_item item;
	struct err err;
	struct sim_disk *d = disk_with(golden.data, golden.len);
	struct log *l = open_log(&d->io, 0, true, 0);
	struct log_reader *r = log_reader_open(l, 1, 0);
	expect_message(r, "0123456789abcdef", "hello", 1700000000000000001, 0, 0, 1, NULL);
	expect_message(
		r, "fedcba9876543210", "a", 1700000000000000002, 1500 * NSEC_PER_MSEC, 0, 2, NULL);
	expect_message(r, "00000000000000aa", "", 1700000000000000003, 0, 0, 3, NULL);
	expect_message(r, "00000000000000bb", "second", 1700000000000000004, 0, 0, 4, NULL);
	expect_message(r, "0123456789abcdef", "hello", 1700000000000000001, 0, 3, 1, "orders");
	assert_int_equal(log_reader_next(r, &item, &err), LOG_READ_END);
	log_reader_close(r);
	log_close(l);
	sim_free(d);
	strbuf_free(&golden);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_version_1_is_written),
		cmocka_unit_test(test_version_1_is_read),
	};
	return cmocka_run_group_tests(tests, log_setup, log_teardown);
}
