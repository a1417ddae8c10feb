/* SPDX-License-Identifier: MIT */
/*
 * A log, and what its topic and channels share, while the disk refuses or does not answer: what is
 * told, what heals by itself, and who waits. On a real file system, whose calls a test can hold.
 */
#include "test/unit/dir_test.h"
#include "test/unit/log_queue_test.h"

#include <stdatomic.h>

#include "nsqd/log/log_health.h"

/* What the disk does. Any thread. */
static struct {
	_Atomic bool refuses_writes, refuses_syncs, refuses_files, holds;
	_Atomic int held; /* calls that wait */
} disk;

static void wait_until_let_go(void)
{
	atomic_fetch_add(&disk.held, 1);
	while (atomic_load(&disk.holds))
		sleep_ns(NSEC_PER_MSEC);
	atomic_fetch_sub(&disk.held, 1);
}

static ssize_t my_pwritev(
	const struct log_io *io, int fd, const struct iovec *iov, int n, int64_t off)
{
	if (atomic_load(&disk.refuses_writes)) {
		errno = ENOSPC;
		return -1;
	}
	return log_io_real.pwritev(io, fd, iov, n, off);
}

static int my_sync(const struct log_io *io, int fd)
{
	wait_until_let_go();
	if (atomic_load(&disk.refuses_syncs)) {
		errno = EIO;
		return -1;
	}
	return log_io_real.sync(io, fd);
}

static int my_open(const struct log_io *io, int dir, const char *name, enum log_io_mode mode)
{
	if (atomic_load(&disk.refuses_files) && mode == LOG_IO_CREATE && strstr(name, "cursor")) {
		errno = ENOSPC;
		return -1;
	}
	return log_io_real.open(io, dir, name, mode);
}

static struct log_io io;

static int setup(void **state)
{
	memset(&disk, 0, sizeof(disk));
	io = log_io_real;
	io.pwritev = my_pwritev;
	io.sync = my_sync;
	io.open = my_open;
	return enter_test_dir(state) != 0 ? -1 : log_setup(state);
}

static int teardown(void **state)
{
	if (chdir("t.log") == 0) {
		DIR *dir = opendir(".");
		for (struct dirent *e; (e = readdir(dir));)
			(void)unlink(e->d_name);
		closedir(dir);
		if (chdir("..") == 0)
			rmdir("t.log");
	}
	log_teardown(state);
	return leave_test_dir(state);
}

/* What log_opts.fared has said. */
struct told {
	_Atomic int failures, successes;
};

static void fared(void *arg, const struct err *err)
{
	struct told *t = arg;
	atomic_fetch_add(err ? &t->failures : &t->successes, 1);
}

static struct log *open_told(struct told *told, bool sync)
{
	struct log *l = NULL;
	struct err err = {0};
	struct log_opts opts = {.dir = AT_FDCWD,
		.topic = "t",
		.disk = sync,
		.lg = &test_lg,
		.io = &io,
		.tick_ns = 5 * NSEC_PER_MSEC,
		.fared = fared,
		.fared_arg = told};
	if (log_open(&opts, &l, &err) != 0)
		fail_msg("log_open: %s", err.msg);
	return l;
}

static int append(struct log *l, uint64_t number, size_t len)
{
	struct err err;
	struct message *m = make_message(number, len);
	int rc = log_append(l, &m, 1, &err);
	message_unref(m);
	return rc;
}

static struct log_stats stats_of(struct log *l)
{
	struct log_stats s;
	log_get_stats(l, &s);
	return s;
}

/* The messages that are there are those from 1 to n. */
static void expect_messages(struct log *l, uint64_t n)
{
	struct log_reader *r = log_reader_open(l, 1, 0);
	struct log_item item;
	struct err err;
	for (uint64_t i = 1; i <= n; i++) {
		assert_int_equal(log_reader_next(r, &item, &err), LOG_READ_MESSAGE);
		assert_int_equal(number_of(item.msg), i);
		message_unref(item.msg);
	}
	assert_int_equal(log_reader_next(r, &item, &err), LOG_READ_END);
	log_reader_close(r);
	assert_int_equal(stats_of(l).damaged, 0);
}

