/* SPDX-License-Identifier: MIT */
/*
 * The HTTP server's life, and its connections. Mirrors Serve of internal/http_api/http_server.go,
 * and Server.Serve of net/http. The pollers accept, and take the connections' steps
 * (common/netpoll.h); a connection that may block has a thread for that time, "http:ADDR" or
 * "https:ADDR".
 *
 * Different from Go: the number of connections is limited. At the limit, or out of threads or
 * descriptors, the connection with the least credit makes room (http_conn.credit_ns).
 */
#include "nsqd/http/http_server.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <utlist.h>

#include "common/check.h"
#include "common/clock.h"
#include "common/rlimit.h"
#include "common/xalloc.h"
#include "nsqd/http/http_conn.h"
#include "nsqd/http/http_internal.h"

/* Connections at once: half of the descriptors, within these bounds. */
#define MIN_CONNECTIONS 64
#define MAX_CONNECTIONS 8192
/* So many may be beyond the limit, until those that make room are gone. */
#define SPARE_CONNECTIONS 16
/* The most connections that are looked at for the one that makes room. */
#define EVICT_AMONG 256
/* How long a new connection waits for a place: the others may be in the middle of something. */
#define ROOM_WAIT_NS (250 * NSEC_PER_MSEC)
/* Large answers are these; all that are under way have so many bytes together. */
#define LARGE_ANSWER ((size_t)1 << 20)
#define LARGE_ANSWERS_MAX ((size_t)256 << 20)
/* How long a client of one takes nothing, before another's needs the memory. */
#define LARGE_STALL_NS (250 * NSEC_PER_MSEC)
/* Between two log lines about the limit. */
#define LIMIT_LOG_NS NSEC_PER_SEC
/* How long answers under way have from close on. */
#define STOP_WAIT_NS NSEC_PER_SEC
/* How long a connection waits for a thread. */
#define THREAD_WAIT_NS NSEC_PER_SEC

/* A poller runs what needs a thread: see lend_poller. Of HTTP and HTTPS together. */
static _Atomic bool poller_is_lent;

/* The bytes of large answers that are under way. Of HTTP and HTTPS together. */
static _Atomic size_t large_answers;

/* --- connections ----------------------------------------------------------------------------- */

/* It leaves the list first: after that no other thread shuts its socket down. */
static enum netpoll_next end_conn(struct http_conn *c)
{
	struct http_server *s = c->server;
	mutex_lock(&s->lock);
	DL_DELETE(s->conns, c);
	mutex_unlock(&s->lock);
	bool was_evicted = c->is_evicted;
	netpoll_close(c->pd);
	http_conn_free(c);
	mutex_lock(&s->lock);
	s->n_conns--;
	s->n_leaving -= was_evicted;
	mutex_unlock(&s->lock);
	wait_group_done(&s->serving);
	return NETPOLL_OVER;
}

static enum netpoll_next go_on(struct http_conn *c, bool in_thread)
{
	enum netpoll_next next = http_conn_step(c, in_thread);
	if (next == NETPOLL_OVER)
		return end_conn(c);
	netpoll_set_deadline(c->pd, c->wait_until_ns);
	return next;
}

/* netpoll_ops.step */
static enum netpoll_next step(void *arg)
{
	return go_on(arg, false);
}

/* netpoll_ops.run */
static enum netpoll_next run(void *arg)
{
	struct http_conn *c = arg;
	bool was_lent = c->is_lent;
	c->give_up_ns = 0;
	enum netpoll_next next = go_on(c, true);
	if (next != NETPOLL_OVER)
		c->is_lent = false;
	if (was_lent)
		atomic_store(&poller_is_lent, false);
	return next;
}

/*
 * Deleting a topic is what an operator may want when topics have used up all threads. So the poller
 * itself does it then: only one at a time, since the others are for everybody else.
 */
static bool lend_poller(struct http_conn *c)
{
	c->is_lent = http_conn_helps(c) && !atomic_exchange(&poller_is_lent, true);
	return c->is_lent;
}

/* Could it make room? in_thread: it must have a thread. */
static bool may_go(struct http_conn *c, bool in_thread)
{
	return !c->is_evicted && (!in_thread || http_is_in_thread(c));
}

/*
 * The connection with the least credit goes: it has been silent for longest, or moves next to
 * nothing. It is looked for among EVICT_AMONG at a time, as a poller must not take long. The lock
 * keeps its descriptor open. False: the handlers of all run, or the credit of all is more than
 * ahead_ns ahead of the clock, since they work.
 */
