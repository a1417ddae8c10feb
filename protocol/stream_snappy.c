/* SPDX-License-Identifier: MIT */
/*
 * The snappy layer. Mirrors Reader and Writer of github.com/golang/snappy; libsnappy does the
 * blocks. Threads: the client's io_loop reads. io_loop, the client's pump and threads that take the
 * pump's steps write, one at a time under the client's write lock.
 *
 * Differences: a read returns the data of all chunks that came together, where Go's returns one
 * chunk. A block that fits is decoded right into the reader's buffer. The parts of one writev are
 * compressed together. A chunk to be skipped may have any length, as the format says (Go refuses
 * those beyond 76,494 bytes).
 */
#include "protocol/stream_snappy.h"

#include <snappy-c.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "common/crc32c.h"
#include "common/xalloc.h"

#define CHUNK_COMPRESSED 0x00
#define CHUNK_UNCOMPRESSED 0x01
#define CHUNK_FIRST_SKIPPABLE 0x80
#define CHUNK_STREAM_IDENTIFIER 0xff

#define HEADER_SIZE 4
#define CHECKSUM_SIZE 4
#define MAX_BLOCK ((size_t)65536)
/* snappy_max_compressed_length(MAX_BLOCK): a longer chunk is not valid. */
#define MAX_ENCODED ((size_t)76490)
#define MAX_CHUNK (HEADER_SIZE + CHECKSUM_SIZE + MAX_ENCODED)
/*
 * One read asks for so much, so that small chunks that came together are read together. After a
 * longer chunk it asks for MAX_CHUNK.
 */
#define READ_SIZE ((size_t)16384)

static const char stream_identifier[] = "\xff\x06\x00\x00sNaPpY";
#define IDENTIFIER_SIZE (sizeof(stream_identifier) - 1)

struct stream_snappy {
	struct stream stream;
	struct stream *below; /* immutable; owned */

	/* --- reader only --- */
	unsigned char *in; /* owned; from below, in[in_r..in_w) is not yet used */
	size_t in_cap;     /* READ_SIZE or MAX_CHUNK, or more for pending bytes */
	size_t in_r, in_w;
	unsigned char *decoded; /* owned; of decoded_cap; decoded[d_r..d_w) is unread */
	size_t decoded_cap;     /* at most MAX_BLOCK */
	size_t d_r, d_w;
	size_t skip;     /* bytes of a skipped chunk that are still to come */
	bool identified; /* the stream identifier has been seen */
	bool failed;     /* every read fails with read_err */
	struct err read_err;

	/* --- writer only --- */
	bool identifier_sent;
	unsigned char *gather; /* owned; of MAX_BLOCK, or NULL: gathers parts into one block */
	char *out;             /* owned; of out_cap, or NULL: takes a compressed block */
	size_t out_cap;
};

/* --- reading ---------------------------------------------------------------------------------- */

static int corrupt(struct stream_snappy *s, struct err *err)
{
	s->failed = true;
	err_set(&s->read_err, 0, "snappy: corrupt input");
	*err = s->read_err;
	return -1;
}

static int unsupported(struct stream_snappy *s, struct err *err)
{
	s->failed = true;
	err_set(&s->read_err, 0, "snappy: unsupported input");
	*err = s->read_err;
	return -1;
}

static uint32_t masked_crc(const void *data, size_t len)
{
	uint32_t c = crc32c(0, data, len);
	return (c >> 15 | c << 17) + 0xa282ead8u;
}

