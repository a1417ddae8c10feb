/* SPDX-License-Identifier: MIT */
/* What waits in a channel's queue over a log: when its owner is told, who reads it, clocks, failures. */
#include "test/unit/dir_test.h"
#include "test/unit/log_queue_test.h"

#include <errno.h>

#include "nsqd/log/log_queue_internal.h"

#define HOUR (3600 * NSEC_PER_SEC)
/* Two looks at two clocks may be so far apart, on a machine on which each thread is late. */
#define CLOCK_ERROR (100 * NSEC_PER_MSEC)

static struct side s;
static struct log_io io;
static _Atomic int fail_open; /* errno of each open to read; 0: it succeeds */
static _Atomic int fail_read;
static _Atomic bool fail_start;
static _Atomic int starts;

static int own_open(const struct log_io *l, int dir, const char *name, enum log_io_mode mode)
{
	if (mode == LOG_IO_READ && atomic_load(&fail_open) != 0) {
		errno = atomic_load(&fail_open);
		return -1;
	}
	return log_io_real.open(l, dir, name, mode);
}

/* The head of a segment can be read. */
static ssize_t own_pread(const struct log_io *l, int fd, void *buf, size_t n, int64_t off)
{
	if (off > 0 && atomic_load(&fail_read) != 0) {
		errno = atomic_load(&fail_read);
		return -1;
	}
	return log_io_real.pread(l, fd, buf, n, off);
}

static int own_start(
	struct wait_group *wg, const char *name, void (*fn)(void *), void *arg, struct err *err)
{
	if (atomic_load(&fail_start))
		return err_set(err, EAGAIN, "no thread for %s", name);
	atomic_fetch_add(&starts, strncmp(name, "lq:t:", 5) == 0);
	return wait_group_wrap(wg, name, fn, arg, err);
}

static int setup(void **state)
{
	io = log_io_real;
	io.open = own_open;
	io.pread = own_pread;
	io.start = own_start;
	atomic_store(&fail_open, 0);
	atomic_store(&fail_read, 0);
	atomic_store(&fail_start, false);
	atomic_store(&starts, 0);
	s = (struct side){
		.dir = AT_FDCWD, .memory_size = 10, .sync_timeout = 5 * NSEC_PER_MSEC, .io = &io};
	return enter_test_dir(state) != 0 ? -1 : log_setup(state);
}

static int teardown(void **state)
{
	if (chdir("t.log") != 0)
		return -1;
	DIR *dir = opendir(".");
	struct dirent *e;
	while ((e = readdir(dir)))
		unlink(e->d_name);
	closedir(dir);
	if (chdir("..") != 0 || rmdir("t.log") != 0)
		return -1;
	log_teardown(state);
	return leave_test_dir(state);
}

#define due_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

/* --- when the owner is told ------------------------------------------------------------------------ */

static int64_t told(struct chan_side *c)
{
	mutex_lock(&c->lock);
	int64_t at = c->due_at;
	mutex_unlock(&c->lock);
	return at;
}

/* n messages, taken. */
static void take_all(struct chan_side *c, struct message **m, size_t n)
{
	for (size_t i = 0; i < n; i++)
		m[i] = take_message(c);
}

static bool is_near(int64_t a, int64_t b)
{
	return a - b < CLOCK_ERROR && b - a < CLOCK_ERROR;
}

/* The first one counts, also after a restart; thirty days are no more than two hours. */
static void test_the_owner_is_told(void **state)
{
	struct message *m[4];
	open_side(&s, "a", NULL);
	struct chan_side *c = &s.channels[0];
	assert_true(told(c) == INT64_MAX);
	pub(&s, 1, 4);
	pump(&s, 4);
	take_all(c, m, 4);
	int64_t begin = clock_mono_ns();
	requeue(c, m[0], 720 * HOUR);
	int64_t last = told(c);
	assert_true(last >= begin + 720 * HOUR && last <= clock_mono_ns() + 720 * HOUR);
	begin = clock_mono_ns();
	requeue(c, m[1], 2 * HOUR);
	int64_t first = told(c);
	assert_true(first >= begin + 2 * HOUR && first <= clock_mono_ns() + 2 * HOUR);
	requeue(c, m[2], 3 * HOUR);
	assert_true(told(c) == first);
	/* Longer than there is time. */
	requeue(c, m[3], INT64_MAX - 1);
	assert_true(told(c) == first);
	assert_int_equal(log_queue_deferred(c->q), 4);
	assert_int_equal(depth_of(c->q), 0);
	close_side(&s);
	open_side(&s, "a", NULL);
	assert_true(is_near(told(c), first));
	assert_int_equal(log_queue_deferred(c->q), 4);
	struct err err;
	assert_int_equal(c->q->ops->empty(c->q, &err), 0);
	assert_true(told(c) == INT64_MAX);
	assert_int_equal(log_queue_deferred(c->q), 0);
	close_side(&s);
	assert_true(last > first);
}

