/* SPDX-License-Identifier: MIT */
/*
 * What consumers may rely on, whichever threads take the steps of the pumps: RDY is never exceeded,
 * the order is kept, and each message comes once. Publishers, io_loops, pumps and threads that only
 * wake them are all busy at once.
 */
#include "test/unit/io_loop_test.h"

#include <poll.h>

#include "common/check.h"
#include "common/gothread_internal.h"
#include "common/rand.h"
#include "nsqd/client/protocol_v2_pump.h"

#define N_MESSAGES ((uint32_t)ROUNDS(4000))
/* Three of them fill the narrowest socket. */
#define LARGE_SIZE 1500
/* All fit into memory: the disk has an order of its own. */
#define rdy_test(f) channel_test_with(f, .mem_queue_size = 10000, .polls = true)

/* --- publishers -------------------------------------------------------------------------------- */

/* One of them publishes the numbers from .. from + n. */
struct publisher {
	struct fixture *f;
	uint32_t from, n;
};

/* So that sometimes the consumers wait for messages, and sometimes messages for consumers. */
static void pause_now_and_then(struct publisher *p)
{
	do {
		if (rand_below(4) == 0)
			sleep_ns((int64_t)rand_below(100) * NSEC_PER_USEC);
	} while (channel_depth(p->f->channel) > 2);
}

/* It takes the steps of the pumps itself. */
static void publish_here(void *arg)
{
	struct publisher *p = arg;
	for (uint32_t i = 0; i < p->n; i++) {
		publish(p->f->topic, p->from + i);
		pause_now_and_then(p);
	}
}

static void send_pub(int fd, uint32_t seq)
{
	char pub[] = "PUB test\n\0\0\0\4....";
	memcpy(pub + sizeof(pub) - 1 - sizeof(seq), &seq, sizeof(seq));
	CHECK(send(fd, pub, sizeof(pub) - 1, MSG_NOSIGNAL) == sizeof(pub) - 1);
}

/* Its io_loop does; mostly of one message at a time. */
static void publish_by_io_loop(void *arg)
{
	struct publisher *p = arg;
	struct peer c;
	char oks[80];
	connect_consumer(&c, p->f->nsqd);
	c.threaded = rand_below(2);
	run_io_loop(&c);
	for (uint32_t i = 0; i < p->n;) {
		uint32_t k = 1 + rand_below(2) * rand_below(8);
		if (k > p->n - i)
			k = p->n - i;
		for (uint32_t j = 0; j < k; j++)
			send_pub(c.peer, p->from + i + j);
		CHECK(recv(c.peer, oks, 10 * k, MSG_WAITALL) == 10 * k);
		i += k;
		pause_now_and_then(p);
	}
	stop(&c);
}

static void publish_large(struct fixture *f, uint32_t seq)
{
	struct message_body *b = message_body_new(LARGE_SIZE);
	struct err err;
	memset(b->data, 'x', LARGE_SIZE);
	memcpy(b->data, &seq, sizeof(seq));
	runnext_begin();
	CHECK(topic_put_messages(f->topic, &b, 1, &err) == 1);
	runnext_end();
}

/* publish_here, of larger messages. */
static void publish_large_here(void *arg)
{
	struct publisher *p = arg;
	for (uint32_t i = 0; i < p->n; i++) {
		publish_large(p->f, p->from + i);
		pause_now_and_then(p);
	}
}

/* --- consumers --------------------------------------------------------------------------------- */

#define MAX_RDY 8

struct consumed {
	struct fixture *f;
	_Atomic uint8_t *seen; /* how often each has come */
	_Atomic uint32_t n;    /* how many have come */
	_Atomic bool over;
	_Atomic size_t next_rdy; /* for the next consumer */
};

/* One consumer, of one thread. */
struct consuming {
	struct consumed *all;
	struct peer c;
	char held[MAX_RDY + 1][MSG_ID_LENGTH + 1]; /* what it has not finished yet */
	size_t n_held;
	size_t rdy;
	uint64_t received;
	uint64_t settled; /* when RDY had come into force so many had been sent to it */
};

/* Reads the whole frame. Its type; -1: the end. */
static int read_frame(int fd, unsigned char *frame, size_t size)
{
	ssize_t got = recv(fd, frame, FRAME_HEADER_LENGTH, MSG_WAITALL);
	if (got <= 0)
		return -1;
	CHECK(got == FRAME_HEADER_LENGTH);
	size_t left = ((size_t)frame[2] << 8 | frame[3]) - 4;
	CHECK(left <= size - FRAME_HEADER_LENGTH);
	CHECK(recv(fd, frame + FRAME_HEADER_LENGTH, left, MSG_WAITALL) == (ssize_t)left);
	return frame[7];
}

