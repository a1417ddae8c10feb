/* SPDX-License-Identifier: MIT */
/*
 * stream_sock: a socket with deadlines that are never early, and a shutdown that wakes everybody.
 */
#include "test/unit/helper.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/rand.h"
#include "protocol/stream.h"

struct pair {
	struct stream *s;
	int peer;
};

static struct pair new_pair(void)
{
	int fds[2], small = 4096;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	/* So that little is enough to make a writer wait. */
	assert_int_equal(setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
	return (struct pair){.s = stream_sock_new(fds[0]), .peer = fds[1]};
}

static void free_pair(struct pair *p)
{
	p->s->ops->free(p->s);
	if (p->peer >= 0)
		close(p->peer);
}

static int write_bytes(
	struct pair *p, const void *data, size_t n, int64_t deadline, struct err *err)
{
	struct iovec iov = {.iov_base = (void *)data, .iov_len = n};
	return p->s->ops->writev(p->s, &iov, 1, deadline, err);
}

/* In place of libc's: the next one fails with this code, if it is not 0. */
static _Atomic int recv_code;

ssize_t recv(int fd, void *buf, size_t n, int flags)
{
	int code = atomic_exchange(&recv_code, 0);
	if (code == 0)
		return recvfrom(fd, buf, n, flags, NULL, NULL);
	errno = code;
	return -1;
}

/* Likewise. */
static _Atomic int setsockopt_code;

int setsockopt(int fd, int level, int name, const void *value, socklen_t len)
{
	int code = atomic_exchange(&setsockopt_code, 0);
	if (code == 0)
		return (int)syscall(SYS_setsockopt, fd, level, name, value, len);
	errno = code;
	return -1;
}

/* Likewise: as long as it is set, there is no memory to send. */
static _Atomic bool short_of_memory;
static _Atomic int sendmsg_calls;

ssize_t sendmsg(int fd, const struct msghdr *mh, int flags)
{
	sendmsg_calls++;
	if (!short_of_memory)
		return syscall(SYS_sendmsg, fd, mh, flags);
	errno = EAGAIN;
	return -1;
}

/* Likewise: how long the last one was to wait. It closes that descriptor before, if it is not -1. */
static _Atomic int64_t ppoll_ns;
static _Atomic int closed_by_ppoll = -1;

int ppoll(struct pollfd *fds, nfds_t n, const struct timespec *timeout, const sigset_t *mask)
{
	struct timespec left = timeout ? *timeout : (struct timespec){.tv_sec = INT_MAX};
	int fd = atomic_exchange(&closed_by_ppoll, -1);
	ppoll_ns = left.tv_sec * NSEC_PER_SEC + left.tv_nsec;
	if (fd >= 0)
		close(fd);
	return (int)syscall(SYS_ppoll, fds, n, timeout ? &left : NULL, mask, _NSIG / 8);
}

/* The system may refuse a deadline: that is the end of the connection, not of the process. */
static void test_a_deadline_that_is_refused_is_an_error(void **state)
{
	struct pair p = new_pair();
	struct err err;
	char buf[16];
	setsockopt_code = EPERM;
	assert_int_equal(
		p.s->ops->read(p.s, buf, sizeof(buf), clock_mono_ns() + NSEC_PER_SEC, &err), -1);
	assert_int_equal(err.code, EPERM);
	assert_string_equal(err.msg, "setsockopt: operation not permitted");
	free_pair(&p);
}

/* The caller reads on after its own deadline. After that of the system nothing ever comes. */
static void test_a_peer_that_is_gone_is_no_deadline(void **state)
{
	struct pair p = new_pair();
	struct err err;
	char buf[16];
	recv_code = ETIMEDOUT;
	assert_int_equal(p.s->ops->read(p.s, buf, sizeof(buf), STREAM_AT_ONCE, &err), -1);
	assert_int_equal(err.code, ECONNRESET);
	assert_string_equal(err.msg, "read: connection timed out");
	assert_int_equal(p.s->ops->read(p.s, buf, sizeof(buf), STREAM_AT_ONCE, &err), -1);
	assert_int_equal(err.code, ETIMEDOUT);
	free_pair(&p);
}

static void test_it_reads_what_there_is(void **state)
{
	struct pair p = new_pair();
	struct err err;
	char buf[16];
	assert_int_equal(write(p.peer, "hello", 5), 5);
	assert_int_equal(p.s->ops->read(p.s, buf, 2, 0, &err), 2);
	assert_int_equal(p.s->ops->read(p.s, buf + 2, sizeof(buf) - 2, 0, &err), 3);
	assert_memory_equal(buf, "hello", 5);
	free_pair(&p);
}

static void test_trying_to_read_does_not_block(void **state)
{
	struct pair p = new_pair();
	struct err err;
	char buf[16];
	assert_int_equal(p.s->ops->try_read(p.s, buf, sizeof(buf)), -1);
	assert_int_equal(write(p.peer, "hello", 5), 5);
	assert_int_equal(p.s->ops->try_read(p.s, buf, 2), 2);
	stream_sock_shutdown_read(p.s);
	assert_int_equal(p.s->ops->try_read(p.s, buf, sizeof(buf)), -1);
	assert_int_equal(p.s->ops->read(p.s, buf, sizeof(buf), 0, &err), 0);
	free_pair(&p);
}

static void test_the_end_is_0(void **state)
{
	struct pair p = new_pair();
	struct err err;
	char buf[16];
	assert_int_equal(write(p.peer, "x", 1), 1);
	close(p.peer);
	p.peer = -1;
	assert_int_equal(p.s->ops->read(p.s, buf, sizeof(buf), 0, &err), 1);
	assert_int_equal(p.s->ops->read(p.s, buf, sizeof(buf), 0, &err), 0);
	free_pair(&p);
}

static void test_a_read_ends_at_its_deadline_and_never_before(void **state)
{
	/* Also after a longer and a shorter one, whose timeouts the socket may still have. */
	static const int64_t timeouts[] = {30, 20, 20, 40, 1, 39};
	struct pair p = new_pair();
	struct err err;
	char buf[16];
	for (size_t i = 0; i < COUNT(timeouts); i++) {
		int64_t deadline = clock_mono_ns() + timeouts[i] * NSEC_PER_MSEC;
		assert_int_equal(p.s->ops->read(p.s, buf, sizeof(buf), deadline, &err), -1);
		assert_true(clock_mono_ns() >= deadline);
		assert_true(clock_mono_ns() < deadline + PATIENCE);
		assert_int_equal(err.code, ETIMEDOUT);
		assert_string_equal(err.msg, "i/o timeout");
	}
	free_pair(&p);
}

static void test_after_a_deadline_that_is_past_nothing_is_waited_for(void **state)
{
	static char data[1 << 20];
	struct pair p = new_pair();
	struct err err;
	char buf[16];
	assert_int_equal(p.s->ops->read(p.s, buf, sizeof(buf), clock_mono_ns() - 1, &err), -1);
	assert_int_equal(err.code, ETIMEDOUT);
	/* What the system takes at once is written all the same. */
	assert_int_equal(write_bytes(&p, "x", 1, clock_mono_ns() - 1, &err), 0);
	assert_int_equal(write_bytes(&p, data, sizeof(data), clock_mono_ns() - 1, &err), -1);
	assert_int_equal(err.code, ETIMEDOUT);
	free_pair(&p);
	p = new_pair();
	/* It does not stick: the next call has a deadline of its own. */
	assert_int_equal(write_bytes(&p, "x", 1, 0, &err), 0);
	assert_int_equal(write(p.peer, "y", 1), 1);
	assert_int_equal(
		p.s->ops->read(p.s, buf, sizeof(buf), clock_mono_ns() + PATIENCE, &err), 1);
	free_pair(&p);
}

/* The process may have stood still until then, and what the peer sent meanwhile is here. */
static void test_a_deadline_that_is_past_is_no_proof_of_silence(void **state)
{
	struct pair p = new_pair();
	struct err err;
	char buf[16];
	assert_int_equal(write(p.peer, "hello", 5), 5);
	assert_int_equal(p.s->ops->read(p.s, buf, 2, 1, &err), 2);
	assert_int_equal(p.s->ops->read(p.s, buf + 2, sizeof(buf) - 2, 1, &err), 3);
	assert_memory_equal(buf, "hello", 5);
	assert_int_equal(p.s->ops->read(p.s, buf, sizeof(buf), 1, &err), -1);
	assert_int_equal(err.code, ETIMEDOUT);
	close(p.peer);
	p.peer = -1;
	assert_int_equal(p.s->ops->read(p.s, buf, sizeof(buf), 1, &err), 0);
	free_pair(&p);
}

/* --- writing ---------------------------------------------------------------------------------- */

struct reader {
	int fd;
	size_t n; /* how much it reads */
	bool ok;  /* all bytes were right */
};

static unsigned char byte_at(size_t i)
{
	return (unsigned char)(i * 31 + (i >> 8));
}

static void read_all(void *arg)
{
	struct reader *r = arg;
	unsigned char buf[1000];
	size_t done = 0;
	r->ok = true;
	while (done < r->n) {
		ssize_t got = read(r->fd, buf, sizeof(buf));
		if (got <= 0)
			break;
		for (ssize_t i = 0; i < got; i++)
			r->ok &= buf[i] == byte_at(done + (size_t)i);
		done += (size_t)got;
	}
	r->ok &= done == r->n;
}

static void test_a_long_write_of_many_parts_arrives_as_a_whole(void **state)
{
	enum { TOTAL = 300000 };
	struct pair p = new_pair();
	struct reader r = {.fd = p.peer, .n = TOTAL};
	unsigned char *data = malloc(TOTAL);
	struct wait_group wg;
	struct err err;
	struct iovec iov[] = {
		{.iov_base = data, .iov_len = 1},
		{.iov_base = data + 1, .iov_len = 0},
		{.iov_base = data + 1, .iov_len = 99999},
		{.iov_base = data + 100000, .iov_len = 200000},
		{.iov_base = data, .iov_len = 0},
	};

	for (size_t i = 0; i < TOTAL; i++)
		data[i] = byte_at(i);
	wait_group_init(&wg);
	go(&wg, read_all, &r);
	assert_int_equal(
		p.s->ops->writev(p.s, iov, COUNT(iov), clock_mono_ns() + PATIENCE, &err), 0);
	join(&wg);
	assert_true(r.ok);
	free(data);
	free_pair(&p);
}

static void test_a_write_of_nothing_returns(void **state)
{
	struct pair p = new_pair();
	struct iovec iov[] = {{.iov_base = NULL, .iov_len = 0}, {.iov_base = NULL, .iov_len = 0}};
	struct err err;
	assert_int_equal(p.s->ops->writev(p.s, iov, 2, 0, &err), 0);
	assert_int_equal(p.s->ops->writev(p.s, iov, 0, 0, &err), 0);
	assert_int_equal(p.s->ops->flush(p.s, 0, &err), 0);
	free_pair(&p);
}

static void test_a_peer_that_does_not_read_lets_a_write_end_at_its_deadline(void **state)
{
	static char data[1 << 20];
	struct pair p = new_pair();
	struct err err;
	for (int i = 0; i < 3; i++) {
		int64_t deadline = clock_mono_ns() + 30 * NSEC_PER_MSEC;
		assert_int_equal(write_bytes(&p, data, sizeof(data), deadline, &err), -1);
		assert_true(clock_mono_ns() >= deadline);
		assert_int_equal(err.code, ETIMEDOUT);
		assert_string_equal(err.msg, "i/o timeout");
	}
	free_pair(&p);
}

static void read_exactly(int fd, char *buf, size_t n)
{
	assert_int_equal(recv(fd, buf, n, MSG_WAITALL), n);
}

static void test_a_write_that_must_not_wait_leaves_the_rest_to_the_next(void **state)
{
	static char data[1 << 20];
	struct pair p = new_pair();
	struct err err;
	char buf[16];
	assert_int_equal(write_bytes(&p, "hello", 5, STREAM_NOW, &err), 0);
	assert_int_equal(p.s->ops->flush(p.s, STREAM_NOW, &err), 0);
	read_exactly(p.peer, buf, 5);
	assert_memory_equal(buf, "hello", 5);

	size_t filled = fill_socket(stream_sock_fd(p.s));
	assert_int_equal(write_bytes(&p, "abc", 3, STREAM_NOW, &err), 0);
	assert_int_equal(write_bytes(&p, "de", 2, STREAM_NOW, &err), 0);
	assert_int_equal(write_bytes(&p, "", 0, STREAM_NOW, &err), 0);
	assert_int_equal(p.s->ops->flush(p.s, STREAM_NOW, &err), 1);
	assert_int_equal(p.s->ops->flush(p.s, clock_mono_ns() + NSEC_PER_MSEC, &err), -1);
	free_pair(&p);

	p = new_pair();
	filled = fill_socket(stream_sock_fd(p.s));
	assert_int_equal(write_bytes(&p, "abcde", 5, STREAM_NOW, &err), 0);
	read_exactly(p.peer, data, filled);
	/* A write that may wait begins with it. */
	assert_int_equal(write_bytes(&p, "fg", 2, clock_mono_ns() + PATIENCE, &err), 0);
	read_exactly(p.peer, buf, 7);
	assert_memory_equal(buf, "abcdefg", 7);

	filled = fill_socket(stream_sock_fd(p.s));
	assert_int_equal(write_bytes(&p, "hi", 2, STREAM_NOW, &err), 0);
	read_exactly(p.peer, data, filled);
	assert_int_equal(p.s->ops->flush(p.s, STREAM_NOW, &err), 0);
	read_exactly(p.peer, buf, 2);
	assert_memory_equal(buf, "hi", 2);

	close(p.peer);
	p.peer = -1;
	assert_int_equal(write_bytes(&p, "x", 1, STREAM_NOW, &err), -1);
	assert_string_equal(err.msg, "write: broken pipe");
	free_pair(&p);
}

struct sink {
	int fd;
	size_t n;
	bool in_order;
};

/* Each byte is one more than the last. */
static void check_order(void *arg)
{
	struct sink *k = arg;
	unsigned char buf[3000], next = 0;
	ssize_t got;
	k->in_order = true;
	while ((got = recv(k->fd, buf, sizeof(buf), 0)) > 0) {
		k->n += (size_t)got;
		for (ssize_t i = 0; i < got; i++)
			k->in_order = k->in_order && buf[i] == next++;
	}
}

static void test_writes_that_wait_and_that_do_not_keep_their_order(void **state)
{
	static unsigned char data[20000 + 256];
	struct pair p = new_pair();
	struct sink k = {.fd = p.peer};
	struct wait_group wg;
	struct err err;
	size_t n = 0;
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (unsigned char)i;
	wait_group_init(&wg);
	go(&wg, check_order, &k);
	for (int i = 0; i < 300; i++) {
		size_t len = rand_below(20000);
		unsigned char *from = data + n % 256;
		struct iovec iov[] = {{from, len / 3}, {from + len / 3, len - len / 3}};
		int64_t deadline = i % 3 ? STREAM_NOW : clock_mono_ns() + PATIENCE;
		assert_int_equal(p.s->ops->writev(p.s, iov, 2, deadline, &err), 0);
		n += len;
	}
	assert_int_equal(p.s->ops->flush(p.s, clock_mono_ns() + PATIENCE, &err), 0);
	shutdown(stream_sock_fd(p.s), SHUT_WR);
	join(&wg);
	assert_int_equal(k.n, n);
	assert_true(k.in_order);
	free_pair(&p);
}

/*
 * A thread that comes late passes for one that stood still, and gets its time once more. So the
 * wait must be precise: the system's timer of a socket is not.
 */
static void test_a_write_waits_no_longer_than_its_deadline(void **state)
{
	static char data[1 << 16];
	struct pair p = new_pair();
	struct err err;
	struct timeval tv;
	socklen_t len = sizeof(tv);
	int64_t time = 30 * NSEC_PER_SEC;
	/* The peer goes, so that the test need not wait. */
	closed_by_ppoll = p.peer;
	p.peer = -1;
	assert_int_equal(write_bytes(&p, data, sizeof(data), clock_mono_ns() + time, &err), -1);
	assert_int_equal(err.code, EPIPE);
	assert_in_range(ppoll_ns, time / 2, time);
	assert_int_equal(getsockopt(stream_sock_fd(p.s), SOL_SOCKET, SO_SNDTIMEO, &tv, &len), 0);
	assert_true(tv.tv_sec == 0 && tv.tv_usec == 0);
	free_pair(&p);
}

static void end_shortage(void *arg)
{
	sleep_ns(*(int64_t *)arg);
	short_of_memory = false;
}

/* The socket is writable all the time, and takes nothing. */
static void test_a_system_that_is_short_of_memory_is_not_asked_all_the_time(void **state)
{
	struct pair p = new_pair();
	struct wait_group wg;
	struct err err;
	int64_t time = 300 * NSEC_PER_MSEC;
	short_of_memory = true;
	sendmsg_calls = 0;
	assert_int_equal(write_bytes(&p, "x", 1, clock_mono_ns() + time, &err), -1);
	assert_int_equal(err.code, ETIMEDOUT);
	/* Twice in 10 ms, also in the second that a late thread gets. */
	assert_in_range(sendmsg_calls, 2, 2 * (300 + 1000) / 10 + 4);
	wait_group_init(&wg);
	go(&wg, end_shortage, &time);
	assert_int_equal(write_bytes(&p, "x", 1, 0, &err), 0);
	join(&wg);
	free_pair(&p);
}

/* As after SIGSTOP: the deadline is long past, but the peer reads. */
static void test_a_deadline_that_passed_while_we_stood_still_counts_anew_once(void **state)
{
	static char data[1 << 16];
	struct pair p = new_pair();
	struct sink k = {.fd = p.peer};
	struct wait_group wg;
	struct err err;
	int64_t long_ago = clock_mono_ns() - NSEC_PER_SEC;
	assert_int_equal(write_bytes(&p, "x", 1, long_ago, &err), 0);
	/* There is room for less; and nobody reads. */
	int64_t start = clock_mono_ns();
	assert_int_equal(write_bytes(&p, data, sizeof(data), long_ago, &err), -1);
	assert_int_equal(err.code, ETIMEDOUT);
	assert_true(clock_mono_ns() - start >= NSEC_PER_SEC);
	free_pair(&p);

	p = new_pair();
	k.fd = p.peer;
	wait_group_init(&wg);
	go(&wg, check_order, &k);
	assert_int_equal(write_bytes(&p, data, sizeof(data), long_ago, &err), 0);
	shutdown(stream_sock_fd(p.s), SHUT_WR);
	join(&wg);
	assert_int_equal(k.n, sizeof(data));
	free_pair(&p);
}

struct drip {
	int fd;
	_Atomic bool stop;
};

static void read_slowly(void *arg)
{
	struct drip *d = arg;
	char buf[64];
	while (!d->stop) {
		ssize_t n = recv(d->fd, buf, sizeof(buf), MSG_DONTWAIT);
		(void)n;
		sleep_ns(NSEC_PER_MSEC);
	}
}

static void test_a_peer_that_reads_slowly_does_not_move_the_deadline(void **state)
{
	static char data[1 << 20];
	struct pair p = new_pair();
	struct drip d = {.fd = p.peer};
	struct wait_group wg;
	struct err err;
	wait_group_init(&wg);
	go(&wg, read_slowly, &d);
	int64_t deadline = clock_mono_ns() + 50 * NSEC_PER_MSEC;
	assert_int_equal(write_bytes(&p, data, sizeof(data), deadline, &err), -1);
	assert_true(clock_mono_ns() >= deadline);
	assert_int_equal(err.code, ETIMEDOUT);
	d.stop = true;
	join(&wg);
	free_pair(&p);
}

static void test_a_write_to_a_closed_peer_is_an_error_and_no_signal(void **state)
{
	struct pair p = new_pair();
	struct err err;
	close(p.peer);
	p.peer = -1;
	assert_int_equal(write_bytes(&p, "x", 1, 0, &err), -1);
	assert_int_equal(err.code, EPIPE);
	assert_string_equal(err.msg, "write: broken pipe");
	free_pair(&p);
}

/* --- shutdown --------------------------------------------------------------------------------- */

struct blocked {
	struct pair *p;
	_Atomic int started;
	ssize_t read_rc;
	int write_rc;
};

static void block_in_read(void *arg)
{
	struct blocked *b = arg;
	struct err err;
	char buf[16];
	b->started++;
	b->read_rc = b->p->s->ops->read(b->p->s, buf, sizeof(buf), 0, &err);
}

static void block_in_write(void *arg)
{
	static char data[1 << 20];
	struct blocked *b = arg;
	struct err err;
	b->started++;
	b->write_rc = write_bytes(b->p, data, sizeof(data), 0, &err);
}

static void test_shutdown_wakes_a_reader_and_a_writer(void **state)
{
	struct pair p = new_pair();
	struct blocked b = {.p = &p, .read_rc = 77, .write_rc = 77};
	struct wait_group wg;
	wait_group_init(&wg);
	go(&wg, block_in_read, &b);
	go(&wg, block_in_write, &b);
	wait_for(b.started == 2);
	p.s->ops->shutdown(p.s);
	join(&wg);
	assert_int_equal(b.read_rc, 0);
	assert_int_equal(b.write_rc, -1);
	free_pair(&p);
}

static void test_after_a_shutdown_nothing_blocks_and_a_second_one_is_fine(void **state)
{
	struct pair p = new_pair();
	struct err err;
	char buf[16];
	p.s->ops->shutdown(p.s);
	p.s->ops->shutdown(p.s);
	assert_int_equal(p.s->ops->read(p.s, buf, sizeof(buf), 0, &err), 0);
	assert_int_equal(write_bytes(&p, "x", 1, 0, &err), -1);
	close(p.peer);
	p.peer = -1;
	p.s->ops->shutdown(p.s);
	free_pair(&p);
}

static void test_reader_and_writer_do_not_wait_for_each_other(void **state)
{
	struct pair p = new_pair();
	struct blocked b = {.p = &p};
	struct wait_group wg;
	struct err err;
	char buf[2];
	wait_group_init(&wg);
	go(&wg, block_in_read, &b);
	wait_for(b.started == 1);
	assert_int_equal(write_bytes(&p, "ab", 2, clock_mono_ns() + PATIENCE, &err), 0);
	assert_int_equal(read(p.peer, buf, 2), 2);
	p.s->ops->shutdown(p.s);
	join(&wg);
	free_pair(&p);
}

static void test_free_closes_the_descriptor(void **state)
{
	struct pair p = new_pair();
	char buf[1];
	p.s->ops->free(p.s);
	assert_int_equal(read(p.peer, buf, 1), 0);
	close(p.peer);
}

struct endless {
	struct pair *p;
	_Atomic bool stop;
};

static void sends_all_the_time(void *arg)
{
	struct endless *e = arg;
	char data[1000] = {0};
	while (!atomic_load(&e->stop) && send(e->p->peer, data, sizeof(data), MSG_NOSIGNAL) > 0)
		;
}

/* The reader gets the end also where there is always more to be read, and can still write. */
static void test_reading_can_be_ended_alone(void **state)
{
	struct pair p = new_pair();
	struct endless e = {.p = &p};
	struct wait_group wg;
	struct err err;
	char buf[100];
	wait_group_init(&wg);
	go(&wg, sends_all_the_time, &e);
	assert_true(p.s->ops->read(p.s, buf, sizeof(buf), 0, &err) > 0);
	stream_sock_shutdown_read(p.s);
	stream_sock_shutdown_read(p.s);
	assert_int_equal(p.s->ops->read(p.s, buf, sizeof(buf), 0, &err), 0);
	assert_int_equal(p.s->ops->read(p.s, buf, sizeof(buf), 0, &err), 0);
	assert_int_equal(write_bytes(&p, "answer", 6, 0, &err), 0);
	atomic_store(&e.stop, true);
	p.s->ops->close_write(p.s, 0);
	assert_int_equal(recv(p.peer, buf, sizeof(buf), 0), 6);
	assert_int_equal(recv(p.peer, buf, sizeof(buf), 0), 0);
	p.s->ops->shutdown(p.s);
	join(&wg);
	free_pair(&p);
}

static void test_what_has_come_is_thrown_away_without_waiting(void **state)
{
	struct pair p = new_pair();
	struct err err;
	char buf[16];
	assert_int_equal(stream_sock_discard(p.s), 0);
	assert_int_equal(write(p.peer, "hello", 5), 5);
	assert_int_equal(stream_sock_discard(p.s), 1);
	assert_int_equal(stream_sock_discard(p.s), 0);
	assert_int_equal(write(p.peer, "more", 4), 4);
	assert_int_equal(p.s->ops->read(p.s, buf, sizeof(buf), 0, &err), 4);
	assert_int_equal(shutdown(p.peer, SHUT_WR), 0);
	assert_int_equal(stream_sock_discard(p.s), -1);
	assert_int_equal(write_bytes(&p, "answer", 6, 0, &err), 0);
	assert_int_equal(recv(p.peer, buf, sizeof(buf), 0), 6);
	free_pair(&p);
}

/* However much comes, and however fast: it returns. */
static void test_throwing_away_ends_where_the_input_does_not(void **state)
{
	struct pair p = new_pair();
	struct endless e = {.p = &p};
	struct wait_group wg;
	wait_group_init(&wg);
	go(&wg, sends_all_the_time, &e);
	for (int turns = 0; turns < 100;)
		turns += stream_sock_discard(p.s);
	atomic_store(&e.stop, true);
	p.s->ops->shutdown(p.s);
	join(&wg);
	free_pair(&p);
}

struct one_read {
	struct pair *p;
	ssize_t result;
};

static void read_once(void *arg)
{
	struct one_read *r = arg;
	struct err err;
	char byte;
	r->result = r->p->s->ops->read(r->p->s, &byte, 1, 0, &err);
}

static void test_ending_the_reading_wakes_a_reader(void **state)
{
	struct pair p = new_pair();
	struct one_read r = {.p = &p, .result = -1};
	struct wait_group wg;
	wait_group_init(&wg);
	go(&wg, read_once, &r);
	stream_sock_shutdown_read(p.s);
	join(&wg);
	assert_int_equal(r.result, 0);
	free_pair(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_deadline_that_is_refused_is_an_error),
		cmocka_unit_test(test_a_peer_that_is_gone_is_no_deadline),
		cmocka_unit_test(test_it_reads_what_there_is),
		cmocka_unit_test(test_trying_to_read_does_not_block),
		cmocka_unit_test(test_the_end_is_0),
		cmocka_unit_test(test_a_read_ends_at_its_deadline_and_never_before),
		cmocka_unit_test(test_a_deadline_that_is_past_is_no_proof_of_silence),
		cmocka_unit_test(test_after_a_deadline_that_is_past_nothing_is_waited_for),
		cmocka_unit_test(test_a_long_write_of_many_parts_arrives_as_a_whole),
		cmocka_unit_test(test_a_write_of_nothing_returns),
		cmocka_unit_test(test_a_peer_that_does_not_read_lets_a_write_end_at_its_deadline),
		cmocka_unit_test(test_a_write_that_must_not_wait_leaves_the_rest_to_the_next),
		cmocka_unit_test(test_writes_that_wait_and_that_do_not_keep_their_order),
		cmocka_unit_test(test_a_write_waits_no_longer_than_its_deadline),
		cmocka_unit_test(test_a_system_that_is_short_of_memory_is_not_asked_all_the_time),
		cmocka_unit_test(test_a_deadline_that_passed_while_we_stood_still_counts_anew_once),
		cmocka_unit_test(test_a_peer_that_reads_slowly_does_not_move_the_deadline),
		cmocka_unit_test(test_a_write_to_a_closed_peer_is_an_error_and_no_signal),
		cmocka_unit_test(test_shutdown_wakes_a_reader_and_a_writer),
		cmocka_unit_test(test_after_a_shutdown_nothing_blocks_and_a_second_one_is_fine),
		cmocka_unit_test(test_reader_and_writer_do_not_wait_for_each_other),
		cmocka_unit_test(test_free_closes_the_descriptor),
		cmocka_unit_test(test_reading_can_be_ended_alone),
		cmocka_unit_test(test_ending_the_reading_wakes_a_reader),
		cmocka_unit_test(test_what_has_come_is_thrown_away_without_waiting),
		cmocka_unit_test(test_throwing_away_ends_where_the_input_does_not),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
