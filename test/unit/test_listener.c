/* SPDX-License-Identifier: MIT */
/*
 * listener: listening as Go does, with Go's words for what goes wrong; how addresses are written.
 */
#include "test/unit/helper.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>

#include "test/unit/listen_test.h"

static _Atomic int listen_errno; /* so listen fails; 0: it does not */

/* In front of libc's. */
int listen(int fd, int backlog)
{
	errno = listen_errno;
	return errno != 0 ? -1 : (int)syscall(SYS_listen, fd, backlog);
}

static void expect_refused(const char *addr, const char *want)
{
	struct tcp_listener l;
	struct err err = {0};
	if (tcp_listen(&l, addr, &err) == 0)
		fail_msg("listens on %s", addr);
	assert_string_equal(err.msg, want);
}

/* In place of libc's: the next one fails with this code, if it is not 0. */
static int getsockname_code;

int getsockname(int fd, struct sockaddr *restrict sa, socklen_t *restrict len)
{
	if (getsockname_code == 0)
		return (int)syscall(SYS_getsockname, fd, sa, len);
	errno = getsockname_code;
	getsockname_code = 0;
	return -1;
}

static bool have_v6(void)
{
	struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool ok = fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0;
	if (fd >= 0)
		close(fd);
	return ok;
}

static int connect_v6(int port)
{
	struct sockaddr_in6 a = {.sin6_family = AF_INET6,
		.sin6_port = htons((uint16_t)port),
		.sin6_addr = IN6ADDR_LOOPBACK_INIT};
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	return fd;
}

/* --- listening -------------------------------------------------------------------------------- */

static void test_port_0_is_a_free_port_that_is_told(void **state)
{
	struct tcp_listener l = listen_on("127.0.0.1:0");
	char want[32];
	assert_in_range(l.port, 1, 65535);
	snprintf(want, sizeof(want), "127.0.0.1:%d", l.port);
	assert_string_equal(l.addr, want);
	assert_null(l.unlink_path);
	close(connect_v4(l.port));
	tcp_listener_close(&l);
	assert_int_equal(l.fd, -1);
	tcp_listener_close(&l);
}

static void test_no_port_is_port_0(void **state)
{
	struct tcp_listener l = listen_on("127.0.0.1:");
	assert_in_range(l.port, 1, 65535);
	tcp_listener_close(&l);
}

static void test_every_wildcard_takes_both_families(void **state)
{
	static const char *const wildcards[] = {":0", "0.0.0.0:0", "[::]:0", ":"};
	if (!have_v6())
		skip();
	for (size_t i = 0; i < COUNT(wildcards); i++) {
		struct tcp_listener l = listen_on(wildcards[i]);
		char want[32];
		snprintf(want, sizeof(want), "[::]:%d", l.port);
		assert_string_equal(l.addr, want);
		close(connect_v4(l.port));
		close(connect_v6(l.port));
		tcp_listener_close(&l);
	}
}

static void test_a_v6_address_stands_in_brackets(void **state)
{
	char want[32];
	if (!have_v6())
		skip();
	struct tcp_listener l = listen_on("[::1]:0");
	snprintf(want, sizeof(want), "[::1]:%d", l.port);
	assert_string_equal(l.addr, want);
	close(connect_v6(l.port));
	tcp_listener_close(&l);
}

static void test_a_name_is_looked_up(void **state)
{
	struct tcp_listener l = listen_on("localhost:0");
	char want[32];
	snprintf(want, sizeof(want), "127.0.0.1:%d", l.port);
	assert_string_equal(l.addr, want);
	tcp_listener_close(&l);
}

static void test_bad_ports_are_refused_with_gos_words(void **state)
{
	expect_refused(":99999", "listen tcp: address 99999: invalid port");
	expect_refused("127.0.0.1:65536", "listen tcp: address 65536: invalid port");
	expect_refused(":-1", "listen tcp: address -1: invalid port");
	expect_refused(":foo", "listen tcp: lookup tcp/foo: unknown port");
	expect_refused("127.0.0.1:80x", "listen tcp: lookup tcp/80x: unknown port");
}

static void test_an_address_in_use_is_refused_with_gos_words(void **state)
{
	struct tcp_listener l = listen_on("127.0.0.1:0");
	char addr[64], want[128];
	snprintf(addr, sizeof(addr), "127.0.0.1:%d", l.port);
	snprintf(want, sizeof(want), "listen tcp 127.0.0.1:%d: bind: address already in use",
		l.port);
	expect_refused(addr, want);
	tcp_listener_close(&l);

	l = listen_on("0.0.0.0:0");
	snprintf(addr, sizeof(addr), "0.0.0.0:%d", l.port);
	snprintf(want, sizeof(want), "listen tcp 0.0.0.0:%d: bind: address already in use", l.port);
	expect_refused(addr, want);
	snprintf(addr, sizeof(addr), "[::]:%d", l.port);
	expect_refused(addr, want);
	snprintf(addr, sizeof(addr), ":%d", l.port);
	snprintf(want, sizeof(want), "listen tcp :%d: bind: address already in use", l.port);
	expect_refused(addr, want);
	/* Go shows the number, not what was typed. */
	snprintf(addr, sizeof(addr), ":0%d", l.port);
	expect_refused(addr, want);
	tcp_listener_close(&l);
}