static void refuse_and_heal(bool sync, _Atomic bool *refuses, int code)
{
	struct told told = {0};
	struct log *l = open_told(&told, sync);
	assert_int_equal(append(l, 1, 100), 0);
	atomic_store(refuses, true);
	for (int i = 0; i < 5; i++)
		assert_int_equal(append(l, 2, 1000), -1);
	struct log_stats s = stats_of(l);
	assert_int_equal(s.failed_commits, 5);
	assert_int_equal(s.commits, 6);
	assert_int_equal(s.records, 1);
	assert_int_equal(s.last_failure.code, code);
	assert_true(s.failing_since_ns > 0);
	/* It is told once, however often it is tried, by publishers or the thread. */
	stays(atomic_load(&told.failures) == 1 && atomic_load(&told.successes) == 0);
	/* Nobody publishes any more: the thread finds that all is well. */
	atomic_store(refuses, false);
	wait_for(atomic_load(&told.successes) == 1);
	s = stats_of(l);
	assert_int_equal(s.failing_since_ns, 0);
	assert_string_equal(s.last_failure.msg, "");
	assert_int_equal(s.commits, 6);
	expect_messages(l, 1);
	assert_int_equal(append(l, 2, 2000), 0);
	expect_messages(l, 2);
	log_close(l);
	/* What was tried has left nothing behind. */
	l = open_told(&told, sync);
	assert_int_equal(stats_of(l).cut_bytes, 0);
	expect_messages(l, 2);
	log_close(l);
	assert_int_equal(told.failures, 1);
	assert_int_equal(told.successes, 1);
}

static void test_a_refusal_of_writes_heals_by_itself(void **state)
{
	refuse_and_heal(false, &disk.refuses_writes, ENOSPC);
}

static void test_with_disk_it_does_so_too(void **state)
{
	refuse_and_heal(true, &disk.refuses_writes, ENOSPC);
}

static void test_a_failed_sync_heals_by_itself(void **state)
{
	refuse_and_heal(true, &disk.refuses_syncs, EIO);
	assert_true(count_files("t", ".log") == 1);
}

static void test_a_log_that_closes_while_it_fails(void **state)
{
	struct told told = {0};
	struct log *l = open_told(&told, false);
	assert_int_equal(append(l, 1, 100), 0);
	atomic_store(&disk.refuses_writes, true);
	assert_int_equal(append(l, 2, 100), -1);
	log_close(l);
	atomic_store(&disk.refuses_writes, false);
	l = open_told(&told, false);
	expect_messages(l, 1);
	log_close(l);
}

struct publisher {
	struct log *l;
	uint64_t number;
	_Atomic bool done;
};

static void publish(void *arg)
{
	struct publisher *p = arg;
	assert_int_equal(append(p->l, p->number, 100), 0);
	atomic_store(&p->done, true);
}

static void test_a_slow_commit_is_seen_while_it_lasts(void **state)
{
	struct told told = {0};
	struct log *l = open_told(&told, true);
	struct wait_group wg;
	struct publisher p = {.l = l, .number = 2};
	wait_group_init(&wg);
	assert_int_equal(append(l, 1, 100), 0);
	assert_int_equal(stats_of(l).commit_since_ns, 0);
	atomic_store(&disk.holds, true);
	go(&wg, publish, &p);
	wait_for(atomic_load(&disk.held) > 0);
	int64_t since = stats_of(l).commit_since_ns;
	assert_true(since > 0 && since <= clock_mono_ns());
	assert_false(atomic_load(&p.done));
	/* Its publisher says so: the writer cannot. */
	wait_for((mutex_lock(&l->lock), since = l->slow, mutex_unlock(&l->lock), since));
	atomic_store(&disk.holds, false);
	wait_group_wait(&wg);
	struct log_stats s = stats_of(l);
	assert_int_equal(s.commit_since_ns, 0);
	assert_int_equal(s.commit_times.counts[0] + s.commit_times.counts[1] +
				 s.commit_times.counts[2] + s.commit_times.counts[3] + 1,
		s.commits);
	assert_int_equal(told.failures, 0);
	log_close(l);
	wait_group_destroy(&wg);
}

/* --- a topic and its channels --------------------------------------------------------------------- */

static struct side side(int64_t segment)
{
	return (struct side){.io = &io,
		.dir = AT_FDCWD,
		.memory_size = 100,
		.segment_bytes = segment,
		.sync_timeout = 5 * NSEC_PER_MSEC};
}

