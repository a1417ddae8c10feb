/* SPDX-License-Identifier: MIT */
/* BROKEN: the pump has given away its only reference, and then writes the message. */
#include "common/chan.h"
#include "common/lock.h"

#include "test/course/20-journey/journey.h"
#include "test/course/gate.h"
#include "test/course/go.h"

static struct chan *socket; /* of 16 bytes */
static struct mutex lock;
static struct message *in_flight; /* guarded by lock; a reference */
static struct gate finished;

static void client_pump(void *arg)
{
	struct message *m = arg;
	char head[16];

	snprintf(head, sizeof(head), "%d", m->id);
	mutex_lock(&lock);
	in_flight = m;
	mutex_unlock(&lock);
	chan_send(socket, head);
	gate_wait(&finished);
	chan_send(socket, m->body->text); /* @writes */
	chan_close(socket);
}

/* The client knows the id as soon as it has the head: no rule says that it reads the body first. */
static void io_loop(void *arg)
{
	char part[16];

	(void)arg;
	chan_recv(socket, part);
	mutex_lock(&lock);
	struct message *m = in_flight;
	in_flight = NULL;
	mutex_unlock(&lock);
	message_unref(m); /* @finishes */
	gate_open(&finished);
	chan_recv(socket, part);
}

int main(void)
{
	struct wait_group wg;

	socket = chan_new(16, 0);
	mutex_init(&lock, RANK_IN_FLIGHT);
	wait_group_init(&wg);
	go(&wg, "io_loop", io_loop, NULL);
	go(&wg, "client's pump", client_pump, message_from(1, "hello"));
	wait_group_wait(&wg);
	wait_group_destroy(&wg);
	gothread_drain();
	mutex_destroy(&lock);
	chan_free(socket);
	return 0;
}
