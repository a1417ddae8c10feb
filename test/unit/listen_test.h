/* SPDX-License-Identifier: MIT */
/* Listening, and connecting to what listens, for the tests of listener and acceptor. */
#ifndef TEST_UNIT_LISTEN_TEST_H
#define TEST_UNIT_LISTEN_TEST_H

#include "test/unit/helper.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "protocol/listener.h"

static inline struct tcp_listener listen_on(const char *addr)
{
	struct tcp_listener l;
	struct err err = {0};
	if (tcp_listen(&l, addr, &err) != 0)
		fail_msg("%s: %s", addr, err.msg);
	return l;
}

static inline int connect_v4(int port)
{
	struct sockaddr_in a = {.sin_family = AF_INET,
		.sin_port = htons((uint16_t)port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	return fd;
}

static inline int connect_unix(const char *path)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	strcpy(a.sun_path, path);
	assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	return fd;
}

#endif