static void test_an_address_of_another_host_is_refused_with_gos_words(void **state)
{
	expect_refused("192.0.2.1:4150",
		"listen tcp 192.0.2.1:4150: bind: cannot assign requested address");
}

static void test_a_name_of_no_host_is_refused_with_gos_words(void **state)
{
	expect_refused("a b:0", "listen tcp: lookup a b: no such host");
}

/* The port of ":0" is not known then: the start fails, with its reason. */
static void test_an_address_that_cannot_be_learnt_is_refused(void **state)
{
	getsockname_code = ENOBUFS;
	expect_refused("127.0.0.1:0", "listen: getsockname: no buffer space available");
	assert_int_equal(getsockname_code, 0);
}

static void test_without_descriptors_it_is_refused_with_gos_words(void **state)
{
	struct rlimit before, now;
	int lowest_free = open("/dev/null", O_RDONLY | O_CLOEXEC);
	assert_true(lowest_free >= 0);
	close(lowest_free);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	now = before;
	now.rlim_cur = (rlim_t)lowest_free;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &now), 0);
	expect_refused("127.0.0.1:0", "listen tcp 127.0.0.1:0: socket: too many open files");
	/* Both families are tried. */
	expect_refused(":0", "listen tcp :0: socket: too many open files");
	expect_refused("./sock", "listen unix ./sock: socket: too many open files");
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
}

static void test_what_is_no_host_and_port_is_the_path_of_a_unix_socket(void **state)
{
	struct tcp_listener l = listen_on("sock");
	struct stat st;
	assert_int_equal(l.port, -1);
	assert_string_equal(l.addr, "sock");
	assert_int_equal(stat("sock", &st), 0);
	assert_true(S_ISSOCK(st.st_mode));
	close(connect_unix("sock"));
	expect_refused("sock", "listen unix sock: bind: address already in use");
	assert_int_equal(stat("sock", &st), 0); /* the loser has not removed it */
	tcp_listener_close(&l);
	assert_int_equal(stat("sock", &st), -1);
	assert_int_equal(errno, ENOENT);
}

static void test_bad_paths_are_refused_with_gos_words(void **state)
{
	char path[200], want[256];
	expect_refused("/nosuch/dir/sock",
		"listen unix /nosuch/dir/sock: bind: no such file or directory");
	memset(path, 'x', sizeof(path));
	path[sizeof(path) - 1] = '\0';
	snprintf(want, sizeof(want), "listen unix %s: bind: invalid argument", path);
	expect_refused(path, want);
}

static void test_a_port_may_be_a_services_name(void **state)
{
	struct servent *known = getservbyname("http", "tcp");
	struct tcp_listener l;
	struct err err = {0};
	if (!known)
		skip(); /* no /etc/services */
	/* Whether port 80 is free, and ours to take, is not the point. */
	if (tcp_listen(&l, "127.0.0.1:HTTP", &err) == 0)
		assert_int_equal(l.port, 80);
	else
		assert_non_null(strstr(err.msg, "listen tcp 127.0.0.1:80: bind: "));
	tcp_listener_close(&l);
	l = listen_on("127.0.0.1:+0");
	tcp_listener_close(&l);
	l = listen_on("127.0.0.1:-");
	tcp_listener_close(&l);
}

static void test_addresses_are_split_as_go_does(void **state)
{
	/* Go takes all of these for paths. */
	static const char *const paths[] = {"127.0.0.1", "::1", "[::1]", "::1:80", "a]:80",
		"[a]b]:80", "[[::1]:80", "[a]:b:80"};
	for (size_t i = 0; i < COUNT(paths); i++) {
		struct tcp_listener l = listen_on(paths[i]);
		assert_int_equal(l.port, -1);
		assert_string_equal(l.addr, paths[i]);
		tcp_listener_close(&l);
	}
}

