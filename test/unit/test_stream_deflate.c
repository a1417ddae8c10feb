/* SPDX-License-Identifier: MIT */
/* stream_deflate: raw deflate with sync flush, read from hostile peers. */
#include "test/unit/helper.h"

#include <errno.h>

#include "protocol/stream_deflate.h"
#include "test/unit/stream_test.h"

#define CORRUPT "flate: corrupt input"
#define CUT "unexpected EOF"

/* What reading these bytes gives; how they come must not matter. */
static const char *decode(const void *in, size_t len, unsigned char *to, size_t max, size_t *n)
{
	static const size_t steps[][2] = {{1, 1}, {7, 3}, {4096, 16384}, {1 << 20, 1 << 20}};
	const char *text = NULL;
	for (size_t i = 0; i < COUNT(steps); i++) {
		struct stream *s = stream_deflate_new(
			&stream_mem_new(in, len, steps[i][0])->stream, 6, NULL, 0);
		size_t now;
		const char *t = read_all(s, steps[i][1], to, max, &now);
		struct err again;
		if (text)
			assert_string_equal(t, text);
		text = t;
		*n = now;
		if (*t) {
			assert_int_equal(s->ops->read(s, to + now, 1, 0, &again), -1);
			assert_string_equal(again.msg, t);
		}
		s->ops->free(s);
	}
	return text;
}

static void check(const void *in, size_t len, const char *expected, const char *text)
{
	unsigned char out[1024];
	size_t n;
	assert_string_equal(decode(in, len, out, sizeof(out), &n), text);
	assert_int_equal(n, strlen(expected));
	assert_memory_equal(out, expected, n);
}

#define CHECK_BYTES(in, expected, text) check(in, sizeof(in) - 1, expected, text)

/* From compress/flate's inflate_test.go (TestStreams) and RFC 1951. */
static void test_published_vectors_are_decoded(void **state)
{
	/* A stored block, then the empty last one of fixed codes. */
	CHECK_BYTES("\x00\x05\x00\xfa\xffhello\x03\x00", "hello", "");
	/* Fixed codes: "hello" as the last block; what follows is not read. */
	CHECK_BYTES("\xcb\x48\xcd\xc9\xc9\x07\x00garbage", "hello", "");
	/* Sync flushed, and then cut: all of it arrives, the end is no end. */
	CHECK_BYTES("\xca\x48\xcd\xc9\xc9\x07\x00\x00\x00\xff\xff", "hello", CUT);
	CHECK_BYTES("", "", CUT);
	/* A reserved block type, a stored length that lies, a distance beyond the start. */
	CHECK_BYTES("\x06", "", CORRUPT);
	CHECK_BYTES("\x00\x05\x00\xfa\xfehello", "", CORRUPT);
	CHECK_BYTES("\x03\x02\x00", "", CORRUPT);
}

static void test_random_data_comes_back_at_every_level(void **state)
{
	enum { MAX = 300000 };
	unsigned char *data = malloc(MAX), *back = malloc(MAX + 1);
	for (int round = 0; round < ROUNDS(90); round++) {
		size_t n = round < 20 ? (size_t)round + 1 : 1 + dice(MAX - 1), got;
		struct stream_mem *mem = stream_mem_new(NULL, 0, 1);
		struct stream *w = stream_deflate_new(&mem->stream, 1 + round % 9, NULL, 0);
		fill(data, n);
		write_in_parts(w, data, n, true);
		/* The first bytes have been read by somebody else. */
		size_t before = dice((uint32_t)mem->out_len);
		struct stream_mem *rest =
			stream_mem_new(mem->out + before, mem->out_len - before, 1 + dice(30000));
		struct stream *r = stream_deflate_new(&rest->stream, 6, mem->out, before);
		/* All is there after the flush, without waiting for more. */
		assert_string_equal(read_all(r, 1 + dice(70000), back, n, &got), "");
		assert_int_equal(got, n);
		assert_memory_equal(back, data, n);
		r->ops->free(r);
		w->ops->free(w);
	}
	free(data);
	free(back);
}

static void test_every_truncation_gives_a_prefix(void **state)
{
	unsigned char data[600], back[700];
	struct stream_mem *mem = stream_mem_new(NULL, 0, 1);
	struct stream *w = stream_deflate_new(&mem->stream, 6, NULL, 0);
	fill(data, sizeof(data));
	write_in_parts(w, data, sizeof(data), true);
	for (size_t len = 0; len <= mem->out_len; len++) {
		size_t n;
		assert_string_equal(decode(mem->out, len, back, sizeof(back), &n), CUT);
		assert_true(n <= sizeof(data));
		assert_memory_equal(back, data, n);
	}
	w->ops->free(w);
}

static void test_corruption_ends_somehow(void **state)
{
	enum { MAX = 1 << 20 };
	unsigned char data[300], *back = malloc(MAX);
	struct stream_mem *mem = stream_mem_new(NULL, 0, 1);
	struct stream *w = stream_deflate_new(&mem->stream, 6, NULL, 0);
	fill(data, sizeof(data));
	write_in_parts(w, data, sizeof(data), true);
	for (size_t bit = 0; bit < mem->out_len * 8; bit++) {
		size_t n;
		mem->out[bit / 8] ^= (unsigned char)(1 << bit % 8);
		struct stream *s = stream_deflate_new(
			&stream_mem_new(mem->out, mem->out_len, 4096)->stream, 6, NULL, 0);
		(void)read_all(s, 4096, back, MAX, &n);
		assert_true(n < MAX);
		s->ops->free(s);
		mem->out[bit / 8] ^= (unsigned char)(1 << bit % 8);
	}
	w->ops->free(w);
	free(back);
}

