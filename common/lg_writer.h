/* SPDX-License-Identifier: MIT */
/*
 * Writing log lines in a thread of its own, so that whoever logs never waits for whoever reads the
 * log. Go's logger has no such thing: stock stands still while its stderr is a full pipe.
 */
#ifndef COMMON_LG_WRITER_H
#define COMMON_LG_WRITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

struct lg_writer;

/*
 * Starts the thread "log", which writes to fd what lg_writer_add hands over. NULL with err set: no
 * thread.
 */
struct lg_writer *lg_writer_start(int fd, struct err *err);
/*
 * Takes a copy of a line. Never blocks; beyond 1 MiB that waits to be written, lines are dropped
 * and counted.
 */
void lg_writer_add(struct lg_writer *w, const char *line, size_t n);
/*
 * Waits until all lines so far are written, but not beyond deadline_ns (monotonic). Takes no lock:
 * it is for a process that ends because something is stuck.
 */
void lg_writer_drain(const struct lg_writer *w, int64_t deadline_ns);
/* Has the reader of stdout or stderr gone away? See lg_is_broken. */
bool lg_writer_is_broken(const struct lg_writer *w);
/*
 * Writes what is left, for a second at most, and ends the thread. Lines that come after that are
 * lost. Once.
 */
void lg_writer_stop(struct lg_writer *w);
/* After lg_writer_stop; nobody may add any more. */
void lg_writer_free(struct lg_writer *w);

#endif
