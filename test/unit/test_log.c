/* SPDX-License-Identifier: MIT */
/* The log as its users see it, on a real file system: appends, readers, copies, what goes. */
#include "test/unit/dir_test.h"
#include "test/unit/log_test.h"

#include <sys/stat.h>

#include "common/thread_name.h"

static int setup(void **state)
{
	return enter_test_dir(state) != 0 ? -1 : log_setup(state);
}

static void empty_dir(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *e;
	char name[512];
	while (dir && (e = readdir(dir))) {
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		snprintf(name, sizeof(name), "%s/%s", path, e->d_name);
		if (unlink(name) != 0)
			rmdir(name);
	}
	if (dir)
		closedir(dir);
	rmdir(path);
}

static int teardown(void **state)
{
	empty_dir("t.log");
	empty_dir("t.log:deleted");
	log_teardown(state);
	return leave_test_dir(state);
}

#define log_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

static struct log *open_here(bool disk, int64_t segment)
{
	return open_log(NULL, AT_FDCWD, disk, segment);
}

/* Appends messages [first, first + n) with such bodies in one call. */
static void append_as(struct log *l, const char *channel, uint64_t first, size_t n, size_t len)
{
	struct message **msgs = xcalloc(n, sizeof(struct message *));
	struct err err = {0};
	for (size_t i = 0; i < n; i++)
		msgs[i] = make_message(first + i, len);
	int rc = channel ? log_append_copies(l, channel, msgs, n, &err)
			 : log_append(l, msgs, n, &err);
	if (rc != 0)
		fail_msg("log_append: %s", err.msg);
	for (size_t i = 1; i < n; i++)
		assert_true(msgs[i]->seq == msgs[i - 1]->seq + 1 &&
			    msgs[i]->offset > msgs[i - 1]->offset);
	message_unref_all(msgs, n);
	free(msgs);
}

static void append_some(struct log *l, uint64_t first, size_t n, size_t len)
{
	append_as(l, NULL, first, n, len);
}

/* The log has messages [first, first + n), and nothing else. */
static void expect(struct log *l, uint64_t first, size_t n)
{
	struct content c = read_log(l, first);
	assert_int_equal(c.n, n);
	for (size_t i = 0; i < n; i++)
		assert_true(c.numbers[i] == first + i && c.seqs[i] == first + i);
	assert_int_equal(c.gaps, 0);
	free_content(&c);
}

static struct log_stats stats_of(struct log *l)
{
	struct log_stats stats;
	log_get_stats(l, &stats);
	return stats;
}

/* --- appending and reading -------------------------------------------------------------------------- */

static void test_what_is_appended_is_read(void **state)
{
	for (int disk = 0; disk < 2; disk++) {
		struct log *l = open_here(disk, 0);
		expect(l, 1, 0);
		append_some(l, 1, 1, 200);
		append_some(l, 2, 100, 50);
		append_some(l, 102, 1, 0);
		append_some(l, 103, 3, 100000);
		expect(l, 1, 105);
		log_close(l);
		l = open_here(disk, 0);
		expect(l, 1, 105);
		append_some(l, 106, 1, 1);
		expect(l, 1, 106);
		struct err err = {0};
		assert_int_equal(log_delete(l, AT_FDCWD, &err), 0);
		assert_int_equal(access("t.log", F_OK), -1);
	}
}

static void test_a_log_without_messages_has_no_files(void **state)
{
	struct log *l = open_here(true, 0);
	log_close(l);
	assert_int_equal(rmdir("t.log"), 0);
}

/* Segments are closed at their size; one that has a single large batch is larger. */
static void test_segments(void **state)
{
	struct log *l = open_here(false, 10000);
	for (uint64_t i = 1; i <= 50; i++)
		append_some(l, i, 1, 900);
	assert_int_equal(stats_of(l).segments, 5);
	append_some(l, 51, 20, 5000);
	append_some(l, 71, 1, 70000);
	append_some(l, 72, 1, 1);
	assert_int_equal(stats_of(l).segments, 8);
	expect(l, 1, 72);
	log_close(l);
	l = open_here(false, 10000);
	assert_int_equal(stats_of(l).segments, 8);
	expect(l, 1, 72);
	uint64_t first;
	int64_t bytes;
	assert_true(log_get_segment(l, 6, &first, &bytes) && first == 71 && bytes > 70000);
	assert_false(log_get_segment(l, 8, &first, &bytes));
	log_close(l);
}

