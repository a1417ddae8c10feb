/* SPDX-License-Identifier: MIT */
/*
 * A message's journey in small: a topic, its pump, two channels, and a client of each. The owner of
 * a record writes down each station, so the order of the stations is certain.
 */
#include <stdio.h>
#include <stdlib.h>

#include "common/chan.h"
#include "common/lock.h"

#include "test/course/20-journey/journey.h"
#include "test/course/go.h"

enum { CHANNELS = 2, MESSAGES = 8 };

/* What goes through a socket at once: the head of a frame, or its body. */
struct part {
	char bytes[16];
};

struct channel {
	const char *name;
	struct chan *memory; /* of struct message * */
	struct chan *socket; /* of struct part: to the client */
	struct mutex lock;
	struct message *in_flight[MESSAGES]; /* by id, a reference each; guarded by lock */
	char said[160];                      /* by io_loop */
};

struct topic {
	struct chan *memory; /* of struct message * */
	struct channel channels[CHANNELS];
};

/* The topic's pump: each channel gets a record of its own. */
static void topic_pump(void *arg)
{
	struct topic *t = arg;
	struct message *m;

	while (chan_recv(t->memory, &m)) {
		message_pass(m, "topic's pump");
		for (int i = 0; i < CHANNELS; i++) {
			struct message *copy = message_copy(m);
			message_pass(copy, t->channels[i].name);
			chan_send(t->channels[i].memory, &copy);
		}
		message_unref(m);
	}
	for (int i = 0; i < CHANNELS; i++)
		chan_close(t->channels[i].memory);
}

static void put_in_flight(struct channel *c, struct message *take_m)
{
	mutex_lock(&c->lock);
	c->in_flight[take_m->id] = take_m;
	mutex_unlock(&c->lock);
}

/* The client's pump: from the channel to the socket. */
static void client_pump(void *arg)
{
	struct channel *c = arg;
	struct message *m;

	while (chan_recv(c->memory, &m)) {
		struct part head, body;

		m->attempts++;
		message_pass(m, "in flight");
		snprintf(head.bytes, sizeof(head.bytes), "%d %d", m->id, m->attempts);
		message_ref(m); /* for the write: a FIN may drop the other one meanwhile */
		put_in_flight(c, m);
		chan_send(c->socket, &head);
		memcpy(body.bytes, m->body->text, sizeof(body.bytes));
		chan_send(c->socket, &body);
		message_unref(m);
	}
	chan_close(c->socket);
}

/* The caller gets the map's reference. */
static struct message *finish(struct channel *c, int id)
{
	mutex_lock(&c->lock);
	struct message *m = c->in_flight[id];
	c->in_flight[id] = NULL;
	mutex_unlock(&c->lock);
	return m;
}

/* The client, which reads a message and sends FIN, and its io_loop, which executes that. */
static void io_loop(void *arg)
{
	struct channel *c = arg;
	struct part head, body;
	int id, attempts;

	while (chan_recv(c->socket, &head)) {
		sscanf(head.bytes, "%d %d", &id, &attempts);
		chan_recv(c->socket, &body);
		struct message *m = finish(c, id);
		snprintf(c->said, sizeof(c->said), "%s, FIN: %s, attempt %d", m->way, body.bytes,
			attempts);
		message_unref(m);
	}
}

int main(void)
{
	struct topic t = {chan_new(sizeof(struct message *), 8),
		{{.name = "channel a"}, {.name = "channel b"}}};
	struct message *m = message_from(1, "hello");
	struct wait_group wg;

	wait_group_init(&wg);
	for (int i = 0; i < CHANNELS; i++) {
		struct channel *c = &t.channels[i];
		c->memory = chan_new(sizeof(struct message *), 8);
		c->socket = chan_new(sizeof(struct part), 8);
		mutex_init(&c->lock, RANK_IN_FLIGHT);
		go(&wg, "client's pump", client_pump, c);
		go(&wg, "io_loop", io_loop, c);
	}
	go(&wg, "topic's pump", topic_pump, &t);
	chan_send(t.memory, &m);
	chan_close(t.memory);
	wait_group_wait(&wg);
	wait_group_destroy(&wg);
	gothread_drain();
	for (int i = 0; i < CHANNELS; i++) {
		printf("%s\n", t.channels[i].said);
		chan_free(t.channels[i].memory);
		chan_free(t.channels[i].socket);
		mutex_destroy(&t.channels[i].lock);
	}
	chan_free(t.memory);
	return 0;
}
