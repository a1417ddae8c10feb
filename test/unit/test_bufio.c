/* SPDX-License-Identifier: MIT */
/*
 * bufio: reader and writer over a stream that does what the test tells it: gives its bytes in
 * pieces of any size, ends, fails, and remembers how it was called.
 */
#include "test/unit/helper.h"

#include <errno.h>
#include <limits.h>
#include <sys/socket.h>

#include "common/rand.h"
#include "protocol/bufio.h"

/* The most that a test writes. */
#define OUT_SIZE ((size_t)800 << 10)

struct fake {
	struct stream stream;
	/* reading */
	const char *data;
	size_t len, pos;
	size_t piece;     /* the most that one read gives */
	bool fail_at_end; /* an error in place of the end */
	size_t pause_at;  /* before this byte so many reads time out */
	int pauses;
	int pause_code; /* 0: ETIMEDOUT */
	int reads;
	int tries;
	int64_t deadlines[64]; /* of each read */
	/* writing */
	char out[OUT_SIZE];
	size_t out_len;
	int writes, flushes;
	int fail_write, fail_flush; /* countdown; 1: the next one fails; 0: never */
	int parts[64];              /* of each write */
	int64_t write_deadline;     /* of the last write or flush */
};

static ssize_t fake_read(
	struct stream *stream, void *buf, size_t n, int64_t deadline_ns, struct err *err)
{
	struct fake *f = (struct fake *)stream;
	size_t left = f->len - f->pos;
	f->deadlines[f->reads++ % 64] = deadline_ns;
	assert_true(n > 0);
	if (f->pos == f->pause_at && f->pauses > 0) {
		f->pauses--;
		return err_set(err, f->pause_code ? f->pause_code : ETIMEDOUT, "i/o timeout");
	}
	if (left == 0)
		return f->fail_at_end ? err_set(err, 104, "read: connection reset by peer") : 0;
	if (n > left)
		n = left;
	if (f->piece && n > f->piece)
		n = f->piece;
	memcpy(buf, f->data + f->pos, n);
	f->pos += n;
	return (ssize_t)n;
}

static int fake_writev(
	struct stream *stream, struct iovec *iov, int n, int64_t deadline_ns, struct err *err)
{
	struct fake *f = (struct fake *)stream;
	f->parts[f->writes++ % 64] = n;
	f->write_deadline = deadline_ns;
	if (f->fail_write && --f->fail_write == 0)
		return err_set(err, 32, "write: broken pipe %d", f->writes);
	for (int i = 0; i < n; i++) {
		assert_true(f->out_len + iov[i].iov_len <= sizeof(f->out));
		memcpy(f->out + f->out_len, iov[i].iov_base, iov[i].iov_len);
		f->out_len += iov[i].iov_len;
		/* "iov is used up": nobody may look at it again. */
		iov[i].iov_base = NULL;
		iov[i].iov_len = 0;
	}
	return 0;
}

static int fake_flush(struct stream *stream, int64_t deadline_ns, struct err *err)
{
	struct fake *f = (struct fake *)stream;
	f->flushes++;
	f->write_deadline = deadline_ns;
	if (f->fail_flush && --f->fail_flush == 0)
		return err_set(err, 5, "flush: input/output error");
	return 0;
}

static const struct stream_ops fake_ops = {
	.read = fake_read, .writev = fake_writev, .flush = fake_flush};

static void fake_init(struct fake *f, const char *data, size_t len, size_t piece)
{
	memset(f, 0, sizeof(*f));
	f->stream.ops = &fake_ops;
	f->data = data;
	f->len = len;
	f->piece = piece;
}

static void fake_text(struct fake *f, const char *text, size_t piece)
{
	fake_init(f, text, strlen(text), piece);
}

/* --- reading lines ---------------------------------------------------------------------------- */

static void expect_line(struct bufio_reader *b, const char *want)
{
	struct err err = {0};
	char *line;
	size_t len;
	if (bufio_read_line(b, &line, &len, &err) != BUFIO_OK)
		fail_msg("no line %s: %s", want, err.msg);
	assert_int_equal(len, strlen(want));
	assert_memory_equal(line, want, len);
}

static enum bufio_result read_line(struct bufio_reader *b, struct err *err)
{
	char *line;
	size_t len;
	*err = (struct err){0};
	return bufio_read_line(b, &line, &len, err);
}

static void test_lines_come_one_by_one_whatever_the_pieces(void **state)
{
	for (size_t piece = 0; piece < 12; piece++) {
		struct bufio_reader b;
		struct fake f;
		struct err err;
		fake_text(&f, "PUB a\n\nSUB t c\r\nNOP\n", piece);
		bufio_reader_init(&b, &f.stream, 16);
		expect_line(&b, "PUB a\n");
		expect_line(&b, "\n");
		expect_line(&b, "SUB t c\r\n");
		expect_line(&b, "NOP\n");
		assert_int_equal(read_line(&b, &err), BUFIO_EOF);
		bufio_reader_free(&b);
	}
}

static void test_an_end_before_and_within_a_line_is_eof(void **state)
{
	struct bufio_reader b;
	struct fake f;
	struct err err;
	fake_text(&f, "", 0);
	bufio_reader_init(&b, &f.stream, 16);
	assert_int_equal(read_line(&b, &err), BUFIO_EOF);
	bufio_reader_free(&b);

	fake_text(&f, "NOP\nNO", 0);
	bufio_reader_init(&b, &f.stream, 16);
	expect_line(&b, "NOP\n");
	assert_int_equal(read_line(&b, &err), BUFIO_EOF);
	bufio_reader_free(&b);
}

static void test_what_is_wiped_is_what_has_been_used(void **state)
{
	struct bufio_reader b;
	struct fake f;
	fake_text(&f, "SECRET\nNOP\n", 0);
	bufio_reader_init(&b, &f.stream, 32);
	bufio_reader_wipe(&b);
	expect_line(&b, "SECRET\n");
	bufio_reader_wipe(&b);
	assert_null(memmem(b.buf, b.size, "S", 1));
	expect_line(&b, "NOP\n");
	bufio_reader_free(&b);
}

static void test_an_error_of_the_stream_is_the_lines_error(void **state)
{
	struct bufio_reader b;
	struct fake f;
	struct err err;
	fake_text(&f, "NOP\nNO", 0);
	f.fail_at_end = true;
	bufio_reader_init(&b, &f.stream, 16);
	expect_line(&b, "NOP\n");
	assert_int_equal(read_line(&b, &err), BUFIO_ERR);
	assert_int_equal(err.code, 104);
	assert_string_equal(err.msg, "read: connection reset by peer");
	bufio_reader_free(&b);
}

static void test_a_line_may_fill_the_buffer_but_not_exceed_it(void **state)
{
	for (size_t piece = 0; piece < 8; piece++) {
		struct bufio_reader b;
		struct fake f;
		struct err err;
		fake_text(&f, "x\n123456789012345\n1234567890123456\n", piece);
		bufio_reader_init(&b, &f.stream, 16);
		expect_line(&b, "x\n");
		expect_line(&b, "123456789012345\n");
		assert_int_equal(read_line(&b, &err), BUFIO_ERR);
		assert_string_equal(err.msg, "bufio: buffer full");
		bufio_reader_free(&b);
	}
}

