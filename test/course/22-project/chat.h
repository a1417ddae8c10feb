/* SPDX-License-Identifier: MIT */
/*
 * A chat server: each line that a client says is heard by all. The hub owns the clients. The program
 * that includes this has main(), and the three functions in which a client ends.
 */
#ifndef TEST_COURSE_CHAT_H
#define TEST_COURSE_CHAT_H

#include <arpa/inet.h>
#include <err.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/chan.h"

#include "test/course/go.h"

enum { LINES = 16 }; /* a client that is further behind is dropped */

struct line {
	char text[512];
};

struct client {
	struct server *server;
	int fd;                  /* the reader closes it */
	FILE *in;                /* the reader's: the same descriptor */
	struct chan *lines;      /* of struct line; the hub closes it */
	struct wait_group users; /* the writer and the hub: when they are done the reader frees */
	LIST_ENTRY(client) link; /* the hub's, as all below */
	char name[32];
	bool dropped;
};

struct said {
	struct client *client;
	char text[256];
};

struct server {
	int fd, port;
	struct chan *join, *leave;   /* of struct client * */
	struct chan *said;           /* of struct said */
	struct chan *exit_chan;      /* closed by server_stop */
	LIST_HEAD(, client) clients; /* the hub's */
	struct wait_group wg;
};

/* The hub gives a client a line. */
static void deliver(struct client *c, const struct line *line);
/* The hub ends a client's two threads. It may have been dropped before. */
static void drop(struct client *c);
/* The reader ends its client: nobody uses it afterwards. */
static void leave(struct client *c);

static struct client *client_new(struct server *s, int fd)
{
	struct client *c = calloc(1, sizeof(*c));

	if (!c)
		err(1, "calloc");
	c->server = s;
	c->fd = fd;
	c->in = fdopen(fd, "r");
	if (!c->in)
		err(1, "fdopen");
	c->lines = chan_new(sizeof(struct line), LINES);
	wait_group_init(&c->users);
	return c;
}

static void client_free(struct client *c)
{
	chan_free(c->lines);
	wait_group_destroy(&c->users);
	free(c);
}

static bool send_all(int fd, const char *text)
{
	for (size_t left = strlen(text); left > 0;) {
		ssize_t n = send(fd, text, left, MSG_NOSIGNAL);

		if (n < 0)
			return false;
		text += n;
		left -= (size_t)n;
	}
	return true;
}

static void writer(void *arg)
{
	struct client *c = arg;
	struct line line;

	while (chan_recv(c->lines, &line) && send_all(c->fd, line.text))
		;
	shutdown(c->fd, SHUT_RDWR); /* ends the reader, which closes it */
}

/* Tells the hub what its client says. False: the server stops. */
static bool tell_hub(struct server *s, const struct said *said)
{
	enum { SAID, EXIT, CASES };
	struct chan_case cases[CASES] = {
		[SAID] = chan_case_send(s->said, said),
		[EXIT] = chan_case_recv(s->exit_chan, NULL),
	};

	return chan_select(cases, CASES) == SAID;
}

static void reader(void *arg)
{
	struct client *c = arg;
	struct said said = {.client = c};

	while (fgets(said.text, sizeof(said.text), c->in) && tell_hub(c->server, &said))
		;
	leave(c);
}

static void tell_all(struct server *s, const char *name, const char *words)
{
	struct line line;
	struct client *c;

	snprintf(line.text, sizeof(line.text), "%s%s\n", name, words);
	LIST_FOREACH(c, &s->clients, link)
	if (!c->dropped && c->name[0])
		deliver(c, &line);
}

/* The client's reader has ended. Nobody may use the client after the last line. */
static void forget(struct server *s, struct client *c)
{
	char name[sizeof(c->name) + 2];

	snprintf(name, sizeof(name), "* %s", c->name);
	LIST_REMOVE(c, link);
	drop(c);
	if (c->name[0])
		tell_all(s, name, " left");
	wait_group_done(&c->users);
}

