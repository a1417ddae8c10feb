/* SPDX-License-Identifier: MIT */
/* tcp_server: listening as Go does, with Go's words for what goes wrong; the accept loop and its end. */
#include "test/unit/helper.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "common/gothread_internal.h"
#include "protocol/tcp_server.h"

static struct tcp_listener listen_on(const char *addr)
{
	struct tcp_listener l;
	struct err err = {0};

	if (tcp_listen(&l, addr, &err) != 0)
		fail_msg("%s: %s", addr, err.msg);
	return l;
}

static void expect_refused(const char *addr, const char *want)
{
	struct tcp_listener l;
	struct err err = {0};

	if (tcp_listen(&l, addr, &err) == 0)
		fail_msg("listens on %s", addr);
	assert_string_equal(err.msg, want);
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

static int connect_v4(int port)
{
	struct sockaddr_in a = {.sin_family = AF_INET,
		.sin_port = htons((uint16_t)port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	return fd;
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

static int connect_unix(const char *path)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(a.sun_path, path);
	assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	return fd;
}

/* --- listening -------------------------------------------------------------------------------- */

static void test_port_0_is_a_free_port_that_is_told(void **state)
{
	struct tcp_listener l = listen_on("127.0.0.1:0");
	char want[32];

	(void)state;
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

	(void)state;
	assert_in_range(l.port, 1, 65535);
	tcp_listener_close(&l);
}

static void test_every_wildcard_takes_both_families(void **state)
{
	static const char *const wildcards[] = {":0", "0.0.0.0:0", "[::]:0", ":"};

	(void)state;
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
	struct tcp_listener l;
	char want[32];

	(void)state;
	if (!have_v6())
		skip();
	l = listen_on("[::1]:0");
	snprintf(want, sizeof(want), "[::1]:%d", l.port);
	assert_string_equal(l.addr, want);
	close(connect_v6(l.port));
	tcp_listener_close(&l);
}

static void test_a_name_is_looked_up(void **state)
{
	struct tcp_listener l = listen_on("localhost:0");
	char want[32];

	(void)state;
	snprintf(want, sizeof(want), "127.0.0.1:%d", l.port);
	assert_string_equal(l.addr, want);
	tcp_listener_close(&l);
}

static void test_bad_ports_are_refused_with_gos_words(void **state)
{
	(void)state;
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

	(void)state;
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
	(void)state;
	expect_refused("192.0.2.1:4150",
		"listen tcp 192.0.2.1:4150: bind: cannot assign requested address");
}

static void test_what_is_no_host_and_port_is_the_path_of_a_unix_socket(void **state)
{
	struct tcp_listener l = listen_on("sock");
	struct stat st;

	(void)state;
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

	(void)state;
	expect_refused("/nosuch/dir/sock",
		"listen unix /nosuch/dir/sock: bind: no such file or directory");
	memset(path, 'x', sizeof(path));
	path[sizeof(path) - 1] = '\0';
	snprintf(want, sizeof(want), "listen unix %s: bind: invalid argument", path);
	expect_refused(path, want);
}

/* --- the accept loop -------------------------------------------------------------------------- */

struct server {
	struct tcp_listener listener;
	struct tcp_server_loop loop;
	struct wait_group wg;
	struct lg lg;
	struct chan *release; /* handlers wait for it to be closed */
	_Atomic int came, started, ended;
	char remote[128]; /* of the first to come */
	int rc;           /* of tcp_server_run */
	struct err err;
};

static void handle(void *arg, int fd, const char *remote_addr)
{
	struct server *s = arg;

	if (s->came++ == 0)
		snprintf(s->remote, sizeof(s->remote), "%s", remote_addr);
	s->started++;
	chan_recv(s->release, NULL);
	close(fd);
	s->ended++;
}

static void run(void *arg)
{
	struct server *s = arg;

	s->rc = tcp_server_run(&s->loop, &s->err);
}

static void start(struct server *s, const char *addr)
{
	struct tcp_handler h = {.handle = handle, .arg = s, .lg = &s->lg};

	memset(s, 0, sizeof(*s));
	lg_init(&s->lg, open("log", O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600),
		"[test] ", LG_DEBUG);
	s->listener = listen_on(addr);
	s->release = chan_new(0, 0);
	assert_int_equal(tcp_server_init(&s->loop, &s->listener, &h, &s->err), 0);
	wait_group_init(&s->wg);
	go(&s->wg, run, s);
}

/* How often text stands in the log. */
static int logged(const char *text)
{
	char buf[8192];
	int fd = open("log", O_RDONLY | O_CLOEXEC), n = 0;
	ssize_t len = read(fd, buf, sizeof(buf) - 1);

	close(fd);
	buf[len > 0 ? len : 0] = '\0';
	for (char *p = buf; (p = strstr(p, text)) != NULL; p++)
		n++;
	return n;
}

static void finish(struct server *s)
{
	join(&s->wg);
	assert_int_equal(s->started, s->ended);
	tcp_server_destroy(&s->loop);
	tcp_listener_close(&s->listener);
	chan_free(s->release);
	close(s->lg.fd);
	lg_destroy(&s->lg);
	unlink("log");
}

static void test_a_loop_without_connections_stops(void **state)
{
	struct server s;

	(void)state;
	start(&s, "127.0.0.1:0");
	tcp_server_stop(&s.loop);
	finish(&s);
	assert_int_equal(s.rc, 0);
}

static void test_a_stop_before_the_start_is_not_lost(void **state)
{
	struct server s;

	(void)state;
	start(&s, "127.0.0.1:0");
	tcp_server_stop(&s.loop);
	tcp_server_stop(&s.loop);
	wait_group_wait(&s.wg);
	go(&s.wg, run, &s); /* it is stopped for good */
	finish(&s);
	assert_int_equal(s.rc, 0);
}

static void test_every_connection_has_a_handler_that_runs_beside_the_others(void **state)
{
	struct server s;
	int fds[10];
	char buf[1];

	(void)state;
	start(&s, "127.0.0.1:0");
	for (size_t i = 0; i < COUNT(fds); i++)
		fds[i] = connect_v4(s.listener.port);
	wait_for(s.started == COUNT(fds));
	assert_int_equal(s.ended, 0);
	chan_close(s.release);
	for (size_t i = 0; i < COUNT(fds); i++) {
		assert_int_equal(read(fds[i], buf, 1), 0);
		close(fds[i]);
	}
	tcp_server_stop(&s.loop);
	finish(&s);
	assert_int_equal(s.ended, COUNT(fds));
}

static void test_run_returns_only_after_the_last_handler(void **state)
{
	struct server s;
	int fd;

	(void)state;
	start(&s, "127.0.0.1:0");
	fd = connect_v4(s.listener.port);
	wait_for(s.started == 1);
	tcp_server_stop(&s.loop);
	stays(logged("TCP: closing") == 0);
	assert_int_equal(s.ended, 0);
	chan_close(s.release);
	finish(&s);
	assert_int_equal(s.ended, 1);
	close(fd);
}

static void test_the_peers_address_is_shown_as_go_does(void **state)
{
	static const char *const addrs[] = {"127.0.0.1:0", ":0"};
	struct server s;

	(void)state;
	for (size_t i = 0; i < COUNT(addrs); i++) {
		struct sockaddr_in a;
		socklen_t len = sizeof(a);
		char want[64];
		int fd;

		start(&s, addrs[i]);
		fd = connect_v4(s.listener.port);
		assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
		snprintf(want, sizeof(want), "127.0.0.1:%d", ntohs(a.sin_port));
		wait_for(s.started == 1);
		assert_string_equal(s.remote, want);
		chan_close(s.release);
		tcp_server_stop(&s.loop);
		finish(&s);
		close(fd);
	}
}

static void test_a_unix_peer_has_no_address_but_an_at_sign(void **state)
{
	struct server s;
	int fd;

	(void)state;
	start(&s, "sock");
	fd = connect_unix("sock");
	wait_for(s.started == 1);
	assert_string_equal(s.remote, "@");
	chan_close(s.release);
	tcp_server_stop(&s.loop);
	finish(&s);
	close(fd);
}

static _Atomic bool no_threads;

static int create_unless(pthread_t *t, const pthread_attr_t *a, void *(*fn)(void *), void *arg)
{
	return no_threads ? EAGAIN : pthread_create(t, a, fn, arg);
}

static void test_a_connection_that_cannot_have_a_thread_is_closed_and_said_so(void **state)
{
	struct server s;
	int fd;
	char buf[1];

	(void)state;
	gothread_create = create_unless;
	start(&s, "127.0.0.1:0");
	no_threads = true;
	fd = connect_v4(s.listener.port);
	assert_true(read(fd, buf, 1) <= 0);
	close(fd);
	wait_for(logged("no thread for it") == 1);
	no_threads = false;
	/* And the server lives on. */
	fd = connect_v4(s.listener.port);
	wait_for(s.started == 1);
	chan_close(s.release);
	tcp_server_stop(&s.loop);
	finish(&s);
	close(fd);
	gothread_create = pthread_create;
}

static void test_no_descriptor_is_left_behind(void **state)
{
	struct server s;
	int before = dup(0), after;

	(void)state;
	close(before);
	start(&s, "127.0.0.1:0");
	chan_close(s.release);
	for (int i = 0; i < 20; i++)
		close(connect_v4(s.listener.port));
	wait_for(s.ended == 20);
	tcp_server_stop(&s.loop);
	finish(&s);
	after = dup(0);
	close(after);
	assert_int_equal(after, before);
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
		cmocka_unit_test(test_what_is_no_host_and_port_is_the_path_of_a_unix_socket),
		cmocka_unit_test(test_bad_paths_are_refused_with_gos_words),
		cmocka_unit_test(test_a_loop_without_connections_stops),
		cmocka_unit_test(test_a_stop_before_the_start_is_not_lost),
		cmocka_unit_test(test_every_connection_has_a_handler_that_runs_beside_the_others),
		cmocka_unit_test(test_run_returns_only_after_the_last_handler),
		cmocka_unit_test(test_the_peers_address_is_shown_as_go_does),
		cmocka_unit_test(test_a_unix_peer_has_no_address_but_an_at_sign),
		cmocka_unit_test(test_a_connection_that_cannot_have_a_thread_is_closed_and_said_so),
		cmocka_unit_test(test_no_descriptor_is_left_behind),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
