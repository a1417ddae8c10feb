/* SPDX-License-Identifier: MIT */
/*
 * Idle clients, without threads: netpoll.h has the idea. Mirrors Go's runtime/netpoll.go; stock has
 * no such file. oldpoll_loop is the thread "netpoll". io_loops call oldpoll_sleep and
 * oldpoll_retry, channels' pumps call oldpoll_wake.
 *
 * Ownership. A dormant client is netpoll's thread's own: no other thread resumes or frees it. So
 * that thread may use it without the lock, heartbeat included. The lock guards where it is listed.
 * All dormant clients are in netpoll.dormant. Each is in at most one of three lists besides: in its
 * channel's, if it is ready for messages; in netpoll.waking; in netpoll.failed.
 *
 * No message waits in vain. A client that becomes dormant is listed first, and then tells the
 * channel's pump by dormant_chan. The pump counts the listed ones as demand when it looks again. A
 * client that the pump wakes is resumed as soon as there is a thread for it. Then its own pump
 * waits for messages as any other does, or tells that it does not (channel_consumer_is_full), or
 * leaves. Of that, too, the channel's pump hears.
 */
#include "nsqd/client/netpoll.h"

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <utlist.h>

#include "common/check.h"
#include "common/clock.h"
#include "common/gothread.h"
#include "common/heap.h"
#include "common/lock.h"
#include "common/xalloc.h"
#include "nsqd/queue/channel.h"
#include "nsqd/client/client_v2.h"
#include "nsqd/core/context.h"

#define EVENTS 64
/* Where there is no thread for a client: when to try again, at first and at most. */
#define RETRY_NS (20 * NSEC_PER_MSEC)
#define RETRY_EACH_NS (40 * NSEC_PER_USEC) /* more for each that waits */
#define RETRY_MAX_NS (1000 * NSEC_PER_MSEC)
/* The eventfd's place in epoll; ids of clients start at 1. */
#define WAKE_ID 0
/* How long a new client waits for its threads. */
#define NEWCOMER_NS NSEC_PER_SEC
/* For so long after threads have run out, idle clients are asked for theirs. */
#define HURRY_NS (300 * NSEC_PER_MSEC)
/* So much sooner a silent client then becomes dormant. */
#define HURRY_FACTOR 10
/* How much is read for a dormant client in one go, and how often, before others have their turn. */
#define READ_SIZE 16384
#define MAX_READS 8
/* A deadline that is past: what is there is read, and nothing awaited. */
#define AT_ONCE 1

struct oldpoll {
	struct context *ctx;              /* immutable */
	struct oldpoll_handlers handlers; /* immutable */
	int epoll_fd;                     /* immutable */
	int wake_fd;         /* immutable; written when the thread is to look at the lists */
	int hurry_fd;        /* immutable; readable while there are no threads for others */
	char buf[READ_SIZE]; /* the thread's */

	struct mutex lock; /* a leaf; guards the next eight */
	bool open;         /* clients may become dormant */
	bool stopping;
	struct client_v2 *dormant; /* uthash (dormancy.hh) by id; owned */
	struct client_v2 *waking;  /* of these, those that are to be resumed */
	struct client_v2 *failed;  /* of these, those for which there was no thread */
	size_t n_failed;           /* how many those are */
	struct heap deadlines;     /* of these, those that have a deadline */
	int64_t hurry_until_ns;    /* 0: no hurry */

	_Atomic size_t starting; /* clients that were resumed, and whose pump has not started yet */
	struct wait_group group; /* the thread */
	struct wait_group clients; /* those that it has resumed */
};

/* --- the lists ------------------------------------------------------------------------------ */

static void notify(struct oldpoll *np)
{
	CHECK(eventfd_write(np->wake_fd, 1) == 0);
}

static struct client_v2 *client_of(struct heap_node *n)
{
	return (struct client_v2 *)((char *)n - offsetof(struct client_v2, dormancy.heap_node));
}

