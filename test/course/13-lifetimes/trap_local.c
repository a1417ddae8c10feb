/* SPDX-License-Identifier: MIT */
/* BROKEN: the message that is sent lies on the stack of a function, and the function returns. */
#include <stdio.h>

#include "common/chan.h"

#include "test/course/gate.h"
#include "test/course/go.h"

struct message {
	int id;
	char body[8];
};

static struct gate returned, has_read;

/* As it is in a larger program. */
static void publish(struct chan *out) __attribute__((noinline));

static void publish(struct chan *out)
{
	struct message m = {1, "one"}, *p = &m;

	chan_send(out, &p);
}

static void publisher(void *arg)
{
	publish(arg);
	gate_open(&returned);
	gate_wait(&has_read);
}

int main(void)
{
	struct chan *c = chan_new(sizeof(struct message *), 0);
	struct wait_group wg;
	struct message *m;

	wait_group_init(&wg);
	go(&wg, "publisher", publisher, c);
	chan_recv(c, &m);
	gate_wait(&returned);
	printf("message %d\n", m->id); /* @reads */
	gate_open(&has_read);
	wait_group_wait(&wg);
	wait_group_destroy(&wg);
	gothread_drain();
	chan_free(c);
	return 0;
}