static void test_read_at(void **state)
{
	struct log *l = open_here(false, 4000);
	uint32_t offsets[200];
	for (uint64_t i = 0; i < 200; i++) {
		struct message *m = make_message(i + 1, 30 + i);
		struct err err;
		assert_int_equal(log_append(l, &m, 1, &err), 0);
		assert_int_equal(m->seq, i + 1);
		offsets[i] = m->offset;
		message_unref(m);
	}
	struct log_reader *r = log_reader_open(l, 1, 0);
	for (uint64_t k = 0; k < 400; k++) {
		uint64_t i = k * 71 % 200;
		/* Also without the place, and with that of another one. */
		uint32_t offset = k % 4 == 1 ? 0 : k % 4 == 2 ? offsets[(i + 1) % 200] : offsets[i];
		struct log_item item;
		struct err err;
		assert_int_equal(log_read_at(r, i + 1, offset, &item, &err), LOG_READ_MESSAGE);
		assert_true(number_of(item.msg) == i + 1 && item.msg->offset == offsets[i]);
		message_unref(item.msg);
	}
	struct log_item item;
	struct err err;
	assert_int_equal(log_read_at(r, 201, 300, &item, &err), LOG_READ_GAP);
	assert_int_equal(log_read_at(r, 0, 300, &item, &err), LOG_READ_GAP);
	log_reader_close(r);
	log_close(l);
}

/* A reader that has come to the end is told when there is more. */
static void follow(void *arg)
{
	struct log *l = arg;
	struct log_reader *r = log_reader_open(l, 1, 0);
	uint64_t next = 1;
	while (next <= 2000) {
		struct log_item item;
		struct err err = {0};
		enum log_read what = log_reader_next(r, &item, &err);
		if (what == LOG_READ_END) {
			if (next % 3 == 0)
				log_reader_rest(r);
			chan_recv(log_reader_chan(r), NULL);
			continue;
		}
		if (what != LOG_READ_MESSAGE || item.seq != next)
			fail_msg("%d, %s", what, err.msg);
		if (number_of(item.msg) == UINT64_MAX)
			fail_msg("another message");
		message_unref(item.msg);
		next++;
	}
	log_reader_close(r);
}

static struct publisher {
	struct log *l;
	uint64_t first;
} publishers[4];

static void publish(void *arg)
{
	struct publisher *p = arg;
	uint64_t last = 0;
	for (uint64_t i = 0; i < 500;) {
		size_t n = i % 7 == 0 ? 5 : 1;
		struct message *msgs[5];
		struct err err = {0};
		for (size_t k = 0; k < n; k++)
			msgs[k] = make_message(p->first + i + k, 1 + (i * 37) % 700);
		if (log_append(p->l, msgs, n, &err) != 0)
			fail_msg("%s", err.msg);
		assert_true(msgs[0]->seq > last);
		last = msgs[n - 1]->seq;
		message_unref_all(msgs, n);
		i += n;
	}
}

static void test_many_publish_and_read(void **state)
{
	struct wait_group wg;
	struct log *l = open_here(false, 50000);
	uint64_t next[4] = {0, 1000, 2000, 3000}, seen = 0;
	wait_group_init(&wg);
	for (int i = 0; i < 3; i++)
		go(&wg, follow, l);
	for (unsigned i = 0; i < 4; i++) {
		publishers[i] = (struct publisher){l, i * 1000};
		go(&wg, publish, &publishers[i]);
	}
	join(&wg);
	struct content c = read_log(l, 1);
	/* Those of one publisher are in its order. */
	for (size_t i = 0; i < c.n; i++)
		assert_true(c.numbers[i] == next[c.numbers[i] / 1000]++);
	for (unsigned i = 0; i < 4; i++)
		seen += next[i] - i * 1000;
	assert_true(seen == c.n && c.gaps == 0);
	struct log_stats s = stats_of(l);
	assert_true(s.commits <= s.batches && s.failed_commits == 0 && s.next == c.n + 1);
	free_content(&c);
	log_close(l);
}

