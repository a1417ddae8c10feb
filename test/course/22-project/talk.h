/* SPDX-License-Identifier: MIT */
/*
 * The conversation with a chat server. It is the test of yours: give it the port, and a function
 * that stops the server. It prints what lesson.go prints.
 */
#ifndef TEST_COURSE_TALK_H
#define TEST_COURSE_TALK_H

#include <arpa/inet.h>
#include <err.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct peer {
	const char *name;
	int fd;
	FILE *in;
	char line[256]; /* what it has heard last */
};

static void dial(struct peer *p, const char *name, int port)
{
	struct sockaddr_in to = {.sin_family = AF_INET,
		.sin_port = htons(port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int room = 4096;

	p->name = name;
	p->fd = socket(AF_INET, SOCK_STREAM, 0);
	if (p->fd < 0 || setsockopt(p->fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room)) < 0 ||
		connect(p->fd, (struct sockaddr *)&to, sizeof(to)) < 0)
		err(1, "%s cannot connect", name);
	p->in = fdopen(p->fd, "r");
	if (!p->in)
		err(1, "fdopen");
}

static void say(const struct peer *p, const char *text)
{
	dprintf(p->fd, "%s\n", text);
}

static const char *hears(struct peer *p)
{
	if (!fgets(p->line, sizeof(p->line), p->in))
		return "the end";
	p->line[strcspn(p->line, "\n")] = '\0';
	return p->line;
}

static void tells(struct peer *p)
{
	printf("%s hears: %s\n", p->name, hears(p));
}

static void talk(int port, void (*stop)(void *server), void *server)
{
	struct peer ann, bob, eve, dan;

	dial(&ann, "ann", port);
	dial(&bob, "bob", port);
	say(&ann, "ann");
	tells(&ann);
	say(&bob, "bob");
	tells(&bob);
	tells(&ann);
	say(&bob, "hello");
	tells(&ann);
	tells(&bob);
	fclose(bob.in);
	tells(&ann);

	dial(&eve, "eve", port); /* reads nothing */
	dial(&dan, "dan", port); /* says nothing */
	say(&eve, "eve");
	tells(&ann);
	do {
		say(&ann,
			"Is anybody there? Is anybody there? Is anybody there? Is anybody there?");
	} while (strcmp(hears(&ann), "* eve left") != 0);
	printf("eve is too slow\n");
	tells(&ann);

	stop(server);
	tells(&ann);
	tells(&dan);
	printf("stopped\n");
	fclose(ann.in);
	fclose(eve.in);
	fclose(dan.in);
}

#endif