/* --- reading bytes ---------------------------------------------------------------------------- */

static void test_read_full_gives_exactly_what_was_asked_for(void **state)
{
	char data[1000], got[1000];
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (char)(i * 7);
	/* Smaller than the buffer, as large, larger; after a line that left some in it. */
	for (size_t n = 0; n < 100; n++)
		for (size_t piece = 0; piece < 40; piece += 13) {
			struct bufio_reader b;
			struct fake f;
			struct err err;
			data[2] = '\n';
			fake_init(&f, data, sizeof(data), piece);
			bufio_reader_init(&b, &f.stream, 32);
			assert_int_equal(read_line(&b, &err), BUFIO_OK);
			assert_int_equal(bufio_read_full(&b, got, n, &err), BUFIO_OK);
			assert_memory_equal(got, data + 3, n);
			assert_int_equal(bufio_read_full(&b, got, 5, &err), BUFIO_OK);
			assert_memory_equal(got, data + 3 + n, 5);
			bufio_reader_free(&b);
		}
}

static void test_what_fills_the_buffer_is_read_to_where_it_belongs(void **state)
{
	static char data[4096], got[4096];
	struct bufio_reader b;
	struct fake f;
	struct err err;
	fake_init(&f, data, sizeof(data), 0);
	bufio_reader_init(&b, &f.stream, 32);
	assert_int_equal(bufio_read_full(&b, got, sizeof(got), &err), BUFIO_OK);
	assert_int_equal(f.reads, 1);
	assert_int_equal(bufio_buffered(&b), 0);
	bufio_reader_free(&b);
}

static void test_nothing_is_read_for_no_bytes(void **state)
{
	struct bufio_reader b;
	struct fake f;
	struct err err;
	fake_text(&f, "", 0);
	bufio_reader_init(&b, &f.stream, 32);
	assert_int_equal(bufio_read_full(&b, NULL, 0, &err), BUFIO_OK);
	assert_int_equal(f.reads, 0);
	bufio_reader_free(&b);
}

static void test_an_end_before_the_first_byte_is_eof_and_in_the_middle_unexpected(void **state)
{
	static const size_t sizes[] = {4, 100}; /* by way of the buffer, and past it */
	char got[100];
	for (size_t i = 0; i < COUNT(sizes); i++) {
		struct bufio_reader b;
		struct fake f;
		struct err err = {0};
		fake_text(&f, "", 0);
		bufio_reader_init(&b, &f.stream, 32);
		assert_int_equal(bufio_read_full(&b, got, sizes[i], &err), BUFIO_EOF);
		assert_string_equal(err.msg, "EOF");
		bufio_reader_free(&b);

		fake_text(&f, "abc", 0);
		bufio_reader_init(&b, &f.stream, 32);
		assert_int_equal(bufio_read_full(&b, got, sizes[i], &err), BUFIO_ERR);
		assert_string_equal(err.msg, "unexpected EOF");
		bufio_reader_free(&b);

		fake_text(&f, "abc", 0);
		f.fail_at_end = true;
		bufio_reader_init(&b, &f.stream, 32);
		assert_int_equal(bufio_read_full(&b, got, sizes[i], &err), BUFIO_ERR);
		assert_int_equal(err.code, 104);
		bufio_reader_free(&b);
	}
}

/* --- before_read and deadlines ---------------------------------------------------------------- */

struct before {
	struct fake *fake;
	int calls;
	int reads_then[16]; /* how often the stream had been read when we were called */
	bool fail;
};

static int before_read(void *arg, struct err *err)
{
	struct before *before = arg;
	before->reads_then[before->calls++ % 16] = before->fake->reads;
	return before->fail ? err_set(err, 0, "not now") : 0;
}

static void test_before_read_is_called_exactly_when_a_read_follows(void **state)
{
	struct bufio_reader b;
	struct fake f;
	struct before before = {.fake = &f};
	struct err err;
	char got[64];
	fake_text(&f, "a\nbb\nccc\n0123456789012345678901234567890123456789", 9);
	bufio_reader_init(&b, &f.stream, 16);
	b.before_read = before_read;
	b.arg = &before;
	expect_line(&b, "a\n");
	assert_int_equal(before.calls, 1);
	expect_line(&b, "bb\n");
	expect_line(&b, "ccc\n");
	assert_int_equal(before.calls, 1); /* those were there already */
	assert_int_equal(bufio_read_full(&b, got, 40, &err), BUFIO_OK);
	assert_int_equal(before.calls, f.reads);
	for (int i = 0; i < before.calls; i++)
		assert_int_equal(before.reads_then[i], i);
	assert_int_equal(read_line(&b, &err), BUFIO_EOF);
	assert_int_equal(before.calls, f.reads);
	bufio_reader_free(&b);
}

/* What is there already, of a stream that would block elsewhere. */
static ssize_t fake_try_read(struct stream *stream, void *buf, size_t n)
{
	struct fake *f = (struct fake *)stream;
	struct err err;
	f->tries++;
	if (f->pos == f->pause_at || f->pos == f->len)
		return -1;
	ssize_t rc = fake_read(stream, buf, n, 0, &err);
	f->reads--; /* counted are those that may block */
	return rc;
}

/* Five values of 20 bytes through a buffer of 16, all of them there but for the last. */
static void test_after_a_large_value_what_is_there_is_read_without_before_read(void **state)
{
	static const struct stream_ops ops = {.read = fake_read, .try_read = fake_try_read};
	struct bufio_reader b;
	struct fake f;
	struct before before = {.fake = &f};
	struct err err;
	char data[100], got[100];
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (char)i;
	fake_init(&f, data, sizeof(data), 0);
	f.stream.ops = &ops;
	f.pause_at = 80;
	bufio_reader_init(&b, &f.stream, 16);
	b.before_read = before_read;
	b.arg = &before;
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(bufio_read_full(&b, got + 20 * i, 20, &err), BUFIO_OK);
	assert_int_equal(f.reads, 1);
	assert_int_equal(before.calls, 1);
	assert_int_equal(f.tries, 3);
	/* Nothing is there: what is held back goes first. */
	assert_int_equal(bufio_read_full(&b, got + 80, 20, &err), BUFIO_OK);
	assert_int_equal(f.tries, 4);
	assert_int_equal(before.calls, 2);
	assert_memory_equal(got, data, sizeof(data));
	assert_int_equal(bufio_read_full(&b, got, 20, &err), BUFIO_EOF);
	assert_int_equal(before.calls, 3);
	bufio_reader_free(&b);
}

