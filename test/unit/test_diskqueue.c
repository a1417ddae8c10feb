/* SPDX-License-Identifier: MIT */
/*
 * The disk queue when nothing goes wrong: the tests of go-diskqueue under their names, and what is
 * ours: batches, the late thread, giving back.
 */
#include "test/unit/dq_test.h"

#include "common/gothread.h"

#define META "q.diskqueue.meta.dat"

static void test_disk_queue(void **state)
{
	struct diskqueue_opts o = test_opts(1024);
	struct backend_queue *q = open_queue(&o);
	assert_int_equal(q->ops->depth(q), 0);
	put(q, 0, 1, 4);
	assert_int_equal(q->ops->depth(q), 1);
	expect(q, 0, 1);
	expect_drained(q);
	close_queue(q);
}

static void test_an_unused_queue_costs_no_thread_and_no_file(void **state)
{
	struct diskqueue_opts o = test_opts(1024);
	struct backend_queue *q = open_queue(&o);
	struct err err;
	assert_false(inside(q)->running);
	assert_non_null(q->ops->read_chan(q));
	assert_int_equal(q->ops->empty(q, &err), 0);
	assert_false(inside(q)->running);
	close_queue(q);
	assert_int_equal(files_ending(".dat"), 0);
}

static void test_disk_queue_roll(void **state)
{
	struct diskqueue_opts o = test_opts(10 * 40);
	struct backend_queue *q = open_queue(&o);
	for (int i = 0; i < 11; i++) {
		put(q, i, 1, 10);
		assert_int_equal(q->ops->depth(q), i + 1);
	}
	diskqueue_barrier(q);
	assert_int_equal(inside(q)->wr.file, 1);
	assert_int_equal(inside(q)->wr.pos, 40);
	for (int i = 0; i < 11; i++) {
		expect(q, i, 1);
		assert_int_equal(depth(q), 10 - i);
	}
	assert_false(exists("q.diskqueue.000000.dat"));
	close_queue(q);
	assert_int_equal(files_ending(".bad"), 0);
}

static void test_a_batch_is_split_where_the_file_is_full(void **state)
{
	struct diskqueue_opts o = test_opts(10 * 40);
	struct backend_queue *q = open_queue(&o);
	put(q, 0, 1000, 10);
	assert_int_equal(q->ops->depth(q), 1000);
	diskqueue_barrier(q);
	assert_int_equal(inside(q)->wr.file, 99);
	expect(q, 0, 1000);
	expect_drained(q);
	close_queue(q);
	assert_int_equal(files_ending(".bad"), 0);
	/* The file that was read to its end goes as well: the metadata are all that is left. */
	assert_int_equal(files_ending(".dat"), 1);
}

static void test_a_record_larger_than_a_file_has_one_of_its_own(void **state)
{
	struct diskqueue_opts o = test_opts(100);
	struct backend_queue *q = open_queue(&o);
	put(q, 0, 1, 10);
	put(q, 1, 2, 1024 * 1024);
	put(q, 3, 1, 0);
	diskqueue_barrier(q);
	assert_int_equal(inside(q)->wr.file, 3);
	expect(q, 0, 4);
	expect_drained(q);
	close_queue(q);
}

static void test_sizes_out_of_range_are_refused(void **state)
{
	struct diskqueue_opts o = test_opts(1024);
	struct backend_queue *q = open_queue(&o);
	struct backend_record recs[3] = {
		{"01234567890123456789012345", 26, "a", 1}, {"x", 1, NULL, 0}, {"y", 1, NULL, 0}};
	struct err err = {0};
	assert_int_equal(q->ops->put(q, recs, 3, &err), 1);
	assert_string_equal(
		err.msg, "invalid message write size (1) minMsgSize=26 maxMsgSize=1048602");
	assert_int_equal(q->ops->put(q, recs + 1, 1, &err), 0);
	assert_int_equal(q->ops->depth(q), 1);
	close_queue(q);
}

