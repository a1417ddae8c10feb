/* SPDX-License-Identifier: MIT */
/* stream_snappy: the framing format, read from hostile peers and written for golang/snappy. */
#include "test/unit/helper.h"

#include <errno.h>

#include "protocol/stream_snappy.h"
#include "test/unit/stream_test.h"

#define ID "\xff\x06\x00\x00sNaPpY"
#define CORRUPT "snappy: corrupt input"
#define UNSUPPORTED "snappy: unsupported input"

/* What reading these bytes gives, in several step sizes, which must not matter. */
static const char *decode(const void *in, size_t len, unsigned char *to, size_t max, size_t *n)
{
	static const size_t steps[][2] = {{1, 1}, {7, 3}, {4096, 16384}, {1 << 20, 1 << 20}};
	const char *text = NULL;
	for (size_t i = 0; i < COUNT(steps); i++) {
		struct stream *s =
			stream_snappy_new(&stream_mem_new(in, len, steps[i][0])->stream, NULL, 0);
		size_t now;
		const char *t = read_all(s, steps[i][1], to, max, &now);
		struct err again;
		if (text) {
			assert_string_equal(t, text);
			assert_int_equal(now, *n);
		}
		text = t;
		*n = now;
		/* An error stays. */
		if (*t) {
			assert_int_equal(s->ops->read(s, to + now, 1, 0, &again), -1);
			assert_string_equal(again.msg, t);
		}
		s->ops->free(s);
	}
	return text;
}

#define assert_decodes(in, expected)                                                               \
	do {                                                                                       \
		unsigned char out_[1024];                                                          \
		size_t n_;                                                                         \
		assert_string_equal(decode(in, sizeof(in) - 1, out_, sizeof(out_), &n_), "");      \
		assert_int_equal(n_, sizeof(expected) - 1);                                        \
		assert_memory_equal(out_, expected, n_);                                           \
	} while (0)

#define assert_refused(in, text)                                                                   \
	do {                                                                                       \
		unsigned char out_[1024];                                                          \
		size_t n_;                                                                         \
		assert_string_equal(decode(in, sizeof(in) - 1, out_, sizeof(out_), &n_), text);    \
	} while (0)

/* golang/snappy, TestFramingFormat and TestReaderUncompressedDataOK, snappy_test.go. */
static void test_published_vectors_are_decoded(void **state)
{
	assert_decodes(ID "\x01\x08\x00\x00\x68\x10\xe6\xb6"
			  "abcd",
		"abcd");
	assert_decodes(ID, "");
	assert_decodes("", "");
	/* A compressed chunk: 4 bytes as one literal. */
	assert_decodes(ID "\x00\x0a\x00\x00\x68\x10\xe6\xb6\x04\x0c"
			  "abcd",
		"abcd");
	/* Chunks without data, a second identifier, padding, reserved skippable ones. */
	assert_decodes(ID "\x01\x04\x00\x00\xd8\xea\x82\xa2" ID "\xfe\x03\x00\x00xyz"
			  "\x80\x00\x00\x00"
			  "\xfd\x01\x00\x00?"
			  "\x01\x08\x00\x00\x68\x10\xe6\xb6"
			  "abcd",
		"abcd");
}

static void test_what_go_refuses_is_refused(void **state)
{
	/* No identifier, or another one. */
	assert_refused("\x01\x08\x00\x00\x68\x10\xe6\xb6"
		       "abcd",
		CORRUPT);
	assert_refused("\xfe\x00\x00\x00" ID, CORRUPT);
	assert_refused("\xff\x06\x00\x00sNaPpy", CORRUPT);
	assert_refused("\xff\x05\x00\x00sNaPp", CORRUPT);
	assert_refused(ID "\xff\x06\x00\x00sNaPpx", CORRUPT);
	/* Reserved chunks that must not be skipped. */
	assert_refused(ID "\x02\x00\x00\x00", UNSUPPORTED);
	assert_refused(ID "\x7f\x00\x00\x00", UNSUPPORTED);
	/* A wrong checksum. */
	assert_refused(ID "\x01\x08\x00\x00\x69\x10\xe6\xb6"
			  "abcd",
		CORRUPT);
	assert_refused(ID "\x00\x0a\x00\x00\x68\x10\xe6\xb7\x04\x0c"
			  "abcd",
		CORRUPT);
	/*
	 * No room for the checksum; more bytes than there are (TestReaderUncompressedDataTooLong).
	 */
	assert_refused(ID "\x01\x03\x00\x00"
			  "abc",
		CORRUPT);
	assert_refused(ID "\x00\x00\x00\x00", CORRUPT);
	assert_refused(ID "\x01\x05\x00\x01", CORRUPT);
	assert_refused(ID "\x00\xcf\x2a\x01", CORRUPT);
	assert_refused(ID "\x00\xff\xff\xff", CORRUPT);
	/* A block that says it has more than 65536 bytes: 65537, 2^32 - 1. */
	assert_refused(ID "\x00\x08\x00\x00----\x81\x80\x04\x00", CORRUPT);
	assert_refused(ID "\x00\x0a\x00\x00----\xff\xff\xff\xff\x0f\x00", CORRUPT);
	/* A block that is not one: the length alone, a copy before the start, too little. */
	assert_refused(ID "\x00\x04\x00\x00----", CORRUPT);
	assert_refused(ID "\x00\x07\x00\x00----\x04\x01\x01", CORRUPT);
	assert_refused(ID "\x00\x08\x00\x00----\x04\x08"
			  "ab",
		CORRUPT);
}

