/* SPDX-License-Identifier: MIT */
/*
 * Consumers: each message is looked at, noted in a bitmap and finished. The FINs of all messages
 * that one recv() brought go out in one send().
 *
 * The check: each worker has a bitmap of its own, so that noting a message touches no shared
 * memory; at the end the bitmaps of a channel are put together, and every message must be in there.
 * A message may come twice only when its attempts say so.
 *
 * The end: FINs are sent before the messages are counted. So when the count is complete, every FIN
 * is on its way, and a CLS that follows them is answered only when the server has executed them
 * all. A FIN that fails brings an error frame, which ends the run.
 *
 * The clock of a channel stops when 99 % of its messages have come. The last few may lie in the
 * server's output buffers until their ticker comes round (250 ms), which says nothing about
 * throughput and would hide it.
 */
#include "test/bench/bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

enum {
	MESSAGE_HEAD = 26, /* timestamp 8, attempts 2, id 16 */
	FIN_SIZE = 21,     /* "FIN ", id, newline */
	INPUT_MIN = 64 * 1024,
	STALL_MS = 30000,
	HEARTBEAT_MS = 30000,
};

struct channel_count {
	_Alignas(64) _Atomic uint64_t received;
	uint64_t mark; /* so many stop the clock */
	_Atomic uint64_t marked_at;
};

struct consumer_worker {
	struct worker worker;
	int channel;
	uint64_t *seen;       /* bitmap over the sequence numbers */
	uint64_t redelivered; /* messages with attempts > 1 */
	uint64_t again;       /* messages that this worker had seen before */
};

struct consumer {
	struct conn conn; /* first: callbacks get a pointer to it */
	struct consumers *all;
	struct consumer_worker *worker;
	struct channel_count *count;
	int topic; /* message n belongs to topic n % opt.topics */
	char *out; /* FINs */
};

struct consumers {
	uint64_t max;
	size_t bitmap_size; /* bytes */
	struct latency *latency;
	int n;
	struct consumer *list;
	int nworkers;
	struct consumer_worker *workers;
	struct channel_count *counts; /* one per channel */
};

static bool note(uint64_t *seen, uint64_t seq)
{
	uint64_t bit = 1ULL << (seq & 63);

	if (seen[seq >> 6] & bit)
		return false;
	seen[seq >> 6] |= bit;
	return true;
}

/* Returns whether it is a message that this worker had not seen. */
static bool consumer_message(struct consumer *c, const struct frame *f)
{
	const char *body = f->data + MESSAGE_HEAD;
	uint64_t seq;

	if (f->len < MESSAGE_HEAD + BODY_MIN)
		die("a message of %zu bytes", f->len);
	seq = body_check(body, f->len - MESSAGE_HEAD);
	if (seq >= c->all->max)
		die("message %llu was never sent", (unsigned long long)seq);
	if (seq % (uint64_t)opt.topics != (uint64_t)c->topic)
		die("message %llu came from topic %d", (unsigned long long)seq, c->topic);
	if (f->data[8] != 0 || f->data[9] != 1)
		c->worker->redelivered++;
	if (c->all->latency)
		latency_record(c->all->latency, body, c->conn.input_at);
	if (note(c->worker->seen, seq))
		return true;
	c->worker->again++;
	return false;
}

static void consumer_count(struct channel_count *count, uint64_t fresh, uint64_t at)
{
	uint64_t before = atomic_fetch_add(&count->received, fresh);

	if (before < count->mark && before + fresh >= count->mark)
		atomic_store(&count->marked_at, at);
}

static void consumer_input(struct conn *conn)
{
	struct consumer *c = (struct consumer *)conn;
	char *out = c->out;
	struct frame f;
	size_t used = 0;
	uint64_t fresh = 0;

	while (conn_frame(conn, &used, &f)) {
		if (f.type == FRAME_MESSAGE) {
			fresh += consumer_message(c, &f);
			memcpy(out, "FIN ", 4);
			memcpy(out + 4, f.data + 10, 16);
			out[20] = '\n';
			out += FIN_SIZE;
		} else if (frame_is(&f, "_heartbeat_")) {
			memcpy(out, "NOP\n", 4);
			out += 4;
		} else if (frame_is(&f, "CLOSE_WAIT")) {
			conn->done = true;
		} else {
			die("unexpected answer: %.*s", (int)f.len, f.data);
		}
	}
	conn_consume(conn, used);
	if (out > c->out)
		conn_send(conn, c->out, (size_t)(out - c->out));
	if (fresh > 0)
		consumer_count(c->count, fresh, conn->input_at);
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
	c->out = xalloc(cap / message * FIN_SIZE + cap / 4 + FIN_SIZE);
	numbered(name, sizeof(name), opt.channel, opt.channels, channel);
	numbered(topic, sizeof(topic), opt.topic, opt.topics, c->topic);
	conn_identify(&c->conn, HEARTBEAT_MS);
	conn_subscribe(&c->conn, topic, name);
}

static uint64_t *bitmap_new(size_t size)
{
	/* Pages that are never touched cost nothing. */
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		die("no memory for a bitmap of %zu bytes", size);
	return p;
}