/* However much is there, nothing is held back for ever. */
static void test_reading_on_without_before_read_has_a_limit(void **state)
{
	static const struct stream_ops ops = {.read = fake_read, .try_read = fake_try_read};
	enum { SIZE = 64 * 1024, N = 16 };
	struct bufio_reader b;
	struct fake f;
	struct before before = {.fake = &f};
	struct err err;
	char *data = calloc(N, SIZE), *got = malloc(SIZE);
	fake_init(&f, data, (size_t)N * SIZE, 0);
	f.stream.ops = &ops;
	f.pause_at = (size_t)N * SIZE;
	bufio_reader_init(&b, &f.stream, 16384);
	b.before_read = before_read;
	b.arg = &before;
	for (size_t i = 0; i < N; i++)
		assert_int_equal(bufio_read_full(&b, got, SIZE, &err), BUFIO_OK);
	/* One that may block, and four that follow. */
	assert_in_range(before.calls, 3, 4);
	bufio_reader_free(&b);
	free(data);
	free(got);
}

static int wait_not(void *arg, struct err *err)
{
	return 1;
}

static void test_before_read_may_have_no_time_to_wait(void **state)
{
	struct bufio_reader b;
	struct fake f;
	struct err err;
	char got[8];
	fake_text(&f, "PUB t\nhalf, and the rest", 10);
	bufio_reader_init(&b, &f.stream, 64);
	assert_int_equal(read_line(&b, &err), BUFIO_OK);
	b.before_read = wait_not;
	assert_int_equal(bufio_read_full(&b, got, 8, &err), BUFIO_IDLE);
	b.before_read = NULL;
	/* It has put back what there was. */
	assert_int_equal(bufio_read_full(&b, got, 8, &err), BUFIO_OK);
	assert_memory_equal(got, "half, an", 8);
	bufio_reader_free(&b);
}

static void test_an_error_of_before_read_ends_the_read_and_nothing_is_read(void **state)
{
	struct bufio_reader b;
	struct fake f;
	struct before before = {.fake = &f, .fail = true};
	struct err err;
	char got[64];
	fake_text(&f, "NOP\n", 0);
	bufio_reader_init(&b, &f.stream, 16);
	b.before_read = before_read;
	b.arg = &before;
	assert_int_equal(read_line(&b, &err), BUFIO_ERR);
	assert_string_equal(err.msg, "not now");
	assert_int_equal(bufio_read_full(&b, got, 64, &err), BUFIO_ERR);
	assert_string_equal(err.msg, "not now");
	assert_int_equal(f.reads, 0);
	bufio_reader_free(&b);
}

static void test_a_command_has_one_deadline_and_the_next_a_later_one(void **state)
{
	struct bufio_reader b;
	struct fake f;
	struct err err;
	int64_t before = clock_mono_ns(), first;
	char got[8];
	fake_text(&f, "PUB a\n12345678NOP\n", 2);
	bufio_reader_init(&b, &f.stream, 16);
	b.timeout_ns = NSEC_PER_SEC;
	bufio_reader_begin(&b);
	expect_line(&b, "PUB a\n");
	assert_int_equal(bufio_read_full(&b, got, 8, &err), BUFIO_OK);
	first = f.deadlines[0];
	assert_in_range(first, before + NSEC_PER_SEC, clock_mono_ns() + NSEC_PER_SEC);
	for (int i = 1; i < f.reads; i++)
		assert_int_equal(f.deadlines[i], first);
	/* The next one's begins with its first read. */
	bufio_reader_begin(&b);
	sleep_ns(NSEC_PER_MSEC);
	expect_line(&b, "NOP\n");
	assert_true(f.deadlines[f.reads - 1] >= first + NSEC_PER_MSEC);
	bufio_reader_free(&b);
}

static void test_without_a_timeout_there_is_no_deadline(void **state)
{
	struct bufio_reader b;
	struct fake f;
	fake_text(&f, "NOP\n", 2);
	bufio_reader_init(&b, &f.stream, 16);
	bufio_reader_begin(&b);
	expect_line(&b, "NOP\n");
	assert_int_equal(f.deadlines[0], 0);
	bufio_reader_free(&b);
}

static void test_idle_is_told_and_its_deadline_stands(void **state)
{
	struct bufio_reader b;
	struct fake f;
	struct err err;
	fake_text(&f, "NOP\nFIN x\n", 4);
	bufio_reader_init(&b, &f.stream, 16);
	b.timeout_ns = 3600 * NSEC_PER_SEC;
	b.idle_ns = NSEC_PER_SEC;
	f.pauses = 2;
	bufio_reader_begin(&b);
	assert_int_equal(read_line(&b, &err), BUFIO_IDLE);
	int64_t deadline = b.deadline_ns;
	assert_true(f.deadlines[0] <= clock_mono_ns() + NSEC_PER_SEC);
	bufio_reader_give_back(&b);
	assert_null(b.buf);
	assert_int_equal(read_line(&b, &err), BUFIO_IDLE);
	/* The line's own time has gone on. */
	assert_int_equal(b.deadline_ns, deadline);
	expect_line(&b, "NOP\n");

	/* Half a line stays, in as little memory as it needs. */
	f.pause_at = 8;
	f.pauses = 1;
	b.whole_ns = NSEC_PER_SEC;
	bufio_reader_begin(&b);
	assert_int_equal(read_line(&b, &err), BUFIO_IDLE);
	bufio_reader_give_back(&b);
	assert_int_equal(b.cap, 4);
	expect_line(&b, "FIN x\n");
	assert_int_equal(b.cap, 16);

	/* At the end of the line's time it is an error, not idle. */
	f.pause_at = f.pos;
	f.pauses = 1;
	b.timeout_ns = NSEC_PER_MSEC;
	bufio_reader_begin(&b);
	assert_int_equal(read_line(&b, &err), BUFIO_ERR);
	assert_int_equal(err.code, ETIMEDOUT);
	bufio_reader_free(&b);
}

/* A line, a size of 4 bytes, a body: each read as far as it comes, with a pause at any byte. */
static void test_a_command_can_be_put_back_and_read_again(void **state)
{
	static const char text[] = "PUB t\nSIZEbody, which is longer than the buffer is\nNOP\n";
	enum { LINE = 6, SIZE = 4, BODY = sizeof(text) - 1 - LINE - SIZE - 5 };
	char size[SIZE], body[BODY];
	for (size_t at = LINE; at < LINE + SIZE + BODY; at++)
		for (size_t piece = 1; piece < 20; piece += 6) {
			struct bufio_reader b;
			struct fake f;
			struct err err;
			fake_text(&f, text, piece);
			bufio_reader_init(&b, &f.stream, 16);
			b.idle_ns = NSEC_PER_SEC;
			b.whole_ns = 3600 * NSEC_PER_SEC;
			f.pause_at = at - at % piece;
			f.pauses = f.pause_at >= LINE;
			expect_line(&b, "PUB t\n");
			enum bufio_result res = bufio_read_full(&b, size, SIZE, &err);
			if (res == BUFIO_OK) {
				res = bufio_read_full(&b, body, BODY, &err);
				if (res == BUFIO_IDLE)
					bufio_put_back(&b, size, SIZE);
			}
			assert_true(piece > 1 || res == BUFIO_IDLE);
			if (res == BUFIO_IDLE) {
				bufio_unread_line(&b);
				bufio_reader_give_back(&b);
				assert_int_equal(bufio_buffered(&b), f.pos);
				assert_memory_equal(b.buf + b.r, text, f.pos);
				expect_line(&b, "PUB t\n");
				assert_int_equal(bufio_read_full(&b, size, SIZE, &err), BUFIO_OK);
				assert_int_equal(bufio_read_full(&b, body, BODY, &err), BUFIO_OK);
			}
			assert_memory_equal(size, text + LINE, SIZE);
			assert_memory_equal(body, text + LINE + SIZE, BODY);
			expect_line(&b, "\n");
			expect_line(&b, "NOP\n");
			bufio_reader_free(&b);
		}
}

