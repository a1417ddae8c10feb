/* SPDX-License-Identifier: MIT */
/*
 * The TCP side's handler. Mirrors nsqd/tcp.go. Runs in the thread of each connection ("io:ADDR"),
 * which becomes the client's io_loop.
 *
 * Difference: a connection has --client-timeout's 60 s to send its 4 bytes of magic; stock waits
 * for ever.
 */
#include "nsqd/client/tcp.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/xalloc.h"
#include "nsqd/client/client_consumer.h"
#include "nsqd/client/netpoll.h"
#include "nsqd/client/protocol_v2.h"
#include "nsqd/client/protocol_v2_send.h"
#include "protocol/frame.h"

/*
 * Descriptors that are for HTTP, and for files, when clients have all others: so that /ping is
 * answered, and that an operator can look.
 */
#define KEEP_BACK 64
/* How long clients have at exit to take their last answers. */
#define EXIT_GRACE NSEC_PER_SEC

/* What has come of the magic; MAGIC_AWAITED: the client is dormant until it comes. */
enum magic { MAGIC_GOOD, MAGIC_BAD, MAGIC_AWAITED };

/* A frame on a connection that is no client yet. */
static void send_bad_protocol(struct client_v2 *c)
{
	static const char text[] = "E_BAD_PROTOCOL";
	struct err ignored;
	(void)client_v2_send(c, FRAME_TYPE_ERROR, text, sizeof(text) - 1, true, &ignored);
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

/*
 * A connection that ends before it has said anything is a health check of a load balancer, of which
 * a line has told already; and that we end it is no error either.
 */
static void log_no_magic(struct client_v2 *c, enum bufio_result res, const struct err *err)
{
	if (res != BUFIO_EOF && err->code != ECONNRESET && !client_v2_is_closing(c))
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

/*
 * The client should initialize itself by sending a 4 byte sequence indicating the version of the
 * protocol that it intends to communicate, this will allow us to gracefully upgrade the protocol
 * away from text/line oriented to whatever...
 */
static enum magic read_magic(struct tcp_server *s, struct client_v2 *c)
{
	char magic[MAGIC_LENGTH];
	struct err err;
	enum bufio_result res;
	c->reader.timeout_ns = nsqd_get_opts(s->protocol.ctx)->client_timeout;
	c->reader.idle_ns = oldpoll_moment(s->protocol.netpoll);
	c->reader.whole_ns = WHOLE_NS;
	while ((res = bufio_read_full(&c->reader, magic, sizeof(magic), &err)) == BUFIO_IDLE) {
		client_v2_give_buffers_back(c);
		oldpoll_has_started(s->protocol.netpoll, c);
		c->dormancy.give_up_ns = 0;
		if (oldpoll_sleep(s->protocol.netpoll, c))
			return MAGIC_AWAITED;
	}
	if (res != BUFIO_OK) {
		log_no_magic(c, res, &err);
		return MAGIC_BAD;
	}
	c->has_magic = true;
	log_magic(c, LG_INFO, "CLIENT", ": desired protocol magic", magic);
	if (memcmp(magic, "  V2", MAGIC_LENGTH) == 0)
		return MAGIC_GOOD;
	send_bad_protocol(c);
	log_magic(c, LG_ERROR, "client", " bad protocol magic", magic);
	return MAGIC_BAD;
}

static void leave(struct tcp_server *s, struct client_v2 *c)
{
	oldpoll_has_started(s->protocol.netpoll, c);
	remove_conn(s, c);
	client_v2_free(c);
}

/* Runs the client until it ends, and frees it; or until it is dormant. */
static void run(struct tcp_server *s, struct client_v2 *c)
{
	struct err err;
	int rc = protocol_v2_io_loop(c, &err);
	if (rc > 0)
		return;
	if (rc != 0)
		nsqd_logf(s->protocol.ctx, LG_ERROR, "client(%s) - %s", c->remote_addr, err.msg);
	leave(s, c);
}

/* The thread of a client, from its beginning or from where it was. */
static void serve(struct tcp_server *s, struct client_v2 *c)
{
	enum magic magic = c->has_magic ? MAGIC_GOOD : read_magic(s, c);
	if (magic == MAGIC_GOOD)
		run(s, c);
	else if (magic == MAGIC_BAD)
		leave(s, c);
}

/* oldpoll_handlers.resume */
static void resume(void *arg)
{
	struct client_v2 *c = arg;
	serve(c->protocol->server, c);
}

static int64_t next_id(struct tcp_server *s)
{
	return atomic_fetch_add(&s->client_id_sequence, 1) + 1;
}

/* A new client in the list. NULL: no client is let in any more, and its connection is closed. */
static struct client_v2 *new_client(struct tcp_server *s, int fd, const char *remote_addr)
{
	nsqd_logf(s->protocol.ctx, LG_INFO, "TCP: new client(%s)", remote_addr);
	struct client_v2 *c =
		client_v2_new(&s->protocol, next_id(s), stream_sock_new(fd), remote_addr);
	if (add_conn(s, c))
		return c;
	client_v2_free(c);
	return NULL;
}

/* oldpoll_handlers.end */
static void end_dormant(struct client_v2 *c)
{
	if (c->has_magic)
		protocol_v2_end_dormant(c);
	leave(c->protocol->server, c);
}

/* tcpServer.Handle */
static void handle(void *arg, int fd, const char *remote_addr)
{
	struct client_v2 *c = new_client(arg, fd, remote_addr);
	if (c)
		serve(arg, c);
}

/* In the thread "tcp". */
static void no_thread(void *arg, int fd, const char *remote_addr, const struct err *why)
{
	struct tcp_server *s = arg;
	struct client_v2 *c = new_client(s, fd, remote_addr);
	if (c && !oldpoll_retry(s->protocol.netpoll, c, why))
		leave(s, c);
}

/* --- life ----------------------------------------------------------------------------------- */

static int init_loop(struct tcp_server *s, struct tcp_listener *l, struct err *err)
{
	struct accept_handler h = {.handle = handle,
		.no_thread = no_thread,
		.keep_back = KEEP_BACK,
		.arg = s,
		.lg = &s->protocol.ctx->lg};
	return accept_loop_init(&s->loop, l, &h, err);
}

struct tcp_server *tcp_server_new(struct context *ctx, struct topics *topics,
	const struct tls_config *tls_config, struct tcp_listener *l, struct err *err)
{
	static const struct oldpoll_handlers handlers = {
		.resume = resume,
		.end = end_dormant,
		.send_heartbeat = protocol_v2_send_heartbeat,
	};
	struct oldpoll *netpoll = oldpoll_new(ctx, &handlers, err);
	if (!netpoll)
		return NULL;
	struct tcp_server *s = xcalloc(1, sizeof(*s));
	s->protocol = (struct protocol_v2){
		.ctx = ctx,
		.topics = topics,
		.tls_config = tls_config,
		.netpoll = netpoll,
		.server = s,
		.consumer_ops = &client_consumer_ops,
	};
	rwlock_init(&s->lock, RANK_TCP_CONNS);
	wait_group_init(&s->wait_group);
	if (init_loop(s, l, err) == 0)
		return s;
	wait_group_destroy(&s->wait_group);
	rwlock_destroy(&s->lock);
	oldpoll_free(netpoll);
	free(s);
	return NULL;
}

void tcp_server_free(struct tcp_server *s)
{
	if (!s)
		return;
	accept_loop_destroy(&s->loop);
	oldpoll_free(s->protocol.netpoll);
	wait_group_destroy(&s->wait_group);
	rwlock_destroy(&s->lock);
	free(s);
}

/* The thread "tcp". A listener that fails ends the daemon, as main sees by the signal. */
static void tcp_loop(void *arg)
{
	struct tcp_server *s = arg;
	struct err err;
	if (accept_loop_run(&s->loop, &err) == 0)
		return;
	nsqd_logf(s->protocol.ctx, LG_FATAL, "%s", err.msg);
	atomic_store(&s->protocol.ctx->main_failed, true);
	kill(getpid(), SIGTERM);
}

int tcp_server_start(struct tcp_server *s, struct err *err)
{
	if (oldpoll_start(s->protocol.netpoll, err) != 0)
		return -1;
	return wait_group_wrap(&s->wait_group, "tcp", tcp_loop, s, err);
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

/* Have all of them gone before the deadline? Those that were dormant are netpoll's. */
static bool clients_have_left(struct tcp_server *s, int64_t deadline_ns)
{
	return wait_group_wait_until(&s->wait_group, deadline_ns) &&
	       oldpoll_stop_until(s->protocol.netpoll, deadline_ns);
}

void tcp_server_close(struct tcp_server *s)
{
	accept_loop_stop(&s->loop);
	close_clients(s);
	if (clients_have_left(s, clock_mono_ns() + EXIT_GRACE))
		return;
	tcp_server_each_client(s, abort_client, NULL);
	wait_group_wait(&s->wait_group);
	oldpoll_stop(s->protocol.netpoll);
}

/* --- for stats ------------------------------------------------------------------------------- */

void tcp_server_each_client(
	struct tcp_server *s, void (*fn)(struct client_v2 *c, void *arg), void *arg)
{
	struct client_v2 *c, *tmp;
	rwlock_rdlock(&s->lock);
	HASH_ITER (hh_conns, s->conns, c, tmp)
		fn(c, arg);
	rwlock_unlock(&s->lock);
}
