/* SPDX-License-Identifier: MIT */
/* The other side of the connections, and what a connection does with its input. */
#ifndef TEST_COURSE_18_PEERS_H
#define TEST_COURSE_18_PEERS_H

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PEERS = 100 };

/* What a goroutine has on its stack: its reader, and its variables. */
struct sums {
	char line[32]; /* the beginning of a line whose end has not come yet */
	size_t have;
	long sum;
};

/* The lines that are whole, each answered with the sum. What is left waits for its end. */
static inline void answer_lines(struct sums *s, int fd)
{
	char *end;

	while ((end = memchr(s->line, '\n', s->have)) != NULL) {
		*end = '\0';
		s->sum += strtol(s->line, NULL, 10);
		dprintf(fd, "%ld\n", s->sum);
		s->have -= (size_t)(end + 1 - s->line);
		memmove(s->line, end + 1, s->have);
	}
}

/* A connection that never waits, with its peer, which does. */
static inline int connect_to(int *peer)
{
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds) < 0 ||
		fcntl(fds[0], F_SETFL, O_NONBLOCK) < 0) {
		perror("socketpair");
		exit(1);
	}
	*peer = fds[1];
	return fds[0];
}

/* The answer to a line. */
static inline long answer(int peer)
{
	char text[32];
	ssize_t n = read(peer, text, sizeof text - 1);

	text[n > 0 ? n : 0] = '\0';
	return strtol(text, NULL, 10);
}

/* Three rounds: a number to each of them, in two pieces. */
static inline void talk(const int peers[PEERS])
{
	for (int round = 0; round < 3; round++) {
		long total = 0;

		for (int i = 0; i < PEERS; i++)
			dprintf(peers[i], "%d", i);
		for (int i = 0; i < PEERS; i++) {
			dprintf(peers[i], "0\n");
			total += answer(peers[i]);
		}
		printf("%ld\n", total);
	}
}

#endif
