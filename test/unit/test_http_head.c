/* SPDX-License-Identifier: MIT */
/*
 * http_head: which heads are requests, and what they say; in one piece and byte by byte. (Each case
 * is compared with stock in test_http_framing.py and test_http_malformed.py.)
 */
#include "test/unit/helper.h"

#include "protocol/http_authorization.h"
#include "protocol/http_head.h"

#define MAX 1000

static enum http_head_state feed_in_steps(
	struct http_head *h, const char *text, size_t len, size_t step, size_t *used)
{
	enum http_head_state state = HTTP_HEAD_MORE;
	size_t i = 0;
	while (i < len && state == HTTP_HEAD_MORE) {
		size_t n = len - i < step ? len - i : step, taken;
		state = http_head_feed(h, text + i, n, &taken);
		assert_true(taken <= n);
		assert_true(state != HTTP_HEAD_MORE || taken == n);
		i += taken;
	}
	*used = i;
	return state;
}

/* The head that text is, followed by more that is not taken. */
static void parse(struct http_head *h, const char *text, size_t step)
{
	size_t len = strlen(text), used;
	struct strbuf all = STRBUF_INIT;
	strbuf_adds(&all, text);
	strbuf_adds(&all, "more");
	http_head_init(h, MAX);
	assert_int_equal(feed_in_steps(h, all.data, all.len, step, &used), HTTP_HEAD_DONE);
	assert_int_equal(used, len);
	assert_int_equal(h->size, len);
	strbuf_free(&all);
}

#define EACH_STEP(step, text) for (size_t step = 1; step <= strlen(text); step++)

static void assert_refused(const char *text, const char *status)
{
	EACH_STEP(step, text)
	{
		struct http_head h;
		size_t used;
		http_head_init(&h, MAX);
		assert_int_equal(
			feed_in_steps(&h, text, strlen(text), step, &used), HTTP_HEAD_REFUSED);
		assert_string_equal(h.refusal->status, status);
		http_head_free(&h);
	}
}

#define BAD "400 Bad Request"
#define HEAD(lines) "POST /pub?topic=t HTTP/1.1\r\nHost: x\r\n" lines "\r\n"

static void test_a_request_may_come_in_pieces_of_any_size(void **state)
{
	static const char text[] = "POST /p%75b?topic=t HTTP/1.1\r\nHost: x:1\r\nContent-Length: 5"
				   "\r\nConnection: close\r\nExpect: 100-continue\r\n\r\n";
	EACH_STEP(step, text)
	{
		struct http_head h;
		parse(&h, text, step);
		assert_string_equal(h.method, "POST");
		assert_int_equal(h.target.path_len, 4);
		assert_memory_equal(h.target.path, "/pub", 4);
		assert_memory_equal(h.target.raw_query, "topic=t", 7);
		assert_int_equal(h.major, 1);
		assert_int_equal(h.minor, 1);
		assert_int_equal(h.content_length, 5);
		assert_true(h.wants_close);
		assert_true(h.expects_continue);
		assert_false(h.expects_other);
		http_head_free(&h);
	}
}

static void assert_length(const char *text, int64_t length)
{
	EACH_STEP(step, text)
	{
		struct http_head h;
		parse(&h, text, step);
		assert_int_equal(h.content_length, length);
		http_head_free(&h);
	}
}

