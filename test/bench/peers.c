/* SPDX-License-Identifier: MIT */
/*
 * Publishing to other servers: Redis (XADD to a stream), beanstalkd (put) and NATS JetStream (PUB
 * with a subject for the answer). All three answer in lines, and each publishing connection has the
 * same window of commands without an answer as one to nsqd (publish.c). So the generator costs the
 * same, and each server may gather what it likes for one sync.
 */
#include "test/bench/bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A line of the answer at *used, without its "\r\n", ended by a 0 in the buffer; advances *used. NULL:
 * it is not there yet. */
static char *next_line(struct conn *c, size_t *used)
{
	char *line = c->buf + *used, *end = memchr(line, '\r', c->have - *used);

	if (!end || (size_t)(end + 2 - c->buf) > c->have)
		return NULL;
	*end = '\0';
	*used = (size_t)(end + 2 - c->buf);
	return line;
}

/* Sends a command, and waits for a line that begins with `answer`. */
static void ask(struct conn *c, const char *command, const char *answer)
{
	char *line;
	size_t used = 0;

	conn_send(c, command, strlen(command));
	for (;;) {
		while ((line = next_line(c, &used)) == NULL) {
			conn_consume(c, used);
			used = 0;
			conn_recv(c);
		}
		if (strncmp(line, answer, strlen(answer)) == 0)
			break;
		if (strncmp(line, "INFO ", 5) != 0)
			die("the answer to %s is %s", command, line);
	}
	conn_consume(c, used);
}

void peer_handshake(struct conn *c, enum publish_kind kind)
{
	char command[256];

	switch (kind) {
	case PUBLISH_BEANSTALKD:
		snprintf(command, sizeof(command), "use %s\r\n", opt.topic);
		ask(c, command, "USING ");
		break;
	case PUBLISH_NATS:
		snprintf(command, sizeof(command),
			"CONNECT {\"verbose\":false,\"pedantic\":false}\r\nSUB _INBOX.b%06d 1\r\n"
			"PING\r\n",
			c->fd);
		ask(c, command, "PONG");
		break;
	default:
		ask(c, "PING\r\n", "+PONG");
	}
}

int peer_command_head(char *out, const struct conn *c, enum publish_kind kind)
{
	switch (kind) {
	case PUBLISH_BEANSTALKD:
		return sprintf(out, "put 0 0 60 %zu\r\n", (size_t)opt.size);
	case PUBLISH_NATS:
		return sprintf(
			out, "PUB %s _INBOX.b%06d %zu\r\n", opt.topic, c->fd, (size_t)opt.size);
	default:
		return sprintf(out,
			"*5\r\n$4\r\nXADD\r\n$%zu\r\n%s\r\n$1\r\n*\r\n$1\r\nm\r\n$%zu\r\n",
			strlen(opt.topic), opt.topic, (size_t)opt.size);
	}
}

/* "$15", and then the id of the entry. */
static bool redis_answer(struct conn *c, size_t *used)
{
	size_t at = *used;
	char *line = next_line(c, &at);

	if (!line)
		return false;
	if (*line != '$' || line[1] == '-')
		die("the server says: %s", line);
	size_t size = strtoul(line + 1, NULL, 10);

	if (c->have - at < size + 2) {
		line[strlen(line)] = '\r'; /* as it was: the line is read once more */
		return false;
	}
	*used = at + size + 2;
	return true;
}

static bool beanstalkd_answer(struct conn *c, size_t *used)
{
	char *line = next_line(c, used);

	if (!line)
		return false;
	if (strncmp(line, "INSERTED ", 9) != 0)
		die("the server says: %s", line);
	return true;
}

/* "MSG SUBJECT 1 SIZE", and then JSON: {"stream":"bench", "seq":1}. Of other lines only PING needs an
 * answer. */
static bool nats_answer(struct conn *c, size_t *used)
{
	for (;;) {
		size_t at = *used;
		char *line = next_line(c, &at);

		if (!line)
			return false;
		if (strncmp(line, "MSG ", 4) == 0) {
			size_t size = strtoul(strrchr(line, ' ') + 1, NULL, 10);

			if (c->have - at < size + 2) {
				line[strlen(line)] = '\r';
				return false;
			}
			if (!memmem(c->buf + at, size, "\"seq\":", 6))
				die("the server says: %.*s", (int)size, c->buf + at);
			*used = at + size + 2;
			return true;
		}
		if (strcmp(line, "PING") == 0)
			conn_send(c, "PONG\r\n", 6);
		else if (*line == '-')
			die("the server says: %s", line);
		*used = at;
	}
}

int peer_answers(struct conn *c, enum publish_kind kind)
{
	size_t used = 0;
	int n = 0;

	while (kind == PUBLISH_REDIS         ? redis_answer(c, &used)
		: kind == PUBLISH_BEANSTALKD ? beanstalkd_answer(c, &used)
					     : nats_answer(c, &used))
		n++;
	conn_consume(c, used);
	return n;
}
