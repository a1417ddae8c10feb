/* SPDX-License-Identifier: MIT */
/* The daemon of a fuzz target: see daemon.h. Runs in the target's thread, "main". */
#include "test/fuzz/daemon.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/gothread.h"
#include "common/xalloc.h"
#include "nsqd/client/tcp.h"
#include "nsqd/http/http_internal.h"
#include "nsqd/http/http_server.h"
#include "nsqd/queue/queue_scan.h"
#include "nsqd/queue/topic.h"
#include "test/fuzz/certificate.h"
#include "test/fuzz/fuzz.h"

/* While a topic goes, its last dead letter may make another one: in an input some topics have names. */
#define CLEAR_ROUNDS 100

static struct nsqd *the_daemon;

static void set(char **option, const char *value)
{
	free(*option);
	*option = xstrdup(value);
}

/* Small limits: what an input can do is bounded, and so are the times that it takes. */
static struct options *make_options(const struct daemon_options *d)
{
	struct options *o = options_new();
	set(&o->tcp_address, d->polls ? fuzz_path("tcp.sock") : "");
	set(&o->http_address, d->polls ? fuzz_path("http.sock") : "");
	set(&o->https_address, d->polls && d->tls ? "127.0.0.1:0" : "");
	set(&o->http_readonly_address, d->polls ? fuzz_path("readonly.sock") : "");
	set(&o->data_path, fuzz_dir());
	set(&o->broadcast_address, "127.0.0.1");
	o->log_level = LG_FATAL;
	o->mem_queue_size = 4;
	o->max_msg_size = 32768;
	o->max_body_size = 65536;
	o->max_bytes_per_file = 4096;
	o->msg_timeout = o->max_msg_timeout = 60 * NSEC_PER_SEC;
	if (d->tls) {
		certificate_write(fuzz_path("cert.pem"), fuzz_path("key.pem"), false);
		set(&o->tls_cert, fuzz_path("cert.pem"));
		set(&o->tls_key, fuzz_path("key.pem"));
		o->tls_min_version = 0x0301;
	}
	if (d->adjust)
		d->adjust(o);
	return o;
}

/* Its memory is freed, so that what is left is a leak. */
static void end(void)
{
	nsqd_exit(the_daemon);
	nsqd_free(the_daemon);
	gothread_drain();
}

/* With its first worker: what is there before the first input is not left behind by one. */
static void start_scan(struct nsqd *n)
{
	struct err err;
	size_t before = gothread_count();
	CHECK(wait_group_wrap(&n->wait_group, "scan", nsqd_queue_scan_loop, &n->topics, &err) == 0);
	while (gothread_count() < before + 2)
		usleep(100);
}

struct nsqd *daemon_start(const struct daemon_options *d)
{
	struct err err = {0};
	fuzz_process_init();
	(void)fuzz_dir(); /* it is removed after the daemon has ended */
	struct nsqd *n = the_daemon = nsqd_new(make_options(d), NULL, &err);
	if (!n) {
		fprintf(stderr, "%s\n", err.msg);
		abort();
	}
	atexit(end);
	CHECK(settings_store_load(
		      &n->ctx.settings, nsqd_data_path(&n->ctx), n->ctx.data_dir_fd, &err) == 0);
	if (!d->polls)
		return n;
	CHECK(netpoll_start(n->netpoll, &err) == 0);
	start_scan(n);
	tcp_server_start(n->tcp_server);
	http_server_start(n->http_server, n->netpoll);
	if (n->https_server)
		http_server_start(n->https_server, n->netpoll);
	return n;
}

void daemon_log_level(struct nsqd *n, enum lg_level level)
{
	atomic_store(&n->ctx.lg.level, (int)level);
}

void daemon_clear(struct nsqd *n)
{
	size_t count;
	struct err err;
	wait_group_wait(&n->tcp_server->clients);
	CHECK(drain_request(&n->ctx.drain, false));
	for (int round = 0;; round++) {
		struct topic **topics = nsqd_topics(&n->topics, &count);
		CHECK(count == 0 || round < CLEAR_ROUNDS);
		for (size_t i = 0; i < count; i++) {
			CHECK(nsqd_delete_topic(&n->topics, topics[i], &err) == 0);
			topic_unref(topics[i]);
		}
		free(topics);
		if (count == 0)
			break;
	}
	wait_group_wait(&n->tcp_server->pump_threads);
	CHECK(n->tcp_server->conns == NULL);
	fuzz_check_resources();
}

/* --- connections whose steps the target takes --------------------------------------------------- */

static enum netpoll_next no_step(void *arg)
{
	(void)arg;
	return NETPOLL_WAIT;
}

const struct netpoll_ops daemon_no_ops = {.step = no_step, .run = no_step};

struct http_conn *daemon_http_open(struct nsqd *n, struct http_server *s, int *peer)
{
	static const union address from = {.in = {.sin_family = AF_INET}};
	int fds[2];
	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
	struct http_conn *c = http_conn_new(s, fds[0], &from);
	c->pd = netpoll_open(n->netpoll, fds[0], &daemon_no_ops, c);
	*peer = fds[1];
	return c;
}

void daemon_http_close(struct http_conn *c)
{
	netpoll_close(c->pd);
	http_conn_free(c);
}

/* --- from outside ------------------------------------------------------------------------------- */

int daemon_connect(const char *name)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK(fd >= 0);
	snprintf(un.sun_path, sizeof(un.sun_path), "%s", fuzz_path(name));
	CHECK(connect(fd, (struct sockaddr *)&un, sizeof(un)) == 0);
	return fd;
}

void daemon_send(int fd, const void *data, size_t n)
{
	const char *p = data;
	while (n > 0) {
		ssize_t sent = send(fd, p, n, MSG_NOSIGNAL);
		if (sent < 0 && errno == EINTR)
			continue;
		if (sent <= 0)
			return;
		p += sent;
		n -= (size_t)sent;
	}
}

void daemon_read_to_end(int fd)
{
	char buf[16384];
	ssize_t got;
	do
		got = recv(fd, buf, sizeof(buf), 0);
	while (got > 0 || (got < 0 && errno == EINTR));
}
