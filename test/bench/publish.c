/* SPDX-License-Identifier: MIT */
/*
 * Publishers: PUB, MPUB, DPUB, HTTP POST /pub, and what peers.c knows, each connection with a window of commands that
 * wait for their answer. The commands are built once; only the sequence numbers in the bodies are
 * written anew. As many commands as have been answered by one recv() go out in one send().
 *
 * Over snappy and deflate, the bytes of all commands are recorded before the clock starts (see
 * transport.c), each publisher taking its share of the numbers.
 */
#include "test/bench/bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct publisher {
	struct conn conn; /* first: callbacks get a pointer to it */
	struct publishers *all;
	char *out;      /* `outstanding` commands, one behind the other */
	int waiting;    /* commands sent and not answered */
	bool exhausted; /* no sequence numbers left */
	uint64_t sent;  /* messages */
	/* with opt.ok_times, in ns; answers come in the order of the commands: */
	uint64_t *sent_at; /* of the commands without an answer, a ring */
	uint64_t *times;   /* how long each answer took */
	size_t asked, answered, room;
	/* with compression: */
	struct recording recording;
	size_t *ends; /* where in it each command ends */
	size_t commands, played;
	struct sequence share;
	pthread_t recorder;
};

struct publishers {
	enum publish_kind kind;
	struct sequence *seq;
	unsigned per_command; /* messages */
	size_t head;          /* bytes of a command in front of its first body */
	size_t stride;        /* bytes from one body to the next within a command */
	size_t tail;          /* bytes behind the last body */
	size_t command;       /* bytes of a whole command */
	int n;
	struct publisher *list;
	int nworkers;
	struct worker *workers;
};

/* Writes the part of a command that stays the same; returns its head's size. */
static size_t command_head(
	const struct publishers *p, const struct conn *c, char *out, unsigned messages)
{
	size_t bodies = messages * (4 + opt.size);
	int n;

	switch (p->kind) {
	case PUBLISH_HTTP:
		n = sprintf(out,
			"POST /pub?topic=%s HTTP/1.1\r\nHost: bench\r\nContent-Length: %zu\r\n\r\n",
			opt.topic, opt.size);
		return (size_t)n;
	case PUBLISH_MPUB:
		n = (int)put_command(out, "MPUB", opt.topic, 4 + bodies);
		put_be32(out + n, messages);
		put_be32(out + n + 4, (uint32_t)opt.size);
		return (size_t)n + 8;
	case PUBLISH_DPUB:
		n = sprintf(out, "DPUB %s %d\n", opt.topic, opt.defer);
		put_be32(out + n, (uint32_t)opt.size);
		return (size_t)n + 4;
	case PUBLISH_PUB:
		return put_command(out, "PUB", opt.topic, opt.size);
	default:
		return (size_t)peer_command_head(out, c, p->kind);
	}
}

static void build_commands(struct publisher *p)
{
	const struct publishers *all = p->all;
	uint32_t first = (uint32_t)(p - all->list) << 20; /* no two bodies are the same */

	p->out = xalloc((size_t)opt.outstanding * all->command);
	for (int i = 0; i < opt.outstanding; i++) {
		char *cmd = p->out + (size_t)i * all->command;
		command_head(all, &p->conn, cmd, all->per_command);
		for (unsigned m = 0; m < all->per_command; m++) {
			char *body = cmd + all->head + m * all->stride;
			body_fill(body, opt.size, first + (unsigned)i * all->per_command + m);
			if (m > 0)
				put_be32(body - 4, (uint32_t)opt.size);
		}
		memcpy(cmd + all->command - all->tail, PEER_TAIL, all->tail);
	}
}

/* Sends recorded commands until the window is full, or all are sent. */
static void publisher_play(struct publisher *p)
{
	size_t from = p->played > 0 ? p->ends[p->played - 1] : 0;
	size_t n = p->commands - p->played, room = (size_t)(opt.outstanding - p->waiting);

	if (n > room)
		n = room;
	if (n > 0) {
		p->played += n;
		p->waiting += (int)n;
		recording_send(&p->conn, &p->recording, from, p->ends[p->played - 1]);
	}
	p->conn.done = p->played == p->commands && p->waiting == 0;
}

