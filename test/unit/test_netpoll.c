/* SPDX-License-Identifier: MIT */
/* netpoll: dormant clients for which there is no thread. (All the rest is in test_idle.py.) */
#include "test/unit/listen_test.h"
#include "test/unit/nsqd_test.h"

#include <errno.h>
#include <poll.h>

#include "common/gothread_internal.h"
#include "common/thread_name.h"
#include "nsqd/client/netpoll.h"

static _Atomic bool no_threads; /* none can be created */
static _Atomic bool no_pumps;   /* nor can this kind, by an io_loop */
static _Atomic bool no_resumed; /* nor by netpoll */
static _Atomic int refuse_in;   /* the nth creation from now on fails; 0: none does */
static _Atomic int refused;

static int create_unless(
	pthread_t *id, const pthread_attr_t *attr, void *(*start)(void *), void *arg)
{
	int left = refuse_in;
	if (left > 0)
		refuse_in = left - 1;
	if (no_threads || left == 1 || (no_resumed && strcmp(thread_name(), "netpoll") == 0) ||
		(no_pumps && strncmp(thread_name(), "io:", 3) == 0)) {
		refused++;
		return EAGAIN;
	}
	return pthread_create(id, attr, start, arg);
}

static int oldpoll_setup(void **state)
{
	no_threads = no_pumps = no_resumed = false;
	refuse_in = refused = 0;
	gothread_create = create_unless;
	gothread_learns_limit = false;
	return fixture_setup(state);
}

static int oldpoll_teardown(void **state)
{
	int rc = fixture_teardown(state);
	gothread_create = pthread_create;
	return rc;
}

/* A daemon that runs, with a channel. */
#define oldpoll_test(f)                                                                            \
	fixture_test(f, oldpoll_setup, oldpoll_teardown, .wants = A_CHANNEL,                       \
		.mem_queue_size = 100, .runs = true)

static void count_client(void *arg, const char *name, int tid)
{
	*(size_t *)arg += strncmp(name, "io:", 3) == 0 || strncmp(name, "pump:", 5) == 0;
}

static size_t client_threads(void)
{
	size_t n = 0;
	gothread_each(count_client, &n);
	return n;
}

/* What is sent comes back as expected. */
static void expect(int fd, const char *answer, size_t len)
{
	char buf[64];
	assert_true(len <= sizeof(buf));
	assert_int_equal(recv(fd, buf, len, MSG_WAITALL), len);
	assert_memory_equal(buf, answer, len);
}

static void say(int fd, const char *text, size_t len)
{
	assert_int_equal(send(fd, text, len, MSG_NOSIGNAL), len);
}

#define SAY(fd, text) say(fd, text, sizeof(text) - 1)
#define OK_FRAME "\0\0\0\6\0\0\0\0OK"
#define HEARTBEAT_FRAME "\0\0\0\17\0\0\0\0_heartbeat_"
#define EXPECT(fd, text) expect(fd, text, sizeof(text) - 1)

/* Says hello. */
static int begin_client(int fd)
{
	/* An answer: it has its threads, or has had them, which on a slow machine nobody sees. */
	SAY(fd, "  V2PUB t\n\0\0\0\1x");
	EXPECT(fd, OK_FRAME);
	return fd;
}

static int connect_client(struct nsqd *n)
{
	return begin_client(connect_v4(n->tcp_listener.port));
}

/* A dormant consumer that is ready for one message. */
static int dormant_consumer(struct nsqd *n, struct channel *ch)
{
	size_t room = ch->dormant_ready;
	int fd = connect_client(n);
	SAY(fd, "SUB test ch\nRDY 1\n");
	EXPECT(fd, OK_FRAME);
	wait_for(ch->dormant_ready == room + 1);
	return fd;
}

/* A message, and no heartbeat. */
static void expect_message(int fd)
{
	char buf[64];
	assert_true(recv(fd, buf, sizeof(buf), 0) > 8);
	assert_memory_equal(buf + 4, "\0\0\0\2", 4);
}

/* A dormant client says something, and is answered once lack has ended. */
static void expect_patience(struct nsqd *n, _Atomic bool *lack, int tries)
{
	int fd = connect_client(n);
	wait_for(client_threads() == 0);
	*lack = true;
	SAY(fd, "PUB t\n\0\0\0\1x");
	wait_for(refused >= tries);
	*lack = false;
	EXPECT(fd, OK_FRAME);
	close(fd);
}

static void test_without_a_thread_the_client_waits_for_one(struct fixture *f)
{
	expect_patience(f->nsqd, &no_threads, 2);
}

static void test_without_a_pump_the_client_waits_for_one(struct fixture *f)
{
	expect_patience(f->nsqd, &no_pumps, 3);
}

static void test_heartbeats_go_on_without_threads(struct fixture *f)
{
	int fd = connect_client(f->nsqd);
	char frame[10];
	/* After the time that it takes to become dormant. */
	SAY(fd, "IDENTIFY\n\0\0\0\x1b{\"heartbeat_interval\":2500}");
	EXPECT(fd, OK_FRAME);
	wait_for(client_threads() == 0);
	no_threads = true;
	SAY(fd, "PUB t\n\0\0\0\1x");
	EXPECT(fd, HEARTBEAT_FRAME);
	no_threads = false;
	while (recv(fd, frame, sizeof(frame), MSG_WAITALL) == sizeof(frame) &&
		memcmp(frame, OK_FRAME, sizeof(frame)) != 0)
		EXPECT(fd, &HEARTBEAT_FRAME[sizeof(frame)]);
	close(fd);
}

/*
 * The one of the two that has the message. The first gets it where its retry, after 20 ms, is
 * sooner than the other has its threads.
 */