static void test_disk_queue_empty(void **state)
{
	struct diskqueue_opts o = test_opts(400);
	struct backend_queue *q = open_queue(&o);
	struct err err;
	put(q, 0, 100, 10);
	expect(q, 0, 3);
	assert_int_equal(depth(q), 97);
	assert_int_equal(q->ops->empty(q, &err), 0);
	assert_int_equal(files_ending(".dat"), 0);
	assert_int_equal(depth(q), 0);
	assert_true(dq_pos_eq(inside(q)->rd, inside(q)->wr));
	assert_int_equal(inside(q)->wr.file, 10);
	put(q, 200, 100, 10);
	assert_int_equal(q->ops->depth(q), 100);
	expect(q, 200, 100);
	expect_drained(q);
	assert_int_equal(q->ops->empty(q, &err), 0);
	close_queue(q);
	assert_int_equal(files_ending(".dat"), 0);
	assert_int_equal(logged("INFO: DISKQUEUE(q): emptying\n"), 2);
}

static void test_delete_leaves_nothing(void **state)
{
	struct diskqueue_opts o = test_opts(400);
	struct backend_queue *q = open_queue(&o);
	struct err err;
	put(q, 0, 100, 10);
	expect(q, 0, 30);
	assert_int_equal(q->ops->delete (q, &err), 0);
	assert_int_equal(files_ending(".dat"), 0);
	assert_int_equal(logged("INFO: DISKQUEUE(q): deleting\n"), 1);
}

static void test_disk_queue_sync_after_read(void **state)
{
	struct diskqueue_opts o = test_opts(1 << 11);
	long long v[5] = {0};
	o.sync_timeout = 20 * NSEC_PER_MSEC;
	struct backend_queue *q = open_queue(&o);
	put(q, 0, 1, 970);
	wait_for(exists(META) && (read_meta_file(META, v), v[0] == 1 && v[4] == 1000));
	assert_int_equal(v[2], 0);
	put(q, 1, 1, 970);
	expect(q, 0, 1);
	wait_for((read_meta_file(META, v), v[0] == 1 && v[2] == 1000 && v[4] == 2000));
	close_queue(q);
}

static void test_everything_comes_back_after_close(void **state)
{
	struct diskqueue_opts o = test_opts(5000);
	struct backend_queue *q = open_queue(&o);
	long long v[5];
	put(q, 0, 1000, 33);
	expect(q, 0, 123);
	close_queue(q);
	read_meta_file(META, v);
	assert_int_equal(v[0], 877);
	for (int64_t i = 123; i < 1000; i += 100) {
		q = open_queue(&o);
		assert_int_equal(q->ops->depth(q), 1000 - i);
		expect(q, i, i + 100 < 1000 ? 100 : 1000 - i);
		close_queue(q);
	}
	q = open_queue(&o);
	assert_false(inside(q)->running);
	assert_int_equal(q->ops->depth(q), 0);
	put(q, 5000, 3, 1);
	expect(q, 5000, 3);
	close_queue(q);
	assert_int_equal(files_ending(".bad"), 0);
}

static void test_disk_queue_resize(void **state)
{
	struct diskqueue_opts o = test_opts(8 * 40);
	struct backend_queue *q = open_queue(&o);
	for (int i = 0; i < 9; i++)
		put(q, i, 1, 10);
	diskqueue_barrier(q);
	assert_int_equal(inside(q)->wr.file, 1);
	assert_int_equal(inside(q)->wr.pos, 40);
	close_queue(q);
	o.max_bytes_per_file = 10 * 40;
	q = open_queue(&o);
	for (int i = 0; i < 10; i++)
		put(q, 9 + i, 1, 10);
	diskqueue_barrier(q);
	assert_int_equal(inside(q)->wr.file, 2);
	assert_int_equal(inside(q)->wr.pos, 40);
	expect(q, 0, 19);
	assert_int_equal(depth(q), 0);
	close_queue(q);
	assert_int_equal(files_ending(".bad"), 0);
}