/* Not as long as something comes, but no longer than whole_ns in all. */
static void test_a_command_that_drips_in_takes_long(void **state)
{
	static char data[1000];
	struct bufio_reader b;
	struct fake f;
	struct err err;
	memset(data, 'x', sizeof(data));
	fake_init(&f, data, sizeof(data), 1);
	bufio_reader_init(&b, &f.stream, sizeof(data));
	b.idle_ns = NSEC_PER_SEC;
	b.whole_ns = NSEC_PER_MSEC;
	f.pause_at = 10;
	f.pauses = 1;
	assert_int_equal(read_line(&b, &err), BUFIO_IDLE);
	sleep_ns(2 * NSEC_PER_MSEC);
	/* A look that does not wait. */
	f.pause_at = 20;
	f.pauses = 1;
	assert_int_equal(read_line(&b, &err), BUFIO_IDLE);
	assert_true(f.deadlines[(f.reads - 1) % 64] <= clock_mono_ns());
	assert_int_equal(bufio_buffered(&b), 20);
	bufio_reader_free(&b);
}

static void test_a_line_in_a_larger_buffer_may_not_be_longer(void **state)
{
	struct bufio_reader b;
	struct fake f;
	struct err err;
	fake_text(&f, "", 0);
	bufio_reader_init(&b, &f.stream, 16);
	bufio_put_back(&b, "123456789012345\n1234567890123456\n", 33);
	expect_line(&b, "123456789012345\n");
	assert_int_equal(read_line(&b, &err), BUFIO_ERR);
	assert_string_equal(err.msg, "bufio: buffer full");
	bufio_reader_free(&b);
}

/* --- at the pollers ---------------------------------------------------------------------------- */

/* A stream that has no more input for now, where its data ends. */
static void fake_silent(struct fake *f, const char *data, size_t len, size_t piece)
{
	fake_init(f, data, len, piece);
	f->pause_at = len;
	f->pauses = INT_MAX;
}

/* None of the reads has waited. */
static void expect_no_wait(const struct fake *f)
{
	for (int i = 0; i < f->reads && i < 64; i++) {
		assert_true(f->deadlines[i] != 0);
		assert_true(f->deadlines[i] < clock_mono_ns());
	}
}

static int must_not_be_called(void *arg, struct err *err)
{
	fail();
	return -1;
}

static void test_in_a_step_no_read_waits(void **state)
{
	struct bufio_reader b;
	struct fake f;
	struct err err;
	char body[20];
	fake_silent(&f, "PUB t\n1234567", 13, 5);
	bufio_reader_init(&b, &f.stream, 16);
	b.idle_ns = b.whole_ns = PATIENCE;
	b.timeout_ns = 2 * PATIENCE;
	b.before_read = must_not_be_called;
	bufio_poll_begin(&b, 100, false);
	expect_line(&b, "PUB t\n");
	assert_int_equal(bufio_read_full(&b, body, 20, &err), BUFIO_IDLE);
	bufio_unread_line(&b);
	assert_int_equal(bufio_buffered(&b), 13);
	assert_int_equal(bufio_read_more(&b, &err), BUFIO_IDLE);
	assert_true(bufio_poll_end(&b));
	expect_no_wait(&f);
	/* What was read is read again, and then the reader waits as before. */
	b.before_read = NULL;
	expect_line(&b, "PUB t\n");
	assert_int_equal(bufio_read_full(&b, body, 20, &err), BUFIO_IDLE);
	assert_true(f.deadlines[(f.reads - 1) % 64] > clock_mono_ns());
	bufio_reader_free(&b);
}

static void test_once_there_is_no_more_a_step_does_not_look_again(void **state)
{
	for (int trusts = 0; trusts < 2; trusts++) {
		struct bufio_reader b;
		struct fake f;
		struct err err;
		fake_silent(&f, "NOP\nNO", 6, 0);
		bufio_reader_init(&b, &f.stream, 16);
		bufio_poll_begin(&b, 100, trusts);
		expect_line(&b, "NOP\n");
		for (int i = 0; i < 3; i++)
			assert_int_equal(read_line(&b, &err), BUFIO_IDLE);
		assert_int_equal(bufio_read_more(&b, &err), BUFIO_IDLE);
		assert_true(bufio_poll_end(&b));
		/* A short read is proof only to those that trust it. */
		assert_int_equal(f.reads, trusts ? 1 : 2);
		/* The next step looks. */
		bufio_poll_begin(&b, 100, trusts);
		assert_int_equal(read_line(&b, &err), BUFIO_IDLE);
		assert_int_equal(f.reads, trusts ? 2 : 3);
		bufio_reader_free(&b);
	}
}

static void test_a_read_that_is_filled_is_no_proof(void **state)
{
	struct bufio_reader b;
	struct fake f;
	struct err err;
	fake_silent(&f, "0123456789abcde\n", 16, 0);
	bufio_reader_init(&b, &f.stream, 16);
	bufio_poll_begin(&b, 100, true);
	expect_line(&b, "0123456789abcde\n");
	assert_int_equal(read_line(&b, &err), BUFIO_IDLE);
	assert_int_equal(f.reads, 2);
	assert_true(bufio_poll_end(&b));
	bufio_reader_free(&b);
}

/* That a thread which writes is in the way says nothing of the input: there is another step. */
static void test_a_busy_stream_is_not_drained(void **state)
{
	struct bufio_reader b;
	struct fake f;
	struct err err;
	fake_silent(&f, "NOP\n", 0, 0);
	f.pause_code = EBUSY;
	bufio_reader_init(&b, &f.stream, 16);
	b.timeout_ns = 1;
	bufio_poll_begin(&b, 100, true);
	for (int i = 0; i < 3; i++)
		assert_int_equal(read_line(&b, &err), BUFIO_IDLE);
	assert_int_equal(bufio_read_more(&b, &err), BUFIO_IDLE);
	assert_true(b.poll.busy);
	assert_false(bufio_poll_end(&b));
	assert_int_equal(f.reads, 1);
	f.pauses = 0;
	f.len = 4;
	bufio_poll_begin(&b, 100, true);
	assert_false(b.poll.busy);
	expect_line(&b, "NOP\n");
	bufio_reader_free(&b);
}

