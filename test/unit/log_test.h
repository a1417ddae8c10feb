/* SPDX-License-Identifier: MIT */
/*
 * What the tests of the log share: messages that know their number, a log whose commits the test
 * makes itself, and an account of what was promised.
 */
#ifndef TEST_UNIT_LOG_TEST_H
#define TEST_UNIT_LOG_TEST_H

#include "test/unit/helper.h"

#include <errno.h>
#include <fcntl.h>

#include "common/lg.h"
#include "common/xalloc.h"
#include "nsqd/log/log.h"
#include "nsqd/log/log_append.h"
#include "nsqd/log/log_internal.h"
#include "nsqd/log/log_loop.h"
#include "nsqd/log/log_read.h"
#include "nsqd/log/log_remove.h"

#define BASE_TS 1700000000000000000LL

static struct lg test_lg;

/* A setup of cmocka: what is logged goes nowhere. */
static inline int log_setup(void **state)
{
	lg_init(&test_lg, open("/dev/null", O_WRONLY | O_CLOEXEC), "", LG_DEBUG);
	return 0;
}

static inline int log_teardown(void **state)
{
	close(test_lg.fd);
	lg_destroy(&test_lg);
	return 0;
}

/* --- messages ------------------------------------------------------------------------------------- */

static inline unsigned char body_byte(uint64_t number, size_t i)
{
	return (unsigned char)(number * 31 + i * 7 + (i >> 8));
}

/* Each fifth one has a delay. */
static inline int64_t delay_of(uint64_t number)
{
	return number % 5 == 0 ? (int64_t)(1 + number) * NSEC_PER_MSEC : 0;
}

static inline struct message *make_message(uint64_t number, size_t len)
{
	struct message_body *body = message_body_new(len);
	struct message_id id;
	char hex[MSG_ID_LENGTH + 1];
	for (size_t i = 0; i < len; i++)
		body->data[i] = (char)body_byte(number, i);
	snprintf(hex, sizeof(hex), "%016llx", (unsigned long long)number);
	memcpy(id.hex, hex, MSG_ID_LENGTH);
	struct message *m = message_new(id, body, BASE_TS + (int64_t)number);
	m->deferred_ns = delay_of(number);
	return m;
}

/* The number of a message of make_message; UINT64_MAX: it is another one. */
static inline uint64_t number_of(const struct message *m)
{
	char hex[MSG_ID_LENGTH + 1] = {0}, again[MSG_ID_LENGTH + 1];
	memcpy(hex, m->id.hex, MSG_ID_LENGTH);
	uint64_t number = strtoull(hex, NULL, 16);
	snprintf(again, sizeof(again), "%016llx", (unsigned long long)number);
	if (strcmp(hex, again) != 0 || number > 1 << 30 ||
		m->timestamp != BASE_TS + (int64_t)number || m->deferred_ns != delay_of(number))
		return UINT64_MAX;
	for (size_t i = 0; i < m->body->len; i++)
		if ((unsigned char)m->body->data[i] != body_byte(number, i))
			return UINT64_MAX;
	return number;
}

/* --- a log without a thread ------------------------------------------------------------------------ */

static inline struct log *open_log(const struct log_io *io, int dir, bool disk, int64_t bytes)
{
	struct log *l = NULL;
	struct err err = {0};
	struct log_opts opts = {.dir = dir,
		.topic = "t",
		.disk = disk,
		.segment_bytes = bytes,
		.lg = &test_lg,
		.io = io};
	if (log_open(&opts, &l, &err) != 0)
		fail_msg("log_open: %s", err.msg);
	return l;
}

/* A batch of messages that was given to the log. */
struct batch {
	uint64_t first; /* number of its first message */
	size_t n;
	size_t len; /* of each body, less the index in the batch */
	enum { OFFERED, KEPT, REFUSED, FORGOTTEN } state;
};

#define BATCHES_MAX 4096

/* All that was given, in the order of the log. */
struct account {
	struct batch batches[BATCHES_MAX];
	size_t n;
	uint64_t next; /* the next message's number */
};

static inline size_t len_of(const struct batch *b, size_t i)
{
	return b->len > i ? b->len - i : 1;
}

