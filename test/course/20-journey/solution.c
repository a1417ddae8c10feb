/* SPDX-License-Identifier: MIT */
/* A message that is requeued: it goes back into its channel's queue, and comes once more. */
#include "common/chan.h"
#include "common/lock.h"

#include "test/course/20-journey/journey.h"
#include "test/course/go.h"

struct frame {
	int id, attempts;
};

struct channel {
	struct chan *memory; /* of struct message * */
	struct chan *socket; /* of struct frame */
	struct mutex lock;
	struct message *in_flight; /* guarded by lock; a reference */
};

static void client_pump(void *arg)
{
	struct channel *c = arg;
	struct message *m;

	while (chan_recv(c->memory, &m)) {
		m->attempts++;
		message_pass(m, "in flight");
		/* Copied now: behind the unlock the record may be another pump's. */
		struct frame f = {m->id, m->attempts};
		mutex_lock(&c->lock);
		c->in_flight = m;
		mutex_unlock(&c->lock);
		chan_send(c->socket, &f);
	}
	chan_close(c->socket);
}

/* The caller gets the map's reference. */
static struct message *pop(struct channel *c)
{
	mutex_lock(&c->lock);
	struct message *m = c->in_flight;
	c->in_flight = NULL;
	mutex_unlock(&c->lock);
	return m;
}

/* The client refuses what it gets for the first time. */
static void io_loop(struct channel *c)
{
	struct frame f;

	while (chan_recv(c->socket, &f)) {
		struct message *m = pop(c);

		if (f.attempts == 1) {
			message_pass(m, "REQ");
			chan_send(c->memory, &m);
		} else {
			printf("%s, FIN: attempt %d\n", m->way, f.attempts);
			message_unref(m);
			chan_close(c->memory);
		}
	}
}

int main(void)
{
	struct channel c = {.memory = chan_new(sizeof(struct message *), 8),
		.socket = chan_new(sizeof(struct frame), 0)};
	struct message *m = message_from(1, "hello");
	struct wait_group wg;

	mutex_init(&c.lock, RANK_IN_FLIGHT);
	wait_group_init(&wg);
	chan_send(c.memory, &m);
	go(&wg, "client's pump", client_pump, &c);
	io_loop(&c);
	wait_group_wait(&wg);
	wait_group_destroy(&wg);
	gothread_drain();
	mutex_destroy(&c.lock);
	chan_free(c.memory);
	chan_free(c.socket);
	return 0;
}
