/* SPDX-License-Identifier: MIT */
/*
 * protocol_v2_pump: the client's pump is a task, whose steps other threads take where they can. Which
 * thread writes, how long that may take, and which consumers may have to wait for it.
 */
#include "test/unit/io_loop_test.h"

#include "common/clock.h"
#include "common/gothread_internal.h"
#include "common/rand.h"
#include "nsqd/client/protocol_v2_pump.h"
#include "nsqd/client/protocol_v2_send.h"
#include "nsqd/core/message.h"
#include "nsqd/queue/queue_scan.h"
#include "protocol/frame.h"

/* A client may leave without a thread: see channel_removal_may_block. */
#define MEMORY 1000
#define pump_test(f) channel_test_with(f, .mem_queue_size = MEMORY, .polls = true)

/* --- a stream that is watched ------------------------------------------------------------------ */

/* A layer that looks at the writes. The client's write_lock guards it. */
struct watch {
	struct stream stream;
	struct stream *below; /* owned */
	int64_t last;         /* deadline of the last write */
	size_t again;         /* writes with the deadline of the one before */
	int64_t slow_ns;      /* a read takes so long */
};

static ssize_t watch_read(
	struct stream *stream, void *buf, size_t n, int64_t deadline_ns, struct err *err)
{
	struct watch *w = (struct watch *)stream;
	sleep_ns(w->slow_ns);
	return w->below->ops->read(w->below, buf, n, deadline_ns, err);
}

static int watch_writev(
	struct stream *stream, struct iovec *iov, int n, int64_t deadline_ns, struct err *err)
{
	struct watch *w = (struct watch *)stream;
	int64_t now = clock_mono_ns();
	if (deadline_ns == w->last)
		w->again++;
	w->last = deadline_ns;
	/* A write takes some time. */
	while (clock_mono_ns() == now)
		;
	return w->below->ops->writev(w->below, iov, n, deadline_ns, err);
}

static int watch_flush(struct stream *stream, int64_t deadline_ns, struct err *err)
{
	struct watch *w = (struct watch *)stream;
	return w->below->ops->flush(w->below, deadline_ns, err);
}

static void watch_close_write(struct stream *stream, int64_t deadline_ns)
{
	struct watch *w = (struct watch *)stream;
	w->below->ops->close_write(w->below, deadline_ns);
}

static void watch_shutdown(struct stream *stream)
{
	struct watch *w = (struct watch *)stream;
	w->below->ops->shutdown(w->below);
}

static void watch_free(struct stream *stream)
{
	struct watch *w = (struct watch *)stream;
	w->below->ops->free(w->below);
}

static const struct stream_ops watch_ops = {
	.read = watch_read,
	.writev = watch_writev,
	.flush = watch_flush,
	.close_write = watch_close_write,
	.shutdown = watch_shutdown,
	.free = watch_free,
};

static void watch_client(struct watch *w, struct client_v2 *c)
{
	*w = (struct watch){.stream.ops = &watch_ops, .below = c->base};
	c->stream = c->reader.stream = c->writer.stream = &w->stream;
}

/* --- threads ----------------------------------------------------------------------------------- */

static _Atomic bool no_threads;       /* none can be created */
static _Thread_local bool may_create; /* but by this thread */
static _Atomic int n_refused, n_created;

static int create_unless(pthread_t *id, const pthread_attr_t *attr, void *(*fn)(void *), void *arg)
{
	if (no_threads && !may_create) {
		n_refused++;
		return EAGAIN;
	}
	n_created++;
	return pthread_create(id, attr, fn, arg);
}

static int threads_setup(void **state)
{
	no_threads = false;
	gothread_create = create_unless;
	gothread_learns_limit = false;
	int rc = fixture_setup(state);
	n_refused = n_created = 0;
	return rc;
}

static int threads_teardown(void **state)
{
	no_threads = false;
	int rc = fixture_teardown(state);
	gothread_create = pthread_create;
	gothread_learns_limit = true;
	return rc;
}

#define threads_test(f)                                                                            \
	fixture_test(f, threads_setup, threads_teardown, .wants = A_CHANNEL,                       \
		.mem_queue_size = MEMORY, .polls = true)

/* --- what its threads do ----------------------------------------------------------------------- */

/* What is written to the client is written: its threads hold the lock meanwhile. */
static void settle(struct peer *c)
{
	mutex_lock(&c->client->write_lock);
	mutex_unlock(&c->client->write_lock);
}

/*
 * The pumps of topic, channel and client wait, each at a chan of its own. (In this order: the
 * client's pump tells the channel's before it waits.)
 */
static bool are_away(struct fixture *f, struct peer *c)
{
	return is_away(c->client->ready_state_chan) && is_away(f->channel->update_chan) &&
	       is_away(f->topic->channel_update_chan);
}

/* How often one of these has slept: the voluntary switches of its thread. */
static void add_switches(void *arg, const char *name, int tid)
{
	char path[64], line[128];
	long n;
	if (strncmp(name, "pump:", 5) != 0 && strcmp(name, "t:test") != 0 &&
		strcmp(name, "c:test/ch") != 0)
		return;
	snprintf(path, sizeof(path), "/proc/self/task/%d/status", tid);
	FILE *f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "voluntary_ctxt_switches: %ld", &n) == 1)
			*(long *)arg += n;
	if (f)
		fclose(f);
}

