/* SPDX-License-Identifier: MIT */
/*
 * tcp: clients of a daemon that runs, from the magic to the end, and where there is no thread for
 * what they want. (What a step does is in test_io_loop.c.)
 */
#include "test/unit/listen_test.h"
#include "test/unit/nsqd_test.h"

#include <poll.h>
#include <signal.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/time.h>

#include "common/gothread_internal.h"
#include "nsqd/http/http_internal.h"

static _Atomic bool no_threads; /* none can be created */
static _Atomic int refused;     /* so many times */
static _Atomic int created;

static int create_unless(pthread_t *id, const pthread_attr_t *attr, void *(*fn)(void *), void *arg)
{
	if (no_threads) {
		refused++;
		return EAGAIN;
	}
	created++;
	return pthread_create(id, attr, fn, arg);
}

static int tcp_setup(void **state)
{
	no_threads = false;
	gothread_create = create_unless;
	gothread_learns_limit = false;
	int rc = fixture_setup(state);
	refused = created = 0;
	return rc;
}

static int tcp_teardown(void **state)
{
	no_threads = false;
	int rc = fixture_teardown(state);
	gothread_create = pthread_create;
	return rc;
}

/* A daemon that runs, with a channel. */
#define tcp_test(f)                                                                                \
	fixture_test(f, tcp_setup, tcp_teardown, .wants = A_CHANNEL, .mem_queue_size = 2000,       \
		.runs = true)

static int connect_to(struct fixture *f)
{
	struct timeval patience = {.tv_sec = PATIENCE / NSEC_PER_SEC};
	int fd = connect_v4(f->nsqd->tcp_listener.port);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
	return fd;
}

static void say(int fd, const char *text, size_t len)
{
	assert_int_equal(send(fd, text, len, MSG_NOSIGNAL), len);
}

static void expect(int fd, const char *answer, size_t len)
{
	char buf[64];
	assert_true(len <= sizeof(buf));
	assert_int_equal(recv(fd, buf, len, MSG_WAITALL), len);
	assert_memory_equal(buf, answer, len);
}

#define SAY(fd, text) say(fd, text, sizeof(text) - 1)
#define EXPECT(fd, text) expect(fd, text, sizeof(text) - 1)
#define OK_FRAME "\0\0\0\6\0\0\0\0OK"
#define HEARTBEAT_FRAME "\0\0\0\17\0\0\0\0_heartbeat_"
#define PUB(topic) "PUB " topic "\n\0\0\0\1x"

/* It is there, and has said what makes it one. */
static int connect_client(struct fixture *f)
{
	int fd = connect_to(f);
	SAY(fd, "  V2" PUB("test"));
	EXPECT(fd, OK_FRAME);
	return fd;
}

static void expect_end(int fd)
{
	char c;
	assert_int_equal(recv(fd, &c, 1, 0), 0);
	close(fd);
}

static void count(struct client_v2 *c, void *arg)
{
	(*(size_t *)arg)++;
}

static size_t clients_of(struct fixture *f)
{
	size_t n = 0;
	tcp_server_each_client(f->nsqd->tcp_server, count, &n);
	return n;
}

static void count_io_loop(void *arg, const char *name, int tid)
{
	*(size_t *)arg += strncmp(name, "io:", 3) == 0;
}

/* How many clients have a thread. */
static size_t io_threads(void)
{
	size_t n = 0;
	gothread_each(count_io_loop, &n);
	return n;
}

/* --- the magic ---------------------------------------------------------------------------------- */

static void test_clients_come_and_go_without_threads(struct fixture *f)
{
	for (int i = 0; i < 20; i++) {
		int fd = connect_client(f);
		SAY(fd, "SUB test ch\nCLS\n");
		EXPECT(fd, OK_FRAME "\0\0\0\x0e\0\0\0\0CLOSE_WAIT");
		close(fd);
		wait_for(clients_of(f) == 0);
	}
	/* On a busy machine one may find another thread in the middle of a step of its pump. */
	assert_in_range(created, 0, 10);
}

static void test_the_magic_may_come_byte_by_byte(struct fixture *f)
{
	static const char text[] = "  V2" PUB("test");
	int fd = connect_to(f);
	for (size_t i = 0; i < sizeof(text) - 1; i++) {
		say(fd, text + i, 1);
		sleep_ns(NSEC_PER_MSEC / 2);
	}
	EXPECT(fd, OK_FRAME);
	close(fd);
}

