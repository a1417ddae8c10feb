/* SPDX-License-Identifier: MIT */
/* http_newcomers: whose first line is one, what is said to the others, and who has to go. */
#include "test/unit/helper.h"

#include <fcntl.h>
#include <sys/socket.h>

#include "common/clock.h"
#include "nsqd/http_newcomers.h"
#include "nsqd/http_refuse.h"

#define BAD_REQUEST                                                                                \
	"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n"                  \
	"Connection: close\r\n\r\n400 Bad Request"

struct seen {
	int greeted, gone;
	int fd; /* of the last one that was greeted */
};

static void greeted(void *arg, int fd, const union address *addr)
{
	struct seen *s = arg;

	assert_int_equal(addr->sa.sa_family, AF_UNIX);
	s->greeted++;
	s->fd = fd;
}

static void gone(void *arg)
{
	((struct seen *)arg)->gone++;
}

static struct http_newcomers *start(struct seen *s)
{
	struct err err;
	struct http_newcomers *n = http_newcomers_new(greeted, gone, s, &err);

	assert_non_null(n);
	return n;
}

/* Returns the client's descriptor. */
static int come(struct http_newcomers *n)
{
	union address a = {.sa.sa_family = AF_UNIX};
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	assert_int_equal(fcntl(fds[0], F_SETFL, O_NONBLOCK), 0);
	http_newcomers_add(n, fds[0], &a);
	return fds[1];
}

static void say(struct http_newcomers *n, int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
	http_newcomers_look(n);
}

/* All that it was told, and no more is to come. */
static void expect_told(int fd, const char *text)
{
	char buf[300];

	assert_int_equal(recv(fd, buf, sizeof(buf), 0), strlen(text));
	assert_memory_equal(buf, text, strlen(text));
	assert_int_equal(recv(fd, buf, sizeof(buf), 0), 0);
}

static void test_lines(void **state)
{
	static const struct {
		const char *line, *status; /* NULL: it is one */
	} cases[] = {
		{"GET / HTTP/1.1", NULL},
		{"X-y! * HTTP/1.0", NULL},
		{"GET / HTTP/1.9", NULL},
		{"GET / HTTP/2.0", "505 HTTP Version Not Supported: unsupported protocol version"},
		{"GET / HTTP/0.9", "505 HTTP Version Not Supported: unsupported protocol version"},
		{"", "400 Bad Request"},
		{" ", "400 Bad Request"},
		{"GET", "400 Bad Request"},
		{"GET /", "400 Bad Request"},
		{"GET / ", "400 Bad Request"},
		{" / HTTP/1.1", "400 Bad Request"},
		{"G(T / HTTP/1.1", "400 Bad Request"},
		{"GET  / HTTP/1.1", "400 Bad Request"},
		{"GET / / HTTP/1.1", "400 Bad Request"},
		{"GET / HTTP/1.1 ", "400 Bad Request"},
		{"GET / HTTP/1.11", "400 Bad Request"},
		{"GET / HTTP/11.", "400 Bad Request"},
		{"GET / HTTP/x.1", "400 Bad Request"},
		{"GET / http/1.1", "400 Bad Request"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		const struct http_refusal *why =
			http_check_line(cases[i].line, strlen(cases[i].line));

		if (!cases[i].status != !why)
			fail_msg("%s: %s", cases[i].line, why ? why->status : "taken");
		if (why)
			assert_string_equal(why->status, cases[i].status);
	}
}

static void test_a_first_line_is_handed_on_unread_and_the_rest_is_refused(void **state)
{
	struct seen s = {0};
	struct http_newcomers *n = start(&s);
	int good = come(n), bad = come(n), silent = come(n);
	char buf[100];

	(void)state;
	say(n, good, "GET / HT");
	assert_int_equal(s.greeted, 0);
	say(n, good, "TP/1.1\r\n");
	assert_int_equal(s.greeted, 1);
	assert_int_equal(recv(s.fd, buf, sizeof(buf), 0), 16);
	close(s.fd);
	say(n, bad, "garbage\n");
	expect_told(bad, BAD_REQUEST);
	say(n, bad, "and more"); /* is read, and thrown away */
	assert_int_equal(s.gone, 0);
	close(bad);
	http_newcomers_look(n);
	assert_int_equal(s.gone, 1);
	close(silent);
	http_newcomers_look(n);
	assert_int_equal(s.gone, 2);
	close(good);
	http_newcomers_free(n);
	assert_int_equal(s.gone, 2);
}

static void test_an_end_within_the_line_is_refused(void **state)
{
	struct seen s = {0};
	struct http_newcomers *n = start(&s);
	int fd = come(n);

	(void)state;
	say(n, fd, "GE");
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	http_newcomers_look(n);
	expect_told(fd, BAD_REQUEST);
	assert_int_equal(s.gone, 1);
	close(fd);
	http_newcomers_free(n);
}

static void test_the_oldest_makes_room(void **state)
{
	struct seen s = {0};
	struct http_newcomers *n = start(&s);
	int first = come(n), second = come(n);
	char buf[1];

	(void)state;
	assert_false(http_newcomers_evict(n, 0));
	assert_true(http_newcomers_evict(n, INT64_MAX));
	assert_int_equal(recv(first, buf, 1, 0), 0);
	assert_int_equal(recv(second, buf, 1, MSG_DONTWAIT), -1);
	http_newcomers_free(n);
	assert_int_equal(recv(second, buf, 1, 0), 0);
	assert_int_equal(s.gone, 2);
	close(first);
	close(second);
}

static void test_whoever_was_just_refused_protects_nobody(void **state)
{
	struct seen s = {0};
	struct http_newcomers *n = start(&s);
	int silent = come(n), bad = come(n);
	int64_t came = clock_mono_ns() + 1;
	char buf[1];

	(void)state;
	while (clock_mono_ns() <= came)
		;
	say(n, bad, "garbage\n"); /* since then it is there anew */
	assert_true(http_newcomers_evict(n, came));
	assert_int_equal(recv(silent, buf, 1, 0), 0);
	expect_told(bad, BAD_REQUEST);
	assert_false(http_newcomers_evict(n, came));
	assert_true(http_newcomers_evict(n, INT64_MAX));
	close(silent);
	close(bad);
	http_newcomers_free(n);
	assert_int_equal(s.gone, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lines),
		cmocka_unit_test(test_a_first_line_is_handed_on_unread_and_the_rest_is_refused),
		cmocka_unit_test(test_an_end_within_the_line_is_refused),
		cmocka_unit_test(test_the_oldest_makes_room),
		cmocka_unit_test(test_whoever_was_just_refused_protects_nobody),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
