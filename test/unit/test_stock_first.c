/* SPDX-License-Identifier: MIT */
/* A disk queue, and a queue over the log behind it: order, and what is done with. */
#include "test/unit/log_queue_test.h"

#include <dirent.h>
#include <unistd.h>

#include "nsqd/log/stock_first.h"

static char root[32];
static struct side side;
static struct chan *changed_chan;

static int setup(void **state)
{
	strcpy(root, "test.XXXXXX");
	if (!mkdtemp(root) || chdir(root) != 0 || log_setup(state) != 0)
		return -1;
	changed_chan = chan_new(0, 1);
	side = (struct side){.dir = open(".", O_RDONLY | O_DIRECTORY), .memory_size = 4};
	return side.dir < 0 ? -1 : 0;
}

static void clear(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *e;
	while (dir && (e = readdir(dir)))
		(void)unlinkat(dirfd(dir), e->d_name, 0);
	if (dir)
		closedir(dir);
}

static int teardown(void **state)
{
	close(side.dir);
	chan_free(changed_chan);
	clear("t.log");
	(void)rmdir("t.log");
	clear(".");
	return chdir("..") != 0 || rmdir(root) != 0 ? -1 : log_teardown(state);
}

static struct diskqueue_opts disk_opts(void)
{
	return (struct diskqueue_opts){.name = "t:a",
		.data_path = ".",
		.max_bytes_per_file = 2000,
		.min_msg_size = MIN_VALID_MSG_LENGTH,
		.max_msg_size = 100000,
		.sync_every = 2500,
		.sync_timeout = 2 * NSEC_PER_SEC,
		.waits_for_done = true,
		.lg = &test_lg,
		.changed_chan = changed_chan};
}

/* Messages that are in no log. */
static void put_unlogged(struct backend_queue *q, uint64_t first, size_t n)
{
	struct err err = {0};
	for (size_t i = 0; i < n; i++) {
		struct message *m = make_message(first + i, 40);
		m->deferred_ns = 0;
		if (backend_queue_put_messages(q, &m, 1, &err) != 1)
			fail_msg("put: %s", err.msg);
		message_unref(m);
	}
}

static void prepare_disk_queue(uint64_t first, size_t n)
{
	struct diskqueue_opts o = disk_opts();
	struct err err = {0};
	struct backend_queue *q = diskqueue_new(&o, &err);
	assert_non_null(q);
	put_unlogged(q, first, n);
	assert_int_equal(q->ops->close(q, &err), 0);
}

/* What is left of the disk queue, by itself. */
static int64_t disk_depth(void)
{
	struct diskqueue_opts o = disk_opts();
	struct err err = {0};
	struct backend_queue *q = diskqueue_new(&o, &err);
	assert_non_null(q);
	int64_t n = q->ops->depth(q);
	assert_int_equal(q->ops->close(q, &err), 0);
	return n;
}

/* The channel's, over its log_queue, which the composite owns from now on. */
static struct backend_queue *open_both(bool always)
{
	struct diskqueue_opts o = disk_opts();
	struct err err = {0};
	struct backend_queue *q = stock_first_new(&o, always, false, side.channels[0].q, &err);
	if (!q)
		fail_msg("stock_first_new: %s", err.msg);
	return q;
}

static void close_both(struct backend_queue *q)
{
	struct err err = {0};
	struct chan_side *c = &side.channels[0];
	if (q->ops->close(q, &err) != 0)
		fail_msg("close: %s", err.msg);
	c->q = NULL;
	message_drain_chan(c->memory);
	chan_free(c->memory);
	chan_free(c->due_chan);
	mutex_destroy(&c->lock);
	close_side(&side);
}

/* As a pump: asks for read_chan anew when it is told to. */
static struct message *receive(struct backend_queue *q)
{
	struct chan_side *c = &side.channels[0];
	struct message *m = NULL;
	for (;;) {
		struct ticker patience;
		ticker_after(&patience, PATIENCE);
		struct chan_case cases[] = {chan_case_recv(c->memory, &m),
			chan_case_recv(q->ops->read_chan(q), &m),
			chan_case_recv(changed_chan, NULL), chan_case_tick(&patience)};
		int i = chan_select(cases, 4);
		assert_true(i < 3);
		if (i == 1)
			backend_queue_took(q, &m, 1);
		if (i < 2)
			return m;
	}
}