static int which_has_message(int first, int second)
{
	struct pollfd fds[] = {{.fd = first, .events = POLLIN}, {.fd = second, .events = POLLIN}};
	assert_true(poll(fds, 2, PATIENCE / NSEC_PER_MSEC) > 0);
	return fds[1].revents != 0 ? second : first;
}

static void get_client(struct client_v2 *c, void *arg)
{
	*(struct client_v2 **)arg = c;
}

/* Until the peer reads, nothing more can be sent to it. */
static size_t fill_connection(struct nsqd *n)
{
	struct client_v2 *c = NULL;
	tcp_server_each_client(n->tcp_server, get_client, &c);
	assert_non_null(c);
	return fill_socket(stream_sock_fd(c->base));
}

/* It has a buffer of a fixed size. */
static void listen_unix(struct options *o)
{
	free(o->tcp_address);
	o->tcp_address = xstrdup("sock");
}

/*
 * The pump has to flush them. Half a command would make the client dormant after a moment, and this
 * one does become so when its peer has read.
 */
static void test_a_client_with_answers_left_keeps_its_threads(struct fixture *f)
{
	int fd = begin_client(connect_unix("sock"));
	size_t filled = fill_connection(f->nsqd);
	SAY(fd, "PUB t\n\0\0\0\1xPU");
	wait_for(get_topic(f->nsqd, "t")->message_count == 2);
	int64_t end = clock_mono_ns() + 2 * MOMENT_NS;
	while (clock_mono_ns() < end) {
		assert_int_equal(client_threads(), 2);
		sleep_ns(5 * NSEC_PER_MSEC);
	}
	while (filled > 0) {
		char junk[4096];
		ssize_t got = recv(fd, junk, filled < sizeof(junk) ? filled : sizeof(junk), 0);
		assert_true(got > 0);
		filled -= (size_t)got;
	}
	EXPECT(fd, OK_FRAME);
	wait_for(client_threads() == 0);
	SAY(fd, "B t\n\0\0\0\1x");
	EXPECT(fd, OK_FRAME);
	close(fd);
}

static void test_without_a_pump_the_message_goes_to_another(struct fixture *f)
{
	struct topic *t = f->topic;
	struct channel *ch = f->channel;
	int first = dormant_consumer(f->nsqd, ch), second = dormant_consumer(f->nsqd, ch);
	refuse_in = 2; /* io_loop gets its thread */
	put(t, 0, 1);
	int served = which_has_message(first, second);
	expect_message(served);
	assert_int_equal(refused, 1);
	/* The first is resumed after a while, for nothing. */
	put(t, 1, 1);
	expect_message(served == second ? first : second);
	assert_int_equal(ch->waking_ready, 0);
	close(first);
	close(second);
}

static void test_a_message_does_not_wait_for_a_client_without_a_thread(struct fixture *f)
{
	struct topic *t = f->topic;
	struct channel *ch = f->channel;
	int first = dormant_consumer(f->nsqd, ch), second = dormant_consumer(f->nsqd, ch);
	refuse_in = 1;
	put(t, 0, 1);
	int served = which_has_message(first, second);
	expect_message(served);
	put(t, 1, 1);
	expect_message(served == second ? first : second);
	assert_int_equal(ch->waking_ready, 0);
	close(first);
	close(second);
}

/* Also for one that has said something. */
static void test_the_daemon_ends_without_threads(struct fixture *f)
{
	int fds[] = {connect_client(f->nsqd), connect_client(f->nsqd), connect_client(f->nsqd)};
	char buf[1];
	wait_for(client_threads() == 0);
	no_threads = true;
	SAY(fds[1], "PUB t\n\0\0\0\1x");
	wait_for(refused > 0);
	end_nsqd(f);
	for (size_t i = 0; i < COUNT(fds); i++) {
		assert_int_equal(recv(fds[i], buf, 1, 0), 0);
		close(fds[i]);
	}
}

/* Thousands of them would need twice as many, only to end. */
static void test_dormant_clients_take_no_thread_for_the_daemons_exit(struct fixture *f)
{
	struct channel *ch = f->channel;
	int fds[] = {connect_client(f->nsqd), connect_client(f->nsqd), connect_client(f->nsqd)};
	char buf[1];
	SAY(fds[0], "SUB test ch\nRDY 1\n");
	EXPECT(fds[0], OK_FRAME);
	SAY(fds[1], "SUB test e#ephemeral\nRDY 1\n");
	EXPECT(fds[1], OK_FRAME);
	wait_for(client_threads() == 0 && ch->dormant_ready == 1);
	no_resumed = true;
	end_nsqd(f);
	assert_int_equal(refused, 0);
	for (size_t i = 0; i < COUNT(fds); i++) {
		assert_int_equal(recv(fds[i], buf, 1, 0), 0);
		close(fds[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		oldpoll_test(test_without_a_thread_the_client_waits_for_one),
		oldpoll_test(test_without_a_pump_the_client_waits_for_one),
		oldpoll_test(test_heartbeats_go_on_without_threads),
		fixture_test(test_a_client_with_answers_left_keeps_its_threads, oldpoll_setup,
			oldpoll_teardown, .wants = A_DAEMON, .mem_queue_size = 100, .runs = true,
			.adjust = listen_unix),
		oldpoll_test(test_without_a_pump_the_message_goes_to_another),
		oldpoll_test(test_a_message_does_not_wait_for_a_client_without_a_thread),
		oldpoll_test(test_the_daemon_ends_without_threads),
		oldpoll_test(test_dormant_clients_take_no_thread_for_the_daemons_exit),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