/* The next heartbeat, or the read deadline; 0: neither. */
static int64_t deadline_of(const struct client_v2 *c)
{
	int64_t heartbeat = c->pump.heartbeat_ticker.next_ns, read = c->reader.deadline_ns;
	if (heartbeat == 0 || read == 0)
		return heartbeat + read;
	return heartbeat < read ? heartbeat : read;
}

static void list_locked(struct oldpoll *np, struct client_v2 *c, int64_t deadline_ns)
{
	mutex_assert_held(&np->lock);
	HASH_ADD(dormancy.hh, np->dormant, consumer.id, sizeof(c->consumer.id), c);
	c->dormancy.deadline_ns = deadline_ns;
	if (deadline_ns != 0)
		heap_push(&np->deadlines, &c->dormancy.heap_node, deadline_ns);
}

/* Its RDY is demand from now on. */
static void offer_locked(struct oldpoll *np, struct client_v2 *c)
{
	struct channel *ch = c->channel;
	int64_t ready = atomic_load(&c->ready_count);
	mutex_assert_held(&np->lock);
	if (!ch || ready <= 0)
		return;
	c->dormancy.ready = (size_t)ready;
	DL_APPEND2(ch->dormant, c, dormancy.prev, dormancy.next);
	atomic_fetch_add(&ch->dormant_ready, c->dormancy.ready);
	chan_signal(ch->dormant_chan);
}

static void withdraw_locked(struct oldpoll *np, struct client_v2 *c)
{
	mutex_assert_held(&np->lock);
	if (c->dormancy.ready == 0)
		return;
	DL_DELETE2(c->channel->dormant, c, dormancy.prev, dormancy.next);
	atomic_fetch_sub(&c->channel->dormant_ready, c->dormancy.ready);
	c->dormancy.ready = 0;
}

static void unlist(struct oldpoll *np, struct client_v2 *c)
{
	mutex_lock(&np->lock);
	HASH_DELETE(dormancy.hh, np->dormant, c);
	if (c->dormancy.deadline_ns != 0)
		heap_remove(&np->deadlines, &c->dormancy.heap_node);
	withdraw_locked(np, c);
	if (c->dormancy.waking)
		DL_DELETE2(np->waking, c, dormancy.prev, dormancy.next);
	if (c->dormancy.failed) {
		DL_DELETE2(np->failed, c, dormancy.prev, dormancy.next);
		np->n_failed--;
	}
	c->dormancy.waking = c->dormancy.failed = false;
	mutex_unlock(&np->lock);
}

bool oldpoll_sleep(struct oldpoll *np, struct client_v2 *c)
{
	struct epoll_event e = {
		.events = EPOLLIN | EPOLLRDHUP, .data.u64 = (uint64_t)c->consumer.id};
	mutex_lock(&np->lock);
	/* Under the lock (it does not block), so that no event finds the client not yet listed. */
	bool asleep = np->open &&
		      epoll_ctl(np->epoll_fd, EPOLL_CTL_ADD, stream_sock_fd(c->base), &e) == 0;
	bool is_next = false;
	if (asleep) {
		c->dormancy.retried = false;
		list_locked(np, c, deadline_of(c));
		offer_locked(np, c);
		is_next = heap_peek(&np->deadlines) == &c->dormancy.heap_node;
	}
	mutex_unlock(&np->lock);
	if (is_next)
		notify(np);
	return asleep;
}

void oldpoll_wake(struct oldpoll *np, struct channel *ch, size_t ready)
{
	bool any = false;
	mutex_lock(&np->lock);
	while (ready > 0 && ch->dormant) {
		struct client_v2 *c = ch->dormant;
		ready -= ready < c->dormancy.ready ? ready : c->dormancy.ready;
		c->dormancy.waking_share = c->dormancy.ready;
		atomic_fetch_add(&ch->waking_ready, c->dormancy.waking_share);
		withdraw_locked(np, c);
		DL_APPEND2(np->waking, c, dormancy.prev, dormancy.next);
		c->dormancy.waking = any = true;
	}
	mutex_unlock(&np->lock);
	if (any)
		notify(np);
}

