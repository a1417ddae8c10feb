/* SPDX-License-Identifier: MIT */
/* One thread makes messages, and main writes each of them out of a buffer of a pool. */
#include <stdio.h>

#include "common/bufpool.h"
#include "common/chan.h"
#include "common/slab.h"

#include "test/course/go.h"

/* The publisher's until it is sent; then main's, which frees it. */
struct message {
	int id;
	char text[16];
};

static void publish(void *arg)
{
	struct chan *messages = arg; /* of struct message * */

	for (int i = 1; i <= 3; i++) {
		struct message *m = slab_alloc(sizeof *m);

		m->id = i;
		snprintf(m->text, sizeof m->text, "text %d", i);
		chan_send(messages, &m);
	}
	chan_close(messages);
}

static void write_out(const struct message *m)
{
	char *buf = bufpool_get(BUFPOOL_SIZE); /* it may hold what its last user wrote */
	int len = snprintf(buf, BUFPOOL_SIZE, "message %d: %s\n", m->id, m->text);

	fwrite(buf, 1, (size_t)len, stdout);
	bufpool_put(buf, BUFPOOL_SIZE);
}

int main(void)
{
	struct chan *messages = chan_new(sizeof(struct message *), 0);
	struct wait_group wg;
	struct message *m;

	wait_group_init(&wg);
	go(&wg, "publish", publish, messages);
	while (chan_recv(messages, &m)) {
		write_out(m);
		slab_free(m, sizeof *m);
	}
	wait_group_wait(&wg);
	wait_group_destroy(&wg);
	gothread_drain();
	chan_free(messages);
	return 0;
}
