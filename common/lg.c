/* SPDX-License-Identifier: MIT */
/*
 * Levelled log lines. Mirrors internal/lg/lg.go on top of Go's package log with
 * Ldate|Ltime|Lmicroseconds. Any thread. Go's logger holds a mutex over the write. Here lines go to
 * the thread "log" (lg_writer.c) while it runs, so that no other thread waits for the log's reader.
 * Without it each line is one write(2): the kernel keeps that whole on files and, up to PIPE_BUF
 * bytes, on pipes.
 */
#include "common/lg.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/lg_writer.h"
#include "common/xalloc.h"

static const struct {
	const char *name; /* as on the command line */
	const char *text; /* as in a line */
} levels[] = {
	[LG_DEBUG] = {"debug", "DEBUG"},
	[LG_INFO] = {"info", "INFO"},
	[LG_WARN] = {"warn", "WARNING"},
	[LG_ERROR] = {"error", "ERROR"},
	[LG_FATAL] = {"fatal", "FATAL"},
};

void lg_init(struct lg *lg, int fd, const char *prefix, enum lg_level level)
{
	atomic_init(&lg->level, (int)level);
	lg->fd = fd;
	lg->prefix = xstrdup(prefix);
	lg->writer = NULL;
}

void lg_share(struct lg *copy, const struct lg *lg)
{
	lg_init(copy, lg->fd, lg->prefix, (enum lg_level)atomic_load(&lg->level));
	copy->writer = lg->writer;
}

void lg_unshare(struct lg *copy)
{
	copy->writer = NULL;
	lg_destroy(copy);
}

int lg_start_writer(struct lg *lg, struct err *err)
{
	lg->writer = lg_writer_start(lg->fd, err);
	return lg->writer ? 0 : -1;
}

void lg_stop_writer(struct lg *lg)
{
	if (lg->writer)
		lg_writer_stop(lg->writer);
}

void lg_drain(const struct lg *lg, int64_t deadline_ns)
{
	if (lg->writer)
		lg_writer_drain(lg->writer, deadline_ns);
}

bool lg_is_broken(const struct lg *lg)
{
	return lg->writer && lg_writer_is_broken(lg->writer);
}

void lg_destroy(struct lg *lg)
{
	if (lg->writer)
		lg_writer_free(lg->writer);
	lg->writer = NULL;
	free(lg->prefix);
	lg->prefix = NULL;
}

bool lg_parse_level(const char *s, enum lg_level *level)
{
	for (int i = LG_DEBUG; i <= LG_FATAL; i++) {
		if (strcasecmp(s, levels[i].name) == 0) {
			*level = (enum lg_level)i;
			return true;
		}
	}
	return false;
}

const char *lg_level_name(enum lg_level level)
{
	return level >= LG_DEBUG && level <= LG_FATAL ? levels[level].name : "invalid";
}

const char *lg_level_text(enum lg_level level)
{
	return level >= LG_DEBUG && level <= LG_FATAL ? levels[level].text : "invalid";
}

/*
 * "2024/06/13 10:26:43". localtime_r takes libc's lock, so each thread does it once a second only.
 */
static const char *date_time(time_t sec)
{
	static _Thread_local time_t last = -1;
	static _Thread_local char text[32];
	if (sec != last) {
		struct tm tm;
		localtime_r(&sec, &tm);
		strftime(text, sizeof(text), "%Y/%m/%d %H:%M:%S", &tm);
		last = sec;
	}
	return text;
}

/* Writes all of it, unless fd is broken: then there is no place to tell so. */
static void write_all(int fd, const char *p, size_t n)
{
	while (n > 0) {
		ssize_t done = write(fd, p, n);
		if (done >= 0) {
			p += done;
			n -= (size_t)done;
		} else if (errno == EAGAIN) { /* another process set O_NONBLOCK */
			struct pollfd pfd = {.fd = fd, .events = POLLOUT};
			poll(&pfd, 1, -1);
		} else if (errno != EINTR) {
			return;
		}
	}
}

/*
 * A line that is being made: its beginning, and space for the text. Uses stack if that is enough.
 */
struct line {
	char stack[1024];
	char *p;     /* stack, or owned */
	size_t head; /* where the text goes */
};

/* Makes a line for a text of len bytes, up to the text. False: it cannot be made. */
static bool begin_line(struct line *l, const struct lg *lg, enum lg_level level, size_t len)
{
	int64_t now = clock_wall_ns();
	const char *when = date_time((time_t)(now / NSEC_PER_SEC));
	int usec = (int)(now % NSEC_PER_SEC / NSEC_PER_USEC);
	const char *text = lg_level_text(level);
	int head = snprintf(NULL, 0, "%s%s.%06d %s: ", lg->prefix, when, usec, text);
	if (head < 0)
		return false;
	l->head = (size_t)head;
	size_t n = l->head + len + 2; /* newline and terminator */
	l->p = n > sizeof(l->stack) ? xmalloc(n) : l->stack;
	snprintf(l->p, n, "%s%s.%06d %s: ", lg->prefix, when, usec, text);
	return true;
}

/* Writes the line; its text of len bytes is there. */
static void end_line(struct line *l, const struct lg *lg, size_t len)
{
	size_t n = l->head + len;
	if (l->p[n - 1] != '\n')
		l->p[n++] = '\n';
	if (lg->writer)
		lg_writer_add(lg->writer, l->p, n);
	else
		write_all(lg->fd, l->p, n);
	if (l->p != l->stack)
		free(l->p);
}

void lg_log(const struct lg *lg, enum lg_level level, const char *text, size_t len)
{
	struct line l;
	int saved_errno = errno; /* a caller may log before it looks at errno */
	if (lg_enabled(lg, level) && begin_line(&l, lg, level, len)) {
		memcpy(l.p + l.head, text, len);
		end_line(&l, lg, len);
	}
	errno = saved_errno;
}

void lg_vlogf(const struct lg *lg, enum lg_level level, const char *fmt, va_list ap)
{
	if (!lg_enabled(lg, level))
		return;

	struct line l;
	int saved_errno = errno;
	va_list ap2;
	va_copy(ap2, ap);
	int len = vsnprintf(NULL, 0, fmt, ap2);
	va_end(ap2);
	if (len >= 0 && begin_line(&l, lg, level, (size_t)len)) {
		vsnprintf(l.p + l.head, (size_t)len + 1, fmt, ap);
		end_line(&l, lg, (size_t)len);
	}
	errno = saved_errno;
}

void lg_logf(const struct lg *lg, enum lg_level level, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	lg_vlogf(lg, level, fmt, ap);
	va_end(ap);
}

void lg_fatalf(const char *prefix, const char *fmt, ...)
{
	struct lg lg;
	va_list ap;
	lg_init(&lg, STDERR_FILENO, prefix, LG_FATAL);
	va_start(ap, fmt);
	lg_vlogf(&lg, LG_FATAL, fmt, ap);
	va_end(ap);
	lg_destroy(&lg);
	exit(1);
}