static void finish_one(struct consuming *k)
{
	char text[32];
	size_t i = rand_below((uint32_t)k->n_held);
	int len = snprintf(text, sizeof(text), "FIN %s\n", k->held[i]);
	memcpy(k->held[i], k->held[--k->n_held], sizeof(k->held[i]));
	CHECK(send(k->c.peer, text, (size_t)len, MSG_NOSIGNAL) == len);
}

/* The next frame is there. */
static uint32_t take_message(struct consuming *k, const unsigned char *frame)
{
	const unsigned char *body = frame + FRAME_HEADER_LENGTH + MSG_HEADER_LENGTH;
	uint32_t seq;
	memcpy(&seq, body, sizeof(seq));
	CHECK(seq < N_MESSAGES);
	CHECK(k->all->seen[seq]++ == 0);
	k->received++;
	CHECK(k->n_held < MAX_RDY);
	memcpy(k->held[k->n_held], body - MSG_ID_LENGTH, MSG_ID_LENGTH);
	k->held[k->n_held++][MSG_ID_LENGTH] = '\0';
	/* As the peer counts, and as the daemon does, wherever its threads are. */
	CHECK(k->n_held <= (k->received > k->settled ? k->rdy : MAX_RDY));
	CHECK(k->c.client->in_flight_count <= MAX_RDY);
	k->all->n++;
	return seq;
}

/* False: it is over. */
static bool receive_next(struct consuming *k, uint32_t *seq)
{
	unsigned char frame[2 * LARGE_SIZE];
	int type = read_frame(k->c.peer, frame, sizeof(frame));
	if (type < 0)
		return false;
	CHECK(type == FRAME_TYPE_MESSAGE);
	*seq = take_message(k, frame);
	return true;
}

/*
 * Connected, but not subscribed. A message does not wait for others for long. Its io_loop is at the
 * pollers, or has a thread.
 */
static void connect_consuming(struct consuming *k, struct consumed *all, size_t rdy)
{
	*k = (struct consuming){.all = all, .rdy = rdy};
	connect_consumer(&k->c, all->f->nsqd);
	k->c.threaded = rand_below(2);
	k->c.client->output_buffer_timeout = NSEC_PER_MSEC;
}

static void begin_consuming(struct consuming *k, struct consumed *all, size_t rdy)
{
	connect_consuming(k, all, rdy);
	subscribe_at_once(&k->c, rdy);
}

/* Each message is written at once, to a socket that takes only a few. */
static void make_narrow(struct client_v2 *c)
{
	int least = 1;
	assert_int_equal(
		setsockopt(stream_sock_fd(c->base), SOL_SOCKET, SO_SNDBUF, &least, sizeof(least)),
		0);
	c->output_buffer_size = 1;
	c->output_buffer_timeout = 0;
	bufio_writer_reset(&c->writer, c->stream, 1);
}

static void consumed_init(struct consumed *all, struct fixture *f)
{
	*all = (struct consumed){.f = f, .seen = xcalloc(N_MESSAGES, 1)};
}

/* Each has come once, and is finished. */
static void consumed_check(struct consumed *all)
{
	struct channel *ch = all->f->channel;
	for (uint32_t i = 0; i < N_MESSAGES; i++)
		assert_int_equal(all->seen[i], 1);
	/* The pumps have handed out the last one, and are perhaps not done with that. */
	wait_for(channel_depth(ch) == 0 && ch->message_count == N_MESSAGES);
	assert_int_equal(channel_in_flight_count(ch), 0);
	free((void *)all->seen);
}

/* Half of the messages come by each way. */
static void go_publishers(struct wait_group *wg, struct fixture *f, struct publisher p[2])
{
	p[0] = (struct publisher){f, 0, N_MESSAGES / 2};
	p[1] = (struct publisher){f, N_MESSAGES / 2, N_MESSAGES - N_MESSAGES / 2};
	go(wg, publish_here, &p[0]);
	go(wg, publish_by_io_loop, &p[1]);
}

/* --- RDY that stays ---------------------------------------------------------------------------- */

static void consume(void *arg)
{
	struct consumed *all = arg;
	struct consuming k;
	uint32_t seq;
	begin_consuming(&k, all, all->next_rdy++ * 4 + 1);
	while (all->n < N_MESSAGES) {
		struct pollfd p = {.fd = k.c.peer, .events = POLLIN};
		if (poll(&p, 1, 1) == 0)
			continue;
		CHECK(receive_next(&k, &seq));
		CHECK(k.c.client->in_flight_count <= (int64_t)k.rdy);
		while (k.n_held == k.rdy || (k.n_held > 0 && rand_below(4) == 0))
			finish_one(&k);
	}
	while (k.n_held > 0)
		finish_one(&k);
	wait_for(k.c.client->in_flight_count == 0);
	stop(&k.c);
}

