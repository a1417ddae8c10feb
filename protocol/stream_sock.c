/* SPDX-License-Identifier: MIT */
/*
 * The lowest layer of a connection: a plain socket. Mirrors net.TCPConn. Threads: the client's
 * io_loop reads. io_loop, the client's pump and threads that take the pump's steps write, one at a
 * time under the client's write lock. The thread that runs an HTTP connection does both. Any thread
 * may shut it down.
 *
 * Go sets a deadline with every read and write. A read sets the socket's timeout only if the time
 * left differs from it noticeably. Nearly all deadlines are "now plus a constant", so that saves the
 * system call. After a timeout that fires too early, the call waits for the rest of the time. The
 * system's timer of a socket may fire late, by an eighth of the time. A read can bear that. A write
 * cannot, see the note below; so it waits in ppoll, whose timer is precise.
 *
 * A thread that must not wait for a peer writes with STREAM_NOW. This layer keeps the bytes that
 * the system does not take then. It is below all other layers, so the bytes are in their final
 * form. The next write, by a thread that may wait, sends them first.
 *
 * Note on deadlines of writes. A deadline that has passed does not prove that the peer does not
 * read. The process may have been stopped (SIGSTOP, a frozen cgroup, a suspended machine), and the
 * peer may have read all bytes meanwhile. So the write tries once more what the system takes. If
 * the thread comes so late that it cannot have been running, the rest gets its time once again, but
 * only once. A peer that only reads slowly gains nothing by it.
 *
 * Lessons in docs/course/: 15-sockets.
 */
#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "common/check.h"
#include "common/clock.h"
#include "common/compiler.h"
#include "common/counter.h"
#include "common/runnext.h"
#include "common/xalloc.h"
#include "protocol/stream.h"

/* Of all sockets, for /metrics. */
static struct counter received_bytes, sent_bytes;

struct stream_sock {
	struct stream stream;
	int fd;                  /* immutable */
	_Atomic bool read_shut;  /* atomic */
	int64_t read_timeout_ns; /* reader only; the value of SO_RCVTIMEO; 0: none */
	char *kept;              /* writer only; owned; the bytes to be sent first, or NULL */
	size_t kept_len;         /* writer only */
};

/*
 * Makes a read of the socket end at deadline_ns, give or take 1/64, and later by an eighth at most.
 * *past: the deadline is over. -1 with err set: the system refuses, as a BPF program of a container
 * may.
 */
static int set_timeout(struct stream_sock *s, int64_t deadline_ns, bool *past, struct err *err)
{
	int64_t left = 0, current = s->read_timeout_ns;
	*past = false;
	if (deadline_ns != 0) {
		left = deadline_ns - clock_mono_ns();
		if (left <= 0) {
			*past = true;
			return 0;
		}
	}
	int64_t off = left > current ? left - current : current - left;
	if (off == 0 || (left != 0 && current != 0 && off <= left / 64))
		return 0;
	struct timeval tv = {
		.tv_sec = left / NSEC_PER_SEC,
		.tv_usec = left % NSEC_PER_SEC / NSEC_PER_USEC,
	};
	if (left != 0 && tv.tv_sec == 0 && tv.tv_usec == 0)
		tv.tv_usec = 1; /* 0 would mean "for ever" */
	if (setsockopt(s->fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)) != 0)
		return err_errno(err, errno, "setsockopt");
	s->read_timeout_ns = left;
	return 0;
}

/*
 * ETIMEDOUT of the system means that the peer is gone (keepalives, retransmissions), for good. For
 * this module's callers it is the deadline, after which they read on: so it gets another code.
 */
static int io_error(struct err *err, const char *what)
{
	int code = errno;
	err_errno(err, code, "%s", what);
	err->code = code == ETIMEDOUT ? ECONNRESET : code;
	return -1;
}

static ssize_t sock_read(
	struct stream *stream, void *buf, size_t n, int64_t deadline_ns, struct err *err)
{
	struct stream_sock *s = (struct stream_sock *)stream;
	for (;;) {
		/*
		 * A deadline that has passed does not prove silence: the process may have stood
		 * still (SIGSTOP, a frozen container, a suspended machine), and input may have come
		 * meanwhile. So the read always looks once more, without waiting, before it gives
		 * up.
		 */
		bool past;
		if (set_timeout(s, deadline_ns, &past, err) != 0)
			return -1;
		/*
		 * After the shutdown the system still gives input of a peer that sends all the
		 * time.
		 */
		if (atomic_load(&s->read_shut))
			return 0;
		ssize_t got = recv(s->fd, buf, n, past ? MSG_DONTWAIT : 0);
		if (got >= 0) {
			counter_add(&received_bytes, (uint64_t)got);
			return got;
		}
		if (errno == EAGAIN && past)
			return err_set(err, ETIMEDOUT, "i/o timeout");
		if (errno != EINTR && errno != EAGAIN)
			return io_error(err, "read");
	}
}