static long switches(void)
{
	long n = 0;
	gothread_each(add_switches, &n);
	return n;
}

/* A FIN of nothing, which is answered with an error. */
static void ask_for_answer(struct peer *c)
{
	finish(c, "0000000000000000");
}

static void expect_answer(struct peer *c)
{
	static const char text[] = "E_FIN_FAILED FIN 0000000000000000 failed ID not in flight";
	char frame[FRAME_HEADER_LENGTH + sizeof(text) - 1];
	receive(c->peer, frame, sizeof(frame));
	assert_int_equal(frame[7], FRAME_TYPE_ERROR);
	assert_memory_equal(frame + FRAME_HEADER_LENGTH, text, sizeof(text) - 1);
}

/* --- asleep ------------------------------------------------------------------------------------ */

/* Message by message: the pumps of topic, channel and client sleep all the time. */
static void serve_in_sleep(
	struct fixture *f, void (*bring)(struct fixture *f, struct peer *from, uint32_t seq))
{
	enum { ROUNDS_OF_ONE = 50 };
	struct peer publisher, c;
	char id[MSG_ID_LENGTH + 1];
	connect_consumer(&publisher, f->nsqd);
	run_io_loop(&publisher);
	start(&c, f, 1);
	wait_for(are_away(f, &c));
	long before = switches();
	for (uint32_t i = 0; i < ROUNDS_OF_ONE; i++) {
		wait_for(are_away(f, &c));
		bring(f, &publisher, i);
		assert_int_equal(receive_message(&c, id), i);
		assert_int_equal(channel_in_flight_count(f->channel), 1);
		finish(&c, id);
		wait_for(demand_of(f->channel) == 1);
	}
	/* They may have been on their way to sleep when we began to count. */
	assert_true(switches() - before <= ROUNDS_OF_ONE / 10);
	assert_int_equal(channel_in_flight_count(f->channel), 0);
	assert_int_equal(c.client->message_count, ROUNDS_OF_ONE);
	stop(&c);
	stop(&publisher);
}

static void bring_here(struct fixture *f, struct peer *from, uint32_t seq)
{
	publish(f->topic, seq);
}

static void bring_by_io_loop(struct fixture *f, struct peer *from, uint32_t seq)
{
	char pub[] = "PUB test\n\0\0\0\4....", ok[10];
	memcpy(pub + sizeof(pub) - 1 - sizeof(seq), &seq, sizeof(seq));
	assert_int_equal(send(from->peer, pub, sizeof(pub) - 1, MSG_NOSIGNAL), sizeof(pub) - 1);
	receive(from->peer, ok, sizeof(ok));
}

static void test_a_consumer_that_waits_is_served_while_the_pumps_sleep(struct fixture *f)
{
	serve_in_sleep(f, bring_here);
}

static void test_what_an_io_loop_brings_is_served_while_the_pumps_sleep(struct fixture *f)
{
	serve_in_sleep(f, bring_by_io_loop);
}

/* --- limits ------------------------------------------------------------------------------------ */

static void put_large_messages(struct topic *t, size_t n, size_t size)
{
	struct message_body *bodies[CLIENT_BATCH];
	struct err err;
	CHECK(n <= COUNT(bodies));
	for (size_t i = 0; i < n; i++) {
		bodies[i] = message_body_new(size);
		memset(bodies[i]->data, 'x', size);
	}
	assert_int_equal(topic_put_messages(t, bodies, n, &err), n);
}

static void test_a_large_message_of_a_batch_has_a_deadline_of_its_own(struct fixture *f)
{
	enum { N_MESSAGES = 8, BODY_SIZE = 300000 };
	struct channel *ch = f->channel;
	struct watch w;
	struct peer c;
	char ok[10];
	put_large_messages(f->topic, N_MESSAGES, BODY_SIZE);
	wait_for(channel_depth(ch) == N_MESSAGES);
	connect_consumer(&c, f->nsqd);
	watch_client(&w, c.client);
	run_io_loop(&c);
	say(c.peer, "SUB test ch\n");
	receive(c.peer, ok, sizeof(ok));
	say(c.peer, "RDY 8\n");
	receive_junk(c.peer, N_MESSAGES * (MSG_PREFIX_LENGTH + BODY_SIZE));
	stop(&c);
	assert_int_equal(w.again, 0);
}

/*
 * Puts n messages of that size into the channel, for a consumer that waits for n. Has its pump got a
 * thread for that?
 */
static bool needs_thread(struct fixture *f, size_t n, size_t size)
{
	struct message *msgs[CLIENT_BATCH];
	struct peer c;
	struct err err;
	start(&c, f, n);
	/* io_loop has nothing more to tell the pump. */
	ask_for_answer(&c);
	expect_answer(&c);
	settle(&c);
	for (size_t i = 0; i < n; i++) {
		struct message *like = new_message((uint32_t)i);
		msgs[i] = message_new(like->id, message_body_new(size), 0);
		memset(msgs[i]->body->data, 'x', size);
		message_unref(like);
	}
	wait_for(are_away(f, &c));
	int before = n_created;
	runnext_begin();
	assert_int_equal(channel_put_messages(f->channel, msgs, n, &err), n);
	runnext_end();
	receive_junk(c.peer, n * (MSG_PREFIX_LENGTH + size));
	settle(&c);
	bool got_thread = n_created > before;
	stop(&c);
	wait_for(channel_depth(f->channel) == 0);
	assert_int_equal(channel_empty(f->channel, &err), 0);
	return got_thread;
}

