/* SPDX-License-Identifier: MIT */
/* statsd_client: lines, datagram sizes, spreading, and exit in the middle of it. */
#include "test/unit/helper.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include "common/clock.h"
#include "common/statsd_client.h"

static struct statsd_client client;
static struct err err;
static struct chan *exit_chan;
static int server, fd;

static int setup(void **state)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(sa);
	char address[64];
	exit_chan = chan_new(0, 0);
	server = socket(AF_INET, SOCK_DGRAM, 0);
	if (bind(server, (struct sockaddr *)&sa, sizeof(sa)) != 0 ||
		getsockname(server, (struct sockaddr *)&sa, &len) != 0)
		return -1;
	snprintf(address, sizeof(address), "127.0.0.1:%d", ntohs(sa.sin_port));
	fd = statsd_client_dial(address, &err);
	return fd >= 0 ? 0 : -1;
}

static int teardown(void **state)
{
	close(fd);
	close(server);
	chan_free(exit_chan);
	return 0;
}

/* The next datagram. The kernel may be late with it. */
static const char *received(void)
{
	static char buf[2048];
	struct pollfd p = {.fd = server, .events = POLLIN};
	assert_int_equal(poll(&p, 1, PATIENCE / NSEC_PER_MSEC), 1);
	ssize_t n = recv(server, buf, sizeof(buf) - 1, MSG_DONTWAIT);
	buf[n > 0 ? n : 0] = '\0';
	return buf;
}

static void expect_nothing(void)
{
	char buf[2048];
	assert_int_equal(recv(server, buf, sizeof(buf), MSG_DONTWAIT), -1);
}

static void test_lines_are_stocks(void **state)
{
	statsd_client_init(&client, "nsq.host_4151.", 508);
	statsd_client_incr(&client, 5, "topic.%s.message_count", "t");
	statsd_client_gauge(&client, -7, "topic.%s.channel.%s.depth", "t", "c");
	assert_int_equal(statsd_client_flush(&client, fd, 1000, exit_chan, &err), 0);
	assert_string_equal(received(), "nsq.host_4151.topic.t.message_count:5|c\n"
					"nsq.host_4151.topic.t.channel.c.depth:-7|g\n");
	expect_nothing();
	statsd_client_destroy(&client);
}

static void test_datagrams_hold_whole_lines_up_to_the_size(void **state)
{
	statsd_client_init(&client, "", 20);
	statsd_client_gauge(&client, 1, "aaaa");                      /* 9 bytes: aaaa:1|g\n */
	statsd_client_gauge(&client, 22, "bbbbb");                    /* 11: fills it exactly */
	statsd_client_gauge(&client, 1, "c");                         /* next */
	statsd_client_gauge(&client, 1, "longer-than-a-datagram-is"); /* alone */
	statsd_client_gauge(&client, 1, "d");
	assert_int_equal(client.n, 4);
	assert_int_equal(statsd_client_flush(&client, fd, 0, exit_chan, &err), 0);
	assert_int_equal(client.n, 0);
	assert_string_equal(received(), "aaaa:1|g\nbbbbb:22|g\n");
	assert_string_equal(received(), "c:1|g\n");
	assert_string_equal(received(), "longer-than-a-datagram-is:1|g\n");
	assert_string_equal(received(), "d:1|g\n");
	statsd_client_destroy(&client);
}

static void test_datagrams_are_spread_over_the_interval(void **state)
{
	int64_t start = clock_mono_ns();
	statsd_client_init(&client, "", 1);
	for (int i = 0; i < 5; i++)
		statsd_client_gauge(&client, i, "x");
	statsd_client_flush(&client, fd, 100 * NSEC_PER_MSEC, exit_chan, &err);
	assert_true(clock_mono_ns() - start >= 99 * NSEC_PER_MSEC);
	statsd_client_destroy(&client);
}

static void test_nothing_to_send_just_waits(void **state)
{
	int64_t start = clock_mono_ns();
	statsd_client_init(&client, "", 508);
	statsd_client_flush(&client, fd, 50 * NSEC_PER_MSEC, exit_chan, &err);
	assert_true(clock_mono_ns() - start >= 50 * NSEC_PER_MSEC);
	expect_nothing();
	statsd_client_destroy(&client);
}

static void test_what_is_not_sent_is_counted_with_its_reason(void **state)
{
	statsd_client_init(&client, "", 1);
	statsd_client_gauge(&client, 1, "x");
	statsd_client_gauge(&client, 2, "x");
	assert_int_equal(statsd_client_flush(&client, -1, 0, exit_chan, &err), 2);
	assert_string_equal(err.msg, "send: bad file descriptor");
	statsd_client_destroy(&client);
}

static void test_exit_sends_the_rest_at_once(void **state)
{
	int64_t start = clock_mono_ns();
	statsd_client_init(&client, "", 1);
	chan_close(exit_chan);
	statsd_client_flush(&client, fd, 3600 * NSEC_PER_SEC, exit_chan, &err);
	for (int i = 0; i < 3; i++)
		statsd_client_gauge(&client, i, "x");
	statsd_client_flush(&client, fd, 3600 * NSEC_PER_SEC, exit_chan, &err);
	assert_true(clock_mono_ns() - start < 60 * NSEC_PER_SEC);
	assert_string_equal(received(), "x:0|g\n");
	assert_string_equal(received(), "x:1|g\n");
	assert_string_equal(received(), "x:2|g\n");
	statsd_client_destroy(&client);
}

static void test_addresses_are_checked_as_by_go(void **state)
{
	assert_int_equal(statsd_client_dial("nohost", &err), -1);
	assert_string_equal(err.msg, "dial udp: address nohost: missing port in address");
	assert_int_equal(statsd_client_dial("::1:8125", &err), -1);
	assert_string_equal(err.msg, "dial udp: address ::1:8125: too many colons in address");
	int d = statsd_client_dial(":8125", &err);
	assert_true(d >= 0);
	close(d);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_lines_are_stocks),
		T(test_datagrams_hold_whole_lines_up_to_the_size),
		T(test_datagrams_are_spread_over_the_interval),
		T(test_nothing_to_send_just_waits),
		T(test_what_is_not_sent_is_counted_with_its_reason),
		T(test_exit_sends_the_rest_at_once),
		cmocka_unit_test(test_addresses_are_checked_as_by_go),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
