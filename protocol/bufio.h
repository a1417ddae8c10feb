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

/*
 * A reader at the pollers (common/netpoll.h) never waits: where it would, a read is BUFIO_IDLE. The
 * zeroed struct: it waits.
 */
struct bufio_poll {
	size_t left;  /* bytes that may still be read in this step, and then some; 0: no more */
	bool on;      /* do not wait */
	bool trusts;  /* a read that fills less than was asked for is proof that there is no more */
	bool drained; /* there was no more input */
	bool busy;    /* there may be more, but a thread that writes is in the way (EBUSY) */
};

struct bufio_reader {
	struct stream *stream; /* borrowed */
	char *buf;   /* owned; NULL until the first read, and after bufio_reader_give_back */
	size_t size; /* the usual size of buf, and the longest line */
	size_t cap;  /* the capacity of buf: size, or more for bytes that were put back */
	size_t r, w; /* buf[r..w) is unread */
	size_t line, line_len; /* the command's line is buf[line..line + line_len), 0: none */
	bool more;             /* a large read, and each one since, was filled: more may be there */
	size_t ahead;          /* bytes read since before_read was called */
	int64_t idle_ns;       /* BUFIO_IDLE after so long without input; 0: never */
	/* BUFIO_IDLE if the rest of a command takes so long, even if bytes drip in. */
	int64_t whole_ns;
	int64_t part_since_ns; /* when the command's first part came; 0: not known */
	int64_t timeout_ns;    /* how long a command may take to arrive; 0: for ever */
	int64_t deadline_ns;   /* the command's; 0: its first read is still to come */
	struct bufio_poll poll;
	/*
	 * Called before every read of the stream that may block, to send held-back output. -1 with
	 * err set ends the read with that error, and 1 with BUFIO_IDLE. May be NULL.
	 */
	int (*before_read)(void *arg, struct err *err);
	void *arg;
};

enum bufio_result {
	BUFIO_OK,
	BUFIO_EOF,  /* io.EOF: the stream ended before the first byte */
	BUFIO_ERR,  /* err set; an end in the middle is "unexpected EOF" */
	BUFIO_IDLE, /* idle_ns or whole_ns has passed: nothing is used up, the deadline stands */
};

void bufio_reader_init(struct bufio_reader *b, struct stream *s, size_t size);
void bufio_reader_free(struct bufio_reader *b);
/* Overwrites the input that was used up, because it was a secret. Unread input stays. */
void bufio_reader_wipe(struct bufio_reader *b);
/* Reads s from now on, and drops the buffered input (a caller that needs it copies it before). */
void bufio_reader_reset(struct bufio_reader *b, struct stream *s);
/*
 * A step begins: until bufio_poll_end no read waits, and of the stream most bytes are read, give or
 * take a buffer. before_read is not called: the user sends what it holds back when the step ends.
 */
void bufio_poll_begin(struct bufio_reader *b, size_t most, bool trusts_short_reads);
/* False: there may be more input, which had to wait for another step. */
bool bufio_poll_end(struct bufio_reader *b);
/*
 * In a step: reads more, behind the unread input, which is the part of a command. In as much memory
 * as has come.
 */
enum bufio_result bufio_read_more(struct bufio_reader *b, struct err *err);
/* When the read that has been BUFIO_IDLE is over by its timeout (monotonic); 0: never. */
int64_t bufio_read_deadline(struct bufio_reader *b);
/* Frees the buffer until the next read. Unread input stays, in as little memory as it needs. */
void bufio_reader_give_back(struct bufio_reader *b);
/*
 * Puts back n bytes that were used up, in front of the unread input. The line stays in front of
 * both. So a whole command can be put back piece by piece, the last piece first, and then the line
 * by bufio_unread_line.
 */
void bufio_put_back(struct bufio_reader *b, const void *p, size_t n);
/* Puts the line back, too. All used-up bytes behind it must have been put back. */
void bufio_unread_line(struct bufio_reader *b);
/* A new command begins: its timeout starts with the next read of the stream (SetReadDeadline). */
static inline void bufio_reader_begin(struct bufio_reader *b)
{
	b->deadline_ns = 0;
	b->part_since_ns = 0;
}
/*
 * ReadSlice('\n'): the next line with its newline, borrowed until the next call. If a line does not
 * fit into the buffer, that is the error "bufio: buffer full". (As in Go, an end in the middle of a
 * line is EOF, not "unexpected EOF".)
 */
enum bufio_result bufio_read_line(
	struct bufio_reader *b, char **line, size_t *len, struct err *err);
/* io.ReadFull: exactly n bytes. The pointer to the line that was read before is no longer valid. */
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
	bool unflushed; /* bytes here, or in the layers below, have not been sent */
	bool below;     /* some of these are in the lowest layer, after a STREAM_NOW */
	struct err err; /* sticky, as in Go: after an error every call fails with it */
	bool failed;
};

void bufio_writer_init(struct bufio_writer *b, struct stream *s, size_t size);
void bufio_writer_free(struct bufio_writer *b);
/* Frees an empty buffer until the next write. */
void bufio_writer_give_back(struct bufio_writer *b);
/*
 * bufio.NewWriterSize over another stream or with another size. The buffer must have been flushed.
 */
void bufio_writer_reset(struct bufio_writer *b, struct stream *s, size_t size);
/*
 * Appends the n parts. If they do not all fit, they go out together with the buffered bytes: in one
 * writev, or in a few if they are many or large. No layer below holds any of that back: so never
 * more is buffered than the client has set. May block until deadline_ns (monotonic; 0: for ever;
 * STREAM_NOW: never, as the next). 0, or -1 with err set.
 */
int bufio_writev(struct bufio_writer *b, const struct iovec *parts, int n, int64_t deadline_ns,
	struct err *err);
/*
 * Sends all buffered bytes. With STREAM_NOW some may stay (unflushed says so). While the lowest
 * layer keeps bytes, those in this buffer stay here, so that the lowest layer does not keep more
 * and more.
 */
int bufio_flush(struct bufio_writer *b, int64_t deadline_ns, struct err *err);
#endif