/* The others at the pollers have their turn. */
static void test_a_step_reads_so_much_and_a_buffer_more(void **state)
{
	enum { SIZE = 64, MOST = 200, LEN = 4000 };
	static char data[LEN];
	struct bufio_reader b;
	struct fake f;
	struct err err;
	size_t steps = 0, lines = 0;
	for (size_t i = 0; i < LEN; i += 4)
		memcpy(data + i, "NOP\n", 4);
	fake_silent(&f, data, LEN, 0);
	bufio_reader_init(&b, &f.stream, SIZE);
	for (bool drained = false; !drained; steps++) {
		size_t before = f.pos;
		bufio_poll_begin(&b, MOST, true);
		while (read_line(&b, &err) == BUFIO_OK)
			lines++;
		drained = bufio_poll_end(&b);
		assert_true(f.pos - before < MOST + SIZE);
		assert_true(drained || f.pos - before >= MOST);
	}
	assert_int_equal(lines, LEN / 4);
	assert_in_range(steps, LEN / (MOST + SIZE), LEN / MOST + 1);
	bufio_reader_free(&b);
}

static void test_a_step_of_a_large_body_is_no_larger(void **state)
{
	enum { SIZE = 64, MOST = 200, LEN = 4000 };
	static char data[LEN], body[LEN];
	struct bufio_reader b;
	struct fake f;
	struct err err;
	size_t i = 0;
	for (i = 0; i < LEN; i++)
		data[i] = (char)i;
	fake_silent(&f, data, LEN, 50);
	bufio_reader_init(&b, &f.stream, SIZE);
	for (i = 0;; i++) {
		size_t before = f.pos;
		bufio_poll_begin(&b, MOST, false);
		if (bufio_read_full(&b, body, LEN, &err) == BUFIO_OK)
			break;
		/* Not the end, but there is more. */
		assert_false(bufio_poll_end(&b));
		assert_in_range(f.pos - before, MOST, MOST + SIZE);
		assert_int_equal(bufio_buffered(&b), f.pos);
	}
	assert_memory_equal(body, data, LEN);
	bufio_reader_free(&b);
}

static void test_the_deadline_stands_from_step_to_step(void **state)
{
	struct bufio_reader b;
	struct fake f;
	struct err err;
	fake_silent(&f, "NO", 2, 0);
	bufio_reader_init(&b, &f.stream, 16);
	b.timeout_ns = PATIENCE;
	bufio_reader_begin(&b);
	int64_t now = clock_mono_ns();
	bufio_poll_begin(&b, 100, true);
	assert_int_equal(read_line(&b, &err), BUFIO_IDLE);
	(void)bufio_poll_end(&b);
	int64_t deadline = bufio_read_deadline(&b);
	assert_in_range(deadline, now + PATIENCE, clock_mono_ns() + PATIENCE);
	sleep_ns(NSEC_PER_MSEC);
	bufio_poll_begin(&b, 100, true);
	assert_int_equal(read_line(&b, &err), BUFIO_IDLE);
	assert_true(bufio_poll_end(&b));
	assert_int_equal(bufio_read_deadline(&b), deadline);
	/* When it has passed that is an error; but not before a look whether something has come. */
	b.deadline_ns = clock_mono_ns();
	bufio_poll_begin(&b, 100, true);
	assert_int_equal(read_line(&b, &err), BUFIO_ERR);
	assert_int_equal(err.code, ETIMEDOUT);
	(void)bufio_poll_end(&b);
	f.pauses = 0;
	f.data = "NOP\n";
	f.len = 4;
	bufio_poll_begin(&b, 100, true);
	expect_line(&b, "NOP\n");
	/* The next command has its own time. */
	bufio_reader_begin(&b);
	assert_true(bufio_read_deadline(&b) > deadline);
	bufio_reader_free(&b);
}

static void test_without_a_timeout_a_step_has_no_deadline(void **state)
{
	struct bufio_reader b;
	struct fake f;
	struct err err;
	fake_silent(&f, "", 0, 0);
	bufio_reader_init(&b, &f.stream, 16);
	bufio_poll_begin(&b, 100, true);
	assert_int_equal(read_line(&b, &err), BUFIO_IDLE);
	assert_true(bufio_poll_end(&b));
	assert_int_equal(bufio_read_deadline(&b), 0);
	bufio_reader_free(&b);
}

/* They are not used up by a read that was made to gather more. */
static void test_the_end_and_an_error_are_found_again(void **state)
{
	for (int fails = 0; fails < 2; fails++) {
		enum bufio_result want = fails ? BUFIO_ERR : BUFIO_EOF;
		struct bufio_reader b;
		struct fake f;
		struct err err;
		fake_text(&f, "NOP\nNO", 0);
		f.fail_at_end = fails;
		bufio_reader_init(&b, &f.stream, 16);
		bufio_poll_begin(&b, 100, false);
		assert_int_equal(bufio_read_more(&b, &err), BUFIO_OK);
		assert_int_equal(bufio_read_more(&b, &err), want);
		expect_line(&b, "NOP\n");
		assert_int_equal(read_line(&b, &err), want);
		(void)bufio_poll_end(&b);
		assert_int_equal(read_line(&b, &err), want);
		if (fails)
			assert_string_equal(err.msg, "read: connection reset by peer");
		bufio_reader_free(&b);
	}
}

/* Behind what is there, which stays in front: also where it begins in the middle of the buffer. */
static void test_read_more_appends(void **state)
{
	struct bufio_reader b;
	struct fake f;
	struct err err;
	char body[40];
	fake_text(&f, "NOP\nPUB t\nbodybodybodybodybodybodybodybodybodybody", 10);
	bufio_reader_init(&b, &f.stream, 16);
	bufio_poll_begin(&b, 1000, false);
	expect_line(&b, "NOP\n");
	while (bufio_buffered(&b) < 46)
		assert_int_equal(bufio_read_more(&b, &err), BUFIO_OK);
	expect_line(&b, "PUB t\n");
	assert_int_equal(bufio_read_full(&b, body, 40, &err), BUFIO_OK);
	assert_memory_equal(body, "bodybodybodybodybodybodybodybodybodybody", 40);
	bufio_reader_free(&b);
}