void oldpoll_has_started(struct oldpoll *np, struct client_v2 *c)
{
	if (c->dormancy.starting)
		atomic_fetch_sub(&np->starting, 1);
	c->dormancy.starting = false;
}

int64_t oldpoll_moment(struct oldpoll *np)
{
	mutex_lock(&np->lock);
	bool hurry = np->hurry_until_ns != 0;
	mutex_unlock(&np->lock);
	return hurry ? MOMENT_NS / HURRY_FACTOR : MOMENT_NS;
}

void oldpoll_woken(struct client_v2 *c)
{
	if (c->dormancy.waking_share == 0)
		return;
	atomic_fetch_sub(&c->channel->waking_ready, c->dormancy.waking_share);
	c->dormancy.waking_share = 0;
}

/* Idle clients are to give up their threads. */
static void hurry_locked(struct oldpoll *np, int64_t now)
{
	mutex_assert_held(&np->lock);
	if (np->hurry_until_ns == 0)
		CHECK(eventfd_write(np->hurry_fd, 1) == 0);
	np->hurry_until_ns = now + HURRY_NS;
}

static void end_hurry(struct oldpoll *np, int64_t now)
{
	eventfd_t ignored;
	mutex_lock(&np->lock);
	if (np->hurry_until_ns != 0 && np->hurry_until_ns <= now) {
		np->hurry_until_ns = 0;
		CHECK(eventfd_read(np->hurry_fd, &ignored) == 0);
	}
	mutex_unlock(&np->lock);
}

enum oldpoll_wait_result oldpoll_wait(
	struct oldpoll *np, const struct client_v2 *c, int64_t deadline_ns, bool may_hurry)
{
	struct pollfd fds[] = {{.fd = stream_sock_fd(c->base), .events = POLLIN},
		{.fd = may_hurry ? np->hurry_fd : -1, .events = POLLIN}};
	int n;
	do
		n = poll(fds, 2, clock_msec_until(deadline_ns));
	while (n < 0 && errno == EINTR);
	if (n <= 0)
		return OLDPOLL_TIME;
	return fds[0].revents != 0 ? OLDPOLL_INPUT : OLDPOLL_HURRY;
}

/*
 * Logs the first time only: there may be thousands. A newcomer's line, if any, is that it is
 * refused.
 */
static void log_retry(struct oldpoll *np, struct client_v2 *c, int64_t now, const struct err *why)
{
	if (!c->dormancy.served && c->dormancy.give_up_ns == 0)
		c->dormancy.give_up_ns = now + NEWCOMER_NS;
	if (c->dormancy.served && !c->dormancy.retried)
		nsqd_logf(np->ctx, LG_ERROR,
			"TCP: no thread for idle client(%s), trying again - %s", c->remote_addr,
			why->msg);
	c->dormancy.retried = true;
}

/* In how long to try again: soon, but together not so often that it would cost much. */
static int64_t retry_in_locked(const struct oldpoll *np)
{
	mutex_assert_held(&np->lock);
	int64_t retry = RETRY_NS + (int64_t)np->n_failed * RETRY_EACH_NS;
	return retry < RETRY_MAX_NS ? retry : RETRY_MAX_NS;
}

bool oldpoll_retry(struct oldpoll *np, struct client_v2 *c, const struct err *why)
{
	int64_t now = clock_mono_ns();
	log_retry(np, c, now, why);
	/* That no thread reads what it sends is our fault. */
	if (c->reader.timeout_ns > 0)
		c->reader.deadline_ns = now + c->reader.timeout_ns;
	if (c->dormancy.waking_share > 0) {
		oldpoll_woken(c);
		channel_consumer_is_full(c->channel);
	}
	mutex_lock(&np->lock);
	bool open = np->open, is_next = false;
	if (open) {
		hurry_locked(np, now);
		c->dormancy.failed = true;
		DL_APPEND2(np->failed, c, dormancy.prev, dormancy.next);
		np->n_failed++;
		list_locked(np, c, now + retry_in_locked(np));
		is_next = heap_peek(&np->deadlines) == &c->dormancy.heap_node;
	}
	mutex_unlock(&np->lock);
	if (is_next)
		notify(np);
	return open;
}

