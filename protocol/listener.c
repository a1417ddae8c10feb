/* SPDX-License-Identifier: MIT */
/*
 * Listening sockets, and how addresses are written. Mirrors net.Listen and the Addr types of Go's
 * net package, and internal/util/unix_socket.go. Threads: main listens; any thread formats
 * addresses.
 *
 * Different from Go: a socket file that a crash left behind is replaced. Go says that the address
 * is in use until an operator removes the file.
 */
#include "protocol/listener.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netdb.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/address.h"
#include "common/check.h"
#include "common/xalloc.h"

/* --- addresses -------------------------------------------------------------------------------- */

/* Shows a v4 address of a v6 socket as v4, and a link-local address with its interface. */
static void format_v6(const struct sockaddr_in6 *a, char *out, size_t size)
{
	char host[INET6_ADDRSTRLEN], zone[IF_NAMESIZE + 1] = "";
	if (IN6_IS_ADDR_V4MAPPED(&a->sin6_addr)) {
		inet_ntop(AF_INET, &a->sin6_addr.s6_addr[12], host, sizeof(host));
		snprintf(out, size, "%s:%d", host, ntohs(a->sin6_port));
		return;
	}
	inet_ntop(AF_INET6, &a->sin6_addr, host, sizeof(host));
	if (a->sin6_scope_id) {
		zone[0] = '%';
		if (!if_indextoname(a->sin6_scope_id, zone + 1))
			snprintf(zone + 1, sizeof(zone) - 1, "%u", a->sin6_scope_id);
	}
	snprintf(out, size, "[%s%s]:%d", host, zone, ntohs(a->sin6_port));
}

/* The name of an abstract socket begins with a zero, which Go shows as "@". */
static void format_unix(const struct sockaddr_un *a, char *out, size_t size)
{
	const char *name = a->sun_path;
	int max = (int)sizeof(a->sun_path);
	if (*name)
		snprintf(out, size, "%.*s", max, name);
	else
		snprintf(out, size, "@%.*s", max - 1, name + 1);
}

void address_format(const union address *a, char *out, size_t size)
{
	char host[INET_ADDRSTRLEN];
	switch (a->sa.sa_family) {
	case AF_INET:
		inet_ntop(AF_INET, &a->in.sin_addr, host, sizeof(host));
		snprintf(out, size, "%s:%d", host, ntohs(a->in.sin_port));
		return;
	case AF_INET6:
		format_v6(&a->in6, out, size);
		return;
	default:
		format_unix(&a->un, out, size);
	}
}

/* --- TCP -------------------------------------------------------------------------------------- */

static int bind_socket(int fd, const struct sockaddr *sa, socklen_t len, const char *net,
	const char *shown, struct err *err)
{
	int on = 1;
	/* Non-blocking, since a connection may be gone again between poll and accept. */
	int flags = fcntl(fd, F_GETFL);
	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0)
		return err_errno(err, errno, "listen %s %s: fcntl", net, shown);
	/* A restart must not wait for the TIME_WAIT of old connections. No effect on unix. */
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, sa, len) != 0)
		return err_errno(err, errno, "listen %s %s: bind", net, shown);
	return 0;
}

static int listen_on(int fd, const char *net, const char *shown, struct err *err)
{
	if (listen(fd, SOMAXCONN) != 0)
		return err_errno(err, errno, "listen %s %s: listen", net, shown);
	return 0;
}

static int bind_and_listen(
	int fd, const struct sockaddr *sa, socklen_t len, const char *shown, struct err *err)
{
	if (bind_socket(fd, sa, len, "tcp", shown, err) != 0)
		return -1;
	return listen_on(fd, "tcp", shown, err);
}

/*
 * In Go the wildcard (an empty host, 0.0.0.0, or :: in any spelling) means both families: one v6
 * socket that takes v4 as well. Without v6 in the kernel it is v4.
 */
