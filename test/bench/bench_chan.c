/* SPDX-License-Identifier: MIT */
/*
 * What the operations of a chan cost, beside a bare mutex and a bare futex hand-off.
 * test/bench/chango is the same in Go, line by line; bench_chan.sh runs both and makes the table.
 * Prints "key<TAB>ns<TAB>cpu_ns", both per value (or per turn): time that passed, and time of all
 * processors together.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "common/chan.h"
#include "common/check.h"
#include "common/clock.h"
#include "common/futex.h"
#include "common/gothread.h"

#define RUN_NS (60 * NSEC_PER_MSEC)

static int64_t cpu_ns(void)
{
	struct rusage ru;

	getrusage(RUSAGE_SELF, &ru);
	return (ru.ru_utime.tv_sec + ru.ru_stime.tv_sec) * NSEC_PER_SEC +
	       (ru.ru_utime.tv_usec + ru.ru_stime.tv_usec) * NSEC_PER_USEC;
}

/* What is measured, with its sizes. */
struct bench {
	size_t cap, batch, threads, cases;
	long n; /* values or turns in this run */
	struct chan *c, *back;
};

/* Runs fn with more and more turns until it lasts. */
static void measure(const char *key, void (*fn)(struct bench *), struct bench b)
{
	for (b.n = 2048;; b.n *= 2) {
		int64_t start = clock_mono_ns(), cpu = cpu_ns(), took;

		fn(&b);
		took = clock_mono_ns() - start;
		if (took < RUN_NS)
			continue;
		printf("%s\t%.1f\t%.1f\n", key, (double)took / (double)b.n,
			(double)(cpu_ns() - cpu) / (double)b.n);
		fflush(stdout);
		return;
	}
}

static void run(struct wait_group *wg, void (*fn)(void *), void *arg)
{
	CHECK(wait_group_wrap(wg, "bench", fn, arg, NULL) == 0);
}

/* --- what all is made of --- */

static void mutex_pair(struct bench *b)
{
	static pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;

	for (long i = 0; i < b->n; i++) {
		pthread_mutex_lock(&m);
		pthread_mutex_unlock(&m);
	}
}

static _Atomic uint32_t ball;

/* Waits until it is our turn, and makes it the other's. */
static void futex_turns(long n, uint32_t own)
{
	for (long i = 0; i < n; i++) {
		while (ball != own)
			futex_wait_until(&ball, !own, 0);
		ball = !own;
		futex_wake_one(&ball);
	}
}

static void futex_peer(void *arg)
{
	futex_turns(((struct bench *)arg)->n, 1);
}

static void futex_pingpong(struct bench *b)
{
	struct wait_group wg;

	ball = 0;
	wait_group_init(&wg);
	run(&wg, futex_peer, b);
	futex_turns(b->n, 0);
	wait_group_wait(&wg);
	wait_group_destroy(&wg);
}

/* --- one thread --- */

static void try_pair(struct bench *b)
{
	struct chan *c = chan_new(sizeof(void *), 1);
	void *v = b;

	for (long i = 0; i < b->n; i++) {
		CHECK(chan_try_send_n(c, &v, 1) == 1);
		CHECK(chan_try_recv_n(c, &v, 1, NULL) == 1);
	}
	chan_free(c);
}

/* A send, and a select of which this makes one case ready. */
static void select_ready(struct bench *b)
{
	struct chan *c[CHAN_SELECT_MAX];
	void *v = b;

	for (size_t k = 0; k < b->cases; k++)
		c[k] = chan_new(sizeof(void *), 1);
	for (size_t i = 0, ready = 0; i < (size_t)b->n; i++) {
		struct chan_case cases[CHAN_SELECT_MAX];

		for (size_t k = 0; k < b->cases; k++)
			cases[k] = chan_case_recv(c[k], &v);
		chan_send(c[ready], &v);
		CHECK(chan_select(cases, (int)b->cases) == (int)ready);
		ready = ready + 1 == b->cases ? 0 : ready + 1;
	}
	for (size_t k = 0; k < b->cases; k++)
		chan_free(c[k]);
}

/* --- producers and consumers --- */