static bool evict_locked(struct http_server *s, bool in_thread, int64_t ahead_ns)
{
	mutex_assert_held(&s->lock);
	struct http_conn *first = s->conns, *worst = NULL;
	s->evicted_ns = clock_mono_ns();
	int64_t least = s->evicted_ns + ahead_ns;
	for (int i = 0; i < EVICT_AMONG && s->conns && (i == 0 || s->conns != first); i++) {
		struct http_conn *c = s->conns;
		int64_t credit = atomic_load_explicit(&c->credit_ns, memory_order_relaxed);
		if (credit <= least && may_go(c, in_thread)) {
			worst = c;
			least = credit;
		}
		DL_DELETE(s->conns, c);
		DL_APPEND(s->conns, c);
	}
	if (!worst)
		return false;
	worst->is_evicted = true;
	s->n_leaving++;
	worst->sock->ops->shutdown(worst->sock);
	return true;
}

/* Two for one: so what is too much becomes less. */
void http_begin_answer(struct http_server *s, size_t len)
{
	if (len < LARGE_ANSWER || atomic_fetch_add(&large_answers, len) + len <= LARGE_ANSWERS_MAX)
		return;
	mutex_lock(&s->lock);
	for (int i = 0; i < 2; i++)
		(void)evict_locked(s, true, -LARGE_STALL_NS);
	mutex_unlock(&s->lock);
}

void http_end_answer(size_t len)
{
	if (len >= LARGE_ANSWER)
		atomic_fetch_sub(&large_answers, len);
}

/* netpoll_ops.no_thread */
static enum netpoll_next no_thread(void *arg, const struct err *why)
{
	struct http_conn *c = arg;
	struct http_server *s = c->server;
	int64_t now = clock_mono_ns();
	(void)why;
	if (http_conn_can_do_without(c))
		return NETPOLL_YIELD;
	if (c->give_up_ns == 0)
		c->give_up_ns = now + THREAD_WAIT_NS;
	mutex_lock(&s->lock);
	if (s->n_leaving == 0)
		(void)evict_locked(s, true, HTTP_GRACE_NS);
	mutex_unlock(&s->lock);
	if (now < c->give_up_ns && !atomic_load(&s->stopping))
		return NETPOLL_WAIT;
	c->give_up_ns = 0;
	if (lend_poller(c))
		return NETPOLL_THREAD;
	return http_conn_refuse(c) ? NETPOLL_YIELD : end_conn(c);
}

static void thread_name(void *arg, char *out, size_t size)
{
	const struct http_conn *c = arg;
	char from[128];
	address_format(&c->remote, from, sizeof(from));
	snprintf(out, size, "%s:%s", c->server->tls ? "https" : "http", from);
}

static const struct netpoll_ops conn_ops = {
	.step = step, .run = run, .no_thread = no_thread, .thread_name = thread_name};

/* --- accepting ------------------------------------------------------------------------------- */

static bool is_full_locked(const struct http_server *s)
{
	mutex_assert_held(&s->lock);
	return s->n_conns >= s->max_conns + SPARE_CONNECTIONS;
}

/* tcp_handler.has_room. While no other goes, a new connection waits a little, and then is refused. */
static bool has_room(void *arg)
{
	struct http_server *s = arg;
	int64_t now = clock_mono_ns();
	mutex_lock(&s->lock);
	bool full = is_full_locked(s);
	if (full && s->n_leaving == 0)
		(void)evict_locked(s, false, HTTP_GRACE_NS);
	if (full && s->full_until_ns == 0)
		s->full_until_ns = now + ROOM_WAIT_NS;
	bool waits = full && now < s->full_until_ns;
	if (!waits)
		s->full_until_ns = 0;
	mutex_unlock(&s->lock);
	return !waits;
}

/*
 * tcp_handler.no_descriptors. Clients of the TCP port leave us some (keep_back). So our own
 * connections hold the others, however far they are from their limit.
 */
