/* SPDX-License-Identifier: MIT */
/*
 * What the tests of topics and channels share. The daemon has a directory of its own, and its loops
 * run only if asked to. Messages know their number. A consumer is nothing but a receiver. A backend
 * can refuse.
 */
#ifndef TEST_UNIT_NSQD_TEST_H
#define TEST_UNIT_NSQD_TEST_H

#include "test/unit/chan_harness.h"
#include "test/unit/dir_test.h"

#include <errno.h>
#include <sys/socket.h>

#include "common/gothread.h"
#include "common/netpoll.h"
#include "common/xalloc.h"
#include "nsqd/queue/channel.h"
#include "nsqd/client/client_v2.h"
#include "nsqd/queue/metadata.h"
#include "nsqd/nsqd.h"
#include "nsqd/core/options.h"
#include "nsqd/client/tcp.h"
#include "nsqd/queue/topic.h"

/* --- a daemon --------------------------------------------------------------------------------- */

/* The defaults, but in this directory, with no port and nothing to say. */
static inline struct options *quiet_options(void)
{
	struct options *o = options_new();
	free(o->tcp_address);
	free(o->http_address);
	free(o->data_path);
	o->tcp_address = xstrdup("127.0.0.1:0");
	o->http_address = xstrdup("");
	o->data_path = xstrdup(".");
	o->log_level = LG_FATAL;
	/* Longer than a test takes: none of its timeouts is cut. */
	o->max_msg_timeout = 24 * 3600 * NSEC_PER_SEC;
	return o;
}

static inline struct nsqd *new_nsqd(struct options *take_opts)
{
	struct err err = {0};
	struct nsqd *n = nsqd_new(take_opts, NULL, &err);
	if (!n)
		fail_msg("nsqd_new: %s", err.msg);
	/* A disk that refuses does so for ever, in most tests. */
	n->ctx.flush_patience.ns = n->ctx.metadata_patience.ns = 0;
	return n;
}

/* The references that the next two get are given back at once: the maps keep what they name. */
static inline struct topic *get_topic(struct nsqd *n, const char *name)
{
	struct err err = {0};
	struct topic *t = nsqd_get_topic(&n->topics, name, &err);
	if (!t)
		fail_msg("topic %s: %s", name, err.msg);
	topic_unref(t);
	return t;
}

static inline struct channel *get_channel(struct topic *t, const char *name)
{
	struct err err = {0};
	struct channel *c = topic_get_channel(t, name, &err);
	if (!c)
		fail_msg("channel %s: %s", name, err.msg);
	channel_unref(c);
	return c;
}

/* --- a fixture -------------------------------------------------------------------------------- */

/* What a test works with. All is borrowed: it ends with the daemon. */
struct fixture {
	struct nsqd *nsqd;       /* NULL: none runs */
	struct topic *topic;     /* "test"; NULL where the test did not ask for it */
	struct channel *channel; /* its channel "ch", likewise */
	const struct fixture_options *options;
	bool passed;
};

/* What a test asks for. */
struct fixture_options {
	void (*test)(struct fixture *f);
	enum { A_DIRECTORY, A_DAEMON, A_TOPIC, A_CHANNEL } wants; /* and all that are before it */
	int64_t mem_queue_size;
	void (*adjust)(struct options *o); /* sets further options; NULL: none */
	bool runs;                         /* the daemon's loops: without them nothing times out */
	bool polls;                        /* the pollers, but no other loop */
};

/* Makes a daemon where there is none. It has no topic, and its loops do not run. */
static inline void start_nsqd_with(struct fixture *f, struct options *take_opts)
{
	CHECK(!f->nsqd);
	f->nsqd = new_nsqd(take_opts);
}

/* The same, as the test asks for it. */
static inline void start_nsqd(struct fixture *f, int64_t mem_queue_size)
{
	struct options *o = quiet_options();
	o->mem_queue_size = mem_queue_size;
	if (f->options->adjust)
		f->options->adjust(o);
	start_nsqd_with(f, o);
}

