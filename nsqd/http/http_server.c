/* SPDX-License-Identifier: MIT */
/*
 * The HTTP server's life, and its connections. Mirrors Serve of internal/http_api/http_server.go,
 * and Server.Serve of net/http. Threads: "http" (or "https") accepts; each connection has one,
 * "http:ADDR"; "http-reserve" serves those for which no thread can be created.
 *
 * Different from Go: a connection is a thread, so their number is limited. At the limit, or out of
 * threads or descriptors, the connection with the least credit makes room (http_conn.credit_ns).
 */
#include "nsqd/http/http_server.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>
#include <utlist.h>

#include "common/chan.h"
#include "common/check.h"
#include "common/clock.h"
#include "common/xalloc.h"
#include "nsqd/http/http_conn.h"
#include "nsqd/http/http_internal.h"

/* Connections at once: half of the descriptors, within these bounds. */
#define MIN_CONNECTIONS 64
#define MAX_CONNECTIONS 8192
/* So many may be beyond the limit, until those that make room are gone. */
#define SPARE_CONNECTIONS 16
/* How long a new connection waits for a place: the others may be in the middle of something. */
#define ROOM_WAIT_NS (100 * NSEC_PER_MSEC)
/* Between two log lines about the limit. */
#define LIMIT_LOG_NS NSEC_PER_SEC
/* How long stop waits for answers under way. */
#define STOP_WAIT_NS NSEC_PER_SEC
/* How many connections wait for the reserve, and the time of each once it has sent something. */
#define RESERVE_QUEUE 64
#define RESERVE_TIME_NS (100 * NSEC_PER_MSEC)

/* --- connections ----------------------------------------------------------------------------- */

/* It leaves the list first: after that no other thread shuts its socket down. */
static void conn_free(struct http_conn *c)
{
	struct http_server *s = c->server;
	mutex_lock(&s->lock);
	DL_DELETE(s->conns, c);
	mutex_unlock(&s->lock);
	http_conn_free(c);
	mutex_lock(&s->lock);
	s->n_conns--;
	mutex_unlock(&s->lock);
	chan_signal(s->room_chan);
}

static void conn_loop(void *arg)
{
	struct http_conn *c = arg;
	while (http_conn_step(c, true) != NETPOLL_OVER &&
		(c->deadline_ns == 0 || clock_mono_ns() < c->deadline_ns))
		continue;
	conn_free(c);
}

/*
 * The connection with the least credit goes: it has been silent for longest, or moves next to
 * nothing. The lock keeps its descriptor open. False: the handlers of all run, or they work.
 */
static bool evict_locked(struct http_server *s)
{
	mutex_assert_held(&s->lock);
	struct http_conn *worst = NULL;
	int64_t least = clock_mono_ns() + HTTP_GRACE_NS;
	for (struct http_conn *c = s->conns; c; c = c->next) {
		int64_t credit = atomic_load_explicit(&c->credit_ns, memory_order_relaxed);
		if (credit <= least) {
			worst = c;
			least = credit;
		}
	}
	if (!worst)
		return false;
	/* Once is enough: its thread is on its way out. (If it earns credit meanwhile, twice.) */
	atomic_store_explicit(&worst->credit_ns, INT64_MAX, memory_order_relaxed);
	worst->sock->ops->shutdown(worst->sock);
	return true;
}

/* Is there room for one more, beside those that are on their way out? Counts it. */
static bool take_place(struct http_server *s)
{
	mutex_lock(&s->lock);
	if (s->n_conns >= s->max_conns)
		(void)evict_locked(s);
	bool room = s->n_conns < s->max_conns + SPARE_CONNECTIONS;
	if (room)
		s->n_conns++;
	mutex_unlock(&s->lock);
	return room;
}

/* Accept thread: takes a place for one more. If no place is free, it waits a little for one. */
static bool make_room(struct http_server *s)
{
	struct ticker patience;
	ticker_after(&patience, ROOM_WAIT_NS);
	while (!take_place(s)) {
		struct chan_case cases[] = {
			chan_case_recv(s->room_chan, NULL),
			chan_case_tick(&patience),
		};
		if (chan_select(cases, 2) == 1)
			return false;
	}
	return true;
}

/*
 * tcp_handler.no_descriptors. Clients of the TCP port leave us some (keep_back). So our own
 * connections hold the others, however far they are from their limit.
 */
static bool free_descriptor(void *arg)
{
	struct http_server *s = arg;
	struct ticker patience;
	/* Places that became free before this have been taken. */
	(void)chan_try_recv_n(s->room_chan, NULL, 1, NULL);
	mutex_lock(&s->lock);
	bool evicted = evict_locked(s);
	mutex_unlock(&s->lock);
	if (!evicted)
		return false;
	ticker_after(&patience, ROOM_WAIT_NS);
	struct chan_case cases[] = {
		chan_case_recv(s->room_chan, NULL),
		chan_case_tick(&patience),
	};
	return chan_select(cases, 2) == 0;
}