static void produce(void *arg)
{
	struct bench *b = arg;
	void *v[64] = {b};

	for (long i = 0; i < b->n / (long)b->threads; i += (long)b->batch)
		chan_send_n(b->c, v, b->batch);
}

static void consume(void *arg)
{
	struct bench *b = arg;
	void *v[64];

	while (chan_recv_n(b->c, v, b->batch) > 0)
		;
}

static void stream(struct bench *b)
{
	struct wait_group producers, consumers;

	b->c = chan_new(sizeof(void *), b->cap);
	wait_group_init(&producers);
	wait_group_init(&consumers);
	for (size_t i = 0; i < b->threads; i++) {
		run(&consumers, consume, b);
		run(&producers, produce, b);
	}
	wait_group_wait(&producers);
	chan_close(b->c);
	wait_group_wait(&consumers);
	wait_group_destroy(&producers);
	wait_group_destroy(&consumers);
	chan_free(b->c);
}

/* --- there and back --- */

static void echo(void *arg)
{
	struct bench *b = arg;
	void *v;

	while (chan_recv(b->c, &v))
		chan_send(b->back, &v);
}

static void echo_select(void *arg)
{
	struct bench *b = arg;
	struct chan *idle[3] = {chan_new(0, 0), chan_new(0, 0), chan_new(0, 0)};
	void *v;

	for (;;) {
		struct chan_case cases[] = {chan_case_recv(idle[0], NULL), chan_case_recv(b->c, &v),
			chan_case_recv(idle[1], NULL), chan_case_recv(idle[2], NULL)};

		CHECK(chan_select(cases, 4) == 1);
		if (!cases[1].ok)
			break;
		chan_send(b->back, &v);
	}
	for (int k = 0; k < 3; k++)
		chan_free(idle[k]);
}

static void turns(struct bench *b, void (*peer)(void *))
{
	struct wait_group wg;
	void *v = b;

	b->c = chan_new(sizeof(void *), 0);
	b->back = chan_new(sizeof(void *), 0);
	wait_group_init(&wg);
	run(&wg, peer, b);
	for (long i = 0; i < b->n; i++) {
		chan_send(b->c, &v);
		chan_recv(b->back, &v);
	}
	chan_close(b->c);
	wait_group_wait(&wg);
	wait_group_destroy(&wg);
	chan_free(b->c);
	chan_free(b->back);
}

static void pingpong(struct bench *b)
{
	turns(b, echo);
}

static void pingpong_select(struct bench *b)
{
	turns(b, echo_select);
}

static void idle(void *c)
{
	chan_recv(c, NULL);
}

int main(void)
{
	static const size_t caps[] = {0, 1, 128, 10000}, batches[] = {1, 8, 64};
	struct chan *end = chan_new(0, 0);
	struct wait_group wg;
	char key[64];

	/*
	 * While there is one thread only, glibc's mutex leaves out what it costs in any real
	 * program.
	 */
	wait_group_init(&wg);
	run(&wg, idle, end);

	measure("mutex lock + unlock", mutex_pair, (struct bench){0});
	measure("try send + try receive, one thread", try_pair, (struct bench){0});
	measure("send + select of 4, one ready", select_ready, (struct bench){.cases = 4});
	measure("send + select of 8, one ready", select_ready, (struct bench){.cases = 8});
	for (size_t i = 0; i < 4; i++) {
		for (size_t j = 0; j < 3; j++) {
			snprintf(
				key, sizeof(key), "1:1, capacity %zu, by %zu", caps[i], batches[j]);
			measure(key, stream,
				(struct bench){.cap = caps[i], .batch = batches[j], .threads = 1});
		}
	}
	for (size_t j = 0; j < 3; j++) {
		snprintf(key, sizeof(key), "4:4, capacity 128, by %zu", batches[j]);
		measure(key, stream, (struct bench){.cap = 128, .batch = batches[j], .threads = 4});
	}
	measure("bare futex, there and back", futex_pingpong, (struct bench){0});
	measure("unbuffered, there and back", pingpong, (struct bench){0});
	measure("same through a select of 4", pingpong_select, (struct bench){0});
	chan_close(end);
	wait_group_wait(&wg);
	gothread_drain();
	chan_free(end);
	return 0;
}