/* One that is due is in a worker's hand when the channel is emptied. It does not come back. */
static void test_emptied_when_it_was_in_hand(void **state)
{
	struct message *m[3];
	struct err err;
	open_side(&s, "a", NULL);
	struct chan_side *c = &s.channels[0];
	pub(&s, 1, 3);
	pump(&s, 3);
	take_all(c, m, 3);
	requeue(c, m[1], NSEC_PER_MSEC);
	wait_for(told(c) <= clock_mono_ns());
	struct message *due;
	assert_int_equal(log_queue_take_due(c->q, &due, 1), 1);
	assert_int_equal(id_of(due), 2);
	assert_int_equal(c->q->ops->empty(c->q, &err), 0);
	size_t bytes = due->body->len;
	put_message(c, due, false);
	log_queue_due_done(c->q, 1, (int64_t)bytes);
	put_message(c, m[0], false);
	put_message(c, m[2], false);
	assert_int_equal(chan_len(c->memory), 0);
	assert_int_equal(depth_of(c->q), 0);
	pub(&s, 4, 1);
	pump(&s, 1);
	expect_finish(c, 4, 1);
	expect_nothing(c);
	close_side(&s);
}

/* What has been due while nobody was there is due at once. */
static void test_due_while_it_was_closed(void **state)
{
	struct message *m[3];
	open_side(&s, "a", NULL);
	struct chan_side *c = &s.channels[0];
	pub(&s, 1, 3);
	pump(&s, 3);
	take_all(c, m, 3);
	for (int i = 0; i < 3; i++)
		requeue(c, m[i], (3 - i) * NSEC_PER_MSEC);
	close_side(&s);
	int64_t end = clock_wall_ns() + 3 * NSEC_PER_MSEC;
	while (clock_wall_ns() <= end)
		sleep_ns(NSEC_PER_MSEC);
	open_side(&s, "a", NULL);
	assert_true(told(c) < clock_mono_ns());
	for (uint64_t i = 3; i >= 1; i--) {
		struct message *next = take_message(c);
		assert_true(id_of(next) == i && next->attempts == 2);
		finish(c, next);
	}
	expect_nothing(c);
	assert_int_equal(depth_of(c->q), 0);
	close_side(&s);
}

/* --- who reads ------------------------------------------------------------------------------------- */

/* With room in memory no thread of the queue's own is needed. */
static void test_no_thread_for_what_waits(void **state)
{
	struct message *m[5];
	open_side(&s, "a", NULL);
	struct chan_side *c = &s.channels[0];
	for (int round = 0; round < 10; round++) {
		pub(&s, 1, 5);
		pump(&s, 5);
		take_all(c, m, 5);
		for (int i = 0; i < 5; i++)
			requeue(c, m[i], (i + 1) * NSEC_PER_MSEC);
		take_all(c, m, 5);
		for (int i = 0; i < 5; i++) {
			assert_int_equal(m[i]->attempts, 2);
			finish(c, m[i]);
		}
		assert_int_equal(log_queue_deferred(c->q), 0);
		assert_int_equal(depth_of(c->q), 0);
	}
	assert_int_equal(atomic_load(&starts), 0);
	close_side(&s);
}

/* Without it lq:NAME sees to them; and until then the owner is not asked again and again. */
static void without_room(size_t memory_size)
{
	enum { N = 300 };
	struct message *m[N];
	bool seen[N + 1] = {false};
	s.memory_size = memory_size;
	open_side(&s, "a", NULL);
	struct chan_side *c = &s.channels[0];
	pub(&s, 1, N);
	pump(&s, N);
	take_all(c, m, N);
	for (int i = 0; i < N; i++)
		requeue(c, m[i], 30 * NSEC_PER_MSEC);
	while (told(c) != INT64_MAX) {
		int64_t at = take_due(c);
		if (at != INT64_MAX)
			sleep_ns(NSEC_PER_MSEC);
	}
	assert_true(atomic_load(&starts) > 0);
	for (int i = 0; i < N; i++) {
		struct message *next = take_message(c);
		assert_true(!seen[id_of(next)] && next->attempts == 2);
		seen[id_of(next)] = true;
		finish(c, next);
	}
	wait_for(depth_of(c->q) == 0);
	assert_int_equal(log_queue_deferred(c->q), 0);
	expect_nothing(c);
	close_side(&s);
}

