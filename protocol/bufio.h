/* SPDX-License-Identifier: MIT */
/*
 * Buffered reading and writing of a stream (package bufio). The reader belongs to the client's
 * io_loop; the writer is guarded by the client's write lock.
 */
#ifndef PROTOCOL_BUFIO_H
#define PROTOCOL_BUFIO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "protocol/stream.h"

struct bufio_reader {
	struct stream *stream; /* borrowed */
	char *buf;             /* owned; NULL until the first read, and while given back */
	size_t size;           /* of a buffer, usually; and the longest line */
	size_t cap;            /* of buf: size, or as much as what was put back takes */
	size_t r, w;           /* buf[r..w) is not yet used */
	size_t line, line_len; /* the command's line is buf[line..line + line_len), 0: none */
	bool more;             /* a large read was filled, and all since: more may be there */
	size_t ahead;          /* bytes that were read since before_read could be called */
	int64_t idle_ns;       /* after how long without input to say BUFIO_IDLE; 0: never */
	/*
	 * Likewise, if a part of a command is here: how long the rest may take, whatever drips in.
	 */
	int64_t whole_ns;
	int64_t part_since_ns; /* since when a part of the command has been here; 0: not known */
	int64_t timeout_ns;    /* how long a command may take to come in; 0: for ever */
	int64_t deadline_ns; /* of the command that is being read; 0: its first read is still to come */
	/*
	 * Called before every read of the stream which may block: the chance to send what is still
	 * held back. -1 with err set ends the read with that error. May be NULL.
	 */
	int (*before_read)(void *arg, struct err *err);
	void *arg;
};

enum bufio_result {
	BUFIO_OK,
	BUFIO_EOF,  /* io.EOF: the stream ended before the first byte */
	BUFIO_ERR,  /* err set; an end in the middle is "unexpected EOF" */
	BUFIO_IDLE, /* it takes long (idle_ns, whole_ns): nothing is used up, the deadline stands */
};

void bufio_reader_init(struct bufio_reader *b, struct stream *s, size_t size);
void bufio_reader_free(struct bufio_reader *b);
/* Overwrites what has been read and used, which was a secret; what is not yet used stays. */
void bufio_reader_wipe(struct bufio_reader *b);
/* Reads s from now on; what was buffered is dropped (whoever needs it copies it before). */
void bufio_reader_reset(struct bufio_reader *b, struct stream *s);
/* Frees the buffer until the next read; what is not used up stays, in as little as it needs. */
void bufio_reader_give_back(struct bufio_reader *b);
/*
 * Puts n bytes that were used up back, in front of what is left. The line stays in front of both,
 * so that its whole command can be put back piece by piece, the last piece first, and then the line
 * by bufio_unread_line.
 */
void bufio_put_back(struct bufio_reader *b, const void *p, size_t n);
/* The line too is to be read again. All behind it that was used up must have been put back. */
void bufio_unread_line(struct bufio_reader *b);
/*
 * Bytes that somebody else has read from the stream, behind what is left. The reader is not used.
 */
void bufio_append(struct bufio_reader *b, const void *p, size_t n);
/* A new command begins: its timeout starts with the next read of the stream (SetReadDeadline). */
static inline void bufio_reader_begin(struct bufio_reader *b)
{
	b->deadline_ns = 0;
	b->part_since_ns = 0;
}
/*
 * ReadSlice('\n'): the next line with its newline, borrowed until the next call. A line that does
 * not fit into the buffer is the error "bufio: buffer full". (As in Go, an end in the middle of a
 * line is EOF, not "unexpected EOF".)
 */
enum bufio_result bufio_read_line(
	struct bufio_reader *b, char **line, size_t *len, struct err *err);
/* io.ReadFull: exactly n bytes. The line that was read before is no longer to be looked at. */
enum bufio_result bufio_read_full(struct bufio_reader *b, void *p, size_t n, struct err *err);
/* Bytes that can be had without reading the stream. */
static inline size_t bufio_buffered(const struct bufio_reader *b)
{
	return b->w - b->r;
}

struct bufio_writer {
	struct stream *stream; /* borrowed */
	char *buf;             /* owned; NULL until the first byte */
	size_t size;
	size_t len;
	bool unflushed; /* there are bytes here, or in the layers below, that have not been sent */
	bool below;     /* of these some are in the lowest layer, after a STREAM_NOW */
	struct err err; /* sticky, as in Go: after an error every call fails with it */
	bool failed;
};

void bufio_writer_init(struct bufio_writer *b, struct stream *s, size_t size);
void bufio_writer_free(struct bufio_writer *b);
/* Frees the buffer, if it is empty, until the next write. */
void bufio_writer_give_back(struct bufio_writer *b);
/*
 * bufio.NewWriterSize over another stream or with another size; what was buffered must have been
 * flushed.
 */
void bufio_writer_reset(struct bufio_writer *b, struct stream *s, size_t size);
/*
 * Appends the n parts. If not all of them fit they go out together with what was buffered, in one
 * writev, or a few if they are many or big; and no layer below holds any of that back, so that what
 * the client has set for its buffer is all that is ever buffered. May block until deadline_ns
 * (monotonic; 0: for ever; STREAM_NOW: never, as the next). 0, or -1 with err set.
 */
int bufio_writev(struct bufio_writer *b, const struct iovec *parts, int n, int64_t deadline_ns,
	struct err *err);
/*
 * Sends all there is. With STREAM_NOW it may not be all (unflushed says so), and what is here stays
 * here while there is something before it in the lowest layer: so that does not grow.
 */
int bufio_flush(struct bufio_writer *b, int64_t deadline_ns, struct err *err);
/* Is it empty, and can n bytes be appended without a write of the stream? */
bool bufio_writer_is_free(const struct bufio_writer *b, size_t n);
#endif
