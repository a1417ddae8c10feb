/* SPDX-License-Identifier: MIT */
/*
 * Message bodies. Each carries its sequence number in the first eight bytes and the low half of it
 * in the last four, so that a consumer can tell which message it is and that it came whole. The
 * rest is text that compresses about as well as log lines do: words, the short ones more often, and
 * numbers that come once. Each command of a publisher has bodies of its own, sent again and again:
 * too far apart for a compressor to find the same body again.
 */
#include "test/bench/bench.h"

#include <stdio.h>
#include <string.h>

static const uint32_t TAIL = 0x6e737164;

static const char *const words[] = {"the", "of", "a", "id", "to", "in", "GET", "ok", "user", "time",
	"and", "host", "port", "info", "from", "with", "POST", "path", "size", "level", "error",
	"queue", "after", "bytes", "topic", "index", "cache", "order", "client", "server", "status",
	"region", "closed", "method", "worker", "thread", "account", "message", "channel",
	"request", "session", "timeout", "payload", "customer", "response", "upstream", "duration",
	"currency", "connected", "delivered", "requested", "published", "warehouse", "partition",
	"finished in", "checksum", "connection", "subscriber", "retry after", "application/json",
	"authorization", "user-agent", "invoice number", "content-length"};

static uint32_t next_random(uint32_t *x)
{
	*x = *x * 1664525 + 1013904223;
	return *x >> 16;
}

void body_fill(char *body, size_t size, uint32_t seed)
{
	uint32_t x = seed * 2654435761u + 1;
	size_t n = sizeof(words) / sizeof(words[0]);
	char word[32];

	for (size_t at = 0; at < size;) {
		uint32_t r = next_random(&x) % n, s = next_random(&x) % n;
		int len = r % 5 == 0 ? snprintf(word, sizeof(word), "%u%u ", next_random(&x),
					       next_random(&x))
				     : snprintf(word, sizeof(word), "%s ", words[r < s ? r : s]);
		size_t take = size - at < (size_t)len ? size - at : (size_t)len;
		memcpy(body + at, word, take);
		at += take;
	}
}

void body_stamp(char *body, size_t size, uint64_t seq)
{
	uint32_t tail = (uint32_t)seq ^ TAIL;

	memcpy(body, &seq, 8);
	memcpy(body + size - 4, &tail, 4);
}

uint64_t body_check(const char *body, size_t size)
{
	uint64_t seq;
	uint32_t tail;

	if (size != opt.size)
		die("a body of %zu bytes, expected %zu", size, opt.size);
	memcpy(&seq, body, 8);
	memcpy(&tail, body + size - 4, 4);
	if (tail != ((uint32_t)seq ^ TAIL))
		die("message %llu came with a wrong end", (unsigned long long)seq);
	return seq;
}

unsigned sequence_take(struct sequence *s, unsigned n, uint64_t *first)
{
	if (atomic_load_explicit(&s->stop, memory_order_relaxed))
		return 0;
	*first = atomic_fetch_add_explicit(&s->next, n, memory_order_relaxed);
	if (*first >= s->total)
		return 0;
	return s->total - *first < n ? (unsigned)(s->total - *first) : n;
}
