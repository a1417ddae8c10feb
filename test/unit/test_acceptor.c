/* SPDX-License-Identifier: MIT */
/* acceptor: it accepts, hands out, pauses, and ends. */
#include "test/unit/listen_test.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/time.h>

#include "common/address.h"
#include "common/netpoll.h"
#include "protocol/acceptor.h"

struct server {
	struct netpoll *np;
	struct tcp_listener listener;
	struct acceptor acceptor;
	struct lg lg;
	_Atomic int came, asked_for_room, no_descriptors, failed;
	_Atomic bool full;     /* has_room says so */
	_Atomic bool helpless; /* no_descriptors says so */
	char remote[128];      /* of the last to come */
	struct err why;        /* of failed */
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

static void handle(void *arg, int fd, const union address *addr)
{
	struct server *s = arg;
	address_format(addr, s->remote, sizeof(s->remote));
	if (s->listener.port > 0)
		check_options(fd);
	close(fd);
	s->came++;
}

static bool has_room(void *arg)
{
	struct server *s = arg;
	s->asked_for_room++;
	return !s->full;
}

static bool no_descriptors(void *arg)
{
	struct server *s = arg;
	s->no_descriptors++;
	return !s->helpless;
}

static void failed(void *arg, const struct err *why)
{
	struct server *s = arg;
	s->why = *why;
	s->failed++;
}

/* All but acceptor_start. */
static void make_with(struct server *s, const char *addr, struct tcp_handler h)
{
	memset(s, 0, sizeof(*s));
	h.handle = handle;
	h.failed = failed;
	h.arg = s;
	h.lg = &s->lg;
	h.proto = "TCP";
	lg_init(&s->lg, open("log", O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600),
		"[test] ", LG_DEBUG);
	s->listener = listen_on(addr);
	s->np = netpoll_new(&s->why);
	assert_non_null(s->np);
	assert_int_equal(netpoll_start(s->np, &s->why), 0);
	acceptor_init(&s->acceptor, &s->listener, &h);
}

static void start_with(struct server *s, const char *addr, struct tcp_handler h)
{
	make_with(s, addr, h);
	acceptor_start(&s->acceptor, s->np);
}

static void start(struct server *s, const char *addr)
{
	start_with(s, addr, (struct tcp_handler){.has_room = NULL});
}

/* How often text stands in the log, which is open. */
static int logged_in(int fd, const char *text)
{
	static char buf[1 << 16];
	int n = 0;
	ssize_t len = pread(fd, buf, sizeof(buf) - 1, 0);
	buf[len > 0 ? len : 0] = '\0';
	for (char *p = buf; (p = strstr(p, text)); p++)
		n++;
	return n;
}

/* For tests in which descriptors run out. */
static int open_log(void)
{
	return open("log", O_RDONLY | O_CREAT | O_CLOEXEC, 0600);
}

static int logged(const char *text)
{
	int fd = open("log", O_RDONLY | O_CLOEXEC), n = logged_in(fd, text);
	close(fd);
	return n;
}

static void finish(struct server *s)
{
	acceptor_stop(&s->acceptor);
	acceptor_destroy(&s->acceptor);
	tcp_listener_close(&s->listener);
	netpoll_stop(s->np);
	netpoll_free(s->np);
	close(s->lg.fd);
	lg_destroy(&s->lg);
	unlink("log");
}

/* A socket that was made before descriptors ran out. */
static int new_socket(void)
{
	return socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

/* As connect: 0, or -1 with errno. */
static int try_connect(int fd, int port)
{
	struct sockaddr_in a = {.sin_family = AF_INET,
		.sin_port = htons((uint16_t)port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	return connect(fd, (struct sockaddr *)&a, sizeof(a));
}

static void connect_with(int fd, int port)
{
	assert_int_equal(try_connect(fd, port), 0);
}

/* --- the usual -------------------------------------------------------------------------------- */

static void test_one_without_connections_stops(void **state)
{
	struct server s;
	start(&s, "127.0.0.1:0");
	assert_int_equal(logged("TCP: listening on 127.0.0.1:"), 1);
	assert_int_equal(logged("TCP: closing"), 0);
	acceptor_stop(&s.acceptor);
	assert_int_equal(logged("TCP: closing 127.0.0.1:"), 1);
	acceptor_stop(&s.acceptor);
	finish(&s);
	assert_int_equal(s.failed, 0);
}

static void test_one_that_never_started_stops(void **state)
{
	struct tcp_listener l = listen_on("127.0.0.1:0");
	struct acceptor a;
	struct tcp_handler h = {.proto = "TCP"};
	acceptor_init(&a, &l, &h);
	acceptor_stop(&a);
	acceptor_destroy(&a);
	tcp_listener_close(&l);
}

static void test_those_that_were_there_before_the_start_are_accepted(void **state)
{
	struct server s;
	start(&s, "127.0.0.1:0");
	acceptor_stop(&s.acceptor);
	acceptor_destroy(&s.acceptor);
	int fds[3];
	struct tcp_handler h = {.handle = handle, .arg = &s, .lg = &s.lg, .proto = "TCP"};
	tcp_listener_close(&s.listener);
	s.listener = listen_on("127.0.0.1:0");
	acceptor_init(&s.acceptor, &s.listener, &h);
	for (size_t i = 0; i < COUNT(fds); i++)
		fds[i] = connect_v4(s.listener.port);
	acceptor_start(&s.acceptor, s.np);
	wait_for(s.came == COUNT(fds));
	finish(&s);
	for (size_t i = 0; i < COUNT(fds); i++)
		close(fds[i]);
}

/* More than it takes in one step. */
static void test_every_connection_is_handed_out(void **state)
{
	struct server s;
	int fds[100];
	char buf[1];
	start(&s, "127.0.0.1:0");
	for (size_t i = 0; i < COUNT(fds); i++)
		fds[i] = connect_v4(s.listener.port);
	wait_for(s.came == COUNT(fds));
	for (size_t i = 0; i < COUNT(fds); i++) {
		assert_int_equal(read(fds[i], buf, 1), 0);
		close(fds[i]);
	}
	for (int i = 1; i <= 20; i++) {
		close(connect_v4(s.listener.port));
		wait_for(s.came == (int)COUNT(fds) + i);
	}
	finish(&s);
	assert_int_equal(s.came, COUNT(fds) + 20);
}

static void test_after_the_stop_no_connection_is_accepted(void **state)
{
	struct server s;
	start(&s, "127.0.0.1:0");
	close(connect_v4(s.listener.port));
	wait_for(s.came == 1);
	acceptor_stop(&s.acceptor);
	int fd = connect_v4(s.listener.port);
	stays(s.came == 1);
	finish(&s);
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
		wait_for(s.came == 1);
		assert_string_equal(s.remote, want);
		finish(&s);
		close(fd);
	}
}

static void test_a_unix_peer_has_no_address_but_an_at_sign(void **state)
{
	struct server s;
	start(&s, "sock");
	int fd = connect_unix("sock");
	wait_for(s.came == 1);
	assert_string_equal(s.remote, "@");
	finish(&s);
	close(fd);
}

static void test_no_descriptor_is_left_behind(void **state)
{
	struct server s;
	int before = count_descriptors();
	start(&s, "127.0.0.1:0");
	for (int i = 1; i <= 20; i++) {
		close(connect_v4(s.listener.port));
		wait_for(s.came == i);
	}
	finish(&s);
	assert_int_equal(count_descriptors(), before);
}

/* --- want of room ----------------------------------------------------------------------------- */

static void test_without_room_connections_wait(void **state)
{
	struct server s;
	int fds[3];
	start_with(&s, "127.0.0.1:0", (struct tcp_handler){.has_room = has_room});
	s.full = true;
	for (size_t i = 0; i < COUNT(fds); i++)
		fds[i] = connect_v4(s.listener.port);
	wait_for(s.asked_for_room > 5);
	assert_int_equal(s.came, 0);
	s.full = false;
	wait_for(s.came == COUNT(fds));
	finish(&s);
	for (size_t i = 0; i < COUNT(fds); i++)
		close(fds[i]);
}

static void test_one_without_room_stops(void **state)
{
	struct server s;
	start_with(&s, "127.0.0.1:0", (struct tcp_handler){.has_room = has_room});
	s.full = true;
	int fd = connect_v4(s.listener.port);
	wait_for(s.asked_for_room > 1);
	finish(&s);
	assert_int_equal(s.came, 0);
	close(fd);
}

/* --- want of descriptors ---------------------------------------------------------------------- */

/* From now on so many can be had. Returns the old limit. */
static struct rlimit descriptors_left(int n)
{
	struct rlimit old;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	int next = dup(0);
	close(next);
	struct rlimit few = old;
	few.rlim_cur = (rlim_t)(next + n);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	return old;
}

/*
 * A server begins when so many are left, not before: an accept4 that is under way already, and finds
 * no connection, has a descriptor all the same, and keeps it for the one that comes then.
 */
static struct rlimit start_with_descriptors(struct server *s, int n, struct tcp_handler h)
{
	make_with(s, "127.0.0.1:0", h);
	struct rlimit old = descriptors_left(n);
	acceptor_start(&s->acceptor, s->np);
	return old;
}

static void test_out_of_descriptors_it_tries_again(void **state)
{
	int fd = new_socket();
	struct server s;
	int log_fd = open_log();
	struct rlimit old = start_with_descriptors(&s, 0, (struct tcp_handler){.keep_back = 0});
	connect_with(fd, s.listener.port);
	wait_for(logged_in(log_fd, "temporary Accept() failure") > 0);
	assert_int_equal(s.came, 0);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	wait_for(s.came == 1);
	finish(&s);
	close(log_fd);
	close(fd);
}

/* New connections do not make it try sooner: there would be a line in the log for each. */
static void test_out_of_descriptors_it_pauses_also_when_others_come(void **state)
{
	int fds[60];
	struct server s;
	for (size_t i = 0; i < COUNT(fds); i++)
		fds[i] = new_socket();
	int log_fd = open_log();
	int64_t begin = clock_mono_ns();
	struct rlimit old = start_with_descriptors(&s, 0, (struct tcp_handler){.keep_back = 0});
	for (size_t i = 0; i < COUNT(fds); i++) {
		connect_with(fds[i], s.listener.port);
		sleep_ns(NSEC_PER_MSEC);
	}
	wait_for(logged_in(log_fd, "temporary Accept() failure") > 0);
	int lines = logged_in(log_fd, "temporary Accept() failure");
	int64_t pauses = (clock_mono_ns() - begin) / (100 * NSEC_PER_MSEC);
	assert_true(lines <= 1 + pauses);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	wait_for(s.came == COUNT(fds));
	finish(&s);
	close(log_fd);
	for (size_t i = 0; i < COUNT(fds); i++)
		close(fds[i]);
}

static void test_one_that_pauses_stops(void **state)
{
	int fd = new_socket();
	struct server s;
	int log_fd = open_log();
	struct rlimit old = start_with_descriptors(&s, 0, (struct tcp_handler){.keep_back = 0});
	connect_with(fd, s.listener.port);
	wait_for(logged_in(log_fd, "temporary Accept() failure") > 0);
	acceptor_stop(&s.acceptor);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	finish(&s);
	assert_int_equal(s.came, 0);
	close(log_fd);
	close(fd);
}

static void test_the_user_may_free_a_descriptor(void **state)
{
	int fd = new_socket();
	struct server s;
	int log_fd = open_log();
	struct tcp_handler h = {.no_descriptors = no_descriptors};
	struct rlimit old = start_with_descriptors(&s, 0, h);
	connect_with(fd, s.listener.port);
	wait_for(s.no_descriptors > 2);
	assert_int_equal(logged_in(log_fd, "temporary Accept() failure"), 0);
	s.helpless = true;
	wait_for(logged_in(log_fd, "temporary Accept() failure") > 0);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	wait_for(s.came == 1);
	finish(&s);
	close(log_fd);
	close(fd);
}

static void test_the_last_descriptors_are_kept_back(void **state)
{
	int fds[3], filler[16];
	struct server s;
	char buf[1];
	/* Of a limit below 16 it keeps less. */
	for (size_t i = 0; i < COUNT(filler); i++)
		filler[i] = dup(0);
	for (size_t i = 0; i < COUNT(fds); i++)
		fds[i] = new_socket();
	struct rlimit old = start_with_descriptors(&s, 2, (struct tcp_handler){.keep_back = 2});
	for (size_t i = 0; i < COUNT(fds); i++) {
		connect_with(fds[i], s.listener.port);
		assert_true(read(fds[i], buf, 1) <= 0);
	}
	/* There is still one to be had, and no line for each that was closed. */
	int one = dup(0);
	assert_true(one >= 0);
	close(one);
	assert_int_equal(logged("descriptors are for others"), 1);
	assert_int_equal(s.came, 0);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	for (size_t i = 0; i < COUNT(filler); i++)
		close(filler[i]);
	int fd = connect_v4(s.listener.port);
	wait_for(s.came == 1);
	close(fd);
	finish(&s);
	for (size_t i = 0; i < COUNT(fds); i++)
		close(fds[i]);
}

/* --- the end ---------------------------------------------------------------------------------- */

static void test_a_listener_that_fails_for_good_is_told_and_the_stop_is_fine(void **state)
{
	struct server s;
	start(&s, "127.0.0.1:0");
	/* It listens no more. */
	assert_int_equal(shutdown(s.listener.fd, SHUT_RDWR), 0);
	wait_for(s.failed == 1);
	assert_int_equal(s.why.code, EINVAL);
	assert_non_null(strstr(s.why.msg, "listener.Accept() error - accept"));
	finish(&s);
	assert_int_equal(s.failed, 1);
}

static _Atomic bool connecting;

/* After the stop nobody makes room in the backlog: when that is full, the next one gets no answer. */
static void connect_for_a_moment(int port)
{
	struct timeval moment = {.tv_usec = 100000};
	int fd = new_socket();
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &moment, sizeof(moment)), 0);
	if (try_connect(fd, port) != 0)
		assert_int_equal(errno, EINPROGRESS);
	close(fd);
}

static void keep_connecting(void *arg)
{
	struct server *s = arg;
	while (connecting)
		connect_for_a_moment(s->listener.port);
}

static void test_a_stop_in_a_storm_of_connections(void **state)
{
	struct server s;
	struct wait_group wg;
	start(&s, "127.0.0.1:0");
	wait_group_init(&wg);
	connecting = true;
	go(&wg, keep_connecting, &s);
	go(&wg, keep_connecting, &s);
	wait_for(s.came > ROUNDS(200));
	acceptor_stop(&s.acceptor);
	int came = s.came;
	connecting = false;
	join(&wg);
	finish(&s);
	assert_int_equal(s.came, came);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_without_connections_stops),
		cmocka_unit_test(test_one_that_never_started_stops),
		cmocka_unit_test(test_those_that_were_there_before_the_start_are_accepted),
		cmocka_unit_test(test_every_connection_is_handed_out),
		cmocka_unit_test(test_after_the_stop_no_connection_is_accepted),
		cmocka_unit_test(test_the_peers_address_is_shown_as_go_does),
		cmocka_unit_test(test_a_unix_peer_has_no_address_but_an_at_sign),
		cmocka_unit_test(test_no_descriptor_is_left_behind),
		cmocka_unit_test(test_without_room_connections_wait),
		cmocka_unit_test(test_one_without_room_stops),
		cmocka_unit_test(test_out_of_descriptors_it_tries_again),
		cmocka_unit_test(test_out_of_descriptors_it_pauses_also_when_others_come),
		cmocka_unit_test(test_one_that_pauses_stops),
		cmocka_unit_test(test_the_user_may_free_a_descriptor),
		cmocka_unit_test(test_the_last_descriptors_are_kept_back),
		cmocka_unit_test(test_a_listener_that_fails_for_good_is_told_and_the_stop_is_fine),
		cmocka_unit_test(test_a_stop_in_a_storm_of_connections),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