static void test_another_magic_is_refused(struct fixture *f)
{
	int fd = connect_to(f);
	SAY(fd, "GET ");
	EXPECT(fd, "\0\0\0\x12\0\0\0\1E_BAD_PROTOCOL");
	expect_end(fd);
	wait_for(clients_of(f) == 0);
	assert_int_equal(created, 0);
}

static void test_a_client_that_says_nothing_leaves_nothing(struct fixture *f)
{
	int fds[] = {connect_to(f), connect_to(f)};
	wait_for(clients_of(f) == 2);
	SAY(fds[1], "  V");
	close(fds[0]);
	close(fds[1]);
	wait_for(clients_of(f) == 0);
	assert_int_equal(created, 0);
}

/* --- with a thread ------------------------------------------------------------------------------- */

/* What it needed the thread for is done, but it goes on, now and then. */
static void test_a_client_gives_its_thread_up_though_it_is_never_silent(struct fixture *f)
{
	int fd = connect_client(f);
	SAY(fd, PUB("new"));
	EXPECT(fd, OK_FRAME);
	wait_for(({
		SAY(fd, PUB("test"));
		EXPECT(fd, OK_FRAME);
		sleep_ns(NSEC_PER_MSEC);
		io_threads() == 0;
	}));
	close(fd);
}

/* --- without threads ---------------------------------------------------------------------------- */

/* A client with heartbeats every second may be silent for twice that. */
#define SILENCE_MS 2000

/* A PUB to a topic that is not there yet: for that it needs a thread. Returns a moment before. */
static int64_t say_new(int fd)
{
	static int n;
	char text[64];
	int64_t begin = clock_mono_ns();
	int len = snprintf(text, sizeof(text), "PUB new%d\n", n++);
	memcpy(text + len, "\0\0\0\1x", 5);
	say(fd, text, (size_t)len + 5);
	return begin;
}

/* Threads can be had again. False: the test was late itself, so that the client has been given up. */
static bool is_answered_at_last(int fd, int64_t begin)
{
	char buf[sizeof(OK_FRAME) - 1];
	no_threads = false;
	bool late = clock_mono_ns() - begin >= THREAD_WAIT_NS;
	ssize_t n = recv(fd, buf, sizeof(buf), MSG_WAITALL);
	if (late && n <= 0)
		return false;
	assert_int_equal(n, sizeof(buf));
	assert_memory_equal(buf, OK_FRAME, sizeof(buf));
	return true;
}

static void test_without_a_thread_the_client_waits_for_one(struct fixture *f)
{
	bool answered;
	do {
		int fd = connect_client(f);
		no_threads = true;
		refused = 0;
		int64_t begin = say_new(fd);
		wait_for(refused >= 3);
		answered = is_answered_at_last(fd, begin);
		close(fd);
	} while (!answered);
}

static void test_without_a_thread_others_go_on(struct fixture *f)
{
	bool answered;
	do {
		int fd = connect_client(f), other = connect_client(f);
		no_threads = true;
		refused = 0;
		int64_t begin = say_new(fd);
		wait_for(refused >= 1);
		for (int i = 0; i < 5; i++) {
			SAY(other, PUB("test"));
			EXPECT(other, OK_FRAME);
		}
		answered = is_answered_at_last(fd, begin);
		close(fd);
		close(other);
	} while (!answered);
}

/* It has got a thread within its second, and has as long the next time. */
static bool waits_twice(struct fixture *f, int fd)
{
	bool answered = true;
	for (int i = 0; i < 2 && answered; i++) {
		no_threads = true;
		int64_t begin = say_new(fd);
		wait_for(clock_mono_ns() - begin > 600 * NSEC_PER_MSEC);
		answered = is_answered_at_last(fd, begin);
		wait_for(io_threads() == 0);
	}
	return answered;
}

static void test_a_client_waits_for_a_thread_for_a_second(struct fixture *f)
{
	int fd = connect_client(f), other = connect_client(f);
	no_threads = true;
	int64_t begin = say_new(fd);
	expect_end(fd);
	assert_true(clock_mono_ns() - begin >= THREAD_WAIT_NS);
	assert_int_equal(topic_count(f->nsqd), 1);
	wait_for(clients_of(f) == 1);
	while (!waits_twice(f, other)) {
		close(other);
		other = connect_client(f);
	}
	close(other);
}

