/* SPDX-License-Identifier: MIT */
/*
 * Fuzz target: a connection's socket and its buffers, where the system does what the input says. It
 * takes or gives a part, has no room, is interrupted, or fails. An input is a list of operations of
 * the daemon and of its peer: see operate(). Each call of sendmsg and recv takes one byte of the
 * input as well: see outcome().
 *
 * What is written comes to the peer in its order and once, and all of it where nothing has failed.
 * What the peer sends is read in the same way.
 */
#include "test/fuzz/fuzz.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/clock.h"
#include "protocol/bufio.h"
#include "protocol/stream.h"

#define WRITER_SIZE 64
#define READER_SIZE 32
#define N_PARTS 8
#define MAX_PART 255
/* What stands at each place of a stream: no two pieces of it look alike. */
#define PERIOD 251
/* Such a deadline has passed a while ago: the thread must have stood still. */
#define LONG_AGO (2 * NSEC_PER_SEC)

static struct input in;
static int sock = -1, peer = -1;
static size_t written, arrived; /* bytes, at the daemon's writer and at the peer */
static size_t sent, taken;      /* by the peer, and what the daemon has read of them */
static bool cut;                /* a call has failed, or a direction has been ended */

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	fuzz_process_init();
	return 0;
}

static void fill(unsigned char *p, size_t n, size_t *at)
{
	for (size_t i = 0; i < n; i++)
		p[i] = (unsigned char)((*at)++ % PERIOD);
}

static void check(const void *data, size_t n, size_t *at)
{
	const unsigned char *p = data;
	for (size_t i = 0; i < n; i++)
		CHECK(p[i] == (*at)++ % PERIOD);
}

/* --- the system --------------------------------------------------------------------------------- */

/* The peer reads all there is: so the socket always has room. */
static void peer_read(void)
{
	unsigned char buf[4096];
	ssize_t got;
	while ((got = syscall(SYS_recvfrom, peer, buf, sizeof(buf), MSG_DONTWAIT, NULL, NULL)) > 0)
		check(buf, (size_t)got, &arrived);
}

/* How many bytes the system takes or gives; 0: as many as it can. -1: it fails, with errno. */
static int outcome(void)
{
	static const int failures[] = {EAGAIN, EINTR, EAGAIN, EINTR, ECONNRESET, ETIMEDOUT, EPIPE};
	uint8_t b = input_byte(&in);
	if (b < 256 - sizeof(failures) / sizeof(*failures))
		return b;
	errno = failures[255 - b];
	return -1;
}

/* Instead of libc's. */
ssize_t sendmsg(int fd, const struct msghdr *mh, int flags)
{
	struct iovec parts[N_PARTS + 1];
	struct msghdr some = *mh;
	if (fd == sock) {
		int most = outcome();
		if (most < 0)
			return -1;
		peer_read();
		/* A part of the first buffer, or all of them. */
		if (most > 0 && mh->msg_iovlen > 0) {
			parts[0] = mh->msg_iov[0];
			if (parts[0].iov_len > (size_t)most)
				parts[0].iov_len = (size_t)most;
			some.msg_iov = parts;
			some.msg_iovlen = 1;
		}
	}
	return syscall(SYS_sendmsg, fd, &some, flags);
}

/* No read waits for ever: before it would, the peer ends. */
ssize_t recv(int fd, void *buf, size_t n, int flags)
{
	if (fd == sock) {
		int most = outcome();
		if (most < 0)
			return -1;
		if (most > 0 && (size_t)most < n)
			n = (size_t)most;
		char byte;
		if (!(flags & MSG_DONTWAIT) && syscall(SYS_recvfrom, fd, &byte, 1,
						       MSG_DONTWAIT | MSG_PEEK, NULL, NULL) < 0)
			shutdown(peer, SHUT_WR);
	}
	return syscall(SYS_recvfrom, fd, buf, n, flags, NULL, NULL);
}

/* --- operations --------------------------------------------------------------------------------- */

static int64_t deadline(void)
{
	int64_t now = clock_mono_ns();
	switch (input_byte(&in) % 5) {
	case 0:
		return 0;
	case 1:
		return STREAM_NOW;
	case 2:
		return now - LONG_AGO;
	case 3:
		return now - 1;
	default:
		return now + 60 * NSEC_PER_SEC;
	}
}

