/* SPDX-License-Identifier: MIT */
/*
 * Writing log lines in a thread of its own, so that no thread that logs waits for the log's reader.
 * Go's logger has no such thread: stock stands still while its stderr is a full pipe.
 */
#ifndef COMMON_LG_WRITER_H
#define COMMON_LG_WRITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

struct lg_writer;
struct strbuf;

/* What the owner of the lines has to add; in the thread "log". */
struct lg_writer_ops {
	/* Appends a line that says this of the log itself. */
	void (*note)(void *arg, struct strbuf *out, const char *text);
	/* When to call due next (monotonic); 0: never. Asked after each lot of lines. */
	int64_t (*next_ns)(void *arg);
	/* May add lines. */
	void (*due)(void *arg, int64_t now_ns);
};

/*
 * Starts the thread "log", which writes the lines of lg_writer_add to fd. arg is for ops, and
 * outlives the writer. NULL with err set: no thread.
 */
struct lg_writer *lg_writer_start(
	int fd, const struct lg_writer_ops *ops, void *arg, struct err *err);
/*
 * Takes a copy of a line. Never blocks: while 1 MiB waits to be written, it drops lines and counts
 * them. Takes the writer's lock.
 */
void lg_writer_add(struct lg_writer *w, const char *line, size_t n);
/*
 * Blocks until all lines so far are written, but not beyond deadline_ns (monotonic). Takes no lock:
 * it is for a process that ends because a thread is stuck.
 */
void lg_writer_drain(const struct lg_writer *w, int64_t deadline_ns);
/* Has the reader of stdout or stderr gone away? See lg_is_broken. */
bool lg_writer_is_broken(const struct lg_writer *w);
/*
 * Ends the thread, after it has written the remaining lines, for a second at most. Later lines are
 * lost. To be called once.
 */
void lg_writer_stop(struct lg_writer *w);
/* After lg_writer_stop; no thread may add lines any more. */
void lg_writer_free(struct lg_writer *w);

#endif