/*
 * Sends commands with numbers from seq until the window is full or there is nothing left to send.
 */
static void publisher_fill(struct publisher *p, struct sequence *seq)
{
	const struct publishers *all = p->all;
	uint64_t now = p->sent_at ? now_ns() : 0;
	size_t len = 0;

	while (p->waiting < opt.outstanding && !p->exhausted) {
		uint64_t first;
		unsigned n = sequence_take(seq, all->per_command, &first);
		char *cmd = p->out + len;

		if (n < all->per_command)
			p->exhausted = true;
		if (n == 0)
			break;
		if (n < all->per_command) /* the last MPUB, a shorter one */
			command_head(all, &p->conn, cmd, n);
		for (unsigned m = 0; m < n; m++)
			body_stamp(cmd + all->head + m * all->stride, opt.size, first + m);
		len += all->command - (all->per_command - n) * all->stride;
		p->sent += n;
		p->waiting++;
		if (p->sent_at)
			p->sent_at[p->asked++ % (size_t)opt.outstanding] = now;
	}
	if (len > 0)
		conn_send(&p->conn, p->out, len);
	p->conn.done = p->exhausted && p->waiting == 0;
}

static void publisher_send(struct publisher *p)
{
	if (p->ends)
		publisher_play(p);
	else
		publisher_fill(p, p->all->seq);
}

static void publisher_start(struct conn *c)
{
	publisher_send((struct publisher *)c);
}

static int answers_v2(struct conn *c)
{
	struct frame f;
	size_t used = 0;
	int n = 0;

	while (conn_frame(c, &used, &f)) {
		if (!frame_is(&f, "OK"))
			die("the answer to a publish is not OK: %.*s", (int)f.len, f.data);
		n++;
	}
	conn_consume(c, used);
	return n;
}

/* Only what the two daemons answer: a head with Content-Length: 2, and OK. */
static int answers_http(struct conn *c)
{
	char *end;

	if (c->have == c->cap)
		die("a HTTP answer without an end");
	c->buf[c->have] = '\0';
	end = strstr(c->buf, "\r\n\r\n");
	if (end == NULL || (size_t)(end + 6 - c->buf) > c->have)
		return 0;
	if (strncmp(c->buf, "HTTP/1.1 200 ", 13) != 0 || memcmp(end + 4, "OK", 2) != 0)
		die("a HTTP answer that is not OK: %s", c->buf);
	conn_consume(c, (size_t)(end + 6 - c->buf));
	return 1;
}

/* So many answers have come with the last input. */
static void note_times(struct publisher *p, size_t n)
{
	if (p->answered + n > p->room) {
		p->room = 2 * p->room + n + 1024;
		p->times = realloc(p->times, p->room * sizeof(*p->times));
		if (!p->times)
			die("out of memory");
	}
	for (; n > 0; n--, p->answered++)
		p->times[p->answered] =
			p->conn.input_at - p->sent_at[p->answered % (size_t)opt.outstanding];
}

static void publisher_input(struct conn *c)
{
	struct publisher *p = (struct publisher *)c;
	enum publish_kind kind = p->all->kind;
	int n = kind == PUBLISH_HTTP    ? answers_http(c)
		: kind >= PUBLISH_REDIS ? peer_answers(c, kind)
					: answers_v2(c);

	p->waiting -= n;
	if (p->waiting < 0)
		die("the server answered more often than it was asked");
	if (p->sent_at)
		note_times(p, (size_t)n);
	publisher_send(p);
}

/* Records the commands of a publisher's share, one by one. */
static void *record_main(void *arg)
{
	struct publisher *p = arg;
	size_t room = (size_t)(p->share.total - p->share.next) / p->all->per_command + 1;
	int outstanding = opt.outstanding;

	p->ends = xalloc(room * sizeof(*p->ends));
	recording_begin(&p->conn, &p->recording);
	while (!p->exhausted) {
		p->waiting = outstanding - 1;
		publisher_fill(p, &p->share);
		if (p->waiting == outstanding)
			p->ends[p->commands++] = p->recording.len;
	}
	recording_end(&p->conn);
	p->waiting = 0;
	return NULL;
}