/*
 * Two heartbeats come, while it says something all the time. False: the test was silent for too long
 * itself. It has said something at last_ns.
 */
static bool hears_heartbeats(int fd, int64_t last_ns)
{
	static const char want[] = HEARTBEAT_FRAME HEARTBEAT_FRAME;
	char got[sizeof(want) - 1];
	int64_t end = clock_mono_ns() + PATIENCE, longest = 0;
	for (size_t len = 0; len < sizeof(got);) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		bool over = send(fd, "NOP\n", 4, MSG_NOSIGNAL) != 4;
		int64_t now = clock_mono_ns();
		longest = now - last_ns > longest ? now - last_ns : longest;
		last_ns = now;
		assert_true(now < end);
		assert_true(poll(&p, 1, 20) >= 0);
		ssize_t n = recv(fd, got + len, sizeof(got) - len, MSG_DONTWAIT);
		over = over || n == 0 || (n < 0 && errno != EAGAIN);
		if (over && longest >= SILENCE_MS * NSEC_PER_MSEC)
			return false;
		assert_false(over);
		len += n > 0 ? (size_t)n : 0;
	}
	assert_memory_equal(got, want, sizeof(got));
	return true;
}

static void test_heartbeats_go_on_without_threads(struct fixture *f)
{
	bool heard;
	no_threads = true;
	do {
		int fd = connect_client(f);
		int64_t begin = clock_mono_ns();
		SAY(fd, "IDENTIFY\n\0\0\0\x1b{\"heartbeat_interval\":1000}");
		EXPECT(fd, OK_FRAME);
		heard = hears_heartbeats(fd, begin);
		close(fd);
		wait_for(clients_of(f) == 0);
	} while (!heard);
	no_threads = false;
}

static void put_much(struct topic *t)
{
	enum { N = 100, SIZE = 100000 };
	struct message_body *bodies[N];
	struct err err;
	for (size_t i = 0; i < N; i++) {
		bodies[i] = message_body_new(SIZE);
		memset(bodies[i]->data, 'x', SIZE);
	}
	assert_int_equal(topic_put_messages(t, bodies, N, &err), N);
}

static void get_client(struct client_v2 *c, void *arg)
{
	*(struct client_v2 **)arg = c;
}

/* A thread writes to the client, and does not get on, since that does not read. */
static bool is_stuck(struct fixture *f)
{
	struct client_v2 *c = NULL;
	int first = -1, unsent;
	tcp_server_each_client(f->nsqd->tcp_server, get_client, &c);
	for (int i = 0; i < 20; i++) {
		if (mutex_trylock(&c->write_lock)) {
			mutex_unlock(&c->write_lock);
			return false;
		}
		assert_int_equal(ioctl(stream_sock_fd(c->base), SIOCOUTQ, &unsent), 0);
		if (i == 0)
			first = unsent;
		if (unsent == 0 || unsent != first)
			return false;
		sleep_ns(NSEC_PER_MSEC);
	}
	return true;
}

/* Its pump writes for a while, and so it waits for a thread. When the pump has ended it needs none. */
static void test_without_a_thread_a_client_leaves_when_its_pump_has_ended(struct fixture *f)
{
	static char junk[1 << 16];
	int fd = connect_client(f), size = 1 << 16;
	ssize_t got;
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size)), 0);
	SAY(fd, "SUB test ch\nRDY 100\n");
	/* is_stuck has the lock for a moment: the answer must not find it taken. */
	EXPECT(fd, OK_FRAME);
	put_much(f->topic);
	wait_for(is_stuck(f));
	no_threads = true;
	shutdown(fd, SHUT_WR);
	wait_for(refused > 0);
	while ((got = recv(fd, junk, sizeof(junk), 0)) > 0)
		;
	assert_int_equal(got, 0);
	wait_for(clients_of(f) == 0);
	no_threads = false;
	close(fd);
}

/* --- the exit ----------------------------------------------------------------------------------- */

static void get_subscribed(struct client_v2 *c, void *arg)
{
	if (atomic_load(&c->state) == STATE_SUBSCRIBED)
		*(struct client_v2 **)arg = c;
}

