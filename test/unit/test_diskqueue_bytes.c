/* SPDX-License-Identifier: MIT */
/*
 * The bytes of the bodies that a disk queue holds: as exact as its depth is, after each thing that
 * may happen to it.
 */
#include "test/unit/dq_test.h"

#include "nsqd/core/message_count.h"

#define META "q.diskqueue.meta.dat"

static int64_t bytes(struct backend_queue *q)
{
	diskqueue_barrier(q);
	return q->ops->body_bytes(q);
}

static void copy(const char *from, const char *to)
{
	char buf[4096];
	int in = open(from, O_RDONLY | O_CLOEXEC);
	int out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	ssize_t n = read(in, buf, sizeof(buf));
	assert_true(n > 0 && write(out, buf, (size_t)n) == n);
	close(in);
	close(out);
}

static void test_put_receive_and_empty(void **state)
{
	struct diskqueue_opts o = test_opts(1000);
	struct backend_queue *q = open_queue(&o);
	struct err err;
	assert_int_equal(bytes(q), 0);
	put(q, 0, 50, 100);
	put(q, 50, 1, 7);
	assert_int_equal(bytes(q), 5007);
	assert_int_equal(message_count_stored_bytes(), 5007 + 51 * DQ_OVERHEAD);
	expect(q, 0, 20);
	assert_int_equal(bytes(q), 3007);
	assert_int_equal(q->ops->empty(q, &err), 0);
	assert_int_equal(bytes(q), 0);
	put(q, 100, 3, 10);
	expect(q, 100, 3);
	assert_int_equal(bytes(q), 0);
	put(q, 200, 3, 10);
	close_queue(q);
	assert_int_equal(message_count_stored_bytes(), 0);
}

static void test_a_restart_finds_them(void **state)
{
	struct diskqueue_opts o = test_opts(1000);
	struct backend_queue *q = open_queue(&o);
	put(q, 0, 50, 100);
	put(q, 50, 1, 7);
	expect(q, 0, 13);
	close_queue(q);
	q = open_queue(&o);
	assert_int_equal(q->ops->depth(q), 38);
	assert_int_equal(bytes(q), 3707);
	expect(q, 13, 38);
	assert_int_equal(bytes(q), 0);
	close_queue(q);
}

/* As kill -9 leaves it: the metadata are those of a while ago, or not there at all. */
static void test_a_crash_loses_none(void **state)
{
	for (int round = 0; round < 4; round++) {
		struct diskqueue_opts o = test_opts(round % 2 ? 1000 : 100000);
		struct backend_queue *q = open_queue(&o);
		put(q, 0, 20, 100);
		close_queue(q);
		copy(META, "old");
		q = open_queue(&o);
		put(q, 20, 30, 51);
		close_queue(q);
		assert_int_equal(round < 2 ? rename("old", META) : unlink(META), 0);
		q = open_queue(&o);
		assert_int_equal(depth(q), 50);
		assert_int_equal(bytes(q), 20 * 100 + 30 * 51);
		expect(q, 0, 50);
		assert_int_equal(bytes(q), 0);
		expect_drained(q);
		assert_int_equal(q->ops->delete (q, NULL), 0);
		assert_int_equal(message_count_stored_bytes(), 0);
	}
}

/* What was received while it was still being counted is not counted. */
static void test_what_was_overtaken_is_not_counted(void **state)
{
	struct diskqueue_opts o = test_opts(1 << 20);
	struct backend_queue *q = open_queue(&o);
	for (int i = 0; i < 10; i++)
		put(q, i * 1000, 1000, 1000);
	close_queue(q);
	assert_int_equal(unlink(META), 0);
	q = open_queue(&o);
	put(q, 10000, 5, 10);
	expect(q, 0, 9000);
	assert_int_equal(depth(q), 1005);
	assert_int_equal(bytes(q), 1000 * 1000 + 50);
	expect(q, 9000, 1005);
	assert_int_equal(bytes(q), 0);
	close_queue(q);
}

static void test_damage_is_gone_at_the_end(void **state)
{
	struct diskqueue_opts o = test_opts(100000);
	struct backend_queue *q = open_queue(&o);
	put(q, 0, 10, 100);
	close_queue(q);
	int fd = open("q.diskqueue.000000.dat", O_WRONLY | O_CLOEXEC);
	assert_int_equal(pwrite(fd, "\377\377\377\377", 4, 3 * 130), 4);
	close(fd);
	q = open_queue(&o);
	expect(q, 0, 3);
	expect(q, 4, 6);
	assert_int_equal(depth(q), 0);
	assert_int_equal(bytes(q), 0);
	close_queue(q);
	assert_int_equal(message_count_stored_bytes(), 0);
}

/* From depth to in_hand, and away when the receiver is done. */
static void test_what_is_in_hand(void **state)
{
	struct diskqueue_opts o = test_opts(100000);
	o.waits_for_done = true;
	struct backend_queue *q = open_queue(&o);
	put(q, 0, 10, 100);
	expect(q, 0, 4);
	assert_int_equal(depth(q), 6);
	assert_int_equal(q->ops->undone(q), 4);
	q->ops->done(q, 3);
	assert_int_equal(q->ops->undone(q), 1);
	q->ops->done(q, 1);
	assert_int_equal(q->ops->undone(q), 0);
	close_queue(q);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		dq_test(test_put_receive_and_empty),
		dq_test(test_a_restart_finds_them),
		dq_test(test_a_crash_loses_none),
		dq_test(test_what_was_overtaken_is_not_counted),
		dq_test(test_damage_is_gone_at_the_end),
		dq_test(test_what_is_in_hand),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