static void test_every_truncation_is_refused_and_gives_nothing_wrong(void **state)
{
	static const char whole[] = ID "\x01\x08\x00\x00\x68\x10\xe6\xb6"
				       "abcd"
				       "\xfe\x05\x00\x00....."
				       "\x00\x0a\x00\x00\x68\x10\xe6\xb6\x04\x0c"
				       "abcd";
	/* Where a chunk ends, the stream may. */
	static const size_t ends[] = {0, 10, 22, 31, 45};
	assert_int_equal(sizeof(whole) - 1, 45);
	for (size_t len = 0, next = 0; len < sizeof(whole); len++) {
		unsigned char out[64];
		size_t n;
		const char *text = decode(whole, len, out, sizeof(out), &n);
		bool at_end = len == ends[next];
		next += at_end;
		assert_string_equal(text, at_end ? "" : CORRUPT);
		assert_memory_equal(out, "abcdabcd", n);
	}
}

static void test_every_flipped_bit_is_noticed(void **state)
{
	static const char whole[] = ID "\x00\x0a\x00\x00\x68\x10\xe6\xb6\x04\x0c"
				       "abcd"
				       "\x01\x08\x00\x00\x68\x10\xe6\xb6"
				       "abcd";
	enum { LEN = sizeof(whole) - 1 };
	char bad[LEN];
	for (size_t bit = 0; bit < LEN * 8; bit++) {
		unsigned char out[64];
		size_t n;
		memcpy(bad, whole, LEN);
		bad[bit / 8] = (char)(bad[bit / 8] ^ (1 << bit % 8));
		const char *text = decode(bad, LEN, out, sizeof(out), &n);
		/*
		 * A data chunk may become one to be skipped: then it is missing, but nothing is
		 * wrong.
		 */
		if (!*text)
			assert_true(n == 4 && (bit / 8 == 10 || bit / 8 == 24));
		assert_true(n <= 8);
		assert_memory_equal(out, "abcdabcd", n);
	}
}

static void test_a_long_chunk_is_skipped_without_being_held(void **state)
{
	enum { SKIPPED = 0xffffff };
	unsigned char *in = calloc(1, 10 + 4 + SKIPPED + 12), out[8];
	size_t n;
	memcpy(in, ID "\xfe\xff\xff\xff", 14);
	memcpy(in + 14 + SKIPPED,
		"\x01\x08\x00\x00\x68\x10\xe6\xb6"
		"abcd",
		12);
	struct stream *s = stream_snappy_new(
		&stream_mem_new(in, 10 + 4 + SKIPPED + 12, 1 << 16)->stream, NULL, 0);
	assert_string_equal(read_all(s, sizeof(out), out, sizeof(out), &n), "");
	assert_int_equal(n, 4);
	assert_memory_equal(out, "abcd", 4);
	s->ops->free(s);
	free(in);
}

/* One read gives what came together, and waits for no more once it has something. */
static void test_chunks_that_came_together_are_read_together(void **state)
{
	static const char in[] = ID "\x01\x08\x00\x00\x68\x10\xe6\xb6"
				    "abcd"
				    "\x01\x04\x00\x00\xd8\xea\x82\xa2" /* no data at all */
				    "\x01\x08\x00\x00\x68\x10\xe6\xb6"
				    "abcd"
				    "\x01\x08\x00\x00\x00\x00\x00\x00" /* a bad checksum */
				    "abcd"
				    "\x01\x08\x00";
	struct stream_mem *below = stream_mem_new(NULL, 0, 1);
	struct stream *s = stream_snappy_new(&below->stream, in, sizeof(in) - 1);
	char out[100];
	struct err err;
	below->timeouts = 1; /* a read of it fails */
	assert_int_equal(s->ops->read(s, out, 6, 0, &err), 6);
	assert_memory_equal(out, "abcdab", 6);
	assert_int_equal(s->ops->read(s, out, sizeof(out), 0, &err), 2);
	assert_memory_equal(out, "cd", 2);
	assert_int_equal(s->ops->read(s, out, sizeof(out), 0, &err), -1);
	assert_string_equal(err.msg, CORRUPT);
	s->ops->free(s);

	s = stream_snappy_new(&stream_mem_new(NULL, 0, 1)->stream, in, sizeof(in) - 1);
	assert_int_equal(s->ops->read(s, out, sizeof(out), 0, &err), 8);
	assert_memory_equal(out, "abcdabcd", 8);
	assert_int_equal(s->ops->read(s, out, sizeof(out), 0, &err), -1);
	assert_string_equal(err.msg, CORRUPT);
	s->ops->free(s);
}

