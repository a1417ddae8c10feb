/* SPDX-License-Identifier: MIT */
/*
 * Writing log lines in a thread of its own. No Go file: Go's logger writes in the calling thread.
 * Threads: lg_writer_loop is the thread "log"; lg_writer_add runs in any thread that logs.
 *
 * The descriptor is stderr, which other processes may share, so it is not made non-blocking.
 * Instead the thread asks poll(2) first. Then it writes no more than a writable pipe takes at once
 * (PIPE_BUF). So it can always be told to stop.
 *
 * When the reader of stderr goes away, the daemon ends, as Go programs do by SIGPIPE
 * (os/file_unix.go, epipecheck). But it ends as by a stop signal, so that nothing is lost.
 */
#include "common/lg_writer.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "common/chan.h"
#include "common/clock.h"
#include "common/err.h"
#include "common/gothread.h"
#include "common/lock.h"
#include "common/strbuf.h"
#include "common/xalloc.h"

#define PENDING_MAX (1 << 20)
#define POLL_MSEC 100                 /* how often a stuck write looks whether to stop */
#define STOP_NS (1 * NSEC_PER_SEC)    /* how long a reader has to take the rest */
#define GATHER_NS (2 * NSEC_PER_MSEC) /* so long lines gather that come one upon the other */
#define LINES_KEPT_BUFFER (64 * 1024) /* a larger buffer is given back once it is written */

struct lg_writer {
	int fd; /* immutable, as are the next two */
	const struct lg_writer_ops *ops;
	void *arg;                  /* borrowed */
	struct mutex lock;          /* a leaf */
	struct strbuf pending;      /* guarded by lock; whole lines */
	size_t dropped;             /* guarded by lock; lines, since the last take */
	_Atomic int64_t stop_at_ns; /* atomic; monotonic; 0: not to stop */
	_Atomic size_t unwritten;   /* atomic; bytes pending or being written */
	_Atomic bool broken;        /* atomic; a write to stdout or stderr has met no reader */
	struct chan *wake_chan; /* immutable; capacity 1: there are lines, or it is time to stop */
	struct wait_group wait_group; /* the thread; has its own lock */
};

/* Lines that could not be written: the log says so as soon as it can. The thread's own. */
struct loss {
	size_t lines;
	int code;  /* why the last of them could not; 0: it was time to stop */
	bool torn; /* a part of the first one was written */
};

/*
 * False: it is time to stop. Then a reader still gets what it makes room for at once, but a slow one
 * is not waited for.
 */
static bool wait_writable(struct lg_writer *w)
{
	struct pollfd pfd = {.fd = w->fd, .events = POLLOUT};
	for (;;) {
		int64_t stop_at = atomic_load(&w->stop_at_ns);
		bool late = stop_at != 0 && clock_mono_ns() >= stop_at;
		int rc = poll(&pfd, 1, late ? 0 : POLL_MSEC);
		if (rc > 0) /* also without a reader, or a descriptor: then the write fails */
			return true;
		if (late)
			return false;
		if (rc < 0 && errno != EINTR) {
			/* A want of memory, which will pass. */
			const struct timespec pause = {.tv_nsec = POLL_MSEC * NSEC_PER_MSEC};
			nanosleep(&pause, NULL);
		}
	}
}

/* Sends the signal once; main treats it as any stop signal. */
static void reader_gone(struct lg_writer *w)
{
	if (w->fd <= STDERR_FILENO && !atomic_exchange(&w->broken, true))
		kill(getpid(), SIGTERM);
}

/* Returns how many of the bytes are written. Fewer than n: *code says why, 0 at the stop. */
static size_t write_some(struct lg_writer *w, const char *p, size_t n, int *code)
{
	size_t at = 0;
	*code = 0;
	while (at < n && wait_writable(w)) {
		size_t left = n - at;
		ssize_t done = write(w->fd, p + at, left < PIPE_BUF ? left : PIPE_BUF);
		if (done < 0 && errno == EPIPE)
			reader_gone(w);
		if (done < 0 && errno != EINTR && errno != EAGAIN) {
			*code = errno;
			return at;
		}
		at += done > 0 ? (size_t)done : 0;
	}
	return at;
}

/* Says what was lost before. False: that cannot be written either, or it is time to stop. */
static bool tell_loss(struct lg_writer *w, struct loss *loss)
{
	char text[256], reason[128];
	struct strbuf line = STRBUF_INIT;
	if (loss->lines == 0)
		return true;
	if (loss->code == 0)
		return false;
	snprintf(text, sizeof(text), "%zu log lines lost: %s", loss->lines,
		err_strerror(loss->code, reason, sizeof(reason)));
	if (loss->torn)
		strbuf_addc(&line, '\n');
	w->ops->note(w->arg, &line, text);
	bool told = write_some(w, line.data, line.len, &loss->code) == line.len;
	strbuf_free(&line);
	if (!told)
		return false;
	*loss = (struct loss){0};
	return true;
}