static struct topic_log_stats topic_stats(struct side *s)
{
	struct topic_log_stats out;
	topic_log_get_stats(s->tl, &out);
	return out;
}

static struct topic_log_cursor_stats channel_stats(struct chan_side *c)
{
	struct topic_log_cursor_stats out;
	mutex_lock(&c->lock);
	log_queue_stats_locked(c->q, &out);
	mutex_unlock(&c->lock);
	return out;
}

struct late_publisher {
	struct side *side;
	_Atomic bool answered;
};

static void publish_late(void *arg)
{
	struct late_publisher *p = arg;
	pub(p->side, 11, 5);
	atomic_store(&p->answered, true);
}

/* A channel that joins does not wait for its file, nor do consumers. A publisher does. */
static void test_a_channel_joins_while_the_disk_holds_a_cursor(void **state)
{
	struct side s = side(0);
	struct late_publisher p = {.side = &s};
	struct wait_group wg;
	open_side(&s, "a", NULL);
	pub(&s, 1, 10);
	pump(&s, 10);
	wait_for(topic_stats(&s).cursor_bytes > 0);
	atomic_store(&disk.holds, true);
	/* Its file is held in the middle; so the next one is not even begun. */
	join_channel(&s, 1, "b");
	wait_for(atomic_load(&disk.held) > 0);
	join_channel(&s, 2, "c");
	wait_group_init(&wg);
	go(&wg, publish_late, &p);
	pump(&s, 5);
	expect_finish(&s.channels[0], 1, 15);
	expect_finish(&s.channels[1], 11, 5);
	expect_finish(&s.channels[2], 11, 5);
	assert_false(atomic_load(&p.answered));
	atomic_store(&disk.holds, false);
	wait_group_wait(&wg);
	wait_group_destroy(&wg);
	assert_true(channel_stats(&s.channels[1]).file_bytes > 0);
	assert_true(channel_stats(&s.channels[2]).file_bytes > 0);
	close_side(&s);
	open_side(&s, "a", "b");
	expect_nothing(&s.channels[0]);
	expect_nothing(&s.channels[1]);
	close_side(&s);
}

static uint64_t handed_floor(struct side *s)
{
	mutex_lock(topic_log_lock(s->tl));
	uint64_t floor = cursor_floor(topic_log_cursor(s->tl));
	mutex_unlock(topic_log_lock(s->tl));
	return floor;
}

/* Else it would be taken for one that begins behind what it has got. */
static void test_the_topic_waits_for_the_file_of_a_new_channel(void **state)
{
	struct side s = side(0);
	open_side(&s, "a", NULL);
	assert_int_equal(topic_log_flush(s.tl), 0);
	atomic_store(&disk.refuses_files, true);
	join_channel(&s, 1, "b");
	pub(&s, 1, 10);
	pump(&s, 10);
	assert_int_equal(topic_log_flush(s.tl), -1);
	assert_int_equal(handed_floor(&s), 1);
	assert_int_equal(topic_stats(&s).handed.unfinished, 0);
	wait_for(topic_stats(&s).failing_cursors == 1);
	assert_true(channel_stats(&s.channels[1]).failing);
	atomic_store(&disk.refuses_files, false);
	wait_for(topic_stats(&s).failing_cursors == 0);
	wait_for(handed_floor(&s) == 11);
	expect_finish(&s.channels[1], 1, 10);
	close_side(&s);
}

static void test_it_waits_no_more_for_one_that_has_left(void **state)
{
	struct side s = side(0);
	open_side(&s, "a", NULL);
	atomic_store(&disk.refuses_files, true);
	join_channel(&s, 1, "b");
	pub(&s, 1, 10);
	pump(&s, 10);
	wait_for(topic_stats(&s).failing_cursors > 0);
	close_channel(&s, 1, true);
	atomic_store(&disk.refuses_files, false);
	wait_for(topic_stats(&s).failing_cursors == 0);
	wait_for(handed_floor(&s) == 11);
	close_side(&s);
}

