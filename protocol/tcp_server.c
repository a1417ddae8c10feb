/* SPDX-License-Identifier: MIT */
/*
 * Listening, and the accept loop with a thread per connection. Mirrors
 * internal/protocol/tcp_server.go and what Go's net.Listen does around it. The
 * loop runs in the thread "tcp"; each handler in an "io:ADDR" of its own.
 *
 * Differences: the loop is stopped by an eventfd that it polls beside the
 * socket, since closing a descriptor under another thread's accept is no safe
 * signal in C. Out of descriptors, Go accepts and fails without a pause; this
 * waits a moment between two attempts.
 */
#include "protocol/tcp_server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/check.h"
#include "common/xalloc.h"

#define KEEPALIVE_SEC 15      /* Go's default for accepted connections */
#define ACCEPT_PAUSE_MSEC 100 /* between attempts while there are no descriptors or threads */

/* --- addresses --------------------------------------------------------------------------- */

union address {
	struct sockaddr sa;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
	struct sockaddr_un un;
	struct sockaddr_storage storage;
};

/* net.SplitHostPort: "host:port", "[v6]:port", ":port". False: not of that form, so it is a path. */
static bool split_host_port(
	const char *addr, char *host, size_t host_size, char *port, size_t port_size)
{
	const char *colon = strrchr(addr, ':');
	if (!colon)
		return false;
	const char *start = addr, *end = colon;
	if (*addr == '[') {
		if (end == addr || end[-1] != ']')
			return false;
		start++;
		end--;
	} else if (memchr(addr, ':', (size_t)(colon - addr))) {
		return false; /* a bare v6 address has too many colons */
	}
	size_t port_len = strlen(colon + 1);
	if ((size_t)(end - start) >= host_size || port_len >= port_size)
		return false;
	memcpy(host, start, (size_t)(end - start));
	host[end - start] = '\0';
	memcpy(port, colon + 1, port_len + 1);
	return true;
}

/* As Go prints it; a v4 address that came in by a v6 socket is shown as v4. */
static void format_address(const union address *a, char *out, size_t size)
{
	char host[INET6_ADDRSTRLEN] = "";
	switch (a->sa.sa_family) {
	case AF_INET:
		inet_ntop(AF_INET, &a->in.sin_addr, host, sizeof(host));
		snprintf(out, size, "%s:%d", host, ntohs(a->in.sin_port));
		return;
	case AF_INET6:
		if (IN6_IS_ADDR_V4MAPPED(&a->in6.sin6_addr)) {
			inet_ntop(AF_INET, &a->in6.sin6_addr.s6_addr[12], host, sizeof(host));
			snprintf(out, size, "%s:%d", host, ntohs(a->in6.sin6_port));
			return;
		}
		inet_ntop(AF_INET6, &a->in6.sin6_addr, host, sizeof(host));
		snprintf(out, size, "[%s]:%d", host, ntohs(a->in6.sin6_port));
		return;
	default:
		snprintf(out, size, "@"); /* Go's name of a unix peer that has none */
	}
}

void tcp_addr_format(const struct sockaddr *addr, char *out, size_t size)
{
	format_address((const union address *)addr, out, size);
}

/* --- listening ---------------------------------------------------------------------------- */

static int bind_and_listen(int fd, const struct sockaddr *sa, socklen_t len, const char *net,
	const char *shown, struct err *err)
{
	int on = 1;
	/* So that a restart does not wait for the old connections' TIME_WAIT; meaningless on unix. */
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, sa, len) != 0)
		return err_errno(err, errno, "listen %s %s: bind", net, shown);
	/* Non-blocking, since a connection may be gone again between poll and accept. */
	int flags = fcntl(fd, F_GETFL);
	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0)
		return err_errno(err, errno, "listen %s %s: fcntl", net, shown);
	if (listen(fd, SOMAXCONN) != 0)
		return err_errno(err, errno, "listen %s %s: listen", net, shown);
	return 0;
}

/*
 * The wildcard, written as nothing, 0.0.0.0 or ::, means both families in Go:
 * one v6 socket that takes v4 as well. Without v6 in the kernel it is v4.
 */
static bool is_wildcard(const char *host)
{
	return !*host || strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0;
}

