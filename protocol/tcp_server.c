/* SPDX-License-Identifier: MIT */
/*
 * The accept loop with a thread per connection. Mirrors
 * internal/protocol/tcp_server.go. The loop runs in the thread "tcp"; each
 * handler in an "io:ADDR" of its own.
 *
 * Differences: the loop is stopped by an eventfd that it polls beside the
 * socket, since closing a descriptor under another thread's accept is no safe
 * signal in C. Out of descriptors, Go accepts and fails without a pause; this
 * waits a moment between two attempts.
 */
#include "protocol/tcp_server.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/check.h"
#include "common/clock.h"
#include "common/rlimit.h"
#include "common/xalloc.h"

#define KEEPALIVE_SEC 15                /* Go's default for accepted connections */
#define ACCEPT_PAUSE_MSEC 100           /* between attempts while there are no descriptors */
#define COMPLAINT_PAUSE_NS NSEC_PER_SEC /* between lines about those that are kept back */

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

/*
 * What Go's net package sets on every accepted TCP connection. They have it of the listener, which
 * saves each four system calls; a unix socket refuses, harmlessly.
 */
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

/*
 * Is it one of the descriptors that are kept back? The kernel gives the lowest that is free, so the
 * number says how many are left.
 */
static bool is_kept_back(struct tcp_server_loop *s, int fd, const union address *a)
{
	int limit = rlimit_nofile(), keep = s->handler.keep_back;
	/* Of a small limit not all. */
	if (keep > limit / 8)
		keep = limit / 8;
	if (fd < limit - keep)
		return false;
	int64_t now = clock_mono_ns();
	if (now >= s->next_complaint_ns) {
		char addr[128];
		address_format(a, addr, sizeof(addr));
		lg_logf(s->handler.lg, LG_ERROR,
			"%s: closing new client(%s), the last of %d descriptors are for others",
			proto(s), addr, limit);
		s->next_complaint_ns = now + COMPLAINT_PAUSE_NS;
	}
	return true;
}

static void start_handler(struct tcp_server_loop *s, int fd, const union address *a)
{
	struct err err;
	struct connection *conn = xmalloc(sizeof(*conn));
	*conn = (struct connection){.handler = s->handler, .fd = fd};
	address_format(a, conn->remote_addr, sizeof(conn->remote_addr));
	char name[160];
	snprintf(name, sizeof(name), "io:%s", conn->remote_addr);
	if (!gothread_is_scarce(1, &err) &&
		wait_group_wrap(&s->handlers, name, handle_connection, conn, &err) == 0)
		return;
	if (s->handler.no_thread) {
		s->handler.no_thread(s->handler.arg, fd, conn->remote_addr, &err);
	} else {
		lg_logf(s->handler.lg, LG_ERROR,
			"TCP: closing new client(%s), no thread for it - %s", conn->remote_addr,
			err.msg);
		close(fd);
	}
	free(conn);
}

/*
 * What Go calls a temporary failure: of the connection, or of resources that others may give back.
 */
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

/* Waits for a connection or for stop; with a pause not for a connection, and not for long. */
static bool stopped(struct tcp_server_loop *s, bool pause)
{
	struct pollfd fds[] = {
		{.fd = s->stop_fd, .events = POLLIN},
		{.fd = pause ? -1 : s->listener->fd, .events = POLLIN},
	};
	int rc = poll(fds, sizeof(fds) / sizeof(*fds), pause ? ACCEPT_PAUSE_MSEC : -1);
	return rc > 0 && fds[0].revents != 0;
}

int tcp_server_init(struct tcp_server_loop *s, struct tcp_listener *l, const struct tcp_handler *h,
	struct err *err)
{
	*s = (struct tcp_server_loop){.listener = l, .handler = *h};
	s->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (s->stop_fd < 0)
		return err_errno(err, errno, "eventfd");
	set_socket_options(l->fd);
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
		int fd = accept4(s->listener->fd, &a.sa, &len, SOCK_CLOEXEC);
		if (fd >= 0 && s->handler.keep_back > 0 && is_kept_back(s, fd, &a)) {
			close(fd);
			continue;
		}
		if (fd >= 0 && s->handler.accepted) {
			s->handler.accepted(s->handler.arg, fd, &a);
			pause = false;
			continue;
		}
		if (fd >= 0) {
			/* Without a pause: who cannot be served is told so at once. */
			pause = false;
			start_handler(s, fd, &a);
			continue;
		}
		int code = errno;
		if (!is_temporary(code)) {
			rc = err_errno(err, code, "listener.Accept() error - accept");
			break;
		}
		if ((code == EMFILE || code == ENFILE) && s->handler.no_descriptors &&
			s->handler.no_descriptors(s->handler.arg)) {
			pause = false;
			continue;
		}
		pause = code != EAGAIN && code != EINTR && code != ECONNABORTED;
		if (code != EAGAIN) {
			err_errno(&e, code, "accept %s", s->listener->addr);
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
