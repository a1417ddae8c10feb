/* SPDX-License-Identifier: MIT */
/*
 * Fuzz target: what other hosts answer. A server in this process answers each connection with the
 * input. The lowest two bits of the flags say which server it is:
 *    0  an nsqlookupd that the lookup loop talks to
 *    1  an nsqlookupd that is asked for a topic's channels over HTTP
 *    2  an auth server
 *    3  none: the input is an address to be dialled
 *
 * The other flags:
 *    4  the input is the whole answer over HTTP, else its body
 *    8  the auth server is asked by POST
 */
#include "test/fuzz/daemon.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/http_client.h"
#include "common/xalloc.h"
#include "nsqd/client/auth.h"
#include "nsqd/cluster/clusterinfo.h"
#include "nsqd/queue/channel.h"
#include "nsqd/queue/topic.h"
#include "test/fuzz/fuzz.h"

#define KIND 3
#define LOOKUPD 0
#define HTTP_LOOKUPD 1
#define AUTHD 2
#define ADDRESS 3
#define RAW 4
#define POST 8

#define PATIENCE (60 * NSEC_PER_SEC)
/* 127.255.255.255 */
#define INADDR_BROADCAST_LOOPBACK (INADDR_LOOPBACK | 0xffffff)

static struct nsqd *nsqd;
static char server_addr[32];
static uint16_t server_port;
static int listener;

/* --- nothing leaves this process ---------------------------------------------------------------- */

/* The address of the nsqlookupd of this input, and whether it has been dialled. */
static _Atomic uint32_t lookupd_ip;
static _Atomic bool dialled;

/* Instead of libc's: an answer may name any host. Each address of the loopback is the server's. */
int connect(int fd, const struct sockaddr *addr, socklen_t len)
{
	struct sockaddr_in in;
	if (addr->sa_family != AF_INET || len != sizeof(in)) {
		errno = ECONNREFUSED;
		return -1;
	}
	memcpy(&in, addr, sizeof(in));
	uint32_t ip = ntohl(in.sin_addr.s_addr);
	if (in.sin_port != htons(server_port) || ip >> 24 != IN_LOOPBACKNET) {
		errno = ECONNREFUSED;
		return -1;
	}
	in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	int rc = (int)syscall(SYS_connect, fd, &in, len);
	int code = errno;
	if (ip == atomic_load(&lookupd_ip))
		atomic_store(&dialled, true);
	errno = code;
	return rc;
}

int getaddrinfo(
	const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **res)
{
	(void)node;
	(void)service;
	(void)hints;
	(void)res;
	return EAI_NONAME;
}

/* --- the server --------------------------------------------------------------------------------- */

/* What it answers: written before the connection is made that it is for. Guarded by lock. */
static struct answer {
	char *text;
	size_t n;
	bool awaits_head; /* it is HTTP: the request comes first */
} answer;

/* Held while a connection is answered. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* Up to the end of a request's head. */
static void await_head(int fd)
{
	char buf[4096];
	size_t n = 0;
	ssize_t got;
	do {
		got = recv(fd, buf + n, sizeof(buf) - n, 0);
		n += got > 0 ? (size_t)got : 0;
	} while (got > 0 && n < sizeof(buf) && !memmem(buf, n, "\r\n\r\n", 4));
}

static void *serve(void *arg)
{
	(void)arg;
	for (;;) {
		int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		if (fd < 0)
			continue;
		pthread_mutex_lock(&lock);
		if (answer.awaits_head)
			await_head(fd);
		daemon_send(fd, answer.text, answer.n);
		shutdown(fd, SHUT_WR);
		daemon_read_to_end(fd);
		close(fd);
		pthread_mutex_unlock(&lock);
	}
	return NULL;
}

static void start_server(void)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(in);
	pthread_t thread;
	listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK(listener >= 0 && bind(listener, (struct sockaddr *)&in, len) == 0);
	CHECK(listen(listener, 64) == 0);
	CHECK(getsockname(listener, (struct sockaddr *)&in, &len) == 0);
	server_port = ntohs(in.sin_port);
	snprintf(server_addr, sizeof(server_addr), "127.0.0.1:%u", server_port);
	CHECK(pthread_create(&thread, NULL, serve, NULL) == 0);
	pthread_detach(thread);
}

static void adjust(struct options *o)
{
	strarray_add(&o->auth_http_addresses, server_addr);
	o->http_client_connect_timeout = NSEC_PER_SEC;
	o->http_client_request_timeout = NSEC_PER_SEC;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	struct err err;
	(void)argc;
	(void)argv;
	start_server();
	nsqd = daemon_start(&(struct daemon_options){.adjust = adjust});
	CHECK(wait_group_wrap(&nsqd->wait_group, "lookup", lookup_loop, &nsqd->lookup, &err) == 0);
	return 0;
}

/* --- asking ------------------------------------------------------------------------------------- */

