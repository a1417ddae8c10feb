/* SPDX-License-Identifier: MIT */
/*
 * Publishing at a fixed rate, open loop: message i is due at start + i / rate, whatever became of
 * the messages before. It carries both the time when it was due and the time when it was sent.
 *
 * With several topics, message i goes to topic i % opt.topics. Each has a connection of its own,
 * and one thread publishes to all of them. Answers are read now and then, and all at the end.
 */
#include "test/bench/bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>

enum { BURST = 64, INPUT = 64 * 1024 };

/* A topic's publisher. */
struct source {
	struct conn conn;
	char *out;        /* commands, one behind the other */
	size_t head;      /* bytes of a command in front of its body */
	int room, filled; /* commands in `out` */
	uint64_t waiting; /* commands sent and not answered */
};

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
	s->head = put_command(head, "PUB", name, opt.size);
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

struct source *sources_open(void)
{
	struct source *sources = xalloc((size_t)opt.topics * sizeof(*sources));

	prctl(PR_SET_TIMERSLACK, 1);
	for (int i = 0; i < opt.topics; i++)
		source_open(&sources[i], i);
	return sources;
}

void sources_publish(struct source *sources, uint64_t from, uint64_t to)
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

void sources_close(struct source *sources)
{
	for (int i = 0; i < opt.topics; i++) {
		conn_close(&sources[i].conn);
		free(sources[i].out);
	}
	free(sources);
}