/* The disk takes its time for a sync: as long as the test wants. */
static struct chan *in_sync, *go_on;

static int slow_sync(const struct log_io *io, int fd)
{
	chan_send(in_sync, NULL);
	chan_recv(go_on, NULL);
	return log_io_real.sync(io, fd);
}

static void append_one(void *arg)
{
	struct publisher *p = arg;
	append_some(p->l, p->first, 1, 100);
}

static size_t n_waiting(struct log *l)
{
	mutex_lock(&l->lock);
	size_t n = l->n_waiting;
	mutex_unlock(&l->lock);
	return n;
}

/* Those, and those that the thread has taken. */
static size_t n_pending(struct log *l)
{
	mutex_lock(&l->lock);
	size_t n = l->pending;
	mutex_unlock(&l->lock);
	return n;
}

/* Those that come while the disk works share the next sync. Readers see nothing before it is over. */
static void test_group_commit(void **state)
{
	static struct publisher few[6];
	struct log_io io = log_io_real;
	struct wait_group wg;
	struct log *l = open_log(&io, AT_FDCWD, true, 0);
	append_some(l, 1000, 1, 100); /* its segment is there */
	in_sync = chan_new(0, 0);
	go_on = chan_new(0, 0);
	io.sync = slow_sync;
	wait_group_init(&wg);
	for (unsigned i = 0; i < COUNT(few); i++) {
		few[i] = (struct publisher){l, 1 + i};
		go(&wg, append_one, &few[i]);
		if (i == 0)
			chan_recv(in_sync, NULL);
	}
	wait_for(n_waiting(l) == COUNT(few) - 1);
	assert_true(stats_of(l).next == 2 && stats_of(l).commit_since_ns > 0);
	struct content c = read_log(l, 1);
	assert_int_equal(c.n, 1);
	free_content(&c);
	chan_send(go_on, NULL);
	chan_recv(in_sync, NULL);
	assert_int_equal(stats_of(l).next, 3);
	chan_send(go_on, NULL);
	join(&wg);
	struct log_stats s = stats_of(l);
	assert_true(s.next == 8 && s.commits == 3 && s.batches == 7 && s.commit_since_ns == 0);
	log_close(l);
	chan_free(in_sync);
	chan_free(go_on);
}

/* --- appends that nobody waits for ------------------------------------------------------------------ */

struct begun {
	struct message *m;
	_Atomic int ends;
	int code;    /* of the error; 0: it is kept */
	size_t rank; /* the how many-th end this was */
	char thread[32];
};

static _Atomic size_t n_ended;

static void note_end(void *arg, const struct err *err)
{
	struct begun *b = arg;
	b->code = err ? err->code : 0;
	b->rank = n_ended++;
	snprintf(b->thread, sizeof(b->thread), "%s", thread_name());
	b->ends++;
}

static void begin_one(struct log *l, struct begun *b, uint64_t number)
{
	struct err err = {0};
	*b = (struct begun){.m = make_message(number, 100)};
	if (log_begin_append(l, &b->m, 1, note_end, b, &err) != 0)
		fail_msg("log_begin_append: %s", err.msg);
}

static void end_one(struct begun *b, int code)
{
	wait_for(b->ends > 0);
	assert_true(b->ends == 1 && b->code == code);
	assert_string_equal(b->thread, "log:t");
	message_unref(b->m);
}