static void test_where_unix_is_not_meant_a_path_is_refused_with_gos_words(void **state)
{
	static const struct {
		const char *addr, *want;
	} cases[] = {
		{"", "listen tcp: missing port in address"},
		{"/tmp/x", "listen tcp: address /tmp/x: missing port in address"},
		{"[::1]", "listen tcp: address [::1]: missing port in address"},
		{"::1:80", "listen tcp: address ::1:80: too many colons in address"},
		{"[::1", "listen tcp: address [::1: missing ']' in address"},
		{"[a]:b:80", "listen tcp: address [a]:b:80: too many colons in address"},
		{"[[a]:80", "listen tcp: address [[a]:80: unexpected '[' in address"},
		{"a]:80", "listen tcp: address a]:80: unexpected ']' in address"},
	};
	struct tcp_listener l;
	struct err err = {0};
	for (size_t i = 0; i < COUNT(cases); i++) {
		assert_int_equal(tcp_listen_no_unix(&l, cases[i].addr, &err), -1);
		assert_string_equal(err.msg, cases[i].want);
		assert_int_equal(l.fd, -1);
	}
	assert_int_equal(tcp_listen_no_unix(&l, "127.0.0.1:0", &err), 0);
	tcp_listener_close(&l);
}

static void test_an_abstract_name_leaves_no_file(void **state)
{
	char name[64];
	char want[128];
	snprintf(name, sizeof(name), "@nsqd-test-%d", (int)getpid());
	struct tcp_listener l = listen_on(name);
	assert_string_equal(l.addr, name);
	assert_null(l.unlink_path);
	assert_int_equal(access(name, F_OK), -1);
	snprintf(want, sizeof(want), "listen unix %s: bind: address already in use", name);
	expect_refused(name, want);
	tcp_listener_close(&l);
}

static void test_no_name_is_an_abstract_one_of_the_kernels(void **state)
{
	struct tcp_listener a = listen_on(""), b = listen_on("");
	assert_int_equal(a.port, -1);
	assert_int_equal(a.addr[0], '@');
	assert_string_not_equal(a.addr, b.addr);
	tcp_listener_close(&a);
	tcp_listener_close(&b);
}

/* What a process leaves that is killed. */
static void abandon(const char *path)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	strcpy(a.sun_path, path);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(fd, 1), 0);
	close(fd);
}

static void test_an_abandoned_socket_file_is_replaced(void **state)
{
	char aside[64];
	abandon("sock");
	struct tcp_listener l = listen_on("sock");
	close(connect_unix("sock"));
	expect_refused("sock", "listen unix sock: bind: address already in use");
	tcp_listener_close(&l);
	assert_int_equal(access("sock", F_OK), -1);
	snprintf(aside, sizeof(aside), "sock.%d", (int)getpid());
	assert_int_equal(access(aside, F_OK), -1);
}

static void test_a_listener_that_fails_once_it_is_bound_leaves_no_file(void **state)
{
	static const struct {
		int code;
		const char *want;
	} cases[] = {
		{EADDRINUSE, "listen unix sock: listen: address already in use"},
		{EPERM, "listen unix sock: listen: operation not permitted"},
	};
	for (size_t i = 0; i < COUNT(cases); i++) {
		listen_errno = cases[i].code;
		expect_refused("sock", cases[i].want);
		listen_errno = 0;
		assert_int_equal(access("sock", F_OK), -1);
	}
}

