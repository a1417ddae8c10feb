/* SPDX-License-Identifier: MIT */
/*
 * Consumers: each message is looked at, noted (tally.c) and answered. The answers to all messages
 * that one recv() brought go out in one send(). The answer is a FIN; a TOUCH in front of it, or a
 * REQ or nothing at the first delivery, where the options say so.
 *
 * The end: FINs are sent before the messages are counted. So when the count is complete, every FIN
 * is on its way, and a CLS that follows them is answered only when the server has executed them
 * all. A command that fails brings an error frame, which ends the run.
 */
#include "test/bench/bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	ANSWERS_MAX = 2 * 24, /* "TOUCH ", "FIN " or "REQ ", id, " 0", newline */
	INPUT_MIN = 64 * 1024,
	HEARTBEAT_MS = 30000,
};

struct consumer {
	struct conn conn; /* first: callbacks get a pointer to it */
	struct consumers *all;
	struct tally *tally;
	int topic; /* message n belongs to topic n % opt.topics */
	char *out; /* answers */
};

struct consumers {
	struct tallies tallies;
	struct observer *observer;
	int n;
	struct consumer *list;
	int nworkers;
	struct worker *workers;
};

/* Inline, so that the strings are copied in one move each: millions of FINs per second. */
static inline char *command(char *out, const char *name, const struct frame *f, const char *end)
{
	out = mempcpy(out, name, strlen(name));
	out = mempcpy(out, f->data + ID_AT, ID_SIZE);
	return mempcpy(out, end, strlen(end));
}

static uint64_t message_number(const struct consumer *c, const struct frame *f)
{
	uint64_t seq;

	if (f->len < MESSAGE_HEAD + BODY_MIN)
		die("a message of %zu bytes", f->len);
	seq = body_check(f->data + MESSAGE_HEAD, f->len - MESSAGE_HEAD);
	if (seq >= c->all->tallies.max)
		die("message %llu was never sent", (unsigned long long)seq);
	if (opt.topics > 1 && seq % (uint64_t)opt.topics != (uint64_t)c->topic)
		die("message %llu came from topic %d", (unsigned long long)seq, c->topic);
	return seq;
}

/* Notes a message, and appends what it is answered with. */
static char *consumer_message(
	struct consumer *c, const struct frame *f, char *out, uint64_t *first, uint64_t *fresh)
{
	uint64_t seq = message_number(c, f);
	unsigned attempts = (unsigned)(unsigned char)f->data[8] << 8 | (unsigned char)f->data[9];
	struct observer *o = c->all->observer;

	if (o)
		o->delivered(
			o, c->tally->channel, f->data + MESSAGE_HEAD, attempts, c->conn.input_at);
	*fresh += tally_note(c->tally, seq, attempts);
	if (attempts < c->tally->last) {
		++*first;
		return opt.requeue ? command(out, "REQ ", f, " 0\n") : out;
	}
	if (opt.touch)
		out = command(out, "TOUCH ", f, "\n");
	return command(out, "FIN ", f, "\n");
}

static void consumer_input(struct conn *conn)
{
	struct consumer *c = (struct consumer *)conn;
	char *out = c->out;
	struct frame f;
	size_t used = 0;
	uint64_t first = 0, fresh = 0;

	while (conn_frame(conn, &used, &f)) {
		if (f.type == FRAME_MESSAGE)
			out = consumer_message(c, &f, out, &first, &fresh);
		else if (frame_is(&f, "_heartbeat_"))
			out = stpcpy(out, "NOP\n");
		else if (frame_is(&f, "CLOSE_WAIT"))
			conn->done = true;
		else
			die("unexpected answer: %.*s", (int)f.len, f.data);
	}
	conn_consume(conn, used);
	if (out > c->out)
		conn_send(conn, c->out, (size_t)(out - c->out));
	tallies_count(&c->all->tallies, c->tally->channel, first, fresh, conn->input_at);
}

static void consumer_start(struct conn *conn)
{
	(void)conn;
}

