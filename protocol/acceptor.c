/* SPDX-License-Identifier: MIT */
/*
 * Accepting connections. Mirrors internal/protocol/tcp_server.go. The pollers run acceptor_step
 * (common/netpoll.h); any thread starts and stops it.
 *
 * Differences: a goroutine that accepts, and one for each connection, are no threads here: both are
 * steps of the pollers. Out of descriptors, Go accepts and fails without a pause; here a moment lies
 * between two attempts. The lines of the log are stock's.
 */
#include "protocol/acceptor.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/rlimit.h"

#define KEEPALIVE_SEC 15                      /* Go's default for accepted connections */
#define ACCEPT_AT_ONCE 16                     /* so many, and the others have their turn */
#define ACCEPT_PAUSE_NS (100 * NSEC_PER_MSEC) /* between attempts while there are no descriptors */
#define ROOM_PAUSE_NS (2 * NSEC_PER_MSEC)     /* while others make room */
#define COMPLAINT_PAUSE_NS NSEC_PER_SEC       /* between lines about those that are kept back */

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

/* Logs that a connection gets none of the last descriptors, but not for each. */
static void complain(struct acceptor *s, const union address *a, int limit)
{
	int64_t now = clock_mono_ns(), next = atomic_load(&s->next_complaint_ns);
	char addr[128];
	if (now < next || !atomic_compare_exchange_strong(
				  &s->next_complaint_ns, &next, now + COMPLAINT_PAUSE_NS))
		return;
	address_format(a, addr, sizeof(addr));
	lg_logf(s->handler.lg, LG_ERROR,
		"%s: closing new client(%s), the last of %d descriptors are for others",
		s->handler.proto, addr, limit);
}

/*
 * Is fd one of the descriptors that are for others? The kernel gives the lowest that is free, so
 * the number tells how many are left.
 */
static bool is_kept_back(struct acceptor *s, int fd, const union address *a)
{
	if (s->handler.keep_back == 0 || fd < atomic_load(&s->plenty))
		return false;
	int limit = rlimit_nofile(), keep = s->handler.keep_back;
	/* A small limit is not kept back altogether. */
	if (keep > limit / 8)
		keep = limit / 8;
	/* While half are free there is no need to ask for the limit, which somebody may change. */
	atomic_store(&s->plenty, (limit - keep) / 2);
	if (fd < limit - keep)
		return false;
	complain(s, a, limit);
	return true;
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

static enum netpoll_next end(struct acceptor *s)
{
	netpoll_close(s->pd);
	wait_group_done(&s->accepting);
	return NETPOLL_OVER;
}

static enum netpoll_next pause_for(struct acceptor *s, int64_t ns)
{
	s->resume_ns = clock_mono_ns() + ns;
	netpoll_set_deadline(s->pd, s->resume_ns);
	return NETPOLL_WAIT;
}

/* A pause is one also if more connections come meanwhile. */
static bool is_pausing(struct acceptor *s)
{
	if (s->resume_ns == 0)
		return false;
	if (clock_mono_ns() < s->resume_ns && !atomic_load(&s->stopping))
		return true;
	s->resume_ns = 0;
	netpoll_set_deadline(s->pd, 0);
	return false;
}

/* No connection has been accepted. */
static enum netpoll_next on_failure(struct acceptor *s, int code)
{
	struct err err;
	if (code == EAGAIN)
		return NETPOLL_WAIT;
	if (!is_temporary(code)) {
		err_errno(&err, code, "listener.Accept() error - accept");
		s->handler.failed(s->handler.arg, &err);
		return end(s);
	}
	if ((code == EMFILE || code == ENFILE) && s->handler.no_descriptors &&
		s->handler.no_descriptors(s->handler.arg))
		return pause_for(s, ROOM_PAUSE_NS);
	err_errno(&err, code, "accept %s", s->listener->addr);
	lg_logf(s->handler.lg, LG_WARN, "temporary Accept() failure - %s", err.msg);
	return code == EINTR || code == ECONNABORTED ? NETPOLL_YIELD
						     : pause_for(s, ACCEPT_PAUSE_NS);
}

/* netpoll_ops.step */
static enum netpoll_next acceptor_step(void *arg)
{
	struct acceptor *s = arg;
	if (is_pausing(s))
		return NETPOLL_WAIT;
	for (int i = 0; i < ACCEPT_AT_ONCE; i++) {
		union address a = {0};
		socklen_t len = sizeof(a);
		if (atomic_load(&s->stopping))
			return end(s);
		if (s->handler.has_room && !s->handler.has_room(s->handler.arg))
			return pause_for(s, ROOM_PAUSE_NS);
		int fd = accept4(s->listener->fd, &a.sa, &len, SOCK_CLOEXEC);
		if (fd < 0)
			return on_failure(s, errno);
		if (is_kept_back(s, fd, &a))
			close(fd);
		else
			s->handler.handle(s->handler.arg, fd, &a);
	}
	return NETPOLL_YIELD;
}

static const struct netpoll_ops ops = {.step = acceptor_step};

void acceptor_init(struct acceptor *s, struct tcp_listener *listener, const struct tcp_handler *h)
{
	*s = (struct acceptor){.listener = listener, .handler = *h};
	set_socket_options(listener->fd);
	wait_group_init(&s->accepting);
}

void acceptor_start(struct acceptor *s, struct netpoll *np)
{
	lg_logf(s->handler.lg, LG_INFO, "%s: listening on %s", s->handler.proto, s->listener->addr);
	wait_group_add(&s->accepting);
	s->pd = netpoll_open(np, s->listener->fd, &ops, s);
	netpoll_begin(s->pd);
}

void acceptor_stop(struct acceptor *s)
{
	atomic_store(&s->stopping, true);
	if (!s->pd)
		return;
	netpoll_kick(s->pd);
	wait_group_wait(&s->accepting);
	s->pd = NULL;
	lg_logf(s->handler.lg, LG_INFO, "%s: closing %s", s->handler.proto, s->listener->addr);
}

void acceptor_destroy(struct acceptor *s)
{
	wait_group_destroy(&s->accepting);
}