/*
 * By the thread that brings them, if the pump has been asleep for long enough: so there are some
 * tries. Or always by the client's pump?
 */
static void assert_written_here(struct fixture *f, size_t n, size_t size)
{
	for (int i = 0; i < 50; i++) {
		if (!needs_thread(f, n, size))
			return;
	}
	fail_msg("%zu messages of %zu bytes need a thread", n, size);
}

static void assert_written_by_the_pump(struct fixture *f, size_t n, size_t size)
{
	if (!needs_thread(f, n, size))
		fail_msg("%zu messages of %zu bytes need no thread", n, size);
}

static void test_few_messages_are_written_by_the_thread_that_brings_them(struct fixture *f)
{
	assert_written_here(f, 1, 10);
	assert_written_here(f, SHORT_WRITE, 10);
	assert_written_by_the_pump(f, SHORT_WRITE + 1, 10);
}

static void test_small_messages_are_written_by_the_thread_that_brings_them(struct fixture *f)
{
	assert_written_here(f, 1, SHORT_WRITE_SIZE);
	assert_written_by_the_pump(f, 1, SHORT_WRITE_SIZE + 1);
	assert_written_here(f, 4, SHORT_WRITE_SIZE / 4);
	assert_written_by_the_pump(f, 4, SHORT_WRITE_SIZE / 4 + 1);
	assert_written_by_the_pump(f, 1, 100 * SHORT_WRITE_SIZE);
}

/* --- a client that cannot be written to ------------------------------------------------------------------ */

static void test_what_the_socket_does_not_take_is_left_to_the_pumps_thread(struct fixture *f)
{
	struct channel *ch = f->channel;
	struct peer c, other;
	char id[MSG_ID_LENGTH + 1];
	start(&c, f, 1);
	size_t filled = fill_socket(stream_sock_fd(c.client->base));
	publish(f->topic, 0);
	wait_for(channel_in_flight_count(ch) == 1);
	/* Nobody is held up by it. */
	start(&other, f, 1);
	for (uint32_t i = 1; i < 4; i++) {
		publish(f->topic, i);
		assert_int_equal(receive_message(&other, id), i);
		finish(&other, id);
		wait_for(channel_in_flight_count(ch) == 1 && demand_of(ch) == 1);
	}
	receive_junk(c.peer, filled);
	assert_int_equal(receive_message(&c, id), 0);
	finish(&c, id);
	wait_for(channel_in_flight_count(ch) == 0);
	/* And its pump goes on as before. */
	wait_for(demand_of(ch) == 2);
	stop(&other);
	publish(f->topic, 4);
	assert_int_equal(receive_message(&c, id), 4);
	stop(&c);
}

static void test_a_client_that_is_being_written_to_is_served_by_its_pumps_thread(struct fixture *f)
{
	struct peer first, second;
	char id[MSG_ID_LENGTH + 1];
	start(&first, f, 1);
	start(&second, f, 1);
	/* As another thread would: not checked for its rank. */
	pthread_mutex_lock(&first.client->write_lock.m);
	publish(f->topic, 7); /* one of them for each */
	publish(f->topic, 8);
	uint32_t seq = receive_message(&second, id);
	finish(&second, id);
	wait_for(demand_of(f->channel) == 1);
	publish(f->topic, 9);
	assert_int_equal(receive_message(&second, id), 9);
	pthread_mutex_unlock(&first.client->write_lock.m);
	assert_int_equal(receive_message(&first, id), 7 + 8 - seq);
	stop(&first);
	stop(&second);
}

/* It has taken the pump's step, but the socket had no room for the message. */
static void test_io_loop_reads_on_where_it_cannot_write(struct fixture *f)
{
	struct channel *ch = f->channel;
	char id[MSG_ID_LENGTH + 1], ok[10];
	struct peer c;
	put(f->topic, 0, 3);
	wait_for(channel_depth(ch) == 3);
	connect_consumer(&c, f->nsqd);
	run_io_loop(&c);
	say(c.peer, "SUB test ch\nRDY 1\n");
	receive(c.peer, ok, sizeof(ok));
	assert_int_equal(receive_message(&c, id), 0);
	size_t filled = fill_socket(stream_sock_fd(c.client->base));
	finish(&c, id);
	wait_for(channel_depth(ch) == 1 && channel_in_flight_count(ch) == 1);
	say(c.peer, "RDY 2\n");
	wait_for(c.client->ready_count == 2);
	receive_junk(c.peer, filled);
	assert_int_equal(receive_message(&c, id), 1);
	assert_int_equal(receive_message(&c, id), 2);
	stop(&c);
}

/* A thread that had to wait, or an earlier step, has got an error from the socket. */
static void break_writer(struct peer *c)
{
	mutex_lock(&c->client->write_lock);
	c->client->writer.failed = true;
	mutex_unlock(&c->client->write_lock);
}

/* io_loop ends by itself. */
static void expect_end(struct peer *c)
{
	assert_true(wait_group_wait_until(&c->wg, clock_mono_ns() + PATIENCE));
	stop(c);
}

