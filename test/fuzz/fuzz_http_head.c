/* SPDX-License-Identifier: MIT */
/*
 * Fuzz target: the parsers of heads and of chunks. Whatever a peer sends, they take all of it, and
 * keep to their limits. They come to the same end however it is cut into pieces. (fuzz_http.c has the
 * whole server, and is slower.)
 */
#include "test/fuzz/fuzz.h"

#include "protocol/http_authorization.h"
#include "protocol/http_chunked.h"
#include "protocol/http_head.h"

#define MAX_HEAD 2048

/* What is left of one request after another; stops at what is none. */
struct outcome {
	size_t heads, body, token;
	enum http_head_state head;
	enum http_chunked_state chunked;
};

static size_t take_chunks(struct outcome *o, const uint8_t *data, size_t size, size_t step)
{
	struct http_chunked c = {0};
	size_t i = 0, used, len;
	const char *out;

	o->chunked = HTTP_CHUNKED_MORE;
	while (i < size && (o->chunked == HTTP_CHUNKED_MORE || o->chunked == HTTP_CHUNKED_DATA)) {
		size_t n = size - i < step ? size - i : step;
		o->chunked = http_chunked_feed(&c, (const char *)data + i, n, &used, &out, &len);
		CHECK(used > 0 && used <= n && c.trailer.len <= HTTP_CHUNK_LINE_MAX);
		if (o->chunked == HTTP_CHUNKED_DATA)
			o->body += len;
		i += used;
	}
	http_chunked_free(&c);
	return i;
}

static struct outcome take_requests(const uint8_t *data, size_t size, size_t step)
{
	struct outcome o = {0};
	struct http_head h;
	http_head_init(&h, MAX_HEAD);
	for (size_t i = 0, used; i < size; i += used) {
		size_t n = size - i < step ? size - i : step;
		o.head = http_head_feed(&h, (const char *)data + i, n, &used);
		CHECK(used <= n && h.size <= MAX_HEAD);
		CHECK(o.head != HTTP_HEAD_MORE || used == n);
		if (o.head == HTTP_HEAD_REFUSED)
			break;
		if (o.head == HTTP_HEAD_MORE)
			continue;
		o.heads++;
		CHECK(h.content_length >= -1 && h.method && h.target.path);
		char token[HTTP_TOKEN_MAX];
		size_t len =
			http_authorization_token(h.authorization.len ? h.authorization.data : "",
				h.authorization.len, token);
		CHECK(len == 0 || http_is_auth_token(token, len));
		o.token += len;
		if (h.content_length < 0) {
			used += take_chunks(&o, data + i + used, size - i - used, step);
			if (o.chunked != HTTP_CHUNKED_DONE)
				break;
		}
		http_head_reset(&h, strcmp(h.method, "POST") == 0);
	}
	http_head_free(&h);
	return o;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 1)
		return 0;
	struct outcome whole = take_requests(data + 1, size - 1, size);
	struct outcome pieces = take_requests(data + 1, size - 1, 1 + data[0] % 32);
	CHECK(whole.heads == pieces.heads && whole.body == pieces.body &&
		whole.token == pieces.token && whole.head == pieces.head);
	return 0;
}