static void write_lines(struct lg_writer *w, const char *p, size_t n, struct loss *loss)
{
	size_t at = 0;
	if (tell_loss(w, loss))
		at = write_some(w, p, n, &loss->code);
	if (at < n && loss->lines == 0)
		loss->torn = at > 0 && p[at - 1] != '\n';
	for (; at < n; at++)
		loss->lines += p[at] == '\n';
}

/* Exchanges the pending lines for the caller's empty buffer. Returns how many bytes they are. */
static size_t take(struct lg_writer *w, struct strbuf *lines)
{
	mutex_lock(&w->lock);
	struct strbuf empty = *lines;
	*lines = w->pending;
	w->pending = empty;
	size_t n = lines->len;
	size_t dropped = w->dropped;
	w->dropped = 0;
	mutex_unlock(&w->lock);
	if (dropped > 0) {
		char text[64];
		snprintf(text, sizeof(text), "%zu log lines dropped: nobody reads them", dropped);
		w->ops->note(w->arg, lines, text);
	}
	return n;
}

/*
 * A line after a silence is written at once. Lines that follow it closely gather, so that not each
 * of them costs a wake-up and a write: a daemon with many short connections has thousands a second.
 */
static void gather(int64_t *last_ns)
{
	int64_t now = clock_mono_ns(), left = *last_ns + GATHER_NS - now;
	if (left > 0) {
		const struct timespec pause = {.tv_nsec = left};
		nanosleep(&pause, NULL);
	}
	*last_ns = now + (left > 0 ? left : 0);
}

/* Until there are lines, or the owner has some to add. */
static void await_lines(struct lg_writer *w)
{
	struct ticker due = {.next_ns = w->ops->next_ns(w->arg)};
	struct chan_case cases[] = {chan_case_recv(w->wake_chan, NULL), chan_case_tick(&due)};
	if (chan_select(cases, 2) == 1)
		w->ops->due(w->arg, clock_mono_ns());
}

static void lg_writer_loop(void *arg)
{
	struct lg_writer *w = arg;
	struct strbuf lines = STRBUF_INIT;
	struct loss loss = {0};
	int64_t last_ns = 0;
	bool stopping;
	do {
		await_lines(w);
		gather(&last_ns);
		/*
		 * Read before the lines: a thread that asks to stop has added its last line
		 * already.
		 */
		stopping = atomic_load(&w->stop_at_ns) != 0;
		size_t n = take(w, &lines);
		write_lines(w, lines.data, lines.len, &loss);
		atomic_fetch_sub(&w->unwritten, n);
		strbuf_reset(&lines);
		if (lines.cap > LINES_KEPT_BUFFER)
			strbuf_free(&lines);
	} while (!stopping);
	/* Nothing is written behind the last lines. So their loss is told here, if it can be. */
	tell_loss(w, &loss);
	strbuf_free(&lines);
}

void lg_writer_free(struct lg_writer *w)
{
	wait_group_destroy(&w->wait_group);
	chan_free(w->wake_chan);
	strbuf_free(&w->pending);
	mutex_destroy(&w->lock);
	free(w);
}

struct lg_writer *lg_writer_start(
	int fd, const struct lg_writer_ops *ops, void *arg, struct err *err)
{
	struct lg_writer *w = xcalloc(1, sizeof(*w));
	w->fd = fd;
	w->ops = ops;
	w->arg = arg;
	mutex_init(&w->lock, RANK_LEAF);
	w->wake_chan = chan_new(0, 1);
	wait_group_init(&w->wait_group);
	if (wait_group_wrap(&w->wait_group, "log", lg_writer_loop, w, err) == 0)
		return w;
	lg_writer_free(w);
	return NULL;
}

void lg_writer_add(struct lg_writer *w, const char *line, size_t n)
{
	mutex_lock(&w->lock);
	if (w->pending.len + n > PENDING_MAX) {
		w->dropped++;
	} else {
		strbuf_add(&w->pending, line, n);
		atomic_fetch_add(&w->unwritten, n);
	}
	mutex_unlock(&w->lock);
	chan_signal(w->wake_chan);
}

void lg_writer_drain(const struct lg_writer *w, int64_t deadline_ns)
{
	while (atomic_load(&w->unwritten) > 0 && clock_mono_ns() < deadline_ns) {
		const struct timespec pause = {.tv_nsec = NSEC_PER_MSEC};
		nanosleep(&pause, NULL);
	}
}

bool lg_writer_is_broken(const struct lg_writer *w)
{
	return atomic_load(&w->broken);
}

void lg_writer_stop(struct lg_writer *w)
{
	atomic_store(&w->stop_at_ns, clock_mono_ns() + STOP_NS);
	/*
	 * If there is a value in the chan already, the thread "log" sees the flag when it takes it.
	 */
	chan_signal(w->wake_chan);
	wait_group_wait(&w->wait_group);
}