static void hear(struct server *s, struct said *said)
{
	struct client *c = said->client;
	char name[sizeof(c->name) + 2];

	said->text[strcspn(said->text, "\n")] = '\0';
	if (c->name[0]) {
		snprintf(name, sizeof(name), "%s: ", c->name);
		tell_all(s, name, said->text);
	} else {
		snprintf(c->name, sizeof(c->name), "%.31s", said->text);
		snprintf(name, sizeof(name), "* %s", c->name);
		tell_all(s, name, " joined");
	}
}

/* The readers end one after the other, and each tells so. */
static void hub_ends(struct server *s)
{
	struct client *c;

	LIST_FOREACH(c, &s->clients, link)
	drop(c);
	while (!LIST_EMPTY(&s->clients)) {
		chan_recv(s->leave, &c);
		forget(s, c);
	}
}

static void hub(void *arg)
{
	enum { JOIN, LEAVE, SAID, EXIT, CASES };
	struct server *s = arg;
	struct client *c;
	struct said said;

	for (;;) {
		struct chan_case cases[CASES] = {
			[JOIN] = chan_case_recv(s->join, &c),
			[LEAVE] = chan_case_recv(s->leave, &c),
			[SAID] = chan_case_recv(s->said, &said),
			[EXIT] = chan_case_recv(s->exit_chan, NULL),
		};

		switch (chan_select(cases, CASES)) {
		case JOIN:
			LIST_INSERT_HEAD(&s->clients, c, link);
			break;
		case LEAVE:
			forget(s, c);
			break;
		case SAID:
			hear(s, &said);
			break;
		case EXIT:
			hub_ends(s);
			return;
		}
	}
}

/* The hub gets the client, and then its threads begin: so its reader cannot leave before it joins. */
static void client_joins(struct server *s, struct client *c)
{
	enum { JOIN, EXIT, CASES };
	struct chan_case cases[CASES] = {
		[JOIN] = chan_case_send(s->join, &c),
		[EXIT] = chan_case_recv(s->exit_chan, NULL),
	};

	wait_group_add(&c->users); /* the hub */
	if (chan_select(cases, CASES) == JOIN) {
		go(&c->users, "writer", writer, c);
		go(&s->wg, "reader", reader, c);
	} else {
		wait_group_done(&c->users);
		fclose(c->in);
		client_free(c);
	}
}

static void accept_loop(void *arg)
{
	struct server *s = arg;
	int room = 4096, fd;

	while ((fd = accept(s->fd, NULL, NULL)) >= 0) {
		setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
		client_joins(s, client_new(s, fd));
	}
}

static void server_start(struct server *s)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof(at);

	*s = (struct server){.fd = socket(AF_INET, SOCK_STREAM, 0)};
	if (s->fd < 0 || bind(s->fd, (struct sockaddr *)&at, size) < 0 || listen(s->fd, 16) < 0 ||
		getsockname(s->fd, (struct sockaddr *)&at, &size) < 0)
		err(1, "listen");
	s->port = ntohs(at.sin_port);
	s->join = chan_new(sizeof(struct client *), 0);
	s->leave = chan_new(sizeof(struct client *), 0);
	s->said = chan_new(sizeof(struct said), 0);
	s->exit_chan = chan_new(0, 0);
	wait_group_init(&s->wg);
	go(&s->wg, "hub", hub, s);
	go(&s->wg, "accept", accept_loop, s);
}

/* Ends all threads of the server, and frees what it has. */
static void server_stop(void *arg)
{
	struct server *s = arg;

	chan_close(s->exit_chan);
	shutdown(s->fd, SHUT_RDWR); /* wakes accept(), on Linux */
	wait_group_wait(&s->wg);
	wait_group_destroy(&s->wg);
	close(s->fd);
	chan_free(s->join);
	chan_free(s->leave);
	chan_free(s->said);
	chan_free(s->exit_chan);
}

#endif
