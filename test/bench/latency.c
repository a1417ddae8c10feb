/* SPDX-License-Identifier: MIT */
/*
 * Publish-to-receive latency at a fixed rate, open loop: message i is due at start + i / rate,
 * whatever became of the messages before. It carries both the time when it was due and the time
 * when it was really sent.
 *
 * Two distributions are printed. `due`: from the due time, so a server that stalls the publisher is
 * charged for every message that should have gone out meanwhile (no coordinated omission). `sent`:
 * from the send. Their difference is how late the generator was, printed as `late`; on a machine
 * without real time it is part of `due` even with an infinitely fast server.
 *
 * The first 5 % of the messages warm up and are not counted.
 */
#include "test/bench/bench.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>

enum { BURST = 64, INPUT = 64 * 1024 };

struct stamps {
	uint64_t seq;
	uint64_t due;
	uint64_t sent;
};

struct latency {
	uint64_t *due; /* ns by sequence number; the consumer's thread only */
	uint64_t *sent;
	uint64_t *late;
};

void latency_record(struct latency *l, const char *body, uint64_t received_at)
{
	struct stamps t;

	memcpy(&t, body, sizeof(t));
	l->due[t.seq] = received_at - t.due;
	l->sent[t.seq] = received_at - t.sent;
	l->late[t.seq] = t.sent - t.due;
}

static void sleep_until(uint64_t at)
{
	struct timespec ts = {
		.tv_sec = (time_t)(at / 1000000000), .tv_nsec = (long)(at % 1000000000)};

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL) == EINTR)
		;
}

/* Counts the answers that are there; waits for one when told so. */
static uint64_t answers(struct conn *c, bool wait)
{
	struct frame f;
	size_t used = 0;
	uint64_t n = 0;

	if (wait) {
		conn_recv(c);
	} else {
		ssize_t k = recv(c->fd, c->buf + c->have, c->cap - c->have, MSG_DONTWAIT);
		if (k <= 0)
			return 0;
		c->have += (size_t)k;
	}
	while (conn_frame(c, &used, &f))
		n++;
	conn_consume(c, used);
	return n;
}

/* Publishes all messages on time, or as soon as possible after it. */
static void publish(struct conn *c, uint64_t start)
{
	double interval = 1e9 / opt.rate;
	char head[128];
	size_t hlen = (size_t)snprintf(head, sizeof(head) - 4, "PUB %s\n", opt.topic);
	size_t command = hlen + 4 + opt.size;
	char *out = xalloc(BURST * command);
	uint64_t answered = 0;

	put_be32(head + hlen, (uint32_t)opt.size);
	for (int i = 0; i < BURST; i++) {
		memcpy(out + (size_t)i * command, head, hlen + 4);
		body_fill(out + (size_t)i * command + hlen + 4, opt.size, (uint32_t)i);
	}
	for (uint64_t i = 0; i < opt.total;) {
		uint64_t due = start + (uint64_t)((double)i * interval);
		uint64_t now = now_ns();
		size_t n = 0;

		if (now < due) {
			sleep_until(due);
			now = now_ns();
		}
		while (n < BURST && i < opt.total && due <= now) {
			char *body = out + n++ * command + hlen + 4;
			struct stamps t = {i, due, now};
			body_stamp(body, opt.size, i);
			memcpy(body, &t, sizeof(t));
			due = start + (uint64_t)((double)++i * interval);
		}
		conn_send(c, out, n * command);
		if (i % BURST < n)
			answered += answers(c, false);
	}
	while (answered < opt.total)
		answered += answers(c, true);
	if (answered != opt.total)
		die("%llu answers to %llu messages", (unsigned long long)answered,
			(unsigned long long)opt.total);
	free(out);
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void print_distribution(const char *name, uint64_t *v, size_t n)
{
	static const struct {
		const char *name;
		double at;
	} points[] = {{"p50", 0.50}, {"p90", 0.90}, {"p99", 0.99}, {"p999", 0.999}};

	qsort(v, n, sizeof(*v), compare);
	for (size_t i = 0; i < sizeof(points) / sizeof(points[0]); i++)
		printf(" %s_%s_us=%.1f", name, points[i].name,
			(double)v[(size_t)((double)(n - 1) * points[i].at)] / 1e3);
	printf(" %s_max_us=%.1f", name, (double)v[n - 1] / 1e3);
}

void run_latency(void)
{
	struct latency l;
	struct consumers *c;
	struct conn pub = {0};
	struct proc_sample before, after;
	pthread_barrier_t start;
	uint64_t t0, end, timed, skip = opt.total / 20;

	l.due = xalloc(opt.total * sizeof(uint64_t));
	l.sent = xalloc(opt.total * sizeof(uint64_t));
	l.late = xalloc(opt.total * sizeof(uint64_t));
	prctl(PR_SET_TIMERSLACK, 1);
	c = consumers_open(opt.total, &l);
	conn_open(&pub, opt.port, INPUT);
	conn_identify(&pub, -1);
	pthread_barrier_init(&start, NULL, (unsigned)consumers_workers(c) + 1);
	consumers_spawn(c, &start);
	consumers_ready(c);
	pthread_barrier_wait(&start);
	proc_sample(&before);
	t0 = now_ns() + 1000000;
	publish(&pub, t0);
	end = consumers_finish(c, opt.total, &timed);
	proc_sample(&after);

	printf("mode=latency msgs=%llu seconds=%.3f rate=%.0f", (unsigned long long)opt.total,
		(double)(end - t0) / 1e9, (double)timed * 1e9 / (double)(end - t0));
	print_distribution("due", l.due + skip, opt.total - skip);
	print_distribution("sent", l.sent + skip, opt.total - skip);
	print_distribution("late", l.late + skip, opt.total - skip);
	printf(" redelivered=%llu", (unsigned long long)consumers_redelivered(c));
	proc_print(&before, &after, opt.total);
	printf("\n");
	conn_close(&pub);
	consumers_close(c);
	free(l.due);
	free(l.sent);
	free(l.late);
}