/* Whether the buffer is given back between the drips or not. */
static void test_a_large_body_that_drips_in_costs_little(void **state)
{
	enum { SIZE = 1024, LEN = 1 << 20, DRIP = 300 };
	static char data[LEN], body[LEN];
	for (size_t i = 0; i < LEN; i++)
		data[i] = (char)(i * 7);
	for (int gives_back = 0; gives_back < 2; gives_back++) {
		struct bufio_reader b;
		struct fake f;
		struct err err;
		size_t grown = 0, cap = 0;
		fake_silent(&f, data, 0, 0);
		bufio_reader_init(&b, &f.stream, SIZE);
		while (f.len < LEN) {
			f.len = f.len + DRIP < LEN ? f.len + DRIP : LEN;
			f.pause_at = f.len;
			int reads = f.reads;
			bufio_poll_begin(&b, LEN, true);
			while (bufio_read_more(&b, &err) == BUFIO_OK)
				;
			assert_true(bufio_poll_end(&b));
			assert_true(f.reads - reads <= 2);
			assert_int_equal(bufio_buffered(&b), f.len);
			/* As much memory as has come, and as much again. */
			assert_true(b.cap <= 2 * f.len + SIZE);
			grown += b.cap != cap;
			/* As a client does, while it is little. */
			if (gives_back && f.len < SIZE / 2)
				bufio_reader_give_back(&b);
			cap = b.cap;
		}
		assert_true(grown <= 14);
		bufio_poll_begin(&b, LEN, true);
		assert_int_equal(bufio_read_full(&b, body, LEN, &err), BUFIO_OK);
		assert_memory_equal(body, data, LEN);
		bufio_reader_free(&b);
	}
}

/* --- writing ---------------------------------------------------------------------------------- */

static int write_text(struct bufio_writer *b, const char *one, const char *two, struct err *err)
{
	struct iovec parts[] = {{.iov_base = (char *)one, .iov_len = strlen(one)},
		{.iov_base = (char *)two, .iov_len = strlen(two)}};
	*err = (struct err){0};
	return bufio_writev(b, parts, 2, 4711, err);
}

static void expect_out(const struct fake *f, const char *want)
{
	assert_int_equal(f->out_len, strlen(want));
	assert_memory_equal(f->out, want, f->out_len);
}

static void test_what_fits_is_kept_until_the_flush(void **state)
{
	struct bufio_writer b;
	struct fake f;
	struct err err;
	fake_text(&f, "", 0);
	bufio_writer_init(&b, &f.stream, 8);
	assert_int_equal(write_text(&b, "ab", "cd", &err), 0);
	assert_int_equal(write_text(&b, "ef", "gh", &err), 0); /* exactly full */
	assert_int_equal(f.writes, 0);
	assert_int_equal(bufio_flush(&b, 4712, &err), 0);
	assert_int_equal(f.writes, 1);
	assert_int_equal(f.flushes, 1);
	assert_int_equal(f.write_deadline, 4712);
	expect_out(&f, "abcdefgh");
	assert_int_equal(b.len, 0);
	bufio_writer_free(&b);
}

static void test_what_overflows_goes_out_at_once_and_in_order(void **state)
{
	struct bufio_writer b;
	struct fake f;
	struct err err;
	fake_text(&f, "", 0);
	bufio_writer_init(&b, &f.stream, 8);
	assert_int_equal(write_text(&b, "ab", "cd", &err), 0);
	assert_int_equal(write_text(&b, "efg", "hi", &err), 0);
	assert_int_equal(f.writes, 1);
	assert_int_equal(f.parts[0], 3); /* the buffer and two parts, in one call */
	assert_int_equal(f.write_deadline, 4711);
	expect_out(&f, "abcdefghi");
	assert_int_equal(b.len, 0);
	/* With an empty buffer that is not sent along. */
	assert_int_equal(write_text(&b, "0123456", "789", &err), 0);
	assert_int_equal(f.parts[1], 2);
	expect_out(&f, "abcdefghi0123456789");
	bufio_writer_free(&b);
}

static void test_parts_of_no_bytes_do_no_harm(void **state)
{
	struct bufio_writer b;
	struct fake f;
	struct err err;
	fake_text(&f, "", 0);
	bufio_writer_init(&b, &f.stream, 4);
	assert_int_equal(write_text(&b, "", "", &err), 0);
	assert_int_equal(write_text(&b, "ab", "", &err), 0);
	assert_int_equal(write_text(&b, "", "cd", &err), 0);
	assert_int_equal(f.writes, 0);
	assert_int_equal(write_text(&b, "", "e", &err), 0);
	expect_out(&f, "abcde");
	assert_int_equal(bufio_writev(&b, NULL, 0, 0, &err), 0);
	bufio_writer_free(&b);
}

static void test_a_buffer_of_one_byte_writes_through(void **state)
{
	struct bufio_writer b;
	struct fake f;
	struct err err;
	fake_text(&f, "", 0);
	bufio_writer_init(&b, &f.stream, 1);
	assert_int_equal(write_text(&b, "ab", "cd", &err), 0);
	expect_out(&f, "abcd");
	bufio_writer_free(&b);
}

static void test_a_flush_of_nothing_still_reaches_the_layer_below(void **state)
{
	struct bufio_writer b;
	struct fake f;
	struct err err;
	fake_text(&f, "", 0);
	bufio_writer_init(&b, &f.stream, 4);
	assert_int_equal(bufio_flush(&b, 0, &err), 0);
	assert_int_equal(f.writes, 0);
	assert_int_equal(f.flushes, 1);
	bufio_writer_free(&b);
}

/* A layer below (TLS, deflate) may hold it back though the client has set no buffer for it. */
static void test_no_layer_holds_back_what_went_past_the_buffer(void **state)
{
	struct bufio_writer b;
	struct fake f;
	struct err err;
	struct iovec many[8];
	fake_text(&f, "", 0);
	bufio_writer_init(&b, &f.stream, 4);
	assert_false(b.unflushed);
	assert_int_equal(write_text(&b, "a", "b", &err), 0);
	assert_true(b.unflushed);
	assert_int_equal(f.flushes, 0);
	assert_int_equal(write_text(&b, "abc", "def", &err), 0);
	assert_int_equal(f.flushes, 1);
	assert_int_equal(f.write_deadline, 4711);
	assert_false(b.unflushed);
	for (size_t i = 0; i < COUNT(many); i++)
		many[i] = (struct iovec){.iov_base = (char *)"xyz", .iov_len = 3};
	assert_int_equal(bufio_writev(&b, many, COUNT(many), 0, &err), 0);
	assert_int_equal(f.flushes, 2);
	assert_false(b.unflushed);
	f.fail_flush = 1;
	assert_int_equal(write_text(&b, "abc", "def", &err), -1);
	assert_string_equal(err.msg, "flush: input/output error");
	assert_true(b.failed);
	bufio_writer_free(&b);
}

/* --- writing many parts at once --------------------------------------------------------------- */

#define MANY 512

/* n parts, one behind the other in text, of up to max bytes each, or of exactly max. */
static size_t cut(struct iovec *parts, int n, char *text, size_t max, bool exactly)
{
	size_t total = 0;
	assert_true((size_t)n * max <= OUT_SIZE);
	for (int i = 0; i < n; i++) {
		size_t len = exactly ? max : rand_below((uint32_t)max + 1);
		for (size_t k = 0; k < len; k++)
			text[total + k] = (char)('a' + (total + k) % 26);
		parts[i] = (struct iovec){.iov_base = text + total, .iov_len = len};
		total += len;
	}
	return total;
}

static char text[OUT_SIZE];