static int listen_wildcard(const char *host, uint16_t port, struct err *err)
{
	union address a = {.in6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)}};
	char shown[64];
	/* Go shows any wildcard that was spelled out as v4's. */
	snprintf(shown, sizeof(shown), "%s:%d", *host ? "0.0.0.0" : "", port);
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0) {
		int off = 0;
		(void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
		if (bind_and_listen(fd, &a.sa, sizeof(a.in6), "tcp", shown, err) == 0)
			return fd;
		close(fd);
		if (err->code != EADDRNOTAVAIL && err->code != EAFNOSUPPORT)
			return -1;
	}
	a = (union address){.in = {.sin_family = AF_INET, .sin_port = htons(port)}};
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_errno(err, errno, "listen tcp %s: socket", shown);
	if (bind_and_listen(fd, &a.sa, sizeof(a.in), "tcp", shown, err) != 0) {
		close(fd);
		return -1;
	}
	return fd;
}

static int listen_host(const char *host, const char *port, struct err *err)
{
	struct addrinfo hints = {
		.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV | AI_PASSIVE};
	struct addrinfo *res;
	int rc = getaddrinfo(host, port, &hints, &res);
	if (rc != 0)
		return err_set(err, 0, "listen tcp: lookup %s: %s", host,
			rc == EAI_NONAME ? "no such host" : gai_strerror(rc));
	/* Go prefers a v4 address where a name has both. */
	struct addrinfo *pick = res;
	for (struct addrinfo *p = res; p; p = p->ai_next) {
		if (p->ai_family == AF_INET) {
			pick = p;
			break;
		}
	}
	union address a = {0};
	char shown[64];
	memcpy(&a, pick->ai_addr, pick->ai_addrlen);
	format_address(&a, shown, sizeof(shown));
	int fd = socket(pick->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		err_errno(err, errno, "listen tcp %s: socket", shown);
	else if (bind_and_listen(fd, pick->ai_addr, pick->ai_addrlen, "tcp", shown, err) != 0) {
		close(fd);
		fd = -1;
	}
	freeaddrinfo(res);
	return fd;
}

static int listen_tcp(struct tcp_listener *l, const char *host, const char *port, struct err *err)
{
	char *end;
	long number = strtol(port, &end, 10);
	if (!*port)
		number = 0;
	else if (*end)
		return err_set(err, 0, "listen tcp: lookup tcp/%s: unknown port", port);
	else if (number < 0 || number > 65535)
		return err_set(err, 0, "listen tcp: address %s: invalid port", port);

	l->fd = is_wildcard(host) ? listen_wildcard(host, (uint16_t)number, err)
				  : listen_host(host, *port ? port : "0", err);
	if (l->fd < 0)
		return -1;
	union address a = {0};
	socklen_t len = sizeof(a);
	CHECK(getsockname(l->fd, &a.sa, &len) == 0);
	l->port = ntohs(a.sa.sa_family == AF_INET6 ? a.in6.sin6_port : a.in.sin_port);
	format_address(&a, l->addr, sizeof(l->addr));
	return 0;
}

static int listen_unix(struct tcp_listener *l, const char *path, struct err *err)
{
	union address a = {.un = {.sun_family = AF_UNIX}};
	size_t len = strlen(path);
	if (len >= sizeof(a.un.sun_path))
		return err_set(err, ENAMETOOLONG, "listen unix %s: bind: invalid argument", path);
	memcpy(a.un.sun_path, path, len + 1);
	l->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (l->fd < 0)
		return err_errno(err, errno, "listen unix %s: socket", path);
	if (bind_and_listen(l->fd, &a.sa, sizeof(a.un), "unix", path, err) != 0) {
		close(l->fd);
		return -1;
	}
	l->port = -1;
	snprintf(l->addr, sizeof(l->addr), "%s", path);
	l->unlink_path = xstrdup(path);
	return 0;
}

int tcp_listen(struct tcp_listener *l, const char *addr, struct err *err)
{
	char host[256], port[32];
	*l = (struct tcp_listener){.fd = -1};
	if (split_host_port(addr, host, sizeof(host), port, sizeof(port)))
		return listen_tcp(l, host, port, err);
	return listen_unix(l, addr, err);
}

void tcp_listener_close(struct tcp_listener *l)
{
	if (l->fd >= 0)
		close(l->fd);
	l->fd = -1;
	if (l->unlink_path)
		unlink(l->unlink_path);
	free(l->unlink_path);
	l->unlink_path = NULL;
}

/* --- the accept loop ----------------------------------------------------------------------- */

/* What a new connection's thread needs; owned by it. */
struct connection {
	struct tcp_handler handler;
	int fd;
	char remote_addr[128];
};

static void handle_connection(void *arg)
{
	struct connection *conn = arg;
	conn->handler.handle(conn->handler.arg, conn->fd, conn->remote_addr);
	free(conn);
}

/* What Go's net package sets on every accepted TCP connection; a unix socket refuses, harmlessly. */
static void set_socket_options(int fd)
{
	int on = 1, sec = KEEPALIVE_SEC;
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	(void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &sec, sizeof(sec));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &sec, sizeof(sec));
}

