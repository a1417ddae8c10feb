/* SPDX-License-Identifier: MIT */
/*
 * A pump writes messages to a consumer. The consumer finishes each, perhaps before the write
 * returns. So a message has a count of those that use it.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/chan.h"
#include "common/xalloc.h"

#include "test/course/go.h"

enum { MESSAGES = 3 };

struct message {
	atomic_int refs; /* the table of what is in flight, and the pump that writes it */
	int id;
	size_t len;
	char body[8];
};

struct client {
	struct chan *wire, *fins;            /* of int: what its socket carries */
	struct message *in_flight[MESSAGES]; /* a reference each; a FIN takes it out */
	size_t written;                      /* bytes; the pump's own */
	int finished;                        /* io_loop's own */
};

/* With one reference, the caller's. */
static struct message *message_new(int id, const char *body)
{
	struct message *m = xcalloc(1, sizeof *m);

	atomic_init(&m->refs, 1);
	m->id = id;
	m->len = (size_t)snprintf(m->body, sizeof m->body, "%s", body);
	return m;
}

/* The caller has a reference already. So the message cannot go meanwhile. */
static struct message *message_ref(struct message *m)
{
	atomic_fetch_add_explicit(&m->refs, 1, memory_order_relaxed);
	return m;
}

/* Gives one back. The last one frees it, after all that the others have done with it. */
static void message_unref(struct message *m)
{
	if (atomic_fetch_sub_explicit(&m->refs, 1, memory_order_acq_rel) == 1)
		free(m);
}

static void pump(void *arg)
{
	static const char *const bodies[MESSAGES] = {"one", "two", "three"};
	struct client *c = arg;

	for (int i = 0; i < MESSAGES; i++) {
		struct message *m = message_new(i, bodies[i]);

		c->in_flight[m->id] = message_ref(m);
		chan_send(c->wire, &m->id);
		c->written += m->len; /* its FIN may have come */
		message_unref(m);
	}
	chan_close(c->wire);
}

static void consumer(void *arg)
{
	struct client *c = arg;
	int id;

	while (chan_recv(c->wire, &id))
		chan_send(c->fins, &id);
	chan_close(c->fins);
}

static void io_loop(void *arg)
{
	struct client *c = arg;
	int id;

	while (chan_recv(c->fins, &id)) {
		message_unref(c->in_flight[id]);
		c->in_flight[id] = NULL;
		c->finished++;
	}
}

int main(void)
{
	struct client c = {.wire = chan_new(sizeof(int), 0), .fins = chan_new(sizeof(int), 0)};
	struct wait_group wg;

	wait_group_init(&wg);
	go(&wg, "pump", pump, &c);
	go(&wg, "consumer", consumer, &c);
	go(&wg, "io_loop", io_loop, &c);
	wait_group_wait(&wg);
	printf("%zu bytes written, %d messages finished\n", c.written, c.finished);
	wait_group_destroy(&wg);
	gothread_drain();
	chan_free(c.wire);
	chan_free(c.fins);
	return 0;
}
