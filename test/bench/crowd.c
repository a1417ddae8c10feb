/* SPDX-License-Identifier: MIT */
/*
 * A crowd of consumers on one channel, with RDY 1 each, on one thread of the generator. They connect
 * at once, as after a restart of the server: all connections are made before the first IDENTIFY goes
 * out, and each goes on as it is answered.
 *
 * A message for each: nobody answers before all have one, so that none gets two. Then all FINs go
 * out at once.
 *
 * Traffic: each message is finished at once, until the server ends.
 */
#include "test/bench/bench.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { INPUT = 1024, HEARTBEAT_MS = 30000 };

enum member_step { IDENTIFYING, SUBSCRIBING, READY, FINISHING };

struct member {
	struct conn conn; /* first: callbacks get a pointer to it */
	struct crowd *all;
	enum member_step step;
	bool has_message;
	char fin[4 + ID_SIZE + 1];
};

struct crowd {
	int n;
	struct member *list;
	struct worker worker;
	bool *seen;   /* by sequence number of this round, or of the traffic */
	bool traffic; /* finish at once */
	_Atomic uint64_t n_seen;
	struct conn source; /* publishes */
	uint64_t published;
};

static void send_rdy(struct conn *c)
{
	conn_send(c, "RDY 1\n", 6);
}

static char *put_fin(char *out, const struct frame *f)
{
	return mempcpy(mempcpy(mempcpy(out, "FIN ", 4), f->data + ID_AT, ID_SIZE), "\n", 1);
}

static void finish_at_once(struct member *m, const struct frame *f)
{
	uint64_t seq;

	if (f->len < MESSAGE_HEAD + BODY_MIN)
		die("a message of %zu bytes", f->len);
	seq = body_check(f->data + MESSAGE_HEAD, f->len - MESSAGE_HEAD);
	if (seq >= CROWD_TRAFFIC_MAX)
		die("message %llu was never sent", (unsigned long long)seq);
	put_fin(m->fin, f);
	conn_send(&m->conn, m->fin, sizeof(m->fin));
	if (!m->all->seen[seq])
		atomic_fetch_add(&m->all->n_seen, 1);
	m->all->seen[seq] = true;
}

static void note_message(struct member *m, const struct frame *f)
{
	uint64_t seq;

	if (m->all->traffic) {
		finish_at_once(m, f);
		return;
	}
	if (m->step != READY || m->has_message || f->len < MESSAGE_HEAD + BODY_MIN)
		die("a message for a consumer that has one already, or is not ready");
	seq = body_check(f->data + MESSAGE_HEAD, f->len - MESSAGE_HEAD);
	if (seq / (uint64_t)m->all->n != m->all->published / (uint64_t)m->all->n - 1 ||
		m->all->seen[seq % (uint64_t)m->all->n])
		die("message %llu came twice, or was never sent", (unsigned long long)seq);
	m->all->seen[seq % (uint64_t)m->all->n] = true;
	m->has_message = true;
	put_fin(m->fin, f);
	m->conn.done = true;
}

static void note_answer(struct member *m, const struct frame *f)
{
	if (m->step == IDENTIFYING && frame_is(f, "OK")) {
		conn_send_sub(&m->conn, opt.topic, opt.channel);
		m->step = SUBSCRIBING;
	} else if (m->step == SUBSCRIBING && frame_is(f, "OK")) {
		send_rdy(&m->conn);
		m->step = READY;
		m->conn.done = true;
	} else if (m->step == FINISHING && frame_is(f, "CLOSE_WAIT")) {
		m->conn.done = true;
	} else {
		die("unexpected answer: %.*s", (int)f->len, f->data);
	}
}

static void member_input(struct conn *c)
{
	struct frame f;
	size_t used = 0;

	while (conn_frame(c, &used, &f)) {
		if (f.type == FRAME_MESSAGE)
			note_message((struct member *)c, &f);
		else if (frame_is(&f, "_heartbeat_"))
			conn_send(c, "NOP\n", 4);
		else if (f.type != FRAME_ERROR) /* a FIN that came too late */
			note_answer((struct member *)c, &f);
	}
	conn_consume(c, used);
}

static void start_identify(struct conn *c)
{
	conn_send_identify(c, HEARTBEAT_MS);
}

static void start_waiting(struct conn *c)
{
	(void)c;
}

