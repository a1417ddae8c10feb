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

struct lg_dedup;
struct lg_writer;

/* A piece of text, not terminated. */
struct lg_text {
	const char *s; /* NULL: n is 0 */
	size_t n;
};

/* What a line is about. What is not known is empty. */
struct lg_fields {
	struct lg_text component, topic, channel, client;
};

/* Finds that out from the line's text, into which the fields may point. Does not block. */
typedef void lg_describe_fn(const char *text, size_t len, struct lg_fields *out);

enum lg_level { LG_DEBUG = 1, LG_INFO = 2, LG_WARN = 3, LG_ERROR = 4, LG_FATAL = 5 };

struct lg {
	_Atomic int level;        /* an enum lg_level; messages below it are dropped */
	int fd;                   /* immutable */
	char *prefix;             /* immutable; owned */
	lg_describe_fn *describe; /* immutable; NULL: lines are text; else JSON */
	struct lg_dedup *dedup;   /* immutable; owned; NULL: every line is written */
	struct lg_writer *writer; /* owned; NULL: each thread writes its own lines */
};

/* prefix is copied. */
void lg_init(struct lg *lg, int fd, const char *prefix, enum lg_level level);
/*
 * Lines are JSON from now on: an object a line, with time (RFC 3339, UTC), level, component, topic,
 * channel, client and message, all of them strings. NULL: text. While no other thread logs.
 */
void lg_use_json(struct lg *lg, lg_describe_fn *describe);
/*
 * From now on warnings and errors that come again within ns are counted (lg_dedup.h), as long as a
 * thread writes the lines. While no other thread logs, and before lg_start_writer.
 */
void lg_count_repeated(struct lg *lg, int64_t ns);
/* Writes what has been counted so far, as if its time were over. Any thread. */
void lg_tell_repeated(struct lg *lg);
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
/*
 * lg.LogFatal: "<prefix>date FATAL: text" to stderr, then exit(1). prefix is "[nsqd] " in stock.
 * describe: as lg_use_json.
 */
_Noreturn void lg_fatalf(const char *prefix, lg_describe_fn *describe, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

#endif