/* Starts the daemon's loops. */
static inline void run_nsqd(struct fixture *f)
{
	struct err err = {0};
	if (nsqd_main(f->nsqd, &err) != 0)
		fail_msg("nsqd_main: %s", err.msg);
}

/* (One without a number is just being created, which may fail.) */
static inline void count_worker(void *arg, const char *name, int tid)
{
	*(size_t *)arg += tid != 0 && strcmp(name, "scan-worker") == 0;
}

static inline size_t workers(void)
{
	size_t n = 0;
	gothread_each(count_worker, &n);
	return n;
}

static inline void run_pollers(struct fixture *f)
{
	struct err err = {0};
	if (netpoll_start(f->nsqd->netpoll, &err) != 0)
		fail_msg("netpoll_start: %s", err.msg);
}

/* For a daemon that has exited. */
static inline void free_nsqd(struct fixture *f)
{
	nsqd_free(f->nsqd);
	f->nsqd = NULL;
	f->topic = NULL;
	f->channel = NULL;
}

static inline void end_nsqd(struct fixture *f)
{
	nsqd_exit(f->nsqd);
	free_nsqd(f);
}

/* A test has failed, and its daemon is still there: another one cannot run in this process. */
static bool daemon_is_left;

/* *state: the options before, the fixture after. */
static inline int fixture_setup(void **state)
{
	if (daemon_is_left) {
		print_error("not run: the daemon of a test that failed is still there\n");
		return -1;
	}
	struct fixture *f = xcalloc(1, sizeof(*f));
	f->options = *state;
	*state = f;
	if (enter_test_dir(state) != 0)
		return -1;
	if (f->options->wants >= A_DAEMON)
		start_nsqd(f, f->options->mem_queue_size);
	if (f->options->runs) {
		run_nsqd(f);
		/* The loop's first worker starts a little later: a test may count what it starts. */
		wait_for(workers() >= 1);
	}
	if (f->options->polls)
		run_pollers(f);
	if (f->options->wants >= A_TOPIC)
		f->topic = get_topic(f->nsqd, "test");
	if (f->options->wants >= A_CHANNEL)
		f->channel = get_channel(f->topic, "ch");
	return 0;
}

/*
 * A test that has failed may have left threads that use the daemon, or that its exit would wait
 * for. So the daemon is ended only for one that has passed.
 */
static inline int fixture_teardown(void **state)
{
	struct fixture *f = *state;
	if (f->nsqd && f->passed)
		end_nsqd(f);
	daemon_is_left = f->nsqd != NULL;
	free(f);
	return leave_test_dir(state);
}

static inline void fixture_run(void **state)
{
	struct fixture *f = *state;
	f->options->test(f);
	f->passed = true;
}

static inline struct CMUnitTest fixture_entry(const char *name, CMFixtureFunction setup,
	CMFixtureFunction teardown, struct fixture_options *options)
{
	return (struct CMUnitTest){name, fixture_run, setup, teardown, options};
}