/* Gives the log some batches in one commit. */
static inline void commit(struct log *l, struct account *a, const struct batch *batches, size_t n)
{
	struct log_request *reqs[LOG_REQS_MAX] = {NULL};
	struct message **msgs[LOG_REQS_MAX] = {NULL};
	struct err err;
	size_t begin = a->n;
	for (size_t i = 0; i < n; i++) {
		struct batch *b = &a->batches[a->n++];
		CHECK(a->n <= BATCHES_MAX);
		*b = batches[i];
		b->first = a->next;
		b->state = OFFERED;
		a->next += b->n;
		msgs[i] = xcalloc(b->n, sizeof(struct message *));
		for (size_t k = 0; k < b->n; k++)
			msgs[i][k] = make_message(b->first + k, len_of(b, k));
		reqs[i] = log_request_new();
		assert_int_equal(log_request_prepare(reqs[i], NULL, msgs[i], b->n, &err), 0);
	}
	log_commit(l, reqs, n);
	for (size_t i = 0; i < n; i++) {
		struct batch *b = &a->batches[begin + i];
		b->state = reqs[i]->rc == 0 ? KEPT : REFUSED;
		if (reqs[i]->rc != 0)
			assert_true(*reqs[i]->err.msg);
		message_unref_all(msgs[i], b->n);
		free(msgs[i]);
		log_request_free(reqs[i]);
	}
}

/* What a log holds: the numbers of its messages, in order. */
struct content {
	uint64_t *numbers; /* owned */
	uint64_t *seqs;    /* owned */
	size_t n;
	uint64_t gaps; /* numbers that are missing */
};

static inline void free_content(struct content *c)
{
	free(c->numbers);
	free(c->seqs);
}

/* Reads a log to its end. Each message must be as it was made; errors of the disk end the test. */
static inline struct content read_log(struct log *l, uint64_t from)
{
	struct content c = {NULL, NULL, 0, 0};
	struct log_reader *r = log_reader_open(l, from, 0);
	struct log_item item;
	struct err err = {0};
	enum log_read what;
	uint64_t seq = from;
	while ((what = log_reader_next(r, &item, &err)) != LOG_READ_END) {
		if (what == LOG_READ_ERROR)
			fail_msg("log_reader_next: %s", err.msg);
		assert_true(item.seq == seq && item.n > 0);
		seq += item.n;
		if (what == LOG_READ_GAP) {
			c.gaps += item.n;
			continue;
		}
		c.numbers = xreallocarray(c.numbers, c.n + 1, sizeof(*c.numbers));
		c.seqs = xreallocarray(c.seqs, c.n + 1, sizeof(*c.seqs));
		c.numbers[c.n] = number_of(item.msg);
		if (c.numbers[c.n] == UINT64_MAX)
			fail_msg("number %llu is another message", (unsigned long long)item.seq);
		assert_true(item.msg->seq == item.seq && item.origin == item.seq && !item.channel);
		c.seqs[c.n++] = item.seq;
		message_unref(item.msg);
	}
	log_reader_close(r);
	return c;
}

/*
 * What was kept is there, in order; what was only offered is there whole or not at all. refused: so
 * is what was refused; else nothing of that is there.
 */
static inline void check_content(
	const struct account *a, const struct content *c, bool refused, const char *where)
{
	size_t at = 0;
	for (size_t i = 0; i < a->n; i++) {
		const struct batch *b = &a->batches[i];
		size_t there = 0;
		while (there < b->n && at + there < c->n &&
			c->numbers[at + there] == b->first + there)
			there++;
		if (there > 0 && there < b->n && b->state != FORGOTTEN)
			fail_msg("%s: of batch %zu (of %zu messages) only %zu are there", where, i,
				b->n, there);
		if (there == 0 && b->state == KEPT)
			fail_msg("%s: batch %zu was kept, and is not there; %zu of %zu found",
				where, i, at, c->n);
		if (there > 0 && b->state == REFUSED && !refused)
			fail_msg("%s: batch %zu was refused, and is there", where, i);
		at += there;
	}
	if (at != c->n)
		fail_msg("%s: message %llu is there, and should not be", where,
			(unsigned long long)c->numbers[at]);
}

#endif
