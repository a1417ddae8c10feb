/* SPDX-License-Identifier: MIT */
/*
 * Churn: a connection for each piece of work, as PHP and shell scripts have it. opt.conns threads
 * each open a connection, do the work, close it, and open the next one.
 *
 * The client closes first, as such scripts do, but for HTTP with Connection: close. There the
 * server ends the connection, and the client waits for that. The end that closes first keeps the
 * pair of addresses and ports for a minute (TIME_WAIT). So each thread goes through source
 * addresses of its own in 127.0.0.0/8, and connect() never has to search for a free port.
 *
 * Rates count to the last answer. What the server spends counts until it has closed all: its
 * descriptors must be as many as before, or the run fails.
 */
#include "test/bench/bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "protocol/stream.h"

enum {
	INPUT = 4096,
	HEARTBEAT_MS = 30000,
	PER_ADDRESS = 4096, /* connections from one source address */
	LOOPBACK = 0x7f000001,
	CHURNERS_MAX = 250, /* each has a second octet of its own */
	LEFT_MAX = 8,       /* descriptors that a server may have opened for itself meanwhile */
	CLOSED_WITHIN_S = 10,
};

struct churner {
	struct conn conn; /* the one that is open; its buffer serves all */
	enum churn_kind kind;
	uint32_t number;
	uint64_t made; /* connections */
	const char *topic, *channel;
	char *out; /* request, with a body at its end; NULL for SUB */
	size_t len;
};

static void build_request(struct churner *c)
{
	char head[256];
	size_t n;

	if (c->kind == CHURN_HTTP)
		n = (size_t)snprintf(head, sizeof(head),
			"POST /pub?topic=%s HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n"
			"Content-Length: %zu\r\n\r\n",
			c->topic, opt.size);
	else
		n = put_command(head, "  V2PUB", c->topic, opt.size);
	c->len = n + opt.size;
	c->out = xalloc(c->len);
	memcpy(c->out, head, n);
	body_fill(c->out + n, opt.size, c->number);
}

struct churner *churner_new(
	enum churn_kind kind, uint32_t number, const char *topic, const char *channel)
{
	struct churner *c = xalloc(sizeof(*c));

	if (number > CHURNERS_MAX)
		die("at most %d threads that open connections", CHURNERS_MAX);
	c->kind = kind;
	c->number = number;
	c->topic = topic;
	c->channel = channel;
	c->conn.cap = INPUT;
	c->conn.buf = xalloc(INPUT);
	pthread_mutex_init(&c->conn.send_lock, NULL);
	if (kind == CHURN_PUB || kind == CHURN_HTTP)
		build_request(c);
	return c;
}

void churner_free(struct churner *c)
{
	pthread_mutex_destroy(&c->conn.send_lock);
	free(c->conn.buf);
	free(c->out);
	free(c);
}

static void subscribe(struct churner *c, uint64_t seq)
{
	char name[NAME_SIZE];

	if (c->kind == CHURN_SUB_NEW)
		snprintf(name, sizeof(name), "c%llu#ephemeral", (unsigned long long)seq);
	else
		snprintf(name, sizeof(name), "%s", c->channel);
	conn_send_identify(&c->conn, HEARTBEAT_MS);
	conn_expect_ok(&c->conn, "IDENTIFY");
	conn_subscribe(&c->conn, c->topic, name);
}

/* The whole answer, which ends with the connection. */
static void post(struct churner *c)
{
	struct conn *in = &c->conn;
	const char *body;

	conn_send(in, c->out, c->len);
	while (conn_recv_some(in))
		;
	if (in->have == in->cap)
		die("a HTTP answer without an end");
	in->buf[in->have] = '\0';
	body = strstr(in->buf, "\r\n\r\n");
	if (!body || strncmp(in->buf, "HTTP/1.1 200 ", 13) != 0 || strcmp(body + 4, "OK") != 0)
		die("a HTTP answer that is not OK: %.*s, %zu bytes", (int)strcspn(in->buf, "\r"),
			in->buf, in->have);
}

static void publish(struct churner *c)
{
	conn_send(&c->conn, c->out, c->len);
	conn_expect_ok(&c->conn, "PUB");
	if (c->conn.have > 0)
		die("more than one answer to a PUB");
}

static void hang_up(struct conn *c)
{
	if (c->stream)
		c->stream->ops->free(c->stream); /* and the descriptor */
	else
		close(c->fd);
	c->stream = NULL;
}