static const char *proto(const struct tcp_server_loop *s)
{
	return s->handler.proto ? s->handler.proto : "TCP";
}

static int start_handler(struct tcp_server_loop *s, int fd, const union address *a, struct err *err)
{
	struct connection *conn = xmalloc(sizeof(*conn));
	*conn = (struct connection){.handler = s->handler, .fd = fd};
	format_address(a, conn->remote_addr, sizeof(conn->remote_addr));
	set_socket_options(fd);
	char name[160];
	snprintf(name, sizeof(name), "io:%s", conn->remote_addr);
	if (wait_group_wrap(&s->handlers, name, handle_connection, conn, err) == 0)
		return 0;
	lg_logf(s->handler.lg, LG_ERROR, "TCP: closing new client(%s), no thread for it - %s",
		conn->remote_addr, err->msg);
	close(fd);
	free(conn);
	return -1;
}

/* What Go calls a temporary failure: of the connection, or of resources that others may give back. */
static bool is_temporary(int code)
{
	static const int temporary[] = {EINTR, EAGAIN, ECONNABORTED, ECONNRESET, EPROTO, EPERM,
		EMFILE, ENFILE, ENOBUFS, ENOMEM};
	for (size_t i = 0; i < sizeof(temporary) / sizeof(*temporary); i++) {
		if (code == temporary[i])
			return true;
	}
	return false;
}

/* Waits for a connection or for stop; with a pause, for stop alone, and not for long. */
static bool stopped(struct tcp_server_loop *s, bool pause)
{
	struct pollfd fds[] = {
		{.fd = s->stop_fd, .events = POLLIN},
		{.fd = s->listener->fd, .events = POLLIN},
	};
	int rc = poll(fds, pause ? 1 : 2, pause ? ACCEPT_PAUSE_MSEC : -1);
	return rc > 0 && fds[0].revents != 0;
}

int tcp_server_init(struct tcp_server_loop *s, struct tcp_listener *l, const struct tcp_handler *h,
	struct err *err)
{
	*s = (struct tcp_server_loop){.listener = l, .handler = *h};
	s->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (s->stop_fd < 0)
		return err_errno(err, errno, "eventfd");
	wait_group_init(&s->handlers);
	return 0;
}

int tcp_server_run(struct tcp_server_loop *s, struct err *err)
{
	int rc = 0;
	bool pause = false;
	lg_logf(s->handler.lg, LG_INFO, "%s: listening on %s", proto(s), s->listener->addr);
	while (!stopped(s, pause)) {
		union address a = {0};
		socklen_t len = sizeof(a);
		struct err e;
		int flags = SOCK_CLOEXEC | (s->handler.accepted ? SOCK_NONBLOCK : 0);
		int fd = accept4(s->listener->fd, &a.sa, &len, flags);
		if (fd >= 0 && s->handler.accepted) {
			set_socket_options(fd);
			s->handler.accepted(s->handler.arg, fd, &a.sa, len);
			pause = false;
			continue;
		}
		if (fd >= 0) {
			pause = start_handler(s, fd, &a, &e) != 0;
			continue;
		}
		if (!is_temporary(errno)) {
			rc = err_errno(err, errno, "listener.Accept() error - accept");
			break;
		}
		pause = errno != EAGAIN && errno != EINTR && errno != ECONNABORTED;
		if (errno != EAGAIN) {
			err_errno(&e, errno, "accept %s", s->listener->addr);
			lg_logf(s->handler.lg, LG_WARN, "temporary Accept() failure - %s", e.msg);
		}
	}
	/* wait to return until all handlers complete */
	wait_group_wait(&s->handlers);
	lg_logf(s->handler.lg, LG_INFO, "%s: closing %s", proto(s), s->listener->addr);
	return rc;
}

void tcp_server_stop(struct tcp_server_loop *s)
{
	uint64_t one = 1;
	CHECK(write(s->stop_fd, &one, sizeof(one)) == sizeof(one));
}

void tcp_server_destroy(struct tcp_server_loop *s)
{
	close(s->stop_fd);
	wait_group_destroy(&s->handlers);
}
