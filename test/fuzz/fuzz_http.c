/* SPDX-License-Identifier: MIT */
/*
 * Fuzz target: the HTTP server with all its handlers. An input is what a client sends on one
 * connection. A byte 0xff in it says that the daemon takes steps before the rest comes. If the rest
 * begins with 0xfe, a consumer of the channel c of t comes before, and takes up to two messages; with
 * 0xfd what is under way in t, and in dead, reaches its channel c. Each "@@@@@@@@@@@@@@@N" (N: any
 * byte) is the id of a message of c, if there are any: in flight, deferred, or waiting.
 *
 * Flags:
 *    1  a thread takes all steps
 *    2  the log has all lines
 *    4  over the daemon's listener, and its pollers
 *    8  over HTTPS, without any handshake (fuzz_tls.c has those)
 *   16  there are a topic t and its channel c, whose names inputs know
 *   32  TLS is required
 *   64  clients must show a token
 *  128  the listener is the read-only one
 */
#include "test/fuzz/daemon.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/xalloc.h"
#include "nsqd/http/http_internal.h"
#include "nsqd/queue/channel.h"
#include "nsqd/queue/channel_inspect.h"
#include "nsqd/queue/topic.h"
#include "test/fuzz/clients.h"
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
#define CONSUMER 0xfe
#define ARRIVE 0xfd
/* What comes soon if it comes at all. */
#define PATIENCE (10 * NSEC_PER_MSEC)
#define IDS 8

static struct nsqd *nsqd;
static struct fuzz_client consumer; /* of the channel c; peer is -1: there is none */

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
	consumer.peer = -1;
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

/* --- the channel ------------------------------------------------------------------------------- */

/* The channel c of a topic. NULL: there is none; else a reference. */
static struct channel *channel_of(const char *topic)
{
	struct topic *t = nsqd_get_existing_topic(&nsqd->topics, topic);
	struct channel *c = t ? topic_get_existing_channel(t, "c") : NULL;
	topic_unref(t);
	return c;
}

/* What was published in the topic is on its way to c no more, or does not get there. */
static void arrive_in(const char *topic)
{
	int64_t end = clock_mono_ns() + PATIENCE;
	struct channel *c = channel_of(topic);
	while (c && topic_depth(c->topic) > 0 && clock_mono_ns() < end)
		usleep(100);
	/* The pump has the last ones in its hand for a moment. */
	if (c)
		usleep(200);
	channel_unref(c);
}

/* The dead letters of t are in the topic dead, if inputs say so. */
static void arrive(void)
{
	arrive_in("t");
	arrive_in("dead");
}

/* What c gives up has left it, too. */
static void consume(void)
{
	char first[] = "SUB t c\nRDY 2\n", more[] = "RDY 2\n";
	bool is_new = consumer.peer < 0;
	arrive();
	if (is_new)
		fuzz_client_open(&consumer, nsqd, false, false);
	fuzz_client_send(&consumer, is_new ? first : more, strlen(is_new ? first : more));
	struct channel *c = channel_of("t");
	int64_t end = clock_mono_ns() + PATIENCE;
	while (c && channel_depth(c) > 0 && channel_in_flight_count(c) == 0 &&
		clock_mono_ns() < end)
		usleep(100);
	channel_unref(c);
	(void)fuzz_client_go_on(&consumer);
}

static void end_consumer(void)
{
	if (consumer.peer >= 0)
		fuzz_client_end(&consumer);
	consumer.peer = -1;
}

/* Up to IDS messages of c. */
static size_t find_ids(struct message_id ids[IDS])
{
	static const enum channel_state states[] = {
		CHANNEL_IN_FLIGHT, CHANNEL_DEFERRED, CHANNEL_READY};
	struct message_views seen;
	struct err ignored;
	struct channel *c = channel_of("t");
	message_views_init(&seen, IDS, 0);
	for (size_t i = 0; c && i < 3; i++)
		(void)channel_peek(c, states[i], true, true, &seen, &ignored);
	size_t n = seen.n;
	for (size_t i = 0; i < n; i++)
		ids[i] = seen.v[i].id;
	message_views_free(&seen);
	channel_unref(c);
	return n;
}

static void set_ids(char *data, size_t n)
{
	static const char placeholder[] = "@@@@@@@@@@@@@@@";
	struct message_id ids[IDS];
	char *p = memmem(data, n, placeholder, sizeof(placeholder) - 1);
	size_t known = p ? find_ids(ids) : 0;
	while (p && known > 0 && (size_t)(data + n - p) >= MSG_ID_LENGTH) {
		memcpy(p, ids[(unsigned char)p[MSG_ID_LENGTH - 1] % known].hex, MSG_ID_LENGTH);
		p += MSG_ID_LENGTH;
		p = memmem(p, (size_t)(data + n - p), placeholder, sizeof(placeholder) - 1);
	}
}

/* --- connections -------------------------------------------------------------------------------- */

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
	uint8_t first = piece.n > 0 ? *piece.p : 0;
	if (first == CONSUMER || first == ARRIVE)
		(void)input_byte(&piece);
	if (first == CONSUMER)
		consume();
	else if (first == ARRIVE)
		arrive();
	char *data = xmalloc(piece.n + 1);
	memcpy(data, piece.p, piece.n);
	set_ids(data, piece.n);
	daemon_send(p->fd, data, piece.n);
	free(data);
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

/*
 * A thread waits for input for a moment. So a connection that has one for good has all there is; else
 * the thread is a poller's, and does not wait. In a handshake it does, for seconds.
 */
static void take_steps(struct http_conn *c, struct peer *p, bool threaded)
{
	bool in_thread = threaded;
	if (threaded)
		peer_send_rest(p);
	for (;;) {
		c->is_lent = !p->ended;
		enum netpoll_next next = http_conn_step(c, in_thread);
		if (next == NETPOLL_OVER)
			return;
		in_thread = threaded || next == NETPOLL_THREAD || p->ended;
		if (next == NETPOLL_THREAD && !p->is_https)
			continue;
		if (next != NETPOLL_THREAD && p->rest.n > 0)
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
	end_consumer();
	daemon_clear(nsqd);
	return 0;
}
