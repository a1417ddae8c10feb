/* SPDX-License-Identifier: MIT */
/* BROKEN: the pump first writes the message, and then puts it in flight. The FIN is faster. */
#include "common/chan.h"
#include "common/lock.h"

#include "test/course/20-journey/journey.h"
#include "test/course/gate.h"
#include "test/course/go.h"

static struct chan *socket; /* of int: an id */
static struct mutex lock;
static struct message *in_flight; /* guarded by lock; a reference */
static struct gate answered;

static void client_pump(void *arg)
{
	struct message *m = arg;

	chan_send(socket, &m->id);
	gate_wait(&answered);
	mutex_lock(&lock);
	in_flight = m;
	mutex_unlock(&lock);
}

static void io_loop(void *arg)
{
	int id;

	(void)arg;
	chan_recv(socket, &id);
	mutex_lock(&lock);
	struct message *m = in_flight;
	in_flight = NULL;
	mutex_unlock(&lock);
	if (m)
		message_unref(m);
	else
		printf("E_FIN_FAILED FIN %d failed ID not in flight\n", id);
	gate_open(&answered);
}

int main(void)
{
	struct wait_group wg;

	socket = chan_new(sizeof(int), 0);
	mutex_init(&lock, RANK_IN_FLIGHT);
	wait_group_init(&wg);
	go(&wg, "io_loop", io_loop, NULL);
	go(&wg, "client's pump", client_pump, message_from(1, "hello"));
	wait_group_wait(&wg);
	wait_group_destroy(&wg);
	gothread_drain();
	if (in_flight) {
		printf("in flight at the end: message %d\n", in_flight->id);
		message_unref(in_flight);
	}
	mutex_destroy(&lock);
	chan_free(socket);
	return 0;
}
