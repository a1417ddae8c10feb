/* SPDX-License-Identifier: MIT */
/*
 * Looking at what a disk queue has stored: the first messages, over the ends of files and over
 * damage, in each state of the queue, and while others write, read and empty it.
 */
#include "test/unit/dq_test.h"

#include "nsqd/disk/backend_peek.h"

static struct rwlock lock;

static int setup(void **state)
{
	rwlock_init(&lock, RANK_CHANNEL_EXIT);
	return test_setup(state);
}

static int teardown(void **state)
{
	rwlock_destroy(&lock);
	return test_teardown(state);
}

static void look(struct backend_queue *q, size_t max, size_t body_max, struct message_views *out)
{
	struct err err = {0};
	message_views_init(out, max, body_max);
	if (backend_peek(&lock, &q, out, &err) != 0)
		fail_msg("peek: %s", err.msg);
}

/* What was seen is number seq, whole. */
static void expect_seen(const struct message_view *m, int64_t seq, size_t body_len)
{
	struct message *want = make_message(seq, body_len);
	assert_int_equal(m->place, PLACE_DISK);
	assert_true(message_id_equal(m->id, want->id));
	assert_true(m->timestamp == want->timestamp);
	assert_int_equal(m->body_len, body_len);
	assert_true(m->body->len <= body_len);
	assert_memory_equal(m->body->data, want->body->data, m->body->len);
	message_unref(want);
}

/* The first of them are first, first + 1, ...; n of them. */
static void expect_look(
	struct backend_queue *q, size_t max, int64_t first, size_t n, size_t body_len)
{
	struct message_views seen;
	diskqueue_barrier(q);
	look(q, max, body_len, &seen);
	assert_int_equal(seen.n, n);
	for (size_t i = 0; i < n; i++) {
		expect_seen(&seen.v[i], first + (int64_t)i, body_len);
		assert_int_equal(seen.v[i].body->len, body_len);
	}
	message_views_free(&seen);
}

static void test_the_first_messages_are_seen_and_stay(void **state)
{
	(void)state;
	struct diskqueue_opts o = test_opts(1 << 20);
	struct backend_queue *q = open_queue(&o);
	expect_look(q, 10, 0, 0, 5);
	put(q, 0, 20, 5);
	expect_look(q, 10, 0, 10, 5);
	expect_look(q, 10, 0, 10, 5);
	expect_look(q, 20, 0, 20, 5);
	expect_look(q, 30, 0, 20, 5);
	expect_look(q, 0, 0, 0, 5);
	expect(q, 0, 7);
	expect_look(q, 30, 7, 13, 5);
	expect(q, 7, 13);
	expect_look(q, 30, 0, 0, 5);
	expect_drained(q);
	close_queue(q);
}

static void test_what_was_there_at_the_start_is_seen(void **state)
{
	(void)state;
	struct diskqueue_opts o = test_opts(1 << 20);
	struct backend_queue *q = open_queue(&o);
	put(q, 0, 20, 5);
	expect(q, 0, 3);
	close_queue(q);
	q = open_queue(&o);
	expect_look(q, 30, 3, 17, 5);
	/* Without metadata, as after a crash, nobody knows yet how many there are. */
	close_queue(q);
	assert_int_equal(unlink("q.diskqueue.meta.dat"), 0);
	q = open_queue(&o);
	struct message_views seen;
	look(q, 30, 5, &seen);
	assert_int_equal(seen.n, 20);
	message_views_free(&seen);
	expect(q, 0, 20);
	close_queue(q);
}

static void test_looking_on_over_the_ends_of_files(void **state)
{
	(void)state;
	struct diskqueue_opts o = test_opts(100);
	struct backend_queue *q = open_queue(&o);
	put(q, 0, 50, 10);
	assert_true(count_files("q.diskqueue.0", ".dat") > 20);
	for (size_t max = 0; max <= 51; max++)
		expect_look(q, max, 0, max < 50 ? max : 50, 10);
	for (int64_t i = 0; i < 50; i++) {
		expect(q, i, 1);
		expect_look(q, 51, i + 1, (size_t)(49 - i), 10);
	}
	close_queue(q);
}

static void test_bodies_of_every_size_are_cut(void **state)
{
	(void)state;
	static const size_t sizes[] = {
		0, 1, 5, DQ_BLOCK_SIZE - 30, DQ_BLOCK_SIZE, 3 * DQ_BLOCK_SIZE + 1, 1 << 20};
	static const size_t cuts[] = {0, 1, 4096, DQ_BLOCK_SIZE, 1 << 20};
	enum { N = sizeof(sizes) / sizeof(*sizes) };
	struct diskqueue_opts o = test_opts(100 << 20);
	struct backend_queue *q = open_queue(&o);
	for (int i = 0; i < N; i++)
		put(q, i, 1, sizes[i]);
	diskqueue_barrier(q);
	for (size_t k = 0; k < sizeof(cuts) / sizeof(*cuts); k++) {
		struct message_views seen;
		look(q, 100, cuts[k], &seen);
		assert_int_equal(seen.n, N);
		for (int i = 0; i < N; i++) {
			expect_seen(&seen.v[i], i, sizes[i]);
			assert_int_equal(
				seen.v[i].body->len, cuts[k] < sizes[i] ? cuts[k] : sizes[i]);
		}
		message_views_free(&seen);
	}
	expect(q, 0, N);
	close_queue(q);
}

