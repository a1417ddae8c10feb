/* SPDX-License-Identifier: MIT */
/* BROKEN: the reader closes a descriptor that the writer uses. */
#include "test/course/22-project/chat.h"
#include "test/course/22-project/talk.h"

static void deliver(struct client *c, const struct line *line)
{
	if (chan_try_send_n(c->lines, line, 1) == 0)
		drop(c);
}

static void drop(struct client *c)
{
	if (c->dropped)
		return;
	c->dropped = true;
	chan_close(c->lines);       /* ends the writer, if it waits for a line */
	shutdown(c->fd, SHUT_RDWR); /* ends the reader, and the writer in send() */
}

static void leave(struct client *c)
{
	fclose(c->in); /* @closes */
	chan_send(c->server->leave, &c);
	wait_group_wait(&c->users);
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
