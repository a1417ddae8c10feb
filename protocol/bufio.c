/* SPDX-License-Identifier: MIT */
/*
 * Buffered reading and writing of a stream. Mirrors Go's package bufio, as far as clientV2 uses it.
 * Threads: the client's io_loop reads. io_loop, the client's pump and threads that take the pump's
 * steps write, under the client's write lock.
 *
 * Unlike in bufio, a write that overflows the buffer goes out together with the buffered bytes.
 * That is one system call, without a copy of large parts. So do many small parts of one call.
 *
 * Lessons in docs/course/: 14-pool.
 */
#include "protocol/bufio.h"

#include <errno.h>
#include <string.h>

#include "common/bufpool.h"
#include "common/check.h"
#include "common/clock.h"
#include "common/compiler.h"
#include "common/slab.h"

/* So few parts, a frame or two, are written without a copy. */
#define FEW_PARTS 4
/*
 * More parts are gathered. For each part the kernel takes as long as for some hundred bytes. So
 * parts of up to COPY_MAX bytes are copied, one behind the other, into pieces of memory.
 */
#define COPY_MAX 1024
#define PIECE_SIZE SLAB_MAX
#define MAX_PIECES 8
#define GATHER_PARTS 64
/*
 * A gathered write of so many bytes goes out: the call's cost is small then, and the peer can read.
 */
#define GATHER_SIZE (64 * 1024)
/* After a large value, so much is read before before_read is called, if it is there at once. */
#define READ_AHEAD ((size_t)256 << 10)

void bufio_reader_init(struct bufio_reader *b, struct stream *s, size_t size)
{
	*b = (struct bufio_reader){.stream = s, .size = size};
}

void bufio_reader_free(struct bufio_reader *b)
{
	bufpool_put(b->buf, b->cap);
	b->buf = NULL;
}

void bufio_reader_wipe(struct bufio_reader *b)
{
	if (!b->buf)
		return;
	explicit_bzero(b->buf, b->r);
	explicit_bzero(b->buf + b->w, b->cap - b->w);
}

/*
 * Gives the buffer cap bytes: the line, then room bytes of free space, then the unread input. Works
 * in place if that is possible.
 */
static void arrange(struct bufio_reader *b, size_t cap, size_t room)
{
	size_t keep = b->line_len, rest = b->w - b->r;
	char *old = b->buf, *buf = old && b->cap == cap ? old : bufpool_get(cap);
	CHECK(keep + room + rest <= cap);
	if (old) {
		/*
		 * The line moves to the front, so it never overwrites the unread input behind it.
		 */
		memmove(buf, old + b->line, keep);
		memmove(buf + keep + room, old + b->r, rest);
	}
	if (old && buf != old) {
		explicit_bzero(old, b->w); /* it may be a secret */
		bufpool_put(old, b->cap);
	}
	b->buf = buf;
	b->cap = cap;
	b->line = 0;
	b->r = keep;
	b->w = keep + room + rest;
}

void bufio_reader_give_back(struct bufio_reader *b)
{
	size_t rest = bufio_buffered(b);
	b->line_len = 0;
	if (rest > 0) {
		arrange(b, rest, 0);
		return;
	}
	bufio_reader_free(b);
	b->r = b->w = 0;
}

void bufio_reader_reset(struct bufio_reader *b, struct stream *s)
{
	b->stream = s;
	b->r = b->w = b->line_len = 0;
}

void bufio_put_back(struct bufio_reader *b, const void *p, size_t n)
{
	size_t least = b->line_len + n + bufio_buffered(b);
	arrange(b, b->buf && b->cap >= least ? b->cap : least > b->size ? least : b->size, n);
	memcpy(b->buf + b->r, p, n);
}

void bufio_unread_line(struct bufio_reader *b)
{
	CHECK(b->r == b->line + b->line_len);
	b->r = b->line;
	b->line_len = 0;
}

/*
 * A command whose value does not fit into the buffer takes reads of its own, and held-back output
 * would go out before each read. Each PUB of 64 KB would wake the topic's pump, and that would hold
 * io_loop up. So after a large read that was filled, the reader first looks whether more input is
 * there. (Not after every read: without more input that is one system call more.)
 */
static bool read_ahead(struct bufio_reader *b, void *p, size_t n, size_t *got)
{
	if (b->more && b->ahead < READ_AHEAD && b->stream->ops->try_read) {
		ssize_t rc = b->stream->ops->try_read(b->stream, p, n);
		if (rc > 0) {
			*got = (size_t)rc;
			b->ahead += *got;
			return true;
		}
	}
	b->ahead = 0;
	return false;
}