/* Wakes all pumps of clients without reason, and takes their steps. */
static void nag(void *arg)
{
	struct consumed *all = arg;
	struct channel *ch = all->f->channel;
	while (!all->over) {
		runnext_begin();
		rwlock_rdlock(&ch->lock);
		for (struct consumer *c = ch->clients; c; c = c->hh.next)
			c->ops->ready_changed(c);
		rwlock_unlock(&ch->lock);
		runnext_end();
		sleep_ns(50 * NSEC_PER_USEC);
	}
}

static void test_rdy_is_not_exceeded_and_each_message_comes_once(struct fixture *f)
{
	struct publisher p[2];
	struct consumed all;
	struct wait_group consumers, others;
	consumed_init(&all, f);
	wait_group_init(&consumers);
	wait_group_init(&others);
	for (int i = 0; i < 2; i++)
		go(&consumers, consume, &all);
	go(&others, nag, &all);
	go_publishers(&others, f, p);
	join(&consumers);
	all.over = true;
	join(&others);
	consumed_check(&all);
}

/* --- RDY that changes -------------------------------------------------------------------------- */

/*
 * Another RDY. It is in force when a later command has been answered, and the pump has looked: what
 * is sent from then on does not exceed it.
 */
static void change_rdy(struct consuming *k)
{
	char text[64];
	unsigned char frame[128];
	int type;
	/* Often one that is exceeded by the next message that comes. */
	size_t rdy = 1 + rand_below(k->n_held > 0 && rand_below(2) ? k->n_held : MAX_RDY);
	snprintf(text, sizeof(text), "RDY %zu\nFIN 0000000000000000\n", rdy);
	say(k->c.peer, text);
	if (rdy > k->rdy)
		k->rdy = rdy;
	while ((type = read_frame(k->c.peer, frame, sizeof(frame))) == FRAME_TYPE_MESSAGE)
		take_message(k, frame);
	CHECK(type == FRAME_TYPE_ERROR);
	wait_for(chan_len(k->c.client->ready_state_chan) == 0);
	k->settled = k->c.client->message_count;
	k->rdy = rdy;
}

/* It has as many as it may, or more: no other comes. (What had been sent before may.) */
static void receive_none(struct consuming *k)
{
	struct pollfd p = {.fd = k->c.peer, .events = POLLIN};
	uint32_t seq;
	while (poll(&p, 1, 1) > 0 && k->n_held < MAX_RDY)
		CHECK(receive_next(k, &seq));
}

static void test_a_rdy_that_changes_is_not_exceeded_either(struct fixture *f)
{
	struct publisher p[2];
	struct consumed all;
	struct consuming k;
	struct wait_group wg;
	uint32_t seq;
	consumed_init(&all, f);
	begin_consuming(&k, &all, 1);
	wait_group_init(&wg);
	go_publishers(&wg, f, p);
	while (all.n < N_MESSAGES) {
		if (rand_below(8) == 0)
			change_rdy(&k);
		if (k.n_held >= k.rdy && rand_below(4) == 0)
			receive_none(&k);
		while (k.n_held >= k.rdy || (k.n_held > 0 && rand_below(2) == 0))
			finish_one(&k);
		if (all.n < N_MESSAGES)
			assert_true(receive_next(&k, &seq));
	}
	while (k.n_held > 0)
		finish_one(&k);
	wait_for(k.c.client->in_flight_count == 0);
	join(&wg);
	stop(&k.c);
	consumed_check(&all);
}

/* --- order ------------------------------------------------------------------------------------- */

/* One publisher, one consumer. */
static void expect_order(struct fixture *f, size_t rdy, void (*how)(void *))
{
	struct publisher p = {f, 0, N_MESSAGES};
	struct consumed all;
	struct consuming k;
	struct wait_group wg;
	uint32_t seq;
	consumed_init(&all, f);
	begin_consuming(&k, &all, rdy);
	wait_group_init(&wg);
	go(&wg, how, &p);
	for (uint32_t i = 0; i < N_MESSAGES; i++) {
		assert_true(receive_next(&k, &seq));
		assert_int_equal(seq, i);
		while (k.n_held == k.rdy || (k.n_held > 0 && rand_below(4) == 0))
			finish_one(&k);
	}
	while (k.n_held > 0)
		finish_one(&k);
	wait_for(k.c.client->in_flight_count == 0);
	join(&wg);
	stop(&k.c);
	consumed_check(&all);
}