static void test_the_headers_say_how_long_the_body_is(void **state)
{
	assert_length(HEAD(""), 0);
	assert_length(HEAD("Content-Length: 0\r\n"), 0);
	assert_length(HEAD("Content-Length:\r\n"), 0);
	assert_length(HEAD("content-LENGTH:\t 17 \t\r\n"), 17);
	assert_length(HEAD("Content-Length: 9223372036854775807\r\n"), INT64_MAX);
	assert_length(HEAD("Content-Length: 5\r\nContent-Length: 5 \r\n"), 5);
	assert_length(HEAD("Transfer-Encoding: CHUNKED\r\n"), -1);
	assert_length(HEAD("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"), -1);
	assert_length(HEAD("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"), -1);
	assert_length("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 0);
	assert_length("POST / HTTP/1.0\r\nContent-Length: 5\r\nTransfer-Encoding: x\r\n\r\n", 5);
}

static void test_a_header_goes_on_in_lines_that_begin_with_a_blank(void **state)
{
	assert_length(HEAD("Content-Length:\r\n 5\r\n"), 5);
	assert_length(HEAD("Content-Length:\r\n\t \t5 \r\n"), 5);
	assert_length(HEAD("Content-Length:\n 5\n"), 5);
	assert_length(HEAD("Content-Length:\r\n \r\n 5\r\n \r\n"), 5);
	assert_length(HEAD("A: b\r\n Content-Length: 5\r\n"), 0);
	assert_length(HEAD("Transfer-Encoding:\r\n chunked\r\n"), -1);
	assert_refused(HEAD("Content-Length: 1\r\n 2\r\n"), BAD);
	assert_refused(HEAD("Transfer-Encoding: chunked\r\n \r\n"), "501 Not Implemented");
	assert_refused("GET / HTTP/1.1\r\n Host: x\r\n\r\n", BAD);
}

static void test_malformed_lengths_are_refused(void **state)
{
	assert_refused(HEAD("Content-Length: +5\r\n"), BAD);
	assert_refused(HEAD("Content-Length: -5\r\n"), BAD);
	assert_refused(HEAD("Content-Length: 0x5\r\n"), BAD);
	assert_refused(HEAD("Content-Length: 5, 5\r\n"), BAD);
	assert_refused(HEAD("Content-Length: 5 5\r\n"), BAD);
	assert_refused(HEAD("Content-Length: 9223372036854775808\r\n"), BAD);
	assert_refused(HEAD("Content-Length: 99999999999999999999\r\n"), BAD);
	assert_refused(HEAD("Content-Length: 5\r\nContent-Length: 6\r\n"), BAD);
	assert_refused(HEAD("Content-Length: 5\r\nContent-Length: 05\r\n"), BAD);
	assert_refused(HEAD("Content-Length: x\r\nTransfer-Encoding: chunked\r\n"), BAD);
	assert_refused(HEAD("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
		"501 Not Implemented");
	assert_refused(HEAD("Transfer-Encoding: gzip, chunked\r\n"), "501 Not Implemented");
	assert_refused(HEAD("Transfer-Encoding:\r\n"), "501 Not Implemented");
	assert_refused(HEAD("Transfer-Encoding: chunked\r\nTrailer: a, Content-Length\r\n"), BAD);
}

static void test_malformed_first_lines_are_refused(void **state)
{
	static const char *const lines[] = {"\n", "\r\n", "GET\r\n", "GET /\r\n",
		"GET  / HTTP/1.1\r\n", " GET / HTTP/1.1\r\n", "GET / HTTP/1.1 \r\n",
		"G(T / HTTP/1.1\r\n", "GET / http/1.1\r\n", "GET / HTTP/1.10\r\n",
		"GET / HTTP/x.1\r\n", "GET x HTTP/1.1\r\n", "GET /%zz HTTP/1.1\r\n",
		"GET /\x7f HTTP/1.1\r\n", "GET /a b HTTP/1.1\r\n"};
	for (size_t i = 0; i < COUNT(lines); i++)
		assert_refused(lines[i], BAD);
	assert_refused("GET / HTTP/2.0\r\nHost: x\r\n\r\n",
		"505 HTTP Version Not Supported: unsupported protocol version");
}

static void test_malformed_headers_are_refused(void **state)
{
	assert_refused(HEAD("a\r\n"), BAD);
	assert_refused(HEAD(": a\r\n"), BAD);
	assert_refused(HEAD("\x01: a\r\n\r\n"), BAD);
	assert_refused(HEAD("a: \x01\r\n\r\n"), BAD);
	assert_refused(HEAD("a: b\rc\r\n\r\n"), BAD);
	assert_refused(HEAD("Host: y\r\n"), BAD);
	assert_refused(HEAD("a b: c\r\n"), BAD ": invalid header name");
	assert_refused("GET / HTTP/1.1\r\n\r\n", BAD ": missing required Host header");
	assert_refused("GET / HTTP/1.1\r\nHost : x\r\n\r\n", BAD ": missing required Host header");
	assert_refused("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", BAD ": malformed Host header");
}

static void test_a_zero_byte_is_refused_in_a_value(void **state)
{
	static const char text[] = "GET / HTTP/1.1\r\nHost: x\r\nA: b\0c\r\n\r\n";
	struct http_head h;
	size_t used;
	http_head_init(&h, MAX);
	assert_int_equal(http_head_feed(&h, text, sizeof(text) - 1, &used), HTTP_HEAD_REFUSED);
	http_head_free(&h);
}

static void test_a_head_has_a_limit(void **state)
{
	static const char line[] = "A: 0123456789\r\n";
	struct http_head h;
	size_t used;
	http_head_init(&h, MAX);
	enum http_head_state st = http_head_feed(&h, "GET / HTTP/1.1\r\n", 16, &used);
	for (int i = 0; i < MAX && st == HTTP_HEAD_MORE; i++)
		st = http_head_feed(&h, line, sizeof(line) - 1, &used);
	assert_int_equal(st, HTTP_HEAD_REFUSED);
	assert_string_equal(h.refusal->status, "431 Request Header Fields Too Large");
	assert_true(h.size <= MAX);
	http_head_free(&h);
}

static void assert_connection(const char *text, bool close, bool keep_alive)
{
	struct http_head h;
	parse(&h, text, 7);
	assert_int_equal(h.wants_close, close);
	assert_int_equal(h.wants_keep_alive, keep_alive);
	http_head_free(&h);
}

static void test_the_head_says_what_becomes_of_the_connection(void **state)
{
	assert_connection("GET / HTTP/1.1\r\nHost: x\r\n\r\n", false, false);
	assert_connection("GET / HTTP/1.1\r\nHost: x\r\nConnection: a, Close\r\n\r\n", true, false);
	assert_connection("GET / HTTP/1.1\r\nHost: x\r\nConnection: closed\r\n\r\n", false, false);
	assert_connection("GET / HTTP/1.0\r\n\r\n", true, false);
	assert_connection("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", false, true);
	assert_connection(
		"GET / HTTP/1.1\r\nHost: x\r\nConnection: keep-alive\r\n\r\n", false, false);
}

static void test_the_next_request_remembers_nothing(void **state)
{
	static const char next[] = "\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n";
	struct http_head h;
	size_t used;
	parse(&h, HEAD("Content-Length: 5\r\nExpect: x\r\nConnection: close\r\n"), 100);
	assert_true(h.expects_other);
	http_head_reset(&h, true); /* and skips the line ends that old clients send */
	assert_int_equal(http_head_feed(&h, next, sizeof(next) - 1, &used), HTTP_HEAD_DONE);
	assert_int_equal(h.content_length, 0);
	assert_false(h.expects_other);
	assert_false(h.wants_close);
	http_head_reset(&h, false);
	assert_int_equal(http_head_feed(&h, next, sizeof(next) - 1, &used), HTTP_HEAD_REFUSED);
	http_head_free(&h);
}

static void test_connect_has_an_authority(void **state)
{
	struct http_head h;
	parse(&h, "CONNECT example:80 HTTP/1.1\r\n\r\n", 3);
	assert_string_equal(h.method, "CONNECT");
	assert_int_equal(h.target.path_len, 0);
	http_head_free(&h);
	parse(&h, "CONNECT /ping HTTP/1.1\r\n\r\n", 3);
	assert_memory_equal(h.target.path, "/ping", 5);
	http_head_free(&h);
}

#define VALID(text) http_trailer_is_valid(text, sizeof(text) - 1)

static void test_trailers_are_headers(void **state)
{
	assert_true(VALID("A: b\r\n\r\n"));
	assert_true(VALID("A: b\r\n c\r\nD:\r\n\r\n"));
	assert_false(VALID("A\r\n\r\n"));
	assert_false(VALID(" A: b\r\n\r\n"));
	assert_false(VALID("A: \0\r\n\r\n"));
	/* An end in front of the end. */
	assert_false(VALID("A: b\n\nC: d\r\n\r\n"));
}

static void assert_authorization(const char *text, size_t n, const char *value)
{
	EACH_STEP(step, text)
	{
		struct http_head h;
		parse(&h, text, step);
		assert_int_equal(h.n_authorizations, n);
		assert_string_equal(h.authorization.len ? h.authorization.data : "", value);
		/* Nothing of it is left for the next request. */
		http_head_reset(&h, false);
		assert_int_equal(h.n_authorizations, 0);
		assert_int_equal(h.authorization.len, 0);
		http_head_free(&h);
	}
}

static void test_the_first_authorization_is_kept_and_all_are_counted(void **state)
{
	assert_authorization(HEAD(""), 0, "");
	assert_authorization(HEAD("Authorization:\r\n"), 1, "");
	assert_authorization(HEAD("Authorization: Bearer x\r\n"), 1, "Bearer x");
	assert_authorization(HEAD("AUTHORIZATION:\t Bearer\r\n x \r\n"), 1, "Bearer x");
	assert_authorization(HEAD("Authorization: a\r\nauthorization: b\r\n"), 2, "a");
	assert_authorization(HEAD("Authorization:\r\nAuthorization: b\r\n"), 2, "");
	assert_authorization(HEAD("Proxy-Authorization: a\r\nXAuthorization: b\r\n"), 0, "");
}

/* One that is longer than any with a token is not kept. */
static void test_a_long_authorization_is_not_kept(void **state)
{
	for (size_t len = HTTP_AUTHORIZATION_MAX; len <= HTTP_AUTHORIZATION_MAX + 1; len++) {
		struct http_head h;
		struct strbuf text = STRBUF_INIT;
		size_t used;
		strbuf_adds(&text, "GET / HTTP/1.1\r\nHost: x\r\nAuthorization: ");
		for (size_t i = 0; i < len; i++)
			strbuf_addc(&text, 'x');
		strbuf_adds(&text, "\r\n\r\n");
		http_head_init(&h, 4096);
		assert_int_equal(http_head_feed(&h, text.data, text.len, &used), HTTP_HEAD_DONE);
		assert_int_equal(h.n_authorizations, 1);
		assert_int_equal(h.authorization.len, len <= HTTP_AUTHORIZATION_MAX ? len : 0);
		http_head_free(&h);
		strbuf_free(&text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_first_authorization_is_kept_and_all_are_counted),
		cmocka_unit_test(test_a_long_authorization_is_not_kept),
		cmocka_unit_test(test_a_request_may_come_in_pieces_of_any_size),
		cmocka_unit_test(test_the_headers_say_how_long_the_body_is),
		cmocka_unit_test(test_a_header_goes_on_in_lines_that_begin_with_a_blank),
		cmocka_unit_test(test_malformed_lengths_are_refused),
		cmocka_unit_test(test_malformed_first_lines_are_refused),
		cmocka_unit_test(test_malformed_headers_are_refused),
		cmocka_unit_test(test_a_zero_byte_is_refused_in_a_value),
		cmocka_unit_test(test_a_head_has_a_limit),
		cmocka_unit_test(test_the_head_says_what_becomes_of_the_connection),
		cmocka_unit_test(test_the_next_request_remembers_nothing),
		cmocka_unit_test(test_connect_has_an_authority),
		cmocka_unit_test(test_trailers_are_headers),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