/* Has the rest of a command taken too long? inside: a part of it is here. */
static bool takes_long(struct bufio_reader *b, bool inside, int64_t now)
{
	if (!inside || b->idle_ns == 0)
		return false;
	if (b->part_since_ns == 0)
		b->part_since_ns = now;
	return now - b->part_since_ns > b->whole_ns;
}

int64_t bufio_read_deadline(struct bufio_reader *b)
{
	if (b->deadline_ns == 0 && b->timeout_ns > 0)
		b->deadline_ns = clock_mono_ns() + b->timeout_ns;
	return b->deadline_ns;
}

void bufio_poll_begin(struct bufio_reader *b, size_t most, bool trusts_short_reads)
{
	b->poll = (struct bufio_poll){.left = most, .on = true, .trusts = trusts_short_reads};
}

bool bufio_poll_end(struct bufio_reader *b)
{
	bool drained = b->poll.drained;
	b->poll = (struct bufio_poll){0};
	return drained;
}

/* One read without waiting, of what there is. */
static enum bufio_result poll_stream(
	struct bufio_reader *b, void *p, size_t n, size_t *got, struct err *err)
{
	if (b->poll.drained || b->poll.busy || b->poll.left == 0)
		return BUFIO_IDLE;
	ssize_t rc = b->stream->ops->read(b->stream, p, n, STREAM_AT_ONCE, err);
	if (rc == 0)
		return BUFIO_EOF;
	if (rc > 0) {
		*got = (size_t)rc;
		b->poll.left -= *got < b->poll.left ? *got : b->poll.left;
		b->poll.drained = b->poll.trusts && *got < n;
		return BUFIO_OK;
	}
	b->poll.busy = err->code == EBUSY;
	if (b->poll.busy)
		return BUFIO_IDLE;
	if (err->code != ETIMEDOUT)
		return BUFIO_ERR;
	int64_t deadline = bufio_read_deadline(b);
	b->poll.drained = deadline == 0 || clock_mono_ns() < deadline;
	return b->poll.drained ? BUFIO_IDLE : BUFIO_ERR;
}

/*
 * One read of the stream into p, after before_read. With idle_ns the timeout is always the same, so
 * that it need not be set anew (see stream_sock.c).
 */
static enum bufio_result read_stream(
	struct bufio_reader *b, void *p, size_t n, bool inside, size_t *got, struct err *err)
{
	if (b->poll.on)
		return poll_stream(b, p, n, got, err);
	if (read_ahead(b, p, n, got))
		return BUFIO_OK;
	int before = b->before_read ? b->before_read(b->arg, err) : 0;
	if (before != 0)
		return before > 0 ? BUFIO_IDLE : BUFIO_ERR;
	int64_t now = b->timeout_ns > 0 || b->idle_ns > 0 ? clock_mono_ns() : 0;
	if (b->deadline_ns == 0 && b->timeout_ns > 0)
		b->deadline_ns = now + b->timeout_ns;
	int64_t deadline = b->deadline_ns;
	bool idle = b->idle_ns > 0 && (deadline == 0 || now + b->idle_ns < deadline);
	if (idle)
		deadline = takes_long(b, inside, now) ? now : now + b->idle_ns;
	ssize_t rc = b->stream->ops->read(b->stream, p, n, deadline, err);
	if (rc >= 0) {
		*got = (size_t)rc;
		return rc == 0 ? BUFIO_EOF : BUFIO_OK;
	}
	return idle && err->code == ETIMEDOUT ? BUFIO_IDLE : BUFIO_ERR;
}

/*
 * Moves the unread input to the front, but behind the line, and reads behind both. If the line
 * leaves little space, the buffer is larger for as long as the command is read.
 */
static enum bufio_result fill(struct bufio_reader *b, bool inside, struct err *err)
{
	size_t have = b->line_len + bufio_buffered(b);
	size_t cap = b->line_len <= b->size / 2 ? b->size : b->line_len + b->size;
	if (!b->buf || b->cap != cap || b->line > 0 || b->r > b->line_len)
		arrange(b, cap, 0);
	CHECK(have < cap);
	size_t got = 0;
	enum bufio_result res = read_stream(b, b->buf + b->w, cap - b->w, inside, &got, err);
	b->w += got;
	b->more = b->more && b->w == cap;
	return res;
}