/* The only consumer has its message, and its pump waits: no thread is in the middle of a step. */
static bool has_been_served(struct fixture *f)
{
	struct client_v2 *c = NULL;
	tcp_server_each_client(f->nsqd->tcp_server, get_subscribed, &c);
	return c && is_away(c->ready_state_chan) && channel_in_flight_count(f->channel) == 1;
}

/* Thousands of them would need as many threads, only to end. */
static void test_the_exit_needs_no_thread_for_clients_that_are_silent(struct fixture *f)
{
	int fds[] = {connect_client(f), connect_client(f), connect_client(f), connect_to(f)};
	SAY(fds[0], "SUB test ch\nRDY 1\n");
	EXPECT(fds[0], OK_FRAME);
	SAY(fds[1], "PUB te");
	SAY(fds[2], "PUB test\n\0\0\0\4x");
	wait_for(clients_of(f) == COUNT(fds));
	wait_for(has_been_served(f));
	no_threads = true;
	tcp_server_close(f->nsqd->tcp_server);
	assert_int_equal(refused, 0);
	assert_int_equal(clients_of(f), 0);
	no_threads = false;
	for (size_t i = 0; i < COUNT(fds); i++)
		close(fds[i]);
}

/* Also not for those that wait for one, and for one whose end may block. */
static void test_the_exit_does_not_wait_for_threads(struct fixture *f)
{
	int fds[] = {connect_client(f), connect_client(f), connect_client(f)};
	SAY(fds[0], "SUB test e#ephemeral\nRDY 1\n");
	EXPECT(fds[0], OK_FRAME);
	no_threads = true;
	SAY(fds[1], PUB("new"));
	SAY(fds[2], "IDENTIFY\n\0\0\0\x28{\"feature_negotiation\":true,\"snappy\":true}");
	wait_for(refused >= 4);
	int64_t begin = clock_mono_ns();
	end_nsqd(f);
	/* A second for those that do not read, and as much for the next try. */
	assert_true(clock_mono_ns() - begin < 10 * NSEC_PER_SEC);
	for (size_t i = 0; i < COUNT(fds); i++)
		close(fds[i]);
}

/* As accept says it of what listens no more: nothing that passes. main waits for SIGTERM then. */
static void expect_end_without(struct fixture *f, int listener)
{
	assert_true(signal(SIGTERM, SIG_IGN) != SIG_ERR);
	assert_int_equal(shutdown(listener, SHUT_RDWR), 0);
	wait_for(atomic_load(&f->nsqd->ctx.main_failed));
	end_nsqd(f);
	assert_true(signal(SIGTERM, SIG_DFL) != SIG_ERR);
}

static void test_the_daemon_does_not_go_on_without_its_tcp_listener(struct fixture *f)
{
	expect_end_without(f, f->nsqd->tcp_listener.fd);
}

static void listen_to_http(struct options *o)
{
	free(o->http_address);
	o->http_address = xstrdup("127.0.0.1:0");
}

static void test_the_daemon_does_not_go_on_without_its_http_listener(struct fixture *f)
{
	expect_end_without(f, f->nsqd->http_server->listener.fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		tcp_test(test_clients_come_and_go_without_threads),
		tcp_test(test_the_magic_may_come_byte_by_byte),
		tcp_test(test_another_magic_is_refused),
		tcp_test(test_a_client_that_says_nothing_leaves_nothing),
		tcp_test(test_a_client_gives_its_thread_up_though_it_is_never_silent),
		tcp_test(test_without_a_thread_the_client_waits_for_one),
		tcp_test(test_without_a_thread_others_go_on),
		tcp_test(test_a_client_waits_for_a_thread_for_a_second),
		tcp_test(test_heartbeats_go_on_without_threads),
		tcp_test(test_without_a_thread_a_client_leaves_when_its_pump_has_ended),
		tcp_test(test_the_exit_needs_no_thread_for_clients_that_are_silent),
		tcp_test(test_the_exit_does_not_wait_for_threads),
		tcp_test(test_the_daemon_does_not_go_on_without_its_tcp_listener),
		fixture_test(test_the_daemon_does_not_go_on_without_its_http_listener, tcp_setup,
			tcp_teardown, .adjust = listen_to_http, .runs = true, .wants = A_DAEMON),
	};
	/* Each function that gets a thread gets a new one: the tests count them, and let some fail. */
	gothread_kept_max = 0;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
