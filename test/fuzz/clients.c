/* SPDX-License-Identifier: MIT */
/* Clients whose steps a fuzz target takes: see clients.h. */
#include "test/fuzz/clients.h"

#include <sys/socket.h>
#include <unistd.h>

#include "common/bytes.h"
#include "common/json.h"
#include "nsqd/client/protocol_v2.h"
#include "nsqd/client/protocol_v2_pump.h"
#include "nsqd/client/tcp.h"
#include "nsqd/stats/stats.h"
#include "nsqd/stats/stats_print.h"
#include "protocol/frame.h"

/* The most that is sent in one go: nine bytes are answered by 60, and a socket takes 200,000. */
#define PART ((size_t)34 * 1024)

static const char placeholder[] = "@@@@@@@@@@@@@@@";

/* In a thread of its own. */
static void read_all(void *arg)
{
	daemon_read_to_end(((struct fuzz_client *)arg)->peer);
}

static void make_narrow(struct fuzz_client *c, int fd)
{
	struct err err;
	int least = 1;
	CHECK(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &least, sizeof(least)) == 0);
	wait_group_init(&c->reading);
	CHECK(wait_group_wrap(&c->reading, "reader", read_all, c, &err) == 0);
}

void fuzz_client_open(struct fuzz_client *c, struct nsqd *n, bool threaded, bool narrow)
{
	int fds[2];
	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
	int64_t id = atomic_fetch_add(&n->tcp_server->client_id_sequence, 1) + 1;
	*c = (struct fuzz_client){.peer = fds[1], .threaded = threaded, .narrow = narrow};
	if (narrow)
		make_narrow(c, fds[0]);
	c->client = client_v2_new(
		&n->tcp_server->protocol, id, stream_sock_new(fds[0]), "127.0.0.1:1234");
	c->client->stage = STAGE_COMMANDS;
	c->client->pd = netpoll_open(n->netpoll, fds[0], &daemon_no_ops, c);
}

/* go_on of tcp.c */
static enum netpoll_next take_step(struct fuzz_client *c, bool polled)
{
	struct client_v2 *client = c->client;
	enum netpoll_next next = NETPOLL_YIELD;
	if (polled)
		protocol_v2_retry_pump(client);
	client->polled = polled;
	if (client->stage == STAGE_COMMANDS)
		next = protocol_v2_io_loop(client);
	if (client->stage == STAGE_LEAVING)
		next = protocol_v2_leave(client);
	if (client->stage != STAGE_OVER)
		return next;
	netpoll_close(client->pd);
	client_v2_free(client);
	c->client = NULL;
	return NETPOLL_OVER;
}

bool fuzz_client_go_on(struct fuzz_client *c)
{
	bool polled = !c->threaded;
	while (c->client) {
		enum netpoll_next next = take_step(c, polled);
		/* Leaving, it waits for its pump: in a thread that has an end. And then for ours. */
		if (c->client && c->client->has_said_bye)
			(void)shutdown(c->peer, SHUT_WR);
		bool leaves = next == NETPOLL_WAIT && c->client->stage == STAGE_LEAVING;
		if (next == NETPOLL_WAIT && !leaves)
			return true;
		polled = next == NETPOLL_YIELD && !c->threaded;
	}
	return false;
}

/* --- our end ------------------------------------------------------------------------------------ */

/* The frames that have come whole; of messages the ids are kept. */
static void take_frames(struct fuzz_client *c)
{
	size_t at = 0;
	while (c->in_len - at >= FRAME_HEADER_LENGTH) {
		const unsigned char *p = c->in + at;
		size_t len = 4 + (size_t)get_be32(p), id_at = FRAME_HEADER_LENGTH + 8 + 2;
		c->opaque = len < FRAME_HEADER_LENGTH || len > sizeof(c->in);
		if (c->opaque || len > c->in_len - at)
			break;
		if (get_be32(p + 4) == FRAME_TYPE_MESSAGE && len >= id_at + MSG_ID_LENGTH)
			memcpy(c->ids[c->n_ids++ % CLIENT_IDS], p + id_at, MSG_ID_LENGTH);
		at += len;
	}
	memmove(c->in, c->in + at, c->in_len - at);
	c->in_len -= at;
}

static void receive(struct fuzz_client *c)
{
	ssize_t got;
	if (c->narrow)
		return;
	do {
		if (c->opaque || c->in_len == sizeof(c->in))
			c->in_len = 0;
		got = recv(c->peer, c->in + c->in_len, sizeof(c->in) - c->in_len, MSG_DONTWAIT);
		if (got > 0)
			c->in_len += (size_t)got;
		if (!c->opaque)
			take_frames(c);
	} while (got > 0);
}

static void set_ids(const struct fuzz_client *c, char *data, size_t n)
{
	size_t known = c->n_ids < CLIENT_IDS ? c->n_ids : CLIENT_IDS;
	char *p = data;
	if (known == 0)
		return;
	while ((p = memmem(p, n - (size_t)(p - data), placeholder, sizeof(placeholder) - 1))) {
		if (n - (size_t)(p - data) < MSG_ID_LENGTH)
			return;
		memcpy(p, c->ids[(unsigned char)p[MSG_ID_LENGTH - 1] % known], MSG_ID_LENGTH);
		p += MSG_ID_LENGTH;
	}
}

/* Is a handshake asked for? It would wait for more. */
static bool begins_tls(const char *data, size_t n)
{
	static const char name[] = "ls_v1";
	for (size_t i = 0; i + sizeof(name) - 1 <= n; i++) {
		if (strncasecmp(data + i, name, sizeof(name) - 1) == 0)
			return true;
	}
	return false;
}

void fuzz_client_send(struct fuzz_client *c, char *data, size_t n)
{
	if (!c->client)
		return;
	set_ids(c, data, n);
	/* In parts, whose answers find room in the socket: while the daemon writes, nothing is read. */
	do {
		size_t part = n < PART ? n : PART;
		ssize_t sent = send(c->peer, data, part, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (begins_tls(data, part))
			shutdown(c->peer, SHUT_WR);
		(void)fuzz_client_go_on(c);
		receive(c);
		if (sent < 0)
			return;
		data += sent;
		n -= (size_t)sent;
	} while (n > 0);
}

void fuzz_client_reset(struct fuzz_client *c)
{
	shutdown(c->peer, SHUT_RD);
}

void fuzz_client_end(struct fuzz_client *c)
{
	shutdown(c->peer, SHUT_WR);
	while (fuzz_client_go_on(c))
		receive(c);
	if (c->narrow) {
		wait_group_wait(&c->reading);
		wait_group_destroy(&c->reading);
	}
	close(c->peer);
}

static void print_stats(struct nsqd *n)
{
	struct strbuf out = STRBUF_INIT;
	struct stats stats;
	stats_get(&n->topics, n->tcp_server, NULL, NULL, &stats);
	struct stats_page page = {.stats = &stats, .health = "OK"};
	stats_print_json(&out, &page);
	CHECK(json_valid(out.data, out.len));
	strbuf_reset(&out);
	stats_print_text(&out, &page);
	stats_free(&stats);
	strbuf_free(&out);
}

/* The server knows it for this moment only. */
void fuzz_client_show(struct fuzz_client *c, struct nsqd *n)
{
	struct client_v2 *client = c->client;
	if (!client)
		return;
	HASH_ADD(hh_conns, n->tcp_server->conns, consumer.id, sizeof(client->consumer.id), client);
	print_stats(n);
	HASH_DELETE(hh_conns, n->tcp_server->conns, client);
}