static void set_answer(struct input in, bool http, bool raw)
{
	pthread_mutex_lock(&lock);
	free(answer.text);
	if (http && !raw) {
		char head[128];
		int n = snprintf(
			head, sizeof(head), "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", in.n);
		answer.text = xmalloc((size_t)n + in.n);
		memcpy(answer.text, head, (size_t)n);
		memcpy(answer.text + n, in.p, in.n);
		answer.n = (size_t)n + in.n;
	} else {
		answer.text = xmalloc(in.n + 1);
		memcpy(answer.text, in.p, in.n);
		answer.n = in.n;
	}
	answer.awaits_head = http;
	pthread_mutex_unlock(&lock);
}

/* PUT /config/nsqlookupd_tcp_addresses */
static void set_lookupds(const char *addr)
{
	struct strarray a = {0};
	if (addr)
		strarray_add(&a, addr);
	nsqd_config_take_lookupd(&nsqd->ctx.config, &a);
}

/* An nsqlookupd that the loop does not know yet, whatever it remembers of the last input. */
static void add_lookupd(void)
{
	static uint32_t ip = INADDR_LOOPBACK;
	char addr[32];
	int64_t end_ns = clock_mono_ns() + PATIENCE;
	ip = ip + 1 < INADDR_BROADCAST_LOOPBACK ? ip + 1 : INADDR_LOOPBACK + 1;
	snprintf(addr, sizeof(addr), "127.%u.%u.%u:%u", ip >> 16 & 255, ip >> 8 & 255, ip & 255,
		server_port);
	atomic_store(&dialled, false);
	atomic_store(&lookupd_ip, ip);
	set_lookupds(addr);
	while (!atomic_load(&dialled)) {
		CHECK(clock_mono_ns() < end_ns);
		usleep(100);
	}
}

/* The loop has taken all events. It tells of the last one before it looks at the options again. */
static void await_events(void)
{
	struct notify *n = &nsqd->ctx.notify;
	int64_t end_ns = clock_mono_ns() + PATIENCE;
	for (bool some = true; some;) {
		mutex_lock(&n->lock);
		some = n->events != NULL;
		mutex_unlock(&n->lock);
		CHECK(clock_mono_ns() < end_ns);
		if (some)
			usleep(100);
	}
}

/* The loop knows no address any more, so a new topic is prepared without asking anybody. */
static void await_no_lookupd(void)
{
	struct strarray addrs;
	size_t n;
	do {
		lookup_http_addrs(&nsqd->lookup, &addrs);
		n = addrs.n;
		strarray_free(&addrs);
		if (n > 0)
			usleep(100);
	} while (n > 0);
}

static struct topic *make_topic(void)
{
	struct err err;
	struct topic *t = nsqd_get_topic(&nsqd->topics, "t", &err);
	CHECK(t);
	return t;
}

static void make_channel(struct topic *t, const char *name)
{
	struct err err;
	struct channel *c = topic_get_channel(t, name, &err);
	CHECK(c);
	channel_unref(c);
}

/* A topic and a channel that are there, one that comes, and one that goes. */
static void talk_to_lookupd(struct topic *t)
{
	struct err err;
	make_channel(t, "c");
	add_lookupd();
	make_channel(t, "d");
	CHECK(topic_delete_existing_channel(t, "c", &err) == 0);
	await_events();
	set_lookupds(NULL);
	await_no_lookupd();
}

static void ask_for_channels(struct topic *t)
{
	struct lookup lookup;
	lookup_init(&lookup, &nsqd->topics);
	strarray_add(&lookup.http_addrs, server_addr);
	clusterinfo_precreate_channels(&lookup, t);
	lookup_destroy(&lookup);
}

static void ask_for_permission(void)
{
	struct auth_request request = {
		.remote_ip = "127.0.0.1", .common_name = "n", .secret = "s\xff ", .secret_len = 3};
	struct strbuf why = STRBUF_INIT;
	struct auth_state *s = auth_query_any(&nsqd->ctx, &request, &why);
	CHECK(s || why.len > 0);
	if (s)
		(void)auth_is_allowed(s, "t", "c");
	auth_state_free(s);
	strbuf_free(&why);
}

/* Nobody is there, wherever it is, but for the server of this process. */
static void dial(struct input in)
{
	char *address = input_string(in);
	struct err err = {0};
	int fd = http_client_dial(address, NSEC_PER_SEC, -1, &err);
	CHECK(fd >= 0 || *err.msg);
	if (fd >= 0)
		close(fd);
	free(address);
}

static void set_method(bool post)
{
	char **method = &atomic_load(&nsqd->ctx.opts)->auth_http_request_method;
	free(*method);
	*method = xstrdup(post ? "post" : "get");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	uint8_t flags = input_byte(&in), kind = flags & KIND;
	struct topic *t = make_topic();
	set_answer(in, kind != LOOKUPD, flags & RAW);
	set_method(flags & POST);
	if (kind == HTTP_LOOKUPD)
		ask_for_channels(t);
	else if (kind == ADDRESS)
		dial(in);
	else if (kind == AUTHD)
		ask_for_permission();
	else
		talk_to_lookupd(t);
	topic_unref(t);
	daemon_clear(nsqd);
	return 0;
}