/* Stock: 200 messages, 26 files left behind as .bad. */
static void test_a_reader_that_waits_at_the_end_of_a_file_condemns_nothing(void **state)
{
	struct diskqueue_opts o = test_opts(2000);
	struct backend_queue *q = open_queue(&o);
	for (int i = 0; i < 200; i++) {
		put(q, i, 1, 200);
		expect(q, i, 1);
	}
	expect_drained(q);
	wait_for(files_ending(".dat") == 2);
	close_queue(q);
	assert_int_equal(files_ending(".bad"), 0);
	assert_int_equal(logged("ERROR"), 0);
}

static void test_a_reader_can_wait_before_there_is_a_thread(void **state);

struct side {
	struct backend_queue *q;
	_Atomic int64_t *count;
	int64_t first;
	struct chan *exit;
};

static void read_one(void *arg)
{
	struct side *s = arg;
	assert_int_equal(get_seq_within(s->q, PATIENCE), s->first);
}

static void test_a_reader_can_wait_before_there_is_a_thread(void **state)
{
	struct diskqueue_opts o = test_opts(2000);
	struct backend_queue *q = open_queue(&o);
	struct side s = {.q = q, .first = 7};
	struct wait_group wg;
	struct err err;
	wait_group_init(&wg);
	assert_int_equal(wait_group_wrap(&wg, "reader", read_one, &s, &err), 0);
	wait_for(chan_demand(q->ops->read_chan(q), 1) == 1);
	assert_false(inside(q)->running);
	put(q, 7, 1, 200);
	wait_group_wait(&wg);
	wait_group_destroy(&wg);
	expect_drained(q);
	close_queue(q);
}

static void test_what_is_received_in_part_is_still_there(void **state)
{
	struct diskqueue_opts o = test_opts(2000);
	struct backend_queue *q = open_queue(&o);
	struct message *m[100];
	int64_t next = 0;
	put(q, 0, 1000, 100);
	for (int round = 0; next < 700; round++) {
		size_t n = chan_recv_n(q->ops->read_chan(q), m, (size_t)(1 + round % 100));
		for (size_t i = 0; i < n; i++) {
			assert_int_equal(message_seq(m[i]), next++);
			message_unref(m[i]);
		}
		assert_int_equal(depth(q), 1000 - next);
	}
	close_queue(q);
	q = open_queue(&o);
	expect(q, next, 1000 - next);
	close_queue(q);
}

static ino_t inode_of(const char *path)
{
	struct stat st;
	return stat(path, &st) == 0 ? st.st_ino : 0;
}

/* False: the machine stood still, so that the metadata were saved before the receiver was done. */
static bool try_saving_what_is_done(void)
{
	struct diskqueue_opts o = test_opts(10000);
	long long v[5];
	o.sync_timeout = 300 * NSEC_PER_MSEC;
	o.waits_for_done = true;
	struct backend_queue *q = open_queue(&o);
	put(q, 0, 10, 40);
	ino_t before = inode_of("q.diskqueue.meta.dat");
	expect(q, 0, 7);
	q->ops->done(q, 7);
	bool in_time = inode_of("q.diskqueue.meta.dat") == before;
	wait_for(inode_of("q.diskqueue.meta.dat") != before);
	read_meta_file("q.diskqueue.meta.dat", v);
	if (in_time)
		assert_int_equal(v[0], 3);
	assert_int_equal(q->ops->delete (q, NULL), 0);
	return in_time;
}

/* Silence follows: the read position that the sync timeout saves first is the right one. */
static void test_the_sync_timeout_saves_what_the_receiver_is_done_with(void **state)
{
	int i;
	for (i = 0; i < 20 && !try_saving_what_is_done(); i++)
		;
	assert_true(i < 20);
}