static void refuse(struct http_server *s, int fd)
{
	int64_t now = clock_mono_ns();
	close(fd);
	s->refused++;
	if (now - s->refused_logged < LIMIT_LOG_NS)
		return;
	nsqd_logf(s->daemon->ctx, LG_WARN, "%s: %zu connections are too many, %zu refused",
		s->proto, s->max_conns, s->refused);
	s->refused = 0;
	s->refused_logged = now;
}

/*
 * Out of threads: the reserve takes c. If too many wait for the reserve, the oldest has to go. c
 * itself makes no room, since the reserve bounds its time. The connection with the least credit
 * makes room.
 */
static void give_to_reserve(struct http_server *s, struct http_conn *c)
{
	atomic_store_explicit(&c->credit_ns, INT64_MAX, memory_order_relaxed);
	mutex_lock(&s->lock);
	(void)evict_locked(s);
	mutex_unlock(&s->lock);
	while (chan_try_send_n(s->reserve_chan, &c, 1) == 0) {
		struct http_conn *oldest;
		if (chan_try_recv_n(s->reserve_chan, &oldest, 1, NULL) == 1)
			conn_free(oldest);
	}
	CHECK(eventfd_write(s->reserve_fd, 1) == 0);
}

/* tcp_handler.accepted */
static void handle_accepted(void *arg, int fd, const union address *addr)
{
	struct http_server *s = arg;
	struct err err;
	if (!make_room(s)) {
		refuse(s, fd);
		return;
	}
	char name[160];
	struct http_conn *c = http_conn_new(s, fd, addr);
	mutex_lock(&s->lock);
	DL_APPEND(s->conns, c);
	mutex_unlock(&s->lock);
	snprintf(name, sizeof(name), "%s:%s", s->tls ? "https" : "http", c->remote_addr);
	if (wait_group_wrap(&s->serving, name, conn_loop, c, &err) != 0)
		give_to_reserve(s, c);
}

/* --- the reserve ----------------------------------------------------------------------------- */

/* The connections of the thread "http-reserve"; the first element of fds wakes it. */
struct reserve {
	struct http_server *server;
	struct http_conn *conns[RESERVE_QUEUE];
	struct pollfd fds[RESERVE_QUEUE + 1];
	size_t n;
};

static struct http_conn *remove_at(struct reserve *r, size_t i)
{
	struct http_conn *c = r->conns[i];
	r->n--;
	memmove(r->conns + i, r->conns + i + 1, (r->n - i) * sizeof(*r->conns));
	memmove(r->fds + i + 1, r->fds + i + 2, (r->n - i) * sizeof(*r->fds));
	return c;
}

/* Takes all that wait. Without a place for one, the oldest that has been silent so far goes. */
static void take_waiting(struct reserve *r)
{
	eventfd_t ignored;
	(void)eventfd_read(r->server->reserve_fd, &ignored);
	while (chan_len(r->server->reserve_chan) > 0) {
		if (r->n == RESERVE_QUEUE)
			conn_free(remove_at(r, 0));
		size_t got = chan_try_recv_n(
			r->server->reserve_chan, r->conns + r->n, RESERVE_QUEUE - r->n, NULL);
		for (; got > 0; got--) {
			struct stream *sock = r->conns[r->n++]->sock;
			r->fds[r->n] =
				(struct pollfd){.fd = stream_sock_fd(sock), .events = POLLIN};
		}
	}
}

/* The youngest that has said something is served, but only for a moment: the others wait for it. */
static void serve_one(struct reserve *r)
{
	size_t i = r->n;
	while (i > 0 && r->fds[i].revents == 0)
		i--;
	if (i == 0)
		return;
	struct http_conn *c = remove_at(r, i - 1);
	c->deadline_ns = clock_mono_ns() + RESERVE_TIME_NS;
	if (c->wait_until_ns > c->deadline_ns)
		c->wait_until_ns = c->deadline_ns;
	conn_loop(c);
}

/*
 * The thread "http-reserve". It was created at the start, so it is there when no other can be:
 * /ping is answered then, too. The silent wait together.
 */
static void reserve_loop(void *arg)
{
	struct http_server *s = arg;
	struct reserve *r = xcalloc(1, sizeof(*r));
	r->server = s;
	r->fds[0] = (struct pollfd){.fd = s->reserve_fd, .events = POLLIN};
	while (!atomic_load(&s->stopping)) {
		if (poll(r->fds, r->n + 1, -1) < 0)
			CHECK(errno == EINTR);
		serve_one(r);
		take_waiting(r);
	}
	while (r->n > 0)
		conn_free(remove_at(r, 0));
	free(r);
}