static void test_a_pump_that_fails_ends_the_connection(struct fixture *f)
{
	struct peer c;
	start(&c, f, 1);
	break_writer(&c);
	atomic_store(&c.client->pump_orders.flush, true);
	client_v2_try_update_ready_state(c.client);
	expect_end(&c);
}

/* The thread that brings it must not end a connection: the pump's own does. */
static void test_a_message_that_cannot_be_written_ends_the_connection(struct fixture *f)
{
	struct peer c;
	start(&c, f, 1);
	break_writer(&c);
	publish(f->topic, 0);
	expect_end(&c);
	/* In flight until its timeout, as in stock. */
	assert_int_equal(channel_in_flight_count(f->channel), 1);
}

/* Does a thread write to it, or try to? */
static bool is_being_written_to(struct peer *c)
{
	if (!mutex_trylock(&c->client->write_lock))
		return true;
	mutex_unlock(&c->client->write_lock);
	return false;
}

static void test_the_pump_flushes_the_answers_that_io_loop_could_not(struct fixture *f)
{
	struct peer c;
	start(&c, f, 1);
	size_t filled = fill_socket(stream_sock_fd(c.client->base));
	ask_for_answer(&c);
	wait_for(is_being_written_to(&c));
	/* io_loop goes on meanwhile. */
	say(c.peer, "RDY 2\n");
	wait_for(c.client->ready_count == 2);
	receive_junk(c.peer, filled);
	expect_answer(&c);
	stop(&c);
}

/* --- a pump and its thread ---------------------------------------------------------------------- */

static struct task *pump_of(struct peer *c)
{
	return (struct task *)c->client->pump_task;
}

/* No thread has come to own the pump, or it has left. */
static bool is_ownerless(struct peer *c)
{
	return park_is_absent(&pump_of(c)->parker);
}

static void expect_frame(struct peer *c, const char *frame, size_t len)
{
	char got[64];
	receive(c->peer, got, len);
	assert_memory_equal(got, frame, len);
}

#define EXPECT_OK(c) expect_frame(c, "\0\0\0\6\0\0\0\0OK", 10)
#define EXPECT_HEARTBEAT(c) expect_frame(c, "\0\0\0\17\0\0\0\0_heartbeat_", 19)

static void say_pub(struct peer *c)
{
	static const char pub[] = "PUB test\n\0\0\0\1x";
	assert_int_equal(send(c->peer, pub, sizeof(pub) - 1, MSG_NOSIGNAL), sizeof(pub) - 1);
}

/* One that a pump without a thread does not write. */
static void publish_large(struct fixture *f)
{
	runnext_begin();
	put_large_messages(f->topic, 1, 2 * SHORT_WRITE_SIZE);
	runnext_end();
}

static void receive_large(struct peer *c)
{
	receive_junk(c->peer, MSG_PREFIX_LENGTH + 2 * SHORT_WRITE_SIZE);
}

/* --- the beginning ------------------------------------------------------------------------------ */

static void test_a_publisher_has_no_pump_and_a_consumer_has(struct fixture *f)
{
	struct peer c;
	begin_here(&c, f->nsqd);
	say_pub(&c);
	assert_int_equal(step_here(&c), NETPOLL_WAIT);
	EXPECT_OK(&c);
	assert_null(c.client->pump_task);
	say(c.peer, "SUB test ch\n");
	assert_int_equal(step_here(&c), NETPOLL_WAIT);
	EXPECT_OK(&c);
	assert_non_null(c.client->pump_task);
	assert_true(is_ownerless(&c));
	end_here(&c);
	assert_int_equal(n_created, 0);
}

static void test_what_identify_has_said_is_known_to_a_pump_that_starts_later(struct fixture *f)
{
	static const char identify[] = "IDENTIFY\n\0\0\0\x14{\"msg_timeout\":4321}";
	struct peer c;
	begin_here(&c, f->nsqd);
	assert_int_equal(
		send(c.peer, identify, sizeof(identify) - 1, MSG_NOSIGNAL), sizeof(identify) - 1);
	assert_int_equal(step_here(&c), NETPOLL_WAIT);
	EXPECT_OK(&c);
	say(c.peer, "SUB test ch\nRDY 1\n");
	assert_int_equal(step_here(&c), NETPOLL_WAIT);
	EXPECT_OK(&c);
	assert_int_equal(c.client->pump.msg_timeout, 4321 * NSEC_PER_MSEC);
	end_here(&c);
}

#define INTERVAL (20 * NSEC_PER_MSEC)

static void test_the_first_heartbeat_starts_the_pump(struct fixture *f)
{
	struct peer c;
	begin_here(&c, f->nsqd);
	c.client->heartbeat_interval = INTERVAL;
	int64_t begin = clock_mono_ns();
	assert_int_equal(step_here(&c), NETPOLL_WAIT);
	if (clock_mono_ns() - begin < INTERVAL)
		assert_null(c.client->pump_task);
	sleep_ns(INTERVAL);
	/* Else it has been silent for too long. */
	say(c.peer, "NOP\n");
	assert_int_equal(step_here(&c), NETPOLL_WAIT);
	assert_non_null(c.client->pump_task);
	/* No step of io_loop is needed for those that follow. */
	for (int i = 1; i <= 4; i++) {
		EXPECT_HEARTBEAT(&c);
		assert_true(clock_mono_ns() - begin >= i * INTERVAL);
	}
	/* (At the end the next one may meet a peer that is gone, which is for a thread.) */
	assert_int_equal(n_created, 0);
	end_here(&c);
}

