/* SPDX-License-Identifier: MIT */
/*
 * What the tests of the disk queue share: queues in the working directory, messages that know their
 * number, and readers that give up after a while.
 */
#ifndef TEST_UNIT_DQ_TEST_H
#define TEST_UNIT_DQ_TEST_H

#include "test/unit/dir_test.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "common/lg.h"
#include "common/xalloc.h"
#include "nsqd/disk/diskqueue.h"
#include "nsqd/disk/diskqueue_dir.h"
#include "nsqd/disk/diskqueue_for_tests.h"
#include "nsqd/disk/diskqueue_internal.h"
#include "nsqd/disk/diskqueue_patience.h"

#define BASE_TS 1700000000000000000LL

static struct lg test_lg;

static inline struct diskqueue_opts test_opts(int64_t max_bytes_per_file)
{
	return (struct diskqueue_opts){
		.name = "q",
		.data_path = ".",
		.max_bytes_per_file = max_bytes_per_file,
		.min_msg_size = MIN_VALID_MSG_LENGTH,
		.max_msg_size = 1024 * 1024 + MIN_VALID_MSG_LENGTH,
		.sync_every = 2500,
		.sync_timeout = 2 * NSEC_PER_SEC,
		.lg = &test_lg,
	};
}

/* The directory of a test has a log. */
static inline int test_setup(void **state)
{
	if (enter_test_dir(state) != 0)
		return -1;
	lg_init(&test_lg, open("log", O_RDWR | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600),
		"[test] ", LG_DEBUG);
	return 0;
}

static inline int test_teardown(void **state)
{
	close(test_lg.fd);
	lg_destroy(&test_lg);
	return leave_test_dir(state);
}

/* How often text stands in the log. */
static inline int logged(const char *text)
{
	struct stat st;
	int n = 0;
	assert_int_equal(fstat(test_lg.fd, &st), 0);
	char *buf = xcalloc(1, (size_t)st.st_size + 1);
	assert_true(pread(test_lg.fd, buf, (size_t)st.st_size, 0) == st.st_size);
	for (char *p = buf; (p = strstr(p, text)); p++)
		n++;
	free(buf);
	return n;
}

/* How many files have a name that ends like this. */
static inline int files_ending(const char *end)
{
	return count_files("", end);
}

static inline bool exists(const char *path)
{
	return access(path, F_OK) == 0;
}

static inline struct backend_queue *open_queue(const struct diskqueue_opts *o)
{
	struct err err = {0};
	struct backend_queue *q = diskqueue_new(o, &err);
	if (!q)
		fail_msg("diskqueue_new: %s", err.msg);
	return q;
}

static inline void close_queue(struct backend_queue *q)
{
	struct err err = {0};
	if (q->ops->close(q, &err) < 0)
		fail_msg("close: %s", err.msg);
}

/* Byte i of message number seq's body. */
static inline unsigned char body_byte(int64_t seq, size_t i)
{
	return (unsigned char)((uint64_t)seq * 31 + i * 7 + (i >> 8));
}

static inline struct message *make_message(int64_t seq, size_t body_len)
{
	struct message_body *body = message_body_new(body_len);
	struct message_id id;
	char hex[MSG_ID_LENGTH + 1];
	for (size_t i = 0; i < body_len; i++)
		body->data[i] = (char)body_byte(seq, i);
	snprintf(hex, sizeof(hex), "%016llx", (long long)seq);
	memcpy(id.hex, hex, MSG_ID_LENGTH);
	return message_new(id, body, BASE_TS + seq);
}

/* The number of m, or -1 if it is not as make_message made it. */
static inline int64_t message_seq(const struct message *m)
{
	uint64_t number = 0;
	for (int i = 0; i < MSG_ID_LENGTH; i++) {
		char c = m->id.hex[i];
		if (c >= '0' && c <= '9')
			number = number * 16 + (uint64_t)(c - '0');
		else if (c >= 'a' && c <= 'f')
			number = number * 16 + (uint64_t)(c - 'a' + 10);
		else
			return -1;
	}
	int64_t seq = (int64_t)number;
	/* No test makes that many; and the sum must not overflow. */
	if (number >= 1ULL << 50 || m->timestamp != BASE_TS + seq)
		return -1;
	for (size_t i = 0; i < m->body->len; i++)
		if ((unsigned char)m->body->data[i] != body_byte(seq, i))
			return -1;
	return seq;
}

/* Puts messages [first, first + n) in one call. Returns how many are stored. */
static inline size_t try_put(
	struct backend_queue *q, int64_t first, size_t n, size_t body_len, struct err *err)
{
	unsigned char(*heads)[MSG_HEADER_LENGTH] = xcalloc(n, MSG_HEADER_LENGTH);
	struct backend_record *recs = xcalloc(n, sizeof(*recs));
	struct message **msgs = xcalloc(n, sizeof(struct message *));
	for (size_t i = 0; i < n; i++) {
		msgs[i] = make_message(first + (int64_t)i, body_len);
		message_write_header(msgs[i], heads[i]);
		recs[i] = (struct backend_record){
			heads[i], MSG_HEADER_LENGTH, msgs[i]->body->data, body_len};
	}
	size_t stored = q->ops->put(q, recs, n, err);
	for (size_t i = 0; i < n; i++)
		message_unref(msgs[i]);
	free(msgs);
	free(recs);
	free(heads);
	return stored;
}

static inline void put(struct backend_queue *q, int64_t first, size_t n, size_t body_len)
{
	struct err err = {0};
	if (try_put(q, first, n, body_len, &err) != n)
		fail_msg("put of %lld: %s", (long long)first, err.msg);
}

/* The next message, or NULL if none comes within ns. */
static inline struct message *get_within(struct backend_queue *q, int64_t ns)
{
	struct message *m = NULL;
	struct ticker patience;
	struct chan_case cases[] = {
		chan_case_recv(q->ops->read_chan(q), &m), chan_case_tick(&patience)};
	ticker_after(&patience, ns);
	return chan_select(cases, 2) == 0 ? m : NULL;
}

/* The number of the next message; -2: none came. */
static inline int64_t get_seq_within(struct backend_queue *q, int64_t ns)
{
	struct message *m = get_within(q, ns);
	int64_t seq = m ? message_seq(m) : -2;
	message_unref(m);
	return seq;
}

static inline void expect(struct backend_queue *q, int64_t first, int64_t n)
{
	for (int64_t i = 0; i < n; i++)
		assert_int_equal(get_seq_within(q, PATIENCE), first + i);
}

static inline struct diskqueue *inside(struct backend_queue *q)
{
	return (struct diskqueue *)q;
}

static inline int64_t depth(struct backend_queue *q)
{
	diskqueue_barrier(q);
	return q->ops->depth(q);
}

/* Nothing is left, nothing was moved aside. */
static inline void expect_drained(struct backend_queue *q)
{
	assert_int_equal(depth(q), 0);
	assert_int_equal(get_seq_within(q, 20 * NSEC_PER_MSEC), -2);
}

static inline void read_meta_file(const char *path, long long v[5])
{
	FILE *f = fopen(path, "r");
	assert_non_null(f);
	assert_int_equal(
		fscanf(f, "%lld\n%lld,%lld\n%lld,%lld\n", &v[0], &v[1], &v[2], &v[3], &v[4]), 5);
	fclose(f);
}

#define dq_test(f) cmocka_unit_test_setup_teardown(f, test_setup, test_teardown)

#endif