static ssize_t sock_try_read(struct stream *stream, void *buf, size_t n)
{
	struct stream_sock *s = (struct stream_sock *)stream;
	ssize_t got = atomic_load(&s->read_shut) ? 0 : recv(s->fd, buf, n, MSG_DONTWAIT);
	if (got <= 0)
		return -1;
	counter_add(&received_bytes, (uint64_t)got);
	return got;
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

/* One sendmsg, which does not wait. How many bytes have been sent, perhaps 0; -1 with err set. */
static ssize_t send_parts(struct stream_sock *s, struct iovec *iov, int n, struct err *err)
{
	struct msghdr mh = {.msg_iov = iov, .msg_iovlen = (size_t)n};
	ssize_t sent = sendmsg(s->fd, &mh, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (sent >= 0) {
		counter_add(&sent_bytes, (uint64_t)sent);
		return sent;
	}
	return errno == EINTR || errno == EAGAIN ? 0 : io_error(err, "write");
}

/* Sends what the system takes at once. How many of the buffers are used up; -1 with err set. */
static int send_now(struct stream_sock *s, struct iovec *iov, int n, struct err *err)
{
	int used = 0;
	while (used < n) {
		ssize_t sent = send_parts(s, iov + used, n - used, err);
		if (sent < 0)
			return -1;
		int more = advance(iov + used, n - used, (size_t)sent);
		if (sent == 0 && more == 0)
			break;
		used += more;
	}
	return used;
}

/* Until when a write may wait. */
struct patience {
	int64_t deadline_ns; /* 0: for ever */
	int64_t time_ns;     /* how long that was at the first wait; 0: it has not waited yet */
	bool renewed;
	bool said_room; /* the last wait ended as there was room, and no byte has gone since */
};

/*
 * A thread that comes so late has not been running. (On a busy machine that may be wrong; it does
 * no harm.)
 */
#define STANDSTILL_NS (100 * NSEC_PER_MSEC)
/* The least time that it gets anew. */
#define RENEWED_NS NSEC_PER_SEC

/* The deadline has passed: renews it, see the note above. False: the time is over. */
static bool renew(struct patience *p)
{
	int64_t now = clock_mono_ns();
	if (p->renewed || now - p->deadline_ns < STANDSTILL_NS)
		return false;
	int64_t time = p->time_ns > RENEWED_NS ? p->time_ns : RENEWED_NS;
	*p = (struct patience){.deadline_ns = now + time, .time_ns = time, .renewed = true};
	return true;
}

/*
 * The system may say that there is room, and take nothing: it is short of memory for TCP. It gives
 * no sign when that is over. So the next attempt is made after this time.
 */
#define SHORTAGE_NS (10 * NSEC_PER_MSEC)

/* Blocks until the system may take more. -1 with err set: the time is over. */
static int wait_for_room(struct stream_sock *s, struct patience *p, struct err *err)
{
	struct pollfd fd = {.fd = s->fd, .events = p->said_room ? 0 : POLLOUT};
	int64_t left = INT64_MAX;
	if (p->deadline_ns != 0) {
		left = p->deadline_ns - clock_mono_ns();
		if (left <= 0)
			return renew(p) ? 0 : err_set(err, ETIMEDOUT, "i/o timeout");
		if (p->time_ns == 0)
			p->time_ns = left;
	}
	if (p->said_room && left > SHORTAGE_NS)
		left = SHORTAGE_NS;
	struct timespec ts = {left / NSEC_PER_SEC, left % NSEC_PER_SEC};
	int rc = ppoll(&fd, 1, left == INT64_MAX ? NULL : &ts, NULL);
	if (rc < 0 && errno != EINTR)
		return io_error(err, "poll");
	p->said_room = rc > 0;
	return 0;
}

/*
 * Sends all of it until the deadline. A deadline that is over is noticed after one more attempt:
 * see the note at the top.
 */
static int send_all(
	struct stream_sock *s, struct iovec *iov, int n, struct patience *p, struct err *err)
{
	while (n > 0) {
		size_t first = iov->iov_len;
		int used = send_now(s, iov, n, err);
		if (used < 0)
			return -1;
		if (used > 0 || iov->iov_len < first)
			p->said_room = false;
		iov += used;
		n -= used;
		if (n == 0)
			break;
		runnext_handoff(); /* the peer may take its time */
		if (wait_for_room(s, p, err) != 0)
			return -1;
	}
	return 0;
}

static void drop_kept(struct stream_sock *s)
{
	free(s->kept);
	s->kept = NULL;
	s->kept_len = 0;
}

/* Adds the bytes in the buffers to the kept ones. */
static void keep(struct stream_sock *s, const struct iovec *iov, int n)
{
	size_t len = s->kept_len;
	for (int i = 0; i < n; i++)
		len += iov[i].iov_len;
	if (len == 0)
		return;
	s->kept = xrealloc(s->kept, len);
	for (int i = 0; i < n; i++) {
		memcpy(s->kept + s->kept_len, iov[i].iov_base, iov[i].iov_len);
		s->kept_len += iov[i].iov_len;
	}
}

/* Sends as many of the kept bytes as the system takes at once. -1 with err set. */
static int send_kept_now(struct stream_sock *s, struct err *err)
{
	struct iovec iov = {.iov_base = s->kept, .iov_len = s->kept_len};
	if (s->kept_len == 0)
		return 0;
	int used = send_now(s, &iov, 1, err);
	if (used < 0)
		return -1;
	if (used == 1) {
		drop_kept(s);
	} else {
		memmove(s->kept, iov.iov_base, iov.iov_len);
		s->kept_len = iov.iov_len;
	}
	return 0;
}

/* Sends all kept bytes until the deadline. */
static int send_kept(struct stream_sock *s, struct patience *p, struct err *err)
{
	struct iovec iov = {.iov_base = s->kept, .iov_len = s->kept_len};
	if (s->kept_len == 0)
		return 0;
	int rc = send_all(s, &iov, 1, p, err);
	drop_kept(s);
	return rc;
}

static int writev_now(struct stream_sock *s, struct iovec *iov, int n, struct err *err)
{
	if (send_kept_now(s, err) != 0)
		return -1;
	int used = s->kept_len == 0 ? send_now(s, iov, n, err) : 0;
	if (used < 0)
		return -1;
	keep(s, iov + used, n - used);
	return 0;
}

static int sock_writev(
	struct stream *stream, struct iovec *iov, int n, int64_t deadline_ns, struct err *err)
{
	struct stream_sock *s = (struct stream_sock *)stream;
	if (deadline_ns == STREAM_NOW)
		return writev_now(s, iov, n, err);
	struct patience p = {.deadline_ns = deadline_ns};
	if (send_kept(s, &p, err) != 0)
		return -1;
	return send_all(s, iov, n, &p, err);
}

static int sock_flush(struct stream *stream, int64_t deadline_ns, struct err *err)
{
	struct stream_sock *s = (struct stream_sock *)stream;
	if (s->kept_len == 0)
		return 0;
	if (deadline_ns == STREAM_NOW)
		return send_kept_now(s, err) != 0 ? -1 : s->kept_len > 0;
	struct patience p = {.deadline_ns = deadline_ns};
	return send_kept(s, &p, err);
}

int stream_sock_discard(const struct stream *stream)
{
	enum { MAX_TURNS = 64 };
	char scrap[4096] UNINITIALIZED;
	int fd = stream_sock_fd(stream);
	for (int i = 0; i < MAX_TURNS; i++) {
		ssize_t n = recv(fd, scrap, sizeof(scrap), MSG_DONTWAIT);
		if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
			return -1;
		if (n < 0)
			return i > 0;
	}
	return 1;
}

static void sock_close_write(struct stream *stream, int64_t deadline_ns)
{
	(void)deadline_ns;
	/* Fails when the peer was faster. */
	(void)shutdown(((struct stream_sock *)stream)->fd, SHUT_WR);
	/* Unread input would turn the close into a reset, which may overtake the last answer. */
	(void)stream_sock_discard(stream);
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
	free(s->kept);
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

void stream_sock_get_bytes(uint64_t *received, uint64_t *sent)
{
	*received = counter_get(&received_bytes);
	*sent = counter_get(&sent_bytes);
}

int stream_sock_fd(const struct stream *s)
{
	CHECK(s->ops == &sock_ops);
	return ((const struct stream_sock *)s)->fd;
}

void stream_sock_shutdown_read(struct stream *stream)
{
	struct stream_sock *s = (struct stream_sock *)stream;
	/* First the flag that the next read looks at, then the call that wakes a waiting one. */
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