static void expect(struct backend_queue *q, uint64_t first, size_t n, bool logged)
{
	for (size_t i = 0; i < n; i++) {
		struct message *m = receive(q);
		assert_int_equal(id_of(m), first + i);
		assert_int_equal(m->seq > 0, logged);
		message_unref(m);
	}
}

/* Publishes, and deals out by way of q. */
static void publish(struct backend_queue *q, uint64_t first, size_t n)
{
	pub(&side, first, n);
	side.channels[0].q = q;
	pump(&side, n);
}

/* What the disk queue has comes first, and nothing of the log goes into memory before. */
static void test_the_disk_queue_is_first(void **state)
{
	prepare_disk_queue(1, 100);
	open_side(&side, "a", NULL);
	struct backend_queue *q = open_both(false);
	assert_true(is_stock_first(q));
	publish(q, 101, 20);
	assert_int_equal(chan_len(side.channels[0].memory), 0);
	assert_int_equal(q->ops->depth(q), 120);
	expect(q, 1, 100, false);
	q->ops->done(q, 60);
	expect(q, 101, 10, true);
	q->ops->done(q, 45);
	close_both(q);
	assert_int_equal(disk_depth(), 0);
}

/* What is done is told to the right one of the two: it was received in that order. */
static void test_what_is_done(void **state)
{
	prepare_disk_queue(1, 3);
	open_side(&side, "a", NULL);
	struct backend_queue *q = open_both(false);
	publish(q, 11, 20);
	expect(q, 1, 3, false);
	expect(q, 11, 20, true);
	q->ops->done(q, 23);
	/* Two come back for which memory has no room. */
	put_unlogged(q, 4, 2);
	/* (lq:t:a may still have to count what it has handed out last.) */
	wait_for(q->ops->depth(q) == 2);
	expect(q, 4, 1, false);
	/* That was received, and is not done: so close leaves it where it is. */
	close_both(q);
	assert_int_equal(disk_depth(), 2);
}

/* Empty, and asked for or not. */
static void test_one_that_is_empty(void **state)
{
	struct err err = {0};
	prepare_disk_queue(1, 1);
	open_side(&side, "a", NULL);
	struct backend_queue *q = open_both(false);
	expect(q, 1, 1, false);
	q->ops->done(q, 1);
	publish(q, 11, 3);
	assert_int_equal(q->ops->empty(q, &err), 0);
	close_both(q);
	side = (struct side){.dir = side.dir, .memory_size = 4};
	open_side(&side, "a", NULL);
	q = open_both(false);
	assert_false(is_stock_first(q));
	assert_int_equal(access("t:a.diskqueue.meta.dat", F_OK), -1);
	close_both(q);
	side = (struct side){.dir = side.dir, .memory_size = 4};
	open_side(&side, "a", NULL);
	q = open_both(true);
	assert_true(is_stock_first(q));
	publish(q, 21, 2);
	assert_int_equal(chan_len(side.channels[0].memory), 2);
	expect(q, 21, 2, true);
	close_both(q);
}

/* Both are seen. */
static void test_a_look(void **state)
{
	struct err err = {0};
	struct message_views views;
	prepare_disk_queue(1, 5);
	open_side(&side, "a", NULL);
	struct backend_queue *q = open_both(false);
	publish(q, 6, 5);
	struct backend_look *l = q->ops->look(q);
	message_views_init(&views, 20, 10);
	assert_int_equal(l->read(l, &views, &err), 0);
	assert_int_equal(views.n, 10);
	message_views_free(&views);
	l->free(l);
	/* The queue's thread reads it. */
	wait_for(q->ops->first_timestamp(q) == BASE_TS + 1);
	close_both(q);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_the_disk_queue_is_first, setup, teardown),
		cmocka_unit_test_setup_teardown(test_what_is_done, setup, teardown),
		cmocka_unit_test_setup_teardown(test_one_that_is_empty, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_look, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