/* More than a commit takes. All are answered, in their order; one that waits in a thread is as well. */
static void test_appends_that_nobody_waits_for(void **state)
{
	static struct begun many[3 * LOG_REQS_MAX];
	struct publisher one;
	struct wait_group wg;
	struct log *l = open_log(NULL, AT_FDCWD, false, 0);
	n_ended = 0;
	chan_recv(l->turn_chan, NULL);
	for (size_t i = 0; i < COUNT(many); i++)
		begin_one(l, &many[i], i);
	wait_group_init(&wg);
	one = (struct publisher){l, COUNT(many)};
	go(&wg, append_one, &one);
	/* It has not got the turn, then, and is behind the others. */
	wait_for(n_pending(l) == COUNT(many) + 1);
	assert_true(n_ended == 0 && stats_of(l).next == 1);
	chan_send(l->turn_chan, NULL);
	join(&wg);
	for (size_t i = 0; i < COUNT(many); i++) {
		wait_for(many[i].ends > 0);
		assert_int_equal(many[i].m->seq, i + 1);
		assert_int_equal(many[i].rank, i);
		end_one(&many[i], 0);
	}
	struct content c = read_log(l, 1);
	for (size_t i = 0; i < c.n; i++)
		assert_true(c.numbers[i] == i);
	assert_int_equal(c.n, COUNT(many) + 1);
	free_content(&c);
	/* Nobody has ended the append but log:TOPIC: the log may be closed behind it. */
	begin_one(l, &many[0], 0);
	end_one(&many[0], 0);
	log_close(l);
}

static ssize_t no_space(
	const struct log_io *io, int fd, const struct iovec *iov, int n, int64_t off)
{
	errno = ENOSPC;
	return -1;
}

static int no_thread(
	struct wait_group *wg, const char *name, void (*fn)(void *), void *arg, struct err *err)
{
	return err_set(err, EAGAIN, "no thread for %s", name);
}

static void test_appends_that_nobody_waits_for_fail(void **state)
{
	struct begun b;
	struct err err = {0};
	struct log_io io = log_io_real;
	struct log *l = open_log(&io, AT_FDCWD, false, 0);
	io.start = no_thread;
	b = (struct begun){.m = make_message(1, 100)};
	assert_int_equal(log_begin_append(l, &b.m, 1, note_end, &b, &err), -1);
	assert_int_equal(err.code, EAGAIN);
	message_unref(b.m);
	io.start = log_io_real.start;
	io.pwritev = no_space;
	begin_one(l, &b, 1);
	wait_for(b.ends > 0);
	assert_int_equal(b.m->seq, 0);
	end_one(&b, ENOSPC);
	io.pwritev = log_io_real.pwritev;
	begin_one(l, &b, 1);
	end_one(&b, 0);
	assert_int_equal(stats_of(l).next, 2);
	log_close(l);
}

/* --- copies ----------------------------------------------------------------------------------------- */

static void test_copies(void **state)
{
	struct log *l = open_here(false, 0);
	append_some(l, 1, 3, 100);
	struct log_reader *r = log_reader_open(l, 2, 0);
	struct log_item item;
	struct err err = {0};
	assert_int_equal(log_reader_next(r, &item, &err), LOG_READ_MESSAGE);
	struct message *m = item.msg;
	m->attempts = 7;
	assert_int_equal(log_append_copies(l, "orders", &m, 1, &err), 0);
	assert_true(m->seq == 4);
	message_unref(m);
	append_some(l, 5, 1, 5000);
	log_reader_close(r);
	log_close(l);
	l = open_here(true, 0);
	r = log_reader_open(l, 3, 0);
	assert_int_equal(log_reader_next(r, &item, &err), LOG_READ_MESSAGE);
	assert_true(!item.channel && item.origin == 3);
	message_unref(item.msg);
	assert_int_equal(log_reader_next(r, &item, &err), LOG_READ_MESSAGE);
	assert_true(item.seq == 4 && item.origin == 2 && item.msg->attempts == 7);
	assert_string_equal(item.channel, "orders");
	assert_int_equal(number_of(item.msg), 2);
	message_unref(item.msg);
	assert_int_equal(log_reader_next(r, &item, &err), LOG_READ_MESSAGE);
	assert_true(item.seq == 5 && !item.channel);
	message_unref(item.msg);
	/* A name that is none. */
	m = make_message(9, 1);
	assert_int_equal(log_append_copies(l, "", &m, 1, &err), -1);
	message_unref(m);
	log_reader_close(r);
	log_close(l);
}

/* --- what goes --------------------------------------------------------------------------------------- */