/* It gets a thread, which waits for the peer as long as any write does. */
static void test_a_heartbeat_that_nobody_reads_ends_the_pump(struct fixture *f)
{
	struct peer c;
	begin_here(&c, f->nsqd);
	c.client->heartbeat_interval = INTERVAL;
	(void)fill_socket(stream_sock_fd(c.client->base));
	assert_int_equal(step_here(&c), NETPOLL_WAIT);
	sleep_ns(INTERVAL);
	say(c.peer, "NOP\n");
	assert_int_equal(step_here(&c), NETPOLL_WAIT);
	wait_for(n_created == 1);
	wait_group_wait(&c.client->wait_group);
	end_here(&c);
}

static void test_a_heartbeat_that_meets_a_write_waits_for_it_in_a_thread(struct fixture *f)
{
	struct peer c;
	begin_here(&c, f->nsqd);
	c.client->heartbeat_interval = INTERVAL;
	assert_int_equal(step_here(&c), NETPOLL_WAIT);
	sleep_ns(INTERVAL);
	say(c.peer, "NOP\n");
	assert_int_equal(step_here(&c), NETPOLL_WAIT);
	EXPECT_HEARTBEAT(&c);
	pthread_mutex_lock(&c.client->write_lock.m);
	wait_for(n_created == 1);
	pthread_mutex_unlock(&c.client->write_lock.m);
	for (int i = 0; i < 3; i++)
		EXPECT_HEARTBEAT(&c);
	end_here(&c);
}

static void test_a_heartbeat_comes_also_while_io_loop_has_a_thread(struct fixture *f)
{
	struct watch w;
	struct peer c;
	begin_here(&c, f->nsqd);
	watch_client(&w, c.client);
	w.slow_ns = INTERVAL;
	c.client->heartbeat_interval = INTERVAL;
	/* It is not silent until then. */
	say(c.peer, "NOP\n");
	shutdown(c.peer, SHUT_WR);
	run_here(&c);
	assert_int_equal(c.client->stage, STAGE_LEAVING);
	EXPECT_HEARTBEAT(&c);
	end_here(&c);
}

static void test_answers_that_the_socket_does_not_take_start_the_pump(struct fixture *f)
{
	struct peer c;
	connect_consumer(&c, f->nsqd);
	size_t filled = fill_socket(stream_sock_fd(c.client->base));
	run_io_loop(&c);
	say_pub(&c);
	wait_for(f->topic->message_count == 1 && n_created == 1);
	receive_junk(c.peer, filled);
	EXPECT_OK(&c);
	stop(&c);
}

/* --- its thread ----------------------------------------------------------------------------------- */

static void test_a_thread_that_has_nothing_to_do_leaves_and_another_comes(struct fixture *f)
{
	struct peer c;
	char id[MSG_ID_LENGTH + 1];
	start(&c, f, 10);
	for (int i = 1; i <= 2; i++) {
		wait_for(is_away(c.client->ready_state_chan));
		publish_large(f);
		receive_large(&c);
		wait_for(is_ownerless(&c));
		assert_int_equal(n_created, i);
		/* It has left nothing behind. */
		mutex_lock(&c.client->write_lock);
		assert_null(c.client->writer.buf);
		mutex_unlock(&c.client->write_lock);
		publish(f->topic, 7);
		assert_int_equal(receive_message(&c, id), 7);
	}
	/* A thread that is still in a step of the pump would be waited for in another one. */
	wait_for(is_away(c.client->ready_state_chan));
	stop(&c);
	assert_int_equal(n_created, 2);
}

/* It would give up after five seconds, for which the test may be too slow. */
static void let_it_wait_for_long(struct peer *c)
{
	/* As where it is tried again: until it waits anew nobody else looks at the time. */
	wait_for(atomic_exchange(&c->client->pump_waits, false));
	c->client->pump_waits_until_ns = clock_mono_ns() + PATIENCE;
	atomic_store(&c->client->pump_waits, true);
	netpoll_kick(c->client->pd);
}

static void test_a_pump_that_gets_no_thread_waits_for_one(struct fixture *f)
{
	struct peer c, other;
	char id[MSG_ID_LENGTH + 1];
	start(&c, f, 1);
	no_threads = true;
	publish_large(f);
	let_it_wait_for_long(&c);
	wait_for(n_refused >= 3);
	wait_for(c.client->pump_waits); /* not so in the middle of a try */
	/* Nothing else does. */
	start(&other, f, 1);
	publish(f->topic, 5);
	assert_int_equal(receive_message(&other, id), 5);
	say(c.peer, "RDY 7\n");
	wait_for(c.client->ready_count == 7);
	no_threads = false;
	receive_large(&c);
	stop(&other);
	stop(&c);
}

