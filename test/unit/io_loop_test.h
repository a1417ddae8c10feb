/* SPDX-License-Identifier: MIT */
/*
 * For tests that talk to a client's io_loop: the pollers run it, or a thread of its own does, and
 * the test is its peer. The pollers are to be started: fixture_options.polls.
 */
#ifndef TEST_UNIT_IO_LOOP_TEST_H
#define TEST_UNIT_IO_LOOP_TEST_H

#include "test/unit/nsqd_test.h"

#include "common/gothread.h"
#include "common/netpoll.h"
#include "common/runnext.h"
#include "nsqd/client/protocol_v2.h"
#include "nsqd/client/protocol_v2_pump.h"
#include "nsqd/client/protocol_v2_send.h"
#include "protocol/frame.h"

/* A consumer: the client, and the other end of its connection. */
struct peer {
	struct client_v2 *client;
	int peer;
	bool threaded; /* its io_loop has a thread, whatever it does; else where it needs one */
	struct wait_group wg; /* its io_loop, until that is over */
};

/* As tcp.c does, but for the version of the protocol, and the end. */
static inline enum netpoll_next peer_go_on(struct peer *p, bool polled)
{
	struct client_v2 *c = p->client;
	enum netpoll_next next = NETPOLL_YIELD;
	c->polled = polled;
	if (c->stage == STAGE_COMMANDS)
		next = protocol_v2_io_loop(c);
	if (c->stage == STAGE_LEAVING)
		next = protocol_v2_leave(c);
	if (c->stage != STAGE_OVER)
		return next;
	netpoll_close(c->pd);
	wait_group_done(&p->wg);
	return NETPOLL_OVER;
}

static inline enum netpoll_next peer_step(void *arg)
{
	struct peer *p = arg;
	protocol_v2_retry_pump(p->client);
	return p->threaded ? NETPOLL_THREAD : peer_go_on(p, true);
}

static inline enum netpoll_next peer_run(void *arg)
{
	return peer_go_on(arg, false);
}

static inline enum netpoll_next peer_no_thread(void *arg, const struct err *why)
{
	return NETPOLL_WAIT;
}

static inline void peer_thread_name(void *arg, char *out, size_t size)
{
	snprintf(out, size, "io:test");
}

static const struct netpoll_ops peer_ops = {.step = peer_step,
	.run = peer_run,
	.no_thread = peer_no_thread,
	.thread_name = peer_thread_name};

