/* SPDX-License-Identifier: MIT */
/* http_chunked: what comes out of chunks, in pieces of any size, and what are none. */
#include "test/unit/helper.h"

#include "protocol/http_chunked.h"

static enum http_chunked_state decode(
	const char *in, size_t len, size_t step, struct strbuf *out, size_t *used)
{
	struct http_chunked c = {0};
	enum http_chunked_state state = HTTP_CHUNKED_MORE;
	size_t i = 0;
	while (i < len && (state == HTTP_CHUNKED_MORE || state == HTTP_CHUNKED_DATA)) {
		size_t n = len - i < step ? len - i : step, taken, got;
		const char *data;
		state = http_chunked_feed(&c, in + i, n, &taken, &data, &got);
		assert_in_range(taken, 1, n);
		if (state == HTTP_CHUNKED_DATA)
			strbuf_add(out, data, got);
		i += taken;
	}
	*used = i;
	http_chunked_free(&c);
	return state;
}

static void assert_decoded(const char *in, const char *expected)
{
	size_t len = strlen(in);
	struct strbuf all = STRBUF_INIT;
	strbuf_adds(&all, in);
	strbuf_adds(&all, "GET"); /* what follows is not taken */
	for (size_t step = 1; step <= all.len; step++) {
		struct strbuf out = STRBUF_INIT;
		size_t used;
		assert_int_equal(decode(all.data, all.len, step, &out, &used), HTTP_CHUNKED_DONE);
		assert_int_equal(used, len);
		assert_string_equal(out.len ? out.data : "", expected);
		strbuf_free(&out);
	}
	strbuf_free(&all);
}

static void assert_failed(const char *in)
{
	for (size_t step = 1; step <= strlen(in); step++) {
		struct strbuf out = STRBUF_INIT;
		size_t used;
		assert_int_equal(decode(in, strlen(in), step, &out, &used), HTTP_CHUNKED_FAILED);
		strbuf_free(&out);
	}
}

static void test_chunks_are_joined(void **state)
{
	assert_decoded("0\r\n\r\n", "");
	assert_decoded("5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", "hello world");
	assert_decoded("A\r\n0123456789\r\na\r\n0123456789\r\n000\r\n\r\n", "01234567890123456789");
	assert_decoded("5 \t\r\nhello\r\n0\r\n\r\n", "hello");
	assert_decoded("5;a=\"b\"\r\nhello\r\n0;x\r\n\r\n", "hello");
	assert_decoded("1\r\nx\r\n0\r\nA: b\r\nC: d\r\n\r\n", "x");
	assert_decoded("0000000000000001\r\nx\r\n0\r\n\r\n", "x");
}

static void test_malformed_chunks_are_refused(void **state)
{
	static const char *const bad[] = {"\r\n", "5\nhello", "5\rhello", "5\r\r\n", "5 ;a\r\n",
		" 5\r\n", "+5\r\n", "0x5\r\n", "-1\r\n", "g\r\n", "00000000000000001\r\n",
		"5\r\nhello\n", "5\r\nhello!", "5\r\nhello\r!", "5;a\rb", "5;a\n", "0\r\nA\r\n\r\n",
		"0\r\nA: b\n\nGET / HTTP/1.1\r\n\r\n"};
	for (size_t i = 0; i < COUNT(bad); i++)
		assert_failed(bad[i]);
}

static void test_bytes_that_are_no_data_are_bounded(void **state)
{
	struct strbuf in = STRBUF_INIT, out = STRBUF_INIT;
	size_t used;
	for (int i = 0; i < 1000; i++) /* single bytes are all right */
		strbuf_adds(&in, "1\r\nx\r\n");
	strbuf_adds(&in, "0\r\n\r\n");
	assert_int_equal(decode(in.data, in.len, 1000, &out, &used), HTTP_CHUNKED_DONE);
	assert_int_equal(out.len, 1000);

	strbuf_reset(&in);
	for (int i = 0; i < 100; i++)
		strbuf_adds(&in,
			"1;0123456789012345678901234567890123456789012345678901234567890123"
			"456789012345678901234567890123456789012345678901234567890123456789"
			"0123456789012345678901234567890123456789012345678901234567890123456"
			"\r\nx\r\n");
	assert_int_equal(decode(in.data, in.len, 1000, &out, &used), HTTP_CHUNKED_FAILED);

	strbuf_reset(&in); /* one long line */
	strbuf_adds(&in, "1;");
	for (int i = 0; i < HTTP_CHUNK_LINE_MAX; i++)
		strbuf_addc(&in, 'x');
	assert_int_equal(decode(in.data, in.len, in.len, &out, &used), HTTP_CHUNKED_FAILED);

	strbuf_reset(&in); /* a long trailer */
	strbuf_adds(&in, "0\r\nA:");
	for (int i = 0; i < HTTP_CHUNK_LINE_MAX; i++)
		strbuf_addc(&in, 'x');
	assert_int_equal(decode(in.data, in.len, in.len, &out, &used), HTTP_CHUNKED_FAILED);
	strbuf_free(&in);
	strbuf_free(&out);
}

static void test_the_longest_chunk_is_taken(void **state)
{
	static const char in[] = "ffffffffffffffff\r\nhello";
	struct strbuf out = STRBUF_INIT;
	size_t used;
	assert_int_equal(decode(in, sizeof(in) - 1, sizeof(in), &out, &used), HTTP_CHUNKED_DATA);
	assert_string_equal(out.data, "hello");
	strbuf_free(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_chunks_are_joined),
		cmocka_unit_test(test_malformed_chunks_are_refused),
		cmocka_unit_test(test_bytes_that_are_no_data_are_bounded),
		cmocka_unit_test(test_the_longest_chunk_is_taken),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