static void test_many_small_parts_go_out_as_few(void **state)
{
	struct bufio_writer b;
	struct fake f;
	struct iovec parts[MANY];
	struct err err;
	size_t total = cut(parts, MANY, text, 100, true);
	fake_text(&f, "", 0);
	bufio_writer_init(&b, &f.stream, 1000);
	/* What fits waits as ever. */
	assert_int_equal(bufio_writev(&b, parts, 10, 4711, &err), 0);
	assert_int_equal(f.writes, 0);
	assert_int_equal(bufio_writev(&b, parts + 10, MANY - 10, 4711, &err), 0);
	assert_int_equal(f.writes, 1);
	assert_in_range(f.parts[0], 2, 9);
	assert_int_equal(f.write_deadline, 4711);
	assert_int_equal(f.out_len, total);
	assert_memory_equal(f.out, text, total);
	assert_int_equal(b.len, 0);
	assert_false(b.unflushed);
	bufio_writer_free(&b);
}

static void test_what_is_big_goes_out_without_a_copy(void **state)
{
	struct bufio_writer b;
	struct fake f;
	struct err err;
	struct iovec parts[] = {{.iov_base = text, .iov_len = 10},
		{.iov_base = text + 10, .iov_len = 20000},
		{.iov_base = text + 20010, .iov_len = 10}, {.iov_base = text + 20020, .iov_len = 0},
		{.iov_base = text + 20020, .iov_len = 20000},
		{.iov_base = text + 40020, .iov_len = 2000}};
	struct iovec all;
	cut(&all, 1, text, 42020, true);
	fake_text(&f, "", 0);
	bufio_writer_init(&b, &f.stream, 16);
	assert_int_equal(bufio_writev(&b, parts, COUNT(parts), 0, &err), 0);
	assert_int_equal(f.writes, 1);
	assert_int_equal(f.parts[0], 5);
	assert_int_equal(f.out_len, 42020);
	assert_memory_equal(f.out, text, 42020);
	bufio_writer_free(&b);
}

static void test_what_is_huge_goes_out_by_itself(void **state)
{
	struct bufio_writer b;
	struct fake f;
	struct err err;
	struct iovec parts[6];
	size_t at = 0;
	/* Three messages, each with what precedes it. */
	for (size_t i = 0; i < COUNT(parts); i++) {
		parts[i].iov_base = text + at;
		parts[i].iov_len = i % 2 ? 100000 : 30;
		at += parts[i].iov_len;
	}
	fake_text(&f, "", 0);
	bufio_writer_init(&b, &f.stream, 16);
	assert_int_equal(bufio_writev(&b, parts, COUNT(parts), 0, &err), 0);
	assert_int_equal(f.writes, 3);
	for (int i = 0; i < 3; i++)
		assert_int_equal(f.parts[i], 2);
	assert_int_equal(f.out_len, at);
	assert_memory_equal(f.out, text, at);
	bufio_writer_free(&b);
}

static void test_parts_of_any_size_keep_their_order(void **state)
{
	static const size_t sizes[] = {0, 3, 300, 1024, 1500};
	for (int i = 0; i < ROUNDS(300); i++) {
		struct bufio_writer b;
		struct fake f;
		struct iovec parts[MANY];
		struct err err;
		int n = (int)rand_below(256), more = (int)rand_below(MANY - 256);
		size_t total = cut(
			parts, n + more, text, sizes[rand_below(COUNT(sizes))], rand_below(2) == 0);
		fake_text(&f, "", 0);
		bufio_writer_init(&b, &f.stream, 1 + rand_below(20000));
		assert_int_equal(bufio_writev(&b, parts, n, 0, &err), 0);
		assert_int_equal(bufio_writev(&b, parts + n, more, 0, &err), 0);
		assert_int_equal(bufio_flush(&b, 0, &err), 0);
		assert_int_equal(f.out_len, total);
		assert_memory_equal(f.out, text, total);
		for (int k = 0; k < f.writes && k < 64; k++)
			assert_in_range(f.parts[k], 1, 64);
		bufio_writer_free(&b);
	}
}

static void test_after_an_error_the_rest_of_many_is_not_written(void **state)
{
	struct bufio_writer b;
	struct fake f;
	struct iovec parts[MANY];
	struct err err;
	cut(parts, MANY, text, 1000, true);
	fake_text(&f, "", 0);
	f.fail_write = 2;
	bufio_writer_init(&b, &f.stream, 16);
	assert_int_equal(bufio_writev(&b, parts, MANY, 0, &err), -1);
	assert_string_equal(err.msg, "write: broken pipe 2");
	assert_int_equal(f.writes, 2);
	assert_int_equal(bufio_writev(&b, parts, MANY, 0, &err), -1);
	assert_int_equal(f.writes, 2);
	bufio_writer_free(&b);
}

/* A flush that must not wait; was that all? */
/* Is it empty, and can n bytes be appended without a write of the stream? */
static bool is_free(const struct bufio_writer *b, size_t n)
{
	return !b->failed && !b->unflushed && b->len == 0 && n <= b->size;
}

static bool try_flush(struct bufio_writer *b)
{
	struct err err;
	return bufio_flush(b, STREAM_NOW, &err) == 0 && !b->unflushed;
}