static void test_a_pump_that_gets_no_thread_holds_its_messages_for_five_seconds(struct fixture *f)
{
	struct peer c;
	char end;
	start(&c, f, 1);
	no_threads = true;
	int64_t begin = clock_mono_ns();
	publish_large(f);
	wait_for(n_refused >= 1);
	/* The channel's pump has handed it over, and is perhaps not done with that. */
	wait_for(channel_depth(f->channel) == 0 || clock_mono_ns() - begin >= 5 * NSEC_PER_SEC);
	assert_int_equal(recv(c.peer, &end, 1, 0), 0);
	assert_true(clock_mono_ns() - begin >= 5 * NSEC_PER_SEC);
	no_threads = false;
	stop(&c);
	wait_for(channel_depth(f->channel) == 1);
	assert_int_equal(channel_in_flight_count(f->channel), 0);
}

static void test_a_pump_that_gets_no_thread_waits_also_while_io_loop_has_one(struct fixture *f)
{
	struct peer c;
	connect_consumer(&c, f->nsqd);
	c.threaded = true;
	subscribe(&c, f->channel, 1);
	no_threads = true;
	publish_large(f);
	wait_for(n_refused >= 1);
	for (int i = 0; i < 10; i++) {
		say(c.peer, "NOP\n");
		sleep_ns(NSEC_PER_MSEC);
	}
	no_threads = false;
	say(c.peer, "NOP\n");
	receive_large(&c);
	stop(&c);
}

/* --- leaving -------------------------------------------------------------------------------------- */

static enum netpoll_next leave_here(struct peer *c, bool polled)
{
	c->client->polled = polled;
	c->client->stage = STAGE_LEAVING;
	return protocol_v2_leave(c->client);
}

/* In a thread, as it may block for ever if something is wrong. */
static void leave_in_thread(void *arg)
{
	assert_int_equal(leave_here(arg, false), NETPOLL_OVER);
}

static void expect_to_leave(struct peer *c)
{
	struct wait_group wg;
	wait_group_init(&wg);
	may_create = true;
	go(&wg, leave_in_thread, c);
	may_create = false;
	assert_true(wait_group_wait_until(&wg, clock_mono_ns() + PATIENCE / 4));
	join(&wg);
	end_here(c);
}

static void subscribe_here(struct peer *c, struct fixture *f)
{
	begin_here(c, f->nsqd);
	say(c->peer, "SUB test ch\nRDY 1\n");
	assert_int_equal(step_here(c), NETPOLL_WAIT);
	EXPECT_OK(c);
}

/* Not at once, as the pump may end in a moment, but soon. */
static void expect_to_need_a_thread(struct peer *c)
{
	assert_int_equal(leave_here(c, true), NETPOLL_WAIT);
	wait_for(leave_here(c, true) == NETPOLL_THREAD);
}

static void test_a_client_leaves_while_its_pump_waits_for_a_thread(struct fixture *f)
{
	struct peer c;
	subscribe_here(&c, f);
	no_threads = true;
	publish_large(f);
	wait_for(c.client->pump_waits);
	assert_int_equal(leave_here(&c, true), NETPOLL_THREAD);
	expect_to_leave(&c);
	/* What the pump had for it is another consumer's. */
	wait_for(channel_depth(f->channel) == 1);
	assert_int_equal(channel_in_flight_count(f->channel), 0);
}

struct late {
	struct task *t;
	_Atomic bool may_begin;
};

/* A thread has begun a step of the pump, and finds late that it needs a thread for that. */
static void hand_over_late(void *arg)
{
	struct late *l = arg;
	wait_for(l->may_begin);
	sleep_ns(700 * NSEC_PER_MSEC);
	park_wake(&l->t->parker);
}

static void test_a_client_leaves_whose_pump_needs_a_thread_after_all(struct fixture *f)
{
	struct wait_group wg;
	struct peer c;
	subscribe_here(&c, f);
	struct task *t = pump_of(&c);
	struct late late = {.t = t};
	assert_true(park_claim(&t->parker));
	t->parker.won = NULL;
	wait_group_init(&wg);
	go(&wg, hand_over_late, &late);
	no_threads = true;
	expect_to_need_a_thread(&c);
	late.may_begin = true;
	expect_to_leave(&c);
	join(&wg);
}

static void test_a_client_leaves_without_a_thread_when_a_step_of_its_pump_has_ended(
	struct fixture *f)
{
	struct peer c;
	subscribe_here(&c, f);
	struct task *t = pump_of(&c);
	assert_true(park_claim(&t->parker));
	t->parker.won = NULL;
	assert_int_equal(leave_here(&c, true), NETPOLL_WAIT);
	park_wake(&t->parker);
	wait_group_wait(&c.client->wait_group);
	assert_int_equal(leave_here(&c, true), NETPOLL_OVER);
	end_here(&c);
}

/* The step is longer than a poller waits, but needs no thread. */
static void test_a_client_does_not_leave_before_a_step_of_its_pump_ends(struct fixture *f)
{
	struct wait_group wg;
	struct peer c;
	subscribe_here(&c, f);
	struct task *t = pump_of(&c);
	assert_true(park_claim(&t->parker));
	t->parker.won = NULL;
	expect_to_need_a_thread(&c);
	wait_group_init(&wg);
	go(&wg, leave_in_thread, &c);
	assert_false(wait_group_wait_until(&wg, clock_mono_ns() + 20 * NSEC_PER_MSEC));
	park_wake(&t->parker);
	join(&wg);
	end_here(&c);
}

