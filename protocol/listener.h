/* SPDX-License-Identifier: MIT */
/*
 * Listening sockets and how addresses are written (net.Listen, net.Addr,
 * internal/util/unix_socket.go).
 */
#ifndef PROTOCOL_LISTENER_H
#define PROTOCOL_LISTENER_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "common/err.h"

/*
 * A socket's address. The caller zeroes it before the kernel fills it: the zeros mark the end of a
 * unix socket's name.
 */
union address {
	struct sockaddr sa;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
	struct sockaddr_un un;
	struct sockaddr_storage storage;
};

/* Addr.String(): as Go prints it; "@" is a unix peer without a name. Cut off at size. */
void address_format(const union address *a, char *out, size_t size);

struct tcp_listener {
	int fd;            /* non-blocking; -1: none */
	int port;          /* the real one; -1 for a unix socket */
	char addr[128];    /* as Go prints it: "127.0.0.1:4150", "[::]:4150", the path */
	char *unlink_path; /* unix: removed on close; owned; else NULL */
};

/*
 * net.Listen(TypeOfAddr(addr), addr). TCP: "host:port", where host is nothing, a name, v4 or [v6],
 * and port a number or the name of a service. Anything else is the path of a unix socket: "@name"
 * is abstract, "" an abstract one whose name the kernel chooses. The mode of a path is 0777 less
 * the umask; a path without a listener is replaced. -1 with err set to Go's text, e.g. "listen tcp
 * 0.0.0.0:4150: bind: address already in use", and l->fd -1. May block on a look-up of the host.
 */
int tcp_listen(struct tcp_listener *l, const char *addr, struct err *err);
/* net.Listen("tcp", addr): the same, but a path is an error. */
int tcp_listen_no_unix(struct tcp_listener *l, const char *addr, struct err *err);
/*
 * What can be said of such an address without listening: its form, the port, that the host has an
 * address, that a unix socket may be made there. Makes no socket. 0, or -1 with err set as above.
 * May block on a look-up of the host.
 */
int tcp_listen_check(const char *addr, bool may_be_unix, struct err *err);
/*
 * A listening stream socket (TCP or unix) that the service manager has opened, whose address is not
 * checked against anything. Takes over fd, which becomes non-blocking. Its file, if it has one, is
 * the manager's and stays. -1 with err set: it is no such socket; it is closed, and l->fd -1.
 */
int tcp_listener_adopt(struct tcp_listener *l, int take_fd, struct err *err);
/*
 * Closes the socket and removes its file; a second call does nothing. An accept loop on it must
 * have ended.
 */
void tcp_listener_close(struct tcp_listener *l);

#endif
