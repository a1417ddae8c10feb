/* SPDX-License-Identifier: MIT */
/*
 * Fuzz target: an address to listen on, and what accepting meets there. The first line of an input
 * is the address. Each byte behind it is what becomes of one accept4: 0 the client that waits, else
 * a failure. For each 0 a client connects, and one more.
 *
 * Flags:
 *    1  the address is the name of a unix socket in this target's directory
 *    2  an abandoned socket is there
 *    4  a plain file is there; with 2 another listener
 *    8  descriptors are few
 *   16  the server can free one
 *   32  at first it has no room
 *
 * All sockets of this process listen at the loopback, at a port that is free.
 */
#include "test/fuzz/fuzz.h"

#include <dlfcn.h>
#include <errno.h>
#include <netdb.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/gothread.h"
#include "common/lg.h"
#include "common/netpoll.h"
#include "common/xalloc.h"
#include "protocol/acceptor.h"
#include "protocol/listener.h"

#define IS_PATH 1
#define ABANDONED 2
#define PLAIN_FILE 4
#define OTHER_LISTENER (ABANDONED | PLAIN_FILE)
#define FEW 8
#define MAKES_ROOM 16
#define NO_ROOM 32

#define MAX_CLIENTS 4
#define PATIENCE (60 * NSEC_PER_SEC)
/* With so few descriptors each one is kept back: the standard ones are in use. */
#define FEW_DESCRIPTORS 8

static struct lg lg;
static struct netpoll *np;

/* --- what the system does ----------------------------------------------------------------------- */

/* What becomes of the next calls of accept4. A poller's, while the acceptor runs. */
static struct input script;
/* What the server says; the same. */
static struct answers {
	bool no_room;    /* the first time */
	bool makes_room; /* it frees a descriptor of its own */
} answers;
static _Atomic bool few;      /* descriptors */
static _Atomic int accepted;  /* clients that have waited */
static _Atomic bool hindered; /* a failure after which the acceptor waits, or ends */

/* Instead of libc's. */
int bind(int fd, const struct sockaddr *addr, socklen_t len)
{
	union address a = {0};
	memcpy(&a, addr, len < sizeof(a) ? len : sizeof(a));
	if (addr->sa_family == AF_INET) {
		a.in.sin_port = 0;
		a.in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	} else if (addr->sa_family == AF_INET6) {
		a.in6.sin6_port = 0;
		a.in6.sin6_addr = in6addr_loopback;
	}
	return (int)syscall(SYS_bind, fd, &a, len);
}

