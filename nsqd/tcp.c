/* SPDX-License-Identifier: MIT */
/*
 * The TCP side's handler. Mirrors nsqd/tcp.go. Runs in the thread of each
 * connection ("io:ADDR"), which becomes the client's io_loop.
 *
 * Difference: a connection has --client-timeout's 60 s to send its 4 bytes of
 * magic; stock waits for ever.
 */
#include "nsqd/tcp.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/xalloc.h"
#include "nsqd/client_v2.h"
#include "nsqd/nsqd.h"
#include "nsqd/protocol_v2.h"
#include "protocol/frame.h"

#define MAGIC_LENGTH 4
/*
 * Descriptors that are for HTTP, and for files, when clients have all others: so that /ping is
 * answered, and that an operator can look.
 */
#define KEEP_BACK 64

/* A frame on a connection that is no client yet. */
static void send_bad_protocol(struct client_v2 *c)
{
	static const char text[] = "E_BAD_PROTOCOL";
	struct err ignored;
	(void)client_v2_send(c, FRAME_TYPE_ERROR, text, sizeof(text) - 1, true, &ignored);
}

/*
 * Who is in the list when tcp_server_close comes is disconnected by it; who comes later is not let
 * in.
 */
static bool add_conn(struct tcp_server *s, struct client_v2 *c)
{
	rwlock_wrlock(&s->lock);
	bool closing = s->closing;
	if (!closing)
		HASH_ADD(hh_conns, s->conns, id, sizeof(c->id), c);
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
		nsqd_logf(c->nsqd, LG_ERROR, "failed to read protocol version - %s", err->msg);
}

/*
 * The client should initialize itself by sending a 4 byte sequence indicating
 * the version of the protocol that it intends to communicate, this will allow us
 * to gracefully upgrade the protocol away from text/line oriented to whatever...
 */
static bool read_magic(struct tcp_server *s, struct client_v2 *c)
{
	char magic[MAGIC_LENGTH];
	struct err err;
	c->reader.timeout_ns = nsqd_get_opts(s->nsqd)->client_timeout;
	enum bufio_result res = bufio_read_full(&c->reader, magic, sizeof(magic), &err);
	if (res != BUFIO_OK) {
		log_no_magic(c, res, &err);
		return false;
	}
	nsqd_logf(s->nsqd, LG_INFO, "CLIENT(%s): desired protocol magic '%.*s'", c->remote_addr,
		MAGIC_LENGTH, magic);
	if (memcmp(magic, "  V2", MAGIC_LENGTH) == 0)
		return true;
	send_bad_protocol(c);
	nsqd_logf(s->nsqd, LG_ERROR, "client(%s) bad protocol magic '%.*s'", c->remote_addr,
		MAGIC_LENGTH, magic);
	return false;
}

/* Runs the client until it ends, and frees it; or until it is parked. */
static void run(struct tcp_server *s, struct client_v2 *c)
{
	struct err err;
	int rc = protocol_v2_io_loop(c, &err);
	if (rc > 0)
		return;
	if (rc != 0)
		nsqd_logf(s->nsqd, LG_ERROR, "client(%s) - %s", c->remote_addr, err.msg);
	remove_conn(s, c);
	client_v2_free(c);
}

void tcp_server_resume(void *arg)
{
	struct client_v2 *c = arg;
	run(c->nsqd->tcp_server, c);
}

void tcp_server_end_parked(struct client_v2 *c)
{
	protocol_v2_end_parked(c);
	remove_conn(c->nsqd->tcp_server, c);
	client_v2_free(c);
}

/* tcpServer.Handle */
static void handle(void *arg, int fd, const char *remote_addr)
{
	struct tcp_server *s = arg;
	nsqd_logf(s->nsqd, LG_INFO, "TCP: new client(%s)", remote_addr);

	struct client_v2 *c = client_v2_new(s->nsqd, stream_sock_new(fd), remote_addr);
	bool added = add_conn(s, c);
	if (added && read_magic(s, c)) {
		run(s, c);
		return;
	}
	if (added)
		remove_conn(s, c);
	client_v2_free(c);
}

struct tcp_server *tcp_server_new(struct nsqd *n, struct tcp_listener *l, struct err *err)
{
	struct tcp_server *s = xcalloc(1, sizeof(*s));
	struct tcp_handler h = {.handle = handle, .keep_back = KEEP_BACK, .arg = s, .lg = &n->lg};
	s->nsqd = n;
	rwlock_init(&s->lock, RANK_TCP_CONNS);
	if (tcp_server_init(&s->loop, l, &h, err) != 0) {
		rwlock_destroy(&s->lock);
		free(s);
		return NULL;
	}
	return s;
}

void tcp_server_free(struct tcp_server *s)
{
	if (!s)
		return;
	tcp_server_destroy(&s->loop);
	rwlock_destroy(&s->lock);
	free(s);
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

void tcp_server_abort(struct tcp_server *s)
{
	tcp_server_each_client(s, abort_client, NULL);
}

void tcp_server_close(struct tcp_server *s)
{
	rwlock_wrlock(&s->lock);
	s->closing = true;
	rwlock_unlock(&s->lock);
	tcp_server_each_client(s, close_client, NULL);
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