static void consumer_open(struct consumer *c, int channel)
{
	size_t message = 8 + MESSAGE_HEAD + opt.size;
	size_t cap = message * 2 > INPUT_MIN ? message * 2 : INPUT_MIN;
	char name[NAME_SIZE], topic[NAME_SIZE];

	if (opt.subs > 64 && message <= 4096)
		cap = 8192; /* a thousand consumers, each with little to read */
	conn_open(&c->conn, opt.port, cap);
	c->conn.start = consumer_start;
	c->conn.input = consumer_input;
	/* The smallest frame that is answered is a heartbeat, with 4 bytes for 19. */
	c->out = xalloc(cap / message * ANSWERS_MAX + cap / 4 + ANSWERS_MAX);
	numbered(name, sizeof(name), opt.channel, opt.channels, channel);
	numbered(topic, sizeof(topic), opt.topic, opt.topics, c->topic);
	conn_identify(&c->conn, HEARTBEAT_MS);
	conn_subscribe(&c->conn, topic, name);
}

/* A tally for each thread that consumes from a channel; --pollers puts several on one thread. */
struct consumers *consumers_open(uint64_t max, struct observer *observer)
{
	struct consumers *c = xalloc(sizeof(*c));
	int per_channel = opt.subs < opt.threads ? opt.subs : opt.threads;

	tallies_init(&c->tallies, max, per_channel);
	c->observer = observer;
	c->n = opt.channels * opt.subs;
	c->list = xalloc((size_t)c->n * sizeof(*c->list));
	c->nworkers = c->tallies.n;
	if (opt.pollers > 0 && opt.pollers < c->nworkers)
		c->nworkers = opt.pollers;
	c->workers = xalloc((size_t)c->nworkers * sizeof(*c->workers));
	for (int i = 0; i < c->nworkers; i++)
		c->workers[i].conns = xalloc((size_t)c->n * sizeof(struct conn *));
	for (int i = 0; i < c->n; i++) {
		struct consumer *one = &c->list[i];
		int channel = i / opt.subs;
		int tally = channel * per_channel + i % opt.subs % per_channel;
		struct worker *w = &c->workers[tally % c->nworkers];
		one->tally = &c->tallies.list[tally];
		one->all = c;
		one->topic = i % opt.subs % opt.topics;
		consumer_open(one, channel);
		w->conns[w->n++] = &one->conn;
	}
	return c;
}

void consumers_spawn(struct consumers *c, pthread_barrier_t *start)
{
	for (int i = 0; i < c->nworkers; i++)
		worker_spawn(&c->workers[i], start);
}

int consumers_workers(const struct consumers *c)
{
	return c->nworkers;
}

void consumers_ready(struct consumers *c)
{
	char out[32];
	int n = snprintf(out, sizeof(out), "RDY %d\n", opt.rdy);

	for (int i = 0; i < c->n; i++)
		conn_send(&c->list[i].conn, out, (size_t)n);
}

void consumers_run(struct consumers *c)
{
	pthread_barrier_t start;

	pthread_barrier_init(&start, NULL, (unsigned)c->nworkers + 1);
	consumers_spawn(c, &start);
	consumers_ready(c);
	pthread_barrier_wait(&start);
	pthread_barrier_destroy(&start);
}

struct tallies *consumers_tallies(struct consumers *c)
{
	return &c->tallies;
}

uint64_t consumers_finish(struct consumers *c, uint64_t expected, uint64_t *received)
{
	struct tallies *t = &c->tallies;
	uint64_t last = 0;

	tallies_await(t, expected);
	uint64_t all_at = now_ns();
	for (int i = 0; i < c->n; i++)
		conn_send(&c->list[i].conn, "CLS\n", 4);
	for (int i = 0; i < c->nworkers; i++)
		worker_join(&c->workers[i]);
	for (int i = 0; i < opt.channels; i++) {
		uint64_t at = atomic_load(&t->counts[i].marked_at);
		if (at > last)
			last = at;
	}
	tallies_check(t, expected);
	/* With --seconds the number of messages is not known before the end. */
	*received = expected < t->max ? expected : t->max - t->max / 100;
	return expected < t->max ? all_at : last;
}

uint64_t consumers_redelivered(const struct consumers *c)
{
	uint64_t n = 0;

	for (int i = 0; i < c->tallies.n; i++)
		n += c->tallies.list[i].redelivered;
	return n;
}

void consumers_close(struct consumers *c)
{
	for (int i = 0; i < c->n; i++) {
		conn_close(&c->list[i].conn);
		free(c->list[i].out);
	}
	for (int i = 0; i < c->nworkers; i++)
		free(c->workers[i].conns);
	tallies_free(&c->tallies);
	free(c->workers);
	free(c->list);
	free(c);
}
