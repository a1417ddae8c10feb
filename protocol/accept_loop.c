/* SPDX-License-Identifier: MIT */
/*
 * The accept loop with a thread per connection. Mirrors internal/protocol/tcp_server.go. Threads:
 * the loop runs in "tcp", "http" and "https", each handler in an "io:ADDR" of its own, unless the
 * user starts these threads itself. Any thread may stop the loop.
 *
 * Differences: the loop is stopped by an eventfd that it polls beside the socket. To close a
 * descriptor under another thread's accept is no safe signal in C. Out of descriptors, Go accepts
 * and fails without a pause; this loop waits a moment between two attempts.
 */
#include "protocol/accept_loop.h"

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

/* The argument of a new connection's thread, which owns it. */
struct connection {
	struct accept_handler handler;
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
 * Sets the options that Go's net package sets on every accepted TCP connection. Here connections
 * inherit them from the listener, which saves four system calls for each. A unix socket refuses,
 * harmlessly.
 */
static void set_socket_options(int fd)
{
	int on = 1, sec = KEEPALIVE_SEC;
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	(void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &sec, sizeof(sec));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &sec, sizeof(sec));
}

static const char *proto(const struct accept_loop *l)
{
	return l->handler.proto ? l->handler.proto : "TCP";
}

/*
 * Is fd one of the descriptors that are for others? The kernel gives the lowest that is free, so
 * the number tells how many are left. Logs so, but not for each.
 */
static bool is_kept_back(struct accept_loop *l, int fd, const union address *a)
{
	int limit = rlimit_nofile(), keep = l->handler.keep_back;
	/* A small limit is not kept back altogether. */
	if (keep > limit / 8)
		keep = limit / 8;
	if (fd < limit - keep)
		return false;
	int64_t now = clock_mono_ns();
	if (now >= l->next_complaint_ns) {
		char addr[128];
		address_format(a, addr, sizeof(addr));
		lg_logf(l->handler.lg, LG_ERROR,
			"%s: closing new client(%s), the last of %d descriptors are for others",
			proto(l), addr, limit);
		l->next_complaint_ns = now + COMPLAINT_PAUSE_NS;
	}
	return true;
}

static void start_handler(struct accept_loop *l, int fd, const union address *a)
{
	struct err err;
	struct connection *conn = xmalloc(sizeof(*conn));
	*conn = (struct connection){.handler = l->handler, .fd = fd};
	address_format(a, conn->remote_addr, sizeof(conn->remote_addr));
	char name[160];
	snprintf(name, sizeof(name), "io:%s", conn->remote_addr);
	if (!gothread_is_scarce(1, &err) &&
		wait_group_wrap(&l->handlers, name, handle_connection, conn, &err) == 0)
		return;
	if (l->handler.no_thread) {
		l->handler.no_thread(l->handler.arg, fd, conn->remote_addr, &err);
	} else {
		lg_logf(l->handler.lg, LG_ERROR,
			"TCP: closing new client(%s), no thread for it - %s", conn->remote_addr,
			err.msg);
		close(fd);
	}
	free(conn);
}

/* Is it a temporary failure, as Go calls it: that of one connection, or a want of resources? */
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

/* Waits for a connection or for stop; with pause for stop only, and not for long. True: stop. */
static bool stopped(struct accept_loop *l, bool pause)
{
	struct pollfd fds[] = {
		{.fd = l->stop_fd, .events = POLLIN},
		{.fd = pause ? -1 : l->listener->fd, .events = POLLIN},
	};
	int rc = poll(fds, sizeof(fds) / sizeof(*fds), pause ? ACCEPT_PAUSE_MSEC : -1);
	return rc > 0 && fds[0].revents != 0;
}

int accept_loop_init(struct accept_loop *l, struct tcp_listener *listener,
	const struct accept_handler *h, struct err *err)
{
	*l = (struct accept_loop){.listener = listener, .handler = *h};
	l->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (l->stop_fd < 0)
		return err_errno(err, errno, "eventfd");
	set_socket_options(listener->fd);
	wait_group_init(&l->handlers);
	return 0;
}

int accept_loop_run(struct accept_loop *l, struct err *err)
{
	int rc = 0;
	bool pause = false;
	lg_logf(l->handler.lg, LG_INFO, "%s: listening on %s", proto(l), l->listener->addr);
	while (!stopped(l, pause)) {
		union address a = {0};
		socklen_t len = sizeof(a);
		struct err e;
		int fd = accept4(l->listener->fd, &a.sa, &len, SOCK_CLOEXEC);
		if (fd >= 0 && l->handler.keep_back > 0 && is_kept_back(l, fd, &a)) {
			close(fd);
			continue;
		}
		if (fd >= 0 && l->handler.accepted) {
			l->handler.accepted(l->handler.arg, fd, &a);
			pause = false;
			continue;
		}
		if (fd >= 0) {
			/* No pause: a client that gets no thread is told so at once. */
			pause = false;
			start_handler(l, fd, &a);
			continue;
		}
		int code = errno;
		if (!is_temporary(code)) {
			rc = err_errno(err, code, "listener.Accept() error - accept");
			break;
		}
		if ((code == EMFILE || code == ENFILE) && l->handler.no_descriptors &&
			l->handler.no_descriptors(l->handler.arg)) {
			pause = false;
			continue;
		}
		pause = code != EAGAIN && code != EINTR && code != ECONNABORTED;
		if (code != EAGAIN) {
			err_errno(&e, code, "accept %s", l->listener->addr);
			lg_logf(l->handler.lg, LG_WARN, "temporary Accept() failure - %s", e.msg);
		}
	}
	/* wait to return until all handlers complete */
	wait_group_wait(&l->handlers);
	lg_logf(l->handler.lg, LG_INFO, "%s: closing %s", proto(l), l->listener->addr);
	return rc;
}

void accept_loop_stop(struct accept_loop *l)
{
	uint64_t one = 1;
	CHECK(write(l->stop_fd, &one, sizeof(one)) == sizeof(one));
}

void accept_loop_destroy(struct accept_loop *l)
{
	close(l->stop_fd);
	wait_group_destroy(&l->handlers);
}