struct consumers *consumers_open(uint64_t max, struct latency *lat)
{
	struct consumers *c = xalloc(sizeof(*c));
	int per_channel = opt.subs < opt.threads ? opt.subs : opt.threads;

	c->max = max;
	c->bitmap_size = (max / 64 + 1) * sizeof(uint64_t);
	c->latency = lat;
	c->n = opt.channels * opt.subs;
	c->list = xalloc((size_t)c->n * sizeof(*c->list));
	c->counts = aligned_alloc(64, (size_t)opt.channels * sizeof(*c->counts));
	memset(c->counts, 0, (size_t)opt.channels * sizeof(*c->counts));
	for (int i = 0; i < opt.channels; i++)
		c->counts[i].mark = max - max / 100;
	c->nworkers = opt.channels * per_channel;
	c->workers = xalloc((size_t)c->nworkers * sizeof(*c->workers));
	for (int i = 0; i < c->nworkers; i++) {
		c->workers[i].channel = i / per_channel;
		c->workers[i].seen = bitmap_new(c->bitmap_size);
		c->workers[i].worker.conns = xalloc((size_t)opt.subs * sizeof(struct conn *));
	}
	for (int i = 0; i < c->n; i++) {
		struct consumer *one = &c->list[i];
		int channel = i / opt.subs;
		struct worker *w;
		one->worker = &c->workers[channel * per_channel + i % opt.subs % per_channel];
		one->all = c;
		one->count = &c->counts[channel];
		one->topic = i % opt.subs % opt.topics;
		consumer_open(one, channel);
		w = &one->worker->worker;
		w->conns[w->n++] = &one->conn;
	}
	return c;
}

void consumers_spawn(struct consumers *c, pthread_barrier_t *start)
{
	for (int i = 0; i < c->nworkers; i++)
		worker_spawn(&c->workers[i].worker, start);
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

/* Dies when nothing comes for STALL_MS. */
static void wait_received(struct consumers *c, int channel, uint64_t expected)
{
	struct timespec ms = {.tv_nsec = 1000000};
	uint64_t before = 0;
	int silent = 0;

	for (;;) {
		uint64_t now = atomic_load(&c->counts[channel].received);
		if (now >= expected)
			return;
		silent = now == before ? silent + 1 : 0;
		before = now;
		if (silent > STALL_MS)
			die("channel %d stalled: %llu messages of %llu", channel,
				(unsigned long long)now, (unsigned long long)expected);
		nanosleep(&ms, NULL);
	}
}

void consumers_await(struct consumers *c, uint64_t expected)
{
	for (int i = 0; i < opt.channels; i++)
		wait_received(c, i, expected);
}

/* Puts the bitmaps of a channel together and compares. */
static void check_channel(struct consumers *c, int channel, uint64_t expected)
{
	uint64_t distinct = 0, twice = 0, redelivered = 0;

	for (int i = 0; i < c->nworkers; i++)
		if (c->workers[i].channel == channel) {
			redelivered += c->workers[i].redelivered;
			twice += c->workers[i].again;
		}
	for (size_t w = 0; w <= (expected - 1) / 64; w++) { /* numbers are dense */
		uint64_t all = 0;
		for (int i = 0; i < c->nworkers; i++) {
			if (c->workers[i].channel != channel)
				continue;
			twice += (uint64_t)__builtin_popcountll(all & c->workers[i].seen[w]);
			all |= c->workers[i].seen[w];
		}
		distinct += (uint64_t)__builtin_popcountll(all);
	}
	if (distinct != expected)
		die("channel %d: %llu different messages of %llu", channel,
			(unsigned long long)distinct, (unsigned long long)expected);
	if (twice > redelivered)
		die("channel %d: %llu messages came twice", channel, (unsigned long long)twice);
}

uint64_t consumers_finish(struct consumers *c, uint64_t expected, uint64_t *received)
{
	uint64_t last = 0;

	consumers_await(c, expected);
	uint64_t all_at = now_ns();
	for (int i = 0; i < c->n; i++)
		conn_send(&c->list[i].conn, "CLS\n", 4);
	for (int i = 0; i < c->nworkers; i++)
		worker_join(&c->workers[i].worker);
	for (int i = 0; i < opt.channels; i++) {
		uint64_t at = atomic_load(&c->counts[i].marked_at);
		if (at > last)
			last = at;
		check_channel(c, i, expected);
	}
	/* With --seconds the number of messages is not known before the end. */
	*received = expected < c->max ? expected : c->max - c->max / 100;
	return expected < c->max ? all_at : last;
}

uint64_t consumers_redelivered(const struct consumers *c)
{
	uint64_t n = 0;

	for (int i = 0; i < c->nworkers; i++)
		n += c->workers[i].redelivered;
	return n;
}

void consumers_close(struct consumers *c)
{
	for (int i = 0; i < c->n; i++) {
		conn_close(&c->list[i].conn);
		free(c->list[i].out);
	}
	for (int i = 0; i < c->nworkers; i++) {
		munmap(c->workers[i].seen, c->bitmap_size);
		free(c->workers[i].worker.conns);
	}
	free(c->workers);
	free(c->counts);
	free(c->list);
	free(c);
}