static void test_with_rdy_1_the_order_is_kept(struct fixture *f)
{
	expect_order(f, 1, publish_here);
}

static void test_with_rdy_5_the_order_is_kept(struct fixture *f)
{
	expect_order(f, 5, publish_here);
}

static void test_the_order_of_what_comes_by_an_io_loop_is_kept(struct fixture *f)
{
	expect_order(f, 5, publish_by_io_loop);
}

/* Threads can be had, but often not at once. */
static _Atomic bool is_scarce;

static int create_sometimes(
	pthread_t *id, const pthread_attr_t *attr, void *(*fn)(void *), void *arg)
{
	return is_scarce && rand_below(2) ? EAGAIN : pthread_create(id, attr, fn, arg);
}

static int scarce_setup(void **state)
{
	gothread_create = create_sometimes;
	gothread_learns_limit = false;
	gothread_kept_max = 0;
	return fixture_setup(state);
}

static int scarce_teardown(void **state)
{
	is_scarce = false;
	int rc = fixture_teardown(state);
	gothread_kept_max = GOTHREAD_KEPT_MAX;
	gothread_learns_limit = true;
	gothread_create = pthread_create;
	return rc;
}

#define scarce_test(f)                                                                             \
	fixture_test(f, scarce_setup, scarce_teardown, .wants = A_CHANNEL,                         \
		.mem_queue_size = 10000, .polls = true)

/*
 * The socket is full time and again: what a thread that must not wait cannot write the pump's own
 * has to.
 */
static void expect_order_of_slow_peer(struct fixture *f, bool scarce)
{
	const uint32_t n_slow = N_MESSAGES / (scarce ? 32 : 8);
	struct publisher p = {f, 0, n_slow};
	struct consumed all;
	struct consuming k;
	struct wait_group wg;
	uint32_t seq;
	consumed_init(&all, f);
	connect_consuming(&k, &all, MAX_RDY);
	make_narrow(k.c.client);
	subscribe_at_once(&k.c, MAX_RDY);
	wait_group_init(&wg);
	go(&wg, publish_large_here, &p);
	is_scarce = scarce;
	for (uint32_t i = 0; i < n_slow; i++) {
		if (rand_below(8) == 0)
			sleep_ns(200 * NSEC_PER_USEC);
		assert_true(receive_next(&k, &seq));
		assert_int_equal(seq, i);
		while (k.n_held == k.rdy || (k.n_held > 0 && rand_below(2) == 0))
			finish_one(&k);
	}
	join(&wg);
	stop(&k.c);
	free((void *)all.seen);
}

static void test_the_order_is_kept_where_the_peer_is_slow(struct fixture *f)
{
	expect_order_of_slow_peer(f, false);
}

/* Its pump needs one again and again. */
static void test_the_order_is_kept_where_threads_are_scarce(struct fixture *f)
{
	expect_order_of_slow_peer(f, true);
}

/* Their pumps wait for a thread, or have one, or need none. They take nothing with them. */
static void test_consumers_leave_where_threads_are_scarce(struct fixture *f)
{
	struct channel *ch = f->channel;
	const uint32_t n = N_MESSAGES / 8;
	uint64_t finished = 0;
	for (uint32_t i = 0; i < n; i++)
		publish_large(f, i);
	wait_for(channel_depth(ch) == n);
	is_scarce = true;
	for (int round = 0; round < ROUNDS(20); round++) {
		struct peer c[3];
		for (int i = 0; i < 3; i++) {
			connect_consumer(&c[i], f->nsqd);
			c[i].threaded = rand_below(2);
			make_narrow(c[i].client);
			run_io_loop(&c[i]);
			say(c[i].peer, "SUB test ch\nRDY 4\n");
		}
		sleep_ns((int64_t)rand_below(3000) * NSEC_PER_USEC);
		for (int i = 0; i < 3; i++)
			finished += stop(&c[i]);
	}
	assert_int_equal(finished, 0);
	wait_for(channel_depth(ch) + channel_in_flight_count(ch) == n);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		rdy_test(test_rdy_is_not_exceeded_and_each_message_comes_once),
		rdy_test(test_a_rdy_that_changes_is_not_exceeded_either),
		rdy_test(test_with_rdy_1_the_order_is_kept),
		rdy_test(test_with_rdy_5_the_order_is_kept),
		rdy_test(test_the_order_of_what_comes_by_an_io_loop_is_kept),
		rdy_test(test_the_order_is_kept_where_the_peer_is_slow),
		scarce_test(test_the_order_is_kept_where_threads_are_scarce),
		scarce_test(test_consumers_leave_where_threads_are_scarce),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
