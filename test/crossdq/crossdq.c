/* SPDX-License-Identifier: MIT */
/*
 * Writes, reads and times disk queues with our library; main.go does the same with stock's. The
 * messages follow from their numbers.
 *
 *   put   DIR NAME MAX-BYTES-PER-FILE FIRST COUNT   prints the depth afterwards
 *   get   DIR NAME MAX-BYTES-PER-FILE FIRST COUNT   the same; fails on any difference
 *   bench DIR NAME MAX-BYTES-PER-FILE SIZE COUNT    single and batched, puts and gets
 *
 * main only, and the queue's io_loop.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/chan.h"
#include "common/clock.h"
#include "common/lg.h"
#include "nsqd/disk/diskqueue.h"
#include "nsqd/disk/diskqueue_for_tests.h"

#define MAX_MSG_SIZE (1024 * 1024)
#define BASE_TS 1700000000000000000LL
#define BATCH 64

static _Noreturn void die(const char *what, long long n, const char *why)
{
	fprintf(stderr, "ours: %s %lld: %s\n", what, n, why);
	exit(1);
}

static size_t body_len(int64_t seq)
{
	if (seq % 401 == 400)
		return MAX_MSG_SIZE;
	if (seq % 50 == 7)
		return (size_t)(20000 + seq % 1000);
	if (seq % 10 == 0)
		return 1;
	return (size_t)(seq * 7919 % 700) + 1;
}

static struct message *make(int64_t seq, size_t n)
{
	struct message_body *body = message_body_new(n);
	struct message_id id;
	char hex[MSG_ID_LENGTH + 1];

	for (size_t i = 0; i < n; i++)
		body->data[i] = (char)((uint64_t)seq * 31 + i * 7 + (i >> 8));
	snprintf(hex, sizeof(hex), "%016llx", (long long)seq);
	memcpy(id.hex, hex, MSG_ID_LENGTH);
	struct message *m = message_new(id, body, BASE_TS + seq);

	m->attempts = (uint16_t)(seq % 5);
	return m;
}

static bool same(const struct message *a, const struct message *b)
{
	return memcmp(&a->id, &b->id, sizeof(a->id)) == 0 && a->attempts == b->attempts &&
	       a->timestamp == b->timestamp && a->body->len == b->body->len &&
	       memcmp(a->body->data, b->body->data, a->body->len) == 0;
}

static void put(struct backend_queue *q, int64_t first, int64_t n)
{
	struct message *m[BATCH];
	struct err err;

	while (n > 0) {
		size_t k = (size_t)(n < BATCH ? n : BATCH);

		for (size_t i = 0; i < k; i++)
			m[i] = make(first + (int64_t)i, body_len(first + (int64_t)i));
		if (backend_queue_put_messages(q, m, k, &err) != k)
			die("put", first, err.msg);
		for (size_t i = 0; i < k; i++)
			message_unref(m[i]);
		first += (int64_t)k;
		n -= (int64_t)k;
	}
}

static void get(struct backend_queue *q, int64_t first, int64_t n)
{
	for (int64_t seq = first; seq < first + n; seq++) {
		struct message *m, *want = make(seq, body_len(seq));
		struct ticker patience;
		struct chan_case cases[] = {
			chan_case_recv(q->ops->read_chan(q), &m), chan_case_tick(&patience)};

		ticker_after(&patience, 20 * NSEC_PER_SEC);
		if (chan_select(cases, 2) != 0)
			die("get", seq, "nothing to read");
		if (!same(m, want))
			die("get", seq, "not what it was");
		message_unref(m);
		message_unref(want);
	}
}

static double seconds_since(int64_t start)
{
	return (double)(clock_mono_ns() - start) / 1e9;
}

static void bench(struct backend_queue *q, size_t size, int64_t n, size_t batch)
{
	struct message *msgs[256], *m = make(1, size);
	struct err err;
	int64_t start = clock_mono_ns();
	double put_s, get_s;

	for (size_t i = 0; i < batch; i++)
		msgs[i] = m;
	for (int64_t i = 0; i < n; i += (int64_t)batch)
		if (backend_queue_put_messages(q, msgs, batch, &err) != batch)
			die("put", i, err.msg);
	put_s = seconds_since(start);
	message_unref(m);
	start = clock_mono_ns();
	for (int64_t i = 0; i < n;) {
		size_t k = chan_recv_n(q->ops->read_chan(q), msgs, batch);

		for (size_t j = 0; j < k; j++)
			message_unref(msgs[j]);
		i += (int64_t)k;
	}
	get_s = seconds_since(start);
	printf("ours, batches of %zu: put %.0f/s get %.0f/s\n", batch, (double)n / put_s,
		(double)n / get_s);
}

int main(int argc, char **argv)
{
	struct diskqueue_opts o = {
		.min_msg_size = MIN_VALID_MSG_LENGTH,
		.max_msg_size = MAX_MSG_SIZE + MIN_VALID_MSG_LENGTH,
		.sync_every = 2500,
		.sync_timeout = 2 * NSEC_PER_SEC,
	};
	struct lg lg;
	struct err err;

	if (argc != 7)
		die("arguments", argc,
			"put|get|bench DIR NAME MAX-BYTES-PER-FILE FIRST|SIZE COUNT");
	lg_init(&lg, STDERR_FILENO, "ours: ", LG_WARN);
	o.data_path = argv[2];
	o.name = argv[3];
	o.max_bytes_per_file = atoll(argv[4]);
	o.lg = &lg;
	struct backend_queue *q = diskqueue_new(&o, &err);
	long long first = atoll(argv[5]), n = atoll(argv[6]);

	if (!q)
		die("open", 0, err.msg);
	if (strcmp(argv[1], "put") == 0) {
		put(q, first, n);
	} else if (strcmp(argv[1], "get") == 0) {
		get(q, first, n);
	} else if (strcmp(argv[1], "bench") == 0) {
		bench(q, (size_t)first, n - n % 256, 1);
		bench(q, (size_t)first, n - n % 256, 16);
		bench(q, (size_t)first, n - n % 256, 256);
	} else {
		die("command", 0, argv[1]);
	}
	diskqueue_barrier(q); /* counts what was just received */
	long long left = q->ops->depth(q);

	if (q->ops->close(q, &err) < 0)
		die("close", 0, err.msg);
	printf("%lld\n", left);
	lg_destroy(&lg);
	return 0;
}