/* Requeued for a moment, and taken when it is due, as the scan loop does: it is in nobody's count else. */
static struct message *take_one_due(struct chan_side *a, uint64_t number)
{
	struct message *m;
	pub(&s, number, 1);
	pump(&s, 1);
	m = take_message(a);
	assert_int_equal(id_of(m), number);
	requeue(a, m, 1);
	wait_for(log_queue_take_due(a->q, &m, 1) == 1);
	return m;
}

static void put_in_memory(struct chan_side *a, struct message *m)
{
	int64_t len = m->body->len;
	put_message(a, m, false);
	log_queue_due_done(a->q, 1, len);
}

/* Meanwhile lq:NAME finds that nothing is left, or is told to throw all away. It does not mean these. */
static void test_what_the_scan_loop_holds_is_counted(void **state)
{
	struct err err = {0};
	open_side(&s, "a", NULL);
	struct chan_side *a = &s.channels[0];
	struct message *m = take_one_due(a, 1);
	assert_int_equal(depth_of(a->q), 1);
	/* More than memory takes: lq:NAME reads it, and has caught up in the end. */
	pub(&s, 2, 30);
	pump(&s, 30);
	expect_finish(a, 2, 30);
	wait_for(depth_of(a->q) <= 1);
	sleep_ns(A_WHILE);
	assert_int_equal(depth_of(a->q), 1);
	put_in_memory(a, m);
	assert_int_equal(depth_of(a->q), 0);
	finish(a, take_message(a));

	m = take_one_due(a, 32);
	assert_int_equal(a->q->ops->empty(a->q, &err), 0);
	assert_int_equal(depth_of(a->q), 1);
	put_in_memory(a, m);
	assert_int_equal(depth_of(a->q), 0);
	assert_int_equal(a->q->ops->body_bytes(a->q), 0);
	expect_nothing(a);

	m = take_one_due(a, 33);
	assert_int_equal(depth_of(a->q), 1);
	assert_int_equal(a->q->ops->body_bytes(a->q), m->body->len);
	put_in_memory(a, m);
	finish(a, take_message(a));
	close_side(&s);
}

static void test_more_than_memory_takes(void **state)
{
	without_room(10);
}

static void test_no_memory_queue(void **state)
{
	without_room(0);
}

/* Many delays, while the channel is behind again and again; none comes early, none twice. */
static void test_many_delays(void **state)
{
	enum { N = 2000 };
	static int64_t due[N + 1];
	static bool seen[N + 1];
	struct wait_group pumps;
	memset(due, 0, sizeof(due));
	memset(seen, 0, sizeof(seen));
	open_side(&s, "a", NULL);
	struct chan_side *c = &s.channels[0];
	wait_group_init(&pumps);
	go(&pumps, pump_thread, &s);
	for (uint64_t i = 1; i <= N; i += 20) {
		int64_t delay = (int64_t)(i % 7) * 20 * NSEC_PER_MSEC;
		for (uint64_t k = i; k < i + 20; k++)
			due[k] = clock_mono_ns() + delay;
		publish_delayed(&s, i, 20, 30, delay);
	}
	for (size_t left = N; left > 0;) {
		struct message *m = take_message(c);
		uint64_t id = id_of(m);
		assert_true(!seen[id]);
		/* (The delay is on the wall clock until it is there.) */
		assert_true(clock_mono_ns() >= due[id] - CLOCK_ERROR);
		if (m->attempts == 1 && id % 3 == 0) {
			due[id] = clock_mono_ns() + 10 * NSEC_PER_MSEC;
			requeue(c, m, 10 * NSEC_PER_MSEC);
			continue;
		}
		if (m->attempts > 1)
			assert_true(clock_mono_ns() >= due[id]);
		seen[id] = true;
		left--;
		finish(c, m);
	}
	expect_nothing(c);
	wait_for(depth_of(c->q) == 0);
	chan_close(s.exit_chan);
	join(&pumps);
	close_side(&s);
}

/* --- clocks ----------------------------------------------------------------------------------------- */

