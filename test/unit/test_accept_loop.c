/* SPDX-License-Identifier: MIT */
/* accept_loop: it accepts, hands out, and ends. */
#include "test/unit/helper.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "common/gothread_internal.h"
#include "protocol/accept_loop.h"
#include "test/unit/listen_test.h"

struct server {
	struct tcp_listener listener;
	struct accept_loop loop;
	struct wait_group wg;
	struct lg lg;
	struct chan *release; /* handlers wait for it to be closed */
	_Atomic int came, started, ended;
	char remote[128]; /* of the first to come */
	int rc;           /* of accept_loop_run */
	struct err err;
};

static int option(int fd, int level, int name)
{
	int value = -1;
	socklen_t len = sizeof(value);
	assert_int_equal(getsockopt(fd, level, name, &value, &len), 0);
	return value;
}

/* As Go sets them. */
static void check_options(int fd)
{
	assert_int_equal(option(fd, IPPROTO_TCP, TCP_NODELAY), 1);
	assert_int_equal(option(fd, SOL_SOCKET, SO_KEEPALIVE), 1);
	assert_int_equal(option(fd, IPPROTO_TCP, TCP_KEEPIDLE), 15);
	assert_int_equal(option(fd, IPPROTO_TCP, TCP_KEEPINTVL), 15);
}

static void handle(void *arg, int fd, const char *remote_addr)
{
	struct server *s = arg;
	if (s->came++ == 0)
		snprintf(s->remote, sizeof(s->remote), "%s", remote_addr);
	s->started++;
	if (s->listener.port > 0)
		check_options(fd);
	chan_recv(s->release, NULL);
	close(fd);
	s->ended++;
}

static void run(void *arg)
{
	struct server *s = arg;
	s->rc = accept_loop_run(&s->loop, &s->err);
}

static void start_with(struct server *s, const char *addr, struct accept_handler h)
{
	memset(s, 0, sizeof(*s));
	h.arg = s;
	h.lg = &s->lg;
	lg_init(&s->lg, open("log", O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600),
		"[test] ", LG_DEBUG);
	s->listener = listen_on(addr);
	s->release = chan_new(0, 0);
	assert_int_equal(accept_loop_init(&s->loop, &s->listener, &h, &s->err), 0);
	wait_group_init(&s->wg);
	go(&s->wg, run, s);
}

static void start(struct server *s, const char *addr)
{
	start_with(s, addr, (struct accept_handler){.handle = handle});
}

/* How often text stands in the log, which is open. */
static int logged_in(int fd, const char *text)
{
	char buf[8192];
	int n = 0;
	ssize_t len = pread(fd, buf, sizeof(buf) - 1, 0);
	buf[len > 0 ? len : 0] = '\0';
	for (char *p = buf; (p = strstr(p, text)); p++)
		n++;
	return n;
}

static int logged(const char *text)
{
	int fd = open("log", O_RDONLY | O_CLOEXEC), n = logged_in(fd, text);
	close(fd);
	return n;
}

static void finish(struct server *s)
{
	join(&s->wg);
	assert_int_equal(s->started, s->ended);
	accept_loop_destroy(&s->loop);
	tcp_listener_close(&s->listener);
	chan_free(s->release);
	close(s->lg.fd);
	lg_destroy(&s->lg);
	unlink("log");
}

static void test_a_loop_without_connections_stops(void **state)
{
	struct server s;
	start(&s, "127.0.0.1:0");
	accept_loop_stop(&s.loop);
	finish(&s);
	assert_int_equal(s.rc, 0);
}

static void test_a_stop_before_the_start_is_not_lost(void **state)
{
	struct server s;
	start(&s, "127.0.0.1:0");
	accept_loop_stop(&s.loop);
	accept_loop_stop(&s.loop);
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
	accept_loop_stop(&s.loop);
	finish(&s);
	assert_int_equal(s.ended, COUNT(fds));
}

static void test_run_returns_only_after_the_last_handler(void **state)
{
	struct server s;
	start(&s, "127.0.0.1:0");
	int fd = connect_v4(s.listener.port);
	wait_for(s.started == 1);
	accept_loop_stop(&s.loop);
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
	for (size_t i = 0; i < COUNT(addrs); i++) {
		struct sockaddr_in a;
		socklen_t len = sizeof(a);
		char want[64];
		start(&s, addrs[i]);
		int fd = connect_v4(s.listener.port);
		assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
		snprintf(want, sizeof(want), "127.0.0.1:%d", ntohs(a.sin_port));
		wait_for(s.started == 1);
		assert_string_equal(s.remote, want);
		chan_close(s.release);
		accept_loop_stop(&s.loop);
		finish(&s);
		close(fd);
	}
}