static inline void say(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

static inline void receive(int fd, void *buf, size_t len)
{
	assert_int_equal(recv(fd, buf, len, MSG_WAITALL), len);
}

/* Connected, but nothing runs yet. No heartbeat will come in between. */
static inline void connect_consumer(struct peer *c, struct nsqd *n)
{
	struct timeval patience = {.tv_sec = PATIENCE / NSEC_PER_SEC};
	*c = (struct peer){0};
	c->client = new_client(n, &c->peer);
	c->client->stage = STAGE_COMMANDS;
	c->client->heartbeat_interval = 3600 * NSEC_PER_SEC;
	assert_int_equal(
		setsockopt(c->peer, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
}

static inline void open_peer(struct peer *c)
{
	struct client_v2 *client = c->client;
	int fd = stream_sock_fd(client->base);
	client->pd = netpoll_open(client->protocol->netpoll, fd, &peer_ops, c);
	wait_group_init(&c->wg);
	wait_group_add(&c->wg);
}

static inline void run_io_loop(struct peer *c)
{
	open_peer(c);
	netpoll_begin(c->client->pd);
}

static inline void receive_junk(int fd, size_t n)
{
	static char junk[1 << 16];
	while (n > 0) {
		size_t part = n < sizeof(junk) ? n : sizeof(junk);
		receive(fd, junk, part);
		n -= part;
	}
}

/* The next message's number, and its id for a FIN. */
static inline uint32_t receive_message(struct peer *c, char id[MSG_ID_LENGTH + 1])
{
	unsigned char frame[FRAME_HEADER_LENGTH + MSG_HEADER_LENGTH + 4];
	uint32_t seq;
	receive(c->peer, frame, sizeof(frame));
	assert_int_equal(frame[3], sizeof(frame) - 4);
	assert_int_equal(frame[7], FRAME_TYPE_MESSAGE);
	memcpy(id, frame + sizeof(frame) - 4 - MSG_ID_LENGTH, MSG_ID_LENGTH);
	id[MSG_ID_LENGTH] = '\0';
	memcpy(&seq, frame + sizeof(frame) - 4, 4);
	return seq;
}

static inline void finish(struct peer *c, const char *id)
{
	char text[32];
	snprintf(text, sizeof(text), "FIN %s\n", id);
	say(c->peer, text);
}

/* As io_loop does: this thread takes the steps of those that the message wakes. */
static inline void publish(struct topic *t, uint32_t seq)
{
	runnext_begin();
	put(t, seq, 1);
	runnext_end();
}

/* How many messages the consumers wait for. */
static inline size_t demand_of(struct channel *ch)
{
	return chan_demand(ch->client_msg_chans[GLOBAL], SIZE_MAX);
}

/* It reads and writes from now on, and gets messages of the channel "ch" of "test". */
static inline void subscribe_at_once(struct peer *c, size_t rdy)
{
	char text[64], ok[10];
	run_io_loop(c);
	snprintf(text, sizeof(text), "SUB test ch\nRDY %zu\n", rdy);
	say(c->peer, text);
	receive(c->peer, ok, sizeof(ok));
}

/* So many messages it waits for, in one go: without a thread of its own a pump has no place for more. */
static inline size_t wait_of(size_t rdy)
{
	return rdy < SHORT_WRITE ? rdy : SHORT_WRITE;
}

/* The same where there are none. Returns when it waits for rdy of them. */
static inline void subscribe(struct peer *c, struct channel *ch, size_t rdy)
{
	size_t demand = demand_of(ch);
	subscribe_at_once(c, rdy);
	wait_for(demand_of(ch) == demand + wait_of(rdy));
}

/* A new consumer that waits for rdy messages. */
static inline void start(struct peer *c, struct fixture *f, size_t rdy)
{
	connect_consumer(c, f->nsqd);
	subscribe(c, f->channel, rdy);
}

/* --- steps that the test takes itself ----------------------------------------------------------- */

/* Connected, and no other thread runs its io_loop. The next three are for such clients. */
static inline void begin_here(struct peer *c, struct nsqd *n)
{
	connect_consumer(c, n);
	open_peer(c);
}

/* A step, as a poller takes it. */
static inline enum netpoll_next step_here(struct peer *c)
{
	protocol_v2_retry_pump(c->client);
	c->client->polled = true;
	return protocol_v2_io_loop(c->client);
}

/* What the thread does that a step has asked for. */
static inline enum netpoll_next run_here(struct peer *c)
{
	c->client->polled = false;
	return protocol_v2_io_loop(c->client);
}

static inline void step_says(struct peer *c, enum netpoll_next next)
{
	assert_int_equal(step_here(c), next);
}

/* It leaves, and is freed. */
static inline void end_here(struct peer *c)
{
	close(c->peer);
	c->client->stage = STAGE_LEAVING;
	assert_int_equal(peer_go_on(c, false), NETPOLL_OVER);
	wait_group_destroy(&c->wg);
	client_v2_free(c->client);
}

/* --- what is said, byte for byte ----------------------------------------------------------------- */

#define OK_FRAME "\0\0\0\6\0\0\0\0OK"
#define NO_ID "0000000000000000"
#define PUB_X(topic) "PUB " topic "\n\0\0\0\4xxxx"

#define ERROR_FRAME(len, text) "\0\0\0" len "\0\0\0\1" text

#define SAY(c, text) say_bytes(c, text, sizeof(text) - 1)
#define EXPECT(c, text) expect_bytes(c, text, sizeof(text) - 1)

static inline void say_bytes(struct peer *c, const char *bytes, size_t len)
{
	assert_int_equal(send(c->peer, bytes, len, MSG_NOSIGNAL), len);
}

/* That has been answered, and no more. */
static inline void expect_bytes(struct peer *c, const char *want, size_t len)
{
	char got[4096];
	ssize_t n = recv(c->peer, got, sizeof(got), MSG_DONTWAIT);
	assert_int_equal(n < 0 ? 0 : n, len);
	assert_memory_equal(got, want, len);
}

/* --- the end ------------------------------------------------------------------------------------ */

/* It leaves. Returns how many messages it has finished. */
static inline uint64_t stop(struct peer *c)
{
	close(c->peer);
	wait_group_wait(&c->wg);
	wait_group_destroy(&c->wg);
	uint64_t finished = c->client->finish_count;
	client_v2_free(c->client);
	return finished;
}

/*
 * A lowest layer that calls the test before one of its reads. What has come by then is read before,
 * and has been looked at: so here things change between a look and what follows from it.
 */
struct watched {
	struct stream stream;
	struct stream *below; /* owned */
	int countdown;        /* 1: the next read */
	void (*hook)(void *arg);
	void *arg;
};

static inline ssize_t watched_read(
	struct stream *stream, void *buf, size_t n, int64_t deadline_ns, struct err *err)
{
	struct watched *w = (struct watched *)stream;
	if (w->countdown > 0 && --w->countdown == 0)
		w->hook(w->arg);
	return w->below->ops->read(w->below, buf, n, deadline_ns, err);
}

static inline int watched_writev(
	struct stream *stream, struct iovec *iov, int n, int64_t deadline_ns, struct err *err)
{
	struct watched *w = (struct watched *)stream;
	return w->below->ops->writev(w->below, iov, n, deadline_ns, err);
}

static inline int watched_flush(struct stream *stream, int64_t deadline_ns, struct err *err)
{
	struct watched *w = (struct watched *)stream;
	return w->below->ops->flush(w->below, deadline_ns, err);
}

static inline void watched_close_write(struct stream *stream, int64_t deadline_ns)
{
	struct watched *w = (struct watched *)stream;
	w->below->ops->close_write(w->below, deadline_ns);
}

static inline void watched_free(struct stream *stream)
{
	struct watched *w = (struct watched *)stream;
	w->below->ops->free(w->below);
}

static const struct stream_ops watched_ops = {
	.read = watched_read,
	.writev = watched_writev,
	.flush = watched_flush,
	.close_write = watched_close_write,
	.free = watched_free,
};

/* Its second read from now on calls hook. *w outlives the client. */
static inline void watch_reads(
	struct watched *w, struct peer *c, void (*hook)(void *arg), void *arg)
{
	struct client_v2 *client = c->client;
	*w = (struct watched){.stream.ops = &watched_ops,
		.below = client->base,
		.countdown = 2,
		.hook = hook,
		.arg = arg};
	client->stream = client->reader.stream = client->writer.stream = &w->stream;
}

#endif