static void test_forget(void **state)
{
	struct log *l = open_here(false, 2000);
	struct err err = {0};
	for (uint64_t i = 1; i <= 20; i++)
		append_some(l, i, 1, 900);
	assert_int_equal(stats_of(l).segments, 20);
	struct log_reader *behind = log_reader_open(l, 3, 0);
	struct log_item item;
	assert_int_equal(log_reader_next(behind, &item, &err), LOG_READ_MESSAGE);
	message_unref(item.msg);
	assert_int_equal(log_forget(l, 11, &err), 0);
	assert_true(stats_of(l).segments == 10 && stats_of(l).first == 11);
	expect(l, 11, 10);
	/* A reader that was behind learns what it has missed. */
	assert_int_equal(log_reader_next(behind, &item, &err), LOG_READ_GAP);
	assert_true(item.seq == 4 && item.n == 7);
	assert_int_equal(log_reader_next(behind, &item, &err), LOG_READ_MESSAGE);
	assert_int_equal(item.seq, 11);
	message_unref(item.msg);
	log_reader_close(behind);
	/* The last one stays: it has the number that comes next. */
	assert_int_equal(log_forget(l, 1000, &err), 0);
	assert_int_equal(stats_of(l).segments, 1);
	log_close(l);
	l = open_here(false, 2000);
	append_some(l, 21, 1, 10);
	expect(l, 20, 2);
	log_close(l);
}

static void test_delete(void **state)
{
	struct err err = {0};
	struct log *l = open_here(false, 2000);
	append_some(l, 1, 3, 900);
	write_text("t.log/c.cursor", "not ours, and gone all the same");
	/* What another deletion has left. */
	assert_int_equal(mkdir("t.log:deleted", 0700), 0);
	write_text("t.log:deleted/x", "old");
	assert_int_equal(log_delete(l, AT_FDCWD, &err), 0);
	assert_int_equal(count_files("t.log", ""), 0);
	l = open_here(false, 2000);
	append_some(l, 1, 1, 1);
	expect(l, 1, 1);
	log_close(l);
}

/* --- opening ---------------------------------------------------------------------------------------- */

static _Atomic int64_t bytes_read;

static ssize_t count_pread(const struct log_io *io, int fd, void *buf, size_t n, int64_t off)
{
	ssize_t r = log_io_real.pread(io, fd, buf, n, off);
	if (r > 0)
		atomic_fetch_add(&bytes_read, r);
	return r;
}

/* What is read at a start does not depend on how much there is. */
static void test_a_closed_log_opens_at_once(void **state)
{
	struct log_io io = log_io_real;
	io.pread = count_pread;
	struct log *l = open_here(false, 1000000);
	for (uint64_t i = 0; i < 100; i++)
		append_some(l, 1 + 10 * i, 10, 5000);
	assert_true(stats_of(l).segments >= 5);
	log_close(l);
	atomic_store(&bytes_read, 0);
	l = open_log(&io, AT_FDCWD, false, 1000000);
	assert_true(atomic_load(&bytes_read) <= 1000);
	assert_int_equal(stats_of(l).next, 1001);
	expect(l, 1, 1000);
	log_close(l);
}

static int no_open(const struct log_io *io, int dir, const char *name, enum log_io_mode mode)
{
	if (mode != LOG_IO_READ)
		fail_msg("%s is opened to be written", name);
	return log_io_real.open(io, dir, name, mode);
}

/* A look finds what a start would find, and leaves the files as they are. */
static void test_read_only(void **state)
{
	static const char name[] = "t.log/00000000000000000001.seg";
	struct log_io io = log_io_real;
	struct log_opts opts = {.dir = AT_FDCWD,
		.topic = "t",
		.disk = true,
		.read_only = true,
		.lg = &test_lg,
		.io = &io};
	struct log *l = NULL;
	struct err err = {0};
	struct stat st;
	io.open = no_open;
	assert_int_equal(log_open(&opts, &l, &err), -1);
	assert_int_equal(access("t.log", F_OK), -1);
	l = open_here(false, 0);
	append_some(l, 1, 3, 100);
	append_some(l, 4, 3, 100);
	log_close(l);
	/* Cut within the second batch, and then within the head. */
	off_t cut = LOG_HEAD_SIZE + 5 * (LOG_RECORD_HEAD + 100) + 7;
	assert_int_equal(truncate(name, cut), 0);
	assert_int_equal(log_open(&opts, &l, &err), 0);
	expect(l, 1, 3);
	log_close(l);
	assert_int_equal(stat(name, &st), 0);
	assert_int_equal(st.st_size, cut);
	assert_int_equal(truncate(name, 100), 0);
	assert_int_equal(log_open(&opts, &l, &err), 0);
	expect(l, 1, 0);
	log_close(l);
	assert_int_equal(stat(name, &st), 0);
	assert_int_equal(st.st_size, 100);
}

