/* SPDX-License-Identifier: MIT */
/*
 * cursor: the file of each version of the format, as it was when it was new: test/unit/golden/cursor-N
 * has it as hexadecimal digits, with comments behind "#". It must be read for ever. And the events
 * that the present program writes are, byte for byte, those of the present version.
 */
#include "test/unit/dir_test.h"
#include "test/unit/golden_test.h"

#include <errno.h>
#include <fcntl.h>

#include "common/bytes.h"
#include "common/crc32c.h"
#include "common/strbuf.h"
#include "nsqd/log/cursor.h"
#include "nsqd/log/cursor_events.h"
#include "nsqd/log/cursor_file.h"

#define DUE INT64_C(1800000000000000000)

static void write_golden(const struct strbuf *b)
{
	int fd = open("c.cursor", O_CREAT | O_TRUNC | O_WRONLY, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, b->data, b->len), b->len);
	close(fd);
}

static struct cursor *open_golden(int dir, const char *channel, struct err *err)
{
	struct cursor_found found;
	struct cursor_opts o = {.io = &log_io_real,
		.dir = dir,
		.file = "c.cursor",
		.topic = "orders",
		.channel = channel};
	struct cursor *c = cursor_open(&o, 1, 5000, &found, err);
	if (c)
		assert_false(found.missing || found.damaged || found.torn_bytes > 0 ||
			     found.beyond > 0 || found.gone > 0);
	return c;
}

static void expect_content(struct cursor *c)
{
	struct cursor_entry e[8];
	assert_int_equal(cursor_floor(c), 10);
	assert_int_equal(cursor_unfinished(c, 5000), 5000 - 12);
	assert_true(cursor_is_finished(c, 11) && cursor_is_finished(c, 12));
	assert_int_equal(cursor_attempts(c, 10), 1);
	assert_int_equal(cursor_attempts(c, 25), 3);
	assert_int_equal(cursor_attempts(c, 40), 0);
	assert_int_equal(cursor_attempts(c, 1094), 1);
	assert_int_equal(cursor_attempts(c, 1095), 0);
	static const struct cursor_entry wanted[] = {{-1, 41, UINT32_MAX, UINT16_MAX},
		{0, 42, 0, 2}, {DUE, 30, 4096, 1}, {DUE + 1000, 20, 300, 0}};
	assert_int_equal(cursor_pop_due(c, INT64_MAX, e, COUNT(e)), COUNT(wanted));
	for (size_t i = 0; i < COUNT(wanted); i++) {
		assert_int_equal(e[i].due, wanted[i].due);
		assert_int_equal(e[i].seq, wanted[i].seq);
		assert_int_equal(e[i].offset, wanted[i].offset);
		assert_int_equal(e[i].attempts, wanted[i].attempts);
	}
}

static void test_version_1_is_read(void **state)
{
	struct err err = {0};
	struct strbuf b = read_golden("cursor-1/c.cursor.hex");
	int dir = open(".", O_RDONLY | O_DIRECTORY);
	write_golden(&b);
	struct cursor *c = open_golden(dir, "mail", &err);
	if (!c)
		fail_msg("%s", err.msg);
	expect_content(c);
	cursor_free(c);
	close(dir);
	strbuf_free(&b);
}

static void add_waiting(
	struct events_out *o, uint64_t seq, uint16_t attempts, uint32_t offset, int64_t due)
{
	events_add(o, CURSOR_WAITING, &(struct cursor_entry){due, seq, offset, attempts});
}

static void expect_frame(struct events_out *o, const struct strbuf *golden, size_t *at)
{
	events_end(o);
	*at += CURSOR_FRAME_HEAD;
	assert_int_equal(get_be32((unsigned char *)golden->data + *at - 8), o->bytes.len);
	assert_memory_equal(golden->data + *at, o->bytes.data, o->bytes.len);
	*at += o->bytes.len;
	events_reset(o);
}

static void test_version_1_is_what_is_written(void **state)
{
	struct strbuf b = read_golden("cursor-1/c.cursor.hex");
	struct events_out o = {0};
	size_t at = CURSOR_HEAD_SIZE;
	events_add_range(&o, CURSOR_FINISHED, 0, 10);
	events_end(&o);
	events_add_range(&o, CURSOR_SEEN, 10, 50);
	add_waiting(&o, 30, 1, 4096, DUE);
	add_waiting(&o, 20, 0, 300, DUE + 1000);
	events_add(&o, CURSOR_TRIED, &(struct cursor_entry){.seq = 25, .attempts = 3});
	expect_frame(&o, &b, &at);
	for (uint64_t seq = 60; seq < 1095; seq++)
		events_add_range(&o, CURSOR_TAKEN, seq, 1);
	events_end(&o);
	events_add_range(&o, CURSOR_FINISHED, 12, 1);
	events_end(&o);
	events_add_range(&o, CURSOR_FINISHED, 11, 1);
	events_add(&o, CURSOR_TRIED, &(struct cursor_entry){.seq = 40});
	add_waiting(&o, 41, UINT16_MAX, UINT32_MAX, -1);
	add_waiting(&o, 42, 2, 0, 0);
	expect_frame(&o, &b, &at);
	assert_int_equal(at, b.len);
	events_free(&o);
	strbuf_free(&b);
}

static void set_version(struct strbuf *b, size_t copy, uint32_t version)
{
	unsigned char *p = (unsigned char *)b->data + copy;
	put_be32(p + 8, version);
	put_be32(p + CURSOR_HEAD_COPY - 4, crc32c(0, p, CURSOR_HEAD_COPY - 4));
}

static void test_a_newer_version_is_refused_and_left_alone(void **state)
{
	struct err err = {0};
	struct strbuf b = read_golden("cursor-1/c.cursor.hex");
	int dir = open(".", O_RDONLY | O_DIRECTORY);
	set_version(&b, 0, 2);
	set_version(&b, CURSOR_HEAD_COPY, 2);
	b.data[CURSOR_HEAD_SIZE] ^= 1; /* frames may be others */
	write_golden(&b);
	assert_null(open_golden(dir, "mail", &err));
	assert_int_equal(err.code, ENOTSUP);
	assert_string_equal(
		err.msg, "c.cursor: it has version 2 of the format, and this program knows 1 only");
	char now[4096];
	int fd = open("c.cursor", O_RDONLY);
	assert_int_equal(read(fd, now, sizeof(now)), b.len);
	assert_memory_equal(now, b.data, b.len);
	close(fd);
	close(dir);
	strbuf_free(&b);
}

static void test_the_file_of_another_channel_is_refused(void **state)
{
	struct err err = {0};
	struct strbuf b = read_golden("cursor-1/c.cursor.hex");
	int dir = open(".", O_RDONLY | O_DIRECTORY);
	write_golden(&b);
	assert_null(open_golden(dir, "sms", &err));
	assert_int_equal(err.code, EINVAL);
	assert_string_equal(err.msg, "c.cursor: it belongs to topic orders, channel mail");
	close(dir);
	strbuf_free(&b);
}

#define in_test_dir(f) cmocka_unit_test_setup_teardown(f, enter_test_dir, leave_test_dir)

int main(void)
{
	const struct CMUnitTest tests[] = {
		in_test_dir(test_version_1_is_read),
		cmocka_unit_test(test_version_1_is_what_is_written),
		in_test_dir(test_a_newer_version_is_refused_and_left_alone),
		in_test_dir(test_the_file_of_another_channel_is_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