/* --- the server ------------------------------------------------------------------------------ */

/* HTTPS has half as many, so both together leave descriptors for the rest. */
static size_t connection_limit(bool tls)
{
	struct rlimit files;
	size_t n = MAX_CONNECTIONS;
	if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur / 2 < n)
		n = (size_t)files.rlim_cur / 2;
	n = tls ? n / 2 : n;
	return n < MIN_CONNECTIONS ? MIN_CONNECTIONS : n;
}

struct http_server *http_server_new(const struct http_daemon *daemon, const char *address,
	const struct tls_config *tls, bool tls_required, struct err *err)
{
	struct http_server *s = xcalloc(1, sizeof(*s));
	s->daemon = daemon;
	s->proto = tls ? "HTTPS" : "HTTP";
	s->tls = tls;
	s->tls_required = tls_required;
	s->max_conns = connection_limit(tls != NULL);
	if ((tls ? tcp_listen_no_unix : tcp_listen)(&s->listener, address, err) != 0) {
		free(s);
		return NULL;
	}
	struct tcp_handler h = {.accepted = handle_accepted,
		.no_descriptors = free_descriptor,
		.arg = s,
		.lg = &daemon->ctx->lg,
		.proto = s->proto};
	if (accept_loop_init(&s->loop, &s->listener, &h, err) != 0) {
		tcp_listener_close(&s->listener);
		free(s);
		return NULL;
	}
	s->reserve_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	CHECK(s->reserve_fd >= 0);
	mutex_init(&s->lock, RANK_LEAF);
	wait_group_init(&s->wait_group);
	wait_group_init(&s->serving);
	s->reserve_chan = chan_new(sizeof(struct http_conn *), RESERVE_QUEUE);
	s->room_chan = chan_new(0, 1);
	return s;
}

/* The threads "http" and "https". */
static void accept_connections(void *arg)
{
	struct http_server *s = arg;
	struct err err;
	if (accept_loop_run(&s->loop, &err) == 0)
		return;
	nsqd_logf(s->daemon->ctx, LG_FATAL, "http.Serve() error - %s", err.msg);
	/* As in stock, the daemon does not go on without a listener. */
	atomic_store(&s->daemon->ctx->main_failed, true);
	kill(getpid(), SIGTERM);
}

static void stop_reserve(struct http_server *s)
{
	atomic_store(&s->stopping, true);
	CHECK(eventfd_write(s->reserve_fd, 1) == 0);
}

int http_server_start(struct http_server *s, struct err *err)
{
	const char *reserve = s->tls ? "https-reserve" : "http-reserve";
	if (wait_group_wrap(&s->wait_group, reserve, reserve_loop, s, err) != 0)
		return -1;
	if (wait_group_wrap(
		    &s->wait_group, s->tls ? "https" : "http", accept_connections, s, err) != 0) {
		stop_reserve(s);
		wait_group_wait(&s->wait_group);
		return -1;
	}
	s->started = true;
	return 0;
}

/*
 * Ends the reading of connections that are not being answered; with everything, ends all of them.
 */
static void end_connections(struct http_server *s, bool everything)
{
	struct http_conn *c;
	mutex_lock(&s->lock);
	DL_FOREACH (s->conns, c) {
		if (everything)
			c->sock->ops->shutdown(c->sock);
		else
			stream_sock_shutdown_read(c->sock);
	}
	mutex_unlock(&s->lock);
}

/* No thread takes them any more. */
static void drop_waiting(struct http_server *s)
{
	struct http_conn *c;
	while (chan_try_recv_n(s->reserve_chan, &c, 1, NULL) == 1)
		conn_free(c);
}

void http_server_stop(struct http_server *s)
{
	if (!s->started)
		return;
	s->started = false;
	accept_loop_stop(&s->loop);
	stop_reserve(s);
	end_connections(s, false);
	wait_group_wait(&s->wait_group);
	drop_waiting(s);
	/* A client that connects now is refused at once. */
	tcp_listener_close(&s->listener);
	/* Again, for those that were accepted meanwhile. */
	end_connections(s, false);
	if (!wait_group_wait_until(&s->serving, clock_mono_ns() + STOP_WAIT_NS)) {
		end_connections(s, true);
		wait_group_wait(&s->serving);
	}
}

void http_server_free(struct http_server *s)
{
	if (!s)
		return;
	CHECK(s->n_conns == 0);
	accept_loop_destroy(&s->loop);
	tcp_listener_close(&s->listener);
	wait_group_destroy(&s->wait_group);
	wait_group_destroy(&s->serving);
	mutex_destroy(&s->lock);
	chan_free(s->reserve_chan);
	chan_free(s->room_chan);
	close(s->reserve_fd);
	free(s);
}

int http_server_port(const struct http_server *s)
{
	return s->listener.port;
}