static void test_a_flush_that_must_not_wait_keeps_what_does_not_go(void **state)
{
	static char junk[4096];
	struct bufio_writer b;
	struct err err;
	int fds[2], small = 4096;
	char buf[16];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	assert_int_equal(setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
	struct stream *s = stream_sock_new(fds[0]);
	bufio_writer_init(&b, s, 8);
	assert_true(is_free(&b, 8));
	assert_false(is_free(&b, 9));
	assert_true(try_flush(&b)); /* nothing */
	assert_int_equal(write_text(&b, "ab", "cd", &err), 0);
	assert_false(is_free(&b, 1));
	assert_true(try_flush(&b));
	assert_true(is_free(&b, 8));
	assert_int_equal(recv(fds[1], buf, sizeof(buf), 0), 4);
	assert_memory_equal(buf, "abcd", 4);

	(void)fill_socket(fds[0]);
	assert_int_equal(write_text(&b, "ef", "gh", &err), 0);
	assert_false(try_flush(&b));
	assert_true(b.unflushed);
	assert_true(b.below);
	assert_false(is_free(&b, 1));
	/* What comes behind it stays here: the lowest layer shall not gather it. */
	assert_int_equal(write_text(&b, "i", "j", &err), 0);
	assert_false(try_flush(&b));
	assert_int_equal(b.len, 2);
	while (recv(fds[1], junk, sizeof(junk), MSG_DONTWAIT) > 0)
		;
	assert_true(try_flush(&b));
	assert_int_equal(recv(fds[1], buf, sizeof(buf), MSG_WAITALL | MSG_DONTWAIT), 6);
	assert_memory_equal(buf, "efghij", 6);

	close(fds[1]);
	assert_int_equal(write_text(&b, "kl", "mn", &err), 0);
	assert_false(try_flush(&b));
	assert_false(try_flush(&b));
	assert_int_equal(bufio_flush(&b, 0, &err), -1);
	assert_false(is_free(&b, 0));
	bufio_writer_free(&b);
	s->ops->free(s);
}

static void test_after_an_error_every_call_fails_with_it(void **state)
{
	struct bufio_writer b;
	struct fake f;
	struct err err;
	fake_text(&f, "", 0);
	f.fail_write = 2;
	bufio_writer_init(&b, &f.stream, 4);
	assert_int_equal(write_text(&b, "abc", "def", &err), 0);
	assert_int_equal(write_text(&b, "ghi", "jkl", &err), -1);
	assert_string_equal(err.msg, "write: broken pipe 2");
	assert_int_equal(write_text(&b, "m", "", &err), -1);
	assert_string_equal(err.msg, "write: broken pipe 2");
	assert_int_equal(err.code, 32);
	err = (struct err){0};
	assert_int_equal(bufio_flush(&b, 0, &err), -1);
	assert_string_equal(err.msg, "write: broken pipe 2");
	assert_int_equal(f.writes, 2);
	assert_int_equal(f.flushes, 1);
	bufio_writer_free(&b);
}

static void test_an_error_in_a_flush_is_kept_as_well(void **state)
{
	for (int in_write = 0; in_write < 2; in_write++) {
		struct bufio_writer b;
		struct fake f;
		struct err err, again;
		fake_text(&f, "", 0);
		*(in_write ? &f.fail_write : &f.fail_flush) = 1;
		bufio_writer_init(&b, &f.stream, 4);
		assert_int_equal(write_text(&b, "a", "b", &err), 0);
		assert_int_equal(bufio_flush(&b, 0, &err), -1);
		assert_int_equal(write_text(&b, "a", "b", &again), -1);
		assert_string_equal(again.msg, err.msg);
		bufio_writer_free(&b);
	}
}

static void test_reset_gives_another_size_and_stream_and_forgets_the_error(void **state)
{
	struct bufio_writer b;
	struct fake f, g;
	struct err err;
	fake_text(&f, "", 0);
	fake_text(&g, "", 0);
	bufio_writer_init(&b, &f.stream, 4);
	assert_int_equal(write_text(&b, "ab", "c", &err), 0);
	assert_int_equal(bufio_flush(&b, 0, &err), 0);
	bufio_writer_reset(&b, &g.stream, 8);
	assert_int_equal(write_text(&b, "abcd", "efgh", &err), 0);
	assert_int_equal(g.writes, 0);
	g.fail_write = 1;
	assert_int_equal(bufio_flush(&b, 0, &err), -1);
	bufio_writer_reset(&b, &f.stream, 4);
	assert_int_equal(write_text(&b, "defg", "h", &err), 0);
	expect_out(&f, "abcdefgh");
	bufio_writer_free(&b);
}

static void test_an_unused_writer_has_no_buffer(void **state)
{
	struct bufio_writer b;
	struct fake f;
	struct err err;
	fake_text(&f, "", 0);
	bufio_writer_init(&b, &f.stream, 1 << 30);
	assert_int_equal(bufio_flush(&b, 0, &err), 0);
	assert_null(b.buf);
	bufio_writer_free(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lines_come_one_by_one_whatever_the_pieces),
		cmocka_unit_test(test_an_end_before_and_within_a_line_is_eof),
		cmocka_unit_test(test_what_is_wiped_is_what_has_been_used),
		cmocka_unit_test(test_an_error_of_the_stream_is_the_lines_error),
		cmocka_unit_test(test_a_line_may_fill_the_buffer_but_not_exceed_it),
		cmocka_unit_test(test_read_full_gives_exactly_what_was_asked_for),
		cmocka_unit_test(test_what_fills_the_buffer_is_read_to_where_it_belongs),
		cmocka_unit_test(test_nothing_is_read_for_no_bytes),
		cmocka_unit_test(
			test_an_end_before_the_first_byte_is_eof_and_in_the_middle_unexpected),
		cmocka_unit_test(test_before_read_is_called_exactly_when_a_read_follows),
		cmocka_unit_test(
			test_after_a_large_value_what_is_there_is_read_without_before_read),
		cmocka_unit_test(test_reading_on_without_before_read_has_a_limit),
		cmocka_unit_test(test_before_read_may_have_no_time_to_wait),
		cmocka_unit_test(test_an_error_of_before_read_ends_the_read_and_nothing_is_read),
		cmocka_unit_test(test_a_command_has_one_deadline_and_the_next_a_later_one),
		cmocka_unit_test(test_without_a_timeout_there_is_no_deadline),
		cmocka_unit_test(test_idle_is_told_and_its_deadline_stands),
		cmocka_unit_test(test_a_command_can_be_put_back_and_read_again),
		cmocka_unit_test(test_a_command_that_drips_in_takes_long),
		cmocka_unit_test(test_a_line_in_a_larger_buffer_may_not_be_longer),
		cmocka_unit_test(test_in_a_step_no_read_waits),
		cmocka_unit_test(test_once_there_is_no_more_a_step_does_not_look_again),
		cmocka_unit_test(test_a_read_that_is_filled_is_no_proof),
		cmocka_unit_test(test_a_busy_stream_is_not_drained),
		cmocka_unit_test(test_a_step_reads_so_much_and_a_buffer_more),
		cmocka_unit_test(test_a_step_of_a_large_body_is_no_larger),
		cmocka_unit_test(test_the_deadline_stands_from_step_to_step),
		cmocka_unit_test(test_without_a_timeout_a_step_has_no_deadline),
		cmocka_unit_test(test_the_end_and_an_error_are_found_again),
		cmocka_unit_test(test_read_more_appends),
		cmocka_unit_test(test_a_large_body_that_drips_in_costs_little),
		cmocka_unit_test(test_what_fits_is_kept_until_the_flush),
		cmocka_unit_test(test_what_overflows_goes_out_at_once_and_in_order),
		cmocka_unit_test(test_parts_of_no_bytes_do_no_harm),
		cmocka_unit_test(test_a_buffer_of_one_byte_writes_through),
		cmocka_unit_test(test_a_flush_of_nothing_still_reaches_the_layer_below),
		cmocka_unit_test(test_no_layer_holds_back_what_went_past_the_buffer),
		cmocka_unit_test(test_many_small_parts_go_out_as_few),
		cmocka_unit_test(test_what_is_big_goes_out_without_a_copy),
		cmocka_unit_test(test_what_is_huge_goes_out_by_itself),
		cmocka_unit_test(test_parts_of_any_size_keep_their_order),
		cmocka_unit_test(test_after_an_error_the_rest_of_many_is_not_written),
		cmocka_unit_test(test_a_flush_that_must_not_wait_keeps_what_does_not_go),
		cmocka_unit_test(test_after_an_error_every_call_fails_with_it),
		cmocka_unit_test(test_an_error_in_a_flush_is_kept_as_well),
		cmocka_unit_test(test_reset_gives_another_size_and_stream_and_forgets_the_error),
		cmocka_unit_test(test_an_unused_writer_has_no_buffer),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