void churner_once(struct churner *c, uint64_t seq)
{
	uint32_t source = LOOPBACK + ((c->number + 1) << 16) +
			  ((uint32_t)(c->made++ / PER_ADDRESS % 256) << 8);

	c->conn.have = 0;
	c->conn.fd = dial_from(source, c->kind == CHURN_HTTP ? opt.http_port : opt.port);
	if (opt.tls)
		c->conn.stream = tls_client_new(stream_sock_new(c->conn.fd));
	if (c->out)
		body_stamp(c->out + c->len - opt.size, opt.size, seq);
	if (c->kind == CHURN_HTTP)
		post(c);
	else if (c->kind == CHURN_PUB)
		publish(c);
	else
		subscribe(c, seq);
	hang_up(&c->conn);
}

/* ---- as fast as it goes ---- */

struct churn_thread {
	struct churner *churner;
	struct sequence *seq;
	pthread_barrier_t *start;
	pthread_t thread;
};

static void *churn_main(void *arg)
{
	struct churn_thread *t = arg;
	uint64_t seq;

	pthread_barrier_wait(t->start);
	while (sequence_take(t->seq, 1, &seq) > 0)
		churner_once(t->churner, seq);
	return NULL;
}

static enum churn_kind kind_of_mode(void)
{
	if (strcmp(opt.mode, "churn-http") == 0)
		return CHURN_HTTP;
	return strcmp(opt.mode, "churn-sub") == 0 ? CHURN_SUB_NEW : CHURN_PUB;
}

static struct churn_thread *open_threads(struct sequence *seq, pthread_barrier_t *start)
{
	struct churn_thread *threads = xalloc((size_t)opt.conns * sizeof(*threads));

	pthread_barrier_init(start, NULL, (unsigned)opt.conns + 1);
	for (int i = 0; i < opt.conns; i++) {
		struct churn_thread *t = &threads[i];
		t->churner = churner_new(kind_of_mode(), (uint32_t)i, opt.topic, opt.channel);
		t->seq = seq;
		t->start = start;
		if (pthread_create(&t->thread, NULL, churn_main, t) != 0)
			die("pthread_create failed");
	}
	return threads;
}

/* Until there are no more numbers, or the time is over; returns how many connections there were. */
static uint64_t run_threads(struct churn_thread *threads, struct sequence *seq)
{
	struct timespec ts = {.tv_sec = (time_t)opt.seconds,
		.tv_nsec = (long)((opt.seconds - (double)(time_t)opt.seconds) * 1e9)};
	uint64_t made = 0;

	pthread_barrier_wait(threads->start);
	if (opt.total == 0) {
		nanosleep(&ts, NULL);
		atomic_store(&seq->stop, true);
	}
	for (int i = 0; i < opt.conns; i++) {
		pthread_join(threads[i].thread, NULL);
		made += threads[i].churner->made;
	}
	return made;
}

static void await_closed(int before)
{
	uint64_t end = now_ns() + CLOSED_WITHIN_S * 1000000000ULL;
	struct timespec ms = {.tv_nsec = 1000000};
	int left;

	while ((left = proc_descriptors() - before) > LEFT_MAX) {
		if (now_ns() > end)
			die("the server has %d descriptors more than before", left);
		nanosleep(&ms, NULL);
	}
}

void run_churn(void)
{
	struct sequence seq = {.total = opt.total > 0 ? opt.total : SEQ_LIMIT, .next = 1};
	struct churner *first = churner_new(kind_of_mode(), (uint32_t)opt.conns, opt.topic, "");
	struct proc_sample before, after;
	struct churn_thread *threads;
	pthread_barrier_t start;
	uint64_t t0, t1, made;
	int descriptors;

	threads = open_threads(&seq, &start);
	churner_once(first, 0); /* creates the topic */
	descriptors = proc_descriptors();
	proc_sample(&before);
	t0 = now_ns();
	made = run_threads(threads, &seq);
	t1 = now_ns();
	await_closed(descriptors);
	proc_sample(&after);
	if (opt.total > 0 && made + 1 != opt.total)
		die("%llu connections of %llu", (unsigned long long)made + 1,
			(unsigned long long)opt.total);
	printf("mode=%s msgs=%llu seconds=%.3f rate=%.0f redelivered=0", opt.mode,
		(unsigned long long)made + 1, (double)(t1 - t0) / 1e9,
		(double)made * 1e9 / (double)(t1 - t0));
	proc_print(&before, &after, made);
	printf("\n");
	for (int i = 0; i < opt.conns; i++)
		churner_free(threads[i].churner);
	churner_free(first);
	free(threads);
	pthread_barrier_destroy(&start);
}
