/* SPDX-License-Identifier: MIT */
/* common/lg_writer: lines arrive whole and in order; a log that nobody reads holds nobody up. */
#include "test/unit/helper.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <sys/syscall.h>

#include "common/chan.h"
#include "common/clock.h"
#include "common/gothread.h"
#include "common/lg_writer.h"
#include "common/strbuf.h"

static _Atomic int drain_fd = -1; /* the reader of the pipe whose writer gives up */

/* In front of libc's. As soon as the writer has given up there is room again. */
int poll(struct pollfd *fds, nfds_t n, int timeout)
{
	const struct timespec ts = {.tv_sec = timeout / 1000, .tv_nsec = timeout % 1000 * 1000000};
	int fd = timeout == 0 ? atomic_exchange(&drain_fd, -1) : -1;
	char buf[1 << 16];
	if (fd < 0)
		return ppoll(fds, n, timeout < 0 ? NULL : &ts, NULL);
	ssize_t n_read = read(fd, buf, sizeof(buf));
	/* The slow reader may have had it all. */
	assert_true(n_read > 0 || (n_read < 0 && errno == EAGAIN));
	return 0;
}

static _Atomic int refusing_fd = -1; /* there is room for notes alone */

/* In front of libc's. */
ssize_t write(int fd, const void *p, size_t n)
{
	if (fd >= 0 && fd == refusing_fd && *(const char *)p != '(') {
		errno = ENOSPC;
		return -1;
	}
	return syscall(SYS_write, fd, p, n);
}

static void note(void *arg, struct strbuf *out, const char *text)
{
	strbuf_addf(out, "(%s)\n", text);
}

static int64_t never(void *arg)
{
	return 0;
}

static const struct lg_writer_ops ops = {.note = note, .next_ns = never};

static void add_numbered(struct lg_writer *w, int who, int n)
{
	char line[64];
	for (int i = 0; i < n; i++)
		lg_writer_add(w, line, (size_t)snprintf(line, sizeof(line), "%d %d\n", who, i));
}

static void stop(struct lg_writer *w)
{
	lg_writer_stop(w);
	lg_writer_free(w);
}

static void test_every_line_is_written_in_order_before_stop_returns(void **state)
{
	enum { LINES = 20000 };
	struct err err;
	char path[] = "linesXXXXXX";
	int fd = mkstemp(path);
	struct lg_writer *w = lg_writer_start(fd, &ops, NULL, &err);
	assert_non_null(w);
	add_numbered(w, 7, LINES);
	stop(w);

	FILE *f = fopen(path, "r");
	int who, i, n = 0;
	while (fscanf(f, "%d %d\n", &who, &i) == 2) {
		assert_int_equal(who, 7);
		assert_int_equal(i, n++);
	}
	assert_int_equal(n, LINES);
	fclose(f);
	close(fd);
}

static void test_a_pipe_that_nobody_reads_blocks_nobody_and_costs_a_bounded_buffer(void **state)
{
	enum { LINE = 1000, LINES = 4000 };
	struct err err;
	int fds[2];
	char line[LINE];
	memset(line, 'x', sizeof(line));
	line[LINE - 1] = '\n';
	assert_int_equal(pipe(fds), 0);
	struct lg_writer *w = lg_writer_start(fds[1], &ops, NULL, &err);
	assert_non_null(w);
	for (int i = 0; i < LINES; i++)
		lg_writer_add(w, line, sizeof(line));
	int64_t start = clock_mono_ns();
	stop(w); /* gives up after a second */
	assert_true(clock_mono_ns() - start < 20 * NSEC_PER_SEC);
	close(fds[0]);
	close(fds[1]);
}

static void wait_written(const struct lg_writer *w)
{
	lg_writer_drain(w, clock_mono_ns() + PATIENCE);
}

static void assert_holds(int file, const char *expected)
{
	char text[200];
	ssize_t n = pread(file, text, sizeof(text) - 1, 0);
	assert_true(n > 0);
	text[n] = '\0';
	assert_string_equal(text, expected);
}

