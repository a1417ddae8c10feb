/* SPDX-License-Identifier: MIT */
/*
 * Fuzz target: the HTTP server with all its handlers. An input is what a client sends on one
 * connection. A byte 0xff in it says that the daemon takes steps before the rest comes.
 *
 * Flags:
 *    1  a thread takes all steps
 *    2  the log has all lines
 *    4  over the daemon's listener, and its pollers
 *    8  over HTTPS, without any handshake (fuzz_tls.c has those)
 *   16  there are a topic t and its channel c, with messages
 *   32  TLS is required
 *   64  clients must show a token
 *  128  the listener is the read-only one
 */
#include "test/fuzz/daemon.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/xalloc.h"
#include "nsqd/http/http_internal.h"
#include "nsqd/queue/channel.h"
#include "nsqd/queue/topic.h"
#include "test/fuzz/fuzz.h"

#define THREADED 1
#define LOGGED 2
#define LISTENER 4
#define HTTPS 8
#define HAS_TOPIC 16
#define TLS_ONLY 32
#define TOKENS 64
#define READONLY 128
#define MARK 0xff

static struct nsqd *nsqd;

static void use_tokens(struct options *o)
{
	static const char text[] = "reader-0123456789 read\npublisher-0123456789 publish\n"
				   "admin-0123456789abc admin\n";
	fuzz_write_file(fuzz_path("tokens"), (const uint8_t *)text, sizeof(text) - 1);
	free(o->http_auth_file);
	o->http_auth_file = xstrdup(fuzz_path("tokens"));
	CHECK(*o->http_auth_file == '/');
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	nsqd = daemon_start(
		&(struct daemon_options){.polls = true, .tls = true, .adjust = use_tokens});
	return 0;
}

static void make_topic(void)
{
	struct err err;
	struct topic *t = nsqd_get_topic(&nsqd->topics, "t", &err);
	CHECK(t);
	struct channel *c = topic_get_channel(t, "c", &err);
	CHECK(c);
	channel_unref(c);
	topic_unref(t);
}

/* The other end of a connection. */
struct peer {
	int fd;
	struct input rest;
	bool ended;    /* nothing more is sent */
	bool is_https; /* what comes is TLS */
	struct wait_group reading;
};

/* In a thread of its own: no answer is too long. If there is one it begins as HTTP does. */
static void read_answers(void *arg)
{
	static const char begin[] = "HTTP/1.";
	struct peer *p = arg;
	char first[sizeof(begin) - 1];
	ssize_t got = recv(p->fd, first, sizeof(first), MSG_WAITALL);
	if (got > 0 && !p->is_https)
		CHECK(got == sizeof(first) && memcmp(first, begin, sizeof(first)) == 0);
	daemon_read_to_end(p->fd);
}

static void peer_begin(struct peer *p, int fd, struct input in, bool is_https)
{
	struct err err;
	*p = (struct peer){.fd = fd, .rest = in, .is_https = is_https};
	wait_group_init(&p->reading);
	CHECK(wait_group_wrap(&p->reading, "reader", read_answers, p, &err) == 0);
}

static void peer_send_piece(struct peer *p)
{
	struct input piece = input_until(&p->rest, MARK);
	daemon_send(p->fd, piece.p, piece.n);
}

static void peer_send_rest(struct peer *p)
{
	while (p->rest.n > 0)
		peer_send_piece(p);
	if (!p->ended)
		shutdown(p->fd, SHUT_WR);
	p->ended = true;
}

/* When the daemon has closed its end. */
static void peer_end(struct peer *p)
{
	wait_group_wait(&p->reading);
	wait_group_destroy(&p->reading);
	close(p->fd);
}

/* A thread waits for input for a moment: so it has all there is. */
static void take_steps(struct http_conn *c, struct peer *p, bool in_thread)
{
	for (;;) {
		if (in_thread)
			peer_send_rest(p);
		enum netpoll_next next = http_conn_step(c, in_thread);
		if (next == NETPOLL_OVER)
			return;
		if (next == NETPOLL_THREAD || (next == NETPOLL_WAIT && p->ended))
			in_thread = true;
		else if (p->rest.n > 0)
			peer_send_piece(p);
		else
			peer_send_rest(p);
	}
}

static void run_connection(struct http_server *s, struct input in, bool threaded)
{
	struct peer p;
	int peer;
	struct http_conn *c = daemon_http_open(nsqd, s, &peer);
	peer_begin(&p, peer, in, s == nsqd->https_server);
	if (!threaded)
		peer_send_piece(&p);
	take_steps(c, &p, threaded);
	daemon_http_close(c);
	peer_end(&p);
}

static void run_listener(struct input in)
{
	struct peer p;
	peer_begin(&p, daemon_connect("http.sock"), in, false);
	peer_send_rest(&p);
	peer_end(&p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	uint8_t flags = input_byte(&in);
	if (in.n == 0)
		return 0;
	daemon_log_level(nsqd, flags & LOGGED ? LG_DEBUG : LG_FATAL);
	nsqd->http_server->tls_required = flags & TLS_ONLY;
	nsqd->http_server->is_readonly = flags & READONLY;
	/* No connection is left to look at it. */
	*atomic_load(&nsqd->ctx.opts)->http_auth_file = flags & TOKENS ? '/' : '\0';
	if (flags & HAS_TOPIC)
		make_topic();
	if (flags & LISTENER)
		run_listener(in);
	else
		run_connection(flags & HTTPS ? nsqd->https_server : nsqd->http_server, in,
			flags & THREADED);
	daemon_clear(nsqd);
	return 0;
}