/* No chunk of data has more than the format allows. */
static void check_chunks(const unsigned char *p, size_t n)
{
	assert_true(n >= 10 && memcmp(p, ID, 10) == 0);
	for (size_t at = 10; at < n;) {
		size_t len = p[at + 1] | (size_t)p[at + 2] << 8 | (size_t)p[at + 3] << 16;
		assert_in_range(p[at], 0, 1);
		assert_in_range(len, 5, 4 + 65536);
		at += 4 + len;
		assert_true(at <= n);
	}
}

static void test_random_data_comes_back(void **state)
{
	enum { MAX = 400000 };
	unsigned char *data = malloc(MAX), *back = malloc(MAX + 1);
	for (int round = 0; round < ROUNDS(100); round++) {
		size_t n = round < 20 ? (size_t)round : dice(MAX), got;
		struct stream_mem *mem = stream_mem_new(NULL, 0, 1);
		struct stream *w = stream_snappy_new(&mem->stream, NULL, 0);
		fill(data, n);
		write_in_parts(w, data, n, false);
		if (n > 0)
			check_chunks(mem->out, mem->out_len);
		/* The first bytes have been read by somebody else. */
		const unsigned char *out = mem->out ? mem->out : (const unsigned char *)"";
		size_t before = mem->out_len ? dice((uint32_t)mem->out_len) : 0;
		struct stream_mem *rest =
			stream_mem_new(out + before, mem->out_len - before, 1 + dice(30000));
		struct stream *r = stream_snappy_new(&rest->stream, out, before);
		assert_string_equal(read_all(r, 1 + dice(70000), back, MAX + 1, &got), "");
		assert_int_equal(got, n);
		assert_memory_equal(back, data, n);
		r->ops->free(r);
		w->ops->free(w);
	}
	free(data);
	free(back);
}

static void test_a_timeout_loses_nothing(void **state)
{
	unsigned char data[5000], back[5000];
	struct stream_mem *mem = stream_mem_new(NULL, 0, 1);
	struct stream *w = stream_snappy_new(&mem->stream, NULL, 0);
	size_t got = 0;
	struct err err;
	fill(data, sizeof(data));
	write_in_parts(w, data, sizeof(data), false);
	struct stream_mem *in = stream_mem_new(mem->out, mem->out_len, 3);
	in->timeouts = 1000;
	struct stream *r = stream_snappy_new(&in->stream, NULL, 0);
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

static void test_what_does_not_compress_is_sent_as_it_is(void **state)
{
	unsigned char noise[1000], same[1000] = {0};
	struct stream_mem *mem = stream_mem_new(NULL, 0, 1);
	struct stream *w = stream_snappy_new(&mem->stream, NULL, 0);
	struct err err;
	for (size_t i = 0; i < sizeof(noise); i++)
		noise[i] = (unsigned char)dice(256);
	assert_int_equal(w->ops->writev(w, &(struct iovec){noise, sizeof(noise)}, 1, 0, &err), 0);
	assert_int_equal(mem->out_len, 10 + 8 + 1000);
	assert_int_equal(mem->out[10], 1);
	assert_int_equal(w->ops->writev(w, &(struct iovec){same, sizeof(same)}, 1, 0, &err), 0);
	assert_int_equal(mem->out[10 + 8 + 1000], 0);
	assert_true(mem->out_len < 10 + 8 + 1000 + 8 + 100);
	/* Nothing writes nothing. */
	size_t len = mem->out_len;
	assert_int_equal(w->ops->writev(w, &(struct iovec){same, 0}, 1, 0, &err), 0);
	assert_int_equal(w->ops->writev(w, NULL, 0, 0, &err), 0);
	assert_int_equal(mem->out_len, len);
	w->ops->free(w);
}

static void test_the_rest_goes_to_the_layer_below(void **state)
{
	int freed = 0;
	struct stream_mem *mem = stream_mem_new(NULL, 0, 1);
	struct stream *s = stream_snappy_new(&mem->stream, NULL, 0);
	struct err err;
	mem->freed = &freed;
	assert_int_equal(s->ops->flush(s, 0, &err), 0);
	s->ops->shutdown(s);
	assert_int_equal(mem->flushes, 1);
	assert_int_equal(mem->shutdowns, 1);
	s->ops->free(s);
	assert_int_equal(freed, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_published_vectors_are_decoded),
		cmocka_unit_test(test_what_go_refuses_is_refused),
		cmocka_unit_test(test_every_truncation_is_refused_and_gives_nothing_wrong),
		cmocka_unit_test(test_every_flipped_bit_is_noticed),
		cmocka_unit_test(test_a_long_chunk_is_skipped_without_being_held),
		cmocka_unit_test(test_chunks_that_came_together_are_read_together),
		cmocka_unit_test(test_random_data_comes_back),
		cmocka_unit_test(test_a_timeout_loses_nothing),
		cmocka_unit_test(test_what_does_not_compress_is_sent_as_it_is),
		cmocka_unit_test(test_the_rest_goes_to_the_layer_below),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
