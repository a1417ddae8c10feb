/* SPDX-License-Identifier: MIT */
/*
 * A client's connection in protocol V2: handshake, input buffer, frames. Sockets are blocking.
 * Nothing may be silent for longer than STALL_S: a server that stops answering ends the run.
 */
#include "test/bench/bench.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { STALL_S = 30 };

static _Atomic bool end_expected;

void conn_expect_end(void)
{
	atomic_store(&end_expected, true);
}

/* The port is found by connect(), which knows the other end: those in TIME_WAIT there are free
 * elsewhere. */
static void bind_address(int fd, uint32_t source)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(source)};
	int one = 1;

	setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&sa, sizeof(sa)) != 0)
		die("bind: %s", strerror(errno));
}

void resolve_host(void)
{
	struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM}, *found;
	int rc = getaddrinfo(opt.host, NULL, &hints, &found);

	if (rc != 0)
		die("--host %s: %s", opt.host, gai_strerror(rc));
	opt.addr = ((struct sockaddr_in *)found->ai_addr)->sin_addr;
	freeaddrinfo(found);
}

int dial(int port)
{
	return dial_from(INADDR_ANY, port);
}

int dial_from(uint32_t source, int port)
{
	struct sockaddr_in sa = {
		.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr = opt.addr};
	struct timeval stall = {.tv_sec = STALL_S};
	int one = 1;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		die("socket: %s", strerror(errno));
	if (source != INADDR_ANY)
		bind_address(fd, source);
	if (connect(fd, (struct sockaddr *)&sa, sizeof(sa)) != 0)
		die("connect to %s:%d: %s", opt.host, port, strerror(errno));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &stall, sizeof(stall));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &stall, sizeof(stall));
	return fd;
}

/* A server that refuses a command says why, and closes. The reason can still be
 * read when sending to it has failed. */
static void send_failed(int fd, int error)
{
	if (atomic_load(&end_expected))
		return; /* which recv() will tell */
	char buf[4096];
	struct conn c = {.buf = buf, .cap = sizeof(buf)};
	struct frame f;
	ssize_t n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);
	size_t used = 0;

	c.have = n > 0 ? (size_t)n : 0;
	while (conn_frame(&c, &used, &f)) /* does not return from an error */
		;
	die("send: %s", strerror(error));
}

void send_all(int fd, const void *data, size_t len)
{
	const char *p = data;

	while (len > 0) {
		ssize_t n = send(fd, p, len, MSG_NOSIGNAL);
		if (n < 0) {
			if (errno == EINTR)
				continue;
			send_failed(fd, errno);
			return;
		}
		p += n;
		len -= (size_t)n;
	}
}

size_t put_command(char *out, const char *name, const char *topic, size_t size)
{
	int n = sprintf(out, "%s %s\n", name, topic);

	put_be32(out + n, (uint32_t)size);
	return (size_t)n + 4;
}

void conn_open(struct conn *c, int port, size_t cap)
{
	c->fd = dial(port);
	c->cap = cap;
	c->buf = xalloc(cap);
}

void conn_close(struct conn *c)
{
	if (c->stream)
		transport_close(c); /* and the descriptor */
	else
		close(c->fd);
	free(c->buf);
}

void conn_send(struct conn *c, const void *data, size_t len)
{
	if (c->stream)
		transport_send(c, data, len);
	else
		send_all(c->fd, data, len);
}

bool conn_recv_some(struct conn *c)
{
	ssize_t n;

	if (c->have == c->cap)
		die("an answer of %u bytes is too big for the input buffer", get_be32(c->buf));
	do
		n = c->stream != NULL ? transport_recv(c, c->buf + c->have, c->cap - c->have)
				      : recv(c->fd, c->buf + c->have, c->cap - c->have, 0);
	while (n < 0 && errno == EINTR);
	if (n < 0 && errno != EAGAIN && atomic_load(&end_expected))
		n = 0;
	if (n < 0)
		die(errno == EAGAIN ? "the server was silent for %d s" : "recv failed after %d s",
			STALL_S);
	c->input_at = now_ns();
	c->have += (size_t)n;
	return n > 0;
}

void conn_recv(struct conn *c)
{
	if (conn_recv_some(c))
		return;
	if (!atomic_load(&end_expected))
		die("the server closed the connection");
	c->done = true;
}

bool conn_frame(const struct conn *c, size_t *used, struct frame *f)
{
	const char *p = c->buf + *used;
	size_t have = c->have - *used;
	uint32_t size;

	if (have < 8)
		return false;
	size = get_be32(p);
	if (size < 4)
		die("a frame of size %u", size);
	if (have - 4 < size)
		return false;
	f->type = (int32_t)get_be32(p + 4);
	f->data = p + 8;
	f->len = size - 4;
	if (f->type == FRAME_ERROR && !atomic_load(&end_expected))
		die("the server says: %.*s", (int)f->len, f->data);
	*used += 4 + (size_t)size;
	return true;
}

void conn_consume(struct conn *c, size_t used)
{
	c->have -= used;
	if (c->have > 0 && used > 0)
		memmove(c->buf, c->buf + used, c->have);
}

bool frame_is(const struct frame *f, const char *text)
{
	return f->type == FRAME_RESPONSE && f->len == strlen(text) &&
	       memcmp(f->data, text, f->len) == 0;
}

void conn_expect_ok(struct conn *c, const char *what)
{
	struct frame f;
	size_t used = 0;

	while (!conn_frame(c, &used, &f))
		conn_recv(c);
	if (!frame_is(&f, "OK"))
		die("%s: the answer is not OK: %.*s", what, (int)f.len, f.data);
	conn_consume(c, used);
}

void conn_send_identify(struct conn *c, int heartbeat_ms)
{
	char json[512], out[640];
	size_t head;
	int n;

	n = snprintf(json, sizeof(json),
		"{\"client_id\":\"bench\",\"hostname\":\"bench\",\"user_agent\":\"nsq_bench\","
		"\"heartbeat_interval\":%d,\"output_buffer_size\":%d,"
		"\"output_buffer_timeout\":%d,\"msg_timeout\":%d",
		heartbeat_ms, opt.output_buffer_size, opt.output_buffer_timeout, opt.msg_timeout);
	n += transport_json(json + n, sizeof(json) - (size_t)n - 1);
	json[n++] = '}';
	head = (size_t)sprintf(out, "  V2IDENTIFY\n");
	put_be32(out + head, (uint32_t)n);
	memcpy(out + head + 4, json, (size_t)n);
	send_all(c->fd, out, head + 4 + (size_t)n);
}

void conn_identify(struct conn *c, int heartbeat_ms)
{
	conn_send_identify(c, heartbeat_ms);
	if (transport_is_plain())
		conn_expect_ok(c, "IDENTIFY");
	else
		transport_upgrade(c);
}

void numbered(char *out, size_t size, const char *name, int n, int i)
{
	if (n > 1)
		snprintf(out, size, "%s%d", name, i);
	else
		snprintf(out, size, "%s", name);
}

void conn_send_sub(struct conn *c, const char *topic, const char *channel)
{
	char out[160];
	int n = snprintf(out, sizeof(out), "SUB %s %s\n", topic, channel);

	conn_send(c, out, (size_t)n);
}

void conn_subscribe(struct conn *c, const char *topic, const char *channel)
{
	conn_send_sub(c, topic, channel);
	conn_expect_ok(c, "SUB");
}