/* Some parts, of a size that the input says. */
static void write_parts(struct bufio_writer *w)
{
	static unsigned char data[N_PARTS][MAX_PART];
	struct iovec iov[N_PARTS];
	struct err err = {0};
	int n = 1 + input_byte(&in) % N_PARTS;
	int64_t deadline_ns = deadline();
	for (int i = 0; i < n; i++) {
		iov[i] = (struct iovec){.iov_base = data[i], .iov_len = input_byte(&in)};
		fill(data[i], iov[i].iov_len, &written);
	}
	if (bufio_writev(w, iov, n, deadline_ns, &err) != 0) {
		CHECK(*err.msg);
		cut = true;
	}
}

static void flush(struct bufio_writer *w, int64_t deadline_ns)
{
	struct err err = {0};
	if (bufio_flush(w, deadline_ns, &err) != 0) {
		CHECK(*err.msg);
		cut = true;
	}
}

/* After an error, or an end, nothing is known of what has been read. */
static bool take(enum bufio_result result, const void *data, size_t n)
{
	if (result == BUFIO_OK)
		check(data, n, &taken);
	return result == BUFIO_OK || result == BUFIO_IDLE;
}

static bool read_some(struct bufio_reader *r, bool line)
{
	char data[MAX_PART], *p = data;
	struct err err = {0};
	size_t n = line ? 0 : input_byte(&in);
	enum bufio_result result =
		line ? bufio_read_line(r, &p, &n, &err) : bufio_read_full(r, data, n, &err);
	if (result == BUFIO_OK && line)
		CHECK(n > 0 && p[n - 1] == '\n');
	return take(result, p, n);
}

/* A step, as a poller takes it. */
static bool read_step(struct bufio_reader *r)
{
	struct err err = {0};
	bufio_poll_begin(r, 1 + (size_t)input_byte(&in), false);
	enum bufio_result result = bufio_read_more(r, &err);
	bool goes_on = result == BUFIO_OK || result == BUFIO_IDLE;
	if (goes_on)
		goes_on = read_some(r, input_byte(&in) & 1);
	(void)bufio_poll_end(r);
	bufio_reader_begin(r);
	return goes_on;
}

static void peer_write(void)
{
	unsigned char data[MAX_PART];
	size_t n = input_byte(&in), before = sent;
	fill(data, n, &sent);
	if (syscall(SYS_sendto, peer, data, n, MSG_NOSIGNAL | MSG_DONTWAIT, NULL, 0) != (ssize_t)n)
		sent = before;
}

enum operation {
	WRITE,
	FLUSH,
	READ,
	READ_LINE,
	READ_STEP,
	PEER_WRITES,
	PEER_ENDS,
	END_READING,
	END_WRITING,
	END_BOTH,
	N_OPERATIONS
};

/* One operation: a byte that says which, and what it takes. False: nothing more is read. */
static bool operate(struct stream *s, struct bufio_reader *r, struct bufio_writer *w, bool reads)
{
	enum operation what = input_byte(&in) % N_OPERATIONS;
	switch (what) {
	case WRITE:
		write_parts(w);
		break;
	case FLUSH:
		flush(w, deadline());
		break;
	case READ:
	case READ_LINE:
		return reads && read_some(r, what == READ_LINE);
	case READ_STEP:
		return reads && read_step(r);
	case PEER_WRITES:
		peer_write();
		break;
	case PEER_ENDS:
		shutdown(peer, SHUT_WR);
		break;
	case END_READING:
		stream_sock_shutdown_read(s);
		break;
	case END_WRITING: /* what has not been read is thrown away */
		cut = true;
		s->ops->close_write(s, 0);
		return false;
	case END_BOTH:
	case N_OPERATIONS:
		cut = true;
		s->ops->shutdown(s);
		break;
	}
	return reads;
}

static void begin(const uint8_t *data, size_t size)
{
	int fds[2];
	in = (struct input){data, size};
	written = arrived = sent = taken = 0;
	cut = false;
	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
	sock = fds[0];
	peer = fds[1];
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bufio_reader r;
	struct bufio_writer w;
	bool reads = true;
	begin(data, size);
	struct stream *s = stream_sock_new(sock);
	bufio_reader_init(&r, s, READER_SIZE);
	bufio_writer_init(&w, s, WRITER_SIZE);
	while (in.n > 0)
		reads = operate(s, &r, &w, reads);
	flush(&w, 0);
	peer_read();
	CHECK(arrived <= written && (cut || arrived == written));
	CHECK(taken <= sent);
	bufio_reader_free(&r);
	bufio_writer_free(&w);
	s->ops->free(s);
	close(peer);
	sock = peer = -1;
	fuzz_check_resources();
	return 0;
}
