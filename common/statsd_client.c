/* SPDX-License-Identifier: MIT */
/*
 * Statsd lines in datagrams. Mirrors internal/statsd/client.go and internal/writers
 * (boundary_buffered_writer.go, spread_writer.go). Runs in the statsd thread.
 */
#include "common/statsd_client.h"

#include <errno.h>
#include <inttypes.h>
#include <netdb.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/ticker.h"
#include "common/xalloc.h"

void statsd_client_init(struct statsd_client *c, const char *prefix, int packet_size)
{
	*c = (struct statsd_client){
		.prefix = xstrdup(prefix),
		.packet_size = packet_size > 0 ? (size_t)packet_size : 4096,
	};
}

static void drop_datagrams(struct statsd_client *c)
{
	for (size_t i = 0; i < c->n; i++)
		strbuf_free(&c->datagrams[i]);
	free(c->datagrams);
	c->datagrams = NULL;
	c->n = 0;
}

void statsd_client_destroy(struct statsd_client *c)
{
	drop_datagrams(c);
	free(c->prefix);
	c->prefix = NULL;
}

static void send_stat(struct statsd_client *c, int64_t value, const char *type, const char *fmt,
	va_list ap) __attribute__((format(printf, 4, 0)));

/* BoundaryBufferedWriter.Write: never cuts a line; one that is too long goes alone. */
static void add_line(struct statsd_client *c, const struct strbuf *line)
{
	struct strbuf *last = c->n > 0 ? &c->datagrams[c->n - 1] : NULL;
	if (!last || last->len + line->len > c->packet_size) {
		c->datagrams = xreallocarray(c->datagrams, c->n + 1, sizeof(*c->datagrams));
		last = &c->datagrams[c->n++];
		*last = (struct strbuf)STRBUF_INIT;
	}
	strbuf_add(last, line->data, line->len);
}

static void send_stat(
	struct statsd_client *c, int64_t value, const char *type, const char *fmt, va_list ap)
{
	struct strbuf line = STRBUF_INIT;
	strbuf_adds(&line, c->prefix);
	strbuf_vaddf(&line, fmt, ap);
	strbuf_addf(&line, ":%" PRId64 "|%s\n", value, type);
	add_line(c, &line);
	strbuf_free(&line);
}

void statsd_client_incr(struct statsd_client *c, int64_t count, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	send_stat(c, count, "c", fmt, ap);
	va_end(ap);
}

void statsd_client_gauge(struct statsd_client *c, int64_t value, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	send_stat(c, value, "g", fmt, ap);
	va_end(ap);
}

/* Splits "host:port", "[v6]:port" or ":port" (this host); net.SplitHostPort. */
static int split_address(const char *address, char **host, char **port, struct err *err)
{
	const char *colon = strrchr(address, ':');
	if (!colon)
		return err_set(err, 0, "dial udp: address %s: missing port in address", address);
	size_t n = (size_t)(colon - address);
	if (n >= 2 && address[0] == '[' && address[n - 1] == ']')
		*host = xstrndup(address + 1, n - 2);
	else if (memchr(address, ':', n) != NULL)
		return err_set(err, 0, "dial udp: address %s: too many colons in address", address);
	else
		*host = xstrndup(address, n);
	*port = xstrdup(colon + 1);
	return 0;
}

static int connect_first(const struct addrinfo *list, const char *address, struct err *err)
{
	int code = EADDRNOTAVAIL;
	for (const struct addrinfo *ai = list; ai; ai = ai->ai_next) {
		int fd = socket(ai->ai_family, ai->ai_socktype | SOCK_CLOEXEC, ai->ai_protocol);
		if (fd >= 0 && connect(fd, ai->ai_addr, ai->ai_addrlen) == 0)
			return fd;
		code = errno;
		if (fd >= 0)
			close(fd);
	}
	return err_errno(err, code, "dial udp %s", address);
}

int statsd_client_dial(const char *address, struct err *err)
{
	struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_DGRAM}, *list;
	char *host = NULL, *port = NULL;
	if (split_address(address, &host, &port, err) != 0)
		return -1;
	int rc = getaddrinfo(host[0] != '\0' ? host : NULL, port, &hints, &list);
	int code = errno;
	free(host);
	free(port);
	if (rc == EAI_SYSTEM)
		return err_errno(err, code, "dial udp: lookup %s", address);
	if (rc != 0)
		return err_set(err, 0, "dial udp: lookup %s: %s", address, gai_strerror(rc));
	int fd = connect_first(list, address, err);
	freeaddrinfo(list);
	return fd;
}

/* select { case <-ticker.C: case <-exitCh: } */
static void wait_tick(struct ticker *t, struct chan *exit_chan)
{
	struct chan_case cases[] = {chan_case_tick(t), chan_case_recv(exit_chan, NULL)};
	chan_select(cases, 2);
}

size_t statsd_client_flush(struct statsd_client *c, int fd, int64_t interval_ns,
	struct chan *exit_chan, struct err *err)
{
	struct ticker ticker;
	size_t dropped = 0;
	if (c->n == 0) {
		ticker_after(&ticker, interval_ns);
		wait_tick(&ticker, exit_chan);
		return 0;
	}
	int64_t pause = interval_ns / (int64_t)c->n;
	if (pause > 0)
		ticker_start(&ticker, pause);
	for (size_t i = 0; i < c->n; i++) {
		const struct strbuf *d = &c->datagrams[i];
		if (send(fd, d->data, d->len, MSG_NOSIGNAL) < 0) {
			err_errno(err, errno, "send");
			dropped++;
		}
		if (pause > 0) /* stock panics on an interval of a second or less */
			wait_tick(&ticker, exit_chan);
	}
	drop_datagrams(c);
	return dropped;
}