/* The wall clock is set by so much: to the queue it always was what it is now, but for that. */
static void set_clock(struct chan_side *c, int64_t by)
{
	mutex_lock(&c->lock);
	log_queue_of(c->q)->offset_ns -= by;
	mutex_unlock(&c->lock);
}

static int64_t due_on_the_wall_clock(struct chan_side *c)
{
	mutex_lock(&c->lock);
	int64_t due = cursor_next_due(log_queue_cursor(c->q));
	mutex_unlock(&c->lock);
	return due;
}

/* Delays stay as they are, in this process and in the next one. */
static void clock_is_set(int64_t by)
{
	struct message *m[3];
	open_side(&s, "a", NULL);
	struct chan_side *c = &s.channels[0];
	set_clock(c, by);
	pub(&s, 1, 3);
	pump(&s, 3);
	take_all(c, m, 3);
	int64_t begin = clock_mono_ns(), delay = 100 * NSEC_PER_MSEC;
	requeue(c, m[0], delay);
	requeue(c, m[1], 2 * HOUR);
	requeue(c, m[2], INT64_MAX);
	int64_t at = told(c);
	/* The flusher sees that the clock was set, and writes a snapshot in its next turn. */
	wait_for(is_near(due_on_the_wall_clock(c), clock_wall_ns() + at - clock_mono_ns()));
	assert_true(is_near(told(c), at));
	m[0] = take_message(c);
	assert_true(id_of(m[0]) == 1 && clock_mono_ns() >= begin + delay);
	finish(c, m[0]);
	at = told(c);
	assert_true(at >= begin + 2 * HOUR);
	(void)topic_log_flush(s.tl);
	assert_int_equal(topic_log_flush(s.tl), 0);
	close_side(&s);
	open_side(&s, "a", NULL);
	assert_true(is_near(told(c), at));
	assert_int_equal(log_queue_deferred(c->q), 2);
	close_side(&s);
}

static void test_clock_set_forward(void **state)
{
	clock_is_set(24 * HOUR);
}

static void test_clock_set_back(void **state)
{
	clock_is_set(-24 * HOUR);
}

/* --- failures --------------------------------------------------------------------------------------- */

/* The queue's time goes on: what was to be tried again later is tried now. */
static void go_on(struct chan_side *c, int64_t ns)
{
	mutex_lock(&c->lock);
	log_queue_of(c->q)->offset_ns += ns;
	lq_tell_due_locked(log_queue_of(c->q));
	mutex_unlock(&c->lock);
}

/* No descriptor: they wait, and come when there is one. */
static void test_no_descriptor(void **state)
{
	struct message *m[5];
	s.sync_timeout = HOUR; /* no flusher looks at clocks here */
	open_side(&s, "a", NULL);
	struct chan_side *c = &s.channels[0];
	pub(&s, 1, 5);
	pump(&s, 5);
	take_all(c, m, 5);
	for (int i = 0; i < 5; i++)
		requeue(c, m[i], NSEC_PER_MSEC);
	atomic_store(&fail_open, EMFILE);
	for (int i = 0; i < 3; i++) {
		go_on(c, 2 * NSEC_PER_SEC);
		assert_true(take_due(c) != INT64_MAX);
		assert_int_equal(log_queue_deferred(c->q), 5);
		assert_int_equal(depth_of(c->q), 0);
		assert_true(log_queue_of(c->q)->due_fails);
	}
	atomic_store(&fail_open, 0);
	go_on(c, 2 * NSEC_PER_SEC);
	for (uint64_t i = 1; i <= 5; i++) {
		struct message *next = take_message(c);
		assert_true(id_of(next) == i && next->attempts == 2);
		finish(c, next);
	}
	assert_false(log_queue_of(c->q)->due_fails);
	close_side(&s);
}

/* A bad place on the disk is tried again for a while, and costs its own message. */
static void test_bad_place(void **state)
{
	struct message *m;
	s.sync_timeout = HOUR;
	open_side(&s, "a", NULL);
	struct chan_side *c = &s.channels[0];
	pub(&s, 1, 1);
	pump(&s, 1);
	m = take_message(c);
	requeue(c, m, NSEC_PER_MSEC);
	atomic_store(&fail_read, EIO);
	for (int i = 0; i < 9; i++) {
		go_on(c, 2 * NSEC_PER_SEC);
		assert_true(take_due(c) != INT64_MAX);
		assert_int_equal(log_queue_deferred(c->q), 1);
	}
	go_on(c, 2 * NSEC_PER_SEC);
	assert_true(take_due(c) == INT64_MAX);
	assert_int_equal(log_queue_deferred(c->q), 0);
	assert_int_equal(depth_of(c->q), 0);
	atomic_store(&fail_read, 0);
	pub(&s, 2, 1);
	pump(&s, 1);
	expect_finish(c, 2, 1);
	close_side(&s);
}

