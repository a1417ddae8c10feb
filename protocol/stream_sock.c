/* SPDX-License-Identifier: MIT */
/*
 * The lowest layer of a connection: a plain socket (Go's net.TCPConn). The
 * client's io_loop reads; io_loop, the client's pump and the channel's write, one
 * at a time under the client's write lock; anybody may shut it down.
 *
 * Where Go sets a deadline with every read and write, this sets the socket's
 * timeout only when the time left differs from it noticeably: deadlines are
 * "now plus a constant" nearly always, so that the system call is saved. A
 * timeout that fires too early is noticed and waited out.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "common/check.h"
#include "common/clock.h"
#include "common/compiler.h"
#include "common/xalloc.h"
#include "protocol/stream.h"

struct stream_sock {
	struct stream stream;
	int fd;                   /* immutable */
	_Atomic bool read_shut;   /* atomic */
	int64_t read_timeout_ns;  /* reader only; what SO_RCVTIMEO is set to, 0: none */
	int64_t write_timeout_ns; /* writer only; SO_SNDTIMEO */
};

/* Makes the socket's timeout (opt) end at deadline_ns, give or take 1/64. False: that is past. */
static bool set_timeout(struct stream_sock *s, int opt, int64_t *current, int64_t deadline_ns)
{
	int64_t left = 0;
	if (deadline_ns != 0) {
		left = deadline_ns - clock_mono_ns();
		if (left <= 0)
			return false;
	}
	int64_t off = left > *current ? left - *current : *current - left;
	if (off == 0 || (left != 0 && *current != 0 && off <= left / 64))
		return true;
	struct timeval tv = {
		.tv_sec = left / NSEC_PER_SEC,
		.tv_usec = left % NSEC_PER_SEC / NSEC_PER_USEC,
	};
	if (left != 0 && tv.tv_sec == 0 && tv.tv_usec == 0)
		tv.tv_usec = 1; /* 0 would mean "for ever" */
	CHECK(setsockopt(s->fd, SOL_SOCKET, opt, &tv, sizeof(tv)) == 0);
	*current = left;
	return true;
}

static ssize_t sock_read(
	struct stream *stream, void *buf, size_t n, int64_t deadline_ns, struct err *err)
{
	struct stream_sock *s = (struct stream_sock *)stream;
	for (;;) {
		/*
		 * A deadline that has passed is no proof of silence: if the process has stood still
		 * (SIGSTOP, a frozen container, a suspended machine), what came in meanwhile is
		 * here. So there is always one more look, that does not wait, before we give up.
		 */
		bool past = !set_timeout(s, SO_RCVTIMEO, &s->read_timeout_ns, deadline_ns);
		/*
		 * The system would go on giving what comes in from a peer that sends all the time.
		 */
		if (atomic_load(&s->read_shut))
			return 0;
		ssize_t got = recv(s->fd, buf, n, past ? MSG_DONTWAIT : 0);
		if (got >= 0)
			return got;
		if (errno == EAGAIN && past)
			return err_set(err, ETIMEDOUT, "i/o timeout");
		if (errno != EINTR && errno != EAGAIN)
			return err_errno(err, errno, "read");
	}
}

static ssize_t sock_try_read(struct stream *stream, void *buf, size_t n)
{
	struct stream_sock *s = (struct stream_sock *)stream;
	ssize_t got = atomic_load(&s->read_shut) ? 0 : recv(s->fd, buf, n, MSG_DONTWAIT);
	return got > 0 ? got : -1;
}

/* Drops the first n bytes from the buffers; returns how many buffers are used up. */
static int advance(struct iovec *iov, int cnt, size_t n)
{
	int i = 0;
	while (i < cnt && n >= iov[i].iov_len) {
		n -= iov[i].iov_len;
		i++;
	}
	if (n > 0) {
		CHECK(i < cnt);
		iov[i].iov_base = (char *)iov[i].iov_base + n;
		iov[i].iov_len -= n;
	}
	return i;
}

static int sock_writev(
	struct stream *stream, struct iovec *iov, int n, int64_t deadline_ns, struct err *err)
{
	struct stream_sock *s = (struct stream_sock *)stream;
	while (n > 0) {
		if (!set_timeout(s, SO_SNDTIMEO, &s->write_timeout_ns, deadline_ns))
			return err_set(err, ETIMEDOUT, "i/o timeout");
		struct msghdr mh = {.msg_iov = iov, .msg_iovlen = (size_t)n};
		ssize_t sent = sendmsg(s->fd, &mh, MSG_NOSIGNAL);
		if (sent >= 0) {
			int used = advance(iov, n, (size_t)sent);
			iov += used;
			n -= used;
		} else if (errno != EINTR && errno != EAGAIN) {
			return err_errno(err, errno, "write");
		}
	}
	return 0;
}

static int sock_flush(struct stream *stream, int64_t deadline_ns, struct err *err)
{
	(void)stream;
	(void)deadline_ns;
	(void)err;
	return 0;
}

/*
 * What has come in and is not read would make the close a reset, which may overtake the last
 * answer.
 */
static void discard_input(int fd)
{
	enum { MAX_TURNS = 64 };
	char scrap[4096] UNINITIALIZED;
	for (int i = 0; i < MAX_TURNS && recv(fd, scrap, sizeof(scrap), MSG_DONTWAIT) > 0; i++)
		;
}

static void sock_close_write(struct stream *stream, int64_t deadline_ns)
{
	int fd = ((struct stream_sock *)stream)->fd;
	(void)deadline_ns;
	/* Fails when the peer was faster. */
	(void)shutdown(fd, SHUT_WR);
	discard_input(fd);
}

static void sock_shutdown(struct stream *stream)
{
	/* Fails when the peer was faster; then there is nothing left to do. */
	(void)shutdown(((struct stream_sock *)stream)->fd, SHUT_RDWR);
}

static void sock_free(struct stream *stream)
{
	struct stream_sock *s = (struct stream_sock *)stream;
	close(s->fd);
	free(s);
}

static const struct stream_ops sock_ops = {
	.read = sock_read,
	.try_read = sock_try_read,
	.writev = sock_writev,
	.flush = sock_flush,
	.close_write = sock_close_write,
	.shutdown = sock_shutdown,
	.free = sock_free,
};

int stream_sock_fd(const struct stream *s)
{
	CHECK(s->ops == &sock_ops);
	return ((const struct stream_sock *)s)->fd;
}

ssize_t stream_sock_try_write(struct stream *s, const void *p, size_t n, struct err *err)
{
	ssize_t sent;
	do
		sent = send(stream_sock_fd(s), p, n, MSG_NOSIGNAL | MSG_DONTWAIT);
	while (sent < 0 && errno == EINTR);
	if (sent < 0 && errno != EAGAIN)
		return err_errno(err, errno, "write");
	return sent < 0 ? 0 : sent;
}

void stream_sock_shutdown_read(struct stream *stream)
{
	struct stream_sock *s = (struct stream_sock *)stream;
	/* First what the next read looks at, then what wakes the one that waits. */
	atomic_store(&s->read_shut, true);
	(void)shutdown(s->fd, SHUT_RD);
}

struct stream *stream_sock_new(int fd)
{
	struct stream_sock *s = xcalloc(1, sizeof(*s));
	s->stream.ops = &sock_ops;
	s->fd = fd;
	return &s->stream;
}