static void test_a_client_whose_pump_writes_leaves_in_a_thread(struct fixture *f)
{
	struct peer c;
	subscribe_here(&c, f);
	size_t filled = fill_socket(stream_sock_fd(c.client->base));
	publish_large(f);
	wait_for(is_being_written_to(&c));
	expect_to_need_a_thread(&c);
	/* It is cut off after half a second. */
	expect_to_leave(&c);
	assert_true(filled > 0);
}

/* --- time -------------------------------------------------------------------------------------- */

struct scan {
	struct wait_group group;
};

static void begin_scan(struct scan *s, struct fixture *f)
{
	wait_group_init(&s->group);
	go(&s->group, nsqd_queue_scan_loop, &f->nsqd->topics);
}

/* And of the daemon. */
static void end_scan(struct scan *s, struct fixture *f)
{
	nsqd_exit(f->nsqd);
	join(&s->group);
	free_nsqd(f);
}

static void scan_often(struct options *o)
{
	o->queue_scan_interval = NSEC_PER_MSEC;
}

#define scan_test(f)                                                                               \
	channel_test_with(f, .mem_queue_size = MEMORY, .polls = true, .adjust = scan_often)

static void test_what_times_out_goes_to_a_consumer_that_waits(struct fixture *f)
{
	struct peer first, second;
	char id[MSG_ID_LENGTH + 1];
	struct scan s;
	begin_scan(&s, f);
	connect_consumer(&first, f->nsqd);
	first.client->msg_timeout = 50 * NSEC_PER_MSEC;
	subscribe(&first, f->channel, 1);
	publish(f->topic, 5);
	assert_int_equal(receive_message(&first, id), 5);
	/* Not to the first, though it could have it again. */
	say(first.peer, "RDY 0\n");
	wait_for(first.client->ready_count == 0);
	connect_consumer(&second, f->nsqd);
	subscribe_at_once(&second, 1);
	assert_int_equal(receive_message(&second, id), 5);
	stop(&first);
	stop(&second);
	end_scan(&s, f);
}

/* The time-out makes it ready for the next. (Nothing else makes its pump look.) */
static void test_a_consumer_that_forgets_its_message_gets_it_again(struct fixture *f)
{
	struct peer c;
	char id[MSG_ID_LENGTH + 1];
	struct scan s;
	begin_scan(&s, f);
	connect_consumer(&c, f->nsqd);
	c.client->msg_timeout = 20 * NSEC_PER_MSEC;
	c.client->output_buffer_timeout = 3600 * NSEC_PER_SEC;
	subscribe(&c, f->channel, 1);
	publish(f->topic, 6);
	for (int i = 0; i < 5; i++)
		assert_int_equal(receive_message(&c, id), 6);
	assert_true(f->channel->timeout_count >= 4);
	stop(&c);
	end_scan(&s, f);
}

static void test_what_is_requeued_comes_back_at_once_or_after_its_delay(struct fixture *f)
{
	struct peer c;
	char id[MSG_ID_LENGTH + 1], text[64];
	struct scan s;
	begin_scan(&s, f);
	start(&c, f, 1);
	publish(f->topic, 6);
	for (int i = 0; i < 6; i++) {
		assert_int_equal(receive_message(&c, id), 6);
		int64_t due = clock_mono_ns() + i % 2 * 20 * NSEC_PER_MSEC;
		snprintf(text, sizeof(text), "REQ %s %d\n", id, i % 2 * 20);
		say(c.peer, text);
		wait_for(c.client->message_count == (uint64_t)i + 2);
		assert_true(clock_mono_ns() >= due);
	}
	stop(&c);
	end_scan(&s, f);
}

/* --- RDY --------------------------------------------------------------------------------------- */

static void test_rdy_0_ends_the_delivery(struct fixture *f)
{
	struct channel *ch = f->channel;
	struct peer c;
	char id[MSG_ID_LENGTH + 1];
	start(&c, f, 1);
	say(c.peer, "RDY 0\n");
	wait_for(demand_of(ch) == 0);
	publish(f->topic, 1);
	wait_for(channel_depth(ch) == 1);
	stays(channel_depth(ch) == 1);
	say(c.peer, "RDY 1\n");
	assert_int_equal(receive_message(&c, id), 1);
	stop(&c);
}

static void test_a_consumer_that_lowers_its_rdy_waits_for_less(struct fixture *f)
{
	struct channel *ch = f->channel;
	struct peer c;
	char ids[3][MSG_ID_LENGTH + 1];
	start(&c, f, 5);
	for (uint32_t i = 0; i < 2; i++) {
		publish(f->topic, i);
		assert_int_equal(receive_message(&c, ids[i]), i);
	}
	wait_for(demand_of(ch) == 3);
	say(c.peer, "RDY 3\n");
	wait_for(demand_of(ch) == 1);
	say(c.peer, "RDY 2\n");
	wait_for(demand_of(ch) == 0);
	publish(f->topic, 2);
	wait_for(channel_depth(ch) == 1);
	stays(channel_depth(ch) == 1);
	finish(&c, ids[0]);
	assert_int_equal(receive_message(&c, ids[2]), 2);
	assert_int_equal(channel_in_flight_count(ch), 2);
	stop(&c);
}

