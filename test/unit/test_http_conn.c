/* SPDX-License-Identifier: MIT */
/*
 * A connection's states at a poller: it stops wherever its input ends, never blocks, and asks for a
 * thread for what might. The test is its client, and takes its steps.
 */
#include "test/unit/nsqd_test.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/syscall.h>

#include "nsqd/http/http_conn.h"
#include "nsqd/http/http_internal.h"
#include "nsqd/http/http_server.h"

/* A connection, and the client's end of it. */
struct peer {
	struct http_server server;
	struct http_conn *c;
	int fd;
	char got[16384];
};

/* In place of libc's: each fails with this code, if it is not 0. */
static _Atomic int sendmsg_code;

ssize_t sendmsg(int fd, const struct msghdr *mh, int flags)
{
	if (sendmsg_code == 0)
		return syscall(SYS_sendmsg, fd, mh, flags);
	errno = sendmsg_code;
	return -1;
}

/* The pollers do not run: the test takes the steps. */
static const struct netpoll_ops no_ops;

static void dial(struct peer *p, struct fixture *f)
{
	union address none = {0};
	int fds[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	memset(p, 0, sizeof(*p));
	p->server.daemon = &f->nsqd->http_daemon;
	p->server.netpoll = f->nsqd->netpoll;
	p->fd = fds[1];
	assert_int_equal(fcntl(p->fd, F_SETFL, O_NONBLOCK), 0);
	p->c = http_conn_new(&p->server, fds[0], &none);
	p->c->pd = netpoll_open(f->nsqd->netpoll, fds[0], &no_ops, p->c);
}

static void hang_up(struct peer *p)
{
	netpoll_close(p->c->pd);
	http_conn_free(p->c);
	close(p->fd);
}

static void say(struct peer *p, const char *data, size_t n)
{
	assert_int_equal(send(p->fd, data, n, MSG_NOSIGNAL), n);
}

/* What the client has been told, with dates left out. */
static const char *heard(struct peer *p)
{
	ssize_t n = recv(p->fd, p->got, sizeof(p->got) - 1, 0);
	p->got[n < 0 ? 0 : n] = '\0';
	for (char *date; (date = strstr(p->got, "Date: ")) != NULL;) {
		char *end = strchr(date, '\n') + 1;
		memmove(date, end, strlen(end) + 1);
	}
	return p->got;
}

static enum netpoll_next step(struct peer *p)
{
	return http_conn_step(p->c, false);
}

static enum netpoll_next run(struct peer *p)
{
	return http_conn_step(p->c, true);
}

#define OK_PUB                                                                                     \
	"HTTP/1.1 200 OK\r\nX-Nsq-Content-Type: nsq; version=1.0\r\nContent-Length: 2\r\n"         \
	"Content-Type: text/plain; charset=utf-8\r\n\r\nOK"
#define OK_PING                                                                                    \
	"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: text/plain; "                       \
	"charset=utf-8\r\n\r\nOK"
#define PING "GET /ping HTTP/1.1\r\nHost: x\r\n\r\n"
#define PUB "POST /pub?topic=test HTTP/1.1\r\nHost: x\r\n"
#define CHUNKED "Transfer-Encoding: chunked\r\n\r\n"

static const struct {
	const char *said, *answer;
	size_t messages;
} dialogs[] = {
	{PING, OK_PING, 0},
	{PING PING, OK_PING OK_PING, 0},
	{PUB "Content-Length: 3\r\n\r\nabc", OK_PUB, 1},
	{PUB CHUNKED "1\r\na\r\n2;x=y\r\nbc\r\n0\r\nA: b\r\n\r\n", OK_PUB, 1},
	{PUB "Content-Length: 1\r\n\r\na" PUB CHUNKED "1\r\nb\r\n0\r\n\r\n" PING,
		OK_PUB OK_PUB OK_PING, 2},
	{PUB "Expect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
		"HTTP/1.1 100 Continue\r\n\r\n" OK_PUB, 1},
	{"POST /mpub?topic=test HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\na\nb\nc", OK_PUB,
		3},
	/* A body that nobody wants is read, so that the next request is found. */
	{"GET /ping HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nGET " PING, OK_PING OK_PING, 0},
};

static size_t depth(struct fixture *f)
{
	return chan_len(f->topic->memory_msg_chan);
}

static void pause_topic(struct fixture *f)
{
	topic_pause(f->topic);
	topic_pause(f->topic);
}

static void test_it_stops_at_any_byte(struct fixture *f)
{
	pause_topic(f);
	for (size_t i = 0; i < COUNT(dialogs); i++) {
		struct peer p;
		struct strbuf answer = STRBUF_INIT;
		size_t before = depth(f), len = strlen(dialogs[i].said);
		dial(&p, f);
		for (size_t at = 0; at < len; at++) {
			assert_int_equal(step(&p), NETPOLL_WAIT);
			say(&p, dialogs[i].said + at, 1);
		}
		assert_int_equal(step(&p), NETPOLL_WAIT);
		strbuf_adds(&answer, heard(&p));
		assert_string_equal(answer.data, dialogs[i].answer);
		assert_int_equal(depth(f), before + dialogs[i].messages);
		strbuf_free(&answer);
		hang_up(&p);
	}
}

static void test_a_poller_and_a_thread_answer_alike(struct fixture *f)
{
	pause_topic(f);
	for (size_t i = 0; i < 2 * COUNT(dialogs); i++) {
		struct peer p;
		dial(&p, f);
		say(&p, dialogs[i / 2].said, strlen(dialogs[i / 2].said));
		assert_int_equal(i % 2 ? run(&p) : step(&p), NETPOLL_WAIT);
		assert_string_equal(heard(&p), dialogs[i / 2].answer);
		hang_up(&p);
	}
}

/* Which requests need a thread: nothing of them is done before. */
static void expect_thread(struct fixture *f, const char *said)
{
	struct peer p;
	dial(&p, f);
	say(&p, said, strlen(said));
	assert_int_equal(step(&p), NETPOLL_THREAD);
	assert_string_equal(heard(&p), "");
	assert_int_equal(run(&p), NETPOLL_WAIT);
	assert_ptr_equal(strstr(heard(&p), "HTTP/1.1 200 OK\r\n"), p.got);
	hang_up(&p);
}

static void test_what_may_block_needs_a_thread(struct fixture *f)
{
	static const char publish[] = PUB "Content-Length: 1\r\n\r\na";
	expect_thread(f, "GET /stats HTTP/1.1\r\nHost: x\r\n\r\n");
	expect_thread(f, "GET /debug/ HTTP/1.1\r\nHost: x\r\n\r\n");
	expect_thread(f, "POST /topic/create?topic=a HTTP/1.1\r\nHost: x\r\n\r\n");
	expect_thread(f, "POST /pub?topic=b HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\na");
	expect_thread(f, "POST /mpub?topic=c HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\na");
	pause_topic(f);
	put(f->topic, 0, chan_cap(f->topic->memory_msg_chan) - 2);
	expect_thread(f, "POST /mpub?topic=test HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n"
			 "a\nb\nc");
	expect_thread(f, publish);
}

/* The topic of /mpub comes before its body. */
static void test_a_topic_is_created_before_the_body(struct fixture *f)
{
	struct peer p;
	dial(&p, f);
	static const char head[] =
		"POST /mpub?topic=new HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n";
	say(&p, head, strlen(head));
	assert_int_equal(step(&p), NETPOLL_THREAD);
	assert_int_equal(topic_count(f->nsqd), 1);
	assert_int_equal(run(&p), NETPOLL_WAIT);
	assert_int_equal(topic_count(f->nsqd), 2);
	say(&p, "x", 1);
	assert_int_equal(step(&p), NETPOLL_WAIT);
	assert_string_equal(heard(&p), OK_PUB);
	hang_up(&p);
}

/* A body that comes faster than a poller takes it, and one that drips. */
static void test_a_body_that_flows_gets_a_thread(struct fixture *f)
{
	static const char head[] = PUB "Content-Length: 1000000\r\n\r\n";
	struct peer p;
	dial(&p, f);
	say(&p, head, strlen(head));
	for (int i = 0; i < 100; i++) {
		say(&p, "1000 bytes", 10);
		assert_int_equal(step(&p), NETPOLL_WAIT);
	}
	(void)fill_socket(p.fd);
	assert_int_equal(step(&p), NETPOLL_THREAD);
	assert_in_range(p.c->taken, HTTP_STEP_BYTES, HTTP_STEP_BYTES + 1000000);
	assert_int_equal(run(&p), NETPOLL_WAIT);
	say(&p, "x", 1);
	assert_int_equal(step(&p), NETPOLL_WAIT);
	hang_up(&p); /* in the middle of it */
}

static void test_a_client_that_does_not_read_gets_a_thread(struct fixture *f)
{
	struct peer p;
	int least = 1;
	enum netpoll_next next = NETPOLL_WAIT;
	dial(&p, f);
	assert_int_equal(
		setsockopt(stream_sock_fd(p.c->sock), SOL_SOCKET, SO_SNDBUF, &least, sizeof(least)),
		0);
	size_t asked = 0, answered = 0;
	for (; next == NETPOLL_WAIT; asked++) {
		assert_true(asked < 20000);
		say(&p, PING, strlen(PING));
		next = step(&p);
	}
	assert_int_equal(next, NETPOLL_THREAD);
	/* Still nothing: the poller does not wait. */
	assert_int_equal(step(&p), NETPOLL_THREAD);
	while (answered < asked) {
		for (const char *s = heard(&p); (s = strstr(s, "HTTP/1.1 200")) != NULL; s++)
			answered++;
		assert_int_equal(run(&p), NETPOLL_WAIT);
	}
	hang_up(&p);
}

/* Else the client would wait for its answer, and the connection for the next request. */
static void test_an_answer_that_cannot_be_sent_later_ends_it(struct fixture *f)
{
	static enum netpoll_next (*const turns[])(struct peer * p) = {step, run};
	for (size_t i = 0; i < COUNT(turns); i++) {
		struct peer p;
		dial(&p, f);
		say(&p, PING, strlen(PING));
		sendmsg_code = EAGAIN;
		assert_int_equal(step(&p), NETPOLL_THREAD);
		sendmsg_code = ENOBUFS;
		assert_int_equal(turns[i](&p), NETPOLL_OVER);
		sendmsg_code = 0;
		hang_up(&p);
	}
}

/* So many requests in one go keep a poller from others. */
static void test_a_flood_of_requests_gets_a_thread(struct fixture *f)
{
	struct peer p;
	dial(&p, f);
	for (int i = 0; i < HTTP_STEP_REQUESTS + 1; i++)
		say(&p, PING, strlen(PING));
	assert_int_equal(step(&p), NETPOLL_THREAD);
	assert_int_equal(run(&p), NETPOLL_WAIT);
	size_t answered = 0;
	for (const char *s = heard(&p); (s = strstr(s, "HTTP/1.1 200")) != NULL; s++)
		answered++;
	assert_int_equal(answered, HTTP_STEP_REQUESTS + 1);
	hang_up(&p);
}

static void test_after_a_refusal_it_lingers_at_the_poller(struct fixture *f)
{
	static const char bad[] = "GET / HTTP/1.1\r\nHost\r\n\r\n";
	struct peer p;
	dial(&p, f);
	int64_t before = clock_mono_ns();
	say(&p, bad, strlen(bad));
	assert_int_equal(step(&p), NETPOLL_WAIT);
	assert_ptr_equal(strstr(heard(&p), "HTTP/1.1 400 Bad Request\r\n"), p.got);
	assert_int_equal(p.c->state, HTTP_LINGER);
	assert_true(p.c->wait_until_ns > before);
	/* The test may be late for the next step. */
	p.c->wait_until_ns = before + PATIENCE;
	say(&p, bad, strlen(bad));
	assert_int_equal(step(&p), NETPOLL_WAIT);
	p.c->wait_until_ns = 1; /* it has been silent for long enough */
	assert_int_equal(step(&p), NETPOLL_OVER);
	hang_up(&p);
}

static void test_the_end_of_the_input_ends_it(struct fixture *f)
{
	static const char *const said[] = {"", PING, PUB "Content-Length: 9\r\n\r\nabc"};
	for (size_t i = 0; i < COUNT(said); i++) {
		struct peer p;
		dial(&p, f);
		say(&p, said[i], strlen(said[i]));
		assert_int_equal(step(&p), NETPOLL_WAIT);
		assert_int_equal(shutdown(p.fd, SHUT_WR), 0);
		assert_int_equal(step(&p), NETPOLL_OVER);
		hang_up(&p);
	}
}

static void serve_http(struct options *o)
{
	free(o->http_address);
	o->http_address = xstrdup("http");
}

/* So HTTP and HTTPS share the time that answers under way have at exit. */
static void test_the_end_of_accepting_does_not_wait_for_answers(struct fixture *f)
{
	struct http_server *s = f->nsqd->http_server;
	wait_group_add(&s->serving);
	http_server_close(s);
	assert_int_equal(access("http", F_OK), -1);
	wait_group_done(&s->serving);
	http_server_wait(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		topic_test_with(test_it_stops_at_any_byte, .mem_queue_size = 100),
		topic_test_with(test_a_poller_and_a_thread_answer_alike, .mem_queue_size = 100),
		topic_test(test_what_may_block_needs_a_thread),
		topic_test(test_a_topic_is_created_before_the_body),
		topic_test(test_a_body_that_flows_gets_a_thread),
		topic_test(test_a_client_that_does_not_read_gets_a_thread),
		topic_test(test_an_answer_that_cannot_be_sent_later_ends_it),
		topic_test(test_a_flood_of_requests_gets_a_thread),
		topic_test(test_after_a_refusal_it_lingers_at_the_poller),
		topic_test(test_the_end_of_the_input_ends_it),
		nsqd_test_with(test_the_end_of_accepting_does_not_wait_for_answers,
			.adjust = serve_http, .runs = true),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