static uint32_t get_le32(const unsigned char *p)
{
	return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static void put_le32(unsigned char *p, uint32_t v)
{
	for (int i = 0; i < 4; i++)
		p[i] = (unsigned char)(v >> (8 * i));
}

/* Is it the checksum of data? For a fuzzer, which cannot compute it, 0 is one of any data. */
static bool is_checksum(uint32_t checksum, const void *data, size_t len)
{
#ifdef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION
	if (checksum == 0)
		return true;
#endif
	return masked_crc(data, len) == checksum;
}

/* Makes room for n bytes from in_r on. */
static void reserve_in(struct stream_snappy *s, size_t n)
{
	if (s->in_r > 0 && s->in_r + n > s->in_cap) {
		memmove(s->in, s->in + s->in_r, s->in_w - s->in_r);
		s->in_w -= s->in_r;
		s->in_r = 0;
	}
	if (n > s->in_cap) {
		s->in_cap = n <= READ_SIZE ? READ_SIZE : n <= MAX_CHUNK ? MAX_CHUNK : n;
		s->in = xreallocarray(s->in, s->in_cap, 1);
	}
}

/* Reads until n bytes are at in[in_r]. 1; 0: the stream ended before; -1 with err set. */
static int need(struct stream_snappy *s, size_t n, int64_t deadline_ns, struct err *err)
{
	if (s->in_r == s->in_w)
		s->in_r = s->in_w = 0;
	reserve_in(s, n);
	while (s->in_w - s->in_r < n) {
		ssize_t got = s->below->ops->read(
			s->below, s->in + s->in_w, s->in_cap - s->in_w, deadline_ns, err);
		if (got <= 0)
			return (int)got;
		s->in_w += (size_t)got;
	}
	return 1;
}

/* The same within a chunk, where an end is corruption. 0 or -1. */
static int need_all(struct stream_snappy *s, size_t n, int64_t deadline_ns, struct err *err)
{
	int rc = need(s, n, deadline_ns, err);
	return rc > 0 ? 0 : rc < 0 ? -1 : corrupt(s, err);
}

/* Throws away the rest of a chunk to be skipped, without ever holding it. */
static int skip_rest(struct stream_snappy *s, int64_t deadline_ns, struct err *err)
{
	while (s->skip > 0) {
		if (s->in_r == s->in_w && need_all(s, 1, deadline_ns, err) != 0)
			return -1;
		size_t have = s->in_w - s->in_r;
		size_t n = have < s->skip ? have : s->skip;
		s->in_r += n;
		s->skip -= n;
	}
	return 0;
}

/* The target of a block of len bytes: the reader's buffer if it fits, else s->decoded. */
static unsigned char *block_target(struct stream_snappy *s, size_t len, void *buf, size_t n)
{
	if (len <= n)
		return buf;
	if (len > s->decoded_cap) {
		free(s->decoded);
		s->decoded = xmalloc(len);
		s->decoded_cap = len;
	}
	return s->decoded;
}

/* Copies data from s->decoded to the reader's buffer, as much as fits. */
static ssize_t take_decoded(struct stream_snappy *s, void *buf, size_t n)
{
	size_t have = s->d_w - s->d_r;
	size_t take = have < n ? have : n;
	memcpy(buf, s->decoded + s->d_r, take);
	s->d_r += take;
	return (ssize_t)take;
}

/* Decodes the data chunk at in_r, len bytes after its header. Bytes for the reader, or -1. */
static ssize_t data_chunk(
	struct stream_snappy *s, int type, size_t len, void *buf, size_t n, struct err *err)
{
	const unsigned char *body = s->in + s->in_r + HEADER_SIZE + CHECKSUM_SIZE;
	uint32_t checksum = get_le32(body - CHECKSUM_SIZE);
	size_t body_len = len - CHECKSUM_SIZE, size = body_len;
	if (type == CHUNK_COMPRESSED &&
		snappy_uncompressed_length((const char *)body, body_len, &size) != SNAPPY_OK)
		return corrupt(s, err);
	if (size > MAX_BLOCK)
		return corrupt(s, err);
	unsigned char *to = block_target(s, size, buf, n);
	if (type == CHUNK_UNCOMPRESSED)
		memcpy(to, body, size);
	else if (snappy_uncompress((const char *)body, body_len, (char *)to, &size) != SNAPPY_OK)
		return corrupt(s, err);
	if (!is_checksum(checksum, to, size))
		return corrupt(s, err);
	s->in_r += HEADER_SIZE + len;
	if (to == buf)
		return (ssize_t)size;
	s->d_r = 0;
	s->d_w = size;
	return take_decoded(s, buf, n);
}

/* Takes the next chunk. Bytes for the reader; 0 if it held none; -1 with err set. */
static ssize_t chunk(
	struct stream_snappy *s, void *buf, size_t n, int64_t deadline_ns, struct err *err)
{
	const unsigned char *h = s->in + s->in_r;
	int type = h[0];
	size_t len = h[1] | (size_t)h[2] << 8 | (size_t)h[3] << 16;
	if (!s->identified && type != CHUNK_STREAM_IDENTIFIER)
		return corrupt(s, err);
	if (type == CHUNK_STREAM_IDENTIFIER) {
		if (len != IDENTIFIER_SIZE - HEADER_SIZE)
			return corrupt(s, err);
		if (need_all(s, IDENTIFIER_SIZE, deadline_ns, err) != 0)
			return -1;
		if (memcmp(s->in + s->in_r, stream_identifier, IDENTIFIER_SIZE) != 0)
			return corrupt(s, err);
		s->in_r += IDENTIFIER_SIZE;
		s->identified = true;
		return 0;
	}
	if (type == CHUNK_COMPRESSED || type == CHUNK_UNCOMPRESSED) {
		size_t max = type == CHUNK_COMPRESSED ? MAX_ENCODED : MAX_BLOCK;
		if (len < CHECKSUM_SIZE || len - CHECKSUM_SIZE > max)
			return corrupt(s, err);
		if (need_all(s, HEADER_SIZE + len, deadline_ns, err) != 0)
			return -1;
		return data_chunk(s, type, len, buf, n, err);
	}
	if (type < CHUNK_FIRST_SKIPPABLE)
		return unsupported(s, err);
	s->in_r += HEADER_SIZE;
	s->skip = len;
	return 0;
}

/* Reads the next bytes of data, blocking until there are some. */
static ssize_t read_some(
	struct stream_snappy *s, void *buf, size_t n, int64_t deadline_ns, struct err *err)
{
	for (;;) {
		if (s->failed) {
			*err = s->read_err;
			return -1;
		}
		if (s->d_r < s->d_w)
			return take_decoded(s, buf, n);
		if (skip_rest(s, deadline_ns, err) != 0)
			return -1;
		int rc = need(s, HEADER_SIZE, deadline_ns, err);
		if (rc < 0)
			return -1;
		if (rc == 0)
			return s->in_r == s->in_w ? 0 : corrupt(s, err);
		ssize_t got = chunk(s, buf, n, deadline_ns, err);
		if (got != 0)
			return got;
	}
}

/* Is the next chunk a data chunk, and complete in the buffer? */
static bool data_chunk_there(const struct stream_snappy *s)
{
	const unsigned char *h = s->in + s->in_r;
	size_t have = s->in_w - s->in_r;
	if (s->d_r < s->d_w || have < HEADER_SIZE)
		return false;
	size_t len = h[1] | (size_t)h[2] << 8 | (size_t)h[3] << 16;
	return h[0] <= CHUNK_UNCOMPRESSED && have - HEADER_SIZE >= len;
}

/*
 * Reads all chunks that came together. A peer that flushes each small command sends a chunk for
 * each, and io_loop answers together the commands that it has read together.
 */
static ssize_t snappy_read(
	struct stream *stream, void *buf, size_t n, int64_t deadline_ns, struct err *err)
{
	struct stream_snappy *s = (struct stream_snappy *)stream;
	ssize_t have = read_some(s, buf, n, deadline_ns, err);
	while (have > 0 && (size_t)have < n && data_chunk_there(s)) {
		ssize_t got = chunk(s, (char *)buf + have, n - (size_t)have, deadline_ns, err);
		if (got < 0)
			break; /* the next read fails in the same way */
		have += got;
	}
	return have;
}

/* --- writing ---------------------------------------------------------------------------------- */

/* The next block of at most MAX_BLOCK bytes: one part itself, or several copied together. */
static struct iovec next_block(struct stream_snappy *s, struct iovec **iov, int *n)
{
	struct iovec *v = *iov;
	if (*n == 1 || v->iov_len >= MAX_BLOCK) {
		size_t len = v->iov_len < MAX_BLOCK ? v->iov_len : MAX_BLOCK;
		struct iovec block = {.iov_base = v->iov_base, .iov_len = len};
		v->iov_base = (char *)v->iov_base + len;
		v->iov_len -= len;
		return block;
	}
	if (!s->gather)
		s->gather = xmalloc(MAX_BLOCK);
	size_t have = 0;
	while (*n > 0 && have < MAX_BLOCK) {
		v = *iov;
		size_t len = v->iov_len < MAX_BLOCK - have ? v->iov_len : MAX_BLOCK - have;
		if (len > 0)
			memcpy(s->gather + have, v->iov_base, len);
		have += len;
		v->iov_base = (char *)v->iov_base + len;
		v->iov_len -= len;
		if (v->iov_len > 0)
			break;
		(*iov)++;
		(*n)--;
	}
	return (struct iovec){.iov_base = s->gather, .iov_len = have};
}

/* Writes a block as a chunk; uncompressed if compression gains less than an eighth, as in Go. */
static int write_block(
	struct stream_snappy *s, struct iovec block, int64_t deadline_ns, struct err *err)
{
	unsigned char header[IDENTIFIER_SIZE + HEADER_SIZE + CHECKSUM_SIZE];
	unsigned char *h = header + IDENTIFIER_SIZE;
	size_t max = snappy_max_compressed_length(block.iov_len), len = max;
	if (max > s->out_cap) {
		free(s->out);
		s->out = xmalloc(max);
		s->out_cap = max;
	}
	CHECK(snappy_compress(block.iov_base, block.iov_len, s->out, &len) == SNAPPY_OK);
	struct iovec body = {.iov_base = s->out, .iov_len = len};
	h[0] = CHUNK_COMPRESSED;
	if (len >= block.iov_len - block.iov_len / 8) {
		h[0] = CHUNK_UNCOMPRESSED;
		body = block;
	}
	size_t chunk_len = CHECKSUM_SIZE + body.iov_len;
	h[1] = (unsigned char)chunk_len;
	h[2] = (unsigned char)(chunk_len >> 8);
	h[3] = (unsigned char)(chunk_len >> 16);
	put_le32(h + HEADER_SIZE, masked_crc(block.iov_base, block.iov_len));
	memcpy(header, stream_identifier, IDENTIFIER_SIZE);
	size_t from = s->identifier_sent ? IDENTIFIER_SIZE : 0;
	s->identifier_sent = true;
	struct iovec iov[] = {
		{.iov_base = header + from, .iov_len = sizeof(header) - from},
		body,
	};
	return s->below->ops->writev(s->below, iov, 2, deadline_ns, err);
}

static int snappy_writev(
	struct stream *stream, struct iovec *iov, int n, int64_t deadline_ns, struct err *err)
{
	struct stream_snappy *s = (struct stream_snappy *)stream;
	for (;;) {
		while (n > 0 && iov->iov_len == 0) {
			iov++;
			n--;
		}
		if (n == 0)
			return 0;
		if (write_block(s, next_block(s, &iov, &n), deadline_ns, err) != 0)
			return -1;
	}
}

static int snappy_flush(struct stream *stream, int64_t deadline_ns, struct err *err)
{
	struct stream *below = ((struct stream_snappy *)stream)->below;
	return below->ops->flush(below, deadline_ns, err);
}

/* --- life ------------------------------------------------------------------------------------- */

static void snappy_close_write(struct stream *stream, int64_t deadline_ns)
{
	struct stream *below = ((struct stream_snappy *)stream)->below;
	below->ops->close_write(below, deadline_ns);
}

static void snappy_shutdown(struct stream *stream)
{
	struct stream *below = ((struct stream_snappy *)stream)->below;
	below->ops->shutdown(below);
}

static void snappy_free(struct stream *stream)
{
	struct stream_snappy *s = (struct stream_snappy *)stream;
	s->below->ops->free(s->below);
	free(s->in);
	free(s->decoded);
	free(s->gather);
	free(s->out);
	free(s);
}

static const struct stream_ops snappy_ops = {
	.read = snappy_read,
	.writev = snappy_writev,
	.flush = snappy_flush,
	.close_write = snappy_close_write,
	.shutdown = snappy_shutdown,
	.free = snappy_free,
};

struct stream *stream_snappy_new(struct stream *take_below, const void *pending, size_t n)
{
	struct stream_snappy *s = xcalloc(1, sizeof(*s));
	s->stream.ops = &snappy_ops;
	s->below = take_below;
	if (n > 0) {
		reserve_in(s, n);
		memcpy(s->in, pending, n);
		s->in_w = n;
	}
	return &s->stream;
}
