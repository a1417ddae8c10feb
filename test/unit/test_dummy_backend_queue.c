/* SPDX-License-Identifier: MIT */
/* Backends that keep nothing, and the names of those that do. */
#include "test/unit/dq_test.h"

#include "nsqd/disk/dqname.h"
#include "nsqd/disk/dummy_backend_queue.h"

static void test_a_dummy_takes_everything_and_keeps_nothing(void **state)
{
	struct backend_queue *q = dummy_backend_queue_new();
	struct err err;
	put(q, 0, 10, 100);
	assert_int_equal(q->ops->depth(q), 0);
	assert_non_null(q->ops->read_chan(q));
	assert_int_equal(get_seq_within(q, NSEC_PER_MSEC), -2);
	assert_int_equal(q->ops->empty(q, &err), 0);
	assert_int_equal(q->ops->close(q, &err), 0);
	q = dummy_backend_queue_new();
	assert_int_equal(q->ops->delete (q, NULL), 0);
	assert_int_equal(files_ending(".dat"), 0);
}

static void test_get_backend_name(void **state)
{
	char buf[BACKEND_NAME_SIZE];
	assert_string_equal(get_backend_name("orders", "mail", buf, sizeof(buf)), "orders:mail");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		dq_test(test_a_dummy_takes_everything_and_keeps_nothing),
		dq_test(test_get_backend_name),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