/* In one read with it: what came before the corruption is read, then the error, again and again. */
static void test_what_came_before_corruption_is_not_lost(void **state)
{
	static unsigned char text[] = "PUB t\n";
	struct stream_mem *mem = stream_mem_new(NULL, 0, 1);
	struct stream *w = stream_deflate_new(&mem->stream, 6, NULL, 0);
	unsigned char in[100], buf[100];
	struct err err;
	write_in_parts(w, text, sizeof(text), true);
	assert_true(mem->out_len < sizeof(in) - 3);
	memcpy(in, mem->out, mem->out_len);
	memcpy(in + mem->out_len, "\x06\xff\xff", 3);
	struct stream *s =
		stream_deflate_new(&stream_mem_new(in, mem->out_len + 3, 4096)->stream, 6, NULL, 0);
	size_t n = 0;
	for (ssize_t got; (got = s->ops->read(s, buf + n, sizeof(buf) - n, 0, &err)) > 0;)
		n += (size_t)got;
	assert_int_equal(n, sizeof(text));
	assert_memory_equal(buf, text, n);
	assert_string_equal(err.msg, "flate: corrupt input");
	assert_int_equal(s->ops->read(s, buf, sizeof(buf), 0, &err), -1);
	assert_string_equal(err.msg, "flate: corrupt input");
	s->ops->free(s);
	w->ops->free(w);
}

static void test_a_bomb_is_read_a_buffer_at_a_time(void **state)
{
	enum { SIZE = 16 << 20 };
	unsigned char *zeros = calloc(1, SIZE), back[16384];
	struct stream_mem *mem = stream_mem_new(NULL, 0, 1);
	struct stream *w = stream_deflate_new(&mem->stream, 9, NULL, 0);
	struct err err;
	assert_int_equal(w->ops->writev(w, &(struct iovec){zeros, SIZE}, 1, 0, &err), 0);
	assert_int_equal(w->ops->flush(w, 0, &err), 0);
	assert_true(mem->out_len < 32768);
	struct stream_mem *in = stream_mem_new(mem->out, mem->out_len, 1 << 20);
	struct stream *r = stream_deflate_new(&in->stream, 6, NULL, 0);
	for (size_t done = 0; done < SIZE;) {
		ssize_t n = r->ops->read(r, back, sizeof(back), 0, &err);
		assert_in_range(n, 1, sizeof(back));
		done += (size_t)n;
		/* Input is taken as it is needed, not all at once. */
		assert_true(in->pos <= 16384 + done / 1000);
	}
	r->ops->free(r);
	w->ops->free(w);
	free(zeros);
}

static void test_a_timeout_loses_nothing(void **state)
{
	unsigned char data[5000], back[5000];
	struct stream_mem *mem = stream_mem_new(NULL, 0, 1);
	struct stream *w = stream_deflate_new(&mem->stream, 6, NULL, 0);
	size_t got = 0;
	struct err err;
	fill(data, sizeof(data));
	write_in_parts(w, data, sizeof(data), true);
	struct stream_mem *in = stream_mem_new(mem->out, mem->out_len, 3);
	in->timeouts = 1000;
	struct stream *r = stream_deflate_new(&in->stream, 6, NULL, 0);
	while (got < sizeof(back)) {
		ssize_t n = r->ops->read(r, back + got, sizeof(back) - got, 0, &err);
		if (n < 0)
			assert_int_equal(err.code, ETIMEDOUT);
		else
			got += (size_t)n;
		assert_int_not_equal(n, 0);
	}
	assert_memory_equal(back, data, sizeof(data));
	r->ops->free(r);
	w->ops->free(w);
}

static void test_a_flush_sends_once(void **state)
{
	int freed = 0;
	struct stream_mem *mem = stream_mem_new(NULL, 0, 1);
	struct stream *w = stream_deflate_new(&mem->stream, 6, NULL, 0);
	char hello[] = "hello";
	struct err err;
	mem->freed = &freed;
	assert_int_equal(w->ops->flush(w, 0, &err), 0);
	assert_int_equal(mem->out_len, 0);
	assert_int_equal(w->ops->writev(w, &(struct iovec){hello, 5}, 1, 0, &err), 0);
	assert_int_equal(mem->out_len, 0);
	assert_int_equal(w->ops->flush(w, 0, &err), 0);
	assert_int_equal(mem->out_len, 11);
	assert_memory_equal(mem->out, "\xca\x48\xcd\xc9\xc9\x07\x00\x00\x00\xff\xff", 11);
	assert_int_equal(w->ops->flush(w, 0, &err), 0);
	assert_int_equal(mem->out_len, 11);
	assert_int_equal(mem->flushes, 3);
	w->ops->shutdown(w);
	assert_int_equal(mem->shutdowns, 1);
	w->ops->free(w);
	assert_int_equal(freed, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_published_vectors_are_decoded),
		cmocka_unit_test(test_random_data_comes_back_at_every_level),
		cmocka_unit_test(test_every_truncation_gives_a_prefix),
		cmocka_unit_test(test_corruption_ends_somehow),
		cmocka_unit_test(test_what_came_before_corruption_is_not_lost),
		cmocka_unit_test(test_a_bomb_is_read_a_buffer_at_a_time),
		cmocka_unit_test(test_a_timeout_loses_nothing),
		cmocka_unit_test(test_a_flush_sends_once),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