static void test_a_unix_peer_has_no_address_but_an_at_sign(void **state)
{
	struct server s;
	start(&s, "sock");
	int fd = connect_unix("sock");
	wait_for(s.started == 1);
	assert_string_equal(s.remote, "@");
	chan_close(s.release);
	accept_loop_stop(&s.loop);
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
	char buf[1];
	gothread_create = create_unless;
	gothread_learns_limit = false;
	start(&s, "127.0.0.1:0");
	no_threads = true;
	int fd = connect_v4(s.listener.port);
	assert_true(read(fd, buf, 1) <= 0);
	close(fd);
	wait_for(logged("no thread for it") == 1);
	no_threads = false;
	/* And the server lives on. */
	fd = connect_v4(s.listener.port);
	wait_for(s.started == 1);
	chan_close(s.release);
	accept_loop_stop(&s.loop);
	finish(&s);
	close(fd);
	gothread_create = pthread_create;
}

static void test_no_descriptor_is_left_behind(void **state)
{
	struct server s;
	int before = dup(0), after;
	close(before);
	start(&s, "127.0.0.1:0");
	chan_close(s.release);
	for (int i = 0; i < 20; i++)
		close(connect_v4(s.listener.port));
	wait_for(s.ended == 20);
	accept_loop_stop(&s.loop);
	finish(&s);
	after = dup(0);
	close(after);
	assert_int_equal(after, before);
}

static void accepted(void *arg, int fd, const union address *addr)
{
	close(fd);
	((struct server *)arg)->came++;
}

static int connect_with(int fd, int port)
{
	struct sockaddr_in a = {.sin_family = AF_INET,
		.sin_port = htons((uint16_t)port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	return connect(fd, (struct sockaddr *)&a, sizeof(a));
}

static void test_out_of_descriptors_it_tries_again(void **state)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), limit, log_fd;
	struct rlimit old;
	struct server s;
	start_with(&s, "127.0.0.1:0", (struct accept_handler){.accepted = accepted});
	log_fd = open("log", O_RDONLY | O_CLOEXEC);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	limit = dup(0);
	close(limit);
	struct rlimit none = old;
	none.rlim_cur = (rlim_t)limit;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	assert_int_equal(connect_with(fd, s.listener.port), 0);
	wait_for(logged_in(log_fd, "temporary Accept() failure") > 0);
	assert_int_equal(s.came, 0);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	wait_for(s.came == 1);
	accept_loop_stop(&s.loop);
	finish(&s);
	close(log_fd);
	close(fd);
}

static void test_the_last_descriptors_are_kept_back(void **state)
{
	int fds[3], filler[16];
	struct rlimit old;
	struct server s;
	char buf[1];
	/* Of a limit below 16 it keeps less. */
	for (size_t i = 0; i < COUNT(filler); i++)
		filler[i] = dup(0);
	for (size_t i = 0; i < COUNT(fds); i++)
		fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	start_with(&s, "127.0.0.1:0", (struct accept_handler){.handle = handle, .keep_back = 2});
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	int limit = dup(0) + 1; /* with one more the table is full */
	close(limit - 1);
	struct rlimit few = old;
	few.rlim_cur = (rlim_t)(limit + 2);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	assert_int_equal(connect_with(fds[0], s.listener.port), 0);
	wait_for(s.started == 1);
	for (size_t i = 1; i < COUNT(fds); i++) {
		assert_int_equal(connect_with(fds[i], s.listener.port), 0);
		assert_true(read(fds[i], buf, 1) <= 0);
	}
	/* There is still one to be had, and no line for each that was closed. */
	assert_int_equal(dup(0), limit);
	close(limit);
	assert_int_equal(logged("descriptors are for others"), 1);
	assert_int_equal(s.came, 1);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	chan_close(s.release);
	accept_loop_stop(&s.loop);
	finish(&s);
	for (size_t i = 0; i < COUNT(fds); i++)
		close(fds[i]);
	for (size_t i = 0; i < COUNT(filler); i++)
		close(filler[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_loop_without_connections_stops),
		cmocka_unit_test(test_a_stop_before_the_start_is_not_lost),
		cmocka_unit_test(test_every_connection_has_a_handler_that_runs_beside_the_others),
		cmocka_unit_test(test_run_returns_only_after_the_last_handler),
		cmocka_unit_test(test_the_peers_address_is_shown_as_go_does),
		cmocka_unit_test(test_a_unix_peer_has_no_address_but_an_at_sign),
		cmocka_unit_test(test_a_connection_that_cannot_have_a_thread_is_closed_and_said_so),
		cmocka_unit_test(test_no_descriptor_is_left_behind),
		cmocka_unit_test(test_out_of_descriptors_it_tries_again),
		cmocka_unit_test(test_the_last_descriptors_are_kept_back),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