/* --- coming and going -------------------------------------------------------------------------- */

/* Its pump has not heard of that yet, and is offered a message. */
static void test_what_comes_for_a_client_that_has_left_goes_back(struct fixture *f)
{
	struct peer c, other;
	char id[MSG_ID_LENGTH + 1];
	start(&c, f, 1);
	atomic_store(&c.client->pump_orders.exit, true);
	publish(f->topic, 3);
	/* It has ended. */
	wait_group_wait(&c.client->wait_group);
	wait_for(channel_depth(f->channel) == 1);
	assert_int_equal(channel_in_flight_count(f->channel), 0);
	connect_consumer(&other, f->nsqd);
	subscribe_at_once(&other, 1);
	assert_int_equal(receive_message(&other, id), 3);
	stop(&c);
	stop(&other);
}

static void publish_3000(void *arg)
{
	for (uint32_t i = 0; i < 3000; i++) {
		publish(arg, i);
		if (i % 32 == 0)
			sleep_ns(20 * NSEC_PER_USEC);
	}
}

/* Consumers that leave, in the middle of whatever is done for them, take nothing with them. */
static void test_consumers_leave_while_they_are_served(struct fixture *f)
{
	struct channel *ch = f->channel;
	struct peer c[4];
	struct wait_group wg;
	int64_t finished = 0;
	wait_group_init(&wg);
	go(&wg, publish_3000, f->topic);
	while (channel_depth(ch) + (int64_t)channel_in_flight_count(ch) + finished < 2500) {
		char id[MSG_ID_LENGTH + 1], ok[10];
		for (int i = 0; i < 4; i++) {
			connect_consumer(&c[i], f->nsqd);
			run_io_loop(&c[i]);
			say(c[i].peer, "SUB test ch\nRDY 1\n");
		}
		receive(c[0].peer, ok, sizeof(ok));
		receive_message(&c[0], id);
		finish(&c[0], id);
		/* The end may overtake the FIN, where a message is not read. */
		for (int i = 0; i < 4; i++)
			finished += (int64_t)stop(&c[i]);
	}
	join(&wg);
	wait_for(channel_depth(ch) + (int64_t)channel_in_flight_count(ch) + finished == 3000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		pump_test(test_a_consumer_that_waits_is_served_while_the_pumps_sleep),
		pump_test(test_what_an_io_loop_brings_is_served_while_the_pumps_sleep),
		pump_test(test_a_large_message_of_a_batch_has_a_deadline_of_its_own),
		threads_test(test_few_messages_are_written_by_the_thread_that_brings_them),
		threads_test(test_small_messages_are_written_by_the_thread_that_brings_them),
		pump_test(test_what_the_socket_does_not_take_is_left_to_the_pumps_thread),
		pump_test(test_a_client_that_is_being_written_to_is_served_by_its_pumps_thread),
		pump_test(test_io_loop_reads_on_where_it_cannot_write),
		pump_test(test_a_pump_that_fails_ends_the_connection),
		pump_test(test_a_message_that_cannot_be_written_ends_the_connection),
		pump_test(test_the_pump_flushes_the_answers_that_io_loop_could_not),
		threads_test(test_a_publisher_has_no_pump_and_a_consumer_has),
		threads_test(test_what_identify_has_said_is_known_to_a_pump_that_starts_later),
		threads_test(test_the_first_heartbeat_starts_the_pump),
		threads_test(test_a_heartbeat_that_nobody_reads_ends_the_pump),
		threads_test(test_a_heartbeat_that_meets_a_write_waits_for_it_in_a_thread),
		threads_test(test_a_heartbeat_comes_also_while_io_loop_has_a_thread),
		threads_test(test_answers_that_the_socket_does_not_take_start_the_pump),
		threads_test(test_a_thread_that_has_nothing_to_do_leaves_and_another_comes),
		threads_test(test_a_pump_that_gets_no_thread_waits_for_one),
		threads_test(test_a_pump_that_gets_no_thread_holds_its_messages_for_five_seconds),
		threads_test(test_a_pump_that_gets_no_thread_waits_also_while_io_loop_has_one),
		threads_test(test_a_client_leaves_while_its_pump_waits_for_a_thread),
		threads_test(test_a_client_leaves_whose_pump_needs_a_thread_after_all),
		threads_test(
			test_a_client_leaves_without_a_thread_when_a_step_of_its_pump_has_ended),
		threads_test(test_a_client_does_not_leave_before_a_step_of_its_pump_ends),
		threads_test(test_a_client_whose_pump_writes_leaves_in_a_thread),
		scan_test(test_what_times_out_goes_to_a_consumer_that_waits),
		scan_test(test_a_consumer_that_forgets_its_message_gets_it_again),
		scan_test(test_what_is_requeued_comes_back_at_once_or_after_its_delay),
		pump_test(test_rdy_0_ends_the_delivery),
		pump_test(test_a_consumer_that_lowers_its_rdy_waits_for_less),
		pump_test(test_what_comes_for_a_client_that_has_left_goes_back),
		channel_test_with(test_consumers_leave_while_they_are_served,
			.mem_queue_size = 10000, .polls = true),
	};
	/* Each function that gets a thread gets a new one: the tests count them, and let some fail. */
	gothread_kept_max = 0;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