static bool is_wildcard(const char *host)
{
	struct in6_addr v6;
	if (!*host || strcmp(host, "0.0.0.0") == 0)
		return true;
	if (inet_pton(AF_INET6, host, &v6) != 1)
		return false;
	static const struct in6_addr mapped = {.s6_addr = {[10] = 0xff, [11] = 0xff}};
	return IN6_IS_ADDR_UNSPECIFIED(&v6) || memcmp(&v6, &mapped, sizeof(v6)) == 0;
}

static int listen_wildcard(const char *host, uint16_t port, struct err *err)
{
	union address a = {.in6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)}};
	char shown[64];
	/* Go shows a wildcard that was spelled out as that of v4. */
	snprintf(shown, sizeof(shown), "%s:%d", *host ? "0.0.0.0" : "", port);
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0) {
		int off = 0;
		(void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
		if (bind_and_listen(fd, &a.sa, sizeof(a.in6), shown, err) == 0)
			return fd;
		close(fd);
		if (err->code != EADDRNOTAVAIL && err->code != EAFNOSUPPORT)
			return -1;
	}
	a = (union address){.in = {.sin_family = AF_INET, .sin_port = htons(port)}};
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_errno(err, errno, "listen tcp %s: socket", shown);
	if (bind_and_listen(fd, &a.sa, sizeof(a.in), shown, err) != 0) {
		close(fd);
		return -1;
	}
	return fd;
}

static int look_up_host(const char *host, uint16_t port, struct addrinfo **res, struct err *err)
{
	struct addrinfo hints = {
		.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV | AI_PASSIVE};
	char number[8];
	snprintf(number, sizeof(number), "%d", port);
	int rc = getaddrinfo(host, number, &hints, res);
	if (rc == EAI_SYSTEM)
		return err_errno(err, errno, "listen tcp: lookup %s", host);
	if (rc != 0)
		return err_set(err, 0, "listen tcp: lookup %s: %s", host,
			rc == EAI_NONAME ? "no such host" : gai_strerror(rc));
	return 0;
}

static int listen_host(const char *host, uint16_t port, struct err *err)
{
	struct addrinfo *res;
	if (look_up_host(host, port, &res, err) != 0)
		return -1;
	/* Go prefers a v4 address if a name has both. */
	struct addrinfo *pick = res;
	for (struct addrinfo *p = res; p; p = p->ai_next) {
		if (p->ai_family == AF_INET) {
			pick = p;
			break;
		}
	}
	union address a = {0};
	char shown[64];
	memcpy(&a, pick->ai_addr, pick->ai_addrlen);
	address_format(&a, shown, sizeof(shown));
	int fd = socket(pick->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		err_errno(err, errno, "listen tcp %s: socket", shown);
	else if (bind_and_listen(fd, pick->ai_addr, pick->ai_addrlen, shown, err) != 0) {
		close(fd);
		fd = -1;
	}
	freeaddrinfo(res);
	return fd;
}

/* The address that the listener has got; -1 with err set, and the listener closed. */
static int learn_address(struct tcp_listener *l, struct err *err)
{
	union address a = {0};
	socklen_t len = sizeof(a);
	if (getsockname(l->fd, &a.sa, &len) != 0) {
		err_errno(err, errno, "listen: getsockname");
		tcp_listener_close(l);
		return -1;
	}
	l->port = a.sa.sa_family == AF_INET6  ? ntohs(a.in6.sin6_port)
		  : a.sa.sa_family == AF_INET ? ntohs(a.in.sin_port)
					      : -1;
	address_format(&a, l->addr, sizeof(l->addr));
	return 0;
}

static int listen_tcp(struct tcp_listener *l, const char *host, const char *port, struct err *err)
{
	uint16_t number;
	if (address_lookup_port(port, &number, err) != 0)
		return err_wrap(err, "listen tcp: ");
	l->fd = is_wildcard(host) ? listen_wildcard(host, number, err)
				  : listen_host(host, number, err);
	return l->fd < 0 ? -1 : learn_address(l, err);
}

/* --- unix ------------------------------------------------------------------------------------- */

/*
 * Is it the file of a closed socket? Then the kernel refuses to connect. why says what has kept us
 * from finding out.
 */
static bool is_abandoned(const union address *a, struct stat *st, struct err *why)
{
	if (lstat(a->un.sun_path, st) != 0) {
		err_errno(why, errno, "stat %s", a->un.sun_path);
		return false;
	}
	if (!S_ISSOCK(st->st_mode))
		return false;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0) {
		err_errno(why, errno, "socket");
		return false;
	}
	bool refused = connect(fd, &a->sa, sizeof(a->un)) != 0 && errno == ECONNREFUSED;
	close(fd);
	return refused;
}