/* No name is looked up. */
int getaddrinfo(
	const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **res)
{
	int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
	struct addrinfo numeric = *hints;
	*(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
	numeric.ai_flags |= AI_NUMERICHOST;
	return real(node, service, &numeric, res);
}

int getrlimit(__rlimit_resource_t resource, struct rlimit *limit)
{
	if (resource == RLIMIT_NOFILE && atomic_load(&few)) {
		*limit = (struct rlimit){FEW_DESCRIPTORS, FEW_DESCRIPTORS};
		return 0;
	}
	return (int)syscall(SYS_prlimit64, 0, resource, NULL, limit);
}

int accept4(int fd, struct sockaddr *addr, socklen_t *len, int flags)
{
	static const int failures[] = {
		EINTR, ECONNABORTED, EMFILE, ENFILE, ENOBUFS, ENOMEM, EPROTO, EPERM, EBADF, EINVAL};
	uint8_t what = input_byte(&script);
	if (what != 0) {
		int code = failures[(what - 1) % (sizeof(failures) / sizeof(*failures))];
		bool makes_room = answers.makes_room && (code == EMFILE || code == ENFILE);
		if (code != EINTR && code != ECONNABORTED && !makes_room)
			atomic_store(&hindered, true);
		errno = code;
		return -1;
	}
	int got = (int)syscall(SYS_accept4, fd, addr, len, flags);
	if (got >= 0)
		atomic_fetch_add(&accepted, 1);
	return got;
}

/* --- the process -------------------------------------------------------------------------------- */

static void end(void)
{
	netpoll_stop(np);
	netpoll_free(np);
	gothread_drain();
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	struct err err;
	(void)argc;
	(void)argv;
	fuzz_process_init();
	(void)fuzz_dir(); /* it is removed after the pollers have ended */
	lg_init(&lg, STDERR_FILENO, "", LG_DEBUG);
	np = netpoll_new(&err);
	CHECK(np && netpoll_start(np, &err) == 0);
	atexit(end);
	return 0;
}

/* --- listening ---------------------------------------------------------------------------------- */

/* The address that the input names. *path: it is one of a file. The caller frees it. */
static char *address_of(struct input line, bool *path)
{
	char *name = input_string(line);
	if (!*path)
		return name;
	for (char *p = name; *p; p++)
		*p = *p == '/' ? '_' : *p;
	char *address = xasprintf("%s%s", fuzz_path("s"), name);
	free(name);
	*path = strrchr(address, ':') == NULL;
	return address;
}

static void leave_abandoned(const char *path)
{
	union address a = {.un = {.sun_family = AF_UNIX}};
	if (strlen(path) >= sizeof(a.un.sun_path))
		return;
	memcpy(a.un.sun_path, path, strlen(path));
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK(fd >= 0 && bind(fd, &a.sa, sizeof(a.un)) == 0);
	close(fd);
}

/* It listens as a daemon does. A path that nobody listens at is free; others are not touched. */
static bool listen_at(
	struct tcp_listener *l, const char *address, bool path, uint8_t what, struct err *err)
{
	struct stat before = {0}, after = {0};
	struct tcp_listener other = {.fd = -1};
	if (!path)
		what = 0;
	if (what == ABANDONED)
		leave_abandoned(address);
	else if (what == PLAIN_FILE &&
		 strlen(address) < sizeof(((struct sockaddr_un *)0)->sun_path))
		fuzz_write_file(address, "x", 1);
	else if (what == OTHER_LISTENER && tcp_listen(&other, address, err) != 0)
		what = 0;
	bool was = path && lstat(address, &before) == 0;
	/* Only such a one is a path of this target's, or none. */
	bool may_be_unix = path || *address == '@' || !*address;
	bool could = tcp_listen_check(address, may_be_unix, err) == 0;
	CHECK(could || *err->msg);
	bool listens = (may_be_unix ? tcp_listen(l, address, err)
				    : tcp_listen_no_unix(l, address, err)) == 0;
	CHECK(could || !listens); /* --check-config refuses nothing that works */
	if (was && what != ABANDONED)
		CHECK(!listens && lstat(address, &after) == 0 && before.st_ino == after.st_ino);
	tcp_listener_close(&other);
	return listens;
}

/* --- accepting ---------------------------------------------------------------------------------- */

static void handle(void *arg, int fd, const union address *addr)
{
	char text[128];
	(void)arg;
	address_format(addr, text, sizeof(text));
	CHECK(strlen(text) < sizeof(text));
	close(fd);
}

static bool has_room(void *arg)
{
	(void)arg;
	bool room = !answers.no_room;
	answers.no_room = false;
	return room;
}

static bool no_descriptors(void *arg)
{
	(void)arg;
	return answers.makes_room;
}

static void failed(void *arg, const struct err *why)
{
	(void)arg;
	CHECK(*why->msg);
}

static int connect_to(const struct tcp_listener *l)
{
	union address a = {0};
	socklen_t len = sizeof(a);
	CHECK(getsockname(l->fd, &a.sa, &len) == 0);
	int fd = socket(a.sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK(fd >= 0 && connect(fd, &a.sa, len) == 0);
	return fd;
}

static int clients_of(struct input in)
{
	int n = 1;
	for (size_t i = 0; i < in.n && n < MAX_CLIENTS; i++)
		n += in.p[i] == 0;
	return n;
}

/* All clients are accepted, unless something is in the way for longer. */
static void accept_clients(struct tcp_listener *l, uint8_t flags, struct input in)
{
	struct tcp_handler h = {
		.handle = handle,
		.has_room = has_room,
		.no_descriptors = no_descriptors,
		.failed = failed,
		.keep_back = 1,
		.lg = &lg,
		.proto = "TCP",
	};
	struct acceptor acceptor;
	int clients[MAX_CLIENTS], n = clients_of(in);
	int64_t end_ns = clock_mono_ns() + PATIENCE;
	script = in;
	answers = (struct answers){.no_room = flags & NO_ROOM, .makes_room = flags & MAKES_ROOM};
	atomic_store(&few, flags & FEW);
	atomic_store(&accepted, 0);
	atomic_store(&hindered, false);
	acceptor_init(&acceptor, l, &h);
	for (int i = 0; i < n; i++)
		clients[i] = connect_to(l);
	acceptor_start(&acceptor, np);
	while (atomic_load(&accepted) < n && !atomic_load(&hindered)) {
		CHECK(clock_mono_ns() < end_ns);
		usleep(50);
	}
	acceptor_stop(&acceptor);
	acceptor_destroy(&acceptor);
	atomic_store(&few, false);
	for (int i = 0; i < n; i++)
		close(clients[i]);
}

/* A service manager hands it over, and stays its owner. */
static void adopt(const struct tcp_listener *l)
{
	struct tcp_listener adopted;
	struct err err = {0};
	int fd = dup(l->fd);
	CHECK(fd >= 0 && tcp_listener_adopt(&adopted, fd, &err) == 0);
	CHECK(adopted.port == l->port && strcmp(adopted.addr, l->addr) == 0);
	tcp_listener_close(&adopted);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	struct tcp_listener l;
	struct err err = {0};
	struct stat st;
	uint8_t flags = input_byte(&in);
	bool path = flags & IS_PATH;
	char *address = address_of(input_until(&in, '\n'), &path);
	if (listen_at(&l, address, path, flags & OTHER_LISTENER, &err)) {
		CHECK(*l.addr && l.fd >= 0 && (l.port > 0 || l.port == -1));
		adopt(&l);
		accept_clients(&l, flags, in);
		tcp_listener_close(&l);
		CHECK(!path || lstat(address, &st) != 0);
	} else {
		CHECK(*err.msg && l.fd == -1);
	}
	tcp_listener_close(&l);
	free(address);
	fuzz_empty_dir(fuzz_dir());
	fuzz_check_resources();
	return 0;
}