/* --- its thread -------------------------------------------------------------------------------------- */

static void test_without_a_thread_the_publisher_writes(void **state)
{
	struct log_io io = log_io_real;
	struct err err = {0};
	struct message *m[] = {make_message(1, 10), make_message(2, 10)};
	io.start = no_thread;
	struct log *l = open_log(&io, AT_FDCWD, true, 0);
	assert_int_equal(log_append(l, &m[0], 1, &err), 0);
	assert_int_equal(log_wake(l, &err), -1);
	assert_non_null(strstr(err.msg, "no thread for log:t"));
	assert_false(log_wake_running(l));
	io.start = wait_group_wrap;
	assert_int_equal(log_append(l, &m[1], 1, &err), 0);
	assert_true(log_wake_running(l));
	message_unref_all(m, 2);
	log_close(l);
	l = open_log(NULL, AT_FDCWD, true, 0);
	expect(l, 1, 2);
	log_close(l);
}

static void find_thread(void *arg, const char *name, int tid)
{
	if (strcmp(name, "log:t") == 0)
		*(bool *)arg = true;
}

static bool has_thread(void)
{
	bool found = false;
	gothread_each(find_thread, &found);
	return found;
}

/* The thread comes with the first append, and goes when nobody wants it. */
static void test_the_thread_ends_when_idle(void **state)
{
	struct log_opts opts = {
		.dir = AT_FDCWD, .topic = "t", .lg = &test_lg, .tick_ns = 10 * NSEC_PER_MSEC};
	struct log *l;
	struct err err = {0};
	assert_int_equal(log_open(&opts, &l, &err), 0);
	assert_false(has_thread());
	for (uint64_t i = 0; i < 2; i++) {
		append_some(l, 1 + i, 1, 10);
		assert_true(has_thread());
		wait_for(!has_thread());
		/* It has written where the log ends, and closed the file. */
		struct stat st;
		assert_int_equal(stat("t.log/00000000000000000001.seg", &st), 0);
		assert_int_equal(st.st_size,
			LOG_HEAD_SIZE + (i + 1) * (LOG_RECORD_HEAD + 10) + LOG_RECORD_HEAD);
	}
	expect(l, 1, 2);
	log_close(l);
}

static bool count_tick(void *arg)
{
	return atomic_fetch_add((_Atomic int *)arg, 1) < 3;
}

static void test_ticks(void **state)
{
	static _Atomic int ticks;
	struct log_opts opts = {.dir = AT_FDCWD,
		.topic = "t",
		.lg = &test_lg,
		.tick = count_tick,
		.tick_arg = &ticks,
		.tick_ns = NSEC_PER_MSEC};
	struct log *l;
	struct err err = {0};
	atomic_store(&ticks, 0);
	assert_int_equal(log_open(&opts, &l, &err), 0);
	assert_int_equal(log_wake(l, &err), 0);
	wait_for(atomic_load(&ticks) == 4);
	stays(atomic_load(&ticks) == 4);
	assert_int_equal(log_wake(l, &err), 0);
	wait_for(atomic_load(&ticks) == 5);
	log_close(l);
}

/* --- what others have done to the directory ---------------------------------------------------------- */

static void test_what_is_not_ours_is_left_alone(void **state)
{
	struct log *l = open_here(false, 0);
	append_some(l, 1, 2, 10);
	log_close(l);
	write_text("t.log/readme", "x");
	write_text("t.log/1.seg", "x");
	write_text("t.log/00000000000000000000.seg", "x");
	write_text("t.log/99999999999999999999.seg", "x");
	write_text("t.log/0000000000000000000a.seg", "x");
	/* A number that no cursor knows, and the first one beyond LOG_SEQ_MAX. */
	write_text("t.log/04611686018427387904.seg", "");
	write_text("t.log/00144115188075855873.seg", "");
	l = open_here(false, 0);
	append_some(l, 3, 1, 10);
	expect(l, 1, 3);
	log_close(l);
	assert_int_equal(count_files("", ""), 3); /* with . and .. */
	assert_int_equal(access("t.log/1.seg", F_OK), 0);
}