static bool no_descriptors(void *arg)
{
	struct http_server *s = arg;
	mutex_lock(&s->lock);
	bool leaving = s->n_leaving > 0 && clock_mono_ns() - s->evicted_ns < ROOM_WAIT_NS;
	if (!leaving)
		leaving = evict_locked(s, false, HTTP_GRACE_NS);
	mutex_unlock(&s->lock);
	return leaving;
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

/* tcp_handler.handle */
static void handle(void *arg, int fd, const union address *addr)
{
	struct http_server *s = arg;
	mutex_lock(&s->lock);
	bool full = is_full_locked(s);
	s->n_conns += !full;
	if (s->n_conns - s->n_leaving > s->max_conns)
		(void)evict_locked(s, false, HTTP_GRACE_NS);
	mutex_unlock(&s->lock);
	if (full) {
		refuse(s, fd);
		return;
	}
	struct http_conn *c = http_conn_new(s, fd, addr);
	wait_group_add(&s->serving);
	c->pd = netpoll_open(s->netpoll, fd, &conn_ops, c);
	mutex_lock(&s->lock);
	DL_APPEND(s->conns, c);
	mutex_unlock(&s->lock);
	netpoll_begin(c->pd);
}

/* tcp_handler.failed: as in stock, the daemon does not go on without a listener. */
static void failed(void *arg, const struct err *why)
{
	struct http_server *s = arg;
	nsqd_logf(s->daemon->ctx, LG_FATAL, "http.Serve() error - %s", why->msg);
	atomic_store(&s->daemon->ctx->main_failed, true);
	kill(getpid(), SIGTERM);
}

/* --- the server ------------------------------------------------------------------------------ */

/*
 * HTTP has a half, HTTPS a quarter, and the read-only one an eighth: all together leave descriptors
 * for the rest.
 */
static size_t connection_limit(size_t part)
{
	size_t n = (size_t)rlimit_nofile() / part, max = 2 * MAX_CONNECTIONS / part;
	n = n < max ? n : max;
	return n < MIN_CONNECTIONS ? MIN_CONNECTIONS : n;
}

/* One of the kind that proto says, with that part of the descriptors. */
static struct http_server *new_server(const struct http_daemon *daemon,
	const struct tcp_listener *take_l, const char *proto, size_t part)
{
	struct http_server *s = xcalloc(1, sizeof(*s));
	s->daemon = daemon;
	s->proto = proto;
	s->max_conns = connection_limit(part);
	s->listener = *take_l;
	const struct tcp_handler h = {.handle = handle,
		.has_room = has_room,
		.no_descriptors = no_descriptors,
		.failed = failed,
		.arg = s,
		.lg = &daemon->ctx->lg,
		.proto = s->proto};
	acceptor_init(&s->acceptor, &s->listener, &h);
	mutex_init(&s->lock, RANK_LEAF);
	wait_group_init(&s->serving);
	return s;
}

struct http_server *http_server_new(const struct http_daemon *daemon,
	const struct tcp_listener *take_l, struct tls_current *tls, bool tls_required)
{
	struct http_server *s = new_server(daemon, take_l, tls ? "HTTPS" : "HTTP", tls ? 4 : 2);
	s->tls = tls;
	s->tls_required = tls_required;
	return s;
}

struct http_server *http_server_new_readonly(
	const struct http_daemon *daemon, const struct tcp_listener *take_l)
{
	struct http_server *s = new_server(daemon, take_l, "HTTP (read-only)", 8);
	s->is_readonly = true;
	return s;
}

void http_server_start(struct http_server *s, struct netpoll *np)
{
	s->started = true;
	s->netpoll = np;
	acceptor_start(&s->acceptor, np);
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

void http_server_close(struct http_server *s)
{
	if (!s || !s->started)
		return;
	s->started = false;
	acceptor_stop(&s->acceptor);
	atomic_store(&s->stopping, true);
	end_connections(s, false);
	/* A client that connects now is refused at once. */
	tcp_listener_close(&s->listener);
	s->stop_at_ns = clock_mono_ns() + STOP_WAIT_NS;
}

void http_server_wait(struct http_server *s)
{
	if (!s || wait_group_wait_until(&s->serving, s->stop_at_ns))
		return;
	end_connections(s, true);
	wait_group_wait(&s->serving);
}

void http_server_free(struct http_server *s)
{
	if (!s)
		return;
	CHECK(s->n_conns == 0);
	acceptor_destroy(&s->acceptor);
	tcp_listener_close(&s->listener);
	wait_group_destroy(&s->serving);
	mutex_destroy(&s->lock);
	free(s);
}

size_t http_server_n_connections(struct http_server *s)
{
	if (!s)
		return 0;
	mutex_lock(&s->lock);
	size_t n = s->n_conns;
	mutex_unlock(&s->lock);
	return n;
}

int http_server_port(const struct http_server *s)
{
	return s->listener.port;
}