static void test_what_is_no_socket_is_not_replaced(void **state)
{
	struct stat st;
	close(open("file", O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
	expect_refused("file", "listen unix file: bind: address already in use");
	assert_int_equal(stat("file", &st), 0);
	assert_true(S_ISREG(st.st_mode));
	/* Not even through a link: it is the link that would be lost. */
	unlink("file");
	abandon("sock");
	assert_int_equal(symlink("sock", "file"), 0);
	expect_refused("file", "listen unix file: bind: address already in use");
	unlink("file");
	unlink("sock");
}

static void test_a_closed_listener_leaves_its_successor_alone(void **state)
{
	struct tcp_listener old = listen_on("sock"), new;
	tcp_listener_close(&old);
	new = listen_on("sock");
	tcp_listener_close(&old);
	close(connect_unix("sock"));
	tcp_listener_close(&new);
}

static void expect_shown(const union address *a, const char *want)
{
	char got[128];
	address_format(a, got, sizeof(got));
	assert_string_equal(got, want);
}

static void test_addresses_are_shown_as_go_does(void **state)
{
	union address a = {.in = {.sin_family = AF_INET, .sin_port = htons(80)}};
	unsigned lo = if_nametoindex("lo");
	expect_shown(&a, "0.0.0.0:80");
	a = (union address){.in6 = {.sin6_family = AF_INET6, .sin6_port = htons(80)}};
	expect_shown(&a, "[::]:80");
	inet_pton(AF_INET6, "::ffff:10.0.0.1", &a.in6.sin6_addr);
	expect_shown(&a, "10.0.0.1:80");
	inet_pton(AF_INET6, "fe80::1", &a.in6.sin6_addr);
	a.in6.sin6_scope_id = 4000000000;
	expect_shown(&a, "[fe80::1%4000000000]:80");
	a.in6.sin6_scope_id = lo;
	if (lo)
		expect_shown(&a, "[fe80::1%lo]:80");
	a = (union address){.un = {.sun_family = AF_UNIX}};
	expect_shown(&a, "@");
	strcpy(a.un.sun_path + 1, "name");
	expect_shown(&a, "@name");
	memset(a.un.sun_path, 'x', sizeof(a.un.sun_path));
	char want[sizeof(a.un.sun_path) + 1];
	memcpy(want, a.un.sun_path, sizeof(a.un.sun_path));
	want[sizeof(a.un.sun_path)] = '\0';
	expect_shown(&a, want);
}

/* --- passed sockets --------------------------------------------------------------------------- */

static void expect_not_adopted(int fd, const char *why)
{
	struct tcp_listener l;
	struct err err = {0};
	assert_int_equal(tcp_listener_adopt(&l, fd, &err), -1);
	assert_int_equal(l.fd, -1);
	assert_non_null(strstr(err.msg, why));
	assert_int_equal(fcntl(fd, F_GETFD), -1);
}

static void expect_adopted(const char *addr, bool is_unix)
{
	struct tcp_listener passed = listen_on(addr), l;
	struct err err;
	int fd = dup(passed.fd);
	assert_int_equal(fcntl(fd, F_SETFL, 0), 0);
	assert_int_equal(tcp_listener_adopt(&l, fd, &err), 0);
	assert_int_equal(l.port, passed.port);
	assert_string_equal(l.addr, passed.addr);
	assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
	tcp_listener_close(&l);
	/* The manager's own descriptor listens on, and its file is still there. */
	close(is_unix ? connect_unix(addr) : connect_v4(passed.port));
	tcp_listener_close(&passed);
}

static void test_a_passed_socket_is_taken_as_it_is(void **state)
{
	expect_adopted("127.0.0.1:0", false);
	expect_adopted(":0", false);
	expect_adopted("passed", true);
}

static void test_what_is_passed_must_be_a_listening_stream(void **state)
{
	int fds[2];
	expect_not_adopted(open("/dev/null", O_RDONLY), "socket operation on non-socket");
	expect_not_adopted(socket(AF_INET, SOCK_DGRAM, 0), "neither TCP nor a unix stream");
	expect_not_adopted(socket(AF_UNIX, SOCK_SEQPACKET, 0), "neither TCP nor a unix stream");
	expect_not_adopted(socket(AF_NETLINK, SOCK_RAW, 0), "neither TCP nor a unix stream");
	expect_not_adopted(socket(AF_INET, SOCK_STREAM, 0), "does not listen");
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	expect_not_adopted(fds[0], "does not listen");
	close(fds[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_port_0_is_a_free_port_that_is_told),
		cmocka_unit_test(test_no_port_is_port_0),
		cmocka_unit_test(test_every_wildcard_takes_both_families),
		cmocka_unit_test(test_a_v6_address_stands_in_brackets),
		cmocka_unit_test(test_a_name_is_looked_up),
		cmocka_unit_test(test_bad_ports_are_refused_with_gos_words),
		cmocka_unit_test(test_an_address_in_use_is_refused_with_gos_words),
		cmocka_unit_test(test_an_address_of_another_host_is_refused_with_gos_words),
		cmocka_unit_test(test_a_name_of_no_host_is_refused_with_gos_words),
		cmocka_unit_test(test_an_address_that_cannot_be_learnt_is_refused),
		cmocka_unit_test(test_without_descriptors_it_is_refused_with_gos_words),
		cmocka_unit_test(test_what_is_no_host_and_port_is_the_path_of_a_unix_socket),
		cmocka_unit_test(test_bad_paths_are_refused_with_gos_words),
		cmocka_unit_test(test_a_port_may_be_a_services_name),
		cmocka_unit_test(test_addresses_are_split_as_go_does),
		cmocka_unit_test(test_where_unix_is_not_meant_a_path_is_refused_with_gos_words),
		cmocka_unit_test(test_an_abstract_name_leaves_no_file),
		cmocka_unit_test(test_no_name_is_an_abstract_one_of_the_kernels),
		cmocka_unit_test(test_an_abandoned_socket_file_is_replaced),
		cmocka_unit_test(test_a_listener_that_fails_once_it_is_bound_leaves_no_file),
		cmocka_unit_test(test_what_is_no_socket_is_not_replaced),
		cmocka_unit_test(test_a_closed_listener_leaves_its_successor_alone),
		cmocka_unit_test(test_addresses_are_shown_as_go_does),
		cmocka_unit_test(test_a_passed_socket_is_taken_as_it_is),
		cmocka_unit_test(test_what_is_passed_must_be_a_listening_stream),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