static void overwrite(const char *path, off_t at, unsigned char byte, size_t n)
{
	unsigned char *buf = xmalloc(n);
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	memset(buf, byte, n);
	assert_true(fd >= 0 && pwrite(fd, buf, n, at) == (ssize_t)n);
	close(fd);
	free(buf);
}

/* A look skips what the reader will skip, and shows what it will deliver. */
static void test_damage_is_skipped_as_the_reader_does(void **state)
{
	(void)state;
	static const struct {
		off_t at;
		unsigned char byte;
		size_t n;
	} damages[] = {{0, 0xff, 4}, {0, 0, 400}, {350, 0xff, 300}, {352, 0x80, 1}, {700, 0, 2800},
		{3465, 0xff, 35}, {100, 0, 3400}};
	for (size_t i = 0; i < sizeof(damages) / sizeof(*damages); i++) {
		struct diskqueue_opts o = test_opts(100 * 35);
		struct backend_queue *q = open_queue(&o);
		put(q, 0, 150, 5);
		close_queue(q);
		overwrite("q.diskqueue.000000.dat", damages[i].at, damages[i].byte, damages[i].n);
		q = open_queue(&o);
		struct message_views seen;
		look(q, 1000, 5, &seen);
		assert_true(seen.n >= 50 && seen.n < 151);
		for (size_t k = 0; k < seen.n; k++) {
			struct message *m = get_within(q, PATIENCE);
			assert_non_null(m);
			assert_true(message_id_equal(m->id, seen.v[k].id));
			message_unref(m);
		}
		assert_null(get_within(q, 20 * NSEC_PER_MSEC));
		message_views_free(&seen);
		assert_int_equal((q->ops->delete)(q, NULL), 0);
		assert_int_equal(system("rm -f *.bad"), 0);
	}
}

static void test_a_missing_file_is_passed_over(void **state)
{
	(void)state;
	struct diskqueue_opts o = test_opts(10 * 35);
	struct backend_queue *q = open_queue(&o);
	struct message_views seen;
	put(q, 0, 50, 5);
	diskqueue_barrier(q);
	assert_int_equal(unlink("q.diskqueue.000001.dat"), 0);
	assert_int_equal(unlink("q.diskqueue.000002.dat"), 0);
	look(q, 100, 5, &seen);
	assert_int_equal(seen.n, 30);
	expect_seen(&seen.v[9], 9, 5);
	expect_seen(&seen.v[10], 30, 5);
	message_views_free(&seen);
	expect(q, 0, 10);
	expect(q, 30, 20);
	close_queue(q);
}

static void test_what_cannot_be_read_is_said(void **state)
{
	(void)state;
	struct diskqueue_opts o = test_opts(10 * 35);
	struct backend_queue *q = open_queue(&o);
	struct message_views seen;
	struct err err = {0};
	put(q, 0, 50, 5);
	diskqueue_barrier(q);
	assert_int_equal(unlink("q.diskqueue.000001.dat"), 0);
	assert_int_equal(mkdir("q.diskqueue.000001.dat", 0700), 0);
	message_views_init(&seen, 100, 5);
	assert_int_equal(backend_peek(&lock, &q, &seen, &err), -1);
	assert_int_equal(seen.n, 10);
	assert_true(*err.msg);
	message_views_free(&seen);
	assert_int_equal(rmdir("q.diskqueue.000001.dat"), 0);
	close_queue(q);
}

/* Only so much of a file full of nothing is searched. */
static void test_a_long_search_ends(void **state)
{
	(void)state;
	struct diskqueue_opts o = test_opts(200 << 20);
	struct backend_queue *q = open_queue(&o);
	struct message_views seen;
	struct err err = {0};
	put(q, 0, 110, 1 << 20);
	diskqueue_barrier(q);
	/* What looks like the digits of an id all the way: no part of it can be skipped. */
	for (int i = 0; i < 109; i++)
		overwrite("q.diskqueue.000000.dat", (off_t)i << 20, 'a', 1 << 20);
	message_views_init(&seen, 100, 5);
	assert_int_equal(backend_peek(&lock, &q, &seen, &err), -1);
	assert_string_equal(err.msg, "much of it is damaged");
	message_views_free(&seen);
	assert_int_equal((q->ops->delete)(q, NULL), 0);
}

static void test_a_look_outlives_the_queue(void **state)
{
	(void)state;
	struct diskqueue_opts o = test_opts(1 << 20);
	struct backend_queue *q = open_queue(&o);
	struct message_views seen;
	struct err err = {0};
	put(q, 0, 20, 5);
	diskqueue_barrier(q);
	struct backend_look *kept = q->ops->look(q), *gone = q->ops->look(q);
	close_queue(q);
	message_views_init(&seen, 30, 5);
	assert_int_equal(kept->read(kept, &seen, &err), 0);
	assert_int_equal(seen.n, 20);
	message_views_free(&seen);
	kept->free(kept);
	q = open_queue(&o);
	assert_int_equal((q->ops->delete)(q, NULL), 0);
	message_views_init(&seen, 30, 5);
	assert_int_equal(gone->read(gone, &seen, &err), 1);
	assert_int_equal(seen.n, 0);
	message_views_free(&seen);
	gone->free(gone);
	/* There is no queue any more. */
	q = NULL;
	look(q, 30, 5, &seen);
	assert_int_equal(seen.n, 0);
	message_views_free(&seen);
}