static void set_deadline(struct oldpoll *np, struct client_v2 *c)
{
	mutex_lock(&np->lock);
	c->dormancy.deadline_ns = deadline_of(c);
	heap_fix(&np->deadlines, &c->dormancy.heap_node, c->dormancy.deadline_ns);
	mutex_unlock(&np->lock);
}

static bool is_stopping(struct oldpoll *np)
{
	mutex_lock(&np->lock);
	bool stopping = np->stopping;
	mutex_unlock(&np->lock);
	return stopping;
}

/* --- the thread ----------------------------------------------------------------------------- */

/* The client is no longer ours. */
static void let_go(struct oldpoll *np, struct client_v2 *c)
{
	unlist(np, c);
	/* Fails where it has been done already, before a try in vain. */
	(void)epoll_ctl(np->epoll_fd, EPOLL_CTL_DEL, stream_sock_fd(c->base), NULL);
}

/*
 * Gives the client a thread; it is no longer ours then. Without a thread it stays dormant, for a
 * new try. But the daemon's exit does not wait for threads: the connection has been shut down by
 * then, so its io_loop ends at once, also in this thread.
 */
static void resume(struct oldpoll *np, struct client_v2 *c)
{
	char name[160];
	struct err err;
	snprintf(name, sizeof(name), "io:%s", c->remote_addr);
	let_go(np, c);
	/* It will need a pump as well, as do those that are on their way to theirs. */
	size_t on_their_way = atomic_fetch_add(&np->starting, 1) + 1;
	c->dormancy.starting = true;
	if (!gothread_is_scarce(1 + on_their_way, &err) &&
		wait_group_wrap(&np->clients, name, np->handlers.resume, c, &err) == 0)
		return;
	oldpoll_has_started(np, c);
	if (!c->dormancy.served && c->dormancy.give_up_ns != 0 &&
		c->dormancy.give_up_ns <= clock_mono_ns() && !is_stopping(np)) {
		nsqd_logf(np->ctx, LG_ERROR, "TCP: closing new client(%s), no thread for it - %s",
			c->remote_addr, err.msg);
		np->handlers.end(c);
	} else if (!oldpoll_retry(np, c, &err)) {
		np->handlers.resume(c);
	}
}

/*
 * All that has come in is the answer to a heartbeat: it is taken. Where TLS is required and there
 * is none it is an error.
 */
static bool take_nop(struct oldpoll *np, struct client_v2 *c)
{
	static const char nop[] = "NOP\n";
	enum { LENGTH = sizeof(nop) - 1 };
	const struct bufio_reader *b = &c->reader;
	if (!c->has_magic || bufio_buffered(b) != LENGTH ||
		memcmp(b->buf + b->r, nop, LENGTH) != 0 ||
		(nsqd_get_opts(np->ctx)->tls_required != TLS_NOT_REQUIRED && !client_v2_is_tls(c)))
		return false;
	bufio_reader_reset(&c->reader, c->stream);
	bufio_reader_give_back(&c->reader);
	c->input = (struct command_input){0};
	if (lg_enabled(&c->ctx->lg, LG_DEBUG))
		nsqd_logf(c->ctx, LG_DEBUG, "PROTOCOL(V2): [%s] [NOP]", c->remote_addr);
	/* As with any command, its read deadline begins anew. */
	if (c->reader.timeout_ns > 0) {
		c->reader.deadline_ns = clock_mono_ns() + c->reader.timeout_ns;
		set_deadline(np, c);
	}
	return true;
}