static void test_lines_that_the_disk_refuses_are_counted_when_it_takes_some_again(void **state)
{
	struct err err;
	char path[] = "refusedXXXXXX";
	int file = mkstemp(path), fd = open("/dev/full", O_WRONLY);
	struct lg_writer *w = lg_writer_start(fd, &ops, NULL, &err);
	assert_non_null(w);
	add_numbered(w, 1, 3);
	wait_written(w);
	add_numbered(w, 1, 2);
	wait_written(w);
	assert_true(dup2(file, fd) == fd);
	add_numbered(w, 2, 1);
	stop(w);
	assert_holds(file, "(5 log lines lost: no space left on device)\n2 0\n");
	close(file);
	close(fd);
}

/* Whether the stop comes before the thread takes the lines differs from round to round. */
static void test_the_loss_of_the_last_lines_is_told_at_the_stop(void **state)
{
	for (int round = 0; round < 100; round++) {
		struct err err;
		char path[] = "lastXXXXXX";
		int file = mkstemp(path);
		struct lg_writer *w = lg_writer_start(file, &ops, NULL, &err);
		assert_non_null(w);
		refusing_fd = file;
		lg_writer_add(w, "bye\n", 4);
		stop(w);
		refusing_fd = -1;
		assert_holds(file, "(1 log lines lost: no space left on device)\n");
		close(file);
		unlink(path);
	}
}

static void test_lines_without_a_descriptor_are_counted_when_there_is_one_again(void **state)
{
	struct err err;
	char path[] = "closedXXXXXX";
	int file = mkstemp(path), fd = fcntl(file, F_DUPFD_CLOEXEC, 100);
	assert_true(fd >= 100); /* no other file gets this number meanwhile */
	struct lg_writer *w = lg_writer_start(fd, &ops, NULL, &err);
	assert_non_null(w);
	close(fd);
	add_numbered(w, 1, 3);
	wait_written(w);
	assert_true(dup2(file, fd) == fd);
	add_numbered(w, 2, 1);
	stop(w);
	assert_holds(file, "(3 log lines lost: bad file descriptor)\n2 0\n");
	close(file);
	close(fd);
}

struct reader {
	int fd;
	struct strbuf text;
	struct chan *slow_until; /* a slow one: closed when it is to end */
};

static void read_all(void *arg)
{
	struct reader *r = arg;
	char buf[65536];
	ssize_t n;
	while ((n = read(r->fd, buf, sizeof(buf))) > 0)
		strbuf_add(&r->text, buf, (size_t)n);
}

static void test_dropped_lines_are_counted_in_the_log(void **state)
{
	enum { LINE = 1000, LINES = 4000 };
	struct err err;
	int fds[2];
	char line[LINE];
	memset(line, 'x', sizeof(line));
	line[LINE - 1] = '\n';
	assert_int_equal(pipe(fds), 0);
	struct lg_writer *w = lg_writer_start(fds[1], &ops, NULL, &err);
	for (int i = 0; i < LINES; i++)
		lg_writer_add(w, line, sizeof(line));

	struct reader r = {.fd = fds[0], .text = STRBUF_INIT};
	struct wait_group wg;
	wait_group_init(&wg);
	assert_int_equal(wait_group_wrap(&wg, "reader", read_all, &r, &err), 0);
	/* The stop would give up a reader that is late, and what that has not read is told to nobody. */
	wait_written(w);
	stop(w);
	close(fds[1]);
	wait_group_wait(&wg);
	wait_group_destroy(&wg);

	size_t written = 0, dropped = 0;
	for (char *p = strtok(r.text.data, "\n"); p; p = strtok(NULL, "\n")) {
		size_t n;
		if (sscanf(p, "(%zu log lines dropped", &n) == 1)
			dropped += n;
		else
			written += strlen(p) == LINE - 1;
	}
	assert_int_equal(written + dropped, LINES);
	assert_true(dropped > 0);
	strbuf_free(&r.text);
	close(fds[0]);
}

