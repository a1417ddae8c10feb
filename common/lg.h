/* SPDX-License-Identifier: MIT */
/*
 * Levelled logging in stock's line format (internal/lg, and Go's package log):
 *
 *   [nsqd] 2024/06/13 10:26:43.184774 ERROR: text
 *
 * prefix, local date and time with microseconds, level, text; one write per line.
 */
#ifndef COMMON_LG_H
#define COMMON_LG_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdatomic.h>
#include <stdint.h>

#include "common/err.h"

struct lg_writer;

enum lg_level { LG_DEBUG = 1, LG_INFO = 2, LG_WARN = 3, LG_ERROR = 4, LG_FATAL = 5 };

struct lg {
	_Atomic int level;        /* an enum lg_level; messages below it are dropped */
	int fd;                   /* immutable */
	char *prefix;             /* immutable; owned */
	struct lg_writer *writer; /* owned; NULL: each thread writes its own lines */
};

/* prefix is copied. */
void lg_init(struct lg *lg, int fd, const char *prefix, enum lg_level level);
/* No thread may log any more; lg_stop_writer comes first. */
void lg_destroy(struct lg *lg);
/*
 * A second handle of a log, with a level of its own: its lines go where those of lg go. lg must
 * outlive it. lg_unshare ends it.
 */
void lg_share(struct lg *copy, const struct lg *lg);
void lg_unshare(struct lg *copy);
/*
 * From now on a thread of its own writes the lines (lg_writer.h). To be called while no other
 * thread logs. -1 with err set: no thread.
 */
int lg_start_writer(struct lg *lg, struct err *err);
/*
 * Ends the thread, if there is one. It writes the remaining lines first, for a second at most.
 * Later lines are lost. To be called once.
 */
void lg_stop_writer(struct lg *lg);
/*
 * Blocks until all lines so far are written, but not beyond deadline_ns (monotonic). Takes no lock.
 */
void lg_drain(const struct lg *lg, int64_t deadline_ns);
/*
 * Has the writer seen that the reader of stderr has gone away (EPIPE)? When that happens, the
 * writer sends SIGTERM to the process, once.
 */
bool lg_is_broken(const struct lg *lg);
/* lg.ParseLogLevel: "debug", "info", "warn", "error", "fatal", any case. False: none of them. */
bool lg_parse_level(const char *s, enum lg_level *level);
/* "info" and so on, as lg_parse_level reads it. */
const char *lg_level_name(enum lg_level level);
/* lg.LogLevel.String(): "INFO" and so on, but "WARNING" for LG_WARN; as in a line. */
const char *lg_level_text(enum lg_level level);

static inline bool lg_enabled(const struct lg *lg, enum lg_level level)
{
	return (int)level >= atomic_load_explicit(&lg->level, memory_order_relaxed);
}

/*
 * lg.Logf. Without a writer it may block on the write to fd; with one it takes a leaf lock for a
 * moment. Control bytes in the text are written as they are.
 */
void lg_logf(const struct lg *lg, enum lg_level level, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* The same for text[0..len), which may hold any bytes. */
void lg_log(const struct lg *lg, enum lg_level level, const char *text, size_t len);
void lg_vlogf(const struct lg *lg, enum lg_level level, const char *fmt, va_list ap)
	__attribute__((format(printf, 3, 0)));
/* lg.LogFatal: "<prefix>date FATAL: text" to stderr, then exit(1). prefix is "[nsqd] " in stock. */
_Noreturn void lg_fatalf(const char *prefix, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

#endif
