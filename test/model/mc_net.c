/* SPDX-License-Identifier: MIT */
/*
 * The kernel's part of netpoll.c. Each call is one step. epoll tells of a socket once for each
 * thing that comes (EPOLLET), and of the others as long as there is something.
 */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>

#include "test/model/mc.h"
#include "test/model/mc_net.h"

#define FILES 8
#define FIRST_FD 3
#define NSEC_PER_SEC 1000000000

enum kind { CLOSED, EPOLL, EVENT, TIMER, SOCKET };

static MC_GHOST struct file {
	enum kind kind;
	int count;      /* EVENT, SOCKET: what has come */
	int64_t due_ns; /* TIMER; 0: off */
	bool has_ended; /* SOCKET: its peer */
	bool in_epoll, is_new;
	struct epoll_event wanted;
} files[FILES];

static struct file *file_of(int fd)
{
	MC_CHECK(fd >= FIRST_FD && fd < FIRST_FD + FILES && files[fd - FIRST_FD].kind != CLOSED);
	return &files[fd - FIRST_FD];
}

static int new_file(enum kind kind)
{
	int i = 0;
	while (files[i].kind != CLOSED)
		MC_CHECK(++i < FILES);
	files[i] = (struct file){.kind = kind};
	return FIRST_FD + i;
}

int mc_n_files(void)
{
	int n = 0;
	for (int i = 0; i < FILES; i++)
		n += files[i].kind != CLOSED;
	return n;
}

int mc_close(int fd);
int mc_close(int fd)
{
	mc_yield();
	file_of(fd)->kind = CLOSED;
	return 0;
}

/* --- sockets ---------------------------------------------------------------------------------- */

int mc_socket(void)
{
	return new_file(SOCKET);
}

/* The socket may be closed already: then nobody is told. */
static void bring(int fd, int n, bool ends)
{
	struct file *f = &files[fd - FIRST_FD];
	mc_yield();
	if (f->kind != SOCKET)
		return;
	f->count += n;
	f->has_ended = f->has_ended || ends;
	f->is_new = true;
}

void mc_peer_sends(int fd, int n)
{
	bring(fd, n, false);
}

void mc_peer_ends(int fd)
{
	bring(fd, 0, true);
}

int mc_receive(int fd)
{
	mc_yield();
	int n = file_of(fd)->count;
	file_of(fd)->count = 0;
	return n;
}

bool mc_has_ended(int fd)
{
	return file_of(fd)->has_ended;
}

/* --- eventfd, timerfd ------------------------------------------------------------------------- */

int mc_eventfd(unsigned count, int flags);
int mc_eventfd(unsigned count, int flags)
{
	(void)count, (void)flags;
	return new_file(EVENT);
}

int mc_eventfd_write(int fd, eventfd_t n);
int mc_eventfd_write(int fd, eventfd_t n)
{
	mc_yield();
	file_of(fd)->count += (int)n;
	return 0;
}

int mc_eventfd_read(int fd, eventfd_t *n);
int mc_eventfd_read(int fd, eventfd_t *n)
{
	mc_yield();
	struct file *f = file_of(fd);
	*n = (eventfd_t)f->count;
	f->count = 0;
	return *n ? 0 : -1;
}

int mc_timerfd_create(int clock, int flags);
int mc_timerfd_create(int clock, int flags)
{
	(void)clock, (void)flags;
	return new_file(TIMER);
}

int mc_timerfd_settime(int fd, int flags, const struct itimerspec *when, struct itimerspec *old);
int mc_timerfd_settime(int fd, int flags, const struct itimerspec *when, struct itimerspec *old)
{
	(void)flags, (void)old;
	mc_yield();
	struct file *f = file_of(fd);
	f->due_ns = when->it_value.tv_sec * NSEC_PER_SEC + when->it_value.tv_nsec;
	f->count = 0;
	return 0;
}

ssize_t mc_read(int fd, void *buf, size_t size);
ssize_t mc_read(int fd, void *buf, size_t size)
{
	mc_yield();
	memset(buf, 0, size);
	file_of(fd)->count = 0;
	return 8;
}

static bool is_set(void *arg)
{
	const struct file *f = arg;
	return f->kind == TIMER && f->due_ns != 0;
}

static struct file *the_timer(void)
{
	for (int i = 0; i < FILES; i++) {
		if (files[i].kind == TIMER)
			return &files[i];
	}
	mc_fail("there is no timer");
}

/* The time that a timer is set to may come at any moment. */
static void run_out(void *arg)
{
	mc_may_wait();
	for (;;) {
		mc_wait(is_set, arg);
		struct file *f = arg;
		mc_pass_to(f->due_ns);
		f->due_ns = 0;
		f->count = 1;
	}
}

void mc_go_timers(void)
{
	mc_go("time", run_out, the_timer());
}

/* --- epoll ------------------------------------------------------------------------------------ */

int mc_epoll_create1(int flags);
int mc_epoll_create1(int flags)
{
	(void)flags;
	return new_file(EPOLL);
}

int mc_epoll_refusals;

int mc_epoll_ctl(int epfd, int op, int fd, struct epoll_event *e);
int mc_epoll_ctl(int epfd, int op, int fd, struct epoll_event *e)
{
	mc_yield();
	struct file *f = file_of(fd);
	MC_CHECK(file_of(epfd)->kind == EPOLL && f->in_epoll == (op == EPOLL_CTL_DEL));
	if (op == EPOLL_CTL_ADD && mc_epoll_refusals > 0 && mc_choose(2)) {
		mc_epoll_refusals--;
		errno = ENOMEM;
		return -1;
	}
	f->in_epoll = op == EPOLL_CTL_ADD;
	if (f->in_epoll) {
		f->wanted = *e;
		f->is_new = f->count > 0 || f->has_ended;
	}
	return 0;
}

static bool has_event(const struct file *f)
{
	if (f->kind == CLOSED || !f->in_epoll)
		return false;
	return f->kind == SOCKET ? f->is_new : f->count > 0;
}

static bool has_any(void *arg)
{
	(void)arg;
	for (int i = 0; i < FILES; i++) {
		if (has_event(&files[i]))
			return true;
	}
	return false;
}

/* What one poller has fetched, another cannot take. There are no more files than events here. */
int mc_epoll_wait(int epfd, struct epoll_event *events, int max, int timeout);
int mc_epoll_wait(int epfd, struct epoll_event *events, int max, int timeout)
{
	int n = 0;
	MC_CHECK(file_of(epfd)->kind == EPOLL);
	if (timeout != 0)
		mc_wait(has_any, NULL);
	else
		mc_yield();
	for (int i = 0; i < FILES && n < max; i++) {
		struct file *f = &files[i];
		if (!has_event(f))
			continue;
		events[n] = f->wanted;
		events[n].events = EPOLLIN | (f->has_ended ? EPOLLRDHUP : 0);
		f->is_new = false;
		n++;
	}
	return n;
}