/*
 * For a crash, what was received is gone where the queue was made so: at once with sync_every 1,
 * done or not. At a clean stop what is not done was not received.
 */
static void test_a_crash_need_not_bring_again_what_consumers_get(void **state)
{
	struct diskqueue_opts o = test_opts(10000);
	long long v[5];
	o.sync_every = 1;
	o.waits_for_done = o.crash_forgets = true;
	struct backend_queue *q = open_queue(&o);
	put(q, 0, 10, 40);
	expect(q, 0, 7);
	diskqueue_barrier(q);
	read_meta_file("q.diskqueue.meta.dat", v);
	assert_int_equal(v[0], 3);
	assert_int_equal(v[2], 7 * (DQ_RECORD_HEADER + 40));
	close_queue(q);
	q = open_queue(&o);
	expect(q, 0, 10);
	close_queue(q);
}

/* Also: buffers, descriptors and the thread go when the queue is empty and quiet. */
static void test_an_empty_queue_gives_everything_back(void **state)
{
	struct diskqueue_opts o = test_opts(20000);
	o.sync_timeout = NSEC_PER_SEC / 2;
	struct backend_queue *q = open_queue(&o);
	struct diskqueue *d = inside(q);
	for (int round = 0; round < 2; round++) {
		bool running = true;
		put(q, 0, 100, 100);
		expect(q, 0, 100);
		while (running) {
			wait_for(chan_len(d->write_chan) == 0);
			mutex_lock(&d->lock);
			running = d->running;
			mutex_unlock(&d->lock);
		}
		assert_int_equal(d->write_fd, -1);
		assert_int_equal(d->block.fd, -1);
		assert_null(d->block.buf);
		assert_null(d->batch);
		assert_null(d->iov);
		assert_int_equal(files_ending(".dat"), 1);
	}
	put(q, 0, 1, 100);
	expect(q, 0, 1);
	close_queue(q);
}

static void write_some(void *arg)
{
	struct side *s = arg;
	int64_t i = 0;
	bool closed = false;
	while (!closed) {
		size_t n = (size_t)(i % 7) + 1;
		if (try_put(s->q, s->first + i, n, (size_t)(i % 300), NULL) != n)
			fail();
		i += (int64_t)n;
		atomic_fetch_add(s->count, (int64_t)n);
		chan_try_recv_n(s->exit, NULL, 1, &closed);
	}
}

struct seen {
	struct side side;
	int64_t last[4]; /* of each writer: what it wrote comes in order */
};

static void read_some(void *arg)
{
	struct seen *s = arg;
	struct message *m[64];
	struct chan_case cases[] = {chan_case_recv_n(s->side.q->ops->read_chan(s->side.q), m, 64),
		chan_case_recv(s->side.exit, NULL)};
	while (chan_select(cases, 2) == 0) {
		for (size_t i = 0; i < cases[0].n; i++) {
			int64_t seq = message_seq(m[i]);
			int writer = (int)(seq >> 40);
			message_unref(m[i]);
			if (seq < 0 || writer > 3 || seq <= s->last[writer])
				fail_msg("message %lld", (long long)seq);
			s->last[writer] = seq;
		}
		atomic_fetch_add(s->side.count, (int64_t)cases[0].n);
	}
}