/* Where there is no space for a cursor, segments must go all the same: that makes space. */
static void test_segments_go_though_no_cursor_can_be_written(void **state)
{
	struct side s = side(2000);
	open_side(&s, "a", NULL);
	atomic_store(&disk.refuses_files, true);
	join_channel(&s, 1, "b");
	for (int i = 0; i < 10; i++) {
		publish_delayed(&s, 1 + (uint64_t)i * 10, 10, 100, 0);
		pump(&s, 10);
	}
	assert_true(topic_stats(&s).log.segments >= 9);
	assert_true(channel_stats(&s.channels[1]).holds_oldest);
	assert_int_equal(channel_stats(&s.channels[1]).held_bytes, topic_stats(&s).log.bytes);
	expect_finish(&s.channels[0], 1, 100);
	expect_finish(&s.channels[1], 1, 50);
	wait_for(topic_stats(&s).log.segments == 5);
	struct topic_log_cursor_stats c = channel_stats(&s.channels[1]);
	assert_int_equal(c.floor, 51);
	assert_int_equal(c.unfinished, 50);
	assert_true(c.holds_oldest && c.held_bytes > 50 * 156);
	expect_finish(&s.channels[1], 51, 50);
	wait_for(topic_stats(&s).log.segments == 1);
	assert_false(channel_stats(&s.channels[1]).holds_oldest);
	assert_int_equal(channel_stats(&s.channels[1]).floor_since_ns, 0);
	atomic_store(&disk.refuses_files, false);
	close_side(&s);
}

/* While a topic is loaded it does not know of all its channels. */
static void test_nothing_goes_before_the_start(void **state)
{
	struct side s = side(2000);
	struct err err = {0};
	open_side(&s, "a", "b");
	for (int i = 0; i < 10; i++) {
		publish_delayed(&s, 1 + (uint64_t)i * 10, 10, 100, 0);
		pump(&s, 10);
	}
	expect_finish(&s.channels[0], 1, 100);
	close_side(&s);

	struct topic_log_opts o = {.dir = AT_FDCWD,
		.topic = "t",
		.segment_bytes = 2000,
		.lg = &test_lg,
		.io = &io,
		.sync_timeout = NSEC_PER_MSEC};
	mutex_init(&s.map_lock, RANK_TOPIC);
	s.exit_chan = chan_new(0, 0);
	assert_int_equal(topic_log_open(&o, &s.tl, &err), 0);
	s.memory = new_memory(&s);
	s.q = log_queue_new_topic(s.tl, s.memory);
	join_channel(&s, 0, "a");
	topic_log_touch(s.tl);
	stays(topic_stats(&s).log.segments >= 9);
	join_channel(&s, 1, "b");
	assert_int_equal(topic_log_start(s.tl, &err), 0);
	expect_finish(&s.channels[1], 1, 100);
	wait_for(topic_stats(&s).log.segments == 1);
	close_side(&s);
}

/* Nor at the end: one channel is closed after the other, and those that are wait for the next start. */
static void test_nothing_goes_while_channels_are_closed(void **state)
{
	struct side s = side(2000);
	open_side(&s, "a", "b");
	for (int i = 0; i < 10; i++) {
		publish_delayed(&s, 1 + (uint64_t)i * 10, 10, 100, 0);
		pump(&s, 10);
	}
	expect_finish(&s.channels[0], 1, 100);
	close_channel(&s, 1, false);
	assert_int_equal(topic_log_flush(s.tl), 0);
	assert_true(topic_stats(&s).log.segments >= 9);
	close_side(&s);
	open_side(&s, "a", "b");
	expect_finish(&s.channels[1], 1, 100);
	close_side(&s);
}

#define health_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		health_test(test_a_refusal_of_writes_heals_by_itself),
		health_test(test_with_disk_it_does_so_too),
		health_test(test_a_failed_sync_heals_by_itself),
		health_test(test_a_log_that_closes_while_it_fails),
		health_test(test_a_slow_commit_is_seen_while_it_lasts),
		health_test(test_a_channel_joins_while_the_disk_holds_a_cursor),
		health_test(test_the_topic_waits_for_the_file_of_a_new_channel),
		health_test(test_it_waits_no_more_for_one_that_has_left),
		health_test(test_segments_go_though_no_cursor_can_be_written),
		health_test(test_nothing_goes_before_the_start),
		health_test(test_nothing_goes_while_channels_are_closed),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
