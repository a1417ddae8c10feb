/* SPDX-License-Identifier: MIT */
/*
 * Buffered reading and writing of a stream. Mirrors Go's package bufio, as far
 * as clientV2 uses it. The reader runs in the client's io_loop; the writer in
 * io_loop, in the client's pump and in the channel's, under the client's write lock.
 *
 * Unlike bufio, a write that overflows the buffer goes out together with what
 * is buffered, in one system call and without a copy of what is big; so do many
 * small ones that are given at once.
 */
#include "protocol/bufio.h"

#include <errno.h>
#include <string.h>

#include "common/bufpool.h"
#include "common/check.h"
#include "common/clock.h"
#include "common/compiler.h"
#include "common/slab.h"

/* So few parts, a frame or two, are written as they are. */
#define FEW_PARTS 4
/*
 * More of them are gathered: for each part the kernel takes about as long as for some hundred bytes,
 * so those of up to COPY_MAX are copied, one behind the other, into pieces of memory.
 */
#define COPY_MAX 1024
#define PIECE_SIZE SLAB_MAX
#define MAX_PIECES 8
#define GATHER_PARTS 64
/* With so much a write is complete: what a call costs is little then, and the peer is to read. */
#define GATHER_SIZE (64 * 1024)
/* So much is read after a large value before before_read is called, if it is there at once. */
#define READ_AHEAD ((size_t)256 << 10)

void bufio_reader_init(struct bufio_reader *b, struct stream *s, size_t size)
{
	*b = (struct bufio_reader){.stream = s, .size = size};
}

void bufio_reader_free(struct bufio_reader *b)
{
	bufpool_put(b->buf, b->size);
	b->buf = NULL;
}

void bufio_reader_wipe(struct bufio_reader *b)
{
	if (!b->buf)
		return;
	explicit_bzero(b->buf, b->r);
	explicit_bzero(b->buf + b->w, b->size - b->w);
}

void bufio_reader_give_back(struct bufio_reader *b)
{
	CHECK(b->r == b->w);
	bufio_reader_free(b);
	b->r = b->w = 0;
}

void bufio_reader_reset(struct bufio_reader *b, struct stream *s)
{
	b->stream = s;
	b->r = b->w = 0;
}

/*
 * With values that do not fit into the buffer each command takes reads of its own, and what is held
 * back would go out with each: each PUB of 64 KB woke the topic's pump, and that stopped us. So
 * after a large read that was filled we look first whether more is there. (Not after every read:
 * where it is not, that is one system call more.)
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

/*
 * One read of the stream into p, after the chance to send what is held back.
 * With idle_ns it is tried for so long again and again: one and the same timeout
 * all the time, which need not be set anew (see stream_sock.c).
 */
static enum bufio_result read_stream(
	struct bufio_reader *b, void *p, size_t n, bool between_lines, size_t *got, struct err *err)
{
	if (read_ahead(b, p, n, got))
		return BUFIO_OK;
	if (b->before_read && b->before_read(b->arg, err) != 0)
		return BUFIO_ERR;
	for (;;) {
		int64_t now = b->timeout_ns > 0 || b->idle_ns > 0 ? clock_mono_ns() : 0;
		if (b->deadline_ns == 0 && b->timeout_ns > 0)
			b->deadline_ns = now + b->timeout_ns;
		int64_t deadline = b->deadline_ns;
		bool idle = b->idle_ns > 0 && (deadline == 0 || now + b->idle_ns < deadline);
		if (idle)
			deadline = now + b->idle_ns;
		ssize_t rc = b->stream->ops->read(b->stream, p, n, deadline, err);
		if (rc >= 0) {
			*got = (size_t)rc;
			return rc == 0 ? BUFIO_EOF : BUFIO_OK;
		}
		if (!idle || err->code != ETIMEDOUT)
			return BUFIO_ERR;
		if (between_lines)
			return BUFIO_IDLE;
	}
}

/* Moves what is left to the front and reads behind it. */
static enum bufio_result fill(struct bufio_reader *b, bool between_lines, struct err *err)
{
	if (!b->buf)
		b->buf = bufpool_get(b->size);
	if (b->r > 0) {
		memmove(b->buf, b->buf + b->r, b->w - b->r);
		b->w -= b->r;
		b->r = 0;
	}
	CHECK(b->w < b->size);
	size_t got = 0;
	enum bufio_result res =
		read_stream(b, b->buf + b->w, b->size - b->w, between_lines, &got, err);
	b->w += got;
	b->more = b->more && b->w == b->size;
	return res;
}

enum bufio_result bufio_read_line(struct bufio_reader *b, char **line, size_t *len, struct err *err)
{
	size_t searched = 0; /* a long line is not searched from its start again */
	for (;;) {
		size_t buffered = bufio_buffered(b);
		char *start = buffered > 0 ? b->buf + b->r : NULL;
		char *nl = buffered > searched ? memchr(start + searched, '\n', buffered - searched)
					       : NULL;
		if (nl) {
			*line = start;
			*len = (size_t)(nl - start) + 1;
			b->r += *len;
			return BUFIO_OK;
		}
		searched = buffered;
		if (searched == b->size) {
			err_set(err, 0, "bufio: buffer full");
			return BUFIO_ERR;
		}
		enum bufio_result res = fill(b, buffered == 0, err);
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
		/* What fills the whole buffer or more is read to where it belongs. */
		size_t got = 0;
		enum bufio_result res;
		if (n - have >= b->size) {
			res = read_stream(b, out + have, n - have, false, &got, err);
			have += got;
			b->more = have == n;
		} else {
			res = fill(b, false, err);
		}
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

/* What is buffered, and behind it the parts, as they are. */
static int write_few(struct bufio_writer *b, const struct iovec *parts, int n, int64_t deadline_ns,
	struct err *err)
{
	struct iovec iov[FEW_PARTS + 1] = {{.iov_base = b->buf, .iov_len = b->len}};
	memcpy(iov + 1, parts, (size_t)n * sizeof(*parts));
	int first = b->len > 0 ? 0 : 1;
	b->len = 0;
	return b->stream->ops->writev(b->stream, iov + first, n + 1 - first, deadline_ns, err);
}

/* What one write of the stream is to take. */
struct gather {
	struct iovec iov[GATHER_PARTS];
	int n;
	size_t len;               /* bytes of all */
	char *pieces[MAX_PIECES]; /* owned */
	int n_pieces;
	size_t used; /* of the last piece */
};

/* Adds a copy. False: there is no room. */
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

/* Adds part; or says that what there is has to be written first. */
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

/* Writes what has been gathered; g is empty. */
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

/* What is buffered, and behind it the parts, in few writes with few parts each. */
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

/* Sends on what the layers below hold back. */
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

bool bufio_writer_is_free(const struct bufio_writer *b, size_t n)
{
	return !b->failed && !b->unflushed && b->len == 0 && n <= b->size;
}