enum bufio_result bufio_read_more(struct bufio_reader *b, struct err *err)
{
	size_t have = bufio_buffered(b), got = 0;
	b->line_len = 0;
	if (!b->buf || b->w == b->cap)
		arrange(b, have < b->size / 2 ? b->size : 2 * have, 0);
	enum bufio_result res = read_stream(b, b->buf + b->w, b->cap - b->w, true, &got, err);
	b->w += got;
	return res;
}

enum bufio_result bufio_read_line(struct bufio_reader *b, char **line, size_t *len, struct err *err)
{
	size_t searched = 0; /* the search of a long line does not start again */
	b->line_len = 0;
	for (;;) {
		size_t buffered = bufio_buffered(b);
		if (buffered > b->size)
			buffered = b->size;
		char *start = buffered > 0 ? b->buf + b->r : NULL;
		char *nl = buffered > searched ? memchr(start + searched, '\n', buffered - searched)
					       : NULL;
		if (nl) {
			*line = start;
			*len = (size_t)(nl - start) + 1;
			b->line = b->r;
			b->line_len = *len;
			b->r += *len;
			return BUFIO_OK;
		}
		searched = buffered;
		if (searched == b->size) {
			err_set(err, 0, "bufio: buffer full");
			return BUFIO_ERR;
		}
		enum bufio_result res = fill(b, buffered > 0, err);
		if (res != BUFIO_OK)
			return res;
	}
}

enum bufio_result bufio_read_full(struct bufio_reader *b, void *p, size_t n, struct err *err)
{
	char *out = p;
	size_t have = 0;
	while (have < n) {
		size_t buffered = bufio_buffered(b);
		if (buffered > 0) {
			size_t take = buffered < n - have ? buffered : n - have;
			memcpy(out + have, b->buf + b->r, take);
			b->r += take;
			have += take;
			continue;
		}
		/* A part as large as the buffer, or larger, is read directly to its place. */
		size_t got = 0;
		enum bufio_result res;
		if (n - have >= b->size) {
			res = read_stream(b, out + have, n - have, true, &got, err);
			have += got;
			b->more = have == n;
		} else {
			res = fill(b, true, err);
		}
		if (res == BUFIO_IDLE && have > 0)
			bufio_put_back(b, out, have);
		if (res == BUFIO_EOF && have > 0) {
			err_set(err, 0, "unexpected EOF");
			return BUFIO_ERR;
		}
		if (res != BUFIO_OK) {
			if (res == BUFIO_EOF)
				err_set(err, 0, "EOF");
			return res;
		}
	}
	return BUFIO_OK;
}

void bufio_writer_init(struct bufio_writer *b, struct stream *s, size_t size)
{
	*b = (struct bufio_writer){.stream = s, .size = size};
}

void bufio_writer_free(struct bufio_writer *b)
{
	bufpool_put(b->buf, b->size);
	b->buf = NULL;
}

void bufio_writer_give_back(struct bufio_writer *b)
{
	if (b->len == 0)
		bufio_writer_free(b);
}

void bufio_writer_reset(struct bufio_writer *b, struct stream *s, size_t size)
{
	CHECK(b->len == 0 || b->failed);
	bufio_writer_free(b);
	bufio_writer_init(b, s, size);
}

/* Remembers the first error for all later calls. */
static int result(struct bufio_writer *b, int rc, struct err *err)
{
	if (rc != 0 && !b->failed) {
		b->failed = true;
		b->err = *err;
	}
	return rc;
}

static int failed(const struct bufio_writer *b, struct err *err)
{
	*err = b->err;
	return -1;
}

static void copy_to_buffer(struct bufio_writer *b, const struct iovec *parts, int n)
{
	if (!b->buf)
		b->buf = bufpool_get(b->size);
	for (int i = 0; i < n; i++) {
		memcpy(b->buf + b->len, parts[i].iov_base, parts[i].iov_len);
		b->len += parts[i].iov_len;
	}
}

/* Writes the buffered bytes and behind them the parts, without a copy. */
static int write_few(struct bufio_writer *b, const struct iovec *parts, int n, int64_t deadline_ns,
	struct err *err)
{
	struct iovec iov[FEW_PARTS + 1] = {{.iov_base = b->buf, .iov_len = b->len}};
	memcpy(iov + 1, parts, (size_t)n * sizeof(*parts));
	int first = b->len > 0 ? 0 : 1;
	b->len = 0;
	return b->stream->ops->writev(b->stream, iov + first, n + 1 - first, deadline_ns, err);
}

