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
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/lg_dedup.h"
#include "common/lg_writer.h"
#include "common/strbuf.h"
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
	lg->describe = NULL;
	lg->dedup = NULL;
	lg->writer = NULL;
}

void lg_share(struct lg *copy, const struct lg *lg)
{
	lg_init(copy, lg->fd, lg->prefix, (enum lg_level)atomic_load(&lg->level));
	copy->describe = lg->describe;
	copy->dedup = lg->dedup;
	copy->writer = lg->writer;
}

void lg_unshare(struct lg *copy)
{
	copy->writer = NULL;
	copy->dedup = NULL;
	lg_destroy(copy);
}

void lg_use_json(struct lg *lg, lg_describe_fn *describe)
{
	lg->describe = describe;
}

void lg_count_repeated(struct lg *lg, int64_t ns)
{
	lg->dedup = lg_dedup_new(ns);
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
	lg_dedup_free(lg->dedup);
	lg->dedup = NULL;
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

/* Hands the line on, or writes it. */
static void put(const struct lg *lg, const char *line, size_t n)
{
	if (lg->writer)
		lg_writer_add(lg->writer, line, n);
	else
		write_all(lg->fd, line, n);
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
	put(lg, l->p, n);
	if (l->p != l->stack)
		free(l->p);
}

/* --- JSON ------------------------------------------------------------------------------------ */

static void add_member(struct strbuf *sb, const char *name, struct lg_text t)
{
	strbuf_addf(sb, ",\"%s\":", name);
	strbuf_add_json(sb, t.s ? t.s : "", t.n);
}

/* RFC 3339 with microseconds, in UTC: "2024-06-13T10:26:43.184774Z". */
static void add_time(struct strbuf *sb, int64_t wall_ns)
{
	struct tm tm;
	char text[32];
	time_t sec = (time_t)(wall_ns / NSEC_PER_SEC);
	gmtime_r(&sec, &tm);
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
	strbuf_addf(
		sb, "{\"time\":\"%s.%06dZ\"", text, (int)(wall_ns % NSEC_PER_SEC / NSEC_PER_USEC));
}

/* The line, with its end. Any bytes of the text become valid JSON. */
static void add_json_line(struct strbuf *sb, lg_describe_fn *describe, enum lg_level level,
	const char *text, size_t len)
{
	struct lg_fields f;
	if (len > 0 && text[len - 1] == '\n')
		len--;
	describe(text, len, &f);
	add_time(sb, clock_wall_ns());
	strbuf_addf(sb, ",\"level\":\"%s\"", lg_level_text(level));
	add_member(sb, "component", f.component);
	add_member(sb, "topic", f.topic);
	add_member(sb, "channel", f.channel);
	add_member(sb, "client", f.client);
	add_member(sb, "message", (struct lg_text){text, len});
	strbuf_adds(sb, "}\n");
}

/* --- whole texts -------------------------------------------------------------------------------- */

/* Writes the line, in either format. */
static void write_text(const struct lg *lg, enum lg_level level, const char *text, size_t len)
{
	struct line l;
	struct strbuf json = STRBUF_INIT;
	if (lg->describe) {
		add_json_line(&json, lg->describe, level, text, len);
		put(lg, json.data, json.len);
		strbuf_free(&json);
	} else if (begin_line(&l, lg, level, len)) {
		memcpy(l.p + l.head, text, len);
		end_line(&l, lg, len);
	}
}

/* "TEXT (repeated 3 times in 10s)" */
static void write_repeated(const struct lg *lg, struct lg_repeated *r)
{
	char ns[32];
	struct strbuf sb = STRBUF_INIT;
	if (!r->text)
		return;
	strbuf_add(&sb, r->text, r->text[r->len - 1] == '\n' ? r->len - 1 : r->len);
	strbuf_addf(&sb, " (repeated %" PRIu64 " times in %s)", r->count,
		duration_format(r->ns, ns, sizeof(ns)));
	write_text(lg, (enum lg_level)r->level, sb.data, sb.len);
	strbuf_free(&sb);
	free(r->text);
}

/* Writes it, unless it is one to be counted. */
static void write_or_count(
	const struct lg *lg, enum lg_level level, const void *place, const char *text, size_t len)
{
	struct lg_repeated over;
	if (lg->dedup && lg->writer && level >= LG_WARN && level < LG_FATAL) {
		if (lg_dedup_is_repeated(
			    lg->dedup, level, place, text, len, clock_mono_ns(), &over))
			return;
		write_repeated(lg, &over);
	}
	write_text(lg, level, text, len);
}

void lg_log(const struct lg *lg, enum lg_level level, const char *text, size_t len)
{
	int saved_errno = errno; /* a caller may log before it looks at errno */
	if (lg_enabled(lg, level))
		write_or_count(lg, level, NULL, text, len);
	errno = saved_errno;
}

/* lg_vlogf, where the text is needed before the line. */
static __attribute__((format(printf, 3, 0))) void vlogf_by_text(
	const struct lg *lg, enum lg_level level, const char *fmt, va_list ap)
{
	va_list ap2;
	va_copy(ap2, ap);
	int len = vsnprintf(NULL, 0, fmt, ap2);
	va_end(ap2);
	if (len < 0)
		return;
	char *text = xmalloc((size_t)len + 1);
	vsnprintf(text, (size_t)len + 1, fmt, ap);
	write_or_count(lg, level, fmt, text, (size_t)len);
	free(text);
}

void lg_vlogf(const struct lg *lg, enum lg_level level, const char *fmt, va_list ap)
{
	if (!lg_enabled(lg, level))
		return;

	struct line l;
	int saved_errno = errno;
	if (lg->describe || lg->dedup) {
		vlogf_by_text(lg, level, fmt, ap);
		errno = saved_errno;
		return;
	}
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

/* --- for the thread "log" ------------------------------------------------------------------------ */

/* lg_writer_ops.note */
static void note(void *arg, struct strbuf *out, const char *text)
{
	const struct lg *lg = arg;
	if (lg->describe)
		add_json_line(out, lg->describe, LG_WARN, text, strlen(text));
	else
		strbuf_addf(out, "(%s)\n", text);
}

/* lg_writer_ops.next_ns */
static int64_t next_ns(void *arg)
{
	const struct lg *lg = arg;
	return lg->dedup ? lg_dedup_next(lg->dedup) : 0;
}

/* lg_writer_ops.due */
static void due(void *arg, int64_t now_ns)
{
	const struct lg *lg = arg;
	struct lg_repeated over;
	while (lg->dedup && lg_dedup_take(lg->dedup, now_ns, &over))
		write_repeated(lg, &over);
}

void lg_tell_repeated(struct lg *lg)
{
	due(lg, INT64_MAX);
}

static const struct lg_writer_ops writer_ops = {.note = note, .next_ns = next_ns, .due = due};

int lg_start_writer(struct lg *lg, struct err *err)
{
	lg->writer = lg_writer_start(lg->fd, &writer_ops, lg, err);
	return lg->writer ? 0 : -1;
}

void lg_stop_writer(struct lg *lg)
{
	if (!lg->writer)
		return;
	lg_tell_repeated(lg);
	lg_writer_stop(lg->writer);
}

void lg_logf(const struct lg *lg, enum lg_level level, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	lg_vlogf(lg, level, fmt, ap);
	va_end(ap);
}

void lg_fatalf(const char *prefix, lg_describe_fn *describe, const char *fmt, ...)
{
	struct lg lg;
	va_list ap;
	lg_init(&lg, STDERR_FILENO, prefix, LG_FATAL);
	lg_use_json(&lg, describe);
	va_start(ap, fmt);
	lg_vlogf(&lg, LG_FATAL, fmt, ap);
	va_end(ap);
	lg_destroy(&lg);
	exit(1);
}