static bool same_file(const struct stat *a, const struct stat *b)
{
	/* The time counts, because a new file may get the number of a removed one. */
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino &&
	       a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

/*
 * Removes the file that a crash left behind. Another process may do the same, and bind a new socket
 * there between our check and our unlink. So the file is renamed, checked again, and put back if it
 * is another one. why.code stays 0 unless something has failed.
 */
static void remove_abandoned(const union address *a, struct err *why)
{
	const char *path = a->un.sun_path;
	struct stat seen, moved;
	if (!is_abandoned(a, &seen, why))
		return;
	char *aside = xasprintf("%s.%d", path, (int)getpid());
	if (rename(path, aside) != 0) {
		err_errno(why, errno, "rename %s %s", path, aside);
	} else {
		if (lstat(aside, &moved) == 0 && !same_file(&seen, &moved))
			(void)!link(aside, path);
		unlink(aside);
	}
	free(aside);
}

/* Binds fd; a file that a crash has left there gives way. */
static int bind_unix(
	int fd, const union address *a, socklen_t size, const char *path, struct err *err)
{
	bool abstract = a->un.sun_path[0] == '\0';
	int rc = bind_socket(fd, &a->sa, size, "unix", path, err);
	if (rc == 0 || err->code != EADDRINUSE || abstract)
		return rc;
	struct err why = {0};
	remove_abandoned(a, &why);
	rc = bind_socket(fd, &a->sa, size, "unix", path, err);
	if (rc != 0 && why.code != 0)
		err_wrap(err, "%s", why.msg);
	return rc;
}

static int listen_unix(struct tcp_listener *l, const char *path, struct err *err)
{
	union address a = {.un = {.sun_family = AF_UNIX}};
	size_t len = strlen(path);
	bool abstract = !*path || *path == '@';
	if (len > sizeof(a.un.sun_path) || (len == sizeof(a.un.sun_path) && !abstract))
		return err_set(err, EINVAL, "listen unix %s: bind: invalid argument", path);
	memcpy(a.un.sun_path, path, len);
	if (abstract)
		a.un.sun_path[0] = '\0';
	socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + !abstract);
	l->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (l->fd < 0)
		return err_errno(err, errno, "listen unix %s: socket", path);
	int rc = bind_unix(l->fd, &a, size, path, err);
	if (rc == 0) {
		/* From here on the file is ours, and goes with the listener. */
		if (!abstract)
			l->unlink_path = xstrdup(path);
		rc = listen_on(l->fd, "unix", path, err);
	}
	if (rc != 0) {
		tcp_listener_close(l);
		return -1;
	}
	return learn_address(l, err);
}

/* --- either ----------------------------------------------------------------------------------- */

static int not_tcp(const char *addr, const char *why, struct err *err)
{
	if (*addr)
		return err_set(err, 0, "listen tcp: address %s: %s", addr, why);
	return err_set(err, 0, "listen tcp: %s", why);
}

static int listen_any(struct tcp_listener *l, const char *addr, bool may_be_unix, struct err *err)
{
	size_t size = strlen(addr) + 1;
	char *host = xmalloc(2 * size), *port = host + size;
	int rc;
	*l = (struct tcp_listener){.fd = -1};
	const char *why = address_split_host_port(addr, host, port);
	if (!why)
		rc = listen_tcp(l, host, port, err);
	else if (may_be_unix)
		rc = listen_unix(l, addr, err);
	else
		rc = not_tcp(addr, why, err);
	free(host);
	return rc;
}