static void refuses(const char *why)
{
	struct log_opts opts = {.dir = AT_FDCWD, .topic = "t", .lg = &test_lg};
	struct log *l;
	struct err err = {0};
	assert_int_equal(log_open(&opts, &l, &err), -1);
	if (!strstr(err.msg, why))
		fail_msg("\"%s\" has no \"%s\"", err.msg, why);
}

static void test_files_of_other_kinds(void **state)
{
	assert_int_equal(mkdir("t.log", 0700), 0);
	assert_int_equal(mkdir("t.log/00000000000000000001.seg", 0700), 0);
	refuses("is a directory");
	assert_int_equal(rmdir("t.log/00000000000000000001.seg"), 0);
	assert_int_equal(mkfifo("t.log/00000000000000000001.seg", 0600), 0);
	refuses("no such device");
	assert_int_equal(unlink("t.log/00000000000000000001.seg"), 0);
	write_text("target", "precious");
	assert_int_equal(symlink("../target", "t.log/00000000000000000001.seg"), 0);
	refuses("no such device");
	assert_int_equal(unlink("t.log/00000000000000000001.seg"), 0);
	assert_int_equal(rmdir("t.log"), 0);
	write_text("t.log", "a file");
	refuses("not a directory");
	assert_int_equal(unlink("t.log"), 0);
}

static void change_file(const char *path, off_t off, const void *bytes, size_t n)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, bytes, n, off), (ssize_t)n);
	close(fd);
}

/* The version is looked at in both copies of the head, each with its checksum. */
static void test_a_newer_version_is_refused(void **state)
{
	unsigned char head[LOG_HEAD_SIZE];
	struct log_head h = {.first = 1, .key = 1, .name = "t"};
	struct log *l = open_here(true, 0);
	append_some(l, 1, 2, 10);
	log_close(l);
	log_head_encode_version(&h, 2, head);
	change_file("t.log/00000000000000000001.seg", 0, head, sizeof(head));
	refuses("it has version 2 of the format, and this program knows 1 only");
}

/* A segment that was cut, replaced or removed while the log was idle: the log goes on in another. */
static void test_the_file_changes_while_idle(void **state)
{
	struct log_opts opts = {
		.dir = AT_FDCWD, .topic = "t", .lg = &test_lg, .tick_ns = 10 * NSEC_PER_MSEC};
	struct log *l;
	struct err err = {0};
	assert_int_equal(log_open(&opts, &l, &err), 0);
	append_some(l, 1, 2, 100);
	wait_for(!has_thread());
	assert_int_equal(truncate("t.log/00000000000000000001.seg", 400), 0);
	append_some(l, 3, 2, 100);
	wait_for(!has_thread());
	assert_int_equal(unlink("t.log/00000000000000000003.seg"), 0);
	append_some(l, 5, 2, 100);
	struct content c = read_log(l, 1);
	assert_true(c.n == 2 && c.seqs[0] == 5 && c.gaps == 4);
	free_content(&c);
	log_close(l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		log_test(test_what_is_appended_is_read),
		log_test(test_a_log_without_messages_has_no_files),
		log_test(test_segments),
		log_test(test_read_at),
		log_test(test_many_publish_and_read),
		log_test(test_group_commit),
		log_test(test_appends_that_nobody_waits_for),
		log_test(test_appends_that_nobody_waits_for_fail),
		log_test(test_copies),
		log_test(test_forget),
		log_test(test_delete),
		log_test(test_a_closed_log_opens_at_once),
		log_test(test_read_only),
		log_test(test_without_a_thread_the_publisher_writes),
		log_test(test_the_thread_ends_when_idle),
		log_test(test_ticks),
		log_test(test_what_is_not_ours_is_left_alone),
		log_test(test_files_of_other_kinds),
		log_test(test_a_newer_version_is_refused),
		log_test(test_the_file_changes_while_idle),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