/*
 * A page every 0.08 s: the lines that wait, 1 MiB of them, take it 20 s. Its descriptor does not
 * block: what poll above has taken is not there any more, and nobody writes more.
 */
static void read_slowly(void *arg)
{
	struct reader *r = arg;
	char buf[4096];
	struct ticker pause;
	ticker_start(&pause, 80 * NSEC_PER_MSEC);
	struct chan_case cases[] = {chan_case_recv(r->slow_until, NULL), chan_case_tick(&pause)};
	while (chan_select(cases, 2) == 1) {
		ssize_t n = read(r->fd, buf, sizeof(buf));
		if (n > 0)
			strbuf_add(&r->text, buf, (size_t)n);
	}
}

static void test_the_stop_does_not_wait_for_a_slow_reader_and_tells_it_no_loss(void **state)
{
	enum { LINES = 200000 };
	struct err err;
	int fds[2];
	assert_int_equal(pipe(fds), 0);
	assert_int_equal(fcntl(fds[0], F_SETFL, O_NONBLOCK), 0);
	struct lg_writer *w = lg_writer_start(fds[1], &ops, NULL, &err);
	assert_non_null(w);
	add_numbered(w, 1, LINES);

	struct reader r = {.fd = fds[0], .text = STRBUF_INIT, .slow_until = chan_new(0, 0)};
	struct wait_group wg;
	wait_group_init(&wg);
	assert_int_equal(wait_group_wrap(&wg, "reader", read_slowly, &r, &err), 0);
	int64_t start = clock_mono_ns();
	drain_fd = fds[0];
	stop(w);
	assert_int_equal(drain_fd, -1);
	assert_true(clock_mono_ns() - start < 10 * NSEC_PER_SEC);
	chan_close(r.slow_until);
	wait_group_wait(&wg);
	wait_group_destroy(&wg);
	close(fds[1]);
	read_all(&r);
	strbuf_addc(&r.text, '\0');
	assert_null(strstr(r.text.data, "lost:"));
	strbuf_free(&r.text);
	chan_free(r.slow_until);
	close(fds[0]);
}

struct adder {
	struct lg_writer *w;
	int who;
};

static void add_many(void *arg)
{
	struct adder *a = arg;
	add_numbered(a->w, a->who, 2000);
}

static void test_lines_of_many_threads_stay_whole(void **state)
{
	enum { THREADS = 8 };
	struct err err;
	char path[] = "manyXXXXXX";
	int fd = mkstemp(path), next[THREADS] = {0}, who, i;
	struct adder adders[THREADS];
	struct wait_group wg;
	struct lg_writer *w = lg_writer_start(fd, &ops, NULL, &err);
	wait_group_init(&wg);
	for (int t = 0; t < THREADS; t++) {
		adders[t] = (struct adder){w, t};
		assert_int_equal(wait_group_wrap(&wg, "adder", add_many, &adders[t], &err), 0);
	}
	wait_group_wait(&wg);
	wait_group_destroy(&wg);
	stop(w);

	FILE *f = fopen(path, "r");
	while (fscanf(f, "%d %d\n", &who, &i) == 2) {
		assert_in_range(who, 0, THREADS - 1);
		assert_int_equal(i, next[who]++);
	}
	for (int t = 0; t < THREADS; t++)
		assert_int_equal(next[t], 2000);
	fclose(f);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_line_is_written_in_order_before_stop_returns),
		cmocka_unit_test(
			test_a_pipe_that_nobody_reads_blocks_nobody_and_costs_a_bounded_buffer),
		cmocka_unit_test(
			test_lines_that_the_disk_refuses_are_counted_when_it_takes_some_again),
		cmocka_unit_test(test_the_loss_of_the_last_lines_is_told_at_the_stop),
		cmocka_unit_test(
			test_lines_without_a_descriptor_are_counted_when_there_is_one_again),
		cmocka_unit_test(
			test_the_stop_does_not_wait_for_a_slow_reader_and_tells_it_no_loss),
		cmocka_unit_test(test_dropped_lines_are_counted_in_the_log),
		cmocka_unit_test(test_lines_of_many_threads_stay_whole),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
