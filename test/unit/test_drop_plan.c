/* SPDX-License-Identifier: MIT */
/* What is dropped first, of a queue in memory and one on disk; and values of --min-free-disk. */
#include "test/unit/dq_test.h"

#include "nsqd/core/options.h"
#include "nsqd/queue/drop_plan.h"

static void queue(struct chan *c, int64_t seq)
{
	struct message *m = make_message(seq, 10);
	chan_send(c, &m);
}

/* The disk has read the first of them, and offers it. */
static void await_ahead(struct backend_queue *q, size_t n)
{
	int64_t first, last;
	for (int i = 0; q->ops->ahead(q, &first, &last) < n && i < 1000; i++)
		diskqueue_barrier(q);
}

static void assert_plan(struct drop_plan p, size_t n, bool memory)
{
	assert_int_equal(p.n, n);
	if (n > 0)
		assert_true(p.memory == memory);
}

static void test_the_older_head_goes_first(void **state)
{
	struct diskqueue_opts o = test_opts(100000);
	struct backend_queue *q = open_queue(&o);
	struct chan *c = chan_new(sizeof(struct message *), 100);
	assert_plan(drop_plan_make(c, q, 5, 0), 0, false);
	for (int i = 0; i < 10; i++)
		queue(c, i);
	assert_plan(drop_plan_make(c, q, 0, 0), 0, false);
	assert_plan(drop_plan_make(c, q, 3, 0), 3, true);
	assert_plan(drop_plan_make(c, q, 50, 0), 10, true);
	put(q, 5, 1, 10);
	await_ahead(q, 1);
	/* Those in memory up to the age of the one on disk. */
	assert_plan(drop_plan_make(c, q, 50, 0), 6, true);
	for (int i = 0; i < 6; i++) {
		struct message *m;
		chan_recv(c, &m);
		message_unref(m);
	}
	assert_plan(drop_plan_make(c, q, 50, 0), 1, false);
	assert_plan(drop_plan_make(NULL, q, 50, 0), 1, false);
	message_drain_chan(c);
	chan_free(c);
	close_queue(q);
}

static int64_t depth_of_2(struct backend_queue *q)
{
	return 2;
}

static size_t none_ahead(struct backend_queue *q, int64_t *first, int64_t *last)
{
	*first = *last = 0;
	return 0;
}

/* Until the disk has read its head nobody knows which of the two is older. */
static void test_a_head_that_is_not_read_yet_is_waited_for(void **state)
{
	static const struct backend_queue_ops ops = {.depth = depth_of_2, .ahead = none_ahead};
	struct backend_queue q = {.ops = &ops};
	struct chan *c = chan_new(sizeof(struct message *), 100);
	/* There is no other one, so it is waited for where it comes. */
	assert_plan(drop_plan_make(NULL, &q, 50, 0), 1, false);
	assert_plan(drop_plan_make(c, &q, 50, 0), 1, false);
	queue(c, 1);
	assert_plan(drop_plan_make(c, &q, 50, 0), 0, false);
	assert_true(drop_plan_make(c, &q, 50, 0).again);
	assert_false(drop_plan_make(c, &q, 0, 0).again);
	message_drain_chan(c);
	chan_free(c);
}

/* A disk that does not answer for long costs no more than ten looks a second. */
static void test_looks_become_rare(void **state)
{
	unsigned looks = 0;
	assert_int_equal(drop_retry_ns(&looks), 100 * NSEC_PER_USEC);
	assert_int_equal(drop_retry_ns(&looks), 200 * NSEC_PER_USEC);
	for (int i = 0; i < 100; i++)
		(void)drop_retry_ns(&looks);
	assert_in_range(drop_retry_ns(&looks), 100 * NSEC_PER_MSEC, 110 * NSEC_PER_MSEC);
	looks = 0;
	assert_int_equal(drop_retry_ns(&looks), 100 * NSEC_PER_USEC);
}

static void test_bytes_count_too(void **state)
{
	struct diskqueue_opts o = test_opts(100000);
	struct backend_queue *q = open_queue(&o);
	struct chan *c = chan_new(sizeof(struct message *), 100);
	for (int i = 0; i < 10; i++)
		queue(c, i);
	assert_int_equal(chan_body_bytes(c), 100);
	assert_int_equal(chan_body_bytes(NULL), 0);
	assert_plan(drop_plan_make(c, q, -7, 1), 1, true);
	assert_plan(drop_plan_make(c, q, -7, 20), 2, true);
	assert_plan(drop_plan_make(c, q, 1, 21), 3, true);
	assert_plan(drop_plan_make(c, q, 5, 21), 5, true);
	message_drain_chan(c);
	chan_free(c);
	close_queue(q);
}

static void test_min_free_disk(void **state)
{
	static const struct {
		const char *text;
		bool ok;
		int64_t bytes;
		double percent;
	} rows[] = {
		{"", true, 0, 0},
		{"0", true, 0, 0},
		{"1000000", true, 1000000, 0},
		{"10%", true, 0, 10},
		{"0.5%", true, 0, 0.5},
		{"100%", true, 0, 100},
		{"100.1%", false, 0, 0},
		{"-1", false, 0, 0},
		{"-1%", false, 0, 0},
		{"%", false, 0, 0},
		{"10 %", false, 0, 0},
		{"5GB", false, 0, 0},
		{"99999999999999999999", false, 0, 0},
		{"nan%", false, 0, 0},
	};
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		int64_t bytes;
		double percent;
		assert_true(options_parse_free(rows[i].text, &bytes, &percent) == rows[i].ok);
		if (!rows[i].ok)
			continue;
		assert_int_equal(bytes, rows[i].bytes);
		assert_true(percent == rows[i].percent);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		dq_test(test_the_older_head_goes_first),
		cmocka_unit_test(test_a_head_that_is_not_read_yet_is_waited_for),
		cmocka_unit_test(test_looks_become_rare),
		dq_test(test_bytes_count_too),
		cmocka_unit_test(test_min_free_disk),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