static void test_disk_queue_torture(void **state)
{
	struct diskqueue_opts o = test_opts(262144);
	struct backend_queue *q = open_queue(&o);
	_Atomic int64_t written = 0, taken = 0;
	struct wait_group wg;
	struct side w[4];
	struct seen r[4] = {0};
	struct chan *exit_chan = chan_new(0, 0);
	struct ticker t;
	struct chan_case c = chan_case_tick(&t);
	wait_group_init(&wg);
	for (int i = 0; i < 4; i++) {
		w[i] = (struct side){q, &written, (int64_t)i << 40, exit_chan};
		assert_int_equal(wait_group_wrap(&wg, "writer", write_some, &w[i], NULL), 0);
	}
	ticker_after(&t, NSEC_PER_SEC);
	chan_select(&c, 1);
	chan_close(exit_chan);
	wait_group_wait(&wg);
	chan_free(exit_chan);
	close_queue(q);

	q = open_queue(&o);
	assert_int_equal(q->ops->depth(q), atomic_load(&written));
	exit_chan = chan_new(0, 0);
	for (int i = 0; i < 4; i++) {
		r[i].side = (struct side){q, &taken, 0, exit_chan};
		for (int j = 0; j < 4; j++)
			r[i].last[j] = -1;
		assert_int_equal(wait_group_wrap(&wg, "reader", read_some, &r[i], NULL), 0);
	}
	wait_for(q->ops->depth(q) == 0);
	chan_close(exit_chan);
	wait_group_wait(&wg);
	wait_group_destroy(&wg);
	chan_free(exit_chan);
	assert_int_equal(atomic_load(&taken), atomic_load(&written));
	close_queue(q);
	assert_int_equal(files_ending(".bad"), 0);
	assert_int_equal(logged("ERROR"), 0);
}

static bool is_told(struct chan *c)
{
	return chan_try_recv_n(c, NULL, 1, NULL) == 1;
}

/* A thread may wait for another queue to run dry, as the pump does for stock_first. */
static void test_a_waiter_is_told_when_it_is_empty_or_not(void **state)
{
	struct diskqueue_opts o = test_opts(1024);
	assert_false(diskqueue_has_files(&o));
	o.changed_chan = chan_new(0, 1);
	struct backend_queue *q = open_queue(&o);
	assert_true(diskqueue_is_empty(q));
	put(q, 0, 3, 10);
	assert_false(diskqueue_is_empty(q));
	assert_true(diskqueue_has_files(&o));
	wait_for(is_told(o.changed_chan));
	expect(q, 0, 2);
	diskqueue_barrier(q);
	assert_false(diskqueue_is_empty(q));
	assert_false(is_told(o.changed_chan));
	expect(q, 2, 1);
	wait_for(is_told(o.changed_chan));
	assert_true(diskqueue_is_empty(q));
	put(q, 3, 1, 10);
	wait_for(is_told(o.changed_chan));
	close_queue(q);
	/* Nobody has received it; it is there at once. */
	q = open_queue(&o);
	assert_false(diskqueue_is_empty(q));
	expect(q, 3, 1);
	wait_for(is_told(o.changed_chan) && diskqueue_is_empty(q));
	put(q, 4, 1, 10);
	struct err err;
	assert_int_equal(q->ops->empty(q, &err), 0);
	wait_for(diskqueue_is_empty(q));
	close_queue(q);
	chan_free(o.changed_chan);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		dq_test(test_disk_queue),
		dq_test(test_an_unused_queue_costs_no_thread_and_no_file),
		dq_test(test_disk_queue_roll),
		dq_test(test_a_batch_is_split_where_the_file_is_full),
		dq_test(test_a_record_larger_than_a_file_has_one_of_its_own),
		dq_test(test_sizes_out_of_range_are_refused),
		dq_test(test_disk_queue_empty),
		dq_test(test_delete_leaves_nothing),
		dq_test(test_disk_queue_sync_after_read),
		dq_test(test_everything_comes_back_after_close),
		dq_test(test_disk_queue_resize),
		dq_test(test_a_reader_that_waits_at_the_end_of_a_file_condemns_nothing),
		dq_test(test_a_reader_can_wait_before_there_is_a_thread),
		dq_test(test_what_is_received_in_part_is_still_there),
		dq_test(test_the_sync_timeout_saves_what_the_receiver_is_done_with),
		dq_test(test_a_crash_need_not_bring_again_what_consumers_get),
		dq_test(test_an_empty_queue_gives_everything_back),
		dq_test(test_a_waiter_is_told_when_it_is_empty_or_not),
		dq_test(test_disk_queue_torture),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