/* The gathered parts of one write of the stream. */
struct gather {
	struct iovec iov[GATHER_PARTS];
	int n;
	size_t len;               /* bytes of all */
	char *pieces[MAX_PIECES]; /* owned */
	int n_pieces;
	size_t used; /* of the last piece */
};

/* Adds a copy. False: there is no space. */
static bool gather_copy(struct gather *g, struct iovec part)
{
	if (g->n_pieces == 0 || PIECE_SIZE - g->used < part.iov_len) {
		if (g->n_pieces == MAX_PIECES)
			return false;
		g->pieces[g->n_pieces++] = slab_alloc(PIECE_SIZE);
		g->used = 0;
	}
	char *to = g->pieces[g->n_pieces - 1] + g->used;
	memcpy(to, part.iov_base, part.iov_len);
	struct iovec *last = g->n > 0 ? &g->iov[g->n - 1] : NULL;
	if (g->used > 0 && last && (char *)last->iov_base + last->iov_len == to)
		last->iov_len += part.iov_len;
	else
		g->iov[g->n++] = (struct iovec){.iov_base = to, .iov_len = part.iov_len};
	g->used += part.iov_len;
	return true;
}

/* Adds part. False: the gathered parts must be written first. */
static bool gather_add(struct gather *g, struct iovec part)
{
	if (g->n == GATHER_PARTS || g->len >= GATHER_SIZE)
		return false;
	if (part.iov_len > COPY_MAX)
		g->iov[g->n++] = part;
	else if (!gather_copy(g, part))
		return false;
	g->len += part.iov_len;
	return true;
}

/* Writes the gathered parts; then g is empty. */
static int gather_write(
	struct gather *g, struct stream *stream, int64_t deadline_ns, struct err *err)
{
	int rc = g->n > 0 ? stream->ops->writev(stream, g->iov, g->n, deadline_ns, err) : 0;
	while (g->n_pieces > 0)
		slab_free(g->pieces[--g->n_pieces], PIECE_SIZE);
	g->n = 0;
	g->len = 0;
	return rc;
}

/* Writes the buffered bytes and behind them the parts, in few writes with few parts each. */
static int write_many(struct bufio_writer *b, const struct iovec *parts, int n, int64_t deadline_ns,
	struct err *err)
{
	struct gather g = {.n = 0};
	int rc = 0;
	if (b->len > 0)
		g.iov[g.n++] = (struct iovec){.iov_base = b->buf, .iov_len = b->len};
	g.len = b->len;
	b->len = 0;
	int i = 0;
	while (rc == 0 && i < n) {
		while (i < n && gather_add(&g, parts[i]))
			i++;
		rc = gather_write(&g, b->stream, deadline_ns, err);
	}
	return rc;
}

/* Makes the layers below send the bytes that they hold back. */
static int flush_layers(struct bufio_writer *b, int64_t deadline_ns, struct err *err)
{
	int rc = b->stream->ops->flush(b->stream, deadline_ns, err);
	b->below = rc > 0;
	b->unflushed = b->below || b->len > 0;
	return rc < 0 ? -1 : 0;
}

int bufio_writev(struct bufio_writer *b, const struct iovec *parts, int n, int64_t deadline_ns,
	struct err *err)
{
	if (b->failed)
		return failed(b, err);
	size_t total = 0;
	for (int i = 0; i < n; i++)
		total += parts[i].iov_len;

	b->unflushed = true;
	if (total <= b->size - b->len) {
		copy_to_buffer(b, parts, n);
		return 0;
	}
	int rc = n <= FEW_PARTS ? write_few(b, parts, n, deadline_ns, err)
				: write_many(b, parts, n, deadline_ns, err);
	if (rc == 0)
		rc = flush_layers(b, deadline_ns, err);
	return result(b, rc, err);
}

int bufio_flush(struct bufio_writer *b, int64_t deadline_ns, struct err *err)
{
	if (b->failed)
		return failed(b, err);
	if (deadline_ns == STREAM_NOW && b->below && flush_layers(b, deadline_ns, err) != 0)
		return result(b, -1, err);
	if (deadline_ns == STREAM_NOW && b->below)
		return 0;
	if (b->len > 0) {
		struct iovec iov = {.iov_base = b->buf, .iov_len = b->len};
		b->len = 0;
		if (b->stream->ops->writev(b->stream, &iov, 1, deadline_ns, err) != 0)
			return result(b, -1, err);
	}
	return result(b, flush_layers(b, deadline_ns, err), err);
}