/* An entry of cmocka's list: the test f, with what it asks for as designated initializers. */
#define fixture_test(f, setup, teardown, ...)                                                      \
	fixture_entry(#f, setup, teardown, &(struct fixture_options){.test = f, __VA_ARGS__})

/* A test that asks for other options than the usual ones names all: .mem_queue_size = 0, ... */
#define nsqd_test_with(f, ...)                                                                     \
	fixture_test(f, fixture_setup, fixture_teardown, .wants = A_DAEMON, __VA_ARGS__)
#define topic_test_with(f, ...)                                                                    \
	fixture_test(f, fixture_setup, fixture_teardown, .wants = A_TOPIC, __VA_ARGS__)
#define channel_test_with(f, ...)                                                                  \
	fixture_test(f, fixture_setup, fixture_teardown, .wants = A_CHANNEL, __VA_ARGS__)

#define nsqd_test(f) nsqd_test_with(f, .mem_queue_size = 10)
#define topic_test(f) topic_test_with(f, .mem_queue_size = 10)
#define channel_test(f) channel_test_with(f, .mem_queue_size = 10)

/* The test starts its daemons itself. */
#define dir_test(f) fixture_test(f, fixture_setup, fixture_teardown, .wants = A_DIRECTORY)

/* --- topics and channels ---------------------------------------------------------------------- */

/* How many files have a name that begins like this. */
static inline int files_of(const char *prefix)
{
	return count_files(prefix, "");
}

static inline size_t topic_count(struct nsqd *n)
{
	size_t count;
	struct topic **list = nsqd_topics(&n->topics, &count);
	for (size_t i = 0; i < count; i++)
		topic_unref(list[i]);
	free(list);
	return count;
}

static inline size_t channel_count(struct topic *t)
{
	size_t count;
	struct channel **list = topic_channels(t, &count);
	for (size_t i = 0; i < count; i++)
		channel_unref(list[i]);
	free(list);
	return count;
}

/* --- messages: the body is the number --------------------------------------------------------- */

static inline struct message_body *body_of(uint32_t seq)
{
	struct message_body *b = message_body_new(sizeof(seq));
	memcpy(b->data, &seq, sizeof(seq));
	return b;
}

static inline uint32_t seq_of(const struct message *m)
{
	uint32_t seq;
	CHECK(m->body->len == sizeof(seq));
	memcpy(&seq, m->body->data, sizeof(seq));
	return seq;
}

static inline size_t try_put(struct topic *t, uint32_t first, size_t n, struct err *err)
{
	struct message_body **bodies = xcalloc(n, sizeof(*bodies));
	for (size_t i = 0; i < n; i++)
		bodies[i] = body_of(first + (uint32_t)i);
	size_t done = topic_put_messages(t, bodies, n, err);
	free(bodies);
	return done;
}

static inline void put(struct topic *t, uint32_t first, size_t n)
{
	struct err err = {0};
	if (try_put(t, first, n, &err) != n)
		fail_msg("put: %s", err.msg);
}

/* A message that no topic has made. */
static inline struct message *new_message(uint32_t seq)
{
	struct message_id id;
	char hex[MSG_ID_LENGTH + 1];
	snprintf(hex, sizeof(hex), "%016x", seq);
	memcpy(id.hex, hex, MSG_ID_LENGTH);
	return message_new(id, body_of(seq), clock_wall_ns());
}

/* n of them, handed to a client, as its pump would. */
static inline void put_in_flight(
	struct channel *c, uint32_t first, size_t n, int64_t client_id, int64_t timeout_ns)
{
	for (size_t i = 0; i < n; i++) {
		struct message *m = new_message(first + (uint32_t)i);
		channel_start_in_flight_timeout(c, &m, 1, client_id, timeout_ns);
	}
}

static inline struct message_id id_of(uint32_t seq)
{
	struct message *m = new_message(seq);
	struct message_id id = m->id;
	message_unref(m);
	return id;
}

/* --- a consumer ------------------------------------------------------------------------------- */

/* Up to max messages from the channel's pump; 0: none came within ns. */
static inline size_t take_within(struct channel *c, struct message **v, size_t max, int64_t ns)
{
	struct ticker patience;
	struct chan_case cases[] = {
		chan_case_recv_n(c->client_msg_chans[GLOBAL], v, max), chan_case_tick(&patience)};
	ticker_after(&patience, ns);
	return chan_select(cases, 2) == 0 ? cases[0].n : 0;
}

static inline struct message *take_one(struct channel *c)
{
	struct message *m;
	if (take_within(c, &m, 1, PATIENCE) != 1)
		fail_msg("no message from %s", c->name);
	return m;
}

/* Takes one and drops it. */
static inline uint32_t take_seq(struct channel *c)
{
	struct message *m = take_one(c);
	uint32_t seq = seq_of(m);
	message_unref(m);
	return seq;
}

/* The channel gives first, first + 1, ... in this order. */
static inline void expect_in_order(struct channel *c, uint32_t first, size_t n)
{
	for (size_t i = 0; i < n; i++)
		assert_int_equal(take_seq(c), first + i);
}

/* The channel gives each of first, first + 1, ... once, in any order, and no other. */
static inline void expect_each_once(struct channel *c, uint32_t first, size_t n)
{
	bool *seen = xcalloc(n, sizeof(*seen));
	for (size_t i = 0; i < n; i++) {
		uint32_t seq = take_seq(c) - first;
		assert_true(seq < n);
		assert_false(seen[seq]);
		seen[seq] = true;
	}
	free(seen);
}

static inline void expect_nothing(struct channel *c)
{
	struct message *m;
	if (take_within(c, &m, 1, A_WHILE) != 0)
		fail_msg("a message from %s: %u", c->name, seq_of(m));
}

/* The task that waits at ch: could another thread take its step, since its owner sleeps? */
static inline bool is_away(struct chan *ch)
{
	chan_lock(ch);
	struct waiter *w = ch->recvq.first;
	bool away = w && !park_is_claimed(w->parker) && park_is_away(w->parker);
	chan_unlock(ch);
	return away;
}

/*
 * Brings messages into the pump's batch: a consumer asks for room messages while there are none,
 * and turns away.
 */
static inline void ask_and_turn_away(struct channel *c, size_t room)
{
	struct message *m[64];
	CHECK(room <= COUNT(m));
	/* The ticker ends the select once the pump has heard of it. */
	int64_t end = clock_mono_ns() + PATIENCE;
	while (count_waiters(c->memory_msg_chan, CHAN_RECV) == 0) {
		assert_true(clock_mono_ns() < end);
		assert_int_equal(take_within(c, m, room, NSEC_PER_MSEC), 0);
	}
}

/* A client that is connected to nobody. The other end of its socket goes to *peer. */
static inline struct client_v2 *new_client(struct nsqd *n, int *peer)
{
	int fds[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	*peer = fds[1];
	int64_t id = atomic_fetch_add(&n->tcp_server->client_id_sequence, 1) + 1;
	return client_v2_new(
		&n->tcp_server->protocol, id, stream_sock_new(fds[0]), "127.0.0.1:1234");
}

static inline void free_client(struct client_v2 *client, int peer)
{
	client_v2_free(client);
	close(peer);
}

/* --- a backend that can refuse ---------------------------------------------------------------- */

/* Where a slow disk holds up those that come to it. */
struct gate {
	struct chan *open; /* closed: they may go on */
	_Atomic int arrived;
};

static inline void gate_init(struct gate *g)
{
	*g = (struct gate){.open = chan_new(0, 0)};
}

/* In front of the real one, which does the rest. */
struct faulty_queue {
	struct backend_queue base;
	struct backend_queue *real;
	_Atomic int64_t allow; /* how many records it still takes; -1: all */
	_Atomic int refused;   /* how many calls have been */
	_Atomic int recovers;  /* at so many it takes all again; 0: never */
	_Atomic bool fail_delete;
	struct gate *gate;     /* NULL: the disk is not slow to delete */
	struct gate *put_gate; /* likewise, to write */
};

static inline size_t faulty_put(
	struct backend_queue *q, const struct backend_record *recs, size_t n, struct err *err)
{
	struct faulty_queue *f = (struct faulty_queue *)q;
	int64_t allow = f->allow;
	if (f->put_gate) {
		f->put_gate->arrived++;
		chan_recv(f->put_gate->open, NULL);
	}
	if (allow < 0 || (int64_t)n <= allow) {
		if (allow > 0)
			f->allow -= (int64_t)n;
		return f->real->ops->put(f->real, recs, n, err);
	}
	f->allow = 0;
	if (++f->refused == f->recovers)
		f->allow = -1;
	if (allow > 0)
		CHECK(f->real->ops->put(f->real, recs, (size_t)allow, err) == (size_t)allow);
	err_set(err, 28, "never gonna happen");
	return (size_t)allow;
}

static inline struct chan *faulty_read_chan(struct backend_queue *q)
{
	struct backend_queue *real = ((struct faulty_queue *)q)->real;
	return real->ops->read_chan(real);
}

static inline void faulty_done(struct backend_queue *q, size_t n)
{
	struct backend_queue *real = ((struct faulty_queue *)q)->real;
	real->ops->done(real, n);
}

static inline int faulty_close(struct backend_queue *q, struct err *err)
{
	struct backend_queue *real = ((struct faulty_queue *)q)->real;
	free(q);
	return real->ops->close(real, err);
}

static inline int faulty_delete(struct backend_queue *q, struct err *err)
{
	struct backend_queue *real = ((struct faulty_queue *)q)->real;
	bool fail = ((struct faulty_queue *)q)->fail_delete;
	struct gate *gate = ((struct faulty_queue *)q)->gate;
	if (gate) {
		gate->arrived++;
		chan_recv(gate->open, NULL);
	}
	int rc = (real->ops->delete)(real, err);
	free(q);
	return fail ? err_set(err, 5, "input/output error") : rc;
}

static inline int64_t faulty_depth(struct backend_queue *q)
{
	struct backend_queue *real = ((struct faulty_queue *)q)->real;
	return real->ops->depth(real);
}

static inline int faulty_empty(struct backend_queue *q, struct err *err)
{
	struct backend_queue *real = ((struct faulty_queue *)q)->real;
	return real->ops->empty(real, err);
}

static inline struct backend_look *faulty_look(struct backend_queue *q)
{
	struct backend_queue *real = ((struct faulty_queue *)q)->real;
	return real->ops->look(real);
}

static inline int64_t faulty_first_timestamp(struct backend_queue *q)
{
	struct backend_queue *real = ((struct faulty_queue *)q)->real;
	return real->ops->first_timestamp(real);
}

static const struct backend_queue_ops faulty_ops = {
	.put = faulty_put,
	.read_chan = faulty_read_chan,
	.done = faulty_done,
	.close = faulty_close,
	.delete = faulty_delete,
	.depth = faulty_depth,
	.empty = faulty_empty,
	.look = faulty_look,
	.first_timestamp = faulty_first_timestamp,
};

/* Puts one in front of *backend, while its owner's pump does not look at it: see the two below. */
static inline struct faulty_queue *make_faulty(struct backend_queue **backend)
{
	struct faulty_queue *f = xcalloc(1, sizeof(*f));
	f->base.ops = &faulty_ops;
	f->real = *backend;
	f->allow = -1;
	*backend = &f->base;
	return f;
}

/* Its deletion will wait at the gate. Call it before the first consumer. */
static inline void slow_deletion(struct channel *c, struct gate *g)
{
	gate_init(g);
	make_faulty(&c->backend)->gate = g;
}

/* A request of an operator, in a thread of its own: HTTP's handlers are nothing more. */
struct request {
	struct nsqd *nsqd;
	struct topic *topic; /* borrowed; NULL: of a topic */
	const char *name;
	struct wait_group group;
	struct err err;
	int rc;             /* of a deletion */
	_Atomic bool ended; /* the answer is there */
};

static inline void run_delete(void *arg)
{
	struct request *r = arg;
	r->rc = r->topic ? topic_delete_existing_channel(r->topic, r->name, &r->err)
			 : nsqd_delete_existing_topic(&r->nsqd->topics, r->name, &r->err);
	r->ended = true;
}

static inline void begin_request(
	struct request *r, struct nsqd *n, struct topic *t, const char *name, void (*run)(void *))
{
	*r = (struct request){.nsqd = n, .topic = t, .name = name};
	wait_group_init(&r->group);
	go(&r->group, run, r);
}

static inline void end_request(struct request *r)
{
	join(&r->group);
	assert_true(r->ended);
}

/* Paused, its pump does not use the backend, and it was told so by way of a rendezvous. */
static inline struct faulty_queue *make_topic_faulty(struct topic *t)
{
	topic_pause(t);
	topic_pause(t); /* the second one is heard at the end of a turn without the backend */
	struct faulty_queue *f = make_faulty(&t->backend);
	topic_unpause(t);
	return f;
}

/* Without a consumer its pump does not use the backend: call it before the first. */
static inline struct faulty_queue *make_channel_faulty(struct channel *c)
{
	return make_faulty(&c->backend);
}

#endif
