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
 * With several topics, message i goes to topic i % opt.topics, each of which has a publishing and a
 * consuming connection of its own. One thread publishes to all of them.
 *
 * The first 5 % of the messages warm up. They are not counted, nor is what they cost the server.
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

/* A topic's publisher. */
struct source {
	struct conn conn;
	char *out;        /* commands, one behind the other */
	size_t head;      /* bytes of a command in front of its body */
	int room, filled; /* commands in `out` */
	uint64_t waiting; /* commands sent and not answered */
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

/* Reads the answers that are there; waits for one when told so. */
static void answers(struct source *s, bool wait)
{
	struct conn *c = &s->conn;
	struct frame f;
	size_t used = 0;

	if (wait) {
		conn_recv(c);
	} else {
		ssize_t k = recv(c->fd, c->buf + c->have, c->cap - c->have, MSG_DONTWAIT);
		if (k <= 0)
			return;
		c->have += (size_t)k;
	}
	for (; conn_frame(c, &used, &f); s->waiting--)
		if (!frame_is(&f, "OK") || s->waiting == 0)
			die("an answer to no publish: %.*s", (int)f.len, f.data);
	conn_consume(c, used);
}

static void source_open(struct source *s, int topic)
{
	char head[NAME_SIZE + 16], name[NAME_SIZE];

	numbered(name, sizeof(name), opt.topic, opt.topics, topic);
	s->head = (size_t)snprintf(head, sizeof(head) - 4, "PUB %s\n", name) + 4;
	put_be32(head + s->head - 4, (uint32_t)opt.size);
	s->room = BURST / opt.topics + 1;
	s->out = xalloc((size_t)s->room * (s->head + opt.size));
	for (int i = 0; i < s->room; i++) {
		char *command = s->out + (size_t)i * (s->head + opt.size);
		memcpy(command, head, s->head);
		body_fill(command + s->head, opt.size, (uint32_t)(topic * s->room + i));
	}
	conn_open(&s->conn, opt.port, INPUT);
	conn_identify(&s->conn, -1);
}

/* Adds a message to what goes out next. */
static void source_add(struct source *s, const struct stamps *t)
{
	char *body = s->out + (size_t)s->filled++ * (s->head + opt.size) + s->head;

	body_stamp(body, opt.size, t->seq);
	memcpy(body, t, sizeof(*t));
}

static void source_send(struct source *s)
{
	conn_send(&s->conn, s->out, (size_t)s->filled * (s->head + opt.size));
	s->waiting += (uint64_t)s->filled;
	s->filled = 0;
	if (s->waiting >= BURST)
		answers(s, false);
}

/* Publishes the messages from `from` to `to` on time, or as soon as possible after it. */
static void publish(struct source *sources, uint64_t from, uint64_t to)
{
	uint64_t start = now_ns() + 1000000, n = (uint64_t)opt.topics;
	double interval = 1e9 / opt.rate;

	for (uint64_t i = from; i < to;) {
		uint64_t due = start + (uint64_t)((double)(i - from) * interval);
		uint64_t now = now_ns(), first = i;

		if (now < due) {
			sleep_until(due);
			now = now_ns();
		}
		while (i - first < BURST && i < to && due <= now) {
			struct stamps t = {i, due, now};
			source_add(&sources[i % n], &t);
			due = start + (uint64_t)((double)(++i - from) * interval);
		}
		for (uint64_t k = first; k < i && k < first + n; k++)
			source_send(&sources[k % n]);
	}
	for (uint64_t k = 0; k < n; k++)
		while (sources[k].waiting > 0)
			answers(&sources[k], true);
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

/* Publishes and consumes all; the samples are taken around what is counted. */
static uint64_t run(struct latency *l, uint64_t skip, struct proc_sample *before,
	struct proc_sample *after, double *rate)
{
	struct source *sources = xalloc((size_t)opt.topics * sizeof(*sources));
	struct consumers *c = consumers_open(opt.total, l);
	pthread_barrier_t start;
	uint64_t t0, t1, timed, redelivered;

	for (int i = 0; i < opt.topics; i++)
		source_open(&sources[i], i);
	pthread_barrier_init(&start, NULL, (unsigned)consumers_workers(c) + 1);
	consumers_spawn(c, &start);
	consumers_ready(c);
	pthread_barrier_wait(&start);
	publish(sources, 0, skip);
	consumers_await(c, skip);
	proc_sample(before);
	t0 = now_ns();
	publish(sources, skip, opt.total);
	t1 = consumers_finish(c, opt.total, &timed);
	proc_sample(after);
	*rate = (double)(timed - skip) * 1e9 / (double)(t1 - t0);
	redelivered = consumers_redelivered(c);
	for (int i = 0; i < opt.topics; i++) {
		conn_close(&sources[i].conn);
		free(sources[i].out);
	}
	free(sources);
	consumers_close(c);
	return redelivered;
}

void run_latency(void)
{
	struct latency l;
	struct proc_sample before, after;
	uint64_t redelivered, skip = opt.total / 20;
	double rate;

	l.due = xalloc(opt.total * sizeof(uint64_t));
	l.sent = xalloc(opt.total * sizeof(uint64_t));
	l.late = xalloc(opt.total * sizeof(uint64_t));
	prctl(PR_SET_TIMERSLACK, 1);
	redelivered = run(&l, skip, &before, &after, &rate);
	printf("mode=latency msgs=%llu rate=%.0f redelivered=%llu",
		(unsigned long long)(opt.total - skip), rate, (unsigned long long)redelivered);
	print_distribution("due", l.due + skip, opt.total - skip);
	print_distribution("sent", l.sent + skip, opt.total - skip);
	print_distribution("late", l.late + skip, opt.total - skip);
	proc_print(&before, &after, opt.total - skip);
	printf("\n");
	free(l.due);
	free(l.sent);
	free(l.late);
}
