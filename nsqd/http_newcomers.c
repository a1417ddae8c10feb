/* SPDX-License-Identifier: MIT */
/*
 * Plain HTTP connections before their first request: mirrors the beginning of
 * net/http's readRequest (parseRequestLine, ParseHTTPVersion). Runs in the thread
 * "http".
 */
#include "nsqd/http_newcomers.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#include <utlist.h>

#include "common/ascii.h"
#include "common/check.h"
#include "common/clock.h"
#include "common/xalloc.h"
#include "nsqd/http_refuse.h"

#define EVENTS 64
/* As much as libmicrohttpd would take of a head. */
#define LINE_MAX_BYTES ((size_t)32 * 1024)
/* How long a peer that was refused has to close, before others come and look for it. */
#define LINGER_NS (500 * NSEC_PER_MSEC)
/* How much of its input is thrown away at once. */
#define DRAIN_READS 4

struct newcomer {
	struct newcomer *prev, *next;
	int fd;
	union address addr;
	int64_t since_ns; /* monotonic: when it came, or was refused */
	bool refused;     /* it has been answered, and is to close */
};

struct http_newcomers {
	int epoll_fd;
	struct newcomer *waiting; /* utlist, the oldest first */
	struct newcomer *refused; /* likewise */
	void (*greeted)(void *arg, int fd, const union address *addr);
	void (*gone)(void *arg);
	void *arg;
	char buf[LINE_MAX_BYTES];
};

/* --- the line ------------------------------------------------------------------------------- */

const struct http_refusal *http_check_line(const char *line, size_t len)
{
	static const char http[] = "HTTP/";
	const char *end = line + len, *target = memchr(line, ' ', len);
	const char *version = target ? memchr(target + 1, ' ', (size_t)(end - target - 1)) : NULL;
	if (!version || !http_is_token(line, (size_t)(target - line)))
		return &http_bad_request;
	version++;
	if (end - version != 8 || memcmp(version, http, 5) != 0 || !ascii_is_digit(version[5]) ||
		version[6] != '.' || !ascii_is_digit(version[7]))
		return &http_bad_request;
	return version[5] == '1' ? NULL : http_refusal_for(505);
}

/* --- the connections ------------------------------------------------------------------------ */

static void leave(struct http_newcomers *n, struct newcomer **list, struct newcomer *c)
{
	DL_DELETE(*list, c);
	close(c->fd); /* and so it leaves epoll */
	free(c);
	n->gone(n->arg);
}

static void greet(struct http_newcomers *n, struct newcomer *c)
{
	DL_DELETE(n->waiting, c);
	(void)epoll_ctl(n->epoll_fd, EPOLL_CTL_DEL, c->fd, NULL);
	n->greeted(n->arg, c->fd, &c->addr);
	free(c);
}

/* Reads on, so that what is unread does not destroy the answer. False: it has closed. */
static bool drain(struct http_newcomers *n, struct newcomer *c)
{
	for (int i = 0; i < DRAIN_READS; i++) {
		ssize_t got = recv(c->fd, n->buf, sizeof(n->buf), MSG_DONTWAIT);
		if (got <= 0)
			return got < 0 && (errno == EAGAIN || errno == EINTR);
	}
	return true;
}

static void refuse(struct http_newcomers *n, struct newcomer *c, const struct http_refusal *why)
{
	http_refuse(c->fd, NULL, why);
	DL_DELETE(n->waiting, c);
	c->refused = true;
	c->since_ns = clock_mono_ns();
	DL_APPEND(n->refused, c);
	/* From now on whenever there is something, since not all of it is read at once. */
	struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
	if (epoll_ctl(n->epoll_fd, EPOLL_CTL_MOD, c->fd, &e) != 0 || !drain(n, c))
		leave(n, &n->refused, c);
}

/* Something has come from one that waits. */
static void look_at(struct http_newcomers *n, struct newcomer *c, bool at_end)
{
	ssize_t got = recv(c->fd, n->buf, sizeof(n->buf), MSG_PEEK | MSG_DONTWAIT);
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got <= 0) {
		leave(n, &n->waiting, c);
		return;
	}
	const char *newline = memchr(n->buf, '\n', (size_t)got);
	if (newline) {
		size_t len = (size_t)(newline - n->buf);
		if (len > 0 && n->buf[len - 1] == '\r')
			len--;
		const struct http_refusal *why = http_check_line(n->buf, len);
		if (why)
			refuse(n, c, why);
		else
			greet(n, c);
	} else if ((size_t)got == sizeof(n->buf)) {
		refuse(n, c, http_refusal_for(431));
	} else if (at_end) {
		refuse(n, c, &http_bad_request);
	}
}

/* Nobody waits for these; so it is done when there is something to do anyway. */
static void end_lingering(struct http_newcomers *n)
{
	int64_t before = clock_mono_ns() - LINGER_NS;
	while (n->refused && n->refused->since_ns < before)
		leave(n, &n->refused, n->refused);
}

void http_newcomers_add(struct http_newcomers *n, int fd, const union address *addr)
{
	struct newcomer *c = xcalloc(1, sizeof(*c));
	/* Once for each time that something comes: what waits for more must not wake us. */
	struct epoll_event e = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET, .data.ptr = c};
	c->fd = fd;
	c->addr = *addr;
	c->since_ns = clock_mono_ns();
	DL_APPEND(n->waiting, c);
	if (epoll_ctl(n->epoll_fd, EPOLL_CTL_ADD, fd, &e) != 0)
		greet(n, c);
	end_lingering(n);
}

void http_newcomers_look(struct http_newcomers *n)
{
	struct epoll_event events[EVENTS];
	int count = epoll_wait(n->epoll_fd, events, EVENTS, 0);
	for (int i = 0; i < count; i++) {
		struct newcomer *c = events[i].data.ptr;
		if (!c->refused)
			look_at(n, c, events[i].events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR));
		else if (!drain(n, c))
			leave(n, &n->refused, c);
	}
	end_lingering(n);
}

static bool evict(struct http_newcomers *n, struct newcomer **list, int64_t before_ns)
{
	if (!*list || (*list)->since_ns >= before_ns)
		return false;
	leave(n, list, *list);
	return true;
}

bool http_newcomers_evict(struct http_newcomers *n, int64_t before_ns)
{
	/* One that has just been refused must not protect those that have been silent for long. */
	return evict(n, &n->refused, before_ns) || evict(n, &n->waiting, before_ns);
}

/* --- life ----------------------------------------------------------------------------------- */

struct http_newcomers *http_newcomers_new(
	void (*greeted)(void *arg, int fd, const union address *addr), void (*gone)(void *arg),
	void *arg, struct err *err)
{
	struct http_newcomers *n = xcalloc(1, sizeof(*n));
	n->greeted = greeted;
	n->gone = gone;
	n->arg = arg;
	n->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (n->epoll_fd >= 0)
		return n;
	err_errno(err, errno, "epoll");
	free(n);
	return NULL;
}

void http_newcomers_free(struct http_newcomers *n)
{
	if (!n)
		return;
	while (n->waiting)
		leave(n, &n->waiting, n->waiting);
	while (n->refused)
		leave(n, &n->refused, n->refused);
	close(n->epoll_fd);
	free(n);
}

int http_newcomers_fd(const struct http_newcomers *n)
{
	return n->epoll_fd;
}
