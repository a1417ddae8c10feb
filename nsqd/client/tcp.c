/* SPDX-License-Identifier: MIT */
/*
 * The TCP side's handler, and where its clients stand. Mirrors nsqd/tcp.go. The pollers run a
 * client's steps, or its own thread "io:ADDR" does (common/netpoll.h). For both it is the same
 * function, go_on, and the same stages:
 *
 *     ACCEPTED --> MAGIC --> COMMANDS --> LEAVING --> OVER (freed)
 *                    |                       ^
 *                    +-- bad magic, the end -+
 *
 * Where an error has ended a client, it is LEAVING until it has heard of that (protocol_v2_leave).
 *
 * Difference: a connection has --client-timeout's 60 s to send its 4 bytes of magic; stock waits
 * for ever.
 *
 * Lessons in docs/course/: 15-sockets, 18-netpoller, 22-project.
 */
#include "nsqd/client/tcp.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/xalloc.h"
#include "nsqd/client/client_consumer.h"
#include "nsqd/client/protocol_v2.h"
#include "nsqd/client/protocol_v2_pump.h"

/*
 * Descriptors that are for HTTP, and for files, when clients have all others: so that /ping is
 * answered, and that an operator can look.
 */
#define KEEP_BACK 64
/* How long clients have at exit to take their last answers. */
#define EXIT_GRACE NSEC_PER_SEC

/* A frame on a connection that is no client yet. */
static void send_bad_protocol(struct client_v2 *c)
{
	static const char frame[] = "\0\0\0\x12\0\0\0\1E_BAD_PROTOCOL";
	struct iovec part = {(void *)frame, sizeof(frame) - 1};
	struct err ignored;
	if (client_v2_answer(c, &part, 1, &ignored) == 0)
		(void)client_v2_flush_answers(c, &ignored);
}

/*
 * A client in the list when close_clients comes is disconnected by it; later ones are not let in.
 */
static bool add_conn(struct tcp_server *s, struct client_v2 *c)
{
	rwlock_wrlock(&s->lock);
	bool closing = s->closing;
	if (!closing)
		HASH_ADD(hh_conns, s->conns, consumer.id, sizeof(c->consumer.id), c);
	rwlock_unlock(&s->lock);
	return !closing;
}

static void remove_conn(struct tcp_server *s, struct client_v2 *c)
{
	rwlock_wrlock(&s->lock);
	HASH_DELETE(hh_conns, s->conns, c);
	rwlock_unlock(&s->lock);
}

/* Once, as soon as it comes; with --log-quiet-probes when it has said something. */
static void announce(struct client_v2 *c)
{
	if (!c->announced)
		nsqd_logf(c->ctx, LG_INFO, "TCP: new client(%s)", c->remote_addr);
	c->announced = true;
}

/*
 * A connection that ends before it has said anything is a health check of a load balancer, of which
 * a line has told already; and that we end it is no error either.
 */
static void log_no_magic(struct client_v2 *c, enum bufio_result res, const struct err *err)
{
	if (res == BUFIO_EOF || err->code == ECONNRESET || client_v2_is_closing(c))
		return;
	announce(c);
	nsqd_logf(c->ctx, LG_ERROR, "failed to read protocol version - %s", err->msg);
}

/* A line with the magic, which may hold any byte: "who(address)what 'magic'". */
static void log_magic(struct client_v2 *c, enum lg_level level, const char *who, const char *what,
	const char *magic)
{
	struct strbuf sb = STRBUF_INIT;
	strbuf_addf(&sb, "%s(%s)%s '", who, c->remote_addr, what);
	strbuf_add(&sb, magic, MAGIC_LENGTH);
	strbuf_addc(&sb, '\'');
	lg_log(&c->ctx->lg, level, sb.data, sb.len);
	strbuf_free(&sb);
}

/* Reads the magic without waiting. */
static enum bufio_result poll_magic(struct client_v2 *c, char magic[MAGIC_LENGTH], struct err *err)
{
	struct bufio_reader *b = &c->reader;
	enum bufio_result res = BUFIO_OK;
	protocol_v2_begin_step(c);
	while (bufio_buffered(b) < MAGIC_LENGTH && res == BUFIO_OK)
		res = bufio_read_more(b, err);
	if (res == BUFIO_OK)
		res = bufio_read_full(b, magic, MAGIC_LENGTH, err);
	else if (res == BUFIO_EOF)
		err_set(err, 0, bufio_buffered(b) > 0 ? "unexpected EOF" : "EOF");
	return res == BUFIO_EOF && bufio_buffered(b) > 0 ? BUFIO_ERR : res;
}