static void record_all(struct publishers *all)
{
	for (int i = 0; i < all->n; i++) {
		struct publisher *p = &all->list[i];
		p->share.next = all->seq->total * (uint64_t)i / (uint64_t)all->n;
		p->share.total = all->seq->total * (uint64_t)(i + 1) / (uint64_t)all->n;
		if (pthread_create(&p->recorder, NULL, record_main, p) != 0)
			die("pthread_create failed");
	}
	for (int i = 0; i < all->n; i++)
		pthread_join(all->list[i].recorder, NULL);
}

static void assign_workers(struct publishers *p)
{
	p->nworkers = p->n < opt.threads ? p->n : opt.threads;
	p->workers = xalloc((size_t)p->nworkers * sizeof(*p->workers));
	for (int i = 0; i < p->nworkers; i++)
		p->workers[i].conns = xalloc((size_t)p->n * sizeof(struct conn *));
	for (int i = 0; i < p->n; i++) {
		struct worker *w = &p->workers[i % p->nworkers];
		w->conns[w->n++] = &p->list[i].conn;
	}
}

struct publishers *publishers_open(enum publish_kind kind, struct sequence *seq)
{
	struct publishers *p = xalloc(sizeof(*p));
	char head[256];

	p->kind = kind;
	p->seq = seq;
	p->per_command = kind == PUBLISH_MPUB ? (unsigned)opt.batch : 1;
	p->tail = kind >= PUBLISH_REDIS ? strlen(PEER_TAIL) : 0;
	p->stride = 4 + opt.size;
	p->n = opt.conns;
	p->list = xalloc((size_t)p->n * sizeof(*p->list));
	for (int i = 0; i < p->n; i++) {
		struct publisher *one = &p->list[i];
		one->all = p;
		p->head = command_head(p, &one->conn, head, p->per_command); /* for all the same */
		p->command = p->head + (p->per_command - 1) * p->stride + opt.size + p->tail;
		conn_open(&one->conn, kind == PUBLISH_HTTP ? opt.http_port : opt.port, 4096);
		if (kind >= PUBLISH_REDIS)
			peer_handshake(&one->conn, kind);
		else if (kind != PUBLISH_HTTP)
			conn_identify(&one->conn, -1);
		if (opt.ok_times)
			one->sent_at = xalloc((size_t)opt.outstanding * sizeof(*one->sent_at));
		one->conn.start = publisher_start;
		one->conn.input = publisher_input;
		build_commands(one);
	}
	if (opt.compress != COMPRESS_NONE)
		record_all(p);
	assign_workers(p);
	return p;
}

void publishers_spawn(struct publishers *p, pthread_barrier_t *start)
{
	for (int i = 0; i < p->nworkers; i++)
		worker_spawn(&p->workers[i], start);
}

int publishers_workers(const struct publishers *p)
{
	return p->nworkers;
}

uint64_t publishers_join(struct publishers *p)
{
	uint64_t acknowledged = 0;

	for (int i = 0; i < p->nworkers; i++)
		worker_join(&p->workers[i]);
	/* A publisher is done when nothing waits: what was sent is acknowledged. */
	for (int i = 0; i < p->n; i++)
		acknowledged += p->list[i].sent;
	return acknowledged;
}

void publishers_print(struct publishers *p)
{
	size_t n = 0, at = 0;
	uint64_t *all;

	for (int i = 0; i < p->n; i++)
		n += p->list[i].answered;
	all = xalloc(n * sizeof(*all));
	for (int i = 0; i < p->n; i++) {
		for (size_t k = 0; k < p->list[i].answered; k++)
			all[at++] = p->list[i].times[k];
	}
	if (n > 0)
		print_distribution("ok", "us", 1e3, all, n);
	free(all);
}

void publishers_close(struct publishers *p)
{
	for (int i = 0; i < p->n; i++) {
		conn_close(&p->list[i].conn);
		free(p->list[i].out);
		free(p->list[i].ends);
		free(p->list[i].sent_at);
		free(p->list[i].times);
		free(p->list[i].recording.data);
	}
	for (int i = 0; i < p->nworkers; i++)
		free(p->workers[i].conns);
	free(p->workers);
	free(p->list);
	free(p);
}
