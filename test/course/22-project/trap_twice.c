/* SPDX-License-Identifier: MIT */
/* BROKEN: a client that was dropped is dropped again when it leaves. */
#include "test/course/22-project/chat.h"
#include "test/course/22-project/talk.h"

static void deliver(struct client *c, const struct line *line)
{
	if (chan_try_send_n(c->lines, line, 1) == 0)
		drop(c);
}

static void drop(struct client *c)
{
	chan_close(c->lines); /* @closes */
	shutdown(c->fd, SHUT_RDWR);
	c->dropped = true;
}

static void leave(struct client *c)
{
	chan_send(c->server->leave, &c);
	wait_group_wait(&c->users);
	fclose(c->in);
	client_free(c);
}

int main(void)
{
	struct server server;

	server_start(&server);
	talk(server.port, server_stop, &server);
	gothread_drain();
	return 0;
}