/*
 * The client should initialize itself by sending a 4 byte sequence indicating the version of the
 * protocol that it intends to communicate, this will allow us to gracefully upgrade the protocol
 * away from text/line oriented to whatever...
 */
static enum netpoll_next read_magic(struct client_v2 *c)
{
	char magic[MAGIC_LENGTH];
	struct err err;
	enum bufio_result res = poll_magic(c, magic, &err);
	if (res != BUFIO_OK)
		(void)bufio_poll_end(&c->reader);
	if (res == BUFIO_IDLE) {
		netpoll_set_deadline(c->pd, bufio_read_deadline(&c->reader));
		client_v2_give_buffers_back(c);
		return NETPOLL_WAIT;
	}
	c->stage = STAGE_LEAVING;
	if (res != BUFIO_OK) {
		log_no_magic(c, res, &err);
		return NETPOLL_YIELD;
	}
	announce(c);
	log_magic(c, LG_INFO, "CLIENT", ": desired protocol magic", magic);
	if (memcmp(magic, "  V2", MAGIC_LENGTH) == 0) {
		c->stage = STAGE_COMMANDS;
	} else {
		send_bad_protocol(c);
		log_magic(c, LG_ERROR, "client", " bad protocol magic", magic);
	}
	return NETPOLL_YIELD;
}

/* The first step. A client that has just connected has hardly ever sent something yet: it waits. */
static enum netpoll_next await_magic(struct client_v2 *c)
{
	c->reader.timeout_ns = nsqd_get_opts(c->ctx)->client_timeout;
	netpoll_set_deadline(c->pd, bufio_read_deadline(&c->reader));
	c->stage = STAGE_MAGIC;
	return NETPOLL_WAIT;
}

/* The client is over: freed. */
static enum netpoll_next end(struct client_v2 *c)
{
	struct tcp_server *s = c->protocol->server;
	remove_conn(s, c);
	netpoll_close(c->pd);
	client_v2_free(c);
	wait_group_done(&s->clients);
	return NETPOLL_OVER;
}

/* From stage to stage, as far as that goes without waiting; in a thread it waits as well. */
static enum netpoll_next go_on(struct client_v2 *c, bool polled)
{
	enum netpoll_next next = NETPOLL_YIELD;
	c->polled = polled;
	if (c->stage == STAGE_ACCEPTED)
		return await_magic(c);
	if (c->stage == STAGE_MAGIC)
		next = read_magic(c);
	if (c->stage == STAGE_COMMANDS)
		next = protocol_v2_io_loop(c);
	if (c->stage == STAGE_LEAVING)
		next = protocol_v2_leave(c);
	return c->stage == STAGE_OVER ? end(c) : next;
}

/* netpoll_ops.step */
static enum netpoll_next step(void *arg)
{
	struct client_v2 *c = arg;
	protocol_v2_retry_pump(c);
	return go_on(c, true);
}

/* netpoll_ops.run */
static enum netpoll_next run(void *arg)
{
	return go_on(arg, false);
}

/*
 * netpoll_ops.no_thread. The daemon's exit does not wait for threads: the connection has been shut
 * down by then, so it ends at once, also in a poller.
 */
static enum netpoll_next no_thread(void *arg, const struct err *why)
{
	struct client_v2 *c = arg;
	int64_t now = clock_mono_ns();
	if (context_is_exiting(c->ctx))
		return NETPOLL_THREAD;
	/*
	 * A thread may only have been better. Or the reason is gone by now: the topic is there, another
	 * thread does not write any more.
	 */
	c->does_without = true;
	enum netpoll_next next = go_on(c, true);
	if (next == NETPOLL_OVER)
		return next;
	c->does_without = false;
	if (next != NETPOLL_THREAD)
		return NETPOLL_YIELD;
	if (c->give_up_ns == 0)
		c->give_up_ns = now + THREAD_WAIT_NS;
	if (now < c->give_up_ns || c->stage == STAGE_LEAVING || c->put)
		return NETPOLL_WAIT;
	nsqd_logf(c->ctx, LG_ERROR, "TCP: closing client(%s), no thread for it - %s",
		c->remote_addr, why->msg);
	client_v2_abort(c);
	c->stage = STAGE_LEAVING;
	return NETPOLL_YIELD;
}

/* netpoll_ops.thread_name */
static void thread_name(void *arg, char *out, size_t size)
{
	snprintf(out, size, "io:%s", ((struct client_v2 *)arg)->remote_addr);
}