static void start_closing(struct conn *c)
{
	((struct member *)c)->step = FINISHING;
	conn_send(c, "CLS\n", 4);
}

/* Begins with `start` for each, in the worker. */
static void begin(struct crowd *c, void (*start)(struct conn *))
{
	pthread_barrier_t barrier;

	for (int i = 0; i < c->n; i++) {
		c->list[i].conn.start = start;
		c->list[i].conn.done = false;
	}
	pthread_barrier_init(&barrier, NULL, 2);
	worker_spawn(&c->worker, &barrier);
	pthread_barrier_wait(&barrier);
	pthread_barrier_destroy(&barrier);
}

/* Goes on until all are done. */
static void run(struct crowd *c, void (*start)(struct conn *))
{
	begin(c, start);
	worker_join(&c->worker);
}

/* One MPUB with a message for each. */
static void publish(struct crowd *c)
{
	size_t stride = 4 + opt.size, bodies = (size_t)c->n * stride;
	char *out = xalloc(NAME_SIZE + 16 + bodies);
	size_t n = put_command(out, "MPUB", opt.topic, 4 + bodies);

	put_be32(out + n, (uint32_t)c->n);
	for (int i = 0; i < c->n; i++) {
		char *body = out + n + 4 + (size_t)i * stride + 4;
		put_be32(body - 4, (uint32_t)opt.size);
		body_fill(body, opt.size, (uint32_t)i);
		body_stamp(body, opt.size, c->published - (uint64_t)c->n + (uint64_t)i);
	}
	conn_send(&c->source, out, n + 4 + bodies);
	conn_expect_ok(&c->source, "MPUB");
	free(out);
}

struct crowd *crowd_new(void)
{
	struct crowd *c = xalloc(sizeof(*c));

	c->n = opt.conns;
	c->list = xalloc((size_t)c->n * sizeof(*c->list));
	c->seen = xalloc((size_t)c->n * sizeof(*c->seen));
	c->worker.n = c->n;
	c->worker.conns = xalloc((size_t)c->n * sizeof(*c->worker.conns));
	for (int i = 0; i < c->n; i++) {
		c->list[i].all = c;
		c->list[i].conn.input = member_input;
		c->worker.conns[i] = &c->list[i].conn;
	}
	conn_open(&c->source, opt.port, INPUT);
	conn_identify(&c->source, -1);
	return c;
}

void crowd_connect(struct crowd *c)
{
	for (int i = 0; i < c->n; i++)
		conn_open(&c->list[i].conn, opt.port, INPUT);
	run(c, start_identify);
}

void crowd_deliver(struct crowd *c)
{
	memset(c->seen, 0, (size_t)c->n * sizeof(*c->seen));
	c->published += (uint64_t)c->n;
	begin(c, start_waiting);
	publish(c);
	worker_join(&c->worker);
	for (int i = 0; i < c->n; i++) {
		conn_send(&c->list[i].conn, c->list[i].fin, sizeof(c->list[i].fin));
		c->list[i].has_message = false;
	}
}

void crowd_finish(struct crowd *c)
{
	run(c, start_closing);
}

void crowd_traffic_begin(struct crowd *c)
{
	free(c->seen);
	c->seen = xalloc(CROWD_TRAFFIC_MAX * sizeof(*c->seen));
	c->traffic = true;
	begin(c, start_waiting);
}

void crowd_traffic_end(struct crowd *c)
{
	worker_join(&c->worker);
}

uint64_t crowd_seen(const struct crowd *c)
{
	return atomic_load(&c->n_seen);
}

void crowd_print_unseen(const struct crowd *c, uint64_t to)
{
	for (uint64_t seq = 0; seq < to; seq++)
		if (!c->seen[seq])
			printf(",%llu", (unsigned long long)seq);
}

void crowd_expect_end(struct crowd *c)
{
	char buf[INPUT];

	for (int i = 0; i < c->n; i++) {
		ssize_t n;
		while ((n = recv(c->list[i].conn.fd, buf, sizeof(buf), MSG_DONTWAIT)) > 0)
			;
		if (n < 0 && errno != ECONNRESET)
			die("a connection is still open: %s", strerror(errno));
	}
}

void crowd_free(struct crowd *c)
{
	for (int i = 0; i < c->n; i++)
		conn_close(&c->list[i].conn);
	conn_close(&c->source);
	free(c->worker.conns);
	free(c->seen);
	free(c->list);
	free(c);
}