static int check_tcp(const char *host, const char *port, struct err *err)
{
	struct addrinfo *res;
	uint16_t number;
	if (address_lookup_port(port, &number, err) != 0)
		return err_wrap(err, "listen tcp: ");
	if (is_wildcard(host))
		return 0;
	if (look_up_host(host, number, &res, err) != 0)
		return -1;
	freeaddrinfo(res);
	return 0;
}

/* May this process make a socket's file at path, or replace the one that stands there? */
static int check_unix(const char *path, struct err *err)
{
	union address a;
	struct stat st;
	size_t len = strlen(path);
	bool abstract = !*path || *path == '@';
	if (len > sizeof(a.un.sun_path) || (len == sizeof(a.un.sun_path) && !abstract))
		return err_set(err, EINVAL, "listen unix %s: bind: invalid argument", path);
	if (abstract)
		return 0;
	char *dir = xstrdup(path), *slash = strrchr(dir, '/');
	if (slash)
		slash[slash == dir] = '\0';
	int code = access(slash ? dir : ".", W_OK | X_OK) == 0 ? 0 : errno;
	free(dir);
	if (code == 0 && lstat(path, &st) == 0 && !S_ISSOCK(st.st_mode))
		code = EADDRINUSE;
	return code == 0 ? 0 : err_errno(err, code, "listen unix %s: bind", path);
}

int tcp_listen_check(const char *addr, bool may_be_unix, struct err *err)
{
	size_t size = strlen(addr) + 1;
	char *host = xmalloc(2 * size), *port = host + size;
	const char *why = address_split_host_port(addr, host, port);
	int rc = !why          ? check_tcp(host, port, err)
		 : may_be_unix ? check_unix(addr, err)
			       : not_tcp(addr, why, err);
	free(host);
	return rc;
}

int tcp_listen(struct tcp_listener *l, const char *addr, struct err *err)
{
	return listen_any(l, addr, true, err);
}

int tcp_listen_no_unix(struct tcp_listener *l, const char *addr, struct err *err)
{
	return listen_any(l, addr, false, err);
}

/* The value of a socket's option; -1 with err set, also where fd is no socket. */
static int socket_option(int fd, int option, int *value, struct err *err)
{
	socklen_t len = sizeof(*value);
	if (getsockopt(fd, SOL_SOCKET, option, value, &len) == 0)
		return 0;
	return err_errno(err, errno, "passed socket %d: getsockopt", fd);
}

/* Anything may have been passed. */
static int check_listens(int fd, struct err *err)
{
	int type = 0, domain = 0, listens = 0;
	if (socket_option(fd, SO_TYPE, &type, err) != 0 ||
		socket_option(fd, SO_DOMAIN, &domain, err) != 0 ||
		socket_option(fd, SO_ACCEPTCONN, &listens, err) != 0)
		return -1;
	if (type != SOCK_STREAM || (domain != AF_INET && domain != AF_INET6 && domain != AF_UNIX))
		return err_set(err, EINVAL, "passed socket %d: neither TCP nor a unix stream", fd);
	if (!listens)
		return err_set(err, EINVAL, "passed socket %d: does not listen", fd);
	int flags = fcntl(fd, F_GETFL);
	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0)
		return err_errno(err, errno, "passed socket %d: fcntl", fd);
	return 0;
}

int tcp_listener_adopt(struct tcp_listener *l, int take_fd, struct err *err)
{
	*l = (struct tcp_listener){.fd = take_fd};
	if (check_listens(take_fd, err) != 0) {
		tcp_listener_close(l);
		return -1;
	}
	return learn_address(l, err);
}

void tcp_listener_close(struct tcp_listener *l)
{
	/*
	 * The file is removed first: once the socket is closed, the next daemon may have its own
	 * file there.
	 */
	if (l->unlink_path)
		unlink(l->unlink_path);
	free(l->unlink_path);
	l->unlink_path = NULL;
	if (l->fd >= 0)
		close(l->fd);
	l->fd = -1;
}