static bool has_tried_again(struct chan_side *c)
{
	mutex_lock(&c->lock);
	log_queue_try_again(c->q);
	mutex_unlock(&c->lock);
	(void)take_due(c);
	return !topic_log_has_failed(s.tl);
}

/* No thread: what needs one is tried again, and all else goes on. */
static void test_no_thread(void **state)
{
	enum { N = 100 };
	atomic_store(&fail_start, true);
	open_side(&s, "a", NULL);
	struct chan_side *c = &s.channels[0];
	pub(&s, 1, 8);
	pump(&s, 8);
	struct message *m[8];
	take_all(c, m, 8);
	for (int i = 0; i < 8; i++)
		requeue(c, m[i], NSEC_PER_MSEC);
	/* They are read without one. */
	for (int i = 0; i < 8; i++)
		finish(c, take_message(c));
	/* The cursor is not written: it will be tried again. */
	int64_t at = take_due(c);
	assert_true(at != INT64_MAX && at > clock_mono_ns() - NSEC_PER_SEC);
	/* The channel falls behind. */
	for (uint64_t i = 9; i <= N; i++) {
		pub(&s, i, 1);
		if (i <= 18)
			pump(&s, 1);
	}
	assert_int_equal(atomic_load(&starts), 0);
	atomic_store(&fail_start, false);
	expect_finish(c, 9, 10);
	/* Nobody publishes any more: the scan loop comes by. */
	wait_for(has_tried_again(c));
	pump(&s, N - 18);
	expect_finish(c, 19, N - 18);
	assert_int_equal(topic_log_flush(s.tl), 0);
	close_side(&s);
	open_side(&s, "a", NULL);
	expect_nothing(c);
	close_side(&s);
}

static void find_log_thread(void *arg, const char *name, int tid)
{
	if (strcmp(name, "log:t") == 0)
		*(bool *)arg = true;
}

static bool is_flushed(struct chan_side *c)
{
	mutex_lock(&c->lock);
	bool is = cursor_pending(log_queue_cursor(c->q)) == 0;
	mutex_unlock(&c->lock);
	return is;
}

/* FIN under the owner's lock starts no thread: the owner is asked to, at once. */
static void test_touch_starts_no_thread(void **state)
{
	open_side(&s, "a", NULL);
	struct chan_side *c = &s.channels[0];
	pub(&s, 1, 2);
	pump(&s, 2);
	struct message *m[2];
	take_all(c, m, 2);
	int64_t end = clock_mono_ns() + PATIENCE;
	/* It ends when it has been idle; this asks without waking it. */
	for (bool there = true; there;) {
		assert_true(clock_mono_ns() < end);
		sleep_ns(20 * NSEC_PER_MSEC);
		there = false;
		gothread_each(find_log_thread, &there);
	}
	assert_false(log_wake_running(topic_log_log(s.tl)));
	atomic_store(&fail_start, true);
	mutex_lock(&c->lock);
	log_queue_finished_locked(c->q, m[0]);
	log_queue_touch(c->q);
	assert_true(c->due_at == 0);
	mutex_unlock(&c->lock);
	int64_t at = take_due(c);
	/* There was none: in a while. Nobody else hurries. */
	assert_true(at < INT64_MAX && at > clock_mono_ns());
	mutex_lock(&c->lock);
	log_queue_touch(c->q);
	assert_true(c->due_at == at);
	mutex_unlock(&c->lock);
	atomic_store(&fail_start, false);
	wait_for(take_due(c) == INT64_MAX);
	wait_for(is_flushed(c));
	message_unref(m[0]);
	finish(c, m[1]);
	close_side(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		due_test(test_the_owner_is_told),
		due_test(test_emptied_when_it_was_in_hand),
		due_test(test_due_while_it_was_closed),
		due_test(test_no_thread_for_what_waits),
		due_test(test_what_the_scan_loop_holds_is_counted),
		due_test(test_more_than_memory_takes),
		due_test(test_no_memory_queue),
		due_test(test_many_delays),
		due_test(test_clock_set_forward),
		due_test(test_clock_set_back),
		due_test(test_no_descriptor),
		due_test(test_bad_place),
		due_test(test_no_thread),
		due_test(test_touch_starts_no_thread),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