static const struct netpoll_ops client_ops = {
	.step = step, .run = run, .no_thread = no_thread, .thread_name = thread_name};

static int64_t next_id(struct tcp_server *s)
{
	return atomic_fetch_add(&s->client_id_sequence, 1) + 1;
}

/* tcpServer.Handle: a new client in the list, unless no client is let in any more. */
static void handle(void *arg, int fd, const union address *addr)
{
	struct tcp_server *s = arg;
	char remote_addr[128];
	address_format(addr, remote_addr, sizeof(remote_addr));
	struct client_v2 *c =
		client_v2_new(&s->protocol, next_id(s), stream_sock_new(fd), remote_addr);
	if (!nsqd_get_opts(c->ctx)->log_quiet_probes)
		announce(c);
	c->pd = netpoll_open(s->protocol.netpoll, fd, &client_ops, c);
	wait_group_add(&s->clients);
	if (add_conn(s, c)) {
		netpoll_begin(c->pd);
		return;
	}
	netpoll_close(c->pd);
	client_v2_free(c);
	wait_group_done(&s->clients);
}

/* tcp_handler.failed: it ends the daemon, as main sees by the signal. */
static void accept_failed(void *arg, const struct err *why)
{
	struct tcp_server *s = arg;
	nsqd_logf(s->protocol.ctx, LG_FATAL, "%s", why->msg);
	atomic_store(&s->protocol.ctx->main_failed, true);
	kill(getpid(), SIGTERM);
}

/* --- life ----------------------------------------------------------------------------------- */

struct tcp_server *tcp_server_new(struct context *ctx, struct topics *topics,
	struct tls_current *tls, struct tcp_listener *l, struct netpoll *np)
{
	struct tcp_server *s = xcalloc(1, sizeof(*s));
	struct tcp_handler h = {.handle = handle,
		.failed = accept_failed,
		.keep_back = KEEP_BACK,
		.arg = s,
		.lg = &ctx->lg,
		.proto = "TCP"};
	s->protocol = (struct protocol_v2){
		.ctx = ctx,
		.topics = topics,
		.tls = tls,
		.netpoll = np,
		.pump_threads = &s->pump_threads,
		.server = s,
		.consumer_ops = &client_consumer_ops,
	};
	rwlock_init(&s->lock, RANK_TCP_CONNS);
	wait_group_init(&s->clients);
	wait_group_init(&s->pump_threads);
	acceptor_init(&s->acceptor, l, &h);
	return s;
}

void tcp_server_free(struct tcp_server *s)
{
	if (!s)
		return;
	acceptor_destroy(&s->acceptor);
	wait_group_destroy(&s->clients);
	wait_group_destroy(&s->pump_threads);
	rwlock_destroy(&s->lock);
	free(s);
}

void tcp_server_start(struct tcp_server *s)
{
	acceptor_start(&s->acceptor, s->protocol.netpoll);
}

static void close_client(struct client_v2 *c, void *arg)
{
	(void)arg;
	client_v2_close(c);
}

static void abort_client(struct client_v2 *c, void *arg)
{
	(void)arg;
	client_v2_abort(c);
}

static void close_clients(struct tcp_server *s)
{
	rwlock_wrlock(&s->lock);
	s->closing = true;
	rwlock_unlock(&s->lock);
	tcp_server_each_client(s, close_client, NULL);
}

void tcp_server_close(struct tcp_server *s)
{
	acceptor_stop(&s->acceptor);
	close_clients(s);
	if (!wait_group_wait_until(&s->clients, clock_mono_ns() + EXIT_GRACE)) {
		tcp_server_each_client(s, abort_client, NULL);
		wait_group_wait(&s->clients);
	}
	wait_group_wait(&s->pump_threads);
}

/* --- for stats ------------------------------------------------------------------------------- */

size_t tcp_server_n_clients(struct tcp_server *s)
{
	rwlock_rdlock(&s->lock);
	size_t n = HASH_CNT(hh_conns, s->conns);
	rwlock_unlock(&s->lock);
	return n;
}

void tcp_server_each_client(
	struct tcp_server *s, void (*fn)(struct client_v2 *c, void *arg), void *arg)
{
	struct client_v2 *c, *tmp;
	rwlock_rdlock(&s->lock);
	HASH_ITER (hh_conns, s->conns, c, tmp)
		fn(c, arg);
	rwlock_unlock(&s->lock);
}