static void test_the_first_timestamp(void **state)
{
	(void)state;
	struct diskqueue_opts o = test_opts(100);
	struct backend_queue *q = open_queue(&o);
	assert_true(q->ops->first_timestamp(q) == 0);
	put(q, 0, 20, 5);
	for (int64_t i = 0; i < 20; i++) {
		wait_for(q->ops->first_timestamp(q) == BASE_TS + i);
		expect(q, i, 1);
	}
	wait_for(q->ops->first_timestamp(q) == 0);
	put(q, 20, 1, 5);
	wait_for(q->ops->first_timestamp(q) == BASE_TS + 20);
	close_queue(q);
	q = open_queue(&o);
	wait_for(q->ops->first_timestamp(q) == BASE_TS + 20);
	assert_int_equal(q->ops->empty(q, NULL), 0);
	wait_for(q->ops->first_timestamp(q) == 0);
	close_queue(q);
}

#define TRAFFIC 6000

static struct backend_queue *busy;
static _Atomic bool over;

static void write_all(void *arg)
{
	(void)arg;
	for (int64_t i = 0; i < TRAFFIC; i += 3)
		put(busy, i, 3, 5 + (size_t)(i % 7));
}

static void read_all(void *arg)
{
	(void)arg;
	expect(busy, 0, TRAFFIC);
	atomic_store(&over, true);
}

/* In order, and whole. (A file that the reader has left meanwhile may be missing.) */
static void test_while_others_write_and_read(void **state)
{
	(void)state;
	struct diskqueue_opts o = test_opts(500);
	struct wait_group wg;
	struct err err = {0};
	int64_t last = 0;
	busy = open_queue(&o);
	atomic_store(&over, false);
	wait_group_init(&wg);
	assert_int_equal(wait_group_wrap(&wg, "writer", write_all, NULL, &err), 0);
	assert_int_equal(wait_group_wrap(&wg, "reader", read_all, NULL, &err), 0);
	while (!atomic_load(&over)) {
		struct message_views seen;
		message_views_init(&seen, 100, 100);
		/* A reader that is always quicker may leave nothing to be seen. */
		(void)backend_peek(&lock, &busy, &seen, &err);
		for (size_t i = 0; i < seen.n; i++) {
			int64_t seq = seen.v[i].timestamp - BASE_TS;
			assert_true(i == 0 ? seq >= last : seq > last);
			last = seq;
			expect_seen(&seen.v[i], seq, 5 + (size_t)(seq / 3 * 3 % 7));
		}
		last = seen.n > 0 ? seen.v[0].timestamp - BASE_TS : last;
		message_views_free(&seen);
	}
	wait_group_wait(&wg);
	wait_group_destroy(&wg);
	expect_drained(busy);
	close_queue(busy);
}

static void empty_often(void *arg)
{
	(void)arg;
	for (int64_t i = 0; i < 100; i++) {
		put(busy, i * 20, 20, 20);
		assert_int_equal(busy->ops->empty(busy, NULL), 0);
	}
	atomic_store(&over, true);
}

static void test_while_it_is_emptied(void **state)
{
	(void)state;
	struct diskqueue_opts o = test_opts(300);
	struct wait_group wg;
	struct err err = {0};
	busy = open_queue(&o);
	atomic_store(&over, false);
	wait_group_init(&wg);
	assert_int_equal(wait_group_wrap(&wg, "writer", empty_often, NULL, &err), 0);
	while (!atomic_load(&over)) {
		struct message_views seen;
		message_views_init(&seen, 100, 100);
		(void)backend_peek(&lock, &busy, &seen, &err);
		for (size_t i = 0; i < seen.n; i++)
			expect_seen(&seen.v[i], seen.v[i].timestamp - BASE_TS, 20);
		message_views_free(&seen);
	}
	wait_group_wait(&wg);
	wait_group_destroy(&wg);
	expect_drained(busy);
	close_queue(busy);
}

#define peek_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		peek_test(test_the_first_messages_are_seen_and_stay),
		peek_test(test_what_was_there_at_the_start_is_seen),
		peek_test(test_looking_on_over_the_ends_of_files),
		peek_test(test_bodies_of_every_size_are_cut),
		peek_test(test_damage_is_skipped_as_the_reader_does),
		peek_test(test_a_missing_file_is_passed_over),
		peek_test(test_what_cannot_be_read_is_said),
		peek_test(test_a_long_search_ends),
		peek_test(test_a_look_outlives_the_queue),
		peek_test(test_the_first_timestamp),
		peek_test(test_while_others_write_and_read),
		peek_test(test_while_it_is_emptied),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