/* No input is here, and none will come. (To say goodbye through a layer may take a while.) */
static bool has_nothing_to_say(const struct client_v2 *c)
{
	char byte;
	return c->stream == c->base && bufio_buffered(&c->reader) == 0 &&
	       recv(stream_sock_fd(c->base), &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

/*
 * At the daemon's exit, when each has been shut down: two threads for each dormant client, only to
 * end it, would take longer than all the rest. Before the exit this thread must not wait, which a
 * thread that leaves a channel may have to.
 */
static bool end_at_once(struct oldpoll *np, struct client_v2 *c)
{
	if (!context_is_exiting(np->ctx) || !has_nothing_to_say(c))
		return false;
	let_go(np, c);
	np->handlers.end(c);
	return true;
}

/* Is there something to do with what has come? */
static bool is_enough(struct client_v2 *c)
{
	const struct bufio_reader *b = &c->reader;
	if (!c->has_magic)
		return bufio_buffered(b) >= MAGIC_LENGTH;
	const struct command_limits limits = {
		.opts = nsqd_get_opts(c->ctx),
		.may_identify = atomic_load(&c->state) == STATE_INIT,
		.line_max = b->size,
	};
	return command_input_is_enough(&c->input, &limits, b->buf + b->r, bufio_buffered(b));
}

/*
 * Takes what has come in, without waiting. False: io_loop is needed. A layer above the socket
 * decrypts or unpacks here, as much as has come.
 */
static bool take_input(struct oldpoll *np, struct client_v2 *c)
{
	struct err err;
	for (int i = 0; i < MAX_READS; i++) {
		ssize_t got =
			c->stream->ops->read(c->stream, np->buf, sizeof(np->buf), AT_ONCE, &err);
		if (got <= 0)
			return got < 0 && err.code == ETIMEDOUT;
		bufio_append(&c->reader, np->buf, (size_t)got);
		explicit_bzero(np->buf, (size_t)got); /* it may be a secret */
		if (!take_nop(np, c) && is_enough(c))
			return false;
	}
	/* epoll tells again of a plain socket, but not of what a layer still holds. */
	return c->stream == c->base;
}

static void on_event(struct oldpoll *np, const struct epoll_event *e)
{
	struct client_v2 *c;
	int64_t id = (int64_t)e->data.u64;
	mutex_lock(&np->lock);
	HASH_FIND(dormancy.hh, np->dormant, &id, sizeof(id), c);
	mutex_unlock(&np->lock);
	/* It may have been resumed after it was reported. */
	if (!c)
		return;
	if ((e->events != EPOLLIN || !take_input(np, c)) && !end_at_once(np, c))
		resume(np, c);
}

/* A heartbeat, if that can be sent without waiting. */
static bool send_heartbeat(struct oldpoll *np, struct client_v2 *c, int64_t now)
{
	struct pollfd p = {.fd = stream_sock_fd(c->base), .events = POLLOUT};
	struct err err;
	if (poll(&p, 1, 0) != 1 || p.revents != POLLOUT ||
		!ticker_take(&c->pump.heartbeat_ticker, now) ||
		np->handlers.send_heartbeat(c, &err) != 0)
		return false;
	client_v2_give_buffers_back(c);
	return true;
}

static void on_deadline(struct oldpoll *np, struct client_v2 *c, int64_t now)
{
	int64_t heartbeat = c->pump.heartbeat_ticker.next_ns;
	bool sent = heartbeat != 0 && heartbeat <= now && send_heartbeat(np, c, now);
	if (sent && !c->dormancy.failed)
		set_deadline(np, c);
	else
		resume(np, c); /* io_loop and pump know what follows */
}

/* The first in the heap that is due, else NULL. At the exit no client waits for a new try. */
static struct client_v2 *next_due(struct oldpoll *np, int64_t now)
{
	mutex_lock(&np->lock);
	struct client_v2 *c = np->stopping ? np->failed : NULL;
	if (!c && heap_least(&np->deadlines) <= now)
		c = client_of(heap_peek(&np->deadlines));
	mutex_unlock(&np->lock);
	return c;
}

static struct client_v2 *next_waking(struct oldpoll *np)
{
	mutex_lock(&np->lock);
	struct client_v2 *c = np->waking;
	mutex_unlock(&np->lock);
	return c;
}

/* How long epoll may wait, in ms, rounded up; -1: for ever. */
static int epoll_timeout_ms(struct oldpoll *np)
{
	mutex_lock(&np->lock);
	int64_t deadline = heap_least(&np->deadlines);
	if (np->hurry_until_ns != 0 && np->hurry_until_ns < deadline)
		deadline = np->hurry_until_ns;
	mutex_unlock(&np->lock);
	return deadline == INT64_MAX ? -1 : clock_msec_until(deadline);
}

static bool is_over(struct oldpoll *np)
{
	mutex_lock(&np->lock);
	bool over = np->stopping && !np->dormant;
	mutex_unlock(&np->lock);
	return over;
}

/*
 * Waits for input and takes it, until there is no more (but not for ever): after a standstill,
 * input is there for all clients whose deadlines have passed.
 */
static void poll_input(struct oldpoll *np)
{
	enum { MAX_TURNS = 64 };
	struct epoll_event events[EVENTS];
	int n = EVENTS;
	for (int turn = 0; turn < MAX_TURNS && n == EVENTS; turn++) {
		n = epoll_wait(np->epoll_fd, events, EVENTS, turn == 0 ? epoll_timeout_ms(np) : 0);
		CHECK(n >= 0 || errno == EINTR);
		for (int i = 0; i < n; i++) {
			eventfd_t ignored;
			if (events[i].data.u64 == WAKE_ID)
				(void)eventfd_read(np->wake_fd, &ignored);
			else
				on_event(np, &events[i]);
		}
	}
}

static void oldpoll_loop(void *arg)
{
	struct oldpoll *np = arg;
	struct client_v2 *c;
	while (!is_over(np)) {
		poll_input(np);
		while ((c = next_waking(np)) != NULL)
			resume(np, c);
		int64_t now = clock_mono_ns();
		while ((c = next_due(np, now)) != NULL)
			on_deadline(np, c, now);
		end_hurry(np, now);
	}
}

/* --- life ----------------------------------------------------------------------------------- */

struct oldpoll *oldpoll_new(
	struct context *ctx, const struct oldpoll_handlers *handlers, struct err *err)
{
	struct oldpoll *np = xcalloc(1, sizeof(*np));
	struct epoll_event e = {.events = EPOLLIN, .data.u64 = WAKE_ID};
	np->ctx = ctx;
	np->handlers = *handlers;
	mutex_init(&np->lock, RANK_LEAF);
	wait_group_init(&np->group);
	wait_group_init(&np->clients);
	np->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	np->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	np->hurry_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (np->epoll_fd >= 0 && np->wake_fd >= 0 && np->hurry_fd >= 0 &&
		epoll_ctl(np->epoll_fd, EPOLL_CTL_ADD, np->wake_fd, &e) == 0)
		return np;
	err_errno(err, errno, "epoll");
	oldpoll_free(np);
	return NULL;
}

void oldpoll_free(struct oldpoll *np)
{
	if (!np)
		return;
	CHECK(np->dormant == NULL);
	if (np->epoll_fd >= 0)
		close(np->epoll_fd);
	if (np->wake_fd >= 0)
		close(np->wake_fd);
	if (np->hurry_fd >= 0)
		close(np->hurry_fd);
	heap_free(&np->deadlines);
	wait_group_destroy(&np->group);
	wait_group_destroy(&np->clients);
	mutex_destroy(&np->lock);
	free(np);
}

int oldpoll_start(struct oldpoll *np, struct err *err)
{
	if (wait_group_wrap(&np->group, "netpoll", oldpoll_loop, np, err) != 0)
		return -1;
	mutex_lock(&np->lock);
	np->open = true;
	mutex_unlock(&np->lock);
	return 0;
}

static void begin_stop(struct oldpoll *np)
{
	mutex_lock(&np->lock);
	np->open = false;
	np->stopping = true;
	mutex_unlock(&np->lock);
	notify(np);
}

void oldpoll_stop(struct oldpoll *np)
{
	begin_stop(np);
	wait_group_wait(&np->group);
	wait_group_wait(&np->clients);
}

bool oldpoll_stop_until(struct oldpoll *np, int64_t deadline_ns)
{
	begin_stop(np);
	return wait_group_wait_until(&np->group, deadline_ns) &&
	       wait_group_wait_until(&np->clients, deadline_ns);
}
